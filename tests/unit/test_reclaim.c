/*
 * test_reclaim.c - who gives way when memory runs short, and in which order
 */
#include "frames.h"
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

/** The bytes of a file that is too long to be kept in an array: each says where it is. */
static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)(offset / PAGE * 37 + offset % PAGE / 64);
}

struct pattern {
    uint64_t reads, written;
};

static void (*while_reading)(void);
static bool blocks_only; /* as a file that is open with O_DIRECT */

static int64_t pattern_read(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    ((struct pattern *)cookie)->reads++;
    if (blocks_only && (offset | (uintptr_t)buffer | bytes) % 512 != 0)
        return -EINVAL;
    if (while_reading != NULL)
        while_reading();
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)buffer)[i] = byte_at(offset + i);
    return (int64_t)bytes;
}

static int64_t pattern_write(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    (void)offset;
    (void)buffer;
    ((struct pattern *)cookie)->written += bytes;
    return (int64_t)bytes;
}

static const struct qy_file_ops pattern_ops = {.read = pattern_read, .write = pattern_write};

static struct test_memory memory;
static struct pattern pattern;

static struct qy_file *long_file(uint64_t memory_bytes, uint64_t file_bytes)
{
    test_memory_lendable(&memory, memory_bytes, 1);
    pattern = (struct pattern){0};
    struct qy_file *file =
        qy_file_create(memory.mm, "pattern", &pattern_ops, &pattern, file_bytes, NULL);
    assert_non_null(file);
    return file;
}

