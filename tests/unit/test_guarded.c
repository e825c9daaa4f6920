/*
 * test_guarded.c - slab/guarded.c: large blocks between guards, and their quarantine
 */
#include "frames.h"
#include "sim.h"
#include "with_memory.h"

#include "buddy/alloc.h"
#include "buddy/buddy.h"
#include "memory/mm.h"
#include "slab/guarded.h"
#include "slab/kmalloc.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE (4 * GIB)

static int build(void **state)
{
    static const struct qy_range ranges[] = {
        {.base = BASE, .bytes = 16 * MIB},
        {.base = BASE + 16 * MIB, .bytes = 496 * MIB, .type = QY_RANGE_HOTPLUG},
    };
    static const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 2, .nr_nodes = 1};
    const struct qy_mm_options options = {.min_free_kbytes = 1,
                                          .grow = true,
                                          .lazy_backing = true,
                                          .kmalloc_flags = QY_SLAB_RED_ZONE | QY_SLAB_ZERO_ON_FREE |
                                                           QY_SLAB_RANDOM | QY_SLAB_CHECK_FREE};
    (void)state;
    qy_sim_reset();
    test_memory_build(&memory, &map, &options, BASE, 512 * MIB);
    return 0;
}

static char *take(size_t bytes)
{
    char *block = qy_kmalloc(memory.mm, bytes, QY_GFP_KERNEL);
    assert_non_null(block);
    return block;
}

static void expect_line(const char *words)
{
    if (strstr(qy_sim_last_line(), words) == NULL)
        fail_msg("expected '%s', came '%s'", words, qy_sim_last_line());
}

/** Does writing there stop the program? */
static bool stops(char *at)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)at = 1;
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

/** When nothing waits in quarantine. */
static uint64_t frames_in_use(void)
{
    memory.mm->reclaim(memory.mm, QY_GFP_KERNEL, 0);
    return test_frames_in_use(memory.mm);
}

static void expect_bytes(const char *block, size_t from, size_t to, char byte)
{
    for (size_t at = from; at < to; at++)
        if (block[at] != byte)
            fail_msg("byte %zu is %d, not %d", at, block[at], byte);
}

/* Wrong if it failed: whoever runs over an end of a large block would reach its neighbour. */
static void both_ends_are_out_of_reach(void **state)
{
    (void)state;
    char *block = take(10 * PAGE);
    assert_true(stops(block - 1));
    assert_true(stops(block + 10 * PAGE));
    assert_false(stops(block));
    assert_false(stops(block + 10 * PAGE - 1));
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    for (size_t align = 64; align <= 8 * MIB; align *= 8) {
        block = qy_kmalloc_aligned(memory.mm, 100, align, QY_GFP_KERNEL);
        assert_int_equal((uintptr_t)block % align, 0);
        assert_true(stops(block - 1) && stops(block + PAGE));
        assert_int_equal(qy_kfree(memory.mm, block), 0);
    }
}

/* Wrong if it failed: an overflow within the last page would go unseen, or a block would be
 * said to be longer than it is. */
static void the_tail_is_looked_at(void **state)
{
    (void)state;
    char *block = take(100000);
    assert_int_equal(qy_ksize(memory.mm, block), 100000);
    memset(block, 0, 100000);
    block[100000] = 0;
    assert_int_equal(qy_kfree(memory.mm, block), -22);
    expect_line("overflow of");
    expect_line("+100000): rule D1");
    block[100000] = (char)0xbb;
    assert_int_equal(qy_kfree(memory.mm, block), 0);
}

/* Wrong if it failed: a report would name another mistake than was made, for small blocks. */
static void reports_name_the_mistake(void **state)
{
    (void)state;
    char *block = take(100);
    assert_int_equal(qy_kfree(memory.mm, block + 16), -22);
    expect_line("interior free of");
    assert_int_equal(qy_kfree(memory.mm, block + 1), -22);
    expect_line("misaligned free of");
    assert_int_equal(qy_ksize(memory.mm, block + 16), 0);
    expect_line("interior query of");
    assert_int_equal(qy_ksize(memory.mm, block + 1), 0);
    expect_line("misaligned query of");
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    assert_int_equal(qy_kfree(memory.mm, block), -22);
    expect_line("double free of");
    assert_int_equal(qy_ksize(memory.mm, block), 0);
    expect_line("use after free of");
}

