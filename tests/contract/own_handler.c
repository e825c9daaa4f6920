/*
 * If this failed: a program that has a handler of SIGSEGV of its own would not get its faults, not
 * even those at guards of hardened malloc, or beside sampled blocks; or one without would not end
 * by the signal.
 */
#include "contract.h"

#include <setjmp.h>

static sigjmp_buf back;
static void *volatile seen;

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number, (void)context;
    seen = info->si_addr;
    siglongjmp(back, 1);
}

static bool faults(char *at)
{
    seen = NULL;
    if (sigsetjmp(back, 1) == 0)
        *(volatile char *)at = 1;
    return seen == at;
}

int main(void)
{
    deadline(60);
    char *large = malloc(200 * KIB), *page = malloc(4 * KIB);
    char *closed = own_pages(4 * KIB);
    EXPECT(large, "a block");
    EXPECT(mprotect(closed, 4 * KIB, PROT_NONE) == 0, "a page that nobody can reach");
    pid_t pid = fork();
    if (pid == 0) {
        *(volatile char *)closed = 1;
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "SIGSEGV, came status %#x", status);

    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    EXPECT(faults(closed), "the program's handler to be called");
    if (getenv("QUARRY_HARDEN") && under_quarry())
        EXPECT(faults(large - 1), "the same at a guard");
    if (getenv("QUARRY_SAMPLE") && under_quarry())
        EXPECT(faults(page - 1) && faults(page + 4 * KIB), "the same beside a sampled block");
    free(page);
    free(large);
    return 0;
}
