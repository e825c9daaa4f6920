/*
 * cache.c - what a page of a cached file costs, and how often it is there
 *
 *   cost PATH    hits, pins and misses over a real file, beside pread(2) of the same pages
 *   ratio        hits among random reads (Zipf 0.9, 1.0, 1.1), alone and with scans in between,
 *                beside an ideal LRU of as many pages
 *
 * Each row: name, value, unit.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <quarry/cache.h>
#include <quarry/linux.h>

#define PAGE 4096u
#define FILE_PAGES 8192u

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static struct qy_mm *memory(uint64_t mebibytes)
{
    const struct qy_linux_options options = {.limit_bytes = mebibytes << 20, .movable = true};
    struct qy_mm *mm = qy_linux_mm_create(&options, NULL);
    if (mm == NULL)
        exit(1);
    return mm;
}

/* ---- cost ---- */

static char buffer[1 << 20];

static void row(const char *name, double began, uint64_t operations)
{
    printf("%s %.1f ns\n", name, (now_ns() - began) / (double)operations);
}

static void write_all(struct qy_file *file)
{
    for (uint64_t i = 0; i < FILE_PAGES; i++)
        qy_file_write(file, buffer, PAGE, i * PAGE);
}

/* All pages are there. */
static void cost_of_hits(struct qy_file *file, int fd)
{
    const uint64_t many = 1000000;
    uint64_t state = 1;
    double began = now_ns();
    for (uint64_t i = 0; i < many; i++)
        qy_file_read(file, buffer, PAGE, next_random(&state) % 64 * PAGE);
    row("hit-64-pages", began, many);
    began = now_ns();
    for (uint64_t i = 0; i < many; i++)
        if (pread(fd, buffer, PAGE, (off_t)(next_random(&state) % 64 * PAGE)) != PAGE)
            exit(1);
    row("pread-64-pages", began, many);
    began = now_ns();
    for (uint64_t i = 0; i < many; i++)
        memcpy(buffer, buffer + (1 + next_random(&state) % 64) * PAGE, PAGE);
    row("memcpy-64-pages", began, many);
    began = now_ns();
    for (uint64_t i = 0; i < many; i++)
        qy_file_read(file, buffer, PAGE, next_random(&state) % FILE_PAGES * PAGE);
    row("hit-random", began, many);
    began = now_ns();
    for (uint64_t i = 0; i < many; i++)
        if (pread(fd, buffer, PAGE, (off_t)(next_random(&state) % FILE_PAGES * PAGE)) != PAGE)
            exit(1);
    row("pread-random", began, many);
    began = now_ns();
    for (uint64_t i = 0; i < many; i++) {
        uint64_t page = next_random(&state) % FILE_PAGES;
        const volatile char *at = qy_file_pin(file, page, false, NULL);
        (void)at[5];
        qy_file_unpin(file, page);
    }
    row("pin-unpin-random", began, many);
}

static void cost_of_misses(struct qy_file *file)
{
    for (unsigned round = 0; round < 2; round++) {
        qy_file_drop(file);
        double began = now_ns();
        for (uint64_t i = 0; i < FILE_PAGES; i++)
            qy_file_read(file, buffer, PAGE, i * PAGE);
        if (round > 0)
            row("miss-sequential", began, FILE_PAGES);
        qy_file_drop(file);
        began = now_ns();
        for (uint64_t i = 0; i < FILE_PAGES; i++)
            qy_file_read(file, buffer, PAGE, i * 4099 % FILE_PAGES * PAGE);
        if (round > 0)
            row("miss-scattered", began, FILE_PAGES);
    }
}

static void cost(const char *path)
{
    struct qy_mm *mm = memory(128);
    struct qy_file *file = qy_linux_file_open(mm, path, O_RDWR | O_CREAT | O_TRUNC, NULL);
    int fd = open(path, O_RDWR);
    if (file == NULL || fd < 0)
        exit(1);
    write_all(file);
    if (qy_file_sync(file) != 0)
        exit(1);
    cost_of_hits(file, fd);
    cost_of_misses(file);
    double began = now_ns();
    uint64_t dropped = qy_file_drop(file);
    row("drop", began, dropped);
    began = now_ns();
    write_all(file);
    row("write-new-page", began, FILE_PAGES);
    if (qy_file_close(file) != 0)
        exit(1);
    close(fd);
    unlink(path);
    qy_linux_mm_destroy(mm);
}

/* ---- ratio ---- */

#define ITEMS 65536u     /* pages that are asked for at random */
#define SCANNED 1048576u /* pages behind them, read once */
#define REQUESTS 2000000u

