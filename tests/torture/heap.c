/*
 * heap.c - kmalloc, krealloc and caches of objects; blocks are freed by others as well
 */
#include "torture.h"

#include <quarry/slab.h>

#define BLOCKS 384
#define CACHES 3
#define LETTERS 256

struct block {
    void *at;
    size_t bytes;
    uint64_t key;
    struct qy_kmem_cache *cache; /* NULL: kmalloc's */
};

struct heap {
    struct block block[BLOCKS];
};

static struct qy_kmem_cache *caches[CACHES];
static const size_t object_bytes[CACHES] = {40, 520, 6000};

/** Blocks on their way to whoever frees them: they begin with their size and key. */
static void *_Atomic letters[LETTERS];

static void prepare(void)
{
    static const char *const names[CACHES] = {"torture-40", "torture-520", "torture-6000"};
    struct qy_error error = {0};
    for (unsigned i = 0; i < CACHES; i++) {
        caches[i] = qy_kmem_cache_create(world.mm, names[i], object_bytes[i], 0, 0, NULL, &error);
        if (caches[i] == NULL)
            test_fail("%s", error.text);
    }
}

static void begin(struct actor *actor)
{
    actor->own[0] = calloc(1, sizeof(struct heap));
}

static qy_gfp_t some_gfp(struct actor *actor)
{
    static const qy_gfp_t some[] = {QY_GFP_KERNEL, QY_GFP_KERNEL, QY_GFP_NOWAIT, QY_GFP_ATOMIC,
                                    QY_GFP_KERNEL | QY_GFP_ZERO};
    return some[random_below(&actor->random, COUNT_OF(some))];
}

/** Mostly small, sometimes of some hundred KiB. */
static size_t some_size(struct actor *actor)
{
    unsigned bits = (unsigned)random_below(&actor->random, 12) + 1;
    if (random_one_in(&actor->random, 16))
        bits += 7;
    return random_below(&actor->random, (size_t)1 << bits) + 1;
}

static bool allocate(struct actor *actor, struct block *block)
{
    qy_gfp_t gfp = some_gfp(actor);
    *block = (struct block){.bytes = some_size(actor), .key = new_key(actor)};
    if (random_one_in(&actor->random, 4)) {
        unsigned i = (unsigned)random_below(&actor->random, CACHES);
        block->cache = caches[i];
        block->bytes = object_bytes[i];
        doing(actor, "kmem_cache_alloc");
        block->at = qy_kmem_cache_alloc(block->cache, gfp);
    } else if (random_one_in(&actor->random, 16)) {
        size_t align = (size_t)1 << random_below(&actor->random, 14);
        doing(actor, "kmalloc_aligned");
        block->at = qy_kmalloc_aligned(world.mm, block->bytes, align, gfp);
        if ((uintptr_t)block->at % align != 0)
            test_fail("kmalloc_aligned(%zu): %p", align, block->at);
    } else {
        doing(actor, "kmalloc");
        block->at = qy_kmalloc(world.mm, block->bytes, gfp);
    }
    if (block->at == NULL)
        return false;
    if (gfp & QY_GFP_ZERO)
        verify(block->at, block->bytes, 0, "zeroed block");
    fill(block->at, block->bytes, block->key);
    return true;
}

static void give(struct actor *actor, struct block *block)
{
    verify(block->at, block->bytes, block->key, "block");
    doing(actor, "kfree");
    int code = block->cache != NULL ? qy_kmem_cache_free(block->cache, block->at)
                                    : qy_kfree(world.mm, block->at);
    if (code != 0)
        test_fail("a block of %zu bytes is not freed: %d", block->bytes, code);
    block->at = NULL;
}

static bool resize(struct actor *actor, struct block *block)
{
    size_t bytes = some_size(actor);
    verify(block->at, block->bytes, block->key, "block before krealloc");
    doing(actor, "krealloc");
    void *at = qy_krealloc(world.mm, block->at, bytes, some_gfp(actor) & ~QY_GFP_ZERO);
    if (at == NULL)
        return false;
    size_t kept = (bytes < block->bytes ? bytes : block->bytes) & ~(size_t)7;
    verify(at, kept, block->key, "block after krealloc");
    *block = (struct block){.at = at, .bytes = bytes, .key = new_key(actor)};
    fill(at, bytes, block->key);
    return true;
}

static void free_letter(void *letter)
{
    uint64_t head[2];
    if (letter == NULL)
        return;
    memcpy(head, letter, sizeof(head));
    verify((char *)letter + 16, head[0] - 16, head[1], "block from another thread");
    if (qy_kfree(world.mm, letter) != 0)
        test_fail("another's block of %llu bytes is not freed", (unsigned long long)head[0]);
}

/** Somebody else frees it. */
static void post(struct actor *actor, struct block *block)
{
    uint64_t head[2] = {block->bytes, new_key(actor)};
    verify(block->at, block->bytes, block->key, "block before it goes");
    memcpy(block->at, head, sizeof(head));
    fill((char *)block->at + 16, block->bytes - 16, head[1]);
    doing(actor, "kfree of another's");
    free_letter(atomic_exchange(&letters[random_below(&actor->random, LETTERS)], block->at));
    block->at = NULL;
}

static bool step(struct actor *actor)
{
    struct heap *heap = actor->own[0];
    struct block *block = &heap->block[random_below(&actor->random, BLOCKS)];
    if (random_one_in(&actor->random, 4096)) {
        doing(actor, "kmem_cache_shrink_all");
        qy_kmem_cache_shrink_all(world.mm);
    }
    if (block->at == NULL)
        return holds_back(actor) || allocate(actor, block);
    if (block->cache == NULL && random_one_in(&actor->random, 3))
        return resize(actor, block);
    if (block->cache == NULL && block->bytes >= 24 && random_one_in(&actor->random, 3))
        post(actor, block);
    else
        give(actor, block);
    return true;
}

static void end(struct actor *actor)
{
    struct heap *heap = actor->own[0];
    for (unsigned i = 0; i < BLOCKS; i++)
        if (heap->block[i].at != NULL)
            give(actor, &heap->block[i]);
    free(heap);
}

static void finish(void)
{
    for (unsigned i = 0; i < LETTERS; i++)
        free_letter(atomic_exchange(&letters[i], NULL));
    for (unsigned i = 0; i < CACHES; i++)
        if (qy_kmem_cache_destroy(caches[i], NULL) != 0)
            test_fail("cache %u has objects left", i);
}

const struct kind heap_kind = {"heap", 40, prepare, begin, step, end, finish};
