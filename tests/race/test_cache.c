/*
 * test_cache.c - threads read, write and pin a file while its pages are given up, moved and synced
 *
 * Built with the thread sanitizer, core and all. Each page is of one number throughout, which the
 * thread that it belongs to changes; so a page that is torn, stale or another's is seen.
 */
#include "support.h"

#include "buddy/lend.h"
#include "reclaim/file.h"

#include <quarry/buddy.h>
#include <quarry/linux.h>
#include <quarry/slab.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#define WORKERS 3
#define PAGES 2048u
#define WORDS (PAGE / sizeof(uint32_t))
#define ROUNDS 12000

static struct {
    struct qy_mm *mm;
    struct qy_file *file;
    pthread_mutex_t lock; /* of the backing */
    uint32_t disk[PAGES][WORDS];
    uint32_t owned[WORKERS][PAGES / WORKERS]; /* what each thread wrote last */
    _Atomic bool over;
} world = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int64_t disk_read(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    (void)cookie;
    pthread_mutex_lock(&world.lock);
    memcpy(buffer, (char *)world.disk + offset, bytes);
    pthread_mutex_unlock(&world.lock);
    return (int64_t)bytes;
}

static int64_t disk_write(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    (void)cookie;
    pthread_mutex_lock(&world.lock);
    memcpy((char *)world.disk + offset, buffer, bytes);
    pthread_mutex_unlock(&world.lock);
    return (int64_t)bytes;
}

static const struct qy_file_ops disk_ops = {.read = disk_read, .write = disk_write};

static void expect_page(const uint32_t *words, uint64_t page, uint32_t number, bool exact)
{
    for (unsigned i = 0; i < WORDS; i++)
        if (words[i] != words[0])
            test_fail("page %llu is torn: %u, and %u at %u", (unsigned long long)page, words[0],
                      words[i], i);
    if (exact && words[0] != number)
        test_fail("page %llu is %u, not %u", (unsigned long long)page, words[0], number);
}

static void write_page(unsigned me, struct random *random)
{
    uint32_t words[WORDS];
    unsigned which = (unsigned)random_below(random, PAGES / WORKERS);
    uint32_t number = ++world.owned[me][which];
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = number;
    uint64_t page = (uint64_t)which * WORKERS + me;
    if (qy_file_write(world.file, words, PAGE, page * PAGE) != PAGE)
        world.owned[me][which]--;
}

static void read_page(unsigned me, struct random *random)
{
    uint32_t words[WORDS];
    uint64_t page = random_below(random, PAGES / WORKERS * WORKERS);
    if (qy_file_read(world.file, words, PAGE, page * PAGE) != PAGE)
        return;
    expect_page(words, page, world.owned[me][page / WORKERS], page % WORKERS == me);
}

static void pin_page(unsigned me, struct random *random)
{
    unsigned which = (unsigned)random_below(random, PAGES / WORKERS);
    uint64_t page = (uint64_t)which * WORKERS + me;
    const uint32_t *words = qy_file_pin(world.file, page, false, NULL);
    if (words == NULL)
        return;
    expect_page(words, page, world.owned[me][which], true);
    sched_yield();
    expect_page(words, page, world.owned[me][which], true);
    assert_int_equal(qy_file_unpin(world.file, page), 0);
}

static void *work(void *argument)
{
    unsigned me = (unsigned)(uintptr_t)argument;
    struct random random = {me + 1};
    void *block = NULL;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t dice = random_below(&random, 100);
        if (dice < 50) {
            read_page(me, &random);
        } else if (dice < 80) {
            write_page(me, &random);
        } else if (dice < 90) {
            pin_page(me, &random);
        } else {
            qy_kfree(world.mm, block);
            block = qy_kmalloc(world.mm, 1 + random_below(&random, 200000), QY_GFP_KERNEL);
        }
    }
    qy_kfree(world.mm, block);
    return NULL;
}

/** As a mover does, which may find anything. */
static void move_page(struct random *random)
{
    uint64_t index = random_below(random, qy_described_frames(world.mm));
    unsigned ticket = qy_grace_enter(&world.mm->grace);
    const struct qy_folio *folio = &world.mm->folios[index];
    struct qy_mapping *mapping = atomic_load(&folio->mapping);
    uint32_t page = atomic_load(&folio->index);
    qy_pfn_t from = world.mm->start_pfn + index;
    bool fresh;
    qy_pfn_t to = qy_lend_block(world.mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 0, &fresh);
    if (to != QY_PFN_NONE && mapping != NULL &&
        mapping->ops->isolate(mapping, page, from, 1) == 1) {
        memcpy(qy_page_address(world.mm, to), qy_page_address(world.mm, from), PAGE);
        mapping->ops->putback(mapping, page, from, to, 1);
    } else if (to != QY_PFN_NONE) {
        qy_lend_return(world.mm, to, 1);
    }
    qy_grace_leave(&world.mm->grace, ticket);
}

static void *disturb(void *unused)
{
    struct random random = {77};
    (void)unused;
    while (!atomic_load(&world.over)) {
        uint64_t dice = random_below(&random, 100);
        if (dice < 80)
            move_page(&random);
        else if (dice < 90)
            qy_reclaim(world.mm, random_below(&random, 100));
        else if (dice < 95)
            assert_int_equal(qy_file_sync(world.file), 0);
        else
            qy_file_drop(world.file);
    }
    return NULL;
}

/* Wrong if it failed: somebody would see a page that is half written, or not his own, or lose what
 * he wrote. */
static void pages_stay_whole(void **state)
{
    pthread_t threads[WORKERS + 1];
    const struct qy_linux_options options = {
        .limit_bytes = 6 * MIB, .span_bytes = 64 * MIB, .movable = true, .min_free_kbytes = 128};
    (void)state;
    world.mm = qy_linux_mm_create(&options, NULL);
    assert_non_null(world.mm);
    world.file = qy_file_create(world.mm, "disk", &disk_ops, NULL, (uint64_t)PAGES * PAGE, NULL);
    assert_non_null(world.file);
    assert_int_equal(qy_linux_reclaimer_start(world.mm), 0);
    assert_int_equal(qy_linux_reclaimer_start(world.mm), -EEXIST);
    for (uintptr_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    assert_int_equal(pthread_create(&threads[WORKERS], NULL, disturb, NULL), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&world.over, true);
    pthread_join(threads[WORKERS], NULL);
    qy_linux_reclaimer_stop(world.mm);
    test_rules(world.mm);
    assert_int_equal(qy_file_close(world.file), 0);
    for (unsigned me = 0; me < WORKERS; me++)
        for (unsigned which = 0; which < PAGES / WORKERS; which++)
            expect_page(world.disk[which * WORKERS + me], which * WORKERS + me,
                        world.owned[me][which], true);
    test_rules(world.mm);
    qy_linux_mm_destroy(world.mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pages_stay_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
