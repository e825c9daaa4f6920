/*
 * slab.c - slabs: contiguous pages cut into objects
 *
 * WHAT    A slab's header lies elsewhere (but for the cache of headers itself), and one bit
 *         an object says whether it is free. Objects are taken from partial slabs, then from
 *         empty ones; when there is neither, the buddy makes a new one. A slab moves between
 *         its cache's three lists as its objects go and come (Bonwick 1994).
 *
 * RULES   S1 .. S4  in slab/cache.h; T3 in memory/page.h. Checked by qy_check_slab() in
 *         view/rules_slab.c; S1 .. S3 also at every give.
 *
 * LOCKS   cache->lock for lists, bits and counts. Pages are taken and given without it.
 *
 * COST    take: a word of bits gives up to 64 objects. give: the slab's header, one
 *         multiplication, one bit, and a list move when the slab was full or becomes empty.
 */
#include "slab/cache.h"

#include "base/assert.h"
#include "base/errno.h"
#include "base/text.h"
#include "memory/fault.h"
#include "slab/run_depot.h"

/** Full slabs of a cache from which on new ones are filled with memory at once. */
#define POPULATE_FROM 4

/* ---- which object is this? ---- */

struct qy_slab *qy_slab_of(const struct qy_kmem_cache *cache, const void *object)
{
    struct qy_mm *mm = cache->mm;
    uint64_t index = qy_address_index(mm, object);
    return mm->pages[index >> cache->order << cache->order].slab;
}

unsigned qy_slab_index(const struct qy_slab *slab, const void *object, bool *exact)
{
    uint64_t offset = (uint64_t)((const char *)object - slab->base);
    if (offset >> 32 != 0) {
        *exact = false;
        return QY_SLAB_MOST_OBJECTS;
    }
    uint64_t index = offset * slab->cache->reciprocal >> QY_RECIPROCAL_SHIFT;
    *exact = index * slab->cache->stride == offset;
    return (unsigned)index;
}

/* ---- what is no object in use ---- */

static void fill_in_note(struct qy_fault *fault, struct qy_slab *slab, unsigned index)
{
    struct qy_kmem_cache *cache = slab->cache;
    if (slab->notes == NULL || index >= slab->nr_objects)
        return;
    qy_lock(&cache->lock);
    fault->allocated_by = slab->notes[index].allocated_by;
    fault->freed_by = slab->notes[index].freed_by;
    qy_unlock(&cache->lock);
}

/** The address lies in this cache's frames. */
static int report(struct qy_kmem_cache *cache, const void *object, const char *what,
                  const char *rule, const char *note)
{
    bool exact;
    struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    struct qy_fault fault = {
        .what = what,
        .rule = rule,
        .address = (uintptr_t)object,
        .cache = cache->name,
        .object = (uintptr_t)slab->base + (uintptr_t)index * cache->stride,
        .object_bytes = cache->object_bytes,
        .note = note,
    };
    fill_in_note(&fault, slab, index);
    return qy_fault_report(cache->mm, &fault);
}

int qy_slab_refuse(struct qy_kmem_cache *cache, const void *object, enum qy_act act)
{
    static const struct {
        const char *what[QY_NR_ACTS], *rule;
    } faults[] = {
        {{"double free", "use after free", "use after free"}, "S3"},
        {{"interior free", "interior query", "interior realloc"}, "S2"},
        {{"misaligned free", "misaligned query", "misaligned realloc"}, "S2"},
    };
    unsigned kind = qy_slab_is_start(cache, object) ? 0 : ((uintptr_t)object & 15) == 0 ? 1 : 2;
    return report(cache, object, faults[kind].what[act], faults[kind].rule, NULL);
}

int qy_slab_refuse_foreign(struct qy_kmem_cache *cache, const void *object)
{
    struct qy_mm *mm = cache->mm;
    char note[QY_CACHE_NAME_BYTES + 32];
    struct qy_text text;
    qy_text_init(&text, note, sizeof(note));
    qy_text_string(&text, "freed to cache ");
    qy_text_string(&text, cache->name);
    uint64_t index = qy_address_index(mm, object);
    uint8_t tag = qy_frame_online(mm, index) ? qy_tag_get(&mm->tags[index]) : QY_TAG_NONE;
    if (tag >= QY_TAG_CACHE && tag < QY_TAG_RUN_CLASS)
        return report(mm->cache_of[tag], object, "invalid free", "S1", note);
    return qy_fault_report(
        mm, &(struct qy_fault){
                .what = "invalid free", .rule = "S1", .address = (uintptr_t)object, .note = note});
}

/* ---- lists ---- */

static struct qy_slab_list *list_for(struct qy_kmem_cache *cache, const struct qy_slab *slab)
{
    if (slab->nr_free == 0)
        return &cache->slabs_full;
    return slab->nr_free == slab->nr_objects ? &cache->slabs_empty : &cache->slabs_partial;
}

