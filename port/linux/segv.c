/*
 * segv.c - SIGSEGV: who knows what it was?
 *
 * WHAT    One handler for all that Quarry has to do with the signal: pages of spaces that are not
 *         in place (fault.c), guards that malloc puts round blocks (face/malloc/hardened.c). Each
 *         is asked. What none of them knows goes on to whoever handled the signal before, as it
 *         would have come to him: with his mask, in his form; or the default action ends the
 *         program, at the same access.
 *
 *         What the access was, the processor's words say, which differ.
 *
 * LOCKS   none.
 *
 * COST    A fault's: two system calls, the signal and the return.
 */
#define _GNU_SOURCE
#include "linux.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define MOST_ASKED 2

static qy_linux_knows_t _Atomic asked[MOST_ASKED];
static struct sigaction previous;
static int catching;

/** As if Quarry's handler were not there. */
static void act_by_default(int signal, const siginfo_t *info)
{
    if (previous.sa_handler == SIG_IGN && info->si_code <= 0)
        return; /* sent by somebody, and nobody minds */
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(signal, &action, NULL);
    if (info->si_code <= 0) /* else the access faults again */
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal);
}

static void pass_on(int signal, siginfo_t *info, void *context)
{
    struct sigaction handler = previous;
    bool siginfo = handler.sa_flags & SA_SIGINFO;
    if (!siginfo && (handler.sa_handler == SIG_DFL || handler.sa_handler == SIG_IGN)) {
        act_by_default(signal, info);
        return;
    }
    sigset_t mask, before;
    sigorset(&mask, &((const ucontext_t *)context)->uc_sigmask, &handler.sa_mask);
    if (!(handler.sa_flags & SA_NODEFER))
        sigaddset(&mask, signal);
    if (handler.sa_flags & SA_RESETHAND)
        previous = (struct sigaction){.sa_handler = SIG_DFL};
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    if (siginfo)
        handler.sa_sigaction(signal, info, context);
    else
        handler.sa_handler(signal);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    for (unsigned i = 0; i < MOST_ASKED; i++) {
        qy_linux_knows_t knows = atomic_load(&asked[i]);
        if (knows != NULL && knows(signal, info, context))
            return;
    }
    pass_on(signal, info, context);
}

/* ---- what an access was ---- */

#if defined(__x86_64__)
const bool qy_linux_faults_say_what = true;
/** Intel's manual, volume 3, 4.7: the error code of a page fault. */
enum qy_linux_access qy_linux_access_of(const void *given)
{
    const ucontext_t *context = given;
    uint64_t error = (uint64_t)context->uc_mcontext.gregs[REG_ERR];
    return (error & 0x30) ? QY_LINUX_OTHER /* an instruction; a protection key */
           : (error & 2)  ? QY_LINUX_WRITE
                          : QY_LINUX_READ;
}
#elif defined(__aarch64__)
const bool qy_linux_faults_say_what = true;
/** Arm's manual, ESR_EL1: class 0x24 is a data abort, WnR is bit 6. */
enum qy_linux_access qy_linux_access_of(const void *given)
{
    const ucontext_t *context = given;
    const struct esr_context *record = (const void *)context->uc_mcontext.__reserved;
    while (record->head.magic != 0 && record->head.magic != ESR_MAGIC)
        record = (const void *)((const char *)record + record->head.size);
    if (record->head.magic == 0 || (record->esr >> 26 & 0x3e) != 0x24)
        return QY_LINUX_OTHER;
    return (record->esr & 1u << 6) ? QY_LINUX_WRITE : QY_LINUX_READ;
}
#else
const bool qy_linux_faults_say_what = false;
enum qy_linux_access qy_linux_access_of(const void *given)
{
    (void)given;
    return QY_LINUX_OTHER;
}
#endif

/* ---- who handles it ---- */

bool qy_linux_others_know(void)
{
    struct sigaction now;
    bool is_ours = sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_sigaction == on_fault;
    bool is_none = previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN;
    return !is_ours || (previous.sa_flags & SA_SIGINFO) || !is_none;
}

/** Signals wait meanwhile, as they do for the system's own faults; but not those that an
 *  instruction raises, which would end the program. */
static void install(void)
{
    static const int raised[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};
    sigfillset(&action.sa_mask);
    for (unsigned i = 0; i < sizeof(raised) / sizeof(raised[0]); i++)
        sigdelset(&action.sa_mask, raised[i]);
    catching = sigaction(SIGSEGV, &action, &previous) == 0 ? 0 : -errno;
}

int qy_linux_ask_of_faults(qy_linux_knows_t knows)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    qy_linux_knows_t there = NULL;
    for (unsigned i = 0; i < MOST_ASKED; i++, there = NULL)
        if (atomic_compare_exchange_strong(&asked[i], &there, knows) || there == knows)
            break;
    pthread_once(&once, install);
    return catching;
}
