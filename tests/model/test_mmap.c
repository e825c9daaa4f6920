/*
 * test_mmap.c - a file that is used by pointers and by calls, against an array
 */
#include "sim.h"
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "pointer.h"
#include "reclaim/file.h"
#include "space/space.h"

#include <quarry/slab.h>

#define MOST_PAGES 96u
#define AREAS 6
#define STEPS 30000

struct area {
    char *at; /* NULL: none */
    struct qy_space *space;
    uint64_t first, pages; /* of the file */
    uint32_t prot[MOST_PAGES];
    unsigned pins[MOST_PAGES];
};

static struct backing backing;
static struct test_memory memory;
static struct qy_mm *mm;
static struct qy_space *spaces[2];
static struct qy_file *file;
static struct area areas[AREAS];
static unsigned char bytes[MOST_PAGES * PAGE];
static uint64_t length;

/* ---- areas ---- */

static void map(struct random *random, struct area *area)
{
    struct qy_error error = {0};
    area->space = spaces[random_below(random, 2)];
    area->first = random_below(random, MOST_PAGES - 1);
    area->pages = 1 + random_below(random, MOST_PAGES - area->first);
    uint32_t prot = random_one_in(random, 3) ? QY_PROT_READ : QY_PROT_READ | QY_PROT_WRITE;
    uint32_t flags = random_one_in(random, 4) ? QY_AREA_POPULATE : 0;
    area->at = qy_space_map_file(area->space, file, area->first * PAGE, area->pages * PAGE, prot,
                                 flags, &error);
    if (area->at == NULL)
        test_fail("%s", error.text);
    for (uint64_t i = 0; i < area->pages; i++) {
        area->prot[i] = prot;
        area->pins[i] = 0;
    }
}

/** The end of it, or all. */
static void unmap(struct random *random, struct area *area)
{
    uint64_t first = random_one_in(random, 2) ? 0 : random_below(random, area->pages);
    bool pinned = false;
    for (uint64_t i = first; i < area->pages; i++)
        pinned |= area->pins[i] > 0;
    int code = qy_space_unmap(area->space, area->at + first * PAGE, (area->pages - first) * PAGE);
    assert_int_equal(code, pinned ? -EBUSY : 0);
    area->pages = code == 0 ? first : area->pages;
    area->at = area->pages > 0 ? area->at : NULL;
}

static void protect(struct random *random, struct area *area, uint64_t i)
{
    static const uint32_t some[] = {QY_PROT_NONE, QY_PROT_READ, QY_PROT_READ | QY_PROT_WRITE};
    uint32_t prot = some[random_below(random, COUNT_OF(some))];
    uint64_t count = 1 + random_below(random, area->pages - i);
    assert_int_equal(qy_space_protect(area->space, area->at + i * PAGE, count * PAGE, prot), 0);
    while (count-- > 0)
        area->prot[i++] = prot;
}

static void access_byte(struct random *random, const struct area *area, uint64_t i)
{
    if (random_one_in(random, 4) && length / PAGE - area->first < area->pages)
        i = length / PAGE - area->first; /* behind the end as well */
    bool write = random_one_in(random, 2);
    uint64_t in_page = random_below(random, PAGE), at = (area->first + i) * PAGE + in_page;
    bool there = area->first + i < (length + PAGE - 1) / PAGE;
    bool may = area->prot[i] & (write ? QY_PROT_WRITE : QY_PROT_READ);
    int code;
    unsigned char *byte = pointer_at(mm, area->space, area->at + i * PAGE + in_page, write, &code);
    assert_int_equal(code, there && may ? 0 : -EFAULT);
    if (byte == NULL)
        return;
    if (at < length && *byte != bytes[at])
        test_fail("byte %llu is %u by a pointer, not %u", (unsigned long long)at, *byte, bytes[at]);
    if (write)
        *byte = (unsigned char)random_next(random);
    if (write && at < length)
        bytes[at] = *byte;
}

static void pin(struct random *random, struct area *area, uint64_t i)
{
    qy_pfn_t pfn;
    for (uint64_t at = 0; at < area->pages; at++)
        if (area->pins[at] > 0 && random_one_in(random, 2)) {
            assert_int_equal(qy_space_unpin(area->space, area->at + at * PAGE, PAGE), 0);
            area->pins[at]--;
            return;
        }
    bool there = area->first + i < (length + PAGE - 1) / PAGE;
    int code = qy_space_pin(area->space, area->at + i * PAGE, PAGE,
                            random_one_in(random, 2) ? QY_PIN_SHORT : QY_PIN_LONG, &pfn);
    assert_int_equal(code, there ? 0 : -EFAULT);
    area->pins[i] += code == 0;
    if (code == 0)
        assert_int_equal(pfn, qy_space_translate(area->space, area->at + i * PAGE));
}

/* ---- the file ---- */

