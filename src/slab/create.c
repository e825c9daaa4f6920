/*
 * create.c - the chain of caches: created, emptied, destroyed
 *
 * WHAT    A cache is a struct qy_kmem_cache, itself an object of the cache of caches. Three
 *         caches must be there before any other: slab headers (whose own headers lie on their
 *         slabs, or they would need themselves), magazines, and caches; they have no magazines.
 *         A slab has 8 pages, fewer if these hold 512 objects, more if a twentieth would be lost.
 *         kmalloc's caches have tags of their own, and are made when they are first asked for.
 *
 * RULES   S5  A cache is on the chain exactly when cache_of[its tag] names it.
 *         Checked by qy_check_slab() in view/rules_slab.c.
 *
 * LOCKS   chain_lock for the chain and the tags; cpus_lock before it where slots are emptied.
 *
 * COST    Cold.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "base/round.h"
#include "base/text.h"
#include "memory/fault.h"
#include "slab/kmalloc.h"
#include "slab/magazine.h"
#include "slab/run_depot.h"

#define TAG_OF_SLABS QY_TAG_CACHE
#define TAG_OF_MAGAZINES (QY_TAG_CACHE + 1)
#define TAG_OF_CACHES (QY_TAG_CACHE + 2)
#define LARGEST_OBJECT (UINT64_C(32) << 10)
#define LARGEST_SLAB_ORDER 7
#define LEAST_OBJECTS 4
#define USUAL_SLAB_ORDER 3
#define RED_ZONE_BYTES 16
/** What a loaded magazine, a slot's depot, and a cache's depot hold of one size. */
#define MAGAZINE_BYTES (UINT64_C(64) << 10)
#define SLOT_BYTES (UINT64_C(256) << 10)
#define DEPOT_BYTES (UINT64_C(1) << 20)

struct shape {
    const char *name;
    size_t object_bytes;
    size_t align;
    uint32_t flags;
    qy_ctor_t ctor;
};

struct qy_kmem_cache *qy_cache_of_slabs(struct qy_mm *mm)
{
    return mm->cache_of[TAG_OF_SLABS];
}

struct qy_kmem_cache *qy_cache_of_magazines(struct qy_mm *mm)
{
    return mm->cache_of[TAG_OF_MAGAZINES];
}

/* ---- the shape of a cache ---- */

static uint64_t clamp(uint64_t n, uint64_t low, uint64_t high)
{
    return n < low ? low : n > high ? high : n;
}

static uint64_t objects_in(const struct qy_kmem_cache *cache, unsigned order)
{
    return clamp(((QY_PAGE_BYTES << order) - cache->first_offset) / cache->stride, 0,
                 QY_SLAB_MOST_OBJECTS);
}

/** More than a twentieth of so large a slab would be in no object. */
static bool wasteful(const struct qy_kmem_cache *cache, unsigned order)
{
    uint64_t bytes = QY_PAGE_BYTES << order;
    return bytes - objects_in(cache, order) * cache->stride > bytes / 20;
}

static void choose_order(struct qy_kmem_cache *cache)
{
    unsigned order = 0;
    while (order < USUAL_SLAB_ORDER && objects_in(cache, order) < QY_SLAB_MOST_OBJECTS)
        order++;
    if (order > 0 && objects_in(cache, order) == QY_SLAB_MOST_OBJECTS && wasteful(cache, order))
        order--;
    while (order < LARGEST_SLAB_ORDER &&
           (objects_in(cache, order) < LEAST_OBJECTS || wasteful(cache, order)) &&
           objects_in(cache, order) < QY_SLAB_MOST_OBJECTS)
        order++;
    if (cache->flags & QY_SLAB_ON_SLAB)
        order = 0;
    if (cache->flags & QY_SLAB_SAMPLED)
        order = 1;
    cache->order = (uint8_t)order;
    cache->nr_objects = (uint16_t)(cache->flags & QY_SLAB_SAMPLED ? 1 : objects_in(cache, order));
}

static void choose_magazines(struct qy_kmem_cache *cache)
{
    if (cache->flags & QY_SLAB_RANDOM)
        cache->most_waiting = (uint16_t)clamp(MAGAZINE_BYTES / cache->stride, 8, 64);
    if (cache->flags & (QY_SLAB_CHECKED | QY_SLAB_NO_MAGAZINES | QY_SLAB_ON_SLAB))
        return;
    cache->places = (uint8_t)clamp(MAGAZINE_BYTES / cache->stride, 2, QY_MAGAZINE_MOST);
    uint64_t bytes = (uint64_t)cache->places * cache->stride;
    cache->most_in_slot = (uint8_t)clamp(SLOT_BYTES / bytes, 1, 8);
    cache->most_in_depot = (uint8_t)clamp(DEPOT_BYTES / bytes, 2, 16);
}

