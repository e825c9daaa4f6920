/*
 * kmem_cache.c - objects out of a cache and back: the public calls
 *
 * WHAT    Enter the slot, pop or push, leave. What the magazine cannot serve goes to
 *         magazine.c; caches whose objects are looked at each time go to checked.c. When
 *         there is no memory, the slot is left, everything that others hold idle is
 *         reclaimed, and the call is made again, as long as that frees anything.
 *
 * RULES   S1 .. S3  in slab/cache.h, checked at each free as far as the cache asks for it.
 *
 * LOCKS   none held here.
 *
 * COST    The common case: slab/magazine.h.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "slab/magazine.h"

static void *alloc_once(struct qy_kmem_cache *cache)
{
    struct qy_cpu *cpu = qy_slot_enter(cache->mm);
    void *object = cpu != NULL ? qy_magazine_pop(cpu, cache->tag) : NULL;
    if (object == NULL)
        object = cache->flags & QY_SLAB_CHECKED ? qy_checked_alloc(cache, cpu, cache->object_bytes)
                                                : qy_magazine_refill(cpu, cache);
    if (cpu != NULL)
        qy_cpu_leave(cpu);
    return object;
}

void *qy_kmem_cache_alloc(struct qy_kmem_cache *cache, qy_gfp_t gfp)
{
    struct qy_mm *mm = cache->mm;
    if (qy_unlikely(gfp & ~QY_GFP_MASK))
        return NULL;
    void *object = alloc_once(cache);
    unsigned rounds = 0;
    while (object == NULL && qy_reclaim_again(mm, gfp, cache->order, &rounds))
        object = alloc_once(cache);
    if (object != NULL && (gfp & QY_GFP_ZERO))
        __builtin_memset(object, 0, cache->object_bytes);
    return object;
}

int qy_kmem_cache_free(struct qy_kmem_cache *cache, void *object)
{
    struct qy_mm *mm = cache->mm;
    uint64_t index = qy_address_index(mm, object);
    if (qy_unlikely(index >= mm->nr_frames || mm->tags[index] != cache->tag))
        return qy_slab_refuse_foreign(cache, object);
    struct qy_cpu *cpu = qy_slot_enter(mm);
    int code = 0;
    bool again = false;
    if (cache->flags & QY_SLAB_CHECKED)
        code = qy_checked_free(cache, cpu, object);
    else if (cpu != NULL && qy_magazine_is_last(cpu, cache->tag, object))
        again = true;
    else if (cpu == NULL || !qy_magazine_push(cpu, cache->tag, object))
        code = qy_magazine_flush(cpu, cache, object);
    if (cpu != NULL)
        qy_cpu_leave(cpu);
    return again ? qy_slab_refuse(cache, object, QY_ACT_FREE) : code;
}

int qy_kmem_cache_alloc_bulk(struct qy_kmem_cache *cache, qy_gfp_t gfp, size_t count,
                             void **objects)
{
    for (size_t i = 0; i < count; i++) {
        objects[i] = qy_kmem_cache_alloc(cache, gfp);
        if (objects[i] == NULL) {
            qy_kmem_cache_free_bulk(cache, i, objects);
            return -QY_ENOMEM;
        }
    }
    return 0;
}

void qy_kmem_cache_free_bulk(struct qy_kmem_cache *cache, size_t count, void **objects)
{
    for (size_t i = 0; i < count; i++)
        qy_kmem_cache_free(cache, objects[i]);
}
