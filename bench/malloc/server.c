/*
 * server.c - a server whose threads come and go and pass their objects on
 *
 * Stands for a thread-per-connection server: CHAINS chains of threads run side by side. A thread
 * owns SLOTS objects of 16 .. 1,024 bytes, replaces random ones PASSES times, then starts its
 * successor, leaves it the objects and ends. So many objects are freed by another thread than the
 * one that made them, and thread caches must be emptied and filled again. The first 8 bytes of an
 * object are written when it is made and read when it is freed.
 *
 *   server OPS CHAINS SLOTS PASSES     an operation is one free + one malloc
 */
#include "bench.h"
#include <pthread.h>
#include <semaphore.h>

struct chain {
    void **slots;
    uint64_t rng, sum, left;
};

static uint64_t n_slots, passes;
static sem_t done;

static size_t object_bytes(uint64_t *rng)
{
    return 16 + (size_t)rng_below(rng, 1009);
}

static void start_thread(struct chain *chain);

static void *serve(void *pointer)
{
    struct chain *chain = pointer;
    uint64_t ops = chain->left < passes ? chain->left : passes;
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t at = rng_below(&chain->rng, n_slots);
        size_t bytes = object_bytes(&chain->rng);
        chain->sum += peek(chain->slots[at]);
        free(chain->slots[at]);
        chain->slots[at] = take(bytes);
        touch(chain->slots[at], bytes, TOUCH_FIRST, i);
    }
    chain->left -= ops;
    if (chain->left)
        start_thread(chain);
    else
        sem_post(&done);
    return NULL;
}

static void start_thread(struct chain *chain)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, chain) || pthread_detach(thread))
        die("no thread");
}

int main(int argc, char **argv)
{
    uint64_t ops = arg_count(argc, argv, 1, 4000000);
    uint64_t n_chains = arg(argc, argv, 2, 2);
    n_slots = arg(argc, argv, 3, 1000);
    passes = arg(argc, argv, 4, 20000);
    sem_init(&done, 0, 0);

    struct chain *chains = take(n_chains * sizeof(*chains));
    for (uint64_t c = 0; c < n_chains; c++) {
        chains[c] = (struct chain){take(n_slots * sizeof(void *)), 77 + c, 0, ops / n_chains + 1};
        for (uint64_t i = 0; i < n_slots; i++) {
            size_t bytes = object_bytes(&chains[c].rng);
            chains[c].slots[i] = take(bytes);
            touch(chains[c].slots[i], bytes, TOUCH_FIRST, i);
        }
    }
    struct stopwatch start = stopwatch_start();
    for (uint64_t c = 0; c < n_chains; c++)
        start_thread(&chains[c]);
    uint64_t sum = 0;
    for (uint64_t c = 0; c < n_chains; c++)
        sem_wait(&done);
    for (uint64_t c = 0; c < n_chains; c++)
        sum += chains[c].sum;
    report_ns("server", start, ops, sum);
    return 0;
}
