/*
 * test_cma.c - regions are lent, taken back whole, and say what stood in the way
 */
#include "borrower.h"
#include "random.h"
#include "support.h"

#include "buddy/lend.h"
#include "move/cma.h"
#include "view/live.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>
#include <quarry/slab.h>
#include <quarry/view.h>

#include <errno.h>

#define FIRST (4 * GIB / PAGE)

struct fixture {
    struct test_memory memory;
    struct qy_mm *mm;
    struct borrower *borrower;
    struct qy_cma *cma;
};

/** @bytes of memory with a region of @region frames at its start. */
static struct fixture set_up(uint64_t bytes, uint64_t region, enum qy_cma_policy policy,
                             unsigned order_per_bit)
{
    const struct qy_cma_options region_options = {
        .name = "camera",
        .ranges = {{FIRST, region}},
        .nr_ranges = 1,
        .order_per_bit = order_per_bit,
        .policy = policy,
    };
    struct qy_error error = {0};
    struct fixture fixture;
    test_memory_lendable(&fixture.memory, bytes, 1);
    fixture.mm = fixture.memory.mm;
    fixture.cma = qy_cma_create(fixture.mm, &region_options, &error);
    if (fixture.cma == NULL)
        test_fail("qy_cma_create: %s", error.text);
    fixture.borrower = borrower_create(fixture.mm, "borrower");
    test_rules(fixture.mm);
    return fixture;
}

static void tear_down(struct fixture *fixture)
{
    borrower_check(fixture->borrower);
    borrower_destroy(fixture->borrower);
    test_rules(fixture->mm);
    assert_int_equal(qy_cma_destroy(fixture->cma), 0);
    for (unsigned z = 0; z < qy_nr_zones(fixture->mm); z++) /* it is ordinary memory again */
        assert_int_equal(fixture->mm->zones[z].nr_free_of[QY_MIGRATE_CMA] +
                             fixture->mm->zones[z].nr_free_of[QY_MIGRATE_GUARANTEED],
                         0);
    test_rules(fixture->mm);
    test_memory_free(&fixture->memory);
}

/** Borrow until @left frames of the region are not lent. */
static void fill_region(struct fixture *fixture, enum borrowed kind, uint64_t left)
{
    struct qy_cma_stat stat;
    do {
        if (borrower_borrow(fixture->borrower, kind) == UINT32_MAX)
            break;
        qy_cma_stat(fixture->cma, &stat);
    } while (stat.free > left);
}

/** A dry run says before what it will cost. */
static int take(struct fixture *fixture, uint64_t nr_frames, qy_pfn_t *pfn,
                struct qy_cma_report *report)
{
    const struct qy_cma_request request = {.nr_frames = nr_frames};
    const struct qy_cma_request dry = {.nr_frames = nr_frames, .flags = QY_CMA_DRY_RUN};
    struct qy_cma_report expected, own;
    report = report != NULL ? report : &own;
    int would = qy_cma_alloc(fixture->cma, &dry, pfn, &expected);
    int code = qy_cma_alloc(fixture->cma, &request, pfn, report);
    if (would == 0 && code == 0 && report->windows_tried == 1) {
        assert_int_equal(expected.free, report->free);
        assert_int_equal(expected.moved, report->moved);
        assert_int_equal(expected.dropped, report->dropped);
        assert_int_equal(expected.written, report->written);
    }
    return code;
}

/* Wrong if it failed: an idle region would lie idle, or its frames would come back with other
 * people's bytes moved to the wrong place, or not at all. */
