/*
 * test_short.c - memory full of files, heap and holes: who cannot move is refused nothing that the
 *                files could give him
 */
#include "backing.h"
#include "random.h"
#include "support.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#define BYTES (16 * MIB)
#define FRAMES (BYTES / PAGE)
#define ROUNDS 200

static int64_t read_zeros(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    (void)cookie;
    (void)offset;
    memset(buffer, 0, bytes);
    return (int64_t)bytes;
}

static const struct qy_file_ops zeros = {.read = read_zeros};

struct fixture {
    struct test_memory memory;
    struct qy_mm *mm;
    struct qy_file *file;
    struct random random;
};

/** Here and there somebody who cannot move has a frame, of all about so many hundredths. */
static void hold_some(struct fixture *fixture, uint64_t percent)
{
    static qy_pfn_t all[FRAMES];
    unsigned count = 0;
    while ((all[count] = qy_alloc_pages(fixture->mm, QY_GFP_NOWAIT, 0)) != QY_PFN_NONE)
        count++;
    unsigned together = 1u << random_below(&fixture->random, 8);
    bool keep = false;
    for (unsigned i = 0; i < count; i++) {
        if (i % together == 0)
            keep = random_below(&fixture->random, 100) < percent;
        if (!keep)
            assert_int_equal(qy_free_pages(fixture->mm, all[i], 0), 0);
    }
}

static void fill_with_files(struct fixture *fixture)
{
    static char page[PAGE];
    for (uint64_t i = 0; i < FRAMES * 3 / 2; i++)
        assert_int_equal(qy_file_read(fixture->file, page, PAGE, i * PAGE), PAGE);
}

static void set_up(struct fixture *fixture, uint64_t seed)
{
    static const uint64_t kbytes[] = {0, 1, 64, 256, 1024, 4096};
    *fixture = (struct fixture){.random = {seed}};
    test_memory_lendable(&fixture->memory, BYTES, kbytes[random_below(&fixture->random, 6)]);
    fixture->mm = fixture->memory.mm;
    fixture->file = qy_file_create(fixture->mm, "zeros", &zeros, NULL, GIB, NULL);
    assert_non_null(fixture->file);
    test_make_classes(fixture->mm);
    hold_some(fixture, random_below(&fixture->random, 96));
    fill_with_files(fixture);
}

/** What was taken goes with the memory. */
static void tear_down(struct fixture *fixture)
{
    test_rules(fixture->mm);
    assert_int_equal(qy_file_close(fixture->file), 0);
    test_memory_free(&fixture->memory);
}

/* Wrong if it failed: a heap would be told that there is no memory while there is a cache that can
 * be dropped: free frames that a watermark keeps back passed for room that was made. */
static void blocks(void **state)
{
    static struct fixture fixture;
    struct random random = {test_seed()};
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        set_up(&fixture, random_next(&random));
        unsigned order = (unsigned)random_below(&fixture.random, QY_MAX_ORDER + 1), got = 0;
        while (qy_alloc_pages(fixture.mm, QY_GFP_KERNEL | QY_GFP_NOWARN, order) != QY_PFN_NONE)
            got++;
        uint64_t dropped = qy_file_drop(fixture.file);
        qy_drain_all_pages(fixture.mm);
        if (qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT, order) != QY_PFN_NONE)
            test_fail("round %u: order %u is refused after %u, and not without %llu cached pages",
                      round, order, got, (unsigned long long)dropped);
        tear_down(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
