/*
 * measure.c - run one program and say what it cost
 *
 * A small static launcher between bench/run and the program. Python would do, but Linux counts the
 * launcher's own memory into the ru_maxrss of what it starts, and Python has more than many of the
 * programs measured here. The allocator is loaded into the program only. All other output is the
 * program's.
 *
 * Peak memory is VmHWM as the program ends, where ptrace holds it for a moment: since 6.17 Linux
 * adds up for it what it has counted for each CPU. ru_maxrss leaves up to 31 pages a CPU out, a
 * tenth of a small program; but it knows of the program's children. The larger one is right.
 *
 *   measure RESULT CPU LIBRARY PROGRAM [ARGUMENT...]
 *     RESULT is a file that gets one line: wall and CPU in ns, peak memory in KiB, exit status (or
 *     128 + signal); CPU is a core to stay on, or -; LIBRARY is a preload, or -
 */
#include "bench.h"
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
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
    ptrace(PTRACE_TRACEME, 0, NULL, NULL); /* refused: then there is ru_maxrss */
    execvp(argv[4], argv + 4);
    _exit(127);
}

/* Most KiB that a process had in memory; 0: unknown. */
static long high_water(pid_t pid)
{
    char line[256];
    long kib = 0;
    snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
    FILE *file = fopen(line, "r");
    while (file && !kib && fgets(line, sizeof(line), file))
        sscanf(line, "VmHWM: %ld", &kib);
    if (file)
        fclose(file);
    return kib;
}

/* The program stands still: it has just started, ends, or got a signal. Returns the signal to go on
 * with. */
static int look(pid_t pid, int status, long *peak)
{
    static int looked;
    int event = status >> 16;
    if (!looked++)
        ptrace(PTRACE_SETOPTIONS, pid, NULL,
               PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
    else if (event == PTRACE_EVENT_EXIT)
        *peak = high_water(pid);
    else if (!event)
        return WSTOPSIG(status);
    return 0;
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
    long peak = 0;
    struct rusage used;
    for (;;) {
        if (pid < 0 || wait4(pid, &status, 0, &used) != pid)
            die("cannot run the program");
        if (!WIFSTOPPED(status))
            break;
        ptrace(PTRACE_CONT, pid, NULL, look(pid, status, &peak));
    }
    uint64_t wall = clock_ns(CLOCK_MONOTONIC) - start;
    uint64_t cpu_us = 1000000u * (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                      (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    FILE *result = fopen(argv[1], "w");
    if (!result)
        die("cannot write the result");
    fprintf(result, "%llu %llu %ld %d\n", (unsigned long long)wall,
            (unsigned long long)cpu_us * 1000, used.ru_maxrss > peak ? used.ru_maxrss : peak,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(result) ? 1 : 0;
}
