/*
 * test_torture.c - everything that one memory can be used for, at random and at once
 *
 * Wrong if it failed: some order of calls would lose a byte, a frame or a wake-up.
 *
 *     QUARRY_SECONDS=600 build/dev/test-torture-random       how long; 10 without it
 *     QUARRY_SEED=random                              other steps (the threads' order is never
 *                                                     the same)
 *     QUARRY_KINDS=heap,area                          these kinds of steps alone
 *     QUARRY_HANG=wait                                a hang is not the end: gdb -p may look
 *
 * test-torture-failing is the same with calls of the port that fail: failing.c.
 */
#include "torture.h"

#include "memory/mm.h"
#include "support.h"

#include <quarry/linux.h>

#include <pthread.h>
#include <unistd.h>

#define LIMIT (80 * MIB)
/** Between two moments at which all park. */
#define ROUND_MS 400
/** Nobody parks for so long: a hang. */
#define HANG_S 120

struct world world;

/** failing.c is linked in. */
extern const bool torture_failing __attribute__((weak));

static const struct kind *const kinds[KINDS] = {&heap_kind, &pages_kind, &area_kind, &file_kind,
                                                &region_kind};
static bool chosen[KINDS];
static struct actor actors[ACTORS];

/* ---- parking ---- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned parked;
    _Atomic bool park, stop;
} yard = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void park(struct actor *actor)
{
    doing(actor, "parked");
    pthread_mutex_lock(&yard.mutex);
    yard.parked++;
    pthread_cond_broadcast(&yard.changed);
    while (yard.park)
        pthread_cond_wait(&yard.changed, &yard.mutex);
    yard.parked--;
    pthread_cond_broadcast(&yard.changed);
    pthread_mutex_unlock(&yard.mutex);
}

static void report_hang(void)
{
    fprintf(stderr, "\nnobody moves (process %d); last seen:\n", (int)getpid());
    for (unsigned i = 0; i < ACTORS; i++)
        fprintf(stderr, "  actor %u: %s\n", i, atomic_load(&actors[i].doing));
    const char *hang = getenv("QUARRY_HANG");
    while (hang != NULL && strcmp(hang, "wait") == 0)
        pause();
    test_fail("a hang");
}

/** Until so many have parked. */
static void await(unsigned parked)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HANG_S;
    pthread_mutex_lock(&yard.mutex);
    while (yard.parked != parked)
        if (pthread_cond_timedwait(&yard.changed, &yard.mutex, &until) != 0 &&
            yard.parked != parked)
            report_hang();
    pthread_mutex_unlock(&yard.mutex);
}

static void let_go(void)
{
    pthread_mutex_lock(&yard.mutex);
    yard.park = false;
    pthread_cond_broadcast(&yard.changed);
    pthread_mutex_unlock(&yard.mutex);
    await(0);
}

/* ---- actors ---- */

static unsigned some_kind(struct actor *actor)
{
    unsigned sum = 0, kind = 0;
    for (unsigned i = 0; i < KINDS; i++)
        sum += chosen[i] ? kinds[i]->weight : 0;
    unsigned ticket = (unsigned)random_below(&actor->random, sum);
    while (!chosen[kind] || ticket >= kinds[kind]->weight) {
        ticket -= chosen[kind] ? kinds[kind]->weight : 0;
        kind++;
    }
    return kind;
}

static void *act(void *argument)
{
    struct actor *actor = argument;
    for (unsigned i = 0; i < KINDS; i++)
        if (chosen[i])
            kinds[i]->begin(actor);
    while (!yard.stop) {
        unsigned kind = some_kind(actor);
        actor->refused[kind] += !kinds[kind]->step(actor);
        atomic_fetch_add_explicit(&actor->steps[kind], 1, memory_order_relaxed);
        if (yard.park)
            park(actor);
    }
    for (unsigned i = 0; i < KINDS; i++)
        if (chosen[i])
            kinds[i]->end(actor);
    doing(actor, "gone");
    pthread_mutex_lock(&yard.mutex);
    yard.parked++;
    pthread_cond_broadcast(&yard.changed);
    pthread_mutex_unlock(&yard.mutex);
    return NULL;
}

