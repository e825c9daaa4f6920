/*
 * steps.c - count the instructions of malloc and free, one by one
 *
 * The program traces its own child (ptrace) and single-steps it through each call, so the count is
 * exact, and the method the same for every allocator, whatever addresses it reserves. A call is
 * counted from the function's first instruction to its return; a system call counts as one. Not a
 * timing: bench/instructions prints it.
 *
 *   steps SIZE     prints: SIZE, malloc and free in turn (median of 101, warm), malloc and free in
 *                  batches of 300 (mean, all slow paths included)
 */
#include "bench.h"
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

enum mark {
    MARK_END,
    MARK_NOTHING,
    MARK_MALLOC,
    MARK_FREE,
    MARK_BATCH_MALLOC,
    MARK_BATCH_FREE,
    MARKS
};

#define TURNS 101
#define BATCH 300

static void *(*volatile do_malloc)(size_t) = malloc;
static void (*volatile do_free)(void *) = free;

static void nothing(void *unused)
{
    (void)unused;
}
static void (*volatile do_nothing)(void *) = nothing;

#define BEGIN(kind) __asm__ volatile("int3" : : "D"((long)(kind)) : "memory")
#define END() __asm__ volatile("int3" : : "D"((long)MARK_END) : "memory")

static void child(size_t bytes)
{
    static void *blocks[BATCH];
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    for (int warm = 0; warm < 100; warm++) {
        for (int i = 0; i < BATCH; i++)
            blocks[i] = do_malloc(bytes);
        for (int i = 0; i < BATCH; i++)
            do_free(blocks[i]);
    }
    for (int i = 0; i < TURNS; i++) {
        BEGIN(MARK_NOTHING);
        do_nothing(NULL);
        END();
        BEGIN(MARK_MALLOC);
        void *p = do_malloc(bytes);
        END();
        BEGIN(MARK_FREE);
        do_free(p);
        END();
    }
    for (int i = 0; i < BATCH; i++) {
        BEGIN(MARK_BATCH_MALLOC);
        blocks[i] = do_malloc(bytes);
        END();
    }
    for (int i = 0; i < BATCH; i++) {
        BEGIN(MARK_BATCH_FREE);
        do_free(blocks[i]);
        END();
    }
    _exit(0);
}

/* Let the child go to its next breakpoint, or one instruction on. Gives 0 when it has ended. */
static int resume(pid_t pid, int one_step, int *at_mark)
{
    int status;
    siginfo_t info;
    if (ptrace(one_step ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, NULL, NULL) ||
        waitpid(pid, &status, 0) != pid)
        die("ptrace failed");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP ||
        ptrace(PTRACE_GETSIGINFO, pid, NULL, &info))
        die("the child stopped unexpectedly");
    *at_mark = info.si_code == SI_KERNEL;
    return 1;
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

int main(int argc, char **argv)
{
    static int counts[MARKS][BATCH], n[MARKS];
    size_t bytes = arg(argc, argv, 1, 64);
    int at_mark, status;
    pid_t pid = fork();
    if (pid == 0)
        child(bytes);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        die("no child");
    do {
        struct user_regs_struct registers;
        if (ptrace(PTRACE_GETREGS, pid, NULL, &registers))
            die("ptrace cannot read registers");
        int kind = (int)registers.rdi, steps = 0;
        if (kind == MARK_END)
            continue;
        for (at_mark = 0; !at_mark; steps++)
            if (!resume(pid, 1, &at_mark))
                die("the child ended inside a call");
        counts[kind][n[kind]++] = steps;
    } while (resume(pid, 0, &at_mark));

    for (int kind = MARK_NOTHING; kind <= MARK_FREE; kind++)
        qsort(counts[kind], TURNS, sizeof(int), by_value);
    int around = counts[MARK_NOTHING][TURNS / 2] - 1; /* the empty function is one instruction */
    double sum[MARKS] = {0};
    for (int kind = MARK_BATCH_MALLOC; kind <= MARK_BATCH_FREE; kind++)
        for (int i = 0; i < BATCH; i++)
            sum[kind] += counts[kind][i] - around;
    printf("%zu %d %d %.1f %.1f\n", bytes, counts[MARK_MALLOC][TURNS / 2] - around,
           counts[MARK_FREE][TURNS / 2] - around, sum[MARK_BATCH_MALLOC] / BATCH,
           sum[MARK_BATCH_FREE] / BATCH);
    return 0;
}
