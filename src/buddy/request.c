/*
 * request.c - what a request may have of a zone: how many frames, and in whose pageblocks
 *
 * WHAT    What a request asks for is read out of its gfp once (struct qy_request). A zone keeps
 *         from it what lies below the watermark of the step, its lowmem reserve, and frames of
 *         contiguous regions if it cannot give them back.
 *         Within a zone: the lists of the request's own migratetype, then a pageblock taken
 *         over from another (Linux: fallbacks[], steal_suitable_fallback), then single
 *         blocks out of others' pageblocks.
 *
 * RULES   A1  A zone is not taken below the watermark of the step, its lowmem reserve
 *             included.
 *
 * LOCKS   zone->lock where a block is looked for. How many frames there are is read without: two
 *         requests at once may take a zone below a watermark by as much as both ask for.
 *
 * COST    A look at each list of a zone at most.
 */
#include "base/assert.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"
#include "buddy/pcp.h"

bool qy_request_read(struct qy_request *request, unsigned node, qy_gfp_t gfp, unsigned order)
{
    if ((gfp & ~QY_GFP_MASK) || order > QY_MAX_ORDER)
        return false;
    if ((gfp & QY_GFP_MOVABLE) && (gfp & QY_GFP_RECLAIMABLE))
        return false;
    if ((gfp & QY_GFP_NOFAIL) && (!(gfp & QY_GFP_DIRECT_RECLAIM) || order > 1))
        return false;
    *request = (struct qy_request){.gfp = gfp, .order = order, .node = node};
    request->migratetype = gfp & QY_GFP_MOVABLE       ? QY_MIGRATE_MOVABLE
                           : gfp & QY_GFP_RECLAIMABLE ? QY_MIGRATE_RECLAIMABLE
                                                      : QY_MIGRATE_UNMOVABLE;
    request->highest = gfp & QY_GFP_DMA       ? QY_ZONE_DMA
                       : gfp & QY_GFP_DMA32   ? QY_ZONE_DMA32
                       : gfp & QY_GFP_MOVABLE ? QY_ZONE_MOVABLE
                                              : QY_ZONE_NORMAL;
    return true;
}

/* ---- how many ---- */

QY_RACY bool qy_zone_may_use(const struct qy_zone *zone, const struct qy_request *request)
{
    if (!qy_zone_populated(zone))
        return false;
    if (zone->type > request->highest)
        return false;
    return !(request->gfp & QY_GFP_THISNODE) || zone->node == request->node;
}

/** What each step leaves in a zone. */
QY_RACY static uint64_t mark_of(const struct qy_zone *zone, const struct qy_request *request,
                                enum qy_watermark watermark)
{
    uint64_t mark = zone->watermark[watermark];
    return request->gfp & QY_GFP_HIGH && watermark == QY_WMARK_MIN ? mark / 2 : mark;
}

/** How many free frames the step keeps from the request. */
QY_RACY static uint64_t kept_from(const struct qy_zone *zone, const struct qy_request *request,
                                  enum qy_watermark watermark)
{
    uint64_t keep = mark_of(zone, request, watermark) + zone->lowmem_reserve[request->highest];
    if (!request->lends)
        keep += zone->nr_free_of[QY_MIGRATE_CMA] + zone->nr_free_of[QY_MIGRATE_GUARANTEED];
    return keep;
}

QY_RACY uint64_t qy_zone_room(const struct qy_zone *zone, const struct qy_request *request,
                              enum qy_watermark watermark)
{
    if (!qy_zone_may_use(zone, request))
        return 0;
    uint64_t keep = kept_from(zone, request, watermark);
    uint64_t nr_free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
    return nr_free > keep ? nr_free - keep : 0;
}

QY_RACY uint64_t qy_zone_lacks(const struct qy_zone *zone, const struct qy_request *request,
                               uint64_t nr_frames)
{
    if (!qy_zone_may_use(zone, request))
        return UINT64_MAX;
    uint64_t keep = kept_from(zone, request, QY_WMARK_MIN) + nr_frames;
    uint64_t nr_free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
    return keep > nr_free ? keep - nr_free : 0;
}

