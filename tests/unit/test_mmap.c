/*
 * test_mmap.c - areas of spaces whose pages are a cached file's
 */
#include "sim.h"
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "pointer.h"
#include "reclaim/file.h"
#include "space/space.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>
#include <quarry/space.h>

#define FILE_PAGES 64u

static struct backing backing;
static struct test_memory memory;
static struct qy_mm *mm;
static struct qy_space *space, *other;
static struct qy_file *file;
static unsigned char page_of[PAGE];

static int setup(void **state)
{
    (void)state;
    memset(&backing, 0, sizeof(backing));
    backing_fill(&backing, FILE_PAGES * PAGE);
    test_memory_lendable(&memory, 16 * MIB, 1);
    mm = memory.mm;
    space = qy_space_create(mm, "one", 64 * MIB, NULL);
    other = qy_space_create(mm, "two", 64 * MIB, NULL);
    file = qy_file_create(mm, "array", &backing_ops, &backing, FILE_PAGES * PAGE, NULL);
    assert_non_null(space);
    assert_non_null(other);
    assert_non_null(file);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rules(mm);
    if (file != NULL)
        assert_int_equal(qy_file_close(file), 0);
    assert_int_equal(qy_space_destroy(space), 0);
    assert_int_equal(qy_space_destroy(other), 0);
    assert_int_equal(backing.closes, 1);
    test_rules(mm);
    assert_int_equal(qy_lru_pages(qy_vmscan_peek(mm), QY_LRU_ALL_PLACES), 0);
    test_memory_free(&memory);
    return 0;
}

static char *map(uint64_t page, uint64_t pages, uint32_t prot)
{
    char *at = qy_space_map_file(space, file, page * PAGE, pages * PAGE, prot, 0, NULL);
    assert_non_null(at);
    return at;
}

static int peek_in(struct qy_space *where, const char *at)
{
    int code;
    const unsigned char *byte = pointer_at(mm, where, at, false, &code);
    return byte != NULL ? *byte : code;
}

static int peek(const char *at)
{
    return peek_in(space, at);
}

static int poke(const char *at, unsigned char value)
{
    int code;
    unsigned char *byte = pointer_at(mm, space, at, true, &code);
    if (byte != NULL)
        *byte = value;
    return code;
}

static struct qy_folio *folio(uint32_t page)
{
    return qy_file_folio(file, qy_index_get(&file->index, page));
}

static qy_pfn_t frame(uint32_t page)
{
    return mm->start_pfn + qy_index_get(&file->index, page);
}

static uint64_t resident(struct qy_space *where)
{
    struct qy_space_stat stat;
    qy_space_stat(where, &stat);
    return stat.resident;
}

/* Wrong if it failed: the pointer would show other bytes than the file has, or a copy of them. */
static void reads(void **state)
{
    char *at = map(3, 8, QY_PROT_READ);
    (void)state;
    for (unsigned page = 0; page < 8; page++)
        for (unsigned byte = 0; byte < PAGE; byte += 1001)
            assert_int_equal(peek(at + page * PAGE + byte),
                             backing.bytes[(3 + page) * PAGE + byte]);
    for (unsigned page = 0; page < 8; page++)
        assert_int_equal(qy_space_translate(space, at + page * PAGE), frame(3 + page));
    assert_int_equal(poke(at, 1), -EFAULT);
    assert_int_equal(qy_space_protect(space, at, PAGE, QY_PROT_NONE), 0);
    assert_int_equal(peek(at), -EFAULT);
    assert_int_equal(peek(at + PAGE), backing.bytes[4 * PAGE]);
}

/* Wrong if it failed: what was written by a pointer would not be read by a call, or never reach
 * the file; or the other way round. */
