/*
 * items.c - the caches and the named counters of a memory that is in use
 *
 * WHAT    An object is live when it is neither free in its slab nor in a magazine: of a
 *         slot, of a slot's full ones, or of the cache's depot. So active_objs is a
 *         difference, and nothing is counted when an object is taken or given.
 *         The names of meminfo and vmstat are Linux's where Linux has such a thing, so that
 *         free(1) and exporters find what they ask for; Quarry's own begin with quarry_.
 *
 * RULES   none: it only reads.
 *
 * LOCKS   cpus_lock for the walk along the slots, if it can be had at once (live.c).
 *
 * COST    A cache: a walk along the slots. All items: a pass over all caches; an item by itself,
 *         where nobody has room for the totals, as much.
 */
#include "reclaim/vmscan.h"
#include "slab/magazine.h"
#include "view/live.h"

/* ---- caches ---- */

/** Objects in the loaded magazine. Where it ends is in the pointer; whether there is one at
 *  all needs a look at it only when it seems full (slab/magazine.h). */
static uint64_t loaded_objects(const struct qy_kmem_cache *cache, void *const *top)
{
    uint64_t place = ((uintptr_t)top / sizeof(*top) - 1) % QY_MAGAZINE_WORDS;
    uint64_t bottom = QY_MAGAZINE_MOST - (uint64_t)cache->places;
    if (top == NULL || place <= bottom)
        return 0;
    if (place == QY_MAGAZINE_MOST && top[-1] == NULL)
        return 0;
    return place - bottom;
}

struct slot_walk {
    const struct qy_kmem_cache *cache;
    uint64_t objects;
};

static void count_slot(const struct qy_cpu *cpu, void *context)
{
    struct slot_walk *walk = context;
    const struct qy_kmem_cache *cache = walk->cache;
    walk->objects += loaded_objects(cache, cpu->top[cache->tag]);
    if (cpu->depot != NULL)
        walk->objects += (uint64_t)cpu->depot[cache->tag].nr_full * cache->places;
}

/** The index-th cache in order of creation; NULL: there are no more. */
static const struct qy_kmem_cache *cache_at(const struct qy_mm *mm, size_t index)
{
    for (unsigned tag = QY_TAG_CACHE; tag < QY_NR_TAGS; tag++)
        if (mm->cache_of[tag] != NULL && index-- == 0)
            return mm->cache_of[tag];
    return NULL;
}

static uint64_t cache_slabs(const struct qy_kmem_cache *cache)
{
    return cache->slabs_full.count + cache->slabs_partial.count + cache->slabs_empty.count;
}

bool qy_live_cache(const struct qy_live *live, size_t index, struct qy_cache_view *view)
{
    const struct qy_kmem_cache *cache = cache_at(live->mm, index);
    if (cache == NULL)
        return false;
    struct slot_walk walk = {.cache = cache};
    if (cache->places != 0)
        qy_live_slots(live, count_slot, &walk);
    uint64_t slabs = cache_slabs(cache);
    uint64_t in_depot = (uint64_t)cache->nr_depot * cache->places;
    uint64_t idle = cache->nr_free + in_depot + cache->nr_waiting + walk.objects;
    *view = (struct qy_cache_view){
        .num_objs = slabs * cache->nr_objects,
        .objsize = cache->stride,
        .objperslab = cache->nr_objects,
        .pagesperslab = UINT64_C(1) << (cache->order & 15),
        .limit = cache->places,
        .batchcount = cache->places,
        .sharedfactor = cache->most_in_depot,
        .active_slabs = slabs - cache->slabs_empty.count,
        .num_slabs = slabs,
        .sharedavail = in_depot,
    };
    view->active_objs = view->num_objs > idle ? view->num_objs - idle : 0;
    qy_view_name(view->name, cache->name);
    return true;
}

/* ---- named counters ---- */

