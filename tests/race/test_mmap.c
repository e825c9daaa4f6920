/*
 * test_mmap.c - threads read and write a file by pointers while its pages are written back, given
 *               up, moved and taken back for a region
 *
 * QUARRY_SECONDS says how long; 2 without it.
 */
#include "cells.h"
#include "support.h"

#include "space/space.h"

#include <quarry/buddy.h>
#include <quarry/cache.h>
#include <quarry/cma.h>
#include <quarry/linux.h>
#include <quarry/slab.h>
#include <quarry/space.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define WRITERS 3
#define READERS 2
#define BYTES (8 * MIB)
#define LIMIT (18 * MIB) /* the file, the regions and the heap do not fit side by side */
#define REGIONS 2
#define REGION 1024
#define CELLS (BYTES / 64)

static struct {
    struct qy_mm *mm;
    struct qy_space *space, *other;
    struct qy_file *file;
    struct qy_cma *region[REGIONS];
    struct cell *cells, *read_only;
    _Atomic bool stop;
    _Atomic uint64_t writes, reads, taken, dropped, syncs, areas;
} world;

static uint64_t told[CELLS]; /* by its writer: how far each cell is */

static void handle(int signal, siginfo_t *info, void *context)
{
    if (!qy_linux_fault_handler(signal, info, context))
        test_fail("an access at %p failed: %d, %d", info->si_addr,
                  qy_space_fault(world.space, info->si_addr, false),
                  qy_space_fault(world.other, info->si_addr, false));
}

/* cmocka's own are for its thread. */
static void expect(const char *call, int64_t result, int64_t expected)
{
    if (result != expected)
        test_fail("%s: %lld, not %lld", call, (long long)result, (long long)expected);
}

static void *writer(void *argument)
{
    size_t number = (size_t)argument;
    struct random random = {number + 1};
    uint64_t writes = 0;
    while (!atomic_load_explicit(&world.stop, memory_order_relaxed)) {
        size_t at = random_below(&random, CELLS / WRITERS) * WRITERS + number;
        cell_write(&world.cells[at], at, &told[at]);
        writes++;
    }
    world.writes += writes;
    return NULL;
}

/* By the areas of both spaces in turn: they have the same bytes. */
static void *reader(void *argument)
{
    struct random random = {(uintptr_t)argument + 100};
    uint64_t reads = 0;
    while (!atomic_load_explicit(&world.stop, memory_order_relaxed)) {
        size_t at = random_below(&random, CELLS);
        struct cell *cell = reads % 2 ? &world.cells[at] : &world.read_only[at];
        reads += cell_read(cell, at);
    }
    world.reads += reads;
    return NULL;
}

/* A region is taken back from whom it was lent to, as a whole or in part, and lent again. */
static void *taker(void *unused)
{
    struct random random = {55};
    (void)unused;
    while (!atomic_load(&world.stop)) {
        struct qy_cma *region = world.region[random_below(&random, REGIONS)];
        uint64_t frames = random_one_in(&random, 2) ? REGION : 1 + random_below(&random, REGION);
        struct qy_cma_request request = {.nr_frames = frames};
        qy_pfn_t pfn;
        struct qy_cma_report report;
        int code = qy_cma_alloc(region, &request, &pfn, &report);
        if (code == 0) {
            memset(qy_page_address(world.mm, pfn), 0xee, frames * PAGE);
            expect("qy_cma_release", qy_cma_release(region, pfn, frames), 0);
            world.taken++;
        } else if (code != -EBUSY || region == world.region[1] || /* the guaranteed one */
                   (report.nr_stuck > 0 && report.stuck[0].reason != QY_CMA_BUSY)) {
            test_fail("a region was not to be had: %d, %llu stuck, the first is %s's, reason %d",
                      code, (unsigned long long)report.nr_stuck, report.stuck[0].owner,
                      (int)report.stuck[0].reason);
        }
    }
    return NULL;
}

static void *disturber(void *unused)
{
    struct random random = {77};
    void *block = NULL;
    (void)unused;
    while (!atomic_load(&world.stop)) {
        switch (random_below(&random, 6)) {
        case 0:
            expect("qy_file_sync", qy_file_sync(world.file), 0);
            world.syncs++;
            break;
        case 1:
            world.dropped += qy_file_drop(world.file);
            break;
        case 2:
            qy_reclaim(world.mm, random_below(&random, 500));
            break;
        default:
            qy_kfree(world.mm, block);
            block = qy_kmalloc(world.mm, 1 + random_below(&random, 2 * MIB), QY_GFP_KERNEL);
        }
    }
    qy_kfree(world.mm, block);
    return NULL;
}

/* Areas of the file that come and go beside it. */
static void *mapper(void *argument)
{
    struct random random = {(uintptr_t)argument + 300};
    static unsigned char buffer[PAGE];
    while (!atomic_load(&world.stop)) {
        uint64_t pages = 1 + random_below(&random, 300);
        uint64_t first = random_below(&random, BYTES / PAGE - pages);
        struct qy_space *space = random_one_in(&random, 2) ? world.space : world.other;
        char *area = qy_space_map_file(space, world.file, first * PAGE, pages * PAGE, QY_PROT_READ,
                                       random_one_in(&random, 8) ? QY_AREA_POPULATE : 0, NULL);
        if (area == NULL)
            continue;
        uint64_t at = random_below(&random, pages);
        _Atomic uint64_t *turn = (_Atomic uint64_t *)(void *)(area + at * PAGE);
        uint64_t before = atomic_load(turn);
        expect("qy_file_read", qy_file_read(world.file, buffer, PAGE, (first + at) * PAGE), PAGE);
        uint64_t read = *(uint64_t *)(void *)buffer, behind = atomic_load(turn);
        if (read < before || behind < read)
            test_fail("turn %llu by the pointer, then %llu by a read, then %llu",
                      (unsigned long long)before, (unsigned long long)read,
                      (unsigned long long)behind);
        expect("qy_space_unmap", qy_space_unmap(space, area + at * PAGE, (pages - at) * PAGE), 0);
        if (at > 0)
            expect("qy_space_unmap", qy_space_unmap(space, area, at * PAGE), 0);
        world.areas++;
    }
    return NULL;
}

