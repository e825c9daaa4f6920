/*
 * bench.h - what every workload shares: arguments, clocks, random numbers, touching, results
 *
 * A workload prints one line a row:   NAME UNIT VALUE CPU CHECKSUM
 *   ns   wall time and the process's CPU time (user + system), both in ns per operation
 *   KiB  VALUE is an amount of memory; CPU is 0
 * CHECKSUM depends on the work alone, never on addresses: it is the same on every allocator.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BENCH_PAGE 4096u

static inline void die(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

/* Argument i as a number; K and M are binary multiples. */
static inline uint64_t arg(int argc, char **argv, int i, uint64_t otherwise)
{
    if (i >= argc)
        return otherwise;
    char *end;
    uint64_t n = strtoull(argv[i], &end, 10);
    if (*end == 'K')
        n <<= 10, end++;
    else if (*end == 'M')
        n <<= 20, end++;
    if (end == argv[i] || *end)
        die("argument is not a number");
    return n;
}

/* Argument i as a number of operations. BENCH_SCALE (percent) shrinks it for a quick look. */
static inline uint64_t arg_count(int argc, char **argv, int i, uint64_t otherwise)
{
    uint64_t n = arg(argc, argv, i, otherwise);
    const char *percent = getenv("BENCH_SCALE");
    if (percent)
        n = n * strtoull(percent, NULL, 10) / 100;
    return n ? n : 1;
}

/* xorshift64*: the state must not be 0. */
static inline uint64_t rng_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Dull;
}

static inline uint64_t rng_below(uint64_t *state, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rng_next(state) * bound) >> 64);
}

/* A size between low and high, small ones likelier: uniform in the logarithm. */
static inline size_t rng_size(uint64_t *state, size_t low, size_t high)
{
    unsigned doublings = 0;
    while ((low << (doublings + 1)) <= high)
        doublings++;
    size_t base = low << (doublings ? rng_below(state, doublings) : 0);
    return base + (size_t)rng_below(state, base + 1);
}

enum touch {
    TOUCH_NONE,
    TOUCH_FIRST,
    TOUCH_PAGES,
    TOUCH_ALL
};

static inline enum touch arg_touch(int argc, char **argv, int i)
{
    const char *word = i < argc ? argv[i] : "first";
    if (!strcmp(word, "none"))
        return TOUCH_NONE;
    if (!strcmp(word, "first"))
        return TOUCH_FIRST;
    if (!strcmp(word, "pages"))
        return TOUCH_PAGES;
    if (!strcmp(word, "all"))
        return TOUCH_ALL;
    die("touch is none, first, pages or all");
    return TOUCH_NONE;
}

/* Write into a fresh block: nothing, its first 8 bytes, 8 bytes in each page, or all of it. */
static inline void touch(void *block, size_t bytes, enum touch how, uint64_t value)
{
    char *p = (char *)block;
    if (how == TOUCH_NONE)
        return;
    if (how == TOUCH_ALL)
        memset(p, (int)value, bytes);
    if (how == TOUCH_PAGES)
        for (size_t at = BENCH_PAGE; at + 8 <= bytes; at += BENCH_PAGE)
            *(volatile uint64_t *)(p + at) = value;
    *(volatile uint64_t *)p = value;
}

static inline uint64_t peek(const void *block)
{
    return *(const volatile uint64_t *)block;
}

static inline void *take(size_t bytes)
{
    void *p = malloc(bytes);
    if (!p)
        die("out of memory");
    return p;
}

struct stopwatch {
    uint64_t wall_ns, cpu_ns;
};

static inline uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline struct stopwatch stopwatch_start(void)
{
    return (struct stopwatch){clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
}

static inline void report_ns(const char *name, struct stopwatch since, uint64_t ops,
                             uint64_t checksum)
{
    struct stopwatch now = stopwatch_start();
    printf("%s ns %.3f %.3f %016llx\n", name, (double)(now.wall_ns - since.wall_ns) / (double)ops,
           (double)(now.cpu_ns - since.cpu_ns) / (double)ops, (unsigned long long)checksum);
    fflush(stdout);
}

static inline void report_kib(const char *name, uint64_t kib, uint64_t checksum)
{
    printf("%s KiB %llu 0 %016llx\n", name, (unsigned long long)kib, (unsigned long long)checksum);
    fflush(stdout);
}

/* Resident memory now, exact (statm is not), without calling malloc. */
static inline uint64_t resident_kib(void)
{
    char text[4096];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        die("/proc/self/smaps_rollup cannot be read");
    close(fd);
    text[n] = 0;
    const char *rss = strstr(text, "Rss:");
    return rss ? strtoull(rss + 4, NULL, 10) : 0;
}

#endif
