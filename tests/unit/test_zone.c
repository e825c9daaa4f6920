/*
 * test_zone.c - memory/zone.c: watermarks, reserves and zonelists, in Linux's figures
 */
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>

static const struct qy_zone *zone_of(const struct qy_mm *mm, unsigned node, unsigned type)
{
    return &mm->zones[node * QY_NR_ZONE_TYPES + type];
}

/* Wrong if it failed: watermarks would not be those that Linux computes. */
static void watermarks_follow_linux(void **state)
{
    (void)state;
    const struct {
        uint64_t bytes, min_free_kbytes; /* what Linux's formula gives: 4 * sqrt(kB) */
    } known[] = {
        {16 * MIB, 512}, {128 * MIB, 1448}, {512 * MIB, 2896}, {1 * GIB, 4096}, {4 * GIB, 8192},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        const struct qy_range range = {.base = 4 * GIB, .bytes = known[i].bytes};
        const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
        struct test_memory memory;
        test_memory_build(&memory, &map, NULL, 0, 0);
        const struct qy_zone *zone = zone_of(memory.mm, 0, QY_ZONE_NORMAL);
        uint64_t min = known[i].min_free_kbytes / 4;
        assert_int_equal(zone->watermark[QY_WMARK_MIN], min);
        assert_int_equal(zone->watermark[QY_WMARK_LOW], min + min / 4);
        assert_int_equal(zone->watermark[QY_WMARK_HIGH], min + min / 2);
        test_memory_free(&memory);
    }
}

static const struct qy_range ranges[] = {
    {.base = 0, .bytes = 16 * MIB, .node = 0},
    {.base = 16 * MIB, .bytes = 240 * MIB, .node = 0},
    {.base = 256 * MIB, .bytes = 512 * MIB, .node = 0},
    {.base = 768 * MIB, .bytes = 256 * MIB, .node = 1},
    {.base = 1024 * MIB, .bytes = 128 * MIB, .node = 2},
};
static const uint8_t distance[] = {10, 30, 20, 30, 10, 40, 20, 40, 10};
static const struct qy_memmap map = {
    .ranges = ranges,
    .nr_ranges = COUNT_OF(ranges),
    .nr_nodes = 3,
    .distance = distance,
    .dma_end = 16 * MIB,
    .dma32_end = 256 * MIB,
    .movable_base = 1024 * MIB,
};

/* Wrong if it failed: low zones would be used up by those who could go elsewhere. */
static void lowmem_reserves_follow_linux(void **state)
{
    (void)state;
    struct test_memory memory;
    test_memory_build(&memory, &map, NULL, 0, 0);
    const struct qy_zone *dma = zone_of(memory.mm, 0, QY_ZONE_DMA);
    const struct qy_zone *dma32 = zone_of(memory.mm, 0, QY_ZONE_DMA32);

    assert_int_equal(dma->lowmem_reserve[QY_ZONE_DMA], 0);
    assert_int_equal(dma->lowmem_reserve[QY_ZONE_DMA32], 240 * MIB / PAGE / 256);
    assert_int_equal(dma->lowmem_reserve[QY_ZONE_NORMAL], (240 + 512) * MIB / PAGE / 256);
    assert_int_equal(dma32->lowmem_reserve[QY_ZONE_DMA32], 0);
    assert_int_equal(dma32->lowmem_reserve[QY_ZONE_NORMAL], 512 * MIB / PAGE / 256);
    test_memory_free(&memory);
}

/* Wrong if it failed: a reserve would be off by what the usual ratios round away. */
static void reserves_are_exact(void **state)
{
    (void)state;
    const struct qy_mm_options options = {.lowmem_reserve_ratio = {1, 1, 1}};
    struct test_memory memory;
    test_memory_build(&memory, &map, &options, 0, 0);
    const struct qy_zone *dma = zone_of(memory.mm, 0, QY_ZONE_DMA);
    assert_int_equal(dma->lowmem_reserve[QY_ZONE_DMA32], 240 * MIB / PAGE);
    assert_int_equal(dma->lowmem_reserve[QY_ZONE_NORMAL], (240 + 512) * MIB / PAGE);
    test_memory_free(&memory);
}

