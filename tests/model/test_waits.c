/*
 * test_waits.c - who waits for a page that somebody else reads, writes, cuts off or moves goes on
 *                when that is over: in every order of two CPUs' steps with two preemptions
 */
#include "sim.h"
#include "support.h"

#include "backing.h"
#include "reclaim/file.h"
#include "space/space.h"

#include <errno.h>

#define BYTES (6 * PAGE)

static struct backing backing;
static struct test_memory memory;
static struct qy_file *file;
static struct qy_space *space;
static char *area;
static unsigned char buffers[2][BYTES];
static int64_t results[2];

static int64_t slow_read(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    qy_sim_point();
    int64_t code = backing_read(cookie, offset, buffer, bytes);
    qy_sim_point();
    return code;
}

static int64_t slow_write(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    qy_sim_point();
    int64_t code = backing_write(cookie, offset, buffer, bytes);
    qy_sim_point();
    return code;
}

static int slow_truncate(void *cookie, uint64_t bytes)
{
    qy_sim_point();
    int code = backing_truncate(cookie, bytes);
    qy_sim_point();
    return code;
}

static int setup(void **state)
{
    struct qy_file_ops ops = backing_ops;
    (void)state;
    qy_sim_reset();
    qy_sim_cpu(0);
    ops.read = slow_read;
    ops.write = slow_write;
    ops.truncate = slow_truncate;
    memset(&backing, 0, sizeof(backing));
    backing_fill(&backing, BYTES);
    test_memory_lendable(&memory, 16 * MIB, 1);
    file = qy_file_create(memory.mm, "array", &ops, &backing, BYTES, NULL);
    space = qy_space_create(memory.mm, "test", 4 * MIB, NULL);
    assert_true(file != NULL && space != NULL);
    area = qy_space_map(space, 16 * PAGE, QY_PROT_WRITE, 0, NULL);
    assert_non_null(area);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rules(memory.mm);
    assert_int_equal(qy_space_destroy(space), 0);
    assert_int_equal(qy_file_close(file), 0);
    test_memory_free(&memory);
    return 0;
}

/** Two CPUs at once, in every order; prepare() before, and check() after each. */
static void in_every_order(void (*prepare)(void), void (*work)(int, void *), void (*check)(void))
{
    static struct qy_sim_schedule schedule;
    unsigned orders = 0;
    memset(&schedule, 0, sizeof(schedule));
    do {
        prepare();
        schedule.preemptions = 2;
        qy_sim_run(&schedule, 2, work, NULL);
        check();
        orders++;
    } while (qy_sim_next(&schedule));
    assert_true(orders > 1);
}

/* ---- reading ---- */

static void forget_pages(void)
{
    qy_sim_cpu(0);
    assert_int_equal(qy_file_truncate(file, BYTES), 0);
    assert_int_equal(qy_file_sync(file), 0);
    qy_file_drop(file);
    assert_int_equal(file->nr_pages, 0);
    backing_fill(&backing, BYTES);
    memset(buffers, 0, sizeof(buffers));
}

static void prepare_failing(void)
{
    forget_pages();
    backing.bad_from = 0;
    backing.bad_to = 6;
}

static void read_both(int cpu, void *argument)
{
    (void)argument;
    results[cpu] = qy_file_read(file, buffers[cpu], 3 * PAGE, PAGE);
}

static void check_failed(void)
{
    qy_sim_cpu(0);
    assert_int_equal(results[0], -EIO);
    assert_int_equal(results[1], -EIO);
    assert_int_equal(file->nr_pages, 0);
    assert_int_equal(file->nr_waiters, 0);
    backing.bad_to = 0;
}

static void check_read(void)
{
    qy_sim_cpu(0);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        assert_int_equal(results[cpu], 3 * PAGE);
        assert_memory_equal(buffers[cpu], backing.bytes + PAGE, 3 * PAGE);
    }
    assert_int_equal(file->nr_waiters, 0);
}

/* Wrong if it failed: who waits for a page that somebody else reads would wait for ever, above all
 * if it cannot be read. */
static void two_readers(void **state)
{
    (void)state;
    in_every_order(forget_pages, read_both, check_read);
    in_every_order(prepare_failing, read_both, check_failed);
}

/* ---- writing ---- */

static void prepare_dirty(void)
{
    forget_pages();
    memset(buffers[0], 1, BYTES);
    assert_int_equal(qy_file_write(file, buffers[0], BYTES, 0), BYTES);
}

