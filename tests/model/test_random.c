/*
 * test_random.c - long random histories of a memory, each step told to the textbook
 *
 * Whatever the core hands out is replayed on model/buddy.c, which refuses what is not free,
 * not aligned or not of the zone; at check points the counts of each order are compared, and
 * whether a block of each order can be had.
 */
#include "oracle.h"
#include "support.h"

#include <quarry/buddy.h>

#define MOST_HELD 100000
#define MOST_BULK 80
#define RUN 0xffu /* held.order of a run of exact size */

struct held {
    qy_pfn_t pfn;
    uint64_t frames;
    unsigned order; /* or RUN */
};

struct history {
    struct test_memory memory;
    struct oracle oracle;
    struct random random;
    const qy_gfp_t *gfps; /* that the map's zones have something for */
    size_t nr_gfps;
    size_t nr_held;
    struct held held[MOST_HELD];
};

static struct history history;

static const qy_gfp_t all_gfps[] = {
    QY_GFP_KERNEL,
    QY_GFP_HIGHUSER_MOVABLE,
    QY_GFP_KERNEL | QY_GFP_RECLAIMABLE,
    QY_GFP_NOWAIT,
    QY_GFP_KERNEL | QY_GFP_DMA32,
    QY_GFP_KERNEL | QY_GFP_DMA,
    QY_GFP_HIGHUSER_MOVABLE | QY_GFP_DMA32,
};

static qy_gfp_t any_gfp(struct history *h)
{
    return h->gfps[random_below(&h->random, h->nr_gfps)];
}

/* Half of the requests are for one frame, large ones are rare. */
static unsigned any_order(struct history *h)
{
    uint64_t bits = random_next(&h->random) | 1u << QY_MAX_ORDER;
    return random_one_in(&h->random, 16) ? (unsigned)random_below(&h->random, QY_NR_ORDERS)
                                         : (unsigned)__builtin_ctzll(bits);
}

static void hold(struct history *h, qy_pfn_t pfn, uint64_t frames, unsigned order)
{
    h->held[h->nr_held++] = (struct held){pfn, frames, order};
}

/* A request that can be served is: at once if the caller may wait, else when what lies in
 * per-CPU lists is back. */
static qy_pfn_t alloc_or_know_why(struct history *h, qy_gfp_t gfp, unsigned order)
{
    unsigned node = (unsigned)random_below(&h->random, h->oracle.nr_nodes);
    qy_pfn_t pfn = random_one_in(&h->random, 2)
                       ? qy_alloc_pages(h->memory.mm, gfp, order)
                       : qy_alloc_pages_node(h->memory.mm, node, gfp, order);

    if (pfn != QY_PFN_NONE || !oracle_feasible(&h->oracle, order, gfp))
        return pfn;
    qy_drain_all_pages(h->memory.mm);
    pfn = qy_alloc_pages(h->memory.mm, gfp, order);
    if (pfn == QY_PFN_NONE)
        test_fail("order %u, gfp %#x: refused, but the textbook has such a block", order, gfp);
    return pfn;
}

static void take_block(struct history *h)
{
    qy_gfp_t gfp = any_gfp(h);
    unsigned order = any_order(h);
    qy_pfn_t pfn = alloc_or_know_why(h, gfp, order);

    if (pfn == QY_PFN_NONE)
        return;
    oracle_took(&h->oracle, pfn, order, gfp);
    hold(h, pfn, UINT64_C(1) << order, order);
}

static void take_bulk(struct history *h)
{
    qy_pfn_t pfns[MOST_BULK];
    qy_gfp_t gfp = any_gfp(h);
    size_t wanted = 1 + random_below(&h->random, MOST_BULK);
    size_t got = qy_alloc_pages_bulk(h->memory.mm, gfp, wanted, pfns);

    assert_true(got <= wanted);
    for (size_t i = 0; i < got; i++) {
        oracle_took(&h->oracle, pfns[i], 0, gfp);
        hold(h, pfns[i], 1, 0);
    }
}

