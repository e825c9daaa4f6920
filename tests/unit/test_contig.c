/*
 * test_contig.c - buddy/contig.c: runs that are no power of two, or longer than order 10
 */
#include "oracle.h"
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>

#include <errno.h>

#define BASE (4 * GIB)
#define BYTES (64 * MIB)

static struct test_memory memory;
static struct oracle oracle;

static int build(void **state)
{
    (void)state;
    const struct qy_range range = {.base = BASE, .bytes = BYTES};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_mm_options options = {.min_free_kbytes = 1};

    test_memory_build(&memory, &map, &options, 0, 0);
    oracle_create(&oracle, &map);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    oracle_compare(&oracle, memory.mm);
    test_rules(memory.mm);
    oracle_destroy(&oracle);
    test_memory_free(&memory);
    return 0;
}

static qy_pfn_t take(uint64_t frames, unsigned align)
{
    qy_pfn_t pfn = qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, frames, align);
    if (pfn != QY_PFN_NONE) {
        assert_int_equal(pfn & ((UINT64_C(1) << align) - 1), 0);
        oracle_took_run(&oracle, pfn, frames, QY_GFP_KERNEL);
        oracle_compare(&oracle, memory.mm); /* the tail went back at once */
    }
    return pfn;
}

static void give(qy_pfn_t pfn, uint64_t frames)
{
    assert_int_equal(qy_free_pages_exact(memory.mm, pfn, frames), 0);
    oracle_gave_run(&oracle, pfn, frames);
    oracle_compare(&oracle, memory.mm);
}

static void refuse(qy_pfn_t pfn, uint64_t frames)
{
    test_quiet(true);
    assert_int_equal(qy_free_pages_exact(memory.mm, pfn, frames), -EINVAL);
    test_quiet(false);
    oracle_compare(&oracle, memory.mm);
}

/* Wrong if it failed: a run would keep more frames than were asked for, or be misaligned. */
static void each_length_is_exact(void **state)
{
    struct qy_mm_stat stat;
    (void)state;
    const uint64_t lengths[] = {1,   2,    3,    5,    7,    8,    63,   64,   65,   511, 512,
                                513, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 5000, 8192};
    const unsigned aligns[] = {0, 1, 6, 9, 10, 11, 12};

    for (size_t i = 0; i < COUNT_OF(lengths); i++)
        for (size_t j = 0; j < COUNT_OF(aligns); j++) {
            qy_pfn_t pfn = take(lengths[i], aligns[j]);
            assert_true(pfn != QY_PFN_NONE);
            give(pfn, lengths[i]);
        }
    qy_mm_stat(memory.mm, &stat);
    assert_true(stat.peak >= 8192); /* seen before the last of them went */
}

/* Wrong if it failed: the last part of a run could not go back before the first. */
static void a_run_goes_back_from_its_end(void **state)
{
    (void)state;
    const uint64_t lengths[] = {1, 2, 3, 8, 16, 100, 1024, 3000};

    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        uint64_t left = lengths[i];
        qy_pfn_t pfn = take(left, 0);
        for (uint64_t tail = 1; left > 0; tail = tail * 3) {
            if (tail > left)
                tail = left;
            left -= tail;
            give(pfn + left, tail);
        }
    }
}

/* Wrong if it failed: a wrong free of a run would be absorbed, as a whole or in part. */
static void wrong_frees_of_runs_change_nothing(void **state)
{
    (void)state;
    qy_pfn_t pfn = take(100, 0);

    refuse(pfn, 0);
    refuse(pfn, 101);
    refuse(pfn, BYTES / PAGE);
    refuse(pfn, UINT64_MAX);
    refuse(pfn - 1, 100);
    refuse(BASE / PAGE - 1, 1);
    refuse((BASE + BYTES) / PAGE - 1, 2);
    give(pfn, 100);
    refuse(pfn, 100);
    refuse(pfn, 1);
}

/* Wrong if it failed: a run that is freed as longer than it is would take the next one with it,
 * though the two are not cut as one run is. */
