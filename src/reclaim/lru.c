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

static struct qy_lru_list *list_of(struct qy_vmscan *vmscan, uint32_t frame, unsigned lru)
{
    bool region = qy_frame_in_region(vmscan->mm, frame);
    return &vmscan->list[region ? QY_LRU_REGION : QY_LRU_ORDINARY][lru];
}

static void add(struct qy_vmscan *vmscan, struct qy_lru_list *list, uint32_t frame, unsigned lru)
{
    struct qy_folio *folio = &vmscan->mm->folios[frame];
    qy_assert(folio->lru == QY_LRU_NONE, "W1");
    folio->lru = (uint8_t)lru;
    folio->prev = QY_NO_FRAME;
    folio->next = list->newest;
    if (list->newest != QY_NO_FRAME)
        vmscan->mm->folios[list->newest].prev = frame;
    else
        list->oldest = frame;
    list->newest = frame;
    atomic_store_explicit(&list->count, qy_figure(&list->count) + 1, memory_order_relaxed);
}

static void unlink(struct qy_vmscan *vmscan, struct qy_lru_list *list, uint32_t frame)
{
    struct qy_folio *folio = &vmscan->mm->folios[frame];
    if (folio->prev != QY_NO_FRAME)
        vmscan->mm->folios[folio->prev].next = folio->next;
    else
        list->newest = folio->next;
    if (folio->next != QY_NO_FRAME)
        vmscan->mm->folios[folio->next].prev = folio->prev;
    else
        list->oldest = folio->prev;
    folio->lru = QY_LRU_NONE;
    atomic_store_explicit(&list->count, qy_figure(&list->count) - 1, memory_order_relaxed);
}

void qy_lru_add_locked(struct qy_vmscan *vmscan, uint32_t frame, enum qy_lru lru)
{
    add(vmscan, list_of(vmscan, frame, lru), frame, lru);
}

void qy_lru_remove_locked(struct qy_vmscan *vmscan, uint32_t frame)
{
    unsigned lru = vmscan->mm->folios[frame].lru;
    if (lru != QY_LRU_NONE)
        unlink(vmscan, list_of(vmscan, frame, lru), frame);
}

unsigned qy_lru_oldest(struct qy_vmscan *vmscan, enum qy_lru_place place, enum qy_lru lru,
                       unsigned most, uint32_t *frames)
{
    struct qy_lru_list *list = &vmscan->list[place][lru];
    qy_lock(&vmscan->lock);
    uint64_t there = qy_figure(&list->count);
    unsigned count = there < most ? (unsigned)there : most;
    for (unsigned i = 0; i < count; i++) {
        frames[i] = list->oldest;
        unlink(vmscan, list, frames[i]);
        add(vmscan, list, frames[i], lru);
    }
    qy_unlock(&vmscan->lock);
    return count;
}

uint64_t qy_lru_pages(const struct qy_vmscan *vmscan, enum qy_lru_place place)
{
    return qy_figure(&vmscan->list[place][QY_LRU_INACTIVE].count) +
           qy_figure(&vmscan->list[place][QY_LRU_ACTIVE].count);
}

uint64_t qy_lru_count(const struct qy_vmscan *vmscan, enum qy_lru lru)
{
    return qy_figure(&vmscan->list[QY_LRU_ORDINARY][lru].count) +
           qy_figure(&vmscan->list[QY_LRU_REGION][lru].count);
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

/** Its place in the table, which the lowest bits of the page, and so of neighbours, do not share. */
static struct qy_evicted *place_of(struct qy_vmscan *vmscan, uint32_t hash)
{
    return &vmscan->evicted[(hash >> 1) & vmscan->evicted_mask];
}

void qy_evicted_note_locked(struct qy_vmscan *vmscan, uint32_t file, uint32_t page)
{
    uint32_t hash = hash_of(file, page);
    vmscan->evictions++;
    if (vmscan->evicted != NULL)
        *place_of(vmscan, hash) = (struct qy_evicted){hash, vmscan->evictions};
}

bool qy_evicted_lately_locked(struct qy_vmscan *vmscan, uint32_t file, uint32_t page)
{
    uint32_t hash = hash_of(file, page);
    if (vmscan->evicted == NULL || place_of(vmscan, hash)->hash != hash)
        return false;
    struct qy_evicted *evicted = place_of(vmscan, hash);
    evicted->hash = 0;
    qy_count(&vmscan->refaults, 1);
    uint64_t pages = qy_lru_pages(vmscan, QY_LRU_ORDINARY) + qy_lru_pages(vmscan, QY_LRU_REGION);
    if (vmscan->evictions - evicted->when > pages)
        return false;
    qy_count(&vmscan->activated, 1);
    return true;
}

void qy_evicted_grow(struct qy_vmscan *vmscan)
{
    uint64_t pages = qy_lru_pages(vmscan, QY_LRU_ORDINARY) + qy_lru_pages(vmscan, QY_LRU_REGION);
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
