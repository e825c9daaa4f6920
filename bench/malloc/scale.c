/*
 * scale.c - two threads on two cores against one
 *
 * Does a second core bring twice the work? Each thread works on blocks of its own. One thread runs
 * alone, then two run together, five times in turn; the shortest time of each counts, since other
 * load on the machine can only lengthen it. Prints the time per operation and thread with two, and
 * that time over the time alone (1.00: a second core costs nothing; 2.00: it brings nothing).
 *
 *   scale WORK OPS SIZE       WORK is pair (in turn), batch (300 at a time) or random (10,000 live,
 *                             random replace); OPS for each thread; first 8 bytes written and read
 */
#include "bench.h"
#include <pthread.h>

#define TRIALS 5

static char work_name;
static uint64_t count;
static size_t bytes;
static pthread_barrier_t gate;

static void fill(void **place, uint64_t value)
{
    *place = take(bytes);
    touch(*place, bytes, TOUCH_FIRST, value);
}

static uint64_t empty(void *block)
{
    uint64_t sum = peek(block);
    free(block);
    return sum;
}

static uint64_t operate(void **live, uint64_t n, uint64_t seed)
{
    uint64_t sum = 0, rng = seed;
    for (uint64_t i = 0; i < count; i += work_name == 'b' ? n : 1) {
        if (work_name == 'b') {
            for (uint64_t k = 0; k < n; k++)
                sum += empty(live[k]);
            for (uint64_t k = 0; k < n; k++)
                fill(&live[k], i);
        } else {
            void **place = &live[n == 1 ? 0 : rng_below(&rng, n)];
            sum += empty(*place);
            fill(place, i);
        }
    }
    return sum;
}

static volatile uint64_t sink;

static void *work(void *pointer)
{
    uint64_t n = work_name == 'p' ? 1 : work_name == 'b' ? 300 : 10000;
    void **live = take(n * sizeof(*live));
    for (uint64_t i = 0; i < n; i++)
        fill(&live[i], i);
    pthread_barrier_wait(&gate);
    struct stopwatch start = stopwatch_start();
    uint64_t sum = operate(live, n, (uintptr_t)pointer);
    uint64_t ns = stopwatch_start().wall_ns - start.wall_ns;
    for (uint64_t i = 0; i < n; i++)
        sum += empty(live[i]);
    free(live);
    sink = sum;
    return (void *)(uintptr_t)ns;
}

/* Mean time of a thread, in ns per operation. */
static double run(unsigned threads)
{
    pthread_t id[2];
    uint64_t ns = 0;
    pthread_barrier_init(&gate, NULL, threads);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&id[i], NULL, work, (void *)(uintptr_t)(i + 1)))
            die("no thread");
    for (unsigned i = 0; i < threads; i++) {
        void *result;
        pthread_join(id[i], &result);
        ns += (uintptr_t)result;
    }
    pthread_barrier_destroy(&gate);
    return (double)ns / threads / (double)count;
}

int main(int argc, char **argv)
{
    work_name = argc > 1 ? argv[1][0] : 'p';
    count = arg_count(argc, argv, 2, 1000000);
    bytes = arg(argc, argv, 3, 64);
    double alone = 1e30, both = 1e30;
    for (int i = 0; i < TRIALS; i++) {
        double one = run(1), two = run(2);
        alone = one < alone ? one : alone;
        both = two < both ? two : both;
    }
    printf("two ns %.3f 0 0\nshare x %.4f 0 0\n", both, both / alone);
    return 0;
}