/* Wrong if it failed: what is freed with its right size would be refused, or with a wrong one
 * pass; of a block of nothing the right size is 0. */
static void sizes_are_exact(void **state)
{
    (void)state;
    char local, *block = take(100);
    assert_int_equal(qy_kfree_check(memory.mm, block, 100, 16), 0);
    assert_int_equal(qy_kfree_check(memory.mm, block, 99, 16), -22);
    expect_line("wrong size free of");
    assert_int_equal(qy_kfree_check(memory.mm, block, 101, 16), -22);
    assert_int_equal(qy_kfree_check(memory.mm, block, 0, 16), -22);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    block = take(0);
    assert_int_equal(qy_kfree_check(memory.mm, block, 0, 16), 0);
    assert_int_equal(qy_kfree_check(memory.mm, block, 2, 16), -22);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    assert_int_equal(qy_kfree_check(memory.mm, &local, 1, 1), 0); /* the free itself reports it */
}

/* Wrong if it failed: a freed large block could be used, or freed, as if it were alive. */
static void freed_runs_are_out_of_reach(void **state)
{
    (void)state;
    char *block = take(100000);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    assert_true(stops(block) && stops(block + 99999));
    assert_int_equal(qy_kfree(memory.mm, block), -22);
    expect_line("double free of");
    assert_int_equal(qy_kfree(memory.mm, block + PAGE), -22);
    expect_line("interior free of");
    assert_int_equal(qy_ksize(memory.mm, block), 0);
    expect_line("use after free of");
    assert_ptr_not_equal(take(100000), block);
    test_rules(memory.mm);
}

static void expect_explained(const char *at, const char *what, const char *block, size_t bytes)
{
    char line[200];
    snprintf(line, sizeof(line), "quarry: %s of %p (cache pages, object %p+%zu): rule ", what,
             (const void *)at, (const void *)block, bytes);
    assert_true(qy_guarded_explain(memory.mm, at));
    expect_line(line);
    expect_line(", stopped at the access");
}

/* Wrong if it failed: who is stopped by a guard would not be told whose it is, or be told of
 * Quarry's when the fault is another's. */
static void guards_say_whose_they_are(void **state)
{
    (void)state;
    char local, *before = take(70000), *block = take(100000), *behind = take(50000);
    expect_explained(block - 1, "underflow", block, 100000);
    expect_explained(block - PAGE, "underflow", block, 100000);
    expect_explained(block + 25 * PAGE, "overflow", block, 100000);
    expect_explained(before - 1, "underflow", before, 70000);
    expect_explained(behind + 13 * PAGE, "overflow", behind, 50000);
    assert_false(qy_guarded_explain(memory.mm, block));
    assert_false(qy_guarded_explain(memory.mm, block + 99999));
    assert_false(qy_guarded_explain(memory.mm, &local));
    assert_false(qy_guarded_explain(memory.mm, NULL));
    char *small = take(100);
    assert_false(qy_guarded_explain(memory.mm, small));
    assert_int_equal(qy_kfree(memory.mm, small), 0);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    expect_explained(block, "use after free", block, 25 * PAGE);
    expect_explained(block + 99999, "use after free", block, 25 * PAGE);
    expect_explained(block - 1, "use after free", block, 25 * PAGE);
    assert_int_equal(qy_kfree(memory.mm, before), 0);
    assert_int_equal(qy_kfree(memory.mm, behind), 0);
    memory.mm->reclaim(memory.mm, QY_GFP_KERNEL, 0);
    assert_false(qy_guarded_explain(memory.mm, block));
}

/* Wrong if it failed: what a freed block held could be read in the next one. */
static void memory_comes_back_clear(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        unsigned char *block = (unsigned char *)take(300000);
        for (size_t byte = 0; byte < 300000; byte += 97)
            assert_int_equal(block[byte], 0);
        memset(block, 0x5a, 300000);
        assert_int_equal(qy_kfree(memory.mm, block), 0);
        if (i % 10 == 9)
            qy_kmem_cache_shrink_all(memory.mm);
    }
}

