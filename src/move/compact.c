/*
 * compact.c - free frames come together: blocks that are almost empty are emptied
 *
 * WHAT    A block of an order is wanted. Of all places where one could be, those are emptied
 *         whose frames can all be moved and of which the fewest are used: first those with an
 *         eighth, then two, and so on. What is in them goes into the gaps of the fullest others: of
 *         which an eighth is free, then two, and so on. A block that is free itself is no gap.
 *         Where gaps have less than a block has, nothing can be gained any more.
 *
 *           order 2     |. x . .|x x . x|x . x x|. . x .|
 *                         `-------->'       ^-------'
 *           afterwards  |. . . .|x x x x|x x x x|. . . .|
 *
 * RULES   none of its own: qy_isolate() holds a block until it is whole, then it is let go.
 *
 * LOCKS   none; see isolate.c.
 *
 * COST    For each zone up to eight passes over the bits of its free frames for what to empty, and
 *         as many for where that goes; a look at the folios of what may be emptied, and the copies.
 *         A request that fails otherwise pays for four blocks at most.
 *
 * WHY     Linux moves from one end of a zone to the other (mm/compaction.c): that needs no search,
 *         and copies full pageblocks as well as empty ones.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "buddy/alloc.h"
#include "buddy/lend.h"
#include "move/move.h"

#include <quarry/buddy.h>

#define MOST_PASSES 8u

struct compaction {
    struct qy_move move; /* first: next_gap() is handed this */
    struct qy_cma_report found;
    const struct qy_zone *zone;
    unsigned order;
    uint64_t frames;   /* of a block */
    uint64_t wanted;   /* blocks; then it is enough */
    uint64_t gained;   /* blocks */
    uint64_t gaps;     /* free frames of the zone that are in no free block, about */
    uint64_t step;     /* with each pass so much more of a block may be used, or of a gap's free */
    uint64_t gap;      /* the block whose gaps are filled just now, */
    uint64_t gap_most; /* if no more of it is free */
};

/** It may just grow. */
QY_RACY static uint64_t end_of(const struct qy_mm *mm, const struct qy_zone *zone)
{
    return qy_frame_index(mm, zone->end_pfn);
}

/** How many frames of a block are free. */
QY_RACY static uint64_t count_free(const struct qy_mm *mm, uint64_t index, uint64_t frames)
{
    uint64_t block = index / QY_PAGEBLOCK_FRAMES;
    if (frames > QY_PAGEBLOCK_FRAMES)
        return (uint64_t)mm->blocks[block].nr_free + mm->blocks[block + 1].nr_free;
    if (frames == QY_PAGEBLOCK_FRAMES || mm->blocks[block].nr_free == 0)
        return mm->blocks[block].nr_free;
    uint64_t free = 0;
    for (uint64_t done = 0; done < frames; done += QY_WORD_BITS) {
        uint64_t word = qy_free_word(mm, index + done) >> index % QY_WORD_BITS;
        if (frames < QY_WORD_BITS)
            word &= (UINT64_C(1) << frames) - 1;
        free += qy_word_count(word);
    }
    return free;
}

/** Are its pageblocks the zone's, and no region's? Wholly free, they come to be of one type. */
QY_RACY static bool may_hold(const struct qy_mm *mm, const struct qy_zone *zone, uint64_t index,
                             uint64_t frames)
{
    return mm->blocks[index / QY_PAGEBLOCK_FRAMES].zone == zone->index &&
           qy_move_is_ordinary(mm, index, frames);
}

/** move.gap: where what is in the way goes. Each pass fills what the one before left. */
static qy_pfn_t next_gap(struct qy_move *move, unsigned *order)
{
    struct compaction *compaction = (struct compaction *)move;
    const struct qy_mm *mm = move->mm;
    uint64_t frames = compaction->frames, end = end_of(mm, compaction->zone);
    for (; compaction->gap_most <= frames; compaction->gap_most += compaction->step) {
        for (; compaction->gap + frames <= end; compaction->gap += frames) {
            uint64_t free = count_free(mm, compaction->gap, frames);
            if (free == 0 || free > compaction->gap_most || free == frames ||
                !may_hold(mm, compaction->zone, compaction->gap, frames))
                continue;
            qy_pfn_t pfn =
                qy_lend_gap(move->mm, mm->start_pfn + compaction->gap, compaction->order, order);
            if (pfn != QY_PFN_NONE)
                return pfn;
        }
        compaction->gap = qy_frame_index(mm, compaction->zone->start_pfn);
    }
    return QY_PFN_NONE;
}

/** Empty one block: it leaves the gaps, and what was in it fills others. False: it makes no sense
 *  to go on. */
static bool empty(struct compaction *compaction, uint64_t index)
{
    struct qy_move *move = &compaction->move;
    qy_pfn_t pfn = move->mm->start_pfn + index;
    compaction->found.nr_stuck = 0;
    int code = qy_isolate(move, pfn, compaction->frames);
    if (code == 0) {
        qy_unclaim(move->mm, move->claim, pfn, compaction->frames);
        compaction->gained++;
        compaction->gaps -= compaction->frames;
    }
    bool no_gaps =
        compaction->found.nr_stuck != 0 && compaction->found.stuck[0].reason == QY_CMA_NO_TARGET;
    return code != -QY_ETIME && !no_gaps && compaction->gained < compaction->wanted &&
           compaction->gaps >= compaction->frames;
}

