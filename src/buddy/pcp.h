/*
 * pcp.h - a slot's own free frames of one zone
 *
 * WHAT    Arrays of frames, one for each migratetype of ordinary use and each order that is
 *         asked for often: 0..3 and that of a pageblock. The owner takes from the top and
 *         gives to the top, without a lock. An empty array is refilled by a batch, a full
 *         one gives half of itself back; the batch doubles with every refill and halves
 *         with every drain, so who takes much holds more, and who has stopped holds less.
 *
 * RULES   P1  A frame in a list is not free in the buddy and not allocated.
 *         P2  count <= capacity of its order.
 *
 * LOCKS   (o) the slot's owner, or the drainer of a stopped slot.
 */
#ifndef QY_BUDDY_PCP_H
#define QY_BUDDY_PCP_H

#include "base/percpu.h"
#include "buddy/buddy.h"

/** Orders 0..3, then order 9. */
#define QY_PCP_ORDERS 5
#define QY_PCP_TYPES 3
#define QY_PCP_PLACES 64

struct qy_pcp_list {
    uint16_t count; /* (o) P2 */
    uint16_t batch; /* (o) frames or blocks in the next refill */
    uint32_t frame[QY_PCP_PLACES]; /* (o) indexes in the span, some with QY_FRAME_FRESH */
};

struct qy_pcp {
    struct qy_pcp_list list[QY_PCP_TYPES][QY_PCP_ORDERS];
};

/** Which list an order has; -1: none. */
static inline int qy_pcp_slot(unsigned order)
{
    if (order < QY_PCP_ORDERS - 1)
        return (int)order;
    return order == QY_PAGEBLOCK_ORDER ? QY_PCP_ORDERS - 1 : -1;
}

/** How many blocks a list may hold: about 256 KiB of frames, and two pageblocks. */
static inline unsigned qy_pcp_capacity(unsigned slot)
{
    static const uint8_t capacity[QY_PCP_ORDERS] = {QY_PCP_PLACES, 32, 16, 16, 2};
    return capacity[slot];
}

void qy_pcp_init(struct qy_pcp *pcp);

/** Refill an empty list from its zone. False: the zone has nothing of this type. */
bool qy_pcp_refill(struct qy_mm *mm, struct qy_zone *zone, struct qy_pcp_list *list,
                   enum qy_migratetype migratetype, unsigned order);

/** Give @count blocks from the bottom of the list back to their zone. */
void qy_pcp_give_back(struct qy_mm *mm, struct qy_zone *zone, struct qy_pcp_list *list,
                      unsigned order, unsigned count);

/** Give everything back that a slot holds. Returns the number of frames. */
uint64_t qy_pcp_drain(struct qy_mm *mm, struct qy_cpu *cpu);

/** Frames that a slot holds of one zone. Racy. */
uint64_t qy_pcp_count(const struct qy_pcp *pcp);

#endif
