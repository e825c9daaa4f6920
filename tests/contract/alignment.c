/*
 * If this failed: a compiler that puts a long double or an SSE value into a block would fault,
 * because malloc, calloc or realloc returned one that is not aligned to 16 bytes.
 */
#include "contract.h"

static void *check(const char *call, void *p, size_t size)
{
    EXPECT(p, "%s of %zu bytes", call, size);
    EXPECT(is_aligned(p, 16), "%s of %zu bytes aligned to 16, came %p", call, size, p);
    return p;
}

static void all_ways(size_t size)
{
    /* Three of each, since the first object of a slab is aligned by luck. */
    void *kept[9];
    for (int i = 0; i < 3; i++) {
        kept[3 * i] = check("malloc", malloc(size), size);
        kept[3 * i + 1] = check("calloc", calloc(size, 1), size);
        kept[3 * i + 2] = check("realloc", realloc(malloc(1), size ? size : 1), size);
    }
    for (int i = 0; i < 9; i++)
        free(kept[i]);
}

int main(void)
{
    deadline(60);
    for (size_t size = 0; size <= 4096; size++)
        all_ways(size);
    for (size_t size = 4096; size <= 16 * MIB; size += size / 13 + 1)
        all_ways(size);
    for (size_t size = 8 * KIB; size <= 16 * MIB; size *= 2)
        for (size_t off = 0; off < 5; off++)
            all_ways(size + off - 2);
    return 0;
}
