/*
 * test_cma.c - 100,000 requests at occupancies up to 95 % of the zone, nothing pinned: all succeed
 */
#include "borrower.h"
#include "support.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>

#define BASE (4 * GIB)
#define BYTES (32 * MIB)
#define FRAMES (BYTES / PAGE)
#define REQUESTS 100000
#define MOST_FRAMES 256

struct fixture {
    struct test_memory memory;
    struct borrower *borrower;
    struct qy_cma *cma;
    struct random random;
};

static struct fixture set_up(enum qy_cma_policy policy)
{
    const struct qy_cma_options region = {
        .name = "camera", .ranges = {{BASE / PAGE, FRAMES / 2}}, .nr_ranges = 1, .policy = policy};
    struct fixture fixture = {.random = {test_seed()}};
    struct qy_error error = {0};
    test_memory_lendable(&fixture.memory, BYTES, 1);
    fixture.cma = qy_cma_create(fixture.memory.mm, &region, &error);
    if (fixture.cma == NULL)
        test_fail("qy_cma_create: %s", error.text);
    fixture.borrower = borrower_create(fixture.memory.mm, "borrower");
    return fixture;
}

static void tear_down(struct fixture *fixture)
{
    borrower_check(fixture->borrower);
    borrower_destroy(fixture->borrower);
    test_rules(fixture->memory.mm);
    assert_int_equal(qy_cma_destroy(fixture->cma), 0);
    test_memory_free(&fixture->memory);
}

/** Towards @wanted pages, a few steps; others come and go all the time. */
static void turn_over(struct fixture *fixture, uint64_t wanted, bool clean_only)
{
    for (unsigned i = 0; i < 8; i++) {
        borrower_return(fixture->borrower, (uint32_t)random_below(&fixture->random, FRAMES));
        for (unsigned k = 0; k < 4 && fixture->borrower->nr_pages < wanted; k++)
            if (borrower_borrow(fixture->borrower,
                                clean_only ? BORROWED_CLEAN
                                           : BORROWED_MOVABLE +
                                                 random_below(&fixture->random, 3)) == UINT32_MAX)
                break;
    }
}

static void requests(struct fixture *fixture, bool clean_only)
{
    uint64_t wanted = 0;
    for (unsigned round = 0; round <= REQUESTS / 3; round++) {
        struct qy_cma_report report;
        qy_pfn_t pfn;
        if (round % 500 == 0)
            wanted = random_below(&fixture->random, FRAMES * 95 / 100 - MOST_FRAMES);
        turn_over(fixture, wanted, clean_only);
        const struct qy_cma_request request = {
            .nr_frames = 1 + random_below(&fixture->random, MOST_FRAMES),
            .align_order = (unsigned)random_below(&fixture->random, 9)};
        int code = qy_cma_alloc(fixture->cma, &request, &pfn, &report);
        if (code != 0)
            test_fail("request %u, %llu frames, %llu lent: %d, %llu stuck", round,
                      (unsigned long long)request.nr_frames,
                      (unsigned long long)fixture->borrower->nr_pages, code,
                      (unsigned long long)report.nr_stuck);
        if (clean_only)
            assert_int_equal(report.moved + report.written, 0);
        assert_int_equal(qy_cma_release(fixture->cma, pfn, request.nr_frames), 0);
        if (round % 5000 == 0)
            test_rules(fixture->memory.mm);
    }
}

/* Wrong if it failed: a driver would be refused its buffer though everybody could have moved. */
static void each_succeeds(void **state)
{
    static const enum qy_cma_policy policies[] = {QY_CMA_LINUX, QY_CMA_EAGER};
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(policies); i++) {
        struct fixture fixture = set_up(policies[i]);
        requests(&fixture, false);
        tear_down(&fixture);
    }
}

/* Wrong if it failed: a guaranteed region would be no more than the others; here the frames that
 * it lends are dropped, never moved. */
static void guaranteed_never_fails(void **state)
{
    struct fixture fixture = set_up(QY_CMA_GUARANTEED);
    (void)state;
    requests(&fixture, true);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_succeeds),
        cmocka_unit_test(guaranteed_never_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
