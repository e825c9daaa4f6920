/*
 * test_kmem_cache.c - slab/: caches, their options, and what they refuse
 */
#include "with_memory.h"

#include "slab/cache.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#include <errno.h>
#include <pthread.h>

#define MOST 8800

static void *objects[MOST];

static struct qy_kmem_cache *create(size_t bytes, size_t align, uint32_t flags, qy_ctor_t ctor)
{
    struct qy_error error = {0};
    struct qy_kmem_cache *cache =
        qy_kmem_cache_create(memory.mm, "tested", bytes, align, flags, ctor, &error);
    if (cache == NULL)
        fail_msg("%s", error.text);
    return cache;
}

static void refuse_free(struct qy_kmem_cache *cache, void *object, const char *rule)
{
    test_quiet(true);
    int code = qy_kmem_cache_free(cache, object);
    test_quiet(false);
    assert_int_equal(code, -EINVAL);
    assert_string_equal(memory.mm->last_fault, rule);
}

/* Wrong if it failed: a cache would be made of arguments that make no sense. */
static void bad_arguments_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *name;
        size_t bytes, align;
        uint32_t flags;
        qy_ctor_t ctor;
        int code;
    } bad[] = {
        {NULL, 8, 0, 0, NULL, -EINVAL},
        {"", 8, 0, 0, NULL, -EINVAL},
        {"two words", 8, 0, 0, NULL, -EINVAL},
        {"line\nbreak", 8, 0, 0, NULL, -EINVAL},
        {"m\xc3\xbcll", 8, 0, 0, NULL, -EINVAL},
        {"12345678901234567890123456789012", 8, 0, 0, NULL, -EINVAL},
        {"no-bytes", 0, 0, 0, NULL, -EINVAL},
        {"too-large", (32u << 10) + 1, 0, 0, NULL, -EINVAL},
        {"align-3", 8, 3, 0, NULL, -EINVAL},
        {"align-8192", 8, 8192, 0, NULL, -EINVAL},
        {"flag", 8, 0, 0x8000, NULL, -EINVAL},
        {"poisoned-ctor", 8, 0, QY_SLAB_POISON, (qy_ctor_t)free, -EINVAL},
        {"zeroed-ctor", 8, 0, QY_SLAB_ZERO_ON_FREE, (qy_ctor_t)free, -EINVAL},
        {"taken", 8, 0, 0, NULL, -EEXIST},
        {"kmalloc-48", 8, 0, 0, NULL, -EEXIST}, /* which is not there yet */
    };
    struct qy_kmem_cache *taken = qy_kmem_cache_create(memory.mm, "taken", 8, 0, 0, NULL, NULL);

    assert_non_null(taken);
    struct qy_error why = {0};
    assert_null(qy_kmem_cache_create(memory.mm, "taken", 8, 0, 0, NULL, &why));
    assert_string_equal(why.text, "kmem_cache: there is a cache called taken");
    assert_null(qy_kmem_cache_create(memory.mm, "m\xc3\xbcll", 8, 0, 0, NULL, &why));
    assert_string_equal(why.text, "kmem_cache: name: byte 1 is not printable ASCII");
    assert_null(qy_kmem_cache_create(memory.mm, "two words", 8, 0, 0, NULL, &why));
    assert_string_equal(why.text, "kmem_cache: name: byte 3 is a blank");
    /* A beginning of it is another name, and so is a longer one. */
    assert_non_null(qy_kmem_cache_create(memory.mm, "take", 8, 0, 0, NULL, NULL));
    assert_non_null(qy_kmem_cache_create(memory.mm, "taken-2", 8, 0, 0, NULL, NULL));
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct qy_error error = {0};
        assert_null(qy_kmem_cache_create(memory.mm, bad[i].name, bad[i].bytes, bad[i].align,
                                         bad[i].flags, bad[i].ctor, &error));
        assert_int_equal(error.code, bad[i].code);
        assert_true(strlen(error.text) > 0);
    }
    assert_int_equal(qy_kmem_cache_destroy(taken, NULL), 0);
    struct qy_kmem_cache *longest = qy_kmem_cache_create(
        memory.mm, "1234567890123456789012345678901", 32u << 10, 4096, 0, NULL, NULL);
    assert_non_null(longest);
    assert_int_equal(qy_kmem_cache_destroy(longest, NULL), 0);
}