static void writes(void **state)
{
    char *at = map(0, 4, QY_PROT_WRITE);
    (void)state;
    assert_int_equal(peek(at + PAGE), backing.bytes[PAGE]);
    assert_false(folio(1)->flags & QY_FOLIO_DIRTY);
    assert_int_equal(poke(at + PAGE + 5, 77), 0);
    assert_true(folio(1)->flags & QY_FOLIO_DIRTY);
    test_rules(mm);
    assert_int_equal(qy_file_read(file, page_of, PAGE, PAGE), PAGE);
    assert_int_equal(page_of[5], 77);
    page_of[6] = 78;
    assert_int_equal(qy_file_write(file, page_of, PAGE, PAGE), PAGE);
    assert_int_equal(peek(at + PAGE + 6), 78);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.bytes[PAGE + 5], 77);
    assert_int_equal(backing.bytes[PAGE + 6], 78);
}

/* Wrong if it failed: what is written by a pointer after a page was written back would be lost. */
static void written_again_after_write_back(void **state)
{
    char *at = map(0, 4, QY_PROT_WRITE);
    (void)state;
    for (unsigned round = 1; round < 4; round++) {
        assert_int_equal(poke(at + 2 * PAGE, (unsigned char)round), 0);
        assert_int_equal(qy_file_sync(file), 0);
        assert_int_equal(backing.bytes[2 * PAGE], round);
        assert_false(folio(2)->flags & QY_FOLIO_DIRTY);
        test_rules(mm);
    }
    struct qy_file_stat stat;
    qy_file_stat(file, &stat);
    assert_int_equal(stat.dirty, 0);
    assert_int_equal(qy_file_drop(file), stat.pages);
    assert_int_equal(resident(space), 0);
    assert_int_equal(peek(at + 2 * PAGE), 3);
}

/* Wrong if it failed: a frame would be given up while somebody has it by a pointer. */
static void given_up_while_mapped(void **state)
{
    char *at = map(0, FILE_PAGES, QY_PROT_WRITE);
    (void)state;
    for (unsigned page = 0; page < FILE_PAGES; page++)
        assert_int_equal(peek(at + page * PAGE), backing.bytes[page * PAGE]);
    assert_int_equal(resident(space), FILE_PAGES);
    assert_int_equal(poke(at + 9 * PAGE, 9), 0);
    assert_int_equal(qy_file_drop(file), FILE_PAGES - 1); /* one is dirty */
    assert_int_equal(resident(space), 1);
    test_rules(mm);
    for (unsigned page = 0; page < FILE_PAGES; page++)
        assert_int_equal(peek(at + page * PAGE), page == 9 ? 9 : backing.bytes[page * PAGE]);
    assert_int_equal(qy_reclaim(mm, FILE_PAGES), FILE_PAGES);
    assert_int_equal(resident(space), 0);
    assert_int_equal(backing.bytes[9 * PAGE], 9);
}

/* Wrong if it failed: pages that an area had had could not be given up, or cut off, once it was
 * gone. */
static void given_up_after_the_last_area(void **state)
{
    (void)state;
    for (unsigned end = 0; end < 2; end++) {
        char *at = map(0, 8, QY_PROT_WRITE);
        for (unsigned page = 0; page < 8; page++)
            assert_int_equal(poke(at + page * PAGE, (unsigned char)(page + 1)), 0);
        assert_int_equal(qy_space_unmap(space, at, 8 * PAGE), 0);
        assert_int_equal(qy_file_sync(file), 0);
        if (end == 0)
            qy_file_drop(file);
        else
            assert_int_equal(qy_file_truncate(file, 0), 0);
        for (uint32_t page = 0; page < 8; page++)
            assert_int_equal(qy_index_get(&file->index, page), QY_NO_FRAME);
        test_rules(mm);
    }
}