static void move(struct qy_slab *slab, struct qy_slab_list *from, struct qy_slab_list *to)
{
    if (from == to)
        return;
    qy_list_remove(&slab->link);
    from->count--;
    qy_list_add(&to->slabs, &slab->link);
    to->count++;
}

static struct qy_slab *first_with_objects(struct qy_kmem_cache *cache)
{
    struct qy_list *slabs = &cache->slabs_partial.slabs;
    if (qy_list_empty(slabs))
        slabs = &cache->slabs_empty.slabs;
    return qy_list_empty(slabs) ? NULL : qy_list_entry(slabs->next, struct qy_slab, link);
}

/* ---- take and give ---- */

/** Take up to count objects of one slab; the lowest come last, to be popped first. */
static unsigned take_of(struct qy_slab *slab, unsigned count, void **objects)
{
    unsigned taken = 0;
    for (unsigned w = 0; w < QY_BITS_WORDS && taken < count; w++) {
        uint64_t bits = slab->free.word[w];
        for (; bits != 0 && taken < count; bits &= bits - 1) {
            unsigned index = w * QY_WORD_BITS + (unsigned)__builtin_ctzll(bits);
            objects[taken++] = slab->base + (size_t)index * slab->cache->stride;
        }
        slab->free.word[w] = bits;
    }
    slab->nr_free = (uint16_t)(slab->nr_free - taken);
    return taken;
}

unsigned qy_slab_take_locked(struct qy_kmem_cache *cache, unsigned count, void **objects)
{
    qy_assert_held(&cache->lock);
    unsigned taken = 0;
    struct qy_slab *slab;
    while (taken < count && (slab = first_with_objects(cache)) != NULL) {
        struct qy_slab_list *from = list_for(cache, slab);
        taken += take_of(slab, count - taken, objects + taken);
        move(slab, from, list_for(cache, slab));
    }
    cache->nr_free -= taken;
    return taken;
}

const char *qy_slab_give_locked(struct qy_kmem_cache *cache, void *object)
{
    qy_assert_held(&cache->lock);
    bool exact;
    struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    if (!exact || index >= slab->nr_objects)
        return "S2";
    if (qy_bits_test(&slab->free, index))
        return "S3";
    struct qy_slab_list *from = list_for(cache, slab);
    qy_bits_set(&slab->free, index);
    slab->nr_free++;
    cache->nr_free++;
    move(slab, from, list_for(cache, slab));
    return NULL;
}

/* ---- slabs come and go ---- */

static void tag_frames(struct qy_mm *mm, qy_pfn_t pfn, unsigned order, uint8_t tag)
{
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++)
        qy_tag_set(&mm->tags[qy_frame_index(mm, pfn) + i], tag);
}

static struct qy_slab *new_header(struct qy_kmem_cache *cache, struct qy_cpu *cpu, void *pages)
{
    if (cache->flags & QY_SLAB_ON_SLAB)
        return pages;
    return qy_slab_take_one(qy_cache_of_slabs(cache->mm), cpu, true);
}

static void free_header(struct qy_kmem_cache *cache, struct qy_slab *slab)
{
    if (!(cache->flags & QY_SLAB_ON_SLAB))
        qy_slab_give_one(qy_cache_of_slabs(cache->mm), slab);
}

/** The pages for the notes of a slab's objects, or none. */
static unsigned notes_order(const struct qy_kmem_cache *cache)
{
    size_t bytes = cache->nr_objects * sizeof(struct qy_object_note);
    unsigned order = 0;
    while (QY_PAGE_BYTES << order < bytes)
        order++;
    return order;
}

static struct qy_object_note *new_notes(struct qy_kmem_cache *cache, struct qy_cpu *cpu)
{
    struct qy_request request = cache->request;
    bool fresh;
    request.order = notes_order(cache);
    qy_pfn_t pfn = qy_take_pages(cache->mm, cpu, &request, &fresh);
    if (pfn == QY_PFN_NONE)
        return NULL;
    void *notes = qy_frame_address(cache->mm, pfn);
    if (!fresh)
        __builtin_memset(notes, 0, QY_PAGE_BYTES << request.order);
    return notes;
}

static void free_notes(struct qy_kmem_cache *cache, struct qy_cpu *cpu, void *notes)
{
    uint64_t index = qy_address_index(cache->mm, notes);
    qy_give_pages(cache->mm, cpu, cache->mm->start_pfn + index, notes_order(cache), false);
}

static void fill_in(struct qy_kmem_cache *cache, struct qy_slab *slab, char *pages)
{
    slab->cache = cache;
    slab->base = pages + cache->first_offset;
    slab->notes = NULL;
    slab->nr_objects = slab->nr_free = cache->nr_objects;
    for (unsigned w = 0, left = cache->nr_objects; w < QY_BITS_WORDS; w++) {
        unsigned count = left < QY_WORD_BITS ? left : QY_WORD_BITS;
        slab->free.word[w] = count != 0 ? ~UINT64_C(0) >> (QY_WORD_BITS - count) : 0;
        left -= count;
    }
}

