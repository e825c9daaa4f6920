/*
 * test_index.c - pages and marks of an index against an array
 */
#include "support.h"

#include "backing.h"
#include "reclaim/index.h"

#include <quarry/buddy.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_an_array),
        cmocka_unit_test(freed_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
