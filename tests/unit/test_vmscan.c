/*
 * test_vmscan.c - which pages go, in which order, who else is asked, and what is counted
 */
#include "frames.h"
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

#include <quarry/buddy.h>

#define FIRST (4 * GIB / PAGE)
#define REGION 2048u /* frames, from FIRST on */
#define APART 16u    /* pages that are read so far apart bring no others */
#define PAGES 1500u
#define CAN_MOVE QY_GFP_HIGHUSER_MOVABLE

static struct test_memory memory;
static struct qy_mm *mm;
static struct qy_file *file;
static uint64_t reads, written;

static int64_t read_zeros(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    (void)cookie;
    (void)offset;
    reads++;
    memset(buffer, 0, bytes);
    return (int64_t)bytes;
}

static int64_t write_nowhere(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    (void)cookie;
    (void)offset;
    (void)buffer;
    written += bytes / PAGE;
    return (int64_t)bytes;
}

static void set_up(uint64_t bytes, uint64_t min_free_kbytes)
{
    static const struct qy_file_ops ops = {.read = read_zeros, .write = write_nowhere};
    test_memory_lendable(&memory, bytes, min_free_kbytes);
    mm = memory.mm;
    reads = written = 0;
    file = qy_file_create(mm, "zeros", &ops, NULL, GIB, NULL);
    assert_non_null(file);
}

static void tear_down(void)
{
    test_rules(mm);
    assert_int_equal(qy_file_close(file), 0);
    test_rules(mm);
    test_memory_free(&memory);
}

static void make_region(enum qy_migratetype migratetype)
{
    frames_make_region(mm, FIRST, REGION, migratetype);
    mm->zones[QY_ZONE_NORMAL].lends_eagerly = migratetype == QY_MIGRATE_CMA;
}

static struct qy_cache_stat figures(void)
{
    struct qy_cache_stat stat;
    qy_cache_stat(mm, &stat);
    return stat;
}

/** Free frames that are no guaranteed region's. */
static uint64_t free_outside(void)
{
    return qy_free_frames(mm) - mm->zones[QY_ZONE_NORMAL].nr_free_of[QY_MIGRATE_GUARANTEED];
}

/* ---- pages by number, each for itself ---- */

/** In the file. Its first page would bring others. */
static uint32_t place(unsigned page)
{
    return (page + 1) * APART;
}

static void use(unsigned page)
{
    unsigned char byte;
    assert_int_equal(qy_file_read(file, &byte, 1, (uint64_t)place(page) * PAGE), 1);
}

static void soil(unsigned page)
{
    static const unsigned char bytes[PAGE];
    assert_int_equal(qy_file_write(file, bytes, PAGE, (uint64_t)place(page) * PAGE), PAGE);
}

static bool is_there(unsigned page)
{
    return qy_index_get(&file->index, place(page)) != QY_NO_FRAME;
}

/** The page that was used as the @nth: all of them, and none in the order of its number. */
static unsigned nth(unsigned n)
{
    return n * 7 % PAGES;
}

static unsigned there(unsigned from, unsigned to)
{
    unsigned count = 0;
    for (unsigned n = from; n < to; n++)
        count += is_there(nth(n));
    return count;
}

/* ---- order ---- */

/* Wrong if it failed: pages would go that were read lately while older ones stay, more than were
 * asked for, or others than are counted. */