static void run(double seconds)
{
    pthread_t threads[ACTORS];
    struct random random = {world.seed};
    struct timespec round = {0, ROUND_MS * 1000000L};
    time_t last = time(NULL) + (time_t)(seconds + 0.5);
    for (unsigned i = 0; i < ACTORS; i++) {
        actors[i].number = i;
        actors[i].random.state = world.seed * 1000 + i;
        actors[i].doing = "begin";
        pthread_create(&threads[i], NULL, act, &actors[i]);
    }
    world.calls_fail = &torture_failing != NULL;
    while (time(NULL) < last) {
        nanosleep(&round, NULL);
        yard.park = true;
        await(ACTORS);
        qy_linux_reclaimer_stop(world.mm);
        test_rules(world.mm);
        if (qy_linux_reclaimer_start(world.mm) != 0)
            test_fail("no reclaimer");
        world.lean = random_one_in(&random, 3);
        let_go();
    }
    world.calls_fail = false;
    yard.stop = true;
    await(ACTORS);
    for (unsigned i = 0; i < ACTORS; i++)
        pthread_join(threads[i], NULL);
}

/* ---- what must be as it was ---- */

struct balance {
    uint64_t used;     /* frames */
    uint64_t sections; /* that are not one free block */
};

static struct balance take_balance(void)
{
    struct qy_mm *mm = world.mm;
    struct balance balance = {.used = test_frames_in_use(mm)};
    uint64_t managed = atomic_load(&mm->managed);
    for (uint64_t frame = 0; frame < managed; frame += QY_SECTION_FRAMES) {
        uint64_t i = frame; /* memory came online from frame 0 on; the last section in part */
        while (i < managed && i < frame + QY_SECTION_FRAMES && qy_frame_is_free(mm, i))
            i++;
        balance.sections += i < managed && i < frame + QY_SECTION_FRAMES;
    }
    return balance;
}

static void print_figures(void)
{
    for (unsigned i = 0; i < KINDS; i++) {
        uint64_t steps = 0, refused = 0;
        for (unsigned j = 0; j < ACTORS; j++) {
            steps += actors[j].steps[i];
            refused += actors[j].refused[i];
        }
        if (steps > 0)
            print_message("%-8s %10llu steps, %10llu refused\n", kinds[i]->name,
                          (unsigned long long)steps, (unsigned long long)refused);
    }
}

static void choose_kinds(void)
{
    const char *names = getenv("QUARRY_KINDS");
    for (unsigned i = 0; i < KINDS; i++)
        chosen[i] = names == NULL || strstr(names, kinds[i]->name) != NULL;
}

/* ---- the memory ---- */

static void build(void)
{
    const struct qy_linux_options options = {
        .shared = true, .limit_bytes = LIMIT, .span_bytes = 2 * LIMIT, .min_free_kbytes = 1024};
    struct qy_error error = {0};
    world.mm = qy_linux_mm_create(&options, &error);
    if (world.mm == NULL)
        test_fail("%s", error.text);
    test_make_classes(world.mm);
    if (qy_linux_reclaimer_start(world.mm) != 0)
        test_fail("no reclaimer");
}

static void prepare(void)
{
    for (unsigned i = 0; i < KINDS; i++)
        if (chosen[i] && kinds[i]->prepare != NULL)
            kinds[i]->prepare();
}

static void finish(void)
{
    for (unsigned i = KINDS; i-- > 0;)
        if (chosen[i] && kinds[i]->finish != NULL)
            kinds[i]->finish();
    qy_linux_reclaimer_stop(world.mm);
}

/** One turn of everything, so that what is made once and stays is there. */
static struct balance warm_up(void)
{
    prepare();
    finish();
    return take_balance();
}

static void torture(void **state)
{
    const char *seconds = getenv("QUARRY_SECONDS");
    (void)state;
    world.seed = test_seed();
    choose_kinds();
    build();
    struct balance before = warm_up();
    if (qy_linux_reclaimer_start(world.mm) != 0)
        test_fail("no reclaimer");
    prepare();
    test_rules(world.mm);
    run(seconds != NULL ? strtod(seconds, NULL) : 10);
    print_figures();
    finish();
    test_rules(world.mm);
    struct balance after = take_balance();
    print_message("%llu frames in use before, %llu after; in %llu and %llu sections\n",
                  (unsigned long long)before.used, (unsigned long long)after.used,
                  (unsigned long long)before.sections, (unsigned long long)after.sections);
    assert_int_equal(after.used, before.used);
    assert_true(after.sections <= before.sections);
    assert_int_equal(world.mm->nr_faults, 0);
    qy_linux_mm_destroy(world.mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(torture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
