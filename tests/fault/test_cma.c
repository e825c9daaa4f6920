/*
 * test_cma.c - the Nth call of the port fails while a region is made, lent and taken back
 *
 * Whatever failed, the errors are clean ones, nobody's bytes are lost, and in the end every frame
 * is free again and in its place.
 */
#include "borrower.h"
#include "sim.h"
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>

#include <errno.h>

#define BYTES (32 * MIB)

/** Borrow, take back, give back, compact. */
static void use(struct qy_mm *mm, struct qy_cma *cma, struct borrower *borrower)
{
    struct random random = {5};
    for (unsigned i = 0; i < 3000; i++)
        if (borrower_borrow(borrower, BORROWED_MOVABLE + i % 3) == UINT32_MAX)
            break;
    for (unsigned i = 0; i < 12; i++) {
        const struct qy_cma_request request = {.nr_frames = 50 + 80 * i, .align_order = i % 6};
        struct qy_cma_report report;
        qy_pfn_t pfn;
        int code = qy_cma_alloc(cma, &request, &pfn, &report);
        assert_true(code == 0 || code == -EBUSY || code == -ENOMEM);
        if (code == -EBUSY)
            assert_true(report.nr_stuck > 0);
        for (unsigned k = 0; k < 50; k++)
            borrower_return(borrower, (uint32_t)random_below(&random, 3000));
        if (code == 0)
            assert_int_equal(qy_cma_release(cma, pfn, request.nr_frames), 0);
    }
    qy_compact(mm, 9, 0, NULL);
    qy_mm_trim(mm, 0);
    borrower_check(borrower);
}

static void live(struct qy_mm *mm)
{
    const struct qy_cma_options options = {
        .name = "camera", .ranges = {{QY_PFN_NONE, 2048}}, .nr_ranges = 1, .policy = QY_CMA_EAGER};
    struct qy_error error = {0};
    uint64_t used = test_frames_in_use(mm);
    struct qy_cma *cma = qy_cma_create(mm, &options, &error);
    if (cma == NULL) {
        assert_int_equal(error.code, -ENOMEM);
    } else {
        struct borrower *borrower = borrower_create(mm, "borrower");
        use(mm, cma, borrower);
        test_rules(mm);
        borrower_destroy(borrower);
        assert_int_equal(qy_cma_destroy(cma), 0);
    }
    assert_true(test_frames_in_use(mm) <= used + 16); /* slabs of the region's own may stay */
}

/** One life in which the @nth call fails; false: there were not so many. */
static bool run(uint64_t nth)
{
    struct test_memory memory;
    qy_sim_fail(nth);
    if (test_memory_growing(&memory, BYTES, 0))
        live(memory.mm);
    bool failed = qy_sim_failed();
    test_memory_free(&memory);
    return failed;
}

/* Wrong if it failed: a host that refuses one call would cost frames, or somebody's bytes. */
static void nothing_is_lost(void **state)
{
    uint64_t nth = 1;
    (void)state;
    while (run(nth))
        nth++;
    print_message("%llu calls that can fail\n", (unsigned long long)(nth - 1));
    assert_true(nth > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
