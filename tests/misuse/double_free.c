/*
 * If these were not stopped: a block freed twice would be given to two owners, the most used of
 * all ways to take over a program.
 */
#include "misuse.h"

static void twice(size_t size)
{
    void *p = block_of(size);
    free(p);
    free(p);
    nothing_exploitable(size);
}

static void tiny(void)
{
    twice(1);
}
static void small(void)
{
    twice(64);
}
static void middle(void)
{
    twice(1000);
}
static void page(void)
{
    twice(4096);
}
static void top_class(void)
{
    twice(32 * KIB);
}
static void large(void)
{
    twice(100 * KIB);
}
static void one_mib(void)
{
    twice(MIB);
}
static void huge(void)
{
    twice(9 * MIB);
}

/* Others freed in between hide the first free from a check of the newest alone. */
static void after_others(size_t size, size_t others)
{
    static void *between[2000];
    void *p = block_of(size);
    for (size_t i = 0; i < others; i++)
        between[i] = block_of(size);
    free(p);
    for (size_t i = 0; i < others; i++)
        free(between[i]);
    free(p);
    nothing_exploitable(size);
}

static void after_1(void)
{
    after_others(48, 1);
}
static void after_10(void)
{
    after_others(48, 10);
}
static void after_100(void)
{
    after_others(200, 100);
}
static void after_2000(void)
{
    after_others(80, 2000);
}
static void large_after_10(void)
{
    after_others(200 * KIB, 10);
}

static void after_other_sizes(void)
{
    void *p = block_of(64);
    free(p);
    for (size_t size = 100; size < 3000; size += 100)
        free(block_of(size));
    free(p);
    nothing_exploitable(64);
}

static void by_other_thread(void)
{
    void *p = block_of(64);
    free(p);
    in_thread(free_it, p);
    nothing_exploitable(64);
}

static void after_other_thread(void)
{
    void *p = block_of(64);
    in_thread(free_it, p);
    free(p);
    nothing_exploitable(64);
}

static void by_two_threads(void)
{
    void *p = block_of(300);
    in_thread(free_it, p);
    in_thread(free_it, p);
    nothing_exploitable(300);
}

static void large_by_other_thread(void)
{
    void *p = block_of(300 * KIB);
    in_thread(free_it, p);
    free(p);
    nothing_exploitable(300 * KIB);
}

static void after_realloc_moved(void)
{
    void *p = block_of(100);
    void *q = realloc(p, 5000);
    free(p);
    nothing_exploitable(100);
    free(q);
}

static void after_realloc_large(void)
{
    void *p = block_of(100 * KIB), *wall = block_of(100 * KIB);
    void *q = realloc(p, 7 * MIB);
    free(q);
    free(p);
    nothing_exploitable(100 * KIB);
    free(wall);
}

/* Shrunk in place or moved: one of the two frees is the second one. */
static void after_realloc_shrunk(void)
{
    void *p = block_of(3000);
    void *q = realloc(p, 100);
    free(q);
    free(p);
    nothing_exploitable(100);
}

static void after_realloc_zero(void)
{
    void *p = block_of(128);
    (void)!realloc(p, 0);
    free(p);
    nothing_exploitable(128);
}

static void of_calloc(void)
{
    void *p = calloc(10, 10);
    free(p);
    free(p);
    nothing_exploitable(100);
}

static void of_aligned(void)
{
    void *p = aligned_alloc(256, 512);
    free(p);
    free(p);
    nothing_exploitable(512);
}

static void of_aligned_large(void)
{
    void *p = memalign(2 * MIB, 3 * MIB);
    free(p);
    free(p);
    nothing_exploitable(3 * MIB);
}

/* The block was given out again in between, so that the second free is the new owner's. */
static void after_reuse(void)
{
    void *p = block_of(64), *again[200];
    free(p);
    for (int i = 0; i < 200; i++)
        again[i] = block_of(64);
    for (int i = 0; i < 200; i++)
        free(again[i]);
    free(p);
    nothing_exploitable(64);
}

static void after_trim(void)
{
    void *p = block_of(64);
    free(p);
    malloc_trim(0);
    free(p);
    nothing_exploitable(64);
}

static void large_after_trim(void)
{
    void *p = block_of(3 * MIB);
    free(p);
    malloc_trim(0);
    free(p);
    nothing_exploitable(3 * MIB);
}

/* A child's message is the same; its end is passed on. */
static void end_as_child_did(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        kill(getpid(), WTERMSIG(status));
    _exit(WEXITSTATUS(status));
}

static void in_child(void)
{
    void *p = block_of(64);
    pid_t pid = fork();
    if (pid == 0) {
        free(p);
        free(p);
        nothing_exploitable(64);
        _exit(0);
    }
    end_as_child_did(pid);
}

