/*
 * trim.c - giving the memory of free frames back to the system
 *
 * WHAT    A free frame may still have memory behind it: it was used, and somebody may want
 *         it again soon. Trim takes such frames out of the buddy, lets the port drop their
 *         memory, and returns them as fresh ones. Whole pageblocks first, from the top of
 *         the span down: they are the least likely to be asked for next, and they cost one
 *         system call for 2 MiB.
 *
 * RULES   B4  in buddy/buddy.c.
 *         R1  Frames are away, for trim or feed, only while grow_lock is held, and no request fails
 *             before it was tried once under that lock: none fails that could be served.
 *         Asserted in alloc.c and contig.c, checked by check_away() in view/rules.c.
 *
 * LOCKS   grow_lock for each pageblock, system calls included, so that who waits for it does
 *         not wait for all; zone->lock for each step, never across a system call.
 *
 * COST    Two lock pairs and a system call for each pageblock with such frames.
 */
#include "base/assert.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"

#include <quarry/buddy.h>

/** Scattered frames: runs shorter than this are not worth a system call. */
#define SHORTEST_RUN 4
#define SHORTEST_ORDER 2

/** Drop the memory of every run of set bits; what could not be dropped stays in *kept. */
static unsigned drop_runs(struct qy_mm *mm, uint32_t block, struct qy_bits512 *which,
                          struct qy_bits512 *kept)
{
    unsigned dropped = 0;
    for (unsigned at = 0; at < QY_PAGEBLOCK_FRAMES;) {
        unsigned end = at;
        while (end < QY_PAGEBLOCK_FRAMES && qy_bits_test(which, end))
            end++;
        void *address = qy_frame_address(mm, qy_block_pfn(mm, block) + at);
        bool drop = end - at >= SHORTEST_RUN &&
                    qy_port_decommit(mm, address, (size_t)(end - at) << QY_PAGE_SHIFT) == 0;
        dropped += drop ? end - at : 0;
        for (unsigned i = at; i < end && !drop; i++) {
            qy_bits_clear(which, i);
            qy_bits_set(kept, i);
        }
        at = end + 1;
    }
    return dropped;
}

/** grow_lock held. */
static unsigned trim_block_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block)
{
    struct qy_bits512 which = {.word = {0}};
    struct qy_bits512 kept = {.word = {0}};
    qy_lock(&zone->lock);
    unsigned taken = qy_buddy_take_backed_locked(mm, zone, block, &which);
    qy_unlock(&zone->lock);
    if (taken == 0)
        return 0;
    mm->nr_away = taken;
    unsigned dropped = drop_runs(mm, block, &which, &kept);
    qy_lock(&zone->lock);
    qy_buddy_return_locked(mm, zone, block, &which, true);
    qy_buddy_return_locked(mm, zone, block, &kept, false);
    qy_unlock(&zone->lock);
    mm->nr_away = 0;
    return dropped;
}

static unsigned trim_block(struct qy_mm *mm, struct qy_zone *zone, uint32_t block)
{
    qy_lock(&mm->grow_lock);
    unsigned dropped = trim_block_locked(mm, zone, block);
    qy_unlock(&mm->grow_lock);
    return dropped;
}

QY_RACY static bool worth_trimming(const struct qy_pageblock *pb, const struct qy_zone *zone,
                                   int least_order)
{
    return (pb->flags & QY_BLOCK_ONLINE) && pb->zone == zone->index && pb->nr_free > pb->nr_fresh &&
           pb->order >= least_order;
}

/** Pageblocks whose largest free block has at least this order, until few enough are left. */
static uint64_t trim_zone(struct qy_mm *mm, struct qy_zone *zone, int least_order, uint64_t keep)
{
    uint64_t dropped = 0;
    qy_lock(&mm->grow_lock);
    qy_pfn_t start = zone->start_pfn, end = zone->end_pfn;
    qy_unlock(&mm->grow_lock);
    if (start == end)
        return 0;
    uint32_t first = qy_block_of(mm, start);
    uint32_t block = qy_block_of(mm, end - 1) + 1;
    while (block-- > first && qy_zone_backed(mm, zone) > keep) {
        if (worth_trimming(&mm->blocks[block], zone, least_order))
            dropped += trim_block(mm, zone, block);
    }
    return dropped;
}

static uint64_t trim_zones(struct qy_mm *mm, int least_order, uint64_t keep_frames)
{
    uint64_t dropped = 0;
    struct qy_zone *zone;
    if (!mm->options.lazy_backing)
        return 0;
    qy_for_each_zone (zone, mm, 0)
        dropped += trim_zone(mm, zone, least_order, keep_frames);
    return dropped;
}

uint64_t qy_trim_whole(struct qy_mm *mm, uint64_t keep_frames)
{
    return trim_zones(mm, QY_PAGEBLOCK_ORDER, keep_frames);
}

uint64_t qy_mm_trim(struct qy_mm *mm, uint64_t keep_frames)
{
    return qy_trim_whole(mm, keep_frames) + trim_zones(mm, SHORTEST_ORDER, keep_frames);
}
