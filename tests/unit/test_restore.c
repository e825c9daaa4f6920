/*
 * test_restore.c - pages that are in doubt, because the host refused something
 */
#include "sim.h"
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "pointer.h"
#include "reclaim/file.h"

#include <errno.h>

/* Last: what it defines would hide other headers' parameters. */
#include "with_space.h"

#define PAGES 1024u /* of the area, from the space's first page on */

static char *area;

static int setup(void **state)
{
    (void)state;
    space_begin(64 * MIB);
    area = qy_space_map(space, PAGES * PAGE, QY_PROT_WRITE, QY_AREA_HUGE | QY_AREA_POPULATE, NULL);
    assert_non_null(area);
    return 0;
}

static char *at(uint64_t page)
{
    return area + page * PAGE;
}

/** The host has what the entries say, of all pages that are not in doubt. */
static void compare(void)
{
    for (uint64_t page = 0; page < PAGES; page++) {
        uint32_t prot;
        qy_pte_t pte = qy_pgtable_get(&space->table, page);
        if (qy_space_in_doubt(space, page, page + 1))
            continue;
        assert_int_equal(qy_sim_window(at(page), &prot),
                         qy_pte_none(pte) ? UINT64_MAX : qy_pte_pfn(pte));
        if (!qy_pte_none(pte))
            assert_int_equal(prot, qy_pte_host_prot(pte));
    }
    test_rules(mm);
}

/* ---- what can be refused: 20 pages from the 100th on ---- */

static int take_back(uint64_t page, qy_pfn_t pfn, qy_pfn_t to, unsigned count)
{
    return space->mapping.ops->putback(&space->mapping, (uint32_t)page, pfn, to, count);
}

static int isolate(uint64_t page, qy_pfn_t pfn, unsigned count)
{
    return space->mapping.ops->isolate(&space->mapping, (uint32_t)page, pfn, count);
}

static int refused_protect(void)
{
    qy_sim_fail(1);
    return qy_space_protect(space, at(100), 20 * PAGE, QY_PROT_READ);
}

static int refused_unmap(void)
{
    qy_sim_fail(1);
    return qy_space_unmap(space, at(100), 20 * PAGE);
}

static int refused_isolate(void)
{
    qy_sim_fail(1);
    return isolate(100, qy_space_translate(space, at(100)), 20);
}

static int refused_return(void)
{
    qy_pfn_t pfn = qy_space_translate(space, at(100));
    assert_int_equal(isolate(100, pfn, 20), 20);
    qy_sim_fail(1);
    assert_int_equal(take_back(100, pfn, pfn, 20), 0);
    return -ENOMEM;
}

static int refused_putback(void)
{
    bool fresh;
    qy_pfn_t pfn = qy_space_translate(space, at(100));
    qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 5, &fresh);
    assert_int_equal(isolate(100, pfn, 20), 20);
    qy_sim_fail_times(1, 2); /* the old frames as well */
    int code = take_back(100, pfn, to, 20);
    qy_lend_return(mm, to, 32);
    return code;
}

/* What a protect there and back, and a move there and back, take of qy_port_window_map(). */
static uint64_t maps_of_use(void)
{
    uint64_t maps = qy_sim_maps();
    qy_pfn_t pfn = qy_space_translate(space, at(90));
    assert_int_equal(qy_space_protect(space, at(90), 40 * PAGE, QY_PROT_READ), 0);
    assert_int_equal(qy_space_protect(space, at(90), 40 * PAGE, QY_PROT_WRITE), 0);
    assert_int_equal(isolate(90, pfn, 40), 40);
    assert_int_equal(take_back(90, pfn, pfn, 40), 0);
    return qy_sim_maps() - maps;
}

static int (*const refusals[])(void) = {refused_protect, refused_unmap, refused_isolate,
                                        refused_return, refused_putback};

/* Wrong if it failed: a host that refused a mapping once would have a space map all pages anew for
 * ever, where a change of their rights is enough. */
