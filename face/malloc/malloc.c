/*
 * malloc.c - malloc, free and their family, over kmalloc
 *
 * WHAT    A small size is popped off this thread's magazine, a free pushed on it: see
 *         slab/magazine.h. The slot lies in thread-local storage, and the comparisons that
 *         find "too large", "not ours", "stopped" and "no slot yet" are one and the same.
 *         Everything else goes through the slow halves, which are kmalloc's.
 *
 * RULES   C1, C2  in base/percpu.h; K1 .. K3 in slab/kmalloc.c, S1 .. S3 in slab/cache.h: a
 *         wrong free ends the program.
 *
 * LOCKS   none here.
 *
 * COST    Counted by scripts/check-fastpath: malloc at most 14 instructions, free at most 18,
 *         no atomic and no call among them.
 */
#include "malloc.h"

#include "slab/kmalloc.h"
#include "slab/magazine.h"
#include "slab/runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Thread_local struct qy_cpu qy_malloc_cpu __attribute__((tls_model("initial-exec")));
_Thread_local unsigned qy_malloc_depth __attribute__((tls_model("initial-exec")));

QY_API void cfree(void *block);
QY_API int __posix_memalign(void **block, size_t align, size_t bytes);
QY_API void free_aligned_sized(void *block, size_t align, size_t bytes);
QY_API void *memalign(size_t align, size_t bytes);
QY_API void *pvalloc(size_t bytes);
QY_API size_t malloc_usable_size(void *block);

/* ---- malloc and free ---- */

static void *kmalloc(size_t bytes, qy_gfp_t gfp)
{
    int saved = errno;
    struct qy_mm *mm = qy_malloc_enter();
    void *block = mm != NULL ? qy_kmalloc_slow(mm, bytes, gfp) : NULL;
    if (bytes > QY_KMALLOC_LARGEST && block != NULL)
        qy_malloc_decay_taken(mm);
    qy_malloc_note(mm, block);
    qy_malloc_tell(mm);
    qy_malloc_leave();
    errno = saved;
    return block;
}

/** Sizes above the small ones, if the slot has one ready: an object, or a run of pages. */
static inline void *take_ready(struct qy_cpu *cpu, size_t bytes)
{
    size_t last = bytes - 1;
    if (last >= QY_KMALLOC_LARGEST)
        return qy_kept_pop(cpu, cpu->tags, (last >> QY_PAGE_SHIFT) + 1);
    return last >= QY_SMALL_BYTES ? qy_magazine_pop(cpu, qy_kmalloc_tag(cpu->mm, bytes)) : NULL;
}

/** A run of pages that the slot can keep as it is. */
static inline bool keep_run(struct qy_cpu *cpu, const void *block)
{
    uint64_t offset = (uintptr_t)block - cpu->base;
    uint64_t index = offset >> QY_PAGE_SHIFT;
    return index < qy_port_load_limit(&cpu->nr_frames) && offset % QY_PAGE_BYTES == 0 &&
           qy_run_keep(cpu, index);
}

static __attribute__((noinline)) void *malloc_cold(size_t bytes)
{
    void *block = kmalloc(bytes, QY_GFP_KERNEL);
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

/** The slot is busy, and has none ready that it may give. */
static __attribute__((noinline)) void *malloc_unready(size_t bytes)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    bool known = qy_malloc_known != NULL && qy_port_load_limit(&cpu->small_bytes) != 0;
    void *ready = known ? qy_malloc_pop_known(cpu, bytes) : NULL;
    qy_cpu_leave(cpu);
    return ready != NULL ? ready : malloc_cold(bytes);
}

/** The slot is busy. What calls stands in the cold halves, so this needs no stack frame. A size of
 *  0 is beyond all limits here. */
void *qy_malloc_slow(size_t bytes)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    if (qy_likely(bytes - 1 < qy_port_load_limit(&cpu->ready_bytes))) {
        void *ready = take_ready(cpu, bytes);
        if (qy_likely(ready != NULL)) {
            qy_cpu_leave(cpu);
            return ready;
        }
    }
    return malloc_unready(bytes);
}

/** The two that everybody calls start at a cache line, wherever the rest of this file grows to. */
#define AT_LINE __attribute__((aligned(64)))

QY_API AT_LINE void *malloc(size_t bytes)
{
    void *object = qy_malloc_pop(bytes);
    return qy_likely(object != NULL) ? object : qy_malloc_slow(bytes);
}

