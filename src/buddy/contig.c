/*
 * contig.c - runs of frames that are no power of two, or longer than a block of order 10
 *
 * WHAT    A power of two is a block. Other lengths are laid behind the run before, or into a
 *         pageblock that has room, at any frame: rounded up to a block, a third of memory
 *         would be lost. Those longer than a pageblock are laid where free frames have memory,
 *         else at a block, and down from there to where the free frames before it begin. What no
 *         list finds, a first fit over the zone does.
 *         Where the instance may grow, it grows when even that fails.
 *         Each part of a run is tagged as a block of its own, so a run can be given back
 *         whole or in parts, and wrong frees are found as for any block.
 *
 * RULES   T1, T2  in memory/page.h; F1, F2 in buddy/alloc.c; R1 in buddy/trim.c.
 *
 * LOCKS   zone->lock while searching and taking; grow_lock around that for the last attempt.
 *
 * COST    Beyond order 10 a pass over the zone's pageblock headers: 32 bytes for 2 MiB.
 */
#include "base/assert.h"
#include "buddy/alloc.h"
#include "buddy/bits.h"
#include "buddy/buddy.h"
#include "memory/fault.h"

#include <quarry/buddy.h>

#define MAX_ALIGN_ORDER 18
/** Pageblocks of one list that are searched for a run. */
#define MOST_TRIES 4
/** Pageblocks that a run slides down at most. */
#define MOST_SLIDE 64
/** Of a run's length: so much used memory is free that the run will find a place there. */
#define PLENTY 4

static unsigned order_of(uint64_t nr_frames)
{
    return nr_frames <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(nr_frames - 1);
}

/** The largest block that starts at pfn and fits in nr_frames. */
static unsigned next_order(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t index = qy_frame_index(mm, pfn);
    unsigned order = 63 - (unsigned)__builtin_clzll(nr_frames);
    if (order > QY_MAX_ORDER)
        order = QY_MAX_ORDER;
    while (index & ((UINT64_C(1) << order) - 1))
        order--;
    return order;
}

QY_RACY static qy_pfn_t end_of(const struct qy_zone *zone)
{
    return zone->end_pfn;
}

void qy_give_run(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames, bool fresh)
{
    qy_note_peak(mm);
    while (nr_frames > 0) {
        struct qy_zone *zone = qy_zone_of(mm, pfn);
        uint64_t part = end_of(zone) - pfn;
        part = part < nr_frames ? part : nr_frames;
        qy_lock(&zone->lock);
        qy_buddy_give_range_locked(mm, zone, pfn, part, fresh);
        qy_unlock(&zone->lock);
        pfn += part;
        nr_frames -= part;
    }
    qy_tell(mm);
}

/* ---- ranges of free frames ---- */

/** How many frames from index on are free, as far as @most. */
static uint64_t count_free_locked(const struct qy_mm *mm, const struct qy_zone *zone,
                                  uint64_t index, uint64_t most)
{
    uint64_t at = index, end = index + most;
    while (at < end && at < qy_described_frames(mm) &&
           qy_block_serves_runs(zone, &mm->blocks[at / QY_PAGEBLOCK_FRAMES])) {
        uint64_t stop = qy_block_end(at, end);
        at = qy_next_frame(mm, at, stop, false);
        if (at < stop)
            break;
    }
    return at - index;
}

/** The first of the free frames in a row that end before index, as far back as @least. */
static uint64_t first_free_locked(const struct qy_mm *mm, const struct qy_zone *zone,
                                  uint64_t index, uint64_t least)
{
    while (index > least) {
        unsigned width = (unsigned)((index - 1) % QY_WORD_BITS) + 1;
        if (!qy_block_serves_runs(zone, &mm->blocks[(index - 1) / QY_PAGEBLOCK_FRAMES]))
            break;
        uint64_t taken = ~qy_free_word(mm, index - 1) << (QY_WORD_BITS - width);
        unsigned found = taken != 0 ? (unsigned)__builtin_clzll(taken) : width;
        index -= found;
        if (found < width)
            break;
    }
    return index > least ? index : least;
}

