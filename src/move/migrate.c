/*
 * migrate.c - pages go on to other frames, or are given up
 *
 * WHAT    The owner of a wanted frame is asked, in this order, to
 *           drop it     what is clean and can be read again, or
 *           move it     isolate, copy, put back on frames lent for it: as many pages at once as
 *                       follow each other both in the mapping and in memory, or
 *           clean it    where there is no frame to move it to, and then drop it.
 *         What the owner lets go of comes to who wants it: the frame is WANTED
 *         (memory/folio.h).
 *
 * RULES   V2  in space/mapping.h. Here: what is isolated is put back, on the new frames or the old.
 *
 * LOCKS   none held; inside mm->grace, so the mapping stays.
 *
 * COST    The copy, and two calls of the mapping for up to a pageblock.
 */
#include "move/move.h"

#include "base/errno.h"
#include "buddy/lend.h"

#define MOST_AT_ONCE QY_PAGEBLOCK_FRAMES

/** The pages that follow each other in one mapping, as their frames do. */
static unsigned run_of(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t count,
                       struct qy_mapping **mapping, uint32_t *index)
{
    const struct qy_folio *folio = qy_folio_of(mm, pfn);
    unsigned length = 0;
    *mapping = atomic_load_explicit(&folio->mapping, memory_order_acquire);
    *index = atomic_load_explicit(&folio->index, memory_order_relaxed);
    while (length < count && length < MOST_AT_ONCE &&
           atomic_load_explicit(&folio[length].mapping, memory_order_acquire) == *mapping &&
           atomic_load_explicit(&folio[length].index, memory_order_relaxed) == *index + length)
        length++;
    return length > 0 ? length : 1;
}

/** Frames for up to @count pages, in one piece: 2^*order of them. Outside of regions if there are
 *  any: those in regions would be moved again. What is claimed is not free, so they are never in
 *  the window itself. */
static qy_pfn_t lend_target(struct qy_move *move, unsigned count, unsigned *order)
{
    static const enum qy_lend promises[] = {QY_LEND_OUTSIDE, QY_LEND_MOVABLE};
    unsigned largest = 31 - (unsigned)__builtin_clz(count);
    *order = largest;
    if (move->gap != NULL)
        return move->gap(move, order);
    for (unsigned i = 0; i < 2; i++)
        for (*order = largest;; --*order) {
            bool fresh;
            qy_pfn_t pfn = qy_lend_block(move->mm, QY_GFP_NOWAIT, promises[i], *order, &fresh);
            if (pfn != QY_PFN_NONE)
                return pfn;
            if (*order == 0)
                break;
        }
    return QY_PFN_NONE;
}

/** Isolated pages go on to new frames. Returns how many did; the others are back in place. */
static unsigned move_isolated(struct qy_move *move, struct qy_mapping *mapping, uint32_t index,
                              qy_pfn_t from, unsigned count)
{
    struct qy_mm *mm = move->mm;
    unsigned done = 0;
    while (done < count) {
        unsigned order;
        qy_pfn_t to = lend_target(move, count - done, &order);
        if (to == QY_PFN_NONE)
            break;
        unsigned frames = 1u << order;
        if (mm->base != 0)
            qy_port_copy_pages(mm, qy_frame_address(mm, to), qy_frame_address(mm, from + done),
                               frames);
        if (mapping->ops->putback(mapping, index + done, from + done, to, frames) != 0) {
            qy_lend_return(mm, to, frames);
            qy_move_stuck(move, from + done, QY_CMA_NO_MAPPING);
            done += frames; /* they are back in place already */
            continue;
        }
        move->report->moved += frames;
        move->work += frames;
        done += frames;
    }
    if (done < count) {
        int code =
            mapping->ops->putback(mapping, index + done, from + done, from + done, count - done);
        (void)code; /* back in place is where they can always be */
    }
    return done;
}

/** There is no frame to move it to. What can be written can then be dropped, in this round or the
 *  next; else the round ends here, somebody has to give something up, and the next one tries
 *  again. */
static void clean_or_wait(struct qy_move *move, struct qy_mapping *mapping, uint32_t index,
                          qy_pfn_t pfn)
{
    const struct qy_mapping_ops *ops = mapping->ops;
    bool may_write = ops->clean != NULL && move->gap == NULL;
    int code = may_write ? ops->clean(mapping, index, pfn) : -QY_EINVAL;
    if (code >= 0) {
        move->work += (unsigned)code;
        move->report->written += (unsigned)code;
        move->report->dropped += ops->drop(mapping, index, pfn, 1) == 1;
    } else if (code == -QY_EINVAL) {
        move->no_target = pfn;
    } else if (code != -QY_EAGAIN) {
        qy_move_stuck(move, pfn, QY_CMA_WRITE_FAILED);
    }
}

static unsigned move_run(struct qy_move *move, struct qy_mapping *mapping, uint32_t index,
                         qy_pfn_t pfn, unsigned count)
{
    int isolated = mapping->ops->isolate(mapping, index, pfn, count);
    if (isolated == -QY_ENOMEM || isolated == -QY_ENOSPC)
        qy_move_stuck(move, pfn, isolated == -QY_ENOMEM ? QY_CMA_NO_TARGET : QY_CMA_NO_MAPPING);
    if (isolated <= 0)
        return 1;
    unsigned done = move_isolated(move, mapping, index, pfn, (unsigned)isolated);
    if (done == 0)
        clean_or_wait(move, mapping, index, pfn);
    return done > 0 ? done : 1;
}

/** Of a run whose first page has to be moved, so many: what can be dropped is not copied. */
static unsigned up_to_droppable(const struct qy_mapping *mapping, const struct qy_folio *folio,
                                unsigned length)
{
    unsigned count = 1;
    while (count < length && mapping->ops->cost(mapping, &folio[count]) != QY_COST_DROP)
        count++;
    return count;
}

int qy_migrate(struct qy_move *move, qy_pfn_t pfn, uint64_t count)
{
    struct qy_mapping *mapping;
    uint32_t index;
    unsigned length = run_of(move->mm, pfn, count, &mapping, &index);
    uint64_t left = move->most == 0 ? length : move->most - move->work;
    if (move->deadline_ns != 0 && qy_port_clock_exact_ns() >= move->deadline_ns)
        return -QY_ETIME;
    if (mapping == NULL)
        return (int)length; /* on its way into a mapping, or out of it */
    bool may_drop = mapping->ops->drop != NULL && move->gap == NULL;
    int dropped = may_drop ? mapping->ops->drop(mapping, index, pfn, length) : 0;
    if (dropped > 0)
        move->report->dropped += (unsigned)dropped;
    if (dropped > 0 || dropped == -QY_EBUSY)
        return dropped > 0 ? dropped : 1;
    if (left == 0)
        return -QY_ETIME;
    if (may_drop)
        length = up_to_droppable(mapping, qy_folio_of(move->mm, pfn), length);
    return (int)move_run(move, mapping, index, pfn, length < left ? length : (unsigned)left);
}
