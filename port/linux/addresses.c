/*
 * addresses.c - where instances lie: their windows, and whose they are after a fork
 *
 * WHAT    A window is a range of addresses that this process uses for nothing else, far from
 *         where the kernel puts mappings by itself. It is not reserved: pieces are mapped as
 *         they are needed, with MAP_FIXED_NOREPLACE, so an instance counts against
 *         RLIMIT_AS and overcommit with what it has and not with what it might want. Where
 *         no such range can be had (39-bit addresses, emulators, valgrind) the window is
 *         reserved without access and opened piece by piece.
 *
 *         What is not mapped looks free to everybody, so a table says which windows there are: two
 *         of them never overlap. (Another copy of the library has a table of its own: so an end
 *         unmaps what its instance has mapped, and not all of its window.)
 *
 *         A child of a fork has copies of the parent's structures, or not even that; but the files
 *         behind them are the parent's, and the threads that held their locks are not there. So
 *         the child is refused whatever would use files, spaces and regions (qy_port_inherited()):
 *         by the address of what it hands in, which may not be mapped any more.
 *
 * LOCKS   none: a place in the table is taken by an exchange, and its start is written before its
 *         end. Who looks for a window shows first what it would take and then looks at the others':
 *         of two that want the same one, one sees the other at least. Once nothing overlaps it, it
 *         is OWNED, and its owner's alone to release. A window that was reserved is forgotten
 *         before it is unmapped: until then nobody else can be given its addresses.
 *
 * COST    Two system calls for a window that is found, four for one that is reserved and released.
 *         In a process that is no child of a fork, or of a parent without such memories,
 *         qy_port_inherited() is a load.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "base/round.h"
#include "memory/mm.h"

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>

/** Windows begin at a multiple of 1 GiB between these, drawn anew for each process. */
#define LOWEST_WINDOW UINT64_C(0x100000000000)
#define WINDOW_STEPS 65536
#define WINDOW_STEP (UINT64_C(1) << 30)
/** The thread sanitizer has shadow for few ranges of addresses: the kernel knows which are left. */
#define TRIES (QY_PORT_TSAN ? 0 : 16)
/** Ranges that the system offers before one is free of windows. */
#define RESERVE_TRIES 8

/** Windows of a process, and of those it was forked from: 32 KiB, of which few are touched. */
#define MOST 1024
/** What a window is. */
#define RESERVED 1u  /* mapped without access as a whole */
#define LENDS 2u     /* the frames can be lent: a child may not use what is in it */
#define INHERITED 4u /* it was such a one of the parent's */
#define OWNED 8u     /* somebody has it, and does not only try */

static struct place {
    _Atomic bool used;
    _Atomic unsigned flags;
    _Atomic uintptr_t start, end; /* frames, metadata and the structures of files; end 0: not yet */
} places[MOST];

/** Places from the first up to this one may be in use. */
static _Atomic unsigned nr_places;

_Atomic uint32_t qy_linux_nr_inherited;

static bool overlaps(const struct place *place, uintptr_t start, uintptr_t end)
{
    return start < atomic_load(&place->end) && end > atomic_load(&place->start);
}

/** The next place that has these flags and meets [start, end); NULL: there is none. */
static struct place *next_in(struct place *place, unsigned flags, uintptr_t start, uintptr_t end)
{
    const struct place *behind = places + atomic_load(&nr_places);
    for (place = place != NULL ? place + 1 : places; place < behind; place++)
        if ((atomic_load(&place->flags) & flags) == flags && overlaps(place, start, end))
            return place;
    return NULL;
}

/** Show that a window is to be here. NULL: there are too many. */
static struct place *show_place(const char *start, size_t bytes, unsigned flags)
{
    unsigned i = 0;
    while (i < MOST && atomic_exchange(&places[i].used, true))
        i++;
    if (i == MOST)
        return NULL;
    unsigned count = atomic_load(&nr_places);
    while (count < i + 1 && !atomic_compare_exchange_weak(&nr_places, &count, i + 1))
        ;
    atomic_store(&places[i].flags, flags);
    atomic_store(&places[i].start, (uintptr_t)start);
    atomic_store(&places[i].end, (uintptr_t)start + bytes);
    return &places[i];
}

static void forget(struct place *place)
{
    if (atomic_exchange(&place->flags, 0) & INHERITED)
        atomic_fetch_sub(&qy_linux_nr_inherited, 1);
    atomic_store(&place->end, 0);
    atomic_store(&place->used, false);
}

/** It lies in a window with these flags; NULL: in none. */
static struct place *place_at(const void *address, unsigned flags)
{
    return next_in(NULL, flags, (uintptr_t)address, (uintptr_t)address + 1);
}

/** A window of the caller's own. False: another one lies there, or is tried there just now; or
 *  there are too many. */