/* Wrong if it failed: a cache that is destroyed twice would be given back twice, or go on as if it
 * could be used. */
static void a_cache_is_destroyed_once(void **state)
{
    (void)state;
    struct qy_kmem_cache *stays = create(64, 0, 0, NULL);
    struct qy_kmem_cache *goes = qy_kmem_cache_create(memory.mm, "goes", 64, 0, 0, NULL, NULL);
    void *object = qy_kmem_cache_alloc(stays, QY_GFP_KERNEL);
    size_t live = 77;
    assert_non_null(goes);
    assert_int_equal(qy_kmem_cache_destroy(goes, NULL), 0);
    for (unsigned again = 0; again < 2; again++) {
        test_quiet(true);
        int code = qy_kmem_cache_destroy(goes, &live);
        test_quiet(false);
        assert_int_equal(code, -EINVAL);
        assert_string_equal(memory.mm->last_fault, "S5");
        assert_int_equal(live, 77);
        test_rules(memory.mm);
    }
    assert_int_equal(qy_kmem_cache_free(stays, object), 0);
    assert_int_equal(qy_kmem_cache_destroy(stays, NULL), 0);
}

/* Wrong if it failed: caches could not be created to the promised number, or not again. */
static void as_many_caches_as_promised(void **state)
{
    (void)state;
    static struct qy_kmem_cache *caches[256];
    struct qy_error error = {0};

    for (int round = 0; round < 2; round++) {
        size_t count = 0;
        char name[16];
        do {
            snprintf(name, sizeof(name), "cache-%zu", count);
            caches[count] = qy_kmem_cache_create(memory.mm, name, 64, 0, 0, NULL, &error);
        } while (caches[count] != NULL && ++count < 256);
        assert_int_equal(error.code, -ENOSPC);
        assert_true(count > 100);
        while (count > 0)
            assert_int_equal(qy_kmem_cache_destroy(caches[--count], NULL), 0);
    }
}

/* Wrong if it failed: a slab would be on the wrong one of the three lists. */
static void slabs_move_between_the_three_lists(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache = create(100, 0, QY_SLAB_NO_MAGAZINES, NULL);
    size_t of_slab = cache->nr_objects;

    assert_true(2 * of_slab <= MOST);
    assert_int_equal(cache->slabs_full.count + cache->slabs_partial.count, 0);
    objects[0] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    assert_int_equal(cache->slabs_partial.count, 1);
    for (size_t i = 1; i < of_slab; i++)
        objects[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    assert_int_equal(cache->slabs_full.count, 1);
    assert_int_equal(cache->slabs_partial.count, 0);
    assert_int_equal(qy_kmem_cache_free(cache, objects[of_slab / 2]), 0);
    assert_int_equal(cache->slabs_full.count, 0);
    assert_int_equal(cache->slabs_partial.count, 1);
    for (size_t i = 0; i < of_slab; i++)
        if (i != of_slab / 2)
            assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
    assert_int_equal(cache->slabs_partial.count, 0);
    assert_int_equal(cache->slabs_empty.count, 1);
    assert_int_equal(qy_kmem_cache_shrink(cache), 1 << cache->order);
    assert_int_equal(cache->slabs_empty.count, 0);
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/* Wrong if it failed: slabs would waste memory, or slots hold more of large objects than they
 * may. */
static void slabs_fit_their_objects(void **state)
{
    (void)state;
    for (size_t bytes = 16; bytes <= 32768; bytes += bytes < 2048 ? 16 : bytes / 9) {
        struct qy_kmem_cache *cache = create(bytes, 0, 0, NULL);
        size_t slab_bytes = PAGE << cache->order, used = (size_t)cache->nr_objects * cache->stride;
        bool most = cache->nr_objects == QY_SLAB_MOST_OBJECTS;
        assert_true(used <= slab_bytes);
        assert_true(most || cache->nr_objects >= 4 || cache->order == 7);
        assert_true((slab_bytes - used) * 20 <= slab_bytes || cache->order == 7);
        size_t kept = (size_t)cache->most_in_slot * cache->places * cache->stride;
        assert_true(kept <= 256 * 1024 || cache->most_in_slot == 1);
        assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
    }
}

/* Wrong if it failed: idle slabs would be kept by their number, whatever their size. */
static void idle_slabs_are_few_bytes(void **state)
{
    (void)state;
    const size_t sizes[] = {64, 1024, 2048, 4096};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct qy_kmem_cache *cache = create(sizes[i], 0, 0, NULL);
        for (size_t n = 0; n < MOST; n++)
            assert_non_null(objects[n] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL));
        for (size_t n = 0; n < MOST; n++)
            assert_int_equal(qy_kmem_cache_free(cache, objects[n]), 0);
        size_t busy = cache->slabs_full.count + cache->slabs_partial.count;
        size_t most = 2 * (32 * 1024 / (PAGE << cache->order) + busy / 16) + 1;
        assert_in_range(cache->slabs_empty.count, 0, most);
        assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
    }
}

