/*
 * test_magazine.c - slab/magazine.c: what lies between a cache's users and its slabs
 */
#include "with_memory.h"

#include "slab/magazine.h"

#include <errno.h>
#include <pthread.h>

#define OBJECTS 5000

static struct qy_kmem_cache *cache;
static void *objects[OBJECTS];

static int build(void **state)
{
    memory_begin(state);
    cache = qy_kmem_cache_create(memory.mm, "test", 64, 0, 0, NULL, NULL);
    return cache == NULL;
}

/** The only slot. */
static struct qy_cpu *the_slot(void)
{
    assert_false(qy_list_empty(&memory.mm->cpus));
    return qy_list_entry(memory.mm->cpus.next, struct qy_cpu, link);
}

static void take(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_non_null(objects[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL));
}

static void give(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
}

/** The first word of the loaded magazine. */
static void **loaded(void)
{
    void **top = the_slot()->top[cache->tag];
    return (void **)((uintptr_t)(top - 1) / QY_MAGAZINE_BYTES * QY_MAGAZINE_BYTES);
}

/* Wrong if it failed: a cache without a magazine would hand out what is none, or write into the
 * one that all share. */
static void no_magazine_is_empty_and_full(void **state)
{
    static struct qy_cpu cpu;
    (void)state;
    cpu.top[7] = QY_NO_MAGAZINE;
    assert_null(qy_magazine_pop(&cpu, 7));
    assert_false(qy_magazine_push(&cpu, 7, &memory));
    assert_ptr_equal(cpu.top[7], QY_NO_MAGAZINE);
}

/* Wrong if it failed: a magazine would lose objects, take one too many, or take one twice. */
static void objects_come_back_last_first(void **state)
{
    _Alignas(QY_MAGAZINE_BYTES) static void *magazine[QY_MAGAZINE_WORDS];
    static struct qy_cpu cpu;
    static char object[QY_MAGAZINE_MOST];
    (void)state;
    cpu.top[7] = magazine + 1;
    for (unsigned i = 0; i < QY_MAGAZINE_MOST; i++) {
        assert_true(qy_magazine_push(&cpu, 7, &object[i]));
        assert_true(qy_magazine_is_last(&cpu, 7, &object[i]));
        assert_false(qy_magazine_push(&cpu, 7, &object[i]));
    }
    assert_false(qy_magazine_push(&cpu, 7, &memory));
    for (unsigned i = QY_MAGAZINE_MOST; i-- > 0;)
        assert_ptr_equal(qy_magazine_pop(&cpu, 7), &object[i]);
    assert_null(qy_magazine_pop(&cpu, 7));
}

/* Wrong if it failed: G1: a pop would run over the bottom of a magazine, or hand out what is
 * free in its slab as well. */
static void a_loaded_magazine_ends_in_null(void **state)
{
    (void)state;
    for (unsigned count = 1; count < 400; count += 37) {
        take(count);
        give(count);
        unsigned bottom = QY_MAGAZINE_MOST - cache->places;
        assert_null(loaded()[bottom]);
        for (void **at = loaded() + bottom + 1; at < the_slot()->top[cache->tag]; at++) {
            bool exact;
            const struct qy_slab *slab = qy_slab_of(cache, *at);
            unsigned index = qy_slab_index(slab, *at, &exact);
            assert_true(exact);
            assert_false(qy_bits_test(&slab->free, index));
        }
        test_rules(memory.mm);
    }
}

/** All magazines that can be had without new memory, linked. */
static void **take_all_magazines(void)
{
    void **all = NULL, **magazine;
    struct qy_kmem_cache *magazines = qy_cache_of_magazines(memory.mm);
    qy_magazine_drop_spare(the_slot());
    while ((magazine = qy_slab_take_one(magazines, the_slot(), false)) != NULL) {
        *magazine = all;
        all = magazine;
    }
    return all;
}

/* Wrong if it failed: a free without memory for a magazine would lose objects, or use one twice. */
static void frees_need_no_memory(void **state)
{
    (void)state;
    take(OBJECTS);
    void **all = take_all_magazines();
    give(OBJECTS);
    test_rules(memory.mm);
    while (all != NULL) {
        void **next = *all;
        qy_slab_give_one(qy_cache_of_magazines(memory.mm), all);
        all = next;
    }
    take(OBJECTS);
    for (unsigned i = 0; i < OBJECTS; i++)
        *(unsigned *)objects[i] = i;
    for (unsigned i = 0; i < OBJECTS; i++)
        assert_int_equal(*(unsigned *)objects[i], i);
    give(OBJECTS);
    test_rules(memory.mm);
}

