/*
 * test_trim.c - buddy/trim.c: the memory behind free frames goes back
 */
#include "oracle.h"
#include "random.h"
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>

#define BASE (4 * GIB)
#define BYTES (32 * MIB)
#define USED (24 * MIB / PAGE) /* frames; the first slabs are somewhere in the rest */

static struct test_memory memory;
static struct oracle oracle;

static int build(void **state)
{
    (void)state;
    const struct qy_range range = {.base = BASE, .bytes = BYTES};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .lazy_backing = true};

    test_memory_build(&memory, &map, &options, BASE, BYTES);
    oracle_create(&oracle, &map);
    oracle_adopt(&oracle, memory.mm);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    oracle_destroy(&oracle);
    test_memory_free(&memory);
    return 0;
}

static uint64_t backed(void)
{
    struct qy_mm_stat stat;
    qy_drain_all_pages(memory.mm);
    qy_mm_stat(memory.mm, &stat);
    return stat.backed;
}

/* Take frames, write into them, give them back. */
static void use(uint64_t frames)
{
    qy_pfn_t pfn = qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, frames, 0);
    assert_true(pfn != QY_PFN_NONE);
    memset(qy_page_address(memory.mm, pfn), 0x77, frames * PAGE);
    assert_int_equal(qy_free_pages_exact(memory.mm, pfn, frames), 0);
}

/* Wrong if it failed: idle memory would be kept, or trim would spoil the lists. */
static void whole_blocks_lose_their_memory(void **state)
{
    (void)state;
    uint64_t before = backed();
    use(USED);
    uint64_t after = backed();
    assert_in_range(after, USED, USED + before);
    oracle_compare(&oracle, memory.mm);
    assert_in_range(qy_mm_trim(memory.mm, 0), USED, after);
    assert_in_range(backed(), 0, after - USED);
    oracle_compare(&oracle, memory.mm);
    test_rules(memory.mm);
    assert_int_equal(qy_mm_trim(memory.mm, 0), 0);
    use(USED); /* what is used for the second time is no longer fresh, either */
    assert_in_range(backed(), USED, after);
    test_rules(memory.mm);
}

/* Wrong if it failed: pairs of pageblocks would come apart, or lists lose what follows. */
static void pageblocks_keep_their_places_on_the_lists(void **state)
{
    (void)state;
    qy_pfn_t single[4];

    use(USED);
    for (unsigned i = 0; i < 4; i++) /* single pageblocks on the list of order 9 */
        single[i] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 9);
    for (unsigned i = 0; i < 4; i++)
        oracle_took(&oracle, single[i], 9, QY_GFP_KERNEL);
    for (unsigned i = 0; i < 4; i += 2) {
        assert_int_equal(qy_free_pages(memory.mm, single[i], 9), 0);
        oracle_gave(&oracle, single[i], 9);
    }
    oracle_compare(&oracle, memory.mm);
    qy_mm_trim(memory.mm, 0);
    oracle_compare(&oracle, memory.mm);
    test_rules(memory.mm);
    for (unsigned i = 1; i < 4; i += 2)
        assert_int_equal(qy_free_pages(memory.mm, single[i], 9), 0);
}

/* Wrong if it failed: trim would take more than it was told to leave. */
static void as_many_frames_are_kept_as_asked(void **state)
{
    (void)state;
    use(USED);
    const uint64_t keep = 3 * 1024, before = backed();
    uint64_t dropped = qy_mm_trim(memory.mm, keep);
    assert_int_equal(backed() + dropped, before);
    assert_in_range(backed(), keep - 512 + 1, keep);
    assert_int_equal(qy_mm_trim(memory.mm, UINT64_MAX), 0);
    test_rules(memory.mm);
}

/* Wrong if it failed: a frame without memory would be thought to have its old content, or a
 * used one to be clean. */
