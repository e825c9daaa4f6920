/*
 * test_objects.c - threads use caches and kmalloc while others shrink and destroy
 *
 * Built with the thread sanitizer, core and all. Each object carries its owner's stamp at
 * both ends while it is live; objects travel between threads and are freed by others.
 */
#include "support.h"

#include "memory/mm.h"
#include "slab/guarded.h"
#include "slab/runs.h"
#include "slab/sampled.h"

#include <quarry/buddy.h>
#include <quarry/linux.h>
#include <quarry/slab.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define WORKERS 3
#define LIVES 3 /* threads that follow one another */
#define ROUNDS 300000
#define MOST_HELD 200
#define MAILBOXES 64
#define NR_CACHES 4

struct object {
    unsigned char *at;
    size_t bytes;
    int cache; /* -1: kmalloc's */
};

struct world {
    struct qy_mm *mm;
    struct qy_kmem_cache *caches[NR_CACHES];
    int rounds;
    _Atomic bool over;
    pthread_mutex_t mail_lock;
    struct object mail[MAILBOXES];
    size_t nr_mail;
};

static struct world world;

static const struct {
    const char *name;
    size_t bytes;
    uint32_t flags;
} kinds[NR_CACHES] = {
    {"race-24", 24, 0},
    {"race-500", 500, 0},
    {"race-direct", 64, QY_SLAB_NO_MAGAZINES},
    {"race-checked", 48, QY_SLAB_RED_ZONE | QY_SLAB_POISON | QY_SLAB_CHECK_FREE},
};

static void stamp(const struct object *object, unsigned char mark)
{
    object->at[0] = mark;
    object->at[object->bytes - 1] = mark;
}

static void look(const struct object *object, unsigned char mark)
{
    if (object->at[0] != mark || object->at[object->bytes - 1] != mark)
        test_fail("cache %d: an object of %zu bytes belongs to %u as well", object->cache,
                  object->bytes, object->at[0]);
}

static bool take(struct random *random, struct object *object, unsigned char me)
{
    object->cache = (int)random_below(random, NR_CACHES + 2);
    if (object->cache < NR_CACHES) {
        object->bytes = kinds[object->cache].bytes;
        object->at = qy_kmem_cache_alloc(world.caches[object->cache], QY_GFP_KERNEL);
    } else {
        object->cache = -1;
        object->bytes = 1 + random_below(random, random_one_in(random, 20) ? 200000 : 900);
        object->at = qy_kmalloc(world.mm, object->bytes, QY_GFP_KERNEL);
    }
    if (object->at == NULL)
        return false;
    stamp(object, me);
    return true;
}

static void give(const struct object *object, unsigned char me)
{
    look(object, me);
    stamp(object, 0xfe);
    int code = object->cache >= 0 ? qy_kmem_cache_free(world.caches[object->cache], object->at)
                                  : qy_kfree(world.mm, object->at);
    if (code != 0)
        test_fail("a right free was refused");
}

/* Only kmalloc's blocks change their size; what they held must have come along. */
static void change(struct random *random, struct object *mine, unsigned char me)
{
    if (mine->cache >= 0)
        return;
    size_t bytes = 1 + random_below(random, random_one_in(random, 5) ? 200000 : 900);
    unsigned char *moved = qy_krealloc(world.mm, mine->at, bytes, QY_GFP_KERNEL);
    if (moved == NULL)
        return;
    if (moved[0] != me)
        test_fail("a block of %zu bytes lost its contents when it became %zu", mine->bytes, bytes);
    *mine = (struct object){moved, bytes, -1};
    stamp(mine, me);
}

static void exchange_mail(struct object *mine, unsigned char me)
{
    look(mine, me);
    stamp(mine, 0xfd);
    pthread_mutex_lock(&world.mail_lock);
    struct object other = *mine;
    if (world.nr_mail < MAILBOXES) {
        world.mail[world.nr_mail++] = *mine;
        other = world.mail[0];
        world.mail[0] = world.mail[--world.nr_mail];
    }
    pthread_mutex_unlock(&world.mail_lock);
    look(&other, 0xfd);
    stamp(&other, me);
    *mine = other;
}

static void *work(void *argument)
{
    unsigned char me = (unsigned char)(uintptr_t)argument;
    struct random random = {me};
    struct object held[MOST_HELD];
    size_t nr_held = 0;

    for (int round = 0; round < world.rounds; round++) {
        if (nr_held < MOST_HELD && random_below(&random, 100) < 53) {
            nr_held += take(&random, &held[nr_held], me);
        } else if (nr_held > 0) {
            size_t which = random_below(&random, nr_held);
            if (random_one_in(&random, 3))
                exchange_mail(&held[which], me);
            if (random_one_in(&random, 10))
                change(&random, &held[which], me);
            give(&held[which], me);
            held[which] = held[--nr_held];
        }
    }
    while (nr_held > 0)
        give(&held[--nr_held], me);
    return NULL; /* and the slot goes to the next thread */
}

