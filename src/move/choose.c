/*
 * choose.c - which window of a region
 *
 * WHAT    Each frame has a price: nothing if it is free, little if it can be dropped, more if it
 *         must be copied, much if it must be written. The search slides over the region, a step
 *         at a time, and keeps the sums of a window and of each step in it: what enters is added,
 *         the step that leaves is taken away. Where a frame cannot be had, or is out, a new window
 *         begins behind it. The cheapest window wins, the lowest of equals. One that is all free is
 *         looked for before, at every start.
 *
 *            f f m m X f f d f f f f      a window of 4:  ----   cannot
 *                      ------             f f d f: 1
 *                          -------        f f f f: 0, taken
 *
 *         Where every window has frames that cannot be had, a second search finds the one with
 *         the fewest, so that the request can say who has them.
 *
 * RULES   none of its own; N1 says which windows are open.
 *
 * LOCKS   none. Bits and prices are read without anybody's, and may be out of date at once: they
 *         choose, they do not decide. Who chooses while others do begins elsewhere, or all would
 *         choose the same.
 *
 * COST    A look at each frame: its bit, its tag, and if it is lent its folio; 64 that are free, or
 *         out, are one look. Looking is no cheaper than it is worth: windows that are not free
 *         begin a sixteenth of their length apart, and the search ends when it has looked so long
 *         that the best window could have been half taken meanwhile.
 *
 * WHY     Linux takes the first window and tries again where it fails; one frame that is pinned
 *         for seconds costs it all of that (mm/cma.c, cma_alloc).
 */
#include "base/errno.h"
#include "move/cma.h"
#include "move/move.h"

/** Prices, in drops: dropping is bookkeeping, a copy of 4 KiB some ten times that, writing a page
 *  to its file some hundred times. What cannot be had outweighs every window. */
static const uint64_t price_of[] = {
    [QY_COST_FREE] = 0,
    [QY_COST_DROP] = 1,
    [QY_COST_MOVE] = 10,
    [QY_COST_WRITE] = 100,
    [QY_COST_NEVER] = UINT64_C(1) << 36,
};

#define NR_COSTS (QY_COST_NEVER + 1)

/** Half of what dropping a frame takes, over what looking at one takes. */
#define LOOKS_A_DROP 8

/** Places of a part where a search may begin. */
#define SHARES 4

/** Places where a window may begin, within its length. */
#define STARTS 16

/** Of a window: how many frames of each kind. */
struct sums {
    uint64_t count[NR_COSTS];
};

/** Steps within a window at most: one is a sixteenth of it, or less by rounding. */
#define MOST_STEPS (2 * STARTS + 1)

struct search {
    const struct qy_cma *cma;
    const struct qy_cma_part *part;
    const struct qy_cma_avoid *avoid;
    uint64_t nr_frames, align, step; /* of the window */
    qy_pfn_t end;                    /* of the part, or below */
    qy_pfn_t closed;                 /* the next frame that is out or avoided, or end */
    uint64_t most;                   /* frames that may be moved or written */
    bool first_fit;                  /* the first window that will do is taken */
    bool priced;                     /* what a frame costs matters: else none of it is looked at */
    unsigned others;                 /* who choose as well */
    bool through;                    /* frames that cannot be had do not end a window */
    bool too_much;                   /* a window came to nothing because of most */
    uint64_t looks;                  /* so far */
    struct sums sums;                /* of the window that is looked at */
    struct sums of_step[MOST_STEPS]; /* of each step in it, by its number */
    uint64_t step_number;            /* of the step that is looked at */
    qy_pfn_t step_end;               /* where it ends */
    struct qy_cma_window best;
    struct sums best_sums;
    uint64_t best_price; /* UINT64_MAX: none yet */
};

static uint64_t price(const struct sums *sums)
{
    uint64_t sum = 0;
    for (unsigned cost = 0; cost < NR_COSTS; cost++)
        sum += sums->count[cost] * price_of[cost];
    return sum;
}

static uint64_t bits_of(const struct qy_cma_part *part, uint64_t bit)
{
    return __atomic_load_n(&part->bitmap[bit / 64], __ATOMIC_RELAXED);
}

/** The first frame from pfn on that is out, or that is not; else the part's end. */
static qy_pfn_t next_that_is(const struct search *search, qy_pfn_t pfn, bool out)
{
    unsigned order = search->cma->order_per_bit;
    uint64_t bit = (pfn - search->part->pfn) >> order;
    uint64_t end = search->part->nr_frames >> order;
    while (bit < end) {
        uint64_t word = bits_of(search->part, bit);
        word = (out ? word : ~word) >> bit % 64;
        if (word != 0) {
            bit += (unsigned)__builtin_ctzll(word);
            break;
        }
        bit = (bit / 64 + 1) * 64;
    }
    qy_pfn_t found = search->part->pfn + ((bit < end ? bit : end) << order);
    return found > pfn ? found : pfn;
}

