/*
 * test_pagecache.c - files in memory: what is read, written, pinned, synced and cut
 */
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

static struct backing backing;
static struct test_memory memory;

static struct qy_file *open_file(uint64_t memory_bytes, uint64_t file_bytes)
{
    struct qy_error error = {0};
    memset(&backing, 0, sizeof(backing));
    backing_fill(&backing, file_bytes);
    backing_memory(&memory, memory_bytes, 1);
    struct qy_file *file =
        qy_file_create(memory.mm, "array", &backing_ops, &backing, file_bytes, &error);
    assert_non_null(file);
    return file;
}

static void close_file(struct qy_file *file)
{
    test_rules(memory.mm);
    assert_int_equal(qy_file_close(file), 0);
    assert_int_equal(backing.closes, 1);
    test_rules(memory.mm);
    struct qy_cache_stat stat;
    qy_cache_stat(memory.mm, &stat);
    assert_int_equal(stat.pages, 0);
    assert_int_equal(stat.dirty, 0);
    assert_int_equal(stat.writeback, 0);
    test_memory_free(&memory);
}

static struct qy_file_stat stat_of(struct qy_file *file)
{
    struct qy_file_stat stat;
    qy_file_stat(file, &stat);
    return stat;
}

/* Wrong if it failed: a reader would get other bytes than the file has, or the backing would be
 * asked for what is in memory. */
static void reads(void **state)
{
    static unsigned char buffer[300000];
    struct qy_file *file = open_file(32 * MIB, 1000000);
    (void)state;
    assert_int_equal(qy_file_read(file, buffer, 10000, 777), 10000);
    assert_memory_equal(buffer, backing.bytes + 777, 10000);
    uint64_t calls = backing.reads;
    assert_int_equal(qy_file_read(file, buffer, 10000, 777), 10000);
    assert_int_equal(backing.reads, calls);
    assert_int_equal(qy_file_read(file, buffer, 300000, 900000), 100000);
    assert_memory_equal(buffer, backing.bytes + 900000, 100000);
    assert_int_equal(qy_file_read(file, buffer, 10, 1000000), 0);
    assert_int_equal(qy_file_read(file, buffer, 10, UINT64_MAX - 3), 0);
    assert_int_equal(qy_file_bytes(file), 1000000);
    close_file(file);
}

/* Wrong if it failed: who reads from beginning to end would pay a call for each page, or who
 * reads here and there would have pages read that nobody wants. */
static void reads_ahead(void **state)
{
    static unsigned char buffer[PAGE];
    struct qy_file *file = open_file(32 * MIB, 4 * MIB);
    struct random random = {7};
    (void)state;
    for (unsigned i = 0; i < 1024; i++) {
        assert_int_equal(qy_file_read(file, buffer, PAGE, (uint64_t)i * PAGE), PAGE);
        assert_memory_equal(buffer, backing.bytes + i * PAGE, PAGE);
    }
    assert_true(stat_of(file).misses <= 12);
    assert_int_equal(stat_of(file).misses + stat_of(file).readahead, 1024);
    assert_int_equal(qy_file_drop(file), 1024);
    uint64_t before = stat_of(file).readahead;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t page = 3 + random_below(&random, 250) * 4;
        assert_int_equal(qy_file_read(file, buffer, PAGE, page * PAGE), PAGE);
        assert_memory_equal(buffer, backing.bytes + page * PAGE, PAGE);
    }
    assert_true(stat_of(file).readahead - before < 40);
    close_file(file);
}

/* Wrong if it failed: what was written would not be read, or not be written back, or neighbours
 * one by one. */
static void writes(void **state)
{
    static unsigned char data[200000], buffer[200000];
    struct qy_file *file = open_file(32 * MIB, 100000);
    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 7 + 1);
    assert_int_equal(qy_file_write(file, data, 10, 5000), 10);
    assert_memory_not_equal(backing.bytes + 5000, data, 10);
    assert_int_equal(qy_file_read(file, buffer, 20, 4995), 20);
    assert_memory_equal(buffer + 5, data, 10);
    assert_memory_equal(buffer, backing.bytes + 4995, 5);
    test_rules(memory.mm);
    assert_int_equal(stat_of(file).dirty, 1);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.syncs, 1);
    assert_memory_equal(backing.bytes + 5000, data, 10);
    assert_int_equal(backing.length, 100000);

    uint64_t calls = backing.writes;
    assert_int_equal(qy_file_write(file, data, 200000, 150000), 200000); /* a hole before it */
    assert_int_equal(qy_file_bytes(file), 350000);
    assert_int_equal(qy_file_sync(file), 0);
    assert_true(backing.writes - calls <= 8);
    assert_int_equal(backing.length, 350000);
    assert_memory_equal(backing.bytes + 150000, data, 200000);
    assert_int_equal(qy_file_read(file, buffer, 50000, 100000), 50000);
    for (size_t i = 0; i < 50000; i++)
        assert_int_equal(buffer[i], 0);
    close_file(file);
}

/* Wrong if it failed: an error of writing back would be told to nobody, or to everybody for ever,
 * or what could not be written would be forgotten. */
