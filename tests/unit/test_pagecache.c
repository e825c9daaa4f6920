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
    test_memory_lendable(&memory, memory_bytes, 1);
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

/* Wrong if it failed: a backing that takes several pieces at once would be given them one by one,
 * in a wrong order, or be believed to have taken what it had no room for. */
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
    test_memory_lendable(&memory, 32 * MIB, 1);
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

/** A region of 1024 frames where nobody has any: at the start, or behind what is there. */
static void make_region(struct qy_mm *mm)
{
    struct qy_claimed found = {0};
    uint32_t claim = qy_claim_number(mm);
    qy_pfn_t pfn = 4 * GIB / PAGE;
    qy_claim(mm, claim, pfn, 1024, &found);
    while (found.held != 1024) {
        qy_unclaim(mm, claim, pfn, 1024);
        found = (struct qy_claimed){0};
        pfn += 1024;
        qy_claim(mm, claim, pfn, 1024, &found);
    }
    qy_lend_set_type(mm, pfn, 1024, QY_MIGRATE_CMA);
    assert_int_equal(qy_unclaim(mm, claim, pfn, 1024), 1024);
    mm->zones[QY_ZONE_NORMAL].lends_eagerly = true;
}

static qy_pfn_t taken[8192];
static unsigned nr_taken;

/** Pages 0 .. 499 lie in a region, 600 .. 699 and some behind outside; nothing else is free. */
static struct qy_file *file_in_region(void)
{
    static unsigned char buffer[PAGE];
    struct qy_file *file = open_file(16 * MIB, 4 * MIB);
    struct qy_mm *mm = memory.mm;
    for (uint64_t page = 600; page < 700; page++) /* outside: there is no region yet */
        assert_int_equal(qy_file_read(file, buffer, PAGE, page * PAGE), PAGE);
    make_region(mm);
    for (uint64_t page = 0; page < 500; page++)
        assert_int_equal(qy_file_read(file, buffer, PAGE, page * PAGE), PAGE);
    nr_taken = 0;
    while ((taken[nr_taken] = qy_alloc_pages(mm, QY_GFP_NOWAIT | QY_GFP_NOWARN, 0)) != QY_PFN_NONE)
        nr_taken++;
    return file;
}

static void close_region_file(struct qy_file *file)
{
    test_rules(memory.mm);
    while (nr_taken > 0)
        assert_int_equal(qy_free_pages(memory.mm, taken[--nr_taken], 0), 0);
    close_file(file);
}

static bool lies_in_region(const struct qy_file *file, uint64_t page)
{
    return qy_frame_in_region(memory.mm,
                              qy_index_get((struct qy_index *)&file->index, (uint32_t)page));
}

static void check_leaving(bool dirty)
{
    struct qy_file *file = file_in_region();
    for (uint32_t page = 0; dirty && qy_index_next(&file->index, &page, false); page++)
        if (!lies_in_region(file, page))
            assert_int_equal(qy_file_write(file, backing.bytes + page * PAGE, 1, page * PAGE), 1);
    uint64_t before = stat_of(file).pages + qy_free_frames(memory.mm);
    for (uint64_t page = 0; page < 40; page++) {
        assert_true(lies_in_region(file, page));
        unsigned char *bytes = qy_file_pin(file, page, page % 2, NULL);
        assert_non_null(bytes);
        assert_false(lies_in_region(file, page));
        assert_memory_equal(bytes, backing.bytes + page * PAGE, PAGE);
    }
    assert_int_equal(stat_of(file).pinned, 40);
    assert_int_equal(stat_of(file).pages + qy_free_frames(memory.mm), before);
    for (uint64_t page = 0; page < 40; page++)
        assert_int_equal(qy_file_unpin(file, page), 0);
    close_region_file(file);
}

/* Wrong if it failed: what is pinned would stay in a region when no frame is free elsewhere, though
 * other pages could make way; or frames be lost on the way. */
static void pins_leave_a_full_region(void **state)
{
    (void)state;
    check_leaving(false);
    check_leaving(true);
}

/* Wrong if it failed: a page that can make way would not be asked because it is the only one; or
 * one that cannot leave be pinned where it lies. */
