/*
 * kmalloc.c - memory of any size
 *
 * WHAT    Up to 32 KiB a size class serves, one of four for each doubling, so at most a fifth
 *         is lost, and less where a cache fits better (fit.c); above, a run of whole pages,
 *         exact to the page unless it grew. What a block is, its frame's tag says: a cache's
 *         number, or on the first frame of a run one of QY_TAG_RUN_CLASS or QY_TAG_RUN; only
 *         the latter's length is in struct qy_page.
 *
 * RULES   K1  What is freed lies in this memory.
 *         K2  It is the first byte of a block.
 *         K3  Something is allocated there.
 *         K4  A frame with a run's tag heads a run of qy_run_frames(), all of them allocated.
 *         K5  A sized free names the size, and the alignment, that were asked for.
 *         K6  in fit.c.
 *         K1 .. K3, K5 are checked at each free; K4 by qy_check_tags() in view/rules_buddy.c.
 *
 * LOCKS   none held here.
 *
 * COST    Small: slab/magazine.h, after one table look-up. Runs: runs.c.
 */
#include "slab/kmalloc.h"

#include "base/assert.h"
#include "base/text.h"
#include "memory/fault.h"
#include "slab/guarded.h"
#include "slab/magazine.h"
#include "slab/run_depot.h"
#include "slab/runs.h"
#include "slab/sampled.h"

/** With red zones a class serves so many bytes less. */
#define RED_BYTES 8
#define MAX_ALIGN (UINT64_C(1) << 30)
/** Whether a block so small, or smaller, was asked for with a smaller size is not asked. */
#define SMALLEST_HALVED 32

static const char *const class_names[QY_KMALLOC_CLASSES] = {
    "kmalloc-16",   "kmalloc-32",  "kmalloc-48",   "kmalloc-64",   "kmalloc-80",   "kmalloc-96",
    "kmalloc-112",  "kmalloc-128", "kmalloc-160",  "kmalloc-192",  "kmalloc-224",  "kmalloc-256",
    "kmalloc-320",  "kmalloc-384", "kmalloc-448",  "kmalloc-512",  "kmalloc-640",  "kmalloc-768",
    "kmalloc-896",  "kmalloc-1k",  "kmalloc-1280", "kmalloc-1536", "kmalloc-1792", "kmalloc-2k",
    "kmalloc-2560", "kmalloc-3k",  "kmalloc-3584", "kmalloc-4k",   "kmalloc-5k",   "kmalloc-6k",
    "kmalloc-7k",   "kmalloc-8k",  "kmalloc-10k",  "kmalloc-12k",  "kmalloc-14k",  "kmalloc-16k",
    "kmalloc-20k",  "kmalloc-24k", "kmalloc-28k",  "kmalloc-32k",
};

void qy_kmalloc_boot(struct qy_mm *mm, unsigned tag, uint32_t flags)
{
    mm->kmalloc_tag = (uint8_t)tag;
    mm->kmalloc_end = (uint8_t)(tag + QY_KMALLOC_CLASSES);
    qy_run_depot_init(&mm->run_depot);
    for (unsigned i = 0; i < sizeof(mm->class_of); i++)
        mm->class_of[i] = (uint8_t)(mm->kmalloc_tag + qy_kmalloc_class((i + 1) * QY_SMALL_STEP));
    mm->small_bytes = QY_SMALL_BYTES;
    mm->class_slack = flags & QY_SLAB_RED_ZONE ? RED_BYTES : 0;
    mm->hardened = flags & QY_SLAB_RED_ZONE;
    mm->largest_class_bytes = QY_KMALLOC_LARGEST - mm->class_slack;
}

const char *qy_kmalloc_class_name(unsigned class)
{
    return class_names[class];
}

/* ---- what is this block? ---- */

/** Of kmalloc's caches, or of those that came after them. */
static bool is_object(const struct qy_mm *mm, uint8_t tag)
{
    return tag >= mm->kmalloc_tag && tag < QY_TAG_RUN_CLASS;
}

