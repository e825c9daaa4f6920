/*
 * If this failed: a program whose main returns while its other threads still allocate would crash
 * or hang at its end.
 */
#include "last_of_all.h"
#include "threads.h"

#define THREADS 8

/* The others go on for a while after all destructors have run. */
static void last_of_all(int status, void *unused)
{
    (void)status, (void)unused;
    usleep(10000);
}

int main(void)
{
    char how[64];
    deadline(60);
    for (int n = 0; n < 40; n++) {
        pid_t pid = fork();
        EXPECT(pid >= 0, "fork %d", n);
        if (pid == 0) {
            pthread_t threads[THREADS];
            deadline(20);
            churn_start(threads, THREADS);
            usleep((useconds_t)(n * 100));
            exit(0);
        }
        EXPECT(!child_failed(pid, how, sizeof how), "exit with running threads, run %d, came %s", n,
               how);
    }
    return 0;
}
