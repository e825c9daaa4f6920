/*
 * checked.c - caches whose objects are looked at on each call
 *
 * WHAT    With any of the checking flags a cache has no magazines: each object goes straight
 *         to its slab under the lock, where all is known. Beside each slab lie its objects'
 *         notes: how many bytes were asked for, and by whom.
 *
 *           red zone       the bytes from the requested size to the next object, and those
 *                          before a slab's first object, hold a pattern
 *           poison         free objects hold a pattern
 *           zero on free   free objects hold zero
 *           random         which free object goes out is drawn
 *
 *         What was overwritten is found when the object is freed, or, while it was free, when
 *         it goes out again.
 *
 * RULES   D1  Red zones on both sides of a live object are whole.
 *         D2  Free objects hold what they were filled with.
 *         S2, S3  in slab/cache.h: checked at each free, at once.
 *
 * LOCKS   cache->lock around every look and fill.
 *
 * COST    The lock pair, and the object's bytes once per alloc and once per free.
 */
#include "base/assert.h"
#include "memory/fault.h"
#include "slab/magazine.h"

#define RED_BYTE 0xbb
#define POISON_BYTE 0x6b
/** Red bytes looked at before an object: the end of its left neighbour. */
#define LEFT_BYTES 8

static unsigned char *object_at(const struct qy_slab *slab, unsigned index)
{
    return (unsigned char *)slab->base + (size_t)index * slab->cache->stride;
}

/** What free objects hold; -1: anything. */
static int filling(const struct qy_kmem_cache *cache)
{
    if (cache->flags & QY_SLAB_ZERO_ON_FREE)
        return 0;
    return cache->flags & QY_SLAB_POISON ? POISON_BYTE : -1;
}

static bool all_are(const unsigned char *bytes, size_t count, int value)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

/** Bytes at an object's end that nobody but the red zone may use. */
static size_t guard_bytes(const struct qy_kmem_cache *cache)
{
    return cache->flags & QY_SLAB_RED_ZONE ? LEFT_BYTES : 0;
}

static void fill_free(struct qy_slab *slab, unsigned index)
{
    struct qy_kmem_cache *cache = slab->cache;
    size_t guard = guard_bytes(cache);
    unsigned char *object = object_at(slab, index);
    if (filling(cache) >= 0)
        __builtin_memset(object, filling(cache), cache->stride - guard);
    __builtin_memset(object + cache->stride - guard, RED_BYTE, guard);
}

void qy_checked_prepare(struct qy_slab *slab)
{
    __builtin_memset(slab->base - slab->cache->first_offset, RED_BYTE,
                     slab->cache->first_offset);
    for (unsigned i = 0; i < slab->nr_objects; i++)
        fill_free(slab, i);
}

static int report(struct qy_slab *slab, unsigned index, const char *what, const char *rule)
{
    struct qy_kmem_cache *cache = slab->cache;
    return qy_fault_report(cache->mm,
                           &(struct qy_fault){
                               .what = what,
                               .rule = rule,
                               .address = (uintptr_t)object_at(slab, index),
                               .cache = cache->name,
                               .object = (uintptr_t)object_at(slab, index),
                               .object_bytes = slab->notes[index].bytes,
                           });
}

/* ---- allocate ---- */

static uint32_t draw(struct qy_kmem_cache *cache)
{
    cache->random ^= cache->random << 13;
    cache->random ^= cache->random >> 17;
    cache->random ^= cache->random << 5;
    return cache->random;
}

/** Change the first free object for one that is drawn: both bits stay what they were. */
static void *choose(struct qy_kmem_cache *cache, void *object)
{
    bool exact;
    struct qy_slab *slab = qy_slab_of(cache, object);
    if (!(cache->flags & QY_SLAB_RANDOM) || slab->nr_free == 0)
        return object;
    unsigned first = qy_slab_index(slab, object, &exact);
    unsigned drawn = draw(cache) % slab->nr_objects;
    for (unsigned i = 0; i < slab->nr_objects; i++, drawn = (drawn + 1) % slab->nr_objects)
        if (qy_bits_test(&slab->free, drawn)) {
            qy_bits_clear(&slab->free, drawn);
            qy_bits_set(&slab->free, first);
            return object_at(slab, drawn);
        }
    return object;
}