static void lent_and_taken_back(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 2048, QY_CMA_EAGER, 0);
    struct qy_cma_report report;
    struct qy_cma_stat stat;
    qy_pfn_t pfn;
    (void)state;
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    qy_cma_stat(fixture.cma, &stat);
    assert_int_equal(stat.lent, 2048);
    assert_int_equal(take(&fixture, 2048, &pfn, &report), 0);
    assert_int_equal(pfn, FIRST);
    assert_int_equal(report.moved, 2048);
    assert_int_equal(report.free + report.dropped + report.written, 0);
    borrower_check(fixture.borrower);
    test_rules(fixture.mm);
    for (uint64_t i = 0; i < 2048; i++) /* it is the driver's: nobody's writes come here */
        memset(qy_page_address(fixture.mm, pfn + i), 0xcc, PAGE);
    borrower_check(fixture.borrower);
    assert_int_equal(qy_cma_destroy(fixture.cma), -EBUSY);
    assert_int_equal(qy_cma_release(fixture.cma, pfn, 1024), 0);
    assert_int_equal(qy_cma_release(fixture.cma, pfn + 1024, 1024), 0);
    qy_cma_stat(fixture.cma, &stat);
    assert_int_equal(stat.free, 2048);
    assert_int_equal(stat.alloc_pages_success, 2048);
    assert_int_equal(stat.release_pages_success, 2048);
    tear_down(&fixture);
}

/* Wrong if it failed: what can be dropped would be copied, at ten times the price; what is dirty
 * would be lost. */
static void dropped_and_written(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 1024, QY_CMA_EAGER, 0);
    struct qy_cma_report report;
    struct qy_cma_stat stat;
    qy_pfn_t pfn;
    (void)state;
    fill_region(&fixture, BORROWED_CLEAN, 512);
    fill_region(&fixture, BORROWED_DIRTY, 0);
    assert_int_equal(take(&fixture, 1024, &pfn, &report), 0);
    assert_int_equal(report.dropped, 512);
    assert_int_equal(report.moved, 512); /* there is room: moving is cheaper than writing */
    assert_int_equal(fixture.borrower->cleaned, 0);
    assert_int_equal(qy_cma_release(fixture.cma, pfn, 1024), 0);
    fill_region(&fixture, BORROWED_DIRTY, 0);
    while (qy_alloc_pages(fixture.mm, QY_GFP_KERNEL, 0) != QY_PFN_NONE)
        ;
    assert_int_equal(take(&fixture, 1024, &pfn, &report), 0);
    assert_int_equal(report.written, 1024); /* no room any more */
    qy_cma_stat(fixture.cma, &stat);
    assert_int_equal(stat.written, 1024);
    assert_int_equal(stat.moved, 512);
    assert_int_equal(report.dropped, 1024);
    assert_int_equal(qy_cma_release(fixture.cma, pfn, 1024), 0);
    fill_region(&fixture, BORROWED_DIRTY, 0);
    fixture.borrower->clean_fails = true;
    assert_int_equal(take(&fixture, 1024, &pfn, &report), -EBUSY);
    assert_int_equal(report.stuck[0].reason, QY_CMA_WRITE_FAILED);
    test_rules(fixture.mm);
    fixture.borrower->clean_fails = false;
    tear_down(&fixture);
}

/* Wrong if it failed: what can be dropped would be copied where it lies behind what cannot, and a
 * request that may move so much and no more would fail. */
static void clean_between_others(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 1024, QY_CMA_EAGER, 0);
    const struct qy_cma_request request = {.nr_frames = 1024, .most_moved = 512};
    struct qy_cma_report report;
    qy_pfn_t pfn;
    (void)state;
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    for (qy_pfn_t at = FIRST + 1; at < FIRST + 1024; at += 2)
        fixture.borrower->kind[qy_folio_of(fixture.mm, at)->index] = BORROWED_CLEAN;
    assert_int_equal(qy_cma_alloc(fixture.cma, &request, &pfn, &report), 0);
    assert_int_equal(report.moved, 512);
    assert_int_equal(report.dropped, 512);
    assert_int_equal(qy_cma_release(fixture.cma, pfn, 1024), 0);
    tear_down(&fixture);
}

/* Wrong if it failed: one pinned page would fail a request that another window serves, or the
 * report would not name who held it. */
