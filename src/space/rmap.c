/*
 * rmap.c - from a frame back to the page that is on it, and off it
 *
 * WHAT    A frame's folio names space and page, so whoever wants the frame finds both. What
 *         he can ask is this file: what it would cost, and to move.
 *
 *           isolate   the host lets nobody write the pages any more: who does, faults and waits;
 *                     its tables go over to the core's address, for it copies next
 *           (copy)    by who asked; readers read the old frames
 *           putback   the host's mapping goes over to the new frames in one step; the entries
 *                     follow; who waited goes on; the old frames go back
 *
 * RULES   V1, V2, V3  in space/mapping.h.
 *
 * LOCKS   mapping.lock in each of them, not in between.
 *
 * COST    Two changes of the host's mappings for a run of pages, whatever its length; and an
 *         entry and a folio a page.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "buddy/lend.h"
#include "space/space.h"

void qy_space_own_locked(struct qy_space *space, uint64_t page, qy_pfn_t pfn, uint64_t count)
{
    qy_assert_held(&space->mapping.lock);
    for (uint64_t i = 0; i < count; i++)
        qy_folio_own(qy_folio_of(space->mapping.mm, pfn + i), &space->mapping,
                     (uint32_t)(page + i));
}

void qy_space_disown_locked(struct qy_space *space, qy_pfn_t pfn, uint64_t count)
{
    qy_assert_held(&space->mapping.lock);
    for (uint64_t i = 0; i < count; i++)
        qy_folio_disown(qy_folio_of(space->mapping.mm, pfn + i));
    qy_lend_return(space->mapping.mm, pfn, count);
}

/** Why the first page cannot be isolated; 0: it can. */
static int refusal(const struct qy_space *space, qy_pte_t pte, qy_pfn_t pfn)
{
    if (qy_pte_none(pte) || qy_pte_pfn(pte) != pfn || qy_pte_is_isolated(pte) ||
        qy_pte_is_file(pte))
        return -QY_EAGAIN;
    return qy_folio_of(space->mapping.mm, pfn)->pins != 0 ? -QY_EBUSY : 0;
}

/** How many pages in a row can be: alike, so that one call of the port does for all. */
static unsigned run_of(const struct qy_space *space, uint64_t page, qy_pfn_t pfn, unsigned count)
{
    qy_pte_t pte;
    uint64_t end = page + count < space->nr_pages ? page + count : space->nr_pages;
    uint64_t run = qy_space_run_locked(space, page, end, &pte);
    unsigned free = 1;
    while (free < run && qy_folio_of(space->mapping.mm, pfn + free)->pins == 0)
        free++;
    return free;
}

/** Each of up to 512 pages has an entry of its own: so putting back, in any parts, needs no table.
 *  (page + 1: the entry that begins with the first page is split, too.) */
static int spread_locked(struct qy_space *space, uint64_t page, unsigned count)
{
    struct qy_pgtable *table = &space->table;
    if (qy_pgtable_split(table, page) != 0 || qy_pgtable_split(table, page + 1) != 0)
        return -QY_ENOMEM;
    return qy_pgtable_split(table, page + count);
}

/** Nobody writes the pages any more, whose entries will be like this one. */
static int close_locked(struct qy_space *space, uint64_t page, qy_pfn_t pfn, unsigned count,
                        qy_pte_t pte)
{
    uint64_t end = page + count;
    if (qy_pte_may_write(pte))
        qy_space_recall_locked(space, page, pfn, count);
    else if (!qy_space_in_doubt(space, page, end))
        return 0;
    return qy_space_allow_locked(space, page, end, qy_pte_host_prot(pte));
}

