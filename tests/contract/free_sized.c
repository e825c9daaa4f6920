/*
 * If this failed: a C23 program could not free with the size it knows, or a right size would be
 * taken for a wrong one.
 */
#include "contract.h"

int main(void)
{
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    void (*aligned_sized)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!under_quarry() && !sized)
        skip("the system has no free_sized");
    EXPECT(sized, "free_sized to be found");
    EXPECT(aligned_sized, "free_aligned_sized to be found");
    deadline(30);

    sized(NULL, 0);
    sized(NULL, 100);
    aligned_sized(NULL, 64, 100);
    for (int round = 0; round < 3; round++) {
        for (size_t size = 0; size < 9 * MIB; size += size < 5000 ? 1 : size / 9) {
            char *p = malloc(size), *q = calloc(1, size), *r = realloc(malloc(7), size + 1);
            EXPECT(p && q && r, "blocks of %zu bytes", size);
            memset(p, 1, size);
            sized(p, size);
            sized(q, size);
            sized(r, size + 1);
        }
    }
    for (size_t alignment = 16; alignment <= 4 * MIB; alignment *= 2) {
        for (size_t size = 0; size < 6 * MIB; size = size * 2 + alignment) {
            char *p = aligned_alloc(alignment, size);
            EXPECT(p, "aligned_alloc(%zu, %zu)", alignment, size);
            memset(p, 1, size);
            aligned_sized(p, alignment, size);
        }
    }
    return 0;
}
