/*
 * contract.h - what every program of tests/contract shares
 *
 * Each program is plain: it is run with libquarry-malloc.so preloaded and says with its exit
 * status whether malloc kept its contract (0 kept, 1 broken, 77 cannot be tried here). It also
 * runs on the system's own malloc; the few checks that only Quarry promises ask under_quarry().
 *
 * Nothing here allocates, so that it can be used in signal handlers, in forked children and
 * when memory has run out.
 */
#ifndef QUARRY_TESTS_CONTRACT_H
#define QUARRY_TESTS_CONTRACT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The compiler is right that most of these programs misuse memory: that is their purpose. */
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-result"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Walloc-size-larger-than="
#ifndef __cplusplus
#pragma GCC diagnostic ignored "-Wuse-after-free"
#endif
#endif

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

#define STATUS_SKIP 77

/* EXPECT(p == NULL, "NULL from malloc(%zu)", n): stops the program, with one line, if it is not
 * so. */
#define EXPECT(condition, ...)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_at(__FILE__, __LINE__, #condition, __VA_ARGS__);                                  \
    } while (0)

#define EXPECT_ERRNO(wanted, ...)                                                                  \
    do {                                                                                           \
        int errno_now = errno;                                                                     \
        if (errno_now != (wanted))                                                                 \
            fail_errno_at(__FILE__, __LINE__, (wanted), errno_now, __VA_ARGS__);                   \
    } while (0)

/* One line to stderr. Not dprintf: that takes stdio's lock, which a fork may hold at this
 * moment. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char line[800];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (length > (int)sizeof line - 1)
        length = (int)sizeof line - 1;
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        _exit(1);
}

__attribute__((noreturn, format(printf, 4, 5))) static void
fail_at(const char *file, int line, const char *condition, const char *format, ...)
{
    char said[512];
    va_list args;
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    say("%s:%d: expected %s; not so: %s\n", file, line, said, condition);
    _exit(1);
}

__attribute__((noreturn, format(printf, 5, 6))) static void
fail_errno_at(const char *file, int line, int wanted, int came, const char *format, ...)
{
    char said[512];
    va_list args;
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    say("%s:%d: expected errno %s (%s); it was %s\n", file, line, strerrorname_np(wanted), said,
        came == 0 ? "unchanged (0)" : strerrorname_np(came));
    _exit(1);
}

__attribute__((noreturn, format(printf, 1, 2))) static void skip(const char *format, ...)
{
    char said[512];
    va_list args;
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    say("skipped: %s\n", said);
    _exit(STATUS_SKIP);
}

/* Hides a value from the optimiser, which otherwise removes a malloc and free that nobody uses. */
static inline void *opaque(void *pointer)
{
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

static inline size_t opaque_size(size_t size)
{
    __asm__ volatile("" : "+r"(size) : : "memory");
    return size;
}

static inline bool is_aligned(const void *pointer, size_t alignment)
{
    return ((uintptr_t)pointer & (alignment - 1)) == 0;
}

/* ---- which malloc is this? ---- */

static inline bool under_quarry(void)
{
    Dl_info info;
    void *entry = dlsym(RTLD_DEFAULT, "malloc");
    return entry && dladdr(entry, &info) && info.dli_fname && strstr(info.dli_fname, "quarry");
}

/* ---- a hang is a failure ---- */

static const char *deadline_file;

static void deadline_passed(int signal_number)
{
    (void)signal_number;
    say("%s:1: expected to end by itself; it hung (pid %d)\n", deadline_file, (int)getpid());
    _exit(1);
}

/* Alarms are not inherited by children: a forked child that can hang sets its own. */
static inline void deadline_at(const char *file, unsigned seconds)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    deadline_file = file;
    action.sa_handler = deadline_passed;
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}
#define deadline(seconds) deadline_at(__FILE__, (seconds))

/* ---- memory of this process ---- */

