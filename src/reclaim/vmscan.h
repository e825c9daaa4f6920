/*
 * vmscan.h - what reclaim knows of a memory: its lists, who else can give way, how short it is
 *
 * WHAT    One for a memory, made when the first file, shrinker or callback comes.
 *
 *         A page comes onto the inactive list. What is used again there becomes active, what is
 *         not is given up at the end of the list, and remembered for a while: if it comes back
 *         before as many others have gone as there is room for, it was wrong to give it up, and it
 *         becomes active at once (Linux: mm/workingset.c; Megiddo & Modha, "ARC", 2003;
 *         Yang et al., "FIFO queues are all you need for cache eviction", 2023).
 *
 *           read in -> [ inactive ]  -- used again --> [ active ]
 *                           |     <-- not used again --   |
 *                           v
 *                         given up -- came back soon ------^
 *
 *         Frames of contiguous regions have two lists of their own: who needs memory that cannot
 *         move is not helped by them. Those of guaranteed regions again: pages come there by being
 *         copied, after they were read and when they are given up elsewhere, and so stay longer
 *         (Park et al., "GCMA: guaranteed contiguous memory allocator", 2015).
 *
 * RULES   W1  A page is on a list exactly when it is in a file, and has been read.
 *         W2  The counts of lists and files agree with what is in them.
 *
 * LOCKS   (l) lock; (i) fixed since creation.
 */
#ifndef QY_RECLAIM_VMSCAN_H
#define QY_RECLAIM_VMSCAN_H

#include "memory/mm.h"

#include <quarry/cache.h>

/** Whose frames a pair of lists holds. */
enum qy_lru_place {
    QY_LRU_ORDINARY,
    QY_LRU_REGION,
    QY_LRU_GUARANTEED,
    QY_NR_LRU_PLACES
};
#define QY_LRU_ALL_PLACES ((1u << QY_NR_LRU_PLACES) - 1)

/** Frames that one who runs short frees at least: the next ones find them. */
#define QY_LEAST_WANTED 64u
#define QY_LEAST_ORDER 6u /* the same */

struct qy_lru_list {
    uint32_t newest, oldest; /* (l) frame indexes; QY_NO_FRAME: none */
    _Atomic uint64_t count;  /* (l) for writing */
};

/** A page that was given up. */
struct qy_evicted {
    uint32_t hash; /* of file and page; 0: none */
    uint32_t when; /* vmscan->evictions then */
};

/** Of threads that wait for memory: pressure.c. */
#define QY_STALL_SHIFT 24

struct qy_stalls {
    uint32_t waiting;                    /* (l) threads */
    uint64_t since_ns;                   /* (l) the sums below are up to date to this moment */
    uint64_t some_ns, full_ns;           /* (l) in all */
    uint64_t sampled_ns;                 /* (l) the averages are of this moment */
    uint64_t some_then_ns, full_then_ns; /* (l) and of these sums */
    uint64_t average[2][2]; /* (l) [some, full][10 s, 60 s]: share of the time, 2^-24 */
};

struct qy_vmscan {
    struct qy_lock lock;                                   /* QY_RANK_LRU */
    struct qy_mm *mm;                                      /* (i) */
    struct qy_lru_list list[QY_NR_LRU_PLACES][QY_NR_LRUS]; /* NONE: unused */

    struct qy_evicted *evicted; /* (l) NULL: not there yet */
    uint32_t evicted_mask;      /* (l) places - 1 */
    uint32_t evictions;         /* (l) */

    struct qy_list files;          /* (l) */
    uint32_t file_numbers;         /* (l) given out */
    struct qy_shrinker *shrinkers; /* (l) for writing */
    struct qy_grace grace;         /* who calls shrinkers is inside */
    qy_oom_t oom;                  /* (l) */
    void *oom_cookie;              /* (l) */
    qy_reclaim_t next_reclaim;     /* (i) who gives up after the cache: slab/ */
    char *_Atomic spare_page;      /* to read by when there is no other; NULL: in use, or none */
    _Atomic uint32_t window_block; /* a hint: where window.c goes on looking */