static void the_last_one_makes_way(void **state)
{
    struct qy_file *file = file_in_region();
    uint32_t first = 600;
    int code;
    (void)state;
    assert_true(qy_index_next(&file->index, &first, false));
    for (uint32_t page = first + 1; qy_index_next(&file->index, &page, false); page++)
        assert_non_null(qy_file_pin(file, page, false, NULL));
    assert_non_null(qy_file_pin(file, 0, false, NULL));
    assert_int_equal(qy_index_get(&file->index, first), QY_NO_FRAME);
    assert_null(qy_file_pin(file, 1, false, &code));
    assert_int_equal(code, -ENOMEM);
    assert_int_equal(qy_file_unpin(file, 0), 0);
    for (uint32_t page = first + 1; qy_index_next(&file->index, &page, false); page++)
        assert_int_equal(qy_file_unpin(file, page), 0);
    close_region_file(file);
}

/* Wrong if it failed: a page that is pinned as often as can be counted could not be read, or be
 * pinned once more. */
static void pinned_by_all(void **state)
{
    unsigned char buffer[PAGE];
    struct qy_file *file = open_file(16 * MIB, 1 * MIB);
    int code;
    (void)state;
    for (unsigned i = 0; i < UINT16_MAX; i++)
        assert_non_null(qy_file_pin(file, 3, false, NULL));
    assert_null(qy_file_pin(file, 3, false, &code));
    assert_int_equal(code, -EBUSY);
    assert_int_equal(qy_file_read(file, buffer, PAGE, 3 * PAGE), PAGE);
    assert_memory_equal(buffer, backing.bytes + 3 * PAGE, PAGE);
    assert_int_equal(qy_file_write(file, "new", 3, 3 * PAGE), 3);
    assert_int_equal(qy_file_read(file, buffer, PAGE, 2 * PAGE + PAGE / 2), PAGE);
    assert_memory_equal(buffer + PAGE / 2, "new", 3);
    for (unsigned i = 0; i < UINT16_MAX; i++)
        assert_int_equal(qy_file_unpin(file, 3), 0);
    close_file(file);
}

/* Wrong if it failed: a mover would take a page for clean because another one was written, while it
 * is not; or give it up for lost because it is in use just now. */
static void cleaned_for_a_mover(void **state)
{
    struct qy_file *file = open_file(16 * MIB, 1 * MIB);
    struct qy_mapping *mapping = &file->mapping;
    (void)state;
    assert_int_equal(qy_file_write(file, "first", 5, 0), 5);
    assert_int_equal(qy_file_write(file, "other", 5, 9 * PAGE), 5);
    qy_pfn_t pfn = memory.mm->start_pfn + qy_index_get(&file->index, 0);
    for (int dirty = 2; dirty > 0; dirty--) { /* another page as well, and then none */
        assert_int_equal(mapping->ops->isolate(mapping, 0, pfn, 1), 1);
        assert_int_equal(stat_of(file).dirty, dirty);
        assert_int_equal(mapping->ops->clean(mapping, 0, pfn), -EAGAIN);
        assert_int_equal(stat_of(file).dirty, 1);
        assert_int_equal(mapping->ops->putback(mapping, 0, pfn, pfn, 1), 0);
    }
    assert_int_equal(mapping->ops->clean(mapping, 0, pfn), 1);
    assert_int_equal(stat_of(file).dirty, 0);
    assert_int_equal(mapping->ops->clean(mapping, 0, pfn), 0);
    assert_int_equal(mapping->ops->drop(mapping, 0, pfn, 1), 1);
    close_file(file);
}

/* Wrong if it failed: a mover would be given a run of pages one by one, or more than may go while
 * others wait for the file. */
static void dropped_together(void **state)
{
    static unsigned char buffer[128 * PAGE];
    struct qy_file *file = open_file(16 * MIB, 1 * MIB);
    struct qy_mapping *mapping = &file->mapping;
    (void)state;
    assert_int_equal(qy_file_read(file, buffer, sizeof(buffer), 0), sizeof(buffer));
    uint32_t frame = qy_index_get(&file->index, 0);
    for (uint32_t page = 0; page < 128; page++) /* neighbours are lent in order */
        assert_int_equal(qy_index_get(&file->index, page), frame + page);
    qy_pfn_t pfn = memory.mm->start_pfn + frame;
    assert_int_equal(mapping->ops->drop(mapping, 0, pfn, 10), 10);
    assert_int_equal(mapping->ops->drop(mapping, 0, pfn, 10), -EAGAIN);
    assert_int_equal(mapping->ops->drop(mapping, 10, pfn + 10, 118), 64);
    assert_non_null(qy_file_pin(file, 80, false, NULL));
    assert_int_equal(mapping->ops->drop(mapping, 74, pfn + 74, 20), 6);
    assert_int_equal(mapping->ops->drop(mapping, 80, pfn + 80, 20), -EBUSY);
    assert_int_equal(qy_file_unpin(file, 80), 0);
    assert_int_equal(stat_of(file).pages, 48);
    close_file(file);
}

