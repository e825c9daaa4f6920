/*
 * mixed.c - threads that hold a changing mix of sizes
 *
 * Stands for a multi-threaded application at work, each thread on its own data: a table of 3,000
 * places. Half of the operations fill a run of neighbouring places with blocks of 16 .. 8,192 bytes
 * (small ones much likelier), half empty a run forwards or backwards. First 8 bytes written and
 * read.
 *
 *   mixed OPS THREADS     an operation is one malloc + one free; OPS is the sum over the threads
 */
#include "bench.h"
#include <pthread.h>

#define PLACES 3000u
#define RUN 64u
#define MAX_THREADS 64

struct worker {
    pthread_t thread;
    uint64_t rng, ops, sum;
};

/* Nine of ten blocks are at most 512 bytes. */
static size_t block_bytes(uint64_t *rng)
{
    return rng_below(rng, 10) ? rng_size(rng, 16, 512) : rng_size(rng, 512, 8192);
}

static void *work(void *pointer)
{
    struct worker *w = pointer;
    void **places = calloc(PLACES, sizeof(*places));
    if (!places)
        die("out of memory");
    for (uint64_t done = 0; done < w->ops;) {
        unsigned from = (unsigned)rng_below(&w->rng, PLACES - RUN);
        int fill = rng_next(&w->rng) >> 63, backwards = rng_next(&w->rng) >> 63;
        for (unsigned i = 0; i < RUN; i++) {
            void **place = &places[from + (backwards ? RUN - 1 - i : i)];
            if (fill && !*place) {
                size_t bytes = block_bytes(&w->rng);
                *place = take(bytes);
                touch(*place, bytes, TOUCH_FIRST, bytes);
                done++;
            } else if (!fill && *place) {
                w->sum += peek(*place);
                free(*place);
                *place = NULL;
            }
        }
    }
    for (unsigned i = 0; i < PLACES; i++)
        free(places[i]);
    free(places);
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_count(argc, argv, 1, 6000000);
    unsigned n = (unsigned)arg(argc, argv, 2, 2);
    struct worker workers[MAX_THREADS];
    uint64_t sum = 0;
    if (!n || n > MAX_THREADS)
        die("threads out of range");

    struct stopwatch start = stopwatch_start();
    for (unsigned i = 0; i < n; i++) {
        workers[i] = (struct worker){.rng = 1000 + i, .ops = count / n};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            die("no thread");
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
        sum += workers[i].sum;
    }
    report_ns("mixed", start, count, sum);
    return 0;
}
