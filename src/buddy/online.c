/*
 * online.c - frames come online: at creation, by qy_mm_online(), and when memory runs short
 *
 * WHAT    A frame is online when its zone and pageblock know it and the buddy has been given
 *         it. Growth walks the HOTPLUG ranges upwards: an eighth of what there is, at least a
 *         section, at most 64 MiB at a time, less where the limit or the system gives less.
 *         A section whose addresses belong to somebody else is passed over.
 *
 * RULES   O1  A frame comes online once.
 *         O2  What fails brings no frame online and leaves none charged. Metadata that was
 *             committed for it stays, counted, for whoever comes next.
 *         M3, M4  in memory/mm.c.
 *         Checked by check_memory() in view/rules.c; O1 by B1 as well, O2 asserted here.
 *
 * LOCKS   grow_lock, then the zone's.
 *
 * COST    One or two system calls and a bit a frame for each step of growth.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "base/round.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"
#include "memory/fault.h"

#define MOST_AT_ONCE (UINT64_C(64) << 20 >> QY_PAGE_SHIFT)

static void mark_online(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, uint64_t nr_frames)
{
    for (uint32_t block = qy_block_of(mm, pfn); block <= qy_block_of(mm, pfn + nr_frames - 1);
         block++) {
        struct qy_pageblock *pb = &mm->blocks[block];
        /* The first access is a write: for a read, a process would get a page of zeroes first. */
        __atomic_exchange_n(&pb->reserved[0], 0, __ATOMIC_RELAXED);
        if (pb->flags & QY_BLOCK_ONLINE)
            continue;
        *pb = (struct qy_pageblock){
            .next = QY_BLOCK_NONE,
            .prev = QY_BLOCK_NONE,
            .word_order = {-1, -1, -1, -1, -1, -1, -1, -1},
            .order = -1,
            .migratetype = QY_MIGRATE_MOVABLE,
            .zone = (uint8_t)zone->index,
            .flags = QY_BLOCK_ONLINE,
        };
    }
}

/** Frames of one zone, whose memory is there, become free; reserved ones are never handed out, and
 *  the zone counts them as present only. grow_lock held. */
static void online(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, uint64_t nr_frames,
                   bool reserved)
{
    qy_lock(&zone->lock);
    mark_online(mm, zone, pfn, nr_frames);
    qy_zone_extend(mm, zone, pfn, nr_frames, reserved ? 0 : nr_frames);
    if (!reserved)
        qy_buddy_give_range_locked(mm, zone, pfn, nr_frames, mm->options.lazy_backing);
    /* Last, or who counts what is used meanwhile would count all of this. */
    atomic_fetch_add_explicit(&mm->managed, reserved ? 0 : nr_frames, memory_order_release);
    qy_unlock(&zone->lock);
}

/** The same for frames of one node that may lie in several zones. */
static void online_span(struct qy_mm *mm, struct qy_span span, bool reserved)
{
    while (span.start < span.end) {
        struct qy_zone *zone = qy_zone_for(mm, span.start, span.node);
        qy_pfn_t end = mm->zone_end[zone->type] >> QY_PAGE_SHIFT;
        if (end > span.end)
            end = span.end;
        online(mm, zone, span.start, end - span.start, reserved);
        span.start = end;
    }
}

/** Part of a HOTPLUG range, around what is reserved there. */
static void online_hotplug(struct qy_mm *mm, struct qy_span span)
{
    for (uint32_t i = 0; i < mm->nr_reserved; i++) {
        struct qy_span reserved = mm->reserved[i];
        if (reserved.end <= span.start || reserved.start >= span.end)
            continue;
        if (reserved.start < span.start)
            reserved.start = span.start;
        if (reserved.end > span.end)
            reserved.end = span.end;
        online_span(mm, (struct qy_span){span.start, reserved.start, span.node}, false);
        online_span(mm, reserved, true);
        span.start = reserved.end;
    }
    online_span(mm, span, false);
}

