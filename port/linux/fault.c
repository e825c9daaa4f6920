/*
 * fault.c - SIGSEGV: a page of a space that is not in place, or the program's own fault
 *
 * WHAT    The handler runs where the access was made, as if the program had called
 *         qy_space_fault() there. What is not of a space, or may not be done there, goes on to
 *         whoever handled the signal before, as it would have come to him: with his mask, in his
 *         form; or the default action ends the program, at the same access.
 *
 *         An access for which the host has no mapping is nobody's fault but the host's: no handler
 *         of the program's could make sense of it. It is tried for a moment, for others may give
 *         some back; then a line says what is the matter, and the default action ends the program.
 *
 *         No SIGBUS: the system sends it when it has no memory for a page that is mapped, which
 *         nobody here could change.
 *
 * LOCKS   none to find the space; then mapping->lock. An access to a space by a thread that holds
 *         a lock of Quarry's would wait for ever: the core makes none, and handlers of other
 *         signals, which may, wait until the page is there.
 *
 * COST    Two system calls more than the call of qy_space_fault(): the signal, and the return.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "base/text.h"
#include "space/space.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static struct sigaction previous;
static int catching;

enum access {
    ACCESS_READ,
    ACCESS_WRITE,
    ACCESS_OTHER
};

#if defined(__x86_64__)
#define FAULTS_SAY_WHAT 1
/** Intel's manual, volume 3, 4.7: the error code of a page fault. */
static enum access access_of(const ucontext_t *context)
{
    uint64_t error = (uint64_t)context->uc_mcontext.gregs[REG_ERR];
    return (error & 0x30) ? ACCESS_OTHER /* an instruction; a protection key */
           : (error & 2)  ? ACCESS_WRITE
                          : ACCESS_READ;
}
#elif defined(__aarch64__)
#define FAULTS_SAY_WHAT 1
/** Arm's manual, ESR_EL1: class 0x24 is a data abort, WnR is bit 6. */
static enum access access_of(const ucontext_t *context)
{
    const struct esr_context *record = (const void *)context->uc_mcontext.__reserved;
    while (record->head.magic != 0 && record->head.magic != ESR_MAGIC)
        record = (const void *)((const char *)record + record->head.size);
    if (record->head.magic == 0 || (record->esr >> 26 & 0x3e) != 0x24)
        return ACCESS_OTHER;
    return (record->esr & 1u << 6) ? ACCESS_WRITE : ACCESS_READ;
}
#else
#define FAULTS_SAY_WHAT 0
static enum access access_of(const ucontext_t *context)
{
    (void)context;
    return ACCESS_OTHER;
}
#endif

/** Times that an access is tried for which there is no mapping, and the time between. */
#define TRIES 20
#define NAP_NS 1000000

static void end_for_lack_of_mappings(struct qy_space *space, const void *address)
{
    char line[256];
    struct qy_text text;
    qy_text_init(&text, line, sizeof(line));
    qy_text_string(&text, "quarry: space ");
    qy_text_string(&text, space->mapping.name);
    qy_text_string(&text, ": no mapping for its page at ");
    qy_text_hex(&text, (uintptr_t)address, 1);
    qy_text_string(&text, ": the limit is vm.max_map_count, ");
    qy_text_u64(&text, qy_linux_most_mappings());
    qy_text_string(&text, "; raise it (sysctl), or use larger areas, QY_AREA_HUGE\n");
    qy_text_report(&text);
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGSEGV, &action, NULL); /* the access faults again */
}

/** As qy_space_fault(); but if there is no mapping the program ends, and so it tries hard. */
static int put_in_place(struct qy_space *space, const void *address, bool write)
{
    const struct timespec nap = {0, NAP_NS};
    enum qy_lack lack;
    int code = qy_space_touch(space, address, write, &lack);
    for (unsigned i = 0; code == -ENOMEM && lack == QY_LACK_MAPPINGS && i < TRIES; i++) {
        nanosleep(&nap, NULL);
        code = qy_space_touch(space, address, write, &lack);
    }
    if (code != -ENOMEM || lack != QY_LACK_MAPPINGS)
        return code;
    end_for_lack_of_mappings(space, address);
    return 0;
}

bool qy_linux_fault_handler(int signal, void *info, void *context)
{
    const siginfo_t *what = info;
    if (signal != SIGSEGV || (what->si_code != SEGV_MAPERR && what->si_code != SEGV_ACCERR))
        return false;
    struct qy_space *space = qy_linux_space_at(what->si_addr);
    enum access access = access_of(context);
    if (space == NULL || access == ACCESS_OTHER)
        return false;
    int saved = errno;
    int code = put_in_place(space, what->si_addr, access == ACCESS_WRITE);
    errno = saved;
    return code == 0;
}

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
    if (!qy_linux_fault_handler(signal, info, context))
        pass_on(signal, info, context);
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

int qy_linux_catch_faults(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!FAULTS_SAY_WHAT)
        return -ENOTSUP;
    pthread_once(&once, install);
    return catching;
}