static void around_a_pin(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 2048, QY_CMA_EAGER, 0);
    struct qy_cma_report report;
    qy_pfn_t pfn;
    (void)state;
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    uint32_t page = 0;
    while (fixture.borrower->pfn[page] != FIRST + 100)
        page++;
    fixture.borrower->pinned[page] = 1;

    assert_int_equal(take(&fixture, 1024, &pfn, &report), 0);
    assert_true(pfn > FIRST + 100);
    assert_int_equal(report.windows_tried, 1);
    assert_int_equal(qy_cma_release(fixture.cma, pfn, 1024), 0);

    uint64_t moved = fixture.borrower->moved;
    assert_int_equal(take(&fixture, 2048, &pfn, &report), -EBUSY); /* none without the pin */
    assert_int_equal(report.nr_stuck, 1);
    assert_int_equal(report.stuck[0].pfn, FIRST + 100);
    assert_int_equal(report.stuck[0].reason, QY_CMA_PINNED);
    assert_string_equal(report.stuck[0].owner, "borrower");
    const struct qy_cma_request dry = {.nr_frames = 2048, .flags = QY_CMA_DRY_RUN};
    assert_int_equal(qy_cma_alloc(fixture.cma, &dry, &pfn, &report), -EBUSY);
    assert_int_equal(report.stuck[0].pfn, FIRST + 100);
    assert_int_equal(fixture.borrower->moved, moved);
    const struct qy_cma_request first = {
        .nr_frames = 1024, .align_order = 6, .flags = QY_CMA_FIRST_FIT};
    assert_int_equal(qy_cma_alloc(fixture.cma, &first, &pfn, &report), 0);
    assert_int_equal(pfn, FIRST + 128);
    assert_int_equal(report.windows_tried, 3);
    assert_int_equal(qy_cma_release(fixture.cma, pfn, 1024), 0);
    fixture.borrower->pinned[page] = 0;
    tear_down(&fixture);
}

static enum qy_folio_cost cost_unseen(const struct qy_mapping *mapping,
                                      const struct qy_folio *folio)
{
    (void)mapping;
    (void)folio;
    return QY_COST_MOVE;
}

/* Wrong if it failed: a window would be tried again and again in which somebody has just pinned a
 * page, though others would do. */
static void around_what_is_met(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 1024, QY_CMA_EAGER, 0);
    struct qy_mapping_ops ops = *fixture.borrower->mapping.ops;
    struct qy_cma_report report;
    qy_pfn_t pfn;
    (void)state;
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    ops.cost = cost_unseen;
    ops.drop = NULL; /* so the pin is met when it is isolated */
    fixture.borrower->mapping.ops = &ops;
    fixture.borrower->pinned[qy_folio_of(fixture.mm, FIRST + 100)->index] = 1;
    assert_int_equal(take(&fixture, 256, &pfn, &report), 0);
    assert_int_equal(report.windows_tried, 2);
    assert_int_equal(report.nr_stuck, 0); /* it was had */
    assert_true(pfn > FIRST + 100);
    assert_int_equal(qy_cma_release(fixture.cma, pfn, 256), 0);
    memset(fixture.borrower->pinned, 0, sizeof(fixture.borrower->pinned));
    tear_down(&fixture);
}

