/*
 * buddy.h - take and give free frames of one zone; see buddy.c
 *
 * For the layer itself and for those above that own whole blocks. The caller holds
 * zone->lock, and has checked its arguments.
 */
#ifndef QY_BUDDY_BUDDY_H
#define QY_BUDDY_BUDDY_H

#include "memory/mm.h"

/** A frame in an array: its index in the span, and whether its memory is untouched. Arrays
 *  of frames hold 32 bits each: a span has at most 2^31 frames, 8 TiB. */
#define QY_FRAME_FRESH (UINT32_C(1) << 31)

/** Where the block of 2^order frames of one migratetype lies that is to be taken next.
 *  QY_PFN_NONE: there is none. */
qy_pfn_t qy_buddy_find_locked(const struct qy_mm *mm, const struct qy_zone *zone,
                              enum qy_migratetype migratetype, unsigned order);

/** Take a block of 2^order frames of one migratetype. *fresh: none of it was ever touched
 *  since its memory was committed, so it reads as zero. QY_PFN_NONE: there is none. */
qy_pfn_t qy_buddy_take_locked(struct qy_mm *mm, struct qy_zone *zone,
                              enum qy_migratetype migratetype, unsigned order, bool *fresh);

#define QY_HOMES 64

/** The pageblocks that somebody used last, whose lines he has: hints, nothing hangs on them. */
struct qy_homes {
    uint32_t *block; /* QY_HOMES places */
    uint8_t next;    /* place, modulo QY_HOMES */
    uint8_t nr;      /* before it, that are worth a look */
};

static inline void qy_homes_add(struct qy_homes *homes, uint32_t block)
{
    homes->block[homes->next++ % QY_HOMES] = block;
    homes->nr += homes->nr < QY_HOMES;
}

/** Take single frames, pageblock after pageblock until @least are there, and not more than @most.
 *  Those to be used first stand last. Where whole pageblocks have to do, the last of @homes come
 *  first; NULL: none. Returns how many. */
unsigned qy_buddy_take_frames_locked(struct qy_mm *mm, struct qy_zone *zone,
                                     enum qy_migratetype migratetype, unsigned least, unsigned most,
                                     uint32_t *frames, struct qy_homes *homes);

/** Give an aligned block back. 0, or -EINVAL if one of its frames is free already (B1). */
int qy_buddy_give_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, unsigned order,
                         bool fresh);

/** How far ahead qy_buddy_give_frames_locked() prefetches; the caller does it for the first. */
#define QY_GIVE_AHEAD 16

/** A frame will be given soon: bring what is known of it close. Always inline: gcc takes a
 *  function that only prefetches for one without effect, and drops the call. */
static inline __attribute__((always_inline)) void qy_buddy_prefetch(const struct qy_mm *mm,
                                                                    uint32_t frame)
{
    uint32_t block = (frame & ~QY_FRAME_FRESH) / QY_PAGEBLOCK_FRAMES;
    __builtin_prefetch(&mm->blocks[block], 1);
    __builtin_prefetch(&mm->free_bits[block], 1);
}

/** Give single frames back; neighbours in the array that share a word or a pageblock cost
 *  less. Returns how many were refused, being free already. */
unsigned qy_buddy_give_frames_locked(struct qy_mm *mm, struct qy_zone *zone, unsigned count,
                                     const uint32_t *frames);

/** Give any run of frames of one zone back, aligned or not: as the largest blocks it holds. */
void qy_buddy_give_range_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn,
                                uint64_t nr_frames, bool fresh);

/** Take these 2^order free frames and no others; they are known to be free. */
void qy_buddy_take_at_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, unsigned order,
                             bool *fresh);

/** All free frames of a pageblock change their migratetype. */
void qy_buddy_set_migratetype_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                                     enum qy_migratetype migratetype);

/** Take the free frames of a pageblock whose memory is held, out of reach of everybody:
 *  *which tells them. Returns how many. Give them back with qy_buddy_return_locked(). */
unsigned qy_buddy_take_backed_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                                     struct qy_bits512 *which);
void qy_buddy_return_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                            const struct qy_bits512 *which, bool fresh);

static inline struct qy_zone *qy_zone_of(struct qy_mm *mm, qy_pfn_t pfn)
{
    return &mm->zones[mm->blocks[qy_block_of(mm, pfn)].zone];
}

#endif
