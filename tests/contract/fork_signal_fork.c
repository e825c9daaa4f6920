/*
 * If this failed: a program that forks, and forks in a signal handler as well, would wait for
 * itself for ever when the signal comes within the first fork.
 */
#include "fork_signal.h"

#define FORKS 500

int main(void)
{
    struct sigaction action = {.sa_handler = fork_now, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 1500}, {0, 1500}};
    struct itimerval never = {{0, 0}, {0, 0}};
    int status;

    deadline(60);
    forking_thread = pthread_self();
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        EXPECT(pid >= 0, "fork number %d", i);
        if (pid == 0) {
            setitimer(ITIMER_REAL, &never, NULL);
            free(malloc(100));
            _exit(0);
        }
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        EXPECT(status == 0, "child %d to end well, came %#x", i, status);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    EXPECT(atomic_load(&forked) > 0 && atomic_load(&badly_ended) == 0,
           "every child of a handler to end with 3, %d of %d did not", atomic_load(&badly_ended),
           atomic_load(&forked));
    return 0;
}
