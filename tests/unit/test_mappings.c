/*
 * test_mappings.c - how many mappings of the host a space takes, and what comes before the limit
 */
#include "sim.h"
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "pointer.h"
#include "reclaim/file.h"

#include <quarry/buddy.h>

#include <errno.h>

/* Last: what it defines would hide other headers' parameters. */
#include "with_space.h"

#define PAGES 4096u /* of the space: 16 MiB */
#define MOST 64     /* mappings */
#define CALLS 60    /* of them, for calls */

static qy_pfn_t taken[BYTES / PAGE];
static unsigned nr_taken;

static void build(uint64_t most)
{
    qy_sim_window_most(most);
    space_begin(PAGES * PAGE);
    nr_taken = 0;
}

static int unlimited(void **state)
{
    (void)state;
    build(UINT64_MAX);
    return 0;
}

static int limited(void **state)
{
    (void)state;
    build(MOST);
    return 0;
}

static char *at(uint64_t page)
{
    return qy_space_address(space, page);
}

/* ---- counting ---- */

/** As the host would: each page against the one before. */
static uint64_t shown(void)
{
    uint64_t mappings = 0, before = 0;
    uint32_t prot_before = 0;
    for (uint64_t page = 0; page < PAGES; page++) {
        uint32_t prot = 0;
        uint64_t pfn = qy_sim_window(at(page), &prot);
        bool goes_on =
            pfn == UINT64_MAX ? before == UINT64_MAX : before + 1 == pfn && prot == prot_before;
        mappings += page == 0 || !goes_on;
        before = pfn;
        prot_before = prot;
    }
    return mappings;
}

static void isolate_some(struct random *random, uint64_t page)
{
    qy_pfn_t pfn = qy_space_translate(space, at(page)), to;
    unsigned count = 1 + (unsigned)random_below(random, 8);
    struct qy_mapping *mapping = &space->mapping;
    bool fresh;
    if (pfn == QY_PFN_NONE)
        return;
    int isolated = mapping->ops->isolate(mapping, (uint32_t)page, pfn, count);
    assert_true(isolated > 0);
    assert_int_equal(space->nr_mappings, shown());
    to = random_one_in(random, 2) ? qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, 0, &fresh)
                                  : QY_PFN_NONE;
    unsigned moved = to != QY_PFN_NONE;
    if (moved)
        assert_int_equal(mapping->ops->putback(mapping, (uint32_t)page, pfn, to, 1), 0);
    if ((unsigned)isolated > moved)
        assert_int_equal(mapping->ops->putback(mapping, (uint32_t)page + moved, pfn + moved,
                                               pfn + moved, (unsigned)isolated - moved),
                         0);
}

/* Wrong if it failed: the limit would be met too early, or not seen coming. */
static void counted_as_the_host_does(void **state)
{
    struct random random = {test_seed()};
    (void)state;
    assert_non_null(qy_space_map(space, PAGES * PAGE, QY_PROT_WRITE, 0, NULL)); /* to its end */
    assert_int_equal(qy_space_fault(space, at(PAGES - 1), true), 0);
    for (unsigned step = 0; step < 2000; step++) {
        uint64_t page = random_below(&random, PAGES), count = 1 + random_below(&random, 30);
        count = count < PAGES - page ? count : PAGES - page;
        uint32_t prot = (uint32_t)random_below(&random, 2) * 2 + 1;
        switch (random_below(&random, 8)) {
        case 0:
            assert_int_equal(qy_space_unmap(space, at(page), count * PAGE), 0);
            break;
        case 1:
            (void)!qy_space_map(space, count * PAGE, prot, 0, NULL);
            break;
        case 2:
            if (qy_space_protect(space, at(page), count * PAGE, prot) != 0)
                continue; /* there are gaps */
            break;
        case 3:
            isolate_some(&random, page);
            break;
        default:
            (void)!qy_space_fault(space, at(page), false);
        }
        assert_int_equal(space->nr_mappings, shown());
        if (step % 100 == 0)
            test_rules(mm);
    }
}

/* ---- the limit ---- */

