/*
 * two.c - two threads on two cores against one, on frames
 *
 *   two bulk      each thread takes 32,768 frames and gives them back in order, again and again
 *   two random    each thread holds 32,768 frames and replaces random ones
 *   two remote    each thread takes 4,096 frames, and gives back those that the other took
 *                 (alone: those that it took itself)
 *
 * All at order 0, first from one memory; then ("-apart") from a memory for each thread: what two
 * keep that share nothing but the machine. Then the same loops without an allocator ("-floor"): a
 * number is counted up for a frame taken, nothing is done for one given back. That is the cost of
 * handing frame numbers over, and from it follows what an allocator that itself loses nothing to
 * the other thread would keep ("-best").
 *
 * Alone and together alternate in trials so short that the cores are now and then free for all of
 * one; the shortest counts, since other load can only lengthen it. A trial of two counts only if
 * they really ran side by side: one that starts late has part of it for itself. An untimed turn of
 * the same work precedes each: what goes on is asked, not what a thread begins with. Prints the
 * time per give + take and thread together, and the share of its rate alone that each thread keeps
 * (1.00: all): by the clock, and by the CPU time of the threads ("-cpu"), which leaves out what
 * others took of the cores, but also where a thread slept.
 */
#include "frames.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/** Exit status: not a fault. */
#define NOT_NOW 77
#define TRIALS 120
#define HELD 32768u
#define HANDED 4096u
#define LINE 16u /* numbers handed over in a cache line */
#define AHEAD (8 * LINE)

static struct qy_mm *memories[2];
static _Thread_local struct qy_mm *mm;
static int floor_only, apart;
static _Thread_local qy_pfn_t counted;
static uint64_t ops; /* in a trial: some turns */
static char what;
static unsigned threads;
static _Alignas(4096) qy_pfn_t held_by[2][HELD];
/* [round parity][thread]: frames from origin on. Half as wide as a frame number, and fetched ahead:
 * handing over is to cost as little as it can, for the allocator is what is measured. */
static _Alignas(64) int32_t handed[2][2][HANDED];
static qy_pfn_t origin;
static _Alignas(64) _Atomic uint64_t arrived;
static _Thread_local uint64_t met;

static inline qy_pfn_t take_one(void)
{
    return floor_only ? counted++ : frame_take(mm, 0);
}

static inline void give_one(qy_pfn_t pfn)
{
    if (!floor_only)
        frame_give(mm, pfn, 0);
    else
        __asm__ volatile("" : : "r"(pfn));
}

/* Wait until all threads have come so far. None sleeps: it would be late. */
static void meet(void)
{
    uint64_t all = threads * ++met;
    atomic_fetch_add(&arrived, 1);
    for (unsigned spins = 0; atomic_load(&arrived) < all; spins++)
        if (spins > 2000)
            sched_yield();
}

static void bulk(qy_pfn_t *held)
{
    for (uint64_t i = 0; i < HELD; i++)
        held[i] = take_one();
    for (uint64_t i = 0; i < HELD; i++)
        give_one(held[i]);
}

static uint64_t replace(qy_pfn_t *held, uint64_t rng)
{
    for (uint64_t i = 0; i < HELD; i++) {
        uint64_t at = rng_below(&rng, HELD);
        give_one(held[at]);
        held[at] = take_one();
    }
    return rng;
}

static void remote(unsigned me, uint64_t round)
{
    unsigned other = threads == 1 ? me : !me;
    int32_t *to = handed[round & 1][me], *from = handed[round & 1][other];
    for (uint64_t i = 0; i < HANDED; i++) {
        if (i % LINE == 0)
            __builtin_prefetch(&to[(i + AHEAD) % HANDED], 1);
        to[i] = (int32_t)(take_one() - origin);
    }
    meet();
    for (uint64_t i = 0; i < HANDED; i++) {
        if (i % LINE == 0)
            __builtin_prefetch(&from[(i + AHEAD) % HANDED]);
        give_one(origin + (qy_pfn_t)from[i]);
    }
}

/* One turn takes and gives HELD frames. */
static void turn(unsigned me, uint64_t *rng)
{
    if (what == 'u')
        bulk(held_by[me]);
    else if (what == 'a')
        *rng = replace(held_by[me], *rng);
    for (uint64_t round = 0; what == 'e' && round < HELD / HANDED; round++)
        remote(me, round);
}

/* Thread i on the i-th core of those that the process may use, so that they never share one. */
static void stay_on(unsigned index)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(getpid(), sizeof(all), &all))
        die("sched_getaffinity");
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && index-- == 0)
            CPU_SET(cpu, &one);
    if (CPU_COUNT(&one) && sched_setaffinity(0, sizeof(one), &one))
        die("sched_setaffinity");
}

