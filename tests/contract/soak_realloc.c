/*
 * If this failed: buffers that several threads grow and shrink for a while would lose bytes on
 * one of the roads of realloc: in place, copied, or moved by pages.
 */
#include "threads.h"

#define THREADS 3
#define SECONDS 4
#define BUFFERS 40

/* A byte follows from its offset and the buffer's number: realloc may move the block. */
static unsigned char byte_at(size_t number, size_t at)
{
    return (unsigned char)(at * 7 + (at >> 9) * 13 + number * 101);
}

static void expect_kept(const unsigned char *buffer, size_t size, size_t number)
{
    /* All of a small buffer; of a large one both ends and a sample, so that time is bounded. */
    size_t stride = size > 64 * KIB ? 61 : 1;
    for (size_t at = 0; at < size; at += at + 4096 < size ? stride : 1)
        EXPECT(buffer[at] == byte_at(number, at), "byte %zu of %zu kept, came %#x", at, size,
               buffer[at]);
}

static void *work(void *seed)
{
    unsigned char *buffers[BUFFERS] = {NULL};
    size_t sizes[BUFFERS] = {0};
    uint64_t state = (uint64_t)(uintptr_t)seed;
    while (!atomic_load_explicit(&churn_stop, memory_order_relaxed)) {
        size_t n = (size_t)(next_random(&state) % BUFFERS);
        size_t size = random_size(&state, 6 * MIB) + 1;
        if (next_random(&state) % 3 == 0) /* grow by half, as vectors do */
            size = sizes[n] < 8 * MIB ? sizes[n] + sizes[n] / 2 + 1 : 1;
        unsigned char *moved = realloc(buffers[n], size);
        EXPECT(moved, "realloc from %zu to %zu", sizes[n], size);
        expect_kept(moved, size < sizes[n] ? size : sizes[n], n);
        for (size_t at = sizes[n]; at < size; at++)
            moved[at] = byte_at(n, at);
        buffers[n] = moved;
        sizes[n] = size;
    }
    for (size_t n = 0; n < BUFFERS; n++) {
        expect_kept(buffers[n], sizes[n], n);
        free(buffers[n]);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    deadline(60);
    for (size_t i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0, "thread %zu", i);
    sleep(SECONDS);
    atomic_store(&churn_stop, true);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
