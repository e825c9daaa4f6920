/*
 * test_ageing.c - what is left of whole blocks after a long life
 *
 * The ageing workload of the LLFree paper (Wrenger et al., USENIX ATC 2023): 90 % of the
 * frames are allocated, half of them are freed at random, then a tenth of what is held is
 * freed and allocated anew, a hundred times. Placement decides how many pageblocks are
 * still whole.
 *
 * Chance has a say: a frame that is never among the tenth (0.9^100, 1 in 38,000) keeps its
 * pageblock, wherever that is, and nobody knows beforehand which it will be. Of a gibibyte's 281
 * possible pageblocks that costs 1.5 on average, more with one seed than with another. What
 * placement answers for is the rest: there one pageblock is being filled, and hardly ever
 * another one partly used.
 */
#include "support.h"

#include <quarry/buddy.h>

#define BYTES (1 * GIB)
#define FRAMES (BYTES / PAGE)
#define ROUNDS 100

#define SEEDS 16
/** On average: one is being filled, and what per-CPU lists reuse (1 frame in 200) is not placed. */
#define MOST_PARTLY_USED 1.3

static qy_pfn_t held[FRAMES];
static size_t nr_held;
static bool stayed[FRAMES]; /* by held[]: never given back since the ageing began */

static void take(struct qy_mm *mm, size_t count, qy_gfp_t gfp)
{
    while (count-- > 0) {
        qy_pfn_t pfn = qy_alloc_pages(mm, gfp, 0);
        assert_true(pfn != QY_PFN_NONE);
        stayed[nr_held] = false;
        held[nr_held++] = pfn;
    }
}

static void give_at_random(struct qy_mm *mm, struct random *random, size_t count)
{
    while (count-- > 0) {
        size_t which = random_below(random, nr_held);
        assert_int_equal(qy_free_pages(mm, held[which], 0), 0);
        held[which] = held[--nr_held];
        stayed[which] = stayed[nr_held];
    }
}

/* Pageblocks that could be whole, were all frames in use pushed together. */
static size_t possible(void)
{
    return (FRAMES - nr_held) / QY_PAGEBLOCK_FRAMES;
}

/* Pageblocks that hold frames and have room, though all they hold came during the ageing. */
static size_t partly_used(void)
{
    static unsigned frames[FRAMES / QY_PAGEBLOCK_FRAMES];
    static bool pinned[FRAMES / QY_PAGEBLOCK_FRAMES];
    size_t count = 0;
    memset(frames, 0, sizeof(frames));
    memset(pinned, 0, sizeof(pinned));
    for (size_t i = 0; i < nr_held; i++) {
        size_t block = held[i] / QY_PAGEBLOCK_FRAMES % (FRAMES / QY_PAGEBLOCK_FRAMES);
        frames[block]++;
        pinned[block] |= stayed[i];
    }
    for (size_t i = 0; i < FRAMES / QY_PAGEBLOCK_FRAMES; i++)
        count += frames[i] != 0 && frames[i] != QY_PAGEBLOCK_FRAMES && !pinned[i];
    return count;
}

static size_t really_allocatable(struct qy_mm *mm, qy_gfp_t gfp)
{
    static qy_pfn_t blocks[FRAMES / QY_PAGEBLOCK_FRAMES];
    size_t count = 0;
    qy_pfn_t pfn;

    while ((pfn = qy_alloc_pages(mm, gfp, QY_PAGEBLOCK_ORDER)) != QY_PFN_NONE)
        blocks[count++] = pfn;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(qy_free_pages(mm, blocks[i], QY_PAGEBLOCK_ORDER), 0);
    return count;
}

static double age(qy_gfp_t gfp, struct random *random, size_t *nr_partly_used)
{
    struct test_memory memory;

    nr_held = 0;
    test_memory_simple(&memory, 4 * GIB, BYTES, false);
    take(memory.mm, FRAMES * 9 / 10, gfp);
    give_at_random(memory.mm, random, nr_held / 2);
    memset(stayed, 1, nr_held);
    for (int round = 0; round < ROUNDS; round++) {
        size_t tenth = nr_held / 10;
        give_at_random(memory.mm, random, tenth);
        take(memory.mm, tenth, gfp);
    }
    qy_drain_all_pages(memory.mm);
    size_t whole = really_allocatable(memory.mm, gfp);
    double share = (double)whole / (double)possible();
    *nr_partly_used += partly_used();
    test_rules(memory.mm);
    while (nr_held > 0)
        assert_int_equal(qy_free_pages(memory.mm, held[--nr_held], 0), 0);
    qy_drain_all_pages(memory.mm);
    assert_int_equal(really_allocatable(memory.mm, gfp), FRAMES / QY_PAGEBLOCK_FRAMES);
    test_memory_free(&memory);
    return share;
}

static void age_often(qy_gfp_t gfp)
{
    struct random random = {test_seed()};
    double sum = 0;
    size_t nr_partly_used = 0;
    for (unsigned i = 0; i < SEEDS; i++)
        sum += age(gfp, &random, &nr_partly_used);
    print_message("%.4f of the possible blocks are whole, %.2f are partly used\n", sum / SEEDS,
                  (double)nr_partly_used / SEEDS);
    assert_true((double)nr_partly_used / SEEDS <= MOST_PARTLY_USED);
    assert_true(sum / SEEDS >= 0.99);
}

/* Wrong if it failed: memory would fall to pieces as it ages. */
static void movable_frames_leave_whole_blocks(void **state)
{
    (void)state;
    age_often(QY_GFP_HIGHUSER_MOVABLE);
}

/* Wrong if it failed: the same, where each pageblock had to be taken over first. */
static void unmovable_frames_leave_whole_blocks(void **state)
{
    (void)state;
    age_often(QY_GFP_KERNEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(movable_frames_leave_whole_blocks),
        cmocka_unit_test(unmovable_frames_leave_whole_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
