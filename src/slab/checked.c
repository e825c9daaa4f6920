/*
 * checked.c - caches whose objects are looked at on each call
 *
 * WHAT    With any of the checking flags a cache has no magazines: each object goes straight
 *         to its slab under the lock, where all is known. Beside each slab lie its objects'
 *         notes: how many bytes were asked for, and by whom.
 *
 *           red zone       the bytes from the requested size to the next object, and those
 *                          before a slab's first object, hold a pattern
 *           poison         free objects hold a pattern
 *           zero on free   free objects hold zero
 *           random         which free object goes out is drawn; and so is the freed one that
 *                          reaches its slab, of those that wait: who frees an object does
 *                          not know when it goes out again, but not at once
 *           store user     reports name the threads that allocated and freed
 *
 *         What was overwritten is found when the object is freed, or, while it was free, when
 *         it goes out again or its slab goes back.
 *
 * RULES   D1  Red zones on both sides of a live object are whole.
 *         D2  Free objects hold what they were filled with.
 *         D5  A waiting object waits in one place, is noted as freed, and is not free in its
 *             slab.
 *         Checked by qy_check_checked() in view/rules_checked.c, D1 also at each free and D2 at
 *         each alloc, as are S2 and S3 in slab/cache.h: at once.
 *
 * LOCKS   cache->lock around every look and fill.
 *
 * COST    The lock pair, and the object's bytes once per alloc and once per free.
 */
#include "base/assert.h"
#include "memory/fault.h"
#include "slab/magazine.h"

#define POISON_BYTE 0x6b
/** Red bytes looked at before an object: the end of its left neighbour. */
#define LEFT_BYTES 8

static unsigned char *object_at(const struct qy_slab *slab, unsigned index)
{
    return (unsigned char *)slab->base + (size_t)index * slab->cache->stride;
}

bool qy_bytes_are(const void *bytes, size_t count, int value)
{
    const unsigned char *first = bytes;
    return count == 0 || (first[0] == value && __builtin_memcmp(first, first + 1, count - 1) == 0);
}

/* ---- what objects hold ---- */

/** What free objects hold; -1: anything. */
static int filling(const struct qy_kmem_cache *cache)
{
    if (cache->flags & QY_SLAB_ZERO_ON_FREE)
        return 0;
    return cache->flags & QY_SLAB_POISON ? POISON_BYTE : -1;
}

/** Bytes at an object's end that nobody but the red zone may use. */
static size_t guard_bytes(const struct qy_kmem_cache *cache)
{
    return cache->flags & QY_SLAB_RED_ZONE ? LEFT_BYTES : 0;
}

static void fill_free(struct qy_slab *slab, unsigned index)
{
    struct qy_kmem_cache *cache = slab->cache;
    size_t guard = guard_bytes(cache);
    unsigned char *object = object_at(slab, index);
    if (filling(cache) >= 0)
        __builtin_memset(object, filling(cache), cache->stride - guard);
    __builtin_memset(object + cache->stride - guard, QY_RED_BYTE, guard);
    slab->notes[index].bytes = QY_OBJECT_FREED;
}

/** What was written outside a live object; NULL: nothing. */
static const char *damage(const struct qy_slab *slab, unsigned index)
{
    const struct qy_kmem_cache *cache = slab->cache;
    const unsigned char *object = object_at(slab, index);
    size_t bytes = slab->notes[index].bytes;
    if (!(cache->flags & QY_SLAB_RED_ZONE))
        return NULL;
    if (!qy_bytes_are(object - LEFT_BYTES, LEFT_BYTES, QY_RED_BYTE))
        return "underflow";
    if (!qy_bytes_are(object + bytes, cache->stride - bytes, QY_RED_BYTE))
        return "overflow";
    return NULL;
}

/** A free object is as it was when it was freed. */
static bool untouched(const struct qy_slab *slab, unsigned index)
{
    const struct qy_kmem_cache *cache = slab->cache;
    return filling(cache) < 0 ||
           qy_bytes_are(object_at(slab, index), cache->stride - guard_bytes(cache), filling(cache));
}

const char *qy_checked_look(const struct qy_slab *slab, unsigned index)
{
    if (slab->notes[index].bytes == QY_OBJECT_FREED)
        return untouched(slab, index) ? NULL : "D2";
    return damage(slab, index) == NULL ? NULL : "D1";
}

void qy_checked_prepare(struct qy_slab *slab)
{
    __builtin_memset(slab->base - slab->cache->first_offset, QY_RED_BYTE,
                     slab->cache->first_offset);
    for (unsigned i = 0; i < slab->nr_objects; i++)
        fill_free(slab, i);
}

