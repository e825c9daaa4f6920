/*
 * pin.c - frames that stay where they are
 *
 * WHAT    A pin is a count in the frame's folio; while it is not zero nobody isolates the page
 *         and its area cannot go. A pin for long would make a contiguous region useless, so
 *         its page first moves out of one (Linux: FOLL_LONGTERM).
 *
 *         A page of a file's area is pinned in the file, which counts for all; how often that was
 *         through this space is counted here, a record a page.
 *
 * RULES   V4  A page is unpinned as often as it was pinned, and no more.
 *         Reported by qy_space_unpin().
 *
 * LOCKS   mapping.lock, page by page; a file's before it.
 *
 * COST    A lock pair and a walk a page.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "buddy/lend.h"
#include "memory/fault.h"
#include "space/space.h"

#include <quarry/slab.h>

#define MOST_PINS UINT16_MAX

/** Is the frame of a region that is only lent? Racy: whoever makes a region moves out first. */
static QY_RACY bool is_regions(const struct qy_mm *mm, qy_pfn_t pfn)
{
    unsigned migratetype = mm->blocks[qy_block_of(mm, pfn)].migratetype;
    return migratetype == QY_MIGRATE_CMA || migratetype == QY_MIGRATE_GUARANTEED;
}

/** Move one page, whose lock is held, to the frame. */
static int move_out_locked(struct qy_space *space, uint64_t page, qy_pfn_t from, qy_pfn_t to)
{
    struct qy_mm *mm = space->mapping.mm;
    int code = qy_space_isolate_locked(space, page, from, 1);
    if (code < 0)
        return code == -QY_ENOSPC ? -QY_ENOMEM : code;
    qy_port_copy_pages(mm, qy_frame_address(mm, to), qy_frame_address(mm, from), 1);
    return qy_space_putback_locked(space, page, from, to, 1);
}

/** The page has a frame and is not being moved. *spare: a frame outside of regions, or NONE.
 *  0; 1: a spare frame is needed; or why not. */
static int pin_locked(struct qy_space *space, uint64_t page, enum qy_pin how, qy_pfn_t *spare)
{
    qy_pfn_t pfn = qy_pte_pfn(qy_pgtable_get(&space->table, page));
    if (how == QY_PIN_LONG && is_regions(space->mapping.mm, pfn)) {
        if (*spare == QY_PFN_NONE)
            return 1;
        int code = move_out_locked(space, page, pfn, *spare);
        if (code != 0)
            return code;
        pfn = *spare;
        *spare = QY_PFN_NONE;
    }
    struct qy_folio *folio = qy_folio_of(space->mapping.mm, pfn);
    if (folio->pins == MOST_PINS)
        return -QY_EBUSY;
    space->nr_pinned += folio->pins++ == 0;
    folio->long_pins += how == QY_PIN_LONG;
    return 0;
}

/* ---- pages of the space's own ---- */

/** One attempt. 0; 1: a spare frame is needed; -EAGAIN; or why not. */
static int pin_own(struct qy_space *space, uint64_t page, enum qy_pin how, qy_pfn_t *spare,
                   qy_pfn_t *pfn)
{
    struct qy_want want = {.need = QY_PROT_NONE, .pinned = how == QY_PIN_LONG};
    int code = qy_space_fill(space, page, &want);
    if (code != 0)
        return code;
    qy_lock(&space->mapping.lock);
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    if (qy_pte_is_isolated(pte))
        qy_space_wait_locked(space);
    pte = qy_pgtable_get(&space->table, page);
    bool ready = !qy_pte_none(pte) && !qy_pte_is_isolated(pte) && !qy_pte_is_file(pte);
    code = ready ? pin_locked(space, page, how, spare) : -QY_EAGAIN;
    *pfn = qy_pte_pfn(qy_pgtable_get(&space->table, page));
    qy_unlock(&space->mapping.lock);
    return code;
}

/* ---- pages of files ---- */

static struct qy_file_pin *record_of(const struct qy_space *space, uint64_t page)
{
    struct qy_tree_node *node = qy_tree_at(&space->pins, page);
    return node != NULL && node->start == page ? qy_list_entry(node, struct qy_file_pin, node)
                                               : NULL;
}

/** Count a pin of the page, whose area is still the same and whose entry still there, with *fresh,
 *  which is NULL then, if it has no record. */
static bool record_locked(struct qy_space *space, struct qy_mapper *mapper,
                          const struct qy_touch *touch, struct qy_file_pin **fresh)
{
    const struct qy_area *area = qy_area_at(space, touch->page);
    if (area == NULL || area->mapper != mapper ||
        area->offset + (touch->page - area->node.start) != touch->index ||
        qy_pte_none(qy_pgtable_get(&space->table, touch->page)))
        return false;
    struct qy_file_pin *record = record_of(space, touch->page);
    if (record == NULL) {
        record = *fresh;
        *fresh = NULL;
        record->node.start = touch->page;
        record->node.end = touch->page + 1;
        record->mapper = mapper;
        record->index = touch->index;
        record->pins = 0;
        mapper->users++;
        qy_tree_insert(&space->pins, &record->node);
        space->nr_pinned++;
    }
    record->pins++;
    return true;
}

/** One attempt. 0, -EAGAIN, or why not. The file's pin is the record's: a second one goes back,
 *  after it has said whether the page may be written by now. */
