/*
 * If this failed: a program that works in phases, each with sizes and threads of its own, would
 * take new memory from the system for the next phase while what the last one freed lies idle in
 * caches.
 */
#include "threads.h"

#define LEAST_SIZE (2 * KIB)
#define MOST_SIZE (20 * KIB)
#define SIZES 24
#define BYTES_OF_EACH (1 * MIB)
#define NEXT_BYTES (48 * MIB)
#define NEXT_SIZE 100
#define BYTES_PER_SCRATCH (2 * MIB)

static void *blocks[SIZES][BYTES_OF_EACH / LEAST_SIZE];

static size_t size_of(size_t number)
{
    return LEAST_SIZE + (MOST_SIZE - LEAST_SIZE) / SIZES * number;
}

static void take(size_t number)
{
    size_t size = size_of(number);
    for (size_t i = 0; i < BYTES_OF_EACH / size; i++) {
        blocks[number][i] = malloc(size);
        EXPECT(blocks[number][i], "a block of %zu bytes", size);
        memset(blocks[number][i], 1, size);
    }
}

static void *give(void *number)
{
    size_t n = (size_t)number;
    for (size_t i = 0; i < BYTES_OF_EACH / size_of(n); i++)
        free(blocks[n][i]);
    return NULL;
}

/* Mallocs, and now and then something large is freed. */
static void next_phase(void)
{
    for (size_t held = 0; held < NEXT_BYTES; held += NEXT_SIZE) {
        memset(opaque(malloc(NEXT_SIZE)), 1, NEXT_SIZE);
        if (held % BYTES_PER_SCRATCH < NEXT_SIZE)
            free(opaque(malloc(40 * MIB)));
    }
}

int main(void)
{
    if (!under_quarry())
        skip("only Quarry promises to empty its caches when it grows");
    if (getenv("QUARRY_HARDEN"))
        skip("freed blocks wait before they are free, and red zones are part of what is held");
    deadline(60);
    size_t before = resident_bytes();
    for (size_t i = 0; i < SIZES; i++)
        take(i);
    for (size_t i = 0; i < SIZES; i++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, give, (void *)i) == 0, "thread %zu", i);
        pthread_join(thread, NULL);
    }
    next_phase();
    size_t peak = status_bytes("\nVmHWM:") - before;
    EXPECT(peak < NEXT_BYTES + SIZES * BYTES_OF_EACH / 2,
           "a peak of little more than the %zu MiB that the larger phase held, came %zu MiB",
           NEXT_BYTES / MIB, peak / MIB);
    return 0;
}