bool qy_take_range_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, uint64_t nr_frames)
{
    qy_assert_held(&zone->lock);
    bool all_fresh = true;
    while (nr_frames > 0) {
        bool fresh;
        unsigned order = next_order(mm, pfn, nr_frames);
        qy_buddy_take_at_locked(mm, zone, pfn, order, &fresh);
        all_fresh &= fresh;
        pfn += UINT64_C(1) << order;
        nr_frames -= UINT64_C(1) << order;
    }
    return all_fresh;
}

bool qy_take_behind(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t index = qy_frame_index(mm, pfn);
    if (!qy_in_span(mm, pfn, nr_frames) || !qy_frame_online(mm, index))
        return false;
    struct qy_zone *zone = qy_zone_of(mm, pfn);
    qy_lock(&zone->lock);
    bool taken = count_free_locked(mm, zone, index, nr_frames) == nr_frames;
    if (taken)
        qy_take_range_locked(mm, zone, pfn, nr_frames);
    qy_unlock(&zone->lock);
    qy_tell(mm);
    return taken;
}

/** The first free frame in [index, end) of a pageblock that serves; end: there is none. */
static uint64_t skip_taken(const struct qy_mm *mm, const struct qy_zone *zone, uint64_t index,
                           uint64_t end)
{
    while (index < end) {
        const struct qy_pageblock *pb = &mm->blocks[index / QY_PAGEBLOCK_FRAMES];
        uint64_t stop = qy_block_end(index, end);
        index = qy_block_serves_runs(zone, pb) && pb->nr_free != 0
                    ? qy_next_frame(mm, index, stop, true)
                    : stop;
        if (index < stop)
            break;
    }
    return index;
}

/** First fit in [index, end). */
static qy_pfn_t find_range_locked(const struct qy_mm *mm, const struct qy_zone *zone,
                                  uint64_t index, uint64_t end, uint64_t nr_frames, uint64_t align)
{
    while ((index = skip_taken(mm, zone, index, end)) < end) {
        qy_pfn_t pfn = (mm->start_pfn + index + align - 1) & ~(align - 1);
        uint64_t start = qy_frame_index(mm, pfn);
        if (start + nr_frames > end)
            break;
        uint64_t free = count_free_locked(mm, zone, start, nr_frames);
        if (free == nr_frames)
            return pfn;
        index = start + (free > 0 ? free : 1);
    }
    return QY_PFN_NONE;
}

/* ---- where a run may lie ---- */

struct run {
    const struct qy_request *request;
    uint64_t nr_frames;
    unsigned align_order;
};

/** Where a run lies in this zone; QY_PFN_NONE: nowhere. */
typedef qy_pfn_t (*find_run_t)(struct qy_mm *mm, struct qy_zone *zone, const struct run *run);

/** Longer than a pageblock: on free frames that have memory. Worth a pass over some blocks. */
static qy_pfn_t find_with_memory_locked(struct qy_mm *mm, struct qy_zone *zone,
                                        const struct run *run)
{
    uint32_t block = qy_block_of(mm, zone->start_pfn), end = qy_block_of(mm, zone->end_pfn - 1) + 1;
    uint64_t count = 0; /* such frames in a row, before the word that is looked at */
    if (run->align_order > 0 || run->nr_frames <= QY_PAGEBLOCK_FRAMES ||
        qy_zone_backed(mm, zone) < run->nr_frames)
        return QY_PFN_NONE;
    end = end - block < QY_MOST_LOOKED ? end : block + QY_MOST_LOOKED;
    for (; block < end; block++) {
        bool may = qy_block_serves_backed(zone, &mm->blocks[block]);
        for (unsigned w = 0; w < QY_BITS_WORDS; w++) {
            uint64_t others = may ? ~qy_block_backed_word(mm, block, w) : ~UINT64_C(0);
            unsigned low = others != 0 ? (unsigned)__builtin_ctzll(others) : QY_WORD_BITS;
            if (count + low >= run->nr_frames)
                return qy_block_pfn(mm, block) + w * QY_WORD_BITS - count;
            count = others != 0 ? (unsigned)__builtin_clzll(others) : count + QY_WORD_BITS;
        }
    }
    return QY_PFN_NONE;
}

