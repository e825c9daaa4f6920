/*
 * test_kmalloc.c - slab/kmalloc.c: memory of any size
 */
#include "with_memory.h"

#include "memory/mm.h"
#include "slab/kmalloc.h"
#include "slab/run_depot.h"

#include <quarry/slab.h>

#include <errno.h>

static void refuse_free(void *block, const char *rule)
{
    test_quiet(true);
    int code = qy_kfree(memory.mm, block);
    test_quiet(false);
    assert_int_equal(code, -EINVAL);
    assert_string_equal(memory.mm->last_fault, rule);
}

/* Wrong if it failed: a size would get too few bytes, or waste more than its class may. */
static void every_size_has_its_bytes(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 300000; bytes = bytes < 40000 ? bytes + 1 : bytes + 997) {
        unsigned char *block = qy_kmalloc(memory.mm, bytes, QY_GFP_KERNEL);
        assert_non_null(block);
        size_t usable = qy_ksize(memory.mm, block);
        assert_true(usable >= bytes);
        if (bytes > 128 && bytes <= 32768)
            assert_true(usable * 4 <= bytes * 5 + 64); /* four classes a doubling */
        if (bytes > 32768)
            assert_int_equal(usable, (bytes + PAGE - 1) / PAGE * PAGE);
        assert_int_equal((uintptr_t)block % 16, 0);
        if (bytes > 0 && (bytes & (bytes - 1)) == 0)
            assert_int_equal((uintptr_t)block % (bytes < PAGE ? bytes : PAGE), 0);
        if (bytes > 0)
            block[0] = block[bytes - 1] = 1;
        assert_int_equal(qy_kfree(memory.mm, block), 0);
    }
}

/* Wrong if it failed: sizes that cannot be would overflow into small ones. */
static void impossible_sizes_give_null(void **state)
{
    (void)state;
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 4095, SIZE_MAX / 2, 65 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_null(qy_kmalloc(memory.mm, sizes[i], QY_GFP_KERNEL));
        assert_null(qy_kmalloc_aligned(memory.mm, sizes[i], PAGE, QY_GFP_KERNEL));
        void *block = qy_kmalloc(memory.mm, 10, QY_GFP_KERNEL);
        assert_null(qy_krealloc(memory.mm, block, sizes[i], QY_GFP_KERNEL));
        assert_int_equal(qy_kfree(memory.mm, block), 0); /* the old one is kept */
    }
}

/* Wrong if it failed: a flag of a later version would be taken for none, for small blocks and
 * objects alone. */
static void unknown_flags_are_refused(void **state)
{
    const qy_gfp_t unknown = QY_GFP_KERNEL | 0x80000000u;
    const size_t sizes[] = {1, 100, 5000, 40000};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *block = qy_kmalloc(memory.mm, sizes[i], QY_GFP_KERNEL);
        assert_null(qy_kmalloc(memory.mm, sizes[i], unknown));
        assert_null(qy_kmalloc_aligned(memory.mm, sizes[i], 64, unknown));
        assert_null(qy_krealloc(memory.mm, block, sizes[i], unknown));
        assert_int_equal(qy_kfree(memory.mm, block), 0);
    }
    struct qy_kmem_cache *cache = qy_kmem_cache_create(memory.mm, "flags", 64, 0, 0, NULL, NULL);
    void *object = NULL;
    assert_null(qy_kmem_cache_alloc(cache, unknown));
    assert_int_equal(qy_kmem_cache_alloc_bulk(cache, unknown, 1, &object), -ENOMEM);
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/* Wrong if it failed: an alignment would not be kept. */
static void every_alignment_is_kept(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 16, 100, 4096, 5000, 40000, 3 * MIB};
    for (size_t align = 1; align <= 16 * MIB; align *= 2)
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            char *block = qy_kmalloc_aligned(memory.mm, sizes[i], align, QY_GFP_KERNEL);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % align, 0);
            assert_true(qy_ksize(memory.mm, block) >= sizes[i]);
            memset(block, 1, sizes[i]);
            assert_int_equal(qy_kfree(memory.mm, block), 0);
        }
    assert_null(qy_kmalloc_aligned(memory.mm, 8, 3, QY_GFP_KERNEL));
    assert_null(qy_kmalloc_aligned(memory.mm, 8, 0, QY_GFP_KERNEL));
    assert_null(qy_kmalloc_aligned(memory.mm, 8, 2 * GIB, QY_GFP_KERNEL));
}

