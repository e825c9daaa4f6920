/*
 * test_choose.c - which window of a region is taken, against a look at every one there is
 */
#include "borrower.h"
#include "support.h"

#include "memory/mm.h"

#include <quarry/cma.h>

#include <errno.h>

#define FIRST (4 * GIB / PAGE)
#define FRAMES 6144u
#define PART 1024u
#define REGION (2 * PART)
#define MOST_WINDOWS REGION

/** What cma.h and choose.c say about a frame; CLOSED: out, or above the request's limit. */
enum kind {
    FREE,
    DROP,
    MOVE,
    WRITE,
    NEVER,
    CLOSED,
    NR_KINDS
};
static const uint64_t price_of[] = {0, 1, 10, 100, UINT64_C(1) << 36};

static struct test_memory memory;
static struct borrower *borrower;
static struct qy_cma *cma;
static const qy_pfn_t parts[] = {FIRST + 4 * PART, FIRST + PART}; /* searched in this order */
static unsigned order_per_bit;
static enum kind kinds[FRAMES];

static void set_up(unsigned order)
{
    const struct qy_cma_options region = {.name = "camera",
                                          .ranges = {{parts[0], PART}, {parts[1], PART}},
                                          .nr_ranges = 2,
                                          .order_per_bit = order,
                                          .policy = QY_CMA_EAGER};
    test_memory_lendable(&memory, FRAMES * PAGE, 1);
    order_per_bit = order;
    cma = qy_cma_create(memory.mm, &region, NULL);
    assert_non_null(cma);
    borrower = borrower_create(memory.mm, "borrower");
}

static void tear_down(void)
{
    borrower_check(borrower);
    borrower_destroy(borrower);
    test_rules(memory.mm);
    assert_int_equal(qy_cma_destroy(cma), 0);
    test_memory_free(&memory);
}

/* ---- a region of frames of all kinds ---- */

static bool in_region(qy_pfn_t pfn)
{
    return pfn - parts[0] < PART || pfn - parts[1] < PART;
}

static void take_out(struct random *random, qy_pfn_t *out, uint64_t *lengths, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct qy_cma_request request = {.nr_frames = 1 + random_below(random, 150)};
        assert_int_equal(qy_cma_alloc(cma, &request, &out[i], NULL), 0);
        lengths[i] = request.nr_frames;
    }
    for (unsigned i = 0; i < count; i++)
        if (random_one_in(random, 2)) {
            assert_int_equal(qy_cma_release(cma, out[i], lengths[i]), 0);
            lengths[i] = 0;
        }
}

static void put_back(const qy_pfn_t *out, const uint64_t *lengths, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (lengths[i] != 0)
            assert_int_equal(qy_cma_release(cma, out[i], lengths[i]), 0);
}

/** Kinds in runs of some length, so that there are windows of all kinds. */
static void fill(struct random *random)
{
    static const uint8_t borrowed[] = {[DROP] = BORROWED_CLEAN,
                                       [MOVE] = BORROWED_MOVABLE,
                                       [WRITE] = BORROWED_DIRTY,
                                       [NEVER] = BORROWED_MOVABLE};
    struct qy_cma_stat stat;
    qy_cma_stat(cma, &stat);
    for (uint64_t left = stat.free; left > 0; left--)
        assert_int_not_equal(borrower_borrow(borrower, BORROWED_MOVABLE), UINT32_MAX);
    uint64_t run = 0, pins = random_one_in(random, 2) ? 2 : 40;
    enum kind kind = FREE;
    for (unsigned i = 0; i < FRAMES; i++, run--) {
        const struct qy_folio *folio = &memory.mm->folios[i];
        kinds[i] = in_region(FIRST + i) ? CLOSED : FREE;
        if (run == 0) {
            kind = random_one_in(random, pins) ? NEVER : (enum kind)random_below(random, NEVER);
            run = 1 + random_below(random, kind == NEVER ? 3 : 90);
        }
        if (!in_region(FIRST + i) || folio->state != QY_FOLIO_LENT)
            continue;
        uint32_t page = folio->index;
        kinds[i] = kind;
        if (kind == FREE)
            borrower_return(borrower, page);
        else
            borrower->kind[page] = borrowed[kind];
        borrower->pinned[page] = kind == NEVER;
    }
}

