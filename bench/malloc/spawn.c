/*
 * spawn.c - start a program many times
 *
 * Stands for a shell loop. Starts PROGRAM by vfork and exec, COUNT times one after the other, and
 * prints the time of one. The allocator under test is loaded into the programs that are started
 * (and into this one, which does not allocate).
 *
 *   spawn COUNT PROGRAM [LIBRARY]   CPU is that of the started programs, the kernel's part of exec
 *                                   and exit included; LIBRARY is loaded into them instead: an
 *                                   empty one gives the floor of anything that is preloaded
 */
#include "bench.h"
#include <sys/resource.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
    uint64_t count = arg_count(argc, argv, 1, 500);
    if (argc < 3)
        die("name a program");
    if (argc > 3)
        setenv("LD_PRELOAD", argv[3], 1);
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < count; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            execv(argv[2], (char *[]){argv[2], NULL});
            _exit(127);
        }
        int status;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
            die("the program failed");
    }
    double wall = (double)(clock_ns(CLOCK_MONOTONIC) - start);
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    double cpu = 1e9 * (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 1e3 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    printf("spawn ns %.0f %.0f 0\n", wall / (double)count, cpu / (double)count);
    return 0;
}
