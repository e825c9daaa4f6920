/*
 * alloc.h - frames for the layers above: with the slot they are in already, and without
 *           the marks that qy_alloc_pages() leaves for wrong frees
 */
#ifndef QY_BUDDY_ALLOC_H
#define QY_BUDDY_ALLOC_H

#include "base/percpu.h"
#include "memory/mm.h"

/* ---- request.c ---- */

/** What a request may use, read out of its gfp once. */
struct qy_request {
    qy_gfp_t gfp;
    unsigned order;
    unsigned node;
    enum qy_migratetype migratetype;
    enum qy_zone_type highest; /* zone */
    bool within;               /* only what is online already */
    bool lends;                /* frames of contiguous regions will do */
};

/** False: the flags contradict each other or are unknown. */
QY_MUST_CHECK bool qy_request_read(struct qy_request *request, unsigned node, qy_gfp_t gfp,
                                   unsigned order);
/** Frames that the CPU cannot reach cannot be made zero: then that is refused. */
static inline bool qy_can_clear(const struct qy_mm *mm, qy_gfp_t gfp)
{
    return !(gfp & QY_GFP_ZERO) || mm->base != 0;
}

/** May the request use this zone at all? */
bool qy_zone_may_use(const struct qy_zone *zone, const struct qy_request *request);

/** Where a block of one zone lies: of the request's migratetype, or of another's as fallbacks[]
 *  says. Taking it is left to the caller. zone->lock held. */
QY_MUST_CHECK qy_pfn_t qy_zone_find_locked(struct qy_mm *mm, struct qy_zone *zone,
                                           const struct qy_request *request);
/** The same, taken. */
QY_MUST_CHECK qy_pfn_t qy_zone_take_locked(struct qy_mm *mm, struct qy_zone *zone,
                                           const struct qy_request *request, bool *fresh);

/** How many frames the request may take of this zone above a watermark. */
uint64_t qy_zone_room(const struct qy_zone *zone, const struct qy_request *request,
                      enum qy_watermark watermark);

/** How many frames have to come before the request may take so many of this zone, down to its min
 *  watermark; UINT64_MAX: it may take none. */
uint64_t qy_zone_lacks(const struct qy_zone *zone, const struct qy_request *request,
                       uint64_t nr_frames);

/** May the request take so many frames of this zone, down to its low watermark? */
bool qy_zone_may_serve(const struct qy_zone *zone, const struct qy_request *request,
                       uint64_t nr_frames);

/* ---- alloc.c ---- */

/**
 * Take a block through the slot's lists, or from the zones. @cpu: the caller is inside this
 * slot; NULL: no slot. Grows the memory if it may; never reclaims. Sets no tag.
 */
QY_MUST_CHECK qy_pfn_t qy_take_pages(struct qy_mm *mm, struct qy_cpu *cpu,
                                     const struct qy_request *request, bool *fresh);

/** Give a block back through the slot's lists (@cpu as above). Tags are none of its business;
 *  fresh: its memory was not touched since it was taken fresh. */
void qy_give_pages(struct qy_mm *mm, struct qy_cpu *cpu, qy_pfn_t pfn, unsigned order, bool fresh);

/** Rounds of reclaim that one request may ask for. More would let two that free the same
 *  few frames for each other go on for ever. */
#define QY_MOST_RECLAIMS 3

/** Nothing could be had: is it worth trying once more? Reclaims, if the request may wait and
 *  has not asked too often. @order: of the block, or of the power of two that holds the run; any
 *  number. The caller is in no slot and holds no lock. */
static inline bool qy_reclaim_again(struct qy_mm *mm, qy_gfp_t gfp, unsigned order,
                                    unsigned *rounds)
{
    qy_reclaim_t reclaim = atomic_load_explicit(&mm->reclaim, memory_order_acquire);
    return (gfp & QY_GFP_DIRECT_RECLAIM) && reclaim != NULL && (*rounds)++ < QY_MOST_RECLAIMS &&
           reclaim(mm, gfp, order) != 0;
}

