/*
 * test_touched.c - memory under plain pointers: areas, faults, moves, pins, in a process
 */
#define _GNU_SOURCE
#include "support.h"

#include "buddy/lend.h"
#include "space/space.h"

#include <quarry/linux.h>
#include <quarry/space.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static struct qy_mm *mm;
static struct qy_space *space;

static int setup(void **state)
{
    const struct qy_linux_options options = {.shared = true, .span_bytes = GIB};
    struct qy_error error = {0};
    (void)state;
    mm = qy_linux_mm_create(&options, &error);
    if (mm == NULL)
        fail_msg("%s", error.text);
    space = qy_space_create(mm, "test", 256 * MIB, &error);
    if (space == NULL)
        fail_msg("%s", error.text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rules(mm);
    assert_int_equal(qy_space_destroy(space), 0);
    test_rules(mm);
    qy_linux_mm_destroy(mm);
    return 0;
}

static void handle(int signal, siginfo_t *info, void *context)
{
    if (!qy_linux_fault_handler(signal, info, context))
        test_fail("a fault at %p that is not of a space", info->si_addr);
}

/* cmocka has handlers of its own in each test, so this is a program that came later. */
static void watch(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
}

static char *map(size_t bytes, uint32_t flags)
{
    struct qy_error error = {0};
    watch();
    char *at = qy_space_map(space, bytes, QY_PROT_READ | QY_PROT_WRITE, flags, &error);
    if (at == NULL)
        fail_msg("%s", error.text);
    return at;
}

static struct qy_space_stat stat_of(void)
{
    struct qy_space_stat stat;
    qy_space_stat(space, &stat);
    return stat;
}

/* Wrong if it failed: a page would not come when it is touched, would not read as zero, or not
 * keep what is written. */
static void touched_pages_come(void **state)
{
    (void)state;
    char *at = map(1 * MIB + 1, 0);
    assert_int_equal(stat_of().mapped, 257);
    assert_int_equal(stat_of().resident, 0);
    assert_int_equal(qy_space_translate(space, at), QY_PFN_NONE);
    for (size_t i = 0; i < MIB; i += 512)
        assert_int_equal(at[i], 0);
    assert_int_equal(stat_of().resident, 256);
    for (size_t i = 0; i < MIB; i += 512)
        at[i] = (char)(i / 512 % 251);
    at[MIB] = 7; /* a page alone: the area ends there */
    assert_int_equal(stat_of().resident, 257);
    test_rules(mm);
    for (size_t i = 0; i < MIB; i += 512)
        assert_int_equal(at[i], (char)(i / 512 % 251));
    qy_pfn_t pfn = qy_space_translate(space, at + 5 * PAGE + 512);
    assert_int_equal(((char *)qy_frame_address(mm, pfn))[512], at[5 * PAGE + 512]);
    assert_int_equal(qy_space_unmap(space, at, 257 * PAGE), 0);
    assert_int_equal(stat_of().areas + stat_of().mapped + stat_of().resident, 0);
    assert_int_equal(stat_of().table_frames, 0);
    at = map(64 * 1024, 0);
    assert_int_equal(at[5 * PAGE], 0); /* frames that were used before */
}

/* Move the frames of some pages, as whoever wants them does. */
static int move(char *address, unsigned count)
{
    uint64_t page = qy_space_page(space, address);
    qy_pfn_t from = qy_space_translate(space, address);
    unsigned order = count > 1 ? 32 - (unsigned)__builtin_clz(count - 1) : 0;
    bool fresh;
    struct qy_mapping *mapping = qy_folio_of(mm, from)->mapping;
    assert_ptr_equal(mapping, &space->mapping);
    int isolated = mapping->ops->isolate(mapping, (uint32_t)page, from, count);
    if (isolated < 0)
        return isolated;
    qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, order, &fresh);
    assert_int_not_equal(to, QY_PFN_NONE);
    if ((unsigned)isolated < 1u << order)
        qy_lend_return(mm, to + (unsigned)isolated, (1u << order) - (unsigned)isolated);
    memcpy(qy_frame_address(mm, to), qy_frame_address(mm, from), (size_t)isolated * PAGE);
    int code = mapping->ops->putback(mapping, (uint32_t)page, from, to, (unsigned)isolated);
    assert_int_equal(code, 0);
    assert_int_equal(qy_space_translate(space, address), to);
    return isolated;
}