static void lay_out(struct qy_kmem_cache *cache, struct qy_mm *mm, const struct shape *shape)
{
    __builtin_memset(cache, 0, sizeof(*cache));
    qy_lock_init(&cache->lock, QY_RANK_CACHE);
    cache->mm = mm;
    cache->flags = shape->flags;
    cache->object_bytes = (uint32_t)shape->object_bytes;
    cache->align = (uint32_t)(shape->align != 0 ? shape->align : 16);
    cache->ctor = shape->ctor;
    cache->random = 0x9e3779b9u;
    bool red = shape->flags & QY_SLAB_RED_ZONE;
    cache->stride =
        (uint32_t)qy_round_up(shape->object_bytes + (red ? RED_ZONE_BYTES : 0), cache->align);
    if (shape->flags & QY_SLAB_ON_SLAB)
        cache->first_offset = (uint32_t)qy_round_up(sizeof(struct qy_slab), cache->align);
    else if (red)
        cache->first_offset = (uint32_t)qy_round_up(RED_ZONE_BYTES, cache->align);
    cache->reciprocal = ((UINT64_C(1) << QY_RECIPROCAL_SHIFT) + cache->stride - 1) / cache->stride;
    for (unsigned i = 0; i + 1 < QY_CACHE_NAME_BYTES && shape->name[i] != '\0'; i++)
        cache->name[i] = shape->name[i];
    qy_list_init(&cache->slabs_full.slabs);
    qy_list_init(&cache->slabs_partial.slabs);
    qy_list_init(&cache->slabs_empty.slabs);
    choose_order(cache);
    choose_magazines(cache);
    bool read = qy_request_read(
        &cache->request, 0,
        shape->flags & QY_SLAB_RECLAIMABLE ? QY_GFP_NOWAIT | QY_GFP_RECLAIMABLE : QY_GFP_NOWAIT,
        cache->order);
    qy_assert(read, "A1");
    (void)read;
}

static void enlist_locked(struct qy_mm *mm, struct qy_kmem_cache *cache, unsigned tag)
{
    cache->tag = (uint8_t)tag;
    qy_list_add_tail(&mm->chain, &cache->chain);
    __atomic_store_n(&mm->cache_of[tag], cache, __ATOMIC_RELEASE);
}

/* ---- the first ones ---- */

void qy_slab_boot(struct qy_mm *mm, uint32_t kmalloc_flags)
{
    static const struct shape first[] = {
        {"quarry_slab", sizeof(struct qy_slab), 64, QY_SLAB_ON_SLAB, NULL},
        {"quarry_magazine", QY_MAGAZINE_BYTES, QY_MAGAZINE_BYTES, QY_SLAB_NO_MAGAZINES, NULL},
        {"quarry_cache", sizeof(struct qy_kmem_cache), 64, QY_SLAB_NO_MAGAZINES, NULL},
    };
    struct qy_kmem_cache *caches = (void *)mm->first_caches;
    _Static_assert(sizeof(first) / sizeof(first[0]) * sizeof(*caches) <= QY_FIRST_CACHES_BYTES,
                   "the first caches lie in struct qy_mm");
    for (unsigned i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        lay_out(&caches[i], mm, &first[i]);
        qy_lock(&mm->chain_lock);
        enlist_locked(mm, &caches[i], QY_TAG_CACHE + i);
        qy_unlock(&mm->chain_lock);
    }
    qy_kmalloc_boot(mm, TAG_OF_CACHES + 1, kmalloc_flags);
}

/* ---- create ---- */

static int check_name(struct qy_mm *mm, const char *name, struct qy_error *error)
{
    size_t bytes = 0;
    if (name == NULL)
        return qy_error_set(error, -QY_EINVAL, "kmem_cache: no name", UINT64_MAX, "");
    for (; bytes < QY_CACHE_NAME_BYTES && name[bytes] != '\0'; bytes++)
        if (name[bytes] <= ' ' || name[bytes] > '~')
            return qy_error_set(error, -QY_EINVAL, "kmem_cache: name: byte ", bytes,
                                name[bytes] == ' ' ? " is a blank" : " is not printable ASCII");
    if (bytes == 0 || bytes >= QY_CACHE_NAME_BYTES)
        return qy_error_set(error, -QY_EINVAL, "kmem_cache: name must have 1 to ",
                            QY_CACHE_NAME_BYTES - 1, " bytes");
    for (unsigned class = 0; class < QY_KMALLOC_CLASSES; class ++)
        if (qy_text_equal(name, qy_kmalloc_class_name(class)))
            return qy_error_set(error, -QY_EEXIST, "kmem_cache: a class of kmalloc is called ",
                                UINT64_MAX, name);
    qy_list_for_each (link, &mm->chain) {
        const struct qy_kmem_cache *other = qy_list_entry(link, struct qy_kmem_cache, chain);
        if (qy_text_equal(name, other->name))
            return qy_error_set(error, -QY_EEXIST, "kmem_cache: there is a cache called ",
                                UINT64_MAX, name);
    }
    return 0;
}

