/*
 * test_truncate.c - files become shorter and longer, and what lies behind an end
 */
#include "support.h"

#include "backing.h"
#include "reclaim/file.h"

#include <quarry/buddy.h>

#define LENGTH (20 * PAGE + 1000)

static struct backing backing;
static struct test_memory memory;
static int truncate_code;
static uint64_t truncates;

static int truncate_if(void *cookie, uint64_t bytes)
{
    truncates++;
    return truncate_code != 0 ? truncate_code : backing_truncate(cookie, bytes);
}

static struct qy_file *open_file(uint64_t bytes, bool can_truncate, bool can_write)
{
    struct qy_file_ops ops = backing_ops;
    ops.truncate = can_truncate ? truncate_if : NULL;
    ops.write = can_write ? backing_write : NULL;
    memset(&backing, 0, sizeof(backing));
    truncates = 0;
    truncate_code = 0;
    backing_fill(&backing, bytes);
    test_memory_lendable(&memory, 16 * MIB, 1);
    struct qy_file *file = qy_file_create(memory.mm, "array", &ops, &backing, bytes, NULL);
    assert_non_null(file);
    return file;
}

static void close_file(struct qy_file *file)
{
    test_rules(memory.mm);
    assert_int_equal(qy_file_close(file), 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

static struct qy_file_stat stat_of(struct qy_file *file)
{
    struct qy_file_stat stat;
    qy_file_stat(file, &stat);
    return stat;
}

static void read_all(struct qy_file *file)
{
    static unsigned char buffer[BACKING_MOST];
    assert_int_equal(qy_file_read(file, buffer, sizeof(buffer), 0), qy_file_bytes(file));
}

static uint64_t pages_of(uint64_t bytes)
{
    return (bytes + PAGE - 1) / PAGE;
}

/* ---- against an array ---- */

static unsigned char content[64 * PAGE];
static uint64_t length;

static void compare(struct qy_file *file)
{
    static unsigned char buffer[sizeof(content) + 1];
    assert_int_equal(qy_file_bytes(file), length);
    assert_int_equal(qy_file_read(file, buffer, sizeof(buffer), 0), length);
    assert_memory_equal(buffer, content, length);
    assert_true(stat_of(file).pages <= pages_of(length));
}

static void step(struct qy_file *file, struct random *random)
{
    static unsigned char data[3 * PAGE];
    uint64_t at = random_below(random, sizeof(content) - sizeof(data));
    switch (random_below(random, 4)) {
    case 0:
        at = random_one_in(random, 2) ? at / PAGE * PAGE + random_below(random, 3) : at;
        assert_int_equal(qy_file_truncate(file, at), 0);
        if (at > length)
            memset(content + length, 0, at - length);
        length = at;
        break;
    case 1: {
        uint64_t bytes = 1 + random_below(random, sizeof(data));
        memset(data, (int)random_below(random, 255) + 1, bytes);
        assert_int_equal(qy_file_write(file, data, bytes, at), bytes);
        if (at > length)
            memset(content + length, 0, at - length);
        memcpy(content + at, data, bytes);
        length = at + bytes > length ? at + bytes : length;
        break;
    }
    case 2:
        qy_file_drop(file);
        break;
    default:
        compare(file);
    }
}

/* Wrong if it failed: what was cut off would come back, zeros be something else, or a page be read
 * as it was before. */
static void like_an_array(void **state)
{
    struct random random = {test_seed()};
    struct qy_file *file = open_file(10000, true, true);
    (void)state;
    memcpy(content, backing.bytes, 10000);
    length = 10000;
    for (unsigned i = 0; i < 1500; i++) {
        step(file, &random);
        if (random_one_in(&random, 20)) {
            assert_int_equal(qy_file_sync(file), 0);
            assert_int_equal(backing.length, length);
            assert_memory_equal(backing.bytes, content, length);
        }
    }
    compare(file);
    close_file(file);
}

/* ---- the tail ---- */

/* Wrong if it failed: pages behind the end would stay in memory, or be written where the file does
 * not reach; or the part of a page that is left would go with the rest. */
static void tail_goes(void **state)
{
    static unsigned char data[LENGTH], buffer[PAGE];
    static const uint64_t ends[] = {
        10 * PAGE, 10 * PAGE - 1, 7 * PAGE + 1, 7 * PAGE, 6 * PAGE + 77, 1, 0};
    struct qy_file *file = open_file(LENGTH, true, true);
    (void)state;
    memset(data, 9, sizeof(data));
    assert_int_equal(qy_file_write(file, data, LENGTH, 0), LENGTH);
    for (unsigned i = 0; i < COUNT_OF(ends); i++) {
        assert_int_equal(qy_file_truncate(file, ends[i]), 0);
        assert_int_equal(qy_file_bytes(file), ends[i]);
        assert_int_equal(stat_of(file).pages, pages_of(ends[i]));
        assert_int_equal(stat_of(file).dirty, pages_of(ends[i]));
        assert_int_equal(backing.length, ends[i]);
        uint64_t last = ends[i] > 0 ? ends[i] - 1 : 0;
        assert_int_equal(qy_file_read(file, buffer, PAGE, last), ends[i] > 0);
        assert_int_equal(buffer[0], 9);
        test_rules(memory.mm);
    }
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.length, 0);
    assert_int_equal(stat_of(file).written, 0);
    close_file(file);
}

/* ---- pins ---- */

/* Wrong if it failed: a page would be cut away under a pointer into it; or a pin in front of the
 * end would keep a file as long as it is. */
static void pinned_ones_stay(void **state)
{
    struct qy_file *file = open_file(LENGTH, true, true);
    (void)state;
    read_all(file);
    unsigned char *pinned = qy_file_pin(file, 5, true, NULL);
    assert_non_null(pinned);
    static const uint64_t refused[] = {0, 1, 4 * PAGE, 4 * PAGE + 1, 5 * PAGE - 1, 5 * PAGE};
    for (unsigned i = 0; i < COUNT_OF(refused); i++) {
        assert_int_equal(qy_file_truncate(file, refused[i]), -EBUSY);
        assert_int_equal(qy_file_bytes(file), LENGTH);
        assert_int_equal(stat_of(file).pages, pages_of(LENGTH));
    }
    assert_int_equal(truncates, 0);
    assert_memory_equal(pinned, backing.bytes + 5 * PAGE, PAGE);
    assert_int_equal(qy_file_truncate(file, 30 * PAGE), 0);
    assert_int_equal(qy_file_truncate(file, 6 * PAGE), 0);
    assert_int_equal(qy_file_truncate(file, 5 * PAGE + 2), 0);
    assert_int_equal(qy_file_truncate(file, 5 * PAGE + 1), 0);
    assert_int_equal(pinned[0], backing.bytes[5 * PAGE]);
    assert_int_equal(pinned[1], 0);
    assert_int_equal(stat_of(file).pages, 6);
    assert_int_equal(qy_file_unpin(file, 5), 0);
    assert_int_equal(qy_file_truncate(file, 5 * PAGE), 0);
    assert_int_equal(stat_of(file).pages, 5);
    close_file(file);
}

/* ---- what is refused ---- */

/* Wrong if it failed: a file would be called as long as it is not, or lose what its backing still
 * has. */
static void refused(void **state)
{
    static unsigned char buffer[PAGE];
    struct qy_file *file = open_file(LENGTH, true, true);
    (void)state;
    read_all(file);
    truncate_code = -EPERM;
    assert_int_equal(qy_file_truncate(file, PAGE + 5), -EPERM);
    assert_int_equal(qy_file_truncate(file, 2 * LENGTH), -EPERM);
    assert_int_equal(qy_file_bytes(file), LENGTH);
    assert_int_equal(stat_of(file).pages, pages_of(LENGTH));
    uint64_t calls = backing.reads;
    assert_int_equal(qy_file_read(file, buffer, PAGE, PAGE), PAGE);
    assert_memory_equal(buffer, backing.bytes + PAGE, PAGE);
    assert_int_equal(backing.reads, calls);
    truncate_code = 0;
    assert_int_equal(qy_file_truncate(file, (UINT64_C(1) << 44) - PAGE + 1), -EFBIG);
    assert_int_equal(qy_file_truncate(file, LENGTH), 0);
    assert_int_equal(stat_of(file).pages, pages_of(LENGTH));
    close_file(file);

    file = open_file(LENGTH, false, true);
    assert_int_equal(qy_file_truncate(file, LENGTH - 1), -ENOTSUP);
    assert_int_equal(qy_file_bytes(file), LENGTH);
    assert_int_equal(qy_file_truncate(file, LENGTH + 1), 0); /* nothing need be done */
    assert_int_equal(qy_file_bytes(file), LENGTH + 1);
    assert_int_equal(qy_file_read(file, buffer, PAGE, LENGTH), 1);
    assert_int_equal(buffer[0], 0);
    close_file(file);

    file = open_file(LENGTH, true, false);
    assert_int_equal(qy_file_truncate(file, 0), -EROFS);
    assert_int_equal(qy_file_truncate(file, LENGTH + 1), -EROFS);
    assert_int_equal(qy_file_bytes(file), LENGTH);
    assert_int_equal(truncates, 0);
    close_file(file);
}

/* Wrong if it failed: dropping would lose what was written, or what is pinned; or count others than
 * it dropped. */
static void dropped(void **state)
{
    static unsigned char data[PAGE];
    struct qy_file *file = open_file(LENGTH, true, true);
    (void)state;
    read_all(file);
    memset(data, 3, sizeof(data));
    assert_int_equal(qy_file_write(file, data, PAGE, 2 * PAGE), PAGE);
    assert_non_null(qy_file_pin(file, 7, false, NULL));
    uint64_t before = qy_free_frames(memory.mm);
    assert_int_equal(qy_file_drop(file), pages_of(LENGTH) - 2);
    assert_true(qy_free_frames(memory.mm) >= before + pages_of(LENGTH) - 2);
    assert_int_equal(stat_of(file).pages, 2);
    assert_int_equal(qy_file_drop(file), 0);
    assert_int_equal(qy_file_unpin(file, 7), 0);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(qy_file_drop(file), 2);
    assert_int_equal(backing.bytes[2 * PAGE + 5], 3);
    close_file(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_an_array),    cmocka_unit_test(tail_goes),
        cmocka_unit_test(pinned_ones_stay), cmocka_unit_test(refused),
        cmocka_unit_test(dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
