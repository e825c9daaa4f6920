/*
 * test_exhaustive.c - every state and every short history of a small zone
 *
 * What random tests only make likely is here certain, for small scopes. A state is the set
 * of blocks that are held. In each state each request and each free is made, and what comes
 * out is compared with the textbook.
 */
#include "oracle.h"
#include "sim.h"
#include "support.h"

#include "memory/mm.h"
#include "buddy/buddy.h"
#include "view/live.h"

#include <quarry/buddy.h>

#define MOST_UNITS 16  /* blocks of the smallest order */
#define MOST_BLOCKS 16 /* pageblocks of the span */
#define MOST_STATES (1u << 20)
#define FREE 0xf

/* A zone of up to 16 units of 2^unit_order frames, and the orders that are asked for. */
struct scope {
    qy_pfn_t first;
    unsigned units;
    unsigned unit_order;
    unsigned orders; /* unit_order .. unit_order + orders - 1 */
    const qy_gfp_t *gfps;
    size_t nr_gfps;
};

/* For each unit: the order, less unit_order, of the held block that begins there, or FREE. */
typedef uint64_t state_t;

static struct test_memory memory;
static struct qy_model_buddy *model;
static const struct scope *scope;

/* ---- the set of states seen ---- */

struct seen {
    uint64_t key;
    unsigned remaining; /* steps that were tried from here, plus one; 0: empty */
};

static struct seen seen[2 * MOST_STATES];
static size_t nr_seen;

/* True: it was not seen yet with so many steps to go. */
static bool is_new(uint64_t key, unsigned remaining)
{
    struct random hash = {key};
    size_t at = random_next(&hash) % COUNT_OF(seen);
    while (seen[at].remaining != 0 && seen[at].key != key)
        at = (at + 1) % COUNT_OF(seen);
    if (seen[at].remaining > remaining)
        return false;
    nr_seen += seen[at].remaining == 0;
    if (nr_seen >= MOST_STATES)
        test_fail("more states than there is room for");
    seen[at] = (struct seen){key, remaining + 1};
    return true;
}

/* ---- states ---- */

static unsigned order_at(state_t state, unsigned unit)
{
    return (unsigned)(state >> 4 * unit & 0xf);
}

static state_t with(state_t state, unsigned unit, unsigned order)
{
    return (state & ~(UINT64_C(0xf) << 4 * unit)) | (state_t)order << 4 * unit;
}

static qy_pfn_t pfn_of(unsigned unit)
{
    return scope->first + ((qy_pfn_t)unit << scope->unit_order);
}

static unsigned unit_of(qy_pfn_t pfn)
{
    return (unsigned)((pfn - scope->first) >> scope->unit_order);
}

/* Counts per order of core and textbook, and the sum of free frames. */
static void compare(void)
{
    struct qy_mm *mm = memory.mm;
    uint64_t counts[QY_NR_ORDERS] = {0};

    for (uint32_t block = 0; block < mm->nr_frames / QY_PAGEBLOCK_FRAMES; block++) {
        const struct qy_pageblock *pb = &mm->blocks[block];
        if (!(pb->flags & QY_BLOCK_ONLINE) || (pb->flags & QY_BLOCK_TAIL))
            continue;
        if (pb->order == QY_MAX_ORDER)
            counts[QY_MAX_ORDER]++;
        else
            qy_count_blocks(&mm->free_bits[block], counts);
    }
    for (unsigned order = 0; order < QY_NR_ORDERS; order++)
        if (counts[order] != qy_model_count(model, order))
            test_fail("order %u: %llu free blocks, the textbook has %llu", order,
                      (unsigned long long)counts[order],
                      (unsigned long long)qy_model_count(model, order));
}

static void begin(const struct scope *chosen)
{
    const struct qy_range range = {
        .base = chosen->first * PAGE,
        .bytes = ((uint64_t)chosen->units << chosen->unit_order) * PAGE,
    };
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_model_range frames = {chosen->first, range.bytes / PAGE};
    const struct qy_mm_options options = {.min_free_kbytes = 1};

    scope = chosen;
    memset(seen, 0, sizeof(seen));
    nr_seen = 0;
    qy_sim_reset();
    test_memory_build(&memory, &map, &options, 0, 0);
    qy_sim_cpu(-1); /* no per-CPU lists: every step goes to the buddy */
    model = qy_model_create(&frames, 1);
    assert_true(memory.mm->nr_frames <= MOST_BLOCKS * QY_PAGEBLOCK_FRAMES);
    compare();
}

static void finish(void)
{
    print_message("%zu states\n", nr_seen);
    qy_model_destroy(model);
    test_memory_free(&memory);
}

/* ---- what the core knows, saved and brought back ---- */