/** The first frame from pfn on that is out, or avoided. */
static qy_pfn_t next_closed(const struct search *search, qy_pfn_t pfn)
{
    qy_pfn_t out = next_that_is(search, pfn, true);
    qy_pfn_t closed = out < search->end ? out : search->end;
    for (unsigned i = 0; search->avoid != NULL && i < search->avoid->count; i++)
        if (search->avoid->pfn[i] >= pfn && search->avoid->pfn[i] < closed)
            closed = search->avoid->pfn[i];
    return closed > pfn ? closed : pfn;
}

/** The first start of a window at or behind pfn. */
static qy_pfn_t aligned(const struct search *search, qy_pfn_t pfn)
{
    return (pfn + search->align - 1) & ~(search->align - 1);
}

/** A frame of a region that carries no tag is free, or will be in a moment: trim has it. */
static enum qy_folio_cost cost_of(const struct qy_mm *mm, uint64_t index)
{
    enum qy_folio_cost cost = qy_move_cost(mm, index);
    bool away = cost == QY_COST_NEVER && qy_tag_get(&mm->tags[index]) == QY_TAG_NONE;
    return away ? QY_COST_MOVE : cost;
}

/** What is looked at next lies in the next step. */
static struct sums *next_step(struct search *search)
{
    struct sums *sums = &search->of_step[++search->step_number % MOST_STEPS];
    search->step_end += search->step;
    *sums = (struct sums){{0}};
    return sums;
}

/** A window begins at pfn, and nothing of it is known. */
static void begin(struct search *search, qy_pfn_t pfn)
{
    search->closed = next_closed(search, pfn);
    search->sums = search->of_step[0] = (struct sums){{0}};
    search->step_number = 0;
    search->step_end = pfn + search->step;
}

/** Add up [from, to), but for what is free. Returns to, or the frame that cannot be had. */
static qy_pfn_t add_up(struct search *search, qy_pfn_t from, qy_pfn_t to)
{
    const struct qy_mm *mm = search->cma->mm;
    qy_pfn_t last = to < search->closed ? to : search->closed;
    struct sums *of_step = &search->of_step[search->step_number % MOST_STEPS];
    for (qy_pfn_t pfn = from; pfn < last; search->looks++) {
        uint64_t index = qy_frame_index(mm, pfn);
        if (index % QY_WORD_BITS == 0 && last - pfn >= QY_WORD_BITS &&
            qy_free_word(mm, index) == ~UINT64_C(0)) {
            pfn += QY_WORD_BITS;
            continue;
        }
        enum qy_folio_cost cost = search->priced ? cost_of(mm, index) : QY_COST_MOVE;
        if (cost == QY_COST_NEVER && !search->through)
            return pfn;
        while (pfn >= search->step_end)
            of_step = next_step(search);
        search->sums.count[cost]++;
        of_step->count[cost]++;
        pfn++;
    }
    while (search->step_end < last)
        next_step(search);
    return last;
}

/** The window goes on: the step that it began with leaves the sums. */
static void leave(struct search *search, uint64_t step)
{
    const struct sums *left = &search->of_step[step % MOST_STEPS];
    for (unsigned cost = 0; cost < NR_COSTS; cost++)
        search->sums.count[cost] -= left->count[cost];
}

static void keep_if_cheaper(struct search *search, unsigned part, qy_pfn_t pfn)
{
    const struct sums *sums = &search->sums;
    uint64_t asked = price(sums);
    uint64_t work = sums->count[QY_COST_MOVE] + sums->count[QY_COST_WRITE];
    if (search->most != 0 && search->priced && work > search->most) {
        search->too_much |= !search->through;
        return;
    }
    if (asked >= search->best_price)
        return;
    search->best_price = asked;
    search->best_sums = *sums;
    search->best = (struct qy_cma_window){.part = part, .pfn = pfn, .nr_frames = search->nr_frames};
}

/** Would looking on cost more than it can be worth? The first fit ends with the first window that
 *  can be had, be it too much. */
static bool is_enough(const struct search *search)
{
    bool found = search->best_price != UINT64_MAX;
    if (search->first_fit)
        return found || search->too_much;
    return found && search->looks / LOOKS_A_DROP >= search->best_price;
}

/** The first frame in [pfn, end) that is free, or that is not; else end. */
static qy_pfn_t next_free(const struct qy_mm *mm, qy_pfn_t pfn, qy_pfn_t end, bool free)
{
    return mm->start_pfn +
           qy_next_frame(mm, qy_frame_index(mm, pfn), qy_frame_index(mm, end), free);
}

