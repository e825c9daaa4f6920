/*
 * test_percpu.c - base/percpu.h: a slot is its owner's, until somebody stops it
 */
#include "sim.h"
#include "support.h"

#include "base/percpu.h"

#define LIMIT 1000

static struct qy_list cpus;
static struct qy_cpu slot;

static void open_slot(void)
{
    memset(&slot, 0, sizeof(slot));
    qy_list_init(&cpus);
    qy_cpu_open(&slot, &cpus, LIMIT, QY_SMALL_BYTES);
}

/* Wrong if it failed: a slot that nobody has attached would be worked in. */
static void a_slot_that_is_all_zero_is_stopped(void **state)
{
    (void)state;
    memset(&slot, 0, sizeof(slot));
    assert_false(qy_cpu_enter(&slot));
    assert_int_equal(slot.busy, 1); /* the slow path's to clear */
    qy_cpu_leave(&slot);
}

/* Wrong if it failed: C2: a slot's owner would come in while it is stopped, or not after. */
static void limits_are_zero_exactly_while_stopped(void **state)
{
    (void)state;
    open_slot();
    assert_true(qy_cpu_enter(&slot));
    qy_cpu_leave(&slot);
    assert_int_equal(slot.busy, 0);
    qy_cpus_stop(&cpus);
    assert_int_equal(slot.stop, 1);
    assert_int_equal(slot.nr_frames, 0);
    assert_int_equal(slot.small_bytes, 0);
    assert_false(qy_cpu_enter(&slot));
    qy_cpu_extend(&slot, 2 * LIMIT); /* a stopped slot is not opened by that */
    assert_int_equal(slot.nr_frames, 0);
    qy_cpu_leave(&slot);
    qy_cpus_resume(&cpus, LIMIT, QY_SMALL_BYTES);
    assert_int_equal(slot.stop, 0);
    assert_int_equal(slot.nr_frames, LIMIT);
    assert_int_equal(slot.small_bytes, QY_SMALL_BYTES);
    assert_true(qy_cpu_enter(&slot));
    qy_cpu_extend(&slot, 2 * LIMIT);
    qy_cpu_leave(&slot);
    assert_int_equal(qy_cpu_frames(&slot), 2 * LIMIT);
}

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
            qy_cpus_stop(&cpus);
            work();
            qy_cpus_resume(&cpus, LIMIT, QY_SMALL_BYTES);
        }
    }
}

/* Wrong if it failed: C1: owner and drainer would be in a slot together, or one wait for ever. */
static void one_at_a_time_under_every_schedule(void **state)
{
    static struct qy_sim_schedule schedule;
    unsigned runs = 0;
    (void)state;
    memset(&schedule, 0, sizeof(schedule));
    do {
        open_slot();
        schedule.preemptions = 3;
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
        cmocka_unit_test(a_slot_that_is_all_zero_is_stopped),
        cmocka_unit_test(limits_are_zero_exactly_while_stopped),
        cmocka_unit_test(one_at_a_time_under_every_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
