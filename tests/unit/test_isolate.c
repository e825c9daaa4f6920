/*
 * test_isolate.c - a range is had whole or not at all, who is waited for, and for how long
 */
#include "borrower.h"
#include "frames.h"
#include "support.h"

#include "buddy/lend.h"
#include "move/move.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FIRST (4 * GIB / PAGE)
#define BYTES (16 * MIB)
#define FRAMES (BYTES / PAGE)
#define RANGE 1024u /* the frames that are asked for, from FIRST on */
#define US UINT64_C(1000)

static struct test_memory memory;
static struct qy_mm *mm;
static struct borrower *borrower;
static struct qy_cma_report report;
static struct qy_mapping_ops ops;

/** How often the borrower was asked to drop, which comes first, and how often before nothing is
 *  pinned any more; 0: never. */
static unsigned asked, asked_in_vain;

static int late_drop(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn, unsigned count)
{
    asked++;
    if (asked_in_vain > 0 && asked > asked_in_vain)
        memset(borrower->pinned, 0, sizeof(borrower->pinned));
    return ops.drop(mapping, index, pfn, count);
}

/** Every frame is lent; then those for which keep() is false are free. */
static void set_up(bool (*keep)(qy_pfn_t pfn))
{
    static struct qy_mapping_ops own;
    test_memory_lendable(&memory, BYTES, 1);
    mm = memory.mm;
    borrower = borrower_create(mm, "borrower");
    ops = *borrower->mapping.ops;
    own = ops;
    own.drop = late_drop;
    borrower->mapping.ops = &own;
    asked = asked_in_vain = 0;
    while (borrower_borrow(borrower, BORROWED_MOVABLE) != UINT32_MAX)
        ;
    for (qy_pfn_t pfn = FIRST; pfn < FIRST + FRAMES; pfn++)
        if (!keep(pfn) && qy_folio_of(mm, pfn)->state == QY_FOLIO_LENT)
            borrower_return(borrower, qy_folio_of(mm, pfn)->index);
    for (qy_pfn_t pfn = FIRST; pfn < FIRST + RANGE; pfn++)
        if (qy_tag_get(&mm->tags[pfn - FIRST]) != QY_TAG_FOLIO &&
            !qy_frame_is_free(mm, pfn - FIRST))
            test_fail("frame %llu is not the test's", (unsigned long long)(pfn - FIRST));
}

static void tear_down(void)
{
    borrower_check(borrower);
    borrower_destroy(borrower);
    test_rules(mm);
    test_memory_free(&memory);
}

static struct qy_move new_move(unsigned naps)
{
    report = (struct qy_cma_report){0};
    return (struct qy_move){
        .mm = mm, .claim = qy_claim_number(mm), .naps = naps, .report = &report};
}

/** The range was had: it is let go. */
static void let_go(const struct qy_move *move)
{
    assert_true(qy_claim_holds(mm, move->claim, FIRST, RANGE));
    assert_int_equal(qy_unclaim(mm, move->claim, FIRST, RANGE), RANGE);
}

static uint32_t page_on(qy_pfn_t pfn)
{
    return qy_folio_of(mm, pfn)->index;
}

static void pin(qy_pfn_t pfn)
{
    borrower->pinned[page_on(pfn)] = 1;
}

static bool in_range(qy_pfn_t pfn)
{
    return pfn < FIRST + RANGE;
}

static bool is_third(qy_pfn_t pfn)
{
    return in_range(pfn) && pfn % 3 == 0;
}

static bool is_any(qy_pfn_t pfn)
{
    (void)pfn;
    return true;
}

/* Wrong if it failed: who holds a frame in place would not be named, somebody would be who does
 * not, or what was given up would keep frames. */
