/*
 * lru.c - which pages were used lately, and which that are gone
 *
 * WHAT    A list goes through the folios: next is towards the oldest. What was given up is
 *         remembered in a table by a hash of file and page, with the number of the eviction:
 *         the difference to the number now says how many others went since. If that is less than
 *         there are pages, it would still be here in a cache twice as large, so it is worth
 *         more than what is inactive.
 *
 * RULES   W1, W2  in vmscan.h. Checked by qy_check_cache() in view/rules_cache.c.
 *
 * LOCKS   vmscan->lock.
 *
 * COST    A few words of three folios. 8 bytes for each page that is remembered; one that comes
 *         onto a taken place in the table makes the other forgotten.
 */
#include "base/assert.h"
#include "reclaim/index.h"
#include "reclaim/vmscan.h"

#include <quarry/slab.h>

#define LEAST_REMEMBERED 1024u

QY_RACY static unsigned type_of(const struct qy_mm *mm, uint32_t frame)
{
    return mm->blocks[frame / QY_PAGEBLOCK_FRAMES].migratetype;
}

bool qy_frame_in_guaranteed(const struct qy_mm *mm, uint32_t frame)
{
    return type_of(mm, frame) == QY_MIGRATE_GUARANTEED;
}

bool qy_frame_in_region(const struct qy_mm *mm, uint32_t frame)
{
    unsigned type = type_of(mm, frame);
    return type == QY_MIGRATE_CMA || type == QY_MIGRATE_GUARANTEED;
}

static enum qy_lru_place place_of_frame(const struct qy_mm *mm, uint32_t frame)
{
    unsigned type = type_of(mm, frame);
    return type == QY_MIGRATE_GUARANTEED ? QY_LRU_GUARANTEED
           : type == QY_MIGRATE_CMA      ? QY_LRU_REGION
                                         : QY_LRU_ORDINARY;
}

static void add(struct qy_vmscan *vmscan, uint32_t frame, enum qy_lru lru)
{
    struct qy_folio *folio = &vmscan->mm->folios[frame];
    enum qy_lru_place place = place_of_frame(vmscan->mm, frame);
    struct qy_lru_list *list = &vmscan->list[place][lru];
    qy_assert(folio->lru == QY_LRU_NONE, "W1");
    __atomic_store_n(&folio->lru, (uint8_t)lru, __ATOMIC_RELAXED);
    folio->place = (uint8_t)place;
    folio->prev = QY_NO_FRAME;
    folio->next = list->newest;
    if (list->newest != QY_NO_FRAME)
        vmscan->mm->folios[list->newest].prev = frame;
    else
        list->oldest = frame;
    list->newest = frame;
    atomic_store_explicit(&list->count, qy_figure(&list->count) + 1, memory_order_relaxed);
}

void qy_lru_add_locked(struct qy_vmscan *vmscan, uint32_t frame, enum qy_lru lru)
{
    qy_assert_held(&vmscan->lock);
    add(vmscan, frame, lru);
}

void qy_lru_remove_locked(struct qy_vmscan *vmscan, uint32_t frame)
{
    qy_assert_held(&vmscan->lock);
    struct qy_folio *folio = &vmscan->mm->folios[frame];
    struct qy_lru_list *list = &vmscan->list[folio->place][folio->lru];
    if (folio->lru == QY_LRU_NONE)
        return;
    if (folio->prev != QY_NO_FRAME)
        vmscan->mm->folios[folio->prev].next = folio->next;
    else
        list->newest = folio->next;
    if (folio->next != QY_NO_FRAME)
        vmscan->mm->folios[folio->next].prev = folio->prev;
    else
        list->oldest = folio->prev;
    __atomic_store_n(&folio->lru, (uint8_t)QY_LRU_NONE, __ATOMIC_RELAXED);
    atomic_store_explicit(&list->count, qy_figure(&list->count) - 1, memory_order_relaxed);
}

/** Up to @most of the oldest frames go to the newest end, which may by now be another list's. */
static unsigned turn_locked(struct qy_vmscan *vmscan, enum qy_lru_place place, enum qy_lru lru,
                            uint64_t most, uint32_t *frames)
{
    struct qy_lru_list *list = &vmscan->list[place][lru];
    uint64_t there = qy_figure(&list->count), count = there < most ? there : most;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t frame = list->oldest;
        qy_lru_remove_locked(vmscan, frame);
        add(vmscan, frame, lru);
        if (frames != NULL)
            frames[i] = frame;
    }
    return (unsigned)count;
}

