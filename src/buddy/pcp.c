/*
 * pcp.c - refilling and draining a slot's free frames
 *
 * WHAT    The lock of the zone is taken once for a batch. Single frames come as whole words
 *         of bits out of the fullest pageblock that serves, and go back sorted, so that
 *         frames of one pageblock meet its cache lines together.
 *
 * RULES   P1, P2, see pcp.h. Checked by check_pcp() in view/rules.c.
 *
 * LOCKS   The slot's owner is inside, or a drainer has stopped it; takes zone->lock.
 *
 * COST    A batch: one lock pair, and for each frame what buddy.c says.
 */
#include "buddy/pcp.h"

#include "base/assert.h"
#include "buddy/alloc.h"
#include "memory/fault.h"

#define ORDER_OF_SLOT(slot) ((slot) == QY_PCP_ORDERS - 1 ? QY_PAGEBLOCK_ORDER : (slot))

void qy_pcp_init(struct qy_pcp *pcp)
{
    for (unsigned type = 0; type < QY_PCP_TYPES; type++)
        for (unsigned slot = 0; slot < QY_PCP_ORDERS; slot++)
            pcp->list[type][slot] = (struct qy_pcp_list){.count = 0, .batch = 1};
}

static unsigned take_blocks(struct qy_mm *mm, struct qy_zone *zone, enum qy_migratetype type,
                            unsigned order, unsigned count, uint32_t *frames)
{
    unsigned taken = 0;
    while (taken < count) {
        bool fresh;
        qy_pfn_t pfn = qy_buddy_take_locked(mm, zone, type, order, &fresh);
        if (pfn == QY_PFN_NONE)
            break;
        frames[taken++] = (uint32_t)qy_frame_index(mm, pfn) | (fresh ? QY_FRAME_FRESH : 0);
    }
    return taken;
}

/** Let the lowest frame be on top: neighbours go out one after the other. */
static void reverse(uint32_t *frames, unsigned count)
{
    for (unsigned i = 0; i < count / 2; i++) {
        uint32_t frame = frames[i];
        frames[i] = frames[count - 1 - i];
        frames[count - 1 - i] = frame;
    }
}

bool qy_pcp_refill(struct qy_mm *mm, struct qy_zone *zone, struct qy_pcp_list *list,
                   enum qy_migratetype migratetype, unsigned order)
{
    unsigned capacity = qy_pcp_capacity((unsigned)qy_pcp_slot(order));
    unsigned batch = list->batch;
    qy_lock(&zone->lock);
    qy_zone_claim_locked(mm, zone, migratetype, order);
    if (order == 0)
        list->count =
            (uint16_t)qy_buddy_take_frames_locked(mm, zone, migratetype, batch, list->frame);
    else
        list->count =
            (uint16_t)take_blocks(mm, zone, migratetype, order, batch, list->frame);
    qy_unlock(&zone->lock);
    reverse(list->frame, list->count);
    list->batch = (uint16_t)(batch * 2 < capacity / 2 ? batch * 2 : (capacity + 1) / 2);
    return list->count != 0;
}

/** Insertion sort: a batch is short, and often in order already. */
static void sort(uint32_t *frames, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        uint32_t frame = frames[i];
        unsigned at = i;
        for (; at > 0 && (frames[at - 1] & ~QY_FRAME_FRESH) > (frame & ~QY_FRAME_FRESH); at--)
            frames[at] = frames[at - 1];
        frames[at] = frame;
    }
}

static void prefetch(const struct qy_mm *mm, const uint32_t *frames, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t block = (frames[i] & ~QY_FRAME_FRESH) / QY_PAGEBLOCK_FRAMES;
        __builtin_prefetch(&mm->blocks[block], 1);
        __builtin_prefetch(&mm->free_bits[block], 1);
    }
}

static unsigned give_blocks(struct qy_mm *mm, struct qy_zone *zone, const uint32_t *frames,
                            unsigned count, unsigned order)
{
    unsigned refused = 0;
    for (unsigned i = 0; i < count; i++) {
        qy_pfn_t pfn = mm->start_pfn + (frames[i] & ~QY_FRAME_FRESH);
        if (qy_buddy_give_locked(mm, zone, pfn, order, frames[i] & QY_FRAME_FRESH) != 0)
            refused++;
    }
    return refused;
}

void qy_pcp_give_back(struct qy_mm *mm, struct qy_zone *zone, struct qy_pcp_list *list,
                      unsigned order, unsigned count)
{
    qy_assert(count <= list->count, "P2");
    qy_note_peak(mm);
    prefetch(mm, list->frame, count);
    sort(list->frame, count);
    qy_lock(&zone->lock);
    unsigned refused = order == 0
                           ? qy_buddy_give_frames_locked(mm, zone, count, list->frame)
                           : give_blocks(mm, zone, list->frame, count, order);
    qy_unlock(&zone->lock);
    for (unsigned i = count; i < list->count; i++)
        list->frame[i - count] = list->frame[i];
    list->count = (uint16_t)(list->count - count);
    list->batch = (uint16_t)(list->batch > 1 ? list->batch / 2 : 1);
    if (refused != 0)
        qy_fault_report(mm, &(struct qy_fault){.what = "double free",
                                               .rule = "B1",
                                               .address = (uintptr_t)list,
                                               .note = "a frame of this list was free already"});
}

static struct qy_zone *zone_of_pcp(struct qy_mm *mm, unsigned pcp)
{
    for (unsigned i = 0; i < mm->zonelist_length; i++) {
        struct qy_zone *zone = &mm->zones[mm->zonelist[0][i]];
        if (zone->pcp == pcp)
            return zone;
    }
    return NULL;
}

uint64_t qy_pcp_drain(struct qy_mm *mm, struct qy_cpu *cpu)
{
    uint64_t frames = 0;
    for (unsigned i = 0; i < mm->nr_pcp; i++) {
        struct qy_zone *zone = zone_of_pcp(mm, i);
        for (unsigned type = 0; zone != NULL && type < QY_PCP_TYPES; type++)
            for (unsigned slot = 0; slot < QY_PCP_ORDERS; slot++) {
                struct qy_pcp_list *list = &cpu->pcp[i].list[type][slot];
                unsigned order = ORDER_OF_SLOT(slot);
                frames += (uint64_t)list->count << order;
                if (list->count != 0)
                    qy_pcp_give_back(mm, zone, list, order, list->count);
                list->batch = 1;
            }
    }
    return frames;
}

QY_RACY uint64_t qy_pcp_count(const struct qy_pcp *pcp)
{
    uint64_t frames = 0;
    for (unsigned type = 0; type < QY_PCP_TYPES; type++)
        for (unsigned slot = 0; slot < QY_PCP_ORDERS; slot++)
            frames += (uint64_t)pcp->list[type][slot].count << ORDER_OF_SLOT(slot);
    return frames;
}
