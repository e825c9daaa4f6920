/*
 * If this failed: where the system needs long for a huge page, a program that fills memory would
 * wait for each of them, though small pages are there at once.
 */
#include "contract.h"

#include <sys/syscall.h>
#include <time.h>

#define SLOW_NS UINT64_C(5000000)
/* One takes 5 ms: 32 times as long passes before the next one is asked for. */
#define BETWEEN_NS (32 * SLOW_NS)
#define OBJECT 256
#define OBJECTS (128 * MIB / OBJECT)

static bool huge;      /* what is asked for now */
static uint64_t asked; /* huge pages */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Quarry's calls come here. */
__attribute__((visibility("default"))) int madvise(void *address, size_t bytes, int advice)
{
    uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE)
        huge = advice == MADV_HUGEPAGE;
    else if (huge && advice == 23 /* MADV_POPULATE_WRITE */)
        for (asked++; clock_ns(CLOCK_THREAD_CPUTIME_ID) - began < SLOW_NS;)
            ;
    return (int)syscall(SYS_madvise, address, bytes, advice);
}

int main(void)
{
    if (!under_quarry())
        skip("it is Quarry that asks for huge pages");
    uint64_t began = clock_ns(CLOCK_MONOTONIC);
    for (size_t i = 0; i < OBJECTS; i++) {
        char *object = malloc(OBJECT);
        EXPECT(object, "object %zu", i);
        *(volatile char *)object = 1;
    }
    if (asked == 0)
        skip("there are no huge pages to ask for");
    uint64_t most = 1 + (clock_ns(CLOCK_MONOTONIC) - began) / BETWEEN_NS;
    EXPECT(asked <= most, "at most %ju slow huge pages, came %ju", (uintmax_t)most,
           (uintmax_t)asked);
    return 0;
}