/* Wrong if it failed: the program would see other bytes after a move than before it. */
static void moved_pages_keep_their_bytes(void **state)
{
    (void)state;
    char *at = map(4 * MIB, QY_AREA_HUGE);
    for (size_t i = 0; i < 4 * MIB; i += PAGE)
        memcpy(at + i, &i, sizeof(i));
    assert_int_equal(stat_of().table_frames, 3); /* two entries of 2 MiB */
    assert_int_equal(move(at, 512), 512);
    assert_int_equal(stat_of().table_frames, 3);
    assert_int_equal(move(at + 2 * MIB + 3 * PAGE, 5), 5);
    assert_int_equal(move(at + 4 * MIB - PAGE, 1), 1);
    test_rules(mm);
    for (size_t i = 0; i < 4 * MIB; i += PAGE) {
        assert_memory_equal(at + i, &i, sizeof(i));
        at[i + 8] = 1; /* may be written again */
    }
    assert_int_equal(stat_of().moved, 518);
    assert_int_equal(stat_of().faults, 1024);
}

/** Faults of the host's, by which the core comes to a block that an area had; not a sanitizer's. */
__attribute__((no_sanitize("address", "thread"))) static long faults_of_core(qy_pfn_t pfn)
{
    struct rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    for (unsigned page = 0; page < 512; page++)
        (void)*(volatile char *)qy_frame_address(mm, pfn + page);
    getrusage(RUSAGE_THREAD, &after);
    return after.ru_minflt - before.ru_minflt;
}

/* Wrong if it failed: who gets the frames next would fill the host's tables for them page by page,
 * after an area, or a space, that goes. */
static void tables_come_back(void **state)
{
    struct qy_space *second = qy_space_create(mm, "second", 256 * MIB, NULL);
    (void)state;
    char *at = map(2 * MIB, QY_AREA_HUGE);
    memset(at, 1, 2 * MIB);
    qy_pfn_t pfn = qy_space_translate(space, at);
    assert_int_equal(qy_space_unmap(space, at, 2 * MIB), 0);
    assert_in_range(faults_of_core(pfn), 0, 8);
    at = qy_space_map(second, 2 * MIB, QY_PROT_WRITE, QY_AREA_HUGE, NULL);
    memset(at, 1, 2 * MIB);
    pfn = qy_space_translate(second, at);
    assert_int_equal(qy_space_destroy(second), 0);
    assert_in_range(faults_of_core(pfn), 0, 8);
}

static struct {
    volatile uint32_t *word;
    _Atomic bool written;
} writer;

static void *write_word(void *unused)
{
    (void)unused;
    *writer.word = 5;
    writer.written = true;
    return NULL;
}

/* Wrong if it failed: what is written while a page is copied would be lost. */
static void who_writes_waits(void **state)
{
    (void)state;
    pthread_t thread;
    char *at = map(64 * 1024, QY_AREA_POPULATE);
    qy_pfn_t pfn = qy_space_translate(space, at);
    struct qy_mapping *mapping = &space->mapping;
    uint32_t page = (uint32_t)qy_space_page(space, at);
    writer.word = (void *)at;
    assert_int_equal(mapping->ops->isolate(mapping, page, pfn, 3), 3);
    assert_int_equal(mapping->ops->isolate(mapping, page, pfn, 3), -EAGAIN);
    assert_int_equal(mapping->ops->isolate(mapping, page + 3, pfn, 1), -EAGAIN); /* another frame */
    pthread_create(&thread, NULL, write_word, NULL);
    assert_int_equal(*(volatile uint32_t *)at, 0); /* who reads does not */
    at[3 * PAGE] = 1;                              /* nor who writes elsewhere */
    usleep(20000);
    assert_false(writer.written);
    test_rules(mm);
    assert_int_equal(mapping->ops->putback(mapping, page, pfn, pfn, 3), 0); /* not after all */
    pthread_join(thread, NULL);
    assert_int_equal(*(uint32_t *)at, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(touched_pages_come, setup, teardown),
        cmocka_unit_test_setup_teardown(moved_pages_keep_their_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(who_writes_waits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
