/*
 * test_sampled.c - slab/sampling.c, slab/sampled.c: now and then a block has a page of its own
 */
#include "sim.h"
#include "with_memory.h"

#include "memory/mm.h"
#include "slab/kmalloc.h"
#include "slab/magazine.h"
#include "slab/sampled.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>
#include <quarry/view.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE (4 * GIB)
#define MS UINT64_C(1000000)

static int build_with(uint64_t interval_ns)
{
    static const struct qy_range ranges[] = {
        {.base = BASE, .bytes = 4 * MIB},
        {.base = BASE + 4 * MIB, .bytes = 252 * MIB, .type = QY_RANGE_HOTPLUG},
    };
    static const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 2, .nr_nodes = 1};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .grow = true, .lazy_backing = true};
    qy_sim_reset();
    test_memory_build(&memory, &map, &options, BASE, 256 * MIB);
    qy_sampling_start(memory.mm, interval_ns);
    return 0;
}

static int build_all(void **state)
{
    (void)state;
    return build_with(0);
}

static int build_every_50_ms(void **state)
{
    (void)state;
    return build_with(50 * MS);
}

static char *take(size_t bytes)
{
    char *block = qy_kmalloc(memory.mm, bytes, QY_GFP_KERNEL);
    assert_non_null(block);
    return block;
}

static uint8_t tag_at(const char *address)
{
    return memory.mm->tags[qy_address_index(memory.mm, address)];
}

static bool is_sampled(const char *block)
{
    const struct qy_kmem_cache *cache = memory.mm->sampling.cache;
    return cache != NULL && tag_at(block) == cache->tag;
}

static char *take_sampled(size_t bytes)
{
    char *block = take(bytes);
    assert_true(is_sampled(block));
    return block;
}

static void expect_line(const char *words)
{
    if (strstr(qy_sim_last_line(), words) == NULL)
        fail_msg("expected '%s', came '%s'", words, qy_sim_last_line());
}

/** Does reading there stop the program? */
static bool stops(const char *at)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(const volatile char *)at == 77);
    }
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static char *page_of(const char *block)
{
    return (char *)((uintptr_t)block & ~(uintptr_t)(PAGE - 1));
}

/** It lies at its page's end, as near as 16 bytes allow. */
static bool is_right(const char *block)
{
    return block != page_of(block);
}

/** A block of 60 bytes at that end of its page. */
static char *take_at(bool right)
{
    for (;;) {
        char *block = take_sampled(60);
        if (is_right(block) == right)
            return block;
        assert_int_equal(qy_kfree(memory.mm, block), 0);
    }
}

/* Wrong if it failed: who runs over an end of a sampled block would not be stopped at it, by
 * chance at the one or the other. */