static void stuck_are_named(void **state)
{
    (void)state;
    set_up(is_third);
    uint64_t before = qy_free_frames(mm);
    static const unsigned counts[] = {1, 5, QY_CMA_MAX_STUCK, 40};
    for (unsigned i = 0; i < COUNT_OF(counts); i++) {
        struct qy_move move = new_move(0);
        qy_pfn_t pins[40];
        unsigned nr = 0;
        for (qy_pfn_t pfn = FIRST; pfn < FIRST + RANGE; pfn++)
            if (nr < counts[i] && pfn % 24 == 0 && qy_folio_of(mm, pfn)->state == QY_FOLIO_LENT &&
                qy_folio_of(mm, pfn)->mapping == &borrower->mapping)
                pins[nr++] = pfn;
        for (unsigned n = 0; n < nr; n++)
            pin(pins[n]);
        if (nr == 0)
            break;
        assert_int_equal(qy_isolate(&move, FIRST, RANGE), -EBUSY);
        assert_int_equal(report.nr_stuck, nr);
        for (unsigned n = 0; n < nr && n < QY_CMA_MAX_STUCK; n++) {
            assert_int_equal(report.stuck[n].pfn, pins[n]);
            assert_int_equal(report.stuck[n].reason, QY_CMA_PINNED);
            assert_string_equal(report.stuck[n].owner, "borrower");
        }
        assert_int_equal(qy_free_frames(mm), before);
        for (qy_pfn_t pfn = FIRST; pfn < FIRST + FRAMES; pfn++)
            assert_true(qy_folio_of(mm, pfn)->state <= QY_FOLIO_LENT);
        test_rules(mm);
        memset(borrower->pinned, 0, sizeof(borrower->pinned));
    }
    tear_down();
}

/* Wrong if it failed: a frame that nobody can move would be waited for, or be taken; or one that is
 * on its way to be free be called stuck. */
static void nobody_to_ask(void **state)
{
    (void)state;
    set_up(is_any);
    for (qy_pfn_t pfn = FIRST; pfn < FIRST + RANGE; pfn++)
        borrower_return(borrower, page_on(pfn));
    static qy_pfn_t taken[2 * RANGE];
    unsigned nr = 0;
    while ((taken[nr] = qy_alloc_pages(mm, QY_GFP_NOWAIT | QY_GFP_NOWARN, 0)) != QY_PFN_NONE)
        nr++;
    assert_true(nr > RANGE / 2);
    struct qy_move move = new_move(QY_MOVE_NAPS);
    uint64_t free = qy_free_frames(mm);
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), -EBUSY);
    assert_int_equal(report.nr_stuck, nr);
    assert_int_equal(report.stuck[0].reason, QY_CMA_UNMOVABLE);
    assert_string_equal(report.stuck[0].owner, "qy_alloc_pages()");
    assert_int_equal(move.naps, QY_MOVE_NAPS);
    qy_drain_all_pages(mm);
    assert_true(qy_free_frames(mm) >= free);

    while (nr > 0) /* the last of them stay on this slot's list */
        assert_int_equal(qy_free_pages(mm, taken[--nr], 0), 0);
    move = new_move(0);
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), 0);
    let_go(&move);
    tear_down();
}

static void check_owner(qy_pfn_t pfn, enum qy_cma_reason reason, const char *owner)
{
    struct qy_move move = new_move(0);
    assert_int_equal(qy_move_reason(mm, pfn - FIRST), reason);
    qy_move_stuck(&move, pfn, reason);
    assert_string_equal(report.stuck[0].owner, owner);
}

static bool is_ninth(qy_pfn_t pfn)
{
    return pfn == FIRST + 9;
}

/* Wrong if it failed: a frame on its way would be said to be who has the one before it, and a
 * request that waits would not wait for it. */