/* Wrong if it failed: a frame would leave one of its places and stay in another. */
static void one_page_in_many_places(void **state)
{
    char *first = map(0, 8, QY_PROT_WRITE), *second = map(2, 8, QY_PROT_READ);
    char *third = qy_space_map_file(other, file, 5 * PAGE, 3 * PAGE, QY_PROT_WRITE, 0, NULL);
    (void)state;
    assert_non_null(third);
    assert_int_equal(poke(first + 5 * PAGE, 50), 0);
    assert_int_equal(peek(second + 3 * PAGE), 50);
    assert_int_equal(peek_in(other, third), 50);
    assert_int_equal(qy_space_translate(space, second + 3 * PAGE), frame(5));
    assert_int_equal(qy_space_translate(other, third), frame(5));
    test_rules(mm);
    assert_int_equal(qy_file_sync(file), 0);
    struct qy_mapping *mapping = &file->mapping;
    assert_int_equal(mapping->ops->drop(mapping, 5, frame(5), 1), 1);
    assert_int_equal(qy_space_translate(space, first + 5 * PAGE), QY_PFN_NONE);
    assert_int_equal(qy_space_translate(space, second + 3 * PAGE), QY_PFN_NONE);
    assert_int_equal(qy_space_translate(other, third), QY_PFN_NONE);
    assert_int_equal(peek_in(other, third), 50);
    assert_int_equal(qy_space_unmap(space, second, 8 * PAGE), 0);
    test_rules(mm);
    assert_int_equal(peek(first + 5 * PAGE), 50);
}

/* Wrong if it failed: a page would be on one frame for the file and on another for a pointer. */
static void moved_while_mapped(void **state)
{
    char *at = map(0, 16, QY_PROT_WRITE);
    struct qy_mapping *mapping = &file->mapping;
    bool fresh;
    (void)state;
    for (unsigned page = 0; page < 16; page++)
        assert_int_equal(poke(at + page * PAGE, (unsigned char)(100 + page)), 0);
    qy_pfn_t from = frame(4), to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 0, &fresh);
    assert_int_equal(mapping->ops->isolate(mapping, 4, from, 1), 1);
    assert_int_equal(qy_space_translate(space, at + 4 * PAGE), QY_PFN_NONE);
    memcpy(qy_frame_address(mm, to), qy_frame_address(mm, from), PAGE);
    assert_int_equal(mapping->ops->putback(mapping, 4, from, to, 1), 0);
    test_rules(mm);
    for (unsigned page = 0; page < 16; page++)
        assert_int_equal(peek(at + page * PAGE), 100 + page);
    assert_int_equal(qy_space_translate(space, at + 4 * PAGE), to);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.bytes[4 * PAGE], 104); /* it was dirty on the way as well */
}

/* Wrong if it failed: an area that was cut would have pages of another place of the file. */
static void cut_and_joined(void **state)
{
    char *at = map(10, 20, QY_PROT_WRITE);
    struct qy_space_stat stat;
    (void)state;
    for (unsigned page = 0; page < 20; page++)
        assert_int_equal(peek(at + page * PAGE), backing.bytes[(10 + page) * PAGE]);
    assert_int_equal(qy_space_unmap(space, at + 5 * PAGE, 3 * PAGE), 0);
    assert_int_equal(qy_space_protect(space, at + 12 * PAGE, 2 * PAGE, QY_PROT_READ), 0);
    test_rules(mm);
    assert_int_equal(peek(at + 5 * PAGE), -EFAULT);
    assert_int_equal(peek(at + 8 * PAGE), backing.bytes[18 * PAGE]);
    assert_int_equal(poke(at + 12 * PAGE, 1), -EFAULT);
    assert_int_equal(poke(at + 14 * PAGE, 1), 0);
    qy_space_stat(space, &stat);
    assert_int_equal(stat.areas, 4);
    assert_int_equal(qy_space_protect(space, at + 12 * PAGE, 2 * PAGE, QY_PROT_WRITE), 0);
    assert_int_equal(poke(at + 12 * PAGE, 1), 0);
    qy_space_stat(space, &stat);
    assert_int_equal(stat.areas, 2);
    char *behind = map(33, 2, QY_PROT_WRITE); /* right behind it, but of another place */
    qy_space_stat(space, &stat);
    assert_int_equal(stat.areas, 3);
    assert_int_equal(peek(behind), backing.bytes[33 * PAGE]);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.bytes[22 * PAGE], 1);
    assert_int_equal(backing.bytes[24 * PAGE], 1);
}

