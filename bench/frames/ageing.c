/*
 * ageing.c - does placement keep blocks of 2 MiB whole?
 *
 * The workload of the LLFree paper (Wrenger et al. 2023): nine tenths of the memory are taken as
 * single frames, half of them given back at random; then, a hundred times, a random tenth of what
 * is taken is given back and taken again. Of the 2 MiB blocks that the free frames could make up,
 * how many are wholly free, and how many order-9 requests succeed? The benchmark keeps its own book
 * of who has which frame. All that it asks the allocator is which few frames are its own.
 *
 * A frame that was never given back keeps its block, and no allocator that leaves frames where they
 * are can know beforehand which it will be: what that costs is printed beside the rest.
 *
 *   ageing ROUNDS SEED   prints whole and got (shares of the possible, 1.00 is all), before and
 *                        after, the share lost to frames never given back (pinned), and the time
 *                        of a give + take
 */
#include "frames.h"

static qy_pfn_t pfns[MEMORY_FRAMES];
static uint16_t taken[MEMORY_FRAMES /
                      BLOCK]; /* of each block's frames; block numbers wrap round, and none meet */

static unsigned char stayed[MEMORY_FRAMES]; /* by frame: not given back since the ageing began */

static uint64_t own; /* frames that the instance has taken for itself */

static uint64_t block_of(qy_pfn_t pfn)
{
    return pfn / BLOCK % (MEMORY_FRAMES / BLOCK);
}

static double whole_share(uint64_t n)
{
    uint64_t whole = 0;
    for (uint64_t i = 0; i < MEMORY_FRAMES / BLOCK; i++)
        whole += taken[i] == 0;
    return (double)whole / (double)((MEMORY_FRAMES - own - n) / BLOCK);
}

/* Blocks that have room and hold a frame which stayed. */
static double pinned_share(uint64_t n)
{
    static unsigned char pinned[MEMORY_FRAMES / BLOCK];
    uint64_t count = 0;
    for (uint64_t i = 0; i < n; i++)
        pinned[block_of(pfns[i])] |= stayed[pfns[i] % MEMORY_FRAMES];
    for (uint64_t i = 0; i < MEMORY_FRAMES / BLOCK; i++)
        count += pinned[i] && taken[i] < BLOCK;
    return (double)count / (double)((MEMORY_FRAMES - own - n) / BLOCK);
}

/* Order-9 blocks that can really be had; given back again. */
static qy_pfn_t got[MEMORY_FRAMES / BLOCK];

static uint64_t get_blocks(struct qy_mm *mm)
{
    uint64_t have = 0;
    while (have < MEMORY_FRAMES / BLOCK) {
        qy_pfn_t pfn =
            qy_alloc_pages(mm, QY_GFP_HIGHUSER_MOVABLE | QY_GFP_NOWARN, QY_PAGEBLOCK_ORDER);
        if (pfn == QY_PFN_NONE)
            break;
        if (taken[block_of(pfn)])
            die("an order-9 block overlaps frames that are taken");
        got[have++] = pfn;
    }
    for (uint64_t i = 0; i < have; i++)
        frame_give(mm, got[i], QY_PAGEBLOCK_ORDER);
    qy_drain_all_pages(mm);
    return have;
}

static double got_share(struct qy_mm *mm, uint64_t n)
{
    return (double)get_blocks(mm) / (double)((MEMORY_FRAMES - own - n) / BLOCK);
}

/* Blocks that are not whole before anything was taken hold frames of the instance's own. */
static void note_own(struct qy_mm *mm)
{
    struct qy_mm_stat stat;
    uint64_t have = get_blocks(mm);
    qy_mm_stat(mm, &stat);
    own = MEMORY_FRAMES - stat.free;
    for (uint64_t i = 0; i < MEMORY_FRAMES / BLOCK; i++)
        taken[i] = 1;
    for (uint64_t i = 0; i < have; i++)
        taken[block_of(got[i])] = 0;
}

static void show(const char *when, double share)
{
    printf("%s x %.4f 0 0\n", when, share);
}

int main(int argc, char **argv)
{
    uint64_t rounds = arg(argc, argv, 1, 100), rng = arg(argc, argv, 2, 20230711);
    struct qy_mm *mm = memory_new();
    note_own(mm);
    uint64_t n = MEMORY_FRAMES / 10 * 9;
    for (uint64_t i = 0; i < n; i++) {
        pfns[i] = frame_take(mm, 0);
        taken[block_of(pfns[i])]++;
    }
    shuffle(pfns, n, &rng);
    for (uint64_t half = n / 2; n > half; n--) {
        frame_give(mm, pfns[n - 1], 0);
        taken[block_of(pfns[n - 1])]--;
    }
    show("whole-before", whole_share(n));

    for (uint64_t i = 0; i < n; i++)
        stayed[pfns[i] % MEMORY_FRAMES] = 1;
    uint64_t tenth = n / 10;
    struct stopwatch start = stopwatch_start();
    for (uint64_t round = 0; round < rounds; round++) {
        shuffle(pfns, n, &rng);
        for (uint64_t i = 0; i < tenth; i++) {
            taken[block_of(pfns[i])]--;
            stayed[pfns[i] % MEMORY_FRAMES] = 0;
            frame_give(mm, pfns[i], 0);
        }
        for (uint64_t i = 0; i < tenth; i++) {
            pfns[i] = frame_take(mm, 0);
            taken[block_of(pfns[i])]++;
        }
    }
    if (rounds)
        report_ns("ageing", start, rounds * tenth, 0);
    qy_drain_all_pages(mm);
    show("whole-after", whole_share(n));
    show("whole-pinned", pinned_share(n));
    show("got-after", got_share(mm, n));
    return 0;
}
