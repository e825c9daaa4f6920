/*
 * If this failed: a program that trusts posix_memalign's return value would use a pointer that
 * was never set, or find its own pointer or errno overwritten by a call that failed.
 */
#include "contract.h"

static void *const untouched = (void *)(uintptr_t)0x5eed;

static void fails_with(int wanted, size_t alignment, size_t size)
{
    void *p = untouched;
    errno = E2BIG;
    int came = posix_memalign(&p, opaque_size(alignment), opaque_size(size));
    int errno_now = errno;
    EXPECT(came == wanted, "%s from posix_memalign(%#zx, %#zx), came %s", strerrorname_np(wanted),
           alignment, size, came ? strerrorname_np(came) : "0");
    EXPECT(p == untouched, "the pointer untouched by posix_memalign(%#zx, %#zx), came %p",
           alignment, size, p);
    /* glibc 2.36 sets errno here; POSIX reports by the return value alone. */
    if (under_quarry())
        EXPECT(errno_now == E2BIG, "errno untouched by posix_memalign(%#zx, %#zx), came %d",
               alignment, size, errno_now);
}

int main(void)
{
    static const size_t bad[] = {0,  1,  2,   4,    3,    7,        12,
                                 24, 48, 100, 4095, 4097, SIZE_MAX, SIZE_MAX / 2};
    deadline(30);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fails_with(EINVAL, bad[i], 0);
        fails_with(EINVAL, bad[i], 100);
        fails_with(EINVAL, bad[i], SIZE_MAX);
    }
    for (size_t alignment = 8; alignment <= GIB; alignment *= 2) {
        fails_with(ENOMEM, alignment, SIZE_MAX);
        fails_with(ENOMEM, alignment, SIZE_MAX - alignment);
        fails_with(ENOMEM, alignment, SIZE_MAX / 2);
    }
    fails_with(ENOMEM, (size_t)1 << 62, 1);
    fails_with(ENOMEM, (size_t)1 << 63, 1);

    for (size_t alignment = 8; alignment <= 64 * KIB; alignment *= 2) {
        for (size_t size = 0; size < 70000; size = size * 2 + 1) {
            void *p = untouched;
            errno = E2BIG;
            EXPECT(posix_memalign(&p, alignment, size) == 0, "posix_memalign(%zu, %zu) to succeed",
                   alignment, size);
            EXPECT_ERRNO(E2BIG, "posix_memalign(%zu, %zu) that succeeds", alignment, size);
            EXPECT(p && p != untouched && is_aligned(p, alignment),
                   "a pointer aligned to %zu, came %p", alignment, p);
            memset(p, 0xa5, size);
            free(p);
        }
    }
    return 0;
}
