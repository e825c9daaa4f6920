/*
 * If this failed: pthread_cancel would end a thread in the middle of malloc or free, which are no
 * cancellation points, and leave a lock held for ever.
 */
#include "threads.h"

static atomic_int ready, done;

static void *cancelled_already(void *n)
{
    (void)n;
    atomic_store(&ready, 1);
    while (atomic_load(&ready) != 2)
        ;
    for (size_t round = 0; round < 20; round++)
        for (size_t size = 1; size < 16 * MIB; size *= 3) {
            char *block = malloc(size);
            EXPECT(block, "a block of %zu bytes", size);
            block[0] = block[size - 1] = 1;
            free(calloc(1, size));
            block = realloc(block, size * 2);
            free(block);
            free(memalign(2 * MIB, size));
        }
    malloc_trim(0);
    atomic_fetch_add(&done, 1);
    pthread_testcancel();
    EXPECT(false, "the thread to end at its cancellation point");
    return NULL;
}

int main(void)
{
    deadline(30);
    for (int n = 0; n < 10; n++) {
        pthread_t thread;
        void *result = NULL;
        atomic_store(&ready, 0);
        EXPECT(pthread_create(&thread, NULL, cancelled_already, NULL) == 0, "a thread to start");
        while (atomic_load(&ready) == 0)
            ;
        pthread_cancel(thread);
        atomic_store(&ready, 2);
        pthread_join(thread, &result);
        EXPECT(result == PTHREAD_CANCELED, "a cancelled thread");
        EXPECT(atomic_load(&done) == n + 1, "all the work done before the cancellation, round %d",
               n);
        free(malloc(100000));
    }
    return 0;
}
