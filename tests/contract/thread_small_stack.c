/*
 * If this failed: threads with the smallest stack that the system allows would overflow it inside
 * malloc or free.
 */
#include "threads.h"
#include <limits.h>

static void *with_little_stack(void *n)
{
    for (size_t size = 1; size < 8 * MIB; size = size * 2 + (size_t)n) {
        char *block = malloc(size);
        EXPECT(block, "a block of %zu bytes", size);
        block[0] = block[size - 1] = 1;
        block = realloc(block, size + size / 2);
        EXPECT(block, "realloc to %zu", size + size / 2);
        free(block);
        free(calloc(1, size));
        free(memalign(4096, size));
    }
    malloc_trim(0);
    return NULL;
}

int main(void)
{
    pthread_attr_t attributes;
    size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    if (least < (size_t)PTHREAD_STACK_MIN)
        least = (size_t)PTHREAD_STACK_MIN;
    deadline(30);
    pthread_attr_init(&attributes);
    EXPECT(pthread_attr_setstacksize(&attributes, least) == 0, "a stack of %zu bytes", least);
    for (size_t n = 0; n < 50; n++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, &attributes, with_little_stack, (void *)n) == 0,
               "a thread with %zu bytes of stack", least);
        pthread_join(thread, NULL);
    }
    return 0;
}
