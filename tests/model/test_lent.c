/*
 * test_lent.c - a heap, files and movable pages share a memory with a region, up to 95 % of it in
 *               use by who cannot be dropped: nobody is refused what others could make room for
 */
#include "backing.h"
#include "borrower.h"
#include "support.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>

#define BYTES (32 * MIB)
#define FRAMES (BYTES / PAGE)
#define REGION (FRAMES / 2)
#define MOST_FRAMES 1024
#define FILE_PAGES (2 * FRAMES)

static int64_t read_zeros(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    (void)cookie;
    (void)offset;
    memset(buffer, 0, bytes);
    return (int64_t)bytes;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t over_at;        /* the deadline of the request that is on its way; 0: it has none */
static unsigned begun_too_late; /* writes */
static long write_ns;

static int64_t write_nowhere(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    const struct timespec pause = {.tv_nsec = write_ns};
    (void)cookie;
    (void)offset;
    (void)buffer;
    begun_too_late += over_at != 0 && now() > over_at + 1000000;
    if (write_ns != 0)
        nanosleep(&pause, NULL);
    return (int64_t)bytes;
}

static const struct qy_file_ops nowhere = {.read = read_zeros, .write = write_nowhere};

struct fixture {
    struct test_memory memory;
    struct qy_mm *mm;
    struct qy_cma *cma;
    struct qy_file *file;
    struct borrower *borrower;
    struct random random;
    qy_pfn_t heap[FRAMES];
    uint64_t nr_heap;
};

static void set_up(struct fixture *fixture, enum qy_cma_policy policy, uint64_t seed)
{
    const struct qy_cma_options region = {
        .name = "camera", .ranges = {{QY_PFN_NONE, REGION}}, .nr_ranges = 1, .policy = policy};
    struct qy_error error = {0};
    *fixture = (struct fixture){.random = {seed}};
    test_memory_lendable(&fixture->memory, BYTES, 256);
    fixture->mm = fixture->memory.mm;
    fixture->cma = qy_cma_create(fixture->mm, &region, &error);
    if (fixture->cma == NULL)
        test_fail("qy_cma_create: %s", error.text);
    fixture->file = qy_file_create(fixture->mm, "nowhere", &nowhere, NULL, FILE_PAGES * PAGE, NULL);
    assert_non_null(fixture->file);
    fixture->borrower = borrower_create(fixture->mm, "borrower");
}

static void tear_down(struct fixture *fixture)
{
    borrower_check(fixture->borrower);
    test_rules(fixture->mm);
    borrower_destroy(fixture->borrower);
    while (fixture->nr_heap > 0)
        assert_int_equal(qy_free_pages(fixture->mm, fixture->heap[--fixture->nr_heap], 0), 0);
    assert_int_equal(qy_file_close(fixture->file), 0);
    assert_int_equal(qy_cma_destroy(fixture->cma), 0);
    test_memory_free(&fixture->memory);
}

static void use_file(struct fixture *fixture, unsigned pages)
{
    static char page[PAGE];
    for (unsigned i = 0; i < pages; i++) {
        uint64_t at = random_below(&fixture->random, FILE_PAGES) * PAGE;
        int64_t done = random_one_in(&fixture->random, 8)
                           ? qy_file_write(fixture->file, page, PAGE, at)
                           : qy_file_read(fixture->file, page, PAGE, at);
        assert_int_equal(done, PAGE);
    }
}

static void give_one(struct fixture *fixture)
{
    qy_pfn_t *one = &fixture->heap[random_below(&fixture->random, fixture->nr_heap)];
    assert_int_equal(qy_free_pages(fixture->mm, *one, 0), 0);
    *one = fixture->heap[--fixture->nr_heap];
}

/** So many pages of the heap's and movable ones, as far as there is room; some come and go. */
static void turn_over(struct fixture *fixture, uint64_t heap, uint64_t movable)
{
    struct borrower *borrower = fixture->borrower;
    for (unsigned i = 0; i < 16; i++) {
        borrower_return(borrower, (uint32_t)random_below(&fixture->random, FRAMES));
        if (fixture->nr_heap > 0)
            give_one(fixture);
    }
    while (fixture->nr_heap > heap)
        give_one(fixture);
    while (borrower->nr_pages > movable)
        borrower_return(borrower, (uint32_t)random_below(&fixture->random, FRAMES));
    while (fixture->nr_heap < heap &&
           (fixture->heap[fixture->nr_heap] =
                qy_alloc_pages(fixture->mm, QY_GFP_KERNEL | QY_GFP_NOWARN, 0)) != QY_PFN_NONE)
        fixture->nr_heap++;
    assert_int_equal(fixture->nr_heap, heap);
    while (borrower->nr_pages < movable &&
           (borrower_borrow(borrower, BORROWED_MOVABLE) != UINT32_MAX ||
            qy_reclaim(fixture->mm, 64) > 0))
        ;
}

static void request(struct fixture *fixture, uint64_t frames)
{
    const struct qy_cma_request request = {.nr_frames = frames};
    struct qy_cma_report report;
    qy_pfn_t pfn;
    int code = qy_cma_alloc(fixture->cma, &request, &pfn, &report);
    if (code != 0)
        test_fail("%llu frames, %llu of the heap's, %llu movable: %d, %llu stuck, the first by %d",
                  (unsigned long long)frames, (unsigned long long)fixture->nr_heap,
                  (unsigned long long)fixture->borrower->nr_pages, code,
                  (unsigned long long)report.nr_stuck, report.stuck[0].reason);
    assert_int_equal(qy_cma_release(fixture->cma, pfn, frames), 0);
}

/* Wrong if it failed: a driver would be refused its buffer, for want of a frame to move a page to,
 * while files hold clean pages elsewhere in the region. */
static void each_succeeds(void **state)
{
    static const enum qy_cma_policy policies[] = {QY_CMA_LINUX, QY_CMA_EAGER};
    static struct fixture fixture;
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(policies); i++) {
        set_up(&fixture, policies[i], test_seed() + i);
        for (unsigned round = 0; round < 1000; round++) {
            uint64_t frames = 1 + random_below(&fixture.random, MOST_FRAMES);
            uint64_t used = FRAMES * 95 / 100 - MOST_FRAMES;
            uint64_t heap = round % 300 < 150 ? REGION * 9 / 10 : REGION / 2;
            turn_over(&fixture, heap, used - heap);
            use_file(&fixture, 200);
            request(&fixture, frames);
            if (round % 500 == 0)
                test_rules(fixture.mm);
        }
        tear_down(&fixture);
    }
}

