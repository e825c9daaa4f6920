/*
 * window.c - the addresses of spaces, and frames mapped there
 *
 * WHAT    A window is reserved without access. To put frames under pages of it, their part of the
 *         instance's memfd is mapped there with MAP_FIXED, which replaces what was there in one
 *         step: no access finds a hole. Pages that may be touched are mapped with their tables
 *         filled: the fault that follows would cost more.
 *
 *         A fault handler finds the space by its address in a small table: an entry's start and end
 *         are written before its space, and the space is cleared first.
 *
 * LOCKS   none for looking; places are taken and left by an exchange.
 *
 * COST    A system call each.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "memory/mm.h"

#include <quarry/space.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPACES 256
#define BLOCK_BYTES (QY_PAGEBLOCK_FRAMES * QY_PAGE_BYTES)

static struct place {
    _Atomic bool used;
    _Atomic uintptr_t start, end;
    struct qy_space *_Atomic space;
} places[SPACES];

/** Places from the first up to this one may be in use: what a fault looks at. */
static _Atomic unsigned nr_places;

struct qy_space *qy_linux_space_at(const void *address)
{
    uintptr_t at = (uintptr_t)address;
    unsigned count = atomic_load_explicit(&nr_places, memory_order_acquire);
    for (unsigned i = 0; i < count; i++) {
        struct qy_space *space = atomic_load_explicit(&places[i].space, memory_order_acquire);
        if (space != NULL && at >= atomic_load_explicit(&places[i].start, memory_order_relaxed) &&
            at < atomic_load_explicit(&places[i].end, memory_order_relaxed))
            return space;
    }
    return NULL;
}

static int remember(struct qy_space *space, char *start, uint64_t bytes)
{
    unsigned i = 0;
    while (i < SPACES && atomic_exchange(&places[i].used, true))
        i++;
    if (i == SPACES)
        return -ENOMEM;
    atomic_store(&places[i].start, (uintptr_t)start);
    atomic_store(&places[i].end, (uintptr_t)start + bytes);
    atomic_store_explicit(&places[i].space, space, memory_order_release);
    unsigned count = atomic_load(&nr_places);
    while (count < i + 1 && !atomic_compare_exchange_weak(&nr_places, &count, i + 1))
        ;
    return 0;
}

/** Of all spaces of the process, as its host counts. */
static _Atomic uint64_t nr_mappings;

/* ---- fork ---- */

/** Parent and child share a memfd, but only the parent knows when a frame moves: the child has
 *  neither windows nor frames. */
static void in_child(void)
{
    for (unsigned i = 0; i < SPACES; i++) {
        if (atomic_load(&places[i].space) == NULL)
            continue;
        atomic_store(&places[i].space, NULL);
        munmap((void *)atomic_load(&places[i].start), /* NOLINT(performance-no-int-to-ptr) */
               atomic_load(&places[i].end) - atomic_load(&places[i].start));
    }
    atomic_store(&nr_mappings, 0);
    qy_linux_unshare_child();
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

/* ---- windows ---- */

/** Not libc's mmap(): the thread sanitizer would take it for a write to all of the range, which
 *  other threads may be touching: then it is a page of a file that was taken away. */
static void *reserve(void *address, uint64_t bytes)
{
    int saved = errno;
    long at = syscall(
        SYS_mmap, address, bytes, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (address != NULL ? MAP_FIXED : 0), -1, 0L);
    errno = saved;
    return at != -1 ? (void *)at : NULL; /* NOLINT(performance-no-int-to-ptr) */
}

int qy_port_window_open(struct qy_mm *mm, struct qy_space *space, uint64_t bytes, void **start)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint64_t offset;
    if (qy_linux_shared_fd((void *)mm->base, &offset) < 0) /* NOLINT(performance-no-int-to-ptr) */
        return -ENOTSUP;
    int code = qy_linux_catch_faults();
    if (code != 0)
        return code;
    char *at = reserve(NULL, bytes + BLOCK_BYTES);
    if (at == NULL)
        return -ENOMEM;
    char *aligned = at + (BLOCK_BYTES - (uintptr_t)at % BLOCK_BYTES) % BLOCK_BYTES;
    if (aligned > at)
        munmap(at, (size_t)(aligned - at));
    if (at + BLOCK_BYTES > aligned)
        munmap(aligned + bytes, (size_t)(at + BLOCK_BYTES - aligned));
    code = remember(space, aligned, bytes);
    if (code != 0) {
        munmap(aligned, bytes);
        return code;
    }
    pthread_once(&once, watch_forks);
    *start = aligned;
    return 0;
}

