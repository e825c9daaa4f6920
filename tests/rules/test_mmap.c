/*
 * test_mmap.c - the rules of areas of files, each broken
 */
#include "sim.h"

#include "breaking.h"

#include "backing.h"
#include "pointer.h"
#include "reclaim/file.h"
#include "space/space.h"

static struct backing backing;
static struct test_memory memory;
static struct qy_space *space;
static struct qy_file *file;
static char *at; /* pages 2 .. 9 of the file; 3 is dirty, 2 and 4 are clean */

static int setup(void **state)
{
    int code;
    (void)state;
    memset(&backing, 0, sizeof(backing));
    backing_fill(&backing, MIB);
    test_memory_lendable(&memory, 16 * MIB, 1);
    space = qy_space_create(memory.mm, "test", 64 * MIB, NULL);
    file = qy_file_create(memory.mm, "array", &backing_ops, &backing, MIB, NULL);
    at = qy_space_map_file(space, file, 2 * PAGE, 8 * PAGE, QY_PROT_WRITE, 0, NULL);
    assert_non_null(at);
    assert_non_null(pointer_at(memory.mm, space, at, false, &code));
    assert_non_null(pointer_at(memory.mm, space, at + PAGE, true, &code));
    assert_non_null(pointer_at(memory.mm, space, at + 2 * PAGE, false, &code));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(qy_file_close(file), 0);
    assert_int_equal(qy_space_destroy(space), 0);
    test_memory_free(&memory);
    return 0;
}

static struct qy_folio *folio_at(uint32_t page)
{
    return qy_file_folio(file, qy_index_get(&file->index, page));
}

/* Wrong if it failed: a frame could go, and stay in an area. */
static void v7_entries_name_the_files_frames(void **state)
{
    struct qy_area *area = qy_area_at(space, 0);
    (void)state;
    BREAK(memory.mm, "V8", area->offset, 3);
    BREAK(memory.mm, "V8", folio_at(2)->flags, 0);
    BREAK(memory.mm, "V8", space->nr_file, 0);
    BREAK(memory.mm, "V5", area->prot, QY_PROT_READ); /* one of them may be written */
}

/* Wrong if it failed: a file would not find an area that has its pages, or be gone before it. */
static void v8_mappers_are_found(void **state)
{
    struct qy_mapper *mapper = qy_area_at(space, 0)->mapper;
    (void)state;
    BREAK(memory.mm, "V9", mapper->users, 2);
    BREAK(memory.mm, "V9", mapper->space, NULL);
    struct qy_list list = mapper->in_backing;
    qy_list_remove(&mapper->in_backing);
    file->users--;
    expect_broken(memory.mm, "V9");
    mapper->in_backing = list;
    file->mappers.next = file->mappers.prev = &mapper->in_backing;
    file->users++;
    test_rules(memory.mm);
}

/* Wrong if it failed: what is written by a pointer would be written back by nobody. */
static void w6_what_may_be_written_is_dirty(void **state)
{
    uint32_t page = 3, frame = qy_index_get(&file->index, page);
    (void)state;
    test_rules(memory.mm);
    qy_file_clear_dirty(file, page, frame);
    expect_broken(memory.mm, "W6");
    qy_file_set_dirty(file, page, frame);
    test_rules(memory.mm);
}

/* Wrong if it failed: a file would go while an area has it, or never. */
static void w7_users_are_counted(void **state)
{
    (void)state;
    BREAK(memory.mm, "W7", file->users, 0);
    BREAK(memory.mm, "W7", file->users, 3);
}

/* Wrong if it failed: a guaranteed region would have to ask a host that may refuse. */
static void w4_no_area_has_guaranteed_frames(void **state)
{
    struct qy_pageblock *block = &memory.mm->blocks[qy_index_get(&file->index, 2) / 512];
    (void)state;
    assert_int_equal(qy_file_sync(file), 0);
    test_rules(memory.mm);
    uint8_t was = block->migratetype;
    block->migratetype = QY_MIGRATE_GUARANTEED;
    expect_broken(memory.mm, "W4");
    block->migratetype = was;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(v7_entries_name_the_files_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(v8_mappers_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(w4_no_area_has_guaranteed_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(w6_what_may_be_written_is_dirty, setup, teardown),
        cmocka_unit_test_setup_teardown(w7_users_are_counted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
