/*
 * test_cache.c - random work on a cached file, beside an array of bytes
 *
 * The array says what each read must give; after each sync that returns 0 the backing must be
 * the array. Memory is a quarter of the file, so pages come and go all the time.
 */
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#define MOST_BYTES (3 * MIB)
#define MOST_PINS 12
#define MOST_HEAP 40
#define STEPS 40000

static struct {
    struct test_memory memory;
    struct qy_file *file;
    struct backing backing;
    unsigned char bytes[MOST_BYTES];
    uint64_t length;
    struct {
        uint64_t page;
        unsigned char *at;
        bool write;
    } pins[MOST_PINS];
    unsigned nr_pins;
    void *heap[MOST_HEAP];
    unsigned nr_heap;
    uint64_t errors; /* that calls returned */
} world;

/** A backing that fails now and then is no reason for other errors than its own. */
static bool may_fail(int64_t result)
{
    world.errors += result == -EIO;
    return result == -EIO || result == -ENOMEM;
}

static void do_read(struct random *random)
{
    static unsigned char buffer[100000];
    uint64_t offset = random_below(random, world.length + 5000);
    size_t bytes = 1 + random_below(random, random_one_in(random, 4) ? sizeof(buffer) - 1 : 6000);
    bool fails = world.backing.bad_to > 0 || world.backing.fail_read > 0;
    int64_t got = qy_file_read(world.file, buffer, bytes, offset);
    if (may_fail(got))
        return;
    uint64_t left = offset < world.length ? world.length - offset : 0;
    uint64_t most = left < bytes ? left : bytes;
    assert_true((uint64_t)got == most || (fails && (uint64_t)got < most));
    assert_memory_equal(buffer, world.bytes + offset, (size_t)got);
}

static void do_write(struct random *random)
{
    static unsigned char buffer[50000];
    uint64_t offset = random_below(random, world.length + (random_one_in(random, 10) ? 30000 : 1));
    size_t bytes = 1 + random_below(random, random_one_in(random, 4) ? sizeof(buffer) - 1 : 6000);
    if (offset + bytes > MOST_BYTES)
        return;
    unsigned char byte = (unsigned char)random_next(random);
    for (size_t i = 0; i < bytes; i++)
        buffer[i] = (unsigned char)(byte + i);
    int64_t put = qy_file_write(world.file, buffer, bytes, offset);
    if (may_fail(put))
        return;
    memcpy(world.bytes + offset, buffer, (size_t)put);
    if (offset + (uint64_t)put > world.length)
        world.length = offset + (uint64_t)put;
}

static void do_truncate(struct random *random)
{
    uint64_t bytes = random_below(random, MOST_BYTES - PAGE);
    if (random_one_in(random, 3) && world.length > 9000)
        bytes = world.length - random_below(random, 9000);
    bool pinned = false;
    for (unsigned i = 0; i < world.nr_pins; i++)
        pinned |= world.pins[i].page >= (bytes + PAGE - 1) / PAGE;
    for (unsigned i = 0; i < world.nr_pins; i++)
        if (world.pins[i].page == bytes / PAGE)
            return; /* what its holder writes behind the end is his affair */
    int code = qy_file_truncate(world.file, bytes);
    assert_int_equal(code, pinned && bytes < world.length ? -EBUSY : 0);
    if (code != 0)
        return;
    if (bytes < world.length)
        memset(world.bytes + bytes, 0, world.length - bytes);
    world.length = bytes;
}

static void do_pin(struct random *random)
{
    if (world.nr_pins == MOST_PINS || world.length < PAGE)
        return;
    uint64_t page = random_below(random, world.length / PAGE);
    bool write = random_one_in(random, 2);
    int code;
    unsigned char *at = qy_file_pin(world.file, page, write, &code);
    if (at == NULL) {
        assert_true(may_fail(code));
        return;
    }
    assert_int_equal(code, 0);
    assert_memory_equal(at, world.bytes + page * PAGE, PAGE);
    world.pins[world.nr_pins].page = page;
    world.pins[world.nr_pins].at = at;
    world.pins[world.nr_pins++].write = write;
}

static void use_pin(struct random *random)
{
    if (world.nr_pins == 0)
        return;
    unsigned which = (unsigned)random_below(random, world.nr_pins);
    assert_memory_equal(world.pins[which].at, world.bytes + world.pins[which].page * PAGE, PAGE);
    if (world.pins[which].write) {
        uint64_t at = random_below(random, PAGE);
        unsigned char byte = (unsigned char)random_next(random);
        world.pins[which].at[at] = world.bytes[world.pins[which].page * PAGE + at] = byte;
    }
    if (random_one_in(random, 2)) {
        assert_int_equal(qy_file_unpin(world.file, world.pins[which].page), 0);
        world.pins[which] = world.pins[--world.nr_pins];
    }
}

static void do_sync(void)
{
    int code = qy_file_sync(world.file);
    if (may_fail(code))
        return;
    assert_int_equal(code, 0);
    uint64_t both = world.backing.length < world.length ? world.backing.length : world.length;
    assert_memory_equal(world.backing.bytes, world.bytes, both);
    for (uint64_t i = both; i < world.length; i++)
        assert_int_equal(world.bytes[i], 0);
}

