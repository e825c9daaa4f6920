/*
 * If this failed: a program with threads that forks in a signal handler, perhaps in the middle of
 * a malloc, would hang in the parent or in the child.
 */
#include "fork_signal.h"

#define THREADS 4

int main(void)
{
    pthread_t threads[THREADS];
    /* With threads, glibc's fork waits for the lock that the interrupted malloc holds. */
    if (!under_quarry())
        skip("the system's malloc hangs here");
    deadline(60);
    churn_start(threads, THREADS);
    fork_from_signals(100);
    churn_end(threads, THREADS);
    return 0;
}