unsigned qy_lru_oldest(struct qy_vmscan *vmscan, enum qy_lru_place place, enum qy_lru lru,
                       unsigned most, uint32_t *frames)
{
    qy_lock(&vmscan->lock);
    unsigned count = turn_locked(vmscan, place, lru, most, frames);
    qy_unlock(&vmscan->lock);
    return count;
}

void qy_lru_sort(struct qy_mm *mm)
{
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    if (vmscan == NULL)
        return;
    qy_lock(&vmscan->lock);
    for (unsigned place = 0; place < QY_NR_LRU_PLACES; place++)
        for (unsigned lru = QY_LRU_INACTIVE; lru < QY_NR_LRUS; lru++)
            turn_locked(vmscan, (enum qy_lru_place)place, (enum qy_lru)lru, UINT64_MAX, NULL);
    qy_unlock(&vmscan->lock);
}

uint64_t qy_lru_pages(const struct qy_vmscan *vmscan, unsigned places)
{
    uint64_t count = 0;
    for (unsigned place = 0; place < QY_NR_LRU_PLACES; place++)
        if (places >> place & 1)
            count += qy_figure(&vmscan->list[place][QY_LRU_INACTIVE].count) +
                     qy_figure(&vmscan->list[place][QY_LRU_ACTIVE].count);
    return count;
}

uint64_t qy_lru_count(const struct qy_vmscan *vmscan, enum qy_lru lru)
{
    uint64_t count = 0;
    for (unsigned place = 0; place < QY_NR_LRU_PLACES; place++)
        count += qy_figure(&vmscan->list[place][lru].count);
    return count;
}

/* ---- what is gone ---- */

/** Never 0. */
static uint32_t hash_of(uint32_t file, uint32_t page)
{
    uint64_t n = (uint64_t)file << 32 | page;
    n = (n ^ n >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    n = (n ^ n >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(n >> 32) | 1;
}

/** Its place in the table, which the lowest bits of the page, and so of neighbours, do not
 *  share. */
static struct qy_evicted *place_of(struct qy_vmscan *vmscan, uint32_t hash)
{
    return &vmscan->evicted[(hash >> 1) & vmscan->evicted_mask];
}

void qy_evicted_note_locked(struct qy_vmscan *vmscan, uint32_t file, uint32_t page)
{
    qy_assert_held(&vmscan->lock);
    uint32_t hash = hash_of(file, page);
    vmscan->evictions++;
    if (vmscan->evicted != NULL)
        *place_of(vmscan, hash) = (struct qy_evicted){hash, vmscan->evictions};
}

bool qy_evicted_lately_locked(struct qy_vmscan *vmscan, uint32_t file, uint32_t page)
{
    qy_assert_held(&vmscan->lock);
    uint32_t hash = hash_of(file, page);
    if (vmscan->evicted == NULL || place_of(vmscan, hash)->hash != hash)
        return false;
    struct qy_evicted *evicted = place_of(vmscan, hash);
    evicted->hash = 0;
    qy_count(&vmscan->refaults, 1);
    uint64_t pages = qy_lru_pages(vmscan, QY_LRU_ALL_PLACES);
    if (vmscan->evictions - evicted->when > pages)
        return false;
    qy_count(&vmscan->activated, 1);
    return true;
}

void qy_evicted_grow(struct qy_vmscan *vmscan)
{
    uint64_t pages = qy_lru_pages(vmscan, QY_LRU_ALL_PLACES);
    uint64_t places = __atomic_load_n(&vmscan->evicted_mask, __ATOMIC_RELAXED);
    if (qy_likely(pages <= places) || pages > UINT32_MAX / 2)
        return;
    for (places = LEAST_REMEMBERED; places < 2 * pages;)
        places *= 2;
    size_t bytes = places * sizeof(struct qy_evicted);
    struct qy_evicted *table = qy_kmalloc(vmscan->mm, bytes, QY_GFP_NOWAIT | QY_GFP_ZERO);
    if (table == NULL)
        return;
    qy_lock(&vmscan->lock);
    struct qy_evicted *before = vmscan->evicted;
    uint64_t nr_before = before != NULL ? (uint64_t)vmscan->evicted_mask + 1 : 0;
    if (nr_before < places) {
        vmscan->evicted = table;
        __atomic_store_n(&vmscan->evicted_mask, (uint32_t)places - 1, __ATOMIC_RELAXED);
        for (uint64_t i = 0; i < nr_before; i++)
            if (before[i].hash != 0)
                *place_of(vmscan, before[i].hash) = before[i];
        table = before;
    }
    qy_unlock(&vmscan->lock);
    qy_kfree(vmscan->mm, table);
}
