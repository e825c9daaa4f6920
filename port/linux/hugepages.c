/*
 * hugepages.c - qy_linux_hugepages_create(): a memory whose frame numbers are the machine's
 *
 * WHAT    Hugepages of 2 MiB out of the system's pool, in a memfd. /proc/self/pagemap says which
 *         frames they are; sorted by that, each is mapped where its number belongs, so that
 *         virt = phys + one constant for all of them:
 *
 *           file     | 0 | 1 | 2 | 3 |        at 6, 14, 2, 4 MiB of the machine
 *           window   | 2 |   3 0 |           | 1 |      runs: 2 MiB .. 8 MiB, 14 MiB .. 16 MiB
 *                     2   4     8            14
 *
 *         A run of neighbours is one RAM range of the memory map. Between runs are holes: addresses
 *         without access. Metadata lie behind the last run, in ordinary memory.
 *
 *         Pages are taken by fallocate(2), which says so when there are too few. A page fault that
 *         finds none would say it with SIGBUS.
 *
 * RULES   None of its own: each frame is read once more where it lies at last, before anybody
 *         gets the memory.
 *
 * LOCKS   none: nobody else knows the instance.
 *
 * COST    Clearing the pages, 0.1 to 0.3 ms each; five system calls a page beside that.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "base/round.h"
#include "memory/fault.h"
#include "memory/mm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define HUGE_BYTES (UINT64_C(2) << 20)
#define HUGE_FRAMES (HUGE_BYTES >> QY_PAGE_SHIFT)
#define SECTION_BYTES (QY_SECTION_FRAMES * QY_PAGE_BYTES)
#define MOST_BYTES (UINT64_C(1) << 42)
#define DMA32_END (UINT64_C(1) << 32)
/** Of an entry of pagemap: the page is there, and its frame number. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_PFN ((UINT64_C(1) << 55) - 1)

struct hugepage {
    qy_pfn_t pfn;
    uint64_t offset; /* in the file */
};

/** Neighbours: pages[first .. first + count). */
struct run {
    uint64_t first, count;
};

/** What is held while a memory is being built. */
struct pool {
    int file, pagemap;
    uint64_t bytes, count; /* count: of pages that are kept */
    struct hugepage *pages;
    struct run *runs;
    uint64_t nr_runs;
};

static int refuse_number(struct qy_error *error, int code, const char *why, uint64_t number)
{
    qy_error_set(error, code, why, number, "");
    return code;
}

static int refuse(struct qy_error *error, int code, const char *why)
{
    return refuse_number(error, code, why, UINT64_MAX);
}

static uint64_t scratch_bytes(const struct pool *pool)
{
    return pool->bytes / HUGE_BYTES * (sizeof(struct hugepage) + sizeof(struct run));
}

/* ---- which frames they are ---- */

/** 0 and the number of the frame at this address, which was touched. */
static int read_frame(const struct pool *pool, const volatile char *address, qy_pfn_t *pfn,
                      struct qy_error *error)
{
    uint64_t entry = 0;
    off_t at = (off_t)((uintptr_t)address / QY_PAGE_BYTES * sizeof(entry));
    ssize_t bytes = pread(pool->pagemap, &entry, sizeof(entry), at);
    if (bytes != sizeof(entry) || !(entry & PAGEMAP_PRESENT))
        return refuse(error, -EIO, "/proc/self/pagemap does not show a page that is there");
    *pfn = entry & PAGEMAP_PFN;
    if (*pfn == 0)
        return refuse(
            error, -EPERM,
            "frame numbers are hidden from this user: run as root, or with CAP_SYS_ADMIN");
    return 0;
}

/** Open pagemap, and see whether it tells: before anything is taken out of the pool. */
static int open_pagemap(struct pool *pool, struct qy_error *error)
{
    volatile char here = 0;
    qy_pfn_t pfn;
    pool->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pool->pagemap >= 0)
        return read_frame(pool, &here, &pfn, error);
    if (errno == EACCES || errno == EPERM)
        return refuse(error, -EPERM,
                      "/proc/self/pagemap may not be read: run as root, or with CAP_SYS_ADMIN");
    if (errno == ENOENT)
        return refuse(
            error, -ENOENT,
            "no /proc/self/pagemap: mount /proc (CONFIG_PROC_PAGE_MONITOR of the kernel)");
    return refuse_number(error, -errno, "/proc/self/pagemap cannot be opened: errno ",
                         (uint64_t)errno);
}

