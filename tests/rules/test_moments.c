/*
 * test_moments.c - the rules that only a moment can break: each provoked, or looked at while
 *                  something fails
 */
#include "breaking.h"
#include "sim.h"

#include "base/grace.h"
#include "base/lock.h"
#include "buddy/buddy.h"
#include "slab/holes.h"
#include "slab/kmalloc.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/** A memory of 16 MiB of RAM and 64 MiB to come, whose frames lose and regain their backing. */
static void build_growing(struct test_memory *memory, uint64_t limit_pages)
{
    const struct qy_range ranges[] = {
        {.base = 4 * GIB, .bytes = 16 * MIB},
        {.base = 4 * GIB + 16 * MIB, .bytes = 64 * MIB, .type = QY_RANGE_HOTPLUG},
    };
    const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 2, .nr_nodes = 1};
    const struct qy_mm_options options = {
        .lazy_backing = true, .limit_pages = limit_pages, .min_free_kbytes = 1};
    test_memory_build(memory, &map, &options, 4 * GIB, 80 * MIB);
}

static void wrong_order(void)
{
    struct qy_lock outer, inner;
    qy_lock_init(&outer, QY_RANK_CHAIN);
    qy_lock_init(&inner, QY_RANK_ZONE);
    qy_lock(&inner);
    qy_lock(&outer);
}

static void leaving_without_entering(void)
{
    struct qy_grace grace;
    qy_grace_init(&grace);
    qy_grace_leave(&grace, 0);
}

static void the_same_twice(void)
{
    struct qy_lock first, second;
    qy_lock_init(&first, QY_RANK_ZONE);
    qy_lock_init(&second, QY_RANK_ZONE);
    qy_lock(&first);
    qy_lock(&second);
}

static void letting_go_what_nobody_holds(void)
{
    struct qy_lock lock;
    qy_lock_init(&lock, QY_RANK_ZONE);
    qy_unlock(&lock);
}

static void taking_frames_without_the_lock(void)
{
    struct test_memory memory;
    bool fresh;
    test_memory_simple(&memory, 4 * GIB, 16 * MIB, true);
    struct qy_zone *zone = qy_zone_of(memory.mm, memory.mm->start_pfn);
    (void)qy_buddy_take_locked(memory.mm, zone, QY_MIGRATE_UNMOVABLE, 0, &fresh);
}

/** It ends in a report of this rule. */
static void expect_panic(void (*work)(void), const char *rule)
{
    int ends[2], status;
    char said[1024] = "", wanted[32];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        work();
        _exit(0);
    }
    close(ends[1]);
    for (size_t at = 0; at < sizeof(said) - 1;) {
        ssize_t got = read(ends[0], said + at, sizeof(said) - 1 - at);
        if (got <= 0)
            break;
        at += (size_t)got;
    }
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    snprintf(wanted, sizeof(wanted), "rule %s broken", rule);
    assert_true(WIFSIGNALED(status));
    assert_non_null(strstr(said, wanted));
}

/* Wrong if it failed: what a lock guards could be changed without it, and no build would say so. */
static void a_lock_is_held_where_it_must_be(void **state)
{
    (void)state;
    if (!QY_DEBUG)
        skip();
    expect_panic(letting_go_what_nobody_holds, "L3");
    expect_panic(taking_frames_without_the_lock, "L3");
}

/* Wrong if it failed: two threads could each hold what the other waits for, and no build would
 * say so. */
static void locks_are_taken_in_rising_rank(void **state)
{
    (void)state;
    if (!QY_DEBUG)
        skip();
    expect_panic(wrong_order, "L1");
    expect_panic(the_same_twice, "L1");
    expect_panic(leaving_without_entering, "L2");
}

/** Frames that a zone must keep from a request that is not urgent. */
static uint64_t kept_back(const struct qy_zone *zone, enum qy_zone_type highest)
{
    return zone->watermark[QY_WMARK_MIN] + zone->lowmem_reserve[highest];
}

/* Wrong if it failed: ordinary requests, of whatever size, could use up what is kept for urgent
 * ones and for those that can live nowhere else. */
static void no_zone_is_taken_below_its_watermark(void **state)
{
    const struct qy_range range = {.base = 0, .bytes = 64 * MIB};
    const struct qy_memmap map = {
        .ranges = &range, .nr_ranges = 1, .nr_nodes = 1, .dma_end = 16 * MIB};
    const struct qy_mm_options options = {.min_free_kbytes = 4096};
    struct random random = {test_seed()};
    struct test_memory memory;
    (void)state;
    test_memory_build(&memory, &map, &options, 0, 0);
    for (unsigned failed = 0; failed < 200;) {
        uint64_t frames = 1 + random_below(&random, 40);
        qy_pfn_t pfn =
            random_one_in(&random, 2)
                ? qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, frames, 0)
                : qy_alloc_pages(memory.mm, QY_GFP_KERNEL, (unsigned)random_below(&random, 6));
        failed += pfn == QY_PFN_NONE;
        for (unsigned z = 0; z < QY_MAX_ZONES; z++) {
            const struct qy_zone *zone = &memory.mm->zones[z];
            if (zone->nr_free < kept_back(zone, QY_ZONE_NORMAL) && qy_zone_populated(zone))
                test_fail("%s: zone %s has %llu free", "A1", zone->name,
                          (unsigned long long)zone->nr_free);
        }
    }
    test_memory_free(&memory);
}