static void empty(void)
{
    for (uint32_t page = 0; page < FRAMES; page++)
        borrower_return(borrower, page);
}

/* ---- every window ---- */

struct window {
    qy_pfn_t pfn;
    uint64_t count[NR_KINDS];
    uint64_t price;
    uint64_t seen; /* frames up to its end, part by part */
};

static struct window found[MOST_WINDOWS];
static unsigned nr_found;

static enum kind kind_of(qy_pfn_t pfn, const struct qy_cma_request *request)
{
    return request->below != 0 && pfn >= request->below ? CLOSED : kinds[pfn - FIRST];
}

/** Windows begin at the first aligned frame behind what ends them, and then a sixteenth of their
 *  length apart, if that is more than the alignment. */
static void list_part(const struct qy_cma_request *request, uint64_t nr_frames, qy_pfn_t part,
                      uint64_t before, uint64_t step, uint64_t align, enum kind ends)
{
    qy_pfn_t start = (part + align - 1) & ~(align - 1);
    while (start + nr_frames <= part + PART) {
        struct window window = {.pfn = start, .seen = before + start + nr_frames - part};
        qy_pfn_t at = start;
        for (; at < start + nr_frames && kind_of(at, request) < ends; at++) {
            window.count[kind_of(at, request)]++;
            window.price += price_of[kind_of(at, request)];
        }
        if (at < start + nr_frames) {
            start = (at + align) & ~(align - 1);
            continue;
        }
        found[nr_found++] = window;
        start += step;
    }
}

static void list_windows(const struct qy_cma_request *request, enum kind ends, bool all)
{
    uint64_t bit = UINT64_C(1) << order_per_bit, align = UINT64_C(1) << request->align_order;
    uint64_t nr_frames = (request->nr_frames + bit - 1) & ~(bit - 1);
    align = align > bit ? align : bit;
    uint64_t starts = all ? 1 : nr_frames / 16 / align;
    nr_found = 0;
    for (unsigned i = 0; i < COUNT_OF(parts); i++)
        list_part(request, nr_frames, parts[i], (uint64_t)i * PART,
                  align * (starts > 1 ? starts : 1), align, ends);
}

static bool is_too_much(const struct window *window, const struct qy_cma_request *request)
{
    return request->most_moved != 0 &&
           window->count[MOVE] + window->count[WRITE] > request->most_moved;
}

/** The cheapest, the first of equals; or one before it, if it is no dearer than looking on, which
 *  is two looks a frame at most, eight of which are worth a drop. */
static bool is_choice(const struct window *window, const struct qy_cma_request *request)
{
    for (unsigned i = 0; i < nr_found; i++) {
        const struct window *other = &found[i];
        if (is_too_much(other, request))
            continue;
        if (other < window && other->price <= window->price)
            return false;
        if (other->price < window->price)
            return window->price * 8 <= 2 * other->seen;
    }
    return true;
}

static bool is_reported(const struct window *window, const struct qy_cma_report *report)
{
    return report->free == window->count[FREE] && report->dropped == window->count[DROP] &&
           report->moved == window->count[MOVE] + window->count[WRITE] && /* there is room */
           report->written == 0;
}

/** The frames of the window with the fewest that cannot be had are named; of the first fit, those
 *  of the first. */
static void check_stuck(const struct qy_cma_request *request, const struct qy_cma_report *report)
{
    const struct window *best = &found[0];
    unsigned named = 0;
    for (unsigned i = 0; i < nr_found && !(request->flags & QY_CMA_FIRST_FIT); i++)
        if (found[i].price < best->price)
            best = &found[i];
    assert_int_equal(report->nr_stuck, best->count[NEVER]);
    assert_true(is_reported(best, report));
    for (qy_pfn_t pfn = best->pfn; named < QY_CMA_MAX_STUCK && named < report->nr_stuck; pfn++)
        if (kind_of(pfn, request) == NEVER)
            assert_int_equal(report->stuck[named++].pfn, pfn);
}

/** The first fit is the first window, if it may do as much as that needs. */
static bool does(const struct window *window, const struct qy_cma_request *request)
{
    bool is_late = (request->flags & QY_CMA_FIRST_FIT) && window != &found[0];
    return !is_late && !is_too_much(window, request);
}

