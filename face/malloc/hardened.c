/*
 * hardened.c - QUARRY_HARDEN=1, QUARRY_SAMPLE: what no call finds
 *
 * WHAT    Who runs into a guard, or uses a freed block that is out of reach, is stopped by the
 *         processor: before the program ends, a line says what was there. Hardened it ends by
 *         SIGABRT, as for other faults; at a sampled block by SIGSEGV, as it would have, or by the
 *         handler that was there before. A handler of SIGSEGV that the program installs takes the
 *         place of this one, and then it is the program's to say something.
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
#include "slab/sampled.h"

#include <signal.h>

#define MOST_NS UINT64_C(1000000000)

static bool explain(int signal, void *info, void *context)
{
    static const char *const words[] = {"read", "write", "access"};
    const siginfo_t *what = info;
    (void)signal;
    if (what->si_code != SEGV_ACCERR) /* the address is none, or has nothing to do with it */
        return false;
    if (!qy_guarded_explain(qy_malloc_mm, what->si_addr))
        qy_sampled_explain(qy_malloc_mm, what->si_addr, words[qy_linux_access_of(context)]);
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

void qy_malloc_explain_faults(void)
{
    int code = qy_linux_ask_of_faults(explain);
    (void)code; /* then the program ends without a word */
}
