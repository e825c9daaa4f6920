/*
 * grace.h - "nobody who came before me is still inside": for pointers that are followed
 *           without a lock
 *
 * WHAT    Who follows such a pointer is inside. Who is about to free what it leads to first
 *         makes it unreachable, then waits until all have left who were inside then
 *         (McKenney & Slingwine, "Read-Copy Update", 1998; Linux's SRCU).
 *
 * RULES   L2  After qy_grace_wait() nobody is inside who entered before it was called.
 *
 * LOCKS   wait_lock: one waiter at a time. A second one would wait for the newcomers only, and
 *         miss who entered before the first.
 */
#ifndef QY_BASE_GRACE_H
#define QY_BASE_GRACE_H

#include "base/lock.h"

struct qy_grace {
    struct qy_lock wait_lock;
    _Atomic uint32_t turn;      /* its lowest bit says which count newcomers join */
    _Atomic uint32_t inside[2]; /* who joined each */
};

void qy_grace_init(struct qy_grace *grace);

/** Go in; may nest, may sleep inside. Returns what qy_grace_leave() wants back. */
unsigned qy_grace_enter(struct qy_grace *grace);
void qy_grace_leave(struct qy_grace *grace, unsigned ticket);

/** Wait. The caller is not inside, and holds no lock. */
void qy_grace_wait(struct qy_grace *grace);

#endif
