/*
 * test_fault.c - memory/fault.c: the line that each wrong call is told in, to the letter
 */
#include "sim.h"
#include "with_memory.h"

#include "memory/mm.h"
#include "slab/kmalloc.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define BASE (4 * GIB)

static int build(void **state)
{
    (void)state;
    qy_sim_reset();
    test_memory_simple(&memory, BASE, 64 * MIB, true);
    return 0;
}

/** The last line, of which @format is all. */
static __attribute__((format(printf, 2, 3))) void expect(int code, const char *format, ...)
{
    char line[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    assert_int_equal(code, -EINVAL);
    assert_string_equal(qy_sim_last_line(), line);
}

/* Wrong if it failed: the middle of a block in use would be called freed, and a frame's number
 * read as an address. */
static void frames_are_called_frames(void **state)
{
    struct qy_mm *mm = memory.mm;
    (void)state;
    qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_KERNEL, 3);
    unsigned long long number = pfn;
    expect(qy_free_pages(mm, pfn, 2),
           "quarry: wrong order free of frame %#llx: rule F3, freed with order 2, allocated with "
           "order 3\n",
           number);
    expect(qy_free_pages(mm, pfn, UINT32_MAX),
           "quarry: wrong order free of frame %#llx: rule F3, freed with order 4294967295, "
           "allocated with order 3\n",
           number);
    expect(qy_free_pages(mm, pfn + 7, 0), "quarry: interior free of frame %#llx: rule F2\n",
           number + 7);
    expect(qy_free_pages(mm, 5, 0), "quarry: foreign free of frame 0x5: rule F1\n");
    assert_int_equal(qy_free_pages(mm, pfn, 3), 0);
    expect(qy_free_pages(mm, pfn, 3),
           "quarry: double free of frame %#llx: rule F2, or it was never allocated\n", number);
    void *block = qy_kmalloc(mm, 100, QY_GFP_KERNEL);
    pfn = qy_virt_to_pfn(mm, block);
    expect(
        qy_free_pages(mm, pfn, 0),
        "quarry: invalid free of frame %#llx: rule F2, it belongs to a cache, a file or kmalloc\n",
        (unsigned long long)pfn);
    assert_int_equal(qy_kfree(mm, block), 0);
}

static struct qy_kmem_cache *create(const char *name, uint32_t flags)
{
    struct qy_kmem_cache *cache = qy_kmem_cache_create(memory.mm, name, 64, 0, flags, NULL, NULL);
    assert_non_null(cache);
    return cache;
}

/* Wrong if it failed: a cache that was told to would not say who had the object, and nobody whose
 * object it is that went to the wrong cache. */
static void objects_are_named_with_their_cache_and_users(void **state)
{
    (void)state;
    struct qy_kmem_cache *plain = create("plain", QY_SLAB_NO_MAGAZINES);
    struct qy_kmem_cache *noted = create("noted", QY_SLAB_STORE_USER);
    char local, *object = qy_kmem_cache_alloc(plain, QY_GFP_KERNEL);
    char *other = qy_kmem_cache_alloc(noted, QY_GFP_KERNEL);
    unsigned thread = qy_port_thread();
    expect(qy_kmem_cache_free(plain, object + 16),
           "quarry: interior free of %p (cache plain, object %p+64): rule S2\n",
           (void *)(object + 16), (void *)object);
    expect(
        qy_kmem_cache_free(noted, object),
        "quarry: invalid free of %p (cache plain, object %p+64): rule S1, freed to cache noted\n",
        (void *)object, (void *)object);
    expect(qy_kmem_cache_free(noted, &local),
           "quarry: invalid free of %p: rule S1, freed to cache noted\n", (void *)&local);
    expect(qy_kmem_cache_free(noted, other + 1),
           "quarry: misaligned free of %p (cache noted, object %p+64): rule S2, "
           "allocated by thread %u\n",
           (void *)(other + 1), (void *)other, thread);
    assert_int_equal(qy_kmem_cache_free(plain, object), 0);
    assert_int_equal(qy_kmem_cache_free(noted, other), 0);
    expect(qy_kmem_cache_free(plain, object),
           "quarry: double free of %p (cache plain, object %p+64): rule S3\n", (void *)object,
           (void *)object);
    expect(qy_kmem_cache_free(noted, other),
           "quarry: double free of %p (cache noted, object %p+64): rule S3, "
           "allocated by thread %u, last freed by thread %u\n",
           (void *)other, (void *)other, thread, thread);
    assert_int_equal(qy_kmem_cache_destroy(noted, NULL), 0);
    assert_int_equal(qy_kmem_cache_destroy(plain, NULL), 0);
}

