/*
 * test_lend.c - who is lent which frames, and how they come back
 */
#include "frames.h"
#include "support.h"

#include "buddy/buddy.h"
#include "buddy/lend.h"
#include "memory/mm.h"

#include <quarry/buddy.h>

#define BASE (4 * GIB)
#define FIRST (BASE / PAGE)
#define REGION UINT64_C(2048) /* frames: 8 MiB */

static struct test_memory movable_memory_with(uint64_t bytes, uint64_t min_free_kbytes)
{
    struct test_memory memory;
    test_memory_lendable(&memory, bytes, min_free_kbytes);
    return memory;
}

static struct test_memory movable_memory(uint64_t bytes)
{
    return movable_memory_with(bytes, 1);
}

static struct qy_zone *normal(struct qy_mm *mm)
{
    return &mm->zones[QY_ZONE_NORMAL];
}

static bool in(qy_pfn_t pfn, qy_pfn_t start, uint64_t nr_frames)
{
    return pfn >= start && pfn < start + nr_frames;
}

static qy_pfn_t lend(struct qy_mm *mm, enum qy_lend promise, unsigned order)
{
    bool fresh;
    return qy_lend_block(mm, QY_GFP_NOWAIT, promise, order, &fresh);
}

/* Wrong if it failed: who cannot give a frame back would be given one of a region, and the
 * region's owner would never get it; or who can would be refused while the region idles. */
