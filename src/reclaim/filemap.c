/*
 * filemap.c - reading and writing a file through its pages
 *
 * WHAT    To read: count in as pins of up to 16 ready pages, copy without the lock, count out. To
 *         write: make the page BUSY when its readers have left, copy, mark it dirty. So each
 *         page is read before or after it is written; and nobody holds a page while he waits for
 *         another, so nobody waits for ever.
 *
 *           read   [lock] pins + 1 [unlock]  copy  [lock] pins - 1 [unlock]
 *           write  [lock] BUSY     [unlock]  copy  [lock] dirty    [unlock]
 *
 *         A page for which there is no memory is read past the cache, while nobody writes.
 *
 * RULES   W4  in file.h.
 *
 * LOCKS   mapping.lock, never while bytes of the caller are touched: they may lie in an area, or
 *         in memory that faults. If it is a file's area, no page is held either.
 *
 * COST    A hit: two lock pairs, a look into the index, and the copy.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "reclaim/file.h"

#include <quarry/slab.h>

#define MOST_AT_ONCE 16u
/** A disk's smallest block. */
#define PIECE 512u

/* ---- reading ---- */

/** Pages that the caller counted in at. */
struct held {
    unsigned count;
    uint32_t frames[MOST_AT_ONCE];
};

/** Count in at the page. False: its pins cannot be counted. */
static bool hold(struct qy_file *file, struct held *held, uint32_t page, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    if (folio->pins == UINT16_MAX)
        return false;
    folio->pins++;
    held->frames[held->count++] = frame;
    qy_file_used(file, page, frame);
    return true;
}

/** How many of the bytes the file has; 0: it ends there. Waits until the first one's page is ready.
 *  mapping.lock held; it may be let go of. */
static size_t bytes_there(struct qy_file *file, size_t bytes, uint64_t offset)
{
    do {
        if (!qy_file_has(file, offset))
            return 0;
        qy_file_ready(file, (uint32_t)(offset >> QY_PAGE_SHIFT), false);
    } while (offset >= qy_file_end(file)); /* it was cut off while this waited, or is just now */
    uint64_t left = qy_file_end(file) - offset;
    return bytes < left ? bytes : (size_t)left;
}

/** Count in at as many of the pages [page, end) as are ready. mapping.lock held. */
static void hold_ready(struct qy_file *file, struct held *held, uint32_t page, uint64_t end)
{
    while (held->count < MOST_AT_ONCE && page < end) {
        uint32_t frame = qy_index_get(&file->index, page);
        if (frame == QY_NO_FRAME || (qy_file_folio(file, frame)->flags & QY_FOLIO_BUSY) ||
            qy_frame_in_guaranteed(file->mapping.mm, frame) || !hold(file, held, page, frame))
            break;
        page++;
    }
    file->hits += held->count;
}

static void let_go(struct qy_file *file, const struct held *held)
{
    qy_lock(&file->mapping.lock);
    for (unsigned i = 0; i < held->count; i++)
        qy_file_folio(file, held->frames[i])->pins--;
    qy_file_notify(file);
    qy_unlock(&file->mapping.lock);
}

static void copy_out(const struct qy_file *file, const struct held *held, char *to,
                     uint64_t in_page, size_t bytes)
{
    for (unsigned i = 0; i < held->count && bytes > 0; i++) {
        size_t part = QY_PAGE_BYTES - in_page < bytes ? QY_PAGE_BYTES - in_page : bytes;
        const char *from = qy_file_address(file, held->frames[i]);
        __builtin_memcpy(to, from + in_page, part);
        to += part;
        bytes -= part;
        in_page = 0;
    }
}

/** The bytes of a ready page in which nobody can count in go through a copy, taken while
 *  mapping.lock is held: of one in a guaranteed region, for whoever wants that back waits for
 *  nobody's buffer to be faulted in; or of one that is pinned too often. Lets go of the lock.
 *  False: it is not there. */
