/*
 * test_pcp.c - buddy/pcp.c: a slot's lists of free frames
 */
#include "sim.h"
#include "with_memory.h"

#include "buddy/pcp.h"

#include <quarry/buddy.h>

#define FRAMES 6000

static qy_pfn_t taken[FRAMES];

/** The only slot's lists of the only zone. */
static struct qy_pcp *lists(void)
{
    assert_false(qy_list_empty(&memory.mm->cpus));
    return qy_list_entry(memory.mm->cpus.next, struct qy_cpu, link)->pcp;
}

static struct qy_pcp_list *movable(unsigned order)
{
    return &lists()->list[QY_MIGRATE_MOVABLE][order];
}

static qy_pfn_t take(unsigned order)
{
    qy_pfn_t pfn = qy_alloc_pages(memory.mm, QY_GFP_HIGHUSER_MOVABLE, order);
    assert_true(pfn != QY_PFN_NONE);
    return pfn;
}

/* Wrong if it failed: P1: a frame in a list would be free in the buddy as well, and go to two
 * owners. */
static void a_frame_in_a_list_is_nowhere_else(void **state)
{
    struct qy_mm *mm = memory.mm;
    (void)state;
    for (unsigned i = 0; i < 40; i++)
        taken[i] = take(0);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(qy_free_pages(mm, taken[i], 0), 0);
    const struct qy_pcp_list *list = movable(0);
    assert_true(qy_pcp_list_count(list) >= 40);
    for (unsigned i = 0; i < qy_pcp_list_count(list); i++) {
        uint64_t frame = list->frame[i] & ~QY_FRAME_FRESH;
        assert_false(qy_frame_is_free(mm, frame));
        assert_int_equal(mm->tags[frame], QY_TAG_NONE);
    }
    test_rules(mm);
}

/* Wrong if it failed: P2: a list would run over its places, into the next one's. */
static void no_list_holds_more_than_its_places(void **state)
{
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 4 * GIB, false); /* the larger, the larger the batches */
    for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
        unsigned count = FRAMES >> order;
        for (unsigned i = 0; i < count; i++)
            taken[i] = take(order);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(qy_free_pages(memory.mm, taken[i], order), 0);
            const struct qy_pcp_list *list = movable(order);
            assert_true(list->top <= list->high &&
                        list->high <= list->frame + qy_pcp_places(order));
        }
        qy_drain_all_pages(memory.mm);
    }
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: who needs one frame would hold many, or who needs many would take the
 * zone's lock for each few. */
static void batches_start_at_one_and_grow(void **state)
{
    unsigned refills = 0;
    (void)state;
    take(0);
    assert_int_equal(qy_pcp_list_count(movable(0)), 0);
    for (unsigned i = 1; i < 1000; i++) {
        refills += qy_pcp_list_count(movable(0)) == 0;
        take(0);
        assert_true(qy_pcp_list_count(movable(0)) <= (movable(0)->high - movable(0)->frame) / 2);
    }
    assert_in_range(refills, 2, 1000 / 16);
    qy_drain_all_pages(memory.mm);
    assert_int_equal(movable(0)->batch, 1);
}

/* Wrong if it failed: frames would not come out of a list in the order that keeps neighbours
 * together: the last in is the first out. */
static void the_last_frame_in_is_the_first_out(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 3; order++) {
        qy_pfn_t first = take(order), second = take(order);
        assert_int_equal(qy_free_pages(memory.mm, first, order), 0);
        assert_int_equal(qy_free_pages(memory.mm, second, order), 0);
        assert_int_equal(take(order), second);
        assert_int_equal(take(order), first);
    }
}

/* Wrong if it failed: draining would leave frames behind, or lose some. */
static void a_drain_gives_everything_back(void **state)
{
    struct qy_mm_stat stat;
    (void)state;
    for (unsigned order = 0; order <= QY_PAGEBLOCK_ORDER; order++)
        assert_int_equal(qy_free_pages(memory.mm, take(order), order), 0);
    qy_mm_stat(memory.mm, &stat);
    assert_true(stat.pcp > 0);
    qy_drain_all_pages(memory.mm);
    qy_mm_stat(memory.mm, &stat);
    assert_int_equal(stat.pcp, 0);
    assert_int_equal(stat.free, stat.managed);
    assert_int_equal(qy_pcp_count(lists()), 0);
    test_rules(memory.mm);
}

/* ---- two slots ---- */

#define LARGE (4 * GIB) /* a 2048th of it is a pageblock */
#define BLOCKS (LARGE / PAGE / QY_PAGEBLOCK_FRAMES)
#define EACH 4096 /* frames that each slot holds: eight pageblocks */

#define FEW 1536 /* so few that the slot does not find itself alone meanwhile */

static qy_pfn_t held[2][EACH];

