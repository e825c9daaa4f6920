/*
 * live.c - a lens upon a memory that is in use
 *
 * WHAT    What Linux counts, Quarry derives: the free blocks of each order are the maximal
 *         aligned runs of set bits of the pageblocks' maps, and there is only one way to
 *         divide a set of frames into those:
 *
 *         bits       1 1 1 1 0 1 1 1     order 2: [1 1 1 1]   order 0: . [1] . .
 *         runs of 2  1 . 1 . . . 1 .     order 1:              . . [1 1]
 *         runs of 4  1 . . . . . . .
 *
 *         So many runs of 2^k, less the two halves of each run of 2^(k+1), are the blocks.
 *
 * RULES   none: it only reads.
 *
 * LOCKS   cpus_lock for the walk along the slots, if it can be had at once. Zones are read
 *         without theirs: each word is true, two of them may be of different moments.
 *
 * COST    A zone: two cache lines a pageblock. Every loop has a bound that does not depend on
 *         what it reads.
 */
#include "view/live.h"
#include "buddy/pcp.h"
#include "memory/pageblock.h"
#include "slab/sampled.h"

void qy_count_blocks(const struct qy_bits512 *bits, uint64_t counts[QY_NR_ORDERS])
{
    uint64_t full = 0; /* bit w: word w is one whole run of 64 */
    for (unsigned w = 0; w < QY_BITS_WORDS; w++) {
        uint64_t runs = bits->word[w];
        for (unsigned order = 0; order < QY_WORD_ORDER && runs != 0; order++) {
            uint64_t wider = qy_word_fold(runs, order);
            counts[order] += qy_word_count(runs) - 2 * qy_word_count(wider);
            runs = wider;
        }
        full |= (runs & 1) << w;
    }
    for (unsigned order = 0; order < QY_PAGEBLOCK_ORDER - QY_WORD_ORDER; order++) {
        uint64_t wider = qy_word_fold(full, order);
        counts[order + QY_WORD_ORDER] += qy_word_count(full) - 2 * qy_word_count(wider);
        full = wider;
    }
    counts[QY_PAGEBLOCK_ORDER] += full;
}

void qy_view_name(char name[QY_VIEW_NAME], const char *from)
{
    size_t i = 0;
    for (; i < QY_VIEW_NAME - 1 && from[i] != '\0'; i++)
        name[i] = from[i];
    for (; i < QY_VIEW_NAME; i++)
        name[i] = '\0';
}

static void count_pageblock(const struct qy_mm *mm, uint32_t index, struct qy_zone_view *view)
{
    const struct qy_pageblock *block = &mm->blocks[index];
    unsigned type = block->migratetype;
    if (type >= QY_NR_MIGRATETYPES)
        return;
    if (type == QY_MIGRATE_GUARANTEED)
        type = QY_MIGRATE_CMA;
    view->nr_pageblocks[type]++;
    if (block->flags & QY_BLOCK_TAIL)
        return;
    if (block->order == QY_MAX_ORDER)
        view->nr_free_of[type][QY_MAX_ORDER]++;
    else if (block->nr_free > 0)
        qy_count_blocks(&mm->free_bits[index], view->nr_free_of[type]);
}

static void count_pageblocks(const struct qy_mm *mm, const struct qy_zone *zone,
                             struct qy_zone_view *view)
{
    qy_pfn_t start = zone->start_pfn, end = zone->end_pfn;
    if (start >= end || !qy_in_span(mm, start, end - start))
        return;
    uint32_t last = qy_block_of(mm, end - 1);
    for (uint32_t b = qy_block_of(mm, start); b <= last; b++) {
        const struct qy_pageblock *block = &mm->blocks[b];
        if ((block->flags & QY_BLOCK_ONLINE) && block->zone == zone->index)
            count_pageblock(mm, b, view);
    }
    for (unsigned type = 0; type < QY_NR_MIGRATETYPES; type++)
        for (unsigned order = 0; order < QY_NR_ORDERS; order++)
            view->nr_free[order] += view->nr_free_of[type][order];
}

/** cpus_lock, if it can be had soon. A look is no reason to wait. */
static bool lock_cpus(const struct qy_live *live)
{
    for (unsigned tries = 0; tries < 1000 && !live->is_copy; tries++) {
        if (qy_trylock(&live->mm->cpus_lock))
            return true;
        qy_port_relax();
    }
    return live->is_copy;
}

void qy_live_slots(const struct qy_live *live,
                   void (*count)(const struct qy_cpu *cpu, void *context), void *context)
{
    if (!lock_cpus(live))
        return;
    const struct qy_list *head = &live->mm->cpus, *link = head->next;
    for (size_t i = 0; i < QY_VIEW_CPUS && link != head; i++, link = link->next)
        count(qy_list_entry(link, struct qy_cpu, link), context);
    if (!live->is_copy)
        qy_unlock(&live->mm->cpus_lock);
}

/** A walk along the slots' lists of one zone. */
struct pcp_walk {
    const struct qy_zone *zone;
    uint64_t skip;         /* slots before the one that is wanted */
    uint64_t frames;       /* of all slots */
    uint64_t count, batch; /* of the one */
};

static void count_slot(const struct qy_cpu *cpu, void *context)
{
    struct pcp_walk *walk = context;
    bool is_wanted = walk->skip-- == 0;
    if (cpu->pcp == NULL || !qy_zone_populated(walk->zone))
        return;
    const struct qy_pcp *pcp = &cpu->pcp[walk->zone->pcp];
    uint64_t frames = qy_pcp_count(pcp);
    walk->frames += frames;
    if (is_wanted) {
        walk->count = frames;
        walk->batch = pcp->list[QY_MIGRATE_MOVABLE][0].batch;
    }
}