/** Ask with a deadline, of a disk that takes 2 ms for each write. True: it was over. */
static bool is_late(struct fixture *fixture, uint64_t frames)
{
    const struct qy_cma_request request = {.nr_frames = frames, .deadline_ns = 3000000};
    qy_pfn_t pfn;
    write_ns = 2000000;
    over_at = now() + request.deadline_ns;
    int code = qy_cma_alloc(fixture->cma, &request, &pfn, NULL);
    write_ns = 0;
    over_at = 0;
    if (code == 0)
        assert_int_equal(qy_cma_release(fixture->cma, pfn, frames), 0);
    assert_true(code == 0 || code == -ETIME);
    return code != 0;
}

/** Make as many pages dirty as may be, every or every other one of the file; drop the others. */
static void write_pages(struct fixture *fixture, unsigned stride)
{
    static char page[PAGE];
    for (uint64_t i = 0; i < FRAMES; i++) {
        uint64_t at = (FRAMES - i) * stride; /* neighbours lie apart in memory */
        assert_int_equal(qy_file_write(fixture->file, page, PAGE, at * PAGE), PAGE);
    }
    qy_file_drop(fixture->file);
}

/* Wrong if it failed: a request with a deadline would go on writing pages behind it, to make room
 * for what has to be moved. */
static void no_write_behind_the_deadline(void **state)
{
    static struct fixture fixture;
    unsigned late = 0;
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        set_up(&fixture, QY_CMA_EAGER, test_seed() + round);
        turn_over(&fixture, 1000, REGION);
        write_pages(&fixture, 1 + round % 2);
        while ((fixture.heap[fixture.nr_heap] =
                    qy_alloc_pages(fixture.mm, QY_GFP_NOWAIT | QY_GFP_NOWARN, 0)) != QY_PFN_NONE)
            fixture.nr_heap++;
        while (borrower_borrow(fixture.borrower, BORROWED_MOVABLE) != UINT32_MAX)
            ;
        late += is_late(&fixture, 512);
        tear_down(&fixture);
    }
    assert_int_equal(begun_too_late, 0);
    assert_int_equal(late, 6);
}

/* Wrong if it failed: a heap would be told that there is no memory while a region lies idle, or
 * full of files, and pages that could go there are in its way. */
static void heap_before_regions(void **state)
{
    static struct fixture fixture;
    (void)state;
    for (unsigned round = 0; round < 24; round++) {
        set_up(&fixture, round % 2 ? QY_CMA_LINUX : QY_CMA_EAGER, test_seed() + round);
        const struct qy_cma_request all = {.nr_frames = REGION};
        unsigned order = (unsigned)random_below(&fixture.random, 10);
        qy_pfn_t pfn;
        assert_int_equal(qy_cma_alloc(fixture.cma, &all, &pfn, NULL), 0);
        turn_over(&fixture, 0, random_below(&fixture.random, REGION - 256)); /* all outside */
        assert_int_equal(qy_cma_release(fixture.cma, pfn, REGION), 0);
        if (random_one_in(&fixture.random, 2))
            use_file(&fixture, 2 * FRAMES);
        uint64_t got = 0, movable = fixture.borrower->nr_pages;
        while (qy_alloc_pages(fixture.mm, QY_GFP_KERNEL | QY_GFP_NOWARN, order) != QY_PFN_NONE)
            got += UINT64_C(1) << order;
        if (got < (FRAMES - REGION) * 85 / 100)
            test_fail("round %u: order %u, %llu frames of %llu, %llu are movable", round, order,
                      (unsigned long long)got, (unsigned long long)(FRAMES - REGION),
                      (unsigned long long)movable);
        assert_int_equal(fixture.borrower->nr_pages, movable);
        tear_down(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_succeeds),
        cmocka_unit_test(heap_before_regions),
        cmocka_unit_test(no_write_behind_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