/* Wrong if it failed: "in vain" would leave frames held, or wanted by nobody. */
static void nothing_changed(void **state)
{
    struct fixture fixture = set_up(16 * MIB, 1024, QY_CMA_EAGER, 0);
    struct qy_mm *mm = fixture.mm;
    struct qy_cma_report report;
    qy_pfn_t pfn;
    (void)state;
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    uint64_t free = qy_free_frames(mm);
    struct qy_cma_request request = {.nr_frames = 1024, .most_moved = 100};
    assert_int_equal(qy_cma_alloc(fixture.cma, &request, &pfn, &report), -ETIME);
    assert_int_equal(report.moved, 0); /* no window would do: none is begun */
    assert_int_equal(qy_free_frames(mm), free);
    borrower_check(fixture.borrower);
    test_rules(mm);

    request = (struct qy_cma_request){.nr_frames = 1024, .flags = QY_CMA_DRY_RUN};
    uint64_t moved = fixture.borrower->moved;
    assert_int_equal(qy_cma_alloc(fixture.cma, &request, &pfn, &report), 0);
    assert_int_equal(report.moved + report.free, 1024);
    assert_int_equal(fixture.borrower->moved, moved);

    fixture.borrower->putback_fails = true;
    assert_int_equal(take(&fixture, 1024, &pfn, &report), -EBUSY);
    assert_true(report.nr_stuck > 0);
    assert_int_equal(report.stuck[0].reason, QY_CMA_NO_MAPPING);
    fixture.borrower->putback_fails = false;
    assert_int_equal(qy_free_frames(mm), free);
    borrower_check(fixture.borrower);
    test_rules(mm);

    while (qy_alloc_pages(mm, QY_GFP_KERNEL, 0) != QY_PFN_NONE)
        ;
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    assert_int_equal(take(&fixture, 1024, &pfn, &report), -EBUSY);
    assert_int_equal(report.stuck[0].reason, QY_CMA_NO_TARGET);
    assert_string_equal(report.stuck[0].owner, "borrower");
    assert_int_equal(take(&fixture, 0, &pfn, &report), -EINVAL);
    assert_int_equal(take(&fixture, 1025, &pfn, &report), -EINVAL);
    test_rules(mm);
    tear_down(&fixture);
}

/* Wrong if it failed: a reason that was added would have no name, or a wrong one lead astray. */
static void each_reason_has_a_name(void **state)
{
    (void)state;
    for (int reason = 0; reason < QY_CMA_NR_REASONS; reason++)
        assert_true(strlen(qy_cma_reason_name((enum qy_cma_reason)reason)) > 3);
    assert_string_equal(qy_cma_reason_name(QY_CMA_NR_REASONS), "?");
    assert_string_equal(qy_cma_reason_name((enum qy_cma_reason) - 1), "?");
}

/* Wrong if it failed: a guaranteed region would be lent to who cannot drop it at once. */
static void guaranteed(void **state)
{
    struct fixture fixture = set_up(16 * MIB, 1024, QY_CMA_GUARANTEED, 0);
    struct qy_cma_report report;
    struct qy_cma_stat stat;
    qy_pfn_t pfn;
    (void)state;
    while (borrower_borrow(fixture.borrower, BORROWED_MOVABLE) != UINT32_MAX)
        ;
    qy_cma_stat(fixture.cma, &stat);
    assert_int_equal(stat.lent, 0);
    while (borrower_borrow(fixture.borrower, BORROWED_CLEAN) != UINT32_MAX)
        ;
    qy_cma_stat(fixture.cma, &stat);
    assert_int_equal(stat.lent, 1024);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(take(&fixture, 1024, &pfn, &report), 0);
        assert_int_equal(report.moved + report.written, 0);
        assert_int_equal(qy_cma_release(fixture.cma, pfn, 1024), 0);
    }
    tear_down(&fixture);
}