/* Wrong if it failed: a program would end at an access, though a call could have been refused. */
static void calls_are_refused_before_accesses(void **state)
{
    struct qy_error error = {0};
    unsigned cut = 0;
    (void)state;
    assert_non_null(qy_space_map(space, 1024 * PAGE, QY_PROT_WRITE, 0, NULL));
    while (qy_space_unmap(space, at(2 * cut + 1), PAGE) == 0) /* nothing was touched yet */
        cut++;
    assert_in_range(2 * cut, CALLS - 4, CALLS);
    assert_non_null(strstr(qy_sim_last_line(), "vm.max_map_count"));
    assert_int_equal(qy_space_protect(space, at(900), PAGE, QY_PROT_READ), -ENOMEM);
    assert_null(qy_space_map(space, PAGE, QY_PROT_READ, 0, &error));
    assert_int_equal(error.code, -ENOMEM);
    for (unsigned page = 0; page <= 2 * cut; page += 2)
        assert_int_equal(qy_space_fault(space, at(page), true), 0);
    assert_in_range(space->nr_mappings, 1, CALLS);
    assert_int_equal(qy_space_unmap(space, at(0), (2 * cut + 1) * PAGE),
                     0); /* fewer: never refused */
    assert_int_equal(qy_space_protect(space, at(900), PAGE, QY_PROT_READ), 0);
    assert_int_equal(qy_space_protect(space, at(900), PAGE, QY_PROT_WRITE), 0);
}

/** No two free frames lie side by side; none reads as zero. */
static void scatter(void)
{
    qy_pfn_t pfn;
    while ((pfn = qy_alloc_pages(mm, QY_GFP_KERNEL | QY_GFP_NOWARN, 0)) != QY_PFN_NONE) {
        memset(qy_frame_address(mm, pfn), 0xa5, PAGE);
        taken[nr_taken++] = pfn;
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < nr_taken; i++)
        if (taken[i] % 2 == 0)
            assert_int_equal(qy_free_pages(mm, taken[i], 0), 0);
        else
            taken[kept++] = taken[i];
    nr_taken = kept;
    qy_drain_all_pages(mm);
}

static void gather(void)
{
    while (nr_taken > 0)
        assert_int_equal(qy_free_pages(mm, taken[--nr_taken], 0), 0);
    qy_drain_all_pages(mm);
}

static uint64_t *word(uint64_t page)
{
    return qy_frame_address(mm, qy_space_translate(space, at(page)));
}

/** Each page touched takes a mapping, until an access is refused. Returns how many were. */
static unsigned touch_scattered(void)
{
    unsigned touched = 0;
    assert_non_null(qy_space_map(space, 1024 * PAGE, QY_PROT_WRITE, 0, NULL));
    assert_int_equal(qy_space_fault(space, at(1023), true), 0); /* the tables are there */
    scatter();
    while (qy_space_fault(space, at(touched), true) == 0) {
        *word(touched) = touched + 1;
        touched++;
    }
    return touched;
}

static void is_intact(unsigned touched)
{
    for (unsigned page = 0; page < touched; page++)
        assert_int_equal(*word(page), page + 1);
}

static struct test_memory another;

/* Wrong if it failed: two memories would each take what the host gives to both, and an access end
 * the program where a call could have been refused. */
static void memories_share_the_limit(void **state)
{
    (void)state;
    test_memory_lendable(&another, 8 * MIB, 1);
    struct qy_space *second = qy_space_create(another.mm, "second", 16 * MIB, NULL);
    assert_non_null(second);
    char *area = qy_space_map(space, MIB, QY_PROT_WRITE, QY_AREA_POPULATE, NULL);
    char *other = qy_space_map(second, MIB, QY_PROT_WRITE, QY_AREA_POPULATE, NULL);
    unsigned pieces = 0;
    while (qy_space_protect(space, area + 2 * pieces * PAGE, PAGE, QY_PROT_READ) == 0)
        pieces++;
    assert_in_range(pieces, CALLS / 2 - 4, CALLS / 2);
    assert_int_equal(qy_space_protect(second, other + PAGE, PAGE, QY_PROT_READ), -ENOMEM);
    assert_int_equal(qy_space_unmap(space, area, MIB), 0);
    assert_int_equal(qy_space_protect(second, other + PAGE, PAGE, QY_PROT_READ), 0);
    assert_int_equal(qy_space_destroy(second), 0);
    test_rules(another.mm);
}

