/*
 * resize.c - large blocks that change size up and down
 *
 * Stands for image and matrix buffers and for hash tables that shrink: each operation reallocs a
 * random one of N blocks to a random size between LOW and HIGH (small ones likelier) and writes 8
 * bytes in each page that it gained. The first 8 bytes must survive; they are the checksum.
 *
 *   resize LOW HIGH OPS N     an operation is one realloc
 */
#include "bench.h"

struct block {
    char *bytes;
    size_t size;
};

int main(int argc, char **argv)
{
    size_t low = arg(argc, argv, 1, 128u << 10), high = arg(argc, argv, 2, 8u << 20);
    uint64_t count = arg_count(argc, argv, 3, 20000);
    uint64_t n = arg(argc, argv, 4, 20);
    uint64_t rng = 424242, sum = 0;
    struct block *blocks = calloc(n, sizeof(*blocks));
    if (!blocks)
        die("out of memory");

    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        struct block *b = &blocks[rng_below(&rng, n)];
        size_t size = rng_size(&rng, low, high);
        b->bytes = realloc(b->bytes, size);
        if (!b->bytes)
            die("out of memory");
        if (b->size)
            sum += peek(b->bytes);
        for (size_t at = b->size / BENCH_PAGE * BENCH_PAGE; at + 8 <= size; at += BENCH_PAGE)
            if (at >= b->size)
                *(volatile uint64_t *)(b->bytes + at) = i;
        *(volatile uint64_t *)b->bytes = i;
        b->size = size;
    }
    report_ns("resize", start, count, sum);
    return 0;
}