static void oldest_first(void **state)
{
    (void)state;
    set_up(16 * MIB, 1);
    assert_int_equal(qy_reclaim(mm, 100), 0);
    for (unsigned n = 0; n < PAGES; n++)
        use(nth(n));
    assert_int_equal(there(0, PAGES), PAGES);
    unsigned gone = 0;
    for (unsigned wanted = 1; gone + wanted + 32 < PAGES; wanted += 40) {
        uint64_t before = qy_free_frames(mm);
        unsigned freed = (unsigned)qy_reclaim(mm, wanted);
        assert_in_range(freed, wanted, wanted + 31);
        assert_int_equal(qy_free_frames(mm) - before, freed);
        gone += freed;
        assert_int_equal(there(0, gone), 0);
        assert_int_equal(there(gone, PAGES), PAGES - gone);
        assert_int_equal(figures().direct, gone);
        assert_int_equal(figures().scanned, gone);
    }
    assert_int_equal(figures().background, 0);
    assert_int_equal(qy_reclaim(mm, 0), 0);
    assert_int_equal(qy_reclaim(mm, PAGES), PAGES - gone);
    assert_int_equal(figures().pages, 0);
    tear_down();
}

/* Wrong if it failed: what is used again and again would go before what was read once; or what is
 * used, pinned, or both would never go, or while it is pinned. */
static void used_ones_stay(void **state)
{
    (void)state;
    set_up(16 * MIB, 1);
    for (unsigned n = 0; n < PAGES; n++)
        use(nth(n));
    for (unsigned n = 0; n < 300; n++)
        use(nth(n));
    for (unsigned n = 300; n < 310; n++)
        assert_non_null(qy_file_pin(file, place(nth(n)), false, NULL));
    assert_true(qy_reclaim(mm, 800) >= 800);
    assert_int_equal(there(0, 310), 310);
    assert_int_equal(figures().active, 310); /* a pin is a use */
    assert_int_equal(figures().pages, there(0, PAGES));

    /* There is nobody who is used less any more. Twice: the first scan takes their mark away. */
    qy_reclaim(mm, PAGES);
    qy_reclaim(mm, PAGES);
    assert_int_equal(there(0, 300), 0);
    assert_int_equal(there(300, 310), 10);
    assert_int_equal(figures().pages, 10);
    for (unsigned n = 300; n < 310; n++)
        assert_int_equal(qy_file_unpin(file, place(nth(n))), 0);
    qy_reclaim(mm, PAGES);
    assert_int_equal(figures().pages, 0);
    tear_down();
}

/* Wrong if it failed: who reads a page again soon after it went would have it go again at once. */
static void back_soon(void **state)
{
    (void)state;
    set_up(16 * MIB, 1);
    for (unsigned n = 0; n < 1000; n++)
        use(nth(n));
    assert_in_range(qy_reclaim(mm, 200), 200, 231);
    assert_int_equal(figures().refaults, 0);
    for (unsigned n = 0; n < 200; n++)
        use(nth(n));
    assert_in_range(figures().refaults, 150, 200); /* a place may be another's */
    assert_int_equal(figures().active, figures().refaults);
    assert_int_equal(qy_figure(&qy_vmscan_peek(mm)->activated), figures().refaults);
    assert_true(qy_reclaim(mm, 700) >= 700);
    assert_true(there(0, 200) >= 150);
    tear_down();
}

/* ---- dirty ones ---- */

/* Wrong if it failed: what has to be written would go while there is what need not be, be counted
 * though it is there, or not go at all. */
static void dirty_ones_last(void **state)
{
    (void)state;
    set_up(16 * MIB, 1);
    for (unsigned n = 0; n < PAGES; n++)
        n < 300 ? soil(nth(n)) : use(nth(n));
    assert_true(qy_reclaim(mm, 1100) >= 1100);
    assert_int_equal(written, 0);
    assert_int_equal(there(0, 300), 300);
    unsigned left = there(300, PAGES);
    uint64_t before = qy_free_frames(mm), freed = qy_reclaim(mm, left + 100);
    assert_in_range(freed, left + 100, left + 131);
    assert_int_equal(qy_free_frames(mm) - before, freed);
    assert_int_equal(there(300, PAGES), 0);
    assert_int_equal(there(0, 300), 300 + left - freed);
    assert_in_range(written, freed - left, freed - left + 31); /* none that stays but a batch's */
    tear_down();
    set_up(16 * MIB, 1);
    soil(0); /* the only page there is */
    assert_int_equal(qy_reclaim(mm, 1), 1);
    tear_down();
}