static void take_exact(struct history *h)
{
    qy_gfp_t gfp = any_gfp(h);
    uint64_t frames = 1 + random_below(&h->random, random_one_in(&h->random, 8) ? 4000 : 600);
    unsigned align = random_one_in(&h->random, 4) ? (unsigned)random_below(&h->random, 13) : 0;
    qy_pfn_t pfn = qy_alloc_pages_exact(h->memory.mm, gfp, frames, align);

    if (pfn == QY_PFN_NONE)
        return;
    assert_int_equal(pfn & ((UINT64_C(1) << align) - 1), 0);
    oracle_took_run(&h->oracle, pfn, frames, gfp);
    hold(h, pfn, frames, RUN);
}

static void give(struct history *h, size_t which)
{
    struct held *held = &h->held[which];

    if (held->order != RUN) {
        assert_int_equal(qy_free_pages(h->memory.mm, held->pfn, held->order), 0);
        oracle_gave(&h->oracle, held->pfn, held->order);
    } else {
        uint64_t tail = held->frames;
        if (random_one_in(&h->random, 3)) /* the last part only, the rest later */
            tail = 1 + random_below(&h->random, held->frames);
        qy_pfn_t pfn = held->pfn + held->frames - tail;
        assert_int_equal(qy_free_pages_exact(h->memory.mm, pfn, tail), 0);
        oracle_gave_run(&h->oracle, pfn, tail);
        held->frames -= tail;
        if (held->frames > 0)
            return;
    }
    *held = h->held[--h->nr_held];
}

static void give_bulk(struct history *h)
{
    qy_pfn_t pfns[MOST_BULK];
    size_t count = 0;

    for (size_t i = h->nr_held; i-- > 0 && count < MOST_BULK && i + 200 > h->nr_held;) {
        if (h->held[i].order != 0)
            continue;
        pfns[count++] = h->held[i].pfn;
        oracle_gave(&h->oracle, h->held[i].pfn, 0);
        h->held[i] = h->held[--h->nr_held];
    }
    assert_int_equal(qy_free_pages_bulk(h->memory.mm, count, pfns), 0);
}

static void step(struct history *h, unsigned percent_taken)
{
    bool take = random_below(&h->random, 100) < percent_taken;
    uint64_t kind = random_below(&h->random, 64);

    if (take && h->nr_held + MOST_BULK < MOST_HELD) {
        if (kind == 0)
            take_exact(h);
        else if (kind < 4)
            take_bulk(h);
        else
            take_block(h);
    } else if (h->nr_held > 0) {
        if (kind < 4)
            give_bulk(h);
        else
            give(h, random_below(&h->random, h->nr_held));
    }
}

/* For each order: a block can be had exactly when the textbook has one. */
static void compare_feasibility(struct history *h)
{
    qy_gfp_t gfp = any_gfp(h);

    for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
        qy_drain_all_pages(h->memory.mm);
        qy_pfn_t pfn = qy_alloc_pages(h->memory.mm, gfp, order);
        if ((pfn != QY_PFN_NONE) != oracle_feasible(&h->oracle, order, gfp))
            test_fail("order %u, gfp %#x: the core %s", order, gfp,
                      pfn == QY_PFN_NONE ? "has none, the textbook has"
                                         : "has one, the textbook has none");
        if (pfn != QY_PFN_NONE)
            assert_int_equal(qy_free_pages(h->memory.mm, pfn, order), 0);
    }
}

static void check_point(struct history *h)
{
    struct qy_mm_stat stat;

    oracle_compare(&h->oracle, h->memory.mm);
    compare_feasibility(h);
    oracle_compare(&h->oracle, h->memory.mm);
    qy_mm_stat(h->memory.mm, &stat);
    assert_int_equal(stat.free, oracle_free_frames(&h->oracle));
    assert_int_equal(stat.pcp, 0);
    test_rules(h->memory.mm);
}

