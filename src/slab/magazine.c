/*
 * magazine.c - exchanging magazines: slot, shared depot, slabs
 *
 * WHAT    When the loaded magazine is empty, a full one comes from the slot's own few, from
 *         the cache's shared depot, or is filled from the slabs. When it is full it goes the
 *         same way back: to the slot, to the depot, and when both have enough its objects go
 *         to their slabs (Bonwick & Adams 2001; the slot's own few make batches larger than
 *         a magazine cost an exchange, not 64 slab updates). The first fill of a slot is a
 *         few objects and doubles, so that who needs one object does not hold 63. What a
 *         slot or a depot may keep grows where objects come again (widen()), within a
 *         bound for all; being emptied takes that back.
 *
 *         Where one thread allocates and another frees, magazines go round: full ones through
 *         the depot one way, empty ones back, one for the other under one lock.
 *
 * RULES   G1  in slab/magazine.h.
 *         G2  Magazines in a depot are full: `places` objects. A cache's empty ones are
 *             nr_empties, at most QY_MOST_SPARE.
 *         G3  A slot's depot holds at most most_in_slot + extra of them, a cache's most_in_depot
 *             + depot_extra, and mm->extra_bytes is what that extra makes in bytes, of all.
 *         Checked by qy_check_magazines() in view/rules_slab.c.
 *
 * LOCKS   The slot's owner is inside, or its drainer. cache->lock for one exchange.
 *
 * COST    An exchange within the slot: a dozen instructions. With the depot: a lock pair for
 *         `places` objects.
 */
#include "slab/magazine.h"

#include "base/assert.h"
#include "base/errno.h"
#include "base/round.h"

#define FIRST_FILL 4
/** Empty slabs that a cache keeps at least. */
#define KEPT_EMPTY_BYTES (UINT64_C(32) << 10)
/** What a depot may hold beyond the usual, and all of them together. */
#define EXTRA_BYTES (UINT64_C(4) << 20)
#define ALL_EXTRA_BYTES (UINT64_C(16) << 20)
#define LAST (QY_MAGAZINE_WORDS - 1)

_Alignas(512) void *const qy_no_magazine[QY_MAGAZINE_WORDS] = {NULL};

/* ---- single magazines ---- */

static void **first_word(void **top)
{
    return (void **)((uintptr_t)(top - 1) & ~(uintptr_t)(QY_MAGAZINE_BYTES - 1));
}

static bool loaded(const struct qy_cpu *cpu, unsigned tag)
{
    return cpu->top[tag] != QY_NO_MAGAZINE;
}

/** An empty magazine: one of the slot's spare ones, or a new one; NULL: no memory. */
static void **new_magazine(struct qy_cpu *cpu, bool may_grow)
{
    void **magazine = cpu->spare;
    if (magazine == NULL)
        return qy_slab_take_one(qy_cache_of_magazines(cpu->mm), cpu, may_grow);
    cpu->spare = *magazine;
    cpu->nr_spare--;
    return magazine;
}

static void free_magazine(struct qy_mm *mm, struct qy_cpu *cpu, void **magazine)
{
    if (cpu != NULL && cpu->nr_spare < QY_MOST_SPARE) {
        *magazine = cpu->spare;
        cpu->spare = magazine;
        cpu->nr_spare++;
        return;
    }
    qy_slab_give_one(qy_cache_of_magazines(mm), magazine);
}

static unsigned bottom_of(const struct qy_kmem_cache *cache)
{
    return LAST - cache->places;
}

/** Load a magazine of so many objects. */
static void load(struct qy_cpu *cpu, const struct qy_kmem_cache *cache, void **magazine,
                 unsigned count)
{
    magazine[bottom_of(cache)] = NULL;
    cpu->top[cache->tag] = magazine + bottom_of(cache) + 1 + count;
}

