/*
 * grace.c - entering, leaving, and waiting for those who entered before
 *
 * WHAT    Two counts. Newcomers join the one that `turn` names; a waiter turns, so that
 *         newcomers join the other, and waits until the first is zero.
 *
 * RULES   L2  in grace.h.
 *         Whoever reads the turn and joins its count late has joined a count that is not
 *         named any more; so it looks again after it has joined, and if the turn has changed
 *         tries anew. Both steps, and both of the waiter's, are sequentially consistent: either
 *         the waiter sees the count, or the newcomer sees the new turn.
 *         Checked by tests/model/test_grace.c in every schedule of a few steps.
 *
 * LOCKS   wait_lock among waiters.
 *
 * COST    Two atomic operations to enter, one to leave. A system call only to wait, and to wake
 *         who waits.
 */
#include "base/grace.h"

#include "base/assert.h"

#include <quarry_port.h>

void qy_grace_init(struct qy_grace *grace)
{
    qy_lock_init(&grace->wait_lock, QY_RANK_GRACE);
    atomic_init(&grace->turn, 0);
    atomic_init(&grace->inside[0], 0);
    atomic_init(&grace->inside[1], 0);
}

unsigned qy_grace_enter(struct qy_grace *grace)
{
    for (;;) {
        uint32_t turn = atomic_load(&grace->turn);
        qy_port_light_barrier();
        atomic_fetch_add(&grace->inside[turn & 1], 1);
        qy_port_light_barrier();
        if (atomic_load(&grace->turn) == turn)
            return turn & 1;
        qy_grace_leave(grace, turn & 1);
    }
}

void qy_grace_leave(struct qy_grace *grace, unsigned ticket)
{
    uint32_t before = atomic_fetch_sub(&grace->inside[ticket], 1);
    qy_assert(before != 0, "L2");
    qy_port_light_barrier();
    bool turned = (atomic_load(&grace->turn) & 1) != ticket;
    if (before == 1 && turned) /* else nobody waits for this count */
        qy_port_wake(&grace->inside[ticket]);
}

void qy_grace_wait(struct qy_grace *grace)
{
    qy_lock(&grace->wait_lock);
    unsigned old = atomic_fetch_add(&grace->turn, 1) & 1;
    uint32_t left;
    qy_port_light_barrier();
    while ((left = atomic_load(&grace->inside[old])) != 0)
        qy_port_sleep(&grace->inside[old], left);
    qy_unlock(&grace->wait_lock);
}