/* Wrong if it failed: G2: who takes a magazine from a depot would find places without objects. */
static void depots_hold_full_magazines(void **state)
{
    (void)state;
    take(OBJECTS);
    give(OBJECTS);
    const struct qy_depot *own = &the_slot()->depot[cache->tag];
    assert_true(own->nr_full > 0 && cache->nr_depot > 0);
    assert_true(own->nr_full <= cache->most_in_slot && cache->nr_depot <= cache->most_in_depot);
    for (void **magazine = cache->depot; magazine != NULL; magazine = *magazine)
        for (unsigned i = 0; i < cache->places; i++)
            assert_non_null(magazine[QY_MAGAZINE_MOST - i]);
    for (void **magazine = own->full; magazine != NULL; magazine = *magazine)
        for (unsigned i = 0; i < cache->places; i++)
            assert_non_null(magazine[QY_MAGAZINE_MOST - i]);
    test_rules(memory.mm);
}

/* Wrong if it failed: G3: batches of large objects would go to their slabs and come again each
 * time, or a slot would keep them for ever. */
static void a_slot_keeps_more_of_what_comes_again(void **state)
{
    enum {
        LARGE = 200
    };
    static void *large[LARGE];
    struct qy_kmem_cache *of_8k = qy_kmem_cache_create(memory.mm, "large", 8192, 0, 0, NULL, NULL);
    (void)state;
    assert_non_null(of_8k);
    take(1);
    give(1);
    const struct qy_depot *own = &the_slot()->depot[of_8k->tag];
    uint64_t refills = 0;
    for (unsigned round = 0; round < 8; round++) {
        refills = of_8k->nr_refills;
        assert_int_equal(qy_kmem_cache_alloc_bulk(of_8k, QY_GFP_KERNEL, LARGE, large), 0);
        assert_true(round != 1 || of_8k->nr_refills > refills);
        qy_kmem_cache_free_bulk(of_8k, LARGE, large);
        test_rules(memory.mm);
    }
    assert_int_equal(of_8k->nr_refills, refills);
    assert_true(own->nr_full > of_8k->most_in_slot);
    assert_true(own->extra > 0 && memory.mm->extra_bytes > 0);
    assert_true(qy_kmem_cache_shrink(of_8k) > 0);
    assert_int_equal(own->nr_full + own->extra, 0);
    assert_int_equal(memory.mm->extra_bytes, 0);
    assert_int_equal(qy_kmem_cache_destroy(of_8k, NULL), 0);
}

/* ---- one thread takes, another gives ---- */

enum {
    IN_FLIGHT = 300,
    ROUNDS = 12
};

static struct qy_kmem_cache *travelling;
static void *in_flight[IN_FLIGHT];
static pthread_barrier_t turn;

/** Magazines that are neither in their slabs nor a slot's spare ones. */
static size_t magazines_in_use(void)
{
    const struct qy_kmem_cache *magazines = qy_cache_of_magazines(memory.mm);
    size_t slabs =
        magazines->slabs_full.count + magazines->slabs_partial.count + magazines->slabs_empty.count;
    return slabs * magazines->nr_objects - magazines->nr_free - the_slot()->nr_spare;
}

static void *give_what_comes(void *unused)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&turn);
        qy_kmem_cache_free_bulk(travelling, IN_FLIGHT, in_flight);
        pthread_barrier_wait(&turn);
    }
    return unused;
}

/* Wrong if it failed: G3: objects, or the magazines that they travel in, would go to their slabs
 * and come again each time that one thread allocates and another frees. */
static void a_depot_keeps_more_of_what_goes_round(void **state)
{
    pthread_t giver;
    uint64_t refills = 0;
    (void)state;
    travelling = qy_kmem_cache_create(memory.mm, "travelling", 8192, 0, 0, NULL, NULL);
    assert_non_null(travelling);
    assert_int_equal(pthread_barrier_init(&turn, NULL, 2), 0);
    assert_int_equal(pthread_create(&giver, NULL, give_what_comes, NULL), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        refills = travelling->nr_refills;
        assert_int_equal(qy_kmem_cache_alloc_bulk(travelling, QY_GFP_KERNEL, IN_FLIGHT, in_flight),
                         0);
        assert_true(round < ROUNDS / 2 || travelling->nr_empties > 0);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        test_rules(memory.mm);
    }
    pthread_join(giver, NULL);
    pthread_barrier_destroy(&turn);
    assert_int_equal(travelling->nr_refills, refills);
    assert_true(travelling->nr_depot > travelling->most_in_depot);
    assert_int_equal(qy_kmem_cache_alloc_bulk(travelling, QY_GFP_KERNEL, IN_FLIGHT, in_flight), 0);
    assert_true(travelling->nr_empties > 0 && magazines_in_use() > 0);
    qy_kmem_cache_shrink(travelling);
    assert_int_equal(travelling->nr_depot + travelling->nr_empties + travelling->depot_extra, 0);
    assert_int_equal(memory.mm->extra_bytes, 0);
    assert_int_equal(magazines_in_use(), 0);
    qy_kmem_cache_free_bulk(travelling, IN_FLIGHT, in_flight);
    assert_int_equal(qy_kmem_cache_destroy(travelling, NULL), 0);
}

