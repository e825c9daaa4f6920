/*
 * test_online.c - buddy/online.c: frames that come later
 */
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>

#include <errno.h>

static const struct qy_range ranges[] = {
    {.base = 64 * MIB, .bytes = 8 * MIB},
    {.base = 96 * MIB, .bytes = 64 * MIB, .type = QY_RANGE_HOTPLUG},
    {.base = 100 * MIB, .bytes = 3 * PAGE, .type = QY_RANGE_RESERVED},
};
static const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 3, .nr_nodes = 1};
static const struct qy_memmap without_reserved = {.ranges = ranges, .nr_ranges = 2, .nr_nodes = 1};

static uint64_t managed(struct qy_mm *mm)
{
    struct qy_mm_stat stat;
    qy_mm_stat(mm, &stat);
    return stat.managed;
}

/* Wrong if it failed: what is not there could be brought online, or twice, or in part. */
static void only_offline_sections_of_a_hotplug_range_come_online(void **state)
{
    (void)state;
    const struct qy_mm_options options = {.min_free_kbytes = 1};
    const qy_pfn_t start = 96 * MIB / PAGE;
    struct test_memory memory;

    test_memory_build(&memory, &without_reserved, &options, 0, 0);
    struct qy_mm *mm = memory.mm;
    assert_int_equal(managed(mm), 8 * MIB / PAGE);
    assert_int_equal(qy_mm_online(mm, start, 0), -EINVAL);
    assert_int_equal(qy_mm_online(mm, start + 1, 1024), -EINVAL);
    assert_int_equal(qy_mm_online(mm, start, 1000), -EINVAL);
    assert_int_equal(qy_mm_online(mm, 64 * MIB / PAGE, 1024), -EINVAL); /* RAM */
    assert_int_equal(qy_mm_online(mm, 80 * MIB / PAGE, 1024), -EINVAL); /* a hole */
    assert_int_equal(qy_mm_online(mm, start, 17 * 1024), -EINVAL);      /* too long */
    assert_int_equal(qy_mm_online(mm, start, UINT64_MAX - 1023), -EINVAL);
    assert_int_equal(managed(mm), 8 * MIB / PAGE);

    assert_int_equal(qy_mm_online(mm, start + 2048, 1024), 0);
    assert_int_equal(managed(mm), 12 * MIB / PAGE);
    test_rules(mm);
    assert_int_equal(qy_mm_online(mm, start + 2048, 1024), -EEXIST);
    assert_int_equal(qy_mm_online(mm, start, 16 * 1024), -EEXIST);
    assert_int_equal(managed(mm), 12 * MIB / PAGE);
    assert_int_equal(qy_mm_online(mm, start, 2048), 0);
    assert_int_equal(qy_mm_online(mm, start + 3072, 13 * 1024), 0);
    assert_int_equal(managed(mm), 72 * MIB / PAGE);
    test_rules(mm);
    qy_pfn_t pfn = qy_alloc_pages_exact(mm, QY_GFP_KERNEL, 16 * 1024, 0);
    assert_int_equal(pfn, start);
    test_memory_free(&memory);
}