/* Wrong if it failed: whoever asks caches for memory would not know how much has come. */
static void shrinking_says_what_it_gave(void **state)
{
    (void)state;
    struct qy_mm_stat before, after;
    struct qy_kmem_cache *cache = create(1000, 0, 0, NULL);
    for (size_t n = 0; n < 1000; n++)
        assert_non_null(objects[n] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL));
    for (size_t n = 0; n < 1000; n++)
        assert_int_equal(qy_kmem_cache_free(cache, objects[n]), 0);
    qy_drain_all_pages(memory.mm);
    qy_mm_stat(memory.mm, &before);
    size_t given = qy_kmem_cache_shrink_all(memory.mm);
    qy_mm_stat(memory.mm, &after);
    assert_int_equal(after.free - before.free, given);
    assert_true(given * PAGE >= 900 * 1000 / 2);
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

static void *use_and_end(void *cache)
{
    void *mine[200];
    for (size_t i = 0; i < COUNT_OF(mine); i++)
        assert_non_null(mine[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL));
    for (size_t i = 0; i < COUNT_OF(mine); i++)
        assert_int_equal(qy_kmem_cache_free(cache, mine[i]), 0);
    void *run = qy_kmalloc(memory.mm, 100000, QY_GFP_KERNEL);
    assert_int_equal(qy_kfree(memory.mm, run), 0);
    qy_pfn_t pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    assert_int_equal(qy_free_pages(memory.mm, pfn, 0), 0);
    return NULL;
}