/** Behind the last run: runs that are taken in turn lie side by side. But not on fresh frames,
 *  which would need memory, while there are plenty of others. */
static qy_pfn_t find_behind_last_locked(struct qy_mm *mm, struct qy_zone *zone,
                                        const struct run *run)
{
    uint64_t index = qy_frame_index(mm, zone->run_end);
    if (zone->run_end == 0 || !qy_frame_online(mm, index) ||
        count_free_locked(mm, zone, index, run->nr_frames) != run->nr_frames ||
        (qy_frame_is_fresh(mm, index) && qy_zone_backed(mm, zone) >= PLENTY * run->nr_frames))
        return QY_PFN_NONE;
    return zone->run_end;
}

/** A run at the start of a pageblock that is wholly free: it goes down from there to where the free
 *  frames of this migratetype begin, MOST_SLIDE pageblocks at most; of each one frame says whether
 *  they have memory, as here, or not. What follows is laid behind it, over the borders of
 *  pageblocks; else each would keep a rest that is too short for a run. */
static qy_pfn_t slide_locked(const struct qy_mm *mm, const struct qy_zone *zone, uint32_t block,
                             qy_pfn_t pfn)
{
    const struct qy_pageblock *pb = &mm->blocks[block];
    uint64_t index = qy_frame_index(mm, pfn), lowest = qy_frame_index(mm, zone->start_pfn);
    bool fresh = pb->nr_fresh != 0;
    uint8_t migratetype = pb->migratetype;
    if (pb->nr_free != QY_PAGEBLOCK_FRAMES)
        return pfn;
    for (unsigned steps = 0; steps < MOST_SLIDE && index > lowest; steps++) {
        pb = &mm->blocks[(index - 1) / QY_PAGEBLOCK_FRAMES];
        if (pb->migratetype != migratetype || qy_frame_is_fresh(mm, index - 1) != fresh)
            break;
        uint64_t before = index;
        index = first_free_locked(mm, zone, index, index - QY_PAGEBLOCK_FRAMES);
        if (before - index < QY_PAGEBLOCK_FRAMES)
            break;
    }
    return mm->start_pfn + index;
}

/** In the fullest pageblock that may have room. A run of n frames has an aligned block of a
 *  quarter of n or more, so the lists say where not to look; on each a few are tried. */
static qy_pfn_t find_in_a_block_locked(struct qy_mm *mm, struct qy_zone *zone,
                                       const struct run *run)
{
    unsigned order = order_of(run->nr_frames);
    unsigned migratetype = run->request->migratetype;
    if (run->nr_frames > QY_PAGEBLOCK_FRAMES)
        return QY_PFN_NONE;
    qy_zone_take_over_locked(mm, zone, run->request->migratetype, order);
    for (unsigned k = order > 1 ? order - 2 : 0; k <= QY_MAX_ORDER; k++) {
        uint32_t block = zone->list[migratetype][k].first;
        for (int tries = 0; tries < MOST_TRIES && block != QY_BLOCK_NONE; tries++) {
            uint64_t index = (uint64_t)block * QY_PAGEBLOCK_FRAMES;
            qy_pfn_t pfn =
                find_range_locked(mm, zone, index, index + QY_PAGEBLOCK_FRAMES, run->nr_frames, 1);
            if (pfn != QY_PFN_NONE)
                return slide_locked(mm, zone, block, pfn);
            block = mm->blocks[block].next;
        }
    }
    return QY_PFN_NONE;
}

/** Longer than a pageblock: in a free block, and down from there to where the free frames before it
 *  begin. What would be left, if it is shorter than a run, nobody could use. */
static qy_pfn_t find_before_a_block_locked(struct qy_mm *mm, struct qy_zone *zone,
                                           const struct run *run)
{
    if (run->nr_frames <= QY_PAGEBLOCK_FRAMES || order_of(run->nr_frames) > QY_MAX_ORDER)
        return QY_PFN_NONE;
    qy_zone_take_over_locked(mm, zone, run->request->migratetype, QY_MAX_ORDER);
    uint32_t block = zone->list[run->request->migratetype][QY_MAX_ORDER].first;
    if (block == QY_BLOCK_NONE)
        return QY_PFN_NONE;
    uint64_t index = (uint64_t)block * QY_PAGEBLOCK_FRAMES;
    uint64_t lowest = qy_frame_index(mm, zone->start_pfn);
    uint64_t most = (uint64_t)MOST_SLIDE * QY_PAGEBLOCK_FRAMES;
    uint64_t least = index - lowest < most ? lowest : index - most;
    return mm->start_pfn + first_free_locked(mm, zone, index, least);
}