static void count_caches(const struct qy_mm *mm, struct qy_totals *totals)
{
    for (unsigned tag = QY_TAG_CACHE; tag < QY_NR_TAGS; tag++) {
        const struct qy_kmem_cache *cache = mm->cache_of[tag];
        if (cache == NULL)
            continue;
        uint64_t frames = cache_slabs(cache) << (cache->order & 15);
        totals->slab += frames;
        totals->slab_reclaimable += cache->flags & QY_SLAB_RECLAIMABLE ? frames : 0;
        totals->refills += cache->nr_refills;
        totals->flushes += cache->nr_flushes;
    }
}

static void count_pages(const struct qy_mm *mm, struct qy_totals *totals)
{
    const struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    if (vmscan == NULL)
        return;
    totals->active = qy_lru_count(vmscan, QY_LRU_ACTIVE);
    totals->inactive = qy_lru_count(vmscan, QY_LRU_INACTIVE);
    totals->cached = totals->active + totals->inactive;
    totals->dirty = qy_figure(&vmscan->nr_dirty);
    totals->writeback = qy_figure(&vmscan->nr_writeback);
    for (unsigned i = 0; i < 2; i++) {
        totals->scanned[i] = qy_figure(&vmscan->scanned[i]);
        totals->reclaimed[i] = qy_figure(&vmscan->reclaimed[i]);
    }
    totals->refaults = qy_figure(&vmscan->refaults);
    totals->activated = qy_figure(&vmscan->activated);
}

static void count_all(const struct qy_live *live, struct qy_totals *totals)
{
    const struct qy_mm *mm = live->mm;
    *totals = (struct qy_totals){
        .peak = atomic_load_explicit(&mm->peak, memory_order_relaxed),
        .limit = mm->options.limit_pages,
        .meta = atomic_load_explicit(&mm->meta_bytes, memory_order_relaxed) / QY_PAGE_BYTES,
        .faults = atomic_load_explicit(&mm->nr_faults, memory_order_relaxed),
        .sampled = qy_figure(&mm->sampling.nr_allocs),
        .sampled_freed = qy_figure(&mm->sampling.nr_frees),
        .sampled_skipped = qy_figure(&mm->sampling.nr_skipped),
    };
    for (size_t z = 0; z < QY_MAX_ZONES; z++) {
        const struct qy_zone *zone = &mm->zones[z];
        if (!qy_zone_populated(zone))
            continue;
        totals->managed += zone->managed;
        totals->free += atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
        totals->pcp += qy_live_pcp(live, zone);
        totals->backed += qy_zone_backed(mm, zone);
        totals->taken += zone->nr_taken;
        totals->given += zone->nr_given;
        totals->stolen += zone->nr_stolen;
        totals->cma += zone->nr_cma;
        totals->cma_free += qy_live_free_cma(zone);
    }
    count_caches(mm, totals);
    count_pages(mm, totals);
    qy_live_requests(live, &totals->cma_success, &totals->cma_fail);
    uint64_t used = totals->managed - totals->free - totals->pcp;
    if (totals->peak < used) /* it is noted at slow paths */
        totals->peak = used;
}

/** What can be had without writing anything back. */
static uint64_t available_frames(const struct qy_totals *totals)
{
    uint64_t busy = totals->dirty + totals->writeback;
    return totals->free + totals->pcp + (totals->cached > busy ? totals->cached - busy : 0);
}

/** Frames of blocks that are larger than an object: neither free nor a slab's nor a file's. */
static uint64_t large_frames(const struct qy_totals *totals)
{
    uint64_t idle = totals->free + totals->pcp + totals->slab + totals->cached;
    return totals->managed > idle ? totals->managed - idle : 0;
}

enum figure {
    ZERO,
    MANAGED,
    FREE,
    AVAILABLE,
    PCP,
    BACKED,
    LARGE,
    SLAB,
    SLAB_RECLAIMABLE,
    SLAB_UNRECLAIMABLE,
    PEAK,
    LIMIT,
    META,
    TAKEN,
    GIVEN,
    STOLEN,
    CMA,
    CMA_FREE,
    CMA_SUCCESS,
    CMA_FAIL,
    REFILLS,
    FLUSHES,
    FAULTS,
    SAMPLED,
    SAMPLED_FREED,
    SAMPLED_SKIPPED,
    CACHED,
    ACTIVE,
    INACTIVE,
    DIRTY,
    WRITEBACK,
    SCAN_DIRECT,
    SCAN_KSWAPD,
    STEAL_DIRECT,
    STEAL_KSWAPD,
    REFAULTS,
    ACTIVATED,
    WRITE_PENDING
};

