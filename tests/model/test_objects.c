/*
 * test_objects.c - long random histories of caches and kmalloc, against a shadow of memory
 *
 * The shadow has a mark for every eight bytes of the frames: set while a live object lies
 * there. Objects are filled with a pattern of their own and looked at before they go, so
 * nobody else may have written into them.
 */
#include "support.h"

#include "memory/mm.h"

#include <quarry/slab.h>

#include <errno.h>

#define BASE (4 * GIB)
#define BYTES (256 * MIB)
#define GRAIN 8
#define MOST_LIVE 30000
#define NR_KINDS 9
#define BULK 100

struct kind {
    const char *name;
    size_t bytes, align;
    uint32_t flags;
    bool constructed;
};

static const struct kind kinds[NR_KINDS] = {
    {"plain-8", 8, 8, 0, false},
    {"plain-100", 100, 0, 0, false},
    {"aligned-192", 192, 64, 0, false},
    {"page-4096", 4096, 4096, 0, false},
    {"large-20000", 20000, 0, QY_SLAB_RECLAIMABLE, false},
    {"constructed-72", 72, 0, 0, true},
    {"no-magazines-40", 40, 0, QY_SLAB_NO_MAGAZINES, false},
    {"checked-56", 56, 0,
     QY_SLAB_RED_ZONE | QY_SLAB_POISON | QY_SLAB_STORE_USER | QY_SLAB_RANDOM | QY_SLAB_CHECK_FREE,
     false},
    {"zeroed-300", 300, 0, QY_SLAB_ZERO_ON_FREE | QY_SLAB_RANDOM, false},
};

struct live {
    unsigned char *at;
    size_t bytes;
    int kind; /* -1: kmalloc's */
    unsigned char pattern;
};

static struct test_memory memory;
static struct qy_kmem_cache *caches[NR_KINDS];
static size_t live_of[NR_KINDS];
static struct live lives[MOST_LIVE];
static size_t nr_lives;
static uint8_t shadow[BYTES / GRAIN];
static struct random rng;

static void construct(void *object)
{
    memset(object, 0xc7, 72);
}

/* ---- the shadow ---- */

static void mark(const struct live *live, bool taken)
{
    size_t from = (size_t)(live->at - (unsigned char *)memory.frames);
    size_t bytes = live->bytes ? live->bytes : 1;

    if (from >= BYTES || bytes > BYTES - from)
        test_fail("an object of %zu bytes lies outside the memory", bytes);
    for (size_t i = from / GRAIN; i <= (from + bytes - 1) / GRAIN; i++) {
        if (shadow[i] == taken)
            test_fail("two objects lie at offset %zu", i * GRAIN);
        shadow[i] = taken;
    }
}

static void fill(const struct live *live)
{
    memset(live->at, live->pattern, live->bytes);
}

/* Large ones are looked at in places. */
static void look(const struct live *live)
{
    size_t step = live->bytes > 65536 ? 509 : 1;
    for (size_t i = 0; i < live->bytes; i += step)
        if (live->at[i] != live->pattern)
            test_fail("kind %d: byte %zu of %zu of a live object was changed", live->kind, i,
                      live->bytes);
}

static void assert_all(const unsigned char *at, size_t bytes, unsigned char value)
{
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != value)
            test_fail("byte %zu is %#x, not %#x", i, at[i], value);
}

static void keep(void *at, size_t bytes, int kind)
{
    struct live *live = &lives[nr_lives++];
    *live = (struct live){at, bytes, kind, (unsigned char)(1 + random_below(&rng, 255))};
    mark(live, true);
    if (kind >= 0) {
        live_of[kind]++;
        size_t align = kinds[kind].align ? kinds[kind].align : 16;
        assert_int_equal((uintptr_t)at % align, 0);
        if (kinds[kind].constructed) {
            live->pattern = 0xc7; /* and so it must come back */
            look(live);
        }
    }
    fill(live);
}

static struct live forget(size_t which)
{
    struct live live = lives[which];
    look(&live);
    mark(&live, false);
    if (live.kind >= 0)
        live_of[live.kind]--;
    lives[which] = lives[--nr_lives];
    return live;
}

/* ---- steps ---- */

static void create(unsigned kind)
{
    struct qy_error error = {0};
    caches[kind] =
        qy_kmem_cache_create(memory.mm, kinds[kind].name, kinds[kind].bytes, kinds[kind].align,
                             kinds[kind].flags, kinds[kind].constructed ? construct : NULL, &error);
    if (caches[kind] == NULL)
        test_fail("%s: %s", kinds[kind].name, error.text);
}

static void take_object(void)
{
    unsigned kind = (unsigned)random_below(&rng, NR_KINDS);
    bool zero = !kinds[kind].constructed && random_one_in(&rng, 8);
    void *at = qy_kmem_cache_alloc(caches[kind], QY_GFP_KERNEL | (zero ? QY_GFP_ZERO : 0));
    if (at == NULL)
        return;
    if (zero)
        assert_all(at, kinds[kind].bytes, 0);
    keep(at, kinds[kind].bytes, (int)kind);
}

static void take_objects(void)
{
    void *objects[BULK];
    unsigned kind = (unsigned)random_below(&rng, NR_KINDS);
    size_t count = 1 + random_below(&rng, BULK);
    if (qy_kmem_cache_alloc_bulk(caches[kind], QY_GFP_KERNEL, count, objects) != 0)
        return;
    for (size_t i = 0; i < count; i++)
        keep(objects[i], kinds[kind].bytes, (int)kind);
}