/* Wrong if it failed: who writes much at once where dirty pages lie here and there would leave more
 * dirty than can be written back in time. */
static void held_back(void **state)
{
    static unsigned char data[128 * PAGE];
    struct qy_file *file = open_file(8 * MIB, 0);
    (void)state;
    for (uint64_t page = 0; page < 350; page++)
        assert_int_equal(qy_file_write(file, data, PAGE, 2 * page * PAGE), PAGE);
    assert_int_equal(stat_of(file).dirty, 350);
    for (uint64_t page = 800; page < 1024 - 128; page += 32) {
        assert_int_equal(qy_file_write(file, data, sizeof(data), page * PAGE), sizeof(data));
        assert_in_range(stat_of(file).dirty, 200, 2048 / 5);
    }
    for (unsigned half = 0; half < 2; half++) { /* then before where it wrote last */
        assert_int_equal(qy_file_sync(file), 0);
        for (uint64_t page = half == 0 ? 512 : 0; page < 1024 - half * 512; page += 128) {
            assert_int_equal(qy_file_write(file, data, sizeof(data), page * PAGE), sizeof(data));
            assert_in_range(stat_of(file).dirty, 128, 2048 / 5);
        }
    }
    close_file(file);
}

static struct qy_file *looked_at;
static uint64_t most_writeback;

static int64_t write_looked_at(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    struct qy_cache_stat stat;
    qy_cache_stat(memory.mm, &stat);
    most_writeback = stat.writeback > most_writeback ? stat.writeback : most_writeback;
    assert_int_equal(stat.dirty, stat_of(looked_at).dirty);
    assert_true(stat.dirty + stat.writeback <= 300);
    return backing_write(cookie, offset, buffer, bytes);
}

/* Wrong if it failed: what is just being written would be missing from the figures, what was would
 * stay in them, or a run of pages be longer than what is dirty. */
static void figures_while_written(void **state)
{
    static unsigned char data[300 * PAGE];
    const struct qy_file_ops ops = {.read = backing_read,
                                    .write = write_looked_at,
                                    .truncate = backing_truncate,
                                    .close = backing_close};
    (void)state;
    memset(&backing, 0, sizeof(backing));
    test_memory_lendable(&memory, 16 * MIB, 1);
    looked_at = qy_file_create(memory.mm, "looked at", &ops, &backing, 0, NULL);
    assert_non_null(looked_at);
    memset(data, 5, sizeof(data));
    most_writeback = 0;
    assert_int_equal(qy_file_write(looked_at, data, 300 * PAGE - 9, 0), 300 * PAGE - 9);
    assert_int_equal(stat_of(looked_at).dirty, 300);
    assert_int_equal(qy_file_sync(looked_at), 0);
    assert_int_equal(most_writeback, 128);
    assert_int_equal(stat_of(looked_at).written, 300);
    assert_int_equal(backing.length, 300 * PAGE - 9);
    assert_memory_equal(backing.bytes, data, 300 * PAGE - 9);
    most_writeback = 0;
    for (uint64_t page = 0; page < 300; page += 2) /* each by itself */
        assert_int_equal(qy_file_write(looked_at, data, PAGE, page * PAGE), PAGE);
    uint64_t calls = backing.writes;
    assert_int_equal(qy_file_sync(looked_at), 0);
    assert_int_equal(backing.writes - calls, 150);
    assert_int_equal(most_writeback, 1);
    close_file(looked_at);
}

/* Wrong if it failed: a page that comes back soon would be taken for a new one, or a new one for
 * one that comes back. */