static __attribute__((noinline)) bool copied_out(struct qy_file *file, char *to, size_t bytes,
                                                 uint64_t offset)
{
    char copy[QY_PAGE_BYTES];
    uint32_t page = (uint32_t)(offset >> QY_PAGE_SHIFT), frame = qy_index_get(&file->index, page);
    if (frame == QY_NO_FRAME)
        return false;
    const char *from = qy_file_address(file, frame);
    __builtin_memcpy(copy, from + (offset & (QY_PAGE_BYTES - 1)), bytes);
    qy_file_used(file, page, frame);
    file->hits++;
    qy_unlock(&file->mapping.lock);
    __builtin_memcpy(to, copy, bytes);
    return true;
}

/** Of the backing, past the cache; what that does not have reads as zero. By way of a page that is
 *  kept for this, or if somebody has that just now, of a piece that lies here: for the buffer may
 *  be of an area, where no system call writes, and files that are open with O_DIRECT want whole
 *  blocks in their place. */
static int64_t read_backing(struct qy_file *file, char *buffer, size_t bytes, uint64_t offset)
{
    _Alignas(PIECE) char here[PIECE];
    char *_Atomic *kept = &file->vmscan->spare_page;
    char *spare = atomic_exchange_explicit(kept, NULL, memory_order_acquire);
    char *piece = spare != NULL ? spare : here;
    size_t size = spare != NULL ? QY_PAGE_BYTES : PIECE, done = 0;
    int64_t got = 0;
    while (done < bytes) {
        size_t skipped = (offset + done) % size;
        size_t part = size - skipped < bytes - done ? size - skipped : bytes - done;
        got = file->ops.read(file->cookie, offset + done - skipped, piece, size);
        if (got < 0)
            break;
        if ((uint64_t)got < size)
            __builtin_memset(piece + got, 0, size - (size_t)got);
        __builtin_memcpy(buffer + done, piece + skipped, part);
        done += part;
    }
    if (spare != NULL)
        atomic_store_explicit(kept, spare, memory_order_release);
    return done > 0 ? (int64_t)done : got;
}

/** There is no memory for the page: some of its bytes all the same. -EAGAIN: it has come meanwhile.
 *  Nobody writes into the file, so what the backing has of a page that is not there is all of
 *  it. */
static int64_t read_uncached(struct qy_file *file, char *buffer, size_t bytes, uint64_t offset)
{
    uint64_t room = QY_PAGE_BYTES - (offset & (QY_PAGE_BYTES - 1));
    qy_file_change_begin(file);
    qy_lock(&file->mapping.lock);
    bool there = qy_index_get(&file->index, (uint32_t)(offset >> QY_PAGE_SHIFT)) != QY_NO_FRAME;
    uint64_t left = offset < file->bytes ? file->bytes - offset : 0;
    file->misses += !there;
    qy_unlock(&file->mapping.lock);
    bytes = bytes < room ? bytes : room;
    bytes = bytes < left ? bytes : left;
    int64_t got = there ? -QY_EAGAIN : read_backing(file, buffer, bytes, offset);
    qy_file_change_end(file);
    return got;
}

/** How many of the bytes lie in the page of the first. */
static size_t bytes_in_page(uint64_t offset, size_t bytes)
{
    size_t room = QY_PAGE_BYTES - (offset & (QY_PAGE_BYTES - 1));
    return bytes < room ? bytes : room;
}

/** Some of the bytes. Returns how many; 0: the end. */
static int64_t read_some(struct qy_file *file, char *buffer, size_t bytes, uint64_t offset)
{
    struct held held = {.count = 0};
    uint64_t in_page = offset & (QY_PAGE_BYTES - 1);
    for (;;) {
        qy_lock(&file->mapping.lock);
        bytes = bytes_there(file, bytes, offset);
        uint32_t page = (uint32_t)(offset >> QY_PAGE_SHIFT);
        uint64_t end = (offset + bytes + QY_PAGE_BYTES - 1) >> QY_PAGE_SHIFT;
        size_t part = bytes_in_page(offset, bytes);
        if (bytes > 0)
            hold_ready(file, &held, page, end);
        if (held.count == 0 && part > 0 && copied_out(file, buffer, part, offset))
            return (int64_t)part;
        qy_unlock(&file->mapping.lock);
        if (held.count > 0 || bytes == 0)
            break;
        int64_t code = qy_file_fill(file, page, end - page);
        if (code == -QY_ENOMEM)
            code = read_uncached(file, buffer, bytes, offset);
        if (code != 0 && code != -QY_EAGAIN)
            return code;
    }
    uint64_t room = ((uint64_t)held.count << QY_PAGE_SHIFT) - in_page;
    bytes = bytes < room ? bytes : room;
    copy_out(file, &held, buffer, in_page, bytes);
    let_go(file, &held);
    return (int64_t)bytes;
}