struct saved {
    struct qy_zone zones[QY_NR_ZONE_TYPES];
    struct qy_pageblock blocks[MOST_BLOCKS];
    struct qy_bits512 free_bits[MOST_BLOCKS];
    uint8_t tags[MOST_BLOCKS * QY_PAGEBLOCK_FRAMES];
};

static void save(struct saved *saved)
{
    const struct qy_mm *mm = memory.mm;
    size_t blocks = mm->nr_frames / QY_PAGEBLOCK_FRAMES;

    memcpy(saved->zones, mm->zones, sizeof(saved->zones));
    memcpy(saved->blocks, mm->blocks, blocks * sizeof(saved->blocks[0]));
    memcpy(saved->free_bits, mm->free_bits, blocks * sizeof(saved->free_bits[0]));
    memcpy(saved->tags, mm->tags, mm->nr_frames);
}

static void bring_back(const struct saved *saved)
{
    struct qy_mm *mm = memory.mm;
    size_t blocks = mm->nr_frames / QY_PAGEBLOCK_FRAMES;

    memcpy(mm->zones, saved->zones, sizeof(saved->zones));
    memcpy(mm->blocks, saved->blocks, blocks * sizeof(saved->blocks[0]));
    memcpy(mm->free_bits, saved->free_bits, blocks * sizeof(saved->free_bits[0]));
    memcpy(mm->tags, saved->tags, mm->nr_frames);
}

/* ---- one step ---- */

/* The core takes a block; the textbook must have it, and have one exactly when the core has.
 * Returns the next state, or the same. */
static state_t take(state_t state, unsigned order, qy_gfp_t gfp)
{
    unsigned whole = scope->unit_order + order;
    qy_pfn_t pfn = qy_alloc_pages(memory.mm, gfp, whole);

    if ((pfn != QY_PFN_NONE) != qy_model_feasible(model, whole))
        test_fail("state %016llx, order %u: only one of the two has such a block",
                  (unsigned long long)state, whole);
    if (pfn == QY_PFN_NONE)
        return state;
    if (pfn < scope->first || pfn >= pfn_of(scope->units) ||
        qy_model_alloc_specific(model, pfn, whole) != 0)
        test_fail("state %016llx, order %u: frame %#llx is not free or misaligned",
                  (unsigned long long)state, whole, (unsigned long long)pfn);
    compare();
    return with(state, unit_of(pfn), order);
}

static state_t give(state_t state, unsigned unit)
{
    unsigned whole = scope->unit_order + order_at(state, unit);

    if (qy_free_pages(memory.mm, pfn_of(unit), whole) != 0 ||
        qy_model_free(model, pfn_of(unit), whole) != 0)
        test_fail("state %016llx: unit %u cannot be freed", (unsigned long long)state, unit);
    compare();
    return with(state, unit, FREE);
}

/* The textbook follows from one state to another. */
static void follow(state_t from, state_t to)
{
    for (unsigned unit = 0; unit < scope->units; unit++)
        if (order_at(from, unit) != FREE && order_at(from, unit) != order_at(to, unit))
            (void)!qy_model_free(model, pfn_of(unit), scope->unit_order + order_at(from, unit));
    for (unsigned unit = 0; unit < scope->units; unit++)
        if (order_at(to, unit) != FREE && order_at(from, unit) != order_at(to, unit) &&
            qy_model_alloc_specific(model, pfn_of(unit), scope->unit_order + order_at(to, unit)) !=
                0)
            test_fail("the textbook cannot follow");
}

/* ---- every state that can be reached at all ---- */

/* Within one pageblock, or two neighbours, what the core knows follows from the set of held
 * blocks: so a state can be made directly. */
static void make(const struct saved *initial, state_t state)
{
    struct qy_mm *mm = memory.mm;
    struct qy_zone *zone = &mm->zones[mm->zonelist[0][0]];
    bool fresh;

    bring_back(initial);
    qy_lock(&zone->lock);
    for (unsigned unit = 0; unit < scope->units; unit++) {
        if (order_at(state, unit) == FREE)
            continue;
        unsigned order = scope->unit_order + order_at(state, unit);
        qy_buddy_take_at_locked(mm, zone, pfn_of(unit), order, &fresh);
        mm->tags[qy_frame_index(mm, pfn_of(unit))] = (uint8_t)(QY_TAG_BLOCK + order);
    }
    qy_unlock(&zone->lock);
}

