/*
 * memory.c - the memory in windows
 *
 * WHAT    Pieces of a window (addresses.c) are mapped, given back, cleared and moved as the core
 *         asks for it.
 *
 *         Frames of an instance with options.shared are a memfd's, at the same offsets, so that
 *         a space can map them once more (window.c). Their window is not inherited by fork:
 *         parent and child would write into one memory.
 *
 * LOCKS   none: the core calls commit under grow_lock.
 *
 * COST    A system call each: 0.4 us and what the pages cost.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "memory/mm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/** Bytes whose memory is looked at, kept or dropped together; and a huge page. */
#define AT_ONCE ((size_t)2 << 20)
/** When the system has no huge page, small ones serve so many times before it is asked again. */
#define PAUSE 256
/** A huge page is ready within 0.1 - 0.3 ms. Where the system has to move others' pages for it, or
 *  a host to find memory under each of its frames, it takes 5 ms, which small ones that were in use
 *  before do not: the next is asked for when so many times that has passed. */
#define LONG_NS UINT64_C(1000000)
#define PATIENCE 32

static int map_at(void *address, size_t bytes, int flags, int fd, uint64_t offset)
{
    int saved = errno;
    int code = 0;
    void *at = mmap(address, bytes, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
    if (at == MAP_FAILED) {
        code = errno == EEXIST ? -EEXIST : -ENOMEM;
    } else if (at != address) {
        munmap(at, bytes); /* a kernel, or valgrind, that takes the address as a hint */
        code = -EEXIST;
    }
    errno = saved;
    return code;
}

static int map(void *address, size_t bytes)
{
    return map_at(address, bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
                  -1, 0);
}

static int open_reserved(void *address, size_t bytes)
{
    int saved = errno;
    int code = mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -ENOMEM;
    errno = saved;
    return code;
}

/* ---- frames in a memfd ---- */

/** Written before anybody else knows the instance, and after all have forgotten it. */
static struct shared {
    const char *_Atomic start; /* NULL: the rest means nothing */
    size_t bytes;
    int fd;
    _Atomic bool used;
} shared_windows[QY_LINUX_INSTANCES];

/** A memfd of so many bytes, or a negative errno. */
static int new_memfd(size_t bytes)
{
    struct rlimit largest;
    if (getrlimit(RLIMIT_FSIZE, &largest) == 0 && largest.rlim_cur < bytes)
        return -EFBIG; /* ftruncate would end the program */
    int fd = memfd_create("quarry", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) == 0)
        return fd < 0 ? -errno : fd;
    int code = -errno;
    close(fd);
    return code;
}

int qy_linux_share(char *start, size_t bytes)
{
    int saved = errno;
    unsigned place = 0;
    while (place < QY_LINUX_INSTANCES && atomic_exchange(&shared_windows[place].used, true))
        place++;
    if (place == QY_LINUX_INSTANCES)
        return -EAGAIN;
    struct shared *shared = &shared_windows[place];
    int fd = new_memfd(bytes);
    errno = saved;
    if (fd < 0) {
        shared->used = false;
        return fd;
    }
    shared->bytes = bytes;
    shared->fd = fd;
    atomic_store_explicit(&shared->start, start, memory_order_release);
    return 0;
}

static struct shared *shared_at(const char *address)
{
    for (unsigned i = 0; i < QY_LINUX_INSTANCES; i++) {
        const char *start = atomic_load_explicit(&shared_windows[i].start, memory_order_acquire);
        if (start != NULL && (uintptr_t)address - (uintptr_t)start < shared_windows[i].bytes)
            return &shared_windows[i];
    }
    return NULL;
}

int qy_linux_shared_fd(const void *address, uint64_t *offset)
{
    const struct shared *shared = shared_at(address);
    if (shared == NULL)
        return -1;
    *offset = (uintptr_t)address - (uintptr_t)atomic_load(&shared->start);
    return shared->fd;
}

void qy_linux_unshare(const char *start)
{
    struct shared *shared = shared_at(start);
    if (shared == NULL)
        return;
    shared->start = NULL;
    close(shared->fd);
    shared->used = false;
}

/* The windows themselves were not inherited. */
void qy_linux_unshare_child(void)
{
    for (unsigned i = 0; i < QY_LINUX_INSTANCES; i++)
        if (shared_windows[i].start != NULL)
            close(shared_windows[i].fd);
}

