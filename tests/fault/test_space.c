/*
 * test_space.c - the Nth call of the port fails in the life of a space, for N = 1, 2, 3 ..., or
 * that one and the next
 *
 * What fails must fail cleanly: the rules hold after each step, the host's mappings are those of
 * Quarry's tables, and at the end every frame is free.
 */
#include "sim.h"
#include "support.h"

#include "buddy/lend.h"
#include "space/space.h"

#include <quarry/buddy.h>

#include <errno.h>

#define BASE (4 * GIB)
#define BYTES (16 * MIB)
#define WINDOW (16 * MIB)

struct life {
    struct test_memory memory;
    struct qy_space *space;
    char *small, *large;
};

/* What the host has is what the tables say; a page that is not there may be nowhere. */
static void compare(struct life *life)
{
    struct qy_space *space = life->space;
    for (uint64_t page = 0; page < space->nr_pages; page++) {
        uint32_t prot;
        uint64_t pfn = qy_sim_window(qy_space_address(space, page), &prot);
        qy_pte_t pte = qy_pgtable_get(&space->table, page);
        bool in_doubt = qy_space_in_doubt(space, page, page + 1);
        bool lost = in_doubt && pfn == UINT64_MAX;
        if (pfn != (qy_pte_none(pte) ? UINT64_MAX : qy_pte_pfn(pte)) && !lost)
            test_fail("page %llu: the host has another frame", (unsigned long long)page);
        uint32_t expected = qy_flags_prot(qy_pte_flags(pte));
        if (qy_pte_is_isolated(pte))
            expected &= ~QY_PROT_WRITE;
        if (!qy_pte_none(pte) && prot != expected && !in_doubt)
            test_fail("page %llu: the host allows %u, not %u", (unsigned long long)page, prot,
                      expected);
    }
    test_rules(life->memory.mm);
}

static void check(struct life *life, int code)
{
    if (code != 0)
        assert_true(code == -ENOMEM);
    compare(life);
}

/* True: all of it is on other frames. */
static void move(struct life *life, char *address, unsigned count)
{
    struct qy_mm *mm = life->memory.mm;
    struct qy_mapping *mapping = &life->space->mapping;
    uint32_t page = (uint32_t)qy_space_page(life->space, address);
    qy_pfn_t from = qy_space_translate(life->space, address);
    bool fresh;
    if (from == QY_PFN_NONE)
        return;
    int isolated = mapping->ops->isolate(mapping, page, from, count);
    compare(life);
    if (isolated < 0) {
        assert_true(isolated == -ENOMEM || isolated == -ENOSPC);
        return;
    }
    for (unsigned done = 0; done < (unsigned)isolated;) { /* in two parts */
        unsigned part = done == 0 && isolated > 1 ? (unsigned)isolated / 2 : isolated - done;
        qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 9, &fresh);
        assert_int_not_equal(to, QY_PFN_NONE);
        int code = mapping->ops->putback(mapping, page + done, from + done, to, part);
        qy_lend_return(mm, to + (code == 0 ? part : 0), 512 - (code == 0 ? part : 0));
        check(life, code);
        done += part;
    }
    assert_int_equal(life->space->nr_isolated, 0);
}

static void use(struct life *life)
{
    struct qy_error error;
    life->small = qy_space_map(life->space, 40 * PAGE, QY_PROT_WRITE, QY_AREA_POPULATE, &error);
    compare(life);
    life->large = qy_space_map(life->space, 4 * MIB, QY_PROT_READ, QY_AREA_HUGE, &error);
    assert_non_null(life->large); /* needs no call of the port */
    for (unsigned at = 0; at < 4; at++)
        check(life, qy_space_fault(life->space, life->large + at * MIB, false));
    check(life, qy_space_protect(life->space, life->large, 4 * MIB, QY_PROT_WRITE));
    check(life, qy_space_protect(life->space, life->large + 30 * PAGE, PAGE, QY_PROT_READ));
    move(life, life->large + 2 * MIB, 512);
    move(life, life->large + 5 * PAGE, 40);
    check(life, qy_space_protect(life->space, life->large, 4 * MIB, QY_PROT_READ));
    check(life, qy_space_protect(life->space, life->large, 4 * MIB, QY_PROT_WRITE));
    check(life, qy_space_pin(life->space, life->large, MIB, QY_PIN_LONG, NULL));
    if (life->space->nr_pinned != 0)
        assert_int_equal(qy_space_unpin(life->space, life->large, MIB), 0);
    if (life->small != NULL)
        check(life, qy_space_unmap(life->space, life->small + 3 * PAGE, 20 * PAGE));
    check(life, qy_space_unmap(life->space, life->large + PAGE, 2 * MIB));
}

/* Who uses its pages has them again, and none is in doubt; the second of two calls that fail may be
 * one of these. */
static void recover(struct life *life)
{
    struct qy_space *space = life->space;
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint64_t page = 0; page < space->nr_pages; page++)
            if (!qy_pte_none(qy_pgtable_get(&space->table, page)))
                (void)!qy_space_fault(space, qy_space_address(space, page), false);
    assert_false(qy_space_in_doubt(space, 0, space->nr_pages));
    compare(life);
}

/* The first frames are a lent region's, so that pins for long have to move. */
static void make_region(struct qy_mm *mm)
{
    qy_lend_set_type(mm, BASE / PAGE, 512, QY_MIGRATE_CMA);
    mm->zones[QY_ZONE_NORMAL].lends_eagerly = true;
}

/* What is free, and what is not given back. */
struct left {
    uint64_t frames, objects;
};

static struct left left_of(struct qy_mm *mm)
{
    uint64_t objects = test_live_objects(mm);
    qy_drain_all_pages(mm);
    return (struct left){qy_free_frames(mm), objects};
}

static void one_space(struct life *life, uint64_t nth, uint64_t times)
{
    struct qy_error error;
    qy_sim_fail_times(nth, times);
    life->space = qy_space_create(life->memory.mm, "life", WINDOW, &error);
    if (life->space == NULL) {
        assert_int_equal(error.code, -ENOMEM);
    } else {
        use(life);
        if (qy_sim_failed())
            recover(life);
        assert_int_equal(qy_space_destroy(life->space), 0);
    }
}

/* False: nothing was left that could fail. */
static bool live(uint64_t nth, uint64_t times)
{
    struct life life = {0};
    test_memory_lendable(&life.memory, BYTES, 1);
    make_region(life.memory.mm);
    qy_sim_cpu(-1);         /* attaching is another test's */
    one_space(&life, 0, 0); /* caches have their first slabs now */
    struct left before = left_of(life.memory.mm);
    one_space(&life, nth, times);
    bool failed = qy_sim_failed();
    qy_sim_fail(0);
    struct left after = left_of(life.memory.mm);
    assert_memory_equal(&after, &before, sizeof(after));
    test_rules(life.memory.mm);
    test_memory_free(&life.memory);
    return failed;
}

/* Wrong if it failed: a host that allows no more mappings would cost the program its bytes, or
 * frames. */
static void the_nth_call_fails(void **state)
{
    uint64_t nth = 1;
    (void)state;
    while (live(nth, 1))
        nth++;
    print_message("%llu calls, each failed once\n", (unsigned long long)nth - 1);
    assert_true(nth > 20);
}

/* Wrong if it failed: pages that a host lost in the middle of a move, and would not map again,
 * would be given rights to nothing, and read as zero. */
static void two_in_a_row_fail(void **state)
{
    uint64_t nth = 1;
    (void)state;
    while (live(nth, 2))
        nth++;
    assert_true(nth > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_call_fails),
        cmocka_unit_test(two_in_a_row_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
