/*
 * move.h - getting certain frames back from those who have them
 *
 * WHAT    isolate.c gets a whole range or nothing, with migrate.c for what has to be copied.
 *         Whatever they do is counted in a struct qy_move, which also says when to stop.
 */
#ifndef QY_MOVE_MOVE_H
#define QY_MOVE_MOVE_H

#include "space/mapping.h"

#include <quarry/cma.h>

struct qy_move {
    struct qy_mm *mm;
    uint32_t claim;       /* number of the claim that holds and wants the frames */
    uint64_t deadline_ns; /* by qy_port_clock_exact_ns(); 0: none */
    uint64_t most;        /* frames that may be moved or written; 0: any number */
    uint64_t work;        /* and how many were */
    unsigned reclaims;    /* how often others were asked to give something up, in vain */
    unsigned naps;        /* how often it may sleep for what is not let go at once */
    qy_pfn_t no_target;   /* there was no frame to move this one to; 0: there always was */
    /* Compaction, room: nothing is dropped, and what moves goes where this says, 2^*order frames or
     * fewer at once. NULL: anywhere */
    qy_pfn_t (*gap)(struct qy_move *move, unsigned *order);
    struct qy_cma_report *report;
};

/** A frame cannot be had: the report names it, once. */
void qy_move_stuck(struct qy_move *move, qy_pfn_t pfn, enum qy_cma_reason reason);

/**
 * Make the frames [pfn, pfn + nr_frames), online and in one zone, HELD by the claim.
 *
 * 0; -EBUSY: some are stuck, as the report says; -ETIME. On an error the claim holds and wants
 * none of them. No lock held, and not in a slot; a mapping's callbacks may sleep.
 */
QY_MUST_CHECK int qy_isolate(struct qy_move *move, qy_pfn_t pfn, uint64_t nr_frames);

/** Sleeps, of 3.2 ms most of them, while somebody holds a frame for a moment: 0.1 s in all. */
#define QY_MOVE_NAPS 36u

/** Sleep, longer the more often it was done @before, not beyond the deadline. 0; -EBUSY: it has
 *  slept as often as it may; -ETIME. */
QY_MUST_CHECK int qy_move_nap(struct qy_move *move, unsigned before);

/** Why a frame that is not free cannot be had just now. */
enum qy_cma_reason qy_move_reason(struct qy_mm *mm, uint64_t index);

/** What it would take to have this frame. Racy. The caller is inside mm->grace. */
enum qy_folio_cost qy_move_cost(const struct qy_mm *mm, uint64_t index);

/** Are these frames online, of one zone, and no region's? Up to two pageblocks. Racy. */
bool qy_move_is_ordinary(const struct qy_mm *mm, uint64_t index, uint64_t frames);

/** Is each of so many frames free, or can its owner let go of it? Racy. */
bool qy_move_can_empty(struct qy_mm *mm, uint64_t index, uint64_t frames);

/** A block is wanted: can free frames be brought together for it? compact.c. */
bool qy_compact_for(struct qy_mm *mm, qy_gfp_t gfp, unsigned order);

/** Who cannot move is short: what the slabs keep idle, or room for him as movable pages go into
 *  regions. Returns how many frames; room.c. */
uint64_t qy_make_room(struct qy_mm *mm, qy_gfp_t gfp, unsigned order);

/**
 * See to it that up to @count WANTED frames from @pfn on are let go by their owner, who is one
 * and the same. Returns how many frames it dealt with, at least 1, whether they came or not;
 * -ETIME. The caller is inside mm->grace.
 */
int qy_migrate(struct qy_move *move, qy_pfn_t pfn, uint64_t count);

#endif
