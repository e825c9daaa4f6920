/*
 * lists.h - a pageblock goes to the list of its largest free order; see lists.c
 *
 * The caller holds zone->lock.
 */
#ifndef QY_BUDDY_LISTS_H
#define QY_BUDDY_LISTS_H

#include "memory/mm.h"

/** The pageblock beside it: the other half of a block of order 10. */
static inline struct qy_pageblock *qy_block_buddy(struct qy_mm *mm, const struct qy_pageblock *pb)
{
    return &mm->blocks[(uint32_t)(pb - mm->blocks) ^ 1u];
}

/** Off its list and on to that of @order, or of a pair; -1: on none. */
void qy_block_relist(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb, int order);

/** The same, if its largest free order has changed. */
static inline void qy_block_set_order(struct qy_mm *mm, struct qy_zone *zone,
                                      struct qy_pageblock *pb, int order)
{
    if (qy_unlikely(order != pb->order))
        qy_block_relist(mm, zone, pb, order);
}

/** What is free of it belongs to another migratetype. It is no half of a pair. */
void qy_block_set_type(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb,
                       unsigned migratetype);

/** It is wholly free: if its buddy is too, they become one block of order 10. */
void qy_block_merge_pair(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb);
/** If it is half of such a block, both halves stand for themselves again. */
void qy_block_split_pair(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb);

#endif
