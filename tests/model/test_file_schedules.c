/*
 * test_file_schedules.c - what meets at a file: CPUs side by side, under every schedule with few
 *                         preemptions
 */
#include "sim.h"
#include "support.h"

#include "backing.h"
#include "pointer.h"
#include "reclaim/file.h"
#include "space/space.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>
#include <quarry/slab.h>

#define MOST_PREEMPTIONS 2
#define PAGES 4u
#define END (PAGES * PAGE)

static struct test_memory memory;
static struct qy_mm *mm;
static struct qy_space *space;
static struct backing backing;
static struct qy_file *file;
static char *area;

/** Every schedule of the CPUs, each from the beginning. */
static void try_all(unsigned cpus, void (*begin)(void), void (*work)(int, void *),
                    void (*check)(void))
{
    static struct qy_sim_schedule schedule;
    uint64_t runs = 0;
    memset(&schedule, 0, sizeof(schedule));
    do {
        schedule.preemptions = MOST_PREEMPTIONS;
        qy_sim_reset();
        test_memory_lendable(&memory, 8 * MIB, 256);
        mm = memory.mm;
        begin();
        qy_sim_run(&schedule, cpus, work, NULL);
        check();
        test_rules(mm);
        test_memory_free(&memory);
        runs++;
    } while (qy_sim_next(&schedule));
    print_message("%llu schedules\n", (unsigned long long)runs);
    assert_true(runs > 10);
}

static void open_file(const struct qy_file_ops *ops)
{
    backing = (struct backing){.length = 0};
    backing_fill(&backing, END);
    file = qy_file_create(mm, "array", ops, &backing, END, NULL);
    assert_non_null(file);
}

/** All of it, in a space of its own. */
static void map_file(uint32_t prot)
{
    space = qy_space_create(mm, "space", 2 * MIB, NULL);
    area = qy_space_map_file(space, file, 0, END, prot, 0, NULL);
    assert_non_null(area);
}

static void close_file(void)
{
    assert_int_equal(qy_file_close(file), 0);
}

/* ---- a file that is not cut off after all ---- */

static int refuse(void *cookie, uint64_t bytes)
{
    (void)cookie;
    (void)bytes;
    qy_sim_point();
    return -EIO;
}

static void refusing_file(void)
{
    static struct qy_file_ops ops;
    ops = backing_ops;
    ops.truncate = refuse;
    open_file(&ops);
    map_file(QY_PROT_WRITE);
}

/* CPU 0 cuts the file in its second page, in vain; CPU 1 uses all of it meanwhile. */
static void cut_against_use(int cpu, void *unused)
{
    unsigned char bytes[64];
    int code;
    (void)unused;
    if (cpu == 0) {
        assert_int_equal(qy_file_write(file, "x", 1, PAGE + 200), 1); /* behind the cut */
        assert_int_equal(qy_file_truncate(file, PAGE + 100), -EIO);
        return;
    }
    assert_int_equal(qy_file_bytes(file), END);
    assert_int_equal(qy_file_read(file, bytes, 64, PAGE + 80), 64);
    assert_memory_equal(bytes, backing.bytes + PAGE + 80, 64);
    assert_int_equal(qy_file_bytes(file), END);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(qy_file_read(file, bytes, 64, END - 32), 32);
    assert_memory_equal(bytes, backing.bytes + END - 32, 32);
    unsigned char *byte = pointer_at(mm, space, area + 3 * PAGE, true, &code);
    assert_non_null(byte);
    *byte = 'y';
    void *pinned = qy_file_pin(file, 2, false, &code);
    assert_non_null(pinned);
    assert_int_equal(qy_file_unpin(file, 2), 0);
}

static void all_is_there(void)
{
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.length, END);
    assert_int_equal(backing.bytes[PAGE + 200], 'x');
    assert_int_equal(backing.bytes[3 * PAGE], 'y');
    assert_int_equal(qy_space_destroy(space), 0);
    close_file();
}