/** Of the pool of sampled.c, whose first guard is no slab's. */
static bool is_sampled(const struct qy_mm *mm, uint8_t tag)
{
    return is_object(mm, tag) ? mm->cache_of[tag]->flags & QY_SLAB_SAMPLED
                              : tag == QY_TAG_GUARD && !mm->hardened;
}

enum fault_kind {
    FOREIGN,
    MISALIGNED,
    INTERIOR,
    FREED,
    INVALID
};

/** Why there is no block at an address that lies in no slab. */
static enum fault_kind kind_of(const struct qy_mm *mm, const void *block)
{
    uint64_t index = qy_address_index(mm, block);
    if (!qy_frame_online(mm, index))
        return FOREIGN;
    if (((uintptr_t)block & 15) != 0)
        return MISALIGNED;
    bool page_start = ((uintptr_t)block & (QY_PAGE_BYTES - 1)) == 0;
    uint64_t head = qy_run_head(mm, index);
    if (head != UINT64_MAX)
        return head == index && page_start ? FREED : INTERIOR;
    return qy_tag_get(&mm->tags[index]) == QY_TAG_NONE ? FREED : INVALID;
}

int qy_kmalloc_refuse(struct qy_mm *mm, const void *block, enum qy_act act)
{
    static const struct {
        const char *what[QY_NR_ACTS], *rule;
    } faults[] = {
        [FOREIGN] = {{"foreign free", "foreign query", "foreign realloc"}, "K1"},
        [MISALIGNED] = {{"misaligned free", "misaligned query", "misaligned realloc"}, "K2"},
        [INTERIOR] = {{"interior free", "interior query", "interior realloc"}, "K2"},
        [FREED] = {{"double free", "use after free", "use after free"}, "K3"},
        [INVALID] = {{"invalid free", "invalid query", "invalid realloc"}, "K3"},
    };
    uint64_t index = qy_address_index(mm, block);
    uint8_t tag = qy_frame_online(mm, index) ? qy_tag_get(&mm->tags[index]) : QY_TAG_NONE;
    if (is_sampled(mm, tag))
        return qy_sampled_refuse(mm->sampling.cache, block, act);
    if (is_object(mm, tag))
        return qy_slab_refuse(mm->cache_of[tag], block, act);
    enum fault_kind kind = kind_of(mm, block);
    struct qy_fault fault = {
        .what = faults[kind].what[act],
        .rule = faults[kind].rule,
        .address = (uintptr_t)block,
        .note = kind == FREED && tag == QY_TAG_NONE ? "or it was never allocated" : NULL,
    };
    if (kind != FOREIGN)
        qy_run_fill_in(&fault, mm,
                       tag == QY_TAG_GUARD ? qy_guarded_beside(mm, index) : qy_run_head(mm, index));
    return qy_fault_report(mm, &fault);
}

/* ---- allocate ---- */

static void *alloc_run_once(struct qy_mm *mm, size_t bytes, unsigned align_order, qy_gfp_t gfp)
{
    return mm->hardened ? qy_guarded_alloc(mm, bytes, align_order, gfp)
                        : qy_run_alloc(mm, qy_frames_for(bytes), align_order, gfp);
}

static void *alloc_run(struct qy_mm *mm, size_t bytes, unsigned align_order, qy_gfp_t gfp)
{
    void *block = alloc_run_once(mm, bytes, align_order, gfp);
    unsigned order = 64 - (unsigned)__builtin_clzll((qy_frames_for(bytes) - 1) | 1);
    unsigned rounds = 0;
    while (block == NULL && qy_reclaim_again(mm, gfp, order, &rounds))
        block = alloc_run_once(mm, bytes, align_order, gfp);
    return block;
}

