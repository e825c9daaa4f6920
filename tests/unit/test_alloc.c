/*
 * test_alloc.c - buddy/alloc.c: requests, zones, watermarks, wrong frees
 */
#include "support.h"

#include "memory/mm.h"
#include "memory/pageblock.h"

#include <quarry/buddy.h>

#include <errno.h>

#define MOST 20000

static qy_pfn_t taken[MOST];

/* A wrong free: refused under this rule's name, and nothing changed. */
static void assert_refused(struct qy_mm *mm, qy_pfn_t pfn, unsigned order, const char *rule)
{
    struct qy_mm_stat before, after;
    uint64_t faults = mm->nr_faults;

    qy_mm_stat(mm, &before);
    test_quiet(true);
    int code = qy_free_pages(mm, pfn, order);
    test_quiet(false);
    assert_int_equal(code, -EINVAL);
    assert_string_equal(mm->last_fault, rule);
    assert_int_equal(mm->nr_faults, faults + 1);
    qy_mm_stat(mm, &after);
    assert_int_equal(before.free, after.free);
    assert_int_equal(before.pcp, after.pcp);
}

/* Wrong if it failed: a wrong free would be absorbed, and its frames come out twice. */
static void wrong_frees_are_named(void **state)
{
    (void)state;
    struct test_memory memory;
    test_memory_simple(&memory, 4 * GIB, 16 * MIB, false);
    struct qy_mm *mm = memory.mm;

    for (unsigned order = 0; order <= QY_MAX_ORDER; order++) {
        qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_KERNEL, order);
        assert_true(pfn != QY_PFN_NONE);
        for (unsigned other = 0; other <= QY_MAX_ORDER; other++)
            if (other != order)
                assert_refused(mm, pfn, other, "F3");
        if (order > 0) {
            assert_refused(mm, pfn + 1, 0, "F2");
            assert_refused(mm, pfn + (UINT64_C(1) << order) - 1, 0, "F2");
        }
        assert_refused(mm, pfn, QY_MAX_ORDER + 1, "F3");
        assert_refused(mm, pfn, ~0u, "F3");
        assert_int_equal(qy_free_pages(mm, pfn, order), 0);
        assert_refused(mm, pfn, order, "F2"); /* it may lie in a per-CPU list */
        qy_drain_all_pages(mm);
        assert_refused(mm, pfn, order, "F2"); /* and now in the buddy */
        test_rules(mm);
    }
    const qy_pfn_t foreign[] = {0,
                                1,
                                (4 * GIB) / PAGE - 1,
                                (4 * GIB + 16 * MIB) / PAGE,
                                UINT64_C(1) << 44,
                                QY_PFN_NONE,
                                QY_PFN_NONE - 1};
    for (size_t i = 0; i < COUNT_OF(foreign); i++)
        assert_refused(mm, foreign[i], 0, "F1");
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: flags that cannot be kept would be accepted. */
static void requests_that_cannot_be_kept_are_refused(void **state)
{
    (void)state;
    struct test_memory memory;
    test_memory_simple(&memory, 4 * GIB, 16 * MIB, false);
    struct qy_mm *mm = memory.mm;

    assert_true(qy_alloc_pages(mm, QY_GFP_KERNEL, QY_MAX_ORDER + 1) == QY_PFN_NONE);
    assert_true(qy_alloc_pages(mm, QY_GFP_KERNEL, ~0u) == QY_PFN_NONE);
    assert_true(qy_alloc_pages(mm, 0x2, 0) == QY_PFN_NONE);
    assert_true(qy_alloc_pages(mm, 0x80000000u, 0) == QY_PFN_NONE);
    assert_true(qy_alloc_pages(mm, QY_GFP_ATOMIC | QY_GFP_NOFAIL, 0) == QY_PFN_NONE);
    assert_true(qy_alloc_pages(mm, QY_GFP_NOWAIT | QY_GFP_NOFAIL, 0) == QY_PFN_NONE);
    assert_true(qy_alloc_pages(mm, QY_GFP_KERNEL | QY_GFP_NOFAIL, 2) == QY_PFN_NONE);
    assert_true(qy_alloc_pages_node(mm, 1, QY_GFP_KERNEL, 0) == QY_PFN_NONE);
    assert_true(qy_alloc_pages_exact(mm, QY_GFP_KERNEL, 0, 0) == QY_PFN_NONE);
    assert_true(qy_alloc_pages_exact(mm, QY_GFP_KERNEL, UINT64_MAX, 0) == QY_PFN_NONE);
    assert_true(qy_alloc_pages_exact(mm, QY_GFP_KERNEL, 1, 19) == QY_PFN_NONE);
    qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_KERNEL | QY_GFP_NOFAIL, 0);
    assert_true(pfn != QY_PFN_NONE);
    assert_int_equal(qy_free_pages(mm, pfn, 0), 0);
    test_rules(mm);
    test_memory_free(&memory);
}