    struct qy_stalls stalls;

    _Atomic uint64_t nr_dirty, nr_writeback;
    _Atomic uint64_t nr_reading, nr_reclaiming; /* threads that have frames in hand to do so */
    _Atomic uint64_t nr_mappers;                /* of all files */
    _Atomic uint64_t scanned[2], reclaimed[2];  /* direct, background */
    _Atomic uint64_t refaults, activated;
};

/** The one of a memory, made if need be; NULL: no memory for it. */
struct qy_vmscan *qy_vmscan_of(struct qy_mm *mm);

static inline struct qy_vmscan *qy_vmscan_peek(const struct qy_mm *mm)
{
    return atomic_load_explicit(&mm->vmscan, memory_order_acquire);
}

static inline void qy_count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static inline uint64_t qy_figure(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- lru.c: the lists ---- */

/** Is the frame one of a contiguous region? */
bool qy_frame_in_region(const struct qy_mm *mm, uint32_t frame);
bool qy_frame_in_guaranteed(const struct qy_mm *mm, uint32_t frame);

/** Onto the newest end of a list; the frame is on none. lock held. */
void qy_lru_add_locked(struct qy_vmscan *vmscan, uint32_t frame, enum qy_lru lru);
/** Off its list. lock held. */
void qy_lru_remove_locked(struct qy_vmscan *vmscan, uint32_t frame);

/** Up to @most of the oldest frames of a list, which go to its other end. Returns how many. */
unsigned qy_lru_oldest(struct qy_vmscan *vmscan, enum qy_lru_place place, enum qy_lru lru,
                       unsigned most, uint32_t *frames);

/** Pageblocks became a region, or ceased to be one: each page goes to the list that it belongs
 *  on. */
void qy_lru_sort(struct qy_mm *mm);

/** Pages on all lists of these places (bits). Racy. */
uint64_t qy_lru_pages(const struct qy_vmscan *vmscan, unsigned places);
uint64_t qy_lru_count(const struct qy_vmscan *vmscan, enum qy_lru lru);

/** A page was given up. lock held. */
void qy_evicted_note_locked(struct qy_vmscan *vmscan, uint32_t file, uint32_t page);
/** Was it given up so lately that it belongs among the active? Forgets it. lock held. */
bool qy_evicted_lately_locked(struct qy_vmscan *vmscan, uint32_t file, uint32_t page);
/** See that there is room to remember as many pages as there are. */
void qy_evicted_grow(struct qy_vmscan *vmscan);

/* ---- vmscan.c ---- */

struct qy_scan {
    struct qy_vmscan *vmscan;
    uint64_t wanted; /* frames */
    unsigned places; /* bits: which ones help */
    bool write;      /* dirty pages are written back, */
    uint64_t until;  /* but no write begins after this time, by the exact clock; 0: never mind */
    bool background;
    uint64_t scanned, reclaimed, dirty;
    uint64_t held;   /* by somebody, just now: they will come */
    uint64_t trials; /* inactive pages that may yet be taken from areas, to see, and passed over */
};

/** Give up pages of files. Returns how many frames became free. Takes locks. */
uint64_t qy_shrink_cache(struct qy_scan *scan);

/** As mm->reclaim, but no page is written back from this time on; 0: never mind. */
uint64_t qy_reclaim_until(struct qy_mm *mm, qy_gfp_t gfp, unsigned order, uint64_t until);

/** It is the memory's from now on, and reclaims for it. chain_lock held. */
void qy_vmscan_register(struct qy_vmscan *vmscan);

/* ---- window.c ---- */

/** Give up pages so that 2^order frames side by side are free. Returns how many are free there; 0:
 *  there is no such place, or it was free already. */
uint64_t qy_reclaim_window(struct qy_vmscan *vmscan, unsigned order);

/* ---- shrinker.c, pressure.c ---- */

uint64_t qy_shrink_others(struct qy_vmscan *vmscan, uint64_t wanted);
void qy_stall_begin(struct qy_vmscan *vmscan);
void qy_stall_end(struct qy_vmscan *vmscan);

#endif
