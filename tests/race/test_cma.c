/*
 * test_cma.c - threads take buffers out of a region while others borrow, return, write and pin its
 * frames, and others again compact, trim, and make and destroy regions and borrowers
 *
 * Built with the thread sanitizer, core and all. Every borrowed page carries its number and how
 * often it was written, every buffer its owner's mark: bytes that went astray are seen.
 */
#include "borrower.h"
#include "support.h"

#include "view/live.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>
#include <quarry/linux.h>
#include <quarry/slab.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define DRIVERS 2
#define BORROWERS 2
#define REGION 4096
#define LIMIT (64 * MIB)
#define PAGES 6000 /* of each borrower: more than there are frames */
#define REQUESTS 4000
#define MOST_BUFFERS 4

struct buffer {
    qy_pfn_t pfn;
    uint64_t frames;
};

struct world {
    struct qy_mm *mm;
    struct qy_cma *cma;
    _Atomic bool over;
    _Atomic uint64_t got, busy;
};

static struct world world;

static void fill(const struct buffer *buffer, uint64_t mark)
{
    for (uint64_t i = 0; i < buffer->frames; i++)
        ((uint64_t *)qy_page_address(world.mm, buffer->pfn + i))[7] = mark + i;
}

static void check(const struct buffer *buffer, uint64_t mark)
{
    for (uint64_t i = 0; i < buffer->frames; i++)
        if (((uint64_t *)qy_page_address(world.mm, buffer->pfn + i))[7] != mark + i)
            test_fail("somebody wrote to frame %llu of a buffer", (unsigned long long)i);
}

static bool request(struct random *random, struct buffer *buffer)
{
    struct qy_cma_report report;
    struct qy_cma_request request = {
        .nr_frames = 1 + random_below(random, 700),
        .align_order = (unsigned)random_below(random, 8),
        .deadline_ns = random_one_in(random, 8) ? 200000 : 0,
        .most_moved = random_one_in(random, 8) ? 200 : 0,
        .flags = (random_one_in(random, 8) ? QY_CMA_FIRST_FIT : 0) |
                 (random_one_in(random, 8) ? QY_CMA_DRY_RUN : 0),
    };
    buffer->frames = request.nr_frames;
    int code = qy_cma_alloc(world.cma, &request, &buffer->pfn, &report);
    if (code != 0 && code != -EBUSY && code != -ENOMEM && code != -ETIME)
        test_fail("a request ended with %d", code);
    bool taken = code == 0 && !(request.flags & QY_CMA_DRY_RUN);
    atomic_fetch_add(taken ? &world.got : &world.busy, 1);
    return taken;
}

static void release(const struct buffer *buffer, uint64_t mark)
{
    check(buffer, mark);
    uint64_t half = buffer->frames / 2; /* in two parts */
    assert_int_equal(qy_cma_release(world.cma, buffer->pfn + half, buffer->frames - half), 0);
    if (half > 0)
        assert_int_equal(qy_cma_release(world.cma, buffer->pfn, half), 0);
}

static void *drive(void *argument)
{
    uint64_t mark = (uint64_t)(uintptr_t)argument << 32;
    struct random random = {mark};
    struct buffer buffers[MOST_BUFFERS];
    size_t held = 0;
    for (int round = 0; round < REQUESTS; round++) {
        if (held < MOST_BUFFERS && random_below(&random, 100) < 60) {
            if (request(&random, &buffers[held]))
                fill(&buffers[held++], mark);
        } else if (held > 0) {
            size_t which = random_below(&random, held);
            release(&buffers[which], mark);
            buffers[which] = buffers[--held];
        }
    }
    while (held > 0)
        release(&buffers[--held], mark);
    return NULL;
}

/* One step of a borrower; at most one page is pinned at a time, for a while. */
static void step(struct borrower *borrower, struct random *random, uint32_t *pinned)
{
    uint32_t page = (uint32_t)random_below(random, PAGES);
    switch (random_below(random, 8)) {
    case 0:
    case 1:
    case 2:
        borrower_borrow(borrower, BORROWED_MOVABLE + (unsigned)random_below(random, 3));
        break;
    case 3:
        if (page != *pinned)
            borrower_return(borrower, page);
        break;
    case 4:
        if (*pinned != UINT32_MAX)
            borrower_pin(borrower, *pinned, false);
        *pinned = borrower_pin(borrower, page, true) ? page : UINT32_MAX;
        break;
    default:
        borrower_write(borrower, page);
    }
}

static void *borrow(void *argument)
{
    struct random random = {(uintptr_t)argument};
    while (!atomic_load(&world.over)) {
        struct borrower *borrower = borrower_create(world.mm, "borrower");
        uint32_t pinned = UINT32_MAX;
        for (int i = 0; i < 20000 && !atomic_load(&world.over); i++)
            step(borrower, &random, &pinned);
        borrower_check(borrower);
        if (pinned != UINT32_MAX)
            borrower_pin(borrower, pinned, false);
        borrower_destroy(borrower); /* while drivers may be asking it */
    }
    return NULL;
}

