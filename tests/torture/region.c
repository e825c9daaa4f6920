/*
 * region.c - buffers out of three contiguous regions, one of each policy
 */
#include "torture.h"

#include <quarry/buddy.h>

#include <errno.h>

#define BUFFERS 4
#define BLOCKS 4
#define REGION_FRAMES 2048

struct buffer {
    struct qy_cma *cma; /* NULL: none */
    qy_pfn_t pfn;
    uint64_t frames;
    uint64_t key;
};

struct buffers {
    struct buffer buffer[BUFFERS];
};

static void prepare(void)
{
    static const char *const names[REGIONS] = {"linux", "eager", "guaranteed"};
    for (unsigned i = 0; i < REGIONS; i++) {
        const struct qy_cma_options options = {.name = names[i],
                                               .ranges = {{QY_PFN_NONE, REGION_FRAMES}},
                                               .nr_ranges = 1,
                                               .order_per_bit = i,
                                               .policy = (enum qy_cma_policy)i};
        struct qy_error error = {0};
        world.region[i] = qy_cma_create(world.mm, &options, &error);
        if (world.region[i] == NULL)
            test_fail("region %s: %s", names[i], error.text);
    }
}

static void begin(struct actor *actor)
{
    actor->own[4] = calloc(1, sizeof(struct buffers));
}

static void some_request(struct actor *actor, struct qy_cma_request *request)
{
    *request = (struct qy_cma_request){
        .nr_frames = 1 + random_below(&actor->random, 1u << random_below(&actor->random, 11))};
    if (random_one_in(&actor->random, 4))
        request->align_order = (unsigned)random_below(&actor->random, 9);
    if (random_one_in(&actor->random, 8))
        request->deadline_ns = 1 + random_below(&actor->random, 1000000);
    if (random_one_in(&actor->random, 8))
        request->most_moved = 1 + random_below(&actor->random, 64);
    if (random_one_in(&actor->random, 4))
        request->flags |= QY_CMA_FIRST_FIT;
    if (random_one_in(&actor->random, 8))
        request->flags |= QY_CMA_DRY_RUN;
}

static bool check_result(unsigned region, const struct qy_cma_request *request, int code,
                         const struct qy_cma_report *report)
{
    if (code == 0)
        return true;
    if (region == QY_CMA_GUARANTEED && code == -EBUSY)
        test_fail("a guaranteed region was not given: frame %llu of %s, reason %d",
                  (unsigned long long)report->stuck[0].pfn, report->stuck[0].owner,
                  (int)report->stuck[0].reason);
    bool bounded = request->deadline_ns != 0 || request->most_moved != 0;
    if (code != -ENOMEM && code != -EBUSY && !(code == -ETIME && bounded))
        test_fail("qy_cma_alloc: %d", code);
    return false;
}

static bool take(struct actor *actor, struct buffer *buffer)
{
    struct qy_cma_request request;
    struct qy_cma_report report;
    unsigned region = (unsigned)random_below(&actor->random, REGIONS);
    some_request(actor, &request);
    doing(actor, region == QY_CMA_LINUX   ? "cma_alloc, linux"
                 : region == QY_CMA_EAGER ? "cma_alloc, eager"
                                          : "cma_alloc, guaranteed");
    int code = qy_cma_alloc(world.region[region], &request, &buffer->pfn, &report);
    if (!check_result(region, &request, code, &report))
        return false;
    if (request.flags & QY_CMA_DRY_RUN)
        return true;
    uint64_t bit = UINT64_C(1) << region; /* order_per_bit */
    buffer->cma = world.region[region];
    buffer->frames = (request.nr_frames + bit - 1) / bit * bit;
    buffer->key = new_key(actor);
    if (buffer->pfn % (UINT64_C(1) << request.align_order) != 0)
        test_fail("a buffer is not aligned to order %u", request.align_order);
    for (uint64_t i = 0; i < buffer->frames; i++)
        fill(qy_page_address(world.mm, buffer->pfn + i), PAGE, buffer->key + (i << 8));
    return true;
}