static void guards_are_on_both_sides(void **state)
{
    (void)state;
    for (unsigned side = 0; side < 2; side++) {
        char *block = take_at(side == 1), *page = page_of(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        assert_true(side == 0 || page + PAGE - (block + 60) < 16);
        assert_true(stops(page - 1) && stops(page + PAGE));
        assert_false(stops(page) || stops(page + PAGE - 1));
        memset(block, 1, 60);
        assert_int_equal(qy_kfree(memory.mm, block), 0);
        assert_true(stops(block) && stops(page) && stops(page + PAGE - 1));
    }
}

/* Wrong if it failed: what cannot have a page of its own would get one, or what can would not; or a
 * block would be smaller than was asked for. */
static void up_to_a_page_is_sampled(void **state)
{
    static const size_t sizes[] = {1, 16, 17, 100, 1024, 1025, 4095, 4096};
    (void)state;
    for (unsigned i = 0; i < 10 * COUNT_OF(sizes); i++) {
        size_t bytes = sizes[i % COUNT_OF(sizes)];
        char *block = take_sampled(bytes);
        assert_ptr_equal(page_of(block + bytes - 1), page_of(block));
        assert_int_equal(qy_ksize(memory.mm, block), bytes);
        memset(block, 0x5a, bytes);
        assert_int_equal(qy_kfree(memory.mm, block), 0);
    }
    assert_int_equal(qy_ksize(memory.mm, take_sampled(0)), 1);
    assert_false(is_sampled(take(4097)));
    assert_false(is_sampled(qy_kmalloc(memory.mm, 100, QY_GFP_NOWAIT)));
    for (size_t align = 1; align <= 4 * PAGE; align *= 2) {
        char *block = qy_kmalloc_aligned(memory.mm, 100, align, QY_GFP_KERNEL);
        assert_int_equal((uintptr_t)block % align, 0);
        assert_int_equal((uintptr_t)block % 16, 0);
        assert_true(is_sampled(block) == (align <= PAGE));
    }
    for (unsigned i = 0; i < 20; i++) {
        char *block = qy_kmalloc(memory.mm, 1000, QY_GFP_KERNEL | QY_GFP_ZERO);
        assert_true(is_sampled(block) && qy_bytes_are(block, 1000, 0));
    }
}

/* Wrong if it failed: realloc would lose bytes, or a sized free take a wrong size for right. */
static void sizes_are_what_was_asked_for(void **state)
{
    (void)state;
    char *block = take_sampled(100);
    memset(block, 7, 100);
    for (size_t bytes = 60; bytes < 3 * PAGE; bytes += 333) {
        block = qy_krealloc(memory.mm, block, bytes, QY_GFP_KERNEL);
        assert_non_null(block);
        assert_true(is_sampled(block) == (bytes <= PAGE));
        assert_true(qy_bytes_are(block, 60, 7));
        memset(block, 7, bytes);
    }
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    block = take_sampled(100);
    assert_int_equal(qy_kfree_check(memory.mm, block, 100, 16), 0);
    assert_int_equal(qy_kfree_check(memory.mm, block, 99, 16), -22);
    expect_line("wrong size free of");
    expect_line("(cache kmalloc-112, object ");
    expect_line("+100): rule K5");
    assert_int_equal(qy_kfree_check(memory.mm, block, 112, 16), -22);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
}

/* Wrong if it failed: a wrong free would go unseen, be told of another mistake, or free the
 * block. */
static void wrong_frees_are_told(void **state)
{
    (void)state;
    char *block = take_at(false);
    assert_int_equal(qy_kfree(memory.mm, block + 16), -22);
    expect_line("invalid free of");
    expect_line("+60): rule K2, allocated by thread 2, 16 bytes into it\n");
    assert_int_equal(qy_kfree(memory.mm, block + 60), -22);
    expect_line(" 1 byte right of the object\n");
    assert_int_equal(qy_kfree(memory.mm, block + PAGE + 16), -22);
    expect_line("rule K2");
    char *first = (char *)memory.mm->base + memory.mm->sampling.pool->first * PAGE;
    assert_int_equal(qy_kfree(memory.mm, first - 16), -22);
    expect_line("invalid free of");
    expect_line("(cache kmalloc-64, object ");
    block[60] = 1;
    assert_int_equal(qy_kfree(memory.mm, block), -22);
    expect_line("memory corruption of");
    expect_line("rule D1, allocated by thread 2, 1 byte right of the object\n");
    assert_int_equal(qy_ksize(memory.mm, block), 60);
    block[60] = (char)QY_RED_BYTE;
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    assert_int_equal(qy_kfree(memory.mm, block), -22);
    expect_line("(cache kmalloc-64, object ");
    expect_line(
        "+60): rule K3, allocated by thread 2, last freed by thread 2, it was freed before\n");
    assert_int_equal(qy_ksize(memory.mm, block), 0);
    assert_null(qy_krealloc(memory.mm, block, 10, QY_GFP_KERNEL));
    expect_line("invalid realloc of");
    block = take_at(true);
    block[-3] = 1;
    assert_int_equal(qy_kfree(memory.mm, block), -22);
    expect_line(" 3 bytes left of the object\n");
    block[-3] = (char)QY_RED_BYTE;
    assert_int_equal(qy_kfree(memory.mm, block), 0);
}

static void expect_explained(const char *at, const char *what, const char *block, const char *where)
{
    char line[200];
    snprintf(line, sizeof(line), "quarry: %s of %p (cache kmalloc-64, object %p+60): rule ", what,
             (const void *)at, (const void *)block);
    assert_true(qy_sampled_explain(memory.mm, at, "read"));
    expect_line(line);
    expect_line(where);
}

/* Wrong if it failed: who is stopped would not be told at which block, or be told of Quarry's when
 * the fault is another's; or the report would end the program by another signal. */
static void accesses_are_told(void **state)
{
    char local = 0, *blocks[3];
    (void)state;
    assert_false(qy_sampled_explain(memory.mm, &local, "read"));
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = take_sampled(60);
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        assert_ptr_equal(page_of(blocks[i]), page_of(blocks[0]) + 2 * i * PAGE);
    memory.mm->panic_on_fault = true; /* and yet it goes on */
    char *page = page_of(blocks[1]), *end = page + PAGE;
    expect_explained(page - 1, "out-of-bounds read",
                     page - 1 - blocks[0] - 60 < blocks[1] - page + 1 ? blocks[0] : blocks[1],
                     " of the object\n");
    assert_int_equal(qy_kfree(memory.mm, blocks[0]), 0);
    assert_int_equal(qy_kfree(memory.mm, blocks[2]), 0);
    char where[64];
    snprintf(where, sizeof(where), "rule D1, allocated by thread 2, %zu bytes left of the object\n",
             (size_t)(blocks[1] - (page - 8)));
    expect_explained(page - 8, "out-of-bounds read", blocks[1], where);
    snprintf(where, sizeof(where), " %zu bytes right of the object\n",
             (size_t)(end - blocks[1] - 59));
    expect_explained(end, "out-of-bounds read", blocks[1], where);
    assert_false(qy_sampled_explain(memory.mm, blocks[1], "read"));
    expect_explained(blocks[0] + 5, "use-after-free read", blocks[0],
                     "rule D2, allocated by thread 2, last freed by thread 2, 5 bytes into it\n");
    assert_int_equal(qy_kfree(memory.mm, blocks[1]), 0);
    assert_true(qy_sampled_explain(memory.mm, end, "write"));
    expect_line("invalid write of");
    const struct qy_sample_pool *pool = memory.mm->sampling.pool;
    char *first = (char *)memory.mm->base + pool->first * PAGE;
    assert_true(qy_sampled_explain(memory.mm, first - PAGE, "write"));
    assert_true(qy_sampled_explain(memory.mm, first + 2 * pool->nr_slots * PAGE - 1, "write"));
    assert_false(qy_sampled_explain(memory.mm, first - PAGE - 1, "write"));
    assert_false(qy_sampled_explain(memory.mm, first + 2 * pool->nr_slots * PAGE, "write"));
    assert_false(qy_sampled_explain(memory.mm, NULL, "write"));
    memory.mm->panic_on_fault = false;
}

/* Wrong if it failed: a freed block's page would be in reach again before it must be, or a full
 * pool end in NULL. */
static void pages_are_used_again_as_late_as_possible(void **state)
{
    char *blocks[1000];
    unsigned nr_slots = 0;
    (void)state;
    blocks[0] = take_sampled(100);
    const struct qy_sample_pool *pool = memory.mm->sampling.pool;
    for (nr_slots = 1; nr_slots < pool->nr_slots; nr_slots++)
        blocks[nr_slots] = take_sampled(100);
    assert_int_equal(nr_slots, 248);
    assert_int_equal(memory.mm->sampling.nr_skipped, 0);
    assert_false(is_sampled(take(100)));
    assert_int_equal(memory.mm->sampling.nr_skipped, 1);
    for (unsigned i = 0; i < nr_slots; i++) /* in an order of its own */
        assert_int_equal(qy_kfree(memory.mm, blocks[i * 5 % nr_slots]), 0);
    for (unsigned i = 0; i < 2 * nr_slots; i++) {
        char *block = take_sampled(100);
        assert_ptr_equal(page_of(block), page_of(blocks[i * 5 % nr_slots]));
        assert_int_equal(qy_kfree(memory.mm, block), 0);
    }
    assert_int_equal(memory.mm->sampling.nr_allocs, 3 * nr_slots);
    assert_int_equal(memory.mm->sampling.nr_frees, 3 * nr_slots);
}

/* Wrong if it failed: to shrink or to trim would give pages of the pool to others, or figures would
 * count what is no block's. */
static void the_pool_stays_whole(void **state)
{
    char text_bytes[1 << 14];
    struct qy_text text = {text_bytes, sizeof(text_bytes), 0};
    (void)state;
    char *held = take_sampled(100), *freed = take_sampled(100);
    memset(held, 3, 100);
    assert_int_equal(qy_kfree(memory.mm, freed), 0);
    uint64_t all = memory.mm->sampling.nr_frames;
    assert_int_equal(all, 497);
    assert_int_equal(qy_sampled_idle(memory.mm), all - 1);
    assert_int_equal(qy_sampled_untouched(memory.mm), all - 4);
    qy_kmem_cache_shrink_all(memory.mm);
    memory.mm->reclaim(memory.mm, QY_GFP_KERNEL, 0);
    qy_mm_trim(memory.mm, 0);
    test_rules(memory.mm);
    assert_true(stops(freed) && !stops(held));
    assert_true(qy_bytes_are(held, 100, 3));
    assert_int_equal(memory.mm->sampling.nr_made, 2);
    qy_print_slabinfo(memory.mm, &text);
    assert_non_null(strstr(text_bytes, "quarry_sampled         1      2   4096    1    2 :"));
    text.length = 0;
    qy_print_vmstat(memory.mm, &text);
    assert_non_null(strstr(text_bytes, "quarry_sample_alloc 2\nquarry_sample_free 1\n"
                                       "quarry_sample_skip 0\n"));
    assert_int_equal(qy_kfree(memory.mm, held), 0);
}

/* Wrong if it failed: more would be sampled than was asked for, or less; a look at the clock lets a
 * millisecond pass here. */
static void an_interval_lies_between_two(void **state)
{
    struct qy_sampling *sampling = &memory.mm->sampling;
    uint64_t last_ns = 0;
    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t before = sampling->nr_allocs;
        char *block = take(16 + i % 900);
        if (sampling->nr_allocs != before) {
            uint64_t now = qy_port_clock_ns();
            assert_true(last_ns == 0 || now - last_ns >= 50 * MS);
            last_ns = now;
        }
        assert_int_equal(qy_kfree(memory.mm, block), 0);
    }
    assert_true(sampling->nr_allocs > 5 && sampling->nr_allocs <= 400000 / 50);
    assert_int_equal(sampling->nr_frees, sampling->nr_allocs);
}