static int check_shape(const struct qy_mm *mm, const struct shape *shape, struct qy_error *error)
{
    if (mm->base == 0)
        return qy_error_set(error, -QY_EINVAL, "kmem_cache: the CPU cannot reach this memory",
                            UINT64_MAX, "");
    if (shape->object_bytes == 0 || shape->object_bytes > LARGEST_OBJECT)
        return qy_error_set(error, -QY_EINVAL, "kmem_cache: object bytes must be 1 to ",
                            LARGEST_OBJECT, "");
    if (shape->align > QY_PAGE_BYTES || (shape->align & (shape->align - 1)) != 0)
        return qy_error_set(error, -QY_EINVAL, "kmem_cache: align is no power of two up to ",
                            QY_PAGE_BYTES, "");
    if (shape->flags & ~QY_SLAB_MASK)
        return qy_error_set(error, -QY_EINVAL, "kmem_cache: unknown flags ", shape->flags, "");
    if (shape->ctor != NULL && (shape->flags & (QY_SLAB_POISON | QY_SLAB_ZERO_ON_FREE)))
        return qy_error_set(error, -QY_EINVAL,
                            "kmem_cache: POISON or ZERO_ON_FREE would undo the constructor",
                            UINT64_MAX, "");
    return 0;
}

static struct qy_kmem_cache *create_locked(struct qy_mm *mm, const struct shape *shape,
                                           struct qy_kmem_cache *cache, struct qy_error *error)
{
    unsigned tag = mm->kmalloc_end;
    if (check_name(mm, shape->name, error) != 0)
        return NULL;
    while (tag < QY_TAG_RUN_CLASS && mm->cache_of[tag] != NULL)
        tag++;
    if (tag == QY_TAG_RUN_CLASS) {
        qy_error_set(error, -QY_ENOSPC, "kmem_cache: no more than ",
                     QY_TAG_RUN_CLASS - mm->kmalloc_end, " caches");
        return NULL;
    }
    lay_out(cache, mm, shape);
    enlist_locked(mm, cache, tag);
    return cache;
}

static struct qy_kmem_cache *create(struct qy_mm *mm, const struct shape *shape,
                                    struct qy_error *error)
{
    struct qy_kmem_cache *caches = mm->cache_of[TAG_OF_CACHES];
    void *memory = qy_kmem_cache_alloc(caches, QY_GFP_KERNEL);
    if (memory == NULL) {
        qy_error_set(error, -QY_ENOMEM, "kmem_cache: no memory for it", UINT64_MAX, "");
        return NULL;
    }
    qy_lock(&mm->chain_lock);
    struct qy_kmem_cache *cache = create_locked(mm, shape, memory, error);
    qy_unlock(&mm->chain_lock);
    if (cache == NULL)
        qy_kmem_cache_free(caches, memory);
    return cache;
}

struct qy_kmem_cache *qy_kmem_cache_create(struct qy_mm *mm, const char *name, size_t object_bytes,
                                           size_t align, uint32_t flags, qy_ctor_t ctor,
                                           struct qy_error *error)
{
    const struct shape shape = {name, object_bytes, align, flags, ctor};
    return check_shape(mm, &shape, error) == 0 ? create(mm, &shape, error) : NULL;
}

struct qy_kmem_cache *qy_cache_make_sampled(struct qy_mm *mm)
{
    const struct shape shape = {"quarry_sampled", QY_PAGE_BYTES, QY_PAGE_BYTES,
                                QY_SLAB_NO_MAGAZINES | QY_SLAB_SAMPLED, NULL};
    return create(mm, &shape, NULL);
}