/* All single frames that flags can have, into taken[]. */
static size_t take_all(struct qy_mm *mm, qy_gfp_t gfp)
{
    size_t count = 0;
    qy_pfn_t pfn;
    while ((pfn = qy_alloc_pages(mm, gfp, 0)) != QY_PFN_NONE) {
        assert_true(count < MOST);
        taken[count++] = pfn;
    }
    return count;
}

static void give_all(struct qy_mm *mm, size_t count)
{
    while (count > 0)
        assert_int_equal(qy_free_pages(mm, taken[--count], 0), 0);
    qy_drain_all_pages(mm);
}

/* Wrong if it failed: single frames could not be used to the last one, or not be had again. */
static void every_frame_can_be_had(void **state)
{
    (void)state;
    struct test_memory memory;
    struct qy_mm_stat stat;
    test_memory_simple(&memory, 4 * GIB + 5 * PAGE, 9 * MIB, false);

    for (int round = 0; round < 2; round++) {
        assert_int_equal(take_all(memory.mm, QY_GFP_KERNEL), 9 * MIB / PAGE);
        qy_mm_stat(memory.mm, &stat);
        assert_int_equal(stat.free + stat.pcp, 0);
        give_all(memory.mm, 9 * MIB / PAGE);
        qy_mm_stat(memory.mm, &stat);
        assert_int_equal(stat.free, 9 * MIB / PAGE);
    }
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: the counters would forget frames that lie in per-CPU lists. */
static void per_cpu_lists_are_counted(void **state)
{
    (void)state;
    struct test_memory memory;
    struct qy_mm_stat stat;
    test_memory_simple(&memory, 4 * GIB, 8 * MIB, false);
    struct qy_mm *mm = memory.mm;

    qy_pfn_t first = qy_alloc_pages(mm, QY_GFP_KERNEL, 0);
    qy_pfn_t second = qy_alloc_pages(mm, QY_GFP_KERNEL, 3);
    qy_mm_stat(mm, &stat);
    assert_int_equal(stat.free + stat.pcp, 8 * MIB / PAGE - 9);
    assert_int_equal(qy_free_pages(mm, first, 0), 0);
    assert_int_equal(qy_free_pages(mm, second, 3), 0);
    qy_mm_stat(mm, &stat);
    assert_true(stat.pcp >= 9);
    assert_int_equal(stat.free + stat.pcp, 8 * MIB / PAGE);
    qy_drain_all_pages(mm);
    qy_mm_stat(mm, &stat);
    assert_int_equal(stat.pcp, 0);
    assert_int_equal(stat.free, 8 * MIB / PAGE);
    test_memory_free(&memory);
}

/* Wrong if it failed: frames of one migratetype that lie in a per-CPU list would be out of
 * reach for a request of another, and memory would run out while it is free. */
static void frames_in_per_cpu_lists_are_not_lost_to_others(void **state)
{
    (void)state;
    struct test_memory memory;
    test_memory_simple(&memory, 4 * GIB, 8 * MIB, false);
    struct qy_mm *mm = memory.mm;
    size_t count = take_all(mm, QY_GFP_KERNEL);

    assert_int_equal(count, 8 * MIB / PAGE);
    for (int i = 0; i < 32; i++)
        assert_int_equal(qy_free_pages(mm, taken[--count], 0), 0);
    size_t again = 0;
    for (qy_pfn_t pfn; (pfn = qy_alloc_pages(mm, QY_GFP_HIGHUSER_MOVABLE, 0)) != QY_PFN_NONE;
         again++)
        taken[count++] = pfn;
    assert_int_equal(again, 32);
    give_all(mm, count);
    test_memory_free(&memory);
}

static const struct qy_range two_nodes[] = {
    {.base = 4 * MIB, .bytes = 12 * MIB, .node = 0},
    {.base = 16 * MIB, .bytes = 16 * MIB, .node = 0},
    {.base = 32 * MIB, .bytes = 16 * MIB, .node = 1},
    {.base = 48 * MIB, .bytes = 16 * MIB, .node = 1},
};
static const struct qy_memmap zoned = {
    .ranges = two_nodes,
    .nr_ranges = COUNT_OF(two_nodes),
    .nr_nodes = 2,
    .dma_end = 16 * MIB,
    .dma32_end = 32 * MIB,
    .movable_base = 48 * MIB,
};

/* Wrong if it failed: a request would be served by the wrong end of the zonelist. */
static void zones_are_asked_from_the_highest_and_nearest(void **state)
{
    (void)state;
    const struct qy_mm_options options = {
        .min_free_kbytes = 1,
        .lowmem_reserve_ratio = {UINT32_MAX, UINT32_MAX, UINT32_MAX},
    };
    const struct {
        unsigned node;
        qy_gfp_t gfp;
        uint64_t from_mib, to_mib; /* where the first frame must lie; 0, 0: nowhere */
    } asked[] = {
        {0, QY_GFP_KERNEL, 16, 32},
        {1, QY_GFP_KERNEL, 32, 48},
        {0, QY_GFP_KERNEL | QY_GFP_DMA, 4, 16},
        {1, QY_GFP_KERNEL | QY_GFP_DMA, 4, 16},
        {0, QY_GFP_KERNEL | QY_GFP_DMA32, 16, 32},
        {1, QY_GFP_KERNEL | QY_GFP_DMA32, 16, 32},
        {0, QY_GFP_HIGHUSER_MOVABLE, 16, 32},
        {1, QY_GFP_HIGHUSER_MOVABLE, 48, 64},
        {0, QY_GFP_KERNEL | QY_GFP_THISNODE, 16, 32},
        {1, QY_GFP_KERNEL | QY_GFP_THISNODE, 32, 48},
        {1, QY_GFP_KERNEL | QY_GFP_DMA | QY_GFP_THISNODE, 0, 0},
    };
    struct test_memory memory;

    test_memory_build(&memory, &zoned, &options, 0, 0);
    for (size_t i = 0; i < COUNT_OF(asked); i++) {
        for (unsigned order = 0; order <= QY_MAX_ORDER; order += 5) {
            qy_pfn_t pfn = qy_alloc_pages_node(memory.mm, asked[i].node, asked[i].gfp, order);
            if (asked[i].to_mib == 0) {
                assert_true(pfn == QY_PFN_NONE);
                continue;
            }
            if (pfn * PAGE < asked[i].from_mib * MIB || pfn * PAGE >= asked[i].to_mib * MIB)
                fail_msg("request %zu, order %u: frame at %llu MiB", i, order,
                         (unsigned long long)(pfn * PAGE / MIB));
            assert_int_equal(qy_free_pages(memory.mm, pfn, order), 0);
        }
    }
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: ordinary requests would use up what is kept back for others. */
static void watermarks_and_reserves_are_kept(void **state)
{
    (void)state;
    const struct qy_mm_options options = {.min_free_kbytes = 1024};
    struct test_memory memory;
    struct qy_mm_stat stat;

    test_memory_build(&memory, &zoned, &options, 0, 0);
    size_t normal = take_all(memory.mm, QY_GFP_KERNEL);
    qy_mm_stat(memory.mm, &stat);
    uint64_t least = 0; /* min of every zone, and the whole MOVABLE zone */
    for (unsigned i = 0; i < QY_MAX_ZONES; i++) {
        const struct qy_zone *zone = &memory.mm->zones[i];
        if (zone->managed == 0)
            continue;
        uint64_t keeps = zone->type == QY_ZONE_MOVABLE
                             ? zone->managed
                             : zone->watermark[QY_WMARK_MIN] + zone->lowmem_reserve[QY_ZONE_NORMAL];
        assert_true(zone->watermark[QY_WMARK_MIN] > 0);
        assert_true(zone->nr_free >= keeps);
        least += keeps;
    }
    assert_in_range(stat.free + stat.pcp, least, least + 64 * 4);
    size_t urgent = 0;
    while (qy_alloc_pages(memory.mm, QY_GFP_ATOMIC, 0) != QY_PFN_NONE)
        urgent++;
    assert_true(urgent > 0);
    assert_true(normal > 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: frames that cannot move would lie among those that can. */
static void each_migratetype_has_pageblocks_of_its_own(void **state)
{
    (void)state;
    const struct {
        qy_gfp_t gfp;
        unsigned type;
    } kinds[] = {
        {QY_GFP_KERNEL, QY_MIGRATE_UNMOVABLE},
        {QY_GFP_HIGHUSER_MOVABLE, QY_MIGRATE_MOVABLE},
        {QY_GFP_KERNEL | QY_GFP_RECLAIMABLE, QY_MIGRATE_RECLAIMABLE},
    };
    struct test_memory memory;
    test_memory_simple(&memory, 4 * GIB, 32 * MIB, false);

    for (unsigned order = 0; order < 6; order++)
        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
            qy_pfn_t pfn = qy_alloc_pages(memory.mm, kinds[i].gfp, order);
            assert_int_equal(memory.mm->blocks[qy_block_of(memory.mm, pfn)].migratetype,
                             kinds[i].type);
        }
    assert_true(qy_alloc_pages(memory.mm, QY_GFP_MOVABLE | QY_GFP_RECLAIMABLE, 0) == QY_PFN_NONE);
    test_memory_free(&memory);
}

/* Wrong if it failed: somebody would read what another one wrote. */
static void zeroed_frames_read_as_zero(void **state)
{
    (void)state;
    struct test_memory memory;
    test_memory_simple(&memory, 4 * GIB, 8 * MIB, true);
    struct qy_mm *mm = memory.mm;

    for (unsigned order = 0; order < 6; order++) {
        size_t bytes = (size_t)PAGE << order;
        qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_KERNEL, order);
        char *at = qy_page_address(mm, pfn);
        assert_ptr_equal(at, memory.frames + (pfn * PAGE - 4 * GIB));
        assert_true(qy_virt_to_pfn(mm, at + bytes - 1) == pfn + (bytes - 1) / PAGE);
        memset(at, 0x5a, bytes);
        assert_int_equal(qy_free_pages(mm, pfn, order), 0);
        pfn = qy_alloc_pages(mm, QY_GFP_KERNEL | QY_GFP_ZERO, order);
        at = qy_page_address(mm, pfn);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(at[i], 0);
        assert_int_equal(qy_free_pages(mm, pfn, order), 0);
    }
    assert_null(qy_page_address(mm, 4 * GIB / PAGE - 1));
    assert_true(qy_virt_to_pfn(mm, &memory) == QY_PFN_NONE);
    assert_true(qy_virt_to_pfn(mm, NULL) == QY_PFN_NONE);
    test_memory_free(&memory);
}

/* Wrong if it failed: bulk calls would count wrongly, or stop at a wrong frame. */
static void bulk_calls_count_what_they_did(void **state)
{
    (void)state;
    struct test_memory memory;
    test_memory_simple(&memory, 4 * GIB, 4 * MIB, false);
    struct qy_mm *mm = memory.mm;
    const size_t all = 4 * MIB / PAGE;

    assert_int_equal(qy_alloc_pages_bulk(mm, QY_GFP_KERNEL, 0, taken), 0);
    assert_int_equal(qy_alloc_pages_bulk(mm, QY_GFP_KERNEL, 100, taken), 100);
    assert_int_equal(qy_alloc_pages_bulk(mm, QY_GFP_KERNEL, MOST, taken + 100), all - 100);
    qy_pfn_t last = taken[99];
    taken[99] = taken[0]; /* twice in one call */
    test_quiet(true);
    assert_int_equal(qy_free_pages_bulk(mm, all, taken), 1);
    test_quiet(false);
    assert_int_equal(qy_free_pages(mm, last, 0), 0);
    qy_drain_all_pages(mm);
    struct qy_mm_stat stat;
    qy_mm_stat(mm, &stat);
    assert_int_equal(stat.free, all);
    test_rules(mm);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_frees_are_named),
        cmocka_unit_test(requests_that_cannot_be_kept_are_refused),
        cmocka_unit_test(every_frame_can_be_had),
        cmocka_unit_test(per_cpu_lists_are_counted),
        cmocka_unit_test(frames_in_per_cpu_lists_are_not_lost_to_others),
        cmocka_unit_test(zones_are_asked_from_the_highest_and_nearest),
        cmocka_unit_test(watermarks_and_reserves_are_kept),
        cmocka_unit_test(each_migratetype_has_pageblocks_of_its_own),
        cmocka_unit_test(zeroed_frames_read_as_zero),
        cmocka_unit_test(bulk_calls_count_what_they_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
