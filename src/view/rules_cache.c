/*
 * rules_cache.c - the rules of cached files
 *
 * WHAT    What the lists, the files and the folios say of each page agrees.
 *
 * RULES   W1, W2  in reclaim/vmscan.h; W4, W7 in reclaim/file.h; W5 in reclaim/index.h; V1 in
 *         space/mapping.h. W3 is looked at by each unpin.
 *
 * LOCKS   none: exact while nothing moves.
 *
 * COST    A pass over all lists and all pages of files.
 */
#include "reclaim/file.h"
#include "view/rules.h"

static void check_page(struct qy_ruling *ruling, struct qy_file *file, uint32_t page,
                       uint32_t frame)
{
    const struct qy_mm *mm = ruling->mm;
    const struct qy_folio *folio = &mm->folios[frame];
    qy_pfn_t pfn = mm->start_pfn + frame;
    bool dirty = folio->flags & QY_FOLIO_DIRTY;
    if (atomic_load_explicit(&folio->mapping, memory_order_relaxed) != &file->mapping ||
        atomic_load_explicit(&folio->index, memory_order_relaxed) != page)
        qy_broken(ruling, "V1", "frame", pfn, "holds a page of a file, and names another");
    if (folio->lru == QY_LRU_NONE && !(folio->flags & QY_FOLIO_BUSY))
        qy_broken(ruling, "W1", "frame", pfn, "holds a page of a file, and is on no list");
    if (dirty != qy_index_marked(&file->index, page))
        qy_broken(ruling, "W5", "frame", pfn, "is dirty, or is not, and its mark contradicts");
    if (qy_frame_in_guaranteed(mm, frame) &&
        (folio->pins != 0 || (folio->flags & (QY_FOLIO_DIRTY | QY_FOLIO_WRITEBACK))))
        qy_broken(ruling, "W4", "frame", pfn,
                  "is in a guaranteed region, and cannot be dropped at once");
}

static void check_file(struct qy_ruling *ruling, struct qy_file *file)
{
    uint64_t pages = 0, dirty = 0, pinned = 0;
    for (uint32_t page = 0; qy_index_next(&file->index, &page, false); page++) {
        uint32_t frame = qy_index_get(&file->index, page);
        check_page(ruling, file, page, frame);
        pages++;
        dirty += (ruling->mm->folios[frame].flags & QY_FOLIO_DIRTY) != 0;
        pinned += ruling->mm->folios[frame].long_pins != 0;
    }
    uint64_t users = 0;
    qy_list_for_each (link, &file->mappers)
        users++;
    if (file->users != users && file->users != users + 1)
        qy_broken_name(ruling, "W7", "file", file->mapping.name,
                       "its users are not its mappers and its handle");
    if (pages != file->nr_pages || dirty != file->nr_dirty || pinned != file->nr_pinned)
        qy_broken_name(ruling, "W2", "file", file->mapping.name,
                       "its counts are not those of its pages");
}

/** Pages of one list; more than there are frames: it is a ring. */
static uint64_t check_list(struct qy_ruling *ruling, const struct qy_lru_list *list, unsigned place,
                           unsigned lru)
{
    const struct qy_mm *mm = ruling->mm;
    uint64_t count = 0;
    for (uint32_t frame = list->newest; frame != QY_NO_FRAME && count <= mm->nr_frames; count++) {
        const struct qy_folio *folio = &mm->folios[frame];
        if (folio->lru != lru || folio->place != place)
            qy_broken(ruling, "W1", "frame", mm->start_pfn + frame, "is on a list of others");
        if (atomic_load_explicit(&folio->mapping, memory_order_relaxed) == NULL)
            qy_broken(ruling, "W1", "frame", mm->start_pfn + frame, "is on a list, and in no file");
        frame = folio->next;
    }
    return count;
}

void qy_check_cache(struct qy_ruling *ruling)
{
    struct qy_vmscan *vmscan = qy_vmscan_peek(ruling->mm);
    uint64_t listed = 0, busy = 0, pages = 0, dirty = 0;
    if (vmscan == NULL)
        return;
    for (unsigned place = 0; place < QY_NR_LRU_PLACES; place++)
        for (unsigned lru = QY_LRU_INACTIVE; lru < QY_NR_LRUS; lru++) {
            const struct qy_lru_list *list = &vmscan->list[place][lru];
            uint64_t count = check_list(ruling, list, place, lru);
            if (count != qy_figure(&list->count))
                qy_broken(ruling, "W2", "list", place * QY_NR_LRUS + lru, "its count is wrong");
            listed += count;
        }
    qy_list_for_each (link, &vmscan->files) {
        struct qy_file *file = qy_list_entry(link, struct qy_file, link);
        check_file(ruling, file);
        pages += file->nr_pages;
        dirty += file->nr_dirty;
        for (uint32_t page = 0; qy_index_next(&file->index, &page, false); page++)
            busy += ruling->mm->folios[qy_index_get(&file->index, page)].lru == QY_LRU_NONE;
    }
    if (pages != listed + busy || dirty != qy_figure(&vmscan->nr_dirty))
        qy_broken(ruling, "W2", "pages of files:", pages, "not as many as the lists have");
}
