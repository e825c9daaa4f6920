/*
 * space.c - what a fault and a move cost, and by which means of the host
 *
 *   fault-4K .. -2M     a page of a space is touched: until the access returns, clearing included
 *   move-4K .. -2M      Quarry moves a run: isolate, copy, put back (a page alone leaves a block
 *                       whose tables went along: the core's side is filled first)
 *   copy-4K .. -2M      the copy alone, of memory as cold: what a move cannot go below
 *   protect-, map-      mprotect() to read only, mmap() over it, tables filled: what a move needs
 *                       where tables cannot go along
 *   replace-, touch-    mmap() without filling tables; the same and a touch of each page
 *   wp-, wpmap-         the same by userfaultfd: write-protect; mmap() and registering what came,
 *                       because a mapping that is replaced is not registered any more
 *   signal              a write to a page that may not be written, and back: by SIGSEGV
 *   wait-wp             the same by userfaultfd: another thread lifts the protection at once
 *   file-read, host-read     a cached file by a pointer, page after page, per page: an area of
 *                       Quarry's, mmap() of the same file, both with all pages in memory
 *   file-write, host-write   the first write to each page of an eighth of it: few enough that
 *                       nobody has to write back
 *   syscall-mprotect, syscall-wp   read(2) into a page that is being moved: 0 it waited, 14
 *                       (EFAULT) it failed
 *
 * All in us, for a run; medians. Runs lie at random within 256 MiB, so mappings split and join as
 * they do in use.
 */
#include "../malloc/bench.h"

#include "buddy/lend.h"
#include "space/space.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <quarry/cache.h>
#include <quarry/linux.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define WINDOW (256u << 20)
#define RUNS 3
static const unsigned order_of[RUNS] = {0, 4, 9};
static const char *const size_of[RUNS] = {"4K", "64K", "2M"};

static uint64_t rng = 88172645463325252u;
static char *window;
static int fd, uffd;
static uint64_t count;

#define MOST (1u << 17)

/** Times of one kind of step; a row says the median. */
struct times {
    unsigned n;
    uint32_t ns[MOST];
};
static struct times first, second;

static uint64_t now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void note(struct times *times, uint64_t since)
{
    if (times->n < MOST)
        times->ns[times->n++] = (uint32_t)(now() - since);
}

static int by_value(const void *a, const void *b)
{
    return (*(const uint32_t *)a > *(const uint32_t *)b) -
           (*(const uint32_t *)a < *(const uint32_t *)b);
}

static void row(const char *name, const char *size, struct times *times)
{
    qsort(times->ns, times->n, sizeof(times->ns[0]), by_value);
    printf("%s%s%s us %.3f 0 0\n", name, size ? "-" : "", size ? size : "",
           times->n ? (double)times->ns[times->n / 2] / 1000 : 0);
    times->n = 0;
}

static char *random_run(char *start, unsigned order)
{
    uint64_t bytes = (uint64_t)BENCH_PAGE << order;
    return start + rng_below(&rng, WINDOW / bytes) * bytes;
}

/* ---- the means ---- */

static void map_whole(void)
{
    if (mmap(window, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
             0) == MAP_FAILED)
        die("mmap");
}

static void map_run(char *at, size_t bytes, int flags)
{
    off_t offset = random_run(NULL, (unsigned)__builtin_ctzll(bytes / BENCH_PAGE)) - (char *)NULL;
    if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | flags, fd, offset) ==
        MAP_FAILED)
        die("mmap");
}

static void register_run(char *at, size_t bytes)
{
    struct uffdio_register r = {.range = {(uintptr_t)at, bytes}, .mode = UFFDIO_REGISTER_MODE_WP};
    if (ioctl(uffd, UFFDIO_REGISTER, &r))
        die("UFFDIO_REGISTER");
}

