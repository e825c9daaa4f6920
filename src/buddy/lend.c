/*
 * lend.c - frames for those who can give them back, and getting them back
 *
 * WHAT    Lending: a borrower's promise says which lists of a zone he is served from, and in
 *         which order:
 *
 *           promise      lists
 *           DROPPABLE    GUARANTEED, then as MOVABLE
 *           MOVABLE      CMA first (eager, or more than half of what is free), else MOVABLE,
 *                        CMA, then other types' (Linux: __rmqueue, __rmqueue_cma_fallback)
 *           OUTSIDE      as any other movable request
 *           PINNED       as any other unmovable request
 *
 *         Getting frames back: claim.c.
 *
 * RULES   T4, T5  in memory/folio.h. Checked by qy_check_folios() in view/rules_lent.c.
 *
 * LOCKS   zone->lock.
 *
 * COST    A lock pair for each call; 32 bytes a frame are written. Borrowers therefore take
 *         batches.
 */
#include "buddy/lend.h"

#include "base/assert.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"

/* ---- lending ---- */

static void mark_lent_locked(struct qy_mm *mm, uint64_t index, uint64_t count)
{
    for (uint64_t i = index; i < index + count; i++) {
        qy_assert(mm->tags[i] == QY_TAG_NONE, "T4");
        qy_tag_set(&mm->tags[i], QY_TAG_FOLIO);
        qy_folio_begin(&mm->folios[i], QY_FOLIO_LENT, 0);
    }
}

/** Are frames of regions lent before others? */
static bool regions_first(const struct qy_zone *zone)
{
    uint64_t nr_free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
    return zone->lends_eagerly || zone->nr_free_of[QY_MIGRATE_CMA] > nr_free / 2;
}

#define MOST_LISTS 3

/** The lists of a zone that come before stealing from others, in order. Returns how many. */
static unsigned lists_for(const struct qy_zone *zone, enum qy_lend promise,
                          uint8_t lists[MOST_LISTS])
{
    unsigned count = 0;
    if (promise == QY_LEND_OUTSIDE || promise == QY_LEND_PINNED)
        return 0;
    if (promise == QY_LEND_DROPPABLE)
        lists[count++] = QY_MIGRATE_GUARANTEED;
    bool first = regions_first(zone);
    lists[count++] = first ? QY_MIGRATE_CMA : QY_MIGRATE_MOVABLE;
    lists[count++] = first ? QY_MIGRATE_MOVABLE : QY_MIGRATE_CMA;
    return count;
}

static bool read_request(struct qy_mm *mm, struct qy_request *request, qy_gfp_t gfp,
                         enum qy_lend promise, unsigned order)
{
    gfp &= ~(QY_GFP_MOVABLE | QY_GFP_RECLAIMABLE);
    if (promise != QY_LEND_PINNED)
        gfp |= QY_GFP_MOVABLE;
    if (mm->folios == NULL || !qy_request_read(request, 0, gfp, order))
        return false;
    request->lends = promise == QY_LEND_MOVABLE || promise == QY_LEND_DROPPABLE;
    return true;
}

static qy_pfn_t take_block_locked(struct qy_mm *mm, struct qy_zone *zone, enum qy_lend promise,
                                  const struct qy_request *request, bool *fresh)
{
    uint8_t lists[MOST_LISTS];
    unsigned count = lists_for(zone, promise, lists);
    qy_pfn_t pfn = QY_PFN_NONE;
    for (unsigned i = 0; i < count && pfn == QY_PFN_NONE; i++)
        pfn = qy_buddy_take_locked(mm, zone, lists[i], request->order, fresh);
    if (pfn == QY_PFN_NONE)
        pfn = qy_zone_take_locked(mm, zone, request, fresh);
    if (pfn != QY_PFN_NONE)
        mark_lent_locked(mm, qy_frame_index(mm, pfn), UINT64_C(1) << request->order);
    return pfn;
}

