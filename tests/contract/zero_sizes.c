/*
 * If this failed: programs that ask for nothing would share a block or crash when they free it,
 * and realloc(p, 0), which old programs use as free, would leak or return a dangling block.
 */
#include "contract.h"
#include <inttypes.h>

#define COUNT 2000

static void all_unique(void *blocks[COUNT], const char *call)
{
    for (size_t i = 0; i < COUNT; i++)
        EXPECT(blocks[i], "a block from %s", call);
    /* Each block is given one byte's worth of identity by its address alone. */
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = i + 1; j < COUNT; j++)
            EXPECT(blocks[i] != blocks[j], "unique blocks from %s, came %p twice", call, blocks[i]);
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static void realloc_to_zero_frees(size_t size)
{
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 1000; i++) {
        void *p = opaque(malloc(size));
        EXPECT(p, "a block of %zu bytes", size);
        *(volatile char *)p = 1;
        errno = 0;
        void *q = realloc(p, opaque_size(0));
        EXPECT(q == NULL, "NULL from realloc(p, 0), came %p", q);
        EXPECT_ERRNO(0, "realloc(p, 0) is no failure");
    }
    size_t after = mallinfo2().uordblks;
    EXPECT(after < before + 1000 * size / 2 + 256 * KIB,
           "the blocks of %zu bytes freed by realloc(p, 0), in use before %zu and after %zu", size,
           before, after);
}

int main(void)
{
    static void *blocks[COUNT];
    deadline(30);

    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = malloc(opaque_size(0));
    all_unique(blocks, "malloc(0)");
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = calloc(opaque_size(0), 8);
    all_unique(blocks, "calloc(0, 8)");
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = calloc(8, opaque_size(0));
    all_unique(blocks, "calloc(8, 0)");
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = realloc(NULL, opaque_size(0));
    all_unique(blocks, "realloc(NULL, 0)");
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = memalign(64, opaque_size(0));
    all_unique(blocks, "memalign(64, 0)");

    free(NULL);
    EXPECT(malloc_usable_size(NULL) == 0, "0 from malloc_usable_size(NULL)");
    EXPECT(reallocarray(malloc(10), opaque_size(0), 10) == NULL,
           "NULL from reallocarray(p, 0, 10)");

    realloc_to_zero_frees(24);
    realloc_to_zero_frees(5000);
    realloc_to_zero_frees(300 * KIB);
    return 0;
}
