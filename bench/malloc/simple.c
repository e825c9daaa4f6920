/*
 * simple.c - one thread, mixed sizes, three orders of freeing
 *
 * Stands for ordinary single-threaded code: groups of 25, 100, 400 and 1,600 blocks of 16 .. 1,024
 * bytes (small ones likelier), freed first-in first-out, last-in first-out, or every second one
 * first. First 8 bytes written and read.
 *
 *   simple OPS     an operation is one malloc + one free
 */
#include "bench.h"

#define MAX_GROUP 1600u

static void *blocks[MAX_GROUP];

static uint64_t drop(unsigned i)
{
    uint64_t sum = peek(blocks[i]);
    free(blocks[i]);
    return sum;
}

static uint64_t drop_all(unsigned n, unsigned order)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned half = (n + 1) / 2;
        unsigned alternate = i < half ? 2 * i : 2 * (i - half) + 1;
        sum += drop(order == 0 ? i : order == 1 ? n - 1 - i : alternate);
    }
    return sum;
}

int main(int argc, char **argv)
{
    static const unsigned groups[] = {25, 100, 400, MAX_GROUP};
    uint64_t count = arg_count(argc, argv, 1, 10000000), ops = 0, sum = 0, rng = 99991;

    struct stopwatch start = stopwatch_start();
    for (unsigned round = 0; ops < count; round++) {
        unsigned n = groups[round % 4];
        for (unsigned i = 0; i < n; i++) {
            size_t bytes = rng_size(&rng, 16, 1024);
            blocks[i] = take(bytes);
            touch(blocks[i], bytes, TOUCH_FIRST, round + i);
        }
        sum += drop_all(n, round / 4 % 3);
        ops += n;
    }
    report_ns("simple", start, ops, sum);
    return 0;
}
