/*
 * load.c - requests under load, beside the first fit as Linux has it; how much of a region is in
 *          use when memory is nearly full; what pinned pages do; what compaction brings together
 */
#include "lending.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define BUFFER 1024 /* frames: 4 MiB */
#define HELD 4

static const char *const policies[] = {"linux", "eager", "guaranteed"};

#define AREAS 512
#define AREA_PAGES 64
#define STEPS 300 /* between two requests: what was released is lent again */

struct load {
    struct world *world;
    char *area[AREAS]; /* half of memory */
    _Atomic bool over;
    _Atomic uint64_t steps;
};

static void step_area(struct load *load, uint64_t *rng)
{
    char **area = &load->area[rng_below(rng, AREAS)];
    if (*area && qy_space_unmap(load->world->space, *area, AREA_PAGES * BENCH_PAGE))
        die("an area is not unmapped");
    struct qy_error error;
    *area = qy_space_map(load->world->space, AREA_PAGES * BENCH_PAGE, QY_PROT_WRITE,
                         QY_AREA_POPULATE, &error);
}

/* Pages of the file are read, the first ones more often; now and then an area is made anew. */
static void *disturb(void *argument)
{
    struct load *load = argument;
    uint64_t rng = 7;
    char byte;
    while (!atomic_load_explicit(&load->over, memory_order_relaxed)) {
        uint64_t page = rng_below(&rng, 1 + rng_below(&rng, MEMORY / BENCH_PAGE));
        if (qy_file_read(load->world->file, &byte, 1, page * BENCH_PAGE) != 1)
            die("the file cannot be read");
        if (rng_below(&rng, AREA_PAGES) == 0)
            step_area(load, &rng);
        atomic_fetch_add_explicit(&load->steps, 1, memory_order_relaxed);
    }
    return NULL;
}

static void row_of_times(const char *name, uint64_t *ns, uint64_t count)
{
    printf("%-22s p50 %8.1f us  p99 %8.1f us  max %8.1f us", name,
           (double)percentile(ns, count, 0.5) / 1e3, (double)percentile(ns, count, 0.99) / 1e3,
           (double)percentile(ns, count, 1.0) / 1e3);
}

static void requests(enum qy_cma_policy policy, uint32_t flags, uint64_t count)
{
    struct world world = world_new(policy, REGION);
    struct load load = {.world = &world};
    uint64_t *took = malloc(count * sizeof(*took)), *cpu = malloc(count * sizeof(*cpu));
    uint64_t moved = 0, dropped = 0, tried = 0, failed = 0;
    qy_pfn_t held[HELD] = {0};
    pthread_t thread;
    char name[64];
    for (unsigned i = 0; i < AREAS; i++)
        load.area[i] = area_new(&world, AREA_PAGES * BENCH_PAGE);
    cache_fill(&world, MEMORY / BENCH_PAGE);
    if (!took || !cpu || pthread_create(&thread, NULL, disturb, &load))
        die("no thread");
    for (uint64_t i = 0; i < count; i++) {
        const struct qy_cma_request request = {
            .nr_frames = BUFFER, .align_order = 8, .flags = flags};
        struct qy_cma_report report;
        qy_pfn_t *slot = &held[i % HELD];
        if (*slot && qy_cma_release(world.cma, *slot, BUFFER))
            die("a right release was refused");
        *slot = 0;
        while (atomic_load_explicit(&load.steps, memory_order_relaxed) < (i + 1) * STEPS)
            usleep(100);
        uint64_t started = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        failed += qy_cma_alloc(world.cma, &request, slot, &report) != 0;
        cpu[i] = clock_ns(CLOCK_THREAD_CPUTIME_ID) - started;
        took[i] = report.ns;
        moved += report.moved;
        dropped += report.dropped;
        tried += report.windows_tried;
    }
    atomic_store(&load.over, true);
    pthread_join(thread, NULL);
    for (int i = 0; i < HELD; i++)
        if (held[i] && qy_cma_release(world.cma, held[i], BUFFER))
            die("a right release was refused");
    snprintf(name, sizeof(name), "load-%s%s", policies[policy], flags ? "-first" : "");
    row_of_times(name, took, count);
    printf("  moved %6.1f  dropped %6.1f  windows %5.2f  failed %llu\n",
           (double)moved / (double)count, (double)dropped / (double)count,
           (double)tried / (double)count, (unsigned long long)failed);
    row_of_times("       processor time", cpu, count);
    printf("\n");
    fflush(stdout);
    free(took);
    free(cpu);
    world_free(&world);
}

/* An area takes 45 % of memory, a file read twice over as much: how much of the region is lent? */
static void use(enum qy_cma_policy policy)
{
    struct world world = world_new(policy, REGION);
    char name[64];
    area_new(&world, MEMORY / 100 * 45 / (2 * MIB) * (2 * MIB));
    for (int i = 0; i < 2; i++)
        cache_fill(&world, MEMORY / 100 * 45 / BENCH_PAGE);
    snprintf(name, sizeof(name), "used-at-90-%s", policies[policy]);
    row(name, (double)lent(&world) / REGION_FRAMES * 100, "% of the region");
    world_free(&world);
}

