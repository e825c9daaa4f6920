/*
 * isolate.c - all of a range, or nothing
 *
 * WHAT    Round after round: claim the range (buddy/lend.h), then ask the owners of what is
 *         wanted to let go. Free frames are held from the first round on, so the range only
 *         empties. A frame that belongs to nobody who could move it ends the attempt, unless it
 *         was just on its way: between a slot's list and the buddy, or held by trim. Then the
 *         lists are drained and the range is looked at once more. What its owner cannot let go
 *         of yet (pinned for a moment, read, written) is waited for: eight rounds in which
 *         others run, and then asleep, as often as the caller allows.
 *
 * RULES   none of its own. After a failure the claim holds and wants nothing of the range.
 *
 * LOCKS   none held; inside mm->grace while owners are asked.
 *
 * COST    A lock pair for each pageblock and round; see migrate.c.
 */
#include "move/move.h"

#include "base/assert.h"
#include "base/errno.h"
#include "buddy/alloc.h"
#include "buddy/lend.h"
#include "reclaim/vmscan.h"

#include <quarry/buddy.h>

/** Rounds in which nothing came, before what is left is called busy; or before it sleeps. */
#define MOST_IDLE_ROUNDS 8

/** The first sleep, after which each is twice as long up to the last: 50 us .. 3.2 ms. */
#define FIRST_NAP_NS UINT64_C(50000)
#define MOST_DOUBLINGS 6u

QY_RACY static bool is_wanted(const struct qy_move *move, uint64_t index)
{
    const struct qy_folio *folio = &move->mm->folios[index];
    return qy_tag_get(&move->mm->tags[index]) == QY_TAG_FOLIO && folio->state == QY_FOLIO_WANTED &&
           folio->holder == move->claim;
}

/** Ask the owners of wanted frames of one pageblock once. */
static int ask_owners_within(struct qy_move *move, uint64_t index, uint64_t end)
{
    struct qy_mm *mm = move->mm;
    unsigned ticket = qy_grace_enter(&mm->grace);
    int code = 0;
    while (index < end && code >= 0 && move->no_target == 0) {
        uint64_t next = index;
        while (next < end && is_wanted(move, next))
            next++;
        if (next == index) {
            index++;
            continue;
        }
        code = qy_migrate(move, mm->start_pfn + index, next - index);
        index += code > 0 ? (uint64_t)code : 0;
    }
    qy_grace_leave(&mm->grace, ticket);
    return code < 0 ? code : 0;
}

/** All of them, or until there is no room for what they have. Whoever takes a mapping away waits
 *  for a pageblock's moves at most. */
static int ask_owners(struct qy_move *move, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t index = qy_frame_index(move->mm, pfn), end = index + nr_frames;
    int code = 0;
    while (index < end && code == 0 && move->no_target == 0) {
        uint64_t next = qy_block_end(index, end);
        code = ask_owners_within(move, index, next);
        index = next;
    }
    return code;
}

/** Is it nobody's just now? Then it may be free in a moment. */
static bool is_on_its_way(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return qy_tag_get(&mm->tags[qy_frame_index(mm, pfn)]) == QY_TAG_NONE;
}

/** Frames that no owner can be asked for: do they come by themselves? */
static bool settle(struct qy_move *move, const struct qy_claimed *found)
{
    struct qy_mm *mm = move->mm;
    if (!is_on_its_way(mm, found->first_stuck))
        return false;
    qy_drain_all_pages(mm);
    qy_lock(&mm->grow_lock); /* trim gives back what it took before it lets go of this */
    qy_unlock(&mm->grow_lock);
    return true;
}

static bool is_late(const struct qy_move *move)
{
    return move->deadline_ns != 0 && qy_port_clock_exact_ns() >= move->deadline_ns;
}

/** There was no frame to move one to: somebody gives something up, in a region as well, or it is
 *  stuck. Not inside mm->grace, for who gives up memory may wait until nobody is. */
static void find_room(struct qy_move *move)
{
    qy_pfn_t pfn = move->no_target;
    move->no_target = 0;
    if (move->gap == NULL && move->reclaims++ < QY_MOST_RECLAIMS &&
        qy_reclaim_until(move->mm, QY_GFP_HIGHUSER_MOVABLE, 0, move->deadline_ns) > 0)
        return;
    if (!is_late(move)) /* else the next round says so */
        qy_move_stuck(move, pfn, QY_CMA_NO_TARGET);
}

int qy_move_nap(struct qy_move *move, unsigned before)
{
    uint64_t ns = FIRST_NAP_NS << (before < MOST_DOUBLINGS ? before : MOST_DOUBLINGS);
    if (move->naps == 0)
        return -QY_EBUSY;
    if (move->deadline_ns != 0) {
        uint64_t now = qy_port_clock_exact_ns();
        if (now >= move->deadline_ns)
            return -QY_ETIME;
        ns = ns < move->deadline_ns - now ? ns : move->deadline_ns - now;
    }
    move->naps--;
    qy_port_nap(ns);
    return 0;
}

/** Nothing came in so many rounds: others run, and then this sleeps. As qy_move_nap(). */
static int wait_for_owners(struct qy_move *move, unsigned idle)
{
    if (idle > MOST_IDLE_ROUNDS)
        return qy_move_nap(move, idle - MOST_IDLE_ROUNDS - 1);
    if (idle > 1)
        qy_port_yield();
    return 0;
}

/** Name what did not come. */
static void name_stuck(struct qy_move *move, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t index = qy_frame_index(move->mm, pfn);
    for (uint64_t i = index; i < index + nr_frames; i++) {
        if (!qy_frame_is_free(move->mm, i) &&
            !qy_claim_holds(move->mm, move->claim, move->mm->start_pfn + i, 1))
            qy_move_stuck(move, move->mm->start_pfn + i, qy_move_reason(move->mm, i));
    }
}

static int give_up(struct qy_move *move, qy_pfn_t pfn, uint64_t nr_frames, int code)
{
    if (code == -QY_EBUSY)
        name_stuck(move, pfn, nr_frames);
    qy_unclaim(move->mm, move->claim, pfn, nr_frames);
    return code;
}

int qy_isolate(struct qy_move *move, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t held = 0;
    unsigned idle = 0;
    for (;;) {
        struct qy_claimed found = {0};
        qy_claim(move->mm, move->claim, pfn, nr_frames, &found);
        if (found.held == nr_frames)
            return 0;
        if (move->report->nr_stuck != 0) {
            qy_unclaim(move->mm, move->claim, pfn, nr_frames);
            return -QY_EBUSY;
        }
        idle = found.held > held ? 0 : idle + 1;
        move->reclaims = idle == 0 ? 0 : move->reclaims;
        held = found.held;
        int code =
            found.stuck == 0 || settle(move, &found) ? wait_for_owners(move, idle) : -QY_EBUSY;
        if (code == 0)
            code = ask_owners(move, pfn, nr_frames);
        if (code != 0)
            return give_up(move, pfn, nr_frames, code);
        if (move->no_target != 0)
            find_room(move);
    }
}
