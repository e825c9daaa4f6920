/*
 * lock.c - the cold half of lock.h: waiting, and checking the order
 *
 * WHAT    A waiter marks the word 2 before it sleeps, so that the holder knows to wake; who
 *         takes the lock out of this path leaves it at 2, which may wake once too often and
 *         never once too seldom.
 *
 * RULES   L1, L3, see lock.h: checked here.
 *
 * LOCKS   This is where they come from.
 *
 * COST    Polls for as long as a sleep and a wake-up take: whoever comes later than that has lost
 *         as much again at most (Karlin et al., "Empirical studies of competitive spinning",
 *         1991). A processor with nothing else to do halts, and comes back ten times later
 *         than a system call takes: far longer than any section of the core but those that
 *         enter the kernel.
 */
#include "base/lock.h"

#include "base/assert.h"

_Static_assert(QY_NR_RANKS <= 32, "a thread's held ranks are bits of a word");

void qy_lock_init(struct qy_lock *lock, enum qy_lock_rank rank)
{
    atomic_init(&lock->word, 0);
    lock->rank = rank;
}

void qy_lock_slow(struct qy_lock *lock)
{
    for (int spin = 0; spin < QY_SLEEP_POLLS; spin++) {
        uint32_t expected = 0;
        if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
        qy_port_relax();
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        qy_port_sleep(&lock->word, 2);
}

void qy_lock_wake(struct qy_lock *lock)
{
    qy_port_wake(&lock->word);
}

void qy_lock_check_held(const struct qy_lock *lock)
{
    qy_assert(*qy_port_held_ranks() & 1u << lock->rank, "L3");
}

void qy_lock_note(const struct qy_lock *lock, bool taking)
{
    uint32_t *held = qy_port_held_ranks();
    uint32_t bit = 1u << lock->rank;
    if (taking) {
        qy_assert(*held < bit, "L1");
        *held |= bit;
    } else {
        qy_lock_check_held(lock);
        *held &= ~bit;
    }
}