/* A cache of its own comes and goes, all others are emptied again and again. */
static void *disturb(void *unused)
{
    struct random random = {7};
    (void)unused;
    while (!atomic_load(&world.over)) {
        struct qy_kmem_cache *own =
            qy_kmem_cache_create(world.mm, "comes-and-goes", 88, 0, 0, NULL, NULL);
        if (own != NULL) {
            size_t live = 0;
            void *object = qy_kmem_cache_alloc(own, QY_GFP_KERNEL);
            if (object != NULL) {
                assert_int_equal(qy_kmem_cache_destroy(own, &live), -EBUSY);
                assert_int_equal(live, 1);
                assert_int_equal(qy_kmem_cache_free(own, object), 0);
            }
            assert_int_equal(qy_kmem_cache_destroy(own, &live), 0);
        }
        if (random_one_in(&random, 4))
            qy_kmem_cache_shrink_all(world.mm);
        else
            qy_kmem_cache_shrink(world.caches[random_below(&random, NR_CACHES)]);
        qy_mm_trim(world.mm, 500);
        sched_yield();
    }
    return NULL;
}

static uint64_t frames_in_use(void)
{
    qy_guarded_drain(world.mm);
    return test_frames_in_use(world.mm);
}

#define NOT_SAMPLED UINT64_MAX

/** From now on, with its pool: that stays. */
static void sample(uint64_t interval_ns)
{
    if (interval_ns == NOT_SAMPLED)
        return;
    qy_sampling_start(world.mm, interval_ns);
    while (world.mm->sampling.pool == NULL) {
        void *block = qy_kmalloc(world.mm, 100, QY_GFP_KERNEL);
        assert_int_equal(qy_kfree(world.mm, block), 0);
    }
}

static void live_together(uint32_t kmalloc_flags, uint64_t interval_ns, int rounds)
{
    const struct qy_linux_options options = {.limit_bytes = 256 * MIB,
                                             .kmalloc_flags = kmalloc_flags};
    struct qy_error error = {0};
    pthread_t workers[WORKERS], other;

    world = (struct world){.rounds = rounds};
    world.mm = qy_linux_mm_create(&options, &error);
    if (!world.mm)
        fail_msg("%s", error.text);
    test_make_classes(world.mm);
    sample(interval_ns);
    uint64_t before = frames_in_use();
    for (unsigned i = 0; i < NR_CACHES; i++) {
        world.caches[i] = qy_kmem_cache_create(world.mm, kinds[i].name, kinds[i].bytes, 0,
                                               kinds[i].flags, NULL, &error);
        assert_non_null(world.caches[i]);
    }
    pthread_mutex_init(&world.mail_lock, NULL);
    assert_int_equal(pthread_create(&other, NULL, disturb, NULL), 0);
    for (int life = 0; life < LIVES; life++) {
        for (uintptr_t i = 0; i < WORKERS; i++)
            assert_int_equal(pthread_create(&workers[i], NULL, work, (void *)(i + 1)), 0);
        for (int i = 0; i < WORKERS; i++)
            pthread_join(workers[i], NULL);
    }
    atomic_store(&world.over, true);
    pthread_join(other, NULL);
    while (world.nr_mail > 0)
        give(&world.mail[--world.nr_mail], 0xfd);
    for (unsigned i = 0; i < NR_CACHES; i++)
        assert_int_equal(qy_kmem_cache_destroy(world.caches[i], NULL), 0);
    assert_int_equal(frames_in_use(), before);
    assert_int_equal(world.mm->nr_faults, 0);
    assert_int_equal(world.mm->sampling.nr_live, 0);
    assert_true(interval_ns != 0 || world.mm->sampling.nr_allocs > 100);
    test_rules(world.mm);
    qy_linux_mm_destroy(world.mm);
}

/* Wrong if it failed: an object would have two owners or get lost, when it is freed by another
 * thread, when its cache is shrunk under its users' hands, or when a thread ends. */
static void objects_have_one_owner(void **state)
{
    (void)state;
    live_together(0, NOT_SAMPLED, ROUNDS);
}

/* Wrong if it failed: the same where red zones, quarantines and guard pages are looked after
 * besides. */