/* Wrong if it failed: the quarantine would eat the memory, or end with lost frames. */
static void quarantine_gives_way(void **state)
{
    struct qy_mm_stat stat;
    (void)state;
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(qy_kfree(memory.mm, take(4 * MIB)), 0);
    qy_mm_stat(memory.mm, &stat);
    assert_true(stat.managed <= 64 * MIB / PAGE);
    char *most = take(300 * MIB);
    assert_int_equal(qy_kfree(memory.mm, most), 0);
    char *again = take(300 * MIB); /* there is no room for both */
    assert_int_equal(qy_kfree(memory.mm, again), 0);
    assert_true(memory.mm->quarantine.nr_runs > 0);
    assert_true(memory.mm->reclaim(memory.mm, QY_GFP_KERNEL, 0) >= 300 * MIB / PAGE);
    assert_int_equal(memory.mm->quarantine.nr_runs, 0);
    assert_int_equal(atomic_load(&memory.mm->quarantine.nr_protected), 0);
    assert_true(test_frames_in_use(memory.mm) < 200);
}

/* Wrong if it failed: realloc would lose bytes, or leave the old end guarded and the new one
 * not. */
static void guards_move_with_the_end(void **state)
{
    (void)state;
    size_t bytes = 50000;
    char *block = take(bytes);
    memset(block, 1, bytes);
    while (bytes < 40 * MIB) {
        size_t more = bytes * 5 / 4;
        block = qy_krealloc(memory.mm, block, more, QY_GFP_KERNEL);
        assert_non_null(block);
        for (size_t byte = 0; byte < bytes; byte += 1000)
            assert_int_equal(block[byte], 1);
        memset(block + bytes, 1, more - bytes);
        bytes = more;
        assert_int_equal(qy_ksize(memory.mm, block), bytes);
        test_rules(memory.mm);
    }
    assert_true(stops(block - 1) && stops(block + (bytes + PAGE - 1) / PAGE * PAGE));
    block = qy_krealloc(memory.mm, block, bytes - 1, QY_GFP_KERNEL);
    block[bytes - 1] = 1;
    assert_int_equal(qy_kfree(memory.mm, block), -22);
    expect_line("overflow of");
    block[bytes - 1] = (char)0xbb;
    assert_int_equal(qy_kfree(memory.mm, block), 0);
}

/** What lies behind the block and its guard was used, and is free. */
static void use_behind(char *block, uint64_t nr_frames)
{
    qy_pfn_t pfn = qy_virt_to_pfn(memory.mm, block + qy_ksize(memory.mm, block) + PAGE);
    assert_true(qy_take_behind(memory.mm, pfn, nr_frames));
    memset(qy_frame_address(memory.mm, pfn), 0x5a, nr_frames * PAGE);
    qy_give_run(memory.mm, pfn, nr_frames, false);
}

/* Wrong if it failed: realloc would copy where there is room behind, show what others had written
 * there, or leave its guard in the middle. */
static void a_run_grows_where_it_lies(void **state)
{
    (void)state;
    char *block = take(12 * PAGE);
    memset(block, 1, 12 * PAGE);
    use_behind(block, 8);
    assert_ptr_equal(qy_krealloc(memory.mm, block, 20 * PAGE, QY_GFP_KERNEL), block);
    expect_bytes(block, 0, 12 * PAGE, 1);
    expect_bytes(block, 12 * PAGE, 20 * PAGE, 0);
    assert_true(stops(block + 20 * PAGE));
    test_rules(memory.mm);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
}

/* Wrong if it failed: red bytes of the old end would stand in the middle of a block that has
 * moved, as if somebody had written them. */
static void a_run_that_moves_leaves_its_red_behind(void **state)
{
    (void)state;
    size_t bytes = 2 * MIB + 100;
    char *block = take(bytes), *neighbour = take(100000);
    memset(block, 1, bytes);
    char *moved = qy_krealloc(memory.mm, block, 3 * MIB, QY_GFP_KERNEL);
    assert_true(moved != NULL && moved != block);
    expect_bytes(moved, 0, bytes, 1);
    expect_bytes(moved, bytes, 3 * MIB, 0);
    assert_int_equal(qy_kfree(memory.mm, moved), 0);
    assert_int_equal(qy_kfree(memory.mm, neighbour), 0);
}

/* Wrong if it failed: memory of freed blocks would stay with the process while they wait, or be
 * cleared byte by byte when it comes back. */
