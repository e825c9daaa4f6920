/*
 * If this failed: large arrays that a program fills only in part would cost all of their memory,
 * because malloc or calloc touched every page of them beforehand.
 */
#include "contract.h"

static size_t before;

/* Asks how much is resident since `before`, and sets it for the next call. */
static void stays_small(const char *call, char *block, size_t size)
{
    EXPECT(block, "%s of %zu MiB", call, size / MIB);
    for (size_t at = 0; at < size; at += size / 8)
        block[at] = 1;
    size_t after = resident_bytes();
    size_t grown = after > before ? after - before : 0;
    EXPECT(grown < size / 8, "little of %zu MiB resident after %s and 8 writes, came %zu MiB",
           size / MIB, call, grown / MIB);
    before = after;
}

int main(void)
{
    const size_t size = 256 * MIB;
    deadline(30);
    before = resident_bytes();
    for (int round = 0; round < 3; round++) {
        char *a = malloc(size);
        stays_small("malloc", a, size);
        char *b = calloc(size / 16, 16);
        stays_small("calloc", b, size);
        char *c = memalign(2 * MIB, size);
        stays_small("memalign", c, size);
        a = realloc(a, 2 * size);
        stays_small("realloc", a, 2 * size);
        free(a);
        free(b);
        free(c);
    }
    return 0;
}