static int map_shared(void *address, size_t bytes, int fixed)
{
    uint64_t offset = 0;
    int fd = qy_linux_shared_fd(address, &offset);
    int code = map_at(address, bytes, MAP_SHARED | MAP_NORESERVE | fixed, fd, offset);
    if (code == 0)
        madvise(address, bytes, MADV_DONTFORK);
    return code;
}

int qy_linux_share_again(void *address, size_t bytes)
{
    return map_shared(address, bytes, MAP_FIXED);
}

/* ---- what the core calls ---- */

int qy_port_commit(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    if (shared_at(address) != NULL)
        return map_shared(address, bytes,
                          qy_linux_window_is_reserved(address) ? MAP_FIXED : MAP_FIXED_NOREPLACE);
    return qy_linux_window_is_reserved(address) ? open_reserved(address, bytes)
                                                : map(address, bytes);
}

int qy_port_decommit(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    int saved = errno;
    int advice = shared_at(address) != NULL ? MADV_REMOVE : MADV_DONTNEED;
    int code = madvise(address, bytes, advice) == 0 ? 0 : -errno;
    errno = saved;
    return code;
}

/** Which of these pages, AT_ONCE at most, have memory: bit 0 of each byte. Returns how many; all,
 *  if that cannot be told. */
static size_t look(void *address, size_t bytes, unsigned char *there)
{
    size_t pages = bytes >> QY_PAGE_SHIFT, count = 0;
    int saved = errno;
    if (mincore(address, bytes, there) != 0)
        memset(there, 1, pages);
    errno = saved;
    for (size_t i = 0; i < pages; i++)
        count += there[i] & 1;
    return count;
}

static size_t count_there(void *address, size_t bytes)
{
    unsigned char there[AT_ONCE >> QY_PAGE_SHIFT];
    return look(address, bytes, there);
}

/** No page of anybody's is swapped out just now. Else one that is not in memory may still hold what
 *  was written to it. */
static bool nothing_is_out(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 && info.freeswap == info.totalswap;
}

/** Write zeroes to the pages of a part that have memory; the others read as zero anyway. */
static void clear_there(char *at, size_t pages, const unsigned char *there)
{
    for (size_t i = 0, end; i < pages; i = end) {
        for (end = i + 1; end < pages && (there[end] & 1) == (there[i] & 1);)
            end++;
        if (there[i] & 1)
            memset(at + i * QY_PAGE_BYTES, 0, (end - i) * QY_PAGE_BYTES);
    }
}

/* Writing zeroes to a page costs 0.1 us where there is memory; dropping it and faulting it in again
 * some 2 us, and so does writing to one without memory: that is left as it is. It is said to have
 * none while it is swapped out, too, and comes back when it is touched alone: so if before and
 * after the look nothing was out, what had no memory had none. Else whichever half is larger
 * decides. */
void qy_port_clear(struct qy_mm *mm, void *address, size_t bytes)
{
    unsigned char there[AT_ONCE >> QY_PAGE_SHIFT];
    bool known = nothing_is_out();
    for (size_t done = 0; done < bytes; done += AT_ONCE) {
        char *at = (char *)address + done;
        size_t part = bytes - done < AT_ONCE ? bytes - done : AT_ONCE;
        size_t pages = part >> QY_PAGE_SHIFT, count = look(at, part, there);
        if (known && nothing_is_out())
            clear_there(at, pages, there);
        else if (count >= pages / 2 || qy_port_decommit(mm, at, part) != 0)
            memset(at, 0, part);
    }
}