static void whose_it_is(void **state)
{
    (void)state;
    set_up(is_ninth);
    qy_drain_all_pages(mm);
    qy_pfn_t block = qy_alloc_pages(mm, QY_GFP_KERNEL, 3);
    void *run = qy_kmalloc(mm, 10 * PAGE, QY_GFP_KERNEL);
    qy_pfn_t first = qy_virt_to_pfn(mm, run);
    frames_take(mm, FIRST + 10, 1);
    memset(borrower->mapping.name, 'b', QY_MAPPING_NAME - 1); /* as long as a name can be */
    check_owner(FIRST + 9, QY_CMA_BUSY, borrower->mapping.name);
    check_owner(FIRST + 10, QY_CMA_BUSY, "on its way");
    check_owner(block, QY_CMA_UNMOVABLE, "qy_alloc_pages()");
    check_owner(block + 7, QY_CMA_UNMOVABLE, "qy_alloc_pages()");
    check_owner(first, QY_CMA_UNMOVABLE, "kmalloc, a run of pages");
    check_owner(first + 9, QY_CMA_UNMOVABLE, "kmalloc, a run of pages");
    bool behind_block = qy_frame_is_free(mm, block + 8 - FIRST);
    bool behind_run = qy_frame_is_free(mm, first + 10 - FIRST);
    assert_true(behind_block || behind_run);
    if (behind_block) {
        frames_take(mm, block + 8, 1);
        check_owner(block + 8, QY_CMA_BUSY, "on its way");
        qy_give_run(mm, block + 8, 1, false);
    }
    if (behind_run) {
        frames_take(mm, first + 10, 1);
        check_owner(first + 10, QY_CMA_BUSY, "on its way");
        qy_give_run(mm, first + 10, 1, false);
    }
    qy_give_run(mm, FIRST + 10, 1, false);
    assert_int_equal(qy_free_pages(mm, block, 3), 0);
    assert_int_equal(qy_kfree(mm, run), 0);
    tear_down();
}

/* ---- waiting ---- */

static unsigned yields, sleeps;
static uint64_t slept_ns[4]; /* the first */

int sched_yield(void)
{
    yields++;
    return (int)syscall(SYS_sched_yield);
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
    if (sleeps < COUNT_OF(slept_ns))
        slept_ns[sleeps] = (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
    sleeps++;
    return (int)syscall(SYS_nanosleep, time, left);
}

static bool is_one(qy_pfn_t pfn)
{
    return pfn == FIRST + 300;
}

/** One page is pinned, and let go of when it was asked for so often. Returns what came of it. */
static int ask_for_pinned(struct qy_move *move, unsigned in_vain, unsigned nr_naps)
{
    set_up(is_one);
    pin(FIRST + 300);
    asked_in_vain = in_vain;
    *move = new_move(nr_naps);
    int code = qy_isolate(move, FIRST, RANGE);
    if (code == 0)
        let_go(move);
    tear_down();
    return code;
}

/* Wrong if it failed: a page that is held for a moment would fail a request that may wait; or one
 * that may not would sleep, or go on asking. */
static void held_for_a_moment(void **state)
{
    struct qy_move move;
    (void)state;
    assert_int_equal(ask_for_pinned(&move, 0, 0), -EBUSY);
    unsigned awake = asked;
    assert_in_range(awake, 8, 9); /* rounds in which it stays awake */
    assert_int_equal(report.stuck[0].pfn, FIRST + 300);
    for (unsigned in_vain = 1; in_vain < awake + 4; in_vain++) {
        assert_int_equal(ask_for_pinned(&move, in_vain, 4), 0);
        assert_int_equal(asked, in_vain + 1);
        assert_int_equal(4 - move.naps, in_vain + 1 > awake ? in_vain + 1 - awake : 0);
    }
    assert_int_equal(ask_for_pinned(&move, awake + 4, 4), -EBUSY);
    assert_int_equal(move.naps, 0);
}

/** As ask_for_pinned() in vain; what it waited for until then. */
static void check_waits(unsigned nr_naps, unsigned nr_yields)
{
    struct qy_move move;
    set_up(is_one);
    pin(FIRST + 300);
    yields = sleeps = 0;
    move = new_move(nr_naps);
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), -EBUSY);
    assert_int_equal(yields, nr_yields);
    assert_int_equal(sleeps, nr_naps);
    for (unsigned i = 0; i < sleeps && i < COUNT_OF(slept_ns); i++)
        assert_int_equal(slept_ns[i], 50 * US << i);
    tear_down();
}