struct qy_kmem_cache *qy_cache_make_class(struct qy_mm *mm, unsigned tag, const char *name,
                                          size_t object_bytes, qy_gfp_t gfp)
{
    struct shape shape = {name, object_bytes, 0, mm->options.kmalloc_flags, NULL};
    struct qy_kmem_cache *caches = mm->cache_of[TAG_OF_CACHES];
    struct qy_kmem_cache *cache = qy_kmem_cache_alloc(caches, gfp);
    if (cache == NULL)
        return NULL;
    qy_lock(&mm->chain_lock);
    struct qy_kmem_cache *others = mm->cache_of[tag];
    if (others == NULL) {
        lay_out(cache, mm, &shape);
        enlist_locked(mm, cache, tag);
    }
    qy_unlock(&mm->chain_lock);
    if (others == NULL)
        return cache;
    qy_kmem_cache_free(caches, cache);
    return others;
}

/* ---- empty and destroy ---- */

/** Empty a cache's magazines in every slot, and its depot. cpus_lock held, slots stopped. False: a
 *  slot that is suspended still has some. */
static bool drain_stopped(struct qy_mm *mm, struct qy_kmem_cache *cache)
{
    bool all = true;
    qy_checked_drain(cache);
    if (cache->places == 0)
        return true;
    qy_list_for_each (link, &mm->cpus) {
        struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        if (!qy_cpu_is_suspended(cpu))
            qy_magazine_drain(cpu, cache);
        else
            all = all && !qy_magazine_has_any(cpu, cache);
    }
    qy_depot_drain(cache, NULL);
    return all;
}

static size_t count_live(struct qy_kmem_cache *cache)
{
    qy_lock(&cache->lock);
    size_t slabs = cache->slabs_full.count + cache->slabs_partial.count + cache->slabs_empty.count;
    size_t live = slabs * cache->nr_objects - cache->nr_free;
    qy_unlock(&cache->lock);
    return live;
}

/** S5: what was destroyed is a cache no longer, and its tag may be another's. */
static bool is_on_chain(struct qy_mm *mm, const struct qy_kmem_cache *cache)
{
    qy_lock(&mm->chain_lock);
    bool is = mm->cache_of[cache->tag] == cache;
    qy_unlock(&mm->chain_lock);
    return is;
}

int qy_kmem_cache_destroy(struct qy_kmem_cache *cache, size_t *live)
{
    struct qy_mm *mm = cache->mm;
    if (!is_on_chain(mm, cache))
        return qy_fault_report(mm, &(struct qy_fault){.what = "second destruction",
                                                      .rule = "S5",
                                                      .address = (uintptr_t)cache,
                                                      .note = "it is no cache any more"});
    struct qy_kmem_cache *caches = mm->cache_of[TAG_OF_CACHES];
    qy_slots_stop(mm);
    bool busy = !drain_stopped(mm, cache) || cache->tag < mm->kmalloc_end; /* those are for ever */
    qy_lock(&mm->chain_lock);
    size_t still = count_live(cache);
    busy = busy || still != 0;
    if (!busy) {
        qy_list_remove(&cache->chain);
        mm->cache_of[cache->tag] = NULL;
    }
    qy_unlock(&mm->chain_lock);
    qy_slots_resume(mm);
    if (live != NULL)
        *live = still;
    if (busy)
        return -QY_EBUSY;
    qy_slab_release(cache, NULL, 0);
    qy_kmem_cache_free(caches, cache);
    return 0;
}

size_t qy_kmem_cache_shrink(struct qy_kmem_cache *cache)
{
    struct qy_mm *mm = cache->mm;
    qy_slots_stop(mm);
    drain_stopped(mm, cache);
    qy_slots_resume(mm);
    return qy_slab_release(cache, NULL, 0);
}

size_t qy_kmem_cache_shrink_all(struct qy_mm *mm)
{
    uint64_t before = qy_free_frames(mm);
    qy_for_each_stopped_cpu(mm, qy_slot_empty);
    qy_run_depot_drain(mm);
    qy_lock(&mm->chain_lock);
    qy_list_for_each (link, &mm->chain) {
        struct qy_kmem_cache *cache = qy_list_entry(link, struct qy_kmem_cache, chain);
        if (cache->flags & QY_SLAB_SAMPLED)
            continue; /* its pages are out of reach, and have no memory */
        if (cache->places != 0)
            qy_depot_drain(cache, NULL);
        qy_checked_drain(cache);
        qy_slab_release(cache, NULL, 0);
    }
    /* Headers last: each slab that goes gives one back. */
    for (unsigned tag = TAG_OF_CACHES + 1; tag-- > TAG_OF_SLABS;)
        if (mm->cache_of[tag] != NULL)
            qy_slab_release(mm->cache_of[tag], NULL, 0);
    qy_unlock(&mm->chain_lock);
    uint64_t after = qy_free_frames(mm);
    return after > before ? after - before : 0;
}