static int pin_file(struct qy_space *space, struct qy_mapper *mapper, struct qy_touch *touch,
                    qy_pfn_t *pfn)
{
    struct qy_mm *mm = space->mapping.mm;
    struct qy_file_pin *fresh = qy_kmalloc(mm, sizeof(*fresh), QY_GFP_KERNEL);
    if (fresh == NULL)
        return -QY_ENOMEM;
    int code = mapper->ops->pin(mapper, touch, pfn);
    if (code == 0) {
        qy_lock(&space->mapping.lock);
        bool recorded = record_locked(space, mapper, touch, &fresh);
        qy_unlock(&space->mapping.lock);
        if (fresh != NULL)
            mapper->ops->unpin(mapper, touch->index);
        code = recorded ? 0 : -QY_EAGAIN;
    }
    qy_kfree(mm, fresh);
    return code;
}

/** Records that count nothing any more, linked by node.left, let go of their files' pages. */
static void release(struct qy_mm *mm, struct qy_tree_node *gone)
{
    while (gone != NULL) {
        struct qy_file_pin *record = qy_list_entry(gone, struct qy_file_pin, node);
        gone = gone->left;
        record->mapper->ops->unpin(record->mapper, record->index);
        qy_mapper_put(record->mapper);
        qy_kfree(mm, record);
    }
}

/* ---- both ---- */

static int pin_page(struct qy_space *space, uint64_t page, enum qy_pin how, qy_pfn_t *spare,
                    qy_pfn_t *pfn)
{
    int code;
    bool fresh;
    do {
        struct qy_touch touch;
        struct qy_mapper *mapper = qy_mapper_at(space, page, &touch);
        if (mapper != NULL) {
            code = pin_file(space, mapper, &touch, pfn);
            qy_mapper_put(mapper);
            continue;
        }
        code = pin_own(space, page, how, spare, pfn);
        if (code == 1)
            *spare = qy_lend_block(space->mapping.mm, QY_GFP_NOWAIT, QY_LEND_PINNED, 0, &fresh);
        if (code == 1 && *spare == QY_PFN_NONE)
            return -QY_ENOMEM;
    } while (code == 1 || code == -QY_EAGAIN);
    return code;
}

/** The page is pinned. A record that is not needed any more goes onto *gone. */
static void unpin_locked(struct qy_space *space, uint64_t page, struct qy_tree_node **gone)
{
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    struct qy_file_pin *record = record_of(space, page);
    if (record != NULL) {
        if (--record->pins != 0)
            return;
        qy_tree_remove(&space->pins, &record->node);
        record->node.left = *gone;
        *gone = &record->node;
        space->nr_pinned--;
        return;
    }
    struct qy_folio *folio = qy_folio_of(space->mapping.mm, qy_pte_pfn(pte));
    space->nr_pinned -= --folio->pins == 0;
    if (folio->long_pins > folio->pins)
        folio->long_pins = folio->pins;
}

static bool is_pinned_locked(const struct qy_space *space, uint64_t page)
{
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    if (record_of(space, page) != NULL)
        return true;
    return !qy_pte_none(pte) && !qy_pte_is_file(pte) &&
           qy_folio_of(space->mapping.mm, qy_pte_pfn(pte))->pins != 0;
}

/** The pages that some bytes touch; false: not of this space. */
static bool pages_of(const struct qy_space *space, const void *address, size_t bytes,
                     uint64_t *page, uint64_t *end)
{
    uintptr_t offset = (uintptr_t)address - (uintptr_t)space->start;
    uint64_t all = space->nr_pages << QY_PAGE_SHIFT;
    *page = offset >> QY_PAGE_SHIFT;
    *end = ((offset + bytes - 1) >> QY_PAGE_SHIFT) + 1;
    return bytes != 0 && offset < all && bytes <= all - offset;
}

int qy_space_pin(struct qy_space *space, const void *address, size_t bytes, enum qy_pin how,
                 qy_pfn_t *pfns)
{
    if (qy_port_inherited(space))
        return -QY_ENOTSUP;
    uint64_t start, end;
    qy_pfn_t spare = QY_PFN_NONE;
    int code = 0;
    if (!pages_of(space, address, bytes, &start, &end))
        return -QY_EFAULT;
    uint64_t page = start;
    for (qy_pfn_t pfn; page < end && code == 0; page += code == 0) {
        code = pin_page(space, page, how, &spare, &pfn);
        if (code == 0 && pfns != NULL)
            pfns[page - start] = pfn;
    }
    if (spare != QY_PFN_NONE)
        qy_lend_return(space->mapping.mm, spare, 1);
    if (code != 0 && page > start) {
        struct qy_tree_node *gone = NULL;
        qy_lock(&space->mapping.lock);
        while (page > start)
            unpin_locked(space, --page, &gone);
        qy_unlock(&space->mapping.lock);
        release(space->mapping.mm, gone);
    }
    return code;
}

int qy_space_unpin(struct qy_space *space, const void *address, size_t bytes)
{
    uint64_t start, end;
    struct qy_fault fault = {.what = "unpin", .rule = "V4", .address = (uintptr_t)address};
    struct qy_tree_node *gone = NULL;
    if (qy_port_inherited(space))
        return -QY_ENOTSUP;
    bool pinned = pages_of(space, address, bytes, &start, &end);
    qy_lock(&space->mapping.lock);
    for (uint64_t page = start; pinned && page < end; page++)
        pinned = is_pinned_locked(space, page);
    for (uint64_t page = start; pinned && page < end; page++)
        unpin_locked(space, page, &gone);
    qy_unlock(&space->mapping.lock);
    release(space->mapping.mm, gone);
    return pinned ? 0 : qy_fault_report(space->mapping.mm, &fault);
}
