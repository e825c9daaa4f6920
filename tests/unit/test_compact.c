/*
 * test_compact.c - free frames come together, and requests for blocks find them
 */
#include "borrower.h"
#include "random.h"
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>

#define BASE (4 * GIB)
#define BYTES (32 * MIB)
#define FRAMES (BYTES / PAGE)

struct fixture {
    struct test_memory memory;
    struct qy_mm *mm;
    struct borrower *borrower;
};

/** A memory of which every frame was lent, and then @percent given back at random. */
static struct fixture set_up(unsigned percent)
{
    const struct qy_range range = {.base = BASE, .bytes = BYTES};
    const struct qy_memmap map = {
        .ranges = &range, .nr_ranges = 1, .nr_nodes = 1, .dma32_end = 4 * GIB};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .movable = true};
    struct random random = {.state = 11};
    struct fixture fixture;
    test_memory_build(&fixture.memory, &map, &options, BASE, BYTES);
    fixture.mm = fixture.memory.mm;
    fixture.borrower = borrower_create(fixture.mm, "borrower");
    while (borrower_borrow(fixture.borrower, BORROWED_MOVABLE) != UINT32_MAX)
        ;
    uint64_t left = fixture.borrower->nr_pages * (100 - percent) / 100;
    while (fixture.borrower->nr_pages > left)
        borrower_return(fixture.borrower, (uint32_t)random_below(&random, FRAMES));
    return fixture;
}

static void tear_down(struct fixture *fixture)
{
    borrower_check(fixture->borrower);
    borrower_destroy(fixture->borrower);
    test_rules(fixture->mm);
    test_memory_free(&fixture->memory);
}

/* Wrong if it failed: memory half of which is free would have no block to give, or the blocks
 * would cost other people's bytes. */
static void blocks_come_together(void **state)
{
    struct fixture fixture = set_up(60);
    struct qy_compact_report report;
    (void)state;
    assert_int_equal(qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, 9), QY_PFN_NONE);
    uint64_t used = fixture.borrower->nr_pages;
    uint64_t gained = qy_compact(fixture.mm, 9, 0, &report);
    test_rules(fixture.mm);
    borrower_check(fixture.borrower);
    assert_true(gained >= 6); /* of 16; 9 are free in sum */
    assert_int_equal(report.blocks_gained, gained);
    assert_int_equal(report.moved, fixture.borrower->moved);
    assert_true(report.moved <= used);
    assert_int_equal(qy_compact(fixture.mm, 9, 0, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_true(qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, 9) != QY_PFN_NONE);
    tear_down(&fixture);
}

/* Wrong if it failed: a request would fail that moving a few pages serves, or one that may not
 * wait would wait for it. */
static void requests_compact(void **state)
{
    (void)state;
    for (unsigned order = 1; order <= QY_MAX_ORDER; order++) {
        struct fixture fixture = set_up(60);
        while (qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, order) != QY_PFN_NONE)
            ;
        uint64_t moved = fixture.borrower->moved;
        qy_pfn_t pfn = qy_alloc_pages(fixture.mm, QY_GFP_KERNEL, order);
        if (pfn == QY_PFN_NONE)
            test_fail("no block of order %u", order);
        moved = fixture.borrower->moved - moved;
        assert_true(moved > 0 && moved <= UINT64_C(4) << order);
        assert_int_equal(qy_free_pages(fixture.mm, pfn, order), 0);
        assert_true(qy_alloc_pages_exact(fixture.mm, QY_GFP_KERNEL, (1u << order) - 1, 0) !=
                    QY_PFN_NONE);
        tear_down(&fixture);
    }
}

/* Wrong if it failed: pages that cannot move would be moved, or a limit be overrun. */
static void within_limits(void **state)
{
    struct fixture fixture = set_up(60);
    struct qy_compact_report report;
    (void)state;
    assert_int_equal(qy_compact(fixture.mm, 0, 0, &report), 0);
    assert_int_equal(qy_compact(fixture.mm, QY_MAX_ORDER + 1, 0, &report), 0);
    qy_compact(fixture.mm, 9, 100, &report);
    assert_in_range(report.moved, 1, 100);
    memset(fixture.borrower->pinned, 1, sizeof(fixture.borrower->pinned));
    uint64_t moved = fixture.borrower->moved;
    assert_int_equal(qy_compact(fixture.mm, 9, 0, &report), 0);
    assert_int_equal(fixture.borrower->moved, moved);
    memset(fixture.borrower->pinned, 0, sizeof(fixture.borrower->pinned));
    fixture.borrower->putback_fails = true;
    assert_int_equal(qy_compact(fixture.mm, 9, 0, &report), 0);
    fixture.borrower->putback_fails = false;
    test_rules(fixture.mm);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_come_together),
        cmocka_unit_test(requests_compact),
        cmocka_unit_test(within_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
