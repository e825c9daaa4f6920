/*
 * batch.c - N blocks of one size, then all of them freed
 *
 * Stands for a request that builds a structure and drops it whole: a parse tree, a row set. It is
 * more than a small cache in front of the allocator holds, so the second storey is measured too.
 * Freed in the order of allocation.
 *
 *   batch SIZE OPS N TOUCH     an operation is one malloc + one free
 */
#include "bench.h"

static uint64_t work(void **blocks, uint64_t n, size_t bytes, uint64_t rounds, enum touch how)
{
    uint64_t sum = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < n; i++) {
            blocks[i] = take(bytes);
            touch(blocks[i], bytes, how, round + i);
        }
        for (uint64_t i = 0; i < n; i++) {
            sum += peek(blocks[i]);
            free(blocks[i]);
        }
    }
    return sum;
}

int main(int argc, char **argv)
{
    size_t bytes = arg(argc, argv, 1, 64);
    uint64_t n = arg(argc, argv, 3, 300);
    uint64_t rounds = arg_count(argc, argv, 2, 3000000) / n + 1;
    enum touch how = arg_touch(argc, argv, 4);
    void **blocks = take(n * sizeof(*blocks));

    work(blocks, n, bytes, rounds / 10 + 1, how);
    struct stopwatch start = stopwatch_start();
    uint64_t sum = work(blocks, n, bytes, rounds, how);
    report_ns("batch", start, rounds * n, sum);
    return 0;
}
