/*
 * populate.c - memory for frames that are about to be written
 *
 * WHAT    Fresh frames have no memory yet: the first write to each page would be a fault. Who
 *         knows that all of them will be written asks for it beforehand. Once much is in use,
 *         and the frames lie in a pageblock that is hardly touched, the port is asked for one
 *         huge page for all of it: small objects use a pageblock up before they open the
 *         next one, so what is left of it will soon be written as well. A huge page
 *         costs one fault, and one entry of the processor's translation buffer.
 *
 * RULES   B4  in buddy/buddy.c: what a huge page brought is free, and not fresh any more. But
 *             for what lies on per-CPU lists just then: some tens of frames that, if they are
 *             given back unused, trim takes for fresh and passes over.
 *
 * LOCKS   zone->lock to say so; none while the port works.
 *
 * COST    A system call, or five for 2 MiB.
 *
 * WHY     Not for large blocks, which may be written here and there, and not from the start: a
 *         small heap would be twice its size. With 32 MiB in use one pageblock is 6 % more at
 *         worst, until it is used up.
 */
#include "buddy/alloc.h"
#include "buddy/bits.h"
#include "buddy/buddy.h"

/** Frames in use from which on memory comes in huge pages. */
#define LEAST_USED (UINT64_C(32) << 20 >> QY_PAGE_SHIFT)
/** A pageblock of which at least so many frames are fresh is hardly touched: more than half of it
 *  may lie on per-CPU lists. If any has memory already, the port will see. */
#define LEAST_FRESH 192

QY_RACY static bool is_hardly_touched(const struct qy_pageblock *pb)
{
    return pb->nr_fresh >= LEAST_FRESH;
}

static bool is_large(const struct qy_mm *mm)
{
    return qy_used_frames(mm) >= LEAST_USED;
}

/** All free frames of the pageblock have memory from now on. */
static void forget_fresh(struct qy_mm *mm, struct qy_zone *zone, uint32_t block)
{
    qy_lock(&zone->lock);
    qy_block_forget_fresh(mm, zone, block);
    qy_unlock(&zone->lock);
}

void qy_populate(struct qy_mm *mm, qy_pfn_t pfn, unsigned order)
{
    uint32_t block = qy_block_of(mm, pfn);
    void *pages = qy_frame_address(mm, pfn);
    size_t bytes = QY_PAGE_BYTES << order;
    if (order <= QY_PAGEBLOCK_ORDER && is_hardly_touched(&mm->blocks[block]) && is_large(mm) &&
        qy_port_populate_huge(mm, qy_frame_address(mm, qy_block_pfn(mm, block)), pages, bytes))
        forget_fresh(mm, qy_zone_of(mm, pfn), block);
    else
        qy_port_populate(mm, pages, bytes);
}
