/*
 * two.c - two threads on two cores against one, on frames
 *
 *   two bulk      each thread takes 32,768 frames and gives them back in order, again and again
 *   two random    each thread holds 32,768 frames and replaces random ones
 *   two remote    each thread takes 4,096 frames, and gives back those that the other took
 *                 (alone: those that it took itself)
 *
 * All at order 0 from one memory. Alone and together alternate five times, the shortest counts, since other load
 * can only lengthen it. Prints the time per give + take and thread together, and the share of the rate alone
 * that each thread keeps (1.00: all).
 */
#include "frames.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define TRIALS 5
#define HELD 32768u
#define HANDED 4096u

static struct qy_mm *mm;
static uint64_t ops;
static char what;
static unsigned threads;
static pthread_barrier_t gate;
static qy_pfn_t handed[2][2][HANDED]; /* [round parity][thread] */
static _Atomic uint64_t arrived;

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
        for (uint64_t i = 0; i < HANDED; i++)
            handed[round & 1][me][i] = frame_take(mm, 0);
        meet(round);
        for (uint64_t i = 0; i < HANDED; i++)
            frame_give(mm, handed[round & 1][other][i], 0);
    }
}

static void *work(void *pointer)
{
    unsigned me = (unsigned)(uintptr_t)pointer;
    uint64_t rng = 99 + me;
    qy_pfn_t *held = take(HELD * sizeof(*held));
    for (uint64_t i = 0; what == 'a' && i < HELD; i++)
        held[i] = frame_take(mm, 0);
    pthread_barrier_wait(&gate);
    struct stopwatch start = stopwatch_start();
    if (what == 'e') {
        remote(me);
    } else if (what == 'u') {
        for (uint64_t done = 0; done < ops; done += HELD) {
            for (uint64_t i = 0; i < HELD; i++)
                held[i] = frame_take(mm, 0);
            for (uint64_t i = 0; i < HELD; i++)
                frame_give(mm, held[i], 0);
        }
    } else {
        for (uint64_t i = 0; i < ops; i++) {
            uint64_t at = rng_below(&rng, HELD);
            frame_give(mm, held[at], 0);
            held[at] = frame_take(mm, 0);
        }
    }
    uint64_t ns = stopwatch_start().wall_ns - start.wall_ns;
    for (uint64_t i = 0; what == 'a' && i < HELD; i++)
        frame_give(mm, held[i], 0);
    free(held);
    return (void *)(uintptr_t)ns;
}

static double run(unsigned n)
{
    pthread_t id[2];
    uint64_t ns = 0;
    threads = n;
    atomic_store(&arrived, 0);
    pthread_barrier_init(&gate, NULL, n);
    for (unsigned i = 0; i < n; i++)
        if (pthread_create(&id[i], NULL, work, (void *)(uintptr_t)i))
            die("no thread");
    for (unsigned i = 0; i < n; i++) {
        void *result;
        pthread_join(id[i], &result);
        ns += (uintptr_t)result;
    }
    pthread_barrier_destroy(&gate);
    return (double)ns / n / (double)ops;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "bulk";
    what = name[1]; /* bUlk, rAndom, rEmote */
    if (strcmp(name, "bulk") && strcmp(name, "random") && strcmp(name, "remote"))
        die("bulk, random or remote");
    ops = (arg_count(0, NULL, 0, 2000000) / HELD + 1) * HELD;
    mm = memory_new();
    double alone = 1e30, both = 1e30;
    for (int i = 0; i < TRIALS; i++) {
        double one = run(1), two = run(2);
        alone = one < alone ? one : alone;
        both = two < both ? two : both;
    }
    printf("two-%s ns %.3f 0 0\ntwo-%s-kept x %.4f 0 0\n", name, both, name, alone / both);
    return 0;
}
