/*
 * contig.c - runs of frames that are no power of two, or longer than a block of order 10
 *
 * WHAT    Up to 1024 frames: a block of the next order, whose tail goes back at once. Beyond,
 *         the zones are searched for neighbouring free blocks of order 10; where the
 *         instance may grow, a run is made at its end.
 *         Each part of a run is tagged as a block of its own, so a run can be given back
 *         whole or in parts, and wrong frees are found as for any block.
 *
 * RULES   T1, T2  in memory/page.h; F1, F2 in buddy/alloc.c.
 *
 * LOCKS   zone->lock while searching and taking.
 *
 * COST    Beyond order 10 a pass over the zone's pageblock headers: 32 bytes for 2 MiB.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"
#include "memory/fault.h"

#include <quarry/buddy.h>

#define MAX_ALIGN_ORDER 18

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
}

static bool whole_section(const struct qy_mm *mm, const struct qy_zone *zone, qy_pfn_t pfn)
{
    const struct qy_pageblock *pb = &mm->blocks[qy_block_of(mm, pfn)];
    return (pb->flags & QY_BLOCK_ONLINE) && pb->order == QY_MAX_ORDER &&
           pb->zone == zone->index && pb->migratetype < QY_MIGRATE_HIGHATOMIC;
}

/** Take the sections from pfn on; the last one only as far as needed. */
static bool take_sections_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn,
                                 uint64_t nr_frames)
{
    uint64_t sections = (nr_frames + QY_SECTION_FRAMES - 1) / QY_SECTION_FRAMES;
    bool all_fresh = true;
    for (uint64_t i = 0; i < sections; i++) {
        bool fresh;
        qy_buddy_take_at_locked(mm, zone, pfn + i * QY_SECTION_FRAMES, QY_MAX_ORDER, &fresh);
        all_fresh &= fresh;
    }
    uint64_t tail = sections * QY_SECTION_FRAMES - nr_frames;
    qy_buddy_give_range_locked(mm, zone, pfn + nr_frames, tail, all_fresh);
    return all_fresh;
}

static qy_pfn_t search_zone_locked(struct qy_mm *mm, struct qy_zone *zone, uint64_t nr_frames,
                                   uint64_t align, bool *fresh)
{
    uint64_t sections = (nr_frames + QY_SECTION_FRAMES - 1) / QY_SECTION_FRAMES;
    uint64_t found = 0;
    qy_pfn_t pfn = zone->start_pfn & ~(QY_SECTION_FRAMES - 1);
    for (; pfn < zone->end_pfn && found < sections; pfn += QY_SECTION_FRAMES) {
        bool starts_well = found > 0 || (pfn & (align - 1)) == 0;
        found = starts_well && whole_section(mm, zone, pfn) ? found + 1 : 0;
    }
    if (found < sections)
        return QY_PFN_NONE;
    pfn -= sections * QY_SECTION_FRAMES;
    *fresh = take_sections_locked(mm, zone, pfn, nr_frames);
    return pfn;
}

static qy_pfn_t search_zones(struct qy_mm *mm, const struct qy_request *request,
                             uint64_t nr_frames, unsigned align_order, bool *fresh)
{
    uint64_t align = UINT64_C(1) << (align_order > QY_MAX_ORDER ? align_order : QY_MAX_ORDER);
    qy_pfn_t pfn = QY_PFN_NONE;
    for (unsigned i = 0; i < mm->zonelist_length && pfn == QY_PFN_NONE; i++) {
        struct qy_zone *zone = &mm->zones[mm->zonelist[request->node][i]];
        uint64_t free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
        if (zone->type > request->highest ||
            ((request->gfp & QY_GFP_THISNODE) && zone->node != request->node) ||
            free < nr_frames + zone->watermark[QY_WMARK_MIN] +
                       zone->lowmem_reserve[request->highest])
            continue;
        qy_lock(&zone->lock);
        pfn = search_zone_locked(mm, zone, nr_frames, align, fresh);
        qy_unlock(&zone->lock);
    }
    return pfn;
}

static qy_pfn_t take_long_run(struct qy_mm *mm, const struct qy_request *request,
                              uint64_t nr_frames, unsigned align_order, bool *fresh)
{
    uint64_t slack = align_order > QY_MAX_ORDER ? UINT64_C(1) << align_order : 0;
    qy_pfn_t pfn = search_zones(mm, request, nr_frames, align_order, fresh);
    if (pfn == QY_PFN_NONE && mm->options.grow && qy_grow(mm, request, nr_frames + slack) == 0)
        pfn = search_zones(mm, request, nr_frames, align_order, fresh);
    return pfn;
}