/* Wrong if it failed: who waits would keep the processor from him whom he waits for, or wait long
 * for what comes at once. */
static void others_run(void **state)
{
    (void)state;
    check_waits(0, 7); /* the first time it just asks again */
    check_waits(6, 7);
}

/** How long a nap is, that may end after @limit_ns; 0: never, or nobody let this get there in
 *  time. */
static uint64_t nap_ns(unsigned before, uint64_t limit_ns)
{
    struct qy_move move = new_move(1);
    uint64_t start = qy_port_clock_exact_ns();
    move.deadline_ns = limit_ns != 0 ? start + limit_ns : 0;
    if (qy_move_nap(&move, before) != 0)
        return 0;
    assert_int_equal(move.naps, 0);
    return qy_port_clock_exact_ns() - start;
}

/** Is a nap at least so long, and once in a while, for others may keep the processor, at most? */
static bool lasts(unsigned before, uint64_t limit_ns, uint64_t least_ns, uint64_t most_ns)
{
    for (unsigned i = 0; i < 200; i++) {
        uint64_t ns = nap_ns(before, limit_ns);
        if (ns != 0 && ns < least_ns)
            return false;
        if (ns != 0 && ns < most_ns)
            return true;
    }
    return false;
}

/* Wrong if it failed: who waits would wake others all the time, oversleep, or sleep beyond the
 * moment at which it was to give up. */
static void naps(void **state)
{
    (void)state;
    set_up(in_range);
    assert_true(lasts(0, 0, 50 * US, 1000 * US));
    assert_true(lasts(3, 0, 400 * US, 1600 * US));
    assert_true(lasts(6, 0, 3200 * US, 6400 * US));
    assert_true(lasts(1000, 0, 3200 * US, 6400 * US));
    assert_true(lasts(6, 200 * US, 1, 1600 * US));
    assert_true(lasts(0, 1000000 * US, 50 * US, 1000 * US));
    struct qy_move move = new_move(0);
    assert_int_equal(qy_move_nap(&move, 0), -EBUSY);
    move = new_move(1);
    move.deadline_ns = 1;
    assert_int_equal(qy_move_nap(&move, 0), -ETIME);
    assert_int_equal(move.naps, 1);
    tear_down();
}

/* Wrong if it failed: a request would go on for ever, or end before its time. */
static void deadline(void **state)
{
    (void)state;
    set_up(is_third);
    struct qy_move move = new_move(QY_MOVE_NAPS);
    uint64_t before = qy_free_frames(mm);
    move.deadline_ns = 1;
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), -ETIME);
    assert_int_equal(report.moved, 0);
    assert_int_equal(report.nr_stuck, 0);
    assert_int_equal(qy_free_frames(mm), before);
    test_rules(mm);
    move = new_move(QY_MOVE_NAPS);
    move.deadline_ns = qy_port_clock_exact_ns() + 60 * 1000000 * US;
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), 0);
    let_go(&move);
    tear_down();
}

/* ---- how much, and where to ---- */

static bool is_first_hundred(qy_pfn_t pfn)
{
    return pfn < FIRST + 101;
}

/* Wrong if it failed: more would be moved than was allowed, or what needs no moving would be
 * refused because of what had to. */
static void so_much_and_no_more(void **state)
{
    (void)state;
    set_up(is_first_hundred);
    struct qy_move move = new_move(0);
    move.most = 99;
    borrower->kind[page_on(FIRST + 100)] = BORROWED_CLEAN;
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), -ETIME);
    assert_int_equal(report.moved, 99);
    test_rules(mm);
    move = new_move(0);
    move.most = 1;
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), 0);
    assert_int_equal(report.moved + report.dropped, 2);
    assert_int_equal(report.dropped, 1);
    let_go(&move);
    tear_down();
}

