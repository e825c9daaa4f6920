/*
 * pcp.c - refilling and draining a slot's free frames
 *
 * WHAT    The lock of the zone is taken once for a batch. Single frames come as whole words
 *         of bits out of the fullest pageblock that serves, and go back in the order in which
 *         they came, so that neighbours which were freed one after the other meet their word
 *         together. Sorting them would cost more than it saves: frames that are freed in no
 *         order lie in as many pageblocks.
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

/** At order 0 the largest batch is this part of the zone, if a slot has the zone for itself ... */
#define SHARE_ALONE 8192
/** ... or has company; */
#define SHARE_IN_COMPANY 2048
/** but so much in any case. */
#define LEAST_BATCH 32

/** Where requests and frees look that no slow path has served yet: nothing fits in or comes out. */
static const struct qy_pcp_list no_lists[QY_NR_ORDERS];

static void set_batch(struct qy_pcp_list *list, unsigned order, unsigned batch)
{
    list->batch = (uint16_t)batch;
    if (order == 0)
        list->high = list->frame + (batch > LEAST_BATCH ? 2 * batch : 2 * LEAST_BATCH);
}

/** The next take and give of each kind look up their lists anew. */
static void forget_choices(struct qy_cpu *cpu)
{
    cpu->give_to = (struct qy_pcp_list *)no_lists;
    for (unsigned choice = 0; choice < QY_PCP_CHOICES; choice++)
        cpu->take_from[choice] = (struct qy_pcp_list *)no_lists;
}

void qy_pcp_init(const struct qy_mm *mm, struct qy_cpu *cpu, struct qy_pcp_places *places)
{
    forget_choices(cpu);
    for (unsigned i = 0; i < mm->nr_pcp; i++)
        for (unsigned type = 0; type < QY_PCP_TYPES; type++) {
            uint32_t *place = places[i].place[type];
            for (unsigned order = QY_NR_ORDERS; order-- > 0; place += qy_pcp_places(order)) {
                struct qy_pcp_list *list = &cpu->pcp[i].list[type][order];
                *list = (struct qy_pcp_list){place, place, place + qy_pcp_places(order), 0};
                set_batch(list, order, 1);
            }
        }
}

/** The largest batch: half of what a list may hold. */
QY_RACY static unsigned most_batch(const struct qy_zone *zone, unsigned order, bool shared)
{
    unsigned most = (qy_pcp_places(order) + 1) / 2;
    uint64_t share = zone->managed / (shared ? SHARE_IN_COMPANY : SHARE_ALONE);
    if (order != 0 || share >= most)
        return most;
    return share > LEAST_BATCH ? (unsigned)share : LEAST_BATCH;
}

static void raise_batch(const struct qy_zone *zone, struct qy_pcp_list *list, unsigned order,
                        bool shared)
{
    unsigned most = most_batch(zone, order, shared);
    if (list->batch <= most)
        set_batch(list, order, 2u * list->batch < most ? 2u * list->batch : most);
    else if (list->batch / 2u >= qy_pcp_list_count(list))
        set_batch(list, order, list->batch / 2u);
}

/** Was somebody else here since this slot was? zone->lock held. */
static bool visit(struct qy_zone *zone, const struct qy_cpu *cpu)
{
    bool shared = zone->visitor != cpu;
    zone->visitor = cpu;
    return shared;
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

bool qy_pcp_refill(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                   const struct qy_request *request, uint64_t most)
{
    enum qy_migratetype type = request->migratetype;
    unsigned order = request->order;
    struct qy_pcp_list *list = &cpu->pcp[zone->pcp].list[type][order];
    unsigned batch = most < list->batch ? (unsigned)most : list->batch;
    qy_assert(list->top == list->frame && list->frame + batch <= list->high, "P2");
    qy_lock(&zone->lock);
    bool shared = visit(zone, cpu);
    qy_zone_claim_locked(mm, zone, type, order);
    unsigned count = order == 0
                         ? qy_buddy_take_frames_locked(mm, zone, type, batch, batch, list->frame)
                         : take_blocks(mm, zone, type, order, batch, list->frame);
    qy_unlock(&zone->lock);
    raise_batch(zone, list, order, shared);
    list->top = list->frame + count;
    return count != 0;
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

/** Give @count blocks from the bottom of the list back to their zone. True: somebody else was
 *  in the zone since the slot was. */
static bool give_back(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                      struct qy_pcp_list *list, unsigned order, unsigned count)
{
    qy_assert(list->frame + count <= list->top && list->top <= list->high, "P2");
    qy_note_peak(mm);
    for (unsigned i = 0; i < count && i < QY_GIVE_AHEAD; i++)
        qy_buddy_prefetch(mm, list->frame[i]);
    qy_lock(&zone->lock);
    bool shared = visit(zone, cpu);
    unsigned refused = order == 0 ? qy_buddy_give_frames_locked(mm, zone, count, list->frame)
                                  : give_blocks(mm, zone, list->frame, count, order);
    qy_unlock(&zone->lock);
    list->top -= count;
    __builtin_memmove(list->frame, list->frame + count,
                      qy_pcp_list_count(list) * sizeof(*list->frame));
    if (refused != 0)
        qy_fault_report(mm, &(struct qy_fault){.what = "double free",
                                               .rule = "B1",
                                               .address = (uintptr_t)list,
                                               .note = "a frame of this list was free already"});
    return shared;
}

void qy_pcp_make_room(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                      struct qy_pcp_list *list, unsigned order)
{
    unsigned half = (unsigned)(list->high - list->frame + 1) / 2;
    bool shared = give_back(mm, cpu, zone, list, order, half);
    if (order == 0)
        raise_batch(zone, list, order, shared);
    else
        set_batch(list, order, list->batch > 1 ? list->batch / 2u : 1);
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
    forget_choices(cpu);
    for (unsigned i = 0; i < mm->nr_pcp; i++) {
        struct qy_zone *zone = zone_of_pcp(mm, i);
        for (unsigned type = 0; zone != NULL && type < QY_PCP_TYPES; type++)
            for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
                struct qy_pcp_list *list = &cpu->pcp[i].list[type][order];
                unsigned count = qy_pcp_list_count(list);
                frames += (uint64_t)count << order;
                if (count != 0)
                    give_back(mm, cpu, zone, list, order, count);
                set_batch(list, order, 1);
            }
    }
    return frames;
}

QY_RACY uint64_t qy_pcp_count(const struct qy_pcp *pcp)
{
    uint64_t frames = 0;
    for (unsigned type = 0; type < QY_PCP_TYPES; type++)
        for (unsigned order = 0; order < QY_NR_ORDERS; order++)
            frames += (uint64_t)(pcp->list[type][order].top - pcp->list[type][order].frame)
                      << order;
    return frames;
}
