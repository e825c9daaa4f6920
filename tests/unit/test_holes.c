/*
 * test_holes.c - slab/holes.c: idle pages of partial slabs lose their memory, and nothing else
 */
#include "frames.h"
#include "with_memory.h"

#include "slab/cache.h"
#include "slab/holes.h"

#define BASE (4 * GIB)
#define BYTES (32 * MIB)
#define OBJECTS 4000

static unsigned char *objects[OBJECTS];

static int build(void **state)
{
    (void)state;
    const struct qy_range range = {.base = BASE, .bytes = BYTES};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_mm_options options = {.min_free_kbytes = 1, .lazy_backing = true};
    test_memory_build(&memory, &map, &options, BASE, BYTES);
    return 0;
}

static unsigned char mark_of(unsigned i)
{
    return (unsigned char)(i % 255 + 1);
}

/** Objects of this cache, filled; one in @live stays, the others go back to their slabs. */
static void leave_one_in(struct qy_kmem_cache *cache, unsigned count, unsigned live, size_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        assert_non_null(objects[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL));
        memset(objects[i], mark_of(i), bytes);
    }
    for (unsigned i = 0; i < count; i++)
        if (i % live != 0)
            assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
    qy_kmem_cache_shrink(cache);
}

static void expect_live(unsigned count, unsigned live, size_t bytes)
{
    for (unsigned i = 0; i < count; i += live)
        for (size_t at = 0; at < bytes; at++)
            assert_int_equal(objects[i][at], mark_of(i));
}

/* Wrong if it failed: S6: a live object would lose what it holds, or idle pages would keep their
 * memory, or some that did not be counted. */
static void idle_pages_go_and_live_objects_stay(void **state)
{
    static const size_t sizes[] = {64, 200, 1000, 3000, 4096, 6000};
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        unsigned count = 3 * MIB / sizes[s] < OBJECTS ? (unsigned)(3 * MIB / sizes[s]) : OBJECTS;
        unsigned live = sizes[s] < 1000 ? 150 : 7;
        uint64_t others = qy_slab_trim(memory.mm);
        struct qy_kmem_cache *cache =
            qy_kmem_cache_create(memory.mm, "holes", sizes[s], 0, 0, NULL, NULL);
        assert_non_null(cache);
        leave_one_in(cache, count, live, sizes[s]);
        size_t before = frames_resident(memory.frames, BYTES);
        uint64_t dropped = qy_slab_trim(memory.mm);
        if (cache->order > 0)
            assert_true(dropped > 0);
        /* Some were not there before: in slabs of Quarry's own, or behind a slab's last object. */
        assert_in_range(dropped - others - (before - frames_resident(memory.frames, BYTES)), 0,
                        8 + dropped / 10);
        expect_live(count, live, sizes[s]);
        test_rules(memory.mm);
        for (unsigned i = 0; i < count; i += live)
            assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
        assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
    }
}

static void construct(void *object)
{
    memset(object, 0x3c, 2000);
}

/* Wrong if it failed: objects would come back without what their constructor did. */
static void constructed_objects_keep_what_they_hold(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache =
        qy_kmem_cache_create(memory.mm, "constructed", 2000, 0, 0, construct, NULL);
    assert_non_null(cache);
    for (unsigned i = 0; i < 1000; i++)
        assert_non_null(objects[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL));
    for (unsigned i = 0; i < 1000; i++)
        if (i % 7 != 0)
            assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
    qy_kmem_cache_shrink(cache);
    assert_true(cache->slabs_partial.count > 0);
    qy_slab_trim(memory.mm);
    for (unsigned i = 0; i < 500; i++) {
        const unsigned char *object = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
        for (unsigned at = 0; at < 2000; at++)
            assert_int_equal(object[at], 0x3c);
    }
}

/* Wrong if it failed: canaries and poison would be lost, and trim be reported as an overflow. */
static void checked_objects_keep_their_canaries(void **state)
{
    static const uint32_t flags[] = {QY_SLAB_RED_ZONE, QY_SLAB_POISON};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(flags); i++) {
        struct qy_kmem_cache *cache = qy_kmem_cache_create(
            memory.mm, i == 0 ? "fenced" : "poisoned", 2000, 0, flags[i], NULL, NULL);
        assert_non_null(cache);
        leave_one_in(cache, 1000, 7, 2000);
        assert_true(cache->slabs_partial.count > 0);
        qy_slab_trim(memory.mm);
        expect_live(1000, 7, 2000);
        test_rules(memory.mm);
    }
    assert_int_equal(memory.mm->nr_faults, 0);
}

/* Wrong if it failed: malloc would look for idle pages where there are none, or never. */
static void idle_is_what_slabs_have_free(void **state)
{
    (void)state;
    assert_int_equal(qy_slab_idle(memory.mm), 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_non_null(objects[i] = qy_kmalloc(memory.mm, 1024, QY_GFP_KERNEL));
    uint64_t index = qy_address_index(memory.mm, objects[0]);
    struct qy_kmem_cache *cache = memory.mm->cache_of[memory.mm->tags[index]];
    for (unsigned i = 0; i < 1000; i++)
        if (i % 7 != 0)
            assert_int_equal(qy_kfree(memory.mm, objects[i]), 0);
    qy_kmem_cache_shrink(cache);
    uint64_t slabs = cache->slabs_partial.count + cache->slabs_full.count;
    uint64_t idle = (slabs * cache->nr_objects - (1000 + 6) / 7) * 1024;
    assert_int_equal(qy_slab_idle(memory.mm), idle / PAGE);
}

/* Wrong if it failed: memory whose backing is not the port's to drop would be asked for. */
static void without_lazy_backing_nothing_goes(void **state)
{
    (void)state;
    memory.mm->options.lazy_backing = false;
    struct qy_kmem_cache *cache = qy_kmem_cache_create(memory.mm, "holes", 1000, 0, 0, NULL, NULL);
    assert_non_null(cache);
    leave_one_in(cache, 1000, 50, 1000);
    assert_int_equal(qy_slab_trim(memory.mm), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(idle_pages_go_and_live_objects_stay, build, memory_end),
        cmocka_unit_test_setup_teardown(constructed_objects_keep_what_they_hold, build, memory_end),
        cmocka_unit_test_setup_teardown(checked_objects_keep_their_canaries, build, memory_end),
        cmocka_unit_test_setup_teardown(idle_is_what_slabs_have_free, build, memory_end),
        cmocka_unit_test_setup_teardown(without_lazy_backing_nothing_goes, build, memory_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
