/*
 * threads.c - threads that start, do little, and end
 *
 * Stands for programs that start a thread per task. A thread makes OBJECTS objects of 16 .. 512
 * bytes, writes their first 8 bytes, frees them all and ends; ALIVE threads run at a time. What
 * decides is what an allocator sets up and tears down for a thread. OBJECTS 0 is the floor:
 * pthread_create and join alone.
 *
 *   threads COUNT OBJECTS ALIVE     an operation is one thread
 */
#include "bench.h"
#include <pthread.h>

#define MAX_OBJECTS 1024
#define MAX_ALIVE 64

static uint64_t n_objects;

static void *task(void *pointer)
{
    uint64_t rng = (uintptr_t)pointer, sum = 0;
    void *objects[MAX_OBJECTS];
    for (uint64_t i = 0; i < n_objects; i++) {
        size_t bytes = rng_size(&rng, 16, 512);
        objects[i] = take(bytes);
        touch(objects[i], bytes, TOUCH_FIRST, bytes);
    }
    for (uint64_t i = 0; i < n_objects; i++) {
        sum += peek(objects[i]);
        free(objects[i]);
    }
    return (void *)(uintptr_t)sum;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_count(argc, argv, 1, 20000);
    n_objects = arg(argc, argv, 2, 100);
    uint64_t alive = arg(argc, argv, 3, 4), sum = 0;
    if (n_objects > MAX_OBJECTS || !alive || alive > MAX_ALIVE)
        die("objects or alive out of range");

    pthread_t threads[MAX_ALIVE];
    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count + alive; i++) {
        void *result = NULL;
        if (i >= alive)
            pthread_join(threads[i % alive], &result);
        sum += (uintptr_t)result;
        if (i < count &&
            pthread_create(&threads[i % alive], NULL, task, (void *)(uintptr_t)(i + 1)))
            die("no thread");
    }
    report_ns("threads", start, count, sum);
    return 0;
}
