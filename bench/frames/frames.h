/*
 * frames.h - a memory of frames for the benchmark, and the shape of its rows
 *
 * MEMORY is 4 GiB of frames that nothing lies behind (no_virt): the allocator's own cost is measured, no page
 * fault. The watermarks are set to the least, so that nearly every frame can be had.
 * A row is printed as in bench.h: NAME UNIT VALUE CPU CHECKSUM.
 */
#ifndef FRAMES_H
#define FRAMES_H

#include "../malloc/bench.h"
#include <quarry/buddy.h>
#include <quarry/mm.h>
#include <sys/mman.h>

#define BLOCK QY_PAGEBLOCK_FRAMES
#define MEMORY_BASE (4ull << 30)
#define MEMORY_FRAMES (1ull << 20)

static inline struct qy_mm *memory_new(void)
{
    struct qy_range ram = {.base = MEMORY_BASE, .bytes = MEMORY_FRAMES * BENCH_PAGE};
    struct qy_memmap map = {.ranges = &ram, .nr_ranges = 1, .nr_nodes = 1};
    size_t meta_bytes = qy_mm_meta_bytes(&map);
    struct qy_mm_options options = {.no_virt = true, .min_free_kbytes = 4};
    struct qy_error error;
    options.meta =
        mmap(NULL, meta_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct qy_mm *mm = options.meta == MAP_FAILED ? NULL : qy_mm_create(&map, &options, &error);
    if (!mm)
        die("no memory of frames");
    return mm;
}

static inline qy_pfn_t frame_take(struct qy_mm *mm, unsigned order)
{
    qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_HIGHUSER_MOVABLE | QY_GFP_NOWARN, order);
    if (pfn == QY_PFN_NONE)
        die("out of frames");
    return pfn;
}

static inline void frame_give(struct qy_mm *mm, qy_pfn_t pfn, unsigned order)
{
    if (qy_free_pages(mm, pfn, order))
        die("a right free was refused");
}

static inline void shuffle(qy_pfn_t *pfns, uint64_t n, uint64_t *rng)
{
    for (uint64_t i = n; i > 1; i--) {
        uint64_t other = rng_below(rng, i);
        qy_pfn_t pfn = pfns[i - 1];
        pfns[i - 1] = pfns[other];
        pfns[other] = pfn;
    }
}

#endif
