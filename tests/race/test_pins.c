/*
 * test_pins.c - a page of a region that is pinned for a moment, one that stays so, and one that a
 *               reader does not come away from
 */
#include "support.h"

#include <quarry/cma.h>
#include <quarry/linux.h>
#include <quarry/space.h>

#include <quarry/cache.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FRAMES 1024
#define PIN_MS 30

static struct qy_mm *mm;
static struct qy_space *space;
static struct qy_cma *cma;
static char *area; /* all of the region, and more */
static char *page; /* on a frame of the region */

static int setup(void **state)
{
    const struct qy_linux_options options = {.shared = true, .span_bytes = 64 * MIB, .fixed = true};
    const struct qy_cma_options region = {.name = "camera",
                                          .ranges = {{QY_PFN_NONE, FRAMES}},
                                          .nr_ranges = 1,
                                          .policy = QY_CMA_EAGER};
    struct qy_error error;
    struct qy_cma_stat stat;
    (void)state;
    mm = qy_linux_mm_create(&options, &error);
    cma = qy_cma_create(mm, &region, &error);
    space = qy_space_create(mm, "borrower", 0, &error);
    area = qy_space_map(space, 8 * MIB, QY_PROT_WRITE, QY_AREA_POPULATE, &error);
    assert_non_null(area);
    qy_cma_stat(cma, &stat);
    assert_int_equal(stat.lent, FRAMES);
    page = area; /* regions are lent first */
    *page = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rules(mm);
    assert_int_equal(qy_space_destroy(space), 0);
    assert_int_equal(qy_cma_destroy(cma), 0);
    qy_linux_mm_destroy(mm);
    return 0;
}

static double ms_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void *unpin_later(void *argument)
{
    (void)argument;
    usleep(PIN_MS * 1000);
    assert_int_equal(qy_space_unpin(space, page, PAGE), 0);
    return NULL;
}

/** How a request for all of the region ends. */
static int request(uint64_t deadline_ns, struct qy_cma_report *report, double *took, double *worked)
{
    const struct qy_cma_request all = {.nr_frames = FRAMES, .deadline_ns = deadline_ns};
    qy_pfn_t pfn;
    double before = ms_of(CLOCK_MONOTONIC), worked_before = ms_of(CLOCK_THREAD_CPUTIME_ID);
    int code = qy_cma_alloc(cma, &all, &pfn, report);
    *took = ms_of(CLOCK_MONOTONIC) - before;
    *worked = ms_of(CLOCK_THREAD_CPUTIME_ID) - worked_before;
    if (code == 0)
        assert_int_equal(qy_cma_release(cma, pfn, FRAMES), 0);
    return code;
}

/* Wrong if it failed: a transfer of some milliseconds would fail a request, or cost it a
 * processor. */
static void a_pin_of_a_moment(void **state)
{
    struct qy_cma_report report;
    double took, worked;
    pthread_t thread;
    (void)state;
    assert_int_equal(qy_space_pin(space, page, PAGE, QY_PIN_SHORT, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, unpin_later, NULL), 0);
    int code = request(0, &report, &took, &worked);
    pthread_join(thread, NULL);
    print_message("took %.1f ms, %.1f of them at work\n", took, worked);
    assert_int_equal(code, 0);
    assert_int_equal(report.nr_stuck, 0);
    assert_true(took > PIN_MS / 2.0 && worked < took);
}

/* Wrong if it failed: a pin that stays would hold a request up for ever, or burn a processor. */
static void a_pin_that_stays(void **state)
{
    struct qy_cma_report report;
    double took, worked;
    (void)state;
    assert_int_equal(qy_space_pin(space, page, PAGE, QY_PIN_SHORT, NULL), 0);
    assert_int_equal(request(0, &report, &took, &worked), -EBUSY);
    print_message("took %.1f ms, %.1f of them at work\n", took, worked);
    assert_int_equal(report.nr_stuck, 1);
    assert_int_equal(report.stuck[0].reason, QY_CMA_PINNED);
    assert_string_equal(report.stuck[0].owner, "borrower");
    assert_int_equal(report.moved, 0); /* nothing is moved in vain */
    assert_true(took > 50 && worked < took / 2);
    assert_int_equal(request(10000000, &report, &took, &worked), -ETIME);
    assert_int_equal(qy_space_unpin(space, page, PAGE), 0);
    assert_int_equal(request(0, &report, &took, &worked), 0);
}