static int build_large(void **state)
{
    (void)state;
    test_memory_simple(&memory, 4 * GIB, LARGE, false);
    return 0;
}

/** Both slots take, frame by frame in turn, and give back in the order in which they took. */
static void take_and_give_side_by_side(void)
{
    for (unsigned i = 0; i < EACH; i++)
        for (int cpu = 0; cpu < 2; cpu++) {
            qy_sim_cpu(cpu);
            held[cpu][i] = take(0);
        }
    for (unsigned i = 0; i < EACH; i++)
        for (int cpu = 0; cpu < 2; cpu++) {
            qy_sim_cpu(cpu);
            assert_int_equal(qy_free_pages(memory.mm, held[cpu][i], 0), 0);
        }
    qy_sim_cpu(0);
}

/** Which slots had frames of each pageblock when they were taken last: bit 0, bit 1. */
static void users_of(uint8_t users[BLOCKS])
{
    memset(users, 0, BLOCKS);
    for (int cpu = 0; cpu < 2; cpu++)
        for (unsigned i = 0; i < EACH; i++)
            users[qy_block_of(memory.mm, held[cpu][i])] |= (uint8_t)(1u << cpu);
}

/* Wrong if it failed: two slots would share the cache lines of every pageblock that they use, and
 * fetch them from each other for every batch. */
static void slots_in_company_work_in_pageblocks_of_their_own(void **state)
{
    static uint8_t before[BLOCKS], now[BLOCKS];
    unsigned used = 0, shared = 0, kept = 0;
    (void)state;
    for (unsigned round = 0; round < 8; round++)
        take_and_give_side_by_side();
    users_of(before);
    take_and_give_side_by_side();
    users_of(now);
    for (size_t block = 0; block < BLOCKS; block++) {
        used += now[block] != 0;
        shared += now[block] == 3;
        kept += now[block] != 0 && now[block] == before[block];
    }
    assert_in_range(used, 2 * EACH / QY_PAGEBLOCK_FRAMES, 2 * EACH / QY_PAGEBLOCK_FRAMES + 4);
    assert_in_range(shared, 0, 2);
    assert_in_range(kept, used / 2, used);
    test_rules(memory.mm);
}

/* Wrong if it failed: every pageblock would be torn when its frames go back, and the next to take
 * some would take its free half: two slots would be in it from then on. */
static void what_goes_back_ends_with_a_pageblock(void **state)
{
    unsigned batches = 0;
    (void)state;
    for (unsigned round = 0; round < 4; round++)
        take_and_give_side_by_side();
    for (unsigned i = 0; i < 300; i++) /* which stay: list and pageblock do not end together */
        take(0);
    for (unsigned i = 0; i < FEW; i++)
        held[0][i] = take(0);
    for (unsigned i = 0; i < FEW; i++) {
        unsigned before = qy_pcp_list_count(movable(0));
        assert_int_equal(qy_free_pages(memory.mm, held[0][i], 0), 0);
        if (qy_pcp_list_count(movable(0)) > before)
            continue;
        uint32_t left = movable(0)->frame[0] / QY_PAGEBLOCK_FRAMES;
        assert_int_equal(memory.mm->blocks[left].nr_free, 0);
        batches++;
    }
    assert_in_range(batches, 2, FEW / QY_PAGEBLOCK_FRAMES);
}

/* Wrong if it failed: of two slots that are equally fast, one that happens to come twice in a row
 * would fall back to small batches; or one whose company is long gone would never. */
static void company_lasts_a_few_visits(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4; round++)
        take_and_give_side_by_side();
    assert_int_equal(movable(0)->batch, QY_PAGEBLOCK_FRAMES);
    for (unsigned i = 0; i < 2 * QY_PAGEBLOCK_FRAMES; i++)
        taken[i] = take(0);
    assert_int_equal(movable(0)->batch, QY_PAGEBLOCK_FRAMES);
    for (unsigned i = 2 * QY_PAGEBLOCK_FRAMES; i < FRAMES; i++)
        taken[i] = take(0);
    assert_true(movable(0)->batch < QY_PAGEBLOCK_FRAMES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MEMORY(a_frame_in_a_list_is_nowhere_else),
        cmocka_unit_test(no_list_holds_more_than_its_places),
        WITH_MEMORY(batches_start_at_one_and_grow),
        WITH_MEMORY(the_last_frame_in_is_the_first_out),
        WITH_MEMORY(a_drain_gives_everything_back),
        cmocka_unit_test_setup_teardown(slots_in_company_work_in_pageblocks_of_their_own,
                                        build_large, memory_end),
        cmocka_unit_test_setup_teardown(what_goes_back_ends_with_a_pageblock, build_large,
                                        memory_end),
        cmocka_unit_test_setup_teardown(company_lasts_a_few_visits, build_large, memory_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
