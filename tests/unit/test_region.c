/*
 * test_region.c - which frames a region may be made of, and how early it is lent
 */
#include "borrower.h"
#include "random.h"
#include "support.h"

#include "memory/mm.h"
#include "move/cma.h"

#include <quarry/cma.h>
#include <quarry/linux.h>

#include <errno.h>

/* Wrong if it failed: a region of no frames, or of a few, would be made; or one in the lowest zone
 * be lent last although it was to be first. */
static void in_the_lowest_zone(void **state)
{
    const struct qy_range range = {.base = 4 * MIB, .bytes = 12 * MIB};
    const struct qy_memmap map = {
        .ranges = &range, .nr_ranges = 1, .nr_nodes = 1, .dma_end = 16 * MIB, .dma32_end = 4 * GIB};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .movable = true};
    struct qy_cma_options region = {
        .name = "low", .ranges = {{8 * MIB / PAGE, 0}}, .nr_ranges = 1, .policy = QY_CMA_EAGER};
    static const uint64_t wrong[] = {0, 1, 1023, 1025};
    struct test_memory memory;
    struct qy_cma_stat stat;
    struct qy_error error;
    (void)state;
    test_memory_build(&memory, &map, &options, range.base, range.bytes);
    for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
        region.ranges[0].nr_frames = wrong[i];
        assert_null(qy_cma_create(memory.mm, &region, &error));
        assert_int_equal(error.code, -EINVAL);
    }
    region.ranges[0].nr_frames = 1024;
    struct qy_cma *cma = qy_cma_create(memory.mm, &region, &error);
    assert_non_null(cma);
    struct borrower *borrower = borrower_create(memory.mm, "borrower");
    for (unsigned i = 0; i < 10; i++)
        assert_int_not_equal(borrower_borrow(borrower, BORROWED_MOVABLE), UINT32_MAX);
    qy_cma_stat(cma, &stat);
    assert_int_equal(stat.lent, 10);
    assert_int_equal(stat.free, 1014);
    borrower_destroy(borrower);
    assert_int_equal(qy_cma_destroy(cma), 0);
    assert_false(memory.mm->zones[QY_ZONE_DMA].lends_eagerly);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

#define BASE (4 * GIB)
#define FIRST (BASE / PAGE)

static struct qy_mm *build(struct test_memory *memory, uint64_t bytes)
{
    const struct qy_range range = {.base = BASE, .bytes = bytes};
    const struct qy_memmap map = {
        .ranges = &range, .nr_ranges = 1, .nr_nodes = 1, .dma32_end = 4 * GIB};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .movable = true};
    test_memory_build(memory, &map, &options, BASE, bytes);
    return memory->mm;
}

static bool share_frames(const struct qy_cma_range *a, const struct qy_cma_range *b)
{
    for (qy_pfn_t pfn = a->pfn; pfn < a->pfn + a->nr_frames; pfn += 1024)
        if (pfn >= b->pfn && pfn < b->pfn + b->nr_frames)
            return true;
    return false;
}

/* Wrong if it failed: a region of ranges that have frames in common would be made, and two buffers
 * be given the same frames. */
static void ranges_of_their_own(void **state)
{
    struct random random = {7};
    struct test_memory memory;
    struct qy_mm *mm = build(&memory, 32 * MIB);
    unsigned refused = 0, made = 0;
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        struct qy_cma_options options = {.name = "camera", .nr_ranges = 3};
        bool shared = false;
        for (unsigned i = 0; i < 3; i++) {
            uint64_t first = random_below(&random, 8);
            options.ranges[i] = (struct qy_cma_range){
                FIRST + first * 1024, 1024 * (1 + random_below(&random, 8 - first < 3 ? 1 : 3))};
            if (random_below(&random, 3) == 0) /* what is left to us is none of the others' */
                options.ranges[i].pfn = QY_PFN_NONE;
            for (unsigned k = 0; k < i; k++)
                shared |= share_frames(&options.ranges[k], &options.ranges[i]);
        }
        struct qy_error error = {0};
        struct qy_cma *cma = qy_cma_create(mm, &options, &error);
        assert_int_equal(error.code == -EINVAL, shared); /* else a slab may lie there */
        refused += shared;
        made += cma != NULL;
        if (cma != NULL) {
            test_rules(mm);
            assert_int_equal(qy_cma_destroy(cma), 0);
        }
        test_rules(mm);
    }
    assert_true(refused > 20 && made > 20);
    test_memory_free(&memory);
}

/* Wrong if it failed: a driver that reaches only the lowest gigabytes would be refused a region
 * while there is room below, because the first run that was found lay above. */
