/*
 * kmalloc.c - memory of any size
 *
 * WHAT    Up to 32 KiB a size class serves, one of four for each doubling, so at most a fifth
 *         is lost; above, a run of whole pages, exact to the page. What a block is, its
 *         frame's tag says: a cache's number, or QY_TAG_RUN on the first frame of a run
 *         whose length is in the frame's struct qy_page.
 *
 * RULES   K1  What is freed lies in this memory.
 *         K2  It is the first byte of a block.
 *         K3  Something is allocated there.
 *         K4  A frame with QY_TAG_RUN heads a run of run_frames frames, all of them allocated.
 *         K5  A sized free names the size, and the alignment, that were asked for.
 *         K1 .. K3, K5 are checked at each free; K4 by check_runs() in view/rules.c.
 *
 * LOCKS   none held here.
 *
 * COST    Small: slab/magazine.h, after one table look-up. Runs: runs.c.
 */
#include "slab/kmalloc.h"

#include "base/assert.h"
#include "base/errno.h"
#include "memory/fault.h"
#include "slab/magazine.h"
#include "slab/runs.h"

/** With red zones a class serves so many bytes less. */
#define RED_BYTES 8
#define MAX_ALIGN (UINT64_C(1) << 30)

static const char *const class_names[QY_KMALLOC_CLASSES] = {
    "kmalloc-16",   "kmalloc-32",   "kmalloc-48",   "kmalloc-64",   "kmalloc-80",
    "kmalloc-96",   "kmalloc-112",  "kmalloc-128",  "kmalloc-160",  "kmalloc-192",
    "kmalloc-224",  "kmalloc-256",  "kmalloc-320",  "kmalloc-384",  "kmalloc-448",
    "kmalloc-512",  "kmalloc-640",  "kmalloc-768",  "kmalloc-896",  "kmalloc-1k",
    "kmalloc-1280", "kmalloc-1536", "kmalloc-1792", "kmalloc-2k",   "kmalloc-2560",
    "kmalloc-3k",   "kmalloc-3584", "kmalloc-4k",   "kmalloc-5k",   "kmalloc-6k",
    "kmalloc-7k",   "kmalloc-8k",   "kmalloc-10k",  "kmalloc-12k",  "kmalloc-14k",
    "kmalloc-16k",  "kmalloc-20k",  "kmalloc-24k",  "kmalloc-28k",  "kmalloc-32k",
};

int qy_kmalloc_boot(struct qy_mm *mm, uint32_t flags)
{
    for (unsigned class = 0; class < QY_KMALLOC_CLASSES; class++) {
        struct qy_kmem_cache *cache = qy_kmem_cache_create(
            mm, class_names[class], qy_kmalloc_class_bytes(class), 0, flags, NULL, NULL);
        if (cache == NULL)
            return -QY_ENOMEM;
        if (class == 0)
            mm->kmalloc_tag = cache->tag;
        qy_assert(cache->tag == mm->kmalloc_tag + class, "S5");
    }
    mm->kmalloc_end = (uint8_t)(mm->kmalloc_tag + QY_KMALLOC_CLASSES);
    for (unsigned i = 0; i < sizeof(mm->class_of); i++)
        mm->class_of[i] = (uint8_t)(mm->kmalloc_tag + qy_kmalloc_class((i + 1) * QY_SMALL_STEP));
    mm->small_bytes = QY_SMALL_BYTES;
    mm->class_slack = flags & QY_SLAB_RED_ZONE ? RED_BYTES : 0;
    mm->largest_class_bytes = QY_KMALLOC_LARGEST - mm->class_slack;
    return 0;
}

/* ---- what is this block? ---- */

static bool is_class(const struct qy_mm *mm, uint8_t tag)
{
    return tag >= mm->kmalloc_tag && tag < mm->kmalloc_end;
}

static uint64_t index_of(const struct qy_mm *mm, const void *block)
{
    return ((uintptr_t)block - mm->base) >> QY_PAGE_SHIFT;
}