/** Is a window all free? Wherever it begins it is the choice, and needs no work. */
static bool is_one_free(const struct qy_cma_request *request)
{
    list_windows(request, DROP, true);
    return nr_found > 0;
}

/** A dry run says what a look at every window says. */
static int compare(struct qy_cma_request request)
{
    struct qy_cma_report report;
    qy_pfn_t pfn;
    request.flags |= QY_CMA_DRY_RUN;
    int code = qy_cma_alloc(cma, &request, &pfn, &report);
    bool first_fit = request.flags & QY_CMA_FIRST_FIT;
    if (!first_fit && is_one_free(&request)) {
        assert_int_equal(code, 0);
        assert_true(is_reported(&found[0], &report));
        return code;
    }
    list_windows(&request, NEVER, first_fit);
    unsigned would_do = 0, choices = 0;
    for (unsigned i = 0; i < nr_found; i++) {
        would_do += does(&found[i], &request);
        choices += does(&found[i], &request) && is_reported(&found[i], &report) &&
                   (first_fit || is_choice(&found[i], &request));
    }
    if (code == 0 && choices == 0)
        test_fail("no choice: %llu free, %llu dropped, %llu moved, %llu written",
                  (unsigned long long)report.free, (unsigned long long)report.dropped,
                  (unsigned long long)report.moved, (unsigned long long)report.written);
    if (would_do > 0 || nr_found > 0) {
        assert_int_equal(code, would_do > 0 ? 0 : -ETIME);
        return code;
    }
    list_windows(&request, CLOSED, first_fit);
    assert_int_equal(code, nr_found > 0 ? -EBUSY : -ENOMEM);
    if (code == -EBUSY)
        check_stuck(&request, &report);
    return code;
}

/** The buffer is one of the cheapest windows, and costs what they do. */
static void take_cheapest(struct qy_cma_request request)
{
    struct qy_cma_report report;
    qy_pfn_t pfn;
    request.flags = 0;
    request.most_moved = 0;
    if (!is_one_free(&request))
        list_windows(&request, NEVER, false);
    if (nr_found == 0)
        return;
    assert_int_equal(qy_cma_alloc(cma, &request, &pfn, &report), 0);
    unsigned i = 0;
    while (i < nr_found && found[i].pfn != pfn)
        i++;
    assert_true(i < nr_found && is_choice(&found[i], &request));
    assert_int_equal(report.windows_tried, 1);
    assert_int_equal(report.free, found[i].count[FREE]);
    assert_int_equal(report.dropped, found[i].count[DROP]);
    assert_int_equal(report.moved, found[i].count[MOVE] + found[i].count[WRITE]);
    assert_int_equal(qy_cma_release(cma, pfn, request.nr_frames), 0);
}

/** The first window in which nothing is pinned, each before it having been tried. */
static void take_first(struct qy_cma_request request)
{
    struct qy_cma_report report;
    qy_pfn_t pfn;
    unsigned tried = 0;
    request.flags = QY_CMA_FIRST_FIT;
    request.most_moved = 0;
    list_windows(&request, CLOSED, true);
    while (tried < nr_found && found[tried].count[NEVER] > 0)
        tried++;
    int code = qy_cma_alloc(cma, &request, &pfn, &report);
    assert_int_equal(code, tried < nr_found ? 0 : nr_found > 0 ? -EBUSY : -ENOMEM);
    assert_int_equal(report.windows_tried, tried + (code == 0));
    if (code != 0)
        return;
    assert_int_equal(pfn, found[tried].pfn);
    assert_int_equal(qy_cma_release(cma, pfn, request.nr_frames), 0);
}

static struct qy_cma_request some_request(struct random *random)
{
    struct qy_cma_request request = {.nr_frames = 1 + random_below(random, 60)};
    if (random_one_in(random, 3))
        request.nr_frames = 1 + random_below(random, 500);
    request.align_order = (unsigned)random_below(random, 8);
    if (random_one_in(random, 3))
        request.below = FIRST + PART / 2 + random_below(random, 5 * PART);
    if (random_one_in(random, 3))
        request.most_moved = 1 + random_below(random, request.nr_frames);
    if (random_one_in(random, 6))
        request.flags = QY_CMA_FIRST_FIT;
    return request;
}

/* Wrong if it failed: a request would take a window that costs more than another, one that it may
 * not have, or fail where there is one; or be told of the wrong holders. */