static void below_a_limit(void **state)
{
    const struct qy_range ranges[] = {{.base = 3 * GIB + 960 * MIB, .bytes = 128 * MIB}};
    const struct qy_memmap map = {
        .ranges = ranges, .nr_ranges = 1, .nr_nodes = 1, .dma32_end = 4 * GIB};
    const struct qy_mm_options options = {.min_free_kbytes = 64, .movable = true};
    struct test_memory memory;
    struct qy_error error;
    (void)state;
    test_memory_build(&memory, &map, &options, ranges[0].base, ranges[0].bytes);
    for (uint64_t frames = 1024; frames <= 12 * 1024; frames += 1024)
        for (uint64_t below = 48; below <= 128; below += 16) {
            const struct qy_cma_options region = {.name = "isp",
                                                  .ranges = {{QY_PFN_NONE, frames}},
                                                  .nr_ranges = 1,
                                                  .below = (ranges[0].base + below * MIB) / PAGE};
            struct qy_cma *cma = qy_cma_create(memory.mm, &region, &error);
            uint64_t most = (below <= 64 ? below : 64) * MIB / PAGE; /* of one zone */
            assert_true(cma != NULL || frames > most - 2048);        /* slabs lie somewhere */
            assert_true(cma == NULL || frames <= most);
            if (cma == NULL) {
                assert_int_equal(error.code, -ENOMEM);
                continue;
            }
            assert_true(cma->part[0].pfn + frames <= region.below);
            assert_int_equal(qy_cma_destroy(cma), 0);
        }
    struct qy_cma_options given = {.name = "isp",
                                   .ranges = {{4 * GIB / PAGE, 1024}},
                                   .nr_ranges = 1,
                                   .below = 4 * GIB / PAGE + 1023};
    assert_null(qy_cma_create(memory.mm, &given, &error));
    assert_int_equal(error.code, -EINVAL);
    test_memory_free(&memory);
}

/* Wrong if it failed: a region that must lie below a limit, where there is no place for it, would
 * bring all memory online before it is refused; or more than it needs, where there is. */
static void below_a_limit_no_more_comes_online(void **state)
{
    const struct qy_range ranges[] = {
        {.base = 4 * GIB, .bytes = 8 * MIB},
        {.base = 4 * GIB + 64 * MIB, .bytes = 512 * MIB, .type = QY_RANGE_HOTPLUG},
    };
    const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 2, .nr_nodes = 1};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .movable = true, .grow = true};
    struct qy_cma_options region = {
        .name = "isp", .ranges = {{QY_PFN_NONE, 32 * MIB / PAGE}}, .nr_ranges = 1};
    struct test_memory memory;
    struct qy_error error;
    struct qy_mm_stat before, stat;
    (void)state;
    test_memory_build(&memory, &map, &options, 4 * GIB, 576 * MIB);
    qy_mm_stat(memory.mm, &before);
    region.below = (4 * GIB + 64 * MIB + 28 * MIB) / PAGE; /* 28 MiB, behind a hole */
    assert_null(qy_cma_create(memory.mm, &region, &error));
    qy_mm_stat(memory.mm, &stat);
    assert_int_equal(stat.managed, before.managed);
    region.below += 100 * MIB / PAGE;
    struct qy_cma *cma = qy_cma_create(memory.mm, &region, &error);
    assert_non_null(cma);
    qy_mm_stat(memory.mm, &stat);
    assert_int_equal(stat.managed, before.managed + 32 * MIB / PAGE);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a region below a limit could not lie across two ranges of later memory, nor
 * where a part is online already. */
static void below_a_limit_across_ranges(void **state)
{
    const struct qy_range ranges[] = {
        {.base = 4 * GIB, .bytes = 8 * MIB},
        {.base = 4 * GIB + 8 * MIB, .bytes = 56 * MIB, .type = QY_RANGE_HOTPLUG},
        {.base = 4 * GIB + 64 * MIB, .bytes = 256 * MIB, .type = QY_RANGE_HOTPLUG},
    };
    const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 3, .nr_nodes = 1};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .movable = true, .grow = true};
    const struct qy_cma_options region = {.name = "isp",
                                          .ranges = {{QY_PFN_NONE, 96 * MIB / PAGE}},
                                          .nr_ranges = 1,
                                          .below = (4 * GIB + 200 * MIB) / PAGE};
    struct test_memory memory;
    struct qy_error error;
    (void)state;
    test_memory_build(&memory, &map, &options, 4 * GIB, 320 * MIB);
    assert_int_equal(qy_mm_online(memory.mm, (4 * GIB + 32 * MIB) / PAGE, 4 * MIB / PAGE), 0);
    assert_non_null(qy_cma_create(memory.mm, &region, &error));
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a region that the limit does not allow would cost metadata for each place
 * that was tried, which nobody gives back. */
static void below_a_limit_refused_costs_little(void **state)
{
    const struct qy_linux_options options = {
        .limit_bytes = 64 * MIB, .span_bytes = 16 * GIB, .movable = true};
    struct qy_cma_options region = {.name = "isp",
                                    .ranges = {{QY_PFN_NONE, 80 * MIB / PAGE}},
                                    .nr_ranges = 1,
                                    .below = UINT64_C(1) << 40};
    struct qy_mm_stat stat;
    struct qy_error error;
    (void)state;
    struct qy_mm *mm = qy_linux_mm_create(&options, NULL);
    assert_non_null(mm);
    assert_null(qy_cma_create(mm, &region, &error));
    qy_mm_stat(mm, &stat);
    assert_true(stat.meta_bytes < 4 * MIB);
    region.ranges[0].nr_frames = 32 * MIB / PAGE;
    assert_non_null(qy_cma_create(mm, &region, &error));
    test_rules(mm);
    qy_linux_mm_destroy(mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(below_a_limit_no_more_comes_online),
        cmocka_unit_test(below_a_limit_across_ranges),
        cmocka_unit_test(below_a_limit_refused_costs_little),
        cmocka_unit_test(in_the_lowest_zone),
        cmocka_unit_test(ranges_of_their_own),
        cmocka_unit_test(below_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
