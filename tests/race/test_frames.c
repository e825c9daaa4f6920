/*
 * test_frames.c - threads take and give frames while others drain, trim and add memory
 *
 * Built with the thread sanitizer, core and all. Each frame has an owner mark that changes by
 * compare-and-exchange alone, so a frame that is out twice is seen at once.
 */
#include "support.h"

#include "buddy/alloc.h"
#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/linux.h>
#include <quarry/slab.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define WORKERS 3
#define ROUNDS 80000
#define MOST_HELD 64
#define MAILBOXES 32
#define MOST_FRAMES (64u << 10)

struct block {
    qy_pfn_t pfn;
    uint64_t frames;
    unsigned order; /* meaningless where exact */
    bool exact;
};

struct world {
    struct qy_mm *mm;
    _Atomic bool over;
    _Atomic uint8_t owner[MOST_FRAMES];
    /* Blocks on their way from one thread to another. */
    pthread_mutex_t mail_lock;
    struct block mail[MAILBOXES];
    size_t nr_mail;
};

static struct world world;

static void own(const struct block *block, uint8_t from, uint8_t to)
{
    for (uint64_t i = 0; i < block->frames; i++) {
        uint64_t index = qy_frame_index(world.mm, block->pfn) + i;
        uint8_t expected = from;
        if (index >= MOST_FRAMES ||
            !atomic_compare_exchange_strong(&world.owner[index], &expected, to))
            test_fail("frame %#llx of a block of %llu: owner is %u, not %u",
                      (unsigned long long)(block->pfn + i), (unsigned long long)block->frames,
                      expected, from);
    }
}

static bool take(struct random *random, uint8_t me, struct block *block)
{
    static const unsigned orders[] = {0, 0, 0, 0, 0, 1, 2, 3, 5, 9};
    qy_gfp_t gfp = random_one_in(random, 2) ? QY_GFP_KERNEL : QY_GFP_HIGHUSER_MOVABLE;

    *block = (struct block){.exact = random_one_in(random, 100)};
    if (block->exact) {
        block->frames = 1 + random_below(random, 1500);
        block->pfn = qy_alloc_pages_exact(world.mm, gfp, block->frames, 0);
    } else {
        block->order = orders[random_below(random, COUNT_OF(orders))];
        block->frames = UINT64_C(1) << block->order;
        block->pfn = qy_alloc_pages(world.mm, gfp, block->order);
    }
    if (block->pfn == QY_PFN_NONE)
        return false;
    own(block, 0, me);
    return true;
}

static void give(const struct block *block, uint8_t me)
{
    own(block, me, 0);
    int code = block->exact ? qy_free_pages_exact(world.mm, block->pfn, block->frames)
                            : qy_free_pages(world.mm, block->pfn, block->order);
    if (code != 0)
        test_fail("a right free was refused");
}

/* Leave a block for somebody, and take one that somebody left. */
static void exchange_mail(struct block *mine, uint8_t me)
{
    own(mine, me, UINT8_MAX);
    pthread_mutex_lock(&world.mail_lock);
    struct block other = *mine;
    if (world.nr_mail < MAILBOXES) {
        world.mail[world.nr_mail++] = *mine;
        other = world.mail[0];
        world.mail[0] = world.mail[--world.nr_mail];
    }
    pthread_mutex_unlock(&world.mail_lock);
    own(&other, UINT8_MAX, me);
    *mine = other;
}

static void *work(void *argument)
{
    uint8_t me = (uint8_t)(uintptr_t)argument;
    struct random random = {me};
    struct block held[MOST_HELD];
    size_t nr_held = 0;

    for (int round = 0; round < ROUNDS; round++) {
        bool full = nr_held == MOST_HELD;
        if (!full && random_below(&random, 100) < 55) {
            nr_held += take(&random, me, &held[nr_held]);
        } else if (nr_held > 0) {
            size_t which = random_below(&random, nr_held);
            if (random_one_in(&random, 3))
                exchange_mail(&held[which], me);
            give(&held[which], me);
            held[which] = held[--nr_held];
        }
    }
    while (nr_held > 0)
        give(&held[--nr_held], me);
    return NULL;
}

/* What disturbs: everything that stops slots, or moves frames behind their backs. */
static void *disturb(void *unused)
{
    struct random random = {99};
    struct qy_mm_stat stat;
    (void)unused;
    while (!atomic_load(&world.over)) {
        switch (random_below(&random, 4)) {
        case 0:
            qy_drain_all_pages(world.mm);
            break;
        case 1:
            qy_mm_trim(world.mm, random_below(&random, 4000));
            break;
        case 2:
            qy_mm_stat(world.mm, &stat);
            break;
        default:
            qy_kmem_cache_shrink_all(world.mm);
            break;
        }
        sched_yield();
    }
    return NULL;
}

