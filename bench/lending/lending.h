/*
 * lending.h - a memory with a region, and who borrows it: an area of a space, a cached file
 */
#ifndef LENDING_H
#define LENDING_H

#include "../malloc/bench.h"
#include <quarry/buddy.h>
#include <quarry/cache.h>
#include <quarry/cma.h>
#include <quarry/linux.h>
#include <quarry/space.h>

#define MIB (1ull << 20)
#define MEMORY (256 * MIB)
#define REGION (64 * MIB)
#define REGION_FRAMES (REGION / BENCH_PAGE)

struct world {
    struct qy_mm *mm;
    struct qy_cma *cma;
    struct qy_space *space;
    struct qy_file *file;
};

/* A file on nothing: what is measured is the memory, not the disk. */
static inline int64_t file_read(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    (void)cookie;
    memset(buffer, (int)(offset >> 12), bytes);
    return (int64_t)bytes;
}

static inline struct qy_file *file_new(struct qy_mm *mm)
{
    static const struct qy_file_ops ops = {.read = file_read};
    struct qy_error error = {0};
    struct qy_file *file = qy_file_create(mm, "file", &ops, NULL, MEMORY, &error);
    if (!file)
        die(error.text);
    return file;
}

static inline struct qy_space *space_new(struct qy_mm *mm)
{
    struct qy_error error = {0};
    struct qy_space *space = qy_space_create(mm, "area", 0, &error);
    if (!space)
        die(error.text);
    return space;
}

static inline char *area_new(struct world *world, uint64_t bytes)
{
    struct qy_error error = {0};
    char *area = qy_space_map(world->space, bytes, QY_PROT_WRITE, QY_AREA_POPULATE, &error);
    if (!area)
        die(error.text);
    return area;
}

/* region: its bytes; 0: none. All frames were touched once, so that no first touch is timed. */
static inline struct world world_new(enum qy_cma_policy policy, uint64_t region)
{
    const struct qy_linux_options options = {
        .span_bytes = MEMORY, .fixed = true, .shared = true, .min_free_kbytes = 1};
    const struct qy_cma_options cma = {.name = "bench",
                                       .ranges = {{QY_PFN_NONE, region / BENCH_PAGE}},
                                       .nr_ranges = 1,
                                       .policy = policy};
    struct qy_error error = {0};
    struct world world = {.mm = qy_linux_mm_create(&options, &error)};
    if (!world.mm)
        die(error.text);
    uint64_t frames = MEMORY / BENCH_PAGE - 2048, got = 0;
    qy_pfn_t *pfns = malloc(frames * sizeof(*pfns));
    for (; pfns && got < frames; got++) {
        pfns[got] = qy_alloc_pages(world.mm, QY_GFP_HIGHUSER_MOVABLE | QY_GFP_NOWARN, 0);
        if (pfns[got] == QY_PFN_NONE)
            break;
        memset(qy_page_address(world.mm, pfns[got]), 1, BENCH_PAGE);
    }
    while (got > 0)
        if (qy_free_pages(world.mm, pfns[--got], 0))
            die("a right free was refused");
    free(pfns);
    qy_drain_all_pages(world.mm);
    if (region && !(world.cma = qy_cma_create(world.mm, &cma, &error)))
        die(error.text);
    world.file = file_new(world.mm);
    world.space = space_new(world.mm);
    return world;
}

static inline void world_free(struct world *world)
{
    if (qy_space_destroy(world->space) || qy_file_close(world->file))
        die("the borrowers do not end");
    if (world->cma && qy_cma_destroy(world->cma))
        die("the region does not end");
    qy_linux_mm_destroy(world->mm);
}

static inline uint64_t lent(struct world *world)
{
    struct qy_cma_stat stat;
    qy_cma_stat(world->cma, &stat);
    return stat.lent;
}

/* Read pages of the file until all of the region is lent, or so many were read. */
static inline void cache_fill(struct world *world, uint64_t pages)
{
    char byte;
    for (uint64_t i = 0; i < pages; i++)
        if (qy_file_read(world->file, &byte, 1, i * BENCH_PAGE) != 1)
            die("the file cannot be read");
}

static inline void row(const char *name, double value, const char *unit)
{
    printf("%-34s %12.2f %s\n", name, value, unit);
    fflush(stdout);
}

static inline int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static inline uint64_t percentile(uint64_t *values, uint64_t count, double share)
{
    qsort(values, count, sizeof(*values), by_size);
    return values[(uint64_t)((double)(count - 1) * share)];
}

#endif
