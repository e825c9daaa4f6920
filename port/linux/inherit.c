/*
 * inherit.c - in the child of a fork: which memories are the parent's
 *
 * WHAT    A child has copies of the parent's structures, or not even that; but the files behind
 *         them are the parent's, and the threads that held their locks are not there. So the child
 *         is refused whatever would use files, spaces and regions (qy_port_inherited()): by the
 *         address of what it hands in, which may not be mapped any more.
 *
 * LOCKS   none: a place in the table is taken by an exchange, and written before it is shown.
 *
 * COST    In a process that nobody forked, a load at each of those calls.
 */
#define _GNU_SOURCE
#include "linux.h"

#include <pthread.h>

#define MEMORIES 64

static struct memory {
    _Atomic bool used, shown, inherited;
    _Atomic uintptr_t start, end; /* frames, metadata and the structures of files and spaces */
} memories[MEMORIES];

_Atomic uint32_t qy_linux_nr_inherited;

static void forget(struct memory *memory)
{
    if (atomic_exchange(&memory->inherited, false))
        atomic_fetch_sub(&qy_linux_nr_inherited, 1);
    atomic_store(&memory->shown, false);
    atomic_store(&memory->used, false);
}

static bool overlaps(const struct memory *memory, uintptr_t start, uintptr_t end)
{
    return atomic_load(&memory->shown) && start < atomic_load(&memory->end) &&
           end > atomic_load(&memory->start);
}

void qy_linux_own(const char *window, size_t bytes)
{
    uintptr_t start = (uintptr_t)window, end = start + bytes;
    for (unsigned i = 0; i < MEMORIES; i++)
        if (overlaps(&memories[i], start, end))
            forget(&memories[i]); /* the parent's, which is not mapped here */
    for (unsigned i = 0; i < MEMORIES; i++) {
        struct memory *memory = &memories[i];
        if (atomic_exchange(&memory->used, true))
            continue;
        atomic_store(&memory->start, start);
        atomic_store(&memory->end, end);
        atomic_store(&memory->shown, true);
        return;
    }
}

void qy_linux_disown(const char *window)
{
    for (unsigned i = 0; i < MEMORIES; i++)
        if (atomic_load(&memories[i].shown) && atomic_load(&memories[i].start) == (uintptr_t)window)
            forget(&memories[i]);
}

void qy_linux_inherit(void)
{
    for (unsigned i = 0; i < MEMORIES; i++)
        if (atomic_load(&memories[i].shown) && !atomic_exchange(&memories[i].inherited, true))
            atomic_fetch_add(&qy_linux_nr_inherited, 1);
}

bool qy_linux_is_inherited(const void *handle)
{
    uintptr_t at = (uintptr_t)handle;
    for (unsigned i = 0; i < MEMORIES; i++)
        if (atomic_load(&memories[i].inherited) && at >= atomic_load(&memories[i].start) &&
            at < atomic_load(&memories[i].end))
            return true;
    return false;
}

static void watch(void)
{
    pthread_atfork(NULL, NULL, qy_linux_inherit);
}

void qy_linux_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch);
}
