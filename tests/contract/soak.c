/*
 * If this failed: under the mixed load of several threads that hand blocks to each other, some
 * block would be given to two owners at once or lose its bytes.
 */
#include "threads.h"

#define THREADS 4
#define SECONDS 5
#define LEAST_BLOCKS                                                                               \
    10000 /* or longer, where the machine is busy: deadline() ends what stands still */
#define OWN_BLOCKS 600
#define MAILBOXES 512

/* A parcel says what is in a block; it is itself a block. */
struct parcel {
    void *block;
    size_t size;
    uint64_t id;
};

static _Atomic(struct parcel *) mailboxes[MAILBOXES];
static _Atomic uint64_t next_id = 1;

static struct parcel *make(uint64_t *state)
{
    struct parcel *parcel = malloc(sizeof *parcel);
    size_t size = random_size(state, 6 * MIB) + 1;
    EXPECT(parcel, "a small block");
    parcel->size = size;
    parcel->id = atomic_fetch_add(&next_id, 1);
    switch (next_random(state) % 8) {
    case 0:
        parcel->block = calloc(1, size);
        EXPECT(parcel->block && first_nonzero(parcel->block, size) < 0,
               "zeroes from calloc of %zu bytes", size);
        break;
    case 1:
        parcel->block = memalign((size_t)16 << (next_random(state) % 10), size);
        break;
    case 2:
        parcel->block = realloc(malloc(size / 3 + 1), size);
        break;
    default:
        parcel->block = malloc(size);
    }
    EXPECT(parcel->block, "a block of %zu bytes", size);
    pattern_fill(parcel->block, size, parcel->id);
    return parcel;
}

static void open_parcel(struct parcel *parcel)
{
    ptrdiff_t at = pattern_broken(parcel->block, parcel->size, parcel->id);
    EXPECT(at < 0, "block %p of %zu bytes (id %llu) whole, offset %td changed", parcel->block,
           parcel->size, (unsigned long long)parcel->id, at);
    free(parcel->block);
    free(parcel);
}

static void *work(void *seed)
{
    static _Thread_local struct parcel *own[OWN_BLOCKS];
    uint64_t state = (uint64_t)(uintptr_t)seed;
    while (!atomic_load_explicit(&churn_stop, memory_order_relaxed)) {
        size_t slot = (size_t)(next_random(&state) % OWN_BLOCKS);
        struct parcel *parcel = own[slot];
        own[slot] = NULL;
        if (parcel && next_random(&state) % 3 == 0)
            parcel = atomic_exchange(&mailboxes[next_random(&state) % MAILBOXES], parcel);
        if (parcel)
            open_parcel(parcel);
        /* Now and then a burst of one size, as a program's phases have it. */
        if (next_random(&state) % 2000 == 0)
            for (size_t i = 0; i < OWN_BLOCKS; i += 2) {
                if (own[i])
                    open_parcel(own[i]);
                own[i] = NULL;
            }
        own[slot] = make(&state);
        if (next_random(&state) % 50000 == 0)
            malloc_trim(0);
    }
    for (size_t i = 0; i < OWN_BLOCKS; i++)
        if (own[i])
            open_parcel(own[i]);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    deadline(120);
    for (size_t i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0, "thread %zu", i);
    sleep(SECONDS);
    while (atomic_load(&next_id) < LEAST_BLOCKS)
        usleep(10000);
    atomic_store(&churn_stop, true);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < MAILBOXES; i++)
        if (mailboxes[i])
            open_parcel(mailboxes[i]);
    return 0;
}
