/*
 * test_compact.c - free frames come together, and requests for blocks find them
 */
#include "borrower.h"
#include "random.h"
#include "support.h"

#include "buddy/lend.h"
#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>

#define BASE (4 * GIB)
#define BYTES (32 * MIB)
#define FRAMES (BYTES / PAGE)

struct fixture {
    struct test_memory memory;
    struct qy_mm *mm;
    struct borrower *borrower;
};

/** A memory of which every frame was lent, and then @percent given back at random. */
static struct fixture set_up(unsigned percent)
{
    struct random random = {.state = 11};
    struct fixture fixture;
    test_memory_lendable(&fixture.memory, BYTES, 1);
    fixture.mm = fixture.memory.mm;
    fixture.borrower = borrower_create(fixture.mm, "borrower");
    while (borrower_borrow(fixture.borrower, BORROWED_MOVABLE) != UINT32_MAX)
        ;
    uint64_t left = fixture.borrower->nr_pages * (100 - percent) / 100;
    while (fixture.borrower->nr_pages > left)
        borrower_return(fixture.borrower, (uint32_t)random_below(&random, FRAMES));
    return fixture;
}

static void tear_down(struct fixture *fixture)
{
    borrower_check(fixture->borrower);
    borrower_destroy(fixture->borrower);
    test_rules(fixture->mm);
    test_memory_free(&fixture->memory);
}

/* Wrong if it failed: memory half of which is free would have no block to give, or the blocks
 * would cost other people's bytes. */
static void blocks_come_together(void **state)
{
    struct fixture fixture = set_up(60);
    struct qy_compact_report report;
    (void)state;
    assert_int_equal(qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, 9), QY_PFN_NONE);
    uint64_t used = fixture.borrower->nr_pages;
    uint64_t gained = qy_compact(fixture.mm, 9, 0, &report);
    test_rules(fixture.mm);
    borrower_check(fixture.borrower);
    assert_true(gained >= 6); /* of 16; 9 are free in sum */
    assert_int_equal(report.blocks_gained, gained);
    assert_int_equal(report.moved, fixture.borrower->moved);
    assert_true(report.moved <= used);
    assert_int_equal(qy_compact(fixture.mm, 9, 0, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_true(qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, 9) != QY_PFN_NONE);
    tear_down(&fixture);
}

/* Wrong if it failed: a request would fail that moving a few pages serves, or go on when it has its
 * block, or one that may not wait would wait for it. */
static void requests_compact(void **state)
{
    (void)state;
    for (unsigned order = 1; order <= QY_MAX_ORDER; order++) {
        struct fixture fixture = set_up(60);
        while (qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, order) != QY_PFN_NONE)
            ;
        uint64_t moved = fixture.borrower->moved;
        qy_pfn_t pfn = qy_alloc_pages(fixture.mm, QY_GFP_KERNEL, order);
        if (pfn == QY_PFN_NONE)
            test_fail("no block of order %u", order);
        moved = fixture.borrower->moved - moved;
        assert_true(moved > 0 && moved <= UINT64_C(4) << order);
        assert_int_equal(qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, order), QY_PFN_NONE);
        assert_int_equal(qy_free_pages(fixture.mm, pfn, order), 0);
        assert_true(qy_alloc_pages_exact(fixture.mm, QY_GFP_KERNEL, (1u << order) - 1, 0) !=
                    QY_PFN_NONE);
        tear_down(&fixture);
    }
}

/* Wrong if it failed: pages would be moved for a block that cannot come of what is free. */
static void no_more_than_it_takes(void **state)
{
    struct fixture fixture = set_up(0);
    const qy_pfn_t first = BASE / PAGE + 512;
    struct qy_compact_report report;
    (void)state;
    for (qy_pfn_t pfn = first; pfn < first + 12 * 512; pfn += 8) /* one and a half pageblocks */
        borrower_return(fixture.borrower, qy_folio_of(fixture.mm, pfn)->index);
    assert_int_equal(qy_compact(fixture.mm, 9, 0, &report), 1);
    assert_int_equal(report.moved, 512 - 64);
    assert_int_equal(qy_compact(fixture.mm, 9, 0, &report), 0);
    assert_int_equal(report.moved, 0);
    tear_down(&fixture);
}

/* Wrong if it failed: blocks would be taken for emptier than they are, and more be moved than has
 * to be; or a block that is full would not be emptied though the others cannot. */
