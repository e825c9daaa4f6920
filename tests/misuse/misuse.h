/*
 * misuse.h - one mistake a case, many cases a program
 *
 *     PROGRAM         lists its cases: NAME DEFAULT HARDENED FAULTS
 *     PROGRAM NAME    makes the mistake, then looks for what an attacker could have gained
 *
 * A case ends in one of four ways: killed with a message that names the fault (stopped); status
 * 0, since nothing exploitable came of it (harmless); status 3 (exploitable: a block given
 * twice, a pointer from outside of the heap, calloc memory that is not zero); anything else is
 * a crash. DEFAULT and HARDENED say what must happen at least, FAULTS which words may name it.
 */
#ifndef QUARRY_TESTS_MISUSE_H
#define QUARRY_TESTS_MISUSE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

#define STATUS_EXPLOITABLE 3

/* What must happen at least. Trapped: the processor stops it, and Quarry has nothing to say. */
#define STOPPED "stopped"
#define TRAPPED "trapped"
#define HARMLESS "harmless"
/* By default nothing sees it: free has 18 instructions, enough to ask whether the block was the
 * last of its size to be freed, not whether it is free at all, or a block's start. With
 * QUARRY_CHECK=1, and hardened, all is seen. */
#define UNSEEN "unseen"

#define DOUBLE_FREE "double free"
#define FREED_BEFORE "double free|use after free|invalid free"
#define PAGES_FREED "double free|use after free|invalid free|foreign free"
#define NOT_A_START "interior free|misaligned free|invalid free"
#define NOT_OURS "foreign free|misaligned free|invalid free"
#define NO_START_TO_MOVE "interior realloc|misaligned realloc|invalid realloc"
#define NOT_OURS_TO_MOVE "foreign realloc|misaligned realloc|invalid realloc"
#define WRONG_SIZE "wrong size free|invalid free|misaligned free"
#define OVERFLOW "overflow"
#define UNDERFLOW "underflow|overflow"
#define WRITTEN_AFTER "use after free"

struct misuse {
    const char *name;
    void (*make)(void);
    const char *in_default, *hardened, *faults;
};

/* Memory from outside of the heap, in which an attacker would like blocks to be. */
static uint64_t decoy[512] __attribute__((aligned(4096)));

static inline void *block_of(size_t size)
{
    void *block = malloc(size);
    if (!block)
        _exit(4);
    memset(block, 0x41, size);
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

static inline void exploitable(const char *what)
{
    printf("exploitable: %s\n", what);
    fflush(stdout);
    _exit(STATUS_EXPLOITABLE);
}

static inline void refuse_outside(const void *block, size_t size)
{
    uintptr_t start = (uintptr_t)block, low = (uintptr_t)decoy,
              here = (uintptr_t)__builtin_frame_address(0);
    if (start < low + sizeof decoy && start + size > low)
        exploitable("malloc returned a pointer that the program itself had planted");
    if (start > here - 64 * KIB && start < here + 64 * KIB)
        exploitable("malloc returned a pointer into the stack");
}

/* Takes many blocks of a size, all alive at once, and asks whether any two are the same memory. */
static inline void nothing_exploitable(size_t size)
{
    enum {
        MOST = 6000
    };
    static unsigned char *blocks[MOST];
    static size_t count;
    size_t room = size < 16 ? 16 : size;
    count = 24 * MIB / room;
    count = count > MOST ? MOST : count < 6 ? 6 : count;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < count; i++) {
            blocks[i] = (unsigned char *)(i % 3 == 1 ? calloc(1, size) : malloc(size));
            if (!blocks[i])
                _exit(4);
            refuse_outside(blocks[i], size);
            for (size_t at = 0; i % 3 == 1 && at < size; at++)
                if (blocks[i][at] != 0)
                    exploitable("calloc returned memory that is not zero");
            memset(blocks[i], (int)(i & 0xff), size);
            memcpy(blocks[i], &i, size < sizeof i ? size : sizeof i);
        }
        for (size_t i = 0; i < count; i++) {
            if (memcmp(blocks[i], &i, size < sizeof i ? size : sizeof i) != 0)
                exploitable("malloc gave one block to two owners");
            if (size > sizeof i && blocks[i][size - 1] != (i & 0xff))
                exploitable("malloc gave overlapping blocks");
        }
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
        malloc_trim(0);
    }
}

static inline void in_thread(void *(*work)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, argument) != 0)
        _exit(4);
    pthread_join(thread, NULL);
}

/* free as another thread would call it. */
static inline void *free_it(void *block)
{
    free(block);
    return NULL;
}

static inline int run_cases(const struct misuse *cases, size_t count, int argc, char **argv)
{
    for (size_t i = 0; i < count; i++) {
        const struct misuse *one = &cases[i];
        if (argc < 2)
            printf("%s %s %s %s\n", one->name, one->in_default, one->hardened, one->faults);
        else if (strcmp(one->name, argv[1]) == 0) {
            one->make();
            return 0;
        }
    }
    return argc < 2 ? 0 : 4;
}

#define MAIN(cases)                                                                                \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return run_cases(cases, sizeof(cases) / sizeof(cases)[0], argc, argv);                     \
    }

#endif
