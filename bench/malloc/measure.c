/*
 * measure.c - run one program and say what it cost
 *
 * A small static launcher between bench/run and the program. Python would do, but Linux counts the
 * launcher's own memory into the ru_maxrss of what it starts, and Python has more than many of the
 * programs measured here. The allocator is loaded into the program only. All other output is the
 * program's.
 *
 *   measure RESULT CPU LIBRARY PROGRAM [ARGUMENT...]
 *     RESULT is a file that gets one line: wall and CPU in ns, peak RSS in KiB, exit status (or
 *     128 + signal); CPU is a core to stay on, or -; LIBRARY is a preload, or -
 */
#include "bench.h"
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void become(char **argv)
{
    if (strcmp(argv[2], "-")) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(atoi(argv[2]), &set);
        sched_setaffinity(0, sizeof(set), &set);
    }
    if (strcmp(argv[3], "-"))
        setenv("LD_PRELOAD", argv[3], 1);
    execvp(argv[4], argv + 4);
    _exit(127);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        die("usage: measure RESULT CPU LIBRARY PROGRAM [ARGUMENT...]");
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    pid_t pid = fork();
    if (pid == 0)
        become(argv);
    int status;
    struct rusage used;
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid)
        die("cannot run the program");
    uint64_t wall = clock_ns(CLOCK_MONOTONIC) - start;
    uint64_t cpu_us = 1000000u * (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                      (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    FILE *result = fopen(argv[1], "w");
    if (!result)
        die("cannot write the result");
    fprintf(result, "%llu %llu %ld %d\n", (unsigned long long)wall,
            (unsigned long long)cpu_us * 1000, used.ru_maxrss,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(result) ? 1 : 0;
}
