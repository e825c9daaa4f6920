/*
 * fuzz_slab.c - bytes become caches and a history of objects
 *
 * Wrong if it failed: there is a short history after which two objects overlap, an object
 * lost its content, an object's count is wrong, a rule is broken, or memory was lost.
 */
#include "memory.h"

#include "memory/mm.h"

#include <quarry/slab.h>

#include <errno.h>
#include <string.h>

#define MOST_LIVE 256
#define NR_CACHES 3
#define FRAMES_BYTES (16 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct input {
    const uint8_t *at, *end;
};

struct live {
    unsigned char *at;
    size_t bytes;
    int cache; /* -1: kmalloc's */
    unsigned char pattern;
};

static struct test_memory memory;
static struct qy_kmem_cache *caches[NR_CACHES];
static size_t cache_bytes[NR_CACHES], live_of[NR_CACHES];
static struct live lives[MOST_LIVE];
static size_t nr_lives;
static uint8_t stamps;

static unsigned next(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static void create(struct input *input, int which)
{
    static const char *const names[NR_CACHES] = {"first", "second", "third"};
    uint32_t flags = next(input) & QY_SLAB_MASK;
    size_t align = (size_t)1 << next(input) % 13;
    struct qy_error error = {0};

    cache_bytes[which] = 1 + next(input) + 40 * (size_t)(next(input) % 64);
    caches[which] = qy_kmem_cache_create(memory.mm, names[which], cache_bytes[which], align, flags,
                                         NULL, &error);
    if (!caches[which] && error.code != -ENOMEM)
        test_fail("cache of %zu bytes, align %zu, flags %#x: %s", cache_bytes[which], align, flags,
                  error.text);
    live_of[which] = 0;
}

static void keep(unsigned char *at, size_t bytes, int cache)
{
    struct live *live = &lives[nr_lives++];

    if (at < (unsigned char *)memory.frames ||
        at + bytes > (unsigned char *)memory.frames + FRAMES_BYTES)
        test_fail("an object lies outside the memory");
    for (size_t i = 0; i + 1 < nr_lives; i++)
        if (at < lives[i].at + lives[i].bytes && lives[i].at < at + bytes)
            test_fail("two objects overlap");
    *live = (struct live){at, bytes, cache, ++stamps};
    memset(at, live->pattern, bytes);
    if (cache >= 0)
        live_of[cache]++;
}

static void look(const struct live *live, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (live->at[i] != live->pattern)
            test_fail("byte %zu of a live object of %zu was changed", i, live->bytes);
}

static void take(struct input *input)
{
    unsigned what = next(input);
    int cache = (int)(what % (NR_CACHES + 2));
    qy_gfp_t gfp = QY_GFP_KERNEL | (what & 128 ? QY_GFP_ZERO : 0);
    size_t bytes;
    unsigned char *at;

    if (cache < NR_CACHES) {
        bytes = cache_bytes[cache];
        at = caches[cache] ? qy_kmem_cache_alloc(caches[cache], gfp) : NULL;
    } else {
        cache = -1;
        bytes = 1 + next(input) + (size_t)next(input) * (what & 64 ? 2000 : 4);
        at = what & 32 ? qy_kmalloc_aligned(memory.mm, bytes, (size_t)1 << what % 16, gfp)
                       : qy_kmalloc(memory.mm, bytes, gfp);
    }
    if (at == NULL)
        return;
    for (size_t i = 0; i < bytes && gfp & QY_GFP_ZERO; i++)
        if (at[i] != 0)
            test_fail("byte %zu of a cleared object of %zu is not zero", i, bytes);
    keep(at, bytes, cache);
}

static void give(struct input *input)
{
    unsigned which = next(input) % (unsigned)nr_lives;
    struct live live = lives[which];

    look(&live, live.bytes);
    lives[which] = lives[--nr_lives];
    if (live.cache >= 0)
        live_of[live.cache]--;
    if ((live.cache >= 0 ? qy_kmem_cache_free(caches[live.cache], live.at)
                         : qy_kfree(memory.mm, live.at)) != 0)
        test_fail("a right free was refused");
}

static void change_size(struct input *input)
{
    struct live *live = &lives[next(input) % nr_lives];
    size_t bytes = 1 + next(input) + (size_t)next(input) * 40;

    if (live->cache >= 0)
        return;
    look(live, live->bytes);
    unsigned char *at = qy_krealloc(memory.mm, live->at, bytes, QY_GFP_KERNEL);
    if (at == NULL)
        return;
    live->at = at;
    look(live, bytes < live->bytes ? bytes : live->bytes);
    struct live changed = *live;
    *live = lives[--nr_lives];
    keep(changed.at, bytes, -1);
}

static void destroy(struct input *input, int which)
{
    size_t live = SIZE_MAX;

    if (caches[which] != NULL) {
        int code = qy_kmem_cache_destroy(caches[which], &live);
        if (live != live_of[which] || code != (live ? -EBUSY : 0))
            test_fail("cache %d: destroy says %d and %zu live, %zu are", which, code, live,
                      live_of[which]);
        if (code != 0)
            return;
    }
    create(input, which);
}

static void step(struct input *input)
{
    unsigned what = next(input);

    if (what < 8)
        destroy(input, (int)(what % NR_CACHES));
    else if (what < 16 && caches[what % NR_CACHES])
        qy_kmem_cache_shrink(caches[what % NR_CACHES]);
    else if (what < 32 && nr_lives > 0)
        change_size(input);
    else if (what % 2 == 0 && nr_lives > 0)
        give(input);
    else if (nr_lives < MOST_LIVE)
        take(input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, data + bytes};
    struct input none = {data, data};

    nr_lives = 0;
    stamps = 0;
    test_memory_simple(&memory, 4 * GIB, FRAMES_BYTES, true);
    test_make_classes(memory.mm);
    uint64_t before = test_frames_in_use(memory.mm);
    for (int i = 0; i < NR_CACHES; i++)
        create(&input, i);
    for (unsigned i = 0; input.at < input.end && i < 500; i++) {
        step(&input);
        if (i % 32 == 31)
            test_rules(memory.mm);
    }
    while (nr_lives > 0)
        give(&none);
    for (int i = 0; i < NR_CACHES; i++)
        if (caches[i] && qy_kmem_cache_destroy(caches[i], NULL) != 0)
            test_fail("cache %d: objects are left over", i);
    uint64_t after = test_frames_in_use(memory.mm);
    if (after != before)
        test_fail("%lld frames were lost", (long long)(after - before));
    if (memory.mm->nr_faults != 0)
        test_fail("a fault was reported where nobody did wrong");
    test_memory_free(&memory);
    return 0;
}
