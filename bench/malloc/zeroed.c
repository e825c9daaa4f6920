/*
 * zeroed.c - calloc of arrays, used sparsely or fully
 *
 * Stands for tables and bitmaps that must start at zero. Sparse: 8 bytes are read and written every
 * 64 KiB. Full: every word is. Each array is freed before the next, so an allocator that keeps
 * memory must clear it again or know that it is clean; one that gives it back pays a fault a page.
 * The reads prove that it is zero.
 *
 *   zeroed SIZE OPS sparse|full     an operation is one calloc + use + one free
 */
#include "bench.h"

int main(int argc, char **argv)
{
    size_t bytes = arg(argc, argv, 1, 1u << 20);
    uint64_t count = arg_count(argc, argv, 2, 1000);
    size_t stride = argc > 3 && !strcmp(argv[3], "full") ? 8 : 65536;
    uint64_t sum = 0, dirty = 0;

    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        char *p = calloc(bytes / 8, 8);
        if (!p)
            die("out of memory");
        for (size_t at = 0; at + 8 <= bytes; at += stride) {
            uint64_t *word = (uint64_t *)(p + at);
            dirty |= *word;
            *word = i + at;
        }
        sum += peek(p);
        free(p);
    }
    if (dirty)
        die("calloc gave memory that is not zero");
    report_ns("zeroed", start, count, sum);
    return 0;
}
