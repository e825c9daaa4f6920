/*
 * If this failed: a server that was busy once would keep its peak memory for good, because what
 * it freed only goes back to the system when somebody calls malloc_trim.
 */
#include "threads.h"

#define BLOCKS 40000
#define SECONDS 5

static void *blocks[BLOCKS];

static void busy_then_free(void)
{
    uint64_t state = 3;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = random_size(&state, MIB) + 1;
        blocks[i] = malloc(size);
        EXPECT(blocks[i], "a block of %zu bytes", size);
        memset(blocks[i], 1, size);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

int main(void)
{
    /* glibc gives back the top of its heap and large blocks at once, the rest only when trimmed. */
    if (!under_quarry())
        skip("only Quarry promises to give idle memory back");
    deadline(60);
    size_t before = resident_bytes();
    busy_then_free();
    size_t peak = status_bytes("\nVmHWM:") - before, after = 0;
    /* A little work, as an idle server has it. */
    for (int tick = 0; tick < SECONDS * 50; tick++) {
        for (size_t size = 16; size < 100000; size *= 4)
            free(opaque(malloc(size)));
        usleep(20000);
        after = resident_bytes();
        if (after < before + peak / 4)
            return 0;
    }
    EXPECT(after < before + peak / 4,
           "a quarter of %zu MiB resident %d s after all was freed, came %zu MiB", peak / MIB,
           SECONDS, (after - before) / MIB);
    return 1;
}
