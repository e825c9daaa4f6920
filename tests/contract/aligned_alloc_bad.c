/*
 * If this failed: aligned_alloc with an alignment that is no power of two would return a block
 * that is not aligned as asked, and nobody would notice.
 */
#include "contract.h"

int main(void)
{
    static const size_t bad[] = {3,   5,    6,    7,     12,       24,          48,
                                 100, 4095, 4097, 12288, SIZE_MAX, SIZE_MAX / 2};
    /* glibc before 2.38 rounds the alignment up instead; C23 asks for the failure. */
    if (!under_quarry())
        skip("the system's aligned_alloc rounds a bad alignment up");
    deadline(30);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 0;
        void *p = aligned_alloc(opaque_size(bad[i]), opaque_size(bad[i]));
        EXPECT(p == NULL, "NULL from aligned_alloc(%#zx, …), came %p", bad[i], p);
        EXPECT_ERRNO(EINVAL, "aligned_alloc(%#zx, …)", bad[i]);
    }
    errno = 0;
    EXPECT(aligned_alloc(opaque_size(0), 16) == NULL, "NULL from aligned_alloc(0, 16)");
    EXPECT_ERRNO(EINVAL, "aligned_alloc(0, 16)");

    /* memalign with a bad alignment may round up or fail; what it returns must be usable. */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 0;
        char *p = memalign(opaque_size(bad[i]), 100);
        if (p) {
            EXPECT((uintptr_t)p % 16 == 0 && (uintptr_t)p >= bad[i],
                   "memalign(%#zx) rounded up, came %p", bad[i], (void *)p);
            memset(p, 1, 100);
            free(p);
        } else {
            EXPECT(errno == EINVAL || errno == ENOMEM,
                   "EINVAL or ENOMEM from memalign(%#zx, 100), came %d", bad[i], errno);
        }
    }

    /* As glibc: the largest power of two is an alignment, for which there is no memory. */
    const struct {
        size_t align;
        int error;
    } large[] = {{(size_t)1 << 63, ENOMEM},
                 {((size_t)1 << 62) + 1, ENOMEM},
                 {((size_t)1 << 63) + 1, EINVAL}};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        errno = 0;
        void *p = memalign(opaque_size(large[i].align), 9);
        EXPECT(p == NULL, "NULL from memalign(%#zx, 9), came %p", large[i].align, p);
        EXPECT_ERRNO(large[i].error, "memalign(%#zx, 9)", large[i].align);
    }
    return 0;
}