/* Wrong if it failed: who needs one object would hold a magazine full of them. */
static void the_first_fills_are_small(void **state)
{
    (void)state;
    take(1);
    assert_in_range(the_slot()->top[cache->tag] - loaded() - QY_MAGAZINE_MOST + cache->places - 1,
                    0, 7);
}

/* Wrong if it failed: objects would stay in magazines for ever, and their slabs with them. */
static void a_shrink_empties_all_of_them(void **state)
{
    (void)state;
    take(OBJECTS);
    give(OBJECTS);
    assert_true(qy_kmem_cache_shrink(cache) > 0);
    assert_int_equal(cache->nr_depot, 0);
    assert_int_equal(the_slot()->depot[cache->tag].nr_full, 0);
    assert_ptr_equal(the_slot()->top[cache->tag], QY_NO_MAGAZINE);
    assert_int_equal(cache->nr_free, 0);
    assert_int_equal(cache->slabs_full.count + cache->slabs_partial.count, 0);
    test_rules(memory.mm);
}

/** A call of another thread's, from its first to its last. */
static void elsewhere(void *(*call)(void *), void *argument)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call, argument), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void *give_one(void *object)
{
    assert_int_equal(qy_kmem_cache_free(cache, object), 0);
    return NULL;
}

static void *shrink(void *unused)
{
    (void)unused;
    qy_kmem_cache_shrink(cache);
    qy_kmem_cache_shrink_all(memory.mm);
    return NULL;
}

/* Wrong if it failed: C1: a signal handler that forks would find the magazine gone from which the
 * malloc that it interrupted is about to take an object. */
static void a_suspended_slot_is_left_alone(void **state)
{
    (void)state;
    take(10);
    give(10);
    struct qy_cpu *slot = the_slot();
    void **top = slot->top[cache->tag];
    assert_false(qy_cpu_suspend(slot));
    qy_cpu_set_busy(slot);
    assert_true(qy_cpu_suspend(slot));
    elsewhere(shrink, NULL);
    assert_ptr_equal(slot->top[cache->tag], top);
    qy_cpu_resume(slot, true);
    assert_ptr_equal(qy_magazine_pop(slot, cache->tag), objects[9]);
    qy_cpu_leave(slot);
    shrink(NULL);
    assert_ptr_equal(slot->top[cache->tag], QY_NO_MAGAZINE);
    assert_int_equal(qy_kmem_cache_free(cache, objects[9]), 0);
}

static void *destroy(void *code)
{
    size_t live = 1;
    *(int *)code = qy_kmem_cache_destroy(cache, &live);
    assert_int_equal(live, 0);
    return NULL;
}

/* Wrong if it failed: S5: the magazine of a cache that is gone would be taken for one of the next
 * cache's, whose objects lie elsewhere in it. */
static void a_cache_in_a_suspended_slot_is_not_destroyed(void **state)
{
    int code = 0;
    (void)state;
    take(1);
    struct qy_cpu *slot = the_slot();
    unsigned count = 1;
    while ((objects[count] = qy_magazine_pop(slot, cache->tag)) != NULL)
        count++;
    while (count-- > 0) /* not by this slot: its magazine stays loaded, and empty */
        elsewhere(give_one, objects[count]);
    qy_cpu_set_busy(slot);
    assert_true(qy_cpu_suspend(slot));
    elsewhere(destroy, &code);
    assert_int_equal(code, -EBUSY);
    qy_cpu_resume(slot, true);
    qy_cpu_leave(slot);
    destroy(&code);
    assert_int_equal(code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_magazine_is_empty_and_full),
        cmocka_unit_test(objects_come_back_last_first),
        cmocka_unit_test_setup_teardown(a_loaded_magazine_ends_in_null, build, memory_end),
        cmocka_unit_test_setup_teardown(frees_need_no_memory, build, memory_end),
        cmocka_unit_test_setup_teardown(depots_hold_full_magazines, build, memory_end),
        cmocka_unit_test_setup_teardown(a_slot_keeps_more_of_what_comes_again, build, memory_end),
        cmocka_unit_test_setup_teardown(a_depot_keeps_more_of_what_goes_round, build, memory_end),
        cmocka_unit_test_setup_teardown(the_first_fills_are_small, build, memory_end),
        cmocka_unit_test_setup_teardown(a_shrink_empties_all_of_them, build, memory_end),
        cmocka_unit_test_setup_teardown(a_suspended_slot_is_left_alone, build, memory_end),
        cmocka_unit_test_setup_teardown(a_cache_in_a_suspended_slot_is_not_destroyed, build,
                                        memory_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