/** The cache of that tag; it may be the first request for its class. */
static struct qy_kmem_cache *cache_of(struct qy_mm *mm, unsigned tag, qy_gfp_t gfp)
{
    struct qy_kmem_cache *cache = __atomic_load_n(&mm->cache_of[tag], __ATOMIC_ACQUIRE);
    unsigned class = tag - mm->kmalloc_tag;
    if (qy_likely(cache != NULL))
        return cache;
    return qy_cache_make_class(mm, tag, class_names[class], qy_kmalloc_class_bytes(class), gfp);
}

static void *alloc_of(struct qy_kmem_cache *cache, size_t bytes, qy_gfp_t gfp)
{
    if (cache == NULL)
        return NULL;
    if (!(cache->flags & QY_SLAB_CHECKED))
        return qy_kmem_cache_alloc(cache, gfp);
    return qy_checked_kmalloc(cache, bytes, gfp);
}

static void *alloc_class(struct qy_mm *mm, unsigned class, size_t bytes, qy_gfp_t gfp)
{
    return alloc_of(cache_of(mm, mm->kmalloc_tag + class, gfp), bytes, gfp);
}

/** The same above the small sizes, where a class may have a cache that fits better. */
static void *alloc_fitting(struct qy_mm *mm, size_t bytes, qy_gfp_t gfp)
{
    struct qy_kmem_cache *cache = cache_of(mm, qy_kmalloc_tag(mm, bytes), gfp);
    void *object = alloc_of(cache, bytes, gfp);
    struct qy_fit *fit = &mm->fit[qy_kmalloc_class(bytes)];
    if (cache != NULL && __atomic_load_n(&fit->own, __ATOMIC_RELAXED) == 0 &&
        (gfp & QY_GFP_DIRECT_RECLAIM) && !(cache->flags & QY_SLAB_CHECKED))
        qy_fit_look(mm, cache, fit, bytes);
    return object;
}

void *qy_kmalloc_slow(struct qy_mm *mm, size_t bytes, qy_gfp_t gfp)
{
    if (bytes == 0)
        bytes = 1;
    if (bytes > PTRDIFF_MAX || mm->small_bytes == 0 || (gfp & ~QY_GFP_MASK))
        return NULL;
    if (qy_unlikely(qy_sample_asks(mm))) {
        void *block = qy_sample(mm, bytes, 1, gfp);
        if (block != NULL)
            return block;
    }
    if (bytes > mm->largest_class_bytes)
        return alloc_run(mm, bytes, 0, gfp);
    if (bytes > QY_SMALL_BYTES && mm->class_slack == 0)
        return alloc_fitting(mm, bytes, gfp);
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
        class ++;
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
    if (bytes > PTRDIFF_MAX - align || mm->small_bytes == 0 || (gfp & ~QY_GFP_MASK))
        return NULL;
    if (qy_unlikely(qy_sample_asks(mm))) {
        void *block = qy_sample(mm, bytes, align, gfp);
        if (block != NULL)
            return block;
    }
    if (align <= QY_PAGE_BYTES && bytes + mm->class_slack <= QY_KMALLOC_LARGEST) {
        unsigned class = aligned_class(bytes + mm->class_slack, align);
        if (class < QY_KMALLOC_CLASSES && mm->class_slack == 0)
            return alloc_class(mm, class, bytes, gfp);
    }
    unsigned order = align <= QY_PAGE_BYTES ? 0 : (unsigned)__builtin_ctzll(align) - QY_PAGE_SHIFT;
    return alloc_run(mm, bytes, order, gfp);
}

/* ---- free ---- */

/** A magazine takes what it is given; here is time to look at it. */
static int free_object(struct qy_kmem_cache *cache, void *object)
{
    if (qy_likely(!(cache->flags & QY_SLAB_CHECKED)))
        return qy_slab_is_start(cache, object) ? qy_kmem_cache_free(cache, object)
                                               : qy_slab_refuse(cache, object, QY_ACT_FREE);
    return cache->flags & QY_SLAB_SAMPLED ? qy_sampled_free(cache, object)
                                          : qy_kmem_cache_free(cache, object);
}

