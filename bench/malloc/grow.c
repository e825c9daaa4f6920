/*
 * grow.c - buffers that grow by realloc
 *
 * Stands for string builders, vectors, and readers that do not know how much will come. Every
 * appended byte is written (memset), so the cost of moving the old bytes stands beside an honest
 * cost of the new ones. The checksum reads one byte of each page at the end.
 *
 *   grow double LIMIT COUNT STRINGS   capacity doubles from 16 to LIMIT
 *   grow add STEP LIMIT COUNT STRINGS capacity grows by STEP each time
 *     STRINGS buffers grow in turn, so none can rely on the free memory behind it; COUNT times
 *     over; an operation is one realloc
 */
#include "bench.h"

struct string {
    char *bytes;
    size_t capacity;
};

static uint64_t ops;

static void append(struct string *s, size_t capacity, int value)
{
    s->bytes = realloc(s->bytes, capacity);
    if (!s->bytes)
        die("out of memory");
    memset(s->bytes + s->capacity, value, capacity - s->capacity);
    s->capacity = capacity;
    ops++;
}

static uint64_t drop(struct string *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->capacity; i += BENCH_PAGE)
        sum = sum * 31 + (unsigned char)s->bytes[i];
    free(s->bytes);
    *s = (struct string){0};
    return sum;
}

int main(int argc, char **argv)
{
    int by_doubling = argc > 1 && !strcmp(argv[1], "double");
    if (argc < 2 || (!by_doubling && strcmp(argv[1], "add")))
        die("say double or add");
    int next = 2;
    size_t step = by_doubling ? 0 : arg(argc, argv, next++, 4096);
    size_t limit = arg(argc, argv, next, 64u << 20);
    uint64_t count = arg_count(argc, argv, next + 1, 10);
    uint64_t n = arg(argc, argv, next + 2, 1), sum = 0;
    struct string *strings = calloc(n, sizeof(*strings));
    if (!strings)
        die("out of memory");

    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        for (size_t bytes = by_doubling ? 16 : step; bytes <= limit;
             bytes = by_doubling ? bytes * 2 : bytes + step)
            for (uint64_t s = 0; s < n; s++)
                append(&strings[s], bytes, (int)(bytes / 16 + s + i));
        for (uint64_t s = 0; s < n; s++)
            sum += drop(&strings[s]);
    }
    report_ns("grow", start, ops, sum);
    return 0;
}
