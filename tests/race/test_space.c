/*
 * test_space.c - frames are moved while threads read and write the pages on them
 *
 * QUARRY_SECONDS says how long; 2 without it.
 */
#include "cells.h"
#include "support.h"

#include "buddy/lend.h"
#include "space/space.h"

#include <quarry/buddy.h>
#include <quarry/linux.h>
#include <quarry/space.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#define WRITERS 3
#define READERS 2
#define MOVERS 2
#define BYTES (16 * MIB)
#define CELLS (BYTES / 64)

static struct {
    struct qy_mm *mm;
    struct qy_space *space;
    struct cell *cells;
    _Atomic bool stop;
    unsigned lowest_order; /* of runs that are moved */
    _Atomic uint64_t writes, reads, moved, refused, areas;
} world;

static uint64_t told[CELLS]; /* by its writer: how far each cell is */

static void handle(int signal, siginfo_t *info, void *context)
{
    if (!qy_linux_fault_handler(signal, info, context))
        test_fail("a fault at %p that is not of a space", info->si_addr);
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

static void *reader(void *argument)
{
    struct random random = {(uintptr_t)argument + 100};
    uint64_t reads = 0;
    while (!atomic_load_explicit(&world.stop, memory_order_relaxed)) {
        size_t at = random_below(&random, CELLS);
        struct cell *cell = &world.cells[at];
        if (atomic_load_explicit(&cell->turn, memory_order_relaxed) != 0) /* else it is all zero */
            reads += cell_read(cell, at);
    }
    world.reads += reads;
    return NULL;
}

/* Some pages that begin at a random one go to other frames. */
static void move(struct random *random, uint32_t page, unsigned order)
{
    struct qy_mm *mm = world.mm;
    unsigned count = 1u << order;
    bool fresh;
    qy_pfn_t from = qy_space_translate(world.space, qy_space_address(world.space, page));
    if (from == QY_PFN_NONE)
        return;
    unsigned ticket = qy_grace_enter(&mm->grace);
    struct qy_mapping *mapping = qy_folio_of(mm, from)->mapping;
    int isolated = mapping ? mapping->ops->isolate(mapping, page, from, count) : -EAGAIN;
    qy_pfn_t to = isolated > 0 ? qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, order, &fresh)
                               : QY_PFN_NONE;
    if (isolated > 0 && (to == QY_PFN_NONE || random_one_in(random, 8))) {
        assert_int_equal(mapping->ops->putback(mapping, page, from, from, (unsigned)isolated), 0);
        if (to != QY_PFN_NONE)
            qy_lend_return(mm, to, count);
    } else if (isolated > 0) {
        if ((unsigned)isolated < count)
            qy_lend_return(mm, to + (unsigned)isolated, count - (unsigned)isolated);
        memcpy(qy_frame_address(mm, to), qy_frame_address(mm, from), (size_t)isolated * PAGE);
        if (mapping->ops->putback(mapping, page, from, to, (unsigned)isolated) != 0)
            qy_lend_return(mm, to, (unsigned)isolated);
        world.moved += (unsigned)isolated;
    } else {
        world.refused++;
    }
    qy_grace_leave(&mm->grace, ticket);
}

static void *mover(void *argument)
{
    struct random random = {(uintptr_t)argument + 200};
    uint32_t first = (uint32_t)qy_space_page(world.space, world.cells);
    while (!atomic_load(&world.stop)) {
        unsigned order = world.lowest_order;
        order += (unsigned)random_below(&random, 10 - order);
        uint32_t page = (uint32_t)random_below(&random, BYTES / PAGE);
        move(&random, first + (page >> order << order), order);
    }
    return NULL;
}