/** Blocks, as many as there are, used for a moment. */
static bool take_blocks(struct actor *actor)
{
    struct qy_cma_report report;
    qy_pfn_t pfns[BLOCKS];
    unsigned region = (unsigned)random_below(&actor->random, REGIONS);
    unsigned order = region + (unsigned)random_below(&actor->random, 7);
    const struct qy_cma_request request = {.nr_frames = (uint64_t)BLOCKS << order,
                                           .align_order = order};
    uint64_t key = new_key(actor), bytes = (uint64_t)PAGE << order;
    doing(actor, "cma_alloc_partial");
    int got = qy_cma_alloc_partial(world.region[region], &request, pfns, &report);
    if (got <= 0)
        return check_result(region, &request, got, &report);
    for (int i = 0; i < got; i++)
        fill(qy_page_address(world.mm, pfns[i]), bytes, key + ((uint64_t)i << 8));
    for (int i = 0; i < got; i++) {
        verify(qy_page_address(world.mm, pfns[i]), bytes, key + ((uint64_t)i << 8), "block");
        if (qy_cma_release(world.region[region], pfns[i], UINT64_C(1) << order) != 0)
            test_fail("a block is not released");
    }
    return true;
}

/** Figures of a region that others use. */
static void look(struct actor *actor)
{
    struct qy_cma_stat stat;
    struct qy_cma *cma = world.region[random_below(&actor->random, REGIONS)];
    doing(actor, "cma_stat");
    qy_cma_stat(cma, &stat);
    if (stat.frames != REGION_FRAMES || stat.failures > stat.requests || stat.out > REGION_FRAMES ||
        qy_cma_find(world.mm, stat.name) != cma)
        test_fail("figures of region %s", stat.name);
}

/** All of it, or its end. */
static void release(struct actor *actor, struct buffer *buffer, bool all)
{
    uint64_t kept = all || buffer->frames < 8 ? 0 : buffer->frames / 8 * 4;
    for (uint64_t i = 0; i < buffer->frames; i++)
        verify(qy_page_address(world.mm, buffer->pfn + i), PAGE, buffer->key + (i << 8),
               "frame of a buffer");
    doing(actor, "cma_release");
    if (qy_cma_release(buffer->cma, buffer->pfn + kept, buffer->frames - kept) != 0)
        test_fail("a buffer is not released");
    buffer->frames = kept;
    if (kept == 0)
        buffer->cma = NULL;
}

static bool compact(struct actor *actor)
{
    unsigned order = 1 + (unsigned)random_below(&actor->random, QY_MAX_ORDER);
    doing(actor, "compact");
    return qy_compact(world.mm, order, random_below(&actor->random, 512), NULL) > 0;
}

static bool step(struct actor *actor)
{
    struct buffers *buffers = actor->own[4];
    if (random_one_in(&actor->random, 64))
        return compact(actor);
    if (random_one_in(&actor->random, 64))
        look(actor);
    if (!holds_back(actor) && random_one_in(&actor->random, 8))
        return take_blocks(actor);
    struct buffer *buffer = &buffers->buffer[random_below(&actor->random, BUFFERS)];
    if (buffer->cma == NULL)
        return holds_back(actor) || take(actor, buffer);
    release(actor, buffer, random_one_in(&actor->random, 2));
    return true;
}

static void end(struct actor *actor)
{
    struct buffers *buffers = actor->own[4];
    for (unsigned i = 0; i < BUFFERS; i++)
        if (buffers->buffer[i].cma != NULL)
            release(actor, &buffers->buffer[i], true);
    free(buffers);
}

static void finish(void)
{
    for (unsigned i = 0; i < REGIONS; i++)
        if (qy_cma_destroy(world.region[i]) != 0)
            test_fail("region %u is not destroyed", i);
}

const struct kind region_kind = {"region", 2, prepare, begin, step, end, finish};