static int wp_run(char *at, size_t bytes, int on)
{
    struct uffdio_writeprotect wp = {.range = {(uintptr_t)at, bytes},
                                     .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
    return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

/* isolate and put back, by either. */
static void means(unsigned i, int by_uffd)
{
    size_t bytes = (size_t)BENCH_PAGE << order_of[i];
    uint64_t n = i == 2 ? count / 20 + 1 : count;
    map_whole();
    if (by_uffd)
        register_run(window, WINDOW);
    for (uint64_t k = 0; k < n; k++) {
        char *at = random_run(window, order_of[i]);
        uint64_t t0 = now();
        if (by_uffd ? wp_run(at, bytes, 1) : mprotect(at, bytes, PROT_READ))
            die("write-protect");
        uint64_t t1 = now();
        map_run(at, bytes, MAP_POPULATE);
        if (by_uffd)
            register_run(at, bytes);
        note(&second, t1);
        first.ns[first.n++] = (uint32_t)(t1 - t0);
    }
    row(by_uffd ? "wp" : "protect", size_of[i], &first);
    row(by_uffd ? "wpmap" : "map", size_of[i], &second);
}

static void touching(unsigned i)
{
    size_t bytes = (size_t)BENCH_PAGE << order_of[i];
    uint64_t n = i == 2 ? count / 20 + 1 : count;
    map_whole();
    for (uint64_t k = 0; k < n; k++) {
        char *at = random_run(window, order_of[i]);
        uint64_t t0 = now();
        map_run(at, bytes, 0);
        note(&second, t0);
        for (size_t b = 0; b < bytes; b += BENCH_PAGE)
            *(volatile char *)(at + b) = 1;
        note(&first, t0);
    }
    row("touch", size_of[i], &first);
    row("replace", size_of[i], &second);
}

static void copying(unsigned i)
{
    size_t bytes = (size_t)BENCH_PAGE << order_of[i];
    uint64_t n = i == 2 ? count / 20 + 1 : count;
    map_whole();
    for (uint64_t k = 0; k < n; k++) {
        char *from = random_run(window, order_of[i]), *to = random_run(window, order_of[i]);
        uint64_t t0 = now();
        memmove(to, from, bytes);
        note(&first, t0);
    }
    row("copy", size_of[i], &first);
}

/* ---- who waits ---- */

static char *protected_page;

static void lift(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    mprotect(protected_page, BENCH_PAGE, PROT_READ | PROT_WRITE);
}

static void signals(void)
{
    struct sigaction action = {.sa_sigaction = lift, .sa_flags = SA_SIGINFO | SA_NODEFER}, before;
    map_whole();
    sigaction(SIGSEGV, &action, &before);
    for (uint64_t k = 0; k < count; k++) {
        protected_page = random_run(window, 0);
        mprotect(protected_page, BENCH_PAGE, PROT_READ);
        uint64_t t0 = now();
        *(volatile char *)protected_page = 1;
        note(&first, t0);
    }
    sigaction(SIGSEGV, &before, NULL);
    row("signal", NULL, &first);
}

static void *lifter(void *unused)
{
    struct uffd_msg message;
    (void)unused;
    while (read(uffd, &message, sizeof(message)) == sizeof(message) && protected_page)
        wp_run((char *)(uintptr_t)(message.arg.pagefault.address & ~4095ull), BENCH_PAGE, 0);
    return NULL;
}

static void waits(void)
{
    pthread_t thread;
    map_whole();
    register_run(window, WINDOW);
    protected_page = window;
    pthread_create(&thread, NULL, lifter, NULL);
    for (uint64_t k = 0; k < count; k++) {
        char *at = random_run(window, 0);
        wp_run(at, BENCH_PAGE, 1);
        uint64_t t0 = now();
        *(volatile char *)at = 1;
        note(&first, t0);
    }
    row("wait-wp", NULL, &first);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}

struct call {
    int pipe[2];
    int error;
};

static void *read_into(void *argument)
{
    struct call *call = argument;
    call->error = read(call->pipe[0], protected_page, 8) == 8 ? 0 : errno;
    return NULL;
}

static void system_call(int by_uffd)
{
    struct call call;
    pthread_t thread;
    map_whole();
    protected_page = window + (5 << 20);
    if (by_uffd)
        register_run(window, WINDOW);
    if (pipe(call.pipe) || write(call.pipe[1], "12345678", 8) != 8 ||
        (by_uffd ? wp_run(protected_page, BENCH_PAGE, 1)
                 : mprotect(protected_page, BENCH_PAGE, PROT_READ)))
        die("a system call's page");
    pthread_create(&thread, NULL, read_into, &call);
    usleep(50000);
    if (by_uffd)
        wp_run(protected_page, BENCH_PAGE, 0);
    pthread_join(thread, NULL);
    printf("syscall-%s errno %d 0 0\n", by_uffd ? "wp" : "mprotect", call.error);
}

/* ---- Quarry ---- */

static struct qy_mm *mm;
static struct qy_space *space;

static char *area(uint32_t flags)
{
    struct qy_error error;
    char *at = qy_space_map(space, WINDOW, QY_PROT_WRITE, flags, &error);
    if (!at)
        die(error.text);
    return at;
}

/* Fill all of an area, a block a touch. */
static void faults(unsigned i)
{
    size_t bytes = (size_t)BENCH_PAGE << order_of[i];
    char *at = area(i == 2 ? QY_AREA_HUGE : 0);
    uint64_t n;
    if (i == 0) { /* pages alone: every other one of areas of a page */
        qy_space_unmap(space, at, WINDOW);
        for (n = 0; n < count; n++) {
            char *page = qy_space_map(space, BENCH_PAGE, QY_PROT_WRITE, 0, NULL);
            uint64_t t0 = now();
            *(volatile char *)page = 1;
            note(&first, t0);
        }
        row("fault", size_of[i], &first);
        return;
    }
    for (int again = 0; again < 2; again++) { /* on frames that were used before */
        first.n = 0;
        for (size_t b = 0; b < WINDOW; b += bytes) {
            uint64_t t0 = now();
            *(volatile char *)(at + b) = 1;
            note(&first, t0);
        }
        qy_space_unmap(space, at, WINDOW);
        at = again ? at : area(i == 2 ? QY_AREA_HUGE : 0);
    }
    row("fault", size_of[i], &first);
}

static void moves(unsigned i)
{
    unsigned pages = 1u << order_of[i];
    uint64_t n = i == 2 ? count / 20 + 1 : count;
    char *at = area(QY_AREA_HUGE);
    bool fresh;
    for (size_t b = 0; b < WINDOW; b += BENCH_PAGE)
        *(volatile char *)(at + b) = 1;
    for (uint64_t k = 0; k < n; k++) {
        char *run = random_run(at, order_of[i]);
        uint32_t page = (uint32_t)qy_space_page(space, run);
        qy_pfn_t from = qy_space_translate(space, run);
        qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, order_of[i], &fresh);
        uint64_t t0 = now();
        int got = qy_space_ops.isolate(&space->mapping, page, from, pages);
        if (got > 0) {
            qy_port_copy_pages(mm, qy_frame_address(mm, to), qy_frame_address(mm, from),
                               (uint64_t)got);
            if (qy_space_ops.putback(&space->mapping, page, from, to, (unsigned)got))
                die("no more mappings");
            note(&first, t0);
        }
        if ((unsigned)(got > 0 ? got : 0) < pages)
            qy_lend_return(mm, to + (got > 0 ? (unsigned)got : 0),
                           pages - (got > 0 ? (unsigned)got : 0));
    }
    row("move", size_of[i], &first);
    qy_space_unmap(space, at, WINDOW);
}

/* A memory for each size, and for files: what one has done to it is nothing to the next. */
static void begin(void)
{
    struct qy_linux_options options = {.shared = true, .span_bytes = 2ull << 30};
    struct qy_error error;
    mm = qy_linux_mm_create(&options, &error);
    space = mm ? qy_space_create(mm, "bench", 0, &error) : NULL;
    if (!space)
        die(error.text);
}

static void end(void)
{
    if (qy_space_destroy(space))
        die("pages are pinned");
    qy_linux_mm_destroy(mm);
}

static void quarry(unsigned i)
{
    begin();
    faults(i);
    moves(i);
    end();
}

/* ---- files ---- */

#define FILE_BYTES (64u << 20)
#define FILE_ROUNDS 9

/* Touch all pages of a file in turn; notes the time per page. */
static void pass(char *at, int write, struct times *times)
{
    size_t bytes = write ? FILE_BYTES / 8 : FILE_BYTES;
    uint64_t t0 = now();
    for (size_t b = 0; b < bytes; b += BENCH_PAGE) {
        if (write)
            *(volatile char *)(at + b) = 1;
        else
            (void)*(volatile char *)(at + b);
    }
    times->ns[times->n++] = (uint32_t)((now() - t0) / (bytes / BENCH_PAGE));
}

static struct times host_first, host_second;

static void host_passes(int file_fd)
{
    char *at = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file_fd, 0);
    if (at == MAP_FAILED)
        die("mmap of a file");
    pass(at, 0, &host_first);
    pass(at, 1, &host_second);
    if (msync(at, FILE_BYTES, MS_SYNC))
        die("msync");
    munmap(at, FILE_BYTES);
}

