/*
 * test_view_live.c - src/view/live.c and items.c: a live memory's figures are true
 */
#include "support.h"

#include "view/live.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>
#include <quarry/view.h>

/* The definition: take the largest aligned free block away until nothing is left. */
static void count_slowly(const struct qy_bits512 *bits, uint64_t counts[QY_NR_ORDERS])
{
    bool left[QY_PAGEBLOCK_FRAMES];
    for (unsigned i = 0; i < QY_PAGEBLOCK_FRAMES; i++)
        left[i] = qy_bits_test(bits, i);
    for (int order = QY_PAGEBLOCK_ORDER; order >= 0; order--) {
        for (unsigned start = 0; start < QY_PAGEBLOCK_FRAMES; start += 1u << order) {
            unsigned set = 0;
            for (unsigned i = 0; i < 1u << order; i++)
                set += left[start + i];
            if (set < 1u << order)
                continue;
            counts[order]++;
            memset(left + start, 0, 1u << order);
        }
    }
}

/* Wrong if it failed: buddyinfo would show other free blocks than the frames make up. */
static void blocks_are_counted_as_they_are_defined(void **state)
{
    struct random random = {test_seed()};
    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        struct qy_bits512 bits;
        uint64_t fast[QY_NR_ORDERS] = {0}, slow[QY_NR_ORDERS] = {0};
        for (unsigned w = 0; w < QY_BITS_WORDS; w++) {
            bits.word[w] = UINT64_MAX;
            for (uint64_t holes = random_below(&random, 5) * (round % 7); holes > 0; holes--)
                bits.word[w] &= ~(UINT64_C(1) << random_below(&random, 64));
            if (random_one_in(&random, 8))
                bits.word[w] = 0;
        }
        qy_count_blocks(&bits, fast);
        count_slowly(&bits, slow);
        assert_memory_equal(fast, slow, sizeof(fast));
    }
}

static struct qy_zone_view normal_zone(struct qy_mm *mm)
{
    struct qy_live live = {.mm = mm};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_zone_view zone;
    for (size_t z = 0; qy_look_zone(&lens, z, &zone); z++)
        if (strcmp(zone.name, "Normal") == 0)
            return zone;
    test_fail("no zone is called Normal");
}

/* Wrong if it failed: frames would be missing from zoneinfo, or be in it twice. */
static void free_and_pcp_and_taken_frames_add_up(void **state)
{
    struct test_memory memory;
    uint64_t taken = 0;
    qy_pfn_t pfns[64];
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, false);
    for (unsigned i = 0; i < COUNT_OF(pfns); i++) {
        pfns[i] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, i % 5);
        assert_true(pfns[i] != QY_PFN_NONE);
        taken += UINT64_C(1) << i % 5;
        struct qy_zone_view zone = normal_zone(memory.mm);
        assert_int_equal(zone.free + zone.pcp + taken, zone.managed);
        uint64_t in_blocks = 0;
        for (unsigned order = 0; order < QY_NR_ORDERS; order++)
            in_blocks += zone.nr_free[order] << order;
        assert_int_equal(in_blocks, zone.free);
    }
    for (unsigned i = 0; i < COUNT_OF(pfns); i++)
        assert_int_equal(qy_free_pages(memory.mm, pfns[i], i % 5), 0);
    qy_drain_all_pages(memory.mm);
    struct qy_zone_view zone = normal_zone(memory.mm);
    assert_int_equal(zone.nr_free[QY_MAX_ORDER], 16);
    assert_int_equal(zone.free, zone.managed);
    test_memory_free(&memory);
}

static struct qy_cache_view cache_named(struct qy_mm *mm, const char *name)
{
    struct qy_live live = {.mm = mm};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_cache_view cache;
    for (size_t c = 0; qy_look_cache(&lens, c, &cache); c++)
        if (strcmp(cache.name, name) == 0)
            return cache;
    test_fail("no cache is called %s", name);
}

/* Wrong if it failed: slabinfo would call objects live that lie in magazines, or the other
 * way round. */
static void active_objects_are_those_that_somebody_holds(void **state)
{
    static void *objects[1000];
    struct test_memory memory;
    struct random random = {test_seed()};
    size_t held = 0;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, true);
    struct qy_kmem_cache *cache = qy_kmem_cache_create(memory.mm, "test", 200, 0, 0, NULL, NULL);
    assert_non_null(cache);
    for (unsigned round = 0; round < 20000; round++) {
        size_t i = random_below(&random, COUNT_OF(objects));
        if (objects[i] == NULL) {
            objects[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
            assert_non_null(objects[i]);
            held++;
        } else {
            assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
            objects[i] = NULL;
            held--;
        }
        if (round % 97 == 0) {
            struct qy_cache_view view = cache_named(memory.mm, "test");
            assert_int_equal(view.active_objs, held);
            assert_int_equal(view.num_objs, view.num_slabs * view.objperslab);
            assert_true(view.active_slabs <= view.num_slabs);
        }
    }
    /* And when no magazine is loaded. */
    qy_kmem_cache_shrink(cache);
    assert_int_equal(cache_named(memory.mm, "test").active_objs, held);
    test_memory_free(&memory);
}

