/*
 * writeback.c - dirty pages go where they belong, and errors to who asks
 *
 * WHAT    Dirty pages that are neighbours go in one call. They are clean from the moment the call
 *         begins, so that what is written into them meanwhile makes them dirty again; and dirty
 *         again if it fails. The first error since the last sync is kept, whoever met it, and
 *         told once, by the next one (Linux: lib/errseq.c; "PostgreSQL's fsync() surprise",
 *         LWN 2018).
 *
 *           dirty --run--> WRITEBACK --done--> clean
 *             ^                |
 *             +--- failed, or pinned by somebody who may write at any time
 *
 *         Before the call, areas lose the right to write the pages: who writes then faults, and
 *         waits until the call is over.
 *
 * RULES   W2  in vmscan.h; W5 in index.h; W6 in file.h. What was written before a sync that returns
 *         0 is in the backing: tests/model/test_cache.c.
 *
 * LOCKS   mapping.lock, not while the backing writes.
 *
 * COST    The next dirty page is found by the index's marks.
 */
#include "base/errno.h"
#include "reclaim/file.h"

/** Who writes has to write back when more than this share of what could be pages is dirty. */
#define DIRTY_SHARE 5

struct run {
    uint32_t page;
    unsigned count;
    uint64_t bytes; /* the last page may be cut */
    bool writable;  /* the host refused to protect them: they may change at any time */
    uint32_t frames[QY_BATCH];
};

/** Of pages that are dirty now, those from run->page on that are neighbours; none that may just be
 *  cut off, or cut. mapping.lock held. */
static void begin_run(struct qy_file *file, struct run *run)
{
    uint64_t offset = (uint64_t)run->page << QY_PAGE_SHIFT;
    uint64_t end = file->cut == UINT64_MAX ? qy_file_pages(file) : file->cut >> QY_PAGE_SHIFT;
    uint8_t flags = 0;
    run->count = 0;
    while (run->count < QY_BATCH) {
        uint32_t page = run->page + run->count;
        if (page >= end || !qy_index_marked(&file->index, page))
            break;
        uint32_t frame = qy_index_get(&file->index, page);
        struct qy_folio *folio = qy_file_folio(file, frame);
        if (folio->flags & (QY_FOLIO_BUSY | QY_FOLIO_WRITEBACK))
            break;
        if (file->ops.writev == NULL && run->count > 0 && frame != run->frames[run->count - 1] + 1)
            break; /* that would be another call */
        qy_file_clear_dirty(file, page, frame);
        folio->flags |= QY_FOLIO_WRITEBACK;
        flags |= folio->flags;
        run->frames[run->count++] = frame;
    }
    if (flags & QY_FOLIO_MAPPED)
        run->writable = qy_file_write_protect(file, run->page, run->count) != 0;
    file->nr_writeback += run->count;
    qy_count(&file->vmscan->nr_writeback, run->count);
    run->bytes = (uint64_t)run->count << QY_PAGE_SHIFT;
    if (offset + run->bytes > file->bytes && run->count > 0)
        run->bytes = file->bytes - offset;
}

static void end_run(struct qy_file *file, const struct run *run, int code)
{
    for (unsigned i = 0; i < run->count; i++) {
        struct qy_folio *folio = qy_file_folio(file, run->frames[i]);
        folio->flags &= (uint8_t)~QY_FOLIO_WRITEBACK;
        if (code != 0 || run->writable || (folio->flags & QY_FOLIO_WRITE_PIN))
            qy_file_set_dirty(file, run->page + i, run->frames[i]);
    }
    file->nr_writeback -= run->count;
    atomic_fetch_sub_explicit(&file->vmscan->nr_writeback, run->count, memory_order_relaxed);
    file->written += code == 0 ? run->count : 0;
    file->errors += code != 0;
    if (code != 0 && file->error == 0)
        file->error = code;
    qy_file_notify(file);
}