static void promises(void **state)
{
    struct test_memory memory = movable_memory(32 * MIB);
    struct qy_mm *mm = memory.mm;
    const qy_pfn_t cma = FIRST, sure = FIRST + REGION;
    (void)state;
    frames_make_region(mm, cma, REGION, QY_MIGRATE_CMA);
    frames_make_region(mm, sure, REGION, QY_MIGRATE_GUARANTEED);
    assert_int_equal(normal(mm)->nr_cma, 2 * REGION);

    assert_true(in(lend(mm, QY_LEND_DROPPABLE, 0), sure, REGION));
    assert_false(in(lend(mm, QY_LEND_MOVABLE, 0), cma, 2 * REGION)); /* a quarter is no half */
    normal(mm)->lends_eagerly = true;
    assert_true(in(lend(mm, QY_LEND_MOVABLE, 0), cma, REGION));
    assert_false(in(lend(mm, QY_LEND_OUTSIDE, 0), cma, 2 * REGION));
    assert_false(in(lend(mm, QY_LEND_PINNED, 0), cma, 2 * REGION));
    normal(mm)->lends_eagerly = false;

    uint64_t outside = 0;
    while (qy_alloc_pages(mm, QY_GFP_KERNEL, 0) != QY_PFN_NONE)
        outside++;
    qy_pfn_t pfn;
    uint64_t inside = 0;
    while ((pfn = lend(mm, QY_LEND_MOVABLE, 0)) != QY_PFN_NONE) {
        assert_true(in(pfn, cma, REGION));
        inside++;
    }
    assert_int_equal(outside, 8192 - 2 * REGION - 3);
    assert_int_equal(inside, REGION - 1);
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: Linux's rule would lend the region too early or too late. */
static void more_than_half(void **state)
{
    struct test_memory memory = movable_memory(24 * MIB);
    struct qy_mm *mm = memory.mm;
    (void)state;
    frames_make_region(mm, FIRST, REGION, QY_MIGRATE_CMA); /* of 6144: a third */
    uint64_t outside = 0;
    qy_pfn_t pfn;
    while (!in(pfn = lend(mm, QY_LEND_MOVABLE, 0), FIRST, REGION))
        outside++;
    uint64_t left = 6144 - REGION - outside; /* outside of it: now it is just more than half */
    assert_true(left < REGION && left + 2 >= REGION);
    test_memory_free(&memory);
}

/* Wrong if it failed: bulk borrowers would be lent frames by another rule than single ones. */
static void bulk(void **state)
{
    static uint32_t frames[8192];
    struct test_memory memory = movable_memory(32 * MIB);
    struct qy_mm *mm = memory.mm;
    (void)state;
    frames_make_region(mm, FIRST, REGION, QY_MIGRATE_GUARANTEED);
    assert_int_equal(qy_lend_frames(mm, QY_GFP_NOWAIT, QY_LEND_DROPPABLE, 3000, frames), 3000);
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(in(FIRST + (frames[i] & ~QY_FRAME_FRESH), FIRST, REGION), i < REGION);
    test_rules(mm);
    for (unsigned i = 0; i < 3000; i++)
        qy_lend_return(mm, FIRST + (frames[i] & ~QY_FRAME_FRESH), 1);
    assert_int_equal(qy_free_frames(mm), 8192);
    assert_int_equal(qy_lend_frames(mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, 8192, frames),
                     8192 - REGION);
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a wanted frame could slip to somebody else between its owner and the one
 * who waits for it, or a claim that is given up could take others' frames along. */
static void claims(void **state)
{
    struct test_memory memory = movable_memory(8 * MIB);
    struct qy_mm *mm = memory.mm;
    (void)state;
    qy_pfn_t lent = lend(mm, QY_LEND_MOVABLE, 4), kept = qy_alloc_pages(mm, QY_GFP_KERNEL, 0);
    uint32_t one = qy_claim_number(mm), two = qy_claim_number(mm);
    struct qy_claimed found = {0}, second = {0};
    assert_int_not_equal(one, two);

    qy_claim(mm, one, FIRST, 1024, &found);
    qy_drain_all_pages(mm);
    found = (struct qy_claimed){0};
    qy_claim(mm, one, FIRST, 1024, &found);
    bool within = in(kept, FIRST, 1024);
    assert_int_equal(found.wanted, in(lent, FIRST, 1024) ? 16 : 0);
    assert_int_equal(found.stuck, within);
    assert_int_equal(found.held, 1024 - found.wanted - found.stuck);
    assert_false(qy_claim_holds(mm, one, FIRST, 1024));
    qy_claim(mm, two, FIRST, 1024, &second);
    assert_int_equal(second.stuck, 1024);
    assert_int_equal(qy_unclaim(mm, two, FIRST, 1024), 0);
    test_rules(mm);

    uint64_t free_before = qy_free_frames(mm);
    qy_lend_return(mm, lent, 16); /* goes to the claim, if that wants it */
    assert_int_equal(qy_free_frames(mm), free_before + (in(lent, FIRST, 1024) ? 0 : 16));
    if (in(lent, FIRST, 1024))
        assert_true(qy_claim_holds(mm, one, lent, 16));
    assert_int_equal(qy_free_pages(mm, kept, 0), 0);
    qy_drain_all_pages(mm);
    found = (struct qy_claimed){0};
    qy_claim(mm, one, FIRST, 1024, &found);
    assert_int_equal(found.held, 1024);
    assert_true(qy_claim_holds(mm, one, FIRST, 1024));
    test_rules(mm);
    assert_int_equal(qy_unclaim(mm, one, FIRST, 1024), 1024);
    assert_int_equal(qy_free_frames(mm), 2048);
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a claim that is given up would leave frames wanted by nobody, and they
 * would never be free again. */
static void given_up(void **state)
{
    struct test_memory memory = movable_memory(8 * MIB);
    struct qy_mm *mm = memory.mm;
    struct qy_claimed found = {0};
    (void)state;
    qy_pfn_t lent = lend(mm, QY_LEND_MOVABLE, 3);
    uint32_t claim = qy_claim_number(mm);
    qy_claim(mm, claim, FIRST, 2048, &found);
    assert_int_equal(found.wanted, 8);
    assert_int_equal(qy_unclaim(mm, claim, FIRST, 2048), 2040);
    qy_lend_return(mm, lent, 8);
    assert_int_equal(qy_free_frames(mm), 2048);
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: memory that was made without folios would be written where none are. */
static void not_movable(void **state)
{
    struct test_memory memory;
    uint32_t frame;
    bool fresh;
    (void)state;
    test_memory_simple(&memory, BASE, 8 * MIB, false);
    assert_int_equal(qy_lend_block(memory.mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, 0, &fresh),
                     QY_PFN_NONE);
    assert_int_equal(qy_lend_frames(memory.mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, 1, &frame), 0);
    test_memory_free(&memory);
}

/* Wrong if it failed: pages in a row of a file would lie on frames the wrong way round, and each be
 * read, and mapped, by itself. */
static void neighbours_are_lent_in_order(void **state)
{
    struct test_memory memory = movable_memory(32 * MIB);
    uint32_t frames[64];
    (void)state;
    assert_int_equal(qy_lend_frames(memory.mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, 64, frames), 64);
    for (unsigned i = 1; i < 64; i++)
        assert_int_equal(frames[i], frames[i - 1] + 1);
    for (unsigned i = 0; i < 64; i++)
        qy_lend_return(memory.mm, memory.mm->start_pfn + (frames[i] & ~QY_FRAME_FRESH), 1);
    test_memory_free(&memory);
}

/** The free frames of [pfn, pfn + nr_frames) are lent as gaps, a piece after the other. */
static uint64_t lend_gaps(struct qy_mm *mm, qy_pfn_t pfn, unsigned below, unsigned most)
{
    for (uint64_t lent = 0;;) {
        unsigned order = most;
        qy_pfn_t gap = qy_lend_gap(mm, pfn, below, &order);
        if (gap == QY_PFN_NONE)
            return lent;
        assert_true(in(gap, pfn, (UINT64_C(1) << below) - (UINT64_C(1) << order) + 1));
        assert_int_equal(gap % (1u << order), 0);
        assert_true(order <= most);
        lent += UINT64_C(1) << order;
        for (unsigned i = 0; i < 1u << order; i++)
            assert_int_equal(mm->folios[gap - mm->start_pfn + i].state, QY_FOLIO_LENT);
    }
}

/* Wrong if it failed: compaction would take blocks apart that are what it wants, take frames of
 * regions, or leave gaps open. */
static void gaps(void **state)
{
    (void)state;
    for (unsigned below = 1; below <= QY_MAX_ORDER; below++)
        for (unsigned most = 0; most <= 9; most++) {
            struct test_memory memory = movable_memory(32 * MIB);
            struct qy_mm *mm = memory.mm;
            const uint64_t frames = UINT64_C(1) << below;
            const qy_pfn_t pfn = FIRST + 4096 + (below < QY_MAX_ORDER ? frames : 0);
            unsigned order = most;
            assert_int_equal(qy_lend_gap(mm, pfn, below, &order), QY_PFN_NONE); /* all is free */
            frames_take(mm, pfn + frames - 1, 1);
            uint64_t free = qy_free_frames(mm);
            assert_int_equal(lend_gaps(mm, pfn, below, most), frames - 1);
            assert_int_equal(qy_free_frames(mm), free - (frames - 1));
            for (qy_pfn_t at = pfn; at < pfn + frames - 1; at++)
                qy_lend_return(mm, at, 1);
            for (unsigned type = QY_MIGRATE_HIGHATOMIC; type <= QY_MIGRATE_GUARANTEED; type++) {
                qy_lend_set_type(mm, FIRST + 4096, REGION, (enum qy_migratetype)type);
                assert_int_equal(qy_lend_gap(mm, pfn, below, &order), QY_PFN_NONE);
            }
            test_memory_free(&memory);
        }
}

/* Wrong if it failed: who lends would keep as much as who is about to run short, and the cache be
 * given up while there is room. */
static void down_to_the_least(void **state)
{
    struct test_memory memory = movable_memory_with(32 * MIB, 1024);
    struct qy_mm *mm = memory.mm;
    const uint64_t least = normal(mm)->watermark[QY_WMARK_MIN];
    (void)state;
    assert_true(least >= 100 && least < normal(mm)->watermark[QY_WMARK_LOW]);
    while (lend(mm, QY_LEND_MOVABLE, 0) != QY_PFN_NONE)
        ;
    assert_int_equal(qy_free_frames(mm), least);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promises),
        cmocka_unit_test(more_than_half),
        cmocka_unit_test(bulk),
        cmocka_unit_test(claims),
        cmocka_unit_test(given_up),
        cmocka_unit_test(not_movable),
        cmocka_unit_test(neighbours_are_lent_in_order),
        cmocka_unit_test(gaps),
        cmocka_unit_test(down_to_the_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
