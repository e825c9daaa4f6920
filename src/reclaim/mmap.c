/*
 * mmap.c - areas of spaces whose pages are those of a file
 *
 * WHAT    A program holds a plain pointer to pages of a file, as with mmap(2) and MAP_SHARED: the
 *         frames that the cache has are mapped, so what is read and written by the pointer and by
 *         qy_file_read() and qy_file_write() is the same.
 *
 *           touched, no entry -> the page is read in if need be -> an entry to read, with those of
 *                                neighbours that are there
 *           written           -> the page is dirty              -> an entry to write
 *           written back      -> the page is clean              -> the entry is one to read again
 *           given up, moved   -> the entry goes first           -> touched, no entry ...
 *
 *         A mapper counts as a user of the file, as its handle does; the file goes with the last.
 *
 * RULES   V8, V9  in space/backing.h; W4, W6, W7  in reclaim/file.h.
 *
 * LOCKS   The file's mapping.lock, and the space's inside it.
 *
 * COST    A fault of a page that is there: two lock pairs of the space, one of the file, and a call
 *         of the port.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "base/text.h"
#include "memory/fault.h"
#include "reclaim/file.h"
#include "space/space.h"

#include <quarry/slab.h>

/** So many more faults that missed than hit: neighbours are read for nothing (Linux:
 *  MMAP_LOTSAMISS). */
#define MANY_MISSES 100u

static struct qy_file *file_of(const struct qy_mapper *mapper)
{
    return qy_file_of(mapper->backing);
}

/* ---- a page that is there ---- */

/** May this neighbour be mapped along? @writable: to be written. */
static bool comes_along(struct qy_file *file, uint32_t page, uint32_t frame, bool writable)
{
    uint8_t in_the_way = QY_FOLIO_BUSY | QY_FOLIO_ON_TRIAL | (writable ? QY_FOLIO_WRITEBACK : 0);
    if (page >= qy_file_pages(file) || qy_index_get(&file->index, page) != frame)
        return false;
    uint8_t flags = qy_file_folio(file, frame)->flags;
    return !(flags & in_the_way) && (!writable || (flags & QY_FOLIO_DIRTY)) &&
           !qy_frame_in_guaranteed(file->mapping.mm, frame);
}

/** The pages around it, in its 64 KiB of the space, that lie side by side in memory and may be
 *  mapped with it. */
static struct qy_frame_run around(struct qy_file *file, const struct qy_touch *touch,
                                  uint32_t frame)
{
    uint32_t page = (uint32_t)touch->index;
    uint32_t before = (uint32_t)(touch->page % QY_SPACE_AROUND),
             behind = QY_SPACE_AROUND - 1 - before;
    uint8_t flags = qy_file_folio(file, frame)->flags;
    bool writable =
        (touch->prot & QY_PROT_WRITE) && (flags & QY_FOLIO_DIRTY) && !(flags & QY_FOLIO_WRITEBACK);
    uint32_t first = 0, last = 0;
    while (first < before && first < page && first < frame &&
           comes_along(file, page - first - 1, frame - first - 1, writable))
        first++;
    while (last < behind && comes_along(file, page + last + 1, frame + last + 1, writable))
        last++;
    return (struct qy_frame_run){
        .index = page - first,
        .pfn = file->mapping.mm->start_pfn + frame - first,
        .count = first + 1 + last,
        .prot = writable ? QY_PROT_READ | QY_PROT_WRITE : QY_PROT_READ,
    };
}

/** Map the ready page. mapping.lock held. Errors as qy_mapper_map(). */
static int map_ready(struct qy_mapper *mapper, struct qy_touch *touch, uint32_t frame)
{
    struct qy_file *file = file_of(mapper);
    struct qy_frame_run run = around(file, touch, frame);
    /* Its entry, if it has one, stands as long as the folio says so. */
    qy_file_folio(file, frame)->flags |= QY_FOLIO_MAPPED;
    int code = qy_mapper_map(mapper, touch, &run);
    uint32_t first = (uint32_t)qy_frame_index(file->mapping.mm, run.pfn);
    for (unsigned i = 0; code == 0 && i < run.count; i++)
        qy_file_folio(file, first + i)->flags |= QY_FOLIO_MAPPED;
    return code;
}

/** See that the page can be mapped. 0: on *frame; 1: it is not there; -EAGAIN; -EFAULT; -ENOMEM.
 *  mapping.lock held; it may be let go of. */