int qy_space_isolate_locked(struct qy_space *space, uint64_t page, qy_pfn_t pfn, unsigned count)
{
    qy_assert_held(&space->mapping.lock);
    if (page >= space->nr_pages)
        return -QY_EAGAIN;
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    int code = refusal(space, pte, pfn);
    if (code != 0)
        return code;
    count = run_of(space, page, pfn, count < QY_PT_ENTRIES ? count : QY_PT_ENTRIES);
    if (spread_locked(space, page, count) != 0)
        return -QY_ENOMEM;
    qy_space_restore_locked(space, page, page + count);
    uint32_t flags = qy_pte_flags(pte) | QY_PTE_ISOLATED;
    int64_t growth = qy_space_growth_locked(space, page, count, qy_pte_make_leaf(pfn, flags));
    if (!qy_space_may_grow_locked(space, growth, 0, false) ||
        close_locked(space, page, pfn, count, qy_pte_make_leaf(pfn, flags)) != 0) {
        qy_space_no_mappings_locked(space);
        return -QY_ENOSPC;
    }
    qy_pgtable_set(&space->table, page, count, pfn, flags);
    space->nr_isolated += count;
    qy_space_recount_locked(space, growth);
    return (int)count;
}

/** The host has the frames from @to on under the pages. */
static int go_over_locked(struct qy_space *space, uint64_t page, qy_pfn_t to, unsigned count,
                          uint32_t flags)
{
    int64_t growth = qy_space_growth_locked(space, page, count, qy_pte_make_leaf(to, flags));
    int code = -QY_ENOMEM;
    if (qy_space_may_grow_locked(space, growth, 0, false))
        code = qy_port_window_map(space->mapping.mm, qy_space_address(space, page), to, count,
                                  qy_flags_prot(flags), true);
    if (code == -QY_EFAULT)
        qy_space_doubt_locked(space, page, page + count);
    return code == 0 ? 0 : qy_space_no_mappings_locked(space);
}

int qy_space_putback_locked(struct qy_space *space, uint64_t page, qy_pfn_t from, qy_pfn_t to,
                            unsigned count)
{
    qy_assert_held(&space->mapping.lock);
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    uint32_t flags = qy_pte_flags(pte) & ~QY_PTE_ISOLATED;
    qy_assert(qy_pte_is_isolated(pte) && qy_pte_pfn(pte) == from, "V2");
    int code = to != from ? go_over_locked(space, page, to, count, flags) : 0;
    to = code == 0 ? to : from;
    if (to == from && ((flags & QY_PTE_WRITE) || qy_space_in_doubt(space, page, page + count)))
        (void)!qy_space_allow_locked(space, page, page + count, qy_flags_prot(flags));
    int64_t growth = qy_space_growth_locked(space, page, count, qy_pte_make_leaf(to, flags));
    qy_pgtable_set(&space->table, page, count, to, flags);
    if (to != from) {
        qy_space_disown_locked(space, from, count);
        qy_space_own_locked(space, page, to, count);
        space->nr_moved += count;
    }
    space->nr_isolated -= count;
    qy_space_recount_locked(space, growth);
    atomic_fetch_add_explicit(&space->moves, 1, memory_order_relaxed);
    return code;
}

void qy_space_wake(struct qy_space *space)
{
    qy_port_wake(&space->moves);
}

/* ---- what a mover calls ---- */

static QY_RACY enum qy_folio_cost cost(const struct qy_mapping *mapping,
                                       const struct qy_folio *folio)
{
    (void)mapping;
    return folio->pins != 0 ? QY_COST_NEVER : QY_COST_MOVE;
}

static int isolate(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn, unsigned count)
{
    struct qy_space *space = qy_space_of(mapping);
    qy_lock(&mapping->lock);
    int code = qy_space_isolate_locked(space, index, pfn, count);
    qy_unlock(&mapping->lock);
    return code;
}

static int putback(struct qy_mapping *mapping, uint32_t index, qy_pfn_t from, qy_pfn_t to,
                   unsigned count)
{
    struct qy_space *space = qy_space_of(mapping);
    qy_lock(&mapping->lock);
    int code = qy_space_putback_locked(space, index, from, to, count);
    bool waits = space->nr_waiters != 0;
    qy_unlock(&mapping->lock);
    if (waits)
        qy_space_wake(space);
    return code;
}

const struct qy_mapping_ops qy_space_ops = {
    .kind = "anon",
    .cost = cost,
    .isolate = isolate,
    .putback = putback,
};
