/*
 * test_pgtable.c - the page table against an array
 */
#include "support.h"

#include "memory/mm.h"
#include "space/pgtable.h"

#include <quarry/buddy.h>

#include <errno.h>

#define PAGES 4096u

static struct test_memory memory;
static struct qy_pgtable table;

static int setup(void **state)
{
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 16 * MIB, true);
    qy_pgtable_init(&table, memory.mm);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_null(table.root);
    assert_int_equal(table.nr_tables, 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
    return 0;
}

static int set(uint64_t page, uint64_t count, qy_pfn_t pfn, uint32_t flags)
{
    if (qy_pgtable_split(&table, page) != 0 || qy_pgtable_split(&table, page + count) != 0 ||
        qy_pgtable_prepare(&table, page, count, pfn) != 0)
        return -ENOMEM;
    qy_pgtable_set(&table, page, count, pfn, flags);
    return 0;
}

/* Wrong if it failed: a page would be on another frame than it was put on, or a neighbour. */
static void like_an_array(void **state)
{
    static qy_pte_t expected[PAGES];
    struct random random = {test_seed()};
    const uint64_t base = (UINT64_C(1) << 27) - PAGES / 2; /* over a table of the third level */
    (void)state;
    memset(expected, 0, sizeof(expected));
    for (unsigned step = 0; step < 3000; step++) {
        uint64_t page = random_below(&random, PAGES), count = 1 + random_below(&random, 1100);
        if (random_one_in(&random, 3)) { /* whole entries of the large kind */
            page &= ~UINT64_C(511);
            count = 512 * (1 + random_below(&random, 2));
        }
        count = count < PAGES - page ? count : PAGES - page;
        uint32_t flags = (uint32_t)random_next(&random) & (QY_PTE_READ | QY_PTE_WRITE);
        qy_pfn_t pfn = random_below(&random, 1 << 20) * (random_one_in(&random, 2) ? 512 : 1);
        if (random_one_in(&random, 2)) {
            assert_int_equal(set(base + page, count, pfn, flags), 0);
            for (uint64_t i = 0; i < count; i++)
                expected[page + i] = qy_pte_make_leaf(pfn + i, flags);
        } else {
            assert_int_equal(qy_pgtable_split(&table, base + page), 0);
            assert_int_equal(qy_pgtable_split(&table, base + page + count), 0);
            qy_pgtable_clear(&table, base + page, count);
            memset(&expected[page], 0, count * sizeof(expected[0]));
        }
        uint64_t found = base;
        for (uint64_t i = 0; i < PAGES; i++) {
            qy_pte_t pte;
            assert_int_equal(qy_pgtable_get(&table, base + i), expected[i]);
            if (expected[i] == 0)
                continue;
            found = qy_pgtable_next(&table, found, base + PAGES, &pte);
            assert_int_equal(found++, base + i);
            assert_int_equal(pte, expected[i]);
        }
    }
    qy_pgtable_clear(&table, base, PAGES);
}

/* Wrong if it failed: 2 MiB would take a table though one entry says it all. */
static void large_entries(void **state)
{
    qy_pte_t pte;
    (void)state;
    assert_int_equal(set(512, 512, 1024, QY_PTE_READ), 0);
    assert_int_equal(table.nr_tables, 3);
    assert_int_equal(qy_pgtable_get(&table, 700), qy_pte_make_leaf(1024 + 188, QY_PTE_READ));
    assert_int_equal(qy_pgtable_next(&table, 0, 4096, &pte), 512);
    assert_int_equal(set(700, 1, 5, QY_PTE_WRITE), 0);
    assert_int_equal(table.nr_tables, 4);
    assert_int_equal(qy_pgtable_get(&table, 701), qy_pte_make_leaf(1024 + 189, QY_PTE_READ));
    assert_int_equal(set(512, 512, 1024, QY_PTE_READ), 0); /* one entry again */
    assert_int_equal(table.nr_tables, 3);
    assert_int_equal(set(512, 512, 1025, QY_PTE_READ), 0); /* frames that do not begin together */
    assert_int_equal(table.nr_tables, 4);
    qy_pgtable_clear(&table, 0, 4096);
}

/* Wrong if it failed: a table that cannot be had would leave half a change, or tables. */
static void without_frames(void **state)
{
    static qy_pfn_t taken[8192];
    unsigned count = 0;
    (void)state;
    assert_int_equal(set(512, 512, 1024, QY_PTE_READ), 0);
    while ((taken[count] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0)) != QY_PFN_NONE)
        count++;
    assert_int_equal(qy_pgtable_split(&table, 513), -ENOMEM);
    assert_int_equal(set(UINT64_C(1) << 20, 1, 7, QY_PTE_READ), -ENOMEM);
    assert_int_equal(qy_pgtable_get(&table, 513), qy_pte_make_leaf(1025, QY_PTE_READ));
    assert_int_equal(qy_free_pages(memory.mm, taken[--count], 0), 0);
    qy_drain_all_pages(memory.mm);
    assert_int_equal(set(UINT64_C(1) << 20, 1, 7, QY_PTE_READ),
                     -ENOMEM); /* two tables, one frame */
    assert_int_equal(qy_pgtable_get(&table, UINT64_C(1) << 20), 0);
    qy_pgtable_clear(&table, UINT64_C(1) << 20, 1);
    assert_int_equal(table.nr_tables, 3);
    while (count > 0)
        assert_int_equal(qy_free_pages(memory.mm, taken[--count], 0), 0);
    qy_pgtable_clear(&table, 0, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(like_an_array, setup, teardown),
        cmocka_unit_test_setup_teardown(large_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(without_frames, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