/* Wrong if it failed: two windows could overlap, or alignment, limit or bits be ignored. */
static void windows(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 4096, QY_CMA_LINUX, 4);
    struct qy_cma_report report;
    qy_pfn_t pfn[4], pfns[16];
    (void)state;
    assert_int_equal(take(&fixture, 1, &pfn[0], NULL), 0);
    assert_int_equal(take(&fixture, 17, &pfn[1], NULL), 0);
    assert_int_equal(pfn[1], pfn[0] + 16);
    assert_int_equal(take(&fixture, 16, &pfn[2], NULL), 0);
    assert_int_equal(pfn[2], pfn[1] + 32);
    struct qy_cma_request request = {.nr_frames = 100, .align_order = 9, .below = FIRST + 600};
    assert_int_equal(qy_cma_alloc(fixture.cma, &request, &pfn[3], &report), -ENOMEM);
    request.below = FIRST + 624;
    assert_int_equal(qy_cma_alloc(fixture.cma, &request, &pfn[3], &report), 0);
    assert_int_equal(pfn[3], FIRST + 512);
    test_quiet(true);
    assert_int_equal(qy_cma_release(fixture.cma, pfn[3] + 1, 16), -EINVAL);
    assert_int_equal(qy_cma_release(fixture.cma, pfn[3], 4096), -EINVAL);
    assert_int_equal(qy_cma_release(fixture.cma, FIRST + 128, 16), -EINVAL);
    test_quiet(false);
    assert_int_equal(qy_cma_release(fixture.cma, pfn[3], 100), 0);
    assert_int_equal(qy_cma_release(fixture.cma, pfn[0], 1), 0);
    assert_int_equal(qy_cma_release(fixture.cma, pfn[1], 17), 0);
    assert_int_equal(qy_cma_release(fixture.cma, pfn[2], 16), 0);

    request = (struct qy_cma_request){.nr_frames = 16 * 512, .align_order = 9};
    assert_int_equal(qy_cma_alloc(fixture.cma, &request, pfns, &report), -EINVAL);
    assert_int_equal(qy_cma_alloc_partial(fixture.cma, &request, pfns, &report), 8);
    request.flags = QY_CMA_DRY_RUN;
    assert_int_equal(qy_cma_alloc_partial(fixture.cma, &request, pfns + 8, &report), -EINVAL);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(qy_cma_release(fixture.cma, pfns[i], 512), 0);
    tear_down(&fixture);
}

/* Wrong if it failed: a region could be made of what is no memory, twice, or of frames that
 * somebody has and cannot give back. */
static void refused(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 1024, QY_CMA_LINUX, 0);
    struct qy_mm *mm = fixture.mm;
    struct qy_error error;
    struct qy_cma_options options = {
        .name = "camera", .ranges = {{QY_PFN_NONE, 1024}}, .nr_ranges = 1};
    (void)state;
    uint64_t free = qy_free_frames(mm);
    assert_null(qy_cma_create(mm, &options, &error));
    assert_int_equal(error.code, -EEXIST);
    options.name = "no blanks";
    assert_null(qy_cma_create(mm, &options, &error));
    assert_int_equal(error.code, -EINVAL);
    options.name = "gpu";
    options.ranges[0].nr_frames = 1000;
    assert_null(qy_cma_create(mm, &options, &error));
    assert_int_equal(error.code, -EINVAL);
    options.ranges[0] = (struct qy_cma_range){FIRST, 1024}; /* the camera's */
    assert_null(qy_cma_create(mm, &options, &error));
    assert_int_equal(error.code, -EINVAL);
    options.ranges[0] = (struct qy_cma_range){QY_PFN_NONE, 1024 * 1024};
    assert_null(qy_cma_create(mm, &options, &error));
    assert_int_equal(error.code, -ENOMEM);
    qy_pfn_t held = qy_alloc_pages_exact(mm, QY_GFP_KERNEL, 1024, 10);
    options.ranges[0] = (struct qy_cma_range){held, 1024};
    assert_null(qy_cma_create(mm, &options, &error));
    assert_int_equal(error.code, -EBUSY);
    assert_string_equal(error.text, "frames in the way cannot be moved: qy_alloc_pages()");
    assert_int_equal(qy_free_pages_exact(mm, held, 1024), 0);
    qy_drain_all_pages(mm);
    assert_true(qy_free_frames(mm) + 64 > free); /* but for slabs and magazines */
    options.ranges[0] = (struct qy_cma_range){QY_PFN_NONE, 1024};
    options.ranges[1] = (struct qy_cma_range){QY_PFN_NONE, 2048};
    options.nr_ranges = 2;
    struct qy_cma *gpu = qy_cma_create(mm, &options, &error);
    assert_non_null(gpu);
    assert_ptr_equal(qy_cma_find(mm, "gpu"), gpu);
    assert_null(qy_cma_find(mm, "gp"));
    test_rules(mm);
    assert_int_equal(qy_cma_destroy(gpu), 0);
    test_rules(mm);
    tear_down(&fixture);
}