/* One page in a hundred is pinned; buffers of 64 frames are taken until ten fail. */
static void pinned(uint32_t flags)
{
    struct world world = world_new(QY_CMA_EAGER, REGION);
    char *area = area_new(&world, REGION);
    uint64_t rng = 11, got = 0, moved = 0, tried = 0, ns = 0, pages = REGION_FRAMES / 100;
    uint32_t *which = malloc(pages * sizeof(*which));
    char name[64];
    for (uint64_t i = 0; which && i < pages; i++) {
        which[i] = (uint32_t)rng_below(&rng, REGION_FRAMES);
        if (qy_space_pin(world.space, area + which[i] * (uint64_t)BENCH_PAGE, BENCH_PAGE,
                         QY_PIN_SHORT, NULL))
            die("a page is not pinned");
    }
    qy_pfn_t *pfns = malloc(REGION_FRAMES / 64 * sizeof(*pfns));
    for (uint64_t failed = 0; pfns && failed < 10 && got < REGION_FRAMES / 64;) {
        const struct qy_cma_request request = {.nr_frames = 64, .align_order = 6, .flags = flags};
        struct qy_cma_report report;
        bool came = qy_cma_alloc(world.cma, &request, &pfns[got], &report) == 0;
        got += came;
        failed += !came;
        moved += report.moved;
        tried += report.windows_tried;
        ns += came ? report.ns : 0; /* who is refused has waited 0.1 s */
    }
    snprintf(name, sizeof(name), "pinned-1%%%s", flags ? "-first" : "");
    printf("%-22s got %llu of %llu  moved %.1f and %.1f windows and %.1f us for each\n", name,
           (unsigned long long)got, REGION_FRAMES / 64, (double)moved / (double)got,
           (double)tried / (double)got, (double)ns / 1e3 / (double)got);
    for (uint64_t i = 0; i < got; i++)
        if (qy_cma_release(world.cma, pfns[i], 64))
            die("a right release was refused");
    for (uint64_t i = 0; i < pages; i++)
        if (qy_space_unpin(world.space, area + which[i] * (uint64_t)BENCH_PAGE, BENCH_PAGE))
            die("a pin is lost");
    free(which);
    free(pfns);
    world_free(&world);
}

/* Blocks of order 9 that can be had, of those that the free frames would make. */
static double share_got(struct qy_mm *mm)
{
    static qy_pfn_t pfns[MEMORY >> 21];
    struct qy_mm_stat stat;
    unsigned got = 0;
    qy_drain_all_pages(mm);
    qy_mm_stat(mm, &stat);
    while ((pfns[got] = qy_alloc_pages(mm, QY_GFP_NOWAIT | QY_GFP_NOWARN, 9)) != QY_PFN_NONE)
        got++;
    for (unsigned i = 0; i < got; i++)
        if (qy_free_pages(mm, pfns[i], 9))
            die("a right free was refused");
    return (double)got / ((double)stat.free / QY_PAGEBLOCK_FRAMES) * 100;
}

/* All memory is used page by page; then pages are unmapped at random, three quarters as often as
 * there are pages: half of them are free in the end. */
static void compaction(void)
{
    struct world world = world_new(QY_CMA_LINUX, 0);
    uint64_t pages = (MEMORY - 16 * MIB) / BENCH_PAGE, rng = 20230711;
    char *area = area_new(&world, pages * BENCH_PAGE);
    struct qy_compact_report report;
    for (uint64_t i = 0; i < pages * 3 / 4; i++)
        qy_space_unmap(world.space, area + rng_below(&rng, pages) * BENCH_PAGE, BENCH_PAGE);
    double before = share_got(world.mm);
    uint64_t gained = qy_compact(world.mm, 9, 0, &report);
    row("compact-before", before, "% of order 9");
    row("compact-after", share_got(world.mm), "% of order 9");
    row("compact-moved", (double)report.moved / (double)(gained ? gained : 1), "frames a block");
    row("compact-time", (double)report.ns / (double)(report.moved ? report.moved : 1), "ns/frame");
    world_free(&world);
}

int main(void)
{
    uint64_t count = arg_count(1, NULL, 1, 1000);
    for (unsigned policy = QY_CMA_LINUX; policy <= QY_CMA_GUARANTEED; policy++) {
        requests(policy, 0, count);
        requests(policy, QY_CMA_FIRST_FIT, count);
    }
    for (unsigned policy = QY_CMA_LINUX; policy <= QY_CMA_GUARANTEED; policy++)
        use(policy);
    pinned(0);
    pinned(QY_CMA_FIRST_FIT);
    compaction();
    return 0;
}