static int see_page(struct qy_file *file, const struct qy_touch *touch, uint32_t *frame)
{
    uint32_t page = (uint32_t)touch->index;
    bool write = touch->need & QY_PROT_WRITE;
    if (!qy_file_has(file, touch->index << QY_PAGE_SHIFT))
        return -QY_EFAULT;
    *frame = qy_file_ready(file, page, write);
    if (*frame == QY_NO_FRAME)
        return 1;
    if (touch->index >= qy_file_pages(file))
        return -QY_EAGAIN; /* it was cut off while this waited, or is just now */
    if (!qy_frame_in_guaranteed(file->mapping.mm, *frame))
        return 0;
    int code = qy_file_leave_region(file, page, frame, false);
    return code != 0 ? code : -QY_EAGAIN;
}

/* ---- what a space asks ---- */

/** The access ends the program, unless it handles the signal: say why. */
static void say_unreadable(struct qy_file *file, uint64_t index, int code)
{
    char line[160];
    struct qy_text text;
    qy_text_init(&text, line, sizeof(line));
    qy_text_string(&text, "quarry: file ");
    qy_text_string(&text, file->mapping.name);
    qy_text_string(&text, ": page ");
    qy_text_u64(&text, index);
    qy_text_string(&text, " was touched and cannot be read: error ");
    qy_text_u64(&text, (uint64_t)-code);
    qy_text_char(&text, '\n');
    qy_text_report(&text);
}

/** Read the page, with those of its 64 KiB that are not there; who comes here and there, and seldom
 *  where others were, gets it alone. 0, or why not. */
static int read_around(struct qy_file *file, uint64_t index)
{
    uint32_t page = (uint32_t)index;
    qy_lock(&file->mapping.lock);
    file->pointer_misses += file->pointer_misses < 2 * MANY_MISSES;
    bool alone = file->pointer_misses > MANY_MISSES;
    while (!alone && page % QY_SPACE_AROUND != 0 &&
           qy_index_get(&file->index, page - 1) == QY_NO_FRAME)
        page--;
    qy_unlock(&file->mapping.lock);
    int code = qy_file_fill(file, page, alone ? 1 : QY_SPACE_AROUND - page % QY_SPACE_AROUND);
    qy_lock(&file->mapping.lock);
    bool is_there = qy_index_get(&file->index, (uint32_t)index) != QY_NO_FRAME;
    qy_unlock(&file->mapping.lock);
    /* There were no frames for all of them, or one before it is to blame. */
    if (is_there)
        code = 0;
    else if (page != index)
        code = qy_file_fill(file, (uint32_t)index, 1);
    if (code != 0 && code != -QY_ENOMEM)
        say_unreadable(file, index, code);
    return code;
}

static int fault(struct qy_mapper *mapper, struct qy_touch *touch)
{
    struct qy_file *file = file_of(mapper);
    bool write = touch->need & QY_PROT_WRITE;
    uint32_t page = (uint32_t)touch->index, frame;
    if (write)
        qy_file_balance(file); /* before: what is dirty from here on may be written to first */
    qy_lock(&file->mapping.lock);
    int code = see_page(file, touch, &frame);
    if (code == 0) {
        if (write)
            qy_file_set_dirty(file, page, frame);
        bool missed = qy_file_folio(file, frame)->flags & QY_FOLIO_UNUSED;
        file->pointer_misses -= !missed && file->pointer_misses > 0;
        qy_file_used(file, page, frame);
        file->hits++;
        code = map_ready(mapper, touch, frame);
    }
    qy_unlock(&file->mapping.lock);
    if (code == 1) {
        code = read_around(file, touch->index);
        return code != 0 ? code : -QY_EAGAIN;
    }
    return code;
}

static int pin(struct qy_mapper *mapper, struct qy_touch *touch, qy_pfn_t *pfn)
{
    struct qy_file *file = file_of(mapper);
    uint32_t page = (uint32_t)touch->index, frame = QY_NO_FRAME;
    qy_lock(&file->mapping.lock);
    int code = qy_file_has(file, touch->index << QY_PAGE_SHIFT)
                   ? qy_file_pin_ready(file, page, touch->prot & QY_PROT_WRITE, &frame)
                   : -QY_EFAULT;
    if (code == 0) {
        *pfn = file->mapping.mm->start_pfn + frame;
        code = map_ready(mapper, touch, frame);
        if (code != 0)
            qy_file_unpin_locked(file, page, frame);
    }
    qy_unlock(&file->mapping.lock);
    if (code == -QY_EAGAIN && frame == QY_NO_FRAME) {
        code = read_around(file, touch->index);
        code = code != 0 ? code : -QY_EAGAIN;
    }
    return code;
}

static void unpin(struct qy_mapper *mapper, uint64_t index)
{
    int code = qy_file_unpin(file_of(mapper), index);
    qy_assert(code == 0, "W3");
    (void)code;
}

