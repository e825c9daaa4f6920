/*
 * If this failed: a server that was busy for a while would keep its peak memory for good, because
 * what it freed only goes back to the system when somebody calls malloc_trim, or never goes once
 * it was wanted again; or a program that uses memory over and over would lose it each time.
 */
#include "limits.h"
#include "threads.h"
#include <time.h>

#define MOST_BLOCKS 800000
#define SECONDS 12

static void *blocks[MOST_BLOCKS];

static void busy_then_free(size_t count, size_t most_bytes)
{
    uint64_t state = 3;
    for (size_t i = 0; i < count; i++) {
        size_t size = random_size(&state, most_bytes) + 1;
        blocks[i] = malloc(size);
        EXPECT(blocks[i], "a block of %zu bytes", size);
        memset(blocks[i], 1, size);
    }
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
}

static void expect_a_quarter_of(size_t peak, size_t before)
{
    size_t after = 0;
    /* A little work, as an idle server has it, but more than a thread's own lists hold. */
    for (int tick = 0; tick < SECONDS * 50; tick++) {
        busy_then_free(3000, 400);
        usleep(20000);
        after = resident_bytes();
        if (after < before + peak / 4)
            return;
    }
    EXPECT(after < before + peak / 4,
           "a quarter of %zu MiB resident %d s after all was freed, came %zu MiB", peak / MIB,
           SECONDS, (after - before) / MIB);
}

static size_t faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_minflt;
}

/* What is taken and freed again and again comes to stay, but for a try now and then. */
static void over_and_over(size_t bytes, int seconds)
{
    time_t began = time(NULL);
    size_t before = 0;
    for (time_t now = began; now < began + seconds; now = time(NULL)) {
        char *block = malloc(bytes);
        EXPECT(block, "a block of %zu bytes", bytes);
        memset(block, 1, bytes);
        free(block);
        before = before == 0 && now >= began + 2 ? faults() : before;
    }
    size_t came = faults() - before;
    EXPECT(came < 2 * bytes / 4096, "a block of %zu MiB to stay while it is used, came %zu faults",
           bytes / MIB, came);
}

int main(void)
{
    /* glibc gives back the top of its heap and large blocks at once, the rest only when trimmed. */
    if (!under_quarry())
        skip("only Quarry promises to give idle memory back");
    deadline(60);
    memset(blocks, 1, sizeof(blocks));
    size_t before = resident_bytes();
    for (int round = 0; round < 8; round++)
        busy_then_free(MOST_BLOCKS, 400);
    expect_a_quarter_of(status_bytes("\nVmHWM:") - before, before);
    busy_then_free(40000, MIB);
    expect_a_quarter_of(status_bytes("\nVmHWM:") - before, before);
    if (!hardened()) /* there a block is out of reach once it is freed */
        over_and_over(64 * MIB, 5);
    return 0;
}
