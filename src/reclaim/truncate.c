/*
 * truncate.c - a file becomes shorter or longer, and pages that are asked to go do
 *
 * WHAT    Shorter: first the cut, so that nobody comes to what is behind it any more and none of
 *         it is written back; then the backing, which may refuse; then the pages go. Until it is
 *         known, the file is as long as before, and who wants what may go waits. Areas have none
 *         of those pages before the backing is asked, so none is touched meanwhile.
 *         Longer: what is new reads as zero, for the backing has nothing there, and what was
 *         written behind the end by a pointer is cleared.
 *
 * RULES   none of its own: it does as pagecache.c says.
 *
 * LOCKS   mapping.lock, let go of after each 64 pages that went; one change of a file at a time.
 *
 * COST    A step for each page that goes, and a lock pair for those that lie in a row.
 */
#include "base/errno.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

/** Is a page from this one on pinned? */
static bool any_pinned(struct qy_file *file, uint32_t page)
{
    for (; file->nr_pinned > 0 && qy_index_next(&file->index, &page, false); page++)
        if (qy_file_folio(file, qy_index_get(&file->index, page))->long_pins != 0)
            return true;
    return false;
}

/** A page, when nobody uses it: QY_NO_FRAME: it is not there. May let go of the lock. */
static uint32_t unused(struct qy_file *file, uint32_t page)
{
    for (;;) {
        uint32_t frame = qy_file_ready(file, page, true);
        if (frame == QY_NO_FRAME || !qy_folio_in_use(qy_file_folio(file, frame)))
            return frame;
        qy_file_wait(file);
    }
}

/** This page, which nobody uses, goes; and with it those behind it, as long as the next frame has
 *  the next page, which nobody uses either. Lets go of the lock. */
static void remove_run(struct qy_file *file, uint32_t page, uint32_t frame)
{
    struct qy_mm *mm = file->mapping.mm;
    unsigned count = 1;
    while (count < QY_GONE_AT_ONCE && qy_index_get(&file->index, page + count) == frame + count &&
           qy_folio_at_rest(qy_file_folio(file, frame + count)))
        count++;
    qy_file_forget_run(file, page, frame, count);
    qy_unlock(&file->mapping.lock);
    qy_lend_return(mm, mm->start_pfn + frame, count);
    qy_lock(&file->mapping.lock);
}

void qy_file_remove_from(struct qy_file *file, uint32_t page)
{
    while (qy_index_next(&file->index, &page, false)) {
        uint32_t frame = unused(file, page);
        if (frame != QY_NO_FRAME)
            remove_run(file, page, frame);
    }
}

void qy_file_clear_end(struct qy_file *file)
{
    uint64_t in_page = file->bytes & (QY_PAGE_BYTES - 1);
    uint32_t frame =
        in_page != 0 ? unused(file, (uint32_t)(file->bytes >> QY_PAGE_SHIFT)) : QY_NO_FRAME;
    if (frame != QY_NO_FRAME)
        __builtin_memset((char *)qy_file_address(file, frame) + in_page, 0,
                         QY_PAGE_BYTES - in_page);
}

/** Nobody comes to what is behind the new end any more. 0, -EBUSY or -ENOMEM. */
static int shorten(struct qy_file *file, uint64_t bytes)
{
    uint32_t page = (uint32_t)((bytes + QY_PAGE_BYTES - 1) >> QY_PAGE_SHIFT);
    if (any_pinned(file, page))
        return -QY_EBUSY;
    if (qy_file_unmap(file, page, UINT64_MAX) != 0)
        return -QY_ENOMEM;
    file->cut = bytes;
    while (file->nr_writeback > 0)
        qy_file_wait(file);
    return 0;
}

/** The length is changed, and with it the backing's. */
static int change(struct qy_file *file, uint64_t bytes)
{
    uint64_t before = file->bytes;
    int code = bytes < before ? shorten(file, bytes) : 0;
    if (code != 0)
        return code;
    if (bytes > before && file->was_mapped)
        qy_file_clear_end(file);
    qy_unlock(&file->mapping.lock);
    code = file->ops.truncate != NULL ? file->ops.truncate(file->cookie, bytes) : 0;
    qy_lock(&file->mapping.lock);
    file->bytes = code == 0 ? bytes : before;
    file->cut = UINT64_MAX;
    qy_file_notify(file);
    return code;
}

int qy_file_truncate(struct qy_file *file, uint64_t bytes)
{
    if (qy_port_inherited(file))
        return -QY_ENOTSUP;
    if (file->ops.write == NULL)
        return -QY_EROFS;
    if (bytes > QY_FILE_MOST_BYTES)
        return -QY_EFBIG;
    qy_file_change_begin(file);
    qy_lock(&file->mapping.lock);
    int code = -QY_ENOTSUP;
    bool shorter = bytes < file->bytes;
    if (!shorter || file->ops.truncate != NULL)
        code = change(file, bytes);
    if (code == 0 && shorter) {
        qy_file_remove_from(file, (uint32_t)qy_file_pages(file));
        qy_file_clear_end(file);
    }
    qy_unlock(&file->mapping.lock);
    qy_file_change_end(file);
    return code;
}

uint64_t qy_file_bytes(struct qy_file *file)
{
    if (qy_port_inherited(file))
        return 0;
    qy_lock(&file->mapping.lock);
    uint64_t bytes = file->bytes;
    qy_unlock(&file->mapping.lock);
    return bytes;
}

uint64_t qy_file_drop(struct qy_file *file)
{
    if (qy_port_inherited(file))
        return 0;
    struct qy_mapping *mapping = &file->mapping;
    uint64_t dropped = 0;
    uint32_t page = 0;
    qy_lock(&mapping->lock);
    while (qy_index_next(&file->index, &page, false)) {
        qy_pfn_t pfn = mapping->mm->start_pfn + qy_index_get(&file->index, page);
        qy_unlock(&mapping->lock);
        int gone = mapping->ops->drop(mapping, page, pfn, QY_GONE_AT_ONCE);
        dropped += gone > 0 ? (unsigned)gone : 0;
        page += gone > 0 ? (unsigned)gone : 1;
        qy_lock(&mapping->lock);
    }
    qy_unlock(&mapping->lock);
    return dropped;
}
