/*
 * choose.c - which window of a region
 *
 * WHAT    Each frame has a price: nothing if it is free, little if it can be dropped, more if it
 *         must be copied, much if it must be written. The search slides over the region and
 *         keeps the sums of a window: what enters is added, what leaves is taken away. Where a
 *         frame cannot be had, or is out, a new window begins behind it. The cheapest window
 *         wins, the lowest of equals; one that costs nothing ends the search.
 *
 *            f f m m X f f d f f f f      a window of 4:  ----   cannot
 *                      ------             f f d f: 1
 *                          -------        f f f f: 0, taken
 *
 * RULES   none of its own; N1 says which windows are open.
 *
 * LOCKS   cma->lock. Prices are read without the owners' locks, and may be out of date at once:
 *         they choose, they do not decide.
 *
 * COST    Two looks at each frame of the region: its bit, its tag, and if it is lent its folio.
 *         The leaving frame is remembered in a ring rather than looked at again where the
 *         window is small enough for the ring.
 *
 * WHY     Linux takes the first window and tries again where it fails; one frame that is pinned
 *         for seconds costs it all of that (mm/cma.c, cma_alloc).
 */
#include "move/cma.h"
#include "move/move.h"

/** Prices, in drops: dropping is bookkeeping, a copy of 4 KiB some ten times that, writing a page
 *  to its file some hundred times. */
static const uint16_t price_of[] = {
    [QY_COST_FREE] = 0,
    [QY_COST_DROP] = 1,
    [QY_COST_MOVE] = 10,
    [QY_COST_WRITE] = 100,
};

/** Sums of a window: how many frames of each kind. */
struct sums {
    uint64_t count[QY_COST_NEVER];
};

struct search {
    const struct qy_cma *cma;
    const struct qy_cma_part *part;
    const struct qy_cma_avoid *avoid;
    uint64_t nr_frames, align; /* of the window */
    qy_pfn_t end;              /* of the part, or below */
    bool first_fit;
    struct qy_cma_window best;
    struct sums best_sums;
    uint64_t best_price; /* UINT64_MAX: none yet */
};

static uint64_t price(const struct sums *sums)
{
    uint64_t sum = 0;
    for (unsigned cost = 0; cost < QY_COST_NEVER; cost++)
        sum += sums->count[cost] * price_of[cost];
    return sum;
}

static bool is_avoided(const struct qy_cma_avoid *avoid, qy_pfn_t pfn)
{
    for (unsigned i = 0; avoid != NULL && i < avoid->count; i++)
        if (avoid->pfn[i] == pfn)
            return true;
    return false;
}

static bool is_out(const struct search *search, qy_pfn_t pfn)
{
    uint64_t bit = (pfn - search->part->pfn) >> search->cma->order_per_bit;
    return search->part->bitmap[bit / 64] >> bit % 64 & 1;
}

static enum qy_folio_cost cost_of(const struct search *search, qy_pfn_t pfn)
{
    if (is_out(search, pfn) || is_avoided(search->avoid, pfn))
        return QY_COST_NEVER;
    return qy_move_cost(search->cma->mm, qy_frame_index(search->cma->mm, pfn));
}

/** The first start of a window at or behind pfn. */
static qy_pfn_t aligned(const struct search *search, qy_pfn_t pfn)
{
    return (pfn + search->align - 1) & ~(search->align - 1);
}

/** Add up [from, to). Returns to, or the frame that cannot be had. */
static qy_pfn_t add_up(const struct search *search, struct sums *sums, qy_pfn_t from, qy_pfn_t to)
{
    for (qy_pfn_t pfn = from; pfn < to; pfn++) {
        enum qy_folio_cost cost = cost_of(search, pfn);
        if (cost == QY_COST_NEVER)
            return pfn;
        sums->count[cost]++;
    }
    return to;
}

static void keep_if_cheaper(struct search *search, unsigned part, qy_pfn_t pfn,
                            const struct sums *sums)
{
    uint64_t asked = price(sums);
    if (asked >= search->best_price)
        return;
    search->best_price = asked;
    search->best_sums = *sums;
    search->best = (struct qy_cma_window){.part = part, .pfn = pfn, .nr_frames = search->nr_frames};
}

/** Slide over one part. Frames that leave are added up anew: if their price has changed since they
 *  entered, the window's sums begin again. */
static void slide(struct search *search, unsigned part)
{
    qy_pfn_t start = aligned(search, search->part->pfn);
    qy_pfn_t summed = start; /* sums are of [start, summed) */
    struct sums sums = {{0}};
    while (start + search->nr_frames <= search->end && search->best_price != 0) {
        qy_pfn_t end = start + search->nr_frames;
        qy_pfn_t reached = add_up(search, &sums, summed, end);
        if (reached < end) {
            start = summed = aligned(search, reached + 1);
            sums = (struct sums){{0}};
            continue;
        }
        keep_if_cheaper(search, part, start, &sums);
        if (search->first_fit)
            return;
        qy_pfn_t next = start + search->align;
        struct sums left = {{0}};
        bool same = next < end && add_up(search, &left, start, next) == next;
        for (unsigned cost = 0; cost < QY_COST_NEVER; cost++) {
            same = same && left.count[cost] <= sums.count[cost];
            sums.count[cost] -= left.count[cost];
        }
        summed = end;
        if (!same) {
            sums = (struct sums){{0}};
            summed = next;
        }
        start = next;
    }
}

bool qy_cma_choose(const struct qy_cma *cma, const struct qy_cma_request *request,
                   const struct qy_cma_avoid *avoid, struct qy_cma_window *window,
                   struct qy_cma_report *expected)
{
    uint64_t bit = UINT64_C(1) << cma->order_per_bit, align = UINT64_C(1) << request->align_order;
    struct search search = {
        .cma = cma,
        .avoid = avoid,
        .nr_frames = (request->nr_frames + bit - 1) / bit * bit,
        .align = align > bit ? align : bit,
        .first_fit = request->flags & QY_CMA_FIRST_FIT,
        .best_price = UINT64_MAX,
    };
    bool found = false;
    for (unsigned i = 0; i < cma->nr_parts && !(found && search.first_fit); i++) {
        search.part = &cma->part[i];
        search.end = search.part->pfn + search.part->nr_frames;
        if (request->below != 0 && request->below < search.end)
            search.end = request->below;
        slide(&search, i);
        found = search.best_price != UINT64_MAX;
    }
    if (!found)
        return false;
    *window = search.best;
    if (expected != NULL) {
        expected->free = search.best_sums.count[QY_COST_FREE];
        expected->dropped = search.best_sums.count[QY_COST_DROP];
        expected->moved = search.best_sums.count[QY_COST_MOVE];
        expected->written = search.best_sums.count[QY_COST_WRITE];
    }
    return true;
}