static void *take_one(struct qy_kmem_cache *cache, struct qy_cpu *cpu)
{
    void *object;
    qy_lock(&cache->lock);
    while (qy_slab_take_locked(cache, 1, &object) == 0) {
        qy_unlock(&cache->lock);
        if (qy_slab_grow(cache, cpu) != 0)
            return NULL;
        qy_lock(&cache->lock);
    }
    object = choose(cache, object);
    qy_unlock(&cache->lock);
    return object;
}

void *qy_checked_alloc(struct qy_kmem_cache *cache, struct qy_cpu *cpu, size_t bytes)
{
    bool exact;
    unsigned char *object = take_one(cache, cpu);
    if (object == NULL)
        return NULL;
    struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    size_t guard = guard_bytes(cache);
    slab->notes[index].bytes = (uint32_t)bytes;
    if (filling(cache) >= 0 && !all_are(object, cache->stride - guard, filling(cache)))
        report(slab, index, "use after free", "D2");
    if (cache->flags & QY_SLAB_RED_ZONE)
        __builtin_memset(object + bytes, RED_BYTE, cache->stride - guard - bytes);
    return object;
}

void *qy_checked_kmalloc(struct qy_kmem_cache *cache, size_t bytes, qy_gfp_t gfp)
{
    struct qy_mm *mm = cache->mm;
    void *object;
    unsigned rounds = 0;
    do {
        struct qy_cpu *cpu = qy_slot_enter(mm);
        object = qy_checked_alloc(cache, cpu, bytes);
        if (cpu != NULL)
            qy_cpu_leave(cpu);
    } while (object == NULL && qy_reclaim_again(mm, gfp, cache->order, &rounds));
    if (object != NULL && (gfp & QY_GFP_ZERO))
        __builtin_memset(object, 0, bytes);
    return object;
}

/* ---- free ---- */

/** Was anything written outside the object? */
static const char *damage(const struct qy_slab *slab, unsigned index)
{
    const struct qy_kmem_cache *cache = slab->cache;
    const unsigned char *object = object_at(slab, index);
    size_t bytes = slab->notes[index].bytes;
    if (!(cache->flags & QY_SLAB_RED_ZONE))
        return NULL;
    if (!all_are(object - LEFT_BYTES, LEFT_BYTES, RED_BYTE))
        return "underflow";
    if (bytes <= cache->stride && !all_are(object + bytes, cache->stride - bytes, RED_BYTE))
        return "overflow";
    return NULL;
}

int qy_checked_free(struct qy_kmem_cache *cache, struct qy_cpu *cpu, void *object)
{
    bool exact;
    struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    const char *rule = NULL;
    const char *what = NULL;
    (void)cpu;
    qy_lock(&cache->lock);
    if (!exact || index >= slab->nr_objects)
        rule = "S2";
    else if (qy_bits_test(&slab->free, index))
        rule = "S3";
    else
        what = damage(slab, index);
    if (rule == NULL && what == NULL) {
        fill_free(slab, index);
        rule = qy_slab_give_locked(cache, object);
    }
    qy_unlock(&cache->lock);
    if (what != NULL)
        return report(slab, index, what, "D1");
    return rule == NULL ? 0 : qy_slab_fault(cache, object, rule);
}

size_t qy_checked_bytes(struct qy_kmem_cache *cache, const void *object)
{
    bool exact;
    struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    if (!exact || index >= slab->nr_objects || qy_bits_test(&slab->free, index))
        return 0;
    return slab->notes[index].bytes;
}