/** Give the topmost objects of a magazine to their slabs. Wrong ones are reported: -EINVAL. */
static int give_objects(struct qy_kmem_cache *cache, struct qy_cpu *cpu, void **objects,
                        unsigned count)
{
    void *wrong[QY_MAGAZINE_MOST];
    unsigned nr_wrong = 0;
    for (unsigned i = 0; i < count; i++)
        __builtin_prefetch(qy_slab_of(cache, objects[i]), 1);
    qy_lock(&cache->lock);
    for (unsigned i = 0; i < count; i++)
        if (qy_unlikely(qy_slab_give_locked(cache, objects[i]) != NULL))
            wrong[nr_wrong++] = objects[i];
    cache->nr_flushes++;
    size_t nr_empty = cache->slabs_empty.count;
    size_t keep = KEPT_EMPTY_BYTES / (QY_PAGE_BYTES << cache->order) +
                  (cache->slabs_full.count + cache->slabs_partial.count) / 16;
    qy_unlock(&cache->lock);
    for (unsigned i = 0; i < nr_wrong; i++)
        qy_slab_refuse(cache, wrong[i], QY_ACT_FREE);
    if (nr_empty > 2 * keep)
        qy_slab_release(cache, cpu, keep);
    return nr_wrong == 0 ? 0 : -QY_EINVAL;
}

/* ---- how much slots and depots may keep ---- */

static uint64_t magazine_bytes(const struct qy_kmem_cache *cache)
{
    return (uint64_t)cache->places * cache->stride;
}

/** Magazines found no room in a depot that holds @usual and *extra, and now their objects are
 *  wanted again: it may hold as many more, but at most twice as many as it could. */
static void widen(struct qy_kmem_cache *cache, uint16_t *extra, unsigned usual, unsigned gone,
                  uint64_t most)
{
    uint64_t wider = qy_least(*extra + qy_least(gone, usual + *extra), most);
    if (wider <= *extra)
        return;
    uint64_t more = (wider - *extra) * magazine_bytes(cache);
    if (atomic_fetch_add(&cache->mm->extra_bytes, more) + more <= ALL_EXTRA_BYTES)
        *extra = (uint16_t)wider;
    else
        atomic_fetch_sub(&cache->mm->extra_bytes, more);
}

/** The slabs are about to be asked. A slab has few large objects, so giving and taking them is
 *  giving and taking pages: the slot that had no room for them may keep more, or the depot, if it
 *  was another slot. Small ones are as well off in their slabs, where they are in order again and
 *  let others become empty: of them the depot alone may hold more, twice as many. */
static void make_room(struct qy_kmem_cache *cache, struct qy_depot *own)
{
    bool small = cache->places == QY_MAGAZINE_MOST;
    uint64_t most = EXTRA_BYTES / magazine_bytes(cache);
    if (own->gone == 0 && __atomic_load_n(&cache->depot_gone, __ATOMIC_RELAXED) == 0)
        return;
    qy_lock(&cache->lock);
    if (own->gone != 0 && !small)
        widen(cache, &own->extra, cache->most_in_slot, own->gone, most);
    else
        widen(cache, &cache->depot_extra, cache->most_in_depot, cache->depot_gone,
              small ? cache->most_in_depot : most);
    own->gone = 0;
    __atomic_store_n(&cache->depot_gone, 0, __ATOMIC_RELAXED);
    qy_unlock(&cache->lock);
}

/* ---- empty: get a full one ---- */

/** @empty: the magazine that the caller has used up, or NULL. Where its slot has spare ones enough
 *  it may stay here instead, and *empty becomes NULL. */
static void **take_from_depot(struct qy_cpu *cpu, struct qy_kmem_cache *cache, void ***empty)
{
    if (__atomic_load_n(&cache->nr_depot, __ATOMIC_RELAXED) == 0)
        return NULL;
    qy_lock(&cache->lock);
    void **magazine = cache->depot;
    if (magazine != NULL) {
        cache->depot = *magazine;
        __atomic_store_n(&cache->nr_depot, cache->nr_depot - 1, __ATOMIC_RELAXED);
    }
    if (magazine != NULL && *empty != NULL && cpu->nr_spare == QY_MOST_SPARE &&
        cache->nr_empties < QY_MOST_SPARE) {
        **empty = cache->empties;
        cache->empties = *empty;
        cache->nr_empties++;
        *empty = NULL;
    }
    qy_unlock(&cache->lock);
    return magazine;
}

static void reverse(void **objects, unsigned count)
{
    for (unsigned i = 0; i < count / 2; i++) {
        void *object = objects[i];
        objects[i] = objects[count - 1 - i];
        objects[count - 1 - i] = object;
    }
}