/** A window from pfn on all of which is free, wherever it begins: no step passes over it. */
static bool take_free(struct search *search, unsigned part, qy_pfn_t pfn)
{
    const struct qy_mm *mm = search->cma->mm;
    for (pfn = aligned(search, pfn); pfn + search->nr_frames <= search->end;) {
        qy_pfn_t end = pfn + search->nr_frames, closed = next_closed(search, pfn);
        qy_pfn_t taken = next_free(mm, pfn, closed < end ? closed : end, false);
        if (taken == end) {
            search->sums = (struct sums){{0}};
            keep_if_cheaper(search, part, pfn);
            return true;
        }
        pfn = aligned(search, next_free(mm, taken + 1, search->end, true));
    }
    return false;
}

/** Slide over one part, from pfn on. */
static void slide(struct search *search, unsigned part, qy_pfn_t pfn)
{
    qy_pfn_t start = aligned(search, pfn);
    qy_pfn_t summed = start; /* sums are of [start, summed) */
    uint64_t step = 0;       /* the one that begins at start */
    begin(search, start);
    while (start + search->nr_frames <= search->end && !is_enough(search)) {
        qy_pfn_t end = start + search->nr_frames;
        qy_pfn_t reached = add_up(search, summed, end);
        if (reached < end) {
            start = summed = aligned(search, next_that_is(search, reached + 1, false));
            step = 0;
            begin(search, start);
            continue;
        }
        keep_if_cheaper(search, part, start);
        leave(search, step++);
        start += search->step;
        summed = end > start ? end : start;
    }
}

static void open_part(struct search *search, const struct qy_cma_request *request, unsigned part)
{
    search->part = &search->cma->part[part];
    search->end = search->part->pfn + search->part->nr_frames;
    if (request->below != 0 && request->below < search->end)
        search->end = request->below;
}

/** Where a search of the part begins that others are not at. */
static qy_pfn_t share_of(const struct search *search)
{
    uint64_t share = search->first_fit ? 0 : search->others % SHARES;
    return search->part->pfn + search->part->nr_frames / SHARES * share;
}

static bool find_free(struct search *search, const struct qy_cma_request *request)
{
    bool found = false;
    for (unsigned i = 0; i < search->cma->nr_parts && !found; i++) {
        open_part(search, request, i);
        found = take_free(search, i, share_of(search)) || take_free(search, i, search->part->pfn);
    }
    return found;
}

static void search_parts(struct search *search, const struct qy_cma_request *request)
{
    const struct qy_cma_avoid *avoid = search->avoid;
    unsigned first = search->first_fit && avoid != NULL ? avoid->last.part : 0;
    search->looks = 0;
    for (unsigned i = first; i < search->cma->nr_parts && !is_enough(search); i++) {
        open_part(search, request, i);
        bool behind = search->first_fit && avoid != NULL && i == first && avoid->last.nr_frames;
        qy_pfn_t from = behind ? avoid->last.pfn + search->align : search->part->pfn;
        if (share_of(search) != search->part->pfn)
            slide(search, i, share_of(search));
        slide(search, i, from);
    }
}

int qy_cma_choose(const struct qy_cma *cma, const struct qy_cma_request *request,
                  const struct qy_cma_avoid *avoid, unsigned others, struct qy_cma_window *window,
                  struct qy_cma_report *expected)
{
    uint64_t bit = UINT64_C(1) << cma->order_per_bit, align = UINT64_C(1) << request->align_order;
    struct search search = {
        .cma = cma,
        .avoid = avoid,
        .others = others,
        .nr_frames = qy_cma_frames(cma, request->nr_frames),
        .align = align > bit ? align : bit,
        .most = request->most_moved,
        .first_fit = request->flags & QY_CMA_FIRST_FIT,
        .priced = expected != NULL || !(request->flags & QY_CMA_FIRST_FIT),
        .best_price = UINT64_MAX,
    };
    uint64_t starts = search.nr_frames / STARTS / search.align;
    search.step = search.align * (starts > 1 ? starts : 1);
    if (search.first_fit || !find_free(&search, request))
        search_parts(&search, request);
    if (search.best_price == UINT64_MAX && search.too_much)
        return -QY_ETIME;
    search.most = 0;
    search.through = search.best_price == UINT64_MAX && search.priced;
    if (search.through)
        search_parts(&search, request);
    if (search.best_price == UINT64_MAX)
        return -QY_ENOMEM;
    *window = search.best;
    if (expected != NULL) {
        const uint64_t *count = search.best_sums.count;
        expected->dropped = count[QY_COST_DROP];
        expected->moved = count[QY_COST_MOVE];
        expected->written = count[QY_COST_WRITE];
        expected->free = search.nr_frames - expected->dropped - expected->moved -
                         expected->written - count[QY_COST_NEVER];
    }
    return search.through ? -QY_EBUSY : 0;
}
