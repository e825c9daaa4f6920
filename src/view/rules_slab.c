/*
 * rules_slab.c - the rules of objects and of kept runs: T3, S1..S5, K6, G1, G2, R2 .. R4
 *
 * WHAT    Each slab of each cache is compared with its bits, its list, and the tags of its
 *         frames; each object in a magazine with the slab that it comes from.
 *
 * RULES   none of its own. It changes nothing.
 *
 * LOCKS   chain_lock is held, slots are stopped (rules.c); each cache->lock in turn.
 *
 * COST    Every slab header, and every object that lies in a magazine.
 */
#include "view/rules.h"
#include "slab/kept.h"
#include "slab/kmalloc.h"
#include "slab/magazine.h"
#include "slab/run_depot.h"

/** The frame of an address; one past the span if it lies outside. */
static uint64_t frame_of(const struct qy_mm *mm, const void *address)
{
    uint64_t frame = qy_address_index(mm, address);
    return (uintptr_t)address >= mm->base && frame < mm->nr_frames ? frame : mm->nr_frames;
}

/* ---- slabs ---- */

static void check_frames(struct qy_ruling *ruling, const struct qy_kmem_cache *cache,
                         const struct qy_slab *slab)
{
    const struct qy_mm *mm = ruling->mm;
    uint64_t head = frame_of(mm, slab->base);
    uint64_t count = UINT64_C(1) << cache->order;
    size_t bytes = (size_t)slab->nr_objects * cache->stride + cache->first_offset;
    if ((uintptr_t)slab->base - cache->first_offset != mm->base + (head << QY_PAGE_SHIFT) ||
        head % count != 0 || bytes > count << QY_PAGE_SHIFT) {
        qy_broken_name(ruling, "S2", "cache", cache->name, "a slab's objects do not fit its pages");
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        if (!qy_frame_is_online(mm, head + i) || qy_frame_is_free(mm, head + i) ||
            mm->tags[head + i] != cache->tag) {
            qy_broken_name(ruling, "T3", "cache", cache->name, "a slab's frame lacks its tag");
            return;
        }
    if (mm->pages[head].slab != slab)
        qy_broken_name(ruling, "T3", "cache", cache->name, "a slab's page does not name it");
}

static void check_one_slab(struct qy_ruling *ruling, const struct qy_kmem_cache *cache,
                           const struct qy_slab *slab)
{
    if (slab->cache != cache || slab->nr_objects != cache->nr_objects) {
        qy_broken_name(ruling, "S1", "cache", cache->name, "a slab on its lists is another's");
        return;
    }
    if (qy_bits_count(&slab->free) != slab->nr_free)
        qy_broken_name(ruling, "S3", "cache", cache->name,
                       "a slab's nr_free is not the number of its bits");
    for (unsigned i = slab->nr_objects; i < QY_SLAB_MOST_OBJECTS; i++)
        if (qy_bits_test(&slab->free, i))
            qy_broken_name(ruling, "S3", "cache", cache->name,
                           "a bit beyond the last object is set");
    check_frames(ruling, cache, slab);
}

/** Which of a cache's lists a slab belongs on. */
static const struct qy_slab_list *list_for(const struct qy_kmem_cache *cache,
                                           const struct qy_slab *slab)
{
    if (slab->nr_free == 0)
        return &cache->slabs_full;
    return slab->nr_free == cache->nr_objects ? &cache->slabs_empty : &cache->slabs_partial;
}

static size_t check_slab_list(struct qy_ruling *ruling, const struct qy_kmem_cache *cache,
                              const struct qy_slab_list *list)
{
    size_t count = 0, nr_free = 0;
    const struct qy_list *before = &list->slabs;
    for (const struct qy_list *link = list->slabs.next; link != &list->slabs; link = link->next) {
        if (count++ >= list->count || link->prev != before) {
            qy_broken_name(ruling, "S4", "cache", cache->name, "a list is not what its count says");
            return nr_free;
        }
        const struct qy_slab *slab = qy_list_entry(link, struct qy_slab, link);
        if (list_for(cache, slab) != list)
            qy_broken_name(ruling, "S4", "cache", cache->name, "a slab is on a wrong list");
        check_one_slab(ruling, cache, slab);
        nr_free += slab->nr_free;
        before = link;
    }
    if (count != list->count)
        qy_broken_name(ruling, "S4", "cache", cache->name, "a list is not what its count says");
    return nr_free;
}

static void check_cache(struct qy_ruling *ruling, const struct qy_kmem_cache *cache)
{
    size_t nr_free = check_slab_list(ruling, cache, &cache->slabs_full);
    nr_free += check_slab_list(ruling, cache, &cache->slabs_partial);
    nr_free += check_slab_list(ruling, cache, &cache->slabs_empty);
    if (nr_free != cache->nr_free)
        qy_broken_name(ruling, "S3", "cache", cache->name, "nr_free is not that of its slabs");
}

static void check_fits(struct qy_ruling *ruling)
{
    const struct qy_mm *mm = ruling->mm;
    for (unsigned class = 1; class < QY_KMALLOC_CLASSES; class ++) {
        uint32_t own = mm->fit[class].own;
        const struct qy_kmem_cache *cache = mm->cache_of[own & 0xff];
        if (own != 0 && (cache == NULL || cache->object_bytes != own >> 8 ||
                         cache->object_bytes >= qy_kmalloc_class_bytes(class) ||
                         cache->object_bytes <= qy_kmalloc_class_bytes(class - 1)))
            qy_broken(ruling, "K6", "class", class, "has a cache that does not fit in it");
    }
}

void qy_check_slab(struct qy_ruling *ruling)
{
    struct qy_mm *mm = ruling->mm;
    size_t chained = 0, tagged = 0;
    for (unsigned tag = 0; tag < QY_NR_TAGS; tag++)
        tagged += mm->cache_of[tag] != NULL;
    qy_list_for_each (link, &mm->chain) {
        struct qy_kmem_cache *cache = qy_list_entry(link, struct qy_kmem_cache, chain);
        if (chained++ > tagged || mm->cache_of[cache->tag] != cache) {
            qy_broken(ruling, "S5", "tag", cache->tag, "does not name the cache on the chain");
            return;
        }
        qy_lock(&cache->lock);
        check_cache(ruling, cache);
        qy_unlock(&cache->lock);
    }
    check_fits(ruling);
    if (chained != tagged)
        qy_broken(ruling, "S5", "chain of", chained, "caches, but another number have tags");
}

/* ---- magazines ---- */

/** An object that lies in a magazine: of this cache, and not free in its slab as well. */
static void check_object(struct qy_ruling *ruling, const struct qy_kmem_cache *cache,
                         const void *object)
{
    const struct qy_mm *mm = ruling->mm;
    uint64_t frame = frame_of(mm, object);
    if (frame == mm->nr_frames || !qy_frame_is_online(mm, frame) || mm->tags[frame] != cache->tag ||
        qy_slab_of(cache, object) == NULL) {
        qy_broken_name(ruling, "S1", "cache", cache->name, "a magazine holds what is not its own");
        return;
    }
    bool exact;
    const struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    if (!exact || index >= slab->nr_objects)
        qy_broken_name(ruling, "S2", "cache", cache->name, "a magazine holds half an object");
    else if (qy_bits_test(&slab->free, index))
        qy_broken_name(ruling, "G1", "cache", cache->name,
                       "an object is in a magazine and free in its slab");
}

static void check_magazine(struct qy_ruling *ruling, const struct qy_kmem_cache *cache,
                           void *const *magazine, unsigned count)
{
    void *const *objects = magazine + QY_MAGAZINE_WORDS - cache->places;
    if (objects[-1] != NULL && cache->places < QY_MAGAZINE_MOST)
        qy_broken_name(ruling, "G1", "cache", cache->name, "a magazine has no NULL at its bottom");
    for (unsigned i = 0; i < count; i++) {
        check_object(ruling, cache, objects[i]);
        for (unsigned j = 0; j < i; j++)
            if (objects[i] == objects[j])
                qy_broken_name(ruling, "G1", "cache", cache->name,
                               "an object is in a magazine twice");
    }
}

/** Full magazines, linked by their first word. */
static void check_depot(struct qy_ruling *ruling, const struct qy_kmem_cache *cache,
                        void *const *magazine, size_t count)
{
    for (; magazine != NULL && count > 0; count--) {
        void *const *objects = magazine + QY_MAGAZINE_WORDS - cache->places;
        bool full = true;
        for (unsigned i = 0; i < cache->places; i++)
            full = full && objects[i] != NULL;
        if (full)
            check_magazine(ruling, cache, magazine, cache->places);
        else
            qy_broken_name(ruling, "G2", "cache", cache->name, "a magazine in a depot is not full");
        magazine = *magazine;
    }
    if (magazine != NULL || count != 0)
        qy_broken_name(ruling, "G2", "cache", cache->name, "a depot is not what its count says");
}

/** Returns the bytes that the slot may keep of it beyond the usual. */
static uint64_t check_slot(struct qy_ruling *ruling, const struct qy_kmem_cache *cache,
                           const struct qy_cpu *cpu)
{
    void *const *top = cpu->top[cache->tag];
    void *const *magazine =
        (void *const *)((uintptr_t)(top - 1) & ~(uintptr_t)(QY_MAGAZINE_BYTES - 1));
    if (magazine != qy_no_magazine) {
        unsigned bottom = QY_MAGAZINE_MOST - cache->places;
        unsigned place = (unsigned)(top - 1 - magazine);
        if (place < bottom || frame_of(ruling->mm, top - 1) == ruling->mm->nr_frames)
            qy_broken_name(ruling, "G1", "cache", cache->name, "a slot's magazine is none");
        else if (magazine[bottom] != NULL)
            qy_broken_name(ruling, "G1", "cache", cache->name,
                           "a magazine has no NULL at its bottom");
        else
            check_magazine(ruling, cache, magazine, place - bottom);
    }
    if (cpu->depot == NULL)
        return 0;
    const struct qy_depot *own = &cpu->depot[cache->tag];
    check_depot(ruling, cache, own->full, own->nr_full);
    if (own->nr_full > cache->most_in_slot + own->extra)
        qy_broken_name(ruling, "G3", "cache", cache->name, "a slot keeps more than it may");
    return (uint64_t)own->extra * cache->places * cache->stride;
}

/** cache->lock held. Returns as check_slot(). */
static uint64_t check_shared(struct qy_ruling *ruling, const struct qy_kmem_cache *cache)
{
    unsigned empties = 0;
    check_depot(ruling, cache, cache->depot, cache->nr_depot);
    for (void *const *magazine = cache->empties; magazine != NULL && empties <= QY_MOST_SPARE;
         magazine = *magazine)
        empties++;
    if (empties != cache->nr_empties || empties > QY_MOST_SPARE)
        qy_broken_name(ruling, "G2", "cache", cache->name,
                       "empty magazines are not what their count says");
    if (cache->nr_depot > (size_t)cache->most_in_depot + cache->depot_extra)
        qy_broken_name(ruling, "G3", "cache", cache->name, "a depot keeps more than it may");
    return (uint64_t)cache->depot_extra * cache->places * cache->stride;
}

void qy_check_magazines(struct qy_ruling *ruling)
{
    struct qy_mm *mm = ruling->mm;
    uint64_t extra_bytes = 0;
    for (unsigned tag = QY_TAG_CACHE; tag < QY_NR_TAGS; tag++) {
        struct qy_kmem_cache *cache = mm->cache_of[tag];
        if (cache == NULL || cache->places == 0)
            continue;
        qy_list_for_each (link, &mm->cpus)
            extra_bytes += check_slot(ruling, cache, qy_list_entry(link, struct qy_cpu, link));
        qy_lock(&cache->lock);
        extra_bytes += check_shared(ruling, cache);
        qy_unlock(&cache->lock);
    }
    if (extra_bytes != atomic_load(&mm->extra_bytes))
        qy_broken(ruling, "G3", "bytes", extra_bytes, "beyond the usual are not what is counted");
}

/* ---- kept runs ---- */

/** A run that a slot or the depot keeps: online, and neither free in the buddy nor allocated. */
static void check_kept_run(struct qy_ruling *ruling, const char *rule, uint64_t head,
                           uint64_t count)
{
    const struct qy_mm *mm = ruling->mm;
    for (uint64_t i = 0; i < count; i++)
        if (!qy_frame_is_online(mm, head + i) || qy_frame_is_free(mm, head + i) ||
            mm->tags[head + i] != QY_TAG_NONE) {
            qy_broken(ruling, rule, "frame", mm->start_pfn + head + i,
                      "is kept, and free or allocated");
            return;
        }
}

/** The frames of a run that lie in other kept runs of the slot as well. */
static bool overlaps_another(const struct qy_kept *kept, const struct qy_kept_run *mine)
{
    uint64_t start = mine->index, end = start + mine->frames;
    for (unsigned class = 0; class < QY_RUN_CLASSES; class ++) {
        const struct qy_kept_run *run = kept->stack[class].run;
        for (unsigned i = 1; i <= qy_kept_count(&kept->stack[class]) && i <= QY_KEPT_PLACES; i++)
            if (&run[i] != mine && run[i].index < end && run[i].index + run[i].frames > start)
                return true;
    }
    return false;
}

static void check_kept(struct qy_ruling *ruling, const struct qy_kept *kept)
{
    uint64_t roomy = 0, rooms = 0;
    for (unsigned class = 0; class < QY_RUN_CLASSES; class ++) {
        const struct qy_kept_stack *stack = &kept->stack[class];
        const struct qy_kept_run *run = stack->run;
        uint32_t count = qy_kept_count(stack), room = stack->room / QY_KEPT_STEP;
        if (count > room || room > QY_KEPT_PLACES || run[0].frames != 0)
            qy_broken(ruling, "R2", "class", class, "has more runs than places");
        if ((kept->open >> class & 1) != (room != 0) ||
            (room != 0 && stack->exact.frames != qy_run_class_frames(class)))
            qy_broken(ruling, "R2", "class", class, "has room that nobody knows of");
        roomy += room * qy_run_class_frames(class);
        rooms += room;
        for (unsigned i = 1; i <= count && i <= QY_KEPT_PLACES; i++) {
            check_kept_run(ruling, "R2", run[i].index, run[i].frames);
            if (overlaps_another(kept, &run[i]))
                qy_broken(ruling, "R2", "class", class, "keeps frames that another run has");
            if (qy_run_class(run[i].frames) != class || run[i].tag != qy_run_tag(run[i].frames))
                qy_broken(ruling, "R2", "class", class, "keeps a run of another length");
        }
    }
    if (kept->roomy != roomy)
        qy_broken(ruling, "R2", "frames:", kept->roomy, "is not the sum of the rooms");
    if (rooms > 1 && roomy > QY_KEPT_MOST)
        qy_broken(ruling, "R2", "frames:", roomy, "more than a slot keeps");
}

static void check_run_depot(struct qy_ruling *ruling)
{
    struct qy_run_depot *depot = &ruling->mm->run_depot;
    uint64_t frames = 0;
    if (ruling->mm->small_bytes == 0)
        return; /* there is no kmalloc here */
    qy_lock(&depot->lock);
    for (unsigned class = 0; class < QY_RUN_CLASSES; class ++) {
        const struct qy_run_chunk *chunk = depot->chunk[class];
        for (; chunk != NULL; chunk = chunk->next)
            for (unsigned i = 0; i < chunk->count && i < QY_RUNS_A_CHUNK; i++) {
                frames += chunk->run[i].frames;
                check_kept_run(ruling, "R3", chunk->run[i].index, chunk->run[i].frames);
                if (qy_run_class(chunk->run[i].frames) != class)
                    qy_broken(ruling, "R3", "class", class, "has a run of another length");
            }
    }
    if (qy_run_depot_frames(ruling->mm) != frames)
        qy_broken(ruling, "R3", "frames:", qy_run_depot_frames(ruling->mm),
                  "is not the sum of the depot's runs");
    if (frames > depot->most)
        qy_broken(ruling, "R3", "frames:", frames, "more than the depot has room for");
    qy_unlock(&depot->lock);
}

void qy_check_kept(struct qy_ruling *ruling)
{
    check_run_depot(ruling);
    qy_list_for_each (link, &ruling->mm->cpus) {
        const struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        if (cpu->kept != NULL && !qy_cpu_is_suspended(cpu)) /* in the middle of a call, maybe */
            check_kept(ruling, cpu->kept);
        if (cpu->alone && (ruling->mm->many_slots || ruling->mm->nr_cpus != 1))
            qy_broken(ruling, "R4", "slots:", ruling->mm->nr_cpus,
                      "and one takes itself for alone");
    }
}