static int report(struct qy_slab *slab, unsigned index, const char *what, const char *rule)
{
    struct qy_kmem_cache *cache = slab->cache;
    const struct qy_object_note *note = &slab->notes[index];
    return qy_fault_report(
        cache->mm,
        &(struct qy_fault){
            .what = what,
            .rule = rule,
            .address = (uintptr_t)object_at(slab, index),
            .cache = cache->name,
            .object = (uintptr_t)object_at(slab, index),
            .object_bytes = note->bytes == QY_OBJECT_FREED ? cache->object_bytes : note->bytes,
            .allocated_by = note->allocated_by,
            .freed_by = note->freed_by,
        });
}

void qy_checked_retire(struct qy_slab *slab)
{
    for (unsigned i = 0; i < slab->nr_objects; i++)
        if (!untouched(slab, i))
            report(slab, i, "use after free", "D2");
}

static struct qy_slab *damaged_of(const struct qy_slab_list *list, uint64_t until_ns,
                                  unsigned *index)
{
    const struct qy_list *link = list->slabs.next;
    for (; link != &list->slabs && qy_port_clock_ns() < until_ns; link = link->next) {
        struct qy_slab *slab = qy_list_entry(link, struct qy_slab, link);
        for (*index = 0; *index < slab->nr_objects; ++*index)
            if (qy_checked_look(slab, *index) != NULL)
                return slab;
    }
    return NULL;
}

int qy_checked_look_over(struct qy_kmem_cache *cache, uint64_t until_ns)
{
    const struct qy_slab_list *lists[] = {&cache->slabs_full, &cache->slabs_partial,
                                          &cache->slabs_empty};
    struct qy_slab *slab = NULL;
    unsigned index = 0;
    if (!qy_trylock(&cache->lock))
        return 0;
    for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]) && slab == NULL; i++)
        slab = damaged_of(lists[i], until_ns, &index);
    bool is_freed = slab != NULL && slab->notes[index].bytes == QY_OBJECT_FREED;
    const char *what = slab == NULL ? NULL : is_freed ? "use after free" : damage(slab, index);
    qy_unlock(&cache->lock);
    return what == NULL ? 0 : report(slab, index, what, is_freed ? "D2" : "D1");
}

/* ---- allocate ---- */

static uint32_t draw(struct qy_kmem_cache *cache)
{
    cache->random ^= cache->random << 13;
    cache->random ^= cache->random >> 17;
    cache->random ^= cache->random << 5;
    return cache->random;
}

static uint32_t this_thread(const struct qy_kmem_cache *cache)
{
    return cache->flags & QY_SLAB_STORE_USER ? qy_port_thread() : 0;
}

/** Change the first free object for one that is drawn: both bits stay what they were. */
static void *choose(struct qy_kmem_cache *cache, void *object)
{
    bool exact;
    struct qy_slab *slab = qy_slab_of(cache, object);
    if (!(cache->flags & QY_SLAB_RANDOM) || slab->nr_free == 0)
        return object;
    unsigned first = qy_slab_index(slab, object, &exact);
    unsigned drawn = draw(cache) % slab->nr_objects;
    for (unsigned i = 0; i < slab->nr_objects; i++, drawn = (drawn + 1) % slab->nr_objects)
        if (qy_bits_test(&slab->free, drawn)) {
            qy_bits_clear(&slab->free, drawn);
            qy_bits_set(&slab->free, first);
            return object_at(slab, drawn);
        }
    return object;
}

/** Make a free object a live one of so many bytes. False: it was written to meanwhile. */
static bool hand_out(struct qy_kmem_cache *cache, unsigned char *object, size_t bytes)
{
    bool exact;
    struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    bool whole = untouched(slab, index);
    slab->notes[index].bytes = (uint32_t)bytes;
    slab->notes[index].allocated_by = this_thread(cache);
    if (cache->flags & QY_SLAB_RED_ZONE)
        __builtin_memset(object + bytes, QY_RED_BYTE, cache->stride - guard_bytes(cache) - bytes);
    return whole;
}

void *qy_checked_alloc(struct qy_kmem_cache *cache, struct qy_cpu *cpu, size_t bytes)
{
    bool exact;
    void *object;
    qy_lock(&cache->lock);
    while (qy_slab_take_locked(cache, 1, &object) == 0) {
        qy_unlock(&cache->lock);
        if (qy_slab_grow(cache, cpu) != 0)
            return NULL;
        qy_lock(&cache->lock);
    }
    object = choose(cache, object);
    bool whole = hand_out(cache, object, bytes);
    qy_unlock(&cache->lock);
    if (!whole) {
        struct qy_slab *slab = qy_slab_of(cache, object);
        report(slab, qy_slab_index(slab, object, &exact), "use after free", "D2");
    }
    return object;
}