static __attribute__((noinline)) void free_cold(void *block)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    struct qy_mm *mm = qy_malloc_enter();
    int saved = errno;
    if (cpu->mm != NULL && qy_cpu_frames(cpu) < qy_described_frames(mm))
        qy_cpu_extend(cpu, qy_described_frames(mm));
    qy_cpu_leave(cpu);
    if (mm != NULL && block != NULL && qy_malloc_forget(mm, block, QY_ACT_FREE)) {
        qy_kfree_slow(mm, block);
        qy_malloc_decay(mm);
        qy_malloc_tell(mm);
    }
    qy_malloc_leave();
    errno = saved;
}

static __attribute__((noinline)) void free_known(void *block)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    if (!qy_malloc_push_known(cpu, block)) {
        free_cold(block);
        return;
    }
    qy_cpu_leave(cpu);
}

/** The slot is busy. */
static __attribute__((noinline)) void free_slow(void *block)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    if (qy_unlikely(qy_malloc_known != NULL)) {
        free_known(block);
        return;
    }
    if (keep_run(cpu, block)) {
        qy_cpu_leave(cpu);
        return;
    }
    free_cold(block);
}

/** The slot is busy, and the frame's tag has no magazine that would take the block. Of a run that
 *  tag says all. */
static __attribute__((noinline)) void free_large(void *block, uint64_t index, uint64_t tag)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    bool may = tag >= QY_TAG_RUN_CLASS && (uintptr_t)block % QY_PAGE_BYTES == 0;
    if (qy_unlikely(!may || !cpu->alone)) {
        free_slow(block);
        return;
    }
    if (qy_run_keep_exact(cpu, cpu->tags, index, tag)) {
        qy_cpu_leave(cpu);
        return;
    }
    free_slow(block);
}

QY_API AT_LINE void free(void *block)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    qy_cpu_set_busy(cpu);
    uint64_t index = ((uintptr_t)block - cpu->base) >> QY_PAGE_SHIFT;
    if (qy_likely(index < qy_port_load_limit(&cpu->nr_frames))) {
        uint64_t tag = cpu->tags[index];
        if (qy_likely(qy_magazine_push(cpu, tag, block))) {
            qy_cpu_leave(cpu);
            return;
        }
        free_large(block, index, tag);
        return;
    }
    free_slow(block);
}

QY_API void cfree(void *block)
{
    free(block);
}

/* ---- zeroed, resized ---- */

QY_API void *calloc(size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    if (total <= QY_KMALLOC_LARGEST) {
        void *block = malloc(total);
        return block != NULL ? memset(block, 0, total) : NULL;
    }
    void *block = kmalloc(total, QY_GFP_KERNEL | QY_GFP_ZERO);
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

/** The bytes of an unchecked small block; 0: it is none, or needs the slow half. */
static size_t small_bytes_of(const void *block)
{
    const struct qy_cpu *cpu = &qy_malloc_cpu;
    uint64_t index = ((uintptr_t)block - cpu->base) >> QY_PAGE_SHIFT;
    if (index >= qy_cpu_frames(cpu) || cpu->tags[index] < QY_TAG_CACHE)
        return 0;
    const struct qy_kmem_cache *cache = cpu->mm->cache_of[cpu->tags[index]];
    bool is_one = cache != NULL && cache->places != 0 && qy_slab_is_start(cache, block);
    return is_one ? cache->object_bytes : 0;
}

static __attribute__((noinline)) void *move_small(void *block, size_t old_bytes, size_t bytes)
{
    void *moved = malloc(bytes);
    if (moved != NULL) {
        memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
        free(block);
    }
    return moved;
}

static __attribute__((noinline)) void *realloc_cold(void *block, size_t bytes)
{
    int saved = errno;
    struct qy_mm *mm = qy_malloc_enter();
    void *moved = NULL;
    if (qy_malloc_forget(mm, block, QY_ACT_REALLOC)) {
        moved = qy_krealloc(mm, block, bytes, QY_GFP_KERNEL);
        qy_malloc_note(mm, moved != NULL ? moved : block);
        if (bytes > QY_KMALLOC_LARGEST)
            qy_malloc_decay_resized(mm);
        else
            qy_malloc_decay(mm);
        qy_malloc_tell(mm);
    }
    qy_malloc_leave();
    errno = moved != NULL ? saved : ENOMEM;
    return moved;
}

/** What stays where it is needs no stack frame. */
QY_API void *realloc(void *block, size_t bytes)
{
    if (qy_unlikely(block == NULL))
        return malloc(bytes);
    if (qy_unlikely(bytes == 0)) {
        free(block);
        return NULL;
    }
    size_t old_bytes = small_bytes_of(block);
    if (old_bytes == 0 || bytes > QY_KMALLOC_LARGEST)
        return realloc_cold(block, bytes);
    if (bytes <= old_bytes && bytes > old_bytes / 2)
        return block;
    return move_small(block, old_bytes, bytes);
}

QY_API void *reallocarray(void *block, size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, total);
}

