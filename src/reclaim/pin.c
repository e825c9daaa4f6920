/*
 * pin.c - pages of a file that stay where they are, for as long as somebody wants it
 *
 * WHAT    A pinned page is neither given up nor moved. So it does not lie in a region: it leaves
 *         before its first pin. One that is pinned to be written is dirty until it is unpinned, and
 *         once more then, for it may be written at any time.
 *
 * RULES   W3, W4  in file.h.
 *
 * LOCKS   mapping.lock.
 *
 * COST    A lock pair and a look into the index; the first pin of a page in a region, a copy.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "memory/fault.h"
#include "reclaim/file.h"

int qy_file_pin_ready(struct qy_file *file, uint32_t page, bool write, uint32_t *frame)
{
    *frame = qy_file_ready(file, page, write);
    if (*frame == QY_NO_FRAME)
        return -QY_EAGAIN;
    struct qy_folio *folio = qy_file_folio(file, *frame);
    if (folio->pins == UINT16_MAX)
        return -QY_EBUSY;
    if (folio->long_pins == 0 && qy_frame_in_region(file->mapping.mm, *frame)) {
        int code = qy_file_leave_region(file, page, frame, true);
        if (code != 0)
            return code;
        folio = qy_file_folio(file, *frame);
    }
    if (page >= qy_file_pages(file))
        return -QY_EAGAIN; /* it was cut off while this waited, or is just now */
    folio->pins++;
    file->nr_pinned += folio->long_pins++ == 0;
    if (write) {
        folio->flags |= QY_FOLIO_WRITE_PIN;
        qy_file_set_dirty(file, page, *frame);
    }
    qy_file_used(file, page, *frame);
    file->hits++;
    return 0;
}

void *qy_file_pin(struct qy_file *file, uint64_t index, bool write, int *code)
{
    uint32_t frame = QY_NO_FRAME;
    int result = qy_port_inherited(file)            ? -QY_ENOTSUP
                 : write && file->ops.write == NULL ? -QY_EROFS
                                                    : -QY_EAGAIN;
    while (result == -QY_EAGAIN) {
        qy_lock(&file->mapping.lock);
        if (index >= UINT32_MAX || !qy_file_has(file, index << QY_PAGE_SHIFT))
            result = -QY_EINVAL;
        else
            result = qy_file_pin_ready(file, (uint32_t)index, write, &frame);
        qy_unlock(&file->mapping.lock);
        if (result == -QY_EAGAIN && frame == QY_NO_FRAME) {
            int filled = qy_file_fill(file, (uint32_t)index, 0);
            result = filled != 0 ? filled : result;
        }
    }
    if (code != NULL)
        *code = result;
    return result == 0 ? qy_file_address(file, frame) : NULL;
}

void qy_file_unpin_locked(struct qy_file *file, uint32_t page, uint32_t frame)
{
    qy_assert_held(&file->mapping.lock);
    struct qy_folio *folio = qy_file_folio(file, frame);
    if (folio->flags & QY_FOLIO_WRITE_PIN)
        qy_file_set_dirty(file, page, frame);
    folio->pins--;
    if (--folio->long_pins == 0) {
        folio->flags &= (uint8_t)~QY_FOLIO_WRITE_PIN;
        file->nr_pinned--;
    }
    qy_file_notify(file);
}

int qy_file_unpin(struct qy_file *file, uint64_t index)
{
    if (qy_port_inherited(file))
        return -QY_ENOTSUP;
    qy_lock(&file->mapping.lock);
    uint32_t page = (uint32_t)index;
    uint32_t frame = index < UINT32_MAX ? qy_index_get(&file->index, page) : QY_NO_FRAME;
    struct qy_folio *folio = frame != QY_NO_FRAME ? qy_file_folio(file, frame) : NULL;
    if (folio == NULL || folio->long_pins == 0) {
        qy_unlock(&file->mapping.lock);
        return qy_fault_report(file->mapping.mm, &(struct qy_fault){.what = "unpin",
                                                                    .rule = "W3",
                                                                    .address = index,
                                                                    .unit = "page",
                                                                    .note = "it is not pinned"});
    }
    qy_file_unpin_locked(file, page, frame);
    qy_unlock(&file->mapping.lock);
    return 0;
}