static void sync_and_write(int cpu, void *argument)
{
    (void)argument;
    qy_sim_point();
    memset(buffers[1], 2, BYTES);
    results[cpu] = cpu == 0 ? qy_file_sync(file) : qy_file_write(file, buffers[1], BYTES, 0);
}

static void check_written(void)
{
    qy_sim_cpu(0);
    assert_int_equal(results[0], 0);
    assert_int_equal(results[1], BYTES);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(file->nr_dirty + file->nr_writeback, 0);
    for (unsigned i = 0; i < BYTES; i++)
        assert_int_equal(backing.bytes[i], 2);
}

/* Wrong if it failed: what is written while a page goes to the backing would be taken for written
 * back, or wait for ever. */
static void writer_beside_sync(void **state)
{
    (void)state;
    in_every_order(prepare_dirty, sync_and_write, check_written);
}

static void sync_both(int cpu, void *argument)
{
    (void)argument;
    results[cpu] = qy_file_sync(file);
    /* What was dirty when it was called is in the backing when it returns. */
    assert_int_equal(backing.bytes[0] & backing.bytes[BYTES - 1], 1);
}

static void check_synced(void)
{
    qy_sim_cpu(0);
    assert_int_equal(results[0] | results[1], 0);
    assert_int_equal(file->nr_dirty + file->nr_writeback, 0);
}

/* Wrong if it failed: a sync would return while another still writes what was dirty before. */
static void two_syncs(void **state)
{
    (void)state;
    in_every_order(prepare_dirty, sync_both, check_synced);
}

/* ---- cutting ---- */

static void cut_and_read(int cpu, void *argument)
{
    (void)argument;
    qy_sim_point();
    results[cpu] = cpu == 0 ? qy_file_truncate(file, PAGE + 7)
                            : qy_file_read(file, buffers[1], 3 * PAGE, PAGE);
}

static void check_cut(void)
{
    qy_sim_cpu(0);
    assert_int_equal(results[0], 0);
    assert_in_range(results[1], 7, 3 * PAGE);
    assert_int_equal(qy_file_bytes(file), PAGE + 7);
    assert_true(file->nr_pages <= 2);
    assert_int_equal(file->nr_waiters, 0);
    assert_int_equal(qy_file_read(file, buffers[0], BYTES, 0), PAGE + 7);
    assert_memory_equal(buffers[0], backing.bytes, PAGE + 7);
    assert_memory_equal(buffers[1], backing.bytes + PAGE, 7);
}

static void prepare_read(void)
{
    backing.length = BYTES;
    forget_pages();
    assert_int_equal(qy_file_read(file, buffers[0], BYTES, 0), BYTES);
}

static void cut_and_sync(int cpu, void *argument)
{
    (void)argument;
    qy_sim_point();
    results[cpu] = cpu == 0 ? qy_file_truncate(file, PAGE + 7) : qy_file_sync(file);
}

static void check_cut_dirty(void)
{
    qy_sim_cpu(0);
    assert_int_equal(results[0] | results[1], 0);
    assert_int_equal(backing.length, PAGE + 7);
    assert_int_equal(file->nr_dirty + file->nr_writeback, 0);
    for (unsigned i = 0; i < PAGE + 7; i++)
        assert_int_equal(backing.bytes[i], 1);
}

static void prepare_one_dirty(void)
{
    forget_pages();
    memset(buffers[0], 1, PAGE);
    assert_int_equal(qy_file_write(file, buffers[0], PAGE, 3 * PAGE), PAGE);
}

static void check_cut_short(void)
{
    qy_sim_cpu(0);
    assert_int_equal(results[0] | results[1], 0);
    assert_int_equal(backing.length, PAGE + 7);
    assert_int_equal(file->nr_pages + file->nr_dirty + file->nr_writeback, 0);
    backing.length = BYTES;
}

/* Wrong if it failed: a page would be cut away under who reads it, stay behind the end, or the file
 * become as long as it was by what is still being written. */
static void cut_while_used(void **state)
{
    (void)state;
    in_every_order(forget_pages, cut_and_read, check_cut);
    in_every_order(prepare_read, cut_and_read, check_cut);
    in_every_order(prepare_dirty, cut_and_sync, check_cut_dirty);
    backing.length = BYTES;
    in_every_order(prepare_one_dirty, cut_and_sync, check_cut_short);
}

/* ---- moving ---- */

static struct {
    struct qy_mapping *mapping;
    uint32_t page;
    qy_pfn_t pfn;
} isolated;