static qy_pfn_t take_block(struct qy_mm *mm, enum qy_lend promise, const struct qy_request *request,
                           enum qy_watermark watermark, bool *fresh)
{
    struct qy_zone *zone;
    qy_for_each_zone (zone, mm, request->node) {
        if (qy_zone_room(zone, request, watermark) < UINT64_C(1) << request->order)
            continue;
        qy_lock(&zone->lock);
        qy_pfn_t pfn = take_block_locked(mm, zone, promise, request, fresh);
        qy_unlock(&zone->lock);
        if (pfn != QY_PFN_NONE)
            return pfn;
    }
    return QY_PFN_NONE;
}

qy_pfn_t qy_lend_block(struct qy_mm *mm, qy_gfp_t gfp, enum qy_lend promise, unsigned order,
                       bool *fresh)
{
    struct qy_request request;
    *fresh = false;
    if (!read_request(mm, &request, gfp, promise, order))
        return QY_PFN_NONE;
    qy_pfn_t pfn = take_block(mm, promise, &request, QY_WMARK_LOW, fresh);
    while (pfn == QY_PFN_NONE && mm->options.grow &&
           qy_grow(mm, &request, UINT64_C(1) << order) == 0)
        pfn = take_block(mm, promise, &request, QY_WMARK_LOW, fresh);
    if (pfn == QY_PFN_NONE)
        qy_wake_reclaimer(mm, gfp);
    if (pfn == QY_PFN_NONE)
        pfn = take_block(mm, promise, &request, QY_WMARK_MIN, fresh);
    qy_tell(mm);
    return pfn;
}

/** Where the first word lies that has free frames, of a block of an ordinary type that has others;
 *  else UINT64_MAX. */
static uint64_t find_gap_locked(const struct qy_mm *mm, uint64_t index, unsigned below,
                                uint64_t mask)
{
    uint64_t found = UINT64_MAX, end = index + (UINT64_C(1) << below);
    bool whole = true;
    for (; index < end; index += QY_WORD_BITS) {
        uint64_t word = qy_free_word(mm, index) & mask;
        if (mm->blocks[index / QY_PAGEBLOCK_FRAMES].migratetype >= QY_MIGRATE_HIGHATOMIC)
            return UINT64_MAX;
        whole &= word == mask;
        found = found == UINT64_MAX && word != 0 ? index : found;
    }
    return whole ? UINT64_MAX : found;
}

qy_pfn_t qy_lend_gap(struct qy_mm *mm, qy_pfn_t pfn, unsigned below, unsigned *order)
{
    uint64_t index = qy_frame_index(mm, pfn);
    unsigned width = below < QY_WORD_ORDER ? below : QY_WORD_ORDER;
    uint64_t mask = qy_word_mask(width) << index % QY_WORD_BITS;
    struct qy_zone *zone = qy_zone_of(mm, pfn);
    qy_lock(&zone->lock);
    uint64_t found = find_gap_locked(mm, index, below, mask);
    pfn = QY_PFN_NONE;
    if (found != UINT64_MAX) {
        bool fresh;
        uint64_t word = qy_free_word(mm, found) & mask;
        unsigned largest = (unsigned)qy_word_largest(word);
        *order = largest < *order ? largest : *order;
        found = found / QY_WORD_BITS * QY_WORD_BITS + qy_word_best_fit(word, *order);
        pfn = mm->start_pfn + found;
        qy_buddy_take_at_locked(mm, zone, pfn, *order, &fresh);
        mark_lent_locked(mm, found, UINT64_C(1) << *order);
    }
    qy_unlock(&zone->lock);
    return pfn;
}

qy_pfn_t qy_lend_idle(struct qy_mm *mm, unsigned *order)
{
    qy_pfn_t pfn = QY_PFN_NONE;
    for (unsigned z = 0; z < qy_nr_zones(mm) && pfn == QY_PFN_NONE; z++) {
        struct qy_zone *zone = &mm->zones[z];
        qy_lock(&zone->lock);
        unsigned lists = zone->nonempty[QY_MIGRATE_CMA];
        if (lists != 0) {
            bool fresh;
            unsigned largest = 31 - (unsigned)__builtin_clz(lists);
            *order = largest < *order ? largest : *order;
            pfn = qy_buddy_take_locked(mm, zone, QY_MIGRATE_CMA, *order, &fresh);
            mark_lent_locked(mm, qy_frame_index(mm, pfn), UINT64_C(1) << *order);
        }
        qy_unlock(&zone->lock);
    }
    return pfn;
}

