/*
 * fork.c - fork(2) in a program whose other threads allocate
 *
 * WHAT    Before the fork every slot is stopped, so no other thread is inside, and every lock
 *         is taken, so no thread without a slot is either. The child then sees a whole
 *         state; it has one thread, and what lay in the others' slots goes back.
 *
 *         A signal handler may fork while this thread is inside. In a fast path it holds no lock,
 *         so the slot is suspended: nobody waits for it or touches it until the handler returns,
 *         in either process. In a slow half this thread may hold a lock, and nothing can be waited
 *         for: the interrupted call is finished in both processes after the handler returns,
 *         and what other threads held at that instant stays as it is in the child. Signals wait
 *         from the first handler here to the last, so that no fork comes within another.
 *
 * LOCKS   all of them, in rank order.
 *
 * COST    A heavy barrier, two system calls and some fifty lock pairs a fork.
 */
#define _GNU_SOURCE
#include "malloc.h"

#include "../../port/linux/linux.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of this thread's fork, from its first handler to its last; no other one can come in between. */
static _Thread_local bool in_slow_half; /* a signal handler forks, and has interrupted one */
static _Thread_local bool in_fast_half; /* or has interrupted this */
static _Thread_local uint64_t blocked;  /* signals that were blocked before */

/** Every lock after cpus_lock, in rank order. */
static void for_each_lock(struct qy_mm *mm, void (*work)(struct qy_lock *))
{
    work(&mm->chain_lock);
    work(&mm->run_depot.lock);
    for (unsigned tag = 0; tag < QY_NR_TAGS; tag++)
        if (mm->cache_of[tag] != NULL)
            work(&mm->cache_of[tag]->lock);
    work(&mm->quarantine.lock);
    work(&mm->grow_lock);
    for (unsigned i = 0; i < qy_nr_zones(mm); i++)
        work(&mm->zones[i].lock);
}

/** Ranks are equal among caches and among zones: taken in one fixed order all the same. */
static void take(struct qy_lock *lock)
{
    uint32_t expected = 0;
    if (!atomic_compare_exchange_strong(&lock->word, &expected, 1))
        qy_lock_slow(lock);
}

static void release(struct qy_lock *lock)
{
    if (atomic_exchange(&lock->word, 0) == 2)
        qy_lock_wake(lock);
}

static void reset(struct qy_lock *lock)
{
    atomic_store(&lock->word, 0);
}

/** In the kernel's set of signals. */
#define BIT(signal) (UINT64_C(1) << ((signal)-1))
/** All but those that a fault raises. */
#define MAY_WAIT (~(BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGSEGV)))

static void set_blocked(uint64_t signals, uint64_t *before)
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &signals, before, sizeof(signals));
}

static void before(void)
{
    set_blocked(MAY_WAIT,
                &blocked); /* a handler that forked now would wait for this fork's locks */
    struct qy_mm *mm = qy_malloc_get_mm();
    in_slow_half = qy_malloc_depth != 0 || mm == NULL;
    if (in_slow_half)
        return;
    in_fast_half = qy_cpu_suspend(&qy_malloc_cpu);
    qy_slots_stop(mm);
    for_each_lock(mm, take);
}

static void in_parent(void)
{
    struct qy_mm *mm = qy_malloc_get_mm();
    if (!in_slow_half) {
        for_each_lock(mm, release);
        qy_cpu_resume(&qy_malloc_cpu, in_fast_half);
        qy_slots_resume(mm);
    }
    set_blocked(blocked, NULL);
}

static void reset_all(struct qy_mm *mm)
{
    for_each_lock(mm, reset);
    qy_linux_barrier_init();
    qy_linux_slots_after_fork(mm);
    qy_cpu_resume(&qy_malloc_cpu, in_fast_half);
    qy_slots_resume(mm);
    qy_malloc_decay_in_child();
}

static void in_child(void)
{
    struct qy_mm *mm = qy_malloc_get_mm();
    qy_malloc_report_leave();
    if (mm != NULL && qy_malloc_disown != NULL)
        qy_malloc_disown(mm, in_slow_half);
    if (mm != NULL && !in_slow_half)
        reset_all(mm);
    qy_malloc_report_in_child();
    set_blocked(blocked, NULL);
}

/** The start files, which are left out, would have it: whose handlers go when a library is
 *  unloaded. NULL: nobody's, for this one never is. */
__attribute__((visibility("hidden"))) void *const __dso_handle; /* NOLINT: the C library's name */

void qy_malloc_watch_fork(void)
{
    pthread_atfork(before, in_parent, in_child);
}
