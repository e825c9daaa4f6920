/*
 * readahead.c - reading pages in, and how many of them
 *
 * WHAT    Who asks for the page behind the last one that was read reads in sequence: he gets a
 *         window, twice as long as the one before, from 128 KiB up to 512 KiB. Who comes behind
 *         some pages that are there may do so, beside others: he gets as many as these.
 *         Anybody else gets what he asked for. (Linux: mm/readahead.c.)
 *
 *           asked    0 | 32 | 96 | 224 ...
 *           window   32   64   128   128
 *
 *         Frames are taken before the lock, and no lock is held while the backing is read: the
 *         pages are there, BUSY.
 *
 *         What was read goes on into guaranteed regions while these have room: by a copy, for a
 *         page that is being read into cannot be dropped, and the backing may take its time. Not of
 *         a file that areas have: what is mapped lies in none.
 *
 * RULES   W1  in vmscan.h: a page that was not read yet is on no list. W4 in file.h.
 *
 * LOCKS   mapping.lock, in short sections.
 *
 * COST    One call of the backing for a window, if it can take pieces; else one for each run of
 *         frames that lie side by side. A copy of each page that comes into a guaranteed region.
 */
#include "base/errno.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

#define FIRST_WINDOW 32u
/** Fewer neighbours may be there by chance. */
#define LEAST_BEFORE 4u
/** Pages that are mapped together: 64 KiB. */
#define BLOCK_ORDER 4u
#define BLOCK (1u << BLOCK_ORDER)
/** Pages that are copied while the lock is held: 4 us. */
#define COPIES_AT_ONCE 8u

/* ---- frames ---- */

unsigned qy_file_frames(struct qy_mm *mm, unsigned count, uint32_t *frames)
{
    unsigned taken = qy_lend_frames(mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, count, frames);
    unsigned rounds = 0;
    while (taken < count && qy_reclaim_again(mm, QY_GFP_HIGHUSER_MOVABLE, 0, &rounds))
        taken += qy_lend_frames(mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, count - taken, frames + taken);
    for (unsigned i = 0; i < taken; i++)
        frames[i] &= ~QY_FRAME_FRESH;
    return taken;
}

void qy_file_return(struct qy_mm *mm, unsigned count, const uint32_t *frames)
{
    for (unsigned i = 0; i < count; i++)
        qy_lend_return(mm, mm->start_pfn + frames[i], 1);
}

/* ---- how many ---- */

/** Pages that are there right before this one, as far as @most. */
static uint32_t pages_before(struct qy_file *file, uint32_t page, uint32_t most)
{
    uint32_t count = 0;
    while (count < most && count < page &&
           qy_index_get(&file->index, page - 1 - count) != QY_NO_FRAME)
        count++;
    return count;
}

/** The window for a page that is not there. mapping.lock held. */
static unsigned window_of(struct qy_file *file, uint32_t page, uint64_t wanted)
{
    uint64_t pages = wanted < QY_BATCH ? wanted : QY_BATCH;
    pages = pages > 0 ? pages : 1;
    uint64_t left = qy_file_pages(file) - page;
    if (page == file->ahead_page && page != 0) {
        uint64_t twice = 2 * (uint64_t)file->ahead_window;
        pages = twice > FIRST_WINDOW ? twice : FIRST_WINDOW;
    } else if (page == 0) {
        pages = pages > FIRST_WINDOW ? pages : FIRST_WINDOW;
    } else {
        uint64_t before = pages_before(file, page, FIRST_WINDOW);
        pages = before >= LEAST_BEFORE && before > pages ? before : pages;
    }
    pages = pages < QY_BATCH ? pages : QY_BATCH;
    return (unsigned)(pages < left ? pages : left);
}

/* ---- reading ---- */

struct batch {
    struct qy_file *file;
    uint32_t page; /* the first */
    unsigned count;
    uint32_t frames[QY_BATCH];
};

/** One piece for each run of frames that lie side by side. */
static unsigned pieces_of(const struct batch *batch, struct qy_piece *pieces)
{
    unsigned nr = 0;
    for (unsigned i = 0; i < batch->count; i++) {
        if (i > 0 && batch->frames[i] == batch->frames[i - 1] + 1)
            pieces[nr - 1].bytes += QY_PAGE_BYTES;
        else
            pieces[nr++] =
                (struct qy_piece){qy_file_address(batch->file, batch->frames[i]), QY_PAGE_BYTES};
    }
    return nr;
}

