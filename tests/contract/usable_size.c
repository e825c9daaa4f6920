/*
 * If this failed: a program that uses the whole of what malloc_usable_size promises would write
 * over its neighbour.
 */
#include "contract.h"

#define COUNT 3000

static void *blocks[COUNT];
static size_t usable[COUNT];

static void fill(size_t i, size_t size)
{
    blocks[i] = i % 3 == 0   ? malloc(size)
                : i % 3 == 1 ? calloc(1, size)
                             : memalign((size_t)16 << (i % 7), size);
    EXPECT(blocks[i], "a block of %zu bytes", size);
    usable[i] = malloc_usable_size(blocks[i]);
    EXPECT(usable[i] >= size, "usable size >= %zu, came %zu", size, usable[i]);
    EXPECT(usable[i] <= size * 2 + 16 * KIB, "a usable size near %zu, came %zu", size, usable[i]);
    pattern_fill(blocks[i], usable[i], i);
}

static void check_and_free(size_t i)
{
    EXPECT(malloc_usable_size(blocks[i]) == usable[i], "the same usable size as before, %zu",
           usable[i]);
    ptrdiff_t at = pattern_broken(blocks[i], usable[i], i);
    EXPECT(at < 0, "all %zu usable bytes kept, offset %td changed", usable[i], at);
    free(blocks[i]);
}

int main(void)
{
    uint64_t state = 1;
    deadline(60);
    for (size_t i = 0; i < COUNT; i++)
        fill(i, i);
    for (size_t i = 0; i < COUNT; i += 2)
        check_and_free(i);
    for (size_t i = 0; i < COUNT; i += 2)
        fill(i, random_size(&state, 200 * KIB));
    for (size_t i = 0; i < COUNT; i++)
        check_and_free(i);
    for (size_t size = 30 * KIB, i = 0; size < 10 * MIB; size += size / 5 + 1, i++)
        fill(i, size), blocks[i + 1] = NULL;
    for (size_t i = 0; blocks[i]; i++)
        check_and_free(i);
    return 0;
}
