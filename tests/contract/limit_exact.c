/*
 * If this failed: a program that was given 64 MiB would take more than that from the machine, or
 * could use much less of it than it was given.
 */
#include "limits.h"

#define LIMIT (64 * MIB)

static void expect_below(const char *when, size_t size)
{
    static void *one;
    one = one != NULL ? one : malloc(1);
    size_t now = quarry_resident_bytes(one);
    EXPECT(now > 0 && now <= LIMIT, "at most 64 MiB resident %s blocks of %zu, came %zu KiB", when,
           size, now / KIB);
}

static void three_fills(size_t size)
{
    struct fill fill;
    for (int round = 1; round <= 3; round++) {
        fill_up(&fill, size, 2 * LIMIT);
        expect_below("when filled with", size);
        EXPECT(fill.blocks * size <= LIMIT, "at most 64 MiB in blocks of %zu, came %zu KiB", size,
               fill.blocks * size / KIB);
        /* Hardening pays with memory: canaries, guards, quarantine. */
        if (!hardened())
            EXPECT(fill.blocks * size >= LIMIT / 100 * 95,
                   "95 %% of 64 MiB usable in blocks of %zu, fill %d, came %zu KiB (%zu %%)", size,
                   round, fill.blocks * size / KIB, fill.blocks * size * 100 / LIMIT);
        /* At the limit every other way of asking fails cleanly too, and nothing is lost. */
        errno = 0;
        EXPECT(calloc(9, MIB) == NULL, "NULL from calloc at the limit");
        EXPECT_ERRNO(ENOMEM, "calloc at the limit");
        errno = 0;
        EXPECT(realloc(fill.last, 9 * MIB) == NULL, "NULL from realloc at the limit");
        EXPECT_ERRNO(ENOMEM, "realloc at the limit");
        EXPECT(memalign(2 * MIB, 9 * MIB) == NULL, "NULL from memalign at the limit");
        free_all(&fill);
        expect_below("after freeing", size);
    }
}

/* Grown and shrunk blocks count with what they are, not with what they were. */
static void grow_to_limit(void)
{
    size_t size = MIB;
    char *block = malloc(size);
    EXPECT(block, "a block of 1 MiB");
    for (;; size += MIB) {
        errno = 0;
        char *moved = realloc(block, size + MIB);
        if (!moved) {
            EXPECT_ERRNO(ENOMEM, "realloc to %zu MiB", size / MIB + 1);
            break;
        }
        block = moved;
        memset(block + size, 1, MIB);
        EXPECT(size < LIMIT, "realloc to stay below the limit");
        expect_below("when grown to", size);
    }
    EXPECT(size >= LIMIT / 2 - MIB, "half of the limit by realloc at least, came %zu MiB",
           size / MIB);
    free(block);
}

int main(int argc, char **argv)
{
    /* Sizes without loss of their own: what is missing is the allocator's share. */
    static const size_t sizes[] = {16, 64, 320, 1024, 4096, 32 * KIB, 256 * KIB, MIB};
    (void)argc;
    if (!under_quarry())
        skip("only Quarry knows QUARRY_LIMIT");
    if (strcmp(stage(), "limited") != 0) {
        setenv("QUARRY_LIMIT", "64M", 1);
        become_stage("limited", argv);
    }
    deadline(120);
    expect_below("before", 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        three_fills(sizes[i]);
    grow_to_limit();
    three_fills(64);
    return 0;
}
