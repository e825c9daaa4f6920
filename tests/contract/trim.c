/*
 * If this failed: a program that has freed everything would keep the machine's memory, even when
 * it asks with malloc_trim to give it back.
 */
#include "threads.h"

#define BYTES (160 * MIB)
#define THREADS 4

static pthread_barrier_t step;
static void **shared;
static size_t *shared_sizes;
static size_t shared_count;

static void expect_small(const char *when, size_t before)
{
    size_t after = resident_bytes();
    size_t most_left = under_quarry() ? 8 * MIB : 16 * MIB;
    EXPECT(after < before + most_left, "resident memory near %zu KiB %s, came %zu KiB",
           before / KIB, when, after / KIB);
}

static size_t take(uint64_t seed, size_t bytes)
{
    size_t held = 0, count = 0;
    while (held < bytes) {
        size_t size = random_size(&seed, 2 * MIB) + 1;
        shared[count] = malloc(size);
        EXPECT(shared[count], "a block of %zu bytes", size);
        memset(shared[count], 1, size);
        shared_sizes[count++] = size;
        held += size;
    }
    return count;
}

static void free_in_random_order(uint64_t seed, size_t count)
{
    for (size_t i = count; i > 0; i--) {
        size_t pick = (size_t)(next_random(&seed) % i);
        free(shared[pick]);
        shared[pick] = shared[i - 1];
    }
}

/* Takes in one thread, frees in another; all threads are still there when memory is given back. */
static void *worker(void *number)
{
    size_t n = (size_t)number;
    for (size_t turn = 0; turn < THREADS; turn++) {
        pthread_barrier_wait(&step);
        if (turn == n)
            shared_count = take(n, BYTES / 4);
        pthread_barrier_wait(&step);
        if ((turn + 1) % THREADS == n)
            free_in_random_order(n, shared_count);
    }
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    deadline(90);
    shared = own_pages(MIB * sizeof *shared);
    shared_sizes = own_pages(MIB * sizeof *shared_sizes);
    free(malloc(1));
    size_t before = resident_bytes();

    size_t count = take(1, BYTES);
    EXPECT(resident_bytes() > before + BYTES / 10 * 9, "%zu MiB resident", BYTES / MIB);
    free_in_random_order(2, count);
    malloc_trim(0);
    expect_small("after freeing all and malloc_trim", before);

    pthread_barrier_init(&step, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], NULL, worker, (void *)i) == 0, "thread %zu", i);
    for (size_t i = 0; i < 2 * THREADS + 1; i++)
        pthread_barrier_wait(&step);
    malloc_trim(0);
    expect_small("while threads that freed all are idle", before);
    pthread_barrier_wait(&step);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    malloc_trim(0);
    expect_small("after threads ended", before);
    return 0;
}