static void hardened_objects_have_one_owner(void **state)
{
    (void)state;
    live_together(QY_SLAB_RED_ZONE | QY_SLAB_ZERO_ON_FREE | QY_SLAB_RANDOM | QY_SLAB_CHECK_FREE,
                  NOT_SAMPLED, ROUNDS / 20);
}

/* Wrong if it failed: the same where blocks get pages of their own, as many as there are, or now
 * and then, when gates close and open. */
static void sampled_objects_have_one_owner(void **state)
{
    (void)state;
    live_together(0, 0, ROUNDS / 20);
    live_together(0, 1000, ROUNDS / 20);
}

#define DUELS 5000

static struct {
    struct qy_mm *mm;
    _Atomic(void *) block;     /* of this round */
    _Atomic unsigned round;    /* that both may fire in */
    _Atomic unsigned finished; /* rounds of the other thread */
    _Atomic unsigned hits;     /* frees that were right */
} duel;

/** As malloc's free does: into the slot, or the slow way. */
static bool free_block(void *block)
{
    struct qy_cpu *cpu = qy_slot_enter(duel.mm);
    assert_non_null(cpu);
    bool kept = qy_run_keep(cpu, qy_address_index(duel.mm, block));
    qy_cpu_leave(cpu);
    return kept || qy_kfree(duel.mm, block) == 0;
}

static void *fire(void *unused)
{
    for (unsigned round = 1; round <= DUELS; round++) {
        while (atomic_load(&duel.round) != round)
            qy_port_relax();
        if (free_block(atomic_load(&duel.block)))
            atomic_fetch_add(&duel.hits, 1);
        atomic_fetch_add(&duel.finished, 1);
    }
    return unused;
}

/* Wrong if it failed: two threads that free one large block at the same moment would both
 * succeed, and it would get two owners. */
static void of_two_frees_of_a_run_one_succeeds(void **state)
{
    (void)state;
    const struct qy_linux_options options = {.limit_bytes = 64 * MIB};
    pthread_t other;
    duel.mm = qy_linux_mm_create(&options, NULL);
    assert_non_null(duel.mm);
    assert_int_equal(pthread_create(&other, NULL, fire, NULL), 0);
    for (unsigned round = 1; round <= DUELS; round++) {
        void *block = qy_kmalloc(duel.mm, (16 + round % 2) * PAGE, QY_GFP_KERNEL);
        atomic_store(&duel.block, block);
        atomic_store(&duel.round, round);
        for (unsigned pause = 0; pause < round % 64; pause++)
            qy_port_relax(); /* the other one needs a while to see it */
        if (free_block(block))
            atomic_fetch_add(&duel.hits, 1);
        while (atomic_load(&duel.finished) != round)
            qy_port_relax();
        assert_int_equal(atomic_load(&duel.hits), round);
    }
    pthread_join(other, NULL);
    test_rules(duel.mm);
    qy_linux_mm_destroy(duel.mm);
}

static void *come_and_fire(void *unused)
{
    while (atomic_load(&duel.round) == 0)
        qy_port_relax();
    if (free_block(atomic_load(&duel.block)))
        atomic_fetch_add(&duel.hits, 1);
    return unused;
}

/* Wrong if it failed: the same when one of them comes to have a slot only then, so that the other
 * one was alone until now. */
static void nor_do_both_while_the_second_slot_comes(void **state)
{
    (void)state;
    const struct qy_linux_options options = {.limit_bytes = 64 * MIB};
    for (unsigned life = 0; life < DUELS / 10; life++) {
        pthread_t other;
        duel.mm = qy_linux_mm_create(&options, NULL);
        assert_non_null(duel.mm);
        void *block = qy_kmalloc(duel.mm, 16 * PAGE, QY_GFP_KERNEL);
        atomic_store(&duel.block, block);
        atomic_store(&duel.round, 0);
        atomic_store(&duel.hits, 0);
        assert_int_equal(pthread_create(&other, NULL, come_and_fire, NULL), 0);
        atomic_store(&duel.round, 1);
        for (unsigned pause = 0; pause < life * 8; pause++)
            qy_port_relax();
        if (free_block(block))
            atomic_fetch_add(&duel.hits, 1);
        pthread_join(other, NULL);
        assert_int_equal(atomic_load(&duel.hits), 1);
        qy_linux_mm_destroy(duel.mm);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_have_one_owner),
        cmocka_unit_test(hardened_objects_have_one_owner),
        cmocka_unit_test(sampled_objects_have_one_owner),
        cmocka_unit_test(of_two_frees_of_a_run_one_succeeds),
        cmocka_unit_test(nor_do_both_while_the_second_slot_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