/* Wrong if it failed: what a thread kept for its next request would be lost with it. */
static void a_thread_leaves_nothing_behind(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache = create(500, 0, 0, NULL);
    struct qy_mm_stat before, after;
    pthread_t thread;

    qy_kmem_cache_shrink_all(memory.mm);
    qy_drain_all_pages(memory.mm);
    qy_mm_stat(memory.mm, &before);
    assert_int_equal(pthread_create(&thread, NULL, use_and_end, cache), 0);
    pthread_join(thread, NULL);
    qy_kmem_cache_shrink_all(memory.mm);
    qy_drain_all_pages(memory.mm);
    qy_mm_stat(memory.mm, &after);
    assert_int_equal(before.free, after.free);
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/* Wrong if it failed: a cache would go while its objects are in use. */
static void a_cache_with_live_objects_stays(void **state)
{
    (void)state;
    const uint32_t flags[] = {0, QY_SLAB_NO_MAGAZINES, QY_SLAB_CHECK_FREE};

    for (size_t kind = 0; kind < COUNT_OF(flags); kind++) {
        struct qy_kmem_cache *cache = create(48, 0, flags[kind], NULL);
        size_t live = 99;
        for (size_t i = 0; i < 300; i++)
            objects[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
        for (size_t i = 300; i > 0; i--) {
            assert_int_equal(qy_kmem_cache_destroy(cache, &live), -EBUSY);
            assert_int_equal(live, i);
            assert_int_equal(qy_kmem_cache_free(cache, objects[i - 1]), 0);
        }
        assert_int_equal(qy_kmem_cache_destroy(cache, &live), 0);
        assert_int_equal(live, 0);
    }
}

static void name_wrong_frees(uint32_t flags)
{
    struct qy_kmem_cache *cache = create(48, 0, flags, NULL);
    struct qy_kmem_cache *other =
        qy_kmem_cache_create(memory.mm, "other", 48, 0, flags, NULL, NULL);
    char *object = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    char *foreign = qy_kmem_cache_alloc(other, QY_GFP_KERNEL);
    int local;

    refuse_free(cache, object + 1, "S2");
    refuse_free(cache, object + 16, "S2");
    refuse_free(cache, foreign, "S1");
    refuse_free(cache, &local, "S1");
    assert_int_equal(qy_kmem_cache_free(cache, object), 0);
    refuse_free(cache, object, "S3");
    assert_int_equal(qy_kmem_cache_free(other, foreign), 0);
    assert_int_equal(qy_kmem_cache_destroy(other, NULL), 0);
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/* Wrong if it failed: a wrong free would be absorbed, or the caller told that it was none, by a
 * cache that checks, or that has no magazine in which it could lie for a while. */
static void wrong_frees_are_named_at_once(void **state)
{
    (void)state;
    name_wrong_frees(QY_SLAB_CHECK_FREE);
    name_wrong_frees(QY_SLAB_NO_MAGAZINES);
}

/* Wrong if it failed: a double free through a magazine would never be found. */
static void a_double_free_is_found_at_the_slab_at_the_latest(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache = create(64, 0, 0, NULL);
    void *object = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    void *other = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
    uint64_t faults = memory.mm->nr_faults;

    test_quiet(true);
    (void)qy_kmem_cache_free(cache, object);
    (void)qy_kmem_cache_free(cache, other);
    (void)qy_kmem_cache_free(cache, object);
    qy_kmem_cache_shrink(cache);
    test_quiet(false);
    assert_int_equal(memory.mm->nr_faults, faults + 1);
    assert_string_equal(memory.mm->last_fault, "S3");
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/* Wrong if it failed: the commonest double free would give one object to two owners. */
static void what_was_freed_last_is_not_freed_again(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache = create(1000, 0, 0, NULL);
    void *taken[200];
    for (unsigned i = 0; i < COUNT_OF(taken); i++)
        assert_non_null(taken[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL));
    for (unsigned i = 0; i < COUNT_OF(taken); i++) { /* full magazines among them */
        assert_int_equal(qy_kmem_cache_free(cache, taken[i]), 0);
        refuse_free(cache, taken[i], "S3");
    }
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/* Wrong if it failed: a write outside an object, or into a free one, would go unseen. */
static void stray_writes_are_found(void **state)
{
    (void)state;
    struct qy_kmem_cache *red = create(40, 0, QY_SLAB_RED_ZONE, NULL);
    unsigned char *object = qy_kmem_cache_alloc(red, QY_GFP_KERNEL);
    unsigned char saved = object[40];

    object[40] = 1;
    refuse_free(red, object, "D1");
    object[40] = saved;
    saved = object[-1];
    object[-1] = 1;
    refuse_free(red, object, "D1");
    object[-1] = saved;
    assert_int_equal(qy_kmem_cache_free(red, object), 0);
    assert_int_equal(qy_kmem_cache_destroy(red, NULL), 0);

    const uint32_t fillings[] = {QY_SLAB_POISON, QY_SLAB_ZERO_ON_FREE};
    for (size_t i = 0; i < COUNT_OF(fillings); i++) {
        struct qy_kmem_cache *cache = create(40, 0, fillings[i], NULL);
        uint64_t faults = memory.mm->nr_faults;
        object = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
        memset(object, 0x11, 40);
        assert_int_equal(qy_kmem_cache_free(cache, object), 0);
        if (fillings[i] == QY_SLAB_ZERO_ON_FREE)
            for (int byte = 0; byte < 40; byte++)
                assert_int_equal(object[byte], 0);
        object[39] = 0x22; /* after it was freed */
        test_quiet(true);
        size_t count = 0;
        do
            objects[count] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
        while (objects[count++] != object && count < MOST);
        test_quiet(false);
        assert_int_equal(memory.mm->nr_faults, faults + 1);
        assert_string_equal(memory.mm->last_fault, "D2");
        while (count > 0)
            assert_int_equal(qy_kmem_cache_free(cache, objects[--count]), 0);
        assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
    }
}

static size_t constructed;

static void construct(void *object)
{
    constructed++;
    memset(object, 0x42, 96);
}

/* Wrong if it failed: objects would come without their constructor's work. */
static void objects_come_constructed(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache = create(96, 0, 0, construct);
    size_t first = 0;

    constructed = 0;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 200; i++) {
            const unsigned char *object = objects[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL);
            for (int byte = 0; byte < 96; byte++)
                assert_int_equal(object[byte], 0x42);
        }
        for (size_t i = 0; i < 200; i++)
            assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
        if (round == 0)
            first = constructed;
    }
    assert_true(first >= 200);
    assert_int_equal(constructed, first); /* once on each, when its slab was made */
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/* Wrong if it failed: a bulk call would give some objects and fail, and those be lost. */
static void bulk_is_all_or_none(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache = create(8192, 0, 0, NULL);
    struct qy_mm_stat before, after;

    qy_kmem_cache_shrink_all(memory.mm);
    qy_drain_all_pages(memory.mm);
    qy_mm_stat(memory.mm, &before);
    assert_int_equal(qy_kmem_cache_alloc_bulk(cache, QY_GFP_KERNEL, 1000, objects), 0);
    qy_kmem_cache_free_bulk(cache, 1000, objects);
    assert_int_equal(qy_kmem_cache_alloc_bulk(cache, QY_GFP_KERNEL, 0, objects), 0);
    assert_int_equal(qy_kmem_cache_alloc_bulk(cache, QY_GFP_KERNEL, MOST, objects), -ENOMEM);
    qy_kmem_cache_shrink_all(memory.mm);
    qy_drain_all_pages(memory.mm);
    qy_mm_stat(memory.mm, &after);
    assert_int_equal(before.free, after.free);
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

/* Wrong if it failed: a cache of objects could not use all of memory, or not give it back. */
static void memory_is_used_up_and_comes_back(void **state)
{
    (void)state;
    struct qy_kmem_cache *cache = create(16384, 0, 0, NULL);
    size_t counts[2];

    for (int round = 0; round < 2; round++) {
        counts[round] = 0;
        while ((objects[counts[round]] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL)) != NULL)
            counts[round]++;
        for (size_t i = 0; i < counts[round]; i++)
            assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
    }
    assert_int_equal(counts[0], counts[1]);
    assert_true(counts[0] * 16384 >= 64 * MIB * 95 / 100);
    assert_int_equal(qy_kmem_cache_destroy(cache, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MEMORY(bad_arguments_are_refused),
        WITH_MEMORY(a_cache_is_destroyed_once),
        WITH_MEMORY(as_many_caches_as_promised),
        WITH_MEMORY(slabs_move_between_the_three_lists),
        WITH_MEMORY(slabs_fit_their_objects),
        WITH_MEMORY(idle_slabs_are_few_bytes),
        WITH_MEMORY(shrinking_says_what_it_gave),
        WITH_MEMORY(a_thread_leaves_nothing_behind),
        WITH_MEMORY(a_cache_with_live_objects_stays),
        WITH_MEMORY(wrong_frees_are_named_at_once),
        WITH_MEMORY(what_was_freed_last_is_not_freed_again),
        WITH_MEMORY(a_double_free_is_found_at_the_slab_at_the_latest),
        WITH_MEMORY(stray_writes_are_found),
        WITH_MEMORY(objects_come_constructed),
        WITH_MEMORY(bulk_is_all_or_none),
        WITH_MEMORY(memory_is_used_up_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
