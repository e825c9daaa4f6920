/*
 * If this failed: an error path such as `free(buffer); return -1;` would report the wrong cause,
 * because free, or a malloc that succeeded, changed errno.
 */
#include "contract.h"

static void kept_by_free(void *block, size_t size)
{
    EXPECT(block, "a block of %zu bytes", size);
    *(volatile char *)block = 1;
    errno = EXDEV;
    free(block);
    EXPECT_ERRNO(EXDEV, "free of a block of %zu bytes", size);
}

int main(void)
{
    static void *many[20000];
    deadline(30);
    errno = EXDEV;
    free(NULL);
    EXPECT_ERRNO(EXDEV, "free(NULL)");
    for (size_t size = 0; size < 64 * MIB; size += size / 3 + 1) {
        kept_by_free(malloc(size), size);
        kept_by_free(memalign(4096, size), size);
    }
    /* Enough to empty magazines and depots and to give pages back. */
    for (size_t size = 16; size <= 4096; size *= 4) {
        for (size_t i = 0; i < 20000; i++) {
            errno = EXDEV;
            many[i] = malloc(size);
            EXPECT(many[i], "a block of %zu bytes", size);
            EXPECT_ERRNO(EXDEV, "a malloc of %zu bytes that succeeded", size);
        }
        for (size_t i = 0; i < 20000; i++) {
            errno = EXDEV;
            free(many[i]);
            EXPECT_ERRNO(EXDEV, "free number %zu of blocks of %zu bytes", i, size);
        }
        malloc_trim(0);
    }
    return 0;
}
