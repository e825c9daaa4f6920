/*
 * fit.c - a cache for the size that a class is mostly asked for
 *
 * WHAT    Classes lie a seventh to a quarter apart: a program that fills memory with pages
 *         of 4,368 bytes would lose a seventh of all it has. So the requests above the
 *         small sizes that leave their magazine vote (Boyer & Moore 1991: a vote for
 *         another size takes one from the leader). When the full slabs of a class have
 *         reached 512 KiB, and again at each doubling, a leader by 8 votes that is a
 *         sixteenth below the class gets a cache of just its size. That serves from then on
 *         what fits in it; what is larger, and whatever was allocated before, stays with
 *         the class. A class gets one such cache, for good; one that is asked for many
 *         sizes gets none.
 *
 * RULES   K6  mm->fit[class] names no cache, or one whose objects are smaller than those
 *             of the class and larger than those of the class below.
 *         Checked by check_fits() in view/rules_slab.c.
 *
 * LOCKS   none. Votes may get lost; whoever moves `due` has the look to itself.
 *
 * COST    A few loads and stores for each request that left its magazine.
 */
#include "base/text.h"
#include "slab/kmalloc.h"

/** Full slabs of a class before anybody looks. */
#define LEAST_BYTES (UINT64_C(512) << 10)
#define LEAST_VOTES 8
/** A new leader is not kept out for long. */
#define MOST_VOTES 64

static void make(struct qy_mm *mm, struct qy_fit *fit, size_t bytes)
{
    char name[QY_CACHE_NAME_BYTES];
    struct qy_text text;
    qy_text_init(&text, name, sizeof(name));
    qy_text_string(&text, "kmalloc-");
    qy_text_u64(&text, bytes);
    struct qy_kmem_cache *cache = qy_kmem_cache_create(mm, name, bytes, 0, 0, NULL, NULL);
    if (cache != NULL)
        __atomic_store_n(&fit->own, (uint32_t)bytes << 8 | cache->tag, __ATOMIC_RELEASE);
}

static void vote(struct qy_fit *fit, size_t bytes)
{
    uint16_t steps = (uint16_t)((bytes - 1) / QY_SMALL_STEP + 1);
    uint16_t votes = __atomic_load_n(&fit->votes, __ATOMIC_RELAXED);
    bool leads = __atomic_load_n(&fit->steps, __ATOMIC_RELAXED) == steps;
    if (votes == 0)
        __atomic_store_n(&fit->steps, steps, __ATOMIC_RELAXED);
    if (!leads && votes != 0)
        __atomic_store_n(&fit->votes, votes - 1, __ATOMIC_RELAXED);
    else if (votes < MOST_VOTES)
        __atomic_store_n(&fit->votes, votes + 1, __ATOMIC_RELAXED);
}

/** Whether this much in full slabs is reason to look; only one thread is told so. */
static bool is_due(struct qy_fit *fit, uint64_t full)
{
    uint64_t due = __atomic_load_n(&fit->due, __ATOMIC_RELAXED);
    return full >= (due != 0 ? due : LEAST_BYTES) &&
           __atomic_compare_exchange_n(&fit->due, &due, 2 * full, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}

/** As many bytes as are in full slabs, at some moment. */
QY_RACY static size_t full_bytes(const struct qy_kmem_cache *cache)
{
    return (size_t)cache->slabs_full.count << (QY_PAGE_SHIFT + cache->order);
}

void qy_fit_look(struct qy_mm *mm, const struct qy_kmem_cache *cache, struct qy_fit *fit,
                 size_t bytes)
{
    vote(fit, bytes);
    if (!is_due(fit, full_bytes(cache)))
        return;
    size_t size = (size_t)__atomic_load_n(&fit->steps, __ATOMIC_RELAXED) * QY_SMALL_STEP;
    if (__atomic_load_n(&fit->votes, __ATOMIC_RELAXED) >= LEAST_VOTES &&
        size <= cache->object_bytes - cache->object_bytes / 16)
        make(mm, fit, size);
}
