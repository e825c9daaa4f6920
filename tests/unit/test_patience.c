/*
 * test_patience.c - how long a request for a buffer waits for whom, and how long it says it took
 */
#include "borrower.h"
#include "support.h"

#include "move/cma.h"
#include "move/move.h"

#include <errno.h>
#include <time.h>

#define BASE (4 * GIB)
#define FIRST (BASE / PAGE)
#define REGION 1024u
#define US UINT64_C(1000)

static struct test_memory memory;
static struct borrower *borrower;
static struct qy_cma *cma;

/** Time that passes only while somebody sleeps, and with each look at the clock. */
static uint64_t now_ns, look_ns;
static unsigned naps, last_nap; /* after the last, nothing is pinned any more; 0: never */

int nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)left;
    now_ns += (uint64_t)time->tv_sec * 1000000 * US + (uint64_t)time->tv_nsec;
    if (++naps == last_nap)
        memset(borrower->pinned, 0, sizeof(borrower->pinned));
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    (void)clock;
    now_ns += look_ns;
    *time = (struct timespec){(time_t)(now_ns / (1000000 * US)), (long)(now_ns % (1000000 * US))};
    return 0;
}

static void set_up(enum qy_cma_policy policy, enum borrowed kind)
{
    const struct qy_range range = {.base = BASE, .bytes = 16 * MIB};
    const struct qy_memmap map = {
        .ranges = &range, .nr_ranges = 1, .nr_nodes = 1, .dma32_end = 4 * GIB};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .movable = true};
    const struct qy_cma_options region = {
        .name = "camera", .ranges = {{FIRST, REGION}}, .nr_ranges = 1, .policy = policy};
    struct qy_cma_stat stat;
    now_ns = 1;
    look_ns = 0;
    test_memory_build(&memory, &map, &options, BASE, 16 * MIB);
    cma = qy_cma_create(memory.mm, &region, NULL);
    assert_non_null(cma);
    borrower = borrower_create(memory.mm, "borrower");
    for (unsigned i = 0; i < REGION; i++) /* it is lent before other memory */
        assert_int_not_equal(borrower_borrow(borrower, kind), UINT32_MAX);
    qy_cma_stat(cma, &stat);
    assert_int_equal(stat.lent, REGION);
}

static void tear_down(void)
{
    borrower_destroy(borrower);
    test_rules(memory.mm);
    assert_int_equal(qy_cma_destroy(cma), 0);
    test_memory_free(&memory);
}

static void pin(unsigned count)
{
    for (qy_pfn_t pfn = FIRST; pfn < FIRST + 20 * count; pfn += 20)
        borrower->pinned[qy_folio_of(memory.mm, pfn)->index] = 1;
}

/** Ask for all of the region, of which so many pages are pinned until the last nap. If it is had,
 *  it is given back. */
static int ask(struct qy_cma_request request, unsigned nr_pinned, unsigned until,
               struct qy_cma_report *report)
{
    qy_pfn_t pfn = 0;
    pin(nr_pinned);
    naps = 0;
    last_nap = until;
    request.nr_frames = REGION;
    int code = qy_cma_alloc(cma, &request, &pfn, report);
    assert_int_equal(pfn, code == 0 ? FIRST : 0);
    if (code == 0)
        assert_int_equal(qy_cma_release(cma, pfn, REGION), 0);
    return code;
}

/* Wrong if it failed: what is let go of in a moment would fail a request; what is not would hold it
 * up for ever; or one that does not wait would. */
static void waited_for(void **state)
{
    const struct qy_cma_request any = {.nr_frames = REGION};
    struct qy_cma_report report;
    (void)state;
    for (unsigned until = 1; until <= QY_MOVE_NAPS; until *= 6) {
        set_up(QY_CMA_EAGER, BORROWED_MOVABLE);
        assert_int_equal(ask(any, 1, until, &report), 0);
        assert_int_equal(naps, until);
        assert_int_equal(report.moved, REGION);
        tear_down();
    }
    set_up(QY_CMA_EAGER, BORROWED_MOVABLE);
    assert_int_equal(ask(any, 3, 0, &report), -EBUSY);
    assert_int_equal(naps, QY_MOVE_NAPS);
    assert_in_range(now_ns, 95 * 1000 * US, 105 * 1000 * US);
    assert_int_equal(report.nr_stuck, 3);
    assert_int_equal(report.stuck[2].pfn, FIRST + 40);
    assert_int_equal(report.moved, 0); /* before the window can come */
    for (unsigned first_fit = 0; first_fit < 2; first_fit++) {
        const struct qy_cma_request hurried = {.flags =
                                                   first_fit ? QY_CMA_FIRST_FIT : QY_CMA_DRY_RUN};
        assert_int_equal(ask(hurried, 1, 0, &report), -EBUSY);
        assert_int_equal(naps, 0);
    }
    tear_down();
}