/** Put a page of the file at this address, and read its frame's number there. */
static int map_page(const struct pool *pool, struct hugepage *page, char *at,
                    struct qy_error *error)
{
    if (mmap(at, HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE | MAP_FIXED,
             pool->file, (off_t)page->offset) == MAP_FAILED)
        return refuse(error, -ENOMEM, "a hugepage cannot be mapped (vm.max_map_count, RLIMIT_AS)");
    madvise(at, HUGE_BYTES, MADV_DONTFORK);
    (void)*(volatile char *)at; /* the file has it: should it not be mapped yet, this does it */
    return read_frame(pool, at, &page->pfn, error);
}

/** Look at the pages of the file one after the other, and note which frames they are. */
static int read_frames(struct pool *pool, struct qy_error *error)
{
    struct qy_linux_window place;
    int code = 0;
    if (qy_linux_window_reserve(&place, HUGE_BYTES, HUGE_BYTES) != 0)
        return refuse(error, -ENOMEM, "no addresses for a hugepage (RLIMIT_AS?)");
    for (; pool->count < pool->bytes / HUGE_BYTES && code == 0; pool->count++) {
        struct hugepage *page = &pool->pages[pool->count];
        page->offset = pool->count * HUGE_BYTES;
        code = map_page(pool, page, place.start, error);
        if (code == 0 && page->pfn % HUGE_FRAMES != 0)
            code = refuse(error, -EIO, "/proc/self/pagemap shows a hugepage that is not aligned");
    }
    qy_linux_window_release(&place);
    return code;
}

/* ---- taking them ---- */