static void compare_with(struct qy_mm *mm, const struct qy_mm_stat *before, uint64_t frames_charged)
{
    struct qy_mm_stat now;
    qy_mm_stat(mm, &now);
    if (now.managed != before->managed || now.present != before->present ||
        now.free + now.pcp != before->free + before->pcp)
        test_fail("%s: frames came online", "O2");
    if (mm->charged - now.meta_bytes / PAGE != frames_charged)
        test_fail("%s: frames stay charged", "O2");
    test_rules(mm);
}

/* Wrong if it failed: memory that could not be had would count against the limit for ever, or
 * be handed out. */
static void what_fails_to_come_online_leaves_nothing(void **state)
{
    struct test_memory memory;
    struct qy_mm_stat before;
    uint64_t nth = 0;
    int code;
    (void)state;
    build_growing(&memory, 0);
    struct qy_mm *mm = memory.mm;
    qy_pfn_t pfn = (4 * GIB + 16 * MIB) / PAGE;
    qy_mm_stat(mm, &before);
    uint64_t frames = mm->charged - before.meta_bytes / PAGE;
    do {
        qy_sim_fail(++nth);
        code = qy_mm_online(mm, pfn, 2048);
        bool failed = qy_sim_failed();
        qy_sim_fail(0);
        assert_int_equal(code, failed ? -ENOMEM : 0);
        if (failed)
            compare_with(mm, &before, frames);
    } while (code != 0);
    assert_true(nth > 1);
    qy_mm_stat(mm, &before);
    frames = mm->charged - before.meta_bytes / PAGE;
    assert_int_equal(qy_mm_online(mm, pfn, 4096), -EEXIST);
    compare_with(mm, &before, frames);
    mm->options.limit_pages = mm->charged + 1024;
    assert_int_equal(qy_mm_online(mm, pfn + 2048, 2048), -ENOMEM);
    compare_with(mm, &before, frames);
    test_memory_free(&memory);
}

static struct qy_range random_range(struct random *random)
{
    return (struct qy_range){
        .base = random_below(random, 40) * MIB + (random_one_in(random, 30) ? 1 : 0),
        .bytes = random_below(random, 12) * MIB,
        .node = (uint32_t)random_below(random, 2),
        .type = (enum qy_range_type)random_below(random, 3),
    };
}

/** Two ranges of a map that was taken overlap, or one is empty: then it was not sound. */
static bool must_be_refused(const struct qy_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].bytes == 0 || ranges[i].base % PAGE != 0)
            return true;
        for (size_t j = 0; j < i; j++)
            if ((ranges[i].type == QY_RANGE_RESERVED) == (ranges[j].type == QY_RANGE_RESERVED) &&
                ranges[i].base < ranges[j].base + ranges[j].bytes &&
                ranges[j].base < ranges[i].base + ranges[i].bytes)
                return true;
    }
    return false;
}

/* Wrong if it failed: frames would be handed out that two ranges claim, or that are not there. */
static void nothing_is_built_from_a_map_that_is_not_sound(void **state)
{
    struct random random = {test_seed()};
    void *meta = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct qy_mm_options refused = {.meta = meta, .no_virt = true};
    unsigned built = 0, not_built = 0;
    (void)state;
    assert_true(meta != MAP_FAILED); /* who touches it dies */
    for (int round = 0; round < 4000; round++) {
        struct qy_range ranges[3];
        size_t count = 1 + random_below(&random, 3);
        for (size_t i = 0; i < count; i++)
            ranges[i] = random_range(&random);
        const struct qy_memmap map = {.ranges = ranges, .nr_ranges = count, .nr_nodes = 2};
        if (qy_mm_meta_bytes(&map, NULL) == 0) {
            struct qy_error error = {0};
            assert_null(qy_mm_create(&map, &refused, &error));
            assert_int_equal(error.code, -EINVAL);
            not_built++;
            continue;
        }
        struct test_memory memory;
        if (must_be_refused(ranges, count))
            test_fail("%s: a bad map was taken", "M2");
        test_memory_build(&memory, &map, NULL, 0, 0);
        test_rules(memory.mm);
        test_memory_free(&memory);
        built++;
    }
    munmap(meta, 64 * MIB);
    assert_true(built > 100 && not_built > 100);
}

/* ---- trim while somebody allocates ---- */

static struct test_memory trimmed;
static qy_pfn_t got[8];

/* CPU 0 trims; CPU 1 takes all there is, as blocks or as a run. */
static void trim_against_blocks(int cpu, void *unused)
{
    (void)unused;
    if (cpu == 0)
        qy_mm_trim(trimmed.mm, 0);
    for (int i = 0; i < 2 && cpu == 1; i++)
        got[i] = qy_alloc_pages(trimmed.mm, QY_GFP_KERNEL, QY_MAX_ORDER);
}