static uint64_t figure(const struct qy_totals *totals, enum figure which)
{
    const uint64_t values[] = {
        [ZERO] = 0,
        [MANAGED] = totals->managed,
        [FREE] = totals->free,
        [AVAILABLE] = available_frames(totals),
        [PCP] = totals->pcp,
        [BACKED] = totals->backed,
        [LARGE] = large_frames(totals),
        [SLAB] = totals->slab,
        [SLAB_RECLAIMABLE] = totals->slab_reclaimable,
        [SLAB_UNRECLAIMABLE] = totals->slab - totals->slab_reclaimable,
        [PEAK] = totals->peak,
        [LIMIT] = totals->limit,
        [META] = totals->meta,
        [TAKEN] = totals->taken,
        [GIVEN] = totals->given,
        [STOLEN] = totals->stolen,
        [CMA] = totals->cma,
        [CMA_FREE] = totals->cma_free,
        [CMA_SUCCESS] = totals->cma_success,
        [CMA_FAIL] = totals->cma_fail,
        [REFILLS] = totals->refills,
        [FLUSHES] = totals->flushes,
        [FAULTS] = totals->faults,
        [SAMPLED] = totals->sampled,
        [SAMPLED_FREED] = totals->sampled_freed,
        [SAMPLED_SKIPPED] = totals->sampled_skipped,
        [CACHED] = totals->cached,
        [ACTIVE] = totals->active,
        [INACTIVE] = totals->inactive,
        [DIRTY] = totals->dirty,
        [WRITEBACK] = totals->writeback,
        [SCAN_DIRECT] = totals->scanned[0],
        [SCAN_KSWAPD] = totals->scanned[1],
        [STEAL_DIRECT] = totals->reclaimed[0],
        [STEAL_KSWAPD] = totals->reclaimed[1],
        [REFAULTS] = totals->refaults,
        [ACTIVATED] = totals->activated,
        [WRITE_PENDING] = totals->dirty + totals->writeback,
    };
    return values[which];
}

struct item {
    const char *name;
    uint8_t set;
    uint8_t figure;
};