static void run(double seconds)
{
    static void *(*const roles[])(void *) = {writer, reader, taker, disturber, mapper};
    static const unsigned counts[] = {WRITERS, READERS, 1, 1, 1};
    pthread_t threads[WRITERS + READERS + 3];
    unsigned nr_threads = 0;
    for (unsigned role = 0; role < COUNT_OF(roles); role++)
        for (uintptr_t i = 0; i < counts[role]; i++)
            pthread_create(&threads[nr_threads++], NULL, roles[role], (void *)i);
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (long)seconds) * 1e9)}, NULL);
    world.stop = true;
    while (nr_threads > 0)
        pthread_join(threads[--nr_threads], NULL);
}

static void build(const char *path)
{
    const struct qy_linux_options options = {
        .shared = true, .limit_bytes = LIMIT, .span_bytes = 256 * MIB, .min_free_kbytes = 256};
    struct qy_error error = {0};
    world.mm = qy_linux_mm_create(&options, &error);
    if (world.mm == NULL)
        fail_msg("%s", error.text);
    world.space = qy_space_create(world.mm, "one", 0, &error);
    world.other = qy_space_create(world.mm, "two", 0, &error);
    for (unsigned i = 0; i < REGIONS; i++) {
        const struct qy_cma_options region = {.name = i ? "guaranteed" : "eager",
                                              .ranges = {{QY_PFN_NONE, REGION}},
                                              .nr_ranges = 1,
                                              .policy = i ? QY_CMA_GUARANTEED : QY_CMA_EAGER};
        world.region[i] = qy_cma_create(world.mm, &region, &error);
        if (world.region[i] == NULL)
            fail_msg("%s", error.text);
    }
    world.file = qy_linux_file_open(world.mm, path, O_RDWR, &error);
    if (world.file == NULL)
        fail_msg("%s", error.text);
    world.cells = qy_space_map_file(world.space, world.file, 0, BYTES, QY_PROT_WRITE, 0, &error);
    world.read_only = qy_space_map_file(world.other, world.file, 0, BYTES, QY_PROT_READ, 0, &error);
    assert_non_null(world.cells);
    assert_non_null(world.read_only);
    assert_int_equal(qy_linux_reclaimer_start(world.mm), 0);
    sigaction(SIGSEGV,
              &(struct sigaction){.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER},
              NULL);
}

/* Wrong if it failed: who hands a pointer into a file to a call on that file would wait for
 * himself. */
static void by_the_same_file(void)
{
    char *bytes = (char *)world.cells;
    strcpy(bytes, "here");
    assert_int_equal(qy_file_sync(world.file), 0);
    qy_file_drop(world.file);
    assert_int_equal(qy_file_write(world.file, bytes, 2 * PAGE, 0), 2 * PAGE);
    assert_int_equal(qy_file_write(world.file, bytes, PAGE, 3 * PAGE), PAGE);
    qy_file_drop(world.file);
    assert_int_equal(qy_file_read(world.file, bytes + 3 * PAGE + 8, 16, 3 * PAGE), 16);
    assert_string_equal(bytes + 3 * PAGE + 8, "here");
    memset(bytes, 0, 4 * PAGE);
}

/* Wrong if it failed: a write by a pointer would be lost, torn, or not be in the file in the
 * end. */
static void a_file_by_pointers(void **state)
{
    char path[] = "/tmp/quarry-mmap-XXXXXX";
    const char *seconds = getenv("QUARRY_SECONDS");
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, BYTES), 0);
    build(path);
    by_the_same_file();
    run(seconds ? strtod(seconds, NULL) : 2);
    qy_linux_reclaimer_stop(world.mm);
    test_rules(world.mm);
    print_message("%llu writes, %llu reads, %llu times taken back, %llu dropped, %llu syncs, "
                  "%llu areas\n",
                  (unsigned long long)world.writes, (unsigned long long)world.reads,
                  (unsigned long long)world.taken, (unsigned long long)world.dropped,
                  (unsigned long long)world.syncs, (unsigned long long)world.areas);
    assert_true(world.taken > 0);
    assert_int_equal(qy_file_close(world.file), 0);
    assert_int_equal(qy_space_destroy(world.space), 0);
    assert_int_equal(qy_space_destroy(world.other), 0);
    for (unsigned i = 0; i < REGIONS; i++)
        assert_int_equal(qy_cma_destroy(world.region[i]), 0);
    test_rules(world.mm);
    qy_linux_mm_destroy(world.mm);
    for (size_t at = 0; at < CELLS; at++) {
        uint64_t line[8];
        assert_int_equal(pread(fd, line, 64, (off_t)at * 64), 64);
        if (line[0] != told[at])
            test_fail("cell %zu of the file has turn %llu, not %llu", at,
                      (unsigned long long)line[0], (unsigned long long)told[at]);
    }
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_file_by_pointers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
