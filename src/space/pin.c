/*
 * pin.c - frames that stay where they are
 *
 * WHAT    A pin is a count in the frame's folio; while it is not zero nobody isolates the page
 *         and its area cannot go. A pin for long would make a contiguous region useless, so
 *         its page first moves out of one (Linux: FOLL_LONGTERM).
 *
 * RULES   V4  A page is unpinned as often as it was pinned, and no more.
 *         Reported by qy_space_unpin().
 *
 * LOCKS   mapping.lock, page by page.
 *
 * COST    A lock pair and a walk a page.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "buddy/lend.h"
#include "memory/fault.h"
#include "space/space.h"

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
        return code;
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

static int pin_page(struct qy_space *space, uint64_t page, enum qy_pin how, qy_pfn_t *spare,
                    qy_pfn_t *pfn)
{
    int code;
    bool fresh;
    struct qy_want want = {.need = QY_PROT_NONE, .pinned = how == QY_PIN_LONG};
    do {
        code = qy_space_fill(space, page, &want);
        if (code != 0)
            return code;
        qy_lock(&space->mapping.lock);
        qy_pte_t pte = qy_pgtable_get(&space->table, page);
        if (qy_pte_is_isolated(pte))
            qy_space_wait_locked(space);
        pte = qy_pgtable_get(&space->table, page);
        code = qy_pte_none(pte) || qy_pte_is_isolated(pte) ? -QY_EAGAIN
                                                           : pin_locked(space, page, how, spare);
        *pfn = qy_pte_pfn(qy_pgtable_get(&space->table, page));
        qy_unlock(&space->mapping.lock);
        if (code == 1)
            *spare = qy_lend_block(space->mapping.mm, QY_GFP_NOWAIT, QY_LEND_PINNED, 0, &fresh);
        if (code == 1 && *spare == QY_PFN_NONE)
            return -QY_ENOMEM;
    } while (code == 1 || code == -QY_EAGAIN);
    return code;
}

static void unpin_locked(struct qy_space *space, uint64_t page)
{
    qy_pfn_t pfn = qy_pte_pfn(qy_pgtable_get(&space->table, page));
    struct qy_folio *folio = qy_folio_of(space->mapping.mm, pfn);
    space->nr_pinned -= --folio->pins == 0;
    if (folio->long_pins > folio->pins)
        folio->long_pins = folio->pins;
}

static bool is_pinned_locked(const struct qy_space *space, uint64_t page)
{
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    return !qy_pte_none(pte) && qy_folio_of(space->mapping.mm, qy_pte_pfn(pte))->pins != 0;
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
        qy_lock(&space->mapping.lock);
        while (page > start)
            unpin_locked(space, --page);
        qy_unlock(&space->mapping.lock);
    }
    return code;
}

int qy_space_unpin(struct qy_space *space, const void *address, size_t bytes)
{
    uint64_t start, end;
    struct qy_fault fault = {.what = "unpin", .rule = "V4", .address = (uintptr_t)address};
    if (qy_port_inherited(space))
        return -QY_ENOTSUP;
    bool pinned = pages_of(space, address, bytes, &start, &end);
    qy_lock(&space->mapping.lock);
    for (uint64_t page = start; pinned && page < end; page++)
        pinned = is_pinned_locked(space, page);
    for (uint64_t page = start; pinned && page < end; page++)
        unpin_locked(space, page);
    qy_unlock(&space->mapping.lock);
    return pinned ? 0 : qy_fault_report(space->mapping.mm, &fault);
}
