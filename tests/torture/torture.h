/*
 * torture.h - everything that one memory can be used for, at random and at once
 *
 * Actors are threads. Each takes random steps of all kinds; a kind is a file here. What an actor
 * put into memory it checks whenever it touches it again: each page, and each block, is filled
 * from a key. Every few moments all actors park, and the rules of all layers are checked.
 */
#ifndef QUARRY_TESTS_TORTURE_H
#define QUARRY_TESTS_TORTURE_H

#include "memory.h"
#include "random.h"

#include <quarry/cma.h>
#include <quarry/space.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ACTORS 8
#define KINDS 5
#define REGIONS 3

struct actor {
    unsigned number;
    struct random random;
    const char *_Atomic doing;     /* for the watchdog */
    _Atomic uint64_t steps[KINDS]; /* and for the figures at the end */
    uint64_t refused[KINDS];       /* there was no memory, or the host failed */
    void *own[KINDS];              /* what each kind keeps for it */
};

/** Something that can be done with a memory. */
struct kind {
    const char *name;
    unsigned weight;               /* how often, of the sum of all */
    void (*prepare)(void);         /* before the actors; NULL: nothing to do */
    void (*begin)(struct actor *); /* in the actor's thread, as the next two */
    bool (*step)(struct actor *);  /* false: refused */
    void (*end)(struct actor *);   /* gives everything back */
    void (*finish)(void);          /* after the actors; NULL: nothing to do */
};

extern const struct kind heap_kind, pages_kind, area_kind, file_kind, region_kind;

struct world {
    struct qy_mm *mm;
    struct qy_space *space;
    struct qy_cma *region[REGIONS]; /* by policy */
    uint64_t seed;
    _Atomic bool lean; /* actors rather give than take: memory fills up and empties */
    _Atomic bool
        calls_fail; /* of the port, now and then: what must work otherwise may be refused */
};

extern struct world world;

static inline void doing(struct actor *actor, const char *what)
{
    atomic_store_explicit(&actor->doing, what, memory_order_relaxed);
}

/** Nothing is to be taken now. */
static inline bool holds_back(struct actor *actor)
{
    return atomic_load_explicit(&world.lean, memory_order_relaxed) &&
           !random_one_in(&actor->random, 8);
}

/** Signals of accesses that cannot be served come to touch_page() from now on: area.c. */
void catch_faults(void);
/** Fill a page by a pointer, or verify it. False: the access was not possible; half of it may be
 *  filled. */
bool touch_page(char *at, uint64_t key, bool write, const char *what);

/** What nobody else draws. Never 0. */
static inline uint64_t new_key(struct actor *actor)
{
    return (random_next(&actor->random) & ~UINT64_C(0xff)) | actor->number | 0x80;
}

/** Word i of what is filled with a key; of key 0: zero. */
static inline uint64_t word_of(uint64_t key, uint64_t i)
{
    return key == 0 ? 0 : i == 0 ? key : (key ^ i) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline void fill(void *at, size_t bytes, uint64_t key)
{
    uint64_t *words = at;
    for (size_t i = 0; i < bytes / 8; i++)
        words[i] = word_of(key, i);
    uint64_t last = word_of(key, bytes / 8);
    memcpy(words + bytes / 8, &last, bytes % 8);
}

/** Byte at which it differs; @bytes: nowhere. */
static inline size_t differs(const void *at, size_t bytes, uint64_t key)
{
    const uint64_t *words = at;
    for (size_t i = 0; i < bytes / 8; i++)
        if (words[i] != word_of(key, i))
            return i * 8;
    uint64_t last = word_of(key, bytes / 8);
    return memcmp(words + bytes / 8, &last, bytes % 8) == 0 ? bytes : bytes / 8 * 8;
}

static inline void verify(const void *at, size_t bytes, uint64_t key, const char *what)
{
    size_t byte = differs(at, bytes, key);
    if (byte < bytes)
        test_fail("%s at %p, %zu bytes, key %llx: byte %zu is of %llx", what, at, bytes,
                  (unsigned long long)key, byte,
                  (unsigned long long)((const uint64_t *)at)[byte / 8]);
}

/** @code is 0 or one of the errors that are allowed here; true: it is 0. */
static inline bool allowed(const char *what, int code, int one, int other)
{
    if (code != 0 && code != one && code != other)
        test_fail("%s returned %d", what, code);
    return code == 0;
}

#endif