/* Wrong if it failed: a page behind the end would be reached, or show what was there before. */
static void the_end_of_the_file(void **state)
{
    char *at = map(60, 8, QY_PROT_WRITE);
    (void)state;
    assert_int_equal(peek(at + 3 * PAGE), backing.bytes[63 * PAGE]);
    assert_int_equal(peek(at + 4 * PAGE), -EFAULT);
    assert_int_equal(poke(at + 4 * PAGE, 1), -EFAULT);
    assert_int_equal(poke(at + 2 * PAGE + 200, 99), 0);
    assert_int_equal(qy_file_truncate(file, 62 * PAGE + 100), 0);
    test_rules(mm);
    assert_int_equal(peek(at + 3 * PAGE), -EFAULT);
    assert_int_equal(peek(at + 2 * PAGE + 99), backing.bytes[62 * PAGE + 99]);
    assert_int_equal(peek(at + 2 * PAGE + 200), 0);
    assert_int_equal(poke(at + 2 * PAGE + 300, 98), 0); /* behind the end, in its page */
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.length, 62 * PAGE + 100);
    assert_int_equal(qy_file_truncate(file, 66 * PAGE), 0);
    assert_int_equal(peek(at + 2 * PAGE + 300), 0);
    assert_int_equal(peek(at + 5 * PAGE), 0);
    assert_int_equal(qy_file_truncate(file, 65 * PAGE + 5), 0);
    assert_int_equal(poke(at + 5 * PAGE + 5, 97), 0);
    assert_int_equal(qy_file_write(file, "x", 1, 67 * PAGE), 1);
    assert_int_equal(peek(at + 5 * PAGE + 5), 0);
    assert_int_equal(peek(at + 7 * PAGE), 'x');
}

/* Wrong if it failed: a frame that a device writes to would go, or its bytes would not be written
 * back. */
static void pins(void **state)
{
    char *at = map(0, 8, QY_PROT_WRITE), *read_only = map(8, 8, QY_PROT_READ);
    struct qy_space_stat stat;
    qy_pfn_t pfns[3];
    (void)state;
    assert_int_equal(qy_space_pin(space, at + PAGE, 3 * PAGE, QY_PIN_SHORT, pfns), 0);
    assert_int_equal(qy_space_pin(space, at + 2 * PAGE, PAGE, QY_PIN_LONG, NULL),
                     0); /* they nest */
    test_rules(mm);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pfns[i], frame(1 + i));
    qy_space_stat(space, &stat);
    assert_int_equal(stat.pinned, 3);
    assert_int_equal(qy_file_sync(file), 0);
    ((char *)qy_frame_address(mm, pfns[1]))[7] = 66; /* after the sync: it stays dirty */
    qy_file_drop(file);
    assert_int_equal(qy_space_translate(space, at + 2 * PAGE), pfns[1]);
    struct qy_mapping *mapping = &file->mapping;
    assert_int_equal(mapping->ops->isolate(mapping, 2, pfns[1], 1), -EBUSY);
    assert_int_equal(qy_space_unmap(space, at, 2 * PAGE), -EBUSY);
    assert_int_equal(qy_space_destroy(space), -EBUSY);
    assert_int_equal(qy_file_close(file), -EBUSY);
    assert_int_equal(qy_file_truncate(file, PAGE), -EBUSY);
    assert_int_equal(qy_space_unpin(space, at + PAGE, 3 * PAGE), 0);
    assert_int_equal(qy_space_unmap(space, at, 2 * PAGE), 0);
    assert_int_equal(qy_space_unmap(space, at + 2 * PAGE, PAGE), -EBUSY);
    assert_int_equal(qy_space_unpin(space, at + 2 * PAGE, PAGE), 0);
    test_quiet(true);
    assert_int_equal(qy_space_unpin(space, at + 2 * PAGE, PAGE), -EINVAL);
    test_quiet(false);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.bytes[2 * PAGE + 7], 66);
    assert_int_equal(qy_space_pin(space, read_only, PAGE, QY_PIN_SHORT, pfns), 0);
    assert_false(folio(8)->flags & QY_FOLIO_DIRTY);
    assert_int_equal(qy_space_pin(space, read_only, 9 * PAGE, QY_PIN_SHORT, NULL), -EFAULT);
    assert_int_equal(qy_space_unpin(space, read_only, PAGE), 0);
    test_rules(mm);
    assert_int_equal(qy_space_unmap(space, read_only, 8 * PAGE), 0);
}