static void a_run_does_not_end_in_the_next_one(void **state)
{
    (void)state;
    qy_pfn_t first = take(3, 2), behind = take(5, 0);

    assert_int_equal(behind, first + 3);
    refuse(first, 4);
    refuse(first, 8);
    refuse(first + 1, 7);
    give(first + 2, 1); /* its last part */
    refuse(first, 3);
    give(first, 2);
    give(behind, 5);
}

/* Wrong if it failed: after two neighbours were freed in one call, a tag would stay behind,
 * and freeing one of them again would put a free frame into the lists twice. */
static void neighbours_freed_together_leave_no_tag(void **state)
{
    (void)state;
    qy_pfn_t pfn = take(2, 1);

    give(pfn, 2);
    qy_pfn_t first = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    qy_pfn_t second = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    qy_pfn_t low = first < second ? first : second;
    assert_int_equal(first ^ second, 1);
    test_quiet(true);
    int code = qy_free_pages_exact(memory.mm, low, 2);
    test_quiet(false);
    if (code != 0) { /* refused as no run: as good */
        assert_int_equal(qy_free_pages(memory.mm, low, 0), 0);
        assert_int_equal(qy_free_pages(memory.mm, low + 1, 0), 0);
    }
    test_quiet(true);
    assert_int_equal(qy_free_pages(memory.mm, low, 0), -EINVAL);
    assert_int_equal(qy_free_pages(memory.mm, low + 1, 0), -EINVAL);
    test_quiet(false);
}

/* Wrong if it failed: frames that the CPU cannot reach would be written to, or handed out as if
 * they were zero. */
static void unreachable_frames_cannot_be_cleared(void **state)
{
    (void)state;
    const qy_gfp_t zero = QY_GFP_KERNEL | QY_GFP_ZERO;
    const uint64_t lengths[] = {1, 3, 1024, 5000};
    uint64_t before = test_frames_in_use(memory.mm);
    qy_pfn_t pfns[2];

    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        assert_true(qy_alloc_pages_exact(memory.mm, zero, lengths[i], 0) == QY_PFN_NONE);
        qy_pfn_t pfn = qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, lengths[i], 0);
        assert_true(pfn != QY_PFN_NONE);
        assert_null(qy_page_address(memory.mm, pfn));
        assert_int_equal(qy_free_pages_exact(memory.mm, pfn, lengths[i]), 0);
    }
    assert_true(qy_alloc_pages(memory.mm, zero, 0) == QY_PFN_NONE);
    assert_int_equal(qy_alloc_pages_bulk(memory.mm, zero, 2, pfns), 0);
    assert_int_equal(test_frames_in_use(memory.mm), before);
}

/* Wrong if it failed: the longest possible run would not be found, or one more would. */
static void the_whole_zone_is_one_run(void **state)
{
    (void)state;
    qy_pfn_t pfn = take(BYTES / PAGE, 10);

    assert_int_equal(pfn, BASE / PAGE);
    assert_true(take(1, 0) == QY_PFN_NONE);
    give(pfn, BYTES / PAGE);
    assert_true(take(BYTES / PAGE + 1, 0) == QY_PFN_NONE);
    pfn = take(BYTES / PAGE - 1, 0);
    qy_pfn_t last = take(1, 0);
    assert_true(last != QY_PFN_NONE);
    assert_true(take(1, 0) == QY_PFN_NONE);
    give(last, 1);
    give(pfn, BYTES / PAGE - 1);
}

/* Wrong if it failed: a run would be put over a frame that is in use. */
static void a_run_does_not_span_what_is_taken(void **state)
{
    (void)state;
    qy_pfn_t wall[BYTES / (4 * MIB)];
    size_t count = 0;

    for (; count < COUNT_OF(wall); count++)
        wall[count] = take(1024, 10);
    for (size_t i = 0; i < count; i += 2)
        give(wall[i], 1024);
    assert_true(take(1025, 0) == QY_PFN_NONE);
    qy_pfn_t pfn = take(1024, 0);
    assert_true(pfn != QY_PFN_NONE);
    give(pfn, 1024);
    give(wall[1], 1024); /* now three in a row */
    pfn = take(3072, 0);
    assert_true(pfn != QY_PFN_NONE);
    give(pfn, 3072);
    for (size_t i = 3; i < count; i += 2)
        give(wall[i], 1024);
}