/** The first frames of a block. */
static qy_pfn_t find_block_locked(struct qy_mm *mm, struct qy_zone *zone, const struct run *run)
{
    unsigned order = order_of(run->nr_frames);
    struct qy_request block = *run->request;
    block.order = order > run->align_order ? order : run->align_order;
    return block.order <= QY_MAX_ORDER ? qy_zone_find_locked(mm, zone, &block) : QY_PFN_NONE;
}

static qy_pfn_t find_anywhere_locked(struct qy_mm *mm, struct qy_zone *zone, const struct run *run)
{
    return find_range_locked(mm, zone, qy_frame_index(mm, zone->start_pfn),
                             qy_frame_index(mm, zone->end_pfn), run->nr_frames,
                             UINT64_C(1) << run->align_order);
}

#define NR_FINDS 6

/** In the order in which they are asked. A power of two is a block, and so is what is aligned. */
static const struct {
    find_run_t find;
    bool natural;
} finds[NR_FINDS] = {
    {find_with_memory_locked, true}, {find_behind_last_locked, false},
    {find_in_a_block_locked, false}, {find_before_a_block_locked, false},
    {find_block_locked, true},       {find_anywhere_locked, true},
};

/* ---- runs ---- */

/** Exactly the run's frames, of the first zone that has it in such a place. */
static qy_pfn_t take_found(struct qy_mm *mm, const struct run *run, find_run_t find, bool *fresh)
{
    qy_pfn_t pfn = QY_PFN_NONE;
    struct qy_zone *zone;
    qy_for_each_zone (zone, mm, run->request->node) {
        if (pfn != QY_PFN_NONE || !qy_zone_may_serve(zone, run->request, run->nr_frames))
            continue;
        qy_lock(&zone->lock);
        pfn = find(mm, zone, run);
        if (pfn != QY_PFN_NONE) {
            *fresh = qy_take_range_locked(mm, zone, pfn, run->nr_frames);
            zone->run_end = pfn + run->nr_frames;
        }
        qy_unlock(&zone->lock);
    }
    return pfn;
}

static qy_pfn_t take_run(struct qy_mm *mm, const struct qy_request *request, uint64_t nr_frames,
                         unsigned align_order, bool *fresh)
{
    const struct run run = {request, nr_frames, align_order};
    bool natural = align_order > 0 || (nr_frames & (nr_frames - 1)) == 0;
    qy_pfn_t pfn = QY_PFN_NONE;
    for (unsigned i = 0; i < NR_FINDS && pfn == QY_PFN_NONE; i++)
        if (!natural || finds[i].natural)
            pfn = take_found(mm, &run, finds[i].find, fresh);
    return pfn;
}

qy_pfn_t qy_take_run(struct qy_mm *mm, const struct qy_request *request, uint64_t nr_frames,
                     unsigned align_order, bool *fresh)
{
    uint64_t slack = align_order > QY_MAX_ORDER ? UINT64_C(1) << align_order : 0;
    qy_pfn_t pfn = take_run(mm, request, nr_frames, align_order, fresh);
    while (pfn == QY_PFN_NONE && mm->options.grow && !request->within &&
           qy_grow(mm, request, nr_frames + slack) == 0)
        pfn = take_run(mm, request, nr_frames, align_order, fresh);
    if (pfn == QY_PFN_NONE && mm->options.lazy_backing) {
        qy_lock(&mm->grow_lock);
        qy_assert(mm->nr_away == 0, "R1");
        pfn = take_run(mm, request, nr_frames, align_order, fresh);
        qy_unlock(&mm->grow_lock);
    }
    qy_tell(mm);
    return pfn;
}