/* ---- regions ---- */

/* Wrong if it failed: pages that lie in a region alone could not be given up; or who cannot use a
 * region's frames would have its pages thrown out, for nothing. */
static void only_in_a_region(void **state)
{
    (void)state;
    set_up(32 * MIB, 1);
    make_region(QY_MIGRATE_CMA);
    for (unsigned n = 0; n < 1000; n++)
        use(nth(n));
    assert_int_equal(mm->zones[QY_ZONE_NORMAL].nr_free_of[QY_MIGRATE_CMA], REGION - 1000);
    uint64_t before = figures().pages;
    mm->reclaim(mm, QY_GFP_KERNEL, 0);
    assert_int_equal(figures().pages, before);
    assert_in_range(mm->reclaim(mm, CAN_MOVE, 0), 64, 95);
    assert_in_range(qy_reclaim(mm, 100), 100, 131);
    assert_in_range(before - figures().pages, 164, 226);
    tear_down();
}

/* Wrong if it failed: what is given up would not live on in a region that is kept for that, the
 * region would keep what is oldest, or what lives on there be counted as gone from there. */
static void on_into_guaranteed(void **state)
{
    (void)state;
    set_up(32 * MIB, 1);
    make_region(QY_MIGRATE_GUARANTEED);
    for (unsigned n = 0; n < PAGES; n++)
        soil(nth(n)); /* they cannot be there */
    assert_int_equal(qy_file_sync(file), 0);
    uint64_t before = free_outside();
    uint64_t freed = mm->reclaim(mm, CAN_MOVE, 0);
    assert_in_range(freed, 64, 95);
    assert_int_equal(free_outside() - before, freed);
    assert_int_equal(there(0, PAGES), PAGES);
    uint64_t calls = reads;
    for (unsigned n = 0; n < 50; n++)
        use(nth(n));
    assert_int_equal(reads, calls);

    /* Whoever wants memory at large gets all of a page's. */
    before = qy_free_frames(mm);
    freed = qy_reclaim(mm, 200);
    assert_true(freed >= 200);
    assert_int_equal(qy_free_frames(mm) - before, freed);
    for (unsigned n = 0; n < PAGES; n++)
        soil(nth(n));
    before = qy_free_frames(mm);
    freed = qy_reclaim(mm, 500);
    assert_true(freed >= 500);
    assert_int_equal(qy_free_frames(mm) - before, freed);
    tear_down();
}

/* Wrong if it failed: a region that is full of old pages would take no newer ones. */
static void guaranteed_room(void **state)
{
    (void)state;
    set_up(32 * MIB, 1);
    make_region(QY_MIGRATE_GUARANTEED);
    for (unsigned n = 0; n < PAGES; n++)
        soil(n);
    for (unsigned n = PAGES; n < 2 * REGION; n++) /* the region is filled by these */
        use(n);
    assert_int_equal(qy_file_sync(file), 0);
    unsigned in_region = 0, still_there = 0, old = 0;
    static bool was_there[PAGES];
    for (unsigned n = 0; n < PAGES; n++)
        was_there[n] = is_there(n);
    for (unsigned i = 0; i < 4; i++)
        in_region += (unsigned)mm->reclaim(mm, CAN_MOVE, 0);
    for (unsigned n = 0; n < PAGES; n++)
        still_there += was_there[n] && is_there(n);
    for (unsigned n = PAGES; n < PAGES + in_region; n++)
        old += is_there(n);
    assert_int_equal(still_there, PAGES);
    assert_true(old < 64); /* they were in the region first */
    assert_true(qy_guaranteed_idle(mm) < 128);
    tear_down();
}

/* ---- others ---- */

struct other {
    struct qy_shrinker shrinker;
    uint64_t has, asked, calls;
};

