/*
 * test_cache.c - the rules of cached files, each broken
 */
#include "breaking.h"

#include "backing.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

static struct backing backing;

static struct qy_file *cached_file(struct test_memory *memory)
{
    static unsigned char buffer[8 * PAGE];
    memset(&backing, 0, sizeof(backing));
    backing_fill(&backing, MIB);
    test_memory_lendable(memory, 16 * MIB, 1);
    struct qy_file *file = qy_file_create(memory->mm, "array", &backing_ops, &backing, MIB, NULL);
    assert_non_null(file);
    assert_int_equal(qy_file_read(file, buffer, sizeof(buffer), 0), sizeof(buffer));
    assert_int_equal(qy_file_write(file, buffer, PAGE, 3 * PAGE), PAGE);
    assert_non_null(qy_file_pin(file, 5, false, NULL));
    test_rules(memory->mm);
    return file;
}

static struct qy_folio *folio_at(struct qy_file *file, uint32_t page)
{
    return qy_file_folio(file, qy_index_get(&file->index, page));
}

/* Wrong if it failed: a page could be on a list twice, or never be found by reclaim, or be written
 * back by nobody, and nothing would say so. */
static void pages(void **state)
{
    struct test_memory memory;
    struct qy_file *file = cached_file(&memory);
    struct qy_mm *mm = memory.mm;
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    (void)state;
    struct qy_mapping *mapping = atomic_load(&folio_at(file, 1)->mapping);
    assert_ptr_equal(mapping, file);
    BREAK(mm, "V1", folio_at(file, 1)->index, 2);
    BREAK(mm, "W1", folio_at(file, 1)->lru, QY_LRU_NONE);
    BREAK(mm, "W1", folio_at(file, 1)->lru, QY_LRU_ACTIVE);
    BREAK(mm, "W2", vmscan->list[QY_LRU_ORDINARY][QY_LRU_INACTIVE].count, 3);
    BREAK(mm, "W2", file->nr_pages, 3);
    BREAK(mm, "W2", file->nr_dirty, 0);
    BREAK(mm, "W2", file->nr_pinned, 0);
    BREAK(mm, "W2", vmscan->nr_dirty, 7);
    BREAK(mm, "W5", folio_at(file, 3)->flags, 0);
    BREAK(mm, "W5", folio_at(file, 4)->flags, QY_FOLIO_DIRTY);
    assert_int_equal(qy_file_unpin(file, 5), 0);
    assert_int_equal(qy_file_close(file), 0);
    test_memory_free(&memory);
}

/* Wrong if it failed: a region that promises its frames at once could wait for somebody. */
static void guaranteed(void **state)
{
    struct test_memory memory;
    struct qy_file *file = cached_file(&memory);
    struct qy_mm *mm = memory.mm;
    (void)state;
    struct qy_pageblock *block = &mm->blocks[qy_index_get(&file->index, 3) / 512];
    uint8_t was = block->migratetype;
    test_rules(mm);
    block->migratetype = QY_MIGRATE_GUARANTEED;
    expect_broken(mm, "W4");
    block->migratetype = was;
    assert_int_equal(qy_file_unpin(file, 5), 0);
    assert_int_equal(qy_file_close(file), 0);
    test_memory_free(&memory);
}

/* Wrong if it failed: a pin that somebody else holds would be taken from him. */
static void pins(void **state)
{
    struct test_memory memory;
    struct qy_file *file = cached_file(&memory);
    (void)state;
    test_quiet(true);
    assert_int_equal(qy_file_unpin(file, 4), -EINVAL);
    assert_string_equal(memory.mm->last_fault, "W3");
    assert_int_equal(qy_file_unpin(file, 200), -EINVAL);
    assert_int_equal(qy_file_unpin(file, UINT64_MAX), -EINVAL);
    test_quiet(false);
    assert_int_equal(memory.mm->nr_faults, 3);
    assert_int_equal(qy_file_close(file), -EBUSY);
    assert_int_equal(qy_file_unpin(file, 5), 0);
    assert_int_equal(qy_file_close(file), 0);
    test_memory_free(&memory);
}

/* Wrong if it failed: a mover could move a page under somebody who has it pinned (V3), or a reader
 * get at a page that is on its way (V2). */
static void movers(void **state)
{
    struct test_memory memory;
    struct qy_file *file = cached_file(&memory);
    struct qy_mm *mm = memory.mm;
    const struct qy_mapping_ops *ops = file->mapping.ops;
    qy_pfn_t pinned = mm->start_pfn + qy_index_get(&file->index, 5);
    qy_pfn_t other = mm->start_pfn + qy_index_get(&file->index, 1);
    (void)state;
    assert_int_equal(ops->isolate(&file->mapping, 5, pinned, 1), -EBUSY); /* V3 */
    assert_int_equal(ops->drop(&file->mapping, 5, pinned, 1), -EBUSY);    /* V3 */
    assert_int_equal(ops->isolate(&file->mapping, 1, pinned, 1), -EAGAIN);
    assert_int_equal(ops->isolate(&file->mapping, 1, other, 1), 1);
    assert_int_equal(ops->isolate(&file->mapping, 1, other, 1), -EAGAIN); /* V2 */
    assert_int_equal(ops->drop(&file->mapping, 1, other, 1), -EAGAIN);    /* V2 */
    assert_false(qy_file_evict(file, 1, (uint32_t)qy_frame_index(mm, other), true));
    test_rules(mm);
    assert_int_equal(ops->putback(&file->mapping, 1, other, other, 1), 0);
    assert_int_equal(ops->drop(&file->mapping, 1, other, 1), 1);
    assert_int_equal(qy_index_get(&file->index, 1), QY_NO_FRAME);
    assert_int_equal(qy_file_unpin(file, 5), 0);
    assert_int_equal(qy_file_close(file), 0);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages),
        cmocka_unit_test(guaranteed),
        cmocka_unit_test(pins),
        cmocka_unit_test(movers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
