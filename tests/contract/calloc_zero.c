/*
 * If this failed: calloc would hand out bytes of an earlier owner, and programs that rely on
 * zeroes would run on someone else's data.
 */
#include "contract.h"

/* Dirties `count` blocks of a size through every road that memory takes, then frees them. */
static void leave_dirt(size_t size, int count)
{
    void *dirty[64];
    for (int i = 0; i < count; i++) {
        dirty[i] = i % 3 == 0   ? malloc(size)
                   : i % 3 == 1 ? realloc(malloc(size / 2 + 1), size)
                                : memalign(64, size);
        EXPECT(dirty[i], "a block of %zu bytes", size);
        memset(dirty[i], 0xd1, malloc_usable_size(dirty[i]));
    }
    for (int i = 0; i < count; i++)
        free(dirty[i]);
}

static void all_zero(size_t size, int count)
{
    char *clean[64];
    for (int i = 0; i < count; i++) {
        clean[i] = i % 2 ? calloc(1, size) : calloc(size, 1);
        EXPECT(clean[i], "a block of %zu bytes", size);
        ptrdiff_t at = first_nonzero(clean[i], size);
        EXPECT(at < 0, "zeroes from calloc of %zu bytes, offset %td is %#x", size, at,
               (unsigned char)clean[i][at]);
        memset(clean[i], 0xd2, size);
    }
    for (int i = 0; i < count; i++)
        free(clean[i]);
}

/* A large block that shrinks leaves its tail to others; that tail is dirty too. */
static void after_shrink(size_t size)
{
    char *block = malloc(size);
    EXPECT(block, "a block of %zu bytes", size);
    memset(block, 0xd3, size);
    char *small = realloc(block, size / 4);
    EXPECT(small, "a smaller block");
    all_zero(size / 4, 3);
    all_zero(size / 2, 2);
    free(small);
    all_zero(size, 2);
}

/* Of a large block one half was written to, of the other a page here and there: what is cleared and
 * what is given back for that differs from part to part. */
static void after_little_use(size_t size)
{
    for (int round = 0; round < 4; round++) {
        char *block = calloc(size / 8, 8);
        EXPECT(block, "a block of %zu bytes", size);
        memset(block + size / 4, 0xd4, size / 2);
        for (size_t page = 0; page < size; page += 9 * 4 * KIB)
            block[page] = (char)0xd5;
        free(block);
    }
    all_zero(size, 1); /* reading is using: only now */
}

int main(void)
{
    deadline(60);
    for (size_t size = 1; size <= 4200; size += size < 300 ? 1 : 37) {
        leave_dirt(size, 64);
        all_zero(size, 64);
    }
    for (size_t size = 4200; size <= 300 * KIB; size += size / 7) {
        leave_dirt(size, 8);
        all_zero(size, 8);
    }
    for (size_t size = 300 * KIB; size <= 24 * MIB; size += size / 3) {
        leave_dirt(size, 2);
        all_zero(size, 3);
        after_shrink(size);
    }
    after_little_use(4 * MIB);
    after_little_use(45 * MIB + 12 * KIB);
    /* Sizes of one kind made dirty, another kind cleared: pages change their class in between. */
    for (size_t size = 16; size <= 8 * MIB; size *= 2) {
        leave_dirt(size, 16);
        malloc_trim(0);
        all_zero(8 * MIB / size > 64 ? 3 * size : size + size / 2 + 1, 8);
    }
    return 0;
}