static int64_t nothing(void *cookie, uint64_t offset, void *to, size_t bytes)
{
    (void)cookie;
    memcpy(to, &offset, sizeof(offset));
    return (int64_t)bytes;
}

static double zipf_sum[ITEMS];
static uint32_t place[ITEMS];

static void make_zipf(double s)
{
    uint64_t state = 42;
    double sum = 0;
    for (unsigned i = 0; i < ITEMS; i++) {
        zipf_sum[i] = sum += 1 / pow(i + 1, s);
        place[i] = i;
    }
    for (unsigned i = ITEMS - 1; i > 0; i--) {
        unsigned other = (unsigned)(next_random(&state) % (i + 1));
        uint32_t was = place[i];
        place[i] = place[other];
        place[other] = was;
    }
}

static uint32_t draw(uint64_t *state)
{
    double wanted = (double)(next_random(state) >> 11) / 9007199254740992.0 * zipf_sum[ITEMS - 1];
    unsigned low = 0, high = ITEMS - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (zipf_sum[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return place[low];
}

/** An LRU of so many pages, of which every one was the right one to go. */
static uint32_t newer[ITEMS + SCANNED], older[ITEMS + SCANNED], newest, oldest, count;
static bool there[ITEMS + SCANNED];

static void lru_take(uint32_t page)
{
    *(page == newest ? &newest : &older[newer[page]]) = older[page];
    *(page == oldest ? &oldest : &newer[older[page]]) = newer[page];
}

static bool lru(uint32_t page, uint32_t most)
{
    bool hit = there[page];
    if (hit)
        lru_take(page);
    else if (count == most) {
        there[oldest] = false;
        lru_take(oldest);
    } else if (count++ == 0)
        oldest = page;
    older[page] = newest;
    newer[newest] = page;
    newest = page;
    there[page] = true;
    return hit;
}

static uint64_t misses(struct qy_file *file)
{
    struct qy_file_stat stat;
    qy_file_stat(file, &stat);
    return stat.misses;
}

static void ratio(double s, uint64_t mebibytes, bool scans)
{
    static const struct qy_file_ops ops = {.read = nothing};
    struct qy_mm *mm = memory(mebibytes);
    struct qy_file *file =
        qy_file_create(mm, "zipf", &ops, NULL, (uint64_t)(ITEMS + SCANNED) * PAGE, NULL);
    struct qy_cache_stat stat;
    uint64_t state = 7, ours = 0, ideal = 0, asked = 0, scanned = 0;
    if (file == NULL)
        exit(1);
    make_zipf(s);
    memset(there, 0, sizeof(there));
    count = 0;
    for (unsigned i = 0; i < 200000; i++) /* until both are full */
        qy_file_read(file, buffer, 8, (uint64_t)draw(&state) * PAGE);
    qy_cache_stat(mm, &stat);
    for (unsigned i = 0; i < REQUESTS; i++) {
        uint32_t page = draw(&state);
        uint64_t before = misses(file);
        qy_file_read(file, buffer, 8, (uint64_t)page * PAGE);
        bool counts = i >= REQUESTS / 4;
        asked += counts;
        ours += counts && misses(file) == before;
        bool hit = lru(page, (uint32_t)stat.pages);
        ideal += counts && hit;
        for (unsigned j = 0; scans && i % 40000 == 0 && j < stat.pages; j++, scanned++) {
            uint32_t other = ITEMS + (uint32_t)(scanned % SCANNED);
            qy_file_read(file, buffer, 8, (uint64_t)other * PAGE);
            lru(other, (uint32_t)stat.pages);
        }
    }
    printf("zipf-%.1f-%lluM%s %.2f %% (LRU %.2f %%, %llu pages of %u)\n", s,
           (unsigned long long)mebibytes, scans ? "-scans" : "",
           100.0 * (double)ours / (double)asked, 100.0 * (double)ideal / (double)asked,
           (unsigned long long)stat.pages, ITEMS);
    if (qy_file_close(file) != 0)
        exit(1);
    qy_linux_mm_destroy(mm);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "cost") == 0) {
        cost(argv[2]);
    } else if (argc == 2 && strcmp(argv[1], "ratio") == 0) {
        for (unsigned scans = 0; scans < 2; scans++)
            for (unsigned s = 9; s <= 11; s++)
                for (uint64_t mebibytes = 16; mebibytes <= 64; mebibytes *= 4)
                    ratio(s / 10.0, mebibytes, scans);
    } else {
        fprintf(stderr, "usage: %s cost PATH | ratio\n", argv[0]);
        return 2;
    }
    return 0;
}
