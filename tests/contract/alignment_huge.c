/*
 * If this failed: a program that needs huge pages, DMA buffers or tagged pointers could not have
 * blocks at any power of two up to 1 GiB, or would get one that is not aligned.
 */
#include "contract.h"

static void check(const char *call, void *p, size_t alignment, size_t size)
{
    EXPECT(p, "%s(%#zx, %#zx) to succeed", call, alignment, size);
    EXPECT(is_aligned(p, alignment), "%s(%#zx, %#zx) aligned, came %p", call, alignment, size, p);
    EXPECT(malloc_usable_size(p) >= size, "usable size >= %zu, came %zu", size,
           malloc_usable_size(p));
    pattern_fill(p, size, alignment);
}

/* Two neighbours of each kind live together: an aligned block must not reach into the next one. */
static void both_alive(size_t alignment, size_t size)
{
    void *a = memalign(alignment, size);
    check("memalign", a, alignment, size);
    void *b = aligned_alloc(alignment, size);
    check("aligned_alloc", b, alignment, size);
    void *c = NULL;
    EXPECT(posix_memalign(&c, alignment < 8 ? 8 : alignment, size) == 0,
           "posix_memalign(%#zx, %#zx) to succeed", alignment, size);
    check("posix_memalign", c, alignment, size);
    EXPECT(pattern_broken(a, size, alignment) < 0, "a's bytes kept (alignment %#zx)", alignment);
    EXPECT(pattern_broken(b, size, alignment) < 0, "b's bytes kept (alignment %#zx)", alignment);

    /* realloc of an aligned block keeps the bytes, though not the alignment. */
    char *grown = realloc(b, size * 2 + 1);
    EXPECT(grown, "realloc of an aligned block to %zu", size * 2 + 1);
    pattern_fill(grown, size * 2 + 1, 3);
    EXPECT(pattern_broken(c, size, alignment) < 0, "c's bytes kept (alignment %#zx)", alignment);
    free(c);
    free(a);
    free(grown);
}

int main(void)
{
    static const size_t sizes[] = {0, 1, 8, 24, 64, 500, 4096, 5000, 40000, 300000, 5 * MIB};
    deadline(60);
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            both_alive(alignment, sizes[i]);

    /* The largest ones one at a time, for machines with little address space to spare. */
    for (size_t alignment = 64 * MIB; alignment <= GIB; alignment *= 2) {
        void *p = memalign(alignment, 100);
        check("memalign", p, alignment, 100);
        free(p);
        EXPECT(posix_memalign(&p, alignment, 3 * MIB) == 0, "posix_memalign(%#zx, 3 MiB)",
               alignment);
        check("posix_memalign", p, alignment, 3 * MIB);
        free(p);
    }
    return 0;
}