/** What the objects are before anybody has them. */
static int prepare_objects(struct qy_kmem_cache *cache, struct qy_slab *slab, struct qy_cpu *cpu)
{
    if (cache->flags & QY_SLAB_CHECKED) {
        slab->notes = new_notes(cache, cpu);
        if (slab->notes == NULL)
            return -QY_ENOMEM;
        qy_checked_prepare(slab);
    }
    for (unsigned i = 0; i < cache->nr_objects && cache->ctor != NULL; i++)
        cache->ctor(slab->base + (size_t)i * cache->stride);
    return 0;
}

/** Its next slab will soon be written all over: one system call costs less than a fault a
 *  page. Of a cache with few slabs, or of objects as large as pages, nobody can say so. */
static bool is_busy(const struct qy_kmem_cache *cache)
{
    return cache->mm->options.lazy_backing && cache->stride < QY_PAGE_BYTES &&
           cache->slabs_full.count >= POPULATE_FROM;
}

static int grow(struct qy_kmem_cache *cache, struct qy_cpu *cpu, const struct qy_request *request)
{
    struct qy_mm *mm = cache->mm;
    bool fresh = false;
    qy_pfn_t pfn = qy_take_pages(mm, cpu, request, &fresh);
    if (pfn == QY_PFN_NONE)
        return -QY_ENOMEM;
    char *pages = qy_frame_address(mm, pfn);
    struct qy_slab *slab = new_header(cache, cpu, pages);
    if (slab == NULL) {
        qy_give_pages(mm, cpu, pfn, cache->order, fresh);
        return -QY_ENOMEM;
    }
    if (fresh && __atomic_load_n(&cache->populate, __ATOMIC_RELAXED))
        qy_populate(mm, pfn, cache->order);
    fill_in(cache, slab, pages);
    if (prepare_objects(cache, slab, cpu) != 0) {
        free_header(cache, slab);
        qy_give_pages(mm, cpu, pfn, cache->order, false);
        return -QY_ENOMEM;
    }
    tag_frames(mm, pfn, cache->order, cache->tag);
    mm->pages[qy_frame_index(mm, pfn)].slab = slab;
    qy_lock(&cache->lock);
    qy_list_add(&cache->slabs_empty.slabs, &slab->link);
    cache->slabs_empty.count++;
    cache->nr_free += slab->nr_free;
    __atomic_store_n(&cache->populate, is_busy(cache), __ATOMIC_RELAXED);
    qy_unlock(&cache->lock);
    return 0;
}

int qy_slab_grow(struct qy_kmem_cache *cache, struct qy_cpu *cpu)
{
    qy_run_depot_make_way(cache->mm, UINT64_C(1) << cache->order);
    return grow(cache, cpu, &cache->request);
}

void *qy_slab_take_one(struct qy_kmem_cache *cache, struct qy_cpu *cpu, bool may_grow)
{
    struct qy_request request = cache->request;
    void *object;
    request.within = !may_grow;
    for (;;) {
        qy_lock(&cache->lock);
        unsigned taken = qy_slab_take_locked(cache, 1, &object);
        qy_unlock(&cache->lock);
        if (taken == 1)
            return object;
        if (grow(cache, cpu, &request) != 0)
            return NULL;
    }
}

void qy_slab_give_one(struct qy_kmem_cache *cache, void *object)
{
    qy_lock(&cache->lock);
    const char *rule = qy_slab_give_locked(cache, object);
    qy_unlock(&cache->lock);
    qy_assert(rule == NULL, "S3");
    (void)rule;
}

static void release(struct qy_kmem_cache *cache, struct qy_cpu *cpu, struct qy_slab *slab)
{
    struct qy_mm *mm = cache->mm;
    uint64_t index = qy_address_index(mm, slab->base - cache->first_offset);
    qy_pfn_t pfn = mm->start_pfn + index;
    tag_frames(mm, pfn, cache->order, QY_TAG_NONE);
    mm->pages[index].slab = NULL;
    if (slab->notes != NULL) {
        qy_checked_retire(slab);
        free_notes(cache, cpu, slab->notes);
    }
    free_header(cache, slab);
    qy_give_pages(mm, cpu, pfn, cache->order, false);
}

size_t qy_slab_release(struct qy_kmem_cache *cache, struct qy_cpu *cpu, size_t keep)
{
    struct qy_list doomed;
    size_t frames = 0;
    qy_list_init(&doomed);
    qy_lock(&cache->lock);
    while (cache->slabs_empty.count > keep) {
        struct qy_slab *slab = qy_list_entry(cache->slabs_empty.slabs.prev, struct qy_slab, link);
        qy_list_remove(&slab->link);
        qy_list_add(&doomed, &slab->link);
        cache->slabs_empty.count--;
        cache->nr_free -= slab->nr_objects;
        frames += UINT64_C(1) << cache->order;
    }
    qy_unlock(&cache->lock);
    while (!qy_list_empty(&doomed)) {
        struct qy_slab *slab = qy_list_entry(doomed.next, struct qy_slab, link);
        qy_list_remove(&slab->link);
        release(cache, cpu, slab);
    }
    return frames;
}
