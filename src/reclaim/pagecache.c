/*
 * pagecache.c - the pages of a file, and the states they go through
 *
 * WHAT    See file.h. All here is done under the file's lock, except where somebody waits; the
 *         copying and the calls of the backing are in the files that use this one:
 *
 *           filemap.c     read, write                readahead.c   reading in
 *           writeback.c   writing back, sync         truncate.c    lengths
 *           mapping.c     what a mover may ask for   vmscan.c      giving up
 *           mmap.c        areas of spaces            rmap.c        taking pages from them
 *           pin.c         pins
 *
 * RULES   W1, W2  in vmscan.h; W4 in file.h; W5 in index.h; T4 in memory/folio.h. Checked by
 *         qy_check_cache() in view/rules_cache.c.
 *
 * LOCKS   mapping.lock held by the callers; vmscan->lock, and a zone's, within.
 *
 * COST    A look into the index, and a lock pair where the lists change.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "buddy/buddy.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

/* ---- waiting ---- */

void qy_file_wait(struct qy_file *file)
{
    uint32_t event = atomic_load_explicit(&file->event, memory_order_relaxed);
    file->nr_waiters++;
    qy_unlock(&file->mapping.lock);
    qy_port_sleep(&file->event, event);
    qy_lock(&file->mapping.lock);
    file->nr_waiters--;
}

void qy_file_notify(struct qy_file *file)
{
    if (qy_likely(file->nr_waiters == 0))
        return;
    atomic_fetch_add_explicit(&file->event, 1, memory_order_relaxed);
    qy_port_wake(&file->event);
}

bool qy_file_has(struct qy_file *file, uint64_t offset)
{
    while (offset >= file->cut && offset < file->bytes)
        qy_file_wait(file);
    return offset < file->bytes;
}

uint32_t qy_file_ready(struct qy_file *file, uint32_t page, bool stable)
{
    uint8_t unready = stable ? QY_FOLIO_BUSY | QY_FOLIO_WRITEBACK : QY_FOLIO_BUSY;
    for (;;) {
        uint32_t frame = qy_index_get(&file->index, page);
        if (frame == QY_NO_FRAME || !(qy_file_folio(file, frame)->flags & unready))
            return frame;
        qy_file_wait(file);
    }
}

/* ---- coming and going ---- */

void qy_file_insert(struct qy_file *file, uint32_t page, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    qy_assert(folio->lru == QY_LRU_NONE, "W1");
    qy_assert(folio->pins == 0, "V3"); /* apart: together they are one load, of state as well */
    folio->flags = QY_FOLIO_BUSY | QY_FOLIO_UNUSED;
    qy_index_set(&file->index, page, frame);
    qy_folio_own(folio, &file->mapping, page);
    file->nr_pages++;
}

void qy_file_inserted(struct qy_file *file, uint32_t page, uint32_t frame)
{
    struct qy_vmscan *vmscan = file->vmscan;
    qy_lock(&vmscan->lock);
    bool lately = qy_evicted_lately_locked(vmscan, file->number, page);
    qy_lru_add_locked(vmscan, frame, lately ? QY_LRU_ACTIVE : QY_LRU_INACTIVE);
    qy_unlock(&vmscan->lock);
    qy_file_not_busy(file, frame);
}

/** Off their lists, out of the index: the frames are nobody's, and can go back. */
static void forget(struct qy_file *file, uint32_t page, uint32_t frame, unsigned count,
                   bool evicted)
{
    struct qy_mm *mm = file->mapping.mm;
    qy_lock(&file->vmscan->lock);
    for (unsigned i = 0; i < count; i++) {
        qy_lru_remove_locked(file->vmscan, frame + i);
        if (evicted)
            qy_evicted_note_locked(file->vmscan, file->number, page + i);
    }
    qy_unlock(&file->vmscan->lock);
    for (unsigned i = 0; i < count; i++) {
        struct qy_folio *folio = qy_file_folio(file, frame + i);
        qy_assert(folio->pins == 0 && !(folio->flags & QY_FOLIO_WRITEBACK), "V3");
        qy_assert(!(folio->flags & QY_FOLIO_MAPPED), "V8");
        qy_file_clear_dirty(file, page + i, frame + i);
        qy_index_remove(mm, &file->index, page + i);
        folio->flags = 0;
        qy_folio_disown(folio);
    }
    file->nr_pages -= count;
}

void qy_file_forget_run(struct qy_file *file, uint32_t page, uint32_t frame, unsigned count)
{
    forget(file, page, frame, count, false);
    qy_file_notify(file);
}

void qy_file_remove(struct qy_file *file, uint32_t page, uint32_t frame)
{
    qy_file_forget_run(file, page, frame, 1);
    qy_lend_return(file->mapping.mm, file->mapping.mm->start_pfn + frame, 1);
}

/* ---- states ---- */

void qy_file_not_busy(struct qy_file *file, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    folio->flags &= (uint8_t)~QY_FOLIO_BUSY;
    qy_file_notify(file);
}

void qy_file_set_dirty(struct qy_file *file, uint32_t page, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    qy_assert(!qy_frame_in_guaranteed(file->mapping.mm, frame), "W4");
    if (folio->flags & QY_FOLIO_DIRTY)
        return;
    folio->flags |= QY_FOLIO_DIRTY;
    qy_index_mark(&file->index, page, true);
    file->nr_dirty++;
    qy_count(&file->vmscan->nr_dirty, 1);
}

void qy_file_clear_dirty(struct qy_file *file, uint32_t page, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    if (!(folio->flags & QY_FOLIO_DIRTY))
        return;
    folio->flags &= (uint8_t)~QY_FOLIO_DIRTY;
    qy_index_mark(&file->index, page, false);
    file->nr_dirty--;
    atomic_fetch_sub_explicit(&file->vmscan->nr_dirty, 1, memory_order_relaxed);
}

