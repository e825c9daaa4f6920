/*
 * test_region.c - which frames a region may be made of, and how early it is lent
 */
#include "borrower.h"
#include "support.h"

#include "memory/mm.h"

#include <quarry/cma.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_the_lowest_zone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