static void another_region(void)
{
    const struct qy_cma_options options = {
        .name = "other", .ranges = {{QY_PFN_NONE, 1024}}, .nr_ranges = 1, .policy = QY_CMA_EAGER};
    struct qy_error error;
    struct qy_cma *cma = qy_cma_create(world.mm, &options, &error);
    if (cma == NULL) {
        assert_int_equal(error.code, -ENOMEM);
        return;
    }
    const struct qy_cma_request request = {.nr_frames = 100};
    qy_pfn_t pfn;
    if (qy_cma_alloc(cma, &request, &pfn, NULL) == 0)
        assert_int_equal(qy_cma_release(cma, pfn, 100), 0);
    assert_int_equal(qy_cma_destroy(cma), 0);
}

static void *disturb(void *unused)
{
    struct random random = {99};
    struct qy_cma_stat stat;
    (void)unused;
    while (!atomic_load(&world.over)) {
        qy_pfn_t pfn = qy_alloc_pages(world.mm, QY_GFP_KERNEL, 5);
        switch (random_below(&random, 5)) {
        case 0:
            qy_compact(world.mm, 1 + (unsigned)random_below(&random, QY_MAX_ORDER), 2000, NULL);
            break;
        case 1:
            qy_mm_trim(world.mm, random_below(&random, 4000));
            break;
        case 2:
            qy_drain_all_pages(world.mm);
            break;
        case 3:
            qy_cma_stat(world.cma, &stat);
            assert_true(stat.out <= REGION && stat.lent <= REGION);
            break;
        default:
            another_region();
        }
        if (pfn != QY_PFN_NONE)
            assert_int_equal(qy_free_pages(world.mm, pfn, 5), 0);
        sched_yield();
    }
    return NULL;
}

/** Looks at regions, of which one comes and goes, as `quarry run` has each process do. */
static void *watch(void *unused)
{
    struct qy_live live = {.mm = world.mm};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_region_view view;
    (void)unused;
    while (!atomic_load(&world.over)) {
        for (size_t i = 0; qy_look_region(&lens, i, &view); i++) {
            bool is_camera = strcmp(view.name, "camera") == 0;
            assert_true(is_camera || strcmp(view.name, "other") == 0);
            assert_int_equal(view.total_pages, is_camera ? REGION : 1024);
            assert_true(view.out <= view.total_pages && view.lent <= view.total_pages);
        }
        sched_yield();
    }
    return NULL;
}

/** Pageblocks that are not wholly free. */
static uint64_t count_broken(void)
{
    uint64_t broken = 0;
    qy_kmem_cache_shrink_all(world.mm);
    qy_drain_all_pages(world.mm);
    test_rules(world.mm);
    for (uint64_t i = 0; i < world.mm->nr_frames / QY_PAGEBLOCK_FRAMES; i++)
        broken += (world.mm->blocks[i].flags & QY_BLOCK_ONLINE) &&
                  world.mm->blocks[i].nr_free != QY_PAGEBLOCK_FRAMES;
    return broken;
}

/* Wrong if it failed: bytes, frames or requests would get lost where a driver, its lenders and
 * those who tidy up meet. */
static void all_at_once(void **state)
{
    const struct qy_linux_options options = {
        .limit_bytes = LIMIT, .span_bytes = 2 * LIMIT, .movable = true};
    const struct qy_cma_options region = {
        .name = "camera", .ranges = {{QY_PFN_NONE, REGION}}, .nr_ranges = 1};
    struct qy_error error = {0};
    pthread_t threads[DRIVERS + BORROWERS + 2];
    (void)state;
    world.mm = qy_linux_mm_create(&options, &error);
    if (world.mm == NULL)
        fail_msg("%s", error.text);
    world.cma = qy_cma_create(world.mm, &region, &error);
    if (world.cma == NULL)
        fail_msg("%s", error.text);
    uint64_t broken = count_broken();
    pthread_create(&threads[DRIVERS + BORROWERS], NULL, disturb, NULL);
    pthread_create(&threads[DRIVERS + BORROWERS + 1], NULL, watch, NULL);
    for (uintptr_t i = 0; i < BORROWERS; i++)
        pthread_create(&threads[DRIVERS + i], NULL, borrow, (void *)(i + 50));
    for (uintptr_t i = 0; i < DRIVERS; i++)
        pthread_create(&threads[i], NULL, drive, (void *)(i + 1));
    for (int i = 0; i < DRIVERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&world.over, true);
    for (int i = 0; i < BORROWERS + 2; i++)
        pthread_join(threads[DRIVERS + i], NULL);
    print_message("%llu requests came, %llu did not\n", (unsigned long long)world.got,
                  (unsigned long long)world.busy);
    assert_true(world.got > REQUESTS / 4);
    assert_true(count_broken() <= broken + 2); /* slabs may lie elsewhere now */
    assert_int_equal(qy_cma_destroy(world.cma), 0);
    assert_int_equal(world.mm->nr_faults, 0);
    test_rules(world.mm);
    qy_linux_mm_destroy(world.mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
