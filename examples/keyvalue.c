/*
 * keyvalue.c - a server's values and its cache under one limit
 *
 * Values are objects. Answers that were rendered once are kept while there is room: the server
 * says with a shrinker what it could do without, and is asked when values need the memory. So
 * nobody chooses beforehand how much of 64 MiB is for which, and an allocation fails when no answer
 * is left to give up, not before.
 *
 *     cc keyvalue.c $(pkg-config --cflags --libs quarry)
 */
#include <quarry/cache.h>
#include <quarry/linux.h>
#include <quarry/mm.h>
#include <quarry/slab.h>

#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define LIMIT (64 * MIB)
#define VALUE 1000U   /* bytes */
#define ANSWER 16384U /* bytes */
#define MOST 131072U  /* values, and answers */
#define FRAMES(bytes) ((bytes) / 4096)

static struct qy_mm *mm;
static void *values[MOST], *answers[MOST];
static uint64_t nr_values, oldest, newest; /* answers from oldest to newest - 1 are there */

static uint64_t count_answers(struct qy_shrinker *shrinker)
{
    (void)shrinker;
    return (newest - oldest) * FRAMES(ANSWER);
}

static uint64_t drop_answers(struct qy_shrinker *shrinker, uint64_t frames)
{
    uint64_t dropped = 0;
    for (; dropped < frames && count_answers(shrinker) > 0; dropped += FRAMES(ANSWER))
        qy_kfree(mm, answers[oldest++ % MOST]);
    return dropped;
}

/** One more of either. NOWAIT: nobody gives anything up for it. */
static bool keep(void **place, size_t bytes, qy_gfp_t gfp, uint64_t *count)
{
    if ((*place = qy_kmalloc(mm, bytes, gfp)) == NULL)
        return false;
    memset(*place, 'q', bytes);
    return ++*count;
}

/** A line of the table. False: that is more than the limit. */
static bool show(void)
{
    struct qy_mm_stat stat;
    qy_mm_stat(mm, &stat);
    uint64_t taken = stat.managed * 4096 + stat.meta_bytes;
    printf("%8.1f %8.1f %8.1f %8.1f MiB\n", (double)(nr_values * VALUE) / (double)MIB,
           (double)((newest - oldest) * ANSWER) / (double)MIB, (double)stat.free / 256,
           (double)taken / (double)MIB);
    return taken <= LIMIT;
}

int main(void)
{
    struct qy_linux_options options = {.limit_bytes = LIMIT, .movable = true};
    struct qy_shrinker shrinker = {.name = "answers", .count = count_answers, .scan = drop_answers};
    struct qy_error error = {.text = "the shrinker was refused"};
    bool within = true, room = true;

    mm = qy_linux_mm_create(&options, &error);
    if (mm == NULL || qy_shrinker_register(mm, &shrinker) != 0) {
        fprintf(stderr, "keyvalue: %s\n", error.text);
        return 1;
    }
    puts("  values  answers     free    taken");
    while (room && within) {
        for (unsigned i = 0; i < 10 * MIB / VALUE && room; i++) {
            room = keep(&values[nr_values], VALUE, QY_GFP_KERNEL, &nr_values);
            keep(&answers[newest % MOST], ANSWER, QY_GFP_NOWAIT, &newest);
        }
        within = show();
    }
    uint64_t left = newest - oldest;
    printf("No room for a value: %llu answers are left. Half of the values are deleted:\n",
           (unsigned long long)left);
    for (uint64_t half = nr_values / 2; nr_values > half;)
        qy_kfree(mm, values[--nr_values]);
    while (keep(&answers[newest % MOST], ANSWER, QY_GFP_NOWAIT, &newest))
        continue;
    within = show() && within;
    bool came_back = newest - oldest > 20 * MIB / ANSWER;
    qy_shrinker_unregister(mm, &shrinker);
    qy_linux_mm_destroy(mm);
    return within && left == 0 && came_back ? 0 : 1;
}