bool qy_zone_may_serve(const struct qy_zone *zone, const struct qy_request *request,
                       uint64_t nr_frames)
{
    return qy_zone_room(zone, request, QY_WMARK_LOW) >= nr_frames;
}

/* ---- which ---- */

#define NR_FALLBACKS 2

/** Whose pageblocks a request may use next (Linux: mm/page_alloc.c, fallbacks[]). */
static const uint8_t fallbacks[QY_PCP_TYPES][NR_FALLBACKS] = {
    [QY_MIGRATE_UNMOVABLE] = {QY_MIGRATE_RECLAIMABLE, QY_MIGRATE_MOVABLE},
    [QY_MIGRATE_MOVABLE] = {QY_MIGRATE_RECLAIMABLE, QY_MIGRATE_UNMOVABLE},
    [QY_MIGRATE_RECLAIMABLE] = {QY_MIGRATE_UNMOVABLE, QY_MIGRATE_MOVABLE},
};

/** The pageblock with the largest free block among those of a migratetype. */
static uint32_t largest_block(const struct qy_zone *zone, unsigned migratetype)
{
    unsigned lists = zone->nonempty[migratetype];
    if (lists == 0)
        return QY_BLOCK_NONE;
    return zone->list[migratetype][31 - __builtin_clz(lists)].first;
}

/** May a pageblock be taken over? One of which half is free, or more; those who cannot
 *  move take any that has a large block, so that they spoil few (Linux:
 *  can_steal_fallback). */
static bool worth_taking_over(const struct qy_pageblock *pb, enum qy_migratetype migratetype)
{
    if (pb->nr_free >= QY_PAGEBLOCK_FRAMES / 2)
        return true;
    return migratetype != QY_MIGRATE_MOVABLE && pb->order >= QY_PAGEBLOCK_ORDER / 2;
}

void qy_zone_take_over_locked(struct qy_mm *mm, struct qy_zone *zone,
                              enum qy_migratetype migratetype, unsigned order)
{
    qy_assert_held(&zone->lock);
    if (zone->nonempty[migratetype] >> order != 0)
        return;
    for (unsigned i = 0; i < NR_FALLBACKS; i++) {
        uint32_t block = largest_block(zone, fallbacks[migratetype][i]);
        if (block == QY_BLOCK_NONE || mm->blocks[block].order < (int)order ||
            !worth_taking_over(&mm->blocks[block], migratetype))
            continue;
        /* A pair as a whole: halves of two types would stay apart if nobody took from them. */
        bool pair = mm->blocks[block].order == QY_MAX_ORDER;
        qy_buddy_set_migratetype_locked(mm, zone, block, migratetype);
        if (pair)
            qy_buddy_set_migratetype_locked(mm, zone, block ^ 1u, migratetype);
        zone->nr_stolen += 1 + pair;
        return;
    }
}

qy_pfn_t qy_zone_find_locked(struct qy_mm *mm, struct qy_zone *zone,
                             const struct qy_request *request)
{
    qy_assert_held(&zone->lock);
    qy_zone_take_over_locked(mm, zone, request->migratetype, request->order);
    qy_pfn_t pfn = qy_buddy_find_locked(mm, zone, request->migratetype, request->order);
    for (unsigned i = 0; i < NR_FALLBACKS && pfn == QY_PFN_NONE; i++)
        pfn = qy_buddy_find_locked(mm, zone, fallbacks[request->migratetype][i], request->order);
    return pfn;
}

qy_pfn_t qy_zone_take_locked(struct qy_mm *mm, struct qy_zone *zone,
                             const struct qy_request *request, bool *fresh)
{
    qy_assert_held(&zone->lock);
    qy_pfn_t pfn = qy_zone_find_locked(mm, zone, request);
    if (pfn != QY_PFN_NONE)
        qy_buddy_take_at_locked(mm, zone, pfn, request->order, fresh);
    return pfn;
}
