/*
 * test_kept.c - slab/kept.c: freed runs that a slot keeps for its next request
 */
#include "support.h"

#include "buddy/alloc.h"
#include "slab/cache.h"
#include "slab/kept.h"
#include "slab/run_depot.h"

static struct test_memory memory;
static struct qy_cpu *cpu;

static int build(void **state)
{
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 128 * MIB, true);
    cpu = qy_slot_enter(memory.mm);
    assert_non_null(cpu);
    /* The depot's chunks have a slab from now on: free frames change by those of runs alone. */
    struct qy_kmem_cache *chunks = qy_cache_of_magazines(memory.mm);
    qy_slab_give_one(chunks, qy_slab_take_one(chunks, cpu, false));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    qy_kept_drain(cpu);
    qy_run_depot_drain(memory.mm);
    qy_cpu_leave(cpu);
    test_rules(memory.mm);
    test_memory_free(&memory);
    return 0;
}

static bool take(uint64_t nr_frames, uint64_t *index, uint64_t *frames)
{
    struct qy_kept_run run = {.frames = 0};
    bool taken = qy_kept_take(cpu, nr_frames, &run);
    *index = run.index;
    *frames = run.frames;
    return taken;
}

/** As free() and malloc() do, in no order of their own. */
static bool try_give(uint64_t index, uint64_t frames)
{
    unsigned class = qy_run_class(frames);
    if (class >= QY_RUN_CLASSES || !qy_kept_has_room(&cpu->kept->stack[class]))
        return false;
    struct qy_kept_run run = qy_kept_run_of(index, frames);
    qy_kept_push(&cpu->kept->stack[class], &run, index);
    return true;
}

/** A run that is nobody's: not free, no tag. */
static uint64_t new_run(uint64_t frames)
{
    struct qy_request request;
    bool fresh;
    assert_true(qy_request_read(&request, 0, QY_GFP_NOWAIT, 0));
    qy_pfn_t pfn = qy_take_run(memory.mm, &request, frames, 0, &fresh);
    assert_true(pfn != QY_PFN_NONE);
    return qy_frame_index(memory.mm, pfn);
}

/* Wrong if it failed: a request would get a run that is too short, or waste much of a long one,
 * or a kept run never be found again. */
static void a_run_serves_requests_a_little_shorter(void **state)
{
    (void)state;
    for (uint64_t frames = 1; frames < 3000; frames += 1 + frames / 9) {
        uint64_t mine = new_run(frames), index, got;
        qy_kept_give(cpu, mine, frames);
        assert_false(take(frames + 1, &index, &got));
        if (frames > 10)
            assert_false(take(frames * 3 / 4 - 1, &index, &got));
        assert_true(take(frames, &index, &got));
        assert_int_equal(index, mine);
        assert_int_equal(got, frames);
        assert_int_equal(qy_kept_frames(cpu->kept), 0);
        uint64_t other, none;
        assert_false(take(frames, &other, &none));
        qy_give_run(memory.mm, memory.mm->start_pfn + mine, frames, false);
    }
}

/* Wrong if it failed: R2: a slot would hold more than it may, or not know how much. */
static void a_slot_keeps_so_much_and_no_more(void **state)
{
    uint64_t before = qy_free_frames(memory.mm), index, got;
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t frames = 20 + i * 2;
        qy_kept_give(cpu, new_run(frames), frames);
        assert_true(qy_kept_frames(cpu->kept) <= QY_KEPT_MOST);
        assert_int_equal(qy_free_frames(memory.mm), before - qy_kept_frames(cpu->kept));
    }
    qy_kept_give(cpu, new_run(3 * QY_KEPT_MOST), 3 * QY_KEPT_MOST); /* one may be longer, alone */
    assert_int_equal(qy_kept_frames(cpu->kept), 3 * QY_KEPT_MOST);
    assert_true(take(3 * QY_KEPT_MOST, &index, &got));
    qy_kept_give(cpu, index, got);
    qy_kept_drain(cpu);
    assert_int_equal(qy_kept_frames(cpu->kept), 0);
    assert_int_equal(qy_free_frames(memory.mm), before);
}