/** Take objects from the slabs, making a new one where there is none. */
static unsigned take_objects(struct qy_kmem_cache *cache, struct qy_cpu *cpu, unsigned count,
                             void **objects)
{
    unsigned taken = 0;
    while (taken == 0) {
        qy_lock(&cache->lock);
        taken = qy_slab_take_locked(cache, count, objects);
        cache->nr_refills++;
        qy_unlock(&cache->lock);
        if (taken == 0 && qy_slab_grow(cache, cpu) != 0)
            break;
    }
    return taken;
}

static void *fill_from_slabs(struct qy_cpu *cpu, struct qy_kmem_cache *cache)
{
    struct qy_depot *own = &cpu->depot[cache->tag];
    void *object = NULL;
    void **magazine =
        loaded(cpu, cache->tag) ? first_word(cpu->top[cache->tag]) : new_magazine(cpu, true);
    if (magazine == NULL)
        return take_objects(cache, cpu, 1, &object) == 1 ? object : NULL;
    make_room(cache, own);
    unsigned fill = own->fill != 0 ? own->fill : FIRST_FILL;
    fill = fill < cache->places ? fill : cache->places;
    own->fill = (uint16_t)(fill * 2);
    void **first = magazine + bottom_of(cache) + 1;
    unsigned taken = take_objects(cache, cpu, fill, first);
    reverse(first, taken);
    load(cpu, cache, magazine, taken);
    return qy_magazine_pop(cpu, cache->tag);
}

void *qy_magazine_refill(struct qy_cpu *cpu, struct qy_kmem_cache *cache)
{
    if (cpu == NULL || cache->places == 0) {
        void *object = NULL;
        return take_objects(cache, cpu, 1, &object) == 1 ? object : NULL;
    }
    struct qy_depot *own = &cpu->depot[cache->tag];
    void **full = own->full;
    void **empty = loaded(cpu, cache->tag) ? first_word(cpu->top[cache->tag]) : NULL;
    if (full != NULL) {
        own->full = *full;
        own->nr_full--;
    } else {
        full = take_from_depot(cpu, cache, &empty);
    }
    if (full == NULL)
        return fill_from_slabs(cpu, cache);
    if (empty != NULL)
        free_magazine(cache->mm, cpu, empty);
    load(cpu, cache, full, cache->places);
    return qy_magazine_pop(cpu, cache->tag);
}

/* ---- full: get an empty one ---- */

static void **take_empty_locked(struct qy_kmem_cache *cache)
{
    void **magazine = cache->empties;
    if (magazine != NULL) {
        cache->empties = *magazine;
        cache->nr_empties--;
    }
    return magazine;
}

/** The depot's is looked at without the lock as well. */
static void count_up(uint16_t *gone)
{
    if (*gone < UINT16_MAX)
        __atomic_store_n(gone, (uint16_t)(*gone + 1), __ATOMIC_RELAXED);
}

/** Where a full magazine goes. Returns an empty one, if there is one for it: the same if its
 *  objects went to the slabs. */
static void **put_full(struct qy_cpu *cpu, struct qy_kmem_cache *cache, void **magazine)
{
    struct qy_depot *own = &cpu->depot[cache->tag];
    /* Who only frees has no use for them: others take theirs from the depot. */
    if (own->fill != 0 && own->nr_full < cache->most_in_slot + own->extra) {
        *magazine = own->full;
        own->full = magazine;
        own->nr_full++;
        return NULL;
    }
    void **empty = NULL;
    qy_lock(&cache->lock);
    bool has_room = cache->nr_depot < (size_t)cache->most_in_depot + cache->depot_extra;
    if (has_room) {
        *magazine = cache->depot;
        cache->depot = magazine;
        __atomic_store_n(&cache->nr_depot, cache->nr_depot + 1, __ATOMIC_RELAXED);
        if (cpu->spare == NULL)
            empty = take_empty_locked(cache);
    } else {
        count_up(&cache->depot_gone);
    }
    qy_unlock(&cache->lock);
    if (has_room)
        return empty;
    count_up(&own->gone);
    give_objects(cache, cpu, magazine + bottom_of(cache) + 1, cache->places);
    return magazine;
}

