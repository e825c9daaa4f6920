/*
 * pcp.c - refilling and draining a slot's free frames
 *
 * WHAT    The lock of the zone is taken once for a batch. Single frames come as whole words
 *         of bits out of the fullest pageblock that serves, and go back in the order in which
 *         they came, so that neighbours which were freed one after the other meet their word
 *         together. Sorting them would cost more than it saves: frames that are freed in no
 *         order lie in as many pageblocks. Those freed in order go back by whole pageblocks:
 *         one that is half free would be the next to be taken from, by whoever comes.
 *
 * RULES   P1, P2, see pcp.h. Checked by qy_check_pcp() in view/rules_buddy.c.
 *
 * LOCKS   The slot's owner is inside, or a drainer has stopped it; takes zone->lock.
 *
 * COST    A batch: one lock pair, and for each frame what buddy.c says. In company another core has
 *         the zone's lines (about five) and, where frames change hands, those of their
 *         pageblocks: both are asked for before the lock is taken.
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

/** Who has met somebody takes himself to be in company for so many visits: two who are equally
 *  fast do not take turns. */
#define COMPANY_LASTS 8

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
    for (unsigned i = 0; i < mm->nr_pcp; i++) {
        cpu->pcp[i].homes = (struct qy_homes){.block = places[i].home};
        cpu->pcp[i].company = 0;
        for (unsigned type = 0; type < QY_PCP_TYPES; type++) {
            uint32_t *place = places[i].place[type];
            for (unsigned order = QY_NR_ORDERS; order-- > 0; place += qy_pcp_places(order)) {
                struct qy_pcp_list *list = &cpu->pcp[i].list[type][order];
                *list = (struct qy_pcp_list){place, place, place + qy_pcp_places(order), 0};
                set_batch(list, order, 1);
            }
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

/** The zone will be visited: let the lines come together that every visit writes. Another core has
 *  them, if the slot has company. */
static inline __attribute__((always_inline)) void expect_visit(const struct qy_zone *zone,
                                                               unsigned type)
{
    __builtin_prefetch(&zone->lock, 1);
    __builtin_prefetch(&zone->nr_free_of, 1);
    __builtin_prefetch(&zone->list[type][0], 1);
    __builtin_prefetch(&zone->list[type][QY_MAX_ORDER], 1);
}

/** Has the slot company, here and now or a short while ago? zone->lock held. */
static bool visit(struct qy_zone *zone, struct qy_cpu *cpu)
{
    struct qy_pcp *pcp = &cpu->pcp[zone->pcp];
    if (zone->visitor != NULL && zone->visitor != cpu)
        pcp->company = COMPANY_LASTS;
    else if (pcp->company > 0)
        pcp->company--;
    zone->visitor = cpu;
    return pcp->company > 0;
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

/** Single frames, into an empty list. A batch as large as a pageblock does not end amid one: it is
 *  at least half as large, and at most half as large again. */
static unsigned take_frames(struct qy_mm *mm, struct qy_zone *zone, struct qy_pcp *pcp,
                            enum qy_migratetype type, unsigned batch, uint64_t room)
{
    bool whole = batch == QY_PAGEBLOCK_FRAMES;
    unsigned least = whole ? batch / 2 : batch, most = whole ? batch + batch / 2 : batch;
    return qy_buddy_take_frames_locked(mm, zone, type, least < room ? least : (unsigned)room,
                                       most < room ? most : (unsigned)room,
                                       pcp->list[type][0].frame, whole ? &pcp->homes : NULL);
}

bool qy_pcp_refill(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                   const struct qy_request *request, uint64_t room)
{
    enum qy_migratetype type = request->migratetype;
    unsigned order = request->order;
    struct qy_pcp *pcp = &cpu->pcp[zone->pcp];
    struct qy_pcp_list *list = &pcp->list[type][order];
    unsigned batch = list->batch;
    qy_assert(list->top == list->frame, "P2");
    expect_visit(zone, type);
    qy_lock(&zone->lock);
    raise_batch(zone, list, order, visit(zone, cpu));
    batch = batch < list->batch ? batch : list->batch;
    qy_zone_take_over_locked(mm, zone, type, order);
    unsigned count = order == 0 ? take_frames(mm, zone, pcp, type, batch, room)
                                : take_blocks(mm, zone, type, order,
                                              batch < room ? batch : (unsigned)room, list->frame);
    qy_unlock(&zone->lock);
    list->top += count;
    qy_assert(list->top <= list->high, "P2");
    qy_tell(mm);
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

/** Give @count blocks from the bottom of the list back to their zone. True: the slot has
 *  company. */
static bool give_back(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                      struct qy_pcp_list *list, unsigned order, unsigned count)
{
    qy_assert(list->frame + count <= list->top && list->top <= list->high, "P2");
    expect_visit(zone, (unsigned)(list - cpu->pcp[zone->pcp].list[0]) / QY_NR_ORDERS);
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
    qy_tell(mm);
    return shared;
}

/** How far rest_of() looks. */
#define LONGEST_REST (QY_PAGEBLOCK_FRAMES / 2 - 1)

/** How many frames next to this one are of its pageblock, if those stand together; @way: 1 behind
 *  it, -1 before it. */
static unsigned rest_of(const uint32_t *frame, int way)
{
    int count = 0;
    for (int step = (LONGEST_REST + 1) / 2; step > 0; step /= 2)
        if ((frame[way * (count + step)] ^ *frame) < QY_PAGEBLOCK_FRAMES)
            count += step;
    return (unsigned)count;
}

/** About half of a list that has room for two pageblocks: up to where one ends or begins. */
static unsigned half_of(const uint32_t *frames)
{
    const unsigned half = QY_PAGEBLOCK_FRAMES;
    if ((frames[half - 1] ^ frames[half]) >= QY_PAGEBLOCK_FRAMES)
        return half;
    unsigned behind = rest_of(frames + half, 1), before = rest_of(frames + half, -1);
    if (behind < LONGEST_REST)
        return half + 1 + behind;
    return before < LONGEST_REST ? half - before : half;
}

static void note_homes(struct qy_homes *homes, uint32_t first, uint32_t last)
{
    if ((first ^ last) >= QY_PAGEBLOCK_FRAMES)
        qy_homes_add(homes, (first & ~QY_FRAME_FRESH) / QY_PAGEBLOCK_FRAMES);
    qy_homes_add(homes, (last & ~QY_FRAME_FRESH) / QY_PAGEBLOCK_FRAMES);
}

void qy_pcp_make_room(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                      struct qy_pcp_list *list, unsigned order)
{
    unsigned half = (unsigned)(list->high - list->frame + 1) / 2;
    if (half == QY_PAGEBLOCK_FRAMES) {
        half = half_of(list->frame);
        note_homes(&cpu->pcp[zone->pcp].homes, list->frame[0], list->frame[half - 1]);
    }
    bool shared = give_back(mm, cpu, zone, list, order, half);
    if (order == 0)
        raise_batch(zone, list, order, shared);
    else
        set_batch(list, order, list->batch > 1 ? list->batch / 2u : 1);
}

static struct qy_zone *zone_of_pcp(struct qy_mm *mm, unsigned pcp)
{
    struct qy_zone *zone;
    qy_for_each_zone (zone, mm, 0)
        if (zone->pcp == pcp)
            return zone;
    return NULL;
}

uint64_t qy_pcp_drain(struct qy_mm *mm, struct qy_cpu *cpu)
{
    uint64_t frames = 0;
    forget_choices(cpu);
    for (unsigned i = 0; i < mm->nr_pcp; i++) {
        struct qy_zone *zone = zone_of_pcp(mm, i);
        cpu->pcp[i].homes.nr = 0;
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