static int64_t read_pieces(const struct qy_file *file, uint64_t offset,
                           const struct qy_piece *pieces, unsigned nr)
{
    int64_t done = 0;
    if (file->ops.readv != NULL)
        return file->ops.readv(file->cookie, offset, pieces, nr);
    for (unsigned i = 0; i < nr; i++) {
        int64_t got =
            file->ops.read(file->cookie, offset + (uint64_t)done, pieces[i].base, pieces[i].bytes);
        if (got < 0)
            return got;
        done += got;
        if ((uint64_t)got < pieces[i].bytes)
            break;
    }
    return done;
}

/** What lies behind the end of the file reads as zero; so does what the backing does not have. */
static void clear_tail(const struct qy_file *file, uint32_t frame, uint64_t valid)
{
    if (valid < QY_PAGE_BYTES)
        __builtin_memset((char *)qy_file_address(file, frame) + valid, 0, QY_PAGE_BYTES - valid);
}

/** How many bytes of a page there are. */
static uint64_t valid_bytes(uint64_t end, uint32_t page)
{
    uint64_t start = (uint64_t)page << QY_PAGE_SHIFT;
    return end > start ? end - start : 0;
}

/** Read the batch into its frames. 0, or -errno: nobody knows what is in them. */
static int read_batch(const struct batch *batch)
{
    struct qy_piece pieces[QY_BATCH];
    uint64_t offset = (uint64_t)batch->page << QY_PAGE_SHIFT;
    int64_t got = read_pieces(batch->file, offset, pieces, pieces_of(batch, pieces));
    if (got < 0)
        return (int)got;
    for (unsigned i = 0; i < batch->count; i++)
        clear_tail(batch->file, batch->frames[i],
                   valid_bytes(offset + (uint64_t)got, batch->page + i));
    return 0;
}

/** Make pages of frames, up to the first that is there already. Returns how many, or -ENOMEM. */
static int insert_batch(struct batch *batch, unsigned count)
{
    struct qy_file *file = batch->file;
    batch->count = 0;
    while (batch->count < count) {
        uint32_t page = batch->page + batch->count;
        if (page >= qy_file_pages(file) || qy_index_get(&file->index, page) != QY_NO_FRAME)
            return 0;
        if (qy_index_reserve(file->mapping.mm, &file->index, page) != 0)
            return batch->count > 0 ? 0 : -QY_ENOMEM;
        qy_file_insert(file, page, batch->frames[batch->count++]);
    }
    return 0;
}

/** How many pages that were read may go on to guaranteed regions. */
static unsigned guaranteed_room(const struct qy_mm *mm)
{
    uint64_t idle = qy_guaranteed_idle(mm);
    uint64_t room = idle > QY_GUARANTEED_KEPT ? idle - QY_GUARANTEED_KEPT : 0;
    return room < QY_BATCH ? (unsigned)room : QY_BATCH;
}

/** A page is ready, on this frame. mapping.lock held. */
static void settle_page(struct qy_file *file, uint32_t page, uint32_t frame)
{
    clear_tail(file, frame, valid_bytes(file->bytes, page));
    qy_file_inserted(file, page, frame);
}

/** Up to @most of the pages from @from on are ready, in guaranteed regions: copied while the lock
 *  is held, for nobody who wants a frame there shall wait for more than a lock. Returns how
 *  many. */
static unsigned settle_guaranteed(const struct batch *batch, unsigned from, unsigned most)
{
    struct qy_file *file = batch->file;
    uint32_t to[COPIES_AT_ONCE], first = batch->page + from;
    uint64_t pages = qy_file_pages(file), left = pages > first ? pages - first : 0;
    unsigned count = most < COPIES_AT_ONCE ? most : COPIES_AT_ONCE;
    count = count < batch->count - from ? count : batch->count - from;
    count = count < left ? count : (unsigned)left;
    count = qy_lend_guaranteed(file->mapping.mm, count, to);
    for (unsigned i = 0; i < count; i++) {
        to[i] &= ~QY_FRAME_FRESH;
        qy_file_copy_to(file, first + i, batch->frames[from + i], to[i]);
        settle_page(file, first + i, to[i]);
    }
    return count;
}