int qy_port_protect(struct qy_mm *mm, void *address, size_t bytes, bool accessible)
{
    (void)mm;
    int saved = errno;
    int code = mprotect(address, bytes, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
    code = code == 0 ? 0 : -errno;
    errno = saved;
    return code;
}

void qy_port_populate(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    int saved = errno;
    madvise(address, bytes, MADV_POPULATE_WRITE);
    errno = saved;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* The range may be a huge page at this moment alone. Else the kernel would make one of it again
 * when most of its pages were given back (khugepaged), and a large block that is written here
 * and there would get 2 MiB for each page. Neighbours come to be one mapping again. */
bool qy_port_populate_huge(struct qy_mm *mm, void *block, void *address, size_t bytes)
{
    static _Atomic unsigned pause;      /* the system had none: so many times it is not asked */
    static _Atomic uint64_t not_before; /* one took long: it is not asked until then */
    unsigned wait = atomic_load_explicit(&pause, memory_order_relaxed);
    int saved = errno;
    bool asked =
        wait == 0 &&
        clock_ns(CLOCK_MONOTONIC) >= atomic_load_explicit(&not_before, memory_order_relaxed) &&
        shared_at(block) == NULL && count_there(block, AT_ONCE) == 0;
    uint64_t began = asked ? clock_ns(CLOCK_THREAD_CPUTIME_ID) : 0; /* other threads may run */
    bool may = asked && madvise(block, AT_ONCE, MADV_HUGEPAGE) == 0;
    qy_port_populate(mm, address, bytes);
    uint64_t took = may ? clock_ns(CLOCK_THREAD_CPUTIME_ID) - began : 0;
    if (took > LONG_NS)
        atomic_store_explicit(&not_before, clock_ns(CLOCK_MONOTONIC) + took * PATIENCE,
                              memory_order_relaxed);
    bool came = may && count_there(block, AT_ONCE) == AT_ONCE / QY_PAGE_BYTES;
    if (may)
        madvise(block, AT_ONCE, MADV_NOHUGEPAGE);
    if (wait != 0 || (asked && !came))
        atomic_store_explicit(&pause, wait != 0 ? wait - 1 : PAUSE, memory_order_relaxed);
    errno = saved;
    return came;
}

/** How many pages from the first on are like it. */
static size_t count_alike(const unsigned char *there, size_t pages)
{
    size_t count = 1;
    while (count < pages && (there[count] & 1) == (there[0] & 1))
        count++;
    return count;
}

uint64_t qy_port_look(struct qy_mm *mm, void *address, uint64_t pages, bool *backed)
{
    unsigned char there[AT_ONCE >> QY_PAGE_SHIFT];
    uint64_t count = 0;
    (void)mm;
    *backed = true;
    if (shared_at(address) != NULL)
        return pages;
    while (count < pages) {
        size_t part = pages - count < sizeof(there) ? (size_t)(pages - count) : sizeof(there);
        look((char *)address + (count << QY_PAGE_SHIFT), part << QY_PAGE_SHIFT, there);
        if (count != 0 && (there[0] & 1) != *backed)
            break;
        *backed = there[0] & 1;
        size_t alike = count_alike(there, part);
        count += alike;
        if (alike < part)
            break;
    }
    return count;
}

/** A move failed. Kernels before 6.17 refuse what is more than one mapping when they have taken
 *  away what was at the new place; later ones may have moved some of the mappings. Before, the new
 *  place had no memory: so what it has now came from the old one, which reads as zero there. Only
 *  what has no mapping gets one: there may be as many as there can be. */
static void move_back(char *from, char *to, size_t bytes)
{
    static const char zeroes[QY_PAGE_BYTES];
    unsigned char there;
    size_t lost = 0; /* bytes before this page */
    for (size_t at = 0; at <= bytes; at += QY_PAGE_BYTES) {
        if (at < bytes && mincore(to + at, QY_PAGE_BYTES, &there) != 0) {
            lost += QY_PAGE_BYTES;
            continue;
        }
        if (lost != 0 && map_at(to + at - lost, lost,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0))
            qy_port_panic("quarry: the system took memory away and does not give it back\n");
        lost = 0;
        if (at < bytes && memcmp(to + at, zeroes, QY_PAGE_BYTES) != 0)
            memcpy(from + at, to + at, QY_PAGE_BYTES);
    }
}

int qy_port_move(struct qy_mm *mm, void *from, void *to, size_t bytes)
{
    (void)mm;
    int saved = errno, code = 0;
    if (shared_at(from) != NULL)
        return -ENOTSUP; /* a frame's place in the memfd is its number */
    if (madvise(to, bytes, MADV_DONTNEED) != 0) {
        code = -errno; /* it is locked */
    } else if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) ==
               MAP_FAILED) {
        code = -errno;
        move_back(from, to, bytes);
    }
    errno = saved;
    return code;
}