static void back_to_the_fast_path(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(refusals); i++) {
        assert_int_equal(maps_of_use(), 0);
        assert_int_equal(refusals[i](), refusals[i] == refused_isolate ? -ENOSPC : -ENOMEM);
        qy_sim_fail(0);
        compare();
        if (i % 2 == 0)
            assert_int_equal(qy_space_fault(space, at(105), true), 0);
        assert_in_range(maps_of_use(), 0, 1); /* the first of its calls, if no access */
        assert_int_equal(maps_of_use(), 0);
        compare();
    }
}

/* Wrong if it failed: pages that have nothing to do with a refusal would be slow until those that
 * have are used. */
static void others_are_not_in_doubt(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(refusals); i++) {
        assert_int_equal(refusals[i](), refusals[i] == refused_isolate ? -ENOSPC : -ENOMEM);
        qy_sim_fail(0);
        uint64_t maps = qy_sim_maps();
        assert_int_equal(qy_space_fault(space, at(99), true), 0);
        assert_int_equal(qy_space_fault(space, at(120), true), 0);
        assert_int_equal(qy_space_protect(space, at(10), 90 * PAGE, QY_PROT_READ), 0);
        assert_int_equal(qy_space_protect(space, at(10), 90 * PAGE, QY_PROT_WRITE), 0);
        assert_int_equal(qy_space_protect(space, at(120), PAGE, QY_PROT_READ), 0);
        assert_int_equal(qy_space_protect(space, at(120), PAGE, QY_PROT_WRITE), 0);
        assert_int_equal(qy_sim_maps(), maps);
        compare();
        assert_int_equal(qy_space_fault(space, at(100), true), 0);
        assert_false(qy_space_in_doubt(space, 0, PAGES));
    }
}

/* Wrong if it failed: a system call could not write into a page that is pinned for it. */
static void what_is_pinned_can_be_written(void **state)
{
    uint32_t prot = 0;
    (void)state;
    refused_return();
    assert_int_equal(qy_space_pin(space, at(100), 20 * PAGE, QY_PIN_SHORT, NULL), 0);
    for (unsigned page = 100; page < 120; page++) {
        assert_int_not_equal(qy_sim_window(at(page), &prot), UINT64_MAX);
        assert_true(prot & QY_PROT_WRITE);
    }
    assert_int_equal(qy_space_unpin(space, at(100), 20 * PAGE), 0);
    refused_putback();
    qy_sim_fail_times(1, 100);
    assert_int_equal(qy_space_pin(space, at(100), PAGE, QY_PIN_SHORT, NULL), -ENOMEM);
    qy_sim_fail(0);
    assert_int_equal(space->nr_pinned, 0);
}

/** Each page on a frame of its own: no two of them are one mapping. */
static void scatter(unsigned count)
{
    bool fresh;
    for (unsigned page = 0; page < count; page++) {
        qy_pfn_t from = qy_space_translate(space, at(page)), to;
        to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 1, &fresh);
        assert_int_equal(isolate(page, from, 1), 1);
        assert_int_equal(take_back(page, from, to, 1), 0);
        qy_lend_return(mm, to + 1, 1);
    }
}

/* Wrong if it failed: one access would wait for all pages that are in doubt, or the last ones of
 * many would stay so. */
static void many_a_few_at_a_time(void **state)
{
    unsigned touches = 0;
    (void)state;
    scatter(200);
    qy_sim_fail(1);
    assert_int_equal(qy_space_protect(space, at(0), 200 * PAGE, QY_PROT_READ), -ENOMEM);
    assert_true(qy_space_in_doubt(space, 199, 200));
    while (qy_space_in_doubt(space, 0, PAGES)) {
        uint64_t maps = qy_sim_maps();
        qy_sim_fail(touches++ % 3 == 2 ? 2 : 0); /* the host refuses others now and then */
        assert_int_equal(qy_space_fault(space, at(199), true), 0);
        assert_in_range(qy_sim_maps(), maps + 1, maps + 17);
        compare();
    }
    assert_in_range(touches, 200 / 16, 30);
    qy_sim_fail(0);
    for (uint64_t page = 0; page < 200; page++)
        assert_int_equal(qy_space_fault(space, at(page), true), 0);
    compare();
}

