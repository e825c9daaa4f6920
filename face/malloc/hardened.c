/*
 * hardened.c - QUARRY_HARDEN=1: what no call finds
 *
 * WHAT    Who runs into a guard, or uses a large block that was freed, is stopped by the
 *         processor: before the program ends, a line says what was there. It ends by SIGABRT, as
 *         for other faults. A handler of SIGSEGV that the program installs takes the place of this
 *         one, and then it is the program's to say something.
 *
 * LOCKS   none: the handler only reads.
 *
 * COST    None until then.
 */
#define _GNU_SOURCE
#include "malloc.h"

#include "../../port/linux/linux.h"
#include "slab/guarded.h"

#include <signal.h>

static bool explain(int signal, void *info, void *context)
{
    const siginfo_t *what = info;
    (void)signal;
    (void)context;
    if (what->si_code == SEGV_ACCERR) /* else the address is none, or has nothing to do with it */
        qy_guarded_explain(qy_malloc_mm, what->si_addr);
    return false;
}

void qy_malloc_harden(void)
{
    int code = qy_linux_ask_of_faults(explain);
    (void)code; /* then the program ends without a word */
}