static void quarry_passes(struct qy_file *file)
{
    struct qy_error error;
    char *at = qy_space_map_file(space, file, 0, FILE_BYTES, QY_PROT_WRITE, 0, &error);
    if (!at)
        die(error.text);
    pass(at, 0, &first);
    pass(at, 1, &second);
    if (qy_file_sync(file))
        die("qy_file_sync");
    qy_space_unmap(space, at, FILE_BYTES);
}

static void files(void)
{
    char path[] = "quarry-bench-XXXXXX";
    int file_fd = mkstemp(path);
    struct qy_error error = {0};
    begin();
    if (file_fd < 0 || ftruncate(file_fd, FILE_BYTES))
        die("no file");
    struct qy_file *file = qy_linux_file_open(mm, path, O_RDWR, &error);
    if (!file)
        die(error.text);
    for (unsigned round = 0; round <= FILE_ROUNDS; round++) { /* the first brings all of it in */
        quarry_passes(file);
        host_passes(file_fd);
        if (round == 0)
            first.n = second.n = host_first.n = host_second.n = 0;
    }
    row("file", "read", &first);
    row("host", "read", &host_first);
    row("file", "write", &second);
    row("host", "write", &host_second);
    if (qy_file_close(file))
        die("qy_file_close");
    end();
    close(file_fd);
    unlink(path);
}

int main(int argc, char **argv)
{
    count = arg_count(argc, argv, 1, 2000);
    window = mmap(NULL, WINDOW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fd = memfd_create("bench", 0);
    if (window == MAP_FAILED || fd < 0 || ftruncate(fd, WINDOW))
        die("no memfd");
    for (unsigned i = 0; i < RUNS; i++) {
        quarry(i);
        copying(i);
        means(i, 0);
        touching(i);
    }
    files();
    signals();
    system_call(0);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_WP_HUGETLBFS_SHMEM};
    uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
        fprintf(stderr, "bench: no userfaultfd with write-protection of shared memory here\n");
        return 0;
    }
    for (unsigned i = 0; i < RUNS; i++)
        means(i, 1);
    waits();
    system_call(1);
    return 0;
}
