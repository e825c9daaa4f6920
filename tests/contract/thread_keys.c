/*
 * If this failed: a library that cleans up through pthread_key destructors, and allocates there,
 * would crash or leak when its threads end.
 */
#include "threads.h"

#define THREADS 400

static pthread_key_t first, second, late;
static atomic_int cleaned;

struct held {
    size_t size;
    int rounds_left;
    pthread_key_t key;
};

/* Sets its key again, so that it is called in each of the four rounds that POSIX grants. */
static void clean_up(void *pointer)
{
    struct held *held = pointer;
    char *scratch = malloc(held->size);
    EXPECT(scratch, "a block of %zu bytes in a destructor", held->size);
    memset(scratch, 1, held->size);
    scratch = realloc(scratch, held->size * 3);
    EXPECT(scratch, "realloc in a destructor");
    free(scratch);
    if (held->rounds_left-- > 0) {
        struct held *next = malloc(sizeof *next);
        EXPECT(next, "a block in a destructor");
        *next = *held;
        free(held);
        pthread_setspecific(next->key, next);
        return;
    }
    atomic_fetch_add(&cleaned, 1);
    free(held);
}

static void hold(pthread_key_t key, size_t size)
{
    struct held *held = malloc(sizeof *held);
    EXPECT(held, "a small block");
    *held = (struct held){.size = size, .rounds_left = 2, .key = key};
    pthread_setspecific(key, held);
}

static void *with_malloc(void *n)
{
    size_t size = 50 + 977 * ((size_t)n % 60);
    hold(first, size);
    free(malloc(100));
    hold(second, size * 2);
    return n;
}

/* A thread whose first malloc is in a destructor. */
static void first_malloc_late(void *pointer)
{
    void *block = malloc((size_t)pointer);
    EXPECT(block, "a block in a destructor of a thread that never allocated");
    free(block);
    atomic_fetch_add(&cleaned, 1);
}

static void *without_malloc(void *n)
{
    pthread_setspecific(late, (void *)((size_t)n + 1));
    return n;
}

int main(void)
{
    deadline(60);
    pthread_key_create(&first, clean_up);
    free(malloc(1));
    pthread_key_create(&second, clean_up);
    pthread_key_create(&late, first_malloc_late);
    for (size_t n = 0; n < THREADS; n += 4) {
        pthread_t threads[4];
        for (size_t i = 0; i < 4; i++)
            EXPECT(pthread_create(&threads[i], NULL, i == 3 ? without_malloc : with_malloc,
                                  (void *)(n + i)) == 0,
                   "thread %zu to start", n + i);
        for (size_t i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
    EXPECT(atomic_load(&cleaned) == THREADS / 4 * 7, "%d destructors to have run, came %d",
           THREADS / 4 * 7, atomic_load(&cleaned));
    return 0;
}