static uint64_t other_count(struct qy_shrinker *shrinker)
{
    return ((struct other *)shrinker)->has;
}

static uint64_t other_scan(struct qy_shrinker *shrinker, uint64_t frames)
{
    struct other *other = (struct other *)shrinker;
    uint64_t given = frames < other->has ? frames : other->has;
    other->calls++;
    other->asked += frames;
    other->has -= given;
    return given;
}

static struct other some_other(uint64_t has)
{
    return (struct other){.shrinker = {.name = "other", .count = other_count, .scan = other_scan},
                          .has = has};
}

static uint64_t next_calls, next_gives, oom_calls;
static unsigned next_order;
static bool oom_helps;

static uint64_t next(struct qy_mm *of, qy_gfp_t gfp, unsigned order)
{
    assert_ptr_equal(of, mm);
    assert_int_equal(gfp, CAN_MOVE);
    next_calls++;
    next_order = order;
    return next_gives;
}

static bool oom(struct qy_mm *of, qy_gfp_t gfp, unsigned order, void *cookie)
{
    assert_ptr_equal(of, mm);
    assert_int_equal(gfp, CAN_MOVE);
    assert_int_equal(order, next_order);
    assert_ptr_equal(cookie, &oom_calls);
    oom_calls++;
    return oom_helps;
}

/** A memory in which others, the slabs and the program are asked through the above. */
static void set_up_others(struct other *other)
{
    set_up(16 * MIB, 1);
    *other = some_other(1000);
    assert_int_equal(qy_shrinker_register(mm, &other->shrinker), 0);
    qy_vmscan_peek(mm)->next_reclaim = next;
    qy_mm_set_oom(mm, oom, &oom_calls);
    next_calls = next_gives = oom_calls = 0;
    oom_helps = false;
}

static void tear_down_others(struct other *other)
{
    qy_mm_set_oom(mm, NULL, NULL);
    qy_shrinker_unregister(mm, &other->shrinker);
    assert_int_equal(mm->reclaim(mm, CAN_MOVE, 10), 0);
    tear_down();
}

/* Wrong if it failed: other people's caches would be emptied though files do, or asked for more or
 * less than is missing; or the slabs would not be asked for what others left in them. */
static void others_after_files(void **state)
{
    struct other other;
    (void)state;
    set_up_others(&other);
    for (unsigned n = 0; n < 100; n++)
        use(nth(n));
    assert_in_range(mm->reclaim(mm, CAN_MOVE, 0), 64, 95);
    assert_int_equal(other.calls + next_calls, 0); /* the files were enough */

    uint64_t left = figures().pages;
    assert_int_equal(mm->reclaim(mm, CAN_MOVE, 0), 64);
    assert_int_equal(other.asked, 64 - left);
    assert_int_equal(next_calls, 1);
    assert_int_equal(mm->reclaim(mm, CAN_MOVE, 0), 64);
    assert_int_equal(other.asked, 128 - left);
    tear_down_others(&other);
}

/* Wrong if it failed: what somebody freed would not count, or the program's own callback be asked
 * although somebody did, or not be asked at the end. */
static void one_after_the_other(void **state)
{
    struct other other;
    (void)state;
    set_up_others(&other);
    next_gives = 5;
    other.has = 7;
    assert_int_equal(mm->reclaim(mm, CAN_MOVE, 3), 12);
    assert_int_equal(next_order, 3);
    assert_int_equal(mm->reclaim(mm, CAN_MOVE, 9), 5);
    other.has = 1000;
    other.asked = 0;
    assert_int_equal(mm->reclaim(mm, CAN_MOVE, 10), 1005);
    assert_int_equal(other.asked, 1000);
    assert_int_equal(oom_calls, 0);

    next_gives = 0;
    assert_int_equal(mm->reclaim(mm, CAN_MOVE, 10), 0);
    assert_int_equal(oom_calls, 1);
    oom_helps = true;
    assert_true(mm->reclaim(mm, CAN_MOVE, 10) > 0);
    assert_int_equal(oom_calls, 2);
    tear_down_others(&other);
}