static void trimmed_frames_read_as_zero_and_used_ones_are_cleared(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        use(2048);
        if (round == 1)
            qy_mm_trim(memory.mm, 0);
        qy_pfn_t pfn = qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL | QY_GFP_ZERO, 2048, 0);
        const char *at = qy_page_address(memory.mm, pfn);
        for (size_t i = 0; i < 2048u * PAGE; i += 64)
            assert_int_equal(at[i], 0);
        assert_int_equal(qy_free_pages_exact(memory.mm, pfn, 2048), 0);
    }
}

/* Wrong if it failed: trim would drop the memory of a frame that is in use. */
static void memory_in_use_is_left_alone(void **state)
{
    (void)state;
    enum {
        FRAMES = 3000
    };
    static qy_pfn_t pfns[FRAMES];
    struct random random = {test_seed()};

    for (unsigned i = 0; i < FRAMES; i++) {
        pfns[i] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
        assert_true(pfns[i] != QY_PFN_NONE);
        memcpy(qy_page_address(memory.mm, pfns[i]), &pfns[i], sizeof(pfns[i]));
    }
    for (unsigned i = 0; i < FRAMES; i++)
        if (random_one_in(&random, 2)) {
            assert_int_equal(qy_free_pages(memory.mm, pfns[i], 0), 0);
            pfns[i] = QY_PFN_NONE;
        }
    qy_drain_all_pages(memory.mm);
    qy_mm_trim(memory.mm, 0);
    test_rules(memory.mm);
    for (unsigned i = 0; i < FRAMES; i++)
        if (pfns[i] != QY_PFN_NONE) {
            assert_memory_equal(qy_page_address(memory.mm, pfns[i]), &pfns[i], sizeof(pfns[i]));
            assert_int_equal(qy_free_pages(memory.mm, pfns[i], 0), 0);
        }
    oracle_compare(&oracle, memory.mm);
}

/* How many free frames were written to since the memory was built. */
static uint64_t used_and_free(const bool *written)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < BYTES / PAGE; i++)
        count += written[i] && qy_frame_is_free(memory.mm, i);
    return count;
}

static void take_and_write(struct random *random, unsigned most_order, qy_pfn_t *pfn,
                           unsigned char *order, bool *written)
{
    *order = (unsigned char)random_below(random, random_one_in(random, 20) ? most_order + 1 : 4);
    *order = *order < most_order ? *order : (unsigned char)most_order;
    *pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL | QY_GFP_ZERO, *order);
    if (*pfn == QY_PFN_NONE)
        return;
    for (qy_pfn_t frame = *pfn; frame < *pfn + (UINT64_C(1) << *order); frame++) {
        char *at = qy_page_address(memory.mm, frame);
        assert_int_equal(at[frame % PAGE], 0);
        memset(at, 0x55, PAGE);
        written[qy_frame_index(memory.mm, frame)] = true;
    }
}

/* Wrong if it failed: of frames side by side, some used and some never touched, one kind would
 * be taken for the other: a dirty one handed out as zeroed, or memory held and not counted. Of
 * blocks that are fresh in part all is held to be used. */
static void used_frames_are_told_from_fresh_ones_beside_them(void **state)
{
    (void)state;
    enum {
        BLOCKS = 1500
    };
    static qy_pfn_t pfns[BLOCKS];
    static unsigned char orders[BLOCKS];
    static bool written[BYTES / PAGE];
    struct random random = {test_seed()};

    memset(written, 0, sizeof(written));
    for (unsigned i = 0; i < BLOCKS; i++)
        pfns[i] = QY_PFN_NONE;
    for (unsigned step = 0, most_order = 0; step < 20 * BLOCKS; step++) {
        unsigned i = (unsigned)random_below(&random, BLOCKS);
        if (pfns[i] == QY_PFN_NONE) {
            take_and_write(&random, most_order, &pfns[i], &orders[i], written);
        } else {
            assert_int_equal(qy_free_pages(memory.mm, pfns[i], orders[i]), 0);
            pfns[i] = QY_PFN_NONE;
        }
        if (step % BLOCKS != 0)
            continue;
        uint64_t held = backed(), used = used_and_free(written);
        assert_true(most_order == 0 ? held == used : held >= used);
        most_order = step < 10 * BLOCKS ? 0 : QY_MAX_ORDER;
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        if (pfns[i] != QY_PFN_NONE)
            assert_int_equal(qy_free_pages(memory.mm, pfns[i], orders[i]), 0);
    test_rules(memory.mm);
}

/* Wrong if it failed: of two whole blocks that which has no memory would be taken, and the other's
 * would lie idle. */
static void a_block_that_has_memory_is_taken_first(void **state)
{
    (void)state;
    qy_pfn_t pair[2];
    for (unsigned i = 0; i < 2; i++)
        pair[i] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, QY_MAX_ORDER);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(qy_free_pages(memory.mm, pair[i], QY_MAX_ORDER), 0);
    uint64_t before = backed();
    assert_int_equal(qy_mm_trim(memory.mm, before - 1024), 1024); /* the higher one goes last */
    qy_pfn_t taken = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, QY_MAX_ORDER);
    assert_int_equal(backed(), before - 2048);
    assert_int_equal(qy_free_pages(memory.mm, taken, QY_MAX_ORDER), 0);
}

