/*
 * fork_signal.h - a main thread that allocates while a timer makes it fork in a signal handler
 */
#ifndef QUARRY_TESTS_FORK_SIGNAL_H
#define QUARRY_TESTS_FORK_SIGNAL_H

#include "threads.h"
#include <sys/time.h>

static atomic_int forked, badly_ended;
static pthread_t forking_thread;

/* POSIX up to 2017 calls fork async-signal-safe; malloc in such a child is not, _exit is. */
static void fork_now(int signal_number)
{
    int kept = errno, status = 0;
    (void)signal_number;
    if (!pthread_equal(pthread_self(), forking_thread)) {
        pthread_kill(forking_thread, SIGUSR1);
        errno = kept;
        return;
    }
    pid_t pid = fork();
    if (pid == 0)
        _exit(3);
    if (pid > 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 3)
            atomic_fetch_add(&badly_ended, 1);
        atomic_fetch_add(&forked, 1);
    }
    errno = kept;
}

static inline void fork_from_signals(int wanted)
{
    void *blocks[CHURN_BLOCKS] = {NULL};
    size_t sizes[CHURN_BLOCKS] = {0};
    uint64_t state = 11;
    struct sigaction action = {.sa_handler = fork_now, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 3000}, {0, 3000}}, never = {{0, 0}, {0, 0}};

    forking_thread = pthread_self();
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaddset(&action.sa_mask, SIGPROF);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &often, NULL);
    while (atomic_load(&forked) < wanted)
        churn_step(blocks, sizes, &state);
    setitimer(ITIMER_PROF, &never, NULL);
    EXPECT(atomic_load(&badly_ended) == 0, "every child to end with 3, %d did not",
           atomic_load(&badly_ended));
}

#endif