/* Wrong if it failed: a pointer would outlive its file, or what was written by it would be lost. */
static void closed_while_mapped(void **state)
{
    char *at = map(0, 4, QY_PROT_WRITE);
    (void)state;
    assert_int_equal(poke(at, 1), 0);
    assert_int_equal(qy_file_close(file), 0);
    assert_int_equal(backing.bytes[0], 1);
    assert_int_equal(backing.closes, 0);
    assert_int_equal(poke(at, 2), 0);
    assert_int_equal(peek(at + PAGE), backing.bytes[PAGE]);
    test_rules(mm);
    assert_int_equal(qy_space_unmap(space, at, 3 * PAGE), 0);
    assert_int_equal(backing.closes, 0);
    assert_int_equal(qy_space_unmap(space, at, 4 * PAGE), 0);
    assert_int_equal(backing.closes, 1);
    assert_int_equal(backing.bytes[0], 2);
    file = NULL;
}

/* Wrong if it failed: what could not be written back after the file was closed would be lost
 * without a word. */
static void closed_and_unwritable(void **state)
{
    char *at = map(0, 4, QY_PROT_WRITE);
    (void)state;
    assert_int_equal(qy_file_close(file), 0);
    assert_int_equal(poke(at, 2), 0);
    backing.fail_write = 1;
    assert_int_equal(qy_sim_lines(), 0);
    assert_int_equal(qy_space_unmap(space, at, 4 * PAGE), 0);
    assert_int_equal(backing.closes, 1);
    assert_int_equal(qy_sim_lines(), 1);
    assert_non_null(strstr(qy_sim_last_line(), "file array: "));
    file = NULL;
}

/* Wrong if it failed: a page that cannot be read would be shown as if it could. */
static void unreadable(void **state)
{
    char *at = map(0, 32, QY_PROT_WRITE);
    (void)state;
    backing.bad_from = 5;
    backing.bad_to = 6;
    uint64_t lines = qy_sim_lines();
    assert_int_equal(peek(at + 5 * PAGE), -EIO);
    assert_int_equal(qy_sim_lines(), lines + 1);
    assert_non_null(strstr(qy_sim_last_line(), "file array: page 5 "));
    assert_int_equal(poke(at + 5 * PAGE, 1), -EIO);
    assert_int_equal(peek(at + 4 * PAGE), backing.bytes[4 * PAGE]);
    assert_int_equal(peek(at + 6 * PAGE), backing.bytes[6 * PAGE]);
    assert_null(qy_space_map_file(space, file, 0, 32 * PAGE, QY_PROT_READ, QY_AREA_POPULATE, NULL));
    backing.bad_to = 0;
    assert_int_equal(peek(at + 5 * PAGE), backing.bytes[5 * PAGE]);
    test_rules(mm);
}