static void finish(struct qy_file *file)
{
    test_rules(memory.mm);
    assert_int_equal(qy_file_close(file), 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

static void read_page(struct qy_file *file, uint64_t page)
{
    static unsigned char buffer[PAGE];
    if (qy_file_read(file, buffer, PAGE, page * PAGE) != PAGE)
        test_fail("page %llu cannot be read", (unsigned long long)page);
    for (unsigned i = 0; i < PAGE; i += 64)
        if (buffer[i] != byte_at(page * PAGE + i))
            test_fail("page %llu has other bytes", (unsigned long long)page);
}

static void read_pages(struct qy_file *file, uint64_t from, uint64_t count)
{
    for (uint64_t page = from; page < from + count; page++)
        read_page(file, page);
}

static uint64_t cached(void)
{
    struct qy_cache_stat stat;
    qy_cache_stat(memory.mm, &stat);
    return stat.pages;
}

/* Wrong if it failed: a program would be told that there is no memory while files fill it. */
static void heap_before_cache(void **state)
{
    static void *objects[24000];
    struct qy_file *file = long_file(16 * MIB, 64 * MIB);
    (void)state;
    read_pages(file, 0, 16384);
    assert_true(cached() > 3500);
    unsigned count = 0;
    while (count < 24000 && (objects[count] = qy_kmalloc(memory.mm, 500, QY_GFP_KERNEL)) != NULL)
        memset(objects[count++], 1, 500);
    assert_int_equal(count, 24000); /* 12 MB */
    assert_true(cached() < 1200);
    test_rules(memory.mm);
    read_pages(file, 0, 100);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(qy_kfree(memory.mm, objects[i]), 0);
    finish(file);
}

/* Wrong if it failed: memory full of old pages here and there would refuse whatever needs frames
 * side by side. */
static void runs_before_cache(void **state)
{
    void *runs[64];
    struct qy_file *file = long_file(32 * MIB, 128 * MIB);
    struct random random = {5};
    (void)state;
    for (unsigned i = 0; i < 30000; i++)
        read_page(file, random_below(&random, 32768));
    assert_true(cached() > 7500);
    unsigned count = 0;
    static const size_t sizes[] = {40000, 100000, 1000000, 3000000, 300000};
    size_t bytes = 0;
    while (bytes < 20 * MIB) {
        runs[count] = qy_kmalloc(memory.mm, sizes[count % 5], QY_GFP_KERNEL);
        if (runs[count] == NULL)
            test_fail("no run of %zu bytes after %zu, %llu pages are cached", sizes[count % 5],
                      bytes, (unsigned long long)cached());
        memset(runs[count], 2, sizes[count % 5]);
        bytes += sizes[count++ % 5];
    }
    test_rules(memory.mm);
    while (count > 0)
        assert_int_equal(qy_kfree(memory.mm, runs[--count]), 0);
    read_pages(file, 0, 500);
    finish(file);
}

/* Wrong if it failed: what is dirty could not be had at all, or would go before what is clean. */
static void clean_before_dirty(void **state)
{
    static unsigned char page[PAGE];
    struct qy_file *file = long_file(32 * MIB, 64 * MIB);
    struct qy_file_stat stat;
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(qy_file_write(file, page, PAGE, i * PAGE), PAGE);
    read_pages(file, 2000, 1000);
    assert_int_equal(pattern.written, 0);
    assert_in_range(qy_reclaim(memory.mm, 900), 900, 1000);
    assert_int_equal(pattern.written, 0);
    qy_file_stat(file, &stat);
    assert_int_equal(stat.dirty, 1000);
    assert_true(qy_reclaim(memory.mm, 1000) >= 1000);
    assert_true(pattern.written >= 800 * PAGE);
    finish(file);
}

/* Wrong if it failed: who writes faster than the backing could fill all of memory with what cannot
 * be given up at once. */
static void not_all_dirty(void **state)
{
    static unsigned char page[PAGE];
    struct qy_file *file = long_file(16 * MIB, 0);
    struct qy_cache_stat stat;
    (void)state;
    for (uint64_t i = 0; i < 10000; i++) {
        assert_int_equal(qy_file_write(file, page, PAGE, i * PAGE), PAGE);
        qy_cache_stat(memory.mm, &stat);
        assert_true(stat.dirty <= 4096 / 4);
    }
    finish(file);
}

/* Wrong if it failed: reading a long file once would throw out what is used all the time. */
static void scans_pass_by(void **state)
{
    struct qy_file *file = long_file(16 * MIB, 256 * MIB);
    (void)state;
    for (unsigned round = 0; round < 3; round++)
        for (uint64_t page = 0; page < 4000; page += 2)
            read_page(file, page);
    read_pages(file, 10000, 20000);
    uint64_t reads = pattern.reads;
    for (uint64_t page = 0; page < 4000; page += 2)
        read_page(file, page);
    assert_true(pattern.reads - reads < 100); /* of 2000 */
    finish(file);
}

/* ---- others ---- */

struct holder {
    struct qy_shrinker shrinker;
    qy_pfn_t frames[3000];
    unsigned count, asked;
};

static uint64_t holder_count(struct qy_shrinker *shrinker)
{
    return ((struct holder *)shrinker->cookie)->count;
}

static uint64_t holder_scan(struct qy_shrinker *shrinker, uint64_t frames)
{
    struct holder *holder = shrinker->cookie;
    uint64_t given = 0;
    holder->asked++;
    for (; given < frames && holder->count > 0; given++)
        assert_int_equal(qy_free_pages(memory.mm, holder->frames[--holder->count], 0), 0);
    return given;
}

static unsigned oom_calls;

static bool oom(struct qy_mm *mm, qy_gfp_t gfp, unsigned order, void *cookie)
{
    (void)mm;
    (void)gfp;
    (void)order;
    oom_calls++;
    return cookie != NULL && holder_scan(&((struct holder *)cookie)->shrinker, 10) > 0;
}

static void hold_frames(struct holder *holder, unsigned count)
{
    while (holder->count < count)
        holder->frames[holder->count++] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
}

/* Wrong if it failed: other people's caches would be asked before the files are gone, or never; or
 * an allocation would fail that somebody could have saved. */
static void others_after_cache(void **state)
{
    static struct holder holder;
    static qy_pfn_t taken[4096];
    struct qy_file *file = long_file(16 * MIB, 64 * MIB);
    unsigned count = 0;
    (void)state;
    memset(&holder, 0, sizeof(holder));
    holder.shrinker = (struct qy_shrinker){
        .name = "holder", .count = holder_count, .scan = holder_scan, .cookie = &holder};
    hold_frames(&holder, 3000);
    read_pages(file, 0, 2000);
    assert_int_equal(qy_shrinker_register(memory.mm, &holder.shrinker), 0);
    assert_int_equal(qy_shrinker_register(memory.mm, &(struct qy_shrinker){0}), -EINVAL);
    while (holder.asked == 0 && count < 4096)
        taken[count++] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    assert_true(cached() < 64);
    while (holder.count > 1000)
        taken[count++] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    qy_shrinker_unregister(memory.mm, &holder.shrinker);
    unsigned left = holder.count;

    qy_mm_set_oom(memory.mm, oom, NULL);
    qy_pfn_t pfn;
    while ((pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0)) != QY_PFN_NONE)
        taken[count++] = pfn;
    assert_in_range(oom_calls, 1, 3);
    assert_int_equal(holder.count, left);
    qy_mm_set_oom(memory.mm, oom, &holder);
    assert_true((taken[count++] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0)) != QY_PFN_NONE);
    assert_int_equal(qy_alloc_pages(memory.mm, QY_GFP_NOWAIT, 10), QY_PFN_NONE);
    qy_mm_set_oom(memory.mm, NULL, NULL);
    while (count > 0)
        qy_free_pages(memory.mm, taken[--count], 0);
    holder_scan(&holder.shrinker, 3000);
    struct qy_pressure pressure;
    qy_mm_pressure(memory.mm, &pressure);
    assert_true(pressure.some_us > 0);
    finish(file);
}