static int take(struct pool *pool, struct qy_error *error)
{
    struct rlimit largest;
    int code;
    pool->file = memfd_create("quarry-huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    if (pool->file < 0)
        return refuse_number(error, errno == EMFILE || errno == ENFILE ? -EMFILE : -ENOTSUP,
                             "no memfd of 2 MiB hugepages from this kernel: errno ",
                             (uint64_t)errno);
    if (getrlimit(RLIMIT_FSIZE, &largest) == 0 && largest.rlim_cur < pool->bytes)
        return refuse_number(error, -EFBIG,
                             "RLIMIT_FSIZE (ulimit -f) is below the bytes wanted: ", pool->bytes);
    do
        code = fallocate(pool->file, 0, 0, (off_t)pool->bytes) == 0 ? 0 : -errno;
    while (code == -EINTR);
    if (code != 0)
        return refuse_number(error, -ENOMEM,
                             "too few free 2 MiB hugepages: as root, raise sysctl vm.nr_hugepages "
                             "until so many are free: ",
                             pool->bytes / HUGE_BYTES);
    pool->pages =
        mmap(NULL, scratch_bytes(pool), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool->pages == MAP_FAILED) {
        pool->pages = NULL;
        return refuse(error, -ENOMEM, "no memory to sort hugepages in");
    }
    pool->runs = (struct run *)(pool->pages + pool->bytes / HUGE_BYTES);
    return read_frames(pool, error);
}

/** The memory lives in its mappings: nothing of this is needed any more. */
static void let_go(const struct pool *pool)
{
    if (pool->pages != NULL)
        munmap(pool->pages, scratch_bytes(pool));
    if (pool->file >= 0)
        close(pool->file);
    if (pool->pagemap >= 0)
        close(pool->pagemap);
}

/* ---- which of them are kept ---- */

static int lower_first(const void *a, const void *b)
{
    const struct hugepage *left = a, *right = b;
    return left->pfn < right->pfn ? -1 : left->pfn > right->pfn;
}

static int longer_first(const void *a, const void *b)
{
    const struct run *left = a, *right = b;
    if (left->count != right->count)
        return left->count > right->count ? -1 : 1;
    return left->first < right->first ? -1 : left->first > right->first;
}

static void find_runs(struct pool *pool)
{
    qsort(pool->pages, pool->count, sizeof(*pool->pages), lower_first);
    for (uint64_t i = 0; i < pool->count; i++)
        if (i > 0 && pool->pages[i].pfn == pool->pages[i - 1].pfn + HUGE_FRAMES)
            pool->runs[pool->nr_runs - 1].count++;
        else
            pool->runs[pool->nr_runs++] = (struct run){i, 1};
    qsort(pool->runs, pool->nr_runs, sizeof(*pool->runs), longer_first);
}

/** A memory map has so many ranges: pages of the shortest runs go back to the system. */
static void give_back_rest(struct pool *pool, struct qy_error *error)
{
    uint64_t before = pool->count;
    while (pool->nr_runs > QY_MAX_RANGES) {
        const struct run *run = &pool->runs[--pool->nr_runs];
        for (uint64_t i = run->first; i < run->first + run->count; i++)
            fallocate(pool->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      (off_t)pool->pages[i].offset, (off_t)HUGE_BYTES);
        pool->count -= run->count;
    }
    if (pool->count < before)
        qy_error_set(error, 0,
                     "too scattered, so many hugepages were given back: ", before - pool->count,
                     "");
    else
        qy_error_set(error, 0, "", UINT64_MAX, "");
}

/* ---- where they go ---- */

static qy_phys_t start_of(const struct pool *pool, const struct run *run)
{
    return pool->pages[run->first].pfn << QY_PAGE_SHIFT;
}

/** Each page that is kept, at window + (its address - lowest). */
static int map_all(const struct pool *pool, const struct qy_linux_window *window, qy_phys_t lowest,
                   struct qy_error *error)
{
    int code = 0;
    for (uint64_t r = 0; r < pool->nr_runs; r++) {
        const struct run *run = &pool->runs[r];
        char *start = window->start + (start_of(pool, run) - lowest);
        for (uint64_t i = 0; i < run->count && code == 0; i++) {
            struct hugepage page = pool->pages[run->first + i];
            code = map_page(pool, &page, start + i * HUGE_BYTES, error);
            if (code == 0 && page.pfn != pool->pages[run->first + i].pfn)
                code = refuse(error, -EAGAIN, "the system moved a hugepage meanwhile: try again");
        }
    }
    return code;
}

/* ---- the memory ---- */

/** A memory map of these runs, and where its span begins and ends, in whole sections. */
static struct qy_memmap map_of(const struct pool *pool, struct qy_range ranges[QY_MAX_RANGES],
                               qy_phys_t *lowest, qy_phys_t *highest)
{
    *lowest = UINT64_MAX;
    *highest = 0;
    for (uint64_t r = 0; r < pool->nr_runs; r++) {
        const struct run *run = &pool->runs[r];
        ranges[r] = (struct qy_range){
            .base = start_of(pool, run), .bytes = run->count * HUGE_BYTES, .type = QY_RANGE_RAM};
        qy_phys_t end = ranges[r].base + ranges[r].bytes;
        *lowest = ranges[r].base < *lowest ? ranges[r].base : *lowest;
        *highest = end > *highest ? end : *highest;
    }
    *lowest = *lowest / SECTION_BYTES * SECTION_BYTES;
    *highest = qy_round_up(*highest, SECTION_BYTES);
    return (struct qy_memmap){
        .ranges = ranges, .nr_ranges = pool->nr_runs, .nr_nodes = 1, .dma32_end = DMA32_END};
}

static struct qy_mm *build(const struct pool *pool, const struct qy_linux_options *options,
                           struct qy_error *error)
{
    struct qy_range ranges[QY_MAX_RANGES];
    struct qy_linux_window window;
    qy_phys_t lowest, highest;
    struct qy_memmap map = map_of(pool, ranges, &lowest, &highest);
    struct qy_mm_options core = {
        .meta_lazy = true,
        .movable = options->movable || options->shared,
        .kmalloc_flags = options->kmalloc_flags,
        .min_free_kbytes = options->min_free_kbytes,
    };
    uint64_t bytes = highest - lowest + qy_mm_meta_bytes(&map, &core);
    if (qy_linux_window_reserve(&window, bytes, bytes) != 0)
        return qy_refused(error, -ENOMEM, "no range of addresses (RLIMIT_AS?) for bytes: ", bytes);
    core.virt_offset = (uintptr_t)window.start - (uintptr_t)lowest;
    core.meta = window.start + (highest - lowest);
    struct qy_mm *mm = NULL;
    if (map_all(pool, &window, lowest, error) == 0)
        mm = qy_mm_create(&map, &core, error);
    if (mm == NULL) {
        qy_linux_window_release(&window);
        return NULL;
    }
    mm->port_window = window.start;
    mm->port_window_bytes = window.bytes;
    return mm;
}

struct qy_mm *qy_linux_hugepages_create(uint64_t bytes, const struct qy_linux_options *options,
                                        struct qy_error *error)
{
    static const struct qy_linux_options defaults;
    struct pool pool = {.file = -1, .pagemap = -1};
    struct qy_mm *mm = NULL;
    int saved = errno;
    if (bytes == 0 || bytes > MOST_BYTES)
        return qy_refused(error, -EINVAL, "hugepages of 2 MiB to 4 TiB, not of bytes: ", bytes);
    pool.bytes = qy_round_up(bytes, HUGE_BYTES);
    if (open_pagemap(&pool, error) == 0 && take(&pool, error) == 0) {
        find_runs(&pool);
        give_back_rest(&pool, error);
        mm = build(&pool, options != NULL ? options : &defaults, error);
    }
    let_go(&pool);
    errno = saved;
    if (mm == NULL)
        return NULL;
    qy_linux_window_lends(mm->port_window);
    qy_linux_watch_forks();
    qy_linux_barrier_init();
    qy_linux_slots_open(mm);
    return mm;
}
