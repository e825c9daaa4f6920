/*
 * limits.h - filling memory up to a limit and freeing it again
 *
 * The blocks are chained through their own first words, so that the books of a fill cost nothing.
 */
#ifndef QUARRY_TESTS_LIMITS_H
#define QUARRY_TESTS_LIMITS_H

#include "contract.h"
#include <sys/resource.h>

struct link {
    struct link *next;
    size_t id;
};

struct fill {
    struct link *last;
    size_t blocks;
    size_t size;
};

/* Takes blocks of one size, every byte touched, until malloc says no or `most_bytes` are held. */
static inline void fill_up(struct fill *fill, size_t size, size_t most_bytes)
{
    fill->last = NULL;
    fill->blocks = 0;
    fill->size = size;
    while (fill->blocks * size < most_bytes) {
        errno = 0;
        struct link *block = (struct link *)malloc(size);
        if (!block) {
            EXPECT_ERRNO(ENOMEM, "malloc(%zu) at the limit, %zu blocks held", size, fill->blocks);
            return;
        }
        memset(block, 0x33, size);
        block->next = fill->last;
        block->id = fill->blocks++;
        fill->last = block;
    }
}

/* Frees the newest first, after looking at each: nobody else may have written there. */
static inline void free_all(struct fill *fill)
{
    struct link *block = fill->last;
    for (size_t id = fill->blocks; id-- > 0;) {
        struct link *next = block->next;
        EXPECT(block->id == id, "block %zu of %zu bytes untouched by others, came %#zx", id,
               fill->size, block->id);
        if (fill->size > sizeof *block)
            EXPECT(((unsigned char *)block)[fill->size - 1] == 0x33, "the last byte of block %zu",
                   id);
        free(block);
        block = next;
    }
    EXPECT(block == NULL, "%zu blocks in the chain, no more", fill->blocks);
}

/* Turns the chain round, so that the oldest blocks are freed first. */
static inline void free_all_oldest_first(struct fill *fill)
{
    struct link *turned = NULL, *block = fill->last;
    while (block) {
        struct link *next = block->next;
        block->next = turned;
        turned = block;
        block = next;
    }
    while (turned) {
        struct link *next = turned->next;
        free(turned);
        turned = next;
    }
}

/* A later fill may reach more than the first, never noticeably less. */
static inline bool as_much_as(size_t later, size_t first)
{
    return later >= first - first / 20;
}

static inline void limit_address_space(size_t bytes)
{
    struct rlimit limit;
    limit.rlim_cur = limit.rlim_max = bytes;
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        skip("RLIMIT_AS cannot be set: %s", strerror(errno));
}

static inline bool hardened(void)
{
    const char *value = getenv("QUARRY_HARDEN");
    return under_quarry() && value && *value && strcmp(value, "0") != 0;
}

#endif