/* Wrong if it failed: a memory that was full of long runs, and is free again, would keep gaps that
 * are shorter than a run. */
static void long_runs_begin_where_free_frames_do(void **state)
{
    struct qy_mm_stat stat;
    (void)state;
    qy_pfn_t first = take(900, 0);
    assert_true(first != QY_PFN_NONE);
    qy_mm_stat(memory.mm, &stat);
    uint64_t rest = stat.free - 16;
    qy_pfn_t all = take(rest, 0);
    assert_true(all == first + 900);
    give(all, rest); /* behind the last run there is no room */
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(take(770, 0), first + 900 + i * 770);
    for (unsigned i = 0; i < 3; i++)
        give(first + 900 + i * 770, 770);
    give(first, 900);
}

/* Wrong if it failed: a run that is a block would be cut out of a larger piece of free frames while
 * one fits, and after a while there would be no large ones. */
static void a_block_where_it_fits(void **state)
{
    qy_pfn_t blocks[64];
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = take(16, 0);
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        if (blocks[i] % 512 < 256 || blocks[i] % 512 == 448) /* a half of a pageblock, and a hole */
            give(blocks[i], 16);
    assert_int_equal(take(16, 0) % 512, 448);
}

/* Wrong if it failed: runs that are taken in turn would lie here and there, each in the fullest
 * pageblock of its moment. */
static void side_by_side(void **state)
{
    qy_pfn_t fuller[40];
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(fuller); i++)
        fuller[i] = take(16, 0);
    qy_pfn_t last = take(600, 0); /* in no pageblock that is used yet */
    give(fuller[1], 16);
    assert_int_equal(take(7, 0), last + 600);
    assert_int_equal(take(7, 0), last + 607);
}

/* Wrong if it failed: the largest alignment would be refused, or a larger one not be. */
static void aligned_to_a_gigabyte(void **state)
{
    (void)state;
    assert_int_equal(take(8, 18), BASE / PAGE);
    assert_int_equal(take(8, 19), QY_PFN_NONE);
}

/* Wrong if it failed: who watches would be shown a peak of a whole block, most of which nobody ever
 * had. */
static void what_is_seen_in_use_is_the_run(void **state)
{
    struct qy_watch watch = {0};
    (void)state;
    atomic_store(&memory.mm->watch, &watch);
    for (unsigned align = 0; align <= QY_MAX_ORDER; align++) {
        uint64_t before = qy_used_frames(memory.mm);
        atomic_store(&watch.peak, 0);
        qy_pfn_t pfn = take(513, align);
        assert_int_equal(watch.peak, before + 513);
        give(pfn, 513);
    }
    atomic_store(&memory.mm->watch, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_seen_in_use_is_the_run, build, tear_down),
        cmocka_unit_test_setup_teardown(long_runs_begin_where_free_frames_do, build, tear_down),
        cmocka_unit_test_setup_teardown(each_length_is_exact, build, tear_down),
        cmocka_unit_test_setup_teardown(a_run_goes_back_from_its_end, build, tear_down),
        cmocka_unit_test_setup_teardown(wrong_frees_of_runs_change_nothing, build, tear_down),
        cmocka_unit_test_setup_teardown(a_run_does_not_end_in_the_next_one, build, tear_down),
        cmocka_unit_test_setup_teardown(neighbours_freed_together_leave_no_tag, build, tear_down),
        cmocka_unit_test_setup_teardown(unreachable_frames_cannot_be_cleared, build, tear_down),
        cmocka_unit_test_setup_teardown(the_whole_zone_is_one_run, build, tear_down),
        cmocka_unit_test_setup_teardown(a_run_does_not_span_what_is_taken, build, tear_down),
        cmocka_unit_test_setup_teardown(a_block_where_it_fits, build, tear_down),
        cmocka_unit_test_setup_teardown(side_by_side, build, tear_down),
        cmocka_unit_test_setup_teardown(aligned_to_a_gigabyte, build, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