static void write_file(struct random *random)
{
    static unsigned char buffer[3 * PAGE];
    uint64_t at = random_below(random, sizeof(bytes) - sizeof(buffer));
    size_t count = 1 + random_below(random, sizeof(buffer));
    for (size_t i = 0; i < count; i++)
        buffer[i] = (unsigned char)random_next(random);
    assert_int_equal(qy_file_write(file, buffer, count, at), count);
    if (at > length)
        memset(bytes + length, 0, at - length);
    memcpy(bytes + at, buffer, count);
    length = at + count > length ? at + count : length;
}

static void read_file(struct random *random)
{
    static unsigned char buffer[5 * PAGE];
    uint64_t at = random_below(random, length + 1), count = random_below(random, sizeof(buffer));
    uint64_t there = length - at < count ? length - at : count;
    assert_int_equal(qy_file_read(file, buffer, count, at), there);
    assert_memory_equal(buffer, bytes + at, there);
}

static void cut(struct random *random)
{
    uint64_t to = random_below(random, sizeof(bytes));
    bool pinned = false;
    for (unsigned a = 0; a < AREAS; a++)
        for (uint64_t i = 0; areas[a].at != NULL && i < areas[a].pages; i++)
            pinned |= areas[a].pins[i] > 0 && (areas[a].first + i) * PAGE >= to;
    int code = qy_file_truncate(file, to);
    assert_int_equal(code, pinned && to < length ? -EBUSY : 0);
    if (code != 0)
        return;
    if (to > length)
        memset(bytes + length, 0, to - length);
    length = to;
}

/** As somebody does who wants its frame. */
static void move(struct random *random)
{
    uint32_t page = (uint32_t)random_below(random, MOST_PAGES);
    uint32_t frame = qy_index_get(&file->index, page);
    struct qy_mapping *mapping = &file->mapping;
    if (frame == QY_NO_FRAME || mapping->ops->isolate(mapping, page, mm->start_pfn + frame, 1) != 1)
        return;
    bool fresh;
    qy_pfn_t from = mm->start_pfn + frame;
    qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 0, &fresh);
    if (to != QY_PFN_NONE)
        memcpy(qy_frame_address(mm, to), qy_frame_address(mm, from), PAGE);
    assert_int_equal(mapping->ops->putback(mapping, page, from, to != QY_PFN_NONE ? to : from, 1),
                     0);
}

static void sync(void)
{
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.length, length);
    assert_memory_equal(backing.bytes, bytes, length);
}

static void step(struct random *random)
{
    struct area *area = &areas[random_below(random, AREAS)];
    unsigned kind = (unsigned)random_below(random, 40);
    if (kind == 0)
        sync();
    else if (kind == 1)
        write_file(random);
    else if (kind <= 3)
        read_file(random);
    else if (kind == 4)
        cut(random);
    else if (kind == 5)
        qy_file_drop(file);
    else if (kind == 6)
        qy_reclaim(mm, random_below(random, 50));
    else if (kind <= 8)
        move(random);
    else if (area->at == NULL)
        map(random, area);
    else if (kind == 9)
        unmap(random, area);
    else if (kind == 10)
        protect(random, area, random_below(random, area->pages));
    else if (kind == 11)
        pin(random, area, random_below(random, area->pages));
    else
        access_byte(random, area, random_below(random, area->pages));
}

/** A region takes part of the memory, so that pins and what is changed have to leave it. */
static void make_regions(void)
{
    qy_lend_set_type(mm, 4 * GIB / PAGE, 512, QY_MIGRATE_CMA);
    qy_lend_set_type(mm, 4 * GIB / PAGE + 512, 512, QY_MIGRATE_GUARANTEED);
    mm->zones[QY_ZONE_NORMAL].lends_eagerly = true;
}

/* Wrong if it failed: some order of calls and accesses would show other bytes than were written, or
 * lose some. */
static void like_an_array(void **state)
{
    struct random random = {test_seed()};
    (void)state;
    test_memory_lendable(&memory, 8 * MIB, 1);
    mm = memory.mm;
    make_regions();
    length = 50 * PAGE + 77;
    backing_fill(&backing, length);
    memcpy(bytes, backing.bytes, length);
    for (unsigned i = 0; i < 2; i++)
        spaces[i] = qy_space_create(mm, i ? "two" : "one", 64 * MIB, NULL);
    file = qy_file_create(mm, "array", &backing_ops, &backing, length, NULL);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&random);
        if (i % 100 == 0)
            test_rules(mm);
    }
    for (unsigned a = 0; a < AREAS; a++)
        for (uint64_t i = 0; areas[a].at != NULL && i < areas[a].pages; i++)
            while (areas[a].pins[i]-- > 0)
                assert_int_equal(qy_space_unpin(areas[a].space, areas[a].at + i * PAGE, PAGE), 0);
    sync();
    assert_int_equal(qy_file_close(file), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(qy_space_destroy(spaces[i]), 0);
    assert_int_equal(backing.closes, 1);
    assert_memory_equal(backing.bytes, bytes, length);
    test_rules(mm);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(like_an_array)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
