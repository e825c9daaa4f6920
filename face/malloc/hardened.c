/*
 * hardened.c - QUARRY_HARDEN=1: what no call finds
 *
 * WHAT    Who runs into a guard, or uses a large block that was freed, is stopped by the
 *         processor: before the program ends, a line says what was there. It ends by SIGABRT, as
 *         for other faults. A handler of SIGSEGV that the program installs takes the place of this
 *         one, and then it is the program's to say something.
 *
 *         What the program has damaged and never freed, or used after it was freed and never got
 *         again, is found when it ends by exit(), and ends it like the others. Not by _exit(),
 *         abort() or a signal: these ask for an end at once.
 *
 * LOCKS   none by the handler, which only reads. At the end each cache's lock and that of the
 *         quarantine, where they can be had at once: nobody is waited for, who may be gone.
 *
 * COST    The handler's: none until then. At the end a look at every block, for a second at most.
 */
#define _GNU_SOURCE
#include "malloc.h"

#include "../../port/linux/linux.h"
#include "slab/guarded.h"
#include "slab/kmalloc.h"

#include <signal.h>

#define MOST_NS UINT64_C(1000000000)

static bool explain(int signal, void *info, void *context)
{
    const siginfo_t *what = info;
    (void)signal;
    (void)context;
    if (what->si_code == SEGV_ACCERR) /* else the address is none, or has nothing to do with it */
        qy_guarded_explain(qy_malloc_mm, what->si_addr);
    return false;
}

void qy_malloc_look_over(struct qy_mm *mm)
{
    if (qy_malloc_depth != 0)
        return; /* a signal's handler ends a program that is in a call */
    qy_malloc_depth++;
    qy_kmalloc_look_over(mm, qy_port_clock_ns() + MOST_NS);
    qy_malloc_depth--;
}

void qy_malloc_harden(void)
{
    int code = qy_linux_ask_of_faults(explain);
    (void)code; /* then the program ends without a word */
}
