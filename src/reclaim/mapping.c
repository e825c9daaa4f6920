/*
 * mapping.c - what a mover may ask of a file
 *
 * WHAT    The answers of a cached file to space/mapping.h: its clean pages can be dropped, all
 *         that are not pinned can be moved, dirty ones can be written. Areas that have them lose
 *         them first: who touches one that is being moved waits in his fault, as a reader does.
 *
 * RULES   V1, V2, V3  in space/mapping.h.
 *
 * LOCKS   mapping.lock. Nothing here waits for a page: what is in use is -EAGAIN.
 *
 * COST    A lock pair for a run of pages; for each that goes what qy_file_remove() costs.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

QY_RACY static enum qy_folio_cost cost(const struct qy_mapping *mapping,
                                       const struct qy_folio *folio)
{
    (void)mapping;
    if (folio->long_pins != 0)
        return QY_COST_NEVER;
    return folio->flags & (QY_FOLIO_DIRTY | QY_FOLIO_WRITEBACK) ? QY_COST_WRITE : QY_COST_DROP;
}

/** The page is on this frame, and at rest. 0, -EAGAIN or -EBUSY. */
static int look(struct qy_file *file, uint32_t page, uint32_t frame)
{
    if (qy_index_get(&file->index, page) != frame)
        return -QY_EAGAIN;
    const struct qy_folio *folio = qy_file_folio(file, frame);
    if (folio->long_pins != 0)
        return -QY_EBUSY;
    return qy_folio_at_rest(folio) ? 0 : -QY_EAGAIN;
}

static int isolate(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn, unsigned count)
{
    struct qy_file *file = qy_file_of(mapping);
    uint32_t frame = (uint32_t)qy_frame_index(mapping->mm, pfn);
    unsigned done = 0;
    int code = 0;
    qy_lock(&mapping->lock);
    while (done < count && (code = look(file, index + done, frame + done)) == 0)
        done++;
    if (done > 0 && qy_file_unmap(file, index, done) != 0) {
        done = 0;
        code = -QY_ENOSPC;
    }
    for (unsigned i = 0; i < done; i++)
        qy_file_folio(file, frame + i)->flags |= QY_FOLIO_BUSY;
    qy_unlock(&mapping->lock);
    return done > 0 ? (int)done : code;
}

static int putback(struct qy_mapping *mapping, uint32_t index, qy_pfn_t from, qy_pfn_t to,
                   unsigned count)
{
    struct qy_file *file = qy_file_of(mapping);
    uint32_t frame = (uint32_t)qy_frame_index(mapping->mm, from);
    uint32_t new_frame = (uint32_t)qy_frame_index(mapping->mm, to);
    qy_lock(&mapping->lock);
    for (unsigned i = 0; i < count; i++) {
        qy_assert(qy_file_folio(file, frame + i)->flags & QY_FOLIO_BUSY, "V2");
        if (to != from)
            qy_file_replace(file, index + i, frame + i, new_frame + i);
        qy_file_not_busy(file, new_frame + i);
    }
    qy_unlock(&mapping->lock);
    return 0;
}

static int drop(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn, unsigned count)
{
    struct qy_file *file = qy_file_of(mapping);
    uint32_t frame = (uint32_t)qy_frame_index(mapping->mm, pfn);
    unsigned done = 0;
    uint8_t flags = 0;
    int code = 0;
    qy_lock(&mapping->lock);
    for (; done < count; done++) {
        code = look(file, index + done, frame + done);
        if (code == 0 && (qy_file_folio(file, frame + done)->flags & QY_FOLIO_DIRTY))
            code = -QY_EINVAL;
        if (code != 0)
            break;
        flags |= qy_file_folio(file, frame + done)->flags;
        if (done >= QY_GONE_AT_ONCE && !(flags & QY_FOLIO_MAPPED))
            break;
    }
    if ((flags & QY_FOLIO_MAPPED) && qy_file_unmap(file, index, done) != 0) {
        done = 0;
        code = -QY_EAGAIN;
    }
    if (done > 0)
        qy_file_forget_run(file, index, frame, done);
    qy_unlock(&mapping->lock);
    qy_lend_return(mapping->mm, pfn, done);
    return done > 0 ? (int)done : code;
}

static int clean(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn)
{
    struct qy_file *file = qy_file_of(mapping);
    uint32_t frame = (uint32_t)qy_frame_index(mapping->mm, pfn);
    qy_lock(&mapping->lock);
    bool dirty = qy_index_get(&file->index, index) == frame && qy_index_marked(&file->index, index);
    qy_unlock(&mapping->lock);
    uint32_t page = index; /* then behind those that were written: others, if it is in use */
    int written = dirty ? qy_file_write_run(file, &page, false) : 0;
    bool is_clean = !dirty || (written > 0 && page - (uint32_t)written == index);
    return written < 0 || is_clean ? written : -QY_EAGAIN;
}

const struct qy_mapping_ops qy_file_mapping_ops = {
    .kind = "file",
    .cost = cost,
    .isolate = isolate,
    .putback = putback,
    .drop = drop,
    .clean = clean,
};