static uint64_t closer_count(struct qy_shrinker *shrinker)
{
    return shrinker->cookie != NULL;
}

static uint64_t closer_scan(struct qy_shrinker *shrinker, uint64_t frames)
{
    struct qy_file *file = shrinker->cookie;
    shrinker->cookie = NULL;
    assert_int_equal(qy_file_close(file), 0);
    return frames;
}

/* Wrong if it failed: a cache of open files could not close one when memory is short: its thread
 * would wait for itself. */
static void others_close_files(void **state)
{
    static qy_pfn_t taken[4096];
    struct qy_file *file = long_file(8 * MIB, 64 * MIB);
    struct qy_shrinker shrinker = {.name = "closer", .count = closer_count, .scan = closer_scan};
    unsigned count = 0;
    (void)state;
    shrinker.cookie = file;
    assert_int_equal(qy_shrinker_register(memory.mm, &shrinker), 0);
    while (shrinker.cookie != NULL && count < 4096)
        taken[count++] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    assert_null(shrinker.cookie);
    qy_shrinker_unregister(memory.mm, &shrinker);
    while (count > 0)
        qy_free_pages(memory.mm, taken[--count], 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: each thread would have to reclaim for itself, though somebody is there to do
 * it before. */
static void background(void **state)
{
    test_memory_lendable(&memory, 32 * MIB, 512); /* min 128 frames */
    pattern = (struct pattern){0};
    struct qy_file *file =
        qy_file_create(memory.mm, "pattern", &pattern_ops, &pattern, 128 * MIB, NULL);
    const struct qy_zone *zone = &memory.mm->zones[QY_ZONE_NORMAL];
    (void)state;
    assert_false(qy_reclaim_background(memory.mm));
    read_pages(file, 0, 10000);
    assert_true(qy_free_frames(memory.mm) < zone->watermark[QY_WMARK_HIGH]);
    atomic_store(&memory.mm->background, 1);
    read_pages(file, 20000, 64);
    assert_int_equal(atomic_load(&memory.mm->background), 0); /* it was woken */
    while (qy_reclaim_background(memory.mm))
        ;
    assert_true(qy_free_frames(memory.mm) >= zone->watermark[QY_WMARK_HIGH]);
    struct qy_cache_stat stat;
    qy_cache_stat(memory.mm, &stat);
    assert_true(stat.background > 0);
    finish(file);
}

/* ---- regions ---- */

static unsigned in_region(struct qy_file *file)
{
    unsigned count = 0;
    for (uint32_t page = 0; qy_index_next(&file->index, &page, false); page++)
        count += qy_frame_in_region(memory.mm, qy_index_get(&file->index, page));
    return count;
}

/** Whoever asks for the region now can have it: its pages are at rest. */
static void region_is_at_rest(void)
{
    for (uint64_t i = 0; i < 4096; i++) {
        const struct qy_folio *folio = &memory.mm->folios[i];
        if (folio->state == QY_FOLIO_LENT)
            assert_true(folio->mapping != NULL &&
                        !(folio->flags & (QY_FOLIO_BUSY | QY_FOLIO_DIRTY)));
    }
}

/* Wrong if it failed: a region that promises to be free at once would stay idle while there is
 * other memory, or would hold what cannot be dropped. */
static void reads_fill_a_guaranteed_region(void **state)
{
    static unsigned char page[PAGE];
    struct qy_cache_stat stat;
    (void)state;
    test_memory_lendable(&memory, 64 * MIB, 1);
    pattern = (struct pattern){0};
    frames_make_region(memory.mm, 4 * GIB / PAGE, 4096, QY_MIGRATE_GUARANTEED);
    struct qy_file *file =
        qy_file_create(memory.mm, "pattern", &pattern_ops, &pattern, 128 * MIB, NULL);
    while_reading = region_is_at_rest;
    assert_int_equal(qy_file_write(file, page, 100, 20000 * PAGE + 5), 100);
    assert_non_null(qy_file_pin(file, 21000, false, NULL));
    assert_int_equal(in_region(file), 0); /* they would have to leave again */
    read_pages(file, 0, 4500);
    assert_in_range(in_region(file), 4096 - QY_GUARANTEED_KEPT, 4096);
    qy_cache_stat(memory.mm, &stat);
    assert_int_equal(stat.scanned, 0);
    assert_int_equal(file->nr_pages, stat.pages);
    uint64_t reads = pattern.reads;
    read_pages(file, 0, 4500);
    assert_int_equal(pattern.reads, reads);
    while_reading = NULL;
    assert_int_equal(qy_file_unpin(file, 21000), 0);
    finish(file);
}

/* Wrong if it failed: a file could not be read, or would read as something else, when the heap has
 * taken all that there is. */
static void read_without_memory(void **state)
{
    static unsigned char bytes[3 * PAGE];
    (void)state;
    struct qy_file *file = long_file(16 * MIB, 16 * MIB + 100);
    read_pages(file, 0, 20);
    while (qy_alloc_pages(memory.mm, QY_GFP_KERNEL | QY_GFP_NOWARN, 0) != QY_PFN_NONE)
        ;
    assert_int_equal(file->nr_pages, 0);
    blocks_only = true;
    uint64_t reads = pattern.reads;
    assert_int_equal(qy_file_read(file, bytes, sizeof(bytes), 5 * PAGE + 100), sizeof(bytes));
    assert_int_equal(pattern.reads - reads, 4); /* one for each page */
    for (size_t i = 0; i < sizeof(bytes); i++)
        assert_int_equal(bytes[i], byte_at(5 * PAGE + 100 + i));
    char *spare = atomic_exchange(&file->vmscan->spare_page, NULL);
    assert_int_equal(qy_file_read(file, bytes, PAGE, 5 * PAGE + 100), PAGE);
    for (size_t i = 0; i < PAGE; i++)
        assert_int_equal(bytes[i], byte_at(5 * PAGE + 100 + i));
    atomic_store(&file->vmscan->spare_page, spare);
    blocks_only = false;
    assert_int_equal(qy_file_read(file, bytes, PAGE, 16 * MIB), 100); /* the end is where it was */
    assert_int_equal(qy_file_read(file, bytes, PAGE, 16 * MIB + 100), 0);
    assert_int_equal(file->nr_pages, 0);
    test_rules(memory.mm);
    assert_int_equal(qy_file_close(file), 0);
    test_memory_free(&memory);
}

/* Wrong if it failed: a region that promises to be free at once would stay idle, or would hold what
 * cannot be dropped. */
static void guaranteed_region(void **state)
{
    static unsigned char page[PAGE];
    test_memory_lendable(&memory, 32 * MIB, 1);
    pattern = (struct pattern){0};
    frames_make_region(memory.mm, 4 * GIB / PAGE, 4096, QY_MIGRATE_GUARANTEED);
    struct qy_file *file =
        qy_file_create(memory.mm, "pattern", &pattern_ops, &pattern, 128 * MIB, NULL);
    (void)state;
    read_pages(file, 0, 12000);
    assert_true(in_region(file) > 4000);
    test_rules(memory.mm); /* W4 */
    uint64_t reads = pattern.reads;
    unsigned pinned = 0, written = 0;
    for (uint32_t at = 0; pinned < 100 && qy_index_next(&file->index, &at, false); at++) {
        if (!qy_frame_in_region(memory.mm, qy_index_get(&file->index, at)))
            continue;
        if (pinned < 100 && at % 2 == 0) {
            unsigned char *bytes = qy_file_pin(file, at, false, NULL);
            assert_non_null(bytes);
            assert_int_equal(bytes[64], byte_at((uint64_t)at * PAGE + 64));
            assert_int_equal(qy_file_unpin(file, at), 0);
            pinned++;
        } else if (written < 100) {
            assert_int_equal(qy_file_write(file, page, 1, (uint64_t)at * PAGE + 1), 1);
            written++;
        }
    }
    assert_true(pattern.reads == reads && written > 50);
    test_rules(memory.mm);

    struct qy_claimed found = {0};
    uint32_t claim = qy_claim_number(memory.mm);
    qy_claim(memory.mm, claim, 4 * GIB / PAGE, 4096, &found);
    assert_int_equal(found.stuck, 0);
    for (uint64_t i = 0; i < 4096; i++) {
        const struct qy_folio *folio = &memory.mm->folios[i];
        if (folio->state == QY_FOLIO_WANTED)
            assert_int_equal(
                file->mapping.ops->drop(&file->mapping, folio->index, memory.mm->start_pfn + i, 1),
                1);
    }
    assert_true(qy_claim_holds(memory.mm, claim, 4 * GIB / PAGE, 4096));
    test_rules(memory.mm);
    qy_unclaim(memory.mm, claim, 4 * GIB / PAGE, 4096);
    finish(file);
}

/* Wrong if it failed: pages that lie where a region was would be on the wrong list for ever, and
 * the heap would be refused memory that they could give it. */
static void region_ends(void **state)
{
    static qy_pfn_t taken[8192];
    test_memory_lendable(&memory, 32 * MIB, 1);
    pattern = (struct pattern){0};
    frames_make_region(memory.mm, 4 * GIB / PAGE, 4096, QY_MIGRATE_CMA);
    memory.mm->zones[QY_ZONE_NORMAL].lends_eagerly = true;
    struct qy_file *file =
        qy_file_create(memory.mm, "pattern", &pattern_ops, &pattern, 128 * MIB, NULL);
    unsigned count = 0;
    (void)state;
    read_pages(file, 0, 6000);
    assert_true(in_region(file) > 4000);
    qy_lend_set_type(memory.mm, 4 * GIB / PAGE, 4096, QY_MIGRATE_MOVABLE);
    test_rules(memory.mm);
    qy_file_drop(file);
    test_rules(memory.mm);
    read_pages(file, 0, 7000);
    qy_lru_sort(memory.mm);
    test_rules(memory.mm);
    while ((taken[count] = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0)) != QY_PFN_NONE)
        count++;
    assert_true(count > 7800);
    while (count > 0)
        qy_free_pages(memory.mm, taken[--count], 0);
    finish(file);
}

/* Wrong if it failed: a page that is moved would lose its bytes, its mark, or its place. */
static void moves(void **state)
{
    static unsigned char data[PAGE], buffer[PAGE];
    struct qy_file *file = long_file(16 * MIB, MIB);
    struct qy_mm *mm = memory.mm;
    bool fresh;
    (void)state;
    memset(data, 9, sizeof(data));
    assert_int_equal(qy_file_write(file, data, PAGE, 3 * PAGE), PAGE);
    qy_pfn_t from = mm->start_pfn + qy_index_get(&file->index, 3);
    assert_int_equal(file->mapping.ops->isolate(&file->mapping, 3, from, 1), 1);
    qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 0, &fresh);
    memcpy(qy_page_address(mm, to), qy_page_address(mm, from), PAGE);
    assert_int_equal(file->mapping.ops->putback(&file->mapping, 3, from, to, 1), 0);
    assert_int_equal(qy_index_get(&file->index, 3), to - mm->start_pfn);
    test_rules(mm);
    assert_int_equal(qy_file_read(file, buffer, PAGE, 3 * PAGE), PAGE);
    assert_memory_equal(buffer, data, PAGE);
    assert_int_equal(file->mapping.ops->drop(&file->mapping, 3, to, 1), -EINVAL);
    assert_int_equal(file->mapping.ops->cost(&file->mapping, qy_folio_of(mm, to)), QY_COST_WRITE);
    assert_int_equal(file->mapping.ops->clean(&file->mapping, 3, to), 1);
    assert_int_equal(pattern.written, PAGE);
    assert_int_equal(file->mapping.ops->cost(&file->mapping, qy_folio_of(mm, to)), QY_COST_DROP);
    assert_int_equal(file->mapping.ops->drop(&file->mapping, 3, to, 1), 1);
    finish(file);
}