/** Single frames of a migratetype, lent, and neighbours in the order of their numbers. */
static unsigned lend_frames_locked(struct qy_mm *mm, struct qy_zone *zone,
                                   enum qy_migratetype migratetype, unsigned count,
                                   uint32_t *frames)
{
    unsigned taken = qy_buddy_take_frames_locked(mm, zone, migratetype, count, count, frames, NULL);
    for (unsigned i = 0, last = taken; i < last--; i++) {
        uint32_t frame = frames[i];
        frames[i] = frames[last];
        frames[last] = frame;
    }
    for (unsigned i = 0; i < taken; i++)
        mark_lent_locked(mm, frames[i] & ~QY_FRAME_FRESH, 1);
    return taken;
}

/** Single frames of one zone; the last resort is a block of order 0. */
static unsigned take_frames_locked(struct qy_mm *mm, struct qy_zone *zone, enum qy_lend promise,
                                   const struct qy_request *request, unsigned count,
                                   uint32_t *frames)
{
    uint8_t lists[MOST_LISTS];
    unsigned nr_lists = lists_for(zone, promise, lists);
    unsigned taken = 0;
    for (unsigned i = 0; i < nr_lists; i++)
        taken += lend_frames_locked(mm, zone, lists[i], count - taken, frames + taken);
    while (taken < count) {
        bool fresh = false;
        qy_pfn_t pfn = take_block_locked(mm, zone, promise, request, &fresh);
        if (pfn == QY_PFN_NONE)
            break;
        frames[taken++] = (uint32_t)qy_frame_index(mm, pfn) | (fresh ? QY_FRAME_FRESH : 0);
    }
    return taken;
}

static unsigned take_frames(struct qy_mm *mm, enum qy_lend promise,
                            const struct qy_request *request, enum qy_watermark watermark,
                            unsigned count, uint32_t *frames)
{
    unsigned taken = 0;
    struct qy_zone *zone;
    qy_for_each_zone (zone, mm, request->node) {
        uint64_t room = qy_zone_room(zone, request, watermark);
        unsigned most = count - taken < room ? count - taken : (unsigned)room;
        if (most == 0)
            continue;
        qy_lock(&zone->lock);
        taken += take_frames_locked(mm, zone, promise, request, most, frames + taken);
        qy_unlock(&zone->lock);
    }
    return taken;
}

unsigned qy_lend_frames(struct qy_mm *mm, qy_gfp_t gfp, enum qy_lend promise, unsigned count,
                        uint32_t *frames)
{
    struct qy_request request;
    if (!read_request(mm, &request, gfp, promise, 0))
        return 0;
    unsigned taken = take_frames(mm, promise, &request, QY_WMARK_LOW, count, frames);
    while (taken < count && mm->options.grow && qy_grow(mm, &request, count - taken) == 0)
        taken += take_frames(mm, promise, &request, QY_WMARK_LOW, count - taken, frames + taken);
    if (taken < count)
        qy_wake_reclaimer(mm, gfp);
    if (taken < count)
        taken += take_frames(mm, promise, &request, QY_WMARK_MIN, count - taken, frames + taken);
    return taken;
}

QY_RACY static bool has_guaranteed(const struct qy_zone *zone)
{
    return zone->nr_free_of[QY_MIGRATE_GUARANTEED] != 0;
}

unsigned qy_lend_guaranteed(struct qy_mm *mm, unsigned count, uint32_t *frames)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < qy_nr_zones(mm) && taken < count; i++) {
        struct qy_zone *zone = &mm->zones[i];
        if (!has_guaranteed(zone))
            continue;
        qy_lock(&zone->lock);
        taken += lend_frames_locked(mm, zone, QY_MIGRATE_GUARANTEED, count - taken, frames + taken);
        qy_unlock(&zone->lock);
    }
    return taken;
}