static void freed_memory_is_given_back(void **state)
{
    (void)state;
    size_t bytes = 4 * MIB;
    char *block = take(bytes);
    memset(block, 1, bytes);
    assert_int_equal(frames_resident(block, bytes), bytes / PAGE);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    assert_int_equal(frames_resident(block, bytes), 0);
    qy_guarded_drain(memory.mm);
    qy_pfn_t pfn = qy_virt_to_pfn(memory.mm, block);
    assert_true(frames_take(memory.mm, pfn, bytes / PAGE));
    memset(block, 1, bytes);
    qy_give_run(memory.mm, pfn, bytes / PAGE, false);
    qy_zone_of(memory.mm, pfn)->run_end = pfn; /* so the next run lies there */
    char *again = take(bytes / 2);
    assert_ptr_equal(again, block + PAGE);
    assert_true(frames_resident(again, bytes / 2) <= 1); /* but not by touching them */
    assert_int_equal(qy_kfree(memory.mm, again), 0);
}

/* Wrong if it failed: guards would take more mappings than the host has, or those that could not
 * be set count for ever. */
static void guards_are_not_without_number(void **state)
{
    static const uint64_t many = 1 << 20;
    (void)state;
    atomic_store(&memory.mm->quarantine.nr_protected, many);
    char *block = take(100000);
    assert_false(stops(block - 1));
    assert_int_equal(atomic_load(&memory.mm->quarantine.nr_protected), many);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    qy_guarded_drain(memory.mm);
    assert_int_equal(atomic_load(&memory.mm->quarantine.nr_protected), many);
}

/* Wrong if it failed: a system call that fails within realloc would cost bytes or frames. */
static void realloc_survives_every_call_that_fails(void **state)
{
    static const size_t sizes[] = {12 * PAGE, 2 * MIB};
    (void)state;
    assert_int_equal(qy_kfree(memory.mm, take(100)), 0); /* Quarry's own slabs are there */
    uint64_t before = frames_in_use();
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (uint64_t nth = 1; nth < 12; nth++) {
            size_t bytes = sizes[s];
            char *block = take(bytes), *neighbour = s == 0 ? NULL : take(100000);
            memset(block, 1, bytes);
            qy_sim_fail(nth);
            char *moved = qy_krealloc(memory.mm, block, 2 * bytes, QY_GFP_KERNEL);
            qy_sim_fail(0);
            assert_non_null(moved);
            expect_bytes(moved, 0, bytes, 1);
            test_rules(memory.mm);
            assert_int_equal(qy_kfree(memory.mm, moved), 0);
            assert_int_equal(qy_kfree(memory.mm, neighbour), 0);
            assert_int_equal(frames_in_use(), before);
            assert_int_equal(atomic_load(&memory.mm->quarantine.nr_protected), 0);
        }
}

/* Wrong if it failed: a system that refuses to protect or to drop memory would end the program,
 * lose frames, or hide a write after the free. */
static void works_where_nothing_can_be_protected(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 12; nth++) {
        char *blocks[3];
        qy_sim_fail(nth);
        for (unsigned i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = qy_kmalloc(memory.mm, 100000, QY_GFP_KERNEL);
            if (blocks[i] != NULL)
                memset(blocks[i], 7, 100000);
        }
        for (unsigned i = 0; i < COUNT_OF(blocks); i++)
            assert_int_equal(qy_kfree(memory.mm, blocks[i]), 0);
        memory.mm->reclaim(memory.mm, QY_GFP_KERNEL, 0);
        qy_sim_fail(0);
        memory.mm->reclaim(memory.mm, QY_GFP_KERNEL, 0);
        assert_int_equal(memory.mm->quarantine.nr_runs, 0);
        assert_int_equal(atomic_load(&memory.mm->quarantine.nr_protected), 0);
        test_rules(memory.mm);
    }
    assert_int_equal(qy_sim_lines(), 0);

    char *block = take(100000);
    uint64_t head = ((uintptr_t)block - memory.mm->base) / PAGE;
    qy_sim_fail(2); /* the decommit succeeds, the protection does not */
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    qy_sim_fail(0);
    assert_int_equal(memory.mm->tags[head], QY_TAG_FREED);
    block[5] = 1;
    memory.mm->reclaim(memory.mm, QY_GFP_KERNEL, 0);
    expect_line("use after free of");
    expect_line("rule D2");
}