int qy_kfree_slow(struct qy_mm *mm, void *block)
{
    if (block == NULL)
        return 0;
    if (qy_unlikely(mm->sampling.on))
        qy_sample_soon(mm);
    uint64_t index = qy_address_index(mm, block);
    if (!qy_frame_online(mm, index))
        return qy_kmalloc_refuse(mm, block, QY_ACT_FREE);
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    if (is_object(mm, tag))
        return free_object(mm->cache_of[tag], block);
    if (!qy_tag_is_run(tag) || ((uintptr_t)block & (QY_PAGE_BYTES - 1)) != 0)
        return qy_kmalloc_refuse(mm, block, QY_ACT_FREE);
    if (mm->hardened)
        return qy_guarded_free(mm, block);
    return qy_run_free(mm, block) ? 0 : qy_kmalloc_refuse(mm, block, QY_ACT_FREE);
}

int qy_kfree(struct qy_mm *mm, void *block)
{
    return qy_kfree_slow(mm, block);
}

static size_t run_bytes(const struct qy_mm *mm, uint64_t index, const void *block)
{
    if (((uintptr_t)block & (QY_PAGE_BYTES - 1)) != 0)
        return 0;
    return qy_run_bytes(mm, index);
}

/** Usable bytes of a block; 0: there is none at this address. */
static size_t size_of(struct qy_mm *mm, const void *block)
{
    uint64_t index = qy_address_index(mm, block);
    if (block == NULL || !qy_frame_online(mm, index))
        return 0;
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    if (qy_tag_is_run(tag))
        return run_bytes(mm, index, block);
    if (tag < QY_TAG_CACHE || mm->cache_of[tag] == NULL)
        return 0;
    struct qy_kmem_cache *cache = mm->cache_of[tag];
    if (qy_unlikely(cache->flags & QY_SLAB_SAMPLED))
        return qy_sampled_bytes(cache, block);
    if (cache->flags & QY_SLAB_CHECKED)
        return qy_checked_bytes(cache, block);
    return qy_slab_is_start(cache, block) ? cache->object_bytes : 0;
}

size_t qy_ksize(struct qy_mm *mm, const void *block)
{
    size_t bytes = size_of(mm, block);
    if (bytes == 0 && block != NULL && mm->hardened)
        qy_kmalloc_refuse(mm, block, QY_ACT_QUERY);
    return bytes;
}

/** May a block with so many usable bytes have been asked for with @bytes? Hardened, or sampled, it
 *  has just those, of 0 bytes 1. Else it has up to twice as many: rounded up to a class it has
 *  less than that, but realloc() leaves a block where it is down to half of it. Of a block that was
 *  asked for with an alignment nothing is known but that it is no smaller. */
static bool may_be_of(bool exact, size_t usable, size_t bytes, size_t align)
{
    if (exact)
        return bytes == usable || (bytes == 0 && usable == 1);
    return bytes <= usable && (bytes >= usable / 2 || usable <= SMALLEST_HALVED || align > 16);
}

static int refuse_size(struct qy_mm *mm, const void *block, const char *what, size_t number)
{
    char note[64];
    struct qy_text text;
    uint64_t index = qy_address_index(mm, block);
    struct qy_fault fault = {
        .what = "wrong size free", .rule = "K5", .address = (uintptr_t)block, .note = note};
    qy_text_init(&text, note, sizeof(note));
    qy_text_string(&text, what);
    qy_text_u64(&text, number);
    if (qy_tag_is_run(mm->tags[index])) {
        qy_run_fill_in(&fault, mm, index);
    } else if (is_sampled(mm, mm->tags[index])) {
        qy_sampled_fill_in(&fault, mm->cache_of[mm->tags[index]], block);
    } else {
        fault.cache = mm->cache_of[mm->tags[index]]->name;
        fault.object = (uintptr_t)block;
        fault.object_bytes = size_of(mm, block);
    }
    return qy_fault_report(mm, &fault);
}