static void freed_before_fork(void)
{
    void *p = block_of(64);
    free(p);
    pid_t pid = fork();
    if (pid == 0) {
        free(p);
        nothing_exploitable(64);
        _exit(0);
    }
    end_as_child_did(pid);
}

static void realloc_freed(void)
{
    void *p = block_of(64);
    free(p);
    void *q = realloc(p, 100);
    nothing_exploitable(64);
    free(q);
}

static void realloc_freed_large(void)
{
    void *p = block_of(500 * KIB);
    free(p);
    void *q = realloc(p, 600 * KIB);
    nothing_exploitable(500 * KIB);
    free(q);
}

static void size_of_freed(void)
{
    void *p = block_of(64);
    free(p);
    if (malloc_usable_size(p) > 64 * KIB)
        exploitable("a usable size for a freed block that leads outside of it");
    nothing_exploitable(64);
}

static void size_of_freed_large(void)
{
    void *p = block_of(MIB);
    free(p);
    malloc_trim(0);
    if (malloc_usable_size(p) > 4 * MIB)
        exploitable("a usable size for a freed block that leads outside of it");
    nothing_exploitable(MIB);
}

static const struct misuse cases[] = {
    {"tiny", tiny, STOPPED, STOPPED, DOUBLE_FREE},
    {"small", small, STOPPED, STOPPED, DOUBLE_FREE},
    {"middle", middle, STOPPED, STOPPED, DOUBLE_FREE},
    {"page", page, STOPPED, STOPPED, DOUBLE_FREE},
    {"top-class", top_class, STOPPED, STOPPED, DOUBLE_FREE},
    {"large", large, STOPPED, STOPPED, PAGES_FREED},
    {"one-mib", one_mib, STOPPED, STOPPED, PAGES_FREED},
    {"huge", huge, STOPPED, STOPPED, PAGES_FREED},
    {"after-1-other", after_1, UNSEEN, STOPPED, DOUBLE_FREE},
    {"after-10-others", after_10, UNSEEN, STOPPED, DOUBLE_FREE},
    {"after-100-others", after_100, UNSEEN, STOPPED, DOUBLE_FREE},
    {"after-2000-others", after_2000, UNSEEN, STOPPED, FREED_BEFORE},
    {"large-after-10-others", large_after_10, STOPPED, STOPPED, PAGES_FREED},
    {"after-other-sizes", after_other_sizes, STOPPED, STOPPED, DOUBLE_FREE},
    {"by-other-thread", by_other_thread, UNSEEN, STOPPED, DOUBLE_FREE},
    {"after-other-thread", after_other_thread, UNSEEN, STOPPED, DOUBLE_FREE},
    {"by-two-threads", by_two_threads, STOPPED, STOPPED, DOUBLE_FREE},
    {"large-by-other-thread", large_by_other_thread, STOPPED, STOPPED, PAGES_FREED},
    {"after-realloc-moved", after_realloc_moved, STOPPED, STOPPED, DOUBLE_FREE},
    {"after-realloc-large", after_realloc_large, STOPPED, STOPPED, PAGES_FREED},
    {"after-realloc-shrunk", after_realloc_shrunk, STOPPED, STOPPED, DOUBLE_FREE},
    {"after-realloc-zero", after_realloc_zero, STOPPED, STOPPED, DOUBLE_FREE},
    {"of-calloc", of_calloc, STOPPED, STOPPED, DOUBLE_FREE},
    {"of-aligned", of_aligned, STOPPED, STOPPED, DOUBLE_FREE},
    {"of-aligned-large", of_aligned_large, STOPPED, STOPPED, PAGES_FREED},
    {"after-reuse", after_reuse, UNSEEN, STOPPED, DOUBLE_FREE},
    {"after-trim", after_trim, STOPPED, STOPPED, PAGES_FREED},
    {"large-after-trim", large_after_trim, STOPPED, STOPPED, PAGES_FREED},
    {"in-child", in_child, STOPPED, STOPPED, DOUBLE_FREE},
    {"freed-before-fork", freed_before_fork, STOPPED, STOPPED, DOUBLE_FREE},
    {"realloc-of-freed", realloc_freed, STOPPED, STOPPED, FREED_BEFORE},
    {"realloc-of-freed-large", realloc_freed_large, STOPPED, STOPPED, PAGES_FREED},
    {"size-of-freed", size_of_freed, HARMLESS, STOPPED, FREED_BEFORE},
    {"size-of-freed-large", size_of_freed_large, HARMLESS, STOPPED, PAGES_FREED},
};

MAIN(cases)
