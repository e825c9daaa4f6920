/*
 * forks.c - a server as they used to be: threads that allocate, and a child for each request
 *
 * What it prints depends on nothing but its input, so it is the same on every malloc.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 6
#define REQUESTS 40
#define ROUNDS 3000

struct node {
    struct node *left, *right;
    uint64_t key;
    char *name;
};

static struct node *insert(struct node *at, uint64_t key)
{
    if (!at) {
        at = calloc(1, sizeof *at);
        at->key = key;
        at->name = malloc(key % 200 + 24);
        snprintf(at->name, key % 200 + 24, "%llu", (unsigned long long)key);
    } else if (key < at->key) {
        at->left = insert(at->left, key);
    } else if (key > at->key) {
        at->right = insert(at->right, key);
    }
    return at;
}

static uint64_t fold(struct node *at)
{
    if (!at)
        return 1;
    uint64_t sum = fold(at->left) * 31 + strlen(at->name) + fold(at->right) * 17 + at->key;
    free(at->name);
    free(at);
    return sum;
}

static uint64_t work(uint64_t seed)
{
    struct node *tree = NULL;
    for (int i = 0; i < ROUNDS; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        tree = insert(tree, seed >> 20);
    }
    return fold(tree);
}

static atomic_bool stop;

static void *background(void *seed)
{
    uint64_t sum = 0;
    while (!atomic_load(&stop))
        sum += work((uint64_t)(uintptr_t)seed);
    return (void *)(uintptr_t)(sum != 0);
}

static void *once(void *seed)
{
    return (void *)(uintptr_t)work((uint64_t)(uintptr_t)seed);
}

static void serve(int request, int answer)
{
    pthread_t threads[2];
    uint64_t sums[3];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, once, (void *)(uintptr_t)(request * 10 + i));
    sums[2] = work((uint64_t)request);
    for (int i = 0; i < 2; i++) {
        void *sum;
        pthread_join(threads[i], &sum);
        sums[i] = (uint64_t)(uintptr_t)sum;
    }
    if (write(answer, sums, sizeof sums) != sizeof sums)
        _exit(2);
    exit(request % 5);
}

int main(void)
{
    pthread_t threads[THREADS];
    alarm(60);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, background, (void *)(uintptr_t)(i + 1));
    for (int request = 0; request < REQUESTS; request++) {
        uint64_t sums[3] = {0};
        int answer[2], status = 0;
        if (pipe(answer) != 0)
            return 1;
        pid_t pid = fork();
        if (pid == 0)
            serve(request, answer[1]);
        close(answer[1]);
        if (read(answer[0], sums, sizeof sums) != sizeof sums)
            printf("request %d was not answered\n", request);
        close(answer[0]);
        waitpid(pid, &status, 0);
        printf("%d %016llx %016llx %016llx %d %d\n", request, (unsigned long long)sums[0],
               (unsigned long long)sums[1], (unsigned long long)sums[2], WIFEXITED(status),
               WEXITSTATUS(status));
        fflush(stdout);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