static void detach(struct qy_mapper *mapper)
{
    struct qy_file *file = file_of(mapper);
    qy_lock(&file->mapping.lock);
    qy_list_remove(&mapper->in_backing);
    atomic_fetch_sub_explicit(&file->vmscan->nr_mappers, 1, memory_order_relaxed);
    qy_unlock(&file->mapping.lock);
    qy_kfree(file->mapping.mm, mapper);
    qy_file_put(file);
}

static const struct qy_backing_ops backing_ops = {
    .fault = fault,
    .pin = pin,
    .unpin = unpin,
    .detach = detach,
};

/* ---- areas ---- */

/** Why there can be no such area; 0. */
static int refusal(const struct qy_space *space, const struct qy_file *file, uint64_t offset,
                   size_t bytes, uint32_t prot, uint32_t flags, const char **why)
{
    *why = "no such area of a file: bytes ";
    if (bytes == 0 || offset % QY_PAGE_BYTES != 0 || (prot & ~(QY_PROT_READ | QY_PROT_WRITE)) ||
        (flags & ~(QY_AREA_POPULATE | QY_AREA_PRIVATE)))
        return -QY_EINVAL;
    *why = "a file ends at 16 TiB: bytes ";
    if (offset > QY_FILE_MOST_BYTES || bytes > QY_FILE_MOST_BYTES - offset)
        return -QY_EFBIG;
    *why = "areas of files are shared: no QY_AREA_PRIVATE; bytes ";
    if (flags & QY_AREA_PRIVATE)
        return -QY_ENOTSUP;
    *why = "the file cannot be written: bytes ";
    if ((prot & QY_PROT_WRITE) && file->ops.write == NULL)
        return -QY_EROFS;
    *why = "the space is of another memory: bytes ";
    return space->mapping.mm != file->mapping.mm ? -QY_EINVAL : 0;
}

/** Make the area; *mapper, *area: what was not needed. Its first page, or QY_TREE_NO_GAP, and
 *  why. */
static uint64_t place(struct qy_space *space, struct qy_file *file, struct qy_mapper **mapper,
                      struct qy_area **area, uint64_t index, uint64_t count, const char **why)
{
    struct qy_mapper *fresh = *mapper;
    *fresh = (struct qy_mapper){.ops = &backing_ops,
                                .backing = &file->mapping,
                                .space = space,
                                .may_write = file->ops.write != NULL};
    qy_list_init(&fresh->areas);
    qy_lock(&file->mapping.lock);
    uint64_t page = qy_mapper_area(space, mapper, area, index, count, why);
    if (*mapper == NULL) {
        qy_list_add_tail(&file->mappers, &fresh->in_backing);
        file->users++;
        file->was_mapped = true;
        qy_count(&file->vmscan->nr_mappers, 1);
    }
    qy_unlock(&file->mapping.lock);
    return page;
}

void *qy_space_map_file(struct qy_space *space, struct qy_file *file, uint64_t offset, size_t bytes,
                        uint32_t prot, uint32_t flags, struct qy_error *error)
{
    if (qy_port_inherited(space))
        return qy_refused(error, -QY_ENOTSUP, QY_INHERITED, UINT64_MAX);
    struct qy_mm *mm = space->mapping.mm;
    const char *why;
    int code = refusal(space, file, offset, bytes, prot, flags, &why);
    if (code != 0)
        return qy_refused(error, code, why, bytes);
    struct qy_mapper *mapper = qy_kmalloc(mm, sizeof(*mapper), QY_GFP_KERNEL | QY_GFP_ZERO);
    struct qy_area *area = qy_kmalloc(mm, sizeof(*area), QY_GFP_KERNEL | QY_GFP_ZERO);
    uint64_t count = (bytes + QY_PAGE_BYTES - 1) >> QY_PAGE_SHIFT, page = QY_TREE_NO_GAP;
    bool described = mapper != NULL && area != NULL;
    if (described) {
        area->prot = (prot & QY_PROT_WRITE) ? prot | QY_PROT_READ : prot;
        page = place(space, file, &mapper, &area, offset >> QY_PAGE_SHIFT, count, &why);
    }
    qy_areas_free(mm, area);
    qy_kfree(mm, mapper);
    if (!described)
        return qy_refused(error, -QY_ENOMEM, "no memory to describe an area", UINT64_MAX);
    if (page == QY_TREE_NO_GAP)
        return qy_refused(error, -QY_ENOMEM, why, count);
    void *address = qy_space_address(space, page);
    code = flags & QY_AREA_POPULATE ? qy_space_populate(space, page, count) : 0;
    if (code != 0 && code != -QY_EFAULT) { /* -EFAULT: the file ends there */
        qy_space_unmap(space, address, count << QY_PAGE_SHIFT);
        return qy_refused(error, code,
                          "the file cannot be read, or there are no frames, for pages: ", count);
    }
    return address;
}