/* Wrong if it failed: reserved frames of a hotplug range would be handed out. */
static void reserved_frames_stay_out(void **state)
{
    (void)state;
    const struct qy_mm_options options = {.min_free_kbytes = 1};
    struct test_memory memory;

    test_memory_build(&memory, &map, &options, 0, 0);
    struct qy_mm *mm = memory.mm;
    assert_int_equal(qy_mm_online(mm, 96 * MIB / PAGE, 4096), 0);
    assert_int_equal(managed(mm), 24 * MIB / PAGE - 3);
    for (qy_pfn_t pfn; (pfn = qy_alloc_pages(mm, QY_GFP_KERNEL, 0)) != QY_PFN_NONE;)
        if (pfn >= 100 * MIB / PAGE && pfn < 100 * MIB / PAGE + 3)
            fail_msg("a reserved frame was handed out");
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: memory would not grow when it runs short, or beyond what it may. */
static void memory_grows_as_far_as_it_may(void **state)
{
    (void)state;
    const struct qy_mm_options grow = {.grow = true};
    struct test_memory memory;
    uint64_t count = 0;

    test_memory_build(&memory, &without_reserved, &grow, 0, 0);
    while (qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0) != QY_PFN_NONE)
        count++;
    assert_int_equal(count, 72 * MIB / PAGE);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: one request too large for what is left would end all growth. */
static void a_request_too_large_does_not_spoil_growth(void **state)
{
    (void)state;
    const struct qy_mm_options grow = {.grow = true};
    struct test_memory memory;

    test_memory_build(&memory, &without_reserved, &grow, 0, 0);
    struct qy_mm *mm = memory.mm;
    assert_true(qy_alloc_pages_exact(mm, QY_GFP_KERNEL, 3 * 1024, 0) != QY_PFN_NONE);
    assert_true(qy_alloc_pages_exact(mm, QY_GFP_KERNEL, 16 * 1024, 0) == QY_PFN_NONE);
    uint64_t count = 3 * 1024;
    while (qy_alloc_pages(mm, QY_GFP_KERNEL, 0) != QY_PFN_NONE)
        count++;
    assert_int_equal(count, 72 * MIB / PAGE);
    test_memory_free(&memory);
}

/* Wrong if it failed: growth would bring a section online that is so already. */
static void growth_goes_round_what_is_online(void **state)
{
    (void)state;
    const struct qy_mm_options grow = {.grow = true};
    struct test_memory memory;
    uint64_t count = 0;

    test_memory_build(&memory, &map, &grow, 0, 0);
    struct qy_mm *mm = memory.mm;
    assert_int_equal(qy_mm_online(mm, 104 * MIB / PAGE, 2048), 0);
    assert_int_equal(qy_mm_online(mm, 156 * MIB / PAGE, 1024), 0);
    while (qy_alloc_pages(mm, QY_GFP_KERNEL, 9) != QY_PFN_NONE)
        count += 512;
    while (qy_alloc_pages(mm, QY_GFP_KERNEL, 0) != QY_PFN_NONE)
        count++;
    assert_int_equal(count, 72 * MIB / PAGE - 3);
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a request that no growth can serve would use up all memory. */
static void memory_does_not_grow_for_what_growth_cannot_serve(void **state)
{
    (void)state;
    const struct qy_mm_options grow = {.grow = true};
    const struct qy_memmap low_zone = {
        .ranges = ranges, .nr_ranges = 2, .nr_nodes = 1, .dma_end = 16 * MIB};
    struct test_memory memory;

    test_memory_build(&memory, &low_zone, &grow, 0, 0);
    assert_true(qy_alloc_pages(memory.mm, QY_GFP_KERNEL | QY_GFP_DMA, 0) == QY_PFN_NONE);
    assert_int_equal(managed(memory.mm), 8 * MIB / PAGE);
    test_memory_free(&memory);
}

/* Wrong if it failed: more frames than the limit allows would be managed, or far fewer. */
static void the_limit_is_kept_and_used(void **state)
{
    (void)state;
    struct test_memory memory;
    uint64_t count = 0;
    const uint64_t meta = qy_mm_meta_bytes(&without_reserved, NULL) / PAGE;
    const struct qy_mm_options options = {.grow = true, .limit_pages = 5000 + meta};
    struct qy_mm_stat stat;

    test_memory_build(&memory, &without_reserved, &options, 0, 0);
    while (qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0) != QY_PFN_NONE)
        count++;
    qy_mm_stat(memory.mm, &stat);
    assert_true(stat.managed + stat.meta_bytes / PAGE <= stat.limit);
    assert_true(count <= 5000);
    assert_true(count >= 5000 * 95 / 100);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_offline_sections_of_a_hotplug_range_come_online),
        cmocka_unit_test(reserved_frames_stay_out),
        cmocka_unit_test(memory_grows_as_far_as_it_may),
        cmocka_unit_test(a_request_too_large_does_not_spoil_growth),
        cmocka_unit_test(growth_goes_round_what_is_online),
        cmocka_unit_test(memory_does_not_grow_for_what_growth_cannot_serve),
        cmocka_unit_test(the_limit_is_kept_and_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
