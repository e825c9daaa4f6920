/*
 * two.c - two threads on two cores against one, on frames
 *
 *   two bulk      each thread takes 32,768 frames and gives them back in order, again and again
 *   two random    each thread holds 32,768 frames and replaces random ones
 *   two remote    each thread takes 4,096 frames, and gives back those that the other took
 *                 (alone: those that it took itself)
 *
 * All at order 0 from one memory. Then the same loops without an allocator: a number is counted up for a frame taken,
 * and nothing done for one given back. That is what the machine itself lets two threads keep, and what handing frame
 * numbers over costs ("-floor"), and from it what an allocator that itself loses nothing to the other thread would
 * keep ("-best").
 *
 * Alone and together alternate in trials so short that the cores are now and then free for all of one; the shortest
 * counts, since other load can only lengthen it. Prints the time per give + take and
 * thread together, and the share of the rate alone that each thread keeps (1.00: all): by the clock, and by the CPU time of
 * the threads ("-cpu"), which leaves out what others took of the cores, but also where a thread slept.
 */
#include "frames.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define TRIALS 120
#define HELD 32768u
#define HANDED 4096u
#define LINE 16u /* numbers handed over in a cache line */
#define AHEAD (8 * LINE)

static struct qy_mm *mm;
static int floor_only;
static _Thread_local qy_pfn_t counted;
static uint64_t ops;
static char what;
static unsigned threads;
static pthread_barrier_t gate;
/* [round parity][thread]: frames from origin on. Half as wide as a frame number, and fetched ahead: what is
 * measured is the allocator, so handing over is to cost as little as it can. */
static _Alignas(64) int32_t handed[2][2][HANDED];
static qy_pfn_t origin;
static _Alignas(64) _Atomic uint64_t arrived;

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

/* All threads have come so far as this round. */
static void meet(uint64_t round)
{
    if (threads == 1)
        return;
    atomic_fetch_add(&arrived, 1);
    for (unsigned spins = 0; atomic_load(&arrived) < 2 * round; spins++)
        if (spins > 2000)
            sched_yield();
}

static void remote(unsigned me)
{
    unsigned other = threads == 1 ? me : !me;
    for (uint64_t round = 1; round <= ops / HANDED; round++) {
        int32_t *to = handed[round & 1][me], *from = handed[round & 1][other];
        for (uint64_t i = 0; i < HANDED; i++) {
            if (i % LINE == 0)
                __builtin_prefetch(&to[(i + AHEAD) % HANDED], 1);
            to[i] = (int32_t)(take_one() - origin);
        }
        meet(round);
        for (uint64_t i = 0; i < HANDED; i++) {
            if (i % LINE == 0)
                __builtin_prefetch(&from[(i + AHEAD) % HANDED]);
            give_one(origin + (qy_pfn_t)from[i]);
        }
    }
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
    uint64_t wall_ns, cpu_ns;
};

static void *work(void *pointer)
{
    struct worker *worker = pointer;
    unsigned me = worker->me;
    uint64_t rng = 99 + me;
    stay_on(me);
    qy_pfn_t *held = take(HELD * sizeof(*held));
    for (uint64_t i = 0; what == 'a' && i < HELD; i++)
        held[i] = take_one();
    pthread_barrier_wait(&gate);
    uint64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (what == 'e') {
        remote(me);
    } else if (what == 'u') {
        for (uint64_t done = 0; done < ops; done += HELD) {
            for (uint64_t i = 0; i < HELD; i++)
                held[i] = take_one();
            for (uint64_t i = 0; i < HELD; i++)
                give_one(held[i]);
        }
    } else {
        for (uint64_t i = 0; i < ops; i++) {
            uint64_t at = rng_below(&rng, HELD);
            give_one(held[at]);
            held[at] = take_one();
        }
    }
    worker->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    worker->wall_ns = clock_ns(CLOCK_MONOTONIC) - wall;
    for (uint64_t i = 0; what == 'a' && i < HELD; i++)
        give_one(held[i]);
    free(held);
    return NULL;
}

struct times {
    double wall, cpu; /* ns per operation and thread */
};

static struct times run(unsigned n)
{
    pthread_t id[2];
    struct worker workers[2] = {{.me = 0}, {.me = 1}};
    struct times times = {0, 0};
    threads = n;
    atomic_store(&arrived, 0);
    pthread_barrier_init(&gate, NULL, n);
    for (unsigned i = 0; i < n; i++)
        if (pthread_create(&id[i], NULL, work, &workers[i]))
            die("no thread");
    for (unsigned i = 0; i < n; i++) {
        pthread_join(id[i], NULL);
        times.wall += (double)workers[i].wall_ns / n / (double)ops;
        times.cpu += (double)workers[i].cpu_ns / n / (double)ops;
    }
    pthread_barrier_destroy(&gate);
    return times;
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
    struct times alone = {1e30, 1e30}, both = alone;
    for (int i = 0; i < TRIALS; i++) {
        alone = shorter(alone, run(1));
        both = shorter(both, run(2));
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
    mm = memory_new();
    origin = frame_take(mm, 0);
    struct measured own = measure(name, "");
    floor_only = 1;
    struct measured floor = measure(name, "-floor");
    printf("two-%s-best x %.4f 0 0\n", name,
           best(own.alone.wall, floor.alone.wall, floor.both.wall));
    printf("two-%s-best-cpu x %.4f 0 0\n", name,
           best(own.alone.cpu, floor.alone.cpu, floor.both.cpu));
    return 0;
}
