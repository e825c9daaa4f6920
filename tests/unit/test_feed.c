/*
 * test_feed.c - buddy/feed.c: what grows takes the memory that lies idle in holes
 */
#define _GNU_SOURCE
#include "frames.h"
#include "support.h"

#include "buddy/alloc.h"
#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/linux.h>
#include <quarry/slab.h>

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define HOLES 8

static struct qy_mm *mm;
static char *kept[HOLES];
static size_t hole_bytes;
/** mremap() fails from now on, and leaves nothing at the new place, as kernels before 6.17 do where
 *  the old one is more than one mapping. */
static bool breaks;
/** It fails when it has moved the first half, as later ones may. */
static bool breaks_halfway;

void *mremap(void *from, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    void *to = va_arg(rest, void *);
    va_end(rest);
    if (breaks) {
        munmap(to, new_bytes);
        errno = EFAULT;
        return MAP_FAILED;
    }
    if (breaks_halfway) {
        syscall(SYS_mremap, from, old_bytes / 2, old_bytes / 2, flags, to);
        munmap((char *)to + old_bytes / 2, old_bytes - old_bytes / 2);
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mremap, from, old_bytes, new_bytes, flags, to); /* NOLINT */
}

static int build(void **state)
{
    const struct qy_linux_options options = {.span_bytes = 4 * GIB};
    (void)state;
    breaks = breaks_halfway = false;
    mm = qy_linux_mm_create(&options, NULL);
    return mm == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    test_rules(mm);
    qy_linux_mm_destroy(mm);
    return 0;
}

static bool moves_pages(void)
{
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool does = mremap(pages, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
                       pages + PAGE) == pages + PAGE;
    munmap(pages, 2 * PAGE);
    return does;
}

/** As many holes, each behind a block that is kept. */
static void make_holes(size_t bytes)
{
    char *freed[HOLES];
    hole_bytes = bytes;
    for (int i = 0; i < HOLES; i++) {
        kept[i] = qy_kmalloc(mm, bytes, QY_GFP_KERNEL);
        freed[i] = qy_kmalloc(mm, bytes, QY_GFP_KERNEL);
        memset(kept[i], i + 1, bytes);
        memset(freed[i], 0xff, bytes);
    }
    for (int i = 0; i < HOLES; i++)
        assert_int_equal(qy_kfree(mm, freed[i]), 0);
    qy_kmem_cache_shrink_all(mm);
}

static void expect_kept(void)
{
    for (int i = 0; i < HOLES; i++)
        for (size_t at = 0; at < hole_bytes; at += 512)
            assert_int_equal(kept[i][at], i + 1);
}

/** Pages with memory in all that is online. A free one that is said to have none has none. */
static uint64_t resident(void)
{
    struct frames_held held = frames_held(mm);
    assert_int_equal(held.fresh, 0);
    return held.all;
}

/** A written block of 3 MiB that has to move if it grows. */
static char *make_block(void)
{
    char *block = qy_kmalloc(mm, 3 * MIB, QY_GFP_KERNEL);
    memset(block, 0x55, 3 * MIB);
    assert_true(qy_take_behind(mm, qy_virt_to_pfn(mm, block + 3 * MIB), 1));
    return block;
}

static void expect_content(const char *block)
{
    for (size_t at = 0; at < 3 * MIB; at += 512)
        assert_int_equal(block[at], 0x55);
}

/* Wrong if it failed: what grows would cost a fault and a page for each page more, while the memory
 * of holes lies idle; or somebody else's memory would be taken, or a hole would not read as 0. */
static void what_moves_takes_the_memory_of_holes(void **state)
{
    (void)state;
    if (!moves_pages())
        skip();
    make_holes(MIB);
    char *block = make_block();
    uint64_t before = resident();
    char *moved = qy_krealloc(mm, block, 9 * MIB, QY_GFP_KERNEL);
    assert_true(moved != NULL && moved != block);
    assert_int_equal(frames_resident(moved, 9 * MIB), 9 * MIB / PAGE);
    assert_int_equal(resident(), before);
    expect_content(moved);
    expect_kept();
    for (int i = 0; i < HOLES; i++) {
        char *zeroed = qy_kmalloc(mm, MIB, QY_GFP_KERNEL | QY_GFP_ZERO);
        for (size_t at = 0; at < MIB; at += 64)
            assert_int_equal(zeroed[at], 0);
    }
}

/** One with fresh frames behind it. */
static char *make_block_that_can_grow(size_t bytes, uint64_t behind)
{
    qy_pfn_t end;
    char *block;
    do {
        block = qy_kmalloc(mm, bytes, QY_GFP_KERNEL);
        memset(block, 0x55, bytes);
        end = qy_virt_to_pfn(mm, block + bytes);
    } while (!qy_take_behind(mm, end, behind));
    qy_give_run(mm, end, behind, true);
    return block;
}

