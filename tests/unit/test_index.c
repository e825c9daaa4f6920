/*
 * test_index.c - pages and marks of an index against an array
 */
#include "support.h"

#include "backing.h"
#include "reclaim/index.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#include <errno.h>

#define PLACES 600u /* pages that come and go */

static struct test_memory memory;
static struct qy_index index_;
static uint32_t page_of[PLACES]; /* rising */
static uint32_t frame_of[PLACES];
static bool dirty_of[PLACES];

/** Pages close together and far apart, up to the last there can be. */
static void choose_pages(struct random *random)
{
    uint64_t page = 0;
    for (unsigned i = 0; i < PLACES; i++) {
        page_of[i] = (uint32_t)page;
        frame_of[i] = QY_NO_FRAME;
        dirty_of[i] = false;
        unsigned jump = (unsigned)random_below(random, 40);
        page += jump < 30   ? 1
                : jump < 36 ? 1 + random_below(random, 200)
                            : UINT64_C(1) << jump % 20;
    }
    page_of[PLACES - 1] = UINT32_MAX;
    page_of[PLACES - 2] = UINT32_MAX - 64;
}

/** The first at or behind the page, or PLACES. */
static unsigned first_from(uint64_t page, bool dirty)
{
    unsigned i = 0;
    while (i < PLACES &&
           (page_of[i] < page || frame_of[i] == QY_NO_FRAME || (dirty && !dirty_of[i])))
        i++;
    return i;
}

static void check_next(uint32_t from, bool dirty)
{
    uint32_t page = from;
    unsigned expected = first_from(from, dirty);
    bool found = qy_index_next(&index_, &page, dirty);
    assert_int_equal(found, expected < PLACES);
    if (found)
        assert_int_equal(page, page_of[expected]);
}

static void compare(struct random *random)
{
    for (unsigned i = 0; i < PLACES; i++) {
        assert_int_equal(qy_index_get(&index_, page_of[i]), frame_of[i]);
        assert_int_equal(qy_index_marked(&index_, page_of[i]), dirty_of[i]);
        if (i + 1 < PLACES && page_of[i + 1] > page_of[i] + 1)
            assert_int_equal(qy_index_get(&index_, page_of[i] + 1), QY_NO_FRAME);
    }
    for (unsigned i = 0; i < 50; i++) {
        uint32_t from = page_of[random_below(random, PLACES)];
        from += (uint32_t)random_below(random, 3) - 1;
        check_next(from, false);
        check_next(from, true);
    }
}

static void add(struct random *random, unsigned i)
{
    assert_int_equal(qy_index_reserve(memory.mm, &index_, page_of[i]), 0);
    assert_int_equal(qy_index_get(&index_, page_of[i]), QY_NO_FRAME);
    frame_of[i] = (uint32_t)random_below(random, 1000000);
    qy_index_set(&index_, page_of[i], frame_of[i]);
}

static void step(struct random *random, unsigned chances_of_going)
{
    unsigned i = (unsigned)random_below(random, PLACES);
    assert_int_equal(qy_index_get(&index_, page_of[i]), frame_of[i]);
    if (frame_of[i] == QY_NO_FRAME) {
        add(random, i);
    } else if (random_one_in(random, chances_of_going)) {
        qy_index_remove(memory.mm, &index_, page_of[i]);
        frame_of[i] = QY_NO_FRAME;
        dirty_of[i] = false;
        if (random_one_in(random, 2)) { /* nothing was looked at in between */
            add(random, i);
            unsigned other = (i + PLACES / 2) % PLACES;
            assert_int_equal(qy_index_get(&index_, page_of[other]), frame_of[other]);
        }
    } else {
        dirty_of[i] = !dirty_of[i];
        qy_index_mark(&index_, page_of[i], dirty_of[i]);
    }
    assert_int_equal(qy_index_get(&index_, page_of[i]), frame_of[i]);
}

/* Wrong if it failed: a page would be read from another's frame, or a dirty one never be
 * written. */
static void like_an_array(void **state)
{
    struct random random = {test_seed()};
    (void)state;
    test_memory_lendable(&memory, 16 * MIB, 1);
    for (unsigned round = 0; round < 8; round++) {
        choose_pages(&random);
        for (unsigned i = 0; i < 4000; i++) {
            step(&random, i / 1000 % 2 ? 2 : 20);
            if (i % 500 == 0)
                compare(&random);
        }
        compare(&random);
        if (round % 2 == 0) /* one by one, to the last */
            for (unsigned i = 0; i < PLACES; i++)
                if (frame_of[i] != QY_NO_FRAME) {
                    qy_index_remove(memory.mm, &index_, page_of[i]);
                    assert_int_equal(qy_index_get(&index_, page_of[i]), QY_NO_FRAME);
                }
        if (round % 2 == 0)
            assert_null(index_.root);
        qy_index_free(memory.mm, &index_);
    }
    test_rules(memory.mm);
    test_memory_free(&memory);
}