static void tag_run(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    while (nr_frames > 0) {
        unsigned order = next_order(mm, pfn, nr_frames);
        qy_tag_set(&mm->tags[qy_frame_index(mm, pfn)], (uint8_t)(QY_TAG_BLOCK + order));
        pfn += UINT64_C(1) << order;
        nr_frames -= UINT64_C(1) << order;
    }
}

/** The head of the allocated block that holds pfn, or QY_PFN_NONE. */
static qy_pfn_t head_of(const struct qy_mm *mm, qy_pfn_t pfn)
{
    uint64_t index = qy_frame_index(mm, pfn);
    for (unsigned order = 0; order <= QY_MAX_ORDER; order++) {
        uint64_t head = index >> order << order;
        uint8_t tag = mm->tags[head];
        if (tag == QY_TAG_NONE)
            continue;
        bool holds = tag < QY_TAG_RUN && index - head < UINT64_C(1) << (tag - QY_TAG_BLOCK);
        return holds ? mm->start_pfn + head : QY_PFN_NONE;
    }
    return QY_PFN_NONE;
}

/** The run is the end of an allocated block or all of it, then whole allocated blocks, cut as
 *  tag_run() cuts a run that ends here: only then are their tags cleared, and what is left of
 *  the first is tagged anew. */
static bool untag_run(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    qy_pfn_t head = head_of(mm, pfn);
    if (head == QY_PFN_NONE)
        return false;
    for (int pass = 0; pass < 2; pass++)
        for (qy_pfn_t at = head; at < pfn + nr_frames;) {
            uint8_t *tag = &mm->tags[qy_frame_index(mm, at)];
            unsigned order = next_order(mm, at, pfn + nr_frames - at);
            if (*tag != QY_TAG_BLOCK + order)
                return false;
            at += UINT64_C(1) << order;
            if (pass == 1)
                qy_tag_set(tag, QY_TAG_NONE);
        }
    tag_run(mm, head, pfn - head);
    return true;
}

qy_pfn_t qy_alloc_pages_exact(struct qy_mm *mm, qy_gfp_t gfp, uint64_t nr_frames,
                              unsigned align_order)
{
    struct qy_request request;
    bool fresh = false;
    if (nr_frames == 0 || nr_frames > mm->nr_frames || align_order > MAX_ALIGN_ORDER ||
        !qy_request_read(&request, 0, gfp, 0) || !qy_can_clear(mm, gfp))
        return QY_PFN_NONE;
    qy_pfn_t pfn = qy_take_run(mm, &request, nr_frames, align_order, &fresh);
    if (pfn == QY_PFN_NONE && (gfp & QY_GFP_DIRECT_RECLAIM)) {
        qy_drain_all_pages(mm);
        pfn = qy_take_run(mm, &request, nr_frames, align_order, &fresh);
    }
    unsigned rounds = 0;
    while (pfn == QY_PFN_NONE) {
        if (qy_compact_again(mm, gfp, order_of(nr_frames)))
            pfn = qy_take_run(mm, &request, nr_frames, align_order, &fresh);
        if (pfn != QY_PFN_NONE || !qy_reclaim_again(mm, gfp, order_of(nr_frames), &rounds))
            break;
        pfn = qy_take_run(mm, &request, nr_frames, align_order, &fresh);
    }
    if (pfn == QY_PFN_NONE)
        return pfn;
    tag_run(mm, pfn, nr_frames);
    if ((gfp & QY_GFP_ZERO) && !fresh)
        __builtin_memset(qy_frame_address(mm, pfn), 0, nr_frames << QY_PAGE_SHIFT);
    return pfn;
}

int qy_free_pages_exact(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    struct qy_fault fault = {.what = "foreign free", .rule = "F1", .address = pfn, .unit = "frame"};
    if (nr_frames == 0 || !qy_in_span(mm, pfn, nr_frames) ||
        !qy_frame_online(mm, qy_frame_index(mm, pfn)) ||
        !qy_frame_online(mm, qy_frame_index(mm, pfn + nr_frames - 1)))
        return qy_fault_report(mm, &fault);
    if (!untag_run(mm, pfn, nr_frames)) {
        fault.what = "invalid free";
        fault.rule = "F2";
        return qy_fault_report(mm, &fault);
    }
    qy_give_run(mm, pfn, nr_frames, false);
    return 0;
}