static size_t any_bytes(void)
{
    switch (random_below(&rng, 16)) {
    case 0:
        return random_below(&rng, 3 * MIB);
    case 1:
    case 2:
        return random_below(&rng, 70000);
    default:
        return random_below(&rng, UINT64_C(1) << (3 + random_below(&rng, 9)));
    }
}

static void take_memory(void)
{
    size_t bytes = any_bytes();
    size_t align = 1;
    void *at;

    if (random_one_in(&rng, 6)) {
        align = (size_t)1 << random_below(&rng, 15);
        at = qy_kmalloc_aligned(memory.mm, bytes, align, QY_GFP_KERNEL);
    } else {
        at = qy_kmalloc(memory.mm, bytes, QY_GFP_KERNEL);
        if (bytes >= 16)
            align = 16;
        if (bytes > 0 && (bytes & (bytes - 1)) == 0)
            align = bytes < PAGE ? bytes : PAGE;
    }
    if (at == NULL)
        return;
    assert_int_equal((uintptr_t)at % align, 0);
    assert_true(qy_ksize(memory.mm, at) >= bytes);
    keep(at, bytes, -1);
}

static void give(size_t which)
{
    struct live live = forget(which);
    int code = live.kind >= 0 ? qy_kmem_cache_free(caches[live.kind], live.at)
                              : qy_kfree(memory.mm, live.at);
    if (code != 0)
        test_fail("kind %d, %zu bytes: a right free was refused", live.kind, live.bytes);
}

static void give_objects(void)
{
    void *objects[BULK];
    unsigned kind = (unsigned)random_below(&rng, NR_KINDS);
    size_t count = 0;
    for (size_t i = nr_lives; i-- > 0 && count < BULK && i + 1000 > nr_lives;)
        if (i < nr_lives && lives[i].kind == (int)kind)
            objects[count++] = forget(i).at;
    qy_kmem_cache_free_bulk(caches[kind], count, objects);
}

static void change_size(size_t which)
{
    struct live *live = &lives[which];
    size_t bytes = 1 + any_bytes();
    size_t kept = bytes < live->bytes ? bytes : live->bytes;

    if (live->kind >= 0)
        return;
    look(live);
    mark(live, false);
    unsigned char *at = qy_krealloc(memory.mm, live->at, bytes, QY_GFP_KERNEL);
    if (at != NULL) {
        for (size_t i = 0; i<kept; i += kept> 65536 ? 509 : 1)
            if (at[i] != live->pattern)
                test_fail("krealloc from %zu to %zu bytes lost byte %zu", live->bytes, bytes, i);
        live->at = at;
        live->bytes = bytes;
        fill(live);
    }
    mark(live, true);
}

/* A cache with live objects cannot be destroyed, and says how many there are. */
static void destroy_and_create(unsigned kind)
{
    size_t live = SIZE_MAX;
    int code = qy_kmem_cache_destroy(caches[kind], &live);

    assert_int_equal(live, live_of[kind]);
    assert_int_equal(code, live_of[kind] ? -EBUSY : 0);
    if (code == 0)
        create(kind);
}

static void step(unsigned percent_taken)
{
    bool take = random_below(&rng, 100) < percent_taken;
    uint64_t kind = random_below(&rng, 128);

    if (kind == 0)
        destroy_and_create((unsigned)random_below(&rng, NR_KINDS));
    else if (kind == 1)
        qy_kmem_cache_shrink(caches[random_below(&rng, NR_KINDS)]);
    else if (kind < 12 && nr_lives > 0)
        change_size(random_below(&rng, nr_lives));
    else if (take && nr_lives + BULK < MOST_LIVE)
        kind < 20 ? take_objects() : kind < 70 ? take_memory() : take_object();
    else if (nr_lives > 0)
        kind < 20 ? give_objects() : give(random_below(&rng, nr_lives));
}

static void live_through(unsigned steps)
{
    static const unsigned tides[] = {70, 50, 35, 55, 10};

    rng.state = test_seed();
    nr_lives = 0;
    memset(shadow, 0, sizeof(shadow));
    memset(live_of, 0, sizeof(live_of));
    test_memory_simple(&memory, BASE, BYTES, true);
    test_make_classes(memory.mm);
    uint64_t initial = test_frames_in_use(memory.mm);
    for (unsigned kind = 0; kind < NR_KINDS; kind++)
        create(kind);
    for (unsigned i = 0; i < steps; i++) {
        step(tides[i / 8192 % COUNT_OF(tides)]);
        if (i % 32768 == 32767)
            test_rules(memory.mm);
    }
    while (nr_lives > 0)
        give(nr_lives - 1);
    for (unsigned kind = 0; kind < NR_KINDS; kind++) {
        assert_int_equal(live_of[kind], 0);
        assert_int_equal(qy_kmem_cache_destroy(caches[kind], NULL), 0);
    }
    assert_int_equal(test_frames_in_use(memory.mm), initial);
    assert_int_equal(memory.mm->nr_faults, 0);
    test_memory_free(&memory);
}

/* Wrong if it failed: two objects would overlap, an object would lose its content, or
 * memory would be lost. */
static void objects_are_apart_and_keep_their_content(void **state)
{
    (void)state;
    live_through(600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_apart_and_keep_their_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