uint64_t qy_live_pcp(const struct qy_live *live, const struct qy_zone *zone)
{
    struct pcp_walk walk = {.zone = zone};
    qy_live_slots(live, count_slot, &walk);
    return walk.frames;
}

/** As many frames as a slot's lists of one zone hold at most. */
static uint64_t pcp_high(void)
{
    uint64_t high = 0;
    for (unsigned order = 0; order < QY_NR_ORDERS; order++)
        high += (uint64_t)QY_PCP_TYPES * qy_pcp_places(order) << order;
    return high;
}

/** The zone that has frames and @before others before it; QY_MAX_ZONES: there is none. */
static unsigned populated_zone(const struct qy_mm *mm, size_t before)
{
    unsigned zone = 0;
    while (zone < QY_MAX_ZONES && (!qy_zone_populated(&mm->zones[zone]) || before-- > 0))
        zone++;
    return zone;
}

static bool look_pageset(const struct qy_live *live, size_t index, struct qy_pageset_view *view)
{
    size_t nr_cpus = live->mm->nr_cpus < QY_VIEW_CPUS ? live->mm->nr_cpus : QY_VIEW_CPUS;
    unsigned zone = nr_cpus != 0 ? populated_zone(live->mm, index / nr_cpus) : QY_MAX_ZONES;
    if (zone == QY_MAX_ZONES)
        return false;
    struct pcp_walk walk = {
        .zone = &live->mm->zones[zone],
        .skip = index % nr_cpus,
    };
    qy_live_slots(live, count_slot, &walk);
    *view = (struct qy_pageset_view){
        .zone = zone,
        .cpu = index % nr_cpus,
        .count = walk.count,
        .batch = walk.batch,
        .high = pcp_high(),
        .high_min = pcp_high(),
        .high_max = pcp_high(),
    };
    return true;
}

static bool look_zone(const struct qy_live *live, size_t index, struct qy_zone_view *view)
{
    const struct qy_mm *mm = live->mm;
    if (index >= (size_t)mm->nr_nodes * QY_NR_ZONE_TYPES || index >= QY_MAX_ZONES)
        return false;
    const struct qy_zone *zone = &mm->zones[index];
    *view = (struct qy_zone_view){
        .node = zone->node,
        .populated = qy_zone_populated(zone),
        .start_pfn = zone->start_pfn,
        .spanned = zone->end_pfn - zone->start_pfn,
        .present = zone->present,
        .managed = zone->managed,
        .free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed),
        .min = zone->watermark[QY_WMARK_MIN],
        .low = zone->watermark[QY_WMARK_LOW],
        .high = zone->watermark[QY_WMARK_HIGH],
        .promo = zone->watermark[QY_WMARK_HIGH],
        .nr_protections = QY_NR_ZONE_TYPES,
    };
    qy_view_name(view->name, zone->name);
    for (unsigned type = 0; type < QY_NR_ZONE_TYPES; type++)
        view->protection[type] = zone->lowmem_reserve[type];
    if (!view->populated)
        return true;
    view->pcp = qy_live_pcp(live, zone);
    count_pageblocks(mm, zone, view);
    view->cma = view->nr_pageblocks[QY_MIGRATE_CMA] * QY_PAGEBLOCK_FRAMES;
    return true;
}

static bool look_memory(const struct qy_live *live, size_t index, struct qy_memory_view *view)
{
    const struct qy_mm *mm = live->mm;
    if (index > 0)
        return false;
    *view = (struct qy_memory_view){
        .page_bytes = QY_PAGE_BYTES,
        .migratetypes = (UINT64_C(1) << (QY_MIGRATE_ISOLATE + 1)) - 1,
        .allocated_peak = atomic_load_explicit(&mm->peak, memory_order_relaxed),
        .limit = mm->options.limit_pages,
        .meta_bytes = atomic_load_explicit(&mm->meta_bytes, memory_order_relaxed),
        .quarantined =
            __atomic_load_n(&mm->quarantine.nr_frames, __ATOMIC_RELAXED) + qy_sampled_untouched(mm),
    };
    uint64_t used = 0; /* the peak is noted at slow paths: now may be higher */
    for (size_t z = 0; z < QY_MAX_ZONES; z++) {
        const struct qy_zone *zone = &mm->zones[z];
        if (!qy_zone_populated(zone))
            continue;
        uint64_t idle = zone->nr_free + qy_live_pcp(live, zone);
        view->backed += qy_zone_backed(mm, zone);
        used += zone->managed > idle ? zone->managed - idle : 0;
    }
    if (view->allocated_peak < used)
        view->allocated_peak = used;
    return true;
}

static bool look(const void *from, enum qy_view_kind kind, size_t index, void *view)
{
    const struct qy_live *live = from;
    switch (kind) {
    case QY_VIEW_MEMORY:
        return look_memory(live, index, view);
    case QY_VIEW_ZONE:
        return look_zone(live, index, view);
    case QY_VIEW_PAGESET:
        return look_pageset(live, index, view);
    case QY_VIEW_CACHE:
        return qy_live_cache(live, index, view);
    case QY_VIEW_ITEM:
        return qy_live_item(live, index, view);
    case QY_VIEW_REGION:
        return qy_live_region(live, index, view);
    default:
        return false;
    }
}

struct qy_lens qy_live_lens(const struct qy_live *live)
{
    return (struct qy_lens){.from = live, .look = look};
}