static void errors(void **state)
{
    static unsigned char data[PAGE], buffer[PAGE];
    struct qy_file *file = open_file(32 * MIB, MIB);
    (void)state;
    memset(data, 0xab, sizeof(data));
    backing.bad_from = 5;
    backing.bad_to = 6;
    assert_int_equal(qy_file_read(file, buffer, PAGE, 5 * PAGE), -EIO);
    assert_int_equal(qy_file_read(file, buffer, PAGE, 4 * PAGE), PAGE);
    assert_memory_equal(buffer, backing.bytes + 4 * PAGE, PAGE);
    assert_int_equal(qy_file_read(file, buffer, PAGE, 5 * PAGE + 1), -EIO);
    assert_int_equal(qy_file_write(file, data, 10, 5 * PAGE + 1), -EIO);
    assert_int_equal(qy_file_write(file, data, PAGE, 5 * PAGE), PAGE);
    assert_int_equal(qy_file_write(file, data, PAGE, 9 * PAGE), PAGE);
    assert_int_equal(qy_file_sync(file), -EIO);
    assert_memory_equal(backing.bytes + 9 * PAGE, data, PAGE);
    assert_int_equal(stat_of(file).dirty, 1);
    test_rules(memory.mm);
    backing.bad_to = 0;
    assert_int_equal(qy_file_sync(file), 0);
    assert_memory_equal(backing.bytes + 5 * PAGE, data, PAGE);

    backing.fail_write = 1;
    assert_int_equal(qy_file_write(file, data, PAGE, 20 * PAGE), PAGE);
    qy_reclaim(memory.mm, 100000); /* somebody else meets the error */
    assert_int_equal(stat_of(file).errors, 2);
    assert_int_equal(qy_file_sync(file), -EIO);
    assert_int_equal(qy_file_sync(file), 0);
    assert_memory_equal(backing.bytes + 20 * PAGE, data, PAGE);
    close_file(file);
}

static unsigned nr_vectors, longest;
static uint64_t cut_from; /* the backing has no room behind this */

static int64_t read_vector(void *cookie, uint64_t offset, const struct qy_piece *pieces,
                           unsigned count)
{
    int64_t done = 0;
    for (unsigned i = 0; i < count; i++)
        done += backing_read(cookie, offset + (uint64_t)done, pieces[i].base, pieces[i].bytes);
    nr_vectors++;
    return done;
}

static int64_t write_vector(void *cookie, uint64_t offset, const struct qy_piece *pieces,
                            unsigned count)
{
    int64_t done = 0;
    longest = count > longest ? count : longest;
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = offset + (uint64_t)done, bytes = pieces[i].bytes;
        if (at + bytes > cut_from)
            bytes = at < cut_from ? cut_from - at : 0;
        done += backing_write(cookie, at, pieces[i].base, bytes);
    }
    return done;
}

/* Wrong if it failed: a backing that takes several pieces at once would be given them one by one, in
 * a wrong order, or be believed to have taken what it had no room for. */
static void several_pieces_at_once(void **state)
{
    static unsigned char data[400000], buffer[400000];
    const struct qy_file_ops ops = {.read = backing_read,
                                    .write = backing_write,
                                    .readv = read_vector,
                                    .writev = write_vector,
                                    .close = backing_close};
    (void)state;
    assert_int_equal(qy_file_close(open_file(32 * MIB, 1000000)), 0);
    test_memory_free(&memory);
    backing_memory(&memory, 32 * MIB, 1);
    backing.closes = 0;
    struct qy_file *file =
        qy_file_create(memory.mm, "vectors", &ops, &backing, 1000000, &(struct qy_error){0});
    assert_non_null(file);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 7 + i / 251);

    /* Frames in a row are one piece: every other page is there before. */
    for (uint64_t page = 1; page < 64; page += 2)
        assert_int_equal(qy_file_read(file, buffer, 1, page * PAGE), 1);
    nr_vectors = longest = 0;
    assert_int_equal(qy_file_read(file, buffer, sizeof(buffer), 100), sizeof(buffer));
    assert_memory_equal(buffer, backing.bytes + 100, sizeof(buffer));
    assert_true(nr_vectors > 0);
    assert_int_equal(qy_file_write(file, data, sizeof(data), 100), sizeof(data));
    cut_from = UINT64_MAX;
    assert_int_equal(qy_file_sync(file), 0);
    assert_memory_equal(backing.bytes + 100, data, sizeof(data));
    assert_true(longest > 1);

    data[0] ^= 1;
    data[5 * PAGE] ^= 1;
    assert_int_equal(qy_file_write(file, data, sizeof(data), 100), sizeof(data));
    cut_from = 3 * PAGE + 5;
    assert_int_equal(qy_file_sync(file), -EIO);
    assert_true(stat_of(file).dirty > 0);
    test_rules(memory.mm);
    cut_from = UINT64_MAX;
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(stat_of(file).dirty, 0);
    assert_memory_equal(backing.bytes + 100, data, sizeof(data));
    close_file(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_pieces_at_once),
        cmocka_unit_test(reads),
        cmocka_unit_test(reads_ahead),
        cmocka_unit_test(writes),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