/* Wrong if it failed: a deadline would be slept away. */
static void until_its_time_is_over(void **state)
{
    const struct qy_cma_request soon = {.deadline_ns = 1000 * US};
    struct qy_cma_report report;
    (void)state;
    set_up(QY_CMA_EAGER, BORROWED_MOVABLE);
    uint64_t started = now_ns;
    assert_int_equal(ask(soon, 1, 0, &report), -ETIME);
    assert_int_equal(now_ns - started, 1000 * US);
    assert_int_equal(report.ns, 1000 * US);
    assert_int_equal(report.stuck[0].pfn, FIRST);
    tear_down();
}

/* Wrong if it failed: who has time would be refused before it is over; or a time without end would
 * be over at once. */
static void until_the_deadline(void **state)
{
    static const uint64_t deadlines[] = {200000 * US, 2000000 * US, 60000000 * US};
    static const uint64_t endless[] = {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX / 2};
    struct qy_cma_report report;
    (void)state;
    set_up(QY_CMA_EAGER, BORROWED_MOVABLE);
    for (unsigned i = 0; i < COUNT_OF(deadlines); i++) {
        const struct qy_cma_request request = {.deadline_ns = deadlines[i]};
        assert_int_equal(ask(request, 1, 0, &report), -ETIME);
        assert_int_equal(report.ns, deadlines[i]);
        assert_int_equal(report.stuck[0].reason, QY_CMA_PINNED);
        assert_int_equal(report.stuck[0].pfn, FIRST);
    }
    tear_down();
    for (unsigned i = 0; i < COUNT_OF(endless); i++) {
        const struct qy_cma_request request = {.deadline_ns = endless[i]};
        set_up(QY_CMA_EAGER, BORROWED_MOVABLE);
        assert_int_equal(ask(request, 1, 10 * QY_MOVE_NAPS, &report), 0);
        assert_int_equal(naps, 10 * QY_MOVE_NAPS);
        assert_int_equal(report.moved, REGION);
        tear_down();
    }
}

/* Wrong if it failed: a guaranteed region would be refused, or a deadline not end even that. */
static void as_long_as_it_takes(void **state)
{
    struct qy_cma_report report;
    (void)state;
    for (unsigned first_fit = 0; first_fit < 2; first_fit++) {
        set_up(QY_CMA_GUARANTEED, BORROWED_CLEAN);
        struct qy_cma_request request = {.flags = first_fit ? QY_CMA_FIRST_FIT : 0};
        assert_int_equal(ask(request, 1, 500, &report), 0);
        assert_int_equal(naps, 500);
        assert_int_equal(report.dropped, REGION);
        tear_down();
        set_up(QY_CMA_GUARANTEED, BORROWED_CLEAN);
        request.deadline_ns = 60000000 * US;
        assert_int_equal(ask(request, 1, 0, &report), -ETIME);
        assert_int_equal(report.ns, 60000000 * US);
        tear_down();
    }
}

/* Wrong if it failed: a request would not wait because of what stands behind its report. */
static void more_than_are_named(void **state)
{
    struct {
        struct qy_cma_report report;
        struct qy_cma_stuck behind;
    } all = {.behind = {.reason = QY_CMA_UNMOVABLE}};
    (void)state;
    set_up(QY_CMA_EAGER, BORROWED_MOVABLE);
    assert_int_equal(ask((struct qy_cma_request){0}, QY_CMA_MAX_STUCK + 4, 2, &all.report), 0);
    assert_int_equal(naps, 2);
    tear_down();
}

/* Wrong if it failed: the table of a region would say of a request that it took less than it did,
 * or lose the slowest. */
static void latencies(void **state)
{
    static const uint64_t ns[] = {0,        999,      1000,     1999,           2000,
                                  3999,     4000,     US << 20, (US << 30) - 1, US << 30,
                                  US << 31, US << 32, US << 40};
    static const unsigned buckets[] = {0, 0, 1, 1, 2, 2, 3, 21, 30, 31, 31, 31, 31};
    (void)state;
    set_up(QY_CMA_EAGER, BORROWED_MOVABLE);
    borrower_destroy(borrower);
    for (unsigned i = 0; i < COUNT_OF(ns); i++) {
        const struct qy_cma_request request = {.nr_frames = 1};
        struct qy_cma_report report;
        struct qy_cma_stat before, after;
        qy_pfn_t pfn;
        qy_cma_stat(cma, &before);
        look_ns = ns[i];
        assert_int_equal(qy_cma_alloc(cma, &request, &pfn, &report), 0);
        look_ns = 0;
        assert_int_equal(report.ns, ns[i]);
        qy_cma_stat(cma, &after);
        for (unsigned b = 0; b < QY_CMA_LATENCIES; b++)
            assert_int_equal(after.latency[b] - before.latency[b], b == buckets[i]);
        assert_int_equal(qy_cma_release(cma, pfn, 1), 0);
    }
    borrower = borrower_create(memory.mm, "borrower");
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waited_for),          cmocka_unit_test(until_its_time_is_over),
        cmocka_unit_test(as_long_as_it_takes), cmocka_unit_test(more_than_are_named),
        cmocka_unit_test(latencies),           cmocka_unit_test(until_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
