/*
 * If this failed: a program that asks for more than there can be would not learn why from errno,
 * or would lose the block that it already had.
 */
#include "contract.h"

static const size_t too_much[] = {
    SIZE_MAX,           SIZE_MAX - 1,          SIZE_MAX - 7,    SIZE_MAX - 15,
    SIZE_MAX - 16,      SIZE_MAX - 4095,       SIZE_MAX - 4096, SIZE_MAX - 65536,
    SIZE_MAX - 2097152, SIZE_MAX / 2 + 1,      SIZE_MAX / 2,    SIZE_MAX / 2 - 4096,
    (size_t)1 << 62,    ((size_t)1 << 62) + 1, (size_t)1 << 56, (size_t)1 << 48,
};
#define COUNT (sizeof too_much / sizeof too_much[0])

static void malloc_fails(size_t size)
{
    errno = 0;
    void *p = malloc(opaque_size(size));
    EXPECT(p == NULL, "NULL from malloc(%#zx)", size);
    EXPECT_ERRNO(ENOMEM, "malloc(%#zx)", size);

    errno = 0;
    p = calloc(opaque_size(size), 1);
    EXPECT(p == NULL, "NULL from calloc(%#zx, 1)", size);
    EXPECT_ERRNO(ENOMEM, "calloc(%#zx, 1)", size);

    errno = 0;
    p = calloc(1, opaque_size(size));
    EXPECT(p == NULL, "NULL from calloc(1, %#zx)", size);
    EXPECT_ERRNO(ENOMEM, "calloc(1, %#zx)", size);
}

static void aligned_fails(size_t size)
{
    for (size_t alignment = 16; alignment <= 16 * MIB; alignment *= 16) {
        errno = 0;
        void *p = memalign(alignment, opaque_size(size));
        EXPECT(p == NULL, "NULL from memalign(%#zx, %#zx)", alignment, size);
        EXPECT_ERRNO(ENOMEM, "memalign(%#zx, %#zx)", alignment, size);

        errno = 0;
        p = aligned_alloc(alignment, opaque_size(size) & ~(alignment - 1));
        EXPECT(p == NULL, "NULL from aligned_alloc(%#zx, %#zx)", alignment, size);
        EXPECT_ERRNO(ENOMEM, "aligned_alloc(%#zx, %#zx)", alignment, size);
    }
    errno = 0;
    EXPECT(valloc(opaque_size(size)) == NULL, "NULL from valloc(%#zx)", size);
    EXPECT_ERRNO(ENOMEM, "valloc(%#zx)", size);
}

/* Rounding the size up to a page, or to the alignment, must not wrap to something small. */
static void wrapping_fails(void)
{
    for (size_t less = 0; less < 20000; less += less < 64 ? 1 : 61) {
        EXPECT(malloc(opaque_size(SIZE_MAX - less)) == NULL, "NULL from malloc(SIZE_MAX - %zu)",
               less);
        EXPECT(memalign(4096, opaque_size(SIZE_MAX - less)) == NULL,
               "NULL from memalign(4096, SIZE_MAX - %zu)", less);
        EXPECT(memalign(GIB, opaque_size(SIZE_MAX - less)) == NULL,
               "NULL from memalign(1 GiB, SIZE_MAX - %zu)", less);
    }
}

static void overflow_fails(void)
{
    static const size_t factors[][2] = {
        {SIZE_MAX, 2},
        {2, SIZE_MAX},
        {SIZE_MAX, SIZE_MAX},
        {(size_t)1 << 32, (size_t)1 << 32},
        {((size_t)1 << 32) + 1, (size_t)1 << 32},
        {SIZE_MAX / 2 + 1, 2},
        {SIZE_MAX / 3 + 1, 3},
        {SIZE_MAX / 16 + 1, 16},
        {24, SIZE_MAX / 24 + 1},
        {(size_t)1 << 63, (size_t)1 << 1},
    };
    char *kept = malloc(100);
    pattern_fill(kept, 100, 1);
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        size_t n = opaque_size(factors[i][0]), each = opaque_size(factors[i][1]);
        errno = 0;
        EXPECT(calloc(n, each) == NULL, "NULL from calloc(%#zx, %#zx)", n, each);
        EXPECT_ERRNO(ENOMEM, "calloc(%#zx, %#zx)", n, each);
        errno = 0;
        EXPECT(reallocarray(NULL, n, each) == NULL, "NULL from reallocarray(NULL, %#zx, %#zx)", n,
               each);
        EXPECT_ERRNO(ENOMEM, "reallocarray(NULL, %#zx, %#zx)", n, each);
        errno = 0;
        EXPECT(reallocarray(kept, n, each) == NULL, "NULL from reallocarray(p, %#zx, %#zx)", n,
               each);
        EXPECT_ERRNO(ENOMEM, "reallocarray(p, %#zx, %#zx)", n, each);
        EXPECT(pattern_broken(kept, 100, 1) < 0, "the block kept by a failed reallocarray");
    }
    free(kept);
}

static void realloc_keeps(size_t had, size_t asked)
{
    char *block = malloc(had);
    EXPECT(block, "a block of %zu bytes", had);
    pattern_fill(block, had, asked);
    errno = 0;
    char *moved = realloc(block, opaque_size(asked));
    EXPECT(moved == NULL, "NULL from realloc(a block of %zu, %#zx)", had, asked);
    EXPECT_ERRNO(ENOMEM, "realloc(a block of %zu, %#zx)", had, asked);
    EXPECT(pattern_broken(block, had, asked) < 0, "the block of %zu bytes kept by a failed realloc",
           had);
    EXPECT(malloc_usable_size(block) >= had, "a live block of %zu bytes after a failed realloc",
           had);
    free(block);
}

int main(void)
{
    static const size_t had[] = {1, 24, 100, 4096, 40000, 200000, 5 * MIB};
    deadline(60);
    for (size_t i = 0; i < COUNT; i++) {
        malloc_fails(too_much[i]);
        aligned_fails(too_much[i]);
        for (size_t j = 0; j < sizeof had / sizeof had[0]; j++)
            realloc_keeps(had[j], too_much[i]);
        errno = 0;
        EXPECT(realloc(NULL, opaque_size(too_much[i])) == NULL, "NULL from realloc(NULL, %#zx)",
               too_much[i]);
        EXPECT_ERRNO(ENOMEM, "realloc(NULL, %#zx)", too_much[i]);
    }
    wrapping_fails();
    overflow_fails();
    return 0;
}