void *qy_checked_kmalloc(struct qy_kmem_cache *cache, size_t bytes, qy_gfp_t gfp)
{
    struct qy_mm *mm = cache->mm;
    void *object;
    unsigned rounds = 0;
    do {
        struct qy_cpu *cpu = qy_slot_enter(mm);
        object = qy_checked_alloc(cache, cpu, bytes);
        if (cpu != NULL)
            qy_cpu_leave(cpu);
    } while (object == NULL && qy_reclaim_again(mm, gfp, cache->order, &rounds));
    if (object != NULL && (gfp & QY_GFP_ZERO))
        __builtin_memset(object, 0, bytes);
    return object;
}

/* ---- free ---- */

/** The places of a cache whose freed objects wait. If there is no memory they do not. */
static void make_places(struct qy_kmem_cache *cache, struct qy_cpu *cpu)
{
    struct qy_kmem_cache *magazines = qy_cache_of_magazines(cache->mm);
    void *places = qy_slab_take_one(magazines, cpu, false);
    if (places == NULL)
        return;
    __builtin_memset(places, 0, QY_MAGAZINE_BYTES);
    qy_lock(&cache->lock);
    bool first = cache->waiting == NULL;
    if (first)
        __atomic_store_n(&cache->waiting, places, __ATOMIC_RELAXED);
    qy_unlock(&cache->lock);
    if (!first)
        qy_slab_give_one(magazines, places);
}

/** Put an object in a place that is drawn; returns the one that waited there, or NULL. */
static void *wait_locked(struct qy_kmem_cache *cache, void *object)
{
    if (cache->waiting == NULL)
        return object;
    void **place = &cache->waiting[draw(cache) % cache->most_waiting];
    void *due = *place;
    *place = object;
    cache->nr_waiting += due == NULL;
    return due;
}

/** The rule that freeing this object breaks; *what: how it was damaged. */
static const char *wrong_locked(const struct qy_slab *slab, unsigned index, bool exact,
                                const char **what)
{
    *what = NULL;
    if (!exact || index >= slab->nr_objects)
        return "S2";
    if (slab->notes[index].bytes == QY_OBJECT_FREED)
        return "S3";
    *what = damage(slab, index);
    return *what != NULL ? "D1" : NULL;
}

int qy_checked_free(struct qy_kmem_cache *cache, struct qy_cpu *cpu, void *object)
{
    bool exact;
    const char *what;
    struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    if (cache->most_waiting != 0 && __atomic_load_n(&cache->waiting, __ATOMIC_RELAXED) == NULL)
        make_places(cache, cpu);
    qy_lock(&cache->lock);
    const char *rule = wrong_locked(slab, index, exact, &what);
    if (rule == NULL) {
        fill_free(slab, index);
        slab->notes[index].freed_by = this_thread(cache);
        void *due = wait_locked(cache, object);
        rule = due != NULL ? qy_slab_give_locked(cache, due) : NULL;
    }
    qy_unlock(&cache->lock);
    if (what != NULL)
        return report(slab, index, what, rule);
    return rule == NULL ? 0 : qy_slab_refuse(cache, object, QY_ACT_FREE);
}

void qy_checked_drain(struct qy_kmem_cache *cache)
{
    const char *rule = NULL;
    qy_lock(&cache->lock);
    void **places = cache->waiting;
    for (unsigned i = 0; i < QY_MAGAZINE_WORDS && places != NULL; i++)
        if (places[i] != NULL && rule == NULL)
            rule = qy_slab_give_locked(cache, places[i]);
    __atomic_store_n(&cache->waiting, NULL, __ATOMIC_RELAXED);
    cache->nr_waiting = 0;
    qy_unlock(&cache->lock);
    qy_assert(rule == NULL, "D5");
    (void)rule;
    if (places != NULL)
        qy_slab_give_one(qy_cache_of_magazines(cache->mm), places);
}

size_t qy_checked_bytes(struct qy_kmem_cache *cache, const void *object)
{
    bool exact;
    struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    if (!exact || index >= slab->nr_objects)
        return 0;
    qy_lock(&cache->lock);
    uint32_t bytes = slab->notes[index].bytes;
    qy_unlock(&cache->lock);
    return bytes == QY_OBJECT_FREED ? 0 : bytes;
}
