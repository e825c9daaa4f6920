/*
 * pair.c - one block in turn: malloc, touch, free, again
 *
 * Stands for the temporary buffer of a function that is called often. The allocator may give the
 * same block each time, so this is its shortest path; large blocks show who keeps freed memory and
 * who gives it back at once.
 *
 *   pair SIZE COUNT TOUCH     an operation is one malloc + one free
 */
#include "bench.h"

static uint64_t work(size_t bytes, uint64_t count, enum touch how)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        void *p = take(bytes);
        touch(p, bytes, how, i);
        sum += peek(p);
        free(p);
    }
    return sum;
}

int main(int argc, char **argv)
{
    size_t bytes = arg(argc, argv, 1, 64);
    uint64_t count = arg_count(argc, argv, 2, 1000000);
    enum touch how = arg_touch(argc, argv, 3);

    work(bytes, count / 10 + 1, how);
    struct stopwatch start = stopwatch_start();
    uint64_t sum = work(bytes, count, how);
    report_ns("pair", start, count, sum);
    return 0;
}