/* Wrong if it failed: who cannot move would be told that frames which lie together were freed for
 * him, when they were free all the time, and kept from him by his watermark; or no others would be
 * freed, because these are cheaper. */
static void free_frames_are_no_news(void **state)
{
    test_memory_lendable(&memory, 16 * MIB, 512);
    pattern = (struct pattern){0};
    struct qy_file *file =
        qy_file_create(memory.mm, "pattern", &pattern_ops, &pattern, 128 * MIB, NULL);
    (void)state;
    qy_pfn_t kept = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 7);
    assert_int_not_equal(kept, QY_PFN_NONE);
    read_pages(file, 0, 4000);
    assert_int_equal(qy_free_pages(memory.mm, kept, 7), 0); /* as many as are kept back, in a row */
    read_pages(file, 4000, 100);
    struct qy_vmscan *vmscan = qy_vmscan_peek(memory.mm);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t before = qy_free_frames(memory.mm);
        uint64_t freed = qy_reclaim_window(vmscan, 6);
        assert_int_equal(freed > 0, qy_free_frames(memory.mm) > before);
        assert_true(freed > 0 || i > 20); /* while others have pages */
    }
    assert_int_equal(qy_file_close(file), 0);
    test_memory_free(&memory);
}

/* Wrong if it failed: what a watermark keeps back would pass for enough, and who needs a length for
 * which there is no block would be refused it while there is a cache. */