/* Wrong if it failed: a full stack would write over the next one, or drop a run; what it
 * hands to the depot would not be found again. */
static void a_full_stack_hands_on_its_oldest(void **state)
{
    uint64_t runs[QY_KEPT_PLACES + 1], index, got, before = qy_free_frames(memory.mm);
    (void)state;
    memory.mm->run_depot.most = QY_RUN_BATCH * 10;
    for (unsigned i = 0; i < COUNT_OF(runs); i++)
        runs[i] = new_run(10);
    assert_false(try_give(runs[0], 10)); /* no stack has room to begin with */
    for (unsigned i = 0; i < QY_KEPT_PLACES; i++)
        qy_kept_give(cpu, runs[i], 10);
    for (unsigned i = QY_KEPT_PLACES; i-- > 0;)
        assert_true(take(10, &index, &got) && index == runs[i]);
    for (unsigned i = 0; i < QY_KEPT_PLACES; i++)
        assert_true(try_give(runs[i], 10)); /* and keeps what it got */
    assert_false(try_give(runs[QY_KEPT_PLACES], 10));
    qy_kept_give(cpu, runs[QY_KEPT_PLACES], 10);
    assert_int_equal(qy_kept_frames(cpu->kept), (COUNT_OF(runs) - QY_RUN_BATCH) * 10);
    assert_int_equal(qy_run_depot_frames(memory.mm), QY_RUN_BATCH * 10);
    for (unsigned i = COUNT_OF(runs); i-- > 0;) {
        assert_true(take(10, &index, &got));
        assert_int_equal(index, runs[i]);
        qy_give_run(memory.mm, memory.mm->start_pfn + index, got, false);
    }
    assert_false(take(10, &index, &got));
    assert_int_equal(qy_free_frames(memory.mm), before);
}

/* Wrong if it failed: room that a length once had would be lost to the others; they would go to
 * the depot for each block, while the slot keeps nothing. */
static void room_that_is_not_used_goes_to_others(void **state)
{
    uint64_t first[QY_KEPT_MOST / 64], index, got;
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(first); i++)
        qy_kept_give(cpu, first[i] = new_run(64), 64);
    assert_int_equal(qy_kept_frames(cpu->kept), QY_KEPT_MOST);
    for (unsigned i = 0; i < COUNT_OF(first) / 2; i++)
        assert_true(take(64, &index, &got));
    for (unsigned i = 0; i < COUNT_OF(first) / 4; i++)
        qy_kept_give(cpu, new_run(128), 128); /* in the other half: nothing is handed on */
    assert_int_equal(qy_kept_frames(cpu->kept), QY_KEPT_MOST);
    qy_kept_give(cpu, new_run(64), 64); /* now something is */
    assert_true(qy_kept_frames(cpu->kept) < QY_KEPT_MOST);
    for (unsigned i = COUNT_OF(first); i-- > COUNT_OF(first) / 2;)
        qy_give_run(memory.mm, memory.mm->start_pfn + first[i], 64, false);
}

/** New runs, handed to the depot. */
static void hand_in(uint64_t frames, unsigned count)
{
    struct qy_kept_run runs[QY_RUN_BATCH];
    assert_true(count <= QY_RUN_BATCH);
    for (unsigned i = 0; i < count; i++)
        runs[i] = (struct qy_kept_run){.index = (uint32_t)new_run(frames),
                                       .frames = (uint16_t)frames,
                                       .tag = qy_run_tag(frames)};
    qy_run_depot_give(cpu, qy_run_class(frames), runs, count);
}

/* Wrong if it failed: the depot would grow without need, or have no room for who makes and
 * drops many blocks in turn, or keep lengths for ever that nobody wants again. */
