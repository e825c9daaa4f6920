/*
 * room.c - movable pages go into regions that lie idle, so that who cannot move has room
 *
 * WHAT    A region is of no use to the heap, but the pages that are in the heap's way can go there.
 *         That is the last resort, whatever the policy: when nobody gives anything up any more, a
 *         few blocks that can be emptied are, in pageblocks of those who cannot move if there
 *         are any. Where nothing of a region is free, pages of files make way there first.
 *
 *           ordinary    [heap page heap heap][page page page page]
 *                                                `-------->        a region  [ .  .  .  . ]
 *
 * RULES   none of its own: qy_isolate() holds a block until it is whole, then it is let go.
 *
 * LOCKS   none; see isolate.c.
 *
 * COST    A look at the folios of ordinary pageblocks up to what can be emptied, and the copies.
 *
 * WHY     Linux fails, or kills, with CMA idle (mm/page_alloc.c: only movable requests use it).
 */
#include "buddy/alloc.h"
#include "buddy/lend.h"
#include "move/move.h"
#include "reclaim/vmscan.h"
#include "slab/boot.h"

struct room {
    struct qy_move move;
    struct qy_cma_report found;
    struct qy_request request;
    uint64_t frames; /* of a block */
};

QY_RACY static uint64_t idle_frames(const struct qy_mm *mm)
{
    uint64_t frames = 0;
    for (unsigned z = 0; z < qy_nr_zones(mm); z++)
        frames += mm->zones[z].nr_free_of[QY_MIGRATE_CMA];
    return frames;
}

/** Have regions so many frames for those who move? Pages of files make way for them, those first
 *  that need not be written. */
static bool find_idle(struct qy_mm *mm, uint64_t frames)
{
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    for (unsigned write = 0; vmscan != NULL && write < 2 && idle_frames(mm) < frames; write++) {
        struct qy_scan scan = {.vmscan = vmscan,
                               .wanted = frames - idle_frames(mm),
                               .places = 1u << QY_LRU_REGION,
                               .write = write};
        qy_shrink_cache(&scan);
    }
    return idle_frames(mm) >= frames;
}

/** move.gap: into a region. */
static qy_pfn_t next_idle(struct qy_move *move, unsigned *order)
{
    return qy_lend_idle(move->mm, order);
}

/** May the block be emptied for this request? @mixed: only where others lie who cannot move. */
QY_RACY static bool serves(const struct room *room, uint64_t index, bool mixed)
{
    const struct qy_mm *mm = room->move.mm;
    const struct qy_pageblock *first = &mm->blocks[index / QY_PAGEBLOCK_FRAMES];
    return qy_move_is_ordinary(mm, index, room->frames) &&
           mm->zones[first->zone].type <= room->request.highest &&
           (!mixed || first->migratetype != QY_MIGRATE_MOVABLE);
}

/** Is it more than free frames that are kept back? */
static bool has_used(const struct qy_mm *mm, uint64_t index, uint64_t frames)
{
    while (frames > 0 && qy_frame_is_free(mm, index + frames - 1))
        frames--;
    return frames > 0;
}

/** Empty blocks until as many frames as are wanted came. Returns how many. */
static uint64_t empty_some(struct room *room, bool mixed)
{
    struct qy_move *move = &room->move;
    struct qy_mm *mm = move->mm;
    uint64_t end = qy_described_frames(mm), gained = 0;
    for (uint64_t at = 0; at + room->frames <= end && gained < QY_LEAST_WANTED;
         at += room->frames) {
        uint64_t moved = room->found.moved;
        if (!serves(room, at, mixed) || !has_used(mm, at, room->frames) ||
            !qy_move_can_empty(mm, at, room->frames))
            continue;
        if (!find_idle(mm, room->frames))
            break;
        int code = qy_isolate(move, mm->start_pfn + at, room->frames);
        if (code == 0) {
            qy_unclaim(mm, move->claim, mm->start_pfn + at, room->frames);
            gained += room->found.moved - moved;
        }
        if (room->found.nr_stuck != 0 && room->found.stuck[0].reason == QY_CMA_NO_TARGET)
            break;
        room->found.nr_stuck = 0;
    }
    return gained;
}

/** Blocks of this order are emptied. */
static uint64_t make_blocks(struct qy_mm *mm, const struct qy_request *request, unsigned order)
{
    struct room room = {
        .move = {.mm = mm, .claim = qy_claim_number(mm), .gap = next_idle},
        .request = *request,
        .frames = UINT64_C(1) << order,
    };
    room.move.report = &room.found;
    uint64_t frames = empty_some(&room, true);
    return frames > 0 ? frames : empty_some(&room, false);
}

uint64_t qy_make_room(struct qy_mm *mm, qy_gfp_t gfp, unsigned order)
{
    struct qy_request request;
    uint64_t frames = qy_slab_reclaim(mm, gfp, order);
    if (frames > 0 || order > QY_MAX_ORDER || (gfp & QY_GFP_MOVABLE) || qy_port_inherited(mm) ||
        !qy_request_read(&request, 0, gfp & ~QY_GFP_NOFAIL, 0))
        return frames;
    if (order < QY_LEAST_ORDER)
        frames = make_blocks(mm, &request, QY_LEAST_ORDER);
    return frames > 0 ? frames : make_blocks(mm, &request, order);
}
