/*
 * test_areas.c - areas of a space against an array of pages, and what pins allow
 */
#include "sim.h"
#include "support.h"

#include "buddy/lend.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#include <errno.h>
#include <sys/mman.h>

/* Last: what it defines would hide other headers' parameters. */
#include "with_space.h"

#define BASE (4 * GIB)
#define PAGES 4096u /* of the space: 16 MiB */

static int setup(void **state)
{
    (void)state;
    space_begin(PAGES * PAGE);
    return 0;
}

static void *at(uint64_t page)
{
    return qy_space_address(space, page);
}

static char *map(uint64_t pages, uint32_t prot, uint32_t flags)
{
    return qy_space_map(space, pages * PAGE, prot, flags, NULL);
}

/* ---- against an array ---- */

static int8_t prot_of[PAGES]; /* -1: no area */
static bool resident[PAGES];

/** The lowest gap, looked for page by page. */
static uint64_t gap(uint64_t count)
{
    uint64_t align = count >= 512 ? 512 : 16;
    for (uint64_t start = 0; start + count <= PAGES; start += align) {
        uint64_t page = start;
        while (page < start + count && prot_of[page] < 0)
            page++;
        if (page == start + count)
            return start;
    }
    return PAGES;
}

static void step_map(struct random *random)
{
    uint64_t count = 1 + random_below(random, random_one_in(random, 4) ? 700 : 40);
    count = random_one_in(random, 10) ? 512 : count;
    uint32_t prot = (uint32_t)random_below(random, 2) * 3;
    uint64_t start = gap(count);
    void *area = map(count, prot, 0);
    if (start == PAGES) {
        assert_null(area);
        return;
    }
    assert_ptr_equal(area, at(start));
    memset(&prot_of[start], (int)prot, count);
}

/** What the host may have to keep mappings for: areas, and gaps before them. */
static int areas_and_gaps(void)
{
    return (int)(space->nr_areas + space->nr_islands);
}

static void step_unmap(uint64_t start, uint64_t count)
{
    int before = areas_and_gaps(), foretold = qy_area_growth_unmapped(space, start, count);
    assert_int_equal(qy_space_unmap(space, at(start), count * PAGE), 0);
    assert_int_equal(areas_and_gaps() - before, foretold);
    memset(&prot_of[start], -1, count);
    memset(&resident[start], 0, count);
}

static void step_protect(struct random *random, uint64_t start, uint64_t count)
{
    uint32_t prot = (uint32_t)random_below(random, 2) * 3;
    bool covered = true;
    for (uint64_t page = start; page < start + count; page++)
        covered = covered && prot_of[page] >= 0;
    int before = areas_and_gaps();
    int foretold = covered ? qy_area_growth_protected(space, start, count, prot) : 0;
    assert_int_equal(qy_space_protect(space, at(start), count * PAGE, prot), covered ? 0 : -ENOMEM);
    assert_int_equal(areas_and_gaps() - before, foretold);
    if (covered)
        memset(&prot_of[start], (int)prot, count);
}

static void step_fault(uint64_t page)
{
    int code = qy_space_fault(space, at(page), true);
    assert_int_equal(code, prot_of[page] == 3 ? 0 : -EFAULT);
    if (code == 0)
        for (uint64_t near = page & ~15u; near < (page | 15) + 1; near++)
            resident[near] = qy_space_translate(space, at(near)) != QY_PFN_NONE;
    if (code == 0)
        assert_true(resident[page]);
}

static void compare(void)
{
    struct qy_space_stat stat;
    uint64_t mapped = 0, filled = 0, areas = 0;
    for (uint64_t page = 0; page < PAGES; page++) {
        const struct qy_area *area = qy_area_at(space, page);
        assert_int_equal(area ? (int)area->prot : -1, prot_of[page]);
        assert_int_equal(qy_space_translate(space, at(page)) != QY_PFN_NONE, resident[page]);
        mapped += prot_of[page] >= 0;
        filled += resident[page];
        areas += prot_of[page] >= 0 && (page == 0 || prot_of[page - 1] != prot_of[page]);
    }
    qy_space_stat(space, &stat);
    assert_int_equal(stat.mapped, mapped);
    assert_int_equal(stat.resident, filled);
    assert_int_equal(stat.areas, areas); /* neighbours that are alike are one */
    test_rules(mm);
}

/* Wrong if it failed: an area would lie over another, keep what it gave up, or lose what it has; or
 * a call would be refused, or let pass, for mappings that it needs in truth fewer or more of. */
