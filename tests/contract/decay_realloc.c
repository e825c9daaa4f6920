/*
 * If this failed: a program that cuts its large blocks by realloc, or lets them grow by it, and
 * frees none for a while, would keep all memory that they ever had.
 */
#include "threads.h"

#define LARGE (256 * MIB)

int main(void)
{
    if (!under_quarry())
        skip("only Quarry promises to give idle memory back");
    deadline(60);
    size_t before = resident_bytes();
    char *block = malloc(LARGE);
    EXPECT(block, "a block of %zu MiB", (size_t)LARGE / MIB);
    memset(block, 1, LARGE);
    EXPECT(resident_bytes() > before + LARGE / 10 * 9, "%zu MiB resident", (size_t)LARGE / MIB);
    block = realloc(block, MIB);
    EXPECT(block, "the same block, cut");
    size_t after = resident_bytes();
    EXPECT(after < before + LARGE / 4, "most of %zu MiB back after realloc to one, came %zu MiB",
           (size_t)LARGE / MIB, (after - before) / MIB);
    free(block);
    return 0;
}