/* Wrong if it failed: pages would be thrown out for a block although there is enough free, in
 * pieces; or none be where there is not. */
static void for_a_block(void **state)
{
    (void)state;
    set_up(16 * MIB, 1);
    qy_vmscan_peek(mm)->next_reclaim = next;
    next_gives = 0;
    for (unsigned n = 0; n < PAGES; n++)
        use(nth(n));
    uint64_t calls = next_calls;
    assert_int_equal(mm->reclaim(mm, CAN_MOVE, 10), 0);
    assert_int_equal(figures().pages, PAGES);
    assert_int_equal(next_calls, calls + 1);
    for (unsigned n = PAGES; n < 2 * PAGES; n++)
        use(n);
    assert_true(qy_free_frames(mm) < 2048);
    assert_in_range(mm->reclaim(mm, CAN_MOVE, 10), 1024, 1055);
    assert_in_range(figures().pages, 2 * PAGES - 1055, 2 * PAGES - 1024);
    assert_int_equal(next_calls, calls + 2);
    tear_down();
}

/* Wrong if it failed: a small cache would be asked for as much as a large one. */
static void each_its_share(void **state)
{
    (void)state;
    set_up(16 * MIB, 1);
    struct other small = some_other(100), large = some_other(900), none = some_other(0);
    assert_int_equal(qy_shrinker_register(mm, &large.shrinker), 0);
    assert_int_equal(qy_shrinker_register(mm, &none.shrinker), 0);
    assert_int_equal(qy_shrinker_register(mm, &small.shrinker), 0);
    assert_int_equal(qy_shrinker_register(mm, &large.shrinker), -EEXIST);
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    assert_int_equal(qy_shrink_others(vmscan, 200), 200);
    assert_int_equal(small.asked, 20);
    assert_int_equal(large.asked, 180);
    assert_int_equal(qy_shrink_others(vmscan, 5000), 800);
    assert_int_equal(small.has + large.has, 0);
    assert_int_equal(qy_shrink_others(vmscan, 5000), 0);
    assert_int_equal(none.calls, 0);
    small.has = large.has = 100;
    qy_shrinker_unregister(mm, &none.shrinker);
    qy_shrinker_unregister(mm, &small.shrinker);
    assert_int_equal(qy_shrink_others(vmscan, 5000), 100);
    assert_int_equal(small.has, 100);
    qy_shrinker_unregister(mm, &large.shrinker);
    tear_down();
}

/* ---- in the background ---- */

static qy_pfn_t kept[8192];
static unsigned nr_kept;

static void keep_until_free(uint64_t frames)
{
    while (qy_free_frames(mm) > frames)
        if ((kept[nr_kept] = qy_alloc_pages(mm, QY_GFP_NOWAIT | QY_GFP_NOWARN, 0)) != QY_PFN_NONE)
            nr_kept++;
        else
            break;
}

static void let_go(void)
{
    while (nr_kept > 0)
        assert_int_equal(qy_free_pages(mm, kept[--nr_kept], 0), 0);
}

/* Wrong if it failed: the background would give up pages that nobody needs, too many at once, or
 * too few in the end; or ask nobody else; or end where nothing was ever cached. */