/** Why there is no block at this address. */
static int refuse(struct qy_mm *mm, const void *block)
{
    uint64_t index = index_of(mm, block);
    struct qy_fault fault = {.what = "foreign free", .rule = "K1", .address = (uintptr_t)block};
    if (!qy_frame_online(mm, index))
        return qy_fault_report(mm, &fault);
    bool misaligned = ((uintptr_t)block & 15) != 0;
    fault.what = misaligned ? "misaligned free" : "invalid free";
    fault.rule = misaligned ? "K2" : "K3";
    if (mm->tags[index] == QY_TAG_RUN) {
        fault.rule = "K2";
        fault.what = misaligned ? "misaligned free" : "interior free";
    } else if (mm->tags[index] == QY_TAG_NONE && !misaligned) {
        fault.what = "double free";
        fault.note = "or it was never allocated, or lies inside a larger block";
    }
    return qy_fault_report(mm, &fault);
}

/* ---- allocate ---- */

static void *alloc_run(struct qy_mm *mm, uint64_t nr_frames, unsigned align_order, qy_gfp_t gfp)
{
    void *block = qy_run_alloc(mm, nr_frames, align_order, gfp);
    unsigned rounds = 0;
    while (block == NULL && qy_reclaim_again(mm, gfp, QY_MAX_ORDER, &rounds))
        block = qy_run_alloc(mm, nr_frames, align_order, gfp);
    return block;
}

static void *alloc_class(struct qy_mm *mm, unsigned class, size_t bytes, qy_gfp_t gfp)
{
    struct qy_kmem_cache *cache = mm->cache_of[mm->kmalloc_tag + class];
    if (!(cache->flags & QY_SLAB_CHECKED))
        return qy_kmem_cache_alloc(cache, gfp);
    return qy_checked_kmalloc(cache, bytes, gfp);
}

static uint64_t frames_for(size_t bytes)
{
    return (uint64_t)((bytes - 1) >> QY_PAGE_SHIFT) + 1;
}

void *qy_kmalloc_slow(struct qy_mm *mm, size_t bytes, qy_gfp_t gfp)
{
    if (bytes == 0)
        bytes = 1;
    if (bytes > PTRDIFF_MAX || mm->small_bytes == 0)
        return NULL;
    if (bytes > mm->largest_class_bytes)
        return alloc_run(mm, frames_for(bytes), 0, gfp);
    return alloc_class(mm, qy_kmalloc_class(bytes + mm->class_slack), bytes, gfp);
}

void *qy_kmalloc(struct qy_mm *mm, size_t bytes, qy_gfp_t gfp)
{
    return qy_kmalloc_slow(mm, bytes, gfp);
}

/** The smallest class whose objects are all aligned; QY_KMALLOC_CLASSES: none is. */
static unsigned aligned_class(size_t bytes, size_t align)
{
    unsigned class = bytes <= QY_KMALLOC_LARGEST ? qy_kmalloc_class(bytes) : QY_KMALLOC_CLASSES;
    while (class < QY_KMALLOC_CLASSES && qy_kmalloc_class_bytes(class) % align != 0)
        class++;
    return class;
}

void *qy_kmalloc_aligned(struct qy_mm *mm, size_t bytes, size_t align, qy_gfp_t gfp)
{
    if (align == 0 || (align & (align - 1)) != 0 || align > MAX_ALIGN)
        return NULL;
    if (align <= 16)
        return qy_kmalloc(mm, bytes, gfp);
    if (bytes == 0)
        bytes = 1;
    if (bytes > PTRDIFF_MAX - align || mm->small_bytes == 0)
        return NULL;
    if (align <= QY_PAGE_BYTES && bytes + mm->class_slack <= QY_KMALLOC_LARGEST) {
        unsigned class = aligned_class(bytes + mm->class_slack, align);
        if (class < QY_KMALLOC_CLASSES && mm->class_slack == 0)
            return alloc_class(mm, class, bytes, gfp);
    }
    unsigned order = align <= QY_PAGE_BYTES ? 0 : (unsigned)__builtin_ctzll(align) - QY_PAGE_SHIFT;
    return alloc_run(mm, frames_for(bytes), order, gfp);
}