static void the_depot_has_room_for_what_comes_again(void **state)
{
    struct qy_run_depot *depot = &memory.mm->run_depot;
    uint64_t before = qy_free_frames(memory.mm);
    (void)state;
    hand_in(20, 8);
    assert_int_equal(depot->frames, 0);
    for (unsigned i = 0; i < 10; i++)
        qy_run_depot_missed(memory.mm, 20);
    qy_run_depot_missed(memory.mm, 19);
    assert_int_equal(depot->most, 8 * 20);
    hand_in(20, 8);
    assert_int_equal(depot->frames, 8 * 20);
    assert_int_equal(qy_free_frames(memory.mm), before - 8 * 20);
    hand_in(50, 1); /* turned away, and its room with it: the others were pushed out */
    assert_int_equal(depot->most, 8 * 20 - 50);
    assert_int_equal(depot->frames, 0);
    for (unsigned i = 0; i < 10; i++)
        qy_run_depot_missed(memory.mm, 20);
    assert_int_equal(depot->most, 16 * 20 - 50); /* they are remembered, too */
    hand_in(QY_RUN_CLASS_LONGEST, 1);
    qy_run_depot_missed(memory.mm, QY_RUN_CLASS_LONGEST);
    assert_int_equal(depot->most, 16 * 20 - 50); /* too long to be worth it */
    qy_run_depot_drain(memory.mm);
    assert_int_equal(depot->most, 0);
    assert_int_equal(qy_free_frames(memory.mm), before);
}

/* Wrong if it failed: what found no room for the most part would be forgotten, or the room that
 * it did not get stay behind. */
static void the_depot_remembers_what_it_turned_away(void **state)
{
    struct qy_run_depot *depot = &memory.mm->run_depot;
    uint64_t before = qy_free_frames(memory.mm);
    (void)state;
    depot->most = 6 * 20;
    hand_in(20, 8); /* two find no room: their room goes, and the six are turned away as well */
    assert_int_equal(depot->most, 4 * 20);
    assert_int_equal(depot->frames, 0);
    for (unsigned i = 0; i < 20; i++)
        qy_run_depot_missed(memory.mm, 20);
    assert_int_equal(depot->most, (4 + 8) * 20);
    depot->most = 20;
    hand_in(50, 1); /* more than all there was */
    assert_int_equal(depot->most, 0);
    assert_int_equal(qy_free_frames(memory.mm), before);
}

/* Wrong if it failed: a run would stay where the search for old ones ends. */
static void the_depot_is_emptied_wherever_it_begins(void **state)
{
    struct qy_run_depot *depot = &memory.mm->run_depot;
    uint64_t before = qy_free_frames(memory.mm);
    (void)state;
    for (unsigned next = 0; next < QY_RUN_CLASSES; next++) {
        depot->most = 20;
        hand_in(20, 1);
        assert_int_equal(depot->frames, 20);
        depot->next = next;
        qy_run_depot_drain(memory.mm);
        assert_int_equal(depot->frames, 0);
        assert_int_equal(qy_free_frames(memory.mm), before);
    }
}

/* Wrong if it failed: more memory would be used than ever before while freed runs lie idle. */
static void the_depot_makes_way(void **state)
{
    (void)state;
    qy_give_run(memory.mm, memory.mm->start_pfn + new_run(300), 300, false);
    memory.mm->run_depot.most = 200;
    hand_in(200, 1);
    qy_run_depot_make_way(memory.mm, 100);
    assert_int_equal(qy_run_depot_frames(memory.mm), 200);
    qy_run_depot_make_way(memory.mm, 101);
    assert_int_equal(qy_run_depot_frames(memory.mm), 0);
    memory.mm->run_depot.most = 200;
    hand_in(200, 1);
    atomic_store(&memory.mm->peak, qy_used_frames(memory.mm));
    assert_int_equal(qy_slab_grow(qy_cache_of_magazines(memory.mm), cpu), 0);
    assert_int_equal(qy_run_depot_frames(memory.mm), 0); /* for a slab, too */
}