static int teardown_both(void **state)
{
    space_end(state);
    test_memory_free(&another);
    return 0;
}

/* Wrong if it failed: a program in scattered memory would end though there is room for its pages
 * side by side; or it would lose some of them on the way there. */
static void a_block_becomes_one_mapping(void **state)
{
    enum qy_lack lack;
    (void)state;
    unsigned touched = touch_scattered();
    assert_in_range(touched, MOST - 4, MOST);
    assert_int_equal(qy_space_touch(space, at(touched), true, &lack), -ENOMEM);
    assert_int_equal(lack, QY_LACK_MAPPINGS);
    test_rules(mm);
    gather();
    assert_int_equal(qy_space_fault(space, at(700), true), 0);
    assert_in_range(space->nr_mappings, 1, 8);
    assert_int_equal(space->nr_mappings, shown());
    assert_int_equal(qy_pte_pfn(qy_pgtable_get(&space->table, 511)),
                     qy_pte_pfn(qy_pgtable_get(&space->table, 0)) + 511);
    is_intact(touched);
    assert_int_equal(*word(300), 0);
}

/* Wrong if it failed: a program would end because its scattered pages lie behind much that is
 * not. */
static void a_block_far_away(void **state)
{
    char *whole = qy_space_map(space, 12 * MIB, QY_PROT_WRITE, QY_AREA_HUGE, NULL);
    char *pieces = qy_space_map(space, 2 * MIB, QY_PROT_WRITE, QY_AREA_HUGE, NULL);
    char *few = qy_space_map(space, MIB, QY_PROT_READ, 0, NULL);
    unsigned page = 0;
    (void)state;
    for (unsigned block = 0; block < 6; block++)
        assert_int_equal(qy_space_fault(space, whole + block * 2 * MIB, true), 0);
    assert_int_equal(qy_space_fault(space, few, false), 0);
    scatter();
    while (space->charged + 2 <= CALLS)
        assert_int_equal(qy_space_fault(space, pieces + page++ * PAGE, true), 0);
    gather();
    assert_int_equal(qy_space_fault(space, few + 64 * PAGE, false), 0);
    assert_in_range(space->nr_mappings, 1, 16);
}

/* Wrong if it failed: a block with a pinned page would be moved, or one whose pages are moved
 * already. */
static void what_is_held_is_not_collapsed(void **state)
{
    (void)state;
    unsigned touched = touch_scattered();
    qy_pfn_t pinned;
    assert_int_equal(qy_space_pin(space, at(3), PAGE, QY_PIN_SHORT, &pinned), 0);
    gather();
    assert_int_equal(qy_space_fault(space, at(700), true), 0); /* others make room */
    assert_int_equal(qy_space_translate(space, at(3)), pinned);
    assert_true(space->nr_mappings > 16);
    assert_int_equal(qy_space_unpin(space, at(3), PAGE), 0);
    qy_pfn_t pfn = qy_space_translate(space, at(4));
    assert_int_equal(space->mapping.ops->isolate(&space->mapping, 4, pfn, 1), 1);
    space->collapse_page = 0;
    qy_space_collapse(space);
    assert_int_equal(qy_space_translate(space, at(4)), pfn);
    assert_int_equal(space->mapping.ops->putback(&space->mapping, 4, pfn, pfn, 1), 0);
    is_intact(touched);
}

/* Wrong if it failed: a block that the host will not have collapsed would keep others from it. */
static void the_next_block_has_its_turn(void **state)
{
    (void)state;
    assert_non_null(qy_space_map(space, 1024 * PAGE, QY_PROT_WRITE, 0, NULL));
    scatter();
    for (unsigned page = 0; page < 26; page++)
        assert_int_equal(qy_space_fault(space, at(page % 2 * 512 + page), true), 0);
    gather();
    uint64_t before = space->nr_mappings;
    qy_sim_fail(1);
    qy_space_collapse(space);
    assert_true(qy_sim_failed());
    qy_sim_fail(0);
    assert_int_equal(space->nr_mappings, before);
    qy_space_collapse(space);
    assert_true(space->nr_mappings < before);
    assert_int_equal(qy_pte_pfn(qy_pgtable_get(&space->table, 514)),
                     qy_pte_pfn(qy_pgtable_get(&space->table, 513)) + 1);
}

