/*
 * uring.c - would io_uring read and write the pages of cached files for less?
 *
 *   uring PATH   makes a file of 256 MiB there, and has each of
 *                  page     4 KiB at random
 *                  window   128 pages in a row, as readahead asks for them: one call each
 *                  pages    the same, with an entry of its own for each page
 *                  back     all of it written in windows, and fdatasync(2)
 *                done by preadv(2) and pwritev(2), and by io_uring with file and memory registered,
 *                in turn. The host has the file in memory, so that the calls are what is measured;
 *                "disk" rows read it after the host was asked to forget it.
 *
 * Each row: name, median processor time of the process, its kernel threads included, unit.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define WINDOW 128u
#define WINDOWS 512u
#define BYTES ((off_t)PAGE * WINDOW * WINDOWS)
#define PICKS 20000u
#define ROUNDS 7

static struct io_uring ring;
static struct iovec pages[WINDOW];
static char *memory;
static int fd;

static void must(int done, const char *what)
{
    if (done)
        return;
    perror(what);
    exit(1);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Each returns when its bytes are there. */

static void by_call(int writes, off_t at, unsigned count)
{
    ssize_t done = writes ? pwritev(fd, pages, (int)count, at) : preadv(fd, pages, (int)count, at);
    must(done == (ssize_t)count * PAGE, "transfer");
}

static void wait_for(unsigned count, ssize_t bytes)
{
    struct io_uring_cqe *done;
    must(io_uring_submit_and_wait(&ring, count) >= 0, "submit");
    for (unsigned i = 0; i < count; i++) {
        must(io_uring_wait_cqe(&ring, &done) == 0 && done->res == bytes, "completion");
        io_uring_cqe_seen(&ring, done);
    }
}

static void by_ring(int writes, off_t at, unsigned count)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    if (count == 1)
        io_uring_prep_read_fixed(entry, 0, memory, PAGE, (uint64_t)at, 0);
    else if (writes)
        io_uring_prep_writev(entry, 0, pages, count, (uint64_t)at);
    else
        io_uring_prep_readv(entry, 0, pages, count, (uint64_t)at);
    entry->flags |= IOSQE_FIXED_FILE;
    wait_for(1, (ssize_t)count * PAGE);
}

static void by_entries(int writes, off_t at, unsigned count)
{
    (void)writes;
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        io_uring_prep_read_fixed(entry, 0, pages[i].iov_base, PAGE, (uint64_t)at + i * PAGE, 0);
        entry->flags |= IOSQE_FIXED_FILE;
    }
    wait_for(count, PAGE);
}

typedef void (*transfer)(int writes, off_t at, unsigned count);

static double pick_pages(transfer call)
{
    unsigned random = 1;
    double began = now_us();
    for (unsigned i = 0; i < PICKS; i++) {
        random = random * 1664525u + 1013904223u;
        call(0, (off_t)(random >> 8) % (WINDOW * WINDOWS) * PAGE, 1);
    }
    return (now_us() - began) / PICKS;
}

static double read_windows(transfer call)
{
    double began = now_us();
    for (off_t at = 0; at < BYTES; at += WINDOW * PAGE)
        call(0, at, WINDOW);
    return (now_us() - began) / WINDOWS;
}

static double read_from_disk(transfer call)
{
    must(fdatasync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0, "forget");
    return read_windows(call);
}

static double write_back(transfer call)
{
    double began = now_us();
    for (off_t at = 0; at < BYTES; at += WINDOW * PAGE)
        call(1, at, WINDOW);
    must(fdatasync(fd) == 0, "fdatasync");
    return (now_us() - began) / 1000;
}

static int compare(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;
    return (one > other) - (one < other);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *unit;
        double (*work)(transfer call);
        transfer call;
    } rows[] = {
        {"page-call", "us", pick_pages, by_call},
        {"page-ring", "us", pick_pages, by_ring},
        {"window-call", "us", read_windows, by_call},
        {"window-ring", "us", read_windows, by_ring},
        {"pages-ring", "us", read_windows, by_entries},
        {"disk-window-call", "us", read_from_disk, by_call},
        {"disk-window-ring", "us", read_from_disk, by_ring},
        {"back-call", "ms", write_back, by_call},
        {"back-ring", "ms", write_back, by_ring},
    };
    enum {
        ROWS = sizeof(rows) / sizeof(rows[0])
    };
    static double took[ROWS][ROUNDS];
    must(argc == 2, "uring PATH");
    fd = open(argv[1], O_RDWR | O_CREAT | O_EXCL, 0600);
    must(fd >= 0 && unlink(argv[1]) == 0, argv[1]);
    memory = mmap(NULL, WINDOW * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "mmap");
    /* Frames of a window lie anywhere: every page is a piece of its own. */
    for (unsigned i = 0; i < WINDOW; i++)
        pages[i] = (struct iovec){memory + (size_t)(i * 37 % WINDOW) * PAGE, PAGE};
    const struct iovec all = {memory, WINDOW * PAGE};
    must(io_uring_queue_init(WINDOW, &ring, 0) == 0 &&
             io_uring_register_files(&ring, &fd, 1) == 0 &&
             io_uring_register_buffers(&ring, &all, 1) == 0,
         "io_uring");
    write_back(by_call);
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned r = 0; r < ROWS; r++)
            took[r][round] = rows[r].work(rows[r].call);
    for (unsigned r = 0; r < ROWS; r++) {
        qsort(took[r], ROUNDS, sizeof(double), compare);
        printf("%s %.2f %s\n", rows[r].name, took[r][ROUNDS / 2], rows[r].unit);
    }
    return 0;
}