/* Wrong if it failed: a free of another size than was asked for would pass. */
static void reports_name_what_was_done(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache = qy_kmem_cache_create(
        memory.mm, "users", 64, 0, QY_SLAB_STORE_USER | QY_SLAB_RED_ZONE, NULL, NULL);
    char *object = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    assert_non_null(object);
    qy_sim_cpu(1);
    assert_int_equal(qy_kmem_cache_free(cache, object), 0);
    object = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    object[64] = 1;
    assert_int_equal(qy_kmem_cache_free(cache, object), -22);
    expect_line("allocated by thread 3, last freed by thread 3");
    object[64] = (char)0xbb;
    assert_int_equal(qy_kmem_cache_free(cache, object), 0);
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/** A last look finds this byte changed; and not if it may take no time, or would have to wait. */
static void expect_seen(char *byte, const char *line, struct qy_lock *lock)
{
    char saved = *byte;
    *byte = (char)(saved + 1);
    assert_int_equal(qy_kmalloc_look_over(memory.mm, 0), 0);
    atomic_store(&lock->word, 1); /* somebody has it */
    assert_int_equal(qy_kmalloc_look_over(memory.mm, UINT64_MAX), 0);
    atomic_store(&lock->word, 0);
    assert_int_equal(qy_kmalloc_look_over(memory.mm, UINT64_MAX), -22);
    expect_line(line);
    *byte = saved;
    assert_int_equal(qy_kmalloc_look_over(memory.mm, UINT64_MAX), 0);
}

/* Wrong if it failed: what nobody frees, or gets again, would be damaged and never told; or the
 * last look would keep a program from its end. */
static void a_last_look_finds_what_no_call_does(void **state)
{
    (void)state;
    struct qy_mm *mm = memory.mm;
    char *small = take(100), *freed = take(100), *large = take(100000), *away = take(50000);
    struct qy_kmem_cache *cache = mm->cache_of[mm->tags[qy_address_index(mm, small)]];
    assert_int_equal(qy_kfree(mm, freed), 0);
    qy_sim_fail_times(1, 1000); /* so it stays in reach */
    assert_int_equal(qy_kfree(mm, away), 0);
    qy_sim_fail(0);
    assert_int_equal(qy_kmalloc_look_over(mm, UINT64_MAX), 0);
    expect_seen(small + 100, "+100): rule D1", &cache->lock);
    expect_seen(small - 1, "underflow of", &cache->lock);
    expect_seen(freed + 99, "use after free of", &cache->lock);
    expect_seen(large + 100000, "+100000): rule D1", &mm->quarantine.lock);
    expect_seen(away + 49999, "use after free of", &mm->quarantine.lock);
    assert_int_equal(qy_kfree(mm, small), 0);
    assert_int_equal(qy_kfree(mm, large), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_ends_are_out_of_reach, build, memory_end),
        cmocka_unit_test_setup_teardown(the_tail_is_looked_at, build, memory_end),
        cmocka_unit_test_setup_teardown(reports_name_the_mistake, build, memory_end),
        cmocka_unit_test_setup_teardown(sizes_are_exact, build, memory_end),
        cmocka_unit_test_setup_teardown(freed_runs_are_out_of_reach, build, memory_end),
        cmocka_unit_test_setup_teardown(guards_say_whose_they_are, build, memory_end),
        cmocka_unit_test_setup_teardown(memory_comes_back_clear, build, memory_end),
        cmocka_unit_test_setup_teardown(quarantine_gives_way, build, memory_end),
        cmocka_unit_test_setup_teardown(guards_move_with_the_end, build, memory_end),
        cmocka_unit_test_setup_teardown(a_run_grows_where_it_lies, build, memory_end),
        cmocka_unit_test_setup_teardown(a_run_that_moves_leaves_its_red_behind, build, memory_end),
        cmocka_unit_test_setup_teardown(freed_memory_is_given_back, build, memory_end),
        cmocka_unit_test_setup_teardown(guards_are_not_without_number, build, memory_end),
        cmocka_unit_test_setup_teardown(realloc_survives_every_call_that_fails, build, memory_end),
        cmocka_unit_test_setup_teardown(works_where_nothing_can_be_protected, build, memory_end),
        cmocka_unit_test_setup_teardown(reports_name_what_was_done, build, memory_end),
        cmocka_unit_test_setup_teardown(a_last_look_finds_what_no_call_does, build, memory_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
