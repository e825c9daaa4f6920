/*
 * If this failed: programs whose libraries allocate before any constructor has run would crash
 * before main, because the allocator waited for its own constructor.
 */
#include "contract.h"

static char *early_blocks[64];
static size_t early_sizes[64];
static char *early_zero, *early_aligned;

/* The dynamic linker calls this before the constructors of every library, malloc's included. */
static void earliest(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv, (void)environment;
    for (size_t i = 0; i < 64; i++) {
        early_sizes[i] = i < 50 ? i * i * 7 + 1 : i * 50000;
        early_blocks[i] = malloc(early_sizes[i]);
        if (early_blocks[i])
            pattern_fill(early_blocks[i], early_sizes[i], i);
    }
    for (size_t i = 1; i < 64; i += 5) {
        free(early_blocks[i]);
        early_blocks[i] = realloc(NULL, early_sizes[i]);
        if (early_blocks[i])
            pattern_fill(early_blocks[i], early_sizes[i], i);
    }
    early_zero = calloc(100, 100);
    early_aligned = memalign(4096, 10000);
}

__attribute__((section(".preinit_array"), used)) static void (*const hook)(int, char **,
                                                                           char **) = earliest;

int main(void)
{
    deadline(20);
    for (size_t i = 0; i < 64; i++) {
        EXPECT(early_blocks[i], "a block of %zu bytes before constructors", early_sizes[i]);
        ptrdiff_t at = pattern_broken(early_blocks[i], early_sizes[i], i);
        EXPECT(at < 0, "the early block of %zu bytes kept, offset %td changed", early_sizes[i], at);
        early_blocks[i] = realloc(early_blocks[i], early_sizes[i] + 100);
        EXPECT(early_blocks[i], "realloc of an early block");
        free(early_blocks[i]);
    }
    EXPECT(early_zero && first_nonzero(early_zero, 10000) < 0, "zeroes from an early calloc");
    EXPECT(early_aligned && is_aligned(early_aligned, 4096), "an early aligned block, came %p",
           (void *)early_aligned);
    free(early_zero);
    free(early_aligned);
    return 0;
}