/* Wrong if it failed: who asks while a file is cut, in vain, would be told that it is shorter than
 * it ever was; or what he wrote behind the cut would be lost. */
static void cut_in_vain(void **state)
{
    (void)state;
    try_all(2, refusing_file, cut_against_use, all_is_there);
}

/* ---- an access that outlives its area, from within a write-back ---- */

static struct backing other;
static struct qy_file *dirty;

static int64_t read_slowly(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    qy_sim_point();
    return backing_read(cookie, offset, buffer, bytes);
}

/** Whoever writes this file back looks into the other one by a pointer: a store that is mapped. */
static int64_t write_with_a_look(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    int code = qy_space_fault(space, area, false);
    assert_true(code == 0 || code == -EFAULT);
    return backing_write(cookie, offset, buffer, bytes);
}

static void a_file_and_its_store(void)
{
    static struct qy_file_ops slow, looking;
    slow = looking = backing_ops;
    slow.read = read_slowly;
    looking.write = write_with_a_look;
    open_file(&slow);
    map_file(QY_PROT_READ);
    close_file(); /* the area keeps it */
    other = (struct backing){.length = 0};
    dirty = qy_file_create(mm, "dirty", &looking, &other, 0, NULL);
    assert_int_equal(qy_file_write(dirty, "x", 1, 0), 1);
}

/* CPU 0 writes back while it reclaims; CPU 1 takes the area away. */
static void look_against_unmap(int cpu, void *unused)
{
    (void)unused;
    if (cpu == 0) {
        assert_int_equal(qy_reclaim(mm, 1), 1);
        return;
    }
    assert_int_equal(qy_space_unmap(space, area, END), 0);
    assert_int_equal(backing.closes, 1); /* its last user is gone */
}

static void all_is_closed(void)
{
    assert_int_equal(backing.closes, 1);
    assert_int_equal(qy_space_destroy(space), 0);
    assert_int_equal(qy_file_close(dirty), 0);
    assert_int_equal(other.closes, 1);
}

/* Wrong if it failed: who writes back would wait for himself, where the last look at a file that
 * was closed is his; or a file would not be ended when its last area is. */
static void the_last_look(void **state)
{
    (void)state;
    try_all(2, a_file_and_its_store, look_against_unmap, all_is_closed);
}

/* ---- an area that comes again while the last access to another is under way ---- */

static void a_slow_file(void)
{
    static struct qy_file_ops slow;
    slow = backing_ops;
    slow.read = read_slowly;
    open_file(&slow);
    map_file(QY_PROT_READ);
}

/* CPU 0 looks; CPU 1 takes the area away; CPU 2 makes another and takes that away. */
static void look_unmap_map(int cpu, void *unused)
{
    char *mine = area;
    (void)unused;
    if (cpu == 0) {
        int code = qy_space_fault(space, area, false);
        assert_true(code == 0 || code == -EFAULT);
        return;
    }
    if (cpu == 2)
        mine = qy_space_map_file(space, file, PAGE, PAGE, QY_PROT_READ, 0, NULL);
    assert_non_null(mine);
    qy_sim_point();
    assert_int_equal(qy_space_unmap(space, mine, cpu == 2 ? PAGE : END), 0);
}

static void nothing_is_left(void)
{
    assert_true(qy_list_empty(&space->mappers));
    assert_int_equal(qy_space_destroy(space), 0);
    close_file();
    assert_int_equal(backing.closes, 1);
}

/* Wrong if it failed: who takes an area away would wait for ever, or the file outlive its areas. */
static void an_area_comes_again(void **state)
{
    (void)state;
    try_all(3, a_slow_file, look_unmap_map, nothing_is_left);
}

/* ---- a guaranteed region, and who reads ---- */

static struct qy_cma *cma;

