/*
 * parallel.c - how long threads that ask one region for buffers wait for each other
 *
 * A region of 64 MiB, all lent, is taken in buffers of 4 MiB by one, two or four threads at once,
 * and released by them. It is lent to clean pages of one file, or of sixteen; or to an area of one
 * space, or of sixteen.
 */
#include "lending.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define ROUNDS 15
#define BUFFERS 16u
#define FRAMES (REGION_FRAMES / BUFFERS)
#define MOST_THREADS 4u

static struct qy_cma *cma;
static qy_pfn_t buffers[BUFFERS];
static unsigned nr_threads;
static _Atomic unsigned arrived;
static uint64_t moment[3];

/* What borrows: one of each kind, or one for each buffer. */
static struct qy_file *files[BUFFERS];
static struct qy_space *spaces[BUFFERS];
static char *areas[BUFFERS];

/* Until all have come so often. Awake, for what lies between takes a millisecond. */
static void meet(unsigned times)
{
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < times * nr_threads)
        sched_yield();
}

/* The host would leave threads that wake together on one processor for longer than this takes. */
static void spread(size_t number)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof(all), &all))
        die("no processors");
    size_t left = number % (size_t)CPU_COUNT(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && left-- == 0)
            CPU_SET(cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
}

static void *take_and_release(void *argument)
{
    const struct qy_cma_request request = {.nr_frames = FRAMES};
    size_t number = (size_t)argument;
    spread(number);
    meet(1);
    if (number == 0)
        moment[0] = clock_ns(CLOCK_MONOTONIC);
    for (size_t i = number; i < BUFFERS; i += nr_threads)
        if (qy_cma_alloc(cma, &request, &buffers[i], NULL))
            die("a buffer did not come");
    meet(2);
    if (number == 0)
        moment[1] = clock_ns(CLOCK_MONOTONIC);
    for (size_t i = number; i < BUFFERS; i += nr_threads)
        if (qy_cma_release(cma, buffers[i], FRAMES))
            die("a right release was refused");
    meet(3);
    if (number == 0)
        moment[2] = clock_ns(CLOCK_MONOTONIC);
    return NULL;
}

static void measure(unsigned threads, uint64_t *took, uint64_t *released)
{
    pthread_t thread[MOST_THREADS];
    nr_threads = threads;
    arrived = 0;
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, take_and_release, (void *)i))
            die("no thread");
    for (size_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    *took = moment[1] - moment[0];
    *released = moment[2] - moment[1];
}

/* ---- borrowers ---- */

static void fill_files(struct world *world, unsigned owners)
{
    char byte;
    for (uint64_t i = 0; lent(world) < REGION_FRAMES; i++)
        for (uint64_t k = 0; k < 64; k++)
            if (qy_file_read(files[i * 64 / FRAMES % owners], &byte, 1,
                             (i * 64 + k) * BENCH_PAGE) != 1)
                die("the file cannot be read");
}

static void empty_files(unsigned owners)
{
    for (unsigned i = 0; i < owners; i++)
        qy_file_drop(files[i]);
}

static void fill_areas(struct world *world, unsigned owners)
{
    for (unsigned i = 0; i < owners; i++) {
        areas[i] = qy_space_map(spaces[i], REGION / owners, QY_PROT_WRITE, QY_AREA_POPULATE, NULL);
        if (!areas[i])
            die("no area");
        memset(areas[i], 1, REGION / owners);
    }
    if (lent(world) != REGION_FRAMES)
        die("the region is not all lent");
}

static void empty_areas(unsigned owners)
{
    for (unsigned i = 0; i < owners; i++)
        if (qy_space_unmap(spaces[i], areas[i], REGION / owners))
            die("an area is not unmapped");
}

/* ---- rows ---- */

static void show(const char *what, unsigned owners, unsigned threads, uint64_t ns, uint64_t alone)
{
    char name[64];
    snprintf(name, sizeof(name), "parallel-%s%s-%u", what, owners > 1 ? "-apart" : "", threads);
    row(name, (double)ns / BUFFERS / 1000, "us/request");
    if (threads > 1) {
        snprintf(name, sizeof(name), "parallel-%s%s-%u-speed", what, owners > 1 ? "-apart" : "",
                 threads);
        row(name, (double)alone / (double)ns, "of one's");
    }
}

static void group(struct world *world, int moved, unsigned owners)
{
    uint64_t alone = 0, alone_released = 0;
    for (unsigned threads = 1; threads <= MOST_THREADS; threads *= 2) {
        uint64_t took[ROUNDS], released[ROUNDS];
        for (unsigned i = 0; i < ROUNDS; i++) {
            (moved ? fill_areas : fill_files)(world, owners);
            measure(threads, &took[i], &released[i]);
            (moved ? empty_areas : empty_files)(owners);
        }
        uint64_t ns = percentile(took, ROUNDS, 0.5), back = percentile(released, ROUNDS, 0.5);
        alone = threads == 1 ? ns : alone;
        alone_released = threads == 1 ? back : alone_released;
        show(moved ? "moved" : "clean", owners, threads, ns, alone);
        if (moved && owners > 1)
            show("release", 1, threads, back, alone_released);
    }
}

int main(void)
{
    struct world world = world_new(QY_CMA_EAGER, REGION);
    cma = world.cma;
    files[0] = world.file;
    spaces[0] = world.space;
    for (unsigned i = 1; i < BUFFERS; i++) {
        files[i] = file_new(world.mm);
        spaces[i] = space_new(world.mm);
    }
    for (int moved = 0; moved < 2; moved++)
        for (unsigned owners = 1; owners <= BUFFERS; owners *= BUFFERS)
            group(&world, moved, owners);
    for (unsigned i = 1; i < BUFFERS; i++)
        if (qy_space_destroy(spaces[i]) || qy_file_close(files[i]))
            die("the borrowers do not end");
    world_free(&world);
    return 0;
}
