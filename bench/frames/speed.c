/*
 * speed.c - one thread takes and gives frames
 *
 *   speed pair      order 0 in turn: what the per-CPU list makes of the shortest path; also order
 *                   3, 9 and 10
 *   speed bulk      a quarter of the memory at order 0, then all back in the same order; the same
 *                   with qy_alloc_pages_bulk, 64 at a time; the same at order 9
 *   speed random    half of the memory at order 0, given back in random order: frames come home one
 *                   by one, to pageblocks all over, so the per-CPU list can only pass them on
 *   speed churn     three quarters full; a random frame is given and one taken, at order 0
 *   speed mixed     orders 0 .. 10, the small ones likelier, up to half of the memory, random
 *                   replacement
 */
#include "frames.h"

#define ROUNDS 4

static qy_pfn_t pfns[MEMORY_FRAMES];
static uint64_t rng = 1234567;

static void pair(struct qy_mm *mm, const char *name, unsigned order, uint64_t count)
{
    struct stopwatch start = {0};
    for (uint64_t i = 0; i < count + count / 10; i++) {
        if (i == count / 10)
            start = stopwatch_start();
        frame_give(mm, frame_take(mm, order), order);
    }
    report_ns(name, start, count, 0);
}

/* Time that adds up over rounds: report_ns() wants a beginning, so begin as long ago as that. */
static void report_used(const char *name, struct stopwatch used, uint64_t ops)
{
    struct stopwatch now = stopwatch_start();
    report_ns(name, (struct stopwatch){now.wall_ns - used.wall_ns, now.cpu_ns - used.cpu_ns}, ops,
              0);
}

static void add_since(struct stopwatch *used, struct stopwatch start)
{
    struct stopwatch now = stopwatch_start();
    used->wall_ns += now.wall_ns - start.wall_ns;
    used->cpu_ns += now.cpu_ns - start.cpu_ns;
}

/* Take n blocks, perhaps shuffle, give them back; the first round warms up. */
static void all(struct qy_mm *mm, const char *take_name, const char *give_name, uint64_t n,
                unsigned order, int random)
{
    struct stopwatch taking = {0}, giving = {0};
    for (int round = 0; round < ROUNDS; round++) {
        if (round == 1)
            taking = giving = (struct stopwatch){0};
        struct stopwatch start = stopwatch_start();
        for (uint64_t i = 0; i < n; i++)
            pfns[i] = frame_take(mm, order);
        add_since(&taking, start);
        if (random)
            shuffle(pfns, n, &rng);
        start = stopwatch_start();
        for (uint64_t i = 0; i < n; i++)
            frame_give(mm, pfns[i], order);
        add_since(&giving, start);
    }
    report_used(take_name, taking, n * (ROUNDS - 1));
    report_used(give_name, giving, n * (ROUNDS - 1));
}

static void by_the_dozen(struct qy_mm *mm)
{
    uint64_t n = MEMORY_FRAMES / 4;
    struct stopwatch taking = {0}, giving = {0};
    for (int round = 0; round < ROUNDS; round++) {
        struct stopwatch start = stopwatch_start();
        for (uint64_t i = 0; i < n; i += 64)
            if (qy_alloc_pages_bulk(mm, QY_GFP_HIGHUSER_MOVABLE, 64, pfns + i) != 64)
                die("out of frames");
        add_since(&taking, start);
        start = stopwatch_start();
        for (uint64_t i = 0; i < n; i += 64)
            if (qy_free_pages_bulk(mm, 64, pfns + i))
                die("a right free was refused");
        add_since(&giving, start);
    }
    report_used("bulk64-take", taking, n * ROUNDS);
    report_used("bulk64-give", giving, n * ROUNDS);
}

static void churn(struct qy_mm *mm)
{
    uint64_t n = MEMORY_FRAMES / 4 * 3, count = arg_count(0, NULL, 0, 2000000);
    for (uint64_t i = 0; i < n; i++)
        pfns[i] = frame_take(mm, 0);
    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = rng_below(&rng, n);
        frame_give(mm, pfns[at], 0);
        pfns[at] = frame_take(mm, 0);
    }
    report_ns("churn", start, count, 0);
}

static void mixed(struct qy_mm *mm)
{
    static unsigned char orders[20000];
    uint64_t n = 0, frames = 0, count = arg_count(0, NULL, 0, 2000000);
    for (; n < sizeof(orders) && frames < MEMORY_FRAMES / 2; n++) {
        orders[n] = (unsigned char)(__builtin_ctzll(rng_next(&rng) | 1u << QY_MAX_ORDER));
        pfns[n] = frame_take(mm, orders[n]);
        frames += 1ull << orders[n];
    }
    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = rng_below(&rng, n);
        frame_give(mm, pfns[at], orders[at]);
        orders[at] = (unsigned char)(__builtin_ctzll(rng_next(&rng) | 1u << QY_MAX_ORDER));
        pfns[at] = frame_take(mm, orders[at]);
    }
    report_ns("mixed", start, count, 0);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "pair";
    struct qy_mm *mm = memory_new();
    if (!strcmp(what, "pair")) {
        pair(mm, "pair-0", 0, arg_count(0, NULL, 0, 20000000));
        pair(mm, "pair-3", 3, arg_count(0, NULL, 0, 10000000));
        pair(mm, "pair-9", 9, arg_count(0, NULL, 0, 5000000));
        pair(mm, "pair-10", 10, arg_count(0, NULL, 0, 2000000));
    } else if (!strcmp(what, "bulk")) {
        all(mm, "bulk-take", "bulk-give", MEMORY_FRAMES / 4, 0, 0);
        by_the_dozen(mm);
        all(mm, "bulk9-take", "bulk9-give", MEMORY_FRAMES / BLOCK / 4 * 3, 9, 0);
    } else if (!strcmp(what, "random")) {
        all(mm, "random-take", "random-give", MEMORY_FRAMES / 2, 0, 1);
    } else if (!strcmp(what, "churn")) {
        churn(mm);
    } else if (!strcmp(what, "mixed")) {
        mixed(mm);
    } else {
        die("pair, bulk, random, churn or mixed");
    }
    return 0;
}
