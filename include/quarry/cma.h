/*
 * quarry/cma.h - a contiguous region that is lent out until its owner asks for it
 *
 * A region is reserved for a driver that needs large contiguous buffers. While the driver is
 * idle its frames are lent to those who can give them back: areas of a space (space.h), which
 * are moved elsewhere, and the page cache (cache.h), which is dropped. A request takes back a
 * window of the region, and says afterwards what that cost, or what stood in the way.
 *
 * Linux: mm/cma.c, and its "cma=" and /sys/kernel/mm/cma.
 */
#ifndef QUARRY_CMA_H
#define QUARRY_CMA_H

#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qy_cma;

/** To whom the idle frames go, and when. */
enum qy_cma_policy {
    /** As Linux: used first when more than half of the zone's free frames lie in such regions,
     *  else last. One eager region makes all of its zone eager. */
    QY_CMA_LINUX,
    /** Used first, always: other memory stays free for those who cannot move. */
    QY_CMA_EAGER,
    /** Only clean pages of files, which can be dropped at once: a request cannot fail, and
     *  takes no longer than dropping them. Pages come there by a copy, once they were read. */
    QY_CMA_GUARANTEED
};

struct qy_cma_range {
    qy_pfn_t pfn;       /* QY_PFN_NONE: wherever there is room */
    uint64_t nr_frames; /* a multiple of 1024 (4 MiB): whole pairs of pageblocks */
};

#define QY_CMA_MAX_RANGES 8

struct qy_cma_options {
    const char *name; /* 1 .. 31 bytes, copied; no two of a memory have the same */
    struct qy_cma_range ranges[QY_CMA_MAX_RANGES];
    unsigned nr_ranges;     /* 1 .. QY_CMA_MAX_RANGES */
    unsigned order_per_bit; /* 0 .. 10: buffers are multiples of so many frames */
    qy_pfn_t below;         /* all frames below this number; 0: anywhere */
    enum qy_cma_policy policy;
};

/**
 * Reserve a region. Its frames must be free, or lent to those who can move, and no two of its
 * ranges may have frames in common.
 * NULL with *error: EINVAL (which argument), EEXIST (the name), ENOMEM (no such run is free, or
 * the limit), EBUSY (whose frames cannot be moved out of a given range), ENOTSUP (the memory was
 * not made with options.movable). Nothing is reserved then.
 * In a child of fork(2) every call here fails with ENOTSUP, or does nothing: regions are the
 * parent's.
 */
QY_API QY_MUST_CHECK struct qy_cma *
qy_cma_create(struct qy_mm *mm, const struct qy_cma_options *options, struct qy_error *error);

/** Give the region up: its frames are ordinary memory again. 0, or -EBUSY while buffers are
 *  out: nothing changed. */
QY_API QY_MUST_CHECK int qy_cma_destroy(struct qy_cma *cma);

/** Of a memory's regions, the one of this name; NULL. */
QY_API struct qy_cma *qy_cma_find(struct qy_mm *mm, const char *name);

#define QY_CMA_DRY_RUN 0x1u   /* change nothing: would it succeed now, and at what cost? */
#define QY_CMA_FIRST_FIT 0x2u /* the first window, as Linux, not the cheapest: to compare */

struct qy_cma_request {
    uint64_t nr_frames;   /* > 0; rounded up to 2^order_per_bit */
    unsigned align_order; /* 0 .. 18 */
    qy_pfn_t below;       /* 0: anywhere in the region */
    uint64_t deadline_ns; /* time that it may take, and wait; 0: no limit, but see qy_cma_alloc() */
    uint64_t most_moved;  /* frames that may be moved or written back; 0: any number */
    uint32_t flags;       /* QY_CMA_* */
};

/** Why a frame could not be had. */
enum qy_cma_reason {
    QY_CMA_PINNED,       /* its owner holds it in place */
    QY_CMA_UNMOVABLE,    /* nobody who could move it owns it */
    QY_CMA_BUSY,         /* it was on its way from one owner to another, again and again */
    QY_CMA_NO_TARGET,    /* no free frame to move it to, or for its page table */
    QY_CMA_NO_MAPPING,   /* the host allows no more mappings */
    QY_CMA_WRITE_FAILED, /* it is dirty, and could not be written back */
    QY_CMA_NR_REASONS
};