static bool own_place(const char *start, size_t bytes, unsigned flags)
{
    uintptr_t from = (uintptr_t)start, to = from + bytes;
    struct place *place = show_place(start, bytes, flags);
    if (place == NULL)
        return false;
    bool alone = next_in(NULL, 0, from, to) == place && next_in(place, 0, from, to) == NULL;
    if (alone)
        atomic_fetch_or(&place->flags, OWNED);
    else
        forget(place);
    return alone;
}

/* ---- finding one ---- */

/** A number that nobody can guess, another one each time. */
static uint64_t draw(void)
{
    static _Atomic uint64_t drawn;
    const void *random = (const void *)getauxval(AT_RANDOM); /* NOLINT */
    uint64_t seed = 0, number = (uintptr_t)&drawn; /* another copy of the library draws others */
    if (random != NULL)
        __builtin_memcpy(&seed, random, sizeof(seed)); /* at any address */
    number += seed + (atomic_fetch_add(&drawn, 1) + 1) * UINT64_C(0x9e3779b97f4a7c15);
    number = (number ^ (number >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return number ^ (number >> 32);
}

/** Nothing lies at this page, as far as the system says: asking makes no mapping. */
static bool is_vacant(char *page)
{
    unsigned char resident;
    int saved = errno;
    bool vacant = mincore(page, QY_PAGE_BYTES, &resident) != 0 && errno == ENOMEM;
    errno = saved;
    return vacant;
}

int qy_linux_window_find(struct qy_linux_window *window, size_t bytes)
{
    for (int i = 0; i < TRIES; i++) {
        char *start = (char *)(LOWEST_WINDOW + draw() % WINDOW_STEPS * WINDOW_STEP);
        if (is_vacant(start) && is_vacant(start + bytes - QY_PAGE_BYTES) &&
            own_place(start, bytes, 0)) {
            *window = (struct qy_linux_window){start, bytes};
            return 0;
        }
    }
    return -ENOMEM;
}

/** Without access, at a multiple of @align; NULL: there are not so many addresses. */
static char *reserve(size_t bytes, size_t align)
{
    int saved = errno;
    char *at =
        mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = saved;
    if (at == MAP_FAILED)
        return NULL;
    char *start = at + (qy_round_up((uintptr_t)at, align) - (uintptr_t)at);
    if (start > at)
        munmap(at, (size_t)(start - at));
    munmap(start + bytes, (size_t)(at + align - start));
    return start;
}

/** Where no window lies: the system knows nothing of what is not mapped in one. What it offers
 *  there is held until it has offered another range. NULL: there is none. */
static char *reserve_alone(size_t bytes, size_t align)
{
    char *offered[RESERVE_TRIES], *start = NULL;
    unsigned tries = 0;
    for (; start == NULL && tries < RESERVE_TRIES; tries++) {
        offered[tries] = reserve(bytes, align);
        if (offered[tries] == NULL)
            break;
        if (own_place(offered[tries], bytes, RESERVED))
            start = offered[tries];
    }
    while (tries-- > 0)
        if (offered[tries] != start)
            munmap(offered[tries], bytes);
    return start;
}

int qy_linux_window_reserve(struct qy_linux_window *window, size_t bytes, size_t least)
{
    for (; bytes >= least; bytes /= 2) {
        size_t align = bytes > WINDOW_STEP ? WINDOW_STEP : QY_SECTION_FRAMES * QY_PAGE_BYTES;
        char *start = reserve_alone(bytes, align);
        if (start != NULL) {
            *window = (struct qy_linux_window){start, bytes};
            return 0;
        }
    }
    return -ENOMEM;
}

bool qy_linux_window_is_reserved(const char *address)
{
    return place_at(address, RESERVED | OWNED) != NULL;
}

static struct place *starting_at(const char *start)
{
    struct place *place = NULL;
    while ((place = next_in(place, OWNED, (uintptr_t)start, (uintptr_t)start + 1)) != NULL)
        if (atomic_load(&place->start) == (uintptr_t)start)
            break;
    return place;
}

void qy_linux_window_release(const struct qy_linux_window *window)
{
    struct place *place = starting_at(window->start);
    if (place == NULL)
        return;
    bool reserved = atomic_load(&place->flags) & RESERVED;
    forget(place);
    if (reserved)
        munmap(window->start, window->bytes);
}

/* ---- fork ---- */

void qy_linux_window_lends(const char *start)
{
    struct place *place = starting_at(start);
    if (place != NULL)
        atomic_fetch_or(&place->flags, LENDS);
}

void qy_linux_inherit(void)
{
    struct place *place = NULL;
    while ((place = next_in(place, LENDS, 0, UINTPTR_MAX)) != NULL)
        if (!(atomic_fetch_or(&place->flags, INHERITED) & INHERITED))
            atomic_fetch_add(&qy_linux_nr_inherited, 1);
}

bool qy_linux_is_inherited(const void *handle)
{
    return place_at(handle, INHERITED) != NULL;
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