/* ---- a guaranteed region ---- */

static sem_t faulted, taken;
static char *buffer;

/* The reader's buffer comes late: from a slow disk, or because its thread does not run. */
static void come_late(int signal)
{
    (void)signal;
    sem_post(&faulted);
    while (sem_wait(&taken) != 0)
        ;
    mprotect(buffer, PAGE, PROT_READ | PROT_WRITE);
}

static void *read_late(void *file)
{
    assert_int_equal(qy_file_read(file, buffer, PAGE, 3 * PAGE), PAGE);
    return NULL;
}

/** A file that lies in the region, but for the frames that are kept for others. */
static struct qy_file *file_in_region(void)
{
    char path[] = "/tmp/quarry-pins-XXXXXX";
    static char bytes[PAGE];
    struct qy_cma_stat stat;
    int fd = mkstemp(path);
    for (unsigned i = 0; i < FRAMES; i++) {
        memset(bytes, (int)i, sizeof(bytes));
        assert_int_equal(pwrite(fd, bytes, PAGE, (off_t)i * PAGE), PAGE);
    }
    close(fd);
    struct qy_file *file = qy_linux_file_open(mm, path, O_RDONLY, NULL);
    assert_non_null(file);
    unlink(path);
    for (unsigned i = 0; i < FRAMES; i++)
        assert_int_equal(qy_file_read(file, bytes, PAGE, (uint64_t)i * PAGE), PAGE);
    qy_cma_stat(cma, &stat);
    assert_true(stat.lent > FRAMES / 2);
    return file;
}

/* Wrong if it failed: a camera would wait for whatever a reader of a file waits for, and be refused
 * in the end; or the reader would get other bytes. */
static void a_reader_that_is_late(void **state)
{
    const struct qy_linux_options options = {.shared = true, .span_bytes = 64 * MIB, .fixed = true};
    const struct qy_cma_options region = {.name = "camera",
                                          .ranges = {{QY_PFN_NONE, FRAMES}},
                                          .nr_ranges = 1,
                                          .policy = QY_CMA_GUARANTEED};
    struct sigaction before, action = {.sa_handler = come_late};
    struct qy_cma_report report;
    struct qy_error error;
    double took, worked;
    pthread_t thread;
    (void)state;
    mm = qy_linux_mm_create(&options, &error);
    cma = qy_cma_create(mm, &region, &error);
    struct qy_file *file = file_in_region();
    buffer = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sem_init(&faulted, 0, 0);
    sem_init(&taken, 0, 0);
    sigaction(SIGSEGV, &action, &before);
    assert_int_equal(pthread_create(&thread, NULL, read_late, file), 0);
    sem_wait(&faulted);
    int code = request(0, &report, &took, &worked);
    sem_post(&taken);
    pthread_join(thread, NULL);
    sigaction(SIGSEGV, &before, NULL);
    assert_int_equal(code, 0);
    assert_int_equal(report.nr_stuck, 0);
    assert_int_equal(buffer[0], 3);
    assert_int_equal(buffer[PAGE - 1], 3);
    munmap(buffer, PAGE);
    test_rules(mm);
    assert_int_equal(qy_file_close(file), 0);
    assert_int_equal(qy_cma_destroy(cma), 0);
    qy_linux_mm_destroy(mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_that_is_late),
        cmocka_unit_test_setup_teardown(a_pin_of_a_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pin_that_stays, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