/* ---- aligned ---- */

void *qy_malloc_aligned(size_t align, size_t bytes, qy_gfp_t gfp)
{
    int saved = errno;
    struct qy_mm *mm = qy_malloc_enter();
    void *block = mm != NULL ? qy_kmalloc_aligned(mm, bytes, align, gfp) : NULL;
    qy_malloc_note(mm, block);
    qy_malloc_tell(mm);
    qy_malloc_leave();
    errno = block != NULL ? saved : ENOMEM;
    return block;
}

static bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/** As glibc: any alignment is rounded up to a power of two. */
QY_API void *memalign(size_t align, size_t bytes)
{
    size_t power = 1;
    while (power < align && power != 0)
        power *= 2;
    if (power == 0) {
        errno = EINVAL;
        return NULL;
    }
    return qy_malloc_aligned(power, bytes, QY_GFP_KERNEL);
}

QY_API void *aligned_alloc(size_t align, size_t bytes)
{
    if (!is_power_of_two(align)) {
        errno = EINVAL;
        return NULL;
    }
    return qy_malloc_aligned(align, bytes, QY_GFP_KERNEL);
}

QY_API int posix_memalign(void **block, size_t align, size_t bytes)
{
    if (!is_power_of_two(align) || align % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *aligned = qy_malloc_aligned(align, bytes, QY_GFP_KERNEL);
    errno = saved;
    if (aligned == NULL)
        return ENOMEM;
    *block = aligned;
    return 0;
}

QY_API void *valloc(size_t bytes)
{
    return qy_malloc_aligned(QY_PAGE_BYTES, bytes, QY_GFP_KERNEL);
}

QY_API void *pvalloc(size_t bytes)
{
    size_t rounded;
    if (__builtin_add_overflow(bytes, QY_PAGE_BYTES - 1, &rounded)) {
        errno = ENOMEM;
        return NULL;
    }
    return valloc(rounded & ~(size_t)(QY_PAGE_BYTES - 1));
}

/* ---- sized frees and questions ---- */

QY_API size_t malloc_usable_size(void *block)
{
    size_t bytes = small_bytes_of(block);
    return bytes != 0 || block == NULL ? bytes : qy_ksize(qy_malloc_get_mm(), block);
}

static __attribute__((noinline)) void free_sized_slow(void *block, size_t bytes)
{
    qy_cpu_leave(&qy_malloc_cpu);
    qy_kfree_check(qy_malloc_get_mm(), block, bytes, 1);
    free(block);
}

/** A size of the block's own class is right. In hardened mode more is asked, but then there is
 *  no magazine to push on. */
void qy_malloc_free_sized(void *block, size_t bytes)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    size_t last = bytes - 1;
    qy_cpu_set_busy(cpu);
    uint64_t index = ((uintptr_t)block - cpu->base) >> QY_PAGE_SHIFT;
    if (qy_likely(last < qy_port_load_limit(&cpu->small_bytes)) &&
        qy_likely(index < qy_port_load_limit(&cpu->nr_frames))) {
        uint8_t tag = cpu->class_of[last / QY_SMALL_STEP];
        if (qy_likely(cpu->tags[index] == tag) && qy_likely(qy_magazine_push(cpu, tag, block))) {
            qy_cpu_leave(cpu);
            return;
        }
    }
    free_sized_slow(block, bytes);
}

QY_API void free_aligned_sized(void *block, size_t align, size_t bytes)
{
    qy_kfree_check(qy_malloc_get_mm(), block, bytes, align);
    free(block);
}

/* ---- other names, most of them glibc's ---- */

/* An alias need not promise all that the C library's header promises of its target. */
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#define ALIAS(name, of) __typeof__(of) name __attribute__((alias(#of), visibility("default")))

ALIAS(free_sized, qy_malloc_free_sized);
ALIAS(__libc_malloc, malloc);
ALIAS(__libc_free, free);
ALIAS(__libc_calloc, calloc);
ALIAS(__libc_realloc, realloc);
ALIAS(__libc_reallocarray, reallocarray);
ALIAS(__libc_memalign, memalign);
ALIAS(__libc_valloc, valloc);
ALIAS(__libc_pvalloc, pvalloc);
ALIAS(__posix_memalign, posix_memalign);
