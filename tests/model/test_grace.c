/*
 * test_grace.c - whoever waits, waits for all who were inside, and only for them
 */
#include "sim.h"
#include "support.h"

#include "base/grace.h"

static struct {
    struct qy_grace grace;
    int *_Atomic pointer; /* what is followed */
    int thing;            /* 1 while it may be used */
    int used, misused;
} world;

static void reader(void)
{
    unsigned ticket = qy_grace_enter(&world.grace);
    qy_sim_point();
    const int *thing = atomic_load(&world.pointer);
    qy_sim_point();
    if (thing != NULL) {
        world.used++;
        world.misused += *thing != 1;
    }
    qy_grace_leave(&world.grace, ticket);
}

static void writer(void)
{
    qy_sim_point();
    qy_grace_wait(
        &world.grace); /* turns once: who has read the turn before joins the wrong count */
    qy_sim_point();
    atomic_store(&world.pointer, NULL);
    qy_grace_wait(&world.grace);
    world.thing = 0;
}

static void work(int cpu, void *argument)
{
    (void)argument;
    if (cpu == 0)
        writer();
    else
        reader();
}

/* Wrong if it failed: a mapping could be freed while somebody who found it through a folio is
 * still asking it for a frame. */
static void every_schedule(void **state)
{
    struct qy_sim_schedule schedule = {.preemptions = 4};
    uint64_t runs = 0, used = 0;
    (void)state;
    do {
        qy_sim_reset();
        qy_grace_init(&world.grace);
        world.thing = 1;
        world.used = world.misused = 0;
        atomic_store(&world.pointer, &world.thing);
        qy_sim_run(&schedule, 3, work, NULL);
        assert_int_equal(world.misused, 0);
        assert_int_equal(world.thing, 0);
        used += (unsigned)world.used;
        runs++;
    } while (qy_sim_next(&schedule));
    assert_true(runs > 50);
    assert_true(used > 0);
}

/* Wrong if it failed: whoever leaves would pay a system call for nobody. */
static void nobody_is_woken_who_does_not_wait(void **state)
{
    struct qy_grace grace;
    (void)state;
    qy_sim_reset();
    qy_grace_init(&grace);
    for (int turn = 0; turn < 3; turn++) {
        qy_grace_leave(&grace, qy_grace_enter(&grace));
        qy_grace_wait(&grace);
    }
    assert_int_equal(qy_sim_wakes(), 0);
}

/* Wrong if it failed: entering twice and leaving once would let a waiter pass, or the second
 * leaving never let him. */
static void nested(void **state)
{
    struct qy_grace grace;
    (void)state;
    qy_sim_reset();
    qy_grace_init(&grace);
    unsigned outer = qy_grace_enter(&grace), inner = qy_grace_enter(&grace);
    qy_grace_leave(&grace, inner);
    assert_int_equal(atomic_load(&grace.inside[outer]), 1);
    qy_grace_leave(&grace, outer);
    qy_grace_wait(&grace);
    qy_grace_wait(&grace);
    assert_int_equal(atomic_load(&grace.inside[0]) + atomic_load(&grace.inside[1]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_schedule),
        cmocka_unit_test(nobody_is_woken_who_does_not_wait),
        cmocka_unit_test(nested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
