/*
 * test_nofail.c - who must not fail waits for pages that others have in hand
 */
#include "support.h"

#include "backing.h"
#include "reclaim/file.h"

#include <time.h>

#define MUST (QY_GFP_KERNEL | QY_GFP_NOFAIL)

static struct test_memory memory;
static struct backing backing;
static struct qy_file *file;
static qy_pfn_t held; /* the frame of page 0, while somebody moves it */
static unsigned naps;
static unsigned last_nap; /* then it is put back; 0: never */

static void put_back(void)
{
    assert_int_equal(file->mapping.ops->putback(&file->mapping, 0, held, held, 1), 0);
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time;
    (void)left;
    if (++naps == last_nap)
        put_back();
    return 0;
}

static uint64_t reclaim(qy_gfp_t gfp)
{
    return memory.mm->reclaim(memory.mm, gfp, 0);
}

/** A page is cached, and somebody has it in hand; nobody else has anything to give. */
static void set_up(bool dirty)
{
    static const struct qy_file_ops ops = {.read = backing_read, .write = backing_write};
    char bytes[PAGE] = "";
    test_memory_lendable(&memory, 16 * MIB, 1);
    backing.length = PAGE;
    file = qy_file_create(memory.mm, "file", &ops, &backing, PAGE, NULL);
    assert_non_null(file);
    assert_int_equal(qy_file_read(file, bytes, PAGE, 0), PAGE);
    if (dirty)
        assert_int_equal(qy_file_write(file, bytes, PAGE, 0), PAGE);
    qy_file_folio(file, qy_index_get(&file->index, 0))->flags &= (uint8_t)~QY_FOLIO_REFERENCED;
    held = memory.mm->start_pfn + qy_index_get(&file->index, 0);
    assert_int_equal(file->mapping.ops->isolate(&file->mapping, 0, held, 1), 1);
    while (reclaim(QY_GFP_KERNEL) > 0) /* what slabs keep idle */
        ;
    naps = 0;
}

static void tear_down(void)
{
    assert_int_equal(qy_file_close(file), 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: an access by a pointer would end the program because the one page that could
 * go is just being moved or written; or one that may fail would sleep, or both for ever. */
static void waits_for_who_has_it(void **state)
{
    (void)state;
    for (unsigned dirty = 0; dirty < 2; dirty++) {
        set_up(dirty);
        last_nap = 5;
        assert_true(reclaim(MUST) > 0);
        assert_int_equal(naps, 5);
        assert_int_equal(qy_index_get(&file->index, 0), QY_NO_FRAME);
        tear_down();

        set_up(dirty);
        last_nap = 0;
        assert_int_equal(reclaim(QY_GFP_KERNEL), 0);
        assert_int_equal(naps, 0);
        assert_int_equal(reclaim(MUST), 0);
        assert_int_equal(naps, 1000);
        put_back();
        naps = 0;
        assert_non_null(qy_file_pin(file, 0, false, NULL)); /* in nobody's hand, and stays */
        assert_int_equal(reclaim(MUST), 0);
        assert_int_equal(naps, 0);
        assert_int_equal(qy_file_unpin(file, 0), 0);
        tear_down();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_for_who_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
