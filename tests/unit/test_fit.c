/*
 * test_fit.c - slab/fit.c: a class that is asked for one size gets a cache of that size
 */
#include "with_memory.h"

#include "slab/cache.h"
#include "slab/kmalloc.h"

#include <quarry/slab.h>

#define BLOCKS 2000

static unsigned char *blocks[BLOCKS];

static void fill(size_t bytes, size_t other_bytes, unsigned other_each)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t wanted = i % other_each == other_each - 1 ? other_bytes : bytes;
        assert_non_null(blocks[i] = qy_kmalloc(memory.mm, wanted, QY_GFP_KERNEL));
        assert_true(qy_ksize(memory.mm, blocks[i]) >= wanted);
        memset(blocks[i], (int)i, wanted);
    }
}

static void free_all(size_t bytes)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_int_equal(blocks[i][0], i % 256);
        assert_int_equal(blocks[i][bytes - 1], i % 256);
        assert_int_equal(qy_kfree(memory.mm, blocks[i]), 0);
    }
}

static size_t usable(size_t bytes)
{
    void *block = qy_kmalloc(memory.mm, bytes, QY_GFP_KERNEL);
    assert_non_null(block);
    size_t is = qy_ksize(memory.mm, block);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    return is;
}

/* Wrong if it failed: a program full of blocks of one size would lose up to a fifth. */
static void one_size_gets_its_own(void **state)
{
    (void)state;
    assert_int_equal(usable(4368), 5120);
    fill(4368, 4368, 2);
    assert_int_equal(usable(4368), 4368);
    assert_int_equal(usable(4100), 4368);
    assert_int_equal(usable(4369), 5120);
    assert_int_equal(usable(4096), 4096);
    free_all(4368);
}

/* Wrong if it failed: a few others among them would spoil it, or get too little. */
static void a_few_others_do_not_matter(void **state)
{
    (void)state;
    fill(1033, 1200, 10);
    assert_int_equal(usable(1033), 1040);
    assert_int_equal(usable(1041), 1280);
    free_all(1033);
}

/* Wrong if it failed: each size would bring a cache with slabs of its own, for nothing. */
static void sizes_that_the_class_suits_get_none(void **state)
{
    (void)state;
    fill(4900, 4900, 2);
    assert_int_equal(usable(4500), 5120);
    free_all(4900);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_non_null(blocks[i] = qy_kmalloc(memory.mm, 2049 + i * 31 % 512, QY_GFP_KERNEL));
    assert_int_equal(usable(2100), 2560);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_int_equal(qy_kfree(memory.mm, blocks[i]), 0);
}

/* Wrong if it failed: the small sizes, which the fast path looks up, would go two ways. */
static void small_sizes_have_their_classes_alone(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 10; turn++)
        fill(528, 528, 2);
    assert_int_equal(usable(528), 640);
}

/* Wrong if it failed: a size just above a step of 16 would get one byte less than it asks for. */
static void odd_sizes_get_what_they_ask_for(void **state)
{
    (void)state;
    fill(1041, 1041, 2);
    assert_int_equal(usable(1041), 1056);
    free_all(1041);
}

/* Wrong if it failed: of two sizes that come in turn one would get a cache, and the other half
 * of the class nothing. */
static void sizes_in_turn_get_none(void **state)
{
    (void)state;
    fill(4368, 4600, 2);
    assert_int_equal(usable(4368), 5120);
    assert_int_equal(usable(4600), 5120);
    free_all(4368);
}

/* Wrong if it failed: each size that a program has a few of would get a cache. */
static void a_few_blocks_get_none(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 60; i++)
        assert_non_null(blocks[i] = qy_kmalloc(memory.mm, 4368, QY_GFP_KERNEL));
    assert_int_equal(usable(4368), 5120);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(qy_kfree(memory.mm, blocks[i]), 0);
}

/* Wrong if it failed: a gain of a sixteenth would be let go, or nobody could read in slabinfo
 * what such a cache is for. */
static void a_sixteenth_is_enough_and_the_name_says_the_size(void **state)
{
    const struct qy_kmem_cache *cache;
    (void)state;
    fill(4800, 4800, 2);
    assert_int_equal(usable(4800), 4800);
    cache = memory.mm->cache_of[memory.mm->tags[qy_address_index(memory.mm, blocks[BLOCKS - 1])]];
    assert_string_equal(cache->name, "kmalloc-4800");
    free_all(4800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MEMORY(one_size_gets_its_own),
        WITH_MEMORY(a_few_others_do_not_matter),
        WITH_MEMORY(sizes_that_the_class_suits_get_none),
        WITH_MEMORY(small_sizes_have_their_classes_alone),
        WITH_MEMORY(odd_sizes_get_what_they_ask_for),
        WITH_MEMORY(sizes_in_turn_get_none),
        WITH_MEMORY(a_few_blocks_get_none),
        WITH_MEMORY(a_sixteenth_is_enough_and_the_name_says_the_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
