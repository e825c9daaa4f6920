/*
 * If this failed: programs that free, or still allocate, in atexit handlers, destructors and
 * stream buffers would crash on their way out, after all their work was done.
 */
#include "last_of_all.h"

static char *from_constructor, *from_main;

static void work(const char *where)
{
    for (size_t size = 1; size < 2 * MIB; size *= 3) {
        char *block = malloc(size);
        EXPECT(block, "a block of %zu bytes in %s", size, where);
        memset(block, 1, size);
        block = realloc(block, size * 2);
        EXPECT(block, "realloc to %zu in %s", size * 2, where);
        free(block);
    }
}

__attribute__((constructor(101))) static void first_constructor(void)
{
    work("a constructor");
    from_constructor = malloc(5000);
    pattern_fill(from_constructor, 5000, 1);
}

/* Runs before the destructors of the libraries, malloc's own among them. */
__attribute__((destructor(101))) static void last_destructor(void)
{
    EXPECT(pattern_broken(from_constructor, 5000, 1) < 0,
           "the constructor's block in the destructor");
    free(from_constructor);
    work("a destructor");
}

static void last_of_all(int status, void *unused)
{
    (void)status, (void)unused;
    work("a handler after all destructors");
}

static void handler(void)
{
    EXPECT(pattern_broken(from_main, 300000, 2) < 0, "main's block in an atexit handler");
    free(from_main);
    work("an atexit handler");
    malloc_trim(0);
}

static void last_handler(void)
{
    work("the last atexit handler");
}

static int run_child(bool by_return)
{
    atexit(last_handler);
    for (int i = 0; i < 40; i++)
        atexit(last_handler);
    atexit(handler);
    from_main = malloc(300000);
    pattern_fill(from_main, 300000, 2);
    /* Streams that are still open are flushed, and their buffers freed, by exit. */
    FILE *out = fopen("/dev/null", "w");
    fprintf(out, "%d\n", 1);
    if (!by_return)
        exit(0);
    return 0;
}

int main(int argc, char **argv)
{
    char how[64];
    (void)argc;
    deadline(30);
    if (strcmp(stage(), "return") == 0)
        return run_child(true);
    if (strcmp(stage(), "exit") == 0)
        return run_child(false);
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        if (pid == 0)
            become_stage(i ? "return" : "exit", argv);
        EXPECT(!child_failed(pid, how, sizeof how), "status 0 when leaving by %s, came %s",
               i ? "return" : "exit", how);
    }
    /* This first process leaves by _exit, so that its own handlers decide nothing. */
    _exit(0);
}