static void full_and_almost_full(void **state)
{
    struct fixture fixture = set_up(0);
    const qy_pfn_t first = BASE / PAGE;
    struct qy_compact_report report;
    (void)state;
    for (qy_pfn_t pfn = first; pfn < first + 8 * 512; pfn += 512) /* one of each pageblock */
        borrower_return(fixture.borrower, qy_folio_of(fixture.mm, pfn + 300)->index);
    assert_int_equal(qy_compact(fixture.mm, 2, 0, &report), 2);
    assert_int_equal(report.moved, 2 * 3);
    for (qy_pfn_t pfn = first; pfn < first + 8 * 512; pfn += 8)
        if (qy_folio_of(fixture.mm, pfn)->state == QY_FOLIO_LENT)
            borrower_return(fixture.borrower, qy_folio_of(fixture.mm, pfn)->index);
    for (qy_pfn_t pfn = first; pfn < first + 8 * 512; pfn += 512)
        borrower_pin(fixture.borrower, qy_folio_of(fixture.mm, pfn + 1)->index, true);
    assert_int_equal(qy_compact(fixture.mm, 9, 0, &report), 1);
    assert_int_equal(report.moved, 512);
    tear_down(&fixture);
}

/* Wrong if it failed: two halves of a block would stay apart because others once lay in one. */
static void halves_of_two_types(void **state)
{
    struct fixture fixture = set_up(0);
    const qy_pfn_t first = BASE / PAGE + 2048;
    (void)state;
    for (qy_pfn_t pfn = first; pfn < first + 1024; pfn++)
        if (pfn % 512 != 100)
            borrower_return(fixture.borrower, qy_folio_of(fixture.mm, pfn)->index);
    for (qy_pfn_t pfn = first + 1024; pfn < first + 1026; pfn++)
        borrower_return(fixture.borrower, qy_folio_of(fixture.mm, pfn)->index);
    qy_lend_set_type(fixture.mm, first, 512, QY_MIGRATE_UNMOVABLE);
    assert_int_equal(qy_compact(fixture.mm, QY_MAX_ORDER, 0, NULL), 1);
    assert_int_equal(fixture.borrower->moved, 2);
    assert_int_equal(qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, QY_MAX_ORDER), first);
    tear_down(&fixture);
}

/* Wrong if it failed: pages that cannot move would be moved, or a limit be overrun. */
static void within_limits(void **state)
{
    struct fixture fixture = set_up(60);
    struct qy_compact_report report;
    (void)state;
    assert_int_equal(qy_compact(fixture.mm, 0, 0, &report), 0);
    assert_int_equal(qy_compact(fixture.mm, QY_MAX_ORDER + 1, 0, &report), 0);
    assert_int_equal(fixture.borrower->moved, 0);
    qy_compact(fixture.mm, 9, 100, &report);
    assert_in_range(report.moved, 1, 100);
    memset(fixture.borrower->pinned, 1, sizeof(fixture.borrower->pinned));
    uint64_t moved = fixture.borrower->moved;
    assert_int_equal(qy_compact(fixture.mm, 9, 0, &report), 0);
    assert_int_equal(fixture.borrower->moved, moved);
    memset(fixture.borrower->pinned, 0, sizeof(fixture.borrower->pinned));
    fixture.borrower->putback_fails = true;
    assert_int_equal(qy_compact(fixture.mm, 9, 0, &report), 0);
    fixture.borrower->putback_fails = false;
    test_rules(fixture.mm);
    tear_down(&fixture);
}

/* ---- several zones, a hole and a region ---- */

static const struct qy_range ranges[] = {
    {.base = 8 * MIB, .bytes = 8 * MIB}, /* DMA */
    {.base = 16 * MIB, .bytes = 8 * MIB},
    {.base = 28 * MIB, .bytes = 8 * MIB}, /* the first half is a region */
};

#define START (8 * MIB / PAGE)
#define REGION (28 * MIB / PAGE)
#define END (36 * MIB / PAGE)
#define NR_OUTSIDE (20 * MIB / PAGE)

/** Lend every frame of the region and of all zones, then take @percent of them back at random, but
 *  one of each block of 2^order. */
static struct fixture set_up_zones(unsigned percent, unsigned order, enum borrowed kind,
                                   struct qy_cma **cma)
{
    const struct qy_memmap map = {.ranges = ranges,
                                  .nr_ranges = COUNT_OF(ranges),
                                  .nr_nodes = 1,
                                  .dma_end = 16 * MIB,
                                  .dma32_end = 4 * GIB};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .movable = true};
    const struct qy_cma_options region = {
        .name = "region", .ranges = {{REGION, 1024}}, .nr_ranges = 1, .policy = QY_CMA_EAGER};
    struct random random = {.state = percent};
    struct fixture fixture;
    test_memory_build(&fixture.memory, &map, &options, 8 * MIB, 28 * MIB);
    fixture.mm = fixture.memory.mm;
    *cma = qy_cma_create(fixture.mm, &region, NULL);
    assert_non_null(*cma);
    fixture.borrower = borrower_create(fixture.mm, "borrower");
    while (borrower_borrow(fixture.borrower, kind) != UINT32_MAX)
        ;
    for (qy_pfn_t pfn = START; pfn < END; pfn++) {
        const struct qy_folio *folio = qy_folio_of(fixture.mm, pfn);
        bool kept = pfn % (1u << order) == (pfn >> order) * 7 % (1u << order) ||
                    random_below(&random, 100) >= percent;
        if (folio->state == QY_FOLIO_LENT && !kept)
            borrower_return(fixture.borrower, folio->index);
    }
    qy_drain_all_pages(fixture.mm);
    return fixture;
}