/* Areas that come and go beside it, with pins and changes of what may be done. */
static void *mapper(void *argument)
{
    struct random random = {(uintptr_t)argument + 300};
    while (!atomic_load(&world.stop)) {
        size_t pages = 1 + random_below(&random, 600), at = random_below(&random, pages);
        char *area = qy_space_map(world.space, pages * PAGE, QY_PROT_WRITE,
                                  random_one_in(&random, 4) ? QY_AREA_POPULATE : 0, NULL);
        if (area == NULL)
            test_fail("no area of %zu pages", pages);
        area[at * PAGE] = 1;
        qy_pfn_t pfn;
        assert_int_equal(qy_space_pin(world.space, area + at * PAGE, 1, QY_PIN_SHORT, &pfn), 0);
        assert_int_equal(*(char *)qy_frame_address(world.mm, pfn), 1);
        assert_int_equal(qy_space_unmap(world.space, area, pages * PAGE), -EBUSY);
        assert_int_equal(qy_space_unpin(world.space, area + at * PAGE, 1), 0);
        assert_int_equal(qy_space_protect(world.space, area + at * PAGE, PAGE, QY_PROT_READ), 0);
        if (area[at * PAGE] != 1)
            test_fail("a page lost its byte when it was protected");
        assert_int_equal(qy_space_unmap(world.space, area, pages * PAGE), 0);
        world.areas++;
    }
    return NULL;
}

static void run(double seconds)
{
    static void *(*const roles[])(void *) = {writer, reader, mover, mapper};
    static const unsigned counts[] = {WRITERS, READERS, MOVERS, 1};
    pthread_t threads[WRITERS + READERS + MOVERS + 1];
    unsigned nr_threads = 0;
    for (unsigned role = 0; role < COUNT_OF(roles); role++)
        for (uintptr_t i = 0; i < counts[role]; i++)
            pthread_create(&threads[nr_threads++], NULL, roles[role], (void *)i);
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (long)seconds) * 1e9)}, NULL);
    world.stop = true;
    while (nr_threads > 0)
        pthread_join(threads[--nr_threads], NULL);
}

static void moved_under_a_running_program(unsigned lowest_order)
{
    const struct qy_linux_options options = {.shared = true, .span_bytes = GIB};
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct qy_error error = {0};
    const char *seconds = getenv("QUARRY_SECONDS");
    memset(&world, 0, sizeof(world));
    memset(told, 0, sizeof(told));
    world.lowest_order = lowest_order;
    world.mm = qy_linux_mm_create(&options, &error);
    if (world.mm == NULL)
        fail_msg("%s", error.text);
    world.space = qy_space_create(world.mm, "race", 0, &error);
    assert_non_null(world.space);
    sigaction(SIGSEGV, &action, NULL);
    world.cells = qy_space_map(world.space, BYTES, QY_PROT_WRITE, QY_AREA_HUGE, &error);
    assert_non_null(world.cells);
    run(seconds ? strtod(seconds, NULL) : 2);
    test_rules(world.mm);
    for (size_t at = 0; at < CELLS; at++)
        assert_int_equal(world.cells[at].turn, told[at]);
    print_message("%llu writes, %llu reads, %llu frames moved, %llu refused, %llu areas\n",
                  (unsigned long long)world.writes, (unsigned long long)world.reads,
                  (unsigned long long)world.moved, (unsigned long long)world.refused,
                  (unsigned long long)world.areas);
    assert_true(world.moved > 0 && world.writes > 0 && world.reads > 0);
    assert_int_equal(qy_space_destroy(world.space), 0);
    test_rules(world.mm);
    qy_linux_mm_destroy(world.mm);
}

/* Wrong if it failed: a write would be lost, or a page torn, while its frame is changed under the
 * threads that use it. */
static void moved_in_runs_of_any_length(void **state)
{
    (void)state;
    moved_under_a_running_program(0);
}

/* Wrong if it failed: the same, where the host's tables go along with the frames: only in runs that
 * no smaller move has broken up. */
static void moved_in_long_runs(void **state)
{
    (void)state;
    moved_under_a_running_program(7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moved_in_runs_of_any_length),
        cmocka_unit_test(moved_in_long_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