/* Wrong if it failed: at some occupancy, with nothing pinned, a request would fail; or content
 * be lost on the way. */
static void any_occupancy(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 4096, QY_CMA_EAGER, 0);
    struct random random = {.state = 7};
    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        uint64_t most = 8192 * 95 / 100 - 1024;
        uint32_t wanted = (uint32_t)(random_below(&random, most));
        while (fixture.borrower->nr_pages < wanted && round % 10 == 0)
            if (borrower_borrow(fixture.borrower, BORROWED_MOVABLE + round / 10 % 3) == UINT32_MAX)
                break;
        for (unsigned i = 0; i < 20; i++)
            borrower_return(fixture.borrower, (uint32_t)random_below(&random, 8192));
        struct qy_cma_report report;
        qy_pfn_t pfn;
        uint64_t frames = 1 + random_below(&random, 1024);
        int code = take(&fixture, frames, &pfn, &report);
        if (code != 0)
            test_fail("round %u: %llu frames with %llu lent: %d, %llu stuck", round,
                      (unsigned long long)frames, (unsigned long long)fixture.borrower->nr_pages,
                      code, (unsigned long long)report.nr_stuck);
        assert_int_equal(qy_cma_release(fixture.cma, pfn, frames), 0);
    }
    tear_down(&fixture);
}

/** The number behind a name in what is printed. */
static unsigned long long printed(struct qy_mm *mm, void (*print)(struct qy_mm *, struct qy_text *),
                                  const char *name)
{
    static char buffer[1 << 16];
    struct qy_text text = {.buffer = buffer, .bytes = sizeof(buffer)};
    unsigned long long value;
    print(mm, &text);
    const char *at = strstr(buffer, name);
    if (at == NULL || sscanf(at + strlen(name), "%llu", &value) != 1)
        test_fail("%s is not printed", name);
    return value;
}

/* Wrong if it failed: free(1) and exporters would miss a region, or be told another's figures. */
static void shown(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 2048, QY_CMA_EAGER, 0);
    struct qy_mm *mm = fixture.mm;
    qy_pfn_t pfn;
    (void)state;
    assert_int_equal(take(&fixture, 1024, &pfn, NULL), 0);
    assert_int_equal(take(&fixture, 2048, &pfn, NULL), -ENOMEM);
    assert_int_equal(printed(mm, qy_print_meminfo, "CmaTotal:"), 8192);
    assert_int_equal(printed(mm, qy_print_meminfo, "CmaFree:"), 4096);
    assert_int_equal(printed(mm, qy_print_vmstat, "nr_free_cma"), 1024);
    assert_int_equal(printed(mm, qy_print_vmstat, "cma_alloc_success"), 1);
    assert_int_equal(printed(mm, qy_print_vmstat, "cma_alloc_fail"), 1);
    assert_int_equal(printed(mm, qy_print_zoneinfo, "managed  8192\n        cma"), 2048);
    assert_int_equal(printed(mm, qy_print_zoneinfo, "nr_free_cma  "), 1024);
    assert_int_equal(printed(mm, qy_print_sysrq_m, "0 pages reserved\n"), 2048);
    assert_int_equal(printed(mm, qy_print_cma, "total_pages"), 2048);
    assert_int_equal(printed(mm, qy_print_cma, "available_pages"), 1024);
    assert_int_equal(printed(mm, qy_print_cma, "alloc_pages_success"), 1024);
    assert_int_equal(printed(mm, qy_print_cma, "alloc_pages_fail"), 2048);
    assert_int_equal(printed(mm, qy_print_cma, "release_pages_success"), 0);
    assert_int_equal(printed(mm, qy_print_cma, "\nout"), 1024);
    assert_int_equal(printed(mm, qy_print_cma, "\nfree"), 1024);
    assert_int_equal(printed(mm, qy_print_cma, "\nrequests"), 2);
    assert_int_equal(printed(mm, qy_print_cma, "\nfailures"), 1);
    assert_int_equal(qy_cma_release(fixture.cma, pfn, 1024), 0);
    tear_down(&fixture);
}

