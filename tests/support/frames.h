/*
 * frames.h - what tests ask of frames: that some become a region, whether they are fresh, and
 *            whether there is memory behind them
 */
#ifndef QUARRY_TESTS_FRAMES_H
#define QUARRY_TESTS_FRAMES_H

#include "support.h"

#include "buddy/alloc.h"
#include "buddy/bits.h"
#include "buddy/buddy.h"
#include "buddy/lend.h"

#include <sys/syscall.h>
#include <unistd.h>

/** Make the frames from @pfn on, all of which are free, a region. */
static inline void frames_make_region(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames,
                                      enum qy_migratetype migratetype)
{
    struct qy_claimed found = {0};
    uint32_t claim = qy_claim_number(mm);
    qy_claim(mm, claim, pfn, nr_frames, &found);
    assert_int_equal(found.held, nr_frames);
    qy_lend_set_type(mm, pfn, nr_frames, migratetype);
    assert_int_equal(qy_unclaim(mm, claim, pfn, nr_frames), nr_frames);
    test_rules(mm);
}

/** Take frames that are free. True: all of them were fresh. */
static inline bool frames_take(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    struct qy_zone *zone = qy_zone_of(mm, pfn);
    qy_lock(&zone->lock);
    bool fresh = qy_take_range_locked(mm, zone, pfn, nr_frames);
    qy_unlock(&zone->lock);
    return fresh;
}

/** Pages that the system has something behind. A test may have a mincore() of its own. */
static inline size_t frames_resident(const void *start, size_t bytes)
{
    static unsigned char there[64 * MIB / PAGE];
    size_t count = 0, pages = (bytes + PAGE - 1) / PAGE;
    assert_true(pages <= sizeof(there));
    assert_int_equal(syscall(SYS_mincore, start, pages * PAGE, there), 0);
    for (size_t i = 0; i < pages; i++)
        count += there[i] & 1;
    return count;
}

struct frames_held {
    uint64_t all;
    uint64_t fresh; /* of them, those that are free and said to have nothing behind them */
};

/** Frames that the system has something behind, of all that are online. */
static inline struct frames_held frames_held(const struct qy_mm *mm)
{
    struct frames_held held = {0};
    for (uint64_t i = 0; i < qy_described_frames(mm); i++) {
        if (!qy_frame_online(mm, i) || frames_resident((char *)mm->base + i * PAGE, PAGE) == 0)
            continue;
        held.all++;
        held.fresh += qy_frame_is_free(mm, i) && qy_frame_is_fresh(mm, i);
    }
    return held;
}

#endif
