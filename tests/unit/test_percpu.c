/*
 * test_percpu.c - base/percpu.h: a slot is its owner's, until somebody stops it
 *
 * Owner and drainer side by side: tests/model/test_schedules.c.
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_that_is_all_zero_is_stopped),
        cmocka_unit_test(limits_are_zero_exactly_while_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