/* Wrong if it failed: the same where it lies. */
static void what_stays_takes_the_memory_of_holes(void **state)
{
    (void)state;
    if (!moves_pages())
        skip();
    assert_int_equal(qy_kfree(mm, qy_kmalloc(mm, 256 * MIB, QY_GFP_KERNEL)), 0);
    make_holes(MIB);
    char *block = make_block_that_can_grow(3 * MIB, 6 * MIB / PAGE);
    uint64_t before = resident();
    assert_ptr_equal(qy_krealloc(mm, block, 9 * MIB, QY_GFP_KERNEL), block);
    assert_int_equal(frames_resident(block, 9 * MIB), 9 * MIB / PAGE);
    assert_int_equal(resident(), before);
    expect_content(block);
    expect_kept();
}

/* Wrong if it failed: short holes, or many in a large memory, would use up the host's mappings. */
static void short_holes_are_left_alone(void **state)
{
    (void)state;
    if (!moves_pages())
        skip();
    uint64_t managed = atomic_load(&mm->managed);
    assert_int_equal(qy_least_moved(mm), 64);
    atomic_store(&mm->managed, UINT64_C(1) << 24);
    assert_int_equal(qy_least_moved(mm), 1024);
    atomic_store(&mm->managed, managed);
    make_holes(63 * PAGE);
    char *block = make_block();
    char *moved = qy_krealloc(mm, block, 9 * MIB, QY_GFP_KERNEL);
    assert_true(moved != NULL && moved != block);
    assert_int_equal(frames_resident(moved, 9 * MIB), 3 * MIB / PAGE);
}

/* Wrong if it failed: a long block would be laid on fresh frames while as many in a row have
 * memory. */
static void a_long_run_is_laid_where_there_is_memory(void **state)
{
    (void)state;
    assert_int_equal(qy_kfree(mm, qy_kmalloc(mm, 256 * MIB, QY_GFP_KERNEL)), 0);
    make_holes(3 * MIB);
    for (int i = 0; i < HOLES - 1; i++)
        assert_non_null(qy_kmalloc(mm, 3 * MIB, QY_GFP_KERNEL));
    uint64_t before = resident();
    char *block = qy_kmalloc(mm, 3 * MIB - 5 * PAGE, QY_GFP_KERNEL);
    assert_int_equal(frames_resident(block, 3 * MIB - 5 * PAGE), 3 * MIB / PAGE - 5);
    assert_int_equal(resident(), before);
}

/** A block that has to move, and cannot be moved, keeps its content. */
static void expect_to_grow_though(bool *move_fails)
{
    char *block = make_block();
    *move_fails = true;
    char *moved = qy_krealloc(mm, block, 9 * MIB, QY_GFP_KERNEL);
    assert_true(moved != NULL && moved != block);
    expect_content(moved);
    memset(moved + 3 * MIB, 1, 6 * MIB);
    expect_content(moved);
}

/* Wrong if it failed: where the kernel does not move pages, and has taken away the place that they
 * were to go to, the program would end. */
static void a_place_that_was_lost_is_made_again(void **state)
{
    (void)state;
    make_holes(MIB);
    expect_to_grow_though(&breaks);
    expect_kept();
}

/* Wrong if it failed: a block of which the system had moved the half when it gave up would lose
 * that half: its own place reads as zero there. */
static void what_was_moved_halfway_comes_back(void **state)
{
    (void)state;
    if (!moves_pages())
        skip();
    expect_to_grow_though(&breaks_halfway);
}

/* Wrong if it failed: which pages have memory would be told wrong, across 2 MiB too. */
static void pages_with_and_without_memory_are_told_apart(void **state)
{
    (void)state;
    bool backed;
    char *block = qy_kmalloc(mm, 8 * MIB, QY_GFP_KERNEL);
    memset(block, 1, 3 * MIB);
    assert_int_equal(qy_port_look(mm, block, 8 * MIB / PAGE, &backed), 3 * MIB / PAGE);
    assert_true(backed);
    assert_int_equal(qy_port_look(mm, block, 10, &backed), 10);
    assert_int_equal(qy_port_look(mm, block + 3 * MIB, 5 * MIB / PAGE, &backed), 5 * MIB / PAGE);
    assert_false(backed);
    assert_int_equal(qy_port_look(mm, block + 3 * MIB - PAGE, 5, &backed), 1);
    assert_true(backed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_moves_takes_the_memory_of_holes, build, tear_down),
        cmocka_unit_test_setup_teardown(what_stays_takes_the_memory_of_holes, build, tear_down),
        cmocka_unit_test_setup_teardown(short_holes_are_left_alone, build, tear_down),
        cmocka_unit_test_setup_teardown(a_long_run_is_laid_where_there_is_memory, build, tear_down),
        cmocka_unit_test_setup_teardown(a_place_that_was_lost_is_made_again, build, tear_down),
        cmocka_unit_test_setup_teardown(what_was_moved_halfway_comes_back, build, tear_down),
        cmocka_unit_test_setup_teardown(pages_with_and_without_memory_are_told_apart, build,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