static void a_file_and_a_region(void)
{
    const struct qy_cma_options options = {.name = "camera",
                                           .ranges = {{QY_PFN_NONE, 1024}},
                                           .nr_ranges = 1,
                                           .policy = QY_CMA_GUARANTEED};
    cma = qy_cma_create(mm, &options, NULL);
    assert_non_null(cma);
    open_file(&backing_ops);
}

/* CPU 0 reads what comes into the region; CPU 1 takes all of that. */
static void read_against_take(int cpu, void *unused)
{
    unsigned char bytes[PAGE];
    (void)unused;
    for (unsigned i = 0; i < 4; i++) {
        const struct qy_cma_request request = {.nr_frames = 1024};
        qy_pfn_t pfn;
        if (cpu == 0) {
            assert_int_equal(qy_file_read(file, bytes, PAGE, i / 2 * PAGE), PAGE);
            assert_memory_equal(bytes, backing.bytes + i / 2 * PAGE, PAGE);
        } else {
            assert_int_equal(qy_cma_alloc(cma, &request, &pfn, NULL), 0);
            assert_int_equal(qy_cma_release(cma, pfn, 1024), 0);
        }
    }
}

static void region_goes(void)
{
    close_file();
    assert_int_equal(qy_cma_destroy(cma), 0);
}

/* Wrong if it failed: a guaranteed region would be refused at the wrong moment, or a reader get
 * what somebody else has there by then. */
static void a_region_is_taken_from_readers(void **state)
{
    (void)state;
    try_all(2, a_file_and_a_region, read_against_take, region_goes);
}

/* ---- an access in memory that is full ---- */

#define FULL (BACKING_MOST / PAGE)

static qy_pfn_t held[4 * FULL];
static unsigned nr_held;

/** An area has one page, and so tables; the file is as long as there may be, and none of it
 *  there. */
static void full_memory(bool region)
{
    const struct qy_cma_options options = {
        .name = "camera", .ranges = {{QY_PFN_NONE, 1024}}, .nr_ranges = 1, .policy = QY_CMA_EAGER};
    int code;
    qy_sim_reset();
    test_memory_lendable(&memory, 8 * MIB, 64);
    mm = memory.mm;
    cma = region ? qy_cma_create(mm, &options, NULL) : NULL;
    open_file(&backing_ops);
    backing_fill(&backing, BACKING_MOST);
    assert_int_equal(qy_file_truncate(file, BACKING_MOST), 0);
    space = qy_space_create(mm, "space", 2 * MIB, NULL);
    area = qy_space_map(space, MIB, QY_PROT_WRITE, 0, NULL);
    assert_non_null(pointer_at(mm, space, area, true, &code));
    nr_held = 0;
}

static void read_file(uint64_t pages)
{
    static unsigned char bytes[PAGE];
    for (uint64_t page = 0; page < pages; page++) {
        assert_int_equal(qy_file_read(file, bytes, PAGE, page * PAGE), PAGE);
        assert_memory_equal(bytes, backing.bytes + page * PAGE, PAGE);
    }
}

/** All that is free is taken, and nobody gives way. */
static void take_the_rest(void)
{
    qy_kmem_cache_shrink_all(mm);
    qy_drain_all_pages(mm);
    while ((held[nr_held] = qy_alloc_pages(mm, QY_GFP_NOWAIT, 0)) != QY_PFN_NONE)
        nr_held++;
    qy_drain_all_pages(mm);
    assert_int_equal(qy_kmem_cache_shrink_all(mm), 0);
}

/** Every page of the area can be touched but the first 64 KiB, which have frames. */
static void touch_area(unsigned pages)
{
    int code;
    for (unsigned page = 16; page < 16 + pages; page++)
        if (pointer_at(mm, space, area + page * PAGE, true, &code) == NULL)
            test_fail("page %u: %d", page, code);
}