struct worker {
    unsigned me;
    uint64_t start_ns, end_ns, cpu_ns;
};

static void *work(void *pointer)
{
    struct worker *worker = pointer;
    unsigned me = worker->me;
    uint64_t rng = 99 + me;
    mm = memories[apart ? me : 0];
    stay_on(me);
    for (uint64_t i = 0; what == 'a' && i < HELD; i++)
        held_by[me][i] = take_one();
    turn(me, &rng);
    meet();
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    worker->start_ns = clock_ns(CLOCK_MONOTONIC);
    for (uint64_t done = 0; done < ops; done += HELD)
        turn(me, &rng);
    worker->end_ns = clock_ns(CLOCK_MONOTONIC);
    worker->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    for (uint64_t i = 0; what == 'a' && i < HELD; i++)
        give_one(held_by[me][i]);
    return NULL;
}

#define NEVER 1e30

struct times {
    double wall, cpu; /* ns per operation and thread */
};

/* For nineteen twentieths of the longer one's time. */
static int side_by_side(const struct worker *a, const struct worker *b)
{
    uint64_t start = a->start_ns < b->start_ns ? a->start_ns : b->start_ns;
    uint64_t end = a->end_ns > b->end_ns ? a->end_ns : b->end_ns;
    uint64_t late = a->start_ns + b->start_ns - 2 * start;
    uint64_t early = 2 * end - a->end_ns - b->end_ns;
    return (late + early) * 20 <= end - start;
}

static struct times run(unsigned n)
{
    pthread_t id[2];
    struct worker workers[2] = {{.me = 0}, {.me = 1}};
    struct times times = {0, 0};
    threads = n;
    atomic_store(&arrived, 0);
    for (unsigned i = 0; i < n; i++)
        if (pthread_create(&id[i], NULL, work, &workers[i]))
            die("no thread");
    for (unsigned i = 0; i < n; i++) {
        pthread_join(id[i], NULL);
        times.wall += (double)(workers[i].end_ns - workers[i].start_ns) / n / (double)ops;
        times.cpu += (double)workers[i].cpu_ns / n / (double)ops;
    }
    return side_by_side(&workers[0], &workers[n - 1]) ? times : (struct times){NEVER, NEVER};
}

static struct times shorter(struct times a, struct times b)
{
    return (struct times){a.wall < b.wall ? a.wall : b.wall, a.cpu < b.cpu ? a.cpu : b.cpu};
}

struct measured {
    struct times alone, both;
};

static struct measured measure(const char *name, const char *suffix)
{
    struct times alone = {NEVER, NEVER}, both = alone;
    for (int i = 0; i < TRIALS; i++) {
        alone = shorter(alone, run(1));
        both = shorter(both, run(2));
    }
    if (both.wall == NEVER) {
        fprintf(stderr, "the machine was too busy for two threads to run side by side\n");
        exit(NOT_NOW);
    }
    printf("two-%s%s ns %.3f %.3f 0\n", name, suffix, both.wall, both.cpu);
    printf("two-%s%s-kept x %.4f 0 0\n", name, suffix, alone.wall / both.wall);
    printf("two-%s%s-kept-cpu x %.4f 0 0\n", name, suffix, alone.cpu / both.cpu);
    return (struct measured){alone, both};
}

/* What could be kept at best: alone, and what the loop without an allocator loses. */
static double best(double alone, double floor_alone, double floor_both)
{
    return floor_both > floor_alone ? alone / (alone + floor_both - floor_alone) : 1;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "bulk";
    what = name[1]; /* bUlk, rAndom, rEmote */
    if (strcmp(name, "bulk") && strcmp(name, "random") && strcmp(name, "remote"))
        die("bulk, random or remote");
    ops = (arg_count(0, NULL, 0, 150000) / HELD + 1) * HELD;
    memories[0] = memory_new();
    memories[1] = memory_new();
    origin = frame_take(memories[0], 0);
    struct measured own = measure(name, "");
    apart = 1;
    if (what != 'e') /* frames that change hands are of one memory */
        measure(name, "-apart");
    floor_only = 1;
    struct measured floor = measure(name, "-floor");
    printf("two-%s-best x %.4f 0 0\n", name,
           best(own.alone.wall, floor.alone.wall, floor.both.wall));
    printf("two-%s-best-cpu x %.4f 0 0\n", name,
           best(own.alone.cpu, floor.alone.cpu, floor.both.cpu));
    return 0;
}