/** No zone had the request above its low watermark, and no more memory comes online: time for
 *  the background reclaimer. */
static inline void qy_wake_reclaimer(struct qy_mm *mm, qy_gfp_t gfp)
{
    if ((gfp & QY_GFP_KSWAPD_RECLAIM) &&
        atomic_load_explicit(&mm->background, memory_order_relaxed) != 0 &&
        atomic_exchange(&mm->background, 0) != 0)
        qy_port_wake(&mm->background);
}

/** A block could not be had: are there enough free frames, and could they be brought together? The
 *  caller is in no slot and holds no lock. */
static inline bool qy_compact_again(struct qy_mm *mm, qy_gfp_t gfp, unsigned order)
{
    return (gfp & QY_GFP_DIRECT_RECLAIM) && order > 0 && mm->compact != NULL &&
           mm->compact(mm, gfp, order);
}

/** A run of frames of any length, without tags; contig.c. The caller is in no slot. */
QY_MUST_CHECK qy_pfn_t qy_take_run(struct qy_mm *mm, const struct qy_request *request,
                                   uint64_t nr_frames, unsigned align_order, bool *fresh);
void qy_give_run(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames, bool fresh);

/** Take free frames of one zone, as the largest blocks they hold; zone->lock held. True: all of
 *  them fresh. */
bool qy_take_range_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, uint64_t nr_frames);

/** Take exactly these frames, if all of them are free and in one zone; untagged. */
QY_MUST_CHECK bool qy_take_behind(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames);

/** See that a request of this migratetype finds a pageblock of its own: if none of its lists
 *  serves, take one over from another migratetype. zone->lock held. */
void qy_zone_take_over_locked(struct qy_mm *mm, struct qy_zone *zone,
                              enum qy_migratetype migratetype, unsigned order);

/** Bring at least @nr_frames contiguous frames online that the request may use. No zone's lock
 *  is held. 0, or -ENOMEM. */
QY_MUST_CHECK int qy_grow(struct qy_mm *mm, const struct qy_request *request, uint64_t nr_frames);

/** Give the frames of the layout's RAM to their zones. */
QY_MUST_CHECK int qy_online_ram(struct qy_mm *mm, const struct qy_layout *layout,
                                struct qy_error *error);

/** Do these frames lie in a range of memory that comes later? */
bool qy_may_come_online(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames);

/** qy_mm_trim() of wholly free pageblocks alone: one system call for 2 MiB. */
uint64_t qy_trim_whole(struct qy_mm *mm, uint64_t keep_frames);

/** Pageblocks (2 GiB) that are looked at for free frames that have memory. */
#define QY_MOST_LOOKED 1024

/** Of a run that has grown, what may have no memory is about to be written, and what it holds does
 *  not matter: give it that of free frames that lie elsewhere. No lock held; in no slot. */
void qy_feed(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames);
/** Frames from which on moving their memory pays. */
uint64_t qy_least_moved(const struct qy_mm *mm);

/** Remember the most frames that were ever in use, and tell who watches what is now. */
void qy_note_peak(struct qy_mm *mm);

/** Frames were taken from a zone, or have come back. Who watches is told. */
static inline void qy_tell(struct qy_mm *mm)
{
    if (qy_unlikely(atomic_load_explicit(&mm->watch, memory_order_relaxed) != NULL))
        qy_note_peak(mm);
}

/** Stop every slot, call work on each, open them again. The caller is in none. */
void qy_for_each_stopped_cpu(struct qy_mm *mm, void (*work)(struct qy_mm *, struct qy_cpu *));

/** These frames are fresh, and all of them are about to be written: let their memory come at once.
 *  With it, once much is in use, that of their whole pageblock. No lock held; maybe in a slot. */
void qy_populate(struct qy_mm *mm, qy_pfn_t pfn, unsigned order);

#endif