qy_pfn_t qy_take_run(struct qy_mm *mm, const struct qy_request *request, uint64_t nr_frames,
                     unsigned align_order, bool *fresh)
{
    unsigned order = order_of(nr_frames);
    if (order < align_order)
        order = align_order;
    if (order > QY_MAX_ORDER)
        return take_long_run(mm, request, nr_frames, align_order, fresh);
    struct qy_request block = *request;
    block.order = order;
    qy_pfn_t pfn = qy_take_pages(mm, NULL, &block, fresh);
    if (pfn != QY_PFN_NONE && nr_frames < UINT64_C(1) << order)
        qy_give_run(mm, pfn + nr_frames, (UINT64_C(1) << order) - nr_frames, *fresh);
    return pfn;
}

static bool all_free_locked(const struct qy_mm *mm, const struct qy_zone *zone, qy_pfn_t pfn,
                            uint64_t nr_frames)
{
    for (uint64_t done = 0; done < nr_frames;) {
        uint64_t index = qy_frame_index(mm, pfn + done);
        unsigned at = index % QY_WORD_BITS;
        uint64_t width = QY_WORD_BITS - at < nr_frames - done ? QY_WORD_BITS - at
                                                              : nr_frames - done;
        uint64_t mask = ~UINT64_C(0) >> (QY_WORD_BITS - width) << at;
        const struct qy_pageblock *pb = &mm->blocks[index / QY_PAGEBLOCK_FRAMES];
        const struct qy_bits512 *bits = &mm->free_bits[index / QY_PAGEBLOCK_FRAMES];
        if (!(pb->flags & QY_BLOCK_ONLINE) || pb->zone != zone->index ||
            (bits->word[index % QY_PAGEBLOCK_FRAMES / QY_WORD_BITS] & mask) != mask)
            return false;
        done += width;
    }
    return true;
}

bool qy_take_behind(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t first = qy_frame_index(mm, pfn);
    if (!qy_in_span(mm, pfn, nr_frames) || !qy_frame_online(mm, first) ||
        first + nr_frames > qy_described_frames(mm))
        return false;
    struct qy_zone *zone = qy_zone_of(mm, pfn);
    qy_lock(&zone->lock);
    bool taken = all_free_locked(mm, zone, pfn, nr_frames);
    while (taken && nr_frames > 0) {
        bool fresh;
        unsigned order = next_order(mm, pfn, nr_frames);
        qy_buddy_take_at_locked(mm, zone, pfn, order, &fresh);
        pfn += UINT64_C(1) << order;
        nr_frames -= UINT64_C(1) << order;
    }
    qy_unlock(&zone->lock);
    return taken;
}

static void tag_run(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    while (nr_frames > 0) {
        unsigned order = next_order(mm, pfn, nr_frames);
        mm->tags[qy_frame_index(mm, pfn)] = (uint8_t)(QY_TAG_BLOCK + order);
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

/** The run is the end of an allocated block or all of it, then whole allocated blocks: only
 *  then are their tags cleared, and what is left of the first is tagged anew. */
static bool untag_run(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    qy_pfn_t head = head_of(mm, pfn);
    if (head == QY_PFN_NONE)
        return false;
    for (int pass = 0; pass < 2; pass++)
        for (qy_pfn_t at = head; at < pfn + nr_frames;) {
            uint8_t *tag = &mm->tags[qy_frame_index(mm, at)];
            if (*tag < QY_TAG_BLOCK || *tag > QY_TAG_BLOCK + QY_MAX_ORDER)
                return false;
            at += UINT64_C(1) << (*tag - QY_TAG_BLOCK);
            if (at > pfn + nr_frames)
                return false;
            if (pass == 1)
                *tag = QY_TAG_NONE;
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
        !qy_request_read(&request, 0, gfp, 0))
        return QY_PFN_NONE;
    qy_pfn_t pfn = qy_take_run(mm, &request, nr_frames, align_order, &fresh);
    if (pfn == QY_PFN_NONE && (gfp & QY_GFP_DIRECT_RECLAIM)) {
        qy_drain_all_pages(mm);
        pfn = qy_take_run(mm, &request, nr_frames, align_order, &fresh);
    }
    if (pfn == QY_PFN_NONE && (gfp & QY_GFP_DIRECT_RECLAIM) && mm->reclaim != NULL &&
        mm->reclaim(mm, gfp, order_of(nr_frames)) != 0)
        pfn = qy_take_run(mm, &request, nr_frames, align_order, &fresh);
    if (pfn == QY_PFN_NONE)
        return pfn;
    tag_run(mm, pfn, nr_frames);
    if ((gfp & QY_GFP_ZERO) && !fresh && mm->base != 0)
        __builtin_memset(qy_frame_address(mm, pfn), 0, nr_frames << QY_PAGE_SHIFT);
    return pfn;
}

int qy_free_pages_exact(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    struct qy_fault fault = {.what = "foreign free", .rule = "F1", .address = pfn};
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
