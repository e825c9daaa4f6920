/*
 * lists.c - which pageblocks can serve which request
 *
 * WHAT    A zone keeps, for each migratetype and order, the list of pageblocks whose largest
 *         free block has that order, and a bit for each list that is not empty. Two wholly
 *         free buddies are a pair: the even one stands on list 10 for both.
 *
 * RULES   B2, B5  in memory/pageblock.h.
 *         Checked by qy_check_buddy() in view/rules_buddy.c.
 *
 * LOCKS   zone->lock for all of it.
 *
 * COST    A change of list writes two headers of neighbours and two heads of lists at most.
 *
 * WHY     Fuller pageblocks stand towards the head of their list: they are used up first, so
 *         that thin ones have time to become whole; and those that have memory before those that
 *         would need some. An exact order would cost a search; the comparison with the head alone
 *         already keeps whole pageblocks whole (measured in tests/model/test_ageing.c).
 */
#include "buddy/lists.h"

#include "base/assert.h"

/* ---- the lists ---- */

static void unlink_block(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb)
{
    struct qy_block_list *list = &zone->list[pb->migratetype][pb->order];
    if (pb->prev == QY_BLOCK_NONE)
        list->first = pb->next;
    else
        mm->blocks[pb->prev].next = pb->next;
    if (pb->next == QY_BLOCK_NONE)
        list->last = pb->prev;
    else
        mm->blocks[pb->next].prev = pb->prev;
    if (list->first == QY_BLOCK_NONE)
        zone->nonempty[pb->migratetype] &= (uint16_t) ~(1u << pb->order);
}

/** Free frames that have memory count once; fresh ones, which would need some, twice. */
static unsigned thinness(const struct qy_pageblock *pb)
{
    return pb->nr_free + pb->nr_fresh;
}

static void link_block(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb)
{
    struct qy_block_list *list = &zone->list[pb->migratetype][pb->order];
    uint32_t block = (uint32_t)(pb - mm->blocks);
    zone->nonempty[pb->migratetype] |= (uint16_t)(1u << pb->order);
    if (list->first == QY_BLOCK_NONE) {
        pb->next = pb->prev = QY_BLOCK_NONE;
        list->first = list->last = block;
    } else if (thinness(pb) <= thinness(&mm->blocks[list->first])) {
        pb->prev = QY_BLOCK_NONE;
        pb->next = list->first;
        mm->blocks[list->first].prev = block;
        list->first = block;
    } else {
        pb->next = QY_BLOCK_NONE;
        pb->prev = list->last;
        mm->blocks[list->last].next = block;
        list->last = block;
    }
}

static void relist(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb, int order)
{
    if (pb->order >= 0)
        unlink_block(mm, zone, pb);
    pb->order = (int8_t)order;
    if (order >= 0)
        link_block(mm, zone, pb);
}

/* ---- pairs: order 10 ---- */

/** Two halves of a free block of order 10 become two of order 9. */
static void split_pair(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *even)
{
    struct qy_pageblock *odd = qy_block_buddy(mm, even);
    qy_assert(even->order == QY_MAX_ORDER && (odd->flags & QY_BLOCK_TAIL), "B5");
    odd->flags &= (uint8_t)~QY_BLOCK_TAIL;
    odd->order = -1;
    relist(mm, zone, odd, QY_PAGEBLOCK_ORDER);
    relist(mm, zone, even, QY_PAGEBLOCK_ORDER);
}

void qy_block_set_type(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb,
                       unsigned migratetype)
{
    int order = pb->order;
    relist(mm, zone, pb, -1);
    zone->nr_free_of[pb->migratetype] -= pb->nr_free;
    zone->nr_free_of[migratetype] += pb->nr_free;
    pb->migratetype = (uint8_t)migratetype;
    relist(mm, zone, pb, order);
}

/** A pageblock became wholly free: if its buddy is too, they become one block. Of two
 *  ordinary types it is MOVABLE, if one of them was, again; others do not mix. */
void qy_block_merge_pair(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb)
{
    struct qy_pageblock *buddy = qy_block_buddy(mm, pb);
    if (!(buddy->flags & QY_BLOCK_ONLINE) || buddy->order != QY_PAGEBLOCK_ORDER ||
        buddy->zone != pb->zone)
        return;
    if (buddy->migratetype != pb->migratetype) {
        if (buddy->migratetype >= QY_MIGRATE_HIGHATOMIC || pb->migratetype >= QY_MIGRATE_HIGHATOMIC)
            return;
        if (pb->migratetype == QY_MIGRATE_MOVABLE)
            qy_block_set_type(mm, zone, buddy, pb->migratetype);
        else
            qy_block_set_type(mm, zone, pb, buddy->migratetype);
    }
    struct qy_pageblock *even = pb < buddy ? pb : buddy;
    struct qy_pageblock *odd = pb < buddy ? buddy : pb;
    relist(mm, zone, odd, -1);
    odd->order = QY_PAGEBLOCK_ORDER;
    odd->flags |= QY_BLOCK_TAIL;
    relist(mm, zone, even, QY_MAX_ORDER);
}

void qy_block_split_pair(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb)
{
    if (pb->flags & QY_BLOCK_TAIL)
        split_pair(mm, zone, qy_block_buddy(mm, pb));
    else if (pb->order == QY_MAX_ORDER)
        split_pair(mm, zone, pb);
}

void qy_block_relist(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb, int order)
{
    relist(mm, zone, pb, order);
    if (order == QY_PAGEBLOCK_ORDER)
        qy_block_merge_pair(mm, zone, pb);
}