static void live_through(const struct qy_memmap *map, const qy_gfp_t *gfps, size_t nr_gfps,
                         unsigned steps)
{
    const struct qy_mm_options options = {
        .min_free_kbytes = 1, /* no watermarks: what is free can be had */
        .lowmem_reserve_ratio = {UINT32_MAX, UINT32_MAX, UINT32_MAX},
    };
    static const unsigned tides[] = {75, 50, 30, 60, 45, 100, 50, 10};
    struct history *h = &history;

    h->random.state = test_seed();
    h->gfps = gfps;
    h->nr_gfps = nr_gfps;
    h->nr_held = 0;
    test_memory_build(&h->memory, map, &options, 0, 0);
    oracle_create(&h->oracle, map);
    uint64_t all = oracle_free_frames(&h->oracle);
    check_point(h);
    for (unsigned i = 0; i < steps; i++) {
        step(h, tides[i / 4096 % COUNT_OF(tides)]);
        if (i % 8192 == 8191 || (i < 400 && i % 20 == 0))
            check_point(h);
    }
    while (h->nr_held > 0)
        give(h, h->nr_held - 1);
    /* Free everything, and it is as it was in the beginning. */
    check_point(h);
    assert_int_equal(oracle_free_frames(&h->oracle), all);
    oracle_destroy(&h->oracle);
    test_memory_free(&h->memory);
}

/* Wrong if it failed: in one plain zone a frame would be out twice, lost, or not merged. */
static void one_zone(void **state)
{
    (void)state;
    const struct qy_range range = {.base = 4 * GIB, .bytes = 256 * MIB};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};

    live_through(&map, all_gfps, 4, 800000);
}

/* Wrong if it failed: a memory of a few frames, always full, would go wrong at its edges. */
static void a_tiny_zone_with_odd_ends(void **state)
{
    (void)state;
    const struct qy_range range = {.base = 4 * GIB + 37 * PAGE, .bytes = 1500 * PAGE};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};

    live_through(&map, all_gfps, 4, 400000);
}

/* Wrong if it failed: blocks would reach into holes or reserved frames. */
static void holes_and_reserved_frames(void **state)
{
    (void)state;
    const struct qy_range ranges[] = {
        {.base = 4 * GIB + 3 * PAGE, .bytes = 9 * MIB},
        {.base = 4 * GIB + 12 * MIB, .bytes = 513 * PAGE},
        {.base = 4 * GIB + 16 * MIB, .bytes = 40 * MIB + PAGE},
        {.base = 4 * GIB + 80 * MIB, .bytes = PAGE},
        {.base = 4 * GIB + 5 * MIB, .bytes = 3 * PAGE, .type = QY_RANGE_RESERVED},
        {.base = 4 * GIB + 16 * MIB, .bytes = 7 * PAGE, .type = QY_RANGE_RESERVED},
        {.base = 4 * GIB + 30 * MIB, .bytes = 2 * MIB, .type = QY_RANGE_RESERVED},
    };
    const struct qy_memmap map = {.ranges = ranges, .nr_ranges = COUNT_OF(ranges), .nr_nodes = 1};

    live_through(&map, all_gfps, 4, 400000);
}

/* Wrong if it failed: zones would mix, or a request would be served by a zone that its flags
 * forbid, or fail while one that they allow has frames. */
static void four_zones_on_three_nodes(void **state)
{
    (void)state;
    const struct qy_range ranges[] = {
        {.base = PAGE, .bytes = 8 * MIB, .node = 0},
        {.base = 12 * MIB, .bytes = 36 * MIB, .node = 0},  /* DMA and DMA32 */
        {.base = 96 * MIB, .bytes = 32 * MIB, .node = 1},  /* DMA32 and NORMAL */
        {.base = 128 * MIB, .bytes = 64 * MIB, .node = 2}, /* NORMAL and MOVABLE */
        {.base = 200 * MIB, .bytes = 8 * MIB, .node = 0},  /* MOVABLE */
        {.base = 100 * MIB, .bytes = 5 * PAGE, .node = 1, .type = QY_RANGE_RESERVED},
    };
    const uint8_t distance[] = {10, 20, 30, 20, 10, 15, 30, 15, 10};
    const struct qy_memmap map = {
        .ranges = ranges,
        .nr_ranges = COUNT_OF(ranges),
        .nr_nodes = 3,
        .distance = distance,
        .dma_end = 16 * MIB,
        .dma32_end = 112 * MIB,
        .movable_base = 160 * MIB,
    };

    live_through(&map, all_gfps, COUNT_OF(all_gfps), 800000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_zone),
        cmocka_unit_test(a_tiny_zone_with_odd_ends),
        cmocka_unit_test(holes_and_reserved_frames),
        cmocka_unit_test(four_zones_on_three_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