/* Wrong if it failed: whoever has room for totals would be shown other figures than who has none,
 * or those of his first look for ever. */
static void totals_are_counted_at_each_first_item(void **state)
{
    struct test_memory memory;
    struct qy_totals totals;
    struct qy_item_view one, other;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 32 * MIB, true);
    struct qy_live with = {.mm = memory.mm, .totals = &totals}, without = {.mm = memory.mm};
    struct qy_lens lens = qy_live_lens(&with), slow = qy_live_lens(&without);
    for (unsigned round = 0; round < 3; round++) {
        size_t i = 0;
        for (; qy_look_item(&slow, i, &other); i++) {
            assert_true(qy_look_item(&lens, i, &one));
            assert_memory_equal(&one, &other, sizeof(one));
        }
        assert_true(i > 50 && !qy_look_item(&lens, i, &one));
        assert_true(qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 5) != QY_PFN_NONE);
    }
    test_memory_free(&memory);
}

/** How many items of this name there are, and the last of them. */
static unsigned find_items(struct qy_mm *mm, enum qy_item_set set, const char *name,
                           struct qy_item_view *found)
{
    struct qy_totals totals;
    struct qy_live live = {.mm = mm, .totals = &totals};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_item_view item;
    unsigned count = 0;
    for (size_t i = 0; qy_look_item(&lens, i, &item); i++)
        if (item.set == set && strcmp(item.name, name) == 0) {
            *found = item;
            count++;
        }
    return count;
}

/* Wrong if it failed: zoneinfo and SysRq-m would say 0 of what meminfo knows, or say of each of two
 * zones what is only known of both. */
static void counts_of_all_are_the_only_nodes_and_zones(void **state)
{
    struct test_memory memory;
    struct qy_item_view of_all, of_node, of_zone;
    (void)state;
    for (unsigned nr_zones = 1; nr_zones <= 2; nr_zones++) {
        test_memory_simple(&memory, nr_zones == 1 ? 4 * GIB : 8 * MIB, 32 * MIB, true);
        test_make_classes(memory.mm);
        assert_int_equal(find_items(memory.mm, QY_ITEMS_VMSTAT, "nr_slab_unreclaimable", &of_all),
                         1);
        assert_int_equal(find_items(memory.mm, QY_ITEMS_NODE, "nr_slab_unreclaimable", &of_node),
                         1);
        assert_true(of_all.value > 0 && of_node.value == of_all.value);
        assert_true(memory.mm->zones[of_node.owner].managed > 0);
        assert_int_equal(find_items(memory.mm, QY_ITEMS_ZONE, "nr_free_pages", &of_zone), nr_zones);
        assert_int_equal(find_items(memory.mm, QY_ITEMS_ZONE, "nr_zone_active_file", &of_zone),
                         nr_zones == 1);
        test_memory_free(&memory);
    }
}

/* Wrong if it failed: a printer of the public face would print another thing than its name
 * says, or nothing. */
static void each_public_printer_prints_its_own(void **state)
{
    static char buffer[1 << 16];
    struct test_memory memory;
    const struct {
        void (*print)(struct qy_mm *mm, struct qy_text *text);
        const char *has;
    } printers[] = {
        {qy_print_buddyinfo, "zone   Normal "}, {qy_print_pagetypeinfo, "Number of blocks type"},
        {qy_print_zoneinfo, "protection: ("},   {qy_print_meminfo, "MemTotal:          32768 kB\n"},
        {qy_print_vmstat, "nr_free_pages "},    {qy_print_slabinfo, "kmalloc-64 "},
        {qy_print_sysrq_m, "*4096kB (M) = "},   {qy_print_cma, ""},
    };
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 32 * MIB, true);
    test_make_classes(memory.mm);
    for (size_t p = 0; p < COUNT_OF(printers); p++) {
        struct qy_text text = {buffer, sizeof(buffer), 0};
        printers[p].print(memory.mm, &text);
        if (strstr(buffer, printers[p].has) == NULL)
            test_fail("'%s' is not in:\n%s", printers[p].has, buffer);
    }
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_counted_as_they_are_defined),
        cmocka_unit_test(free_and_pcp_and_taken_frames_add_up),
        cmocka_unit_test(active_objects_are_those_that_somebody_holds),
        cmocka_unit_test(totals_are_counted_at_each_first_item),
        cmocka_unit_test(counts_of_all_are_the_only_nodes_and_zones),
        cmocka_unit_test(each_public_printer_prints_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