static void like_an_array(void **state)
{
    struct random random = {test_seed()};
    (void)state;
    memset(prot_of, -1, sizeof(prot_of));
    memset(resident, 0, sizeof(resident));
    for (unsigned step = 0; step < 3000; step++) {
        uint64_t start = random_below(&random, PAGES), count = 1 + random_below(&random, 100);
        count = count < PAGES - start ? count : PAGES - start;
        const struct qy_area *area = qy_area_at(space, start);
        if (area != NULL && random_one_in(&random, 3)) { /* up to its end, or all of it */
            start = random_one_in(&random, 2) ? area->node.start : start;
            count = area->node.end - start;
        }
        switch (random_below(&random, 5)) {
        case 0:
            step_map(&random);
            break;
        case 1:
            step_unmap(start, count);
            break;
        case 2:
            step_protect(&random, start, count);
            break;
        default:
            step_fault(start);
        }
        if (step % 50 == 0)
            compare();
    }
    compare();
}

/* ---- what is refused ---- */

/* Wrong if it failed: a wrong call would change something. */
static void wrong_calls(void **state)
{
    struct qy_error error = {0};
    char *area = map(4, QY_PROT_READ, 0);
    (void)state;
    assert_null(qy_space_create(mm, "test", 4 * MIB + 1, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_space_create(mm, NULL, 4 * MIB, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_space_create(mm, "", 4 * MIB, &error));
    assert_null(qy_space_create(mm, "a name of more than thirty-one bytes", 4 * MIB, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_space_map(space, 0, QY_PROT_READ, 0, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_space_map(space, PAGE, 4, 0, &error));
    assert_null(qy_space_map(space, PAGE, QY_PROT_READ, 4, &error));
    assert_null(qy_space_map(space, (PAGES + 1) * PAGE, QY_PROT_READ, 0, &error));
    assert_int_equal(error.code, -ENOMEM);
    assert_int_equal(qy_space_unmap(space, area + 1, PAGE), -EINVAL);
    assert_int_equal(qy_space_unmap(space, area, 100), -EINVAL);
    assert_int_equal(qy_space_unmap(space, area - PAGE, 2 * PAGE), -EINVAL);
    assert_int_equal(qy_space_protect(space, area, PAGE, 8), -EINVAL);
    assert_int_equal(qy_space_protect(space, area, 5 * PAGE, QY_PROT_WRITE), -ENOMEM);
    assert_int_equal(qy_space_fault(space, area, true), -EFAULT);
    assert_int_equal(qy_space_fault(space, area - 1, false), -EFAULT);
    assert_int_equal(qy_space_fault(space, area + 4 * PAGE, false), -EFAULT);
    assert_int_equal(qy_space_pin(space, area + 3 * PAGE, PAGE + 1, QY_PIN_SHORT, NULL), -EFAULT);
    assert_int_equal(qy_space_translate(space, area - 1), QY_PFN_NONE);
    struct qy_space_stat stat;
    qy_space_stat(space, &stat);
    assert_int_equal(stat.pinned, 0);
}

/* Wrong if it failed: memory that cannot be moved would be taken for such. */
static void not_movable(void **state)
{
    struct test_memory other;
    struct qy_error error = {0};
    (void)state;
    test_memory_simple(&other, 4 * GIB, 8 * MIB, true);
    assert_null(qy_space_create(other.mm, "none", 0, &error));
    assert_int_equal(error.code, -ENOTSUP);
    munmap(other.meta, other.meta_bytes);
    munmap(other.frames, other.frames_bytes);
}

/* ---- pins ---- */

static bool in_region(qy_pfn_t pfn)
{
    return mm->blocks[qy_block_of(mm, pfn)].migratetype == QY_MIGRATE_CMA;
}

static void make_region(void)
{
    qy_lend_set_type(mm, BASE / PAGE, 2048, QY_MIGRATE_CMA);
    mm->zones[QY_ZONE_NORMAL].lends_eagerly = true;
}

/* Wrong if it failed: a page that is pinned for long would keep a region from its owner, or lose
 * its bytes on the way out. */
static void long_pins_leave_regions(void **state)
{
    qy_pfn_t pfns[20];
    (void)state;
    make_region();
    char *area = map(32, QY_PROT_WRITE, 0);
    assert_int_equal(qy_space_fault(space, area, true), 0);
    qy_pfn_t before = qy_space_translate(space, area + 2 * PAGE);
    assert_true(in_region(before));
    memset(qy_frame_address(mm, before), 7, PAGE);
    assert_int_equal(qy_space_pin(space, area + 2 * PAGE + 9, 18 * PAGE, QY_PIN_LONG, pfns), 0);
    for (unsigned i = 0; i < 19; i++) {
        assert_int_equal(pfns[i], qy_space_translate(space, area + (2 + i) * PAGE));
        assert_false(in_region(pfns[i]));
    }
    assert_int_equal(((char *)qy_frame_address(mm, pfns[0]))[4095], 7);
    test_rules(mm);
    assert_int_equal(qy_space_unmap(space, area + 20 * PAGE, PAGE), -EBUSY);
    assert_int_equal(qy_space_destroy(space), -EBUSY);
    assert_int_equal(qy_space_pin(space, area, PAGE, QY_PIN_SHORT, pfns), 0);
    assert_true(in_region(pfns[0])); /* for short it may stay */
    assert_int_equal(qy_space_pin(space, area, PAGE, QY_PIN_LONG, NULL), -EBUSY);
    assert_int_equal(qy_space_unpin(space, area, PAGE), 0);
    assert_int_equal(qy_space_pin(space, area, PAGE, QY_PIN_LONG, pfns), 0);
    assert_false(in_region(pfns[0]));
    assert_int_equal(qy_space_pin(space, area, PAGE, QY_PIN_LONG, NULL), 0); /* pins nest */
    assert_int_equal(qy_space_unpin(space, area, PAGE), 0);
    assert_int_equal(space->mapping.ops->isolate(&space->mapping, 0, pfns[0], 1), -EBUSY);
    assert_int_equal(space->mapping.ops->cost(&space->mapping, qy_folio_of(mm, pfns[0])),
                     QY_COST_NEVER);
    assert_int_equal(qy_space_unpin(space, area, PAGE), 0);
    assert_int_equal(space->mapping.ops->cost(&space->mapping, qy_folio_of(mm, pfns[0])),
                     QY_COST_MOVE);
    assert_int_equal(qy_space_unpin(space, area + 2 * PAGE + 9, 18 * PAGE), 0);
}

/* Wrong if it failed: an area could not use the last frames there are, or lose some of them; or
 * where there is no memory none could be given back. */
static void no_frames_left(void **state)
{
    (void)state;
    char *area = map(PAGES, QY_PROT_WRITE, QY_AREA_HUGE);
    struct qy_space_stat stat;
    while (qy_alloc_pages(mm, QY_GFP_KERNEL, 0) != QY_PFN_NONE)
        if (qy_free_frames(mm) <= 40)
            break;
    unsigned touched = 0;
    while (touched < PAGES && qy_space_fault(space, area + (size_t)touched * PAGE, true) == 0)
        touched++;
    qy_space_stat(space, &stat);
    assert_int_equal(stat.resident, touched); /* by ever smaller blocks */
    assert_in_range(touched, 20, 120);        /* what lists of a slot held as well */
    assert_int_equal(qy_space_pin(space, area, (touched + 2) * PAGE, QY_PIN_SHORT, NULL), -ENOMEM);
    qy_space_stat(space, &stat);
    assert_int_equal(stat.pinned, 0);
    while (qy_kmalloc(mm, sizeof(struct qy_area), QY_GFP_NOWAIT) != NULL)
        ;
    assert_int_equal(qy_space_unmap(space, area + PAGE, PAGE), -ENOMEM); /* one area more */
    assert_int_equal(qy_space_protect(space, area, PAGES * PAGE, QY_PROT_READ), 0);
    assert_int_equal(qy_space_unmap(space, area, PAGES * PAGE), 0);
}

/* Wrong if it failed: a change that there is no memory for would be half done, or take the last of
 * it along. */
static void no_memory_to_cut(void **state)
{
    static void *objects[100000];
    const qy_gfp_t gfp = QY_GFP_KERNEL | QY_GFP_NOWARN;
    struct qy_space_stat stat;
    unsigned count = 0;
    (void)state;
    char *area = map(32, QY_PROT_WRITE, 0);
    while (qy_alloc_pages(mm, gfp, 0) != QY_PFN_NONE)
        ;
    while (count < 100000 && (objects[count] = qy_kmalloc(mm, sizeof(struct qy_area), gfp)) != NULL)
        count++;
    assert_true(count > 0 && count < 100000);
    assert_int_equal(qy_kfree(mm, objects[--count]), 0); /* it needs two */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(qy_space_unmap(space, area + 8 * PAGE, 8 * PAGE), -ENOMEM);
        assert_int_equal(qy_space_protect(space, area + 8 * PAGE, 8 * PAGE, 0), -ENOMEM);
    }
    qy_space_stat(space, &stat);
    assert_int_equal(stat.mapped, 32);
    assert_int_equal(stat.areas, 1);
    objects[count] = qy_kmalloc(mm, sizeof(struct qy_area), gfp);
    assert_non_null(objects[count++]);
    while (count > 0)
        assert_int_equal(qy_kfree(mm, objects[--count]), 0);
    assert_int_equal(qy_space_unmap(space, area + 8 * PAGE, 8 * PAGE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(like_an_array, setup, space_end),
        cmocka_unit_test_setup_teardown(wrong_calls, setup, space_end),
        cmocka_unit_test_setup_teardown(long_pins_leave_regions, setup, space_end),
        cmocka_unit_test_setup_teardown(no_frames_left, setup, space_end),
        cmocka_unit_test_setup_teardown(no_memory_to_cut, setup, space_end),
        cmocka_unit_test(not_movable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