static void against_all_windows(void **state)
{
    struct random random = {test_seed()};
    unsigned served = 0, busy = 0, late = 0;
    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        qy_pfn_t out[6];
        uint64_t lengths[6];
        if (round % 20 == 0)
            set_up(round / 20 * 2);
        take_out(&random, out, lengths, COUNT_OF(out));
        fill(&random);
        for (unsigned i = 0; i < 40; i++) {
            int code = compare(some_request(&random));
            served += code == 0;
            busy += code == -EBUSY;
            late += code == -ETIME;
        }
        if (round % 2 == 0)
            take_cheapest(some_request(&random));
        else
            take_first(some_request(&random));
        put_back(out, lengths, COUNT_OF(out));
        empty();
        if (round % 20 == 19)
            tear_down();
    }
    assert_true(served > 100 && busy > 10 && late > 10);
}

/* Wrong if it failed: a window that is free would be passed over, because it begins between two
 * steps; and a request that may move little be told that there is none. */
static void free_between_steps(void **state)
{
    struct qy_cma_request request = {.nr_frames = 512, .most_moved = 1};
    (void)state;
    for (uint64_t offset = 2; offset < 511; offset += 37) {
        set_up(0);
        for (unsigned i = 0; i < REGION; i++)
            assert_int_not_equal(borrower_borrow(borrower, BORROWED_MOVABLE), UINT32_MAX);
        for (qy_pfn_t pfn = FIRST; pfn < FIRST + FRAMES; pfn++)
            kinds[pfn - FIRST] = in_region(pfn) ? MOVE : CLOSED;
        for (qy_pfn_t pfn = parts[1] + offset; pfn < parts[1] + offset + 512; pfn++) {
            borrower_return(borrower, qy_folio_of(memory.mm, pfn)->index);
            kinds[pfn - FIRST] = FREE;
        }
        assert_int_equal(compare(request), 0);
        take_cheapest(request);
        request.align_order = 9;
        assert_int_equal(compare(request), -ETIME);
        request.align_order = 0;
        tear_down();
    }
}

/* ---- what changes, and what is not worth a look ---- */

static uint64_t looks;
static bool restless;
static struct qy_mapping_ops watched_ops;

static enum qy_folio_cost watched_cost(const struct qy_mapping *mapping,
                                       const struct qy_folio *folio)
{
    (void)mapping;
    (void)folio;
    looks++;
    if (!restless)
        return QY_COST_DROP;
    return looks * UINT64_C(0x9e3779b97f4a7c15) >> 62 == 0 ? QY_COST_MOVE : QY_COST_DROP;
}

/* Wrong if it failed: choosing would take longer than what it can save, or a frame that becomes
 * dearer meanwhile would be counted as two, or as none. */
static void no_more_looks_than_worth(void **state)
{
    struct qy_cma_report report;
    qy_pfn_t pfn;
    (void)state;
    set_up(0);
    for (unsigned i = 0; i < REGION; i++)
        assert_int_not_equal(borrower_borrow(borrower, BORROWED_CLEAN), UINT32_MAX);
    const struct qy_mapping_ops *ops = borrower->mapping.ops;
    watched_ops = *ops;
    watched_ops.cost = watched_cost;
    borrower->mapping.ops = &watched_ops;
    for (uint64_t frames = 1; frames <= 64; frames *= 2) {
        const struct qy_cma_request request = {.nr_frames = frames, .flags = QY_CMA_DRY_RUN};
        looks = 0;
        assert_int_equal(qy_cma_alloc(cma, &request, &pfn, &report), 0);
        assert_int_equal(report.dropped, frames);
        assert_in_range(looks, frames, 12 * frames);
    }
    restless = true;
    for (uint64_t frames = 1; frames <= PART; frames++) {
        const struct qy_cma_request request = {.nr_frames = frames, .flags = QY_CMA_DRY_RUN};
        assert_int_equal(qy_cma_alloc(cma, &request, &pfn, &report), 0);
        assert_int_equal(report.free + report.dropped + report.moved + report.written, frames);
        assert_true(report.moved <= frames && report.dropped <= frames);
    }
    restless = false;
    borrower->mapping.ops = ops;
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_all_windows),
        cmocka_unit_test(free_between_steps),
        cmocka_unit_test(no_more_looks_than_worth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
