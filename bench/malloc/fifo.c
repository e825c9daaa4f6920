/*
 * fifo.c - a queue of N blocks: the oldest is freed, a new one takes its place
 *
 * Stands for buffers in flight: network packets, frames of video, log records. With large blocks
 * the freed one is never the next one that is asked for, so a cache of one block does not help.
 *
 *   fifo SIZE OPS N TOUCH     an operation is one free + one malloc
 */
#include "bench.h"

static uint64_t work(void **queue, uint64_t n, size_t bytes, uint64_t count, enum touch how)
{
    uint64_t sum = 0;
    for (uint64_t i = 0, at = 0; i < count; i++) {
        sum += peek(queue[at]);
        free(queue[at]);
        queue[at] = take(bytes);
        touch(queue[at], bytes, how, i);
        at = at + 1 == n ? 0 : at + 1;
    }
    return sum;
}

int main(int argc, char **argv)
{
    size_t bytes = arg(argc, argv, 1, 8192);
    uint64_t count = arg_count(argc, argv, 2, 1000000);
    uint64_t n = arg(argc, argv, 3, 1000);
    enum touch how = arg_touch(argc, argv, 4);
    void **queue = take(n * sizeof(*queue));

    for (uint64_t i = 0; i < n; i++) {
        queue[i] = take(bytes);
        touch(queue[i], bytes, how, i);
    }
    work(queue, n, bytes, count / 10 + n, how);
    struct stopwatch start = stopwatch_start();
    uint64_t sum = work(queue, n, bytes, count, how);
    report_ns("fifo", start, count, sum);
    return 0;
}
