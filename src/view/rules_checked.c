/*
 * rules_checked.c - the rules of what is looked at on each call: D1..D6
 *
 * WHAT    Every object of a checked cache, live or free, is looked at as its own free or
 *         alloc would look at it; every guarded run, and the quarantine's list; every block of
 *         the pool of samples.
 *
 * RULES   none of its own. It changes nothing.
 *
 * LOCKS   chain_lock is held, slots are stopped (rules.c); each cache->lock in turn, then
 *         quarantine.lock.
 *
 * COST    Every byte of every checked object that is free, and a byte for each frame.
 */
#include "view/rules.h"
#include "slab/guarded.h"
#include "slab/magazine.h"
#include "slab/sampled.h"

/* ---- objects ---- */

static void check_objects(struct qy_ruling *ruling, const struct qy_slab_list *list)
{
    for (const struct qy_list *link = list->slabs.next; link != &list->slabs; link = link->next) {
        const struct qy_slab *slab = qy_list_entry(link, struct qy_slab, link);
        for (unsigned i = 0; i < slab->nr_objects; i++) {
            const char *rule = qy_checked_look(slab, i);
            if (rule != NULL)
                qy_broken_name(ruling, rule, "cache", slab->cache->name,
                               rule[1] == '1' ? "a live object's red zone is damaged"
                                              : "a free object was written to");
            if (qy_bits_test(&slab->free, i) && slab->notes[i].bytes != QY_OBJECT_FREED)
                qy_broken_name(ruling, "D5", "cache", slab->cache->name,
                               "a free object is not noted as freed");
        }
    }
}

/** An object that waits, in the cache's frames: rules_slab.c has looked at those. */
static bool waits_rightly(const struct qy_kmem_cache *cache, unsigned place)
{
    const struct qy_mm *mm = cache->mm;
    const void *object = cache->waiting[place];
    bool exact;
    uint64_t frame = qy_address_index(mm, object);
    if (!qy_frame_is_online(mm, frame) || mm->tags[frame] != cache->tag)
        return false;
    const struct qy_slab *slab = qy_slab_of(cache, object);
    unsigned index = qy_slab_index(slab, object, &exact);
    if (!exact || index >= slab->nr_objects || qy_bits_test(&slab->free, index) ||
        slab->notes[index].bytes != QY_OBJECT_FREED)
        return false;
    for (unsigned i = 0; i < place; i++)
        if (cache->waiting[i] == object)
            return false;
    return true;
}

static void check_waiting(struct qy_ruling *ruling, const struct qy_kmem_cache *cache)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cache->most_waiting && cache->waiting != NULL; i++) {
        if (cache->waiting[i] == NULL)
            continue;
        count++;
        if (!waits_rightly(cache, i))
            qy_broken_name(ruling, "D5", "cache", cache->name,
                           "what waits is no freed object, or waits twice");
    }
    if (count != cache->nr_waiting)
        qy_broken_name(ruling, "D5", "cache", cache->name,
                       "nr_waiting is not the number of those that wait");
}

static void check_sampled(struct qy_ruling *ruling, const struct qy_kmem_cache *cache)
{
    const struct qy_mm *mm = ruling->mm;
    const struct qy_sample_pool *pool = mm->sampling.pool;
    const struct qy_slab_list *live = &cache->slabs_full;
    for (const struct qy_list *link = live->slabs.next; link != &live->slabs; link = link->next) {
        const char *rule = qy_sampled_look(qy_list_entry(link, struct qy_slab, link));
        if (rule != NULL)
            qy_broken_name(ruling, rule, "cache", cache->name,
                           rule[1] == '1' ? "what lies beside a block was written to"
                                          : "a block is not where, or what, its slot says");
    }
    if (live->count != mm->sampling.nr_live || (pool == NULL && live->count != 0) ||
        (pool != NULL && mm->sampling.nr_made > pool->nr_slots))
        qy_broken_name(ruling, "D6", "cache", cache->name,
                       "its figures are not those of its slabs");
}

void qy_check_checked(struct qy_ruling *ruling)
{
    qy_list_for_each (link, &ruling->mm->chain) {
        struct qy_kmem_cache *cache = qy_list_entry(link, struct qy_kmem_cache, chain);
        if (!(cache->flags & QY_SLAB_CHECKED))
            continue;
        qy_lock(&cache->lock);
        check_objects(ruling, &cache->slabs_full);
        check_objects(ruling, &cache->slabs_partial);
        check_objects(ruling, &cache->slabs_empty);
        check_waiting(ruling, cache);
        if (cache->flags & QY_SLAB_SAMPLED)
            check_sampled(ruling, cache);
        qy_unlock(&cache->lock);
    }
}

/* ---- guarded runs ---- */

/** Returns the frames that the run takes with its guards; 0: it is none. */
static uint64_t check_run(struct qy_ruling *ruling, uint64_t head)
{
    const struct qy_mm *mm = ruling->mm;
    uint64_t behind = head + mm->pages[head].run_frames;
    if (head == 0 || mm->tags[head - 1] != QY_TAG_GUARD || !qy_frame_is_online(mm, behind) ||
        mm->tags[behind] != QY_TAG_GUARD) {
        qy_broken(ruling, "D3", "frame", mm->start_pfn + head, "a run is not between guards");
        return 0;
    }
    if (mm->tags[head] == QY_TAG_RUN && !qy_guarded_whole(mm, head))
        qy_broken(ruling, "D1", "frame", mm->start_pfn + head, "a run's red tail is damaged");
    return behind - head + 2;
}

static void check_list(struct qy_ruling *ruling, uint64_t nr_runs, uint64_t nr_frames)
{
    const struct qy_mm *mm = ruling->mm;
    const struct qy_quarantine *quarantine = &mm->quarantine;
    uint64_t head = quarantine->oldest;
    uint64_t count = 0;
    while (count < quarantine->nr_runs && qy_frame_is_online(mm, head) &&
           mm->tags[head] == QY_TAG_FREED) {
        count++;
        if (count == quarantine->nr_runs)
            break;
        head = mm->pages[head + mm->pages[head].run_frames].next_freed;
    }
    if (count != quarantine->nr_runs || (count > 0 && head != quarantine->newest) ||
        nr_runs != quarantine->nr_runs || nr_frames != quarantine->nr_frames)
        qy_broken(ruling, "D4", "quarantine of", quarantine->nr_runs,
                  "runs: its list is not what its counts say");
}

void qy_check_guarded(struct qy_ruling *ruling)
{
    struct qy_mm *mm = ruling->mm;
    uint64_t end = (uint64_t)qy_last_block(mm) * QY_PAGEBLOCK_FRAMES;
    uint64_t nr_runs = 0, nr_frames = 0;
    if (!mm->hardened)
        return;
    qy_lock(&mm->quarantine.lock);
    for (uint64_t head = 0; head < end; head++) {
        uint8_t tag = qy_frame_is_online(mm, head) ? mm->tags[head] : QY_TAG_NONE;
        if (tag != QY_TAG_RUN && tag != QY_TAG_FREED)
            continue;
        uint64_t frames = check_run(ruling, head);
        nr_runs += tag == QY_TAG_FREED;
        nr_frames += tag == QY_TAG_FREED ? frames : 0;
    }
    check_list(ruling, nr_runs, nr_frames);
    qy_unlock(&mm->quarantine.lock);
}