static void do_heap(struct random *random)
{
    if (world.nr_heap == MOST_HEAP || (world.nr_heap > 0 && random_one_in(random, 2))) {
        unsigned which = (unsigned)random_below(random, world.nr_heap);
        assert_int_equal(qy_kfree(world.memory.mm, world.heap[which]), 0);
        world.heap[which] = world.heap[--world.nr_heap];
        return;
    }
    void *block = qy_kmalloc(world.memory.mm, 1 + random_below(random, 60000), QY_GFP_KERNEL);
    if (block != NULL)
        world.heap[world.nr_heap++] = block;
}

/** As a mover does: a page goes to another frame. */
static void do_move(struct random *random)
{
    struct qy_mm *mm = world.memory.mm;
    const struct qy_mapping_ops *ops = world.file->mapping.ops;
    uint32_t page = (uint32_t)random_below(random, MOST_BYTES / PAGE);
    bool fresh;
    if (!qy_index_next(&world.file->index, &page, false))
        return;
    qy_pfn_t from = mm->start_pfn + qy_index_get(&world.file->index, page);
    qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 0, &fresh);
    if (to == QY_PFN_NONE)
        return;
    if (ops->isolate(&world.file->mapping, page, from, 1) == 1) {
        memcpy(qy_page_address(mm, to), qy_page_address(mm, from), PAGE);
        assert_int_equal(ops->putback(&world.file->mapping, page, from, to, 1), 0);
    } else {
        qy_lend_return(mm, to, 1);
    }
}

static void do_fail(struct random *random)
{
    world.backing.fail_read = random_one_in(random, 2) ? random_below(random, 20) : 0;
    world.backing.fail_write = random_one_in(random, 2) ? random_below(random, 20) : 0;
    world.backing.bad_from = random_below(random, MOST_BYTES / PAGE);
    world.backing.bad_to =
        random_one_in(random, 3) ? world.backing.bad_from + 1 + random_below(random, 9) : 0;
}

static void step(struct random *random, bool failures)
{
    uint64_t dice = random_below(random, 100);
    if (dice < 40)
        do_read(random);
    else if (dice < 65)
        do_write(random);
    else if (dice < 75)
        use_pin(random);
    else if (dice < 80)
        do_pin(random);
    else if (dice < 90)
        do_heap(random);
    else if (dice < 93)
        do_move(random);
    else if (dice < 95)
        qy_reclaim(world.memory.mm, random_below(random, 300));
    else if (dice < 96)
        qy_file_drop(world.file);
    else if (dice < 98)
        do_sync();
    else if (dice < 99 && failures)
        do_fail(random);
    else
        do_truncate(random);
}

static void make_guaranteed(struct qy_mm *mm)
{
    struct qy_claimed found = {0};
    uint32_t claim = qy_claim_number(mm);
    qy_claim(mm, claim, mm->start_pfn, 1024, &found);
    qy_lend_set_type(mm, mm->start_pfn, 1024, QY_MIGRATE_GUARANTEED);
    qy_unclaim(mm, claim, mm->start_pfn, 1024);
}

static void run(bool failures, bool region)
{
    struct random random = {test_seed() * 4 + failures * 2 + region};
    memset(&world, 0, sizeof(world));
    test_memory_lendable(&world.memory, region ? 8 * MIB : 4 * MIB, 1);
    if (region)
        make_guaranteed(world.memory.mm);
    backing_fill(&world.backing, 2 * MIB + 123);
    world.length = world.backing.length;
    memcpy(world.bytes, world.backing.bytes, world.length);
    world.file =
        qy_file_create(world.memory.mm, "array", &backing_ops, &world.backing, world.length, NULL);
    assert_non_null(world.file);
    while (world.nr_heap < 10) /* the frames are three megabytes, the heap has some of them */
        world.heap[world.nr_heap++] = qy_kmalloc(world.memory.mm, 200000, QY_GFP_KERNEL);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&random, failures);
        if (i % 500 == 0)
            test_rules(world.memory.mm);
    }
    world.backing.bad_to = world.backing.fail_read = world.backing.fail_write = 0;
    while (world.nr_pins > 0)
        assert_int_equal(qy_file_unpin(world.file, world.pins[--world.nr_pins].page), 0);
    if (qy_file_sync(world.file) != 0)
        world.errors++;
    do_sync();
    assert_true(!failures || world.errors > 20);
    assert_int_equal(qy_file_close(world.file), 0);
    while (world.nr_heap > 0)
        qy_kfree(world.memory.mm, world.heap[--world.nr_heap]);
    test_rules(world.memory.mm);
    test_memory_free(&world.memory);
}

/* Wrong if it failed: some order of calls would lose or change bytes of a file. */
static void as_an_array(void **state)
{
    (void)state;
    run(false, false);
}

/* Wrong if it failed: an error of the backing would lose what was written, or would not be told. */
static void with_errors(void **state)
{
    (void)state;
    run(true, false);
}

/* Wrong if it failed: pages in a guaranteed region would differ from others. */
static void with_a_region(void **state)
{
    (void)state;
    run(true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_an_array),
        cmocka_unit_test(with_errors),
        cmocka_unit_test(with_a_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
