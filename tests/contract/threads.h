/*
 * threads.h - threads that allocate and free until they are told to stop
 */
#ifndef QUARRY_TESTS_THREADS_H
#define QUARRY_TESTS_THREADS_H

#include "contract.h"
#include <pthread.h>
#include <stdatomic.h>

#define CHURN_BLOCKS 64

static atomic_bool churn_stop;
static atomic_int churn_running;

/* One step: a slot of the table is checked, freed and filled anew. */
static inline void churn_step(void *blocks[CHURN_BLOCKS], size_t sizes[CHURN_BLOCKS],
                              uint64_t *state)
{
    size_t slot = (size_t)(next_random(state) % CHURN_BLOCKS);
    if (blocks[slot]) {
        ptrdiff_t at = pattern_broken(blocks[slot], sizes[slot], slot);
        EXPECT(at < 0, "a block of %zu bytes untouched by others, offset %td changed", sizes[slot],
               at);
        free(blocks[slot]);
    }
    size_t size = random_size(state, 256 * KIB);
    if (next_random(state) % 4 == 0)
        blocks[slot] = realloc(malloc(size / 2 + 1), size + 1);
    else
        blocks[slot] = malloc(size + 1);
    EXPECT(blocks[slot], "a block of %zu bytes", size + 1);
    sizes[slot] = size + 1;
    pattern_fill(blocks[slot], sizes[slot], slot);
}

static void *churn(void *seed)
{
    void *blocks[CHURN_BLOCKS] = {NULL};
    size_t sizes[CHURN_BLOCKS] = {0};
    uint64_t state = (uint64_t)(uintptr_t)seed;
    atomic_fetch_add(&churn_running, 1);
    while (!atomic_load_explicit(&churn_stop, memory_order_relaxed)) {
        churn_step(blocks, sizes, &state);
        if (next_random(&state) % 4096 == 0)
            malloc_trim(0);
    }
    for (size_t i = 0; i < CHURN_BLOCKS; i++)
        free(blocks[i]);
    return NULL;
}

static inline void churn_start(pthread_t *threads, size_t count)
{
    atomic_store(&churn_stop, false);
    for (size_t i = 0; i < count; i++)
        EXPECT(pthread_create(&threads[i], NULL, churn, (void *)(i * 77 + 1)) == 0,
               "thread %zu to start", i);
    while (atomic_load(&churn_running) < (int)count)
        usleep(100);
}

static inline void churn_end(pthread_t *threads, size_t count)
{
    atomic_store(&churn_stop, true);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&churn_running, 0);
}

#endif