static const struct qy_span *hotplug_holding(const struct qy_mm *mm, qy_pfn_t pfn,
                                             uint64_t nr_frames)
{
    for (uint32_t i = 0; i < mm->nr_hotplug; i++)
        if (pfn >= mm->hotplug[i].start && pfn < mm->hotplug[i].end &&
            nr_frames <= mm->hotplug[i].end - pfn)
            return &mm->hotplug[i];
    return NULL;
}

int qy_online_ram(struct qy_mm *mm, const struct qy_layout *layout, struct qy_error *error)
{
    uint64_t frames = 0;
    qy_pfn_t end = mm->start_pfn;
    for (unsigned i = 0; i < layout->nr_ram; i++) {
        frames += layout->ram[i].end - layout->ram[i].start;
        end = layout->ram[i].end;
    }
    if (!mm->options.meta_lazy)
        end = mm->start_pfn + mm->nr_frames;
    qy_lock(&mm->grow_lock);
    int code = qy_meta_reach(mm, end);
    if (code == 0)
        code = qy_mm_charge(mm, frames);
    for (unsigned i = 0; i < layout->nr_ram && code == 0; i++)
        online_span(mm, layout->ram[i], false);
    for (unsigned i = 0; i < layout->nr_reserved && code == 0; i++)
        if (hotplug_holding(mm, layout->reserved[i].start, 1) == NULL)
            online_span(mm, layout->reserved[i], true);
    qy_unlock(&mm->grow_lock);
    if (code != 0)
        code = qy_refuse_to_begin(mm, layout, error);
    return code;
}

/** Bring [pfn, pfn + nr_frames) of one node online. grow_lock held. */
static int online_range_locked(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames, uint32_t node)
{
    int code = qy_meta_reach(mm, pfn + nr_frames);
    if (code == 0)
        code = qy_mm_charge(mm, nr_frames);
    if (code != 0)
        return code;
    if (mm->options.lazy_backing)
        code = qy_port_commit(mm, qy_frame_address(mm, pfn), nr_frames << QY_PAGE_SHIFT);
    if (code != 0) {
        qy_mm_uncharge(mm, nr_frames);
        return code;
    }
    online_hotplug(mm, (struct qy_span){pfn, pfn + nr_frames, node});
    return 0;
}

static bool any_online(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t first = qy_frame_index(mm, pfn);
    for (uint64_t i = first; i < first + nr_frames; i += QY_PAGEBLOCK_FRAMES)
        if (qy_frame_online(mm, i))
            return true;
    return false;
}

bool qy_may_come_online(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    return hotplug_holding(mm, pfn, nr_frames) != NULL;
}

int qy_mm_online(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    if (nr_frames == 0 || (pfn | nr_frames) % QY_SECTION_FRAMES != 0)
        return -QY_EINVAL;
    const struct qy_span *range = hotplug_holding(mm, pfn, nr_frames);
    if (range == NULL)
        return -QY_EINVAL;
    qy_lock(&mm->grow_lock);
    uint64_t before = atomic_load_explicit(&mm->managed, memory_order_relaxed);
    int code = any_online(mm, pfn, nr_frames)
                   ? -QY_EEXIST
                   : online_range_locked(mm, pfn, nr_frames, range->node);
    uint64_t after = atomic_load_explicit(&mm->managed, memory_order_relaxed);
    qy_assert(code == 0 || after == before, "O2");
    (void)before, (void)after;
    qy_unlock(&mm->grow_lock);
    return code;
}

/* ---- growth ---- */

/** Move on to the next section that is not online; false: there is none. */
static bool seek_offline(struct qy_mm *mm)
{
    while (mm->grow_range < mm->nr_hotplug) {
        const struct qy_span *range = &mm->hotplug[mm->grow_range];
        if (mm->grow_pfn < range->start)
            mm->grow_pfn = range->start;
        if (mm->grow_pfn >= range->end) {
            mm->grow_range++;
            mm->grow_pfn = 0;
        } else if (any_online(mm, mm->grow_pfn, 1)) {
            mm->grow_pfn = qy_round_up(mm->grow_pfn + 1, QY_SECTION_FRAMES);
        } else {
            return true;
        }
    }
    return false;
}

