/*
 * test_pcp.c - buddy/pcp.c: a slot's lists of free frames
 */
#include "support.h"

#include "buddy/pcp.h"

#include <quarry/buddy.h>

#define FRAMES 6000

static struct test_memory memory;
static qy_pfn_t taken[FRAMES];

static int build(void **state)
{
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_memory_free(&memory);
    return 0;
}

/** The only slot's lists of the only zone. */
static struct qy_pcp *lists(void)
{
    assert_false(qy_list_empty(&memory.mm->cpus));
    return qy_list_entry(memory.mm->cpus.next, struct qy_cpu, link)->pcp;
}

static struct qy_pcp_list *movable(unsigned order)
{
    return &lists()->list[QY_MIGRATE_MOVABLE][order];
}

static qy_pfn_t take(unsigned order)
{
    qy_pfn_t pfn = qy_alloc_pages(memory.mm, QY_GFP_HIGHUSER_MOVABLE, order);
    assert_true(pfn != QY_PFN_NONE);
    return pfn;
}

/* Wrong if it failed: P1: a frame in a list would be free in the buddy as well, and go to two
 * owners. */
static void a_frame_in_a_list_is_nowhere_else(void **state)
{
    struct qy_mm *mm = memory.mm;
    (void)state;
    for (unsigned i = 0; i < 40; i++)
        taken[i] = take(0);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(qy_free_pages(mm, taken[i], 0), 0);
    const struct qy_pcp_list *list = movable(0);
    assert_true(qy_pcp_list_count(list) >= 40);
    for (unsigned i = 0; i < qy_pcp_list_count(list); i++) {
        uint64_t frame = list->frame[i] & ~QY_FRAME_FRESH;
        assert_false(qy_bits_test(&mm->free_bits[frame / 512], frame % 512));
        assert_int_equal(mm->tags[frame], QY_TAG_NONE);
    }
    test_rules(mm);
}

/* Wrong if it failed: P2: a list would run over its places, into the next one's. */
static void no_list_holds_more_than_its_places(void **state)
{
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 4 * GIB, false); /* the larger, the larger the batches */
    for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
        unsigned count = FRAMES >> order;
        for (unsigned i = 0; i < count; i++)
            taken[i] = take(order);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(qy_free_pages(memory.mm, taken[i], order), 0);
            const struct qy_pcp_list *list = movable(order);
            assert_true(list->top <= list->high &&
                        list->high <= list->frame + qy_pcp_places(order));
        }
        qy_drain_all_pages(memory.mm);
    }
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: who needs one frame would hold many, or who needs many would take the
 * zone's lock for each few. */
static void batches_start_at_one_and_grow(void **state)
{
    unsigned refills = 0;
    (void)state;
    take(0);
    assert_int_equal(qy_pcp_list_count(movable(0)), 0);
    for (unsigned i = 1; i < 1000; i++) {
        refills += qy_pcp_list_count(movable(0)) == 0;
        take(0);
        assert_true(qy_pcp_list_count(movable(0)) <= (movable(0)->high - movable(0)->frame) / 2);
    }
    assert_in_range(refills, 2, 1000 / 16);
    qy_drain_all_pages(memory.mm);
    assert_int_equal(movable(0)->batch, 1);
}

/* Wrong if it failed: frames would not come out of a list in the order that keeps neighbours
 * together: the last in is the first out. */
static void the_last_frame_in_is_the_first_out(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 3; order++) {
        qy_pfn_t first = take(order), second = take(order);
        assert_int_equal(qy_free_pages(memory.mm, first, order), 0);
        assert_int_equal(qy_free_pages(memory.mm, second, order), 0);
        assert_int_equal(take(order), second);
        assert_int_equal(take(order), first);
    }
}

/* Wrong if it failed: draining would leave frames behind, or lose some. */
static void a_drain_gives_everything_back(void **state)
{
    struct qy_mm_stat stat;
    (void)state;
    for (unsigned order = 0; order <= QY_PAGEBLOCK_ORDER; order++)
        assert_int_equal(qy_free_pages(memory.mm, take(order), order), 0);
    qy_mm_stat(memory.mm, &stat);
    assert_true(stat.pcp > 0);
    qy_drain_all_pages(memory.mm);
    qy_mm_stat(memory.mm, &stat);
    assert_int_equal(stat.pcp, 0);
    assert_int_equal(stat.free, stat.managed);
    assert_int_equal(qy_pcp_count(lists()), 0);
    test_rules(memory.mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_frame_in_a_list_is_nowhere_else, build, tear_down),
        cmocka_unit_test(no_list_holds_more_than_its_places),
        cmocka_unit_test_setup_teardown(batches_start_at_one_and_grow, build, tear_down),
        cmocka_unit_test_setup_teardown(the_last_frame_in_is_the_first_out, build, tear_down),
        cmocka_unit_test_setup_teardown(a_drain_gives_everything_back, build, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