/* Wrong if it failed: what is lent would be missing from the table, regions would stand in another
 * order than they were made in, or a child of fork would look at its parent's pages. */
static void shown_side_by_side(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 2048, QY_CMA_EAGER, 0);
    struct qy_mm *mm = fixture.mm;
    const struct qy_cma_options second = {
        .name = "second", .ranges = {{QY_PFN_NONE, 1024}}, .nr_ranges = 1};
    struct qy_cma *other = qy_cma_create(mm, &second, NULL);
    struct qy_live live = {.mm = mm};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_region_view view;
    (void)state;
    assert_non_null(other);
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    assert_true(qy_look_region(&lens, 0, &view));
    assert_int_equal(view.total_pages, 2048);
    assert_int_equal(view.policy, QY_CMA_EAGER);
    assert_true(view.lent > 1024);
    assert_int_equal(view.lent + view.free, 2048);
    assert_true(qy_look_region(&lens, 1, &view));
    assert_string_equal(view.name, "second");
    assert_false(qy_look_region(&lens, 2, &view));

    struct qy_folio *folios = mm->folios;
    mm->folios = NULL;
    assert_false(qy_look_region(&lens, 0, &view));
    mm->folios = folios;
    assert_int_equal(qy_cma_destroy(other), 0);
    tear_down(&fixture);
}

/* Wrong if it failed: a request in parts would take as long, or move as much, for each of them. */
static void limits_of_all_parts(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 2048, QY_CMA_EAGER, 0);
    struct qy_cma_report report;
    qy_pfn_t pfns[32];
    (void)state;
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    struct qy_cma_request request = {.nr_frames = 2048, .align_order = 6, .most_moved = 200};
    int got = qy_cma_alloc_partial(fixture.cma, &request, pfns, &report);
    assert_int_equal(got, 3); /* of 64 frames each */
    assert_int_equal(report.moved, 192);
    while (got > 0)
        assert_int_equal(qy_cma_release(fixture.cma, pfns[--got], 64), 0);
    request = (struct qy_cma_request){.nr_frames = 5 * 64 + 63, .align_order = 6};
    got = qy_cma_alloc_partial(fixture.cma, &request, pfns, &report);
    assert_int_equal(got, 5);
    while (got > 0)
        assert_int_equal(qy_cma_release(fixture.cma, pfns[--got], 64), 0);
    fill_region(&fixture, BORROWED_CLEAN, 0);
    got = qy_cma_alloc_partial(fixture.cma, &request, pfns, &report);
    assert_int_equal(got, 5);
    assert_int_equal(report.dropped + report.moved + report.free, 5 * 64);
    assert_int_equal(report.dropped, fixture.borrower->dropped);
    assert_true(report.dropped >= 3 * 64);
    while (got > 0)
        assert_int_equal(qy_cma_release(fixture.cma, pfns[--got], 64), 0);
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    request = (struct qy_cma_request){.nr_frames = 2048, .deadline_ns = 1};
    assert_int_equal(qy_cma_alloc(fixture.cma, &request, pfns, &report), -ETIME);
    request.align_order = 6;
    assert_int_equal(qy_cma_alloc_partial(fixture.cma, &request, pfns, &report), -ETIME);
    test_rules(fixture.mm);
    tear_down(&fixture);
}

/** Take eight buffers of 100 frames, and add up what their reports say. */
static void take_eight(struct fixture *fixture, qy_pfn_t *pfns, struct qy_cma_report *sum)
{
    const struct qy_cma_request request = {.nr_frames = 100,
                                           .deadline_ns = UINT64_C(3600) * 1000000000};
    struct qy_cma_report report;
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(qy_cma_alloc(fixture->cma, &request, &pfns[i], &report), 0);
        assert_int_equal(report.free + report.dropped + report.moved, 100);
        sum->moved += report.moved;
        sum->dropped += report.dropped;
    }
}

/* Wrong if it failed: a request with time enough would be told that its time is over, or the
 * figures of a region would not be those of its requests. */