/* ---- free ---- */

int qy_kfree_slow(struct qy_mm *mm, void *block)
{
    if (block == NULL)
        return 0;
    uint64_t index = index_of(mm, block);
    if (!qy_frame_online(mm, index))
        return refuse(mm, block);
    uint8_t tag = mm->tags[index];
    if (tag >= QY_TAG_CACHE && (is_class(mm, tag) || tag >= mm->kmalloc_end))
        return qy_kmem_cache_free(mm->cache_of[tag], block);
    if (tag != QY_TAG_RUN || ((uintptr_t)block & (QY_PAGE_BYTES - 1)) != 0)
        return refuse(mm, block);
    qy_run_free(mm, block);
    return 0;
}

int qy_kfree(struct qy_mm *mm, void *block)
{
    return qy_kfree_slow(mm, block);
}

size_t qy_ksize(struct qy_mm *mm, const void *block)
{
    uint64_t index = index_of(mm, block);
    if (block == NULL || !qy_frame_online(mm, index))
        return 0;
    uint8_t tag = mm->tags[index];
    if (tag == QY_TAG_RUN)
        return ((uintptr_t)block & (QY_PAGE_BYTES - 1)) == 0
                   ? mm->pages[index].run_frames << QY_PAGE_SHIFT
                   : 0;
    if (tag < QY_TAG_CACHE || mm->cache_of[tag] == NULL)
        return 0;
    struct qy_kmem_cache *cache = mm->cache_of[tag];
    return cache->flags & QY_SLAB_CHECKED ? qy_checked_bytes(cache, block) : cache->object_bytes;
}

int qy_kfree_check(struct qy_mm *mm, const void *block, size_t bytes, size_t align)
{
    size_t usable = qy_ksize(mm, block);
    if (usable == 0)
        return 0;
    bool exact = mm->class_slack != 0 && mm->tags[index_of(mm, block)] >= QY_TAG_CACHE;
    bool too_small = align <= 16 && usable > 32 && bytes < usable / 2;
    if (bytes <= usable && !too_small && (!exact || bytes == usable || bytes == 0) &&
        ((uintptr_t)block & (align - 1)) == 0)
        return 0;
    return qy_fault_report(mm, &(struct qy_fault){.what = "wrong size free",
                                                  .rule = "K5",
                                                  .address = (uintptr_t)block,
                                                  .note = "not what was allocated there"});
}

/* ---- change of size ---- */

/** The block as it is, made longer or shorter where it lies; false: it has to move. */
static bool resize_in_place(struct qy_mm *mm, void *block, size_t old_bytes, size_t bytes)
{
    uint8_t tag = mm->tags[index_of(mm, block)];
    if (tag == QY_TAG_RUN)
        return bytes > mm->largest_class_bytes && qy_run_resize(mm, block, frames_for(bytes));
    if (mm->cache_of[tag]->flags & QY_SLAB_CHECKED)
        return false;
    return bytes <= old_bytes && bytes <= QY_KMALLOC_LARGEST && bytes > old_bytes / 2 &&
           bytes != 0;
}

void *qy_krealloc(struct qy_mm *mm, void *block, size_t bytes, qy_gfp_t gfp)
{
    if (block == NULL)
        return qy_kmalloc(mm, bytes, gfp);
    size_t old_bytes = qy_ksize(mm, block);
    if (old_bytes == 0) {
        refuse(mm, block);
        return NULL;
    }
    if (bytes == 0) {
        qy_kfree(mm, block);
        return NULL;
    }
    if (bytes > PTRDIFF_MAX)
        return NULL;
    if (resize_in_place(mm, block, old_bytes, bytes))
        return block;
    if (bytes > mm->largest_class_bytes && mm->tags[index_of(mm, block)] == QY_TAG_RUN) {
        void *moved = qy_run_move(mm, block, frames_for(bytes), gfp);
        if (moved != NULL)
            return moved;
    }
    void *moved = qy_kmalloc(mm, bytes, gfp);
    if (moved == NULL)
        return NULL;
    __builtin_memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
    qy_kfree(mm, block);
    return moved;
}