static const struct item items[] = {
    {"MemTotal", QY_ITEMS_MEMINFO, MANAGED},
    {"MemFree", QY_ITEMS_MEMINFO, FREE},
    {"MemAvailable", QY_ITEMS_MEMINFO, AVAILABLE},
    {"Buffers", QY_ITEMS_MEMINFO, ZERO},
    {"Cached", QY_ITEMS_MEMINFO, CACHED},
    {"SwapCached", QY_ITEMS_MEMINFO, ZERO},
    {"Active", QY_ITEMS_MEMINFO, ACTIVE},
    {"Inactive", QY_ITEMS_MEMINFO, INACTIVE},
    {"Active(file)", QY_ITEMS_MEMINFO, ACTIVE},
    {"Inactive(file)", QY_ITEMS_MEMINFO, INACTIVE},
    {"SwapTotal", QY_ITEMS_MEMINFO, ZERO},
    {"SwapFree", QY_ITEMS_MEMINFO, ZERO},
    {"Dirty", QY_ITEMS_MEMINFO, DIRTY},
    {"Writeback", QY_ITEMS_MEMINFO, WRITEBACK},
    {"Shmem", QY_ITEMS_MEMINFO, ZERO},
    {"KReclaimable", QY_ITEMS_MEMINFO, SLAB_RECLAIMABLE},
    {"Slab", QY_ITEMS_MEMINFO, SLAB},
    {"SReclaimable", QY_ITEMS_MEMINFO, SLAB_RECLAIMABLE},
    {"SUnreclaim", QY_ITEMS_MEMINFO, SLAB_UNRECLAIMABLE},
    {"Percpu", QY_ITEMS_MEMINFO, PCP},
    {"CmaTotal", QY_ITEMS_MEMINFO, CMA},
    {"CmaFree", QY_ITEMS_MEMINFO, CMA_FREE},
    {"quarry_large", QY_ITEMS_MEMINFO, LARGE},
    {"quarry_backed", QY_ITEMS_MEMINFO, BACKED},
    {"quarry_peak", QY_ITEMS_MEMINFO, PEAK},
    {"quarry_limit", QY_ITEMS_MEMINFO, LIMIT},
    {"quarry_meta", QY_ITEMS_MEMINFO, META},
    {"nr_free_pages", QY_ITEMS_VMSTAT, FREE},
    {"nr_free_cma", QY_ITEMS_VMSTAT, CMA_FREE},
    {"nr_inactive_file", QY_ITEMS_VMSTAT, INACTIVE},
    {"nr_active_file", QY_ITEMS_VMSTAT, ACTIVE},
    {"nr_slab_reclaimable", QY_ITEMS_VMSTAT, SLAB_RECLAIMABLE},
    {"nr_slab_unreclaimable", QY_ITEMS_VMSTAT, SLAB_UNRECLAIMABLE},
    {"workingset_refault_file", QY_ITEMS_VMSTAT, REFAULTS},
    {"workingset_activate_file", QY_ITEMS_VMSTAT, ACTIVATED},
    {"nr_file_pages", QY_ITEMS_VMSTAT, CACHED},
    {"nr_dirty", QY_ITEMS_VMSTAT, DIRTY},
    {"nr_writeback", QY_ITEMS_VMSTAT, WRITEBACK},
    {"pgsteal_kswapd", QY_ITEMS_VMSTAT, STEAL_KSWAPD},
    {"pgsteal_direct", QY_ITEMS_VMSTAT, STEAL_DIRECT},
    {"pgscan_kswapd", QY_ITEMS_VMSTAT, SCAN_KSWAPD},
    {"pgscan_direct", QY_ITEMS_VMSTAT, SCAN_DIRECT},
    {"cma_alloc_success", QY_ITEMS_VMSTAT, CMA_SUCCESS},
    {"cma_alloc_fail", QY_ITEMS_VMSTAT, CMA_FAIL},
    {"quarry_nr_pcp_pages", QY_ITEMS_VMSTAT, PCP},
    {"quarry_nr_backed_pages", QY_ITEMS_VMSTAT, BACKED},
    {"quarry_nr_large_pages", QY_ITEMS_VMSTAT, LARGE},
    {"quarry_peak_pages", QY_ITEMS_VMSTAT, PEAK},
    {"quarry_buddy_take", QY_ITEMS_VMSTAT, TAKEN},
    {"quarry_buddy_give", QY_ITEMS_VMSTAT, GIVEN},
    {"quarry_pageblock_steal", QY_ITEMS_VMSTAT, STOLEN},
    {"quarry_magazine_refill", QY_ITEMS_VMSTAT, REFILLS},
    {"quarry_magazine_flush", QY_ITEMS_VMSTAT, FLUSHES},
    {"quarry_wrong_free", QY_ITEMS_VMSTAT, FAULTS},
    {"quarry_sample_alloc", QY_ITEMS_VMSTAT, SAMPLED},
    {"quarry_sample_free", QY_ITEMS_VMSTAT, SAMPLED_FREED},
    {"quarry_sample_skip", QY_ITEMS_VMSTAT, SAMPLED_SKIPPED},
};

/** What is counted of the whole memory is the only node's, and stands with its first zone. */
static const struct item node_items[] = {
    {"nr_inactive_file", QY_ITEMS_NODE, INACTIVE},
    {"nr_active_file", QY_ITEMS_NODE, ACTIVE},
    {"nr_slab_reclaimable", QY_ITEMS_NODE, SLAB_RECLAIMABLE},
    {"nr_slab_unreclaimable", QY_ITEMS_NODE, SLAB_UNRECLAIMABLE},
    {"workingset_refault_file", QY_ITEMS_NODE, REFAULTS},
    {"workingset_activate_file", QY_ITEMS_NODE, ACTIVATED},
    {"nr_file_pages", QY_ITEMS_NODE, CACHED},
    {"nr_dirty", QY_ITEMS_NODE, DIRTY},
    {"nr_writeback", QY_ITEMS_NODE, WRITEBACK},
};