static unsigned pieces_of(const struct qy_file *file, const struct run *run,
                          struct qy_piece *pieces)
{
    unsigned nr = 0;
    uint64_t left = run->bytes;
    for (unsigned i = 0; i < run->count; i++) {
        uint64_t part = left < QY_PAGE_BYTES ? left : QY_PAGE_BYTES;
        if (i > 0 && run->frames[i] == run->frames[i - 1] + 1)
            pieces[nr - 1].bytes += part;
        else
            pieces[nr++] = (struct qy_piece){qy_file_address(file, run->frames[i]), part};
        left -= part;
    }
    return nr;
}

/** A backing that takes less than it was given has no room for the rest. */
static int write_pieces(const struct qy_file *file, uint64_t offset, const struct qy_piece *pieces,
                        unsigned nr, uint64_t bytes)
{
    int64_t put = file->ops.writev != NULL
                      ? file->ops.writev(file->cookie, offset, pieces, nr)
                      : file->ops.write(file->cookie, offset, pieces->base, bytes);
    return put < 0 ? (int)put : (uint64_t)put < bytes ? -QY_EIO : 0;
}

static int write_run(struct qy_file *file, const struct run *run)
{
    struct qy_piece pieces[QY_BATCH];
    unsigned nr = pieces_of(file, run, pieces);
    return write_pieces(file, (uint64_t)run->page << QY_PAGE_SHIFT, pieces, nr, run->bytes);
}

int qy_file_write_run(struct qy_file *file, uint32_t *page, bool wait)
{
    struct run run = {.page = *page};
    qy_lock(&file->mapping.lock);
    while (qy_index_next(&file->index, &run.page, true) &&
           (uint64_t)run.page << QY_PAGE_SHIFT < file->bytes) {
        begin_run(file, &run);
        if (run.count > 0)
            break;
        if (wait)
            qy_file_wait(file); /* until it is not BUSY, under WRITEBACK, or being cut off */
        else
            run.page++;
    }
    qy_unlock(&file->mapping.lock);
    if (run.count == 0)
        return 0;
    int code = write_run(file, &run);
    qy_lock(&file->mapping.lock);
    end_run(file, &run, code);
    qy_unlock(&file->mapping.lock);
    *page = run.page + run.count;
    return code != 0 ? code : (int)run.count;
}

void qy_file_write_all(struct qy_file *file)
{
    uint32_t page = 0;
    while (qy_file_write_run(file, &page, true) != 0)
        ;
    qy_lock(&file->mapping.lock);
    while (file->nr_writeback > 0) /* what others began to write before */
        qy_file_wait(file);
    qy_unlock(&file->mapping.lock);
}

void qy_file_balance(struct qy_file *file)
{
    struct qy_vmscan *vmscan = file->vmscan;
    uint64_t dirty = qy_figure(&vmscan->nr_dirty);
    if (dirty < QY_BATCH)
        return;
    uint64_t pages = qy_lru_pages(vmscan, QY_LRU_ALL_PLACES);
    uint64_t could_be = pages + qy_free_frames(vmscan->mm);
    uint64_t online = atomic_load_explicit(&vmscan->mm->managed, memory_order_relaxed);
    uint64_t limit = vmscan->mm->options.limit_pages;
    if (vmscan->mm->options.grow)
        could_be += limit == 0 ? online : limit > online ? limit - online : 0;
    uint32_t page = atomic_load_explicit(&file->balance_page, memory_order_relaxed);
    bool again = page != 0; /* from the beginning */
    while (qy_figure(&vmscan->nr_dirty) > could_be / DIRTY_SHARE) {
        int written = qy_file_write_run(file, &page, false);
        if (written < 0 || (written == 0 && !again))
            break;
        if (written == 0) {
            again = false;
            page = 0;
        }
    }
    atomic_store_explicit(&file->balance_page, page, memory_order_relaxed);
}

int qy_file_sync(struct qy_file *file)
{
    if (qy_port_inherited(file))
        return -QY_ENOTSUP;
    qy_file_write_all(file);
    int synced = file->ops.sync != NULL ? file->ops.sync(file->cookie) : 0;
    qy_lock(&file->mapping.lock);
    int code = file->error != 0 ? file->error : synced;
    file->errors += synced != 0;
    file->error = 0;
    qy_unlock(&file->mapping.lock);
    return code;
}