/** As in "pinned" or "no target"; "?" for what is no reason. */
QY_API const char *qy_cma_reason_name(enum qy_cma_reason reason);

struct qy_cma_stuck {
    qy_pfn_t pfn;
    enum qy_cma_reason reason;
    char owner[32]; /* a space, a file, a cache, or what else its tag says */
};

#define QY_CMA_MAX_STUCK 16

/** What a request found and did. */
struct qy_cma_report {
    uint64_t ns;
    uint64_t windows_tried;
    /* Frames; of a dry run: that would be. Of the buffer's, those that were free; in all windows
     * that were tried, those that were moved, and those that were dropped, of which some were dirty
     * and had to be written: where there was no room to move them to. */
    uint64_t free, moved, dropped, written;
    /** Frames that could not be had, of a failure or of the block at which a partial request ended;
     *  the first QY_CMA_MAX_STUCK are named. 0 if all of it came. */
    uint64_t nr_stuck;
    struct qy_cma_stuck stuck[QY_CMA_MAX_STUCK];
};

/**
 * Take a buffer out of the region.
 *
 * @pfn     its first frame
 * @report  may be NULL; filled in whatever the result
 * Returns 0; or with nothing changed: -EINVAL (which cannot ever be served: zero, larger than the
 * region, flags), -ENOMEM (no window), -EBUSY (frames are stuck: the report names them),
 * -ETIME (deadline or most_moved). What is being copied or written when the deadline is over, 512
 * pages at most, is finished.
 * Frames that are held for a moment in every window (pinned, read, written) are waited for, asleep,
 * until the deadline; without one 0.1 s in all (guaranteed: as long as it takes); with FIRST_FIT
 * only if guaranteed. Any thread; several at once work on windows of their own. Holds no slot and
 * no lock when called. May sleep.
 */
QY_API QY_MUST_CHECK int qy_cma_alloc(struct qy_cma *cma, const struct qy_cma_request *request,
                                      qy_pfn_t *pfn, struct qy_cma_report *report);

/** As many as there are of nr_frames >> align_order blocks of 2^align_order frames, in pfns[]:
 *  their first frames. Time and work are limits of all of them together; no DRY_RUN. Returns how
 *  many (at least 1), or an error as above. */
QY_API QY_MUST_CHECK int qy_cma_alloc_partial(struct qy_cma *cma,
                                              const struct qy_cma_request *request, qy_pfn_t *pfns,
                                              struct qy_cma_report *report);

/** Give a buffer, or an end of one, back: it is lent out again. 0, or -EINVAL with a report naming
 *  rule N1 (frames are not out) and nothing changed. */
QY_API int qy_cma_release(struct qy_cma *cma, qy_pfn_t pfn, uint64_t nr_frames);

/** Buckets of the latency histogram: below 1 us, 2 us, 4 us .. 2^30 us. */
#define QY_CMA_LATENCIES 32

struct qy_cma_stat {
    char name[32];
    enum qy_cma_policy policy;
    uint64_t frames; /* of the region */
    uint64_t out;    /* in buffers */
    uint64_t free;   /* neither out nor lent */
    uint64_t lent;
    uint64_t alloc_pages_success, alloc_pages_fail, release_pages_success; /* as Linux's sysfs */
    uint64_t requests, failures;
    uint64_t moved, dropped, written; /* frames */
    uint64_t latency[QY_CMA_LATENCIES];
};

QY_API void qy_cma_stat(struct qy_cma *cma, struct qy_cma_stat *stat);

/* ---- the same machinery for any memory ---- */

/** What compaction did. */
struct qy_compact_report {
    uint64_t moved;         /* frames */
    uint64_t blocks_gained; /* by so many there are more whole pageblocks, whatever the order */
    uint64_t ns;
};

/**
 * Move pages into the gaps of their zone, so that blocks of @order (1 .. QY_MAX_ORDER) become free:
 * if all of them can be moved, as many as the zone's free frames can be.
 * @most_moved  frames; 0: as many as it takes. Returns how many blocks of that order are free more
 * than before. Any thread, without slot and locks.
 */
QY_API uint64_t qy_compact(struct qy_mm *mm, unsigned order, uint64_t most_moved,
                           struct qy_compact_report *report);

#ifdef __cplusplus
}
#endif
#endif
