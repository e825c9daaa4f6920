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

/* Does this line of smaps begin a mapping of Quarry's? They have no file, and lie in one window;
 * the program, its libraries and its stack lie terabytes away. -1: it begins none. */
static inline int begins_quarrys(const char *line, const void *block)
{
    char *end;
    uintptr_t start = (uintptr_t)strtoul(line, &end, 16);
    if (end == line || *end != '-')
        return -1;
    for (int field = 0; field < 4; field++) /* end, rights, offset, device: then the inode */
        end = strchr(end + 1, ' ');
    return strtoul(end, NULL, 10) == 0 && start / (1024 * GIB) == (uintptr_t)block / (1024 * GIB);
}

/* What is resident of Quarry's own mappings, metadata too; told without a call of malloc. */
static inline size_t quarry_resident_bytes(const void *block)
{
    static char text[32 * MIB];
    size_t used = 0, sum = 0;
    int ours = 0;
    ssize_t got;
    int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    EXPECT(fd >= 0, "smaps to be there");
    while (used < sizeof text - 1 && (got = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)got;
    close(fd);
    EXPECT(used < sizeof text - 1, "smaps to fit into %zu MiB", sizeof text / MIB);
    text[used] = 0;
    for (char *line = text; *line != 0; line = strchr(line, '\n') + 1) {
        int begins = begins_quarrys(line, block);
        ours = begins >= 0 ? begins : ours;
        if (ours > 0 && strncmp(line, "Rss:", 4) == 0)
            sum += strtoul(line + 4, NULL, 10) * KIB;
    }
    return sum;
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