static void background(void **state)
{
    (void)state;
    test_memory_lendable(&memory, 16 * MIB, 2048);
    mm = memory.mm;
    keep_until_free(10);
    assert_false(qy_reclaim_background(mm)); /* nobody has anything */
    let_go();
    test_memory_free(&memory);

    set_up(16 * MIB, 2048);
    const uint64_t high = mm->zones[QY_ZONE_NORMAL].watermark[QY_WMARK_HIGH];
    struct other other = some_other(70);
    assert_int_equal(qy_shrinker_register(mm, &other.shrinker), 0);
    for (unsigned n = 0; n < 500; n++)
        use(nth(n));
    assert_false(qy_reclaim_background(mm));
    assert_int_equal(figures().pages, 500);
    keep_until_free(high - 100);
    assert_true(qy_reclaim_background(mm));
    assert_in_range(figures().background, 64, 95);
    while (qy_reclaim_background(mm))
        assert_true(qy_free_frames(mm) < high);
    assert_in_range(qy_free_frames(mm), high, high + 64);
    assert_int_equal(figures().direct, 0);
    assert_int_equal(other.calls, 0);
    uint64_t pages = figures().pages;
    assert_false(qy_reclaim_background(mm));
    assert_int_equal(figures().pages, pages);

    qy_reclaim(mm, PAGES);
    keep_until_free(high - 40);
    uint64_t missing = high - qy_free_frames(mm);
    assert_true(qy_reclaim_background(mm)); /* what others said they freed cannot be seen here */
    assert_int_equal(other.asked, missing < 64 ? missing : 64);
    qy_shrinker_unregister(mm, &other.shrinker);
    assert_false(qy_reclaim_background(mm));
    let_go();
    tear_down();
}

/* Wrong if it failed: idle frames of a region would be taken for memory that anybody can have. */
static void background_beside_a_region(void **state)
{
    (void)state;
    set_up(32 * MIB, 2048);
    make_region(QY_MIGRATE_CMA);
    mm->zones[QY_ZONE_NORMAL].lends_eagerly = false;
    const uint64_t high = mm->zones[QY_ZONE_NORMAL].watermark[QY_WMARK_HIGH];
    for (unsigned n = 0; n < 500; n++)
        use(nth(n));
    keep_until_free(REGION + high - 80);
    assert_true(qy_free_frames(mm) > REGION);
    while (qy_reclaim_background(mm))
        ;
    assert_true(qy_free_frames(mm) - mm->zones[QY_ZONE_NORMAL].nr_free_of[QY_MIGRATE_CMA] >= high);
    assert_in_range(figures().background, 80, 127);
    let_go();
    tear_down();
}

/* Wrong if it failed: pages would be given up for a block that begins where no block can, and the
 * request fail all the same. */
static void where_a_block_can_begin(void **state)
{
    static const unsigned taken[] = {100, 1024 + 900, 2 * 1024 + 100}; /* of three blocks */
    static unsigned char page[PAGE];
    (void)state;
    set_up(32 * MIB, 1);
    for (unsigned i = 0; i < COUNT_OF(taken); i++)
        frames_take(mm, FIRST + taken[i], 1);
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(qy_file_read(file, page, PAGE, i * PAGE), PAGE);
    assert_int_equal(qy_alloc_pages(mm, QY_GFP_NOWAIT, QY_MAX_ORDER), QY_PFN_NONE);
    assert_int_equal(qy_reclaim_window(qy_vmscan_peek(mm), QY_MAX_ORDER), 1024);
    qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_NOWAIT, QY_MAX_ORDER);
    assert_int_not_equal(pfn, QY_PFN_NONE);
    assert_int_equal(qy_free_pages(mm, pfn, QY_MAX_ORDER), 0);
    for (unsigned i = 0; i < COUNT_OF(taken); i++)
        qy_give_run(mm, FIRST + taken[i], 1, false);
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oldest_first),
        cmocka_unit_test(used_ones_stay),
        cmocka_unit_test(back_soon),
        cmocka_unit_test(dirty_ones_last),
        cmocka_unit_test(only_in_a_region),
        cmocka_unit_test(on_into_guaranteed),
        cmocka_unit_test(guaranteed_room),
        cmocka_unit_test(others_after_files),
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(for_a_block),
        cmocka_unit_test(each_its_share),
        cmocka_unit_test(background),
        cmocka_unit_test(background_beside_a_region),
        cmocka_unit_test(where_a_block_can_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