static void what_is_gone(void **state)
{
    struct qy_file *file = open_file(16 * MIB, MIB);
    struct qy_vmscan *vmscan = qy_vmscan_peek(memory.mm);
    static unsigned char buffer[PAGE];
    unsigned known = 0, strange = 0;
    (void)state;
    for (unsigned page = 0; page < 200; page++)
        assert_int_equal(qy_file_read(file, buffer, PAGE, (uint64_t)page * PAGE), PAGE);
    qy_lock(&vmscan->lock);
    for (uint32_t page = 0; page < 150; page++)
        qy_evicted_note_locked(vmscan, 1000 + page % 3, page * 64);
    for (uint32_t page = 0; page < 150; page++) {
        strange += qy_evicted_lately_locked(vmscan, 1003, page * 64);
        strange += qy_evicted_lately_locked(vmscan, 1000 + page % 3, page * 64 + 1);
        known += qy_evicted_lately_locked(vmscan, 1000 + page % 3, page * 64);
        strange += qy_evicted_lately_locked(vmscan, 1000 + page % 3, page * 64); /* once */
    }
    qy_unlock(&vmscan->lock);
    assert_int_equal(strange, 0);
    assert_in_range(known, 125, 150); /* of 1024 places, one is another's seldom */
    close_file(file);
}

/** The first of these pages that is remembered in this place: from now on. lock held. */
static uint32_t note_at(struct qy_vmscan *vmscan, uint32_t place, uint32_t page)
{
    for (;; page++) {
        qy_evicted_note_locked(vmscan, 1, page);
        if (vmscan->evicted[place].hash != 0)
            return page;
        assert_true(qy_evicted_lately_locked(vmscan, 1, page));
    }
}

/* Wrong if it failed: what is gone would be forgotten when more pages come than there were before,
 * or never. */
static void gone_for_long(void **state)
{
    const size_t bytes = 2048 * sizeof(struct qy_evicted);
    struct qy_file *file = open_file(16 * MIB, 1024 * PAGE - MIB);
    struct qy_vmscan *vmscan = qy_vmscan_peek(memory.mm);
    static unsigned char buffer[PAGE];
    (void)state;
    assert_int_equal(qy_file_read(file, buffer, PAGE, 0), PAGE);
    assert_int_equal(qy_file_read(file, buffer, PAGE, 200 * PAGE), PAGE);
    qy_lock(&vmscan->lock);
    uint32_t first = note_at(vmscan, 0, 5000);
    uint32_t last = note_at(vmscan, vmscan->evicted_mask, first + 1);
    qy_unlock(&vmscan->lock);
    for (uint64_t page = 0; page < 1024; page++) /* as many as are remembered at first */
        assert_int_equal(qy_file_write(file, buffer, PAGE, page * PAGE), PAGE);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(qy_lru_pages(vmscan, QY_LRU_ALL_PLACES), 1024);
    void *used = qy_kmalloc(memory.mm, bytes, QY_GFP_KERNEL);
    memset(used, 0xff, bytes); /* as the new table's memory may be */
    assert_int_equal(qy_kfree(memory.mm, used), 0);
    qy_evicted_grow(vmscan);
    void *object = qy_kmalloc(memory.mm, bytes, QY_GFP_KERNEL);
    assert_non_null(object);
    memset(object, 0xff, bytes); /* it is nobody else's */
    assert_int_equal(qy_kfree(memory.mm, object), 0);
    qy_lock(&vmscan->lock);
    assert_int_equal(vmscan->evicted_mask, 2047);
    unsigned remembered = 0;
    for (unsigned i = 0; i < 2048; i++)
        remembered += vmscan->evicted[i].hash != 0;
    assert_int_equal(remembered, 2);
    assert_true(qy_evicted_lately_locked(vmscan, 1, first));
    assert_true(qy_evicted_lately_locked(vmscan, 1, last));
    qy_evicted_note_locked(vmscan, 1, 5001);
    for (uint32_t page = 0; page <= 1024; page++)
        qy_evicted_note_locked(vmscan, 1, 100000 + page % 7);
    assert_false(qy_evicted_lately_locked(vmscan, 1, 5001)); /* too long ago */
    qy_unlock(&vmscan->lock);
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
        cmocka_unit_test(pins_leave_a_full_region),
        cmocka_unit_test(figures_while_written),
        cmocka_unit_test(the_last_one_makes_way),
        cmocka_unit_test(pinned_by_all),
        cmocka_unit_test(cleaned_for_a_mover),
        cmocka_unit_test(dropped_together),
        cmocka_unit_test(held_back),
        cmocka_unit_test(what_is_gone),
        cmocka_unit_test(gone_for_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