/* Wrong if it failed: kmalloc(0) would be no block, or NULL and 0 no free. */
static void nothing_is_something(void **state)
{
    (void)state;
    void *first = qy_kmalloc(memory.mm, 0, QY_GFP_KERNEL);
    void *second = qy_kmalloc(memory.mm, 0, QY_GFP_KERNEL);

    assert_true(first && second && first != second);
    assert_int_equal(qy_kfree(memory.mm, first), 0);
    assert_null(qy_krealloc(memory.mm, second, 0, QY_GFP_KERNEL)); /* frees */
    assert_int_equal(qy_kfree(memory.mm, NULL), 0);
    assert_int_equal(qy_ksize(memory.mm, NULL), 0);
    int local;
    assert_int_equal(qy_ksize(memory.mm, &local), 0);
    void *third = qy_krealloc(memory.mm, NULL, 100, QY_GFP_KERNEL); /* as kmalloc */
    assert_non_null(third);
    assert_int_equal(qy_kfree(memory.mm, third), 0);
}

/** Wherever the next block comes from, it is dirty. */
static void make_dirty(void)
{
    static void *blocks[64 * 8];
    unsigned count = 0;
    while (count < COUNT_OF(blocks) &&
           (blocks[count] = qy_kmalloc(memory.mm, MIB / 8, QY_GFP_KERNEL | QY_GFP_NOWARN)) != NULL)
        memset(blocks[count++], 0xee, MIB / 8);
    assert_true(count > 400);
    while (count-- > 0)
        assert_int_equal(qy_kfree(memory.mm, blocks[count]), 0);
}

/* Wrong if it failed: cleared memory would hold somebody's bytes. */
static void cleared_memory_is_clear(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 24, 700, 4096, 33000, 200000, 5 * MIB};
    make_dirty();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        unsigned char *block = qy_kmalloc(memory.mm, sizes[i], QY_GFP_KERNEL);
        memset(block, 0xee, sizes[i]);
        assert_int_equal(qy_kfree(memory.mm, block), 0);
        block = qy_kmalloc(memory.mm, sizes[i], QY_GFP_KERNEL | QY_GFP_ZERO);
        for (size_t byte = 0; byte < sizes[i]; byte++)
            if (block[byte] != 0)
                fail_msg("byte %zu of %zu is not zero", byte, sizes[i]);
        assert_int_equal(qy_kfree(memory.mm, block), 0);
    }
}

/* Wrong if it failed: a block that is pages would be freed in part, twice, or by a stranger. */
static void wrong_frees_are_named(void **state)
{
    (void)state;
    const size_t sizes[] = {40000, 1 * MIB, 9 * MIB};
    int local;

    refuse_free(&local, "K1");
    refuse_free(memory.frames - 64, "K1");
    refuse_free(memory.frames + 64 * MIB, "K1");
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *block = qy_kmalloc(memory.mm, sizes[i], QY_GFP_KERNEL);
        refuse_free(block + 16, "K2");
        refuse_free(block + 1, "K2");
        refuse_free(block + PAGE, "K2");
        assert_int_equal(qy_ksize(memory.mm, block), (sizes[i] + PAGE - 1) / PAGE * PAGE);
        assert_int_equal(qy_kfree(memory.mm, block), 0);
        refuse_free(block, "K3");
    }
}