/* Wrong if it failed: malloc would hand out a run that is too short, or that free does not know. */
static void the_newest_comes_out_with_its_tag(void **state)
{
    (void)state;
    uint64_t lengths[] = {17, 20, 19};
    uint8_t *tags = memory.mm->tags;
    assert_null(qy_kept_pop(cpu, tags, 17));
    for (unsigned i = 0; i < COUNT_OF(lengths); i++)
        qy_kept_give(cpu, new_run(lengths[i]), lengths[i]);
    assert_null(qy_kept_pop(cpu, tags, 20)); /* the newest has 19 */
    for (unsigned i = COUNT_OF(lengths); i-- > 0;) {
        void *block = qy_kept_pop(cpu, tags, lengths[i]);
        assert_non_null(block);
        uint64_t index = qy_address_index(memory.mm, block);
        bool exact = lengths[i] == 20;
        assert_int_equal(memory.mm->tags[index], exact ? QY_TAG_RUN_CLASS + 4 : QY_TAG_RUN);
        assert_int_equal(qy_run_class_frames(4), 20);
        memory.mm->tags[index] = QY_TAG_NONE;
        qy_give_run(memory.mm, memory.mm->start_pfn + index, lengths[i], false);
    }
    assert_null(qy_kept_pop(cpu, tags, 17));
    assert_null(qy_kept_pop(cpu, tags, QY_RUN_CLASS_LONGEST));
}

/* Wrong if it failed: classes would overlap, or a tag say another length. */
static void every_length_has_one_class(void **state)
{
    (void)state;
    for (uint64_t frames = 1; frames <= QY_RUN_CLASS_LONGEST; frames++) {
        unsigned class = qy_run_class(frames);
        assert_true(frames <= qy_run_class_frames(class));
        assert_true(class == 0 || frames > qy_run_class_frames(class - 1));
        assert_true((qy_run_tag(frames) == QY_TAG_RUN) == (frames != qy_run_class_frames(class)));
    }
    assert_int_equal(qy_run_class(QY_RUN_CLASS_LONGEST), QY_RUN_CLASSES - 1);
    assert_int_equal(qy_run_tag(QY_RUN_CLASS_LONGEST), 255);
}

/* Wrong if it failed: a run that nobody may keep would be kept, and its memory held for ever. */
static void too_long_a_run_goes_back_at_once(void **state)
{
    uint64_t before = qy_free_frames(memory.mm);
    (void)state;
    uint64_t run = new_run(QY_RUN_CLASS_LONGEST + 1);
    assert_false(try_give(run, QY_RUN_CLASS_LONGEST + 1));
    qy_kept_give(cpu, run, QY_RUN_CLASS_LONGEST + 1);
    assert_int_equal(qy_kept_frames(cpu->kept), 0);
    assert_int_equal(qy_free_frames(memory.mm), before);
}

/* Wrong if it failed: lengths that nobody asks for any more would stay for ever. */
static void what_nobody_asks_for_goes_in_time(void **state)
{
    uint64_t index, got;
    (void)state;
    qy_kept_give(cpu, new_run(200), 200);
    uint64_t other = new_run(9);
    for (unsigned i = 0; i < 1000; i++) {
        qy_kept_give(cpu, other, 9);
        if (!take(9, &other, &got))
            other = new_run(9);
    }
    qy_kept_give(cpu, other, 9);
    assert_false(take(200, &index, &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_serves_requests_a_little_shorter, build, tear_down),
        cmocka_unit_test_setup_teardown(a_slot_keeps_so_much_and_no_more, build, tear_down),
        cmocka_unit_test_setup_teardown(a_full_stack_hands_on_its_oldest, build, tear_down),
        cmocka_unit_test_setup_teardown(room_that_is_not_used_goes_to_others, build, tear_down),
        cmocka_unit_test_setup_teardown(the_depot_has_room_for_what_comes_again, build, tear_down),
        cmocka_unit_test_setup_teardown(the_depot_remembers_what_it_turned_away, build, tear_down),
        cmocka_unit_test_setup_teardown(the_depot_is_emptied_wherever_it_begins, build, tear_down),
        cmocka_unit_test_setup_teardown(the_depot_makes_way, build, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_comes_out_with_its_tag, build, tear_down),
        cmocka_unit_test(every_length_has_one_class),
        cmocka_unit_test_setup_teardown(too_long_a_run_goes_back_at_once, build, tear_down),
        cmocka_unit_test_setup_teardown(what_nobody_asks_for_goes_in_time, build, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