/** No memory for a magazine: one of the slot's full ones gives its objects up. */
static void **empty_one(struct qy_cpu *cpu, struct qy_kmem_cache *cache)
{
    struct qy_depot *own = &cpu->depot[cache->tag];
    void **magazine = own->full;
    if (magazine == NULL)
        return NULL;
    own->full = *magazine;
    own->nr_full--;
    give_objects(cache, cpu, magazine + bottom_of(cache) + 1, cache->places);
    return magazine;
}

int qy_magazine_flush(struct qy_cpu *cpu, struct qy_kmem_cache *cache, void *object)
{
    void **empty = NULL;
    if (cpu == NULL || cache->places == 0)
        return give_objects(cache, cpu, &object, 1);
    if (loaded(cpu, cache->tag)) {
        void **full = first_word(cpu->top[cache->tag]);
        cpu->top[cache->tag] = QY_NO_MAGAZINE;
        empty = put_full(cpu, cache, full);
    }
    if (empty == NULL)
        empty = new_magazine(cpu, false);
    if (empty == NULL)
        empty = empty_one(cpu, cache);
    if (empty == NULL)
        return give_objects(cache, cpu, &object, 1);
    load(cpu, cache, empty, 0);
    qy_magazine_push(cpu, cache->tag, object);
    return 0;
}

/* ---- draining ---- */

static void drain_list(struct qy_kmem_cache *cache, struct qy_cpu *cpu, void **full)
{
    while (full != NULL) {
        void **next = *full;
        give_objects(cache, cpu, full + bottom_of(cache) + 1, cache->places);
        free_magazine(cache->mm, cpu, full);
        full = next;
    }
}

/** Of what a slot has of a cache nothing is left to be counted. */
static void forget(struct qy_kmem_cache *cache, struct qy_depot *own)
{
    if (own->extra != 0)
        atomic_fetch_sub(&cache->mm->extra_bytes, own->extra * magazine_bytes(cache));
    *own = (struct qy_depot){.full = NULL};
}

bool qy_magazine_has_any(const struct qy_cpu *cpu, const struct qy_kmem_cache *cache)
{
    const struct qy_depot *own = &cpu->depot[cache->tag];
    return loaded(cpu, cache->tag) || own->full != NULL || own->extra != 0;
}

void qy_magazine_drain(struct qy_cpu *cpu, struct qy_kmem_cache *cache)
{
    struct qy_depot *own = &cpu->depot[cache->tag];
    if (loaded(cpu, cache->tag)) {
        void **top = cpu->top[cache->tag];
        void **magazine = first_word(top);
        void **first = magazine + bottom_of(cache) + 1;
        cpu->top[cache->tag] = QY_NO_MAGAZINE;
        give_objects(cache, cpu, first, (unsigned)(top - first));
        free_magazine(cache->mm, cpu, magazine);
    }
    void **full = own->full;
    forget(cache, own);
    drain_list(cache, cpu, full);
}

void qy_magazine_abandon(struct qy_cpu *cpu, struct qy_kmem_cache *cache)
{
    cpu->top[cache->tag] = QY_NO_MAGAZINE;
    forget(cache, &cpu->depot[cache->tag]);
}

static void free_magazines(struct qy_mm *mm, struct qy_cpu *cpu, void **magazine)
{
    while (magazine != NULL) {
        void **next = *magazine;
        free_magazine(mm, cpu, magazine);
        magazine = next;
    }
}

void qy_magazine_drop_spare(struct qy_cpu *cpu)
{
    free_magazines(cpu->mm, NULL, cpu->spare);
    cpu->spare = NULL;
    cpu->nr_spare = 0;
}

void qy_depot_drain(struct qy_kmem_cache *cache, struct qy_cpu *cpu)
{
    qy_lock(&cache->lock);
    void **full = cache->depot, **empties = cache->empties;
    uint64_t extra = cache->depot_extra;
    cache->depot = cache->empties = NULL;
    cache->nr_empties = cache->depot_extra = 0;
    __atomic_store_n(&cache->depot_gone, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&cache->nr_depot, 0, __ATOMIC_RELAXED);
    qy_unlock(&cache->lock);
    if (extra != 0)
        atomic_fetch_sub(&cache->mm->extra_bytes, extra * magazine_bytes(cache));
    drain_list(cache, cpu, full);
    free_magazines(cache->mm, cpu, empties);
}