static void set(uint32_t page)
{
    assert_int_equal(qy_index_reserve(memory.mm, &index_, page), 0);
    qy_index_set(&index_, page, 1);
}

/** A high tree of few pages, freed as a whole, or page by page. */
static void grow_and_free(unsigned pages, bool whole)
{
    static const uint32_t page[] = {0, UINT32_MAX, 64, 5000000, 1u << 24, (1u << 24) + 1};
    set(UINT32_MAX);
    for (unsigned i = 0; i < COUNT_OF(page); i++)
        if (pages >> i & 1)
            set(page[i]);
    if (!(pages & 2)) /* the tree stays as high */
        qy_index_remove(memory.mm, &index_, UINT32_MAX);
    for (unsigned i = 0; !whole && i < COUNT_OF(page); i++)
        if (pages >> i & 1)
            qy_index_remove(memory.mm, &index_, page[i]);
    qy_index_free(memory.mm, &index_);
}

/* Wrong if it failed: what is kept for a file would stay when the file is gone. */
static void freed_whole(void **state)
{
    uint64_t before = 0;
    (void)state;
    test_memory_lendable(&memory, 16 * MIB, 1);
    test_make_classes(memory.mm);
    for (unsigned round = 0; round < 40; round++) {
        if (round == 1) /* what idles behind kmalloc is there now */
            before = qy_free_frames(memory.mm);
        for (unsigned pages = 0; pages < 64; pages++)
            grow_and_free(pages, round % 2);
    }
    assert_true(qy_free_frames(memory.mm) + 8 >= before);
    test_memory_free(&memory);
}

/** The page comes and goes; what was there before it is all that is there then. */
static void come_and_go(uint32_t page)
{
    const struct qy_index before = index_;
    set(page);
    assert_int_equal(qy_index_get(&index_, page), 1);
    qy_index_remove(memory.mm, &index_, page);
    assert_ptr_equal(index_.root, before.root);
    assert_int_equal(index_.height, before.height);
}

/** All that kmalloc has for nodes of @bytes. */
static unsigned take_all(void **objects, unsigned most, size_t bytes)
{
    unsigned count = 0;
    while (count < most &&
           (objects[count] = qy_kmalloc(memory.mm, bytes, QY_GFP_NOWAIT | QY_GFP_NOWARN)) != NULL)
        count++;
    assert_true(count < most);
    return count;
}

static void free_all(void **objects, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(qy_kfree(memory.mm, objects[i]), 0);
}

/** With memory for so many nodes, and no leaf, a place for the page cannot be had. */
static void reserve_in_vain(uint32_t page, unsigned nr_nodes)
{
    static void *nodes[40000], *leaves[1000], *again[1000];
    const struct qy_index before = index_;
    unsigned nr = take_all(nodes, COUNT_OF(nodes), sizeof(struct qy_index_node));
    unsigned nr_leaves = take_all(leaves, COUNT_OF(leaves), 16 + 4 * QY_INDEX_SLOTS);
    assert_true(nr > nr_nodes);
    free_all(nodes + nr - nr_nodes, nr_nodes);
    assert_int_equal(qy_index_reserve(memory.mm, &index_, page), -ENOMEM);
    assert_ptr_equal(index_.root, before.root);
    assert_int_equal(index_.height, before.height);
    assert_int_equal(take_all(again, COUNT_OF(again), sizeof(struct qy_index_node)), nr_nodes);
    free_all(again, nr_nodes);
    free_all(leaves, nr_leaves);
    free_all(nodes, nr - nr_nodes);
}

/* Wrong if it failed: a file of which pages were read here and there, or could not be, would keep
 * memory for none of them. */
static void nothing_kept_for_nothing(void **state)
{
    static const uint32_t far[] = {1, 64, 5000, 300000, 1u << 24, UINT32_MAX};
    (void)state;
    test_memory_lendable(&memory, 4 * MIB, 1);
    for (unsigned i = 0; i < COUNT_OF(far); i++)
        come_and_go(far[i]);
    assert_null(index_.root);
    for (unsigned nr = 0; nr <= 5; nr++)
        reserve_in_vain(UINT32_MAX, nr);
    set(0);
    qy_index_mark(&index_, 0, true);
    for (unsigned i = 0; i < COUNT_OF(far); i++)
        come_and_go(far[i]);
    for (unsigned nr = 0; nr <= 9; nr++)
        reserve_in_vain(UINT32_MAX, nr);
    uint32_t page = 0;
    assert_true(qy_index_next(&index_, &page, true) && page == 0);
    assert_int_equal(qy_index_get(&index_, 0), 1);
    set(5000);
    qy_index_remove(memory.mm, &index_, 0);
    come_and_go(UINT32_MAX);
    qy_index_remove(memory.mm, &index_, 5000);
    assert_null(index_.root);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_an_array),
        cmocka_unit_test(freed_whole),
        cmocka_unit_test(nothing_kept_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
