/*
 * live.c - a large live set whose objects are replaced in random order
 *
 * Stands for a cache or an index that has grown big: each operation picks one of N objects at
 * random, reads its first 8 bytes, frees it and puts a new one there, writing its first 8 bytes.
 * The object is cold: cache and TLB misses count more than instructions. With "stay" the same reads
 * and writes go to objects that stay: the floor.
 *
 *   live LOW HIGH OPS N       sizes LOW .. HIGH; an operation is one free + one malloc
 *   live LOW HIGH OPS N stay  no malloc or free in the timed part
 */
#include "bench.h"

static size_t size_of(uint64_t *rng, size_t low, size_t high)
{
    return low == high ? low : low + (size_t)rng_below(rng, high - low + 1);
}

int main(int argc, char **argv)
{
    size_t low = arg(argc, argv, 1, 16), high = arg(argc, argv, 2, 256);
    uint64_t count = arg_count(argc, argv, 3, 3000000);
    uint64_t n = arg(argc, argv, 4, 1000000);
    int stay = argc > 5 && !strcmp(argv[5], "stay");
    uint64_t rng = 88172645463325252ull, sum = 0;
    void **live = take(n * sizeof(*live));

    for (uint64_t i = 0; i < n; i++) {
        size_t bytes = size_of(&rng, low, high);
        live[i] = take(bytes);
        touch(live[i], bytes, TOUCH_ALL, i);
    }
    /* Mix first, untimed: neighbours in the table are then no neighbours in memory. */
    for (uint64_t i = 0; i < n; i++) {
        uint64_t other = rng_below(&rng, n);
        void *p = live[i];
        live[i] = live[other];
        live[other] = p;
    }
    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = rng_below(&rng, n);
        size_t bytes = size_of(&rng, low, high);
        sum += peek(live[at]) & 0xff;
        if (!stay) {
            free(live[at]);
            live[at] = take(bytes);
        }
        touch(live[at], bytes, TOUCH_FIRST, i);
    }
    report_ns("live", start, count, sum);
    return 0;
}
