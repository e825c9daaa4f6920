/*
 * If this failed: a block that grows or shrinks would lose or mix up its bytes somewhere between
 * two size classes, between small and large, or where pages are moved instead of copied.
 */
#include "contract.h"

/* The pattern must not follow from the address here, because realloc may move the block. */
static void fill_from(unsigned char *block, size_t from, size_t to)
{
    for (size_t at = from; at < to; at++)
        block[at] = (unsigned char)((at * 31) ^ (at >> 8) ^ (at >> 16));
}

static void expect_kept(const unsigned char *block, size_t size, size_t had, size_t asked)
{
    for (size_t at = 0; at < size; at++)
        EXPECT(block[at] == (unsigned char)((at * 31) ^ (at >> 8) ^ (at >> 16)),
               "byte %zu kept by realloc from %zu to %zu, came %#x", at, had, asked, block[at]);
}

static unsigned char *resize(unsigned char *block, size_t had, size_t asked)
{
    unsigned char *moved = realloc(block, asked);
    EXPECT(moved, "realloc from %zu to %zu", had, asked);
    EXPECT(is_aligned(moved, 16), "an aligned block, came %p", (void *)moved);
    EXPECT(malloc_usable_size(moved) >= asked, "usable size >= %zu", asked);
    expect_kept(moved, had < asked ? had : asked, had, asked);
    fill_from(moved, had < asked ? had : asked, asked);
    return moved;
}

static void from_to(size_t had, size_t asked)
{
    unsigned char *block = malloc(had);
    EXPECT(block, "a block of %zu bytes", had);
    fill_from(block, 0, had);
    block = resize(block, had, asked);
    block = resize(block, asked, had);
    free(block);
}

int main(void)
{
    /* On both sides of every boundary that a size class, a page or a pageblock can have. */
    static size_t edges[256];
    size_t count = 0;
    deadline(90);
    for (size_t size = 16; size <= 8 * KIB; size += size / 4 < 16 ? 16 : size / 4) {
        edges[count++] = size - 1;
        edges[count++] = size;
        edges[count++] = size + 1;
    }
    for (size_t size = 16 * KIB; size <= 64 * KIB; size *= 2) {
        edges[count++] = size - 1;
        edges[count++] = size + 1;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            from_to(edges[j], edges[i]);

    static const size_t large[] = {100,         32 * KIB + 1, 128 * KIB,   129 * KIB,
                                   1 * MIB,     2 * MIB - 1,  2 * MIB + 1, 4 * MIB,
                                   4 * MIB + 1, 9 * MIB + 7,  17 * MIB};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
        for (size_t j = 0; j < i; j++)
            from_to(large[j], large[i]);

    /* A string that grows by a byte, and a buffer that grows by half, with neighbours in the
     * way. */
    unsigned char *text = malloc(1), *buffer = malloc(1);
    size_t size = 1;
    fill_from(text, 0, 1);
    for (; size < 5000; size++) {
        free(malloc(size));
        text = resize(text, size, size + 1);
    }
    free(text);
    fill_from(buffer, 0, 1);
    for (size = 1; size < 24 * MIB; size += size / 2 + 1) {
        void *neighbour = malloc(size);
        buffer = resize(buffer, size, size + size / 2 + 1);
        free(neighbour);
    }
    free(buffer);
    return 0;
}
