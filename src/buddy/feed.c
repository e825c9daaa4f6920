/*
 * feed.c - memory for a long run, out of free frames elsewhere
 *
 * WHAT    Free frames that have memory may lie in holes that are too short for a long run. It is
 *         laid on fresh frames then: each costs a fault and a page more, while what the holes
 *         have lies idle. So their memory changes its place. The port gives it to the run, and
 *         the frames of the holes are the fresh ones from then on.
 *
 *         before   run [. . . . . .]   hole [# # #]  hole [# # #]      #: has memory
 *         after    run [# # # # # #]   hole [. . .]  hole [. . .]
 *
 * RULES   R1  in buddy/trim.c; B4 in buddy/buddy.c.
 *
 * LOCKS   grow_lock for each hole, the system call included; zone->lock for each step.
 *
 * COST    Two lock pairs, a pass over pageblock headers from the top and a system call for each
 *         hole: 10 us for 64 pages, 14 for 256, where as many faults take 80 and 310.
 *
 * WHY     No shorter ones, and no share of memory below a 16384th: each move may leave the host two
 *         mappings more, of which Linux allows 65,530. Not for what is allocated anew, which may be
 *         written here and there; what grows has been used, and will be.
 */
#include "buddy/alloc.h"
#include "buddy/bits.h"
#include "buddy/buddy.h"

/** 256 KiB: shorter moves cost more a page, and leave two mappings all the same. */
#define LEAST_MOVED 64
_Static_assert(LEAST_MOVED >= QY_WORD_BITS, "of a word only its ends belong to longer holes");
/** Of all frames, one part of so many. */
#define MOST_PARTS 16384

/** Free frames with memory, in a row. */
struct hole {
    uint64_t start, count; /* index of the first; 0: there is none */
};

uint64_t qy_least_moved(const struct qy_mm *mm)
{
    uint64_t part = atomic_load_explicit(&mm->managed, memory_order_relaxed) / MOST_PARTS;
    return part > LEAST_MOVED ? part : LEAST_MOVED;
}

/** Go on down with a word whose first bit is frame @at. What lies within it, away from its ends, is
 *  too short. True: the hole ends here and is long enough, or it is as long as asked for. */
static bool walk_word(struct hole *hole, uint64_t word, uint64_t at, uint64_t least, uint64_t most)
{
    uint64_t others = ~word;
    unsigned high = others != 0 ? (unsigned)__builtin_clzll(others) : QY_WORD_BITS;
    hole->count += high;
    hole->start = at + QY_WORD_BITS - high;
    if (hole->count >= most) {
        hole->start += hole->count - most;
        hole->count = most;
        return true;
    }
    if (others == 0)
        return false;
    if (hole->count >= least)
        return true;
    hole->count = (unsigned)__builtin_ctzll(others);
    hole->start = at;
    return false;
}

/** The topmost that is long enough, or @most frames at its end. No frames: none near the top is. */
static struct hole find_locked(const struct qy_mm *mm, const struct qy_zone *zone, uint64_t least,
                               uint64_t most)
{
    struct hole hole = {.count = 0};
    uint32_t first = qy_block_of(mm, zone->start_pfn);
    uint32_t block = qy_block_of(mm, zone->end_pfn - 1) + 1;
    first = block - first < QY_MOST_LOOKED ? first : block - QY_MOST_LOOKED;
    while (block-- > first) {
        uint64_t index = (uint64_t)block * QY_PAGEBLOCK_FRAMES;
        bool may = qy_block_serves_backed(zone, &mm->blocks[block]);
        for (unsigned w = QY_BITS_WORDS; w-- > 0;)
            if (walk_word(&hole, may ? qy_block_backed_word(mm, block, w) : 0,
                          index + w * QY_WORD_BITS, least, most))
                return hole;
    }
    return hole.count >= least ? hole : (struct hole){.count = 0};
}

/** grow_lock held. Returns how many frames from pfn on have memory now. */
static uint64_t feed_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, uint64_t least,
                            uint64_t most)
{
    qy_lock(&zone->lock);
    struct hole hole = find_locked(mm, zone, least, most);
    qy_pfn_t from = mm->start_pfn + hole.start;
    if (hole.count != 0)
        qy_take_range_locked(mm, zone, from, hole.count);
    qy_unlock(&zone->lock);
    if (hole.count == 0)
        return 0;
    mm->nr_away = hole.count;
    bool moved = qy_port_move(mm, qy_frame_address(mm, from), qy_frame_address(mm, pfn),
                              hole.count << QY_PAGE_SHIFT) == 0;
    qy_lock(&zone->lock);
    qy_buddy_give_range_locked(mm, zone, from, hole.count, moved);
    qy_unlock(&zone->lock);
    mm->nr_away = 0;
    return moved ? hole.count : 0;
}

static uint64_t feed(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, uint64_t least,
                     uint64_t most)
{
    qy_lock(&mm->grow_lock);
    uint64_t fed = feed_locked(mm, zone, pfn, least, most);
    qy_unlock(&mm->grow_lock);
    return fed;
}

void qy_feed(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t least = qy_least_moved(mm), done;
    struct qy_zone *zone = qy_zone_of(mm, pfn);
    if (!mm->options.lazy_backing)
        return;
    for (; nr_frames >= least && qy_zone_backed(mm, zone) >= least; nr_frames -= done) {
        bool backed;
        done = qy_port_look(mm, qy_frame_address(mm, pfn), nr_frames, &backed);
        if (!backed && done >= least)
            done = feed(mm, zone, pfn, least, done);
        if (done == 0)
            break;
        pfn += done;
    }
}