/* Wrong if it failed: a collapse that the host stops half way would lose a page, or leave one that
 * cannot be written. */
static void a_collapse_that_fails(void **state)
{
    bool failed = true;
    (void)state;
    for (uint64_t nth = 1; failed; nth += 1 + nth / 8) {
        unsigned touched = touch_scattered();
        gather();
        qy_sim_fail(nth);
        qy_space_collapse(space);
        failed = qy_sim_failed();
        qy_sim_fail(0);
        test_rules(mm);
        assert_true(failed || space->nr_mappings <= 8);
        is_intact(touched);
        for (unsigned page = 0; page < touched; page++) {
            uint32_t prot = 0;
            assert_int_equal(qy_space_fault(space, at(page), true), 0);
            assert_int_not_equal(qy_sim_window(at(page), &prot), UINT64_MAX);
            assert_true(prot & QY_PROT_WRITE);
        }
        assert_int_equal(qy_space_unmap(space, at(0), 1024 * PAGE), 0);
        space->collapse_page = 0;
    }
}

/* ---- pages of files ---- */

#define FILE_PAGES 96u

static struct backing backing;
static struct qy_file *file;

static void with_file(uint64_t most)
{
    build(most);
    memset(&backing, 0, sizeof(backing));
    backing_fill(&backing, FILE_PAGES * PAGE);
    file = qy_file_create(mm, "array", &backing_ops, &backing, FILE_PAGES * PAGE, NULL);
    assert_non_null(file);
}

static int file_unlimited(void **state)
{
    (void)state;
    with_file(UINT64_MAX);
    return 0;
}

static int file_limited(void **state)
{
    (void)state;
    with_file(MOST);
    return 0;
}

static int file_teardown(void **state)
{
    assert_int_equal(qy_file_close(file), 0);
    return space_end(state);
}

static char *map_file(void)
{
    char *area = qy_space_map_file(space, file, 0, FILE_PAGES * PAGE, QY_PROT_WRITE, 0, NULL);
    assert_non_null(area);
    return area;
}

static int peek(const char *address)
{
    int code;
    const unsigned char *byte = pointer_at(mm, space, address, false, &code);
    return byte != NULL ? *byte : code;
}

static int poke(const char *address, unsigned char value)
{
    int code;
    unsigned char *byte = pointer_at(mm, space, address, true, &code);
    if (byte != NULL)
        *byte = value;
    return code;
}

static void change_file(struct random *random, char *area)
{
    uint64_t page = random_below(random, FILE_PAGES), count = 1 + random_below(random, 8);
    count = count < FILE_PAGES - page ? count : FILE_PAGES - page;
    switch (random_below(random, 8)) {
    case 0:
        assert_int_equal(qy_file_sync(file), 0);
        break;
    case 1:
        assert_int_equal(qy_file_unmap(file, (uint32_t)page, count), 0);
        break;
    case 2:
        assert_int_equal(qy_space_protect(space, area + page * PAGE, count * PAGE, QY_PROT_READ),
                         0);
        assert_int_equal(qy_space_protect(space, area + page * PAGE, count * PAGE, QY_PROT_WRITE),
                         0);
        break;
    case 3:
        qy_file_drop(file);
        break;
    default:
        assert_int_equal(poke(area + page * PAGE, 1), 0);
        assert_true(peek(area + (FILE_PAGES - 1 - page) * PAGE) >= 0);
    }
}

/* Wrong if it failed: the budget would say that there are mappings for an access, and the host has
 * none; or the other way round. */
static void files_are_counted(void **state)
{
    struct random random = {.state = 5};
    char *area = map_file();
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        change_file(&random, area);
        assert_int_equal(space->nr_mappings, shown());
    }
    assert_int_equal(qy_space_unmap(space, area + 5 * PAGE, 9 * PAGE), 0);
    assert_int_equal(space->nr_mappings, shown());
    test_rules(mm);
}