/** The slot whose owner this is. */
static struct qy_cpu *slot(void)
{
    return qy_list_entry(memory.mm->cpus.next, struct qy_cpu, link);
}

static bool is_gate_closed(void)
{
    return slot()->class_of[0] != memory.mm->class_of[0];
}

/* Wrong if it failed: sizes that a thread allocates in turn, and never out of a slow half by
 * itself, would not be sampled; or it would never find its fast path again. */
static void the_next_small_one_is_slow(void **state)
{
    struct qy_sampling *sampling = &memory.mm->sampling;
    (void)state;
    char *large = take(100000), *more = take(100000);
    while (sampling->nr_allocs < 20) {
        uint64_t before = sampling->nr_allocs;
        for (unsigned i = 0; !is_gate_closed(); i++) {
            assert_true(i < 100000);
            assert_int_equal(qy_kfree(memory.mm, large), 0);
            assert_non_null(large = qy_kmalloc(memory.mm, 100000, QY_GFP_NOWAIT));
        }
        assert_int_equal(slot()->looks_in, 0);
        assert_int_equal(slot()->class_of[COUNT_OF(slot()->class_of) - 1], QY_TAG_NONE);
        if (sampling->nr_allocs % 2 == 0) { /* somebody else is faster, and a free finds so */
            sampling->next_ns += 20000 * MS;
            assert_int_equal(qy_kfree(memory.mm, more), 0);
            assert_false(is_gate_closed());
            sampling->next_ns = 0;
            more = take(100000);
            while (!is_gate_closed())
                assert_int_equal(qy_kfree(memory.mm, NULL) + qy_kfree(memory.mm, take(5000)), 0);
        }
        char *small = take_sampled(24);
        assert_int_equal(sampling->nr_allocs, before + 1);
        assert_false(is_gate_closed());
        assert_memory_equal(slot()->class_of, memory.mm->class_of, sizeof(slot()->class_of));
        assert_int_equal(qy_kfree(memory.mm, small), 0);
    }
}

