/*
 * cma.h - a region and its bitmap, for the files that search it
 *
 * RULES   N1  A bit is set exactly where frames are out in a buffer or being taken back for one.
 *         N2  All of a region's pageblocks have its policy's migratetype, and each is of one run of
 *             one region.
 *         Checked by qy_check_regions() in view/rules_lent.c.
 */
#ifndef QY_MOVE_CMA_H
#define QY_MOVE_CMA_H

#include "base/lock.h"
#include "memory/mm.h"

#include <quarry/cma.h>

#define QY_CMA_NAME 32

/** One run of a region. */
struct qy_cma_part {
    qy_pfn_t pfn;       /* (i) */
    uint64_t nr_frames; /* (i) */
    uint64_t *bitmap;   /* (c) for writing; N1: a bit for each 2^order_per_bit frames */
};

struct qy_cma {
    struct qy_mm *mm;            /* (i) */
    struct qy_cma *_Atomic next; /* mm->regions */
    char name[QY_CMA_NAME];      /* (i) */
    enum qy_cma_policy policy;   /* (i) */
    unsigned order_per_bit;      /* (i) */
    uint32_t claim;              /* (i) who holds its buffers' frames */
    unsigned nr_parts;           /* (i) */
    struct qy_cma_part part[QY_CMA_MAX_RANGES];
    _Atomic uint32_t nr_searches; /* requests that choose a window just now */
    struct qy_lock lock;          /* (c) QY_RANK_CMA: bitmaps and figures */
    struct qy_cma_stat stat;      /* (c) what only adds up */
};

/** qy_cma_stat() without the lock, for who only looks: each figure is true, two of them may be of
 *  different moments. */
void qy_cma_stat_racy(const struct qy_cma *cma, struct qy_cma_stat *stat);

/** A window of one part. */
struct qy_cma_window {
    unsigned part;
    qy_pfn_t pfn;
    uint64_t nr_frames; /* a multiple of 2^order_per_bit */
};

/** Set or clear the window's bits. lock held. */
void qy_cma_mark(struct qy_cma *cma, const struct qy_cma_window *window, bool out);
/** Are all bits of the window as @out says? lock held. */
bool qy_cma_is_marked(const struct qy_cma *cma, const struct qy_cma_window *window, bool out);

/** What was tried in vain: the next search keeps clear of these frames, and with FIRST_FIT begins
 *  behind the last window's first frame. */
struct qy_cma_avoid {
    unsigned count;
    qy_pfn_t pfn[QY_CMA_MAX_STUCK];
    struct qy_cma_window last; /* nr_frames 0: there was none */
};

/**
 * Choose a window none of whose bits are set: the cheapest, or the first with FIRST_FIT. Racy: no
 * lock held, inside mm->grace. @others: so many others are choosing: begin where they do not.
 * *expected (may be NULL) gets what it would cost.
 * 0; -ENOMEM: there is none; -EBUSY: there are, and each has frames that cannot move: *window is
 * the one with the fewest; -ETIME: each needs more work than the request allows.
 */
QY_MUST_CHECK int qy_cma_choose(const struct qy_cma *cma, const struct qy_cma_request *request,
                                const struct qy_cma_avoid *avoid, unsigned others,
                                struct qy_cma_window *window, struct qy_cma_report *expected);

/** A request's frames, rounded up to whole bits. */
static inline uint64_t qy_cma_frames(const struct qy_cma *cma, uint64_t nr_frames)
{
    uint64_t bit = UINT64_C(1) << cma->order_per_bit;
    return (nr_frames + bit - 1) / bit * bit;
}

#endif