static void trim_against_a_run(int cpu, void *unused)
{
    (void)unused;
    if (cpu == 0)
        qy_mm_trim(trimmed.mm, 0);
    else
        got[0] = qy_alloc_pages_exact(trimmed.mm, QY_GFP_KERNEL, 2048, 0);
}

/** Under every schedule of one preemption @work must get @runs runs of @frames. */
static void try_all(void (*work)(int, void *), unsigned runs, uint64_t frames)
{
    static struct qy_sim_schedule schedule;
    const struct qy_range range = {.base = 4 * GIB, .bytes = 12 * MIB};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_mm_options options = {.lazy_backing = true, .min_free_kbytes = 1};
    test_memory_build(&trimmed, &map, &options, 4 * GIB, 12 * MIB);
    memset(&schedule, 0, sizeof(schedule));
    do {
        qy_pfn_t used = qy_alloc_pages_exact(trimmed.mm, QY_GFP_KERNEL, 2048, 0);
        assert_true(used != QY_PFN_NONE);
        assert_int_equal(qy_free_pages_exact(trimmed.mm, used, 2048), 0);
        schedule.preemptions = 1;
        qy_sim_run(&schedule, 2, work, NULL);
        for (unsigned i = 0; i < runs; i++) {
            if (got[i] == QY_PFN_NONE)
                test_fail("%s: a request failed while its frames were away", "R1");
            assert_int_equal(qy_free_pages_exact(trimmed.mm, got[i], frames), 0);
        }
        qy_drain_all_pages(trimmed.mm);
        test_rules(trimmed.mm);
    } while (qy_sim_next(&schedule));
    test_memory_free(&trimmed);
}

/* Wrong if it failed: a request could fail because idle memory is given back just then. */
static void frames_away_for_trim_are_waited_for(void **state)
{
    (void)state;
    try_all(trim_against_blocks, 2, 1024);
    try_all(trim_against_a_run, 1, 2048);
    build_growing(&trimmed, 0);
    BREAK(trimmed.mm, "R1", trimmed.mm->nr_away, 1);
    test_memory_free(&trimmed);
}

/* Wrong if it failed: giving idle pages back would clear what somebody has written. */
static void trim_leaves_live_objects_alone(void **state)
{
    static unsigned char *objects[6000];
    struct test_memory memory;
    struct random random = {test_seed()};
    (void)state;
    build_growing(&memory, 0);
    for (unsigned i = 0; i < COUNT_OF(objects); i++) {
        objects[i] = qy_kmalloc(memory.mm, 1000 + i % 2 * 700, QY_GFP_KERNEL);
        assert_non_null(objects[i]);
        memset(objects[i], (int)(i % 255 + 1), 1000);
    }
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        if (!random_one_in(&random, 8)) {
            assert_int_equal(qy_kfree(memory.mm, objects[i]), 0);
            objects[i] = NULL;
        }
    qy_kmem_cache_shrink_all(memory.mm);
    assert_true(qy_slab_trim(memory.mm) > 0);
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        for (unsigned at = 0; objects[i] && at < 1000; at++)
            if (objects[i][at] != i % 255 + 1)
                test_fail("%s: byte %u of object %u is lost", "S6", at, i);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a free with the size of something else would go unseen. */
static void a_free_with_a_wrong_size_is_named(void **state)
{
    struct test_memory memory;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 16 * MIB, true);
    struct qy_mm *mm = memory.mm;
    const struct {
        size_t asked, said, align;
        bool right;
    } frees[] = {
        {1000, 1000, 16, true},    {1000, 1024, 16, true},     {1000, 1025, 16, false},
        {1000, 300, 16, false},    {100000, 100000, 16, true}, {100000, 200000, 16, false},
        {100000, 4000, 16, false}, {48, 48, 64, false},
    };
    for (size_t i = 0; i < COUNT_OF(frees); i++) {
        void *other = qy_kmalloc(mm, frees[i].asked, QY_GFP_KERNEL);
        void *block = qy_kmalloc(mm, frees[i].asked, QY_GFP_KERNEL);
        if ((uintptr_t)block % 64 == 0) { /* the other one of 48 bytes is not */
            void *swap = block;
            block = other;
            other = swap;
        }
        mm->last_fault = NULL;
        int code = qy_kfree_check(mm, block, frees[i].said, frees[i].align);
        assert_int_equal(code, frees[i].right ? 0 : -EINVAL);
        if (!frees[i].right)
            assert_string_equal(mm->last_fault, "K5");
        assert_int_equal(qy_kfree(mm, block), 0);
        assert_int_equal(qy_kfree(mm, other), 0);
    }
    test_rules(mm);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_is_held_where_it_must_be),
        cmocka_unit_test(locks_are_taken_in_rising_rank),
        cmocka_unit_test(no_zone_is_taken_below_its_watermark),
        cmocka_unit_test(what_fails_to_come_online_leaves_nothing),
        cmocka_unit_test(nothing_is_built_from_a_map_that_is_not_sound),
        cmocka_unit_test(frames_away_for_trim_are_waited_for),
        cmocka_unit_test(trim_leaves_live_objects_alone),
        cmocka_unit_test(a_free_with_a_wrong_size_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
