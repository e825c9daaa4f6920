/*
 * limits.c - what the machine itself costs: the yardsticks of the frame allocator
 *
 *   rmw      one locked read-modify-write of a word that no other core wants
 *   rmw-used the same, where the next one needs its result
 *   mutex    lock and unlock of a free mutex
 *   list     pop and push on a thread's own array
 *   load-8M, load-512M   one load from a random place in so much memory
 */
#include "../malloc/bench.h"
#include <pthread.h>

static uint64_t load_random(const char *name, size_t bytes)
{
    uint64_t n = bytes / 8, count = arg_count(0, NULL, 0, 5000000), rng = 5;
    uint64_t *words = take(bytes);
    for (uint64_t i = 0; i < n; i++)
        words[i] = rng_below(&rng, n);
    struct stopwatch start = stopwatch_start();
    uint64_t at = 0;
    for (uint64_t i = 0; i < count; i++)
        at = words[(at + i) & (n - 1)];
    report_ns(name, start, count, at);
    free(words);
    return at;
}

int main(void)
{
    static _Thread_local volatile uint64_t list[64], depth = 32;
    static uint64_t word;
    uint64_t count = arg_count(0, NULL, 0, 30000000), sum = 0;

    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++)
        __atomic_fetch_add(&word, 1, __ATOMIC_ACQ_REL);
    report_ns("rmw", start, count, word);

    start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++)
        sum = __atomic_fetch_add(&word, sum | 1, __ATOMIC_ACQ_REL);
    report_ns("rmw-used", start, count, sum);

    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    }
    report_ns("mutex", start, count, 0);

    start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t pfn = list[--depth];
        sum += pfn;
        list[depth++] = pfn + 1;
    }
    report_ns("list", start, count, sum);

    load_random("load-8M", 8u << 20);
    load_random("load-512M", 512u << 20);
    return 0;
}
