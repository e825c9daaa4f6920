/*
 * holes.c - what caches hold idle, and the pages within slabs that nobody uses
 *
 * WHAT    A slab with one live object keeps all of its pages. Those on which no live object
 *         lies can lose their memory and stay where they are: the next object taken there
 *         faults it in again. It pays where most objects went and few stayed.
 *
 * RULES   S6  Only bytes of free objects, or of none, lose their content, and only in caches
 *             whose free objects hold nothing: without a constructor, and not checked.
 *         Asserted here, object by object; tests/unit/test_holes.c shows it.
 *
 * LOCKS   cache->lock throughout, across system calls: whoever asks for this has time.
 *
 * COST    A system call for each run of such pages.
 */
#include "slab/holes.h"

#include "base/assert.h"
#include "slab/cache.h"

/** No live object touches this page of the slab. */
static bool page_is_idle(const struct qy_slab *slab, unsigned page)
{
    uint32_t stride = slab->cache->stride;
    uint64_t first = page * QY_PAGE_BYTES / stride;
    uint64_t last = ((page + 1) * QY_PAGE_BYTES - 1) / stride;
    for (uint64_t i = first; i <= last && i < slab->nr_objects; i++)
        if (!qy_bits_test(&slab->free, (unsigned)i))
            return false;
    return true;
}

/** No live object has a byte in [from, to) of the slab: told from the objects, not the pages. */
static bool holds_nothing(const struct qy_slab *slab, uint64_t from, uint64_t to)
{
    const struct qy_kmem_cache *cache = slab->cache;
    for (unsigned i = 0; i < slab->nr_objects; i++) {
        uint64_t start = (uint64_t)i * cache->stride;
        if (!qy_bits_test(&slab->free, i) && start < to && start + cache->stride > from)
            return false;
    }
    return cache->ctor == NULL && !(cache->flags & QY_SLAB_CHECKED);
}

static uint64_t drop_idle_pages(struct qy_kmem_cache *cache, struct qy_slab *slab)
{
    unsigned pages = 1u << cache->order;
    uint64_t dropped = 0;
    for (unsigned page = 0; page < pages; page++) {
        unsigned end = page;
        while (end < pages && page_is_idle(slab, end))
            end++;
        size_t bytes = (size_t)(end - page) << QY_PAGE_SHIFT;
        qy_assert(bytes == 0 || holds_nothing(slab, page * QY_PAGE_BYTES, end * QY_PAGE_BYTES),
                  "S6");
        if (bytes != 0 &&
            qy_port_decommit(cache->mm, slab->base + page * QY_PAGE_BYTES, bytes) == 0)
            dropped += end - page;
        page = end;
    }
    return dropped;
}

static uint64_t trim_cache(struct qy_kmem_cache *cache)
{
    uint64_t dropped = 0;
    if (cache->ctor != NULL || cache->first_offset != 0 || (cache->flags & QY_SLAB_CHECKED))
        return 0;
    qy_lock(&cache->lock);
    qy_list_for_each (link, &cache->slabs_partial.slabs)
        dropped += drop_idle_pages(cache, qy_list_entry(link, struct qy_slab, link));
    qy_unlock(&cache->lock);
    return dropped;
}

uint64_t qy_slab_trim(struct qy_mm *mm)
{
    uint64_t dropped = 0;
    if (!mm->options.lazy_backing)
        return 0;
    qy_lock(&mm->chain_lock);
    qy_list_for_each (link, &mm->chain)
        dropped += trim_cache(qy_list_entry(link, struct qy_kmem_cache, chain));
    qy_unlock(&mm->chain_lock);
    return dropped;
}

static uint64_t idle_bytes(const struct qy_kmem_cache *cache)
{
    uint64_t objects = __atomic_load_n(&cache->nr_free, __ATOMIC_RELAXED) +
                       __atomic_load_n(&cache->nr_depot, __ATOMIC_RELAXED) * cache->places;
    return objects * cache->stride;
}

uint64_t qy_slab_idle(struct qy_mm *mm)
{
    uint64_t bytes = 0;
    for (unsigned class = 0; class < QY_KMALLOC_CLASSES; class ++) {
        uint32_t own = __atomic_load_n(&mm->fit[class].own, __ATOMIC_ACQUIRE);
        const struct qy_kmem_cache *cache =
            __atomic_load_n(&mm->cache_of[mm->kmalloc_tag + class], __ATOMIC_ACQUIRE);
        bytes += cache != NULL ? idle_bytes(cache) : 0;
        if (own != 0)
            bytes += idle_bytes(mm->cache_of[own & 0xff]);
    }
    return bytes >> QY_PAGE_SHIFT;
}