/** What realloc refuses is NULL: as a code, for expect(). */
static int refused(const void *block)
{
    return block == NULL ? -EINVAL : 0;
}

/* Wrong if it failed: whoever frees a pointer into a large block would have to guess which. */
static void runs_are_named_by_their_start_and_length(void **state)
{
    struct qy_mm *mm = memory.mm;
    char local, *block = qy_kmalloc(mm, 100000, QY_GFP_KERNEL);
    (void)state;
    expect(qy_kfree(mm, block + 3 * PAGE),
           "quarry: interior free of %p (cache pages, object %p+102400): rule K2\n",
           (void *)(block + 3 * PAGE), (void *)block);
    expect(qy_kfree(mm, block + 5),
           "quarry: misaligned free of %p (cache pages, object %p+102400): rule K2\n",
           (void *)(block + 5), (void *)block);
    assert_int_equal(qy_kfree(mm, block), 0);
    expect(qy_kfree(mm, block), "quarry: double free of %p: rule K3, or it was never allocated\n",
           (void *)block);
    expect(qy_kfree(mm, &local), "quarry: foreign free of %p: rule K1\n", (void *)&local);
    expect(refused(qy_krealloc(mm, &local, 100, QY_GFP_KERNEL)),
           "quarry: foreign realloc of %p: rule K1\n", (void *)&local);
    char *small = qy_kmalloc(mm, 100, QY_GFP_KERNEL);
    expect(refused(qy_krealloc(mm, small + 8, 200, QY_GFP_KERNEL)),
           "quarry: misaligned realloc of %p (cache kmalloc-112, object %p+112): rule S2\n",
           (void *)(small + 8), (void *)small);
    assert_int_equal(qy_kfree(mm, small), 0);
}

/* Wrong if it failed: nobody would know which size was wrong, the one that was asked for or the one
 * that was freed. */
static void wrong_sizes_are_told(void **state)
{
    struct qy_mm *mm = memory.mm;
    char *small = qy_kmalloc(mm, 1000, QY_GFP_KERNEL), *large = qy_kmalloc(mm, 100000, 0);
    (void)state;
    expect(qy_kfree_check(mm, small, 300, 16),
           "quarry: wrong size free of %p (cache kmalloc-1k, object %p+1024): rule K5, "
           "freed with size 300\n",
           (void *)small, (void *)small);
    expect(qy_kfree_check(mm, small, 1000, 1 << 20),
           "quarry: wrong size free of %p (cache kmalloc-1k, object %p+1024): rule K5, "
           "freed with alignment 1048576\n",
           (void *)small, (void *)small);
    expect(qy_kfree_check(mm, large, 200000, 16),
           "quarry: wrong size free of %p (cache pages, object %p+102400): rule K5, "
           "freed with size 200000\n",
           (void *)large, (void *)large);
    assert_int_equal(qy_kfree(mm, small), 0);
    assert_int_equal(qy_kfree(mm, large), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_are_called_frames, build, memory_end),
        cmocka_unit_test_setup_teardown(objects_are_named_with_their_cache_and_users, build,
                                        memory_end),
        cmocka_unit_test_setup_teardown(runs_are_named_by_their_start_and_length, build,
                                        memory_end),
        cmocka_unit_test_setup_teardown(wrong_sizes_are_told, build, memory_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
