/*
 * test_lock.c - the lock of base/lock.h
 */
#include "support.h"

#include "base/lock.h"

#include <quarry_port.h>

#include <pthread.h>

#define THREADS 4
#define ROUNDS 20000
#define SLOW_ROUNDS 50
#define NAP_NS 200000u

static struct qy_lock lock;
static uint64_t shared; /* no atomic: the lock alone guards it */

static void *count_up(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        qy_lock(&lock);
        shared++;
        qy_unlock(&lock);
    }
    return NULL;
}

static void count_together(void *(*count)(void *), uint64_t rounds)
{
    pthread_t threads[THREADS];

    qy_lock_init(&lock, QY_RANK_ZONE);
    shared = 0;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(shared, THREADS * rounds);
    assert_int_equal(lock.word, 0);
}

/* Wrong if it failed: two threads would be in one section, or one would sleep for ever. */
static void one_thread_at_a_time_and_none_forgotten(void **state)
{
    (void)state;
    count_together(count_up, ROUNDS);
}

/** Others have polled in vain, and sleep, before this one is out. */
static void *count_up_slowly(void *unused)
{
    (void)unused;
    for (int i = 0; i < SLOW_ROUNDS; i++) {
        qy_lock(&lock);
        uint64_t before = shared;
        qy_port_nap(NAP_NS);
        shared = before + 1;
        qy_unlock(&lock);
    }
    return NULL;
}

/* Wrong if it failed: who has polled in vain and sleeps would sleep for ever, or be let in beside
 * the holder. Short sections alone come free while he polls. */
static void sleepers_are_woken(void **state)
{
    (void)state;
    count_together(count_up_slowly, SLOW_ROUNDS);
}

/* Wrong if it failed: who only tries would wait, or would be let in beside the holder. */
static void trying_takes_a_free_lock_only(void **state)
{
    (void)state;
    qy_lock_init(&lock, QY_RANK_ZONE);
    assert_true(qy_trylock(&lock));
    assert_false(qy_trylock(&lock));
    qy_unlock(&lock);
    assert_true(qy_trylock(&lock));
    qy_unlock(&lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_at_a_time_and_none_forgotten),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(trying_takes_a_free_lock_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