static uint64_t step_of_growth(const struct qy_mm *mm, uint64_t least)
{
    uint64_t step = atomic_load_explicit(&mm->managed, memory_order_relaxed) / 8;
    if (step > MOST_AT_ONCE)
        step = MOST_AT_ONCE;
    return qy_round_up(step > least ? step : least, QY_SECTION_FRAMES);
}

/** What the limit still allows, metadata that is yet to come included. */
static uint64_t room_under_limit(const struct qy_mm *mm)
{
    uint64_t limit = mm->options.limit_pages;
    uint64_t charged = atomic_load_explicit(&mm->charged, memory_order_relaxed);
    if (limit == 0)
        return UINT64_MAX;
    return limit > charged ? limit - charged : 0;
}

/** Frames from pfn on that are not online, as far as @end. */
static uint64_t offline_frames(const struct qy_mm *mm, qy_pfn_t pfn, qy_pfn_t end)
{
    qy_pfn_t at = pfn;
    while (at < end && !any_online(mm, at, 1))
        at = at - at % QY_SECTION_FRAMES + QY_SECTION_FRAMES;
    return (at < end ? at : end) - pfn;
}

/** Would what comes online at grow_pfn be of use to the request? */
static bool growth_serves(struct qy_mm *mm, const struct qy_request *request, uint32_t node)
{
    if (request->gfp & QY_GFP_THISNODE && node != request->node)
        return false;
    return qy_zone_for(mm, mm->grow_pfn, node)->type <= request->highest;
}

/** Grow at grow_pfn, by a step if possible. */
static int grow_here_locked(struct qy_mm *mm, uint64_t least, uint64_t step, uint32_t node)
{
    if (qy_meta_reach(mm, mm->grow_pfn + step) != 0) {
        step = least;
        if (qy_meta_reach(mm, mm->grow_pfn + step) != 0)
            return -QY_ENOMEM;
    }
    uint64_t room = room_under_limit(mm);
    if (room < least)
        return -QY_ENOMEM;
    step = step < room ? step : room;
    int code = online_range_locked(mm, mm->grow_pfn, step, node);
    if (code == -QY_ENOMEM && step > qy_round_up(least, QY_SECTION_FRAMES))
        code = online_range_locked(mm, mm->grow_pfn, qy_round_up(least, QY_SECTION_FRAMES), node);
    return code;
}

static int grow_locked(struct qy_mm *mm, const struct qy_request *request, uint64_t least)
{
    uint32_t first_range = mm->grow_range;
    qy_pfn_t first_pfn = mm->grow_pfn;
    bool passed_over = false; /* what serves others, or smaller requests */
    int code = -QY_ENOMEM;
    while (seek_offline(mm)) {
        const struct qy_span *range = &mm->hotplug[mm->grow_range];
        uint64_t step = step_of_growth(mm, least);
        qy_pfn_t end = range->end - mm->grow_pfn < step ? range->end : mm->grow_pfn + step;
        uint64_t left = offline_frames(mm, mm->grow_pfn, end);
        if (left < least || !growth_serves(mm, request, range->node)) {
            passed_over = true;
            mm->grow_pfn += left;
            continue;
        }
        code = grow_here_locked(mm, least, left, range->node);
        if (code != -QY_EEXIST)
            break;
        mm->grow_pfn += QY_SECTION_FRAMES;
    }
    if (passed_over) {
        mm->grow_range = first_range;
        mm->grow_pfn = first_pfn;
    }
    return code;
}

int qy_grow(struct qy_mm *mm, const struct qy_request *request, uint64_t nr_frames)
{
    uint64_t before = atomic_load_explicit(&mm->managed, memory_order_relaxed);
    qy_lock(&mm->grow_lock);
    int code = 0;
    if (atomic_load_explicit(&mm->managed, memory_order_relaxed) == before)
        code = grow_locked(mm, request, nr_frames);
    qy_unlock(&mm->grow_lock);
    return code;
}