/* Wrong if it failed: pages would be copied while the program may write them, because their area
 * does not let it: but the host took back only half of what it had allowed. */
static void closed_though_read_only(void **state)
{
    uint32_t prot = 0;
    (void)state;
    scatter(2);
    assert_int_equal(qy_space_protect(space, at(0), 2 * PAGE, QY_PROT_READ), 0);
    qy_sim_fail_times(1, 2);
    assert_int_equal(qy_space_protect(space, at(0), 2 * PAGE, QY_PROT_WRITE), -ENOMEM);
    qy_sim_window(at(0), &prot);
    assert_true(prot & QY_PROT_WRITE); /* so much for the host */
    qy_pfn_t pfn = qy_space_translate(space, at(0));
    qy_sim_fail(1);
    assert_int_equal(isolate(0, pfn, 1), 1);
    qy_sim_window(at(0), &prot);
    assert_int_equal(prot, QY_PROT_READ);
    qy_sim_fail(0);
    assert_int_equal(take_back(0, pfn, pfn, 1), 0);
    assert_int_equal(qy_space_fault(space, at(1), false), 0);
    assert_false(qy_space_in_doubt(space, 0, PAGES));
    compare();
}

static struct backing backing;
static struct qy_file *file;

static char *map_file(void)
{
    backing_fill(&backing, 16 * PAGE);
    file = qy_file_create(mm, "array", &backing_ops, &backing, 16 * PAGE, NULL);
    char *mapped = qy_space_map_file(space, file, 0, 16 * PAGE, QY_PROT_WRITE, 0, NULL);
    assert_non_null(mapped);
    return mapped;
}

/* Wrong if it failed: a system call could not read a page of a file that is pinned for it. */
static void what_is_pinned_of_a_file(void **state)
{
    uint32_t prot = 0;
    int code;
    char *mapped = map_file();
    (void)state;
    assert_non_null(pointer_at(mm, space, mapped + PAGE, false, &code)); /* with its neighbours */
    assert_non_null(pointer_at(mm, space, mapped, true, &code));
    qy_sim_fail(1);
    assert_int_equal(qy_file_unmap(file, 0, 4), -ENOMEM);
    qy_sim_fail(0);
    assert_int_equal(qy_sim_window(mapped, &prot), UINT64_MAX);
    assert_int_equal(qy_space_pin(space, mapped, PAGE, QY_PIN_SHORT, NULL), 0);
    assert_int_not_equal(qy_sim_window(mapped, &prot), UINT64_MAX);
    assert_true(prot & QY_PROT_WRITE);
    assert_int_equal(qy_space_unpin(space, mapped, PAGE), 0);
    assert_int_equal(qy_file_close(file), 0);
}

/* Wrong if it failed: an access to a page that a file could not take away would fault for ever. */
static void a_files_page_that_stays(void **state)
{
    int code;
    char *mapped = map_file();
    (void)state;
    assert_non_null(pointer_at(mm, space, mapped, false, &code));
    for (uint32_t count = 1; count < 16; count++) {
        qy_sim_fail(1);
        assert_int_equal(qy_file_unmap(file, 0, count), -ENOMEM);
        qy_sim_fail(0);
        for (unsigned page = 0; page < 16; page++)
            assert_non_null(pointer_at(mm, space, mapped + page * PAGE, page % 2, &code));
    }
    assert_false(qy_space_in_doubt(space, 0, space->nr_pages));
    assert_int_equal(qy_file_close(file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(back_to_the_fast_path, setup, space_end),
        cmocka_unit_test_setup_teardown(others_are_not_in_doubt, setup, space_end),
        cmocka_unit_test_setup_teardown(what_is_pinned_can_be_written, setup, space_end),
        cmocka_unit_test_setup_teardown(many_a_few_at_a_time, setup, space_end),
        cmocka_unit_test_setup_teardown(closed_though_read_only, setup, space_end),
        cmocka_unit_test_setup_teardown(what_is_pinned_of_a_file, setup, space_end),
        cmocka_unit_test_setup_teardown(a_files_page_that_stays, setup, space_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
