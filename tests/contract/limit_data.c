/*
 * If this failed: on a machine that does not overcommit, where every writable private page is
 * counted when it is mapped, programs would not start, or would crash instead of seeing NULL.
 */
#include "limits.h"

#define LIMIT (96 * MIB)
#define STOP (512 * MIB)

int main(int argc, char **argv)
{
    static const size_t sizes[] = {100, 5000, 300 * KIB, 3 * MIB};
    (void)argc;
    deadline(60);
    if (strcmp(stage(), "limited") != 0) {
        /* RLIMIT_DATA counts as strict overcommit does: what is writable and private. */
        struct rlimit limit = {LIMIT, LIMIT};
        if (setrlimit(RLIMIT_DATA, &limit) != 0)
            skip("RLIMIT_DATA cannot be set: %s", strerror(errno));
        become_stage("limited", argv);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct fill fill;
        size_t first = 0;
        for (int round = 1; round <= 3; round++) {
            fill_up(&fill, sizes[i], STOP);
            EXPECT(fill.blocks * sizes[i] >= LIMIT / 2,
                   "half of RLIMIT_DATA at least in blocks of %zu bytes, came %zu MiB", sizes[i],
                   fill.blocks * sizes[i] / MIB);
            first = round == 1 ? fill.blocks : first;
            EXPECT(as_much_as(fill.blocks, first),
                   "at least about %zu blocks of %zu bytes in fill %d, came %zu", first, sizes[i],
                   round, fill.blocks);
            free_all(&fill);
        }
    }
    return 0;
}
