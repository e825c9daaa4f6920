/* Threads that allocate and free in all sizes, come and go: nothing stays as it is. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *churn(void *argument)
{
    void *held[64] = {NULL};
    unsigned seed = (unsigned)(size_t)argument;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245u + 12345u;
        unsigned place = seed >> 16 & 63;
        free(held[place]);
        held[place] = malloc((size_t)1 << (seed >> 8 & 15 & ~(seed >> 24 & 7)));
        if (round % 5000 == 0)
            free(malloc(6 << 20));
    }
    for (int i = 0; i < 64; i++)
        free(held[i]);
    return NULL;
}

int main(void)
{
    alarm(120);
    printf("ready\n");
    fflush(stdout);
    for (size_t round = 1;; round++) {
        pthread_t threads[3];
        for (size_t t = 0; t < 3; t++)
            if (pthread_create(&threads[t], NULL, churn, (void *)(round * 3 + t)) != 0)
                return 1;
        for (size_t t = 0; t < 3; t++)
            pthread_join(threads[t], NULL);
    }
}
