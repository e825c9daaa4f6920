/*
 * takeback.c - what it costs to take all of a region back in one request
 *
 * 64 MiB are lent: to clean pages of a file, or to an area that nobody touches meanwhile. Beside it
 * stands a cold copy of as many bytes.
 */
#include "lending.h"

#include <sys/mman.h>

#define ROUNDS 15

/* Nothing here waits, and this thread does all of it, the host's work included: its processor time
 * is what it would take where nothing else runs. */
static uint64_t now(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
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

/* Both sides resident, neither in a cache: 128 MiB were read in between. */
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

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static void map_part(char *at, uint64_t bytes, int fd, uint64_t offset, int flags)
{
    if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | flags, fd,
             (off_t)offset) == MAP_FAILED)
        die("no mapping");
}

static int take_tables(char *from, char *to)
{
    return mremap(from, 2 * MIB, 2 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) ==
           MAP_FAILED;
}

/* What the host asks for the same moves, without a copy: each 2 MiB is closed to writers, then put
 * on other pages. These are mapped a second time, and their tables go to and fro between the two;
 * or they are filled anew. */
static uint64_t remap(int fill)
{
    int fd = memfd_create("remap", 0);
    uint64_t took[ROUNDS], bytes = 3 * REGION + 2 * MIB;
    char *start = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fd < 0 || ftruncate(fd, 2 * REGION) || start == MAP_FAILED)
        die("no memfd");
    char *at = start + (2 * MIB - (uintptr_t)start % (2 * MIB)), *own = at + REGION;
    map_part(own, 2 * REGION, fd, 0, 0);
    memset(own, 1, 2 * REGION);
    map_part(at, REGION, fd, 0, MAP_POPULATE);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t here = i % 2 * REGION, away = REGION - here, started = now();
        for (uint64_t part = 0; part < REGION; part += 2 * MIB) {
            if ((!fill && take_tables(at + part, own + here + part)) ||
                mprotect(at + part, 2 * MIB, PROT_READ) ||
                (!fill && take_tables(own + away + part, at + part)))
                die("no mapping");
            if (fill)
                map_part(at + part, 2 * MIB, fd, away + part, MAP_POPULATE);
        }
        took[i] = now() - started;
    }
    if (munmap(start, bytes) || close(fd))
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
    row("remap", (double)remap(0) / REGION_FRAMES, "ns/frame");
    row("remap-filled", (double)remap(1) / REGION_FRAMES, "ns/frame");
    moved(0);
    moved(QY_AREA_HUGE);
    return 0;
}