static unsigned reclaims, reclaims_in_vain;

/** Gives up a page outside of the range, if it is asked often enough. */
static uint64_t give_up(struct qy_mm *of, qy_gfp_t gfp, unsigned order)
{
    (void)gfp;
    assert_ptr_equal(of, mm);
    assert_int_equal(order, 0);
    if (++reclaims <= reclaims_in_vain)
        return 1; /* so it says */
    for (qy_pfn_t pfn = FIRST + RANGE; pfn < FIRST + FRAMES; pfn++)
        if (qy_folio_of(mm, pfn)->state == QY_FOLIO_LENT &&
            qy_folio_of(mm, pfn)->mapping == &borrower->mapping) {
            borrower_return(borrower, page_on(pfn));
            return 1;
        }
    return 0;
}

static qy_pfn_t nowhere(struct qy_move *move, unsigned *order)
{
    (void)move;
    (void)order;
    return QY_PFN_NONE;
}

/* Wrong if it failed: a request would fail for want of a frame that somebody would have given up;
 * or ask for ever; or compaction would have others give up what they have. */
static void room_for_what_moves(void **state)
{
    (void)state;
    set_up(is_any);
    while (qy_alloc_pages(mm, QY_GFP_ATOMIC | QY_GFP_NOWARN, 0) != QY_PFN_NONE)
        ;
    uint64_t free = qy_free_frames(mm);
    qy_reclaim_t before = atomic_load(&mm->reclaim);
    atomic_store(&mm->reclaim, give_up);
    reclaims = 0;
    reclaims_in_vain = UINT32_MAX;
    struct qy_move move = new_move(0);
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), -EBUSY);
    assert_int_equal(report.nr_stuck, 1);
    assert_int_equal(report.stuck[0].reason, QY_CMA_NO_TARGET);
    assert_true(reclaims >= 1 && reclaims < 10);
    assert_int_equal(qy_free_frames(mm), free);

    reclaims = 0;
    move = new_move(0);
    move.gap = nowhere;
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), -EBUSY);
    assert_int_equal(report.stuck[0].reason, QY_CMA_NO_TARGET);
    assert_int_equal(reclaims, 0);

    reclaims_in_vain = 1;
    move = new_move(0);
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), 0);
    assert_int_equal(report.moved, RANGE - free);
    assert_true(reclaims >= RANGE - free);
    let_go(&move);
    atomic_store(&mm->reclaim, before);
    tear_down();
}

static unsigned cleaned_in_vain;

/** In use just now, so often. */
static int late_clean(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn)
{
    if (cleaned_in_vain == 0)
        return ops.clean(mapping, index, pfn);
    cleaned_in_vain--;
    return -EAGAIN;
}

/* Wrong if it failed: a page that is just being written by somebody else would be said not to be
 * writable, and end the request. */
static void written_by_another(void **state)
{
    static struct qy_mapping_ops busy;
    (void)state;
    set_up(is_any);
    while (qy_alloc_pages(mm, QY_GFP_ATOMIC | QY_GFP_NOWARN, 0) != QY_PFN_NONE)
        ;
    busy = *borrower->mapping.ops;
    busy.clean = late_clean;
    borrower->mapping.ops = &busy;
    for (qy_pfn_t pfn = FIRST; pfn < FIRST + RANGE; pfn++)
        if (qy_folio_of(mm, pfn)->state == QY_FOLIO_LENT)
            borrower->kind[page_on(pfn)] = BORROWED_DIRTY;
    cleaned_in_vain = UINT32_MAX;
    struct qy_move move = new_move(0);
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), -EBUSY);
    assert_int_equal(report.stuck[0].reason, QY_CMA_BUSY);
    assert_int_equal(report.written, 0);
    cleaned_in_vain = 5;
    move = new_move(0);
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), 0);
    assert_true(report.written > 0);
    let_go(&move);
    tear_down();
}

