/*
 * test_buddy.c - buddy/buddy.c, buddy/frames.c: what comes back and is free already
 */
#include "with_memory.h"

#include "buddy/alloc.h"
#include "buddy/buddy.h"

#include <quarry/buddy.h>

#include <errno.h>

#define FRAMES 256u

static struct qy_zone *zone;

static int build(void **state)
{
    memory_begin(state);
    zone = qy_zone_of(memory.mm, memory.mm->start_pfn);
    return 0;
}

static uint64_t nr_free(void)
{
    return atomic_load(&zone->nr_free);
}

static int give(qy_pfn_t pfn, unsigned order)
{
    qy_lock(&zone->lock);
    int code = qy_buddy_give_locked(memory.mm, zone, pfn, order, false);
    qy_unlock(&zone->lock);
    return code;
}

/* Wrong if it failed: a block that is free, or has one free frame, would be free twice. */
static void no_block_is_free_twice(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= QY_MAX_ORDER; order++) {
        qy_pfn_t pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, order);
        uint64_t taken = nr_free();
        for (uint64_t frame = 0; frame < UINT64_C(1) << order; frame += 61) {
            assert_int_equal(give(pfn + frame, 0), 0);
            assert_int_equal(give(pfn, order), -EINVAL);
            assert_int_equal(nr_free(), taken + 1);
            assert_true(qy_take_behind(memory.mm, pfn + frame, 1));
        }
        assert_int_equal(qy_free_pages(memory.mm, pfn, order), 0);
        qy_drain_all_pages(memory.mm);
        assert_int_equal(give(pfn, order), -EINVAL);
    }
}

static unsigned give_batch(const uint32_t *frames, unsigned count)
{
    qy_lock(&zone->lock);
    unsigned refused = qy_buddy_give_frames_locked(memory.mm, zone, count, frames);
    qy_unlock(&zone->lock);
    return refused;
}

/* Wrong if it failed: a frame that is in a batch twice, or free before, would be free twice, or
 * take neighbours with it that are not. */
static void a_batch_gives_each_frame_once(void **state)
{
    (void)state;
    uint32_t frames[FRAMES + 2];
    for (unsigned step = 1; step < 4; step++)
        for (unsigned first = 0; first < 70; first += 23) {
            uint64_t before = nr_free();
            qy_lock(&zone->lock);
            unsigned count = qy_buddy_take_frames_locked(memory.mm, zone, QY_MIGRATE_MOVABLE,
                                                         FRAMES, FRAMES, frames, NULL);
            qy_unlock(&zone->lock);
            assert_int_equal(count, FRAMES);
            for (unsigned i = first; i < first + 10 * step; i += step)
                assert_int_equal(give(memory.mm->start_pfn + frames[i], 0), 0);
            frames[FRAMES] = frames[FRAMES - 1];
            frames[FRAMES + 1] = frames[0];
            assert_int_equal(give_batch(frames, FRAMES + 2), 10 + 2);
            assert_int_equal(nr_free(), before);
            test_rules(memory.mm);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_block_is_free_twice, build, memory_end),
        cmocka_unit_test_setup_teardown(a_batch_gives_each_frame_once, build, memory_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