static void reach_every_state(const struct scope *chosen)
{
    static state_t waiting[MOST_STATES];
    static struct saved initial;
    size_t first = 0, last = 0;
    state_t now = UINT64_MAX; /* the textbook's */

    begin(chosen);
    save(&initial);
    waiting[last++] = now;
    is_new(now, 0);
    while (first < last) {
        state_t state = waiting[first++];
        unsigned steps = scope->orders + scope->units;
        for (unsigned step = 0; step < steps; step++) {
            unsigned unit = step - scope->orders;
            if (step >= scope->orders && order_at(state, unit) == FREE)
                continue;
            follow(now, state);
            make(&initial, state);
            now = step < scope->orders ? take(state, step, QY_GFP_NOWAIT) : give(state, unit);
            if (is_new(now, 0))
                waiting[last++] = now;
        }
    }
    bring_back(&initial);
    finish();
}

static const qy_gfp_t unmovable[] = {QY_GFP_NOWAIT};
static const qy_gfp_t two_types[] = {QY_GFP_NOWAIT, QY_GFP_NOWAIT | QY_GFP_MOVABLE};

/* Wrong if it failed: there is a history of a zone of 16 frames that ends in a wrong state. */
static void all_states_of_16_frames(void **state)
{
    (void)state;
    const struct scope aligned = {4 * GIB / PAGE, 16, 0, 5, unmovable, 1};
    reach_every_state(&aligned);
}

/* Wrong if it failed: the same, where no block of order 4 or 3 fits at the ends. */
static void all_states_of_an_odd_zone(void **state)
{
    (void)state;
    const struct scope odd = {4 * GIB / PAGE + 61, 13, 0, 5, unmovable, 1};
    reach_every_state(&odd);
}

/* Wrong if it failed: the same, across the border of two pageblocks. */
static void all_states_across_two_pageblocks(void **state)
{
    (void)state;
    const struct scope across = {4 * GIB / PAGE + 505, 14, 0, 4, unmovable, 1};
    reach_every_state(&across);
}

/* Wrong if it failed: the same for whole words of bits, orders 6 to 10. */
static void all_states_of_a_section_in_words(void **state)
{
    (void)state;
    const struct scope words = {4 * GIB / PAGE, 16, 6, 5, unmovable, 1};
    reach_every_state(&words);
}

/* ---- every history of a few steps, where lists and migratetypes matter ---- */

/* The held blocks, what the pageblocks are kept for, and the order of the lists. */
static uint64_t key_of(state_t state)
{
    const struct qy_mm *mm = memory.mm;
    struct random hash = {state};
    uint64_t key = random_next(&hash);
    for (uint32_t block = 0; block < mm->nr_frames / QY_PAGEBLOCK_FRAMES; block++) {
        const struct qy_pageblock *pb = &mm->blocks[block];
        bool listed = pb->order >= 0 && !(pb->flags & QY_BLOCK_TAIL);
        hash.state ^= (uint64_t)pb->migratetype << 32 ^ (listed ? pb->next : 0) ^
                      (uint64_t)(listed ? pb->prev : 0) << 16;
        key = random_next(&hash);
    }
    return key;
}

static void live_on(state_t state, unsigned remaining)
{
    if (!is_new(key_of(state), remaining) || remaining == 0)
        return;
    struct saved *here = malloc(sizeof(*here));
    save(here);
    for (unsigned step = 0; step < scope->orders * scope->nr_gfps + scope->units; step++) {
        unsigned takes = scope->orders * (unsigned)scope->nr_gfps;
        if (step >= takes && order_at(state, step - takes) == FREE)
            continue;
        state_t next = step < takes
                           ? take(state, step % scope->orders, scope->gfps[step / scope->orders])
                           : give(state, step - takes);
        if (next != state)
            live_on(next, remaining - 1);
        follow(next, state);
        bring_back(here);
    }
    free(here);
}

static void live_every_history(const struct scope *chosen, unsigned steps)
{
    begin(chosen);
    live_on(UINT64_MAX, steps);
    test_rules(memory.mm);
    finish();
}

/* Wrong if it failed: pairs of pageblocks, taken over and given back, would come apart. */
static void histories_of_two_sections(void **state)
{
    (void)state;
    const struct scope sections = {4 * GIB / PAGE, 8, 8, 3, two_types, 2};
    live_every_history(&sections, 9);
}

/* Wrong if it failed: the same with a half section at each end. */
static void histories_of_odd_sections(void **state)
{
    (void)state;
    const struct scope sections = {4 * GIB / PAGE + 512, 8, 8, 3, two_types, 2};
    live_every_history(&sections, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_states_of_16_frames),
        cmocka_unit_test(all_states_of_an_odd_zone),
        cmocka_unit_test(all_states_across_two_pageblocks),
        cmocka_unit_test(all_states_of_a_section_in_words),
        cmocka_unit_test(histories_of_two_sections),
        cmocka_unit_test(histories_of_odd_sections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