static void what_is_kept_back_is_no_room(void **state)
{
    unsigned held = 0;
    (void)state;
    test_memory_lendable(&memory, 16 * MIB, 4096);
    pattern = (struct pattern){0};
    struct qy_file *file =
        qy_file_create(memory.mm, "pattern", &pattern_ops, &pattern, 128 * MIB, NULL);
    qy_drain_all_pages(memory.mm);
    for (qy_pfn_t pfn = memory.mm->start_pfn; pfn < memory.mm->start_pfn + 4096; pfn += 384)
        held += qy_take_behind(memory.mm, pfn, 1); /* no block of 512, and places for 300 */
    assert_true(held >= 10);
    read_pages(file, 0, 6000);
    uint64_t before = cached();
    assert_true(qy_free_frames(memory.mm) >= 1024);
    assert_int_equal(qy_alloc_pages_exact(memory.mm, QY_GFP_NOWAIT, 300, 0), QY_PFN_NONE);
    assert_int_not_equal(qy_alloc_pages_exact(memory.mm, QY_GFP_KERNEL, 300, 0), QY_PFN_NONE);
    assert_true(cached() < before);
    assert_int_equal(qy_file_close(file), 0);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_before_cache),
        cmocka_unit_test(runs_before_cache),
        cmocka_unit_test(clean_before_dirty),
        cmocka_unit_test(not_all_dirty),
        cmocka_unit_test(scans_pass_by),
        cmocka_unit_test(others_after_cache),
        cmocka_unit_test(others_close_files),
        cmocka_unit_test(background),
        cmocka_unit_test(guaranteed_region),
        cmocka_unit_test(reads_fill_a_guaranteed_region),
        cmocka_unit_test(read_without_memory),
        cmocka_unit_test(moves),
        cmocka_unit_test(region_ends),
        cmocka_unit_test(free_frames_are_no_news),
        cmocka_unit_test(what_is_kept_back_is_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
