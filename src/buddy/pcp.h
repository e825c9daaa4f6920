/*
 * pcp.h - a slot's own free frames of one zone
 *
 * WHAT    Arrays of frames, one for each migratetype of ordinary use and each order that is
 *         asked for often: 0..3 and that of a pageblock; the other orders have an array of no
 *         places, which is empty and full at once, so nobody asks whether an order has one.
 *         The owner takes from the top and gives to the top, without a lock. An empty array
 *         is refilled by a batch, one that has reached its high mark gives half of itself
 *         back.
 *
 *         The batch doubles with every refill. At order 0 it ends at an 8192nd of the zone
 *         while the slot has the zone for itself (what is reused from a list is not placed:
 *         the list must be small beside the zone). While others come between its visits, and a
 *         few visits longer, it goes on to a 2048th and at most a pageblock, whichever way the
 *         frames go. It is never less than 32, and the high mark is two batches. At higher
 *         orders the batch halves with every give-back. Draining (trim, pressure, the end of a
 *         thread) makes it 1 again.
 *
 *         Batches as large as a pageblock are cut between pageblocks, and where any whole one
 *         would do, the slot takes one that it gave back itself (homes). So two threads meet
 *         at the lock once in 512 frames, and each works in pageblocks, lines of bits and lines
 *         of tags of its own; which pageblock is used up first is decided as ever.
 *
 *         What a request needs to know of all this stands in the slot, by the low bits of its
 *         gfp (take_from), and for frees by the kind of the last pageblock (give_to). Both are
 *         filled in by the slow paths; at first they lead to lists without places.
 *
 * RULES   P1  A frame in a list is not free in the buddy and not allocated.
 *         P2  frame <= top <= high <= frame + the places of its order.
 *
 * LOCKS   (o) the slot's owner, or the drainer of a stopped slot.
 */
#ifndef QY_BUDDY_PCP_H
#define QY_BUDDY_PCP_H

#include "base/percpu.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"

#define QY_PCP_TYPES 3
/** Places of the orders 0, 1, 2, 3 and 9. */
#define QY_PCP_PLACES (2 * QY_PAGEBLOCK_FRAMES)
#define QY_PCP_ALL_PLACES (QY_PCP_PLACES + 32 + 16 + 16 + 2)

/** What is compared is what is loaded: neither a count nor an index stands between the top and
 *  the frame under it. */
struct qy_pcp_list {
    uint32_t *top;   /* (o) above the last frame: an index in the span, perhaps QY_FRAME_FRESH */
    uint32_t *frame; /* (i) the first place; P2 */
    uint32_t *high;  /* (o) P2: when the top reaches it, half goes back */
    uint16_t batch;  /* (o) frames or blocks in the next refill */
};

static inline unsigned qy_pcp_list_count(const struct qy_pcp_list *list)
{
    return (unsigned)(list->top - list->frame);
}

struct qy_pcp {
    _Alignas(64) struct qy_pcp_list list[QY_PCP_TYPES][QY_NR_ORDERS];
    uint8_t company;       /* (o) visits to the zone for which it counts as shared */
    struct qy_homes homes; /* (o) used where batches are as large as pageblocks */
};

/** Where the frames of a struct qy_pcp lie: apart from it, for most are never touched. */
struct qy_pcp_places {
    uint32_t home[QY_HOMES];
    uint32_t place[QY_PCP_TYPES][QY_PCP_ALL_PLACES];
};

/** Which flags of a request choose its lists: zone modifiers and the migratetype. */
#define QY_PCP_CHOOSING (QY_GFP_DMA | QY_GFP_DMA32 | QY_GFP_MOVABLE | QY_GFP_RECLAIMABLE)
_Static_assert(QY_PCP_CHOOSING < QY_PCP_CHOICES, "the choosing flags are the lowest");

/** How many blocks of an order a list has room for: the small ones about 256 KiB. */
static inline unsigned qy_pcp_places(unsigned order)
{
    static const uint16_t places[QY_NR_ORDERS] = {
        [0] = QY_PCP_PLACES, [1] = 32, [2] = 16, [3] = 16, [QY_PAGEBLOCK_ORDER] = 2,
    };
    return places[order];
}

/** Lists of a slot that is about to be opened: all are empty. @places: one a zone. */
void qy_pcp_init(const struct qy_mm *mm, struct qy_cpu *cpu, struct qy_pcp_places *places);

/** Refill the empty list that the request takes from, by @room blocks if that is less than a
 *  batch. False: the zone has nothing of this type. */
bool qy_pcp_refill(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                   const struct qy_request *request, uint64_t room);

/** Make room in a list that has reached its high mark: half of it goes back to its zone. */
void qy_pcp_make_room(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                      struct qy_pcp_list *list, unsigned order);

/** Give everything back that a slot holds. Returns the number of frames. */
uint64_t qy_pcp_drain(struct qy_mm *mm, struct qy_cpu *cpu);

/** Frames that a slot holds of one zone. Racy. */
uint64_t qy_pcp_count(const struct qy_pcp *pcp);

#endif
