/*
 * mapping.h - who owns movable frames, and how they are asked to let go
 *
 * WHAT    A space and a cached file are each a mapping: pages numbered from 0, and which frame
 *         holds each. Whoever wants a certain frame (move/) finds the mapping through the
 *         frame's folio and asks. The mapping's own table is the truth: a folio that says
 *         otherwise is out of date, and the answer is -EAGAIN.
 *         (Linux: struct address_space and its a_ops; Gorman, "Understanding the Linux Virtual
 *         Memory Manager", 2004, for the idea of rmap.)
 *
 *           mover                               mapping
 *           qy_claim(): frames are WANTED
 *           ops->isolate()   ---------------->  pages cannot change from here on; who touches
 *                                               them waits
 *           copy, frame to frame
 *           ops->putback(to) ---------------->  the pages are on the new frames; who waited
 *                                               goes on; the old frames go back: to the mover
 *
 * RULES   V1  A page of a mapping that has a frame: the frame's folio names mapping and page.
 *         V2  An isolated page stays isolated until putback().
 *         V3  A pinned page is not isolated, not dropped and not unmapped.
 *         Checked by check_pages() in view/rules_space.c.
 *
 * LOCKS   mapping->lock guards its table and the folios' (m) fields of its frames. Calls to
 *         ops are made without any lock, inside mm->grace: the mapping cannot go away.
 */
#ifndef QY_SPACE_MAPPING_H
#define QY_SPACE_MAPPING_H

#include "memory/mm.h"

#define QY_MAPPING_NAME 32

/** What it would take to have a frame: of a dry run, and for choosing a window. Cheap first. */
enum qy_folio_cost {
    QY_COST_FREE,
    QY_COST_DROP,  /* clean, can be read again */
    QY_COST_MOVE,  /* has to be copied */
    QY_COST_WRITE, /* dirty: written, or copied */
    QY_COST_NEVER  /* pinned, or nobody's to move */
};

struct qy_mapping_ops {
    const char *kind; /* "anon", "file": for reports */

    /** What it would take; racy, without lock. */
    enum qy_folio_cost (*cost)(const struct qy_mapping *mapping, const struct qy_folio *folio);

    /**
     * Let no one change pages [index, index + count), whose frames are pfn, pfn + 1, ...: up to
     * the first that is not so. Returns how many, 1 .. count; -EAGAIN: the first page is not
     * on that frame, or is isolated or under I/O just now; -EBUSY: it is pinned; -ENOMEM: no
     * frame for a page table; -ENOSPC: the host allows no more mappings.
     */
    int (*isolate)(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn, unsigned count);

    /**
     * The isolated pages stand on frames @to, @to + 1, ... from now on, which were lent by the
     * caller and hold the same bytes; the frames from @from on are given back
     * (qy_lend_return()). @to == @from: all is as before the isolation.
     * 0; -ENOMEM: the host allows no more mappings; the pages stay on @from, usable, and @to
     * is the caller's still.
     */
    int (*putback)(struct qy_mapping *mapping, uint32_t index, qy_pfn_t from, qy_pfn_t to,
                   unsigned count);

    /** Forget pages [index, index + count), as far as that loses nothing, and give their frames,
     *  @pfn and those that follow, back. Returns how many, 1 .. count; -EAGAIN as isolate();
     *  -EBUSY: the first is pinned, -EINVAL: it has to be moved (or written first). NULL: never
     *  possible. */
    int (*drop)(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn, unsigned count);

    /** Write the page back, with others beside it, and wait; then it can be dropped. Returns how
     *  many were written (0: it was clean), or the backing's negative errno; -EAGAIN: it is in use
     *  just now, -EINVAL: that would not help. NULL: never. */
    int (*clean)(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn);
};

struct qy_mapping {
    const struct qy_mapping_ops *ops; /* (i) */
    struct qy_mm *mm;                 /* (i) */
    struct qy_lock lock;              /* QY_RANK_FILE, QY_RANK_SPACE */
    char name[QY_MAPPING_NAME];       /* (i) */
};

static inline struct qy_folio *qy_folio_of(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return &mm->folios[qy_frame_index(mm, pfn)];
}

/** The frame is the page's from now on. mapping->lock held. */
static inline void qy_folio_own(struct qy_folio *folio, struct qy_mapping *mapping, uint32_t index)
{
    atomic_store_explicit(&folio->index, index, memory_order_relaxed);
    atomic_store_explicit(&folio->mapping, mapping, memory_order_release);
}

/** It is no more. mapping->lock held. */
static inline void qy_folio_disown(struct qy_folio *folio)
{
    atomic_store_explicit(&folio->mapping, NULL, memory_order_release);
}

#endif