/* One line of /proc/self/status, in bytes; 0 if it is not there. */
static inline size_t status_bytes(const char *field)
{
    char text[4096];
    size_t used = 0;
    ssize_t got;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    while (used < sizeof text - 1 && (got = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)got;
    close(fd);
    text[used] = 0;
    char *line = strstr(text, field);
    return line ? (size_t)strtoul(line + strlen(field), NULL, 10) * 1024 : 0;
}

/* Resident memory without file pages, which come with code that runs for the first time. */
static inline size_t resident_bytes(void)
{
    return status_bytes("\nRssAnon:") + status_bytes("\nRssShmem:");
}

/* Address space that malloc does not know of: for the test's own books. Touched at once. */
static inline void *own_pages(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == MAP_FAILED)
        skip("no %zu bytes for the test's own books", bytes);
    return pages;
}

/* ---- numbers that repeat from run to run ---- */

static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = (*state += UINT64_C(0x9e3779b97f4a7c15));
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Sizes as programs ask for them: mostly small, now and then large; never above `most`. */
static inline size_t random_size(uint64_t *state, size_t most)
{
    unsigned bits = (unsigned)(next_random(state) % 64);
    size_t limit = bits < 40   ? 256
                   : bits < 56 ? 4 * KIB
                   : bits < 62 ? 64 * KIB
                   : bits < 63 ? 1 * MIB
                               : 6 * MIB;
    if (limit > most)
        limit = most;
    return (size_t)(next_random(state) % (limit + 1));
}

/* ---- the ownership oracle: a block's bytes follow from its address, its size and its id ---- */

static inline uint64_t pattern_word(const void *block, size_t size, uint64_t id, size_t index)
{
    uint64_t x = (uint64_t)(uintptr_t)block * UINT64_C(0x9e3779b97f4a7c15);
    x ^= (uint64_t)size * UINT64_C(0xc2b2ae3d27d4eb4f) + id * UINT64_C(0x165667b19e3779f9);
    return (x ^ (x >> 29)) + index * UINT64_C(0xd6e8feb86659fd93);
}

static inline void pattern_fill(void *block, size_t size, uint64_t id)
{
    unsigned char *bytes = (unsigned char *)block;
    size_t words = size / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t word = pattern_word(block, size, id, i);
        memcpy(bytes + 8 * i, &word, 8);
    }
    for (size_t at = words * 8; at < size; at++)
        bytes[at] = (unsigned char)(pattern_word(block, size, id, at) >> 56);
}

/* The first offset where the block no longer holds what was filled in, or -1. */
static inline ptrdiff_t pattern_broken(const void *block, size_t size, uint64_t id)
{
    const unsigned char *bytes = (const unsigned char *)block;
    size_t words = size / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, bytes + 8 * i, 8);
        if (word != pattern_word(block, size, id, i))
            return (ptrdiff_t)(8 * i);
    }
    for (size_t at = words * 8; at < size; at++)
        if (bytes[at] != (unsigned char)(pattern_word(block, size, id, at) >> 56))
            return (ptrdiff_t)at;
    return -1;
}

/* The first byte that is not zero, or -1. */
static inline ptrdiff_t first_nonzero(const void *block, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)block;
    if (size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0))
        return -1;
    for (size_t at = 0; at < size; at++)
        if (bytes[at] != 0)
            return (ptrdiff_t)at;
    return -1;
}

/* ---- running this program once more, under other limits ---- */

/* The stage is named in CONTRACT_STAGE; an unset one is the first run. */
static inline const char *stage(void)
{
    const char *name = getenv("CONTRACT_STAGE");
    return name ? name : "";
}

__attribute__((noreturn)) static inline void become_stage(const char *name, char **argv)
{
    setenv("CONTRACT_STAGE", name, 1);
    execv("/proc/self/exe", argv);
    skip("this program cannot run itself again: %s", strerror(errno));
}

/* Waits for a child; 0 if it ended with status 0, else says how it ended. */
static inline int child_failed(pid_t pid, char *how, size_t how_bytes)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            break;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status))
        snprintf(how, how_bytes, "signal %d (%s)", WTERMSIG(status),
                 sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(how, how_bytes, "exit status %d", WEXITSTATUS(status));
    return 1;
}

#endif