void qy_port_window_close(struct qy_mm *mm, void *start, uint64_t bytes)
{
    (void)mm;
    for (unsigned i = 0; i < SPACES; i++)
        if (atomic_load(&places[i].space) != NULL &&
            atomic_load(&places[i].start) == (uintptr_t)start) {
            atomic_store(&places[i].space, NULL);
            munmap(start, bytes);
            atomic_store(&places[i].used, false);
            return;
        }
}

/** What the kernel was built with, where /proc is not to be read. */
#define USUAL_MAP_COUNT 65530

uint64_t qy_linux_most_mappings(void)
{
    char text[32] = "";
    int saved = errno;
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return length > 0 ? strtoull(text, NULL, 10) : USUAL_MAP_COUNT;
}

/** An eighth is left to the program, its threads and its libraries: at the limit not even what
 *  would take fewer mappings is allowed. */
uint64_t qy_port_window_most(struct qy_mm *mm)
{
    uint64_t most = qy_linux_most_mappings();
    (void)mm;
    return most - most / 8;
}

_Atomic uint64_t *qy_port_window_count(struct qy_mm *mm)
{
    (void)mm;
    return &nr_mappings;
}

static int host_prot(uint32_t prot)
{
    return ((prot & QY_PROT_READ) ? PROT_READ : 0) | ((prot & QY_PROT_WRITE) ? PROT_WRITE : 0);
}

static int map_frames(void *address, const void *frames, size_t bytes, uint32_t prot)
{
    uint64_t offset = 0;
    int saved = errno;
    int fd = qy_linux_shared_fd(frames, &offset);
    int populate = prot != QY_PROT_NONE ? MAP_POPULATE : 0;
    /* Not libc's: the thread sanitizer would take it for a write to all of the range. */
    long at = syscall(SYS_mmap, address, bytes, host_prot(prot),
                      MAP_SHARED | MAP_NORESERVE | MAP_FIXED | populate, fd, offset);
    errno = saved;
    return at != -1 ? 0 : -ENOMEM;
}

int qy_port_window_map(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count, uint32_t prot,
                       bool written)
{
    void *frames = qy_frame_address(mm, pfn);
    size_t bytes = count << QY_PAGE_SHIFT;
    int given = -EOPNOTSUPP;
    if (written && (prot & QY_PROT_WRITE)) /* as the core may: entries keep what they allow */
        given = qy_linux_tables_give(frames, address, bytes);
    if (given == 0 || map_frames(address, frames, bytes, prot) == 0)
        return 0;
    if (!qy_linux_has_hole(address, bytes)) /* either call may have unmapped what was there */
        return -ENOMEM;
    reserve(address, bytes); /* without access, rather than nobody's */
    return -EFAULT;
}

int qy_port_window_unmap(struct qy_mm *mm, void *address, uint64_t count)
{
    (void)mm;
    return reserve(address, count << QY_PAGE_SHIFT) != NULL ? 0 : -ENOMEM;
}

int qy_port_window_protect(struct qy_mm *mm, void *address, uint64_t count, uint32_t prot)
{
    (void)mm;
    int saved = errno;
    int code = mprotect(address, count << QY_PAGE_SHIFT, host_prot(prot)) == 0 ? 0 : -ENOMEM;
    errno = saved;
    return code;
}