/** And of the only zone that has frames. Of several it is not known. */
static const struct item lone_items[] = {
    {"nr_zone_inactive_file", QY_ITEMS_ZONE, INACTIVE},
    {"nr_zone_active_file", QY_ITEMS_ZONE, ACTIVE},
    {"nr_zone_write_pending", QY_ITEMS_ZONE, WRITE_PENDING},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/** How many zones have frames, and which is the first. */
static size_t count_zones(const struct qy_mm *mm, uint64_t *first)
{
    size_t count = 0;
    for (size_t z = QY_MAX_ZONES; z-- > 0;) {
        if (!qy_zone_populated(&mm->zones[z]))
            continue;
        *first = z;
        count++;
    }
    return count;
}

/** @anew: nothing was counted yet. */
static bool whole_memory_item(const struct qy_live *live, const struct item *item, uint64_t owner,
                              bool anew, struct qy_item_view *view)
{
    struct qy_totals own = {0}, *totals = live->totals != NULL ? live->totals : &own;
    if (anew || totals == &own)
        count_all(live, totals);
    *view = (struct qy_item_view){.set = item->set, .owner = owner};
    qy_view_name(view->name, item->name);
    view->value = figure(totals, (enum figure)item->figure);
    if (item->set == QY_ITEMS_MEMINFO) {
        view->is_kb = true;
        view->value *= QY_PAGE_BYTES / 1024;
    }
    return true;
}

enum {
    NR_OF_ZONE = 6
};

/** The counters of each populated zone. */
static bool zone_item(const struct qy_live *live, size_t index, struct qy_item_view *view)
{
    static const char *const names[NR_OF_ZONE] = {
        "nr_free_pages",     "nr_free_cma",       "quarry_nr_backed_pages",
        "quarry_buddy_take", "quarry_buddy_give", "quarry_pageblock_steal",
    };
    for (size_t z = 0; z < QY_MAX_ZONES; z++) {
        const struct qy_zone *zone = &live->mm->zones[z];
        if (!qy_zone_populated(zone))
            continue;
        if (index >= NR_OF_ZONE) {
            index -= NR_OF_ZONE;
            continue;
        }
        const uint64_t values[NR_OF_ZONE] = {
            atomic_load_explicit(&zone->nr_free, memory_order_relaxed),
            qy_live_free_cma(zone),
            qy_zone_backed(live->mm, zone),
            zone->nr_taken,
            zone->nr_given,
            zone->nr_stolen,
        };
        *view = (struct qy_item_view){.set = QY_ITEMS_ZONE, .owner = z, .value = values[index]};
        qy_view_name(view->name, names[index]);
        return true;
    }
    return false;
}

bool qy_live_item(const struct qy_live *live, size_t index, struct qy_item_view *view)
{
    uint64_t first = 0;
    size_t nr_zones = count_zones(live->mm, &first);
    size_t nr_node = live->mm->nr_nodes == 1 && nr_zones > 0 ? COUNT_OF(node_items) : 0;
    size_t nr_lone = nr_zones == 1 ? COUNT_OF(lone_items) : 0;
    if (index < COUNT_OF(items))
        return whole_memory_item(live, &items[index], 0, index == 0, view);
    index -= COUNT_OF(items);
    if (index < nr_node)
        return whole_memory_item(live, &node_items[index], first, false, view);
    index -= nr_node;
    if (index < nr_zones * NR_OF_ZONE)
        return zone_item(live, index, view);
    index -= nr_zones * NR_OF_ZONE;
    return index < nr_lone && whole_memory_item(live, &lone_items[index], first, false, view);
}
