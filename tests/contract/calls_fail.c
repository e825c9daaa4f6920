/*
 * If this failed: when the kernel refuses one mmap, mprotect, madvise, munmap or mremap, at
 * whatever moment, the program would crash instead of seeing NULL, or would never recover.
 */
#include "failing_calls.h"

#define BLOCKS 400

static const struct {
    const char *name;
    int call;
} calls[] = {
    {"mmap", SYS_mmap},           {"munmap", SYS_munmap},   {"mprotect", SYS_mprotect},
    {"mremap", SYS_mremap},       {"madvise", SYS_madvise}, {"ftruncate", SYS_ftruncate},
    {"fallocate", SYS_fallocate},
};

static bool once; /* one call fails, so that a second try must succeed */
static void *blocks[BLOCKS];
static size_t sizes[BLOCKS];

static void *resized(void *block, size_t size, size_t how)
{
    if (block)
        return realloc(block, size);
    if (how % 3 == 0)
        return memalign((size_t)4096 << how % 10, size);
    if (how % 3 == 1)
        return calloc(1, size);
    return malloc(size);
}

static void place(size_t i, size_t size)
{
    size_t had = blocks[i] ? sizes[i] : 0;
    for (int tries = 0; tries < 2; tries++) {
        errno = 0;
        unsigned char *block = resized(blocks[i], size, i);
        if (block) {
            size_t kept = had < size ? had : size;
            for (size_t at = 0; at < kept; at += kept / 64 + 1)
                EXPECT(block[at] == (unsigned char)(i + 1), "byte %zu of %zu kept", at, kept);
            if (!had && i % 3 == 1)
                EXPECT(first_nonzero(block, size) < 0, "zeroes from calloc of %zu", size);
            memset(block, (int)(i + 1), size);
            blocks[i] = block;
            sizes[i] = size;
            return;
        }
        EXPECT_ERRNO(ENOMEM, "an allocation of %zu bytes that failed", size);
        EXPECT(!once || tries == 0, "%zu bytes at the second try", size);
        if (!once)
            return;
    }
}

static void drop(size_t i)
{
    if (!blocks[i])
        return;
    for (size_t at = 0; at < sizes[i]; at += sizes[i] / 64 + 1)
        EXPECT(((unsigned char *)blocks[i])[at] == (unsigned char)(i + 1), "byte %zu of %zu kept",
               at, sizes[i]);
    errno = EXDEV;
    free(blocks[i]);
    EXPECT_ERRNO(EXDEV, "free(%zu bytes)", sizes[i]);
    blocks[i] = NULL;
}

static size_t fresh_size(size_t i)
{
    if (i == 200)
        return 5 * MIB;
    return i % 40 == 0 ? (i + 1) * 5 * KIB : i % 7 == 0 ? i * 100 + 1 : i + 1;
}

/* Small, middle and large blocks come, grow, shrink and go; memory is given back in between. */
static void work(void)
{
    uint64_t state = 5;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < BLOCKS; i++)
            place(i, fresh_size(i));
        for (size_t i = 0; i < BLOCKS; i += 20)
            if (blocks[i])
                place(i, sizes[i] * 2);
        for (size_t i = 0; i < BLOCKS; i += 2)
            drop((size_t)(next_random(&state) % BLOCKS));
        malloc_trim(0);
        for (size_t i = 0; i < BLOCKS; i += 40)
            if (blocks[i])
                place(i, sizes[i] / 3 + 1);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        drop(i);
    malloc_trim(0);
}

/* In the child, before constructors: even the heap's first steps may be refused. */
static void cold_start(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv;
    for (char **entry = environment; *entry; entry++)
        if (strncmp(*entry, "CONTRACT_STAGE=cold ", 20) == 0) {
            char *end;
            int call = (int)strtol(*entry + 20, &end, 10);
            ask_for_call(call, (int)strtol(end, NULL, 10));
        }
}

__attribute__((section(".preinit_array"), used)) static void (*const hook)(int, char **,
                                                                           char **) = cold_start;

static pid_t start_child(int call, bool cold, int channel[2], char **argv)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    close(channel[0]);
    deadline(60);
    if (cold) {
        char name[64];
        snprintf(name, sizeof name, "cold %d %d %s", call, channel[1], once ? "once" : "on");
        become_stage(name, argv);
    }
    ask_for_call(call, channel[1]);
    work();
    _exit(0);
}

/* Returns how many calls the child made; fails if it did not end well. */
static unsigned long one_run(size_t which, unsigned long nth, bool cold, char **argv)
{
    char how[64];
    int channel[2];
    unsigned long count = 0;
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, channel) == 0, "a socket pair");
    pid_t pid = start_child(calls[which].call, cold, channel, argv);
    EXPECT(pid > 0, "fork");
    close(channel[1]);
    int listener = receive_listener(channel[0]);
    close(channel[0]);
    if (listener >= 0) {
        count = answer_calls(listener, nth, once ? nth : (unsigned long)-1);
        close(listener);
    }
    int failed = child_failed(pid, how, sizeof how);
    if (failed && strcmp(how, "exit status 77") == 0)
        _exit(STATUS_SKIP);
    EXPECT(!failed, "a clean end when %s %s number %lu fails%s, came %s",
           once ? "only" : "from then on", calls[which].name, nth, cold ? " at start-up" : "", how);
    return count;
}

int main(int argc, char **argv)
{
    (void)argc;
    if (strncmp(stage(), "cold ", 5) == 0) {
        once = strstr(stage(), "once") != NULL;
        work();
        return 0;
    }
    deadline(400);
    for (int mode = 0; mode < 4; mode++) {
        once = mode % 2;
        for (size_t which = 0; which < sizeof calls / sizeof calls[0]; which++) {
            unsigned long nth = 1;
            /* Each of the first 16, then ever fewer. */
            while (one_run(which, nth, mode / 2, argv) >= nth)
                nth += nth < 16 ? 1 : nth / 3;
        }
    }
    return 0;
}