/* Wrong if it failed: what a block gains, asked for as zero, would hold somebody's bytes. */
static void what_grows_is_clear(void **state)
{
    (void)state;
    const size_t sizes[] = {1000, 40000, 50000, 200000, 2 * MIB, 3 * MIB};
    make_dirty();
    unsigned char *block = qy_kmalloc(memory.mm, 500, QY_GFP_KERNEL);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t old = qy_ksize(memory.mm, block);
        memset(block, 0xee, old);
        char *behind = qy_kmalloc(memory.mm, 40000, QY_GFP_KERNEL); /* it has to move */
        block = qy_krealloc(memory.mm, block, sizes[i], QY_GFP_KERNEL | QY_GFP_ZERO);
        for (size_t at = old; at < sizes[i]; at++)
            assert_int_equal(block[at], 0);
        assert_int_equal(qy_kfree(memory.mm, behind), 0);
    }
    assert_int_equal(qy_kfree(memory.mm, block), 0);
}

/* Wrong if it failed: buffers that grow a page at a time, in turn, would be copied for each
 * page. */
static void growing_blocks_move_seldom(void **state)
{
    (void)state;
    enum {
        BUFFERS = 4
    };
    char *buffer[BUFFERS] = {NULL};
    unsigned moves = 0;
    for (size_t bytes = PAGE; bytes <= 4 * MIB; bytes += PAGE)
        for (unsigned i = 0; i < BUFFERS; i++) {
            char *grown = qy_krealloc(memory.mm, buffer[i], bytes, QY_GFP_KERNEL);
            assert_non_null(grown);
            moves += grown != buffer[i];
            assert_true(bytes == PAGE || grown[bytes - PAGE - 1] == (char)(bytes / PAGE - 1 + i));
            grown[bytes - 1] = (char)(bytes / PAGE + i);
            buffer[i] = grown;
        }
    assert_true(moves <= BUFFERS * 4 * 10); /* four classes a doubling */
    for (unsigned i = 0; i < BUFFERS; i++)
        assert_int_equal(qy_kfree(memory.mm, buffer[i]), 0);
}

/* Wrong if it failed: where memory is short the room to grow would cost the growth itself, or a
 * block that became shorter would keep what others need. */
static void room_to_grow_is_not_insisted_on(void **state)
{
    (void)state;
    uint64_t low = qy_free_frames(memory.mm) * PAGE - 13 * MIB; /* 6, and less than 7 */
    char *filler = qy_kmalloc(memory.mm, low, QY_GFP_KERNEL);
    char *block = qy_kmalloc(memory.mm, 6 * MIB, QY_GFP_KERNEL);
    char *behind = qy_kmalloc(memory.mm, 40000, QY_GFP_KERNEL);
    assert_true(filler && block && behind);
    assert_null(qy_kmalloc(memory.mm, 7 * MIB, QY_GFP_KERNEL)); /* the longer class */
    char *grown = qy_krealloc(memory.mm, block, 6 * MIB + PAGE, QY_GFP_KERNEL);
    assert_non_null(grown);
    assert_ptr_not_equal(grown, block);
    assert_int_equal(qy_ksize(memory.mm, grown), 6 * MIB + PAGE);

    uint64_t free = qy_free_frames(memory.mm);
    assert_ptr_equal(qy_krealloc(memory.mm, grown, 3 * MIB, QY_GFP_KERNEL), grown);
    assert_int_equal(qy_free_frames(memory.mm), free + 3 * MIB / PAGE + 1);
    assert_int_equal(qy_kfree(memory.mm, grown), 0);
    assert_int_equal(qy_kfree(memory.mm, filler), 0);
    assert_int_equal(qy_kfree(memory.mm, behind), 0);
}

/* Wrong if it failed: the inside of a small block could be freed, resized or asked for its
 * size, as if it were one; or a sized free of another size would pass. */