/** A buffer in an area of a file is not touched while a page is held, for its fault may wait for
 *  that page, or for who waits for it: its bytes go through this one. 0, or -ENOMEM. */
static int detour_for(struct qy_file *file, const void *buffer, size_t bytes, void **detour)
{
    struct qy_mm *mm = file->mapping.mm;
    *detour = NULL;
    if (qy_likely(qy_figure(&file->vmscan->nr_mappers) == 0) || !qy_space_has(mm, buffer, bytes))
        return 0;
    *detour = qy_kmalloc(mm, QY_PAGE_BYTES, QY_GFP_KERNEL);
    return *detour != NULL ? 0 : -QY_ENOMEM;
}

static int64_t read_by(struct qy_file *file, void *detour, char *buffer, size_t bytes,
                       uint64_t offset)
{
    if (detour == NULL)
        return read_some(file, buffer, bytes, offset);
    int64_t got = read_some(file, detour, bytes_in_page(offset, bytes), offset);
    if (got > 0)
        __builtin_memcpy(buffer, detour, (size_t)got);
    return got;
}

int64_t qy_file_read(struct qy_file *file, void *buffer, size_t bytes, uint64_t offset)
{
    if (qy_port_inherited(file))
        return -QY_ENOTSUP;
    size_t done = 0;
    void *detour;
    int64_t got = detour_for(file, buffer, bytes, &detour);
    while (got >= 0 && done < bytes) {
        got = read_by(file, detour, (char *)buffer + done, bytes - done, offset + done);
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    qy_kfree(file->mapping.mm, detour);
    return got < 0 && done == 0 ? got : (int64_t)done;
}

/* ---- writing ---- */

void qy_file_change_begin(struct qy_file *file)
{
    qy_lock(&file->mapping.lock);
    while (file->changing)
        qy_file_wait(file);
    file->changing = true;
    qy_unlock(&file->mapping.lock);
}

void qy_file_change_end(struct qy_file *file)
{
    qy_lock(&file->mapping.lock);
    file->changing = false;
    qy_file_notify(file);
    qy_unlock(&file->mapping.lock);
}

/** A page that is not there comes without being read: all of it will be written, or lies behind
 *  the end. 0: BUSY; -EAGAIN: it is there by now; -ENOMEM. Lets go of the lock. */
static int new_page(struct qy_file *file, uint32_t page, uint32_t *frame)
{
    struct qy_mm *mm = file->mapping.mm;
    qy_unlock(&file->mapping.lock);
    unsigned taken = qy_file_frames(mm, 1, frame);
    if (taken > 0)
        __builtin_memset(qy_file_address(file, *frame), 0, QY_PAGE_BYTES);
    qy_lock(&file->mapping.lock);
    if (taken == 0)
        return -QY_ENOMEM;
    int code = qy_index_reserve(mm, &file->index, page);
    if (code == 0 && qy_index_get(&file->index, page) != QY_NO_FRAME)
        code = -QY_EAGAIN;
    if (code != 0) {
        qy_file_return(mm, 1, frame);
        return code;
    }
    qy_file_insert(file, page, *frame);
    qy_lock(&file->vmscan->lock);
    qy_lru_add_locked(file->vmscan, *frame, QY_LRU_INACTIVE);
    qy_unlock(&file->vmscan->lock);
    file->misses++;
    return 0;
}

/** The page, which is there, becomes BUSY, when nobody else uses it, on a frame that may be dirty.
 *  -EAGAIN: it went meanwhile, or moved. Lets go of the lock. */
static int own_page(struct qy_file *file, uint32_t page, uint32_t *frame)
{
    *frame = qy_file_ready(file, page, true);
    if (*frame == QY_NO_FRAME)
        return -QY_EAGAIN;
    if (qy_frame_in_guaranteed(file->mapping.mm, *frame)) {
        int code = qy_file_leave_region(file, page, frame, false);
        return code != 0 ? code : -QY_EAGAIN;
    }
    struct qy_folio *folio = qy_file_folio(file, *frame);
    folio->flags |= QY_FOLIO_BUSY; /* no more readers: those who are there leave */
    while (qy_folio_in_use(folio))
        qy_file_wait(file);
    return 0;
}

/** Make a page BUSY, to write bytes of it; @whole: all that it has. mapping.lock held; it may be
 *  let go of. */
static int begin_page(struct qy_file *file, uint32_t page, bool whole, uint32_t *frame)
{
    for (;;) {
        int code;
        bool is_new = whole || page >= qy_file_pages(file);
        if (qy_index_get(&file->index, page) != QY_NO_FRAME) {
            code = own_page(file, page, frame);
        } else if (is_new) {
            code = new_page(file, page, frame);
        } else {
            qy_unlock(&file->mapping.lock);
            code = qy_file_fill(file, page, 0);
            qy_lock(&file->mapping.lock);
            code = code == 0 ? -QY_EAGAIN : code;
        }
        if (code != -QY_EAGAIN)
            return code;
    }
}

static int write_page(struct qy_file *file, const char *from, uint64_t offset, size_t bytes)
{
    uint32_t page = (uint32_t)(offset >> QY_PAGE_SHIFT), frame;
    uint64_t in_page = offset & (QY_PAGE_BYTES - 1);
    qy_lock(&file->mapping.lock);
    bool whole = in_page == 0 && (bytes == QY_PAGE_BYTES || offset + bytes >= file->bytes);
    if (offset + bytes > file->bytes && file->was_mapped)
        qy_file_clear_end(file);
    int code = begin_page(file, page, whole, &frame);
    qy_unlock(&file->mapping.lock);
    if (code != 0)
        return code;
    __builtin_memcpy((char *)qy_file_address(file, frame) + in_page, from, bytes);
    qy_lock(&file->mapping.lock);
    qy_file_set_dirty(file, page, frame);
    qy_file_used(file, page, frame);
    if (offset + bytes > file->bytes)
        file->bytes = offset + bytes;
    qy_file_not_busy(file, frame);
    qy_unlock(&file->mapping.lock);
    return 0;
}

static int write_by(struct qy_file *file, void *detour, const char *buffer, uint64_t offset,
                    size_t bytes)
{
    if (detour != NULL)
        buffer = __builtin_memcpy(detour, buffer, bytes);
    return write_page(file, buffer, offset, bytes);
}

int64_t qy_file_write(struct qy_file *file, const void *buffer, size_t bytes, uint64_t offset)
{
    if (qy_port_inherited(file))
        return -QY_ENOTSUP;
    size_t done = 0;
    void *detour;
    if (file->ops.write == NULL)
        return -QY_EROFS;
    if (offset > QY_FILE_MOST_BYTES || bytes > QY_FILE_MOST_BYTES - offset)
        return -QY_EFBIG;
    int code = detour_for(file, buffer, bytes, &detour);
    if (code != 0)
        return code;
    qy_evicted_grow(file->vmscan);
    qy_file_change_begin(file);
    while (done < bytes && code == 0) {
        size_t part = bytes_in_page(offset + done, bytes - done);
        code = write_by(file, detour, (const char *)buffer + done, offset + done, part);
        done += code == 0 ? part : 0;
    }
    qy_file_change_end(file);
    qy_file_balance(file);
    qy_kfree(file->mapping.mm, detour);
    return done > 0 || code == 0 ? (int64_t)done : code;
}
