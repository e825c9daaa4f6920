/*
 * pages.c - blocks of frames of all orders
 */
#include "torture.h"

#include <quarry/buddy.h>

#define HELD 24

struct run {
    qy_pfn_t pfn; /* QY_PFN_NONE: none */
    uint64_t frames;
    unsigned order;
    bool exact;
    uint64_t key;
};

struct pages {
    struct run run[HELD];
};

static void begin(struct actor *actor)
{
    struct pages *pages = actor->own[1] = calloc(1, sizeof(*pages));
    for (unsigned i = 0; i < HELD; i++)
        pages->run[i].pfn = QY_PFN_NONE;
}

/** Each of the frames says which it is: the same key in two places would be seen. */
static void fill_frames(qy_pfn_t pfn, uint64_t frames, uint64_t key)
{
    for (uint64_t i = 0; i < frames; i++)
        fill(qy_page_address(world.mm, pfn + i), PAGE, key + (i << 8));
}

static void verify_frames(qy_pfn_t pfn, uint64_t frames, uint64_t key, const char *what)
{
    for (uint64_t i = 0; i < frames; i++)
        verify(qy_page_address(world.mm, pfn + i), PAGE, key + (i << 8), what);
}

static bool allocate(struct actor *actor, struct run *run)
{
    static const qy_gfp_t some[] = {QY_GFP_KERNEL,
                                    QY_GFP_NOWAIT,
                                    QY_GFP_ATOMIC,
                                    QY_GFP_HIGHUSER_MOVABLE,
                                    QY_GFP_KERNEL | QY_GFP_ZERO,
                                    QY_GFP_KERNEL | QY_GFP_RECLAIMABLE};
    qy_gfp_t gfp = some[random_below(&actor->random, COUNT_OF(some))] | QY_GFP_NOWARN;
    unsigned order = (unsigned)random_below(&actor->random, 4);
    if (random_one_in(&actor->random, 8))
        order = (unsigned)random_below(&actor->random, QY_NR_ORDERS);
    *run = (struct run){.order = order, .frames = UINT64_C(1) << order, .key = new_key(actor)};
    run->exact = random_one_in(&actor->random, 8);
    if (run->exact) {
        run->frames = 1 + random_below(&actor->random, run->frames + 7);
        doing(actor, "alloc_pages_exact");
        run->pfn = qy_alloc_pages_exact(world.mm, gfp, run->frames, 0);
    } else {
        doing(actor, "alloc_pages");
        run->pfn = qy_alloc_pages(world.mm, gfp, order);
    }
    if (run->pfn == QY_PFN_NONE)
        return false;
    for (uint64_t i = 0; (gfp & QY_GFP_ZERO) && i < run->frames; i++)
        verify(qy_page_address(world.mm, run->pfn + i), PAGE, 0, "zeroed frame");
    fill_frames(run->pfn, run->frames, run->key);
    return true;
}

static void give(struct actor *actor, struct run *run)
{
    verify_frames(run->pfn, run->frames, run->key, "frame");
    doing(actor, "free_pages");
    int code = run->exact ? qy_free_pages_exact(world.mm, run->pfn, run->frames)
                          : qy_free_pages(world.mm, run->pfn, run->order);
    if (code != 0)
        test_fail("%llu frames are not freed: %d", (unsigned long long)run->frames, code);
    run->pfn = QY_PFN_NONE;
}

/** Single frames that come and go together. */
static bool bulk(struct actor *actor)
{
    qy_pfn_t pfns[64];
    doing(actor, "alloc_pages_bulk");
    size_t count = qy_alloc_pages_bulk(world.mm, QY_GFP_KERNEL | QY_GFP_NOWARN,
                                       1 + random_below(&actor->random, 64), pfns);
    for (size_t i = 0; i < count; i++)
        fill(qy_page_address(world.mm, pfns[i]), PAGE, pfns[i]);
    for (size_t i = 0; i < count; i++)
        verify(qy_page_address(world.mm, pfns[i]), PAGE, pfns[i], "frame of a bulk");
    if (qy_free_pages_bulk(world.mm, count, pfns) != 0)
        test_fail("frames of a bulk are not freed");
    return count > 0;
}

static bool step(struct actor *actor)
{
    struct pages *pages = actor->own[1];
    struct run *run = &pages->run[random_below(&actor->random, HELD)];
    if (random_one_in(&actor->random, 16))
        return bulk(actor);
    if (random_one_in(&actor->random, 512)) {
        doing(actor, "drain_all_pages");
        qy_drain_all_pages(world.mm);
    }
    if (random_one_in(&actor->random, 512)) {
        doing(actor, "trim");
        qy_mm_trim(world.mm, random_below(&actor->random, 2048));
    }
    if (run->pfn == QY_PFN_NONE)
        return holds_back(actor) || allocate(actor, run);
    give(actor, run);
    return true;
}

static void end(struct actor *actor)
{
    struct pages *pages = actor->own[1];
    for (unsigned i = 0; i < HELD; i++)
        if (pages->run[i].pfn != QY_PFN_NONE)
            give(actor, &pages->run[i]);
    free(pages);
}

const struct kind pages_kind = {"pages", 10, NULL, begin, step, end, NULL};
