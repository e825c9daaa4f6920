/*
 * fault.c - a page of a space that is not in place, or the program's own fault
 *
 * WHAT    The handler of SIGSEGV (segv.c) asks where the access was made, and it is as if the
 *         program had called qy_space_fault() there. What is not of a space, or may not be done
 *         there, is not for this file.
 *
 *         An access for which the host has no mapping is nobody's fault but the host's: no handler
 *         of the program's could make sense of it. It is tried for a moment, for others may give
 *         some back; then a line says what is the matter, and the default action ends the program.
 *         For lack of frames a handler of the program's may know better; if there is none, a line
 *         says that, too.
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
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/** Times that an access is tried for which there is no mapping, and the time between. */
#define TRIES 20
#define NAP_NS 1000000

static void say_what_lacks(const struct qy_space *space, const void *address, enum qy_lack lack)
{
    char line[256];
    struct qy_text text;
    qy_text_init(&text, line, sizeof(line));
    qy_text_string(&text, "quarry: space ");
    qy_text_string(&text, space->mapping.name);
    qy_text_string(&text, lack == QY_LACK_MAPPINGS ? ": no mapping" : ": no frame");
    qy_text_string(&text, " for its page at ");
    qy_text_hex(&text, (uintptr_t)address, 1);
    if (lack == QY_LACK_MAPPINGS) {
        qy_text_string(&text, ": the limit is vm.max_map_count, ");
        qy_text_u64(&text, qy_linux_most_mappings());
        qy_text_string(&text, "; raise it (sysctl), or use larger areas, QY_AREA_HUGE\n");
    } else {
        qy_text_string(&text, ": the memory is full, and nobody has anything to give up; raise "
                              "its limit, or map with QY_AREA_POPULATE to be told in time\n");
    }
    qy_text_report(&text);
}

/** As qy_space_fault(); but if there is no mapping the program ends, and so it tries hard. */
static int put_in_place(struct qy_space *space, const void *address, bool write)
{
    const struct sigaction end = {.sa_handler = SIG_DFL};
    const struct timespec nap = {0, NAP_NS};
    enum qy_lack lack;
    int code = qy_space_touch(space, address, write, &lack);
    for (unsigned i = 0; code == -ENOMEM && lack == QY_LACK_MAPPINGS && i < TRIES; i++) {
        nanosleep(&nap, NULL);
        code = qy_space_touch(space, address, write, &lack);
    }
    bool lacks = code == -ENOMEM && lack != QY_LACK_NOTHING;
    if (lacks && (lack == QY_LACK_MAPPINGS || !qy_linux_others_know()))
        say_what_lacks(space, address, lack);
    if (!lacks || lack != QY_LACK_MAPPINGS)
        return code;
    sigaction(SIGSEGV, &end, NULL); /* the access faults again */
    return 0;
}

bool qy_linux_fault_handler(int signal, void *info, void *context)
{
    const siginfo_t *what = info;
    if (signal != SIGSEGV || (what->si_code != SEGV_MAPERR && what->si_code != SEGV_ACCERR))
        return false;
    struct qy_space *space = qy_linux_space_at(what->si_addr);
    enum qy_linux_access access = qy_linux_access_of(context);
    if (space == NULL || access == QY_LINUX_OTHER)
        return false;
    int saved = errno;
    int code = put_in_place(space, what->si_addr, access == QY_LINUX_WRITE);
    errno = saved;
    return code == 0;
}

int qy_linux_catch_faults(void)
{
    return qy_linux_faults_say_what ? qy_linux_ask_of_faults(qy_linux_fault_handler) : -ENOTSUP;
}
