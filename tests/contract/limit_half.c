/*
 * If this failed: a program that has freed everything could still not get one big block, since
 * what it held before left memory cut into pieces for one size.
 */
#include "limits.h"

#define LIMIT (256 * MIB)

static void half_after(size_t size, bool oldest_first)
{
    struct fill fill;
    fill_up(&fill, size, LIMIT);
    EXPECT(fill.blocks > 10, "some blocks of %zu bytes, came %zu", size, fill.blocks);
    if (oldest_first)
        free_all_oldest_first(&fill);
    else
        free_all(&fill);
    errno = 0;
    char *half = malloc(LIMIT / 2);
    EXPECT(half, "half of the limit (%zu MiB) after %zu blocks of %zu bytes were freed, errno %d",
           LIMIT / 2 / MIB, fill.blocks, size, errno);
    memset(half, 1, LIMIT / 2);
    free(half);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {16, 48, 200, 1000, 5000, 20000, 100 * KIB, 1 * MIB, 5 * MIB};
    (void)argc;
    deadline(120);
    if (strcmp(stage(), "") == 0) {
        char how[64];
        pid_t pid = fork();
        if (pid == 0) {
            /* The test's code and stacks are inside of RLIMIT_AS as well. */
            limit_address_space(LIMIT + 24 * MIB);
            become_stage("rlimit", argv);
        }
        EXPECT(!child_failed(pid, how, sizeof how), "status 0 under RLIMIT_AS, came %s", how);
        if (!under_quarry())
            return 0;
        setenv("QUARRY_LIMIT", "256M", 1);
        become_stage("quarry-limit", argv);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        half_after(sizes[i], false);
        half_after(sizes[i], true);
    }
    return 0;
}