int qy_kfree_check(struct qy_mm *mm, const void *block, size_t bytes, size_t align)
{
    size_t usable = size_of(mm, block);
    if (usable == 0)
        return 0;
    uint8_t tag = qy_tag_get(&mm->tags[qy_address_index(mm, block)]);
    if (!may_be_of(mm->hardened || is_sampled(mm, tag), usable, bytes, align))
        return refuse_size(mm, block, "freed with size ", bytes);
    if (((uintptr_t)block & (align - 1)) != 0)
        return refuse_size(mm, block, "freed with alignment ", align);
    return 0;
}

int qy_kmalloc_look_over(struct qy_mm *mm, uint64_t until_ns)
{
    int code = 0;
    for (unsigned tag = mm->kmalloc_tag; tag < mm->kmalloc_end && code == 0; tag++) {
        struct qy_kmem_cache *cache = __atomic_load_n(&mm->cache_of[tag], __ATOMIC_ACQUIRE);
        if (cache != NULL && (cache->flags & QY_SLAB_CHECKED))
            code = qy_checked_look_over(cache, until_ns);
    }
    return code == 0 && mm->hardened ? qy_guarded_look_over(mm, until_ns) : code;
}

/* ---- change of size ---- */

/** The block as it is, made longer or shorter where it lies; false: it has to move. */
static bool resize_in_place(struct qy_mm *mm, void *block, size_t old_bytes, size_t bytes)
{
    uint8_t tag = mm->tags[qy_address_index(mm, block)];
    if (qy_tag_is_run(tag) && mm->hardened)
        return qy_guarded_resize(mm, block, bytes);
    if (qy_tag_is_run(tag))
        return bytes > mm->largest_class_bytes && qy_run_resize(mm, block, qy_frames_for(bytes));
    if (mm->cache_of[tag]->flags & QY_SLAB_CHECKED)
        return false;
    return bytes <= old_bytes && bytes <= QY_KMALLOC_LARGEST && bytes > old_bytes / 2 && bytes != 0;
}

/** The block as a longer run. NULL: it is for somebody else to find memory, and to copy. */
static void *grow(struct qy_mm *mm, void *block, size_t old_bytes, size_t bytes, qy_gfp_t gfp)
{
    if (!mm->hardened)
        return qy_run_grow(mm, block, old_bytes, qy_frames_for(bytes), gfp);
    bool is_run = qy_tag_is_run(mm->tags[qy_address_index(mm, block)]);
    return is_run ? qy_guarded_move(mm, block, bytes, gfp) : NULL;
}

void *qy_krealloc(struct qy_mm *mm, void *block, size_t bytes, qy_gfp_t gfp)
{
    if (block == NULL)
        return qy_kmalloc(mm, bytes, gfp);
    size_t old_bytes = size_of(mm, block);
    if (old_bytes == 0) {
        qy_kmalloc_refuse(mm, block, QY_ACT_REALLOC);
        return NULL;
    }
    if (bytes == 0) {
        qy_kfree(mm, block);
        return NULL;
    }
    if (bytes > PTRDIFF_MAX || (gfp & ~QY_GFP_MASK))
        return NULL;
    if (resize_in_place(mm, block, old_bytes, bytes)) {
        if ((gfp & QY_GFP_ZERO) && bytes > old_bytes)
            __builtin_memset((char *)block + old_bytes, 0, bytes - old_bytes);
        return block;
    }
    void *moved = NULL;
    if (bytes > mm->largest_class_bytes && bytes > old_bytes)
        moved = grow(mm, block, old_bytes, bytes, gfp);
    if (moved != NULL)
        return moved;
    moved = qy_kmalloc(mm, bytes, gfp);
    if (moved == NULL)
        return NULL;
    __builtin_memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
    qy_kfree(mm, block);
    return moved;
}
