/*
 * known.c - QUARRY_CHECK=1: what is freed is a block that the program has
 *
 * WHAT    A byte for each 16 bytes of the span: 1 where a block starts that was given out and
 *         not freed since. Each allocation sets it, each free takes it back at once. So a
 *         block is freed once, from whichever thread, and by no address but its own; what the
 *         byte refuses never reaches a magazine.
 *
 *         The fast paths have no room to ask. The slots of such an instance are led to the
 *         slow halves by their tables: to them no size has a class, and no frame a tag.
 *
 * RULES   K1 .. K3 in slab/kmalloc.c, S2, S3 in slab/cache.h: at once, for blocks of any size.
 *
 * LOCKS   none: a free exchanges the byte, so of two at the same time one is refused.
 *
 * COST    Off: a comparison in the slow halves. On: each call takes the slow half and one
 *         byte, which lies beside those of the 64 neighbours of 16 bytes; a sixteenth of the
 *         memory that small blocks take.
 */
#define _GNU_SOURCE
#include "malloc.h"

#include "slab/kmalloc.h"
#include "slab/kept.h"
#include "slab/runs.h"

#include <sys/mman.h>

#define GRANULE_SHIFT 4

uint8_t *qy_malloc_known;

/* Behind the blocks' bytes lie tags that are all 0: never written, they cost no memory. */
bool qy_malloc_know(struct qy_mm *mm)
{
    uint64_t nr_bytes = mm->nr_frames << (QY_PAGE_SHIFT - GRANULE_SHIFT);
    uint8_t *known = mmap(NULL, nr_bytes + mm->nr_frames, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (known == MAP_FAILED)
        return false;
    madvise(known, nr_bytes + mm->nr_frames, MADV_NOHUGEPAGE);
    __builtin_memset(mm->class_of, QY_TAG_NONE, sizeof(mm->class_of));
    mm->tags_of_slots = known + nr_bytes;
    qy_malloc_known = known;
    return true;
}

/** The byte of a block that starts there; NULL: none can. */
static uint8_t *byte_of(const struct qy_mm *mm, const void *block)
{
    uint64_t offset = (uintptr_t)block - mm->base;
    bool can = offset >> QY_PAGE_SHIFT < mm->nr_frames && offset % (1 << GRANULE_SHIFT) == 0;
    return can ? &qy_malloc_known[offset >> GRANULE_SHIFT] : NULL;
}

void qy_malloc_note_known(const struct qy_mm *mm, const void *block)
{
    if (block != NULL)
        __atomic_store_n(byte_of(mm, block), 1, __ATOMIC_RELAXED);
}

void *qy_malloc_pop_known(struct qy_cpu *cpu, size_t bytes)
{
    void *block = NULL;
    if (bytes - 1 < QY_KMALLOC_LARGEST)
        block = qy_magazine_pop(cpu, qy_kmalloc_tag(cpu->mm, bytes));
    else if (bytes - 1 < QY_READY_BYTES)
        block = qy_kept_pop(cpu, cpu->mm->tags, qy_frames_for(bytes));
    qy_malloc_note_known(cpu->mm, block);
    return block;
}

bool qy_malloc_push_known(struct qy_cpu *cpu, void *block)
{
    const struct qy_mm *mm = cpu->mm;
    if (qy_port_load_limit(&cpu->nr_frames) == 0)
        return false;
    uint8_t *byte = byte_of(mm, block);
    if (byte == NULL || __atomic_exchange_n(byte, 0, __ATOMIC_RELAXED) != 1)
        return false;
    uint64_t index = qy_address_index(mm, block);
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    if (qy_tag_is_run(tag) ? qy_run_keep(cpu, index) : qy_magazine_push(cpu, tag, block))
        return true;
    __atomic_store_n(byte, 1, __ATOMIC_RELAXED);
    return false;
}

bool qy_malloc_forget(struct qy_mm *mm, const void *block, enum qy_act act)
{
    if (qy_malloc_known == NULL || block == NULL)
        return true;
    uint8_t *byte = byte_of(mm, block);
    if (byte != NULL && __atomic_exchange_n(byte, 0, __ATOMIC_RELAXED) == 1)
        return true;
    qy_kmalloc_refuse(mm, block, act);
    return false;
}