/* Wrong if it failed: a movable zone, which serves nobody in need, would keep a share for them. */
static void movable_zones_keep_little(void **state)
{
    (void)state;
    const struct qy_range parts[] = {{.base = 0, .bytes = 1 * GIB},
                                     {.base = 1 * GIB, .bytes = 2 * GIB}};
    const struct qy_memmap halves = {
        .ranges = parts, .nr_ranges = 2, .nr_nodes = 1, .movable_base = 1 * GIB};
    const uint64_t min_free_kbytes[] = {0, 400};
    const uint64_t pages_min[] = {1024, 100}, kept[] = {128, 100};
    for (unsigned i = 0; i < 2; i++) {
        const struct qy_mm_options options = {.min_free_kbytes = min_free_kbytes[i]};
        struct test_memory memory;
        test_memory_build(&memory, &halves, &options, 0, 0);
        const struct qy_zone *zone = zone_of(memory.mm, 0, QY_ZONE_MOVABLE);
        assert_int_equal(zone->watermark[QY_WMARK_MIN], kept[i]);
        assert_int_equal(zone->watermark[QY_WMARK_LOW], kept[i] + 2 * pages_min[i] / 4);
        assert_int_equal(zone->watermark[QY_WMARK_HIGH], kept[i] + 2 * pages_min[i] / 2);
        test_memory_free(&memory);
    }
}

/* Wrong if it failed: zones would be split at the wrong address, or belong to a wrong node. */
static void zones_are_cut_at_their_limits(void **state)
{
    (void)state;
    const struct {
        unsigned node, type;
        uint64_t from_mib, to_mib;
    } cut[] = {
        {0, QY_ZONE_DMA, 0, 16},          {0, QY_ZONE_DMA32, 16, 256},
        {0, QY_ZONE_NORMAL, 256, 768},    {1, QY_ZONE_NORMAL, 768, 1024},
        {2, QY_ZONE_MOVABLE, 1024, 1152},
    };
    struct test_memory memory;
    test_memory_build(&memory, &map, NULL, 0, 0);
    uint64_t managed = 0;
    for (size_t i = 0; i < COUNT_OF(cut); i++) {
        const struct qy_zone *zone = zone_of(memory.mm, cut[i].node, cut[i].type);
        assert_int_equal(zone->start_pfn, cut[i].from_mib * MIB / PAGE);
        assert_int_equal(zone->end_pfn, cut[i].to_mib * MIB / PAGE);
        assert_int_equal(zone->managed, (cut[i].to_mib - cut[i].from_mib) * MIB / PAGE);
        managed += zone->managed;
    }
    assert_int_equal(managed, 1152 * MIB / PAGE);
    assert_int_equal(memory.mm->managed, managed);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a request would go to a far node before a near one. */
static void zonelists_follow_distance(void **state)
{
    (void)state;
    struct test_memory memory;
    test_memory_build(&memory, &map, NULL, 0, 0);
    const uint8_t n0 = 0, n1 = QY_NR_ZONE_TYPES, n2 = 2 * QY_NR_ZONE_TYPES;
    const uint8_t wanted[3][5] = {
        {n0 + QY_ZONE_NORMAL, n0 + QY_ZONE_DMA32, n0 + QY_ZONE_DMA, n2 + QY_ZONE_MOVABLE,
         n1 + QY_ZONE_NORMAL},
        {n1 + QY_ZONE_NORMAL, n0 + QY_ZONE_NORMAL, n0 + QY_ZONE_DMA32, n0 + QY_ZONE_DMA,
         n2 + QY_ZONE_MOVABLE},
        {n2 + QY_ZONE_MOVABLE, n0 + QY_ZONE_NORMAL, n0 + QY_ZONE_DMA32, n0 + QY_ZONE_DMA,
         n1 + QY_ZONE_NORMAL},
    };
    assert_int_equal(memory.mm->zonelist_length, 5);
    for (unsigned node = 0; node < 3; node++)
        assert_memory_equal(memory.mm->zonelist[node], wanted[node], 5);
    test_memory_free(&memory);
}

/* Wrong if it failed: a zone with nothing but reserved frames would serve those of another. */
static void a_zone_may_be_all_reserved(void **state)
{
    (void)state;
    const struct qy_range reserved[] = {
        {.base = 0, .bytes = 16 * MIB},
        {.base = 0, .bytes = 16 * MIB, .type = QY_RANGE_RESERVED},
        {.base = 16 * MIB, .bytes = 16 * MIB},
    };
    const struct qy_memmap all_reserved = {
        .ranges = reserved, .nr_ranges = 3, .nr_nodes = 1, .dma_end = 16 * MIB};
    const struct qy_mm_options options = {.min_free_kbytes = 1};
    struct test_memory memory;

    test_memory_build(&memory, &all_reserved, &options, 0, 0);
    qy_pfn_t pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    assert_int_equal(qy_free_pages(memory.mm, pfn, 0), 0);
    assert_true(qy_alloc_pages(memory.mm, QY_GFP_KERNEL | QY_GFP_DMA, 0) == QY_PFN_NONE);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watermarks_follow_linux),
        cmocka_unit_test(lowmem_reserves_follow_linux),
        cmocka_unit_test(reserves_are_exact),
        cmocka_unit_test(movable_zones_keep_little),
        cmocka_unit_test(zones_are_cut_at_their_limits),
        cmocka_unit_test(zonelists_follow_distance),
        cmocka_unit_test(a_zone_may_be_all_reserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