/* Wrong if it failed: blocks that live for ever would use the pool up at the pace of the others. */
static void a_fuller_pool_lasts_longer(void **state)
{
    struct qy_sampling *sampling = &memory.mm->sampling;
    (void)state;
    uint64_t first = 0;
    for (unsigned i = 0; sampling->nr_live < 64; i++) {
        sampling->next_ns = 0;
        take(64);
        if (sampling->nr_live == 16 && first == 0)
            first = sampling->next_ns - qy_port_clock_ns();
    }
    uint64_t later = sampling->next_ns - qy_port_clock_ns();
    assert_true(first > 40 * MS && first <= 50 * MS);
    assert_true(later > 150 * MS && later <= 200 * MS);
}

/* Wrong if it failed: a small memory would be eaten by the pool, or a program end for want of
 * it. */
static void a_small_memory_has_a_small_pool(void **state)
{
    static const struct {
        uint64_t limit;
        unsigned nr_slots;
    } cases[] = {{7 * MIB / 2, 0}, {6 * MIB, 7}, {16 * MIB, 15}, {64 * MIB, 124}, {256 * MIB, 248}};
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(cases); i++) {
        qy_sim_reset();
        assert_true(test_memory_growing(&memory, 256 * MIB, cases[i].limit / PAGE));
        qy_sampling_start(memory.mm, 0);
        char *block = take(100);
        const struct qy_sample_pool *pool = memory.mm->sampling.pool;
        assert_int_equal(pool != NULL ? pool->nr_slots : 0, cases[i].nr_slots);
        assert_true(is_sampled(block) == (cases[i].nr_slots != 0));
        assert_int_equal(qy_kfree(memory.mm, block), 0);
        test_rules(memory.mm);
        test_memory_free(&memory);
    }
}