static void full_no_more(void)
{
    while (nr_held > 0)
        assert_int_equal(qy_free_pages(mm, held[--nr_held], 0), 0);
    test_rules(mm);
    assert_int_equal(qy_space_destroy(space), 0);
    close_file();
    if (cma != NULL)
        assert_int_equal(qy_cma_destroy(cma), 0);
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a program would end at an access while pages of files lie in a region. */
static void regions_give_way_to_accesses(void **state)
{
    (void)state;
    full_memory(true);
    read_file(900);
    take_the_rest();
    touch_area(200);
    full_no_more();
}

/* CPU 0 accesses; CPU 1 has all that could be given up in hand, and comes late. */
static int64_t read_late(void *cookie, uint64_t offset, const struct qy_piece *pieces,
                         unsigned count)
{
    int64_t done = 0;
    take_the_rest();
    for (unsigned i = 0; i < 20; i++)
        qy_port_yield();
    for (unsigned i = 0; i < count; i++)
        done += backing_read(cookie, offset + (uint64_t)done, pieces[i].base, pieces[i].bytes);
    return done;
}

static int64_t write_pieces(void *cookie, uint64_t offset, const struct qy_piece *pieces,
                            unsigned count)
{
    (void)cookie;
    (void)offset;
    (void)pieces;
    (void)count;
    return -EIO;
}

static void access_against_reader(int cpu, void *unused)
{
    static unsigned char bytes[64 * PAGE];
    (void)unused;
    if (cpu == 1) {
        assert_int_equal(qy_file_read(file, bytes, sizeof(bytes), 0), sizeof(bytes));
        return;
    }
    while (nr_held == 0)
        qy_port_yield();
    touch_area(1);
}

/* Wrong if it failed: a program would end at an access because others, who do not run just now,
 * have all pages in hand. */
static void what_is_in_hand_is_waited_for(void **state)
{
    static struct qy_sim_schedule schedule;
    (void)state;
    full_memory(false);
    file->ops.readv = read_late;
    file->ops.writev = write_pieces;
    memset(&schedule, 0, sizeof(schedule));
    qy_sim_run(&schedule, 2, access_against_reader, NULL);
    full_no_more();
}

/* ---- a long file goes ---- */

#define LONG 192u

static uint64_t (*go)(struct qy_file *file);
static bool looked_between;

static uint64_t cut_all(struct qy_file *cut)
{
    return qy_file_truncate(cut, 0) == 0 ? LONG : 0;
}

static void a_long_file(void)
{
    static unsigned char bytes[LONG * PAGE];
    backing = (struct backing){.length = 0};
    backing_fill(&backing, sizeof(bytes));
    file = qy_file_create(mm, "array", &backing_ops, &backing, sizeof(bytes), NULL);
    assert_non_null(file);
    assert_int_equal(qy_file_read(file, bytes, sizeof(bytes), 0), sizeof(bytes));
}

static void go_against_look(int cpu, void *unused)
{
    (void)unused;
    if (cpu == 0) {
        assert_int_equal(go(file), LONG);
        return;
    }
    qy_lock(&file->mapping.lock);
    looked_between |= file->nr_pages > 0 && file->nr_pages < LONG;
    qy_unlock(&file->mapping.lock);
}

static void all_is_gone(void)
{
    assert_int_equal(file->nr_pages, 0);
    close_file();
}

/* Wrong if it failed: who uses one page of a file would wait until all others are gone. */
static void others_use_a_file_that_goes(void **state)
{
    static uint64_t (*const ways[])(struct qy_file *) = {qy_file_drop, cut_all};
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(ways); i++) {
        go = ways[i];
        looked_between = false;
        try_all(2, a_long_file, go_against_look, all_is_gone);
        assert_true(looked_between);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_use_a_file_that_goes),
        cmocka_unit_test(cut_in_vain),
        cmocka_unit_test(the_last_look),
        cmocka_unit_test(an_area_comes_again),
        cmocka_unit_test(a_region_is_taken_from_readers),
        cmocka_unit_test(regions_give_way_to_accesses),
        cmocka_unit_test(what_is_in_hand_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