static void figures_add_up(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 1024, QY_CMA_EAGER, 0);
    struct qy_cma_report sum = {0};
    struct qy_cma_stat stat;
    uint64_t timed = 0;
    qy_pfn_t pfns[8], none;
    (void)state;
    fill_region(&fixture, BORROWED_CLEAN, 824);
    fill_region(&fixture, BORROWED_MOVABLE, 300);
    take_eight(&fixture, pfns, &sum);
    assert_int_equal(take(&fixture, 900, &none, NULL), -ENOMEM);
    qy_cma_stat(fixture.cma, &stat);
    assert_int_equal(stat.moved, sum.moved);
    assert_int_equal(stat.dropped, sum.dropped);
    assert_true(sum.moved >= 100 && sum.dropped == 200);
    assert_int_equal(fixture.borrower->moved, sum.moved);
    assert_int_equal(stat.written, 0);
    assert_int_equal(stat.out, 800);
    assert_int_equal(stat.requests, 9);
    assert_int_equal(stat.failures, 1);
    assert_int_equal(stat.alloc_pages_success, 800);
    assert_int_equal(stat.alloc_pages_fail, 900);
    for (unsigned i = 0; i < QY_CMA_LATENCIES; i++)
        timed += stat.latency[i];
    assert_int_equal(timed, 9);
    assert_int_equal(stat.latency[QY_CMA_LATENCIES - 1], 0);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(qy_cma_release(fixture.cma, pfns[i], 100), 0);
        qy_cma_stat(fixture.cma, &stat);
        assert_int_equal(stat.out, 700 - 100 * i);
        assert_int_equal(stat.release_pages_success, 100 + 100 * i);
    }
    tear_down(&fixture);
}

/* Wrong if it failed: who asks for parts would not be told who holds the others, or the figures of
 * all parts. */
static void parts_beside_a_pin(void **state)
{
    struct fixture fixture = set_up(32 * MIB, 1024, QY_CMA_EAGER, 0);
    const struct qy_cma_request request = {.nr_frames = 1024, .align_order = 8};
    struct qy_cma_report report;
    qy_pfn_t pfns[4];
    (void)state;
    fill_region(&fixture, BORROWED_MOVABLE, 0);
    fixture.borrower->pinned[qy_folio_of(fixture.mm, FIRST + 300)->index] = 1;
    assert_int_equal(qy_cma_alloc_partial(fixture.cma, &request, pfns, &report), 3);
    assert_int_equal(report.windows_tried, 3);
    assert_int_equal(report.moved, 768);
    assert_int_equal(report.free + report.dropped + report.written, 0);
    assert_int_equal(report.nr_stuck, 1);
    assert_int_equal(report.stuck[0].pfn, FIRST + 300);
    assert_int_equal(report.stuck[0].reason, QY_CMA_PINNED);
    assert_string_equal(report.stuck[0].owner, "borrower");
    assert_true(report.ns > 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pfns[i], FIRST + (i + (i > 0)) * 256);
        assert_int_equal(qy_cma_release(fixture.cma, pfns[i], 256), 0);
    }
    fixture.borrower->pinned[qy_folio_of(fixture.mm, FIRST + 300)->index] = 0;
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reason_has_a_name),
        cmocka_unit_test(lent_and_taken_back),
        cmocka_unit_test(dropped_and_written),
        cmocka_unit_test(clean_between_others),
        cmocka_unit_test(around_a_pin),
        cmocka_unit_test(around_what_is_met),
        cmocka_unit_test(nothing_changed),
        cmocka_unit_test(guaranteed),
        cmocka_unit_test(windows),
        cmocka_unit_test(refused),
        cmocka_unit_test(any_occupancy),
        cmocka_unit_test(shown),
        cmocka_unit_test(shown_side_by_side),
        cmocka_unit_test(limits_of_all_parts),
        cmocka_unit_test(figures_add_up),
        cmocka_unit_test(parts_beside_a_pin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
