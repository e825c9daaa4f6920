/*
 * If this failed: a server that forks while its threads allocate would have children that hang in
 * malloc, because a lock was held by a thread that does not exist in the child.
 */
#include "threads.h"

#define THREADS 25
#define FORKS 40

static void *little_work(void *seed)
{
    void *blocks[CHURN_BLOCKS] = {NULL};
    size_t sizes[CHURN_BLOCKS] = {0};
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (int i = 0; i < 100; i++)
        churn_step(blocks, sizes, &state);
    for (size_t i = 0; i < CHURN_BLOCKS; i++)
        free(blocks[i]);
    return NULL;
}

__attribute__((noreturn)) static void in_child(int n, char *inherited)
{
    deadline(20);
    EXPECT(pattern_broken(inherited, 1000, 7) < 0, "the parent's block in the child");
    free(inherited);
    little_work((void *)(uintptr_t)(n + 1000));
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        EXPECT(pthread_create(&threads[i], NULL, little_work, (void *)(i + 5)) == 0,
               "a thread of the child to start");
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    malloc_trim(0);
    /* A child may fork again. */
    pid_t grandchild = n % 5 ? 0 : fork();
    if (n % 5 == 0) {
        char how[64];
        if (grandchild == 0) {
            alarm(10);
            little_work((void *)(uintptr_t)9);
            _exit(0);
        }
        EXPECT(!child_failed(grandchild, how, sizeof how), "the grandchild to end with 0, came %s",
               how);
    }
    if (n % 2)
        exit(0);
    _exit(0);
}

int main(void)
{
    pthread_t threads[THREADS];
    char how[64];
    deadline(100);
    churn_start(threads, THREADS);
    for (int n = 0; n < FORKS; n++) {
        char *inherited = malloc(1000);
        pattern_fill(inherited, 1000, 7);
        pid_t pid = fork();
        EXPECT(pid >= 0, "fork %d", n);
        if (pid == 0)
            in_child(n, inherited);
        EXPECT(!child_failed(pid, how, sizeof how), "child %d to end with 0, came %s", n, how);
        EXPECT(pattern_broken(inherited, 1000, 7) < 0, "the parent's block after the child's free");
        free(inherited);
    }
    churn_end(threads, THREADS);
    return 0;
}
