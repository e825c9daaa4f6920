/*
 * test_ageing.c - what is left of whole blocks after a long life
 *
 * The ageing workload of the LLFree paper (Wrenger et al., USENIX ATC 2023): 90 % of the
 * frames are allocated, half of them are freed at random, then a tenth of what is held is
 * freed and allocated anew, a hundred times. Placement decides how many pageblocks are
 * still whole.
 */
#include "support.h"

#include <quarry/buddy.h>

#define BYTES (1 * GIB)
#define FRAMES (BYTES / PAGE)
#define ROUNDS 100

static qy_pfn_t held[FRAMES];
static size_t nr_held;

static void take(struct qy_mm *mm, size_t count, qy_gfp_t gfp)
{
    while (count-- > 0) {
        qy_pfn_t pfn = qy_alloc_pages(mm, gfp, 0);
        assert_true(pfn != QY_PFN_NONE);
        held[nr_held++] = pfn;
    }
}

static void give_at_random(struct qy_mm *mm, struct random *random, size_t count)
{
    while (count-- > 0) {
        size_t which = random_below(random, nr_held);
        assert_int_equal(qy_free_pages(mm, held[which], 0), 0);
        held[which] = held[--nr_held];
    }
}

/* Pageblocks that could be whole, were all frames in use pushed together. */
static size_t possible(void)
{
    return (FRAMES - nr_held) / QY_PAGEBLOCK_FRAMES;
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

static void age(qy_gfp_t gfp)
{
    struct test_memory memory;
    struct random random = {test_seed()};

    nr_held = 0;
    test_memory_simple(&memory, 4 * GIB, BYTES, false);
    take(memory.mm, FRAMES * 9 / 10, gfp);
    give_at_random(memory.mm, &random, nr_held / 2);
    for (int round = 0; round < ROUNDS; round++) {
        size_t tenth = nr_held / 10;
        give_at_random(memory.mm, &random, tenth);
        take(memory.mm, tenth, gfp);
    }
    qy_drain_all_pages(memory.mm);
    size_t whole = really_allocatable(memory.mm, gfp);
    print_message("%zu of %zu possible whole blocks\n", whole, possible());
    assert_true(whole * 100 >= possible() * 99);
    test_rules(memory.mm);
    while (nr_held > 0)
        assert_int_equal(qy_free_pages(memory.mm, held[--nr_held], 0), 0);
    qy_drain_all_pages(memory.mm);
    assert_int_equal(really_allocatable(memory.mm, gfp), FRAMES / QY_PAGEBLOCK_FRAMES);
    test_memory_free(&memory);
}

/* Wrong if it failed: memory would fall to pieces as it ages. */
static void movable_frames_leave_whole_blocks(void **state)
{
    (void)state;
    age(QY_GFP_HIGHUSER_MOVABLE);
}

/* Wrong if it failed: the same, where each pageblock had to be taken over first. */
static void unmovable_frames_leave_whole_blocks(void **state)
{
    (void)state;
    age(QY_GFP_KERNEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(movable_frames_leave_whole_blocks),
        cmocka_unit_test(unmovable_frames_leave_whole_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
