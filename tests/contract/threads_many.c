/*
 * If this failed: a program that starts a thread per request would grow without end, because each
 * thread that ends leaves its caches behind.
 */
#include "threads.h"

#define WARM_UP 500
#define THREADS 8000

static void *short_life(void *n)
{
    void *kept[40];
    for (size_t i = 0; i < 40; i++) {
        size_t size = (i * 131 + (size_t)n * 17) % 3000 + 1;
        kept[i] = malloc(size);
        EXPECT(kept[i], "a block of %zu bytes", size);
        memset(kept[i], 1, size);
    }
    for (size_t i = 0; i < 39; i++)
        free(kept[i]);
    return kept[39]; /* freed by another thread */
}

static void run(size_t count)
{
    for (size_t n = 0; n < count; n += 5) {
        pthread_t threads[5];
        for (size_t i = 0; i < 5; i++)
            EXPECT(pthread_create(&threads[i], NULL, short_life, (void *)(n + i)) == 0,
                   "thread %zu to start", n + i);
        for (size_t i = 0; i < 5; i++) {
            void *left = NULL;
            pthread_join(threads[i], &left);
            free(left);
        }
    }
}

int main(void)
{
    deadline(90);
    run(WARM_UP);
    size_t before = resident_bytes();
    run(THREADS);
    size_t after = resident_bytes();
    EXPECT(after < before + 3 * MIB, "resident memory near %zu KiB after %d threads, came %zu KiB",
           before / KIB, THREADS, after / KIB);
    return 0;
}