/** The pages are ready, the first @room of them in guaranteed regions if they can; or go because of
 *  an error. */
static void settle_batch(const struct batch *batch, int code, unsigned room)
{
    struct qy_file *file = batch->file;
    unsigned done = 0, some;
    qy_lock(&file->mapping.lock);
    while (done < room && (some = settle_guaranteed(batch, done, room - done)) > 0) {
        done += some;
        qy_unlock(&file->mapping.lock);
        qy_lock(&file->mapping.lock);
    }
    for (; done < batch->count; done++) {
        uint32_t page = batch->page + done, frame = batch->frames[done];
        if (code != 0 || page >= qy_file_pages(file))
            qy_file_remove(file, page, frame);
        else
            settle_page(file, page, frame);
    }
    file->misses += code == 0;
    file->readahead += code == 0 ? batch->count - 1 : 0;
    file->ahead_page = batch->page + batch->count;
    file->ahead_window = batch->count;
    qy_unlock(&file->mapping.lock);
}

/** Frames for a batch. Of a file that areas have, whole blocks of pages lie side by side where
 *  there are such frames: one mapping of the host then serves each. */
static unsigned take_frames(struct batch *batch, unsigned count, bool mapped)
{
    struct qy_mm *mm = batch->file->mapping.mm;
    unsigned taken = 0;
    bool fresh;
    for (; mapped && taken < count; taken += BLOCK) {
        qy_pfn_t pfn = QY_PFN_NONE;
        if ((batch->page + taken) % BLOCK == 0 && count - taken >= BLOCK)
            pfn = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, BLOCK_ORDER, &fresh);
        if (pfn == QY_PFN_NONE)
            break;
        for (unsigned i = 0; i < BLOCK; i++)
            batch->frames[taken + i] = (uint32_t)qy_frame_index(mm, pfn) + i;
    }
    return taken + qy_file_frames(mm, count - taken, batch->frames + taken);
}

/** Read up to @count pages. @mapped: areas have the file. @stays: none will be written or
 *  pinned. */
static int fill(struct qy_file *file, uint32_t page, unsigned count, bool mapped, bool stays)
{
    struct qy_mm *mm = file->mapping.mm;
    struct batch batch = {.file = file, .page = page};
    unsigned taken = take_frames(&batch, count, mapped);
    if (taken == 0)
        return -QY_ENOMEM;
    unsigned rounds = 0;
    int code;
    do {
        qy_lock(&file->mapping.lock);
        code = insert_batch(&batch, taken);
        qy_unlock(&file->mapping.lock);
    } while (code != 0 && qy_reclaim_again(mm, QY_GFP_KERNEL, 0, &rounds));
    qy_file_return(mm, taken - batch.count, batch.frames + batch.count);
    if (code != 0 || batch.count == 0)
        return code;
    code = read_batch(&batch);
    settle_batch(&batch, code, code == 0 && stays ? guaranteed_room(mm) : 0);
    return code;
}

/** The same, counted for those who find no frame meanwhile. */
static int fill_counted(struct qy_file *file, uint32_t page, unsigned count, bool mapped,
                        bool stays)
{
    qy_count(&file->vmscan->nr_reading, 1);
    int code = fill(file, page, count, mapped, stays);
    atomic_fetch_sub_explicit(&file->vmscan->nr_reading, 1, memory_order_relaxed);
    return code;
}

int qy_file_fill(struct qy_file *file, uint32_t page, uint64_t wanted)
{
    qy_lock(&file->mapping.lock);
    unsigned count = page < qy_file_pages(file) ? window_of(file, page, wanted) : 0;
    bool mapped = !qy_list_empty(&file->mappers);
    qy_unlock(&file->mapping.lock);
    if (count == 0)
        return 0;
    qy_evicted_grow(file->vmscan);
    bool stays = wanted > 0 && !mapped;
    int code = fill_counted(file, page, count, mapped, stays);
    if (code != 0 && code != -QY_ENOMEM && count > 1)
        code = fill_counted(file, page, 1, mapped, stays); /* one behind it may be to blame */
    return code;
}
