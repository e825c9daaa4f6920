/*
 * If this failed: a program under RLIMIT_AS would crash at its limit instead of being told
 * ENOMEM, or would have less memory each time that it fills and frees it.
 */
#include "limits.h"

#define LIMIT (256 * MIB)

static void three_fills(size_t size)
{
    struct fill fill;
    size_t first = 0;
    for (int round = 1; round <= 3; round++) {
        fill_up(&fill, size, 2 * LIMIT);
        EXPECT(fill.blocks * size < LIMIT, "less than the limit with blocks of %zu, came %zu MiB",
               size, fill.blocks * size / MIB);
        if (round == 1)
            first = fill.blocks;
        EXPECT(as_much_as(fill.blocks, first),
               "at least about %zu blocks of %zu bytes in fill %d as in the first, came %zu", first,
               size, round, fill.blocks);
        if (round == 2)
            free_all_oldest_first(&fill);
        else
            free_all(&fill);
    }
    /*
     * The limit counts addresses, not memory: a buddy that keeps large blocks aligned leaves
     * holes in them. Hardening pays for its canaries with memory.
     */
    size_t percent = hardened() ? 25 : size < 64 || size > 32 * KIB ? 50 : 75;
    EXPECT(first * size >= LIMIT / 100 * percent,
           "%zu %% of RLIMIT_AS (%zu MiB) usable with blocks of %zu bytes, came %zu MiB", percent,
           LIMIT / MIB, size, first * size / MIB);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {3 * MIB, 300 * KIB, 40000, 4096, 1000, 100, 24};
    char how[64];
    (void)argc;
    deadline(120);
    if (strcmp(stage(), "limited") != 0) {
        limit_address_space(LIMIT);
        become_stage("limited", argv);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            deadline(60);
            three_fills(sizes[i]);
            _exit(0);
        }
        EXPECT(!child_failed(pid, how, sizeof how), "blocks of %zu bytes: status 0, came %s",
               sizes[i], how);
    }
    /* Once more one size after the other in the same process. */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i += 3)
        three_fills(sizes[i]);
    return 0;
}
