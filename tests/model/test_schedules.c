/*
 * test_schedules.c - two CPUs side by side, under every schedule with few preemptions
 *
 * One works on its slot while the other stops and empties it. At each call of the port that
 * lies between, either may go on; all such choices are tried, up to a bound of preemptions.
 */
#include "sim.h"
#include "support.h"

#include "memory/mm.h"
#include "slab/kept.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#define MOST_PREEMPTIONS 3

static struct test_memory memory;
static struct qy_kmem_cache *cache;
static qy_pfn_t held[QY_SIM_CPUS];

/* CPU 0 takes and gives frames; CPU 1 drains all slots, then does the same. */
static void frames_against_drain(int cpu, void *unused)
{
    (void)unused;
    if (cpu == 1)
        qy_drain_all_pages(memory.mm);
    for (int i = 0; i < 2; i++) {
        held[cpu] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
        assert_true(held[cpu] != QY_PFN_NONE);
        assert_true(held[0] != held[1] || held[0] == QY_PFN_NONE);
        qy_pfn_t mine = held[cpu];
        held[cpu] = QY_PFN_NONE;
        assert_int_equal(qy_free_pages(memory.mm, mine, 0), 0);
    }
}

/* Both drain. */
static void drain_against_drain(int cpu, void *unused)
{
    frames_against_drain(cpu, unused);
    qy_drain_all_pages(memory.mm);
}

/* CPU 0 uses objects; CPU 1 empties its magazines. */
static void objects_against_shrink(int cpu, void *unused)
{
    (void)unused;
    if (cpu == 1) {
        qy_kmem_cache_shrink(cache);
        return;
    }
    void *first = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    void *second = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    assert_true(first && second && first != second);
    assert_int_equal(qy_kmem_cache_free(cache, first), 0);
    assert_int_equal(qy_kmem_cache_free(cache, second), 0);
}

/* An object passes from one CPU to the other while a third drains. */
static void *passed;

static void passed_on_and_shrunk(int cpu, void *unused)
{
    (void)unused;
    if (cpu == 0) {
        passed = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
        assert_non_null(passed);
    } else if (cpu == 1) {
        void *mine = passed;
        passed = NULL;
        if (mine)
            assert_int_equal(qy_kmem_cache_free(cache, mine), 0);
        void *again = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
        assert_int_equal(qy_kmem_cache_free(cache, again), 0);
    } else {
        qy_kmem_cache_shrink_all(memory.mm);
    }
}

static void try_all(unsigned cpus, void (*work)(int, void *))
{
    static struct qy_sim_schedule schedule;
    struct qy_mm_stat stat;
    uint64_t runs = 0;

    qy_sim_reset();
    test_memory_simple(&memory, 4 * GIB, 8 * MIB, true);
    cache = qy_kmem_cache_create(memory.mm, "passed", 64, 0, 0, NULL, NULL);
    assert_non_null(cache);
    qy_mm_stat(memory.mm, &stat);
    memset(&schedule, 0, sizeof(schedule));
    qy_slots_are_many(memory.mm); /* in the first run as in the others */
    do {
        schedule.preemptions = MOST_PREEMPTIONS;
        passed = NULL;
        for (unsigned cpu = 0; cpu < QY_SIM_CPUS; cpu++)
            held[cpu] = QY_PFN_NONE;
        qy_sim_run(&schedule, cpus, work, NULL);
        runs++;
        if (passed)
            assert_int_equal(qy_kmem_cache_free(cache, passed), 0);
        test_rules(memory.mm);
        struct qy_mm_stat now;
        qy_kmem_cache_shrink_all(memory.mm);
        qy_mm_stat(memory.mm, &now);
        assert_true(now.free + now.pcp >= stat.free + stat.pcp);
        assert_int_equal(now.pcp, 0);
    } while (qy_sim_next(&schedule));
    assert_int_equal(qy_sim_lines(), 0);
    print_message("%llu schedules\n", (unsigned long long)runs);
    assert_true(runs > 10);
    test_memory_free(&memory);
}

/* Wrong if it failed: a frame could be lost or doubled by a drain at the wrong moment. */
static void a_slot_is_drained_while_its_owner_works(void **state)
{
    (void)state;
    try_all(2, frames_against_drain);
}

/* Wrong if it failed: two drains could wait for each other, or both take the same frame. */
static void two_drain_at_once(void **state)
{
    (void)state;
    try_all(2, drain_against_drain);
}

/* Wrong if it failed: an object could be lost or doubled while its cache is shrunk. */
static void a_cache_is_shrunk_while_it_is_used(void **state)
{
    (void)state;
    try_all(2, objects_against_shrink);
}

/* Wrong if it failed: the same, where it was allocated on one CPU and freed on another. */
static void an_object_passes_between_cpus(void **state)
{
    (void)state;
    try_all(3, passed_on_and_shrunk);
}

/* ---- one slot, without a memory ---- */

#define LIMIT 1000

static struct qy_list one_slot;
static struct qy_cpu slot;

/** Who works in the slot just now. */
static unsigned inside, worked;

static void work(void)
{
    assert_int_equal(inside++, 0);
    qy_sim_point();
    assert_int_equal(inside--, 1);
    worked++;
}

/** What qy_cpu_extend() does, with a drainer between its look and its store. */
static void extend_late(uint64_t nr_frames)
{
    bool open = slot.stop == 0;
    qy_sim_point();
    if (open)
        slot.nr_frames = nr_frames;
}

/* CPU 0 owns the slot; CPU 1 stops it. */
static void owner_and_drainer(int cpu, void *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        if (cpu == 0) {
            if (!qy_cpu_enter(&slot)) {
                qy_cpu_leave(&slot);
                qy_cpu_enter_wait(&slot);
            }
            work();
            extend_late(LIMIT + (uint64_t)i);
            qy_cpu_leave(&slot);
            qy_sim_point();
        } else {
            qy_cpus_stop(&one_slot);
            work();
            qy_cpus_resume(&one_slot, LIMIT, QY_SMALL_BYTES);
        }
    }
}

/* Wrong if it failed: C1: owner and drainer would be in a slot together, or one wait for ever. */
static void owner_and_drainer_take_turns(void **state)
{
    static struct qy_sim_schedule schedule;
    unsigned runs = 0;
    (void)state;
    memset(&schedule, 0, sizeof(schedule));
    do {
        memset(&slot, 0, sizeof(slot));
        qy_list_init(&one_slot);
        qy_cpu_open(&slot, &one_slot, LIMIT, QY_SMALL_BYTES);
        schedule.preemptions = MOST_PREEMPTIONS;
        worked = 0;
        qy_sim_run(&schedule, 2, owner_and_drainer, NULL);
        assert_int_equal(worked, 4);
        assert_int_equal(slot.busy, 0);
        assert_int_equal(slot.stop, 0);
        runs++;
    } while (qy_sim_next(&schedule));
    assert_true(runs > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_is_drained_while_its_owner_works),
        cmocka_unit_test(two_drain_at_once),
        cmocka_unit_test(a_cache_is_shrunk_while_it_is_used),
        cmocka_unit_test(an_object_passes_between_cpus),
        cmocka_unit_test(owner_and_drainer_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