/* Wrong if it failed: a system that refuses to protect, or has no memory, would end the program,
 * lose frames, or leave a block between what can be reached unawares. */
static void each_call_may_fail(void **state)
{
    unsigned nr_ordinary = 0;
    (void)state;
    for (uint64_t nth = 1, failed = true; failed; nth++) {
        char *blocks[6];
        build_with(0);
        qy_sim_fail(nth);
        for (unsigned i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = take(100);
            nr_ordinary += !is_sampled(blocks[i]);
            memset(blocks[i], (int)i, 100);
            if (i % 2 == 1)
                assert_int_equal(qy_kfree(memory.mm, blocks[i]), 0);
        }
        for (unsigned i = 0; i < COUNT_OF(blocks); i += 2)
            assert_true(qy_bytes_are(blocks[i], 100, (int)i));
        failed = qy_sim_failed();
        qy_sim_fail(0);
        test_rules(memory.mm);
        for (unsigned i = 0; i < COUNT_OF(blocks); i += 2)
            assert_int_equal(qy_kfree(memory.mm, blocks[i]), 0);
        for (unsigned i = 0; i < 2 * 248; i++) /* every slot serves, and is out of reach again */
            assert_int_equal(qy_kfree(memory.mm, blocks[0] = take_sampled(100)), 0);
        assert_true(stops(blocks[0]));
        assert_int_equal(memory.mm->sampling.nr_live, 0);
        test_rules(memory.mm);
        test_memory_free(&memory);
    }
    assert_true(nr_ordinary > 3);
}

/* Wrong if it failed: a memory that was not asked to would have a pool, or look at a clock. */
static void off_is_off(void **state)
{
    (void)state;
    uint64_t before = qy_port_clock_ns();
    for (unsigned i = 0; i < 2000; i++)
        take(100);
    assert_int_equal(qy_port_clock_ns(), before + MS);
    assert_null(memory.mm->sampling.pool);
    assert_null(memory.mm->sampling.cache);
    assert_false(qy_sampled_explain(memory.mm, take(10), "read"));
}

#define TEST(test, setup) cmocka_unit_test_setup_teardown(test, setup, memory_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(guards_are_on_both_sides, build_all),
        TEST(up_to_a_page_is_sampled, build_all),
        TEST(sizes_are_what_was_asked_for, build_all),
        TEST(wrong_frees_are_told, build_all),
        TEST(accesses_are_told, build_all),
        TEST(pages_are_used_again_as_late_as_possible, build_all),
        TEST(the_pool_stays_whole, build_all),
        TEST(an_interval_lies_between_two, build_every_50_ms),
        TEST(the_next_small_one_is_slow, build_every_50_ms),
        TEST(a_fuller_pool_lasts_longer, build_every_50_ms),
        cmocka_unit_test(a_small_memory_has_a_small_pool),
        cmocka_unit_test(each_call_may_fail),
        WITH_MEMORY(off_is_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
