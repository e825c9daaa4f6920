/*
 * fuzz_buddy.c - bytes become a memory map and a history of frames
 *
 * Wrong if it failed: there is a map and a short history after which the core differs from
 * the textbook, breaks a rule, or absorbs a wrong free.
 */
#include "memory.h"
#include "oracle.h"

#include "memory/mm.h"

#include <quarry/buddy.h>

#include <string.h>

#define MOST_HELD 64
#define BASE_SECTION 4 /* frames start here: DMA below section 6, NORMAL above */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct input {
    const uint8_t *at, *end;
};

struct held {
    qy_pfn_t pfn;
    uint64_t frames;
    unsigned order;
    bool run;
};

static struct held held[MOST_HELD];
static size_t nr_held;

static unsigned next(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

/* One to three ranges in eight sections, with odd ends, perhaps reserved frames in the first. */
static void read_map(struct input *input, struct qy_memmap *map, struct qy_range *ranges)
{
    uint64_t at = BASE_SECTION * QY_SECTION_FRAMES + next(input);
    unsigned count = 1 + next(input) % 3;

    *map = (struct qy_memmap){.ranges = ranges, .nr_nodes = 1, .dma_end = 24 * MIB};
    for (unsigned i = 0; i < count; i++) {
        uint64_t frames = 2 + next(input) + 16 * next(input);
        ranges[map->nr_ranges++] =
            (struct qy_range){.base = at * PAGE, .bytes = frames * PAGE, .type = QY_RANGE_RAM};
        at += frames + 1 + next(input);
    }
    if (next(input) % 2)
        ranges[map->nr_ranges++] = (struct qy_range){
            .base = ranges[0].base + PAGE, .bytes = PAGE, .type = QY_RANGE_RESERVED};
}

static void take(struct input *input, struct qy_mm *mm, struct oracle *oracle)
{
    static const qy_gfp_t gfps[] = {QY_GFP_KERNEL, QY_GFP_HIGHUSER_MOVABLE,
                                    QY_GFP_KERNEL | QY_GFP_RECLAIMABLE, QY_GFP_KERNEL | QY_GFP_DMA};
    unsigned how = next(input);
    qy_gfp_t gfp = gfps[how % 4];
    struct held *block = &held[nr_held];

    block->run = how >= 224;
    block->order = (how / 4) % QY_NR_ORDERS;
    block->frames = block->run ? 1 + next(input) * 9u : UINT64_C(1) << block->order;
    block->pfn = block->run ? qy_alloc_pages_exact(mm, gfp, block->frames, 0)
                            : qy_alloc_pages(mm, gfp, block->order);
    if (block->pfn == QY_PFN_NONE) {
        if (!block->run && oracle_feasible(oracle, block->order, gfp))
            test_fail("order %u refused, the textbook has one", block->order);
        return;
    }
    if (block->run)
        oracle_took_run(oracle, block->pfn, block->frames, gfp);
    else
        oracle_took(oracle, block->pfn, block->order, gfp);
    nr_held++;
}

static void give(struct input *input, struct qy_mm *mm, struct oracle *oracle)
{
    unsigned which = next(input) % (unsigned)nr_held;
    struct held *block = &held[which];
    int code;

    if (block->run) {
        uint64_t tail = 1 + next(input) * 9u % block->frames;
        block->frames -= tail;
        code = qy_free_pages_exact(mm, block->pfn + block->frames, tail);
        oracle_gave_run(oracle, block->pfn + block->frames, tail);
    } else {
        block->frames = 0;
        code = qy_free_pages(mm, block->pfn, block->order);
        oracle_gave(oracle, block->pfn, block->order);
    }
    if (code != 0)
        test_fail("a right free was refused");
    if (block->frames == 0)
        *block = held[--nr_held];
}

/* Any frame, any order: right only if this very block is held. */
static void give_wrong(struct input *input, struct qy_mm *mm, const struct oracle *oracle)
{
    qy_pfn_t pfn = oracle->start_pfn + next(input) + 256u * next(input) - 8;
    unsigned order = next(input) % (QY_NR_ORDERS + 1);

    for (size_t i = 0; i < nr_held; i++)
        if (pfn >= held[i].pfn && pfn < held[i].pfn + held[i].frames &&
            (held[i].run || (held[i].pfn == pfn && held[i].order == order)))
            return;
    test_quiet(true);
    int code = qy_free_pages(mm, pfn, order);
    test_quiet(false);
    if (code == 0)
        test_fail("a wrong free of frame %#llx, order %u, was absorbed", (unsigned long long)pfn,
                  order);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const struct qy_mm_options options = {
        .min_free_kbytes = 1,
        .lowmem_reserve_ratio = {UINT32_MAX, UINT32_MAX, UINT32_MAX},
    };
    struct input input = {data, data + bytes};
    struct qy_range ranges[4];
    struct qy_memmap map;
    struct test_memory memory;
    struct oracle oracle;

    nr_held = 0;
    read_map(&input, &map, ranges);
    test_memory_build(&memory, &map, &options, 0, 0);
    oracle_create(&oracle, &map);
    for (unsigned step = 0; input.at < input.end && step < 400; step++) {
        unsigned what = next(&input);
        if (what < 8)
            give_wrong(&input, memory.mm, &oracle);
        else if (what < 12)
            oracle_compare(&oracle, memory.mm);
        else if (what % 2 == 0 && nr_held > 0)
            give(&input, memory.mm, &oracle);
        else if (nr_held < MOST_HELD)
            take(&input, memory.mm, &oracle);
        if (step % 16 == 15)
            test_rules(memory.mm);
    }
    oracle_compare(&oracle, memory.mm);
    test_rules(memory.mm);
    oracle_destroy(&oracle);
    test_memory_free(&memory);
    return 0;
}
