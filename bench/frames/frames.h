/*
 * frames.h - a memory of frames for the benchmark, and the shape of its rows
 *
 * It has 4 GiB, brought online at once, and nothing touches its frames: what is measured is the
 * allocator's own cost, no page fault. It holds next to nothing back for urgent requests
 * (min_free_kbytes; Linux's formula would say 10 MB): the peers have no such reserve either.
 * A row is printed as in bench.h: NAME UNIT VALUE CPU CHECKSUM.
 */
#ifndef FRAMES_H
#define FRAMES_H

#include "../malloc/bench.h"
#include <quarry/buddy.h>
#include <quarry/linux.h>

#define BLOCK QY_PAGEBLOCK_FRAMES
#define MEMORY_FRAMES (1ull << 20)

static inline struct qy_mm *memory_new(void)
{
    struct qy_linux_options options = {
        .span_bytes = MEMORY_FRAMES * BENCH_PAGE, .fixed = true, .min_free_kbytes = 1};
    struct qy_error error;
    struct qy_mm *mm = qy_linux_mm_create(&options, &error);
    if (!mm)
        die(error.text);
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
