/*
 * lock.h - a lock, and the order in which locks may be taken
 *
 * WHAT    One word: free, held, or held with sleepers. The uncontended pair is one
 *         compare-exchange and one exchange; who must wait polls, then sleeps
 *         through the port (Drepper, "Futexes Are Tricky", 2005, mutex2).
 *
 * RULES   L1  A thread takes locks in rising rank only.
 *         L3  Who lets a lock go, or calls a function named _locked, holds it.
 *         Checked at each qy_lock(), qy_unlock() and qy_assert_held() in debug builds.
 */
#ifndef QY_BASE_LOCK_H
#define QY_BASE_LOCK_H

#include <quarry/config.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** Every lock of the core, outermost first. */
enum qy_lock_rank {
    QY_RANK_GRACE,      /* mm->grace.wait_lock: who waits for movers to be gone */
    QY_RANK_CMA,        /* cma->lock: which frames of a region are out */
    QY_RANK_FILE,       /* mapping->lock of a cached file: its pages; one at a time */
    QY_RANK_SPACE,      /* mapping->lock of a space: its pages; one at a time, in a file's or not */
    QY_RANK_LRU,        /* the lists of pages that reclaim scans; shrinkers */
    QY_RANK_CPUS,       /* mm->cpus_lock: the slots and who drains them; nothing else held */
    QY_RANK_CHAIN,      /* mm->chain_lock: the chain of caches */
    QY_RANK_RUNS,       /* mm->run_depot.lock: freed runs that all slots share */
    QY_RANK_CACHE,      /* cache->lock: its slabs and shared depot */
    QY_RANK_QUARANTINE, /* mm->quarantine.lock: freed guarded runs */
    QY_RANK_GROW,       /* mm->grow_lock: sections coming online */
    QY_RANK_ZONE,       /* zone->lock: its free frames */
    QY_NR_RANKS
};

struct qy_lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody may sleep on it */
    uint32_t rank;
};

void qy_lock_init(struct qy_lock *lock, enum qy_lock_rank rank);
void qy_lock_slow(struct qy_lock *lock);
void qy_lock_wake(struct qy_lock *lock);
void qy_lock_note(const struct qy_lock *lock, bool taking);
void qy_lock_check_held(const struct qy_lock *lock);

/** L3. */
static inline void qy_assert_held(const struct qy_lock *lock)
{
    if (QY_DEBUG)
        qy_lock_check_held(lock);
}

static inline bool qy_trylock(struct qy_lock *lock)
{
    uint32_t expected = 0;
    bool taken = atomic_compare_exchange_strong_explicit(
        &lock->word, &expected, 1, memory_order_acquire, memory_order_relaxed);
    if (QY_DEBUG && taken)
        qy_lock_note(lock, true);
    return taken;
}

static inline void qy_lock(struct qy_lock *lock)
{
    uint32_t expected = 0;
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        qy_lock_slow(lock);
    if (QY_DEBUG)
        qy_lock_note(lock, true);
}

static inline void qy_unlock(struct qy_lock *lock)
{
    if (QY_DEBUG)
        qy_lock_note(lock, false);
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        qy_lock_wake(lock);
}

#endif