/* Wrong if it failed: a program whose blocks grow would walk on through memory that it never
 * used, past what it has given back. */
static void runs_go_where_memory_is(void **state)
{
    (void)state;
    enum {
        SHORT = 40
    };
    qy_pfn_t first = qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, 6 * SHORT, 0);
    qy_pfn_t last = qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, SHORT, 0);
    assert_int_equal(qy_free_pages_exact(memory.mm, first, 6 * SHORT), 0);
    uint64_t before = backed();
    qy_pfn_t next = qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, SHORT, 0);
    assert_int_equal(backed(), before - SHORT);
    assert_int_equal(qy_free_pages_exact(memory.mm, next, SHORT), 0);
    assert_int_equal(qy_free_pages_exact(memory.mm, last, SHORT), 0);
}

static int lower_first(const void *a, const void *b)
{
    const qy_pfn_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

/* Wrong if it failed: where the lists name the higher pageblocks first, a run would not reach from
 * one into the next: six of 75 frames lie in each, and 62 frames are lost. */
static void runs_go_on_from_one_pageblock_into_the_next(void **state)
{
    enum {
        FRAMES = 75,
        ORDER = 9
    };
    qy_pfn_t pfn[BYTES / PAGE];
    (void)state;
    for (unsigned trims = 0; trims < 2; trims++) {
        unsigned blocks = 0, count = 0;
        while ((pfn[blocks] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, ORDER)) != QY_PFN_NONE)
            blocks++;
        qsort(pfn, blocks, sizeof(pfn[0]), lower_first);
        for (unsigned i = 0; i < blocks; i++)
            assert_int_equal(qy_free_pages(memory.mm, pfn[i], ORDER), 0);
        if (trims)
            qy_mm_trim(memory.mm, FRAMES);
        while ((pfn[count] = qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, FRAMES, 0)) !=
               QY_PFN_NONE)
            count++;
        assert_in_range(count, blocks * QY_PAGEBLOCK_FRAMES / FRAMES - 2, BYTES / PAGE / FRAMES);
        while (count-- > 0)
            assert_int_equal(qy_free_pages_exact(memory.mm, pfn[count], FRAMES), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_blocks_lose_their_memory, build, tear_down),
        cmocka_unit_test_setup_teardown(pageblocks_keep_their_places_on_the_lists, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(as_many_frames_are_kept_as_asked, build, tear_down),
        cmocka_unit_test_setup_teardown(trimmed_frames_read_as_zero_and_used_ones_are_cleared,
                                        build, tear_down),
        cmocka_unit_test_setup_teardown(a_block_that_has_memory_is_taken_first, build, tear_down),
        cmocka_unit_test_setup_teardown(runs_go_where_memory_is, build, tear_down),
        cmocka_unit_test_setup_teardown(runs_go_on_from_one_pageblock_into_the_next, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(memory_in_use_is_left_alone, build, tear_down),
        cmocka_unit_test_setup_teardown(used_frames_are_told_from_fresh_ones_beside_them, build,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