static void run(void *(*beside)(void *))
{
    pthread_t workers[WORKERS], other;
    uint64_t before = test_frames_in_use(world.mm);

    atomic_store(&world.over, false);
    pthread_mutex_init(&world.mail_lock, NULL);
    assert_int_equal(pthread_create(&other, NULL, beside, NULL), 0);
    for (uintptr_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i], NULL, work, (void *)(i + 1)), 0);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    atomic_store(&world.over, true);
    pthread_join(other, NULL);
    while (world.nr_mail > 0)
        give(&world.mail[--world.nr_mail], UINT8_MAX);
    assert_int_equal(test_frames_in_use(world.mm), before);
    for (size_t i = 0; i < MOST_FRAMES; i++)
        assert_int_equal(world.owner[i], 0);
    assert_int_equal(world.mm->nr_faults, 0);
}

/* Wrong if it failed: a frame would be out twice or get lost when slots are drained, memory
 * is trimmed, or a process's memory grows, while others allocate. */
static void a_process_grows_is_drained_and_trimmed(void **state)
{
    (void)state;
    const struct qy_linux_options options = {
        .limit_bytes = 96 * MIB,
        .span_bytes = (uint64_t)MOST_FRAMES * PAGE,
    };
    struct qy_error error = {0};

    world.mm = qy_linux_mm_create(&options, &error);
    if (!world.mm)
        fail_msg("%s", error.text);
    run(disturb);
    qy_linux_mm_destroy(world.mm);
}

/* Sections come online one by one. */
static void *add_memory(void *unused)
{
    (void)unused;
    for (qy_pfn_t pfn = 64 * MIB / PAGE; pfn < 192 * MIB / PAGE; pfn += 1024) {
        assert_int_equal(qy_mm_online(world.mm, pfn, 1024), 0);
        qy_drain_all_pages(world.mm);
        for (int i = 0; i < 50 && !atomic_load(&world.over); i++)
            sched_yield();
    }
    return NULL;
}

/* Wrong if it failed: sections that come online would disturb those who allocate. */
static void sections_come_online_meanwhile(void **state)
{
    (void)state;
    const struct qy_range ranges[] = {
        {.base = 0, .bytes = 64 * MIB},
        {.base = 64 * MIB, .bytes = 128 * MIB, .type = QY_RANGE_HOTPLUG},
    };
    const struct qy_memmap map = {
        .ranges = ranges, .nr_ranges = 2, .nr_nodes = 1, .dma32_end = 100 * MIB};
    struct test_memory memory;

    test_memory_build(&memory, &map, NULL, 0, 0);
    world.mm = memory.mm;
    run(add_memory);
    test_memory_free(&memory);
}

static void *look_at_the_peak(void *looks)
{
    for (; !atomic_load(&world.over); ++*(_Atomic unsigned *)looks)
        qy_note_peak(world.mm);
    return NULL;
}

/* Wrong if it failed: while memory comes online, frames that nobody ever had would count as used:
 * up to 64 MiB in the peak that a program is said to have needed. */
static void what_comes_online_was_never_used(void **state)
{
    (void)state;
    const struct qy_range ranges[] = {
        {.base = 0, .bytes = 4 * MIB},
        {.base = 4 * MIB, .bytes = 8 * GIB, .type = QY_RANGE_HOTPLUG},
    };
    const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 2, .nr_nodes = 1};
    struct test_memory memory;
    _Atomic unsigned looks = 0;
    pthread_t looker;

    test_memory_build(&memory, &map, NULL, 0, 0);
    world.mm = memory.mm;
    uint64_t used = qy_used_frames(world.mm);
    atomic_store(&world.over, false);
    assert_int_equal(pthread_create(&looker, NULL, look_at_the_peak, &looks), 0);
    for (uint64_t at = 4 * MIB; at < 8 * GIB; at += 64 * MIB) {
        for (unsigned before = looks; looks - before < 2;) /* it runs just now */
            sched_yield();
        assert_int_equal(qy_mm_online(world.mm, at / PAGE, 64 * MIB / PAGE), 0);
    }
    atomic_store(&world.over, true);
    pthread_join(looker, NULL);
    assert_true(atomic_load(&world.mm->peak) <= used);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_online_was_never_used),
        cmocka_unit_test(a_process_grows_is_drained_and_trimmed),
        cmocka_unit_test(sections_come_online_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
