/* 64 MiB of a region, all lent, are taken back in one request: from clean pages of a file, and from an area
 * that nobody touches meanwhile, beside a cold copy of as many bytes. */
#include "lending.h"

#include <sys/mman.h>

#define ROUNDS 15

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t take_back(struct world *world, struct qy_cma_report *report)
{
    const struct qy_cma_request request = {.nr_frames = REGION_FRAMES};
    qy_pfn_t pfn;
    if (lent(world) != REGION_FRAMES)
        die("the region is not all lent");
    uint64_t started = now();
    if (qy_cma_alloc(world->cma, &request, &pfn, report))
        die("the region did not come");
    uint64_t ns = now() - started;
    started = now();
    if (qy_cma_release(world->cma, pfn, REGION_FRAMES))
        die("a right release was refused");
    report->ns = now() - started;
    return ns;
}

static void clean(void)
{
    uint64_t took[ROUNDS], released[ROUNDS];
    struct world world = world_new(QY_CMA_EAGER, REGION);
    struct qy_cma_report report;
    for (int i = 0; i < ROUNDS; i++) {
        cache_fill(&world, REGION_FRAMES + 1024);
        took[i] = take_back(&world, &report);
        released[i] = report.ns;
        if (report.dropped != REGION_FRAMES)
            die("not all was dropped");
        qy_file_drop(world.file);
    }
    row("take-clean", (double)percentile(took, ROUNDS, 0.5) / REGION_FRAMES, "ns/frame");
    row("release", (double)percentile(released, ROUNDS, 0.5) / REGION_FRAMES, "ns/frame");
    world_free(&world);
}

/* Both sides resident, neither in a cache: 512 MiB were read in between. */
static uint64_t copy_cold(char *from, char *to, char *other, uint64_t other_bytes)
{
    volatile char sum = 0;
    for (uint64_t i = 0; i < other_bytes; i += 64)
        sum += other[i];
    uint64_t started = now();
    memcpy(to, from, REGION);
    return now() - started;
}

static char *pages(uint64_t bytes)
{
    char *at =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED)
        die("no memory to copy");
    return at;
}

/* What the host asks for the same moves, without a copy: each 2 MiB closed to writers, then put on other pages. */
static uint64_t remap(void)
{
    int fd = memfd_create("remap", 0);
    uint64_t took[ROUNDS];
    if (fd < 0 || ftruncate(fd, 2 * REGION))
        die("no memfd");
    char *at = mmap(NULL, 2 * REGION, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    for (unsigned i = 0; at != MAP_FAILED && i < ROUNDS; i++) {
        uint64_t started = now(), away = (i + 1) % 2 * REGION;
        for (uint64_t part = 0; part < REGION; part += 2 * MIB)
            if (mprotect(at + part, 2 * MIB, PROT_READ) ||
                mmap(at + part, 2 * MIB, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, (off_t)(away + part)) == MAP_FAILED)
                die("no mapping");
        took[i] = now() - started;
    }
    if (at == MAP_FAILED || munmap(at, 2 * REGION) || close(fd))
        die("no mapping");
    return percentile(took, ROUNDS, 0.5);
}

static void moved(uint32_t huge)
{
    uint64_t took[ROUNDS], copied[ROUNDS];
    struct world world = world_new(QY_CMA_EAGER, REGION);
    struct qy_error error;
    struct qy_cma_report report;
    char *from = pages(REGION), *to = pages(REGION), *other = pages(2 * REGION);
    for (int i = 0; i < ROUNDS; i++) {
        char *area =
            qy_space_map(world.space, REGION, QY_PROT_WRITE, QY_AREA_POPULATE | huge, &error);
        if (!area)
            die(error.text);
        memset(area, i, REGION);
        copied[i] = copy_cold(from, to, other, 2 * REGION);
        took[i] = take_back(&world, &report);
        if (report.moved != REGION_FRAMES)
            die("not all was moved");
        if (qy_space_unmap(world.space, area, REGION))
            die("an area is not unmapped");
    }
    double copy = (double)percentile(copied, ROUNDS, 0.5) / REGION_FRAMES;
    double all = (double)percentile(took, ROUNDS, 0.5) / REGION_FRAMES;
    row(huge ? "take-moved-huge" : "take-moved", all, "ns/frame");
    row(huge ? "copy-cold-huge" : "copy-cold", copy, "ns/frame");
    row(huge ? "take-moved-huge-speed" : "take-moved-speed", copy / all, "of the copy's");
    munmap(from, REGION);
    munmap(to, REGION);
    munmap(other, 2 * REGION);
    world_free(&world);
}

int main(void)
{
    clean();
    row("remap", (double)remap() / REGION_FRAMES, "ns/frame");
    moved(0);
    moved(QY_AREA_HUGE);
    return 0;
}