static void isolate(struct qy_mapping *mapping, uint32_t page, qy_pfn_t pfn)
{
    isolated.mapping = mapping;
    isolated.page = page;
    isolated.pfn = pfn;
    assert_int_equal(mapping->ops->isolate(mapping, page, pfn, 1), 1);
}

/** The page goes back to where it was, while a file's is read, an area's unmapped. */
static void put_back_and_use(int cpu, void *argument)
{
    struct qy_mapping *mapping = isolated.mapping;
    (void)argument;
    qy_sim_point();
    if (cpu == 0)
        results[0] = mapping->ops->putback(mapping, isolated.page, isolated.pfn, isolated.pfn, 1);
    else if (mapping == &file->mapping)
        results[1] = qy_file_read(file, buffers[1], 3 * PAGE, PAGE);
    else
        results[1] = qy_space_unmap(space, area, 16 * PAGE);
}

static void prepare_moved(void)
{
    prepare_read();
    memset(buffers, 0, sizeof(buffers));
    isolate(&file->mapping, 1, memory.mm->start_pfn + qy_index_get(&file->index, 1));
}

static void check_moved(void)
{
    qy_sim_cpu(0);
    assert_int_equal(results[0], 0);
    assert_int_equal(results[1], 3 * PAGE);
    assert_memory_equal(buffers[1], backing.bytes + PAGE, 3 * PAGE);
}

/* Wrong if it failed: who reads a page that is being moved would wait for ever. */
static void read_while_moved(void **state)
{
    (void)state;
    in_every_order(prepare_moved, put_back_and_use, check_moved);
}

static void prepare_area(void)
{
    qy_sim_cpu(0);
    area = area != NULL ? area : qy_space_map(space, 16 * PAGE, QY_PROT_WRITE, 0, NULL);
    assert_non_null(area);
    assert_int_equal(qy_space_fault(space, area, true), 0);
    isolate(&space->mapping, 0, qy_space_translate(space, area));
}

static void check_unmapped(void)
{
    qy_sim_cpu(0);
    assert_int_equal(results[0] | results[1], 0);
    assert_int_equal(qy_space_translate(space, area), QY_PFN_NONE);
    struct qy_space_stat stat;
    qy_space_stat(space, &stat);
    assert_int_equal(stat.resident + stat.mapped, 0);
    area = NULL;
}

/* Wrong if it failed: a page that is being moved would be unmapped under its mover, or who unmaps
 * it wait for ever. */
static void unmap_while_moved(void **state)
{
    (void)state;
    in_every_order(prepare_area, put_back_and_use, check_unmapped);
}

static void prepare_own(void)
{
    prepare_read();
    if (area != NULL)
        assert_int_equal(qy_space_unmap(space, area, 16 * PAGE), 0);
    area = qy_space_map(space, BYTES, QY_PROT_WRITE, 0, NULL);
    assert_non_null(area);
}

static void fault_and_replace(int cpu, void *argument)
{
    (void)argument;
    if (cpu == 0) {
        results[0] = qy_space_fault(space, area, true);
        return;
    }
    results[1] = qy_space_unmap(space, area, BYTES);
    assert_ptr_equal(qy_space_map_file(space, file, 0, BYTES, QY_PROT_WRITE, 0, NULL), area);
}

static void check_replaced(void)
{
    qy_sim_cpu(0);
    assert_true(results[0] == 0 || results[0] == -EFAULT);
    assert_int_equal(results[1], 0);
    test_rules(memory.mm);
    assert_int_equal(qy_space_fault(space, area, false), 0);
    assert_int_equal(qy_space_translate(space, area),
                     memory.mm->start_pfn + qy_index_get(&file->index, 0));
    assert_int_equal(qy_space_unmap(space, area, BYTES), 0);
    area = NULL;
}

/* Wrong if it failed: a page of a file's area would be empty memory, because somebody touched the
 * area that had been there before. */
static void replaced_while_touched(void **state)
{
    (void)state;
    in_every_order(prepare_own, fault_and_replace, check_replaced);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_readers, setup, teardown),
        cmocka_unit_test_setup_teardown(writer_beside_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(two_syncs, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_while_used, setup, teardown),
        cmocka_unit_test_setup_teardown(read_while_moved, setup, teardown),
        cmocka_unit_test_setup_teardown(unmap_while_moved, setup, teardown),
        cmocka_unit_test_setup_teardown(replaced_while_touched, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