static void tear_down_zones(struct fixture *fixture, struct qy_cma *cma)
{
    borrower_check(fixture->borrower);
    borrower_destroy(fixture->borrower);
    assert_int_equal(qy_cma_destroy(cma), 0);
    test_rules(fixture->mm);
    test_memory_free(&fixture->memory);
}

static bool is_free(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return qy_frame_is_free(mm, qy_frame_index(mm, pfn));
}

/** Aligned blocks outside of the region that are free. */
static uint64_t blocks(const struct qy_mm *mm, unsigned order)
{
    uint64_t count = 0, frames = UINT64_C(1) << order;
    for (qy_pfn_t pfn = START; pfn < END; pfn += frames) {
        qy_pfn_t at = pfn;
        while (at < pfn + frames && is_free(mm, at))
            at++;
        count += at == pfn + frames && !(pfn >= REGION && pfn < REGION + 1024);
    }
    return count;
}

/** All that the zones' free frames could be; and of small blocks the emptiest were emptied. */
static void check_worth(const struct qy_mm *mm, unsigned order, uint64_t gained, uint64_t moved)
{
    uint64_t free_of[2] = {0}, frames = UINT64_C(1) << order;
    for (qy_pfn_t pfn = START; pfn < REGION; pfn++)
        free_of[pfn >= 16 * MIB / PAGE] += is_free(mm, pfn);
    for (qy_pfn_t pfn = REGION + 1024; pfn < END; pfn++)
        free_of[1] += is_free(mm, pfn);
    uint64_t used = NR_OUTSIDE - free_of[0] - free_of[1];
    assert_int_equal(blocks(mm, order), free_of[0] / frames + free_of[1] / frames);
    if (order <= 5)
        assert_true(moved <= gained * frames * used / NR_OUTSIDE);
}

static void check_compaction(unsigned percent, unsigned order, enum borrowed kind)
{
    static bool was_free[1024];
    struct qy_cma *cma;
    struct fixture fixture = set_up_zones(percent, order, kind, &cma);
    struct qy_mm *mm = fixture.mm;
    struct qy_compact_report report;
    uint64_t before = blocks(mm, order), whole = blocks(mm, 9), frames = qy_free_frames(mm);
    for (unsigned i = 0; i < 1024; i++)
        was_free[i] = is_free(mm, REGION + i);
    uint64_t gained = qy_compact(mm, order, 0, &report);
    qy_drain_all_pages(mm);
    assert_int_equal(gained, blocks(mm, order) - before);
    assert_int_equal(report.blocks_gained, blocks(mm, 9) - whole);
    assert_int_equal(report.moved, fixture.borrower->moved);
    assert_int_equal(fixture.borrower->dropped, 0);
    assert_int_equal(qy_free_frames(mm), frames);
    for (unsigned i = 0; i < 1024; i++)
        assert_int_equal(is_free(mm, REGION + i), was_free[i]);
    check_worth(mm, order, gained, report.moved);
    assert_int_equal(qy_compact(mm, order, 0, &report), 0);
    assert_int_equal(report.moved, 0); /* in vain */
    tear_down_zones(&fixture, cma);
}

/* Wrong if it failed: compaction would stop while blocks could be had, say that it gained others
 * than it did, drop what can be read again instead of moving it, or take a region's frames. */
static void as_many_as_there_are(void **state)
{
    (void)state;
    for (unsigned order = 1; order <= QY_MAX_ORDER; order++) {
        check_compaction(8, order, BORROWED_MOVABLE);
        check_compaction(30, order, BORROWED_MOVABLE);
        check_compaction(60, order, BORROWED_MOVABLE);
        check_compaction(85, order, BORROWED_CLEAN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_come_together),  cmocka_unit_test(as_many_as_there_are),
        cmocka_unit_test(no_more_than_it_takes), cmocka_unit_test(full_and_almost_full),
        cmocka_unit_test(halves_of_two_types),   cmocka_unit_test(requests_compact),
        cmocka_unit_test(within_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
