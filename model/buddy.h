/*
 * model/buddy.h - the buddy system as the textbooks draw it
 *
 * The oracle of the tests: eleven linked lists of free blocks, last in first out, split on
 * the way down and merged on the way up (Knowlton 1965; Knuth, TAOCP 1, 2.5; Linux's
 * mm/page_alloc.c). Slow, obvious, and never linked into the library. One model is one
 * zone.
 */
#ifndef QUARRY_MODEL_BUDDY_H
#define QUARRY_MODEL_BUDDY_H

#include <quarry/types.h>

/** Frames first .. first + count - 1. Any first, any count > 0. */
struct qy_model_range {
    qy_pfn_t first;
    uint64_t count;
};

struct qy_model_buddy;

/** A zone whose free frames are those of the ranges, which may not overlap; what lies
 *  between them is a hole. NULL: no memory, or a range is empty or overlaps. */
QY_MUST_CHECK struct qy_model_buddy *qy_model_create(const struct qy_model_range *ranges,
                                                     size_t nr_ranges);
void qy_model_destroy(struct qy_model_buddy *zone);

/** Take a block of 2^order frames: the youngest of the smallest sufficient ones, split as
 *  often as needed. Returns its first frame, or QY_PFN_NONE. */
QY_MUST_CHECK qy_pfn_t qy_model_alloc(struct qy_model_buddy *zone, unsigned order);

/** Take the very block that begins at pfn, out of whatever free block holds it. Returns 0,
 *  or -EBUSY with nothing changed when it is not wholly free, -EINVAL when misaligned. */
QY_MUST_CHECK int qy_model_alloc_specific(struct qy_model_buddy *zone, qy_pfn_t pfn,
                                          unsigned order);

/** Give a block back. Returns 0, or -EINVAL with nothing changed when no block of this
 *  order was taken at pfn. */
QY_MUST_CHECK int qy_model_free(struct qy_model_buddy *zone, qy_pfn_t pfn, unsigned order);

/** How many free blocks the list of this order holds: a column of /proc/buddyinfo. */
uint64_t qy_model_count(const struct qy_model_buddy *zone, unsigned order);

/** Could a block of this order be taken now? */
bool qy_model_feasible(const struct qy_model_buddy *zone, unsigned order);

/** Is this single frame free? False for what is no frame of the zone. */
bool qy_model_is_free(const struct qy_model_buddy *zone, qy_pfn_t pfn);

/** Free frames, all orders together. */
uint64_t qy_model_free_frames(const struct qy_model_buddy *zone);

#endif