static void insides_and_sizes_are_seen(void **state)
{
    (void)state;
    char *block = qy_kmalloc(memory.mm, 200, QY_GFP_KERNEL);
    refuse_free(block + 16, "S2");
    refuse_free(block + 1, "S2");
    assert_int_equal(qy_ksize(memory.mm, block + 16), 0);
    test_quiet(true);
    assert_null(qy_krealloc(memory.mm, block + 16, 300, QY_GFP_KERNEL));
    assert_string_equal(memory.mm->last_fault, "S2");
    assert_int_equal(qy_kfree_check(memory.mm, block, 300, 1), -EINVAL);
    assert_string_equal(memory.mm->last_fault, "K5");
    test_quiet(false);
    assert_int_equal(qy_kfree_check(memory.mm, block, 200, 1), 0);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
}

static void refuse_sized(const void *block, size_t bytes, size_t align)
{
    test_quiet(true);
    int code = qy_kfree_check(memory.mm, block, bytes, align);
    test_quiet(false);
    assert_int_equal(code, -EINVAL);
    assert_string_equal(memory.mm->last_fault, "K5");
}

/* Wrong if it failed: a sized free of a size that the block cannot have been asked for would
 * pass, or a right one be refused; what is no block is for the free itself to report. */
static void sizes_are_compared_with_the_class(void **state)
{
    (void)state;
    char *first = qy_kmalloc(memory.mm, 200, QY_GFP_KERNEL); /* may lie at the start of a page */
    char *block = qy_kmalloc(memory.mm, 200, QY_GFP_KERNEL);
    size_t usable = qy_ksize(memory.mm, block);
    int local;
    for (size_t align = 1; align <= 16; align *= 2) {
        refuse_sized(block, usable / 2 - 1, align);
        refuse_sized(block, usable + 1, align);
        assert_int_equal(qy_kfree_check(memory.mm, block, usable / 2, align), 0);
        assert_int_equal(qy_kfree_check(memory.mm, block, usable, align), 0);
    }
    assert_int_equal(qy_kfree_check(memory.mm, block, 1, 32), 0); /* padded for its alignment */
    refuse_sized(block, 200, 4096);
    assert_int_equal(qy_kfree_check(memory.mm, &local, 200, 1), 0);
    assert_int_equal(qy_kfree(memory.mm, block), 0);
    assert_int_equal(qy_kfree(memory.mm, first), 0);
    block = qy_kmalloc(memory.mm, 32, QY_GFP_KERNEL);
    assert_int_equal(qy_kfree_check(memory.mm, block, 1, 1), 0); /* nothing is smaller */
    assert_int_equal(qy_kfree(memory.mm, block), 0);
}

/* Wrong if it failed: runs that a slot has no room for would go to the buddy and come from it each
 * time, although they are wanted again and again. */
static void runs_that_come_again_wait_for_it(void **state)
{
    static void *runs[64];
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT_OF(runs); i++)
            assert_non_null(runs[i] = qy_kmalloc(memory.mm, 40000, QY_GFP_KERNEL));
        for (unsigned i = 0; i < COUNT_OF(runs); i++)
            assert_int_equal(qy_kfree(memory.mm, runs[i]), 0);
        if (round == 0)
            assert_int_equal(qy_run_depot_frames(memory.mm), 0);
    }
    assert_true(qy_run_depot_frames(memory.mm) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MEMORY(every_size_has_its_bytes),
        WITH_MEMORY(impossible_sizes_give_null),
        WITH_MEMORY(unknown_flags_are_refused),
        WITH_MEMORY(every_alignment_is_kept),
        WITH_MEMORY(nothing_is_something),
        WITH_MEMORY(cleared_memory_is_clear),
        WITH_MEMORY(what_grows_is_clear),
        WITH_MEMORY(growing_blocks_move_seldom),
        WITH_MEMORY(room_to_grow_is_not_insisted_on),
        WITH_MEMORY(wrong_frees_are_named),
        WITH_MEMORY(insides_and_sizes_are_seen),
        WITH_MEMORY(sizes_are_compared_with_the_class),
        WITH_MEMORY(runs_that_come_again_wait_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