/* Wrong if it failed: a wrong call would make an area, or leave something behind. */
static void wrong_calls(void **state)
{
    struct qy_error error = {0};
    const struct qy_file_ops read_only = {.read = backing_read};
    (void)state;
    assert_null(qy_space_map_file(space, file, 1, PAGE, QY_PROT_READ, 0, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_space_map_file(space, file, 0, 0, QY_PROT_READ, 0, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_space_map_file(space, file, 0, PAGE, 4, 0, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_space_map_file(space, file, 0, PAGE, QY_PROT_READ, QY_AREA_HUGE, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_space_map_file(space, file, 0, PAGE, QY_PROT_READ, QY_AREA_PRIVATE, &error));
    assert_int_equal(error.code, -ENOTSUP);
    assert_null(qy_space_map_file(space, file, UINT64_C(1) << 44, PAGE, QY_PROT_READ, 0, &error));
    assert_int_equal(error.code, -EFBIG);
    assert_null(qy_space_map_file(space, file, 0, GIB, QY_PROT_READ, 0, &error));
    assert_int_equal(error.code, -ENOMEM);
    struct qy_file *rom = qy_file_create(mm, "rom", &read_only, &backing, PAGE, NULL);
    assert_null(qy_space_map_file(space, rom, 0, PAGE, QY_PROT_WRITE, 0, &error));
    assert_int_equal(error.code, -EROFS);
    char *at = qy_space_map_file(space, rom, 0, PAGE, QY_PROT_READ, 0, &error);
    assert_non_null(at);
    assert_int_equal(qy_space_protect(space, at, PAGE, QY_PROT_WRITE), -EROFS);
    assert_int_equal(peek(at), backing.bytes[0]);
    assert_int_equal(qy_file_close(rom), 0);
    assert_int_equal(qy_space_unmap(space, at, PAGE), 0);
    test_rules(mm);
}

/* Wrong if it failed: each page would cost a fault, though its neighbours lie beside it. */
static void neighbours_come_along(void **state)
{
    (void)state;
    char *at = map(0, FILE_PAGES, QY_PROT_WRITE);
    assert_int_equal(peek(at + 20 * PAGE), backing.bytes[20 * PAGE]);
    assert_int_equal(qy_file_sync(file), 0);
    for (unsigned page = 16; page < 32; page++) /* they came in a row */
        assert_int_equal(frame(page), frame(16) + page - 16);
    assert_int_equal(resident(space), 16);
    for (unsigned page = 16; page < 32; page++) {
        assert_int_equal(qy_file_unmap(file, 16, 16), 0);
        assert_int_equal(peek(at + page * PAGE), backing.bytes[page * PAGE]);
        assert_int_equal(resident(space), 16);
    }
    assert_int_equal(poke(at + 20 * PAGE, 3), 0); /* but none becomes dirty along */
    struct qy_file_stat stat;
    qy_file_stat(file, &stat);
    assert_int_equal(stat.dirty, 1);
}

/* Wrong if it failed: who comes here and there would have fifteen pages read for each that he
 * wants. */
static void here_and_there(void **state)
{
    const unsigned pages = BACKING_MOST / PAGE;
    struct qy_file_stat before, after;
    (void)state;
    backing_fill(&backing, BACKING_MOST);
    assert_int_equal(qy_file_truncate(file, BACKING_MOST), 0);
    char *at = map(0, pages, QY_PROT_READ);
    for (unsigned round = 0; round < 8; round++) { /* 128 misses */
        for (unsigned page = 5; page < pages; page += 64)
            assert_int_equal(peek(at + page * PAGE), backing.bytes[page * PAGE]);
        qy_file_drop(file);
    }
    for (unsigned page = 5; page < pages; page += 64) {
        qy_file_stat(file, &before);
        assert_int_equal(peek(at + page * PAGE), backing.bytes[page * PAGE]);
        qy_file_stat(file, &after);
        assert_int_equal(after.pages, before.pages + 1);
    }
}

/* Wrong if it failed: a page that is used by a pointer all the time would be given up like one that
 * nobody uses. */
static void used_by_a_pointer(void **state)
{
    const unsigned pages = BACKING_MOST / PAGE;
    uint64_t again = 0;
    (void)state;
    backing_fill(&backing, BACKING_MOST);
    assert_int_equal(qy_file_truncate(file, BACKING_MOST), 0);
    char *at = map(0, pages, QY_PROT_READ);
    for (unsigned page = 0; page < pages; page++)
        peek(at + page * PAGE);
    for (unsigned round = 0; round < 400; round++) {
        for (unsigned page = 0; page < 4; page++) {
            uint64_t before = backing.reads;
            assert_int_equal(peek(at + page * PAGE), backing.bytes[page * PAGE]);
            again += backing.reads - before;
        }
        while (qy_lru_pages(qy_vmscan_peek(mm), QY_LRU_ALL_PLACES) > pages * 3 / 4)
            assert_true(qy_reclaim(mm, 16) >= 16);
        for (unsigned i = 0; i < 16; i++) /* others come and go */
            peek(at + (16 + (round * 16 + i) % (pages - 16)) * PAGE);
    }
    assert_true(again <= 16); /* of 1600 */
}

static void come_and_go(void)
{
    char *at = map(0, FILE_PAGES, QY_PROT_WRITE), *rest = map(2, 5, QY_PROT_READ);
    for (unsigned page = 0; page < FILE_PAGES; page++)
        assert_int_equal(poke(at + page * PAGE, 1), 0);
    assert_int_equal(qy_space_protect(space, at + 7 * PAGE, 9 * PAGE, QY_PROT_READ), 0);
    assert_int_equal(qy_space_pin(space, rest, 2 * PAGE, QY_PIN_LONG, NULL), 0);
    assert_int_equal(qy_space_unpin(space, rest, 2 * PAGE), 0);
    assert_int_equal(qy_file_sync(file), 0);
    qy_file_drop(file);
    assert_int_equal(qy_space_unmap(space, at + 20 * PAGE, PAGE), 0);
    assert_int_equal(qy_space_unmap(space, at, FILE_PAGES * PAGE), 0);
    assert_int_equal(qy_space_unmap(space, rest, 5 * PAGE), 0);
    assert_int_equal(space->nr_areas, 0);
}

/* Wrong if it failed: each area of a file would cost memory that nobody gives back. */
static void nothing_is_left(void **state)
{
    (void)state;
    come_and_go(); /* what comes once stays */
    test_make_classes(mm);
    uint64_t before = test_live_objects(mm);
    come_and_go();
    assert_int_equal(test_live_objects(mm), before);
}

/* Wrong if it failed: who writes more than may be dirty would have his page written back, and taken
 * from him, before he has written to it, again and again; or nobody would hold him back. */
static void held_back(void **state)
{
    const unsigned pages = BACKING_MOST / PAGE;
    struct qy_file_stat stat;
    qy_pfn_t taken[5];
    (void)state;
    backing_fill(&backing, BACKING_MOST);
    assert_int_equal(qy_file_truncate(file, BACKING_MOST), 0);
    for (unsigned i = 0; i < 5;
         i++) /* what is left: some 1,500 frames, of which a fifth may be dirty */
        taken[i] = qy_alloc_pages(mm, QY_GFP_KERNEL, 9);
    char *at = map(0, pages, QY_PROT_WRITE);
    for (unsigned page = pages; page > 0;
         page -= 2) /* the first that is dirty, without neighbours */
        assert_int_equal(poke(at + (page - 2) * PAGE, (unsigned char)page), 0);
    qy_file_stat(file, &stat);
    assert_in_range(stat.dirty, 150, 400);
    assert_int_equal(qy_file_sync(file), 0);
    for (unsigned page = pages; page > 0; page -= 2)
        assert_int_equal(backing.bytes[(page - 2) * PAGE], (unsigned char)page);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(qy_free_pages(mm, taken[i], 9), 0);
}

/* Wrong if it failed: a guaranteed region could not have its frames back at once, or a pin for long
 * would stay in a region. */
static void not_in_regions(void **state)
{
    (void)state;
    char *at = map(0, 8, QY_PROT_WRITE);
    assert_int_equal(peek(at), backing.bytes[0]);
    struct qy_pageblock *block = &mm->blocks[qy_block_of(mm, frame(0))];
    for (unsigned page = 0; page < 8; page++)
        assert_ptr_equal(block, &mm->blocks[qy_block_of(mm, frame(page))]);
    qy_pfn_t first = qy_block_pfn(mm, qy_block_of(mm, frame(0)));
    qy_lend_set_type(mm, first, 512, QY_MIGRATE_CMA);
    qy_pfn_t pfn, before = frame(0);
    assert_int_equal(qy_space_pin(space, at, PAGE, QY_PIN_LONG, &pfn), 0);
    assert_int_not_equal(pfn, before);
    assert_ptr_not_equal(block, &mm->blocks[qy_block_of(mm, pfn)]);
    assert_int_equal(peek(at), backing.bytes[0]);
    assert_int_equal(qy_space_unpin(space, at, PAGE), 0);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(qy_file_unmap(file, 0, 8), 0);
    qy_lend_set_type(mm, first, 512, QY_MIGRATE_GUARANTEED);
    assert_int_equal(peek(at + PAGE), backing.bytes[PAGE]);
    assert_ptr_not_equal(block, &mm->blocks[qy_block_of(mm, frame(1))]);
    assert_int_equal(mm->blocks[qy_block_of(mm, frame(1))].migratetype, QY_MIGRATE_MOVABLE);
    test_rules(mm);
    qy_lend_set_type(mm, first, 512, QY_MIGRATE_MOVABLE);
}

static unsigned there(uint32_t from, uint32_t to)
{
    unsigned count = 0;
    for (uint32_t page = from; page < to; page++)
        count += qy_index_get(&file->index, page) != QY_NO_FRAME;
    return count;
}

/* Wrong if it failed: pages that areas have would all be thrown out unseen, or all be passed over;
 * or one that is touched when it was taken away for a look would go before one that is not. */
static void on_trial(void **state)
{
    struct qy_cache_stat stat;
    char *at = map(0, FILE_PAGES, QY_PROT_READ);
    (void)state;
    for (unsigned page = 0; page < FILE_PAGES; page++)
        assert_int_equal(peek(at + page * PAGE), backing.bytes[page * PAGE]);
    qy_cache_stat(mm, &stat);
    assert_int_equal(stat.inactive, FILE_PAGES);
    assert_int_equal(resident(space), FILE_PAGES);

    /* A quarter is looked at, the others of the batch of 32 go. */
    assert_int_equal(qy_reclaim(mm, 1), 16);
    assert_int_equal(there(0, 16), 16);
    assert_int_equal(there(16, 32), 0);
    assert_int_equal(there(32, FILE_PAGES), 32);
    assert_int_equal(resident(space), FILE_PAGES - 32);
    for (unsigned page = 0; page < 8; page++)
        peek(at + page * PAGE);
    while (there(8, FILE_PAGES) > 0)
        assert_true(qy_reclaim(mm, 1) > 0);
    assert_int_equal(there(0, 8), 8);
    qy_cache_stat(mm, &stat);
    assert_int_equal(stat.active, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads, setup, teardown),
        cmocka_unit_test_setup_teardown(writes, setup, teardown),
        cmocka_unit_test_setup_teardown(written_again_after_write_back, setup, teardown),
        cmocka_unit_test_setup_teardown(given_up_while_mapped, setup, teardown),
        cmocka_unit_test_setup_teardown(given_up_after_the_last_area, setup, teardown),
        cmocka_unit_test_setup_teardown(one_page_in_many_places, setup, teardown),
        cmocka_unit_test_setup_teardown(moved_while_mapped, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_and_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_of_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(pins, setup, teardown),
        cmocka_unit_test_setup_teardown(closed_while_mapped, setup, teardown),
        cmocka_unit_test_setup_teardown(closed_and_unwritable, setup, teardown),
        cmocka_unit_test_setup_teardown(unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(neighbours_come_along, setup, teardown),
        cmocka_unit_test_setup_teardown(here_and_there, setup, teardown),
        cmocka_unit_test_setup_teardown(used_by_a_pointer, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(held_back, setup, teardown),
        cmocka_unit_test_setup_teardown(not_in_regions, setup, teardown),
        cmocka_unit_test_setup_teardown(on_trial, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
