/*
 * lend.h - frames for those who can give them back, and getting them back
 *
 * WHAT    Lent frames carry a folio (memory/folio.h). They may come out of contiguous regions,
 *         as the zone's regions say. Whoever needs certain frames claims them: the free ones
 *         are held at once, the lent ones are marked WANTED and come as soon as their owners
 *         let go. A claim excludes nobody from other frames, so any number go on side by side.
 *
 * RULES   T4, T5  in memory/folio.h; checked by qy_check_folios() in view/rules_lent.c.
 *
 * LOCKS   zone->lock inside. Callers hold no zone's lock, and are in no slot; a mapping's lock
 *         may be held.
 */
#ifndef QY_BUDDY_LEND_H
#define QY_BUDDY_LEND_H

#include "memory/mm.h"

/** What the borrower will do when he is asked. */
enum qy_lend {
    QY_LEND_MOVABLE,   /* lets the frame be moved */
    QY_LEND_DROPPABLE, /* gives it up at once, or lets it be moved */
    QY_LEND_OUTSIDE,   /* lets it be moved, but wants none of a region: the target of a move */
    QY_LEND_PINNED     /* will hold it in place for long */
};

/** Take a block as 2^order folios, LENT, in no mapping yet. *fresh: it reads as zero. Grows the
 *  memory if it may; never reclaims. QY_PFN_NONE: there is none. */
QY_MUST_CHECK qy_pfn_t qy_lend_block(struct qy_mm *mm, qy_gfp_t gfp, enum qy_lend promise,
                                     unsigned order, bool *fresh);

/** Of the aligned block of 2^@below frames at @pfn, which lies in one zone, but not if all of it is
 *  free, or in a region: 2^*order frames, or fewer in one piece, as *order then says. QY_PFN_NONE:
 *  none of it. */
QY_MUST_CHECK qy_pfn_t qy_lend_gap(struct qy_mm *mm, qy_pfn_t pfn, unsigned below, unsigned *order);

/** Of any zone's regions, but not guaranteed ones: 2^*order frames, or fewer in one piece, as
 *  *order then says. No watermark keeps them. QY_PFN_NONE: none is free. */
QY_MUST_CHECK qy_pfn_t qy_lend_idle(struct qy_mm *mm, unsigned *order);

/** As qy_lend_block(), up to @count single frames: indexes in the span, some with QY_FRAME_FRESH
 *  (buddy.h). Returns how many. */
QY_MUST_CHECK unsigned qy_lend_frames(struct qy_mm *mm, qy_gfp_t gfp, enum qy_lend promise,
                                      unsigned count, uint32_t *frames);

/** The same, of guaranteed regions alone: no watermark keeps them, for nobody else can use them. */
QY_MUST_CHECK unsigned qy_lend_guaranteed(struct qy_mm *mm, unsigned count, uint32_t *frames);

/** Lent frames that are in no mapping any more go back; those that are WANTED to who wants them. */
void qy_lend_return(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames);

/** A number for a claim, so that nobody lets go of another's frames. */
uint32_t qy_claim_number(struct qy_mm *mm);

/** What a claim found; added to what stands there. */
struct qy_claimed {
    uint64_t held;   /* free frames, now HELD; those held by this claim already, as well */
    uint64_t wanted; /* lent ones, now WANTED */
    uint64_t stuck;  /* neither: allocated, or of another claim */
    qy_pfn_t first_stuck;
};

/** Claim the frames [pfn, pfn + nr_frames), which are online and in one zone; again and again if
 *  need be. */
void qy_claim(struct qy_mm *mm, uint32_t number, qy_pfn_t pfn, uint64_t nr_frames,
              struct qy_claimed *found);

/** Let go: frames HELD by the claim are free again, those that it wants are lent as before. Other
 *  frames of the range are left alone. Returns how many became free. */
uint64_t qy_unclaim(struct qy_mm *mm, uint32_t number, qy_pfn_t pfn, uint64_t nr_frames);

/** Is the whole range HELD by this claim? */
bool qy_claim_holds(struct qy_mm *mm, uint32_t number, qy_pfn_t pfn, uint64_t nr_frames);

/** Frames that were taken from the buddy and carry no tag become HELD. */
void qy_claim_adopt(struct qy_mm *mm, uint32_t number, qy_pfn_t pfn, uint64_t nr_frames);

/** The pageblocks of a range are kept for another use from now on, whoever has their frames. */
void qy_lend_set_type(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames,
                      enum qy_migratetype migratetype);

#endif