/** The first use is what it came for, and the same page again is the same use: who reads it in
 *  pieces has not come back to it. Who touches one that is on trial has. */
void qy_file_used(struct qy_file *file, uint32_t page, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    bool first = folio->flags & QY_FOLIO_UNUSED, on_trial = folio->flags & QY_FOLIO_ON_TRIAL;
    folio->flags &= (uint8_t) ~(QY_FOLIO_UNUSED | QY_FOLIO_ON_TRIAL);
    if (on_trial || (!first && page != file->last_page))
        folio->flags |= QY_FOLIO_REFERENCED;
    file->last_page = page;
}

/* ---- to another frame ---- */

void qy_file_replace(struct qy_file *file, uint32_t page, uint32_t from, uint32_t to)
{
    struct qy_folio *old = qy_file_folio(file, from), *new = qy_file_folio(file, to);
    qy_assert(new->lru == QY_LRU_NONE && old->pins == old->long_pins, "V3");
    qy_assert(!(old->flags & QY_FOLIO_MAPPED), "V8");
    new->flags = old->flags;
    new->pins = old->pins;
    new->long_pins = old->long_pins;
    qy_lock(&file->vmscan->lock);
    unsigned lru = old->lru;
    qy_lru_remove_locked(file->vmscan, from);
    if (lru != QY_LRU_NONE)
        qy_lru_add_locked(file->vmscan, to, (enum qy_lru)lru);
    qy_unlock(&file->vmscan->lock);
    qy_index_set(&file->index, page, to);
    qy_folio_own(new, &file->mapping, page);
    old->flags = 0;
    old->pins = old->long_pins = 0;
    qy_folio_disown(old);
    qy_lend_return(file->mapping.mm, file->mapping.mm->start_pfn + from, 1);
}

void qy_file_copy_to(struct qy_file *file, uint32_t page, uint32_t from, uint32_t to)
{
    __builtin_memcpy(qy_file_address(file, to), qy_file_address(file, from), QY_PAGE_BYTES);
    qy_file_replace(file, page, from, to);
}

/** A frame that may be pinned, or hold what is dirty; no lock is held. */
static qy_pfn_t frame_outside(const struct qy_file *file, bool pinned)
{
    struct qy_mm *mm = file->mapping.mm;
    enum qy_lend promise = pinned ? QY_LEND_PINNED : QY_LEND_OUTSIDE;
    struct qy_scan scan = {
        .vmscan = file->vmscan, .wanted = 32, .places = 1u << QY_LRU_ORDINARY, .write = true};
    bool fresh;
    qy_pfn_t pfn = qy_lend_block(mm, QY_GFP_NOWAIT, promise, 0, &fresh);
    if (pfn == QY_PFN_NONE && qy_shrink_cache(&scan) > 0)
        pfn = qy_lend_block(mm, QY_GFP_NOWAIT, promise, 0, &fresh);
    return pfn;
}

/** Until then the page may be dropped: a guaranteed region never waits for somebody who looks for a
 *  frame. So it is not BUSY, and copied under the lock. */
int qy_file_leave_region(struct qy_file *file, uint32_t page, uint32_t *frame, bool pinned)
{
    struct qy_mm *mm = file->mapping.mm;
    qy_file_folio(file, *frame)->flags |=
        QY_FOLIO_REFERENCED; /* else it might give way to itself */
    qy_unlock(&file->mapping.lock);
    qy_pfn_t pfn = frame_outside(file, pinned);
    qy_lock(&file->mapping.lock);
    if (pfn == QY_PFN_NONE)
        return -QY_ENOMEM;
    uint32_t to = (uint32_t)qy_frame_index(mm, pfn);
    int code = -QY_EAGAIN;
    bool there = qy_index_get(&file->index, page) == *frame;
    bool in_use = there && !qy_folio_at_rest(qy_file_folio(file, *frame));
    if (there && !in_use)
        code = qy_file_unmap_page(file, page, *frame) ? 0 : -QY_ENOMEM;
    if (code != 0) {
        qy_lend_return(mm, pfn, 1);
        if (in_use)
            qy_file_wait(file);
        return code;
    }
    qy_file_copy_to(file, page, *frame, to);
    *frame = to;
    return 0;
}

/* ---- giving up ---- */

QY_RACY uint64_t qy_guaranteed_idle(const struct qy_mm *mm)
{
    uint64_t idle = 0;
    for (unsigned z = 0; z < qy_nr_zones(mm); z++)
        idle += __atomic_load_n(&mm->zones[z].nr_free_of[QY_MIGRATE_GUARANTEED], __ATOMIC_RELAXED);
    return idle;
}

bool qy_file_evict(struct qy_file *file, uint32_t page, uint32_t frame, bool keep)
{
    struct qy_mm *mm = file->mapping.mm;
    const struct qy_folio *folio = qy_file_folio(file, frame);
    if (folio->pins != 0 || !qy_folio_at_rest(folio) || (folio->flags & QY_FOLIO_DIRTY) ||
        !qy_file_unmap_page(file, page, frame))
        return false;
    uint32_t to;
    if (keep && !qy_frame_in_guaranteed(mm, frame) && qy_lend_guaranteed(mm, 1, &to) == 1) {
        qy_file_copy_to(file, page, frame, to & ~QY_FRAME_FRESH);
        return true;
    }
    forget(file, page, frame, 1, true);
    qy_lend_return(mm, mm->start_pfn + frame, 1);
    return true;
}