/* Wrong if it failed: what is dirty could not be had where there is no room to move it; pages
 * beside the range would go along; or the figures not tell what was dropped, and what was written
 * before. */
static void written_where_no_room(void **state)
{
    (void)state;
    set_up(is_any);
    while (qy_alloc_pages(mm, QY_GFP_ATOMIC | QY_GFP_NOWARN, 0) != QY_PFN_NONE)
        ;
    unsigned dirty = 0, clean = 0;
    for (qy_pfn_t pfn = FIRST; pfn < FIRST + RANGE + 2; pfn++)
        if (qy_folio_of(mm, pfn)->state == QY_FOLIO_LENT) {
            bool soiled = pfn % 2 == 0 && in_range(pfn);
            borrower->kind[page_on(pfn)] = soiled ? BORROWED_DIRTY : BORROWED_CLEAN;
            dirty += soiled;
            clean += !soiled && in_range(pfn);
        }
    uint64_t pages = borrower->nr_pages;
    struct qy_move move = new_move(0);
    move.most = 100;
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), -ETIME);
    assert_int_equal(report.written + report.moved, 100);
    uint64_t written = report.written, dropped = report.dropped, moved = report.moved;
    move = new_move(0);
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), 0);
    assert_true(dirty > RANGE / 4);
    written += report.written;
    dropped += report.dropped;
    moved += report.moved;
    assert_int_equal(written, dirty - moved);
    assert_int_equal(dropped, dirty + clean - moved);
    assert_int_equal(borrower->cleaned, written);
    assert_int_equal(pages - borrower->nr_pages, dropped);
    let_go(&move);
    tear_down();
}

static bool is_third_or_behind(qy_pfn_t pfn)
{
    return is_third(pfn) || pfn == FIRST + RANGE; /* a block with gaps, not a whole one */
}

/** A gap of the 1024 frames behind the range. */
static qy_pfn_t behind_range(struct qy_move *move, unsigned *order)
{
    assert_ptr_equal(move->mm, mm);
    return qy_lend_gap(mm, FIRST + RANGE, QY_MAX_ORDER, order);
}

/* Wrong if it failed: what is moved by compaction would go elsewhere than into its gaps, or be
 * lost. */
static void compaction_drops_nothing(void **state)
{
    (void)state;
    set_up(is_third_or_behind);
    for (qy_pfn_t pfn = FIRST; pfn < FIRST + RANGE; pfn++)
        if (qy_folio_of(mm, pfn)->state == QY_FOLIO_LENT)
            borrower->kind[page_on(pfn)] = pfn % 2 ? BORROWED_CLEAN : BORROWED_DIRTY;
    uint64_t pages = borrower->nr_pages;
    struct qy_move move = new_move(0);
    move.gap = behind_range;
    assert_int_equal(qy_isolate(&move, FIRST, RANGE), 0);
    assert_int_equal(report.moved, pages - 1);
    assert_int_equal(borrower->nr_pages, pages);
    assert_int_equal(borrower->dropped + borrower->cleaned, 0);
    for (uint32_t page = 0; page < BORROWER_PAGES; page++)
        if (borrower->kind[page] != BORROWED_NOTHING)
            assert_in_range(borrower->pfn[page], FIRST + RANGE, FIRST + 2 * RANGE - 1);
    let_go(&move);
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stuck_are_named),
        cmocka_unit_test(nobody_to_ask),
        cmocka_unit_test(whose_it_is),
        cmocka_unit_test(held_for_a_moment),
        cmocka_unit_test(others_run),
        cmocka_unit_test(naps),
        cmocka_unit_test(deadline),
        cmocka_unit_test(so_much_and_no_more),
        cmocka_unit_test(room_for_what_moves),
        cmocka_unit_test(compaction_drops_nothing),
        cmocka_unit_test(written_where_no_room),
        cmocka_unit_test(written_by_another),
    };
    alarm(50); /* a nap that does not end ends here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