/** All blocks of the zone of which at most so many frames are used, and more than in the pass
 *  before. */
static bool pass(struct compaction *compaction, uint64_t most_used)
{
    struct qy_mm *mm = compaction->move.mm;
    const struct qy_zone *zone = compaction->zone;
    uint64_t frames = compaction->frames;
    uint64_t end = end_of(mm, zone);
    for (uint64_t index = qy_frame_index(mm, zone->start_pfn); index + frames <= end;
         index += frames) {
        uint64_t used = frames - count_free(mm, index, frames);
        if (used + compaction->step <= most_used || used > most_used ||
            !may_hold(mm, zone, index, frames) || !qy_move_can_empty(mm, index, frames))
            continue;
        if (!empty(compaction, index))
            return false;
    }
    return true;
}

/** Of a zone's blocks of so many frames, those that are free; and in others, free frames. */
static uint64_t count_whole(const struct qy_mm *mm, const struct qy_zone *zone, uint64_t frames,
                            uint64_t *gaps)
{
    uint64_t whole = 0, end = end_of(mm, zone);
    for (uint64_t index = qy_frame_index(mm, zone->start_pfn); index + frames <= end;
         index += frames) {
        uint64_t free = may_hold(mm, zone, index, frames) ? count_free(mm, index, frames) : 0;
        whole += free == frames;
        *gaps += free < frames ? free : 0;
    }
    return whole;
}

static void compact_zone(struct compaction *compaction, const struct qy_zone *zone)
{
    uint64_t frames = compaction->frames, step = compaction->step;
    compaction->zone = zone;
    compaction->gap = qy_frame_index(compaction->move.mm, zone->start_pfn);
    compaction->gap_most = step;
    compaction->gaps = 0;
    count_whole(compaction->move.mm, zone, frames, &compaction->gaps);
    for (uint64_t most = step; most <= frames && compaction->gaps >= frames; most += step)
        if (!pass(compaction, most))
            return;
}

/** Zones begin where sections do, so blocks of every order lie in them as they do in memory. */
static void begin(struct compaction *compaction, struct qy_mm *mm, unsigned order, uint64_t most)
{
    qy_drain_all_pages(mm);
    *compaction = (struct compaction){
        .move = {.mm = mm, .claim = qy_claim_number(mm), .most = most, .gap = next_gap},
        .order = order,
        .frames = UINT64_C(1) << order,
        .wanted = UINT64_MAX,
    };
    compaction->step = compaction->frames < MOST_PASSES ? 1 : compaction->frames / MOST_PASSES;
    compaction->move.report = &compaction->found;
}

/** Free blocks of this size in all zones. */
static uint64_t count_all(const struct qy_mm *mm, uint64_t frames)
{
    uint64_t whole = 0, gaps = 0;
    for (unsigned i = 0; i < qy_nr_zones(mm); i++)
        if (qy_zone_populated(&mm->zones[i]))
            whole += count_whole(mm, &mm->zones[i], frames, &gaps);
    return whole;
}

uint64_t qy_compact(struct qy_mm *mm, unsigned order, uint64_t most_moved,
                    struct qy_compact_report *report)
{
    struct compaction compaction;
    uint64_t started = qy_port_clock_exact_ns();
    if (report != NULL)
        *report = (struct qy_compact_report){0};
    if (qy_port_inherited(mm) || mm->folios == NULL || order == 0 || order > QY_MAX_ORDER)
        return 0;
    begin(&compaction, mm, order, most_moved);
    uint64_t before = count_all(mm, compaction.frames);
    uint64_t blocks_before = count_all(mm, QY_PAGEBLOCK_FRAMES);
    for (unsigned i = 0; i < qy_nr_zones(mm); i++)
        if (qy_zone_populated(&mm->zones[i]))
            compact_zone(&compaction, &mm->zones[i]);
    uint64_t after = count_all(mm, compaction.frames);
    uint64_t blocks_after = count_all(mm, QY_PAGEBLOCK_FRAMES);
    if (report != NULL) {
        report->moved = compaction.found.moved;
        report->blocks_gained = blocks_after > blocks_before ? blocks_after - blocks_before : 0;
        report->ns = qy_port_clock_exact_ns() - started;
    }
    return after > before ? after - before : 0;
}

bool qy_compact_for(struct qy_mm *mm, qy_gfp_t gfp, unsigned order)
{
    struct compaction compaction;
    struct qy_request request;
    order = order < QY_MAX_ORDER ? order : QY_MAX_ORDER;
    if (!qy_request_read(&request, 0, gfp, order))
        return false;
    begin(&compaction, mm, order, UINT64_C(4) << order);
    compaction.wanted = 1;
    for (unsigned i = 0; i < qy_nr_zones(mm) && compaction.gained == 0; i++)
        if (qy_zone_room(&mm->zones[i], &request, QY_WMARK_MIN) >= compaction.frames)
            compact_zone(&compaction, &mm->zones[i]);
    return compaction.gained != 0;
}
