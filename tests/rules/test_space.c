/*
 * test_space.c - each rule of spaces, broken on purpose
 */
#include "sim.h"

#include "breaking.h"

#include "buddy/lend.h"
#include "space/space.h"

#include <errno.h>

static struct test_memory memory;
static struct qy_space *space;
static char *at; /* an area of 24 pages; 16 + 1 of them have frames */

static int setup(void **state)
{
    struct qy_error error;
    (void)state;
    test_memory_lendable(&memory, 16 * MIB, 1);
    space = qy_space_create(memory.mm, "test", 64 * MIB, &error);
    assert_non_null(space);
    at = qy_space_map(space, 24 * PAGE, QY_PROT_WRITE, 0, &error);
    assert_non_null(at);
    assert_int_equal(qy_space_fault(space, at, true), 0);
    assert_int_equal(qy_space_fault(space, at + 16 * PAGE, true), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(qy_space_destroy(space), 0);
    test_memory_free(&memory);
    return 0;
}

static struct qy_folio *folio(unsigned page)
{
    return qy_folio_of(memory.mm, qy_space_translate(space, at + page * PAGE));
}

static void v1_folios_name_pages(void **state)
{
    (void)state;
    BREAK(memory.mm, "V1", folio(3)->index, 4);
    BREAK(memory.mm, "V1", folio(3)->mapping, NULL);
    BREAK(memory.mm, "V1", space->nr_resident, 1);
}

static void v2_isolated_pages_are_known(void **state)
{
    struct qy_mapping *mapping = &space->mapping;
    qy_pfn_t pfn = qy_space_translate(space, at);
    (void)state;
    BREAK(memory.mm, "V2", space->nr_isolated, 1);
    assert_int_equal(mapping->ops->isolate(mapping, 0, pfn, 2), 2);
    BREAK(memory.mm, "V2", space->nr_isolated, 0);
    assert_int_equal(mapping->ops->putback(mapping, 0, pfn, pfn, 2), 0);
}

static void v3_pinned_pages_stay(void **state)
{
    struct qy_mapping *mapping = &space->mapping;
    qy_pfn_t pfn = qy_space_translate(space, at);
    (void)state;
    BREAK(memory.mm, "V3", folio(0)->pins, 1);
    assert_int_equal(mapping->ops->isolate(mapping, 0, pfn, 1), 1);
    BREAK(memory.mm, "V3", folio(0)->pins, 1);
    assert_int_equal(mapping->ops->putback(mapping, 0, pfn, pfn, 1), 0);
    assert_int_equal(qy_space_pin(space, at, 1, QY_PIN_SHORT, NULL), 0);
    BREAK(memory.mm, "V3", folio(0)->long_pins, 2);
    assert_int_equal(mapping->ops->isolate(mapping, 0, pfn, 1), -EBUSY);
    assert_int_equal(qy_space_unpin(space, at, 1), 0);
}

static void v4_unpinned_as_often_as_pinned(void **state)
{
    (void)state;
    assert_int_equal(qy_space_pin(space, at, 2 * PAGE, QY_PIN_SHORT, NULL), 0);
    assert_int_equal(qy_space_unpin(space, at, 3 * PAGE), -EINVAL); /* one too many: none */
    assert_string_equal(memory.mm->last_fault, "V4");
    assert_int_equal(qy_space_unpin(space, at, 2 * PAGE), 0);
    assert_int_equal(qy_space_unpin(space, at, 2 * PAGE), -EINVAL);
    assert_int_equal(qy_space_unpin(space, at - PAGE, PAGE), -EINVAL);
    test_rules(memory.mm);
}

static void v5_areas_are_in_order(void **state)
{
    struct qy_area *area = qy_area_at(space, 0);
    (void)state;
    BREAK(memory.mm, "V5", space->nr_areas, 2);
    BREAK(memory.mm, "V5", space->nr_islands, 2);
    BREAK(memory.mm, "V5", space->nr_mapped, 25);
    BREAK(memory.mm, "V5", area->node.gap, 1);
    BREAK(memory.mm, "V5", area->node.highest, 25);
    BREAK(memory.mm, "V5", area->prot, QY_PROT_READ); /* its pages say otherwise */
}

static void v6_tables_are_counted(void **state)
{
    (void)state;
    BREAK(memory.mm, "V6", space->table.nr_tables, 5);
    BREAK(memory.mm, "V6",
          memory.mm->pages[qy_address_index(memory.mm, space->table.root)].nr_entries, 2);
}

static void v7_mappings_are_counted(void **state)
{
    (void)state;
    BREAK(memory.mm, "V7", space->nr_mappings, 5);
    BREAK(memory.mm, "V7", space->charged, 1);
    BREAK(memory.mm, "V7", memory.mm->nr_mappings, 1);
}

static void v10_pages_in_doubt_are_the_spaces(void **state)
{
    (void)state;
    BREAK(memory.mm, "V10", space->doubt, 1);
    BREAK(memory.mm, "V10", space->doubt_end, space->nr_pages + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(v1_folios_name_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(v2_isolated_pages_are_known, setup, teardown),
        cmocka_unit_test_setup_teardown(v3_pinned_pages_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(v4_unpinned_as_often_as_pinned, setup, teardown),
        cmocka_unit_test_setup_teardown(v5_areas_are_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(v6_tables_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(v7_mappings_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(v10_pages_in_doubt_are_the_spaces, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