/** Every other page is written: a mapping for each, and for what is between. */
static void write_every_other(char *area)
{
    for (unsigned page = 0; page < FILE_PAGES; page += 2) {
        assert_int_equal(poke(area + page * PAGE, 1), 0);
        assert_int_equal(space->nr_mappings, shown());
        assert_true(mm->nr_mappings <= MOST);
    }
}

/** Until so many are used up. */
static void use_up(char *area, uint64_t mappings)
{
    assert_int_equal(qy_file_sync(file), 0);
    for (unsigned page = 0; mm->nr_mappings < mappings; page += 2)
        assert_int_equal(poke(area + page * PAGE, 1), 0);
}

/* Wrong if it failed: pages of files, which need no mapping until they are touched again, would
 * keep an access or a call from getting one; or a pinned page would lose its own. */
static void pages_of_files_make_way(void **state)
{
    char *area = map_file();
    struct qy_error error = {0};
    qy_pfn_t pfn;
    (void)state;
    assert_int_equal(qy_space_pin(space, area + 7 * PAGE, PAGE, QY_PIN_SHORT, &pfn), 0);
    write_every_other(area);
    char *own = qy_space_map(space, 32 * PAGE, QY_PROT_WRITE, 0, &error);
    assert_non_null(own);
    for (unsigned page = 0; page < 32; page += 16) {
        use_up(area, MOST - 1);
        assert_int_equal(poke(own + page * PAGE, 2), 0);
    }
    use_up(area, CALLS);
    assert_int_equal(qy_space_protect(space, own + 3 * PAGE, PAGE, QY_PROT_READ), 0);
    use_up(area, CALLS);
    assert_int_equal(qy_space_unmap(space, own + 20 * PAGE, PAGE), 0);
    assert_int_equal(qy_space_translate(space, area + 7 * PAGE), pfn);
    assert_int_equal(qy_space_unpin(space, area + 7 * PAGE, PAGE), 0);
    assert_int_equal(peek(area), 1);
    assert_int_equal(space->nr_mappings, shown());
    assert_int_equal(qy_sim_lines(), 0); /* nobody was refused, so nothing is to be said */
    test_rules(mm);
}

/* Wrong if it failed: an area of a file would be made whose accesses find no mapping. */
static void areas_of_files_are_refused(void **state)
{
    struct qy_error error = {0};
    struct qy_space_stat before, after;
    (void)state;
    for (unsigned i = 0; i < MOST; i++) {
        char *own = qy_space_map(space, 16 * PAGE, i % 2 ? QY_PROT_READ : QY_PROT_WRITE, 0, &error);
        assert_true((own != NULL) == (i < CALLS - 3));
    }
    qy_space_stat(space, &before);
    assert_null(qy_space_map_file(space, file, 0, PAGE, QY_PROT_READ, 0, &error));
    assert_int_equal(error.code, -ENOMEM);
    assert_non_null(strstr(error.text, "vm.max_map_count"));
    qy_space_stat(space, &after);
    assert_memory_equal(&before, &after, sizeof(after));
    test_rules(mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counted_as_the_host_does, unlimited, space_end),
        cmocka_unit_test_setup_teardown(memories_share_the_limit, limited, teardown_both),
        cmocka_unit_test_setup_teardown(calls_are_refused_before_accesses, limited, space_end),
        cmocka_unit_test_setup_teardown(a_block_becomes_one_mapping, limited, space_end),
        cmocka_unit_test_setup_teardown(a_block_far_away, limited, space_end),
        cmocka_unit_test_setup_teardown(what_is_held_is_not_collapsed, limited, space_end),
        cmocka_unit_test_setup_teardown(the_next_block_has_its_turn, limited, space_end),
        cmocka_unit_test_setup_teardown(a_collapse_that_fails, limited, space_end),
        cmocka_unit_test_setup_teardown(files_are_counted, file_unlimited, file_teardown),
        cmocka_unit_test_setup_teardown(pages_of_files_make_way, file_limited, file_teardown),
        cmocka_unit_test_setup_teardown(areas_of_files_are_refused, file_limited, file_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
