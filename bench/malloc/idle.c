/*
 * idle.c - how much memory stays with a process that has freed most of it
 *
 * Stands for a service after its busy hour. Blocks of 16 .. 4,096 bytes (small ones likelier), LIVE
 * bytes in all, are made and written; FREED percent of them are freed at random; the program rests
 * two seconds in one of three ways; then its resident memory is read. "sleep" makes no call at all;
 * "tick" mallocs and frees 64 bytes every 10 ms, as a waiting service does; "trim" calls
 * malloc_trim(0) first and then sleeps.
 *
 *   idle LIVE FREED sleep|tick|trim
 */
#include "bench.h"
#include <malloc.h>

static void rest(const char *how)
{
    int tick = !strcmp(how, "tick");
    if (!strcmp(how, "trim"))
        malloc_trim(0);
    for (int i = 0; i < 200; i++) {
        if (tick)
            free(take(64));
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

int main(int argc, char **argv)
{
    uint64_t live = arg(argc, argv, 1, 200u << 20);
    uint64_t percent = arg(argc, argv, 2, 90);
    const char *how = argc > 3 ? argv[3] : "sleep";
    uint64_t rng = 31337, sum = 0, kept = 0, n = 0;
    size_t room = live / 16;
    struct {
        void *p;
        size_t bytes;
    } *blocks = calloc(room, sizeof(*blocks));
    if (!blocks)
        die("out of memory");
    for (uint64_t bytes = 0; bytes < live && n < room; n++) {
        blocks[n].bytes = rng_size(&rng, 16, 4096);
        blocks[n].p = take(blocks[n].bytes);
        touch(blocks[n].p, blocks[n].bytes, TOUCH_ALL, n);
        bytes += blocks[n].bytes;
    }
    uint64_t full = resident_kib();
    for (uint64_t i = n; i > 0; i--) {
        uint64_t other = rng_below(&rng, i);
        void *p = blocks[other].p;
        size_t bytes = blocks[other].bytes;
        blocks[other] = blocks[i - 1];
        sum += peek(p);
        if (i * 100 > n * (100 - percent))
            free(p);
        else
            kept += bytes;
    }
    free(blocks);
    rest(how);
    report_kib("rest", resident_kib(), sum);
    report_kib("full", full, sum);
    report_kib("live", kept >> 10, sum);
    return 0;
}
