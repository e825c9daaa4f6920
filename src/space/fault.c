/*
 * fault.c - a page was touched that has no frame, or that is being moved
 *
 * WHAT    The frame comes with its neighbours' where that costs nothing: a block of 64 KiB, or
 *         of 2 MiB in an area that prefers those, if all of it lies in the area, none of it has a
 *         frame, and such a block is free. One mapping of the host then serves 16 pages, and
 *         one call moves them.
 *
 *           look (locked)    what is missing, and how large a block may fill it
 *           take, clear      the frames; reclaims if there are none
 *           fill (locked)    if it is still missing: host, entries, folios
 *
 *         In an area of a file it is the file that is asked (space/backing.h).
 *
 * RULES   V1  in space/mapping.h.
 *
 * LOCKS   mapping.lock twice, with nothing held in between: others may have been faster.
 *
 * COST    A frame's memory, a call of the port, a folio of 32 bytes a page. No slot is entered:
 *         the access that faults may be one of a thread that is in its own.
 */
#include "base/errno.h"
#include "buddy/alloc.h"
#include "buddy/lend.h"
#include "space/space.h"

#include <quarry/buddy.h>

/** Rounds of reclaim that one fault may ask for. */
#define MOST_RECLAIMS 64u

/** Pages that are missing together. */
struct hole {
    uint64_t page;
    unsigned order;
    uint32_t prot;            /* their area's */
    bool fresh;               /* the frames for it were not cleared, for they read as zero */
    struct qy_mapper *mapper; /* counted in, to be asked for *touch, not for the above; NULL */
    struct qy_touch touch;
};

uint64_t qy_space_run_locked(const struct qy_space *space, uint64_t page, uint64_t end,
                             qy_pte_t *pte)
{
    qy_assert_held(&space->mapping.lock);
    *pte = qy_pgtable_get(&space->table, page);
    uint64_t count = 1;
    while (page + count < end && qy_pgtable_get(&space->table, page + count) ==
                                     qy_pte_make_leaf(qy_pte_pfn(*pte) + count, qy_pte_flags(*pte)))
        count++;
    return count;
}

void qy_space_wait_locked(struct qy_space *space)
{
    qy_assert_held(&space->mapping.lock);
    uint32_t moves = atomic_load_explicit(&space->moves, memory_order_relaxed);
    space->nr_waiters++;
    qy_unlock(&space->mapping.lock);
    qy_port_sleep(&space->moves, moves);
    qy_lock(&space->mapping.lock);
    space->nr_waiters--;
}

/** May the hole at this page be a block of this order? */
static bool is_open(const struct qy_space *space, const struct qy_area *area, uint64_t page,
                    unsigned order)
{
    qy_pte_t pte;
    uint64_t count = UINT64_C(1) << order, start = page & ~(count - 1);
    return start >= area->node.start && start + count <= area->node.end &&
           qy_pgtable_next(&space->table, start, start + count, &pte) == start + count;
}

static void measure_locked(const struct qy_space *space, const struct qy_area *area, uint64_t page,
                           unsigned most, struct hole *hole)
{
    hole->order = 0;
    if (most >= QY_PAGEBLOCK_ORDER && (area->flags & QY_AREA_HUGE) &&
        is_open(space, area, page, QY_PAGEBLOCK_ORDER))
        hole->order = QY_PAGEBLOCK_ORDER;
    else if (most >= QY_SPACE_AROUND_ORDER && is_open(space, area, page, QY_SPACE_AROUND_ORDER))
        hole->order = QY_SPACE_AROUND_ORDER;
    hole->page = page & ~((UINT64_C(1) << hole->order) - 1);
    hole->prot = area->prot;
}

/** The page's entry is enough for what its area may be touched for. */
static bool is_enough(qy_pte_t pte, const struct qy_area *area, uint32_t need)
{
    uint32_t flags = qy_prot_flags(need);
    return !qy_pte_none(pte) && (area->mapper == NULL || (qy_pte_flags(pte) & flags) == flags);
}

static int no_mappings_locked(struct qy_space *space, struct qy_want *want)
{
    want->lack = QY_LACK_MAPPINGS;
    return qy_space_no_mappings_locked(space);
}

/** 0: the page has its frame; 1: it has none, see *hole; -EFAULT. Waits while it is moved, if it
 *  is to be written. */
static int look(struct qy_space *space, uint64_t page, struct qy_want *want, struct hole *hole)
{
    uint32_t need = want->need;
    int code = 0;
    hole->mapper = NULL;
    qy_lock(&space->mapping.lock);
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    while (qy_pte_is_isolated(pte) && (need & QY_PROT_WRITE)) {
        qy_space_wait_locked(space);
        pte = qy_pgtable_get(&space->table, page);
    }
    const struct qy_area *area = qy_area_at(space, page);
    if (area == NULL || (need & ~area->prot) != 0) {
        code = -QY_EFAULT;
    } else if (is_enough(pte, area, need)) {
        if (qy_space_restore_page_locked(space, page) != 0)
            code = no_mappings_locked(space, want);
    } else if (area->mapper != NULL) {
        hole->mapper = area->mapper;
        hole->mapper->users++;
        hole->touch = qy_area_touch(area, page, need);
        code = 1;
    } else {
        measure_locked(space, area, page, QY_PAGEBLOCK_ORDER, hole);
        code = 1;
    }
    qy_unlock(&space->mapping.lock);
    return code;
}

/** Frames for the hole, which reads as zero; a smaller one if there is no such block. */
static qy_pfn_t take(struct qy_mm *mm, struct hole *hole, uint64_t page, bool pinned)
{
    enum qy_lend promise = pinned ? QY_LEND_PINNED : QY_LEND_MOVABLE;
    qy_pfn_t pfn = qy_lend_block(mm, QY_GFP_NOWAIT, promise, hole->order, &hole->fresh);
    while (pfn == QY_PFN_NONE && hole->order > 0) {
        hole->order = hole->order > QY_SPACE_AROUND_ORDER ? QY_SPACE_AROUND_ORDER : 0;
        hole->page = page & ~((UINT64_C(1) << hole->order) - 1);
        pfn = qy_lend_block(mm, QY_GFP_NOWAIT, promise, hole->order, &hole->fresh);
    }
    if (pfn != QY_PFN_NONE && !hole->fresh)
        qy_port_clear_pages(mm, qy_frame_address(mm, pfn), UINT64_C(1) << hole->order);
    return pfn;
}

/** Put the frames there. 0; -EAGAIN: the hole is not what it was, or pages of files have made way;
 *  -ENOMEM: no table, or no mapping, which is no use in trying again: want->lack. */
static int fill_locked(struct qy_space *space, const struct hole *hole, qy_pfn_t pfn,
                       struct qy_want *want)
{
    struct qy_mm *mm = space->mapping.mm;
    uint64_t count = UINT64_C(1) << hole->order;
    const struct qy_area *area = qy_area_at(space, hole->page);
    if (area == NULL || area->mapper != NULL || area->prot != hole->prot ||
        !is_open(space, area, hole->page, hole->order))
        return -QY_EAGAIN;
    int64_t growth = qy_space_growth_locked(space, hole->page, count,
                                            qy_pte_make_leaf(pfn, qy_prot_flags(hole->prot)));
    int code = qy_pgtable_prepare(&space->table, hole->page, count, pfn);
    if (code == 0 && (!qy_space_may_grow_locked(space, growth, 0, want->need != QY_PROT_NONE) ||
                      qy_port_window_map(mm, qy_space_address(space, hole->page), pfn, count,
                                         hole->prot, !hole->fresh) != 0)) {
        if (qy_space_make_way_locked(space))
            code = -QY_EAGAIN;
        else
            code = no_mappings_locked(space, want);
    }
    if (code != 0) {
        qy_pgtable_clear(&space->table, hole->page, count); /* tables that came for nothing */
        return code;
    }
    qy_pgtable_set(&space->table, hole->page, count, pfn, qy_prot_flags(hole->prot));
    qy_space_own_locked(space, hole->page, pfn, count);
    space->nr_resident += count;
    space->nr_faults += count;
    qy_space_recount_locked(space, growth);
    return 0;
}

/** As fill_locked(), with frames of the page's own. */
static int fill_own(struct qy_space *space, struct hole *hole, uint64_t page, struct qy_want *want)
{
    struct qy_mm *mm = space->mapping.mm;
    qy_pfn_t pfn = take(mm, hole, page, want->pinned);
    if (pfn == QY_PFN_NONE)
        return -QY_ENOMEM;
    qy_lock(&space->mapping.lock);
    int code = fill_locked(space, hole, pfn, want);
    qy_unlock(&space->mapping.lock);
    if (code != 0)
        qy_lend_return(mm, pfn, UINT64_C(1) << hole->order);
    return code;
}

/** The page is a file's. */
static int ask_backing(struct hole *hole, struct qy_want *want)
{
    int code = hole->mapper->ops->fault(hole->mapper, &hole->touch);
    want->lack = hole->touch.no_mapping ? QY_LACK_MAPPINGS : QY_LACK_NOTHING;
    qy_mapper_put(hole->mapper);
    return code;
}

/** There were no frames: whatever lists hold is free, too; then others give way. Somebody else may
 *  take what they gave, and nobody can be told that it was not enough but by ending the program: so
 *  more often than who allocates, as long as there is something to give. Every other time for what
 *  cannot move: tables. */
static bool find_more(struct qy_mm *mm, const struct qy_want *want, unsigned *rounds)
{
    const qy_gfp_t ours = QY_GFP_HIGHUSER_MOVABLE | QY_GFP_NOFAIL;
    unsigned again = 0;
    if (*rounds == 0)
        qy_drain_all_pages(mm);
    if ((*rounds)++ == MOST_RECLAIMS)
        return false;
    bool moves = !want->pinned && *rounds % 2 != 0;
    return (moves && qy_reclaim_again(mm, ours, 0, &again)) ||
           qy_reclaim_again(mm, ours & ~QY_GFP_MOVABLE, 0, &again);
}

int qy_space_fill(struct qy_space *space, uint64_t page, struct qy_want *want)
{
    struct hole hole = {0};
    unsigned rounds = 0;
    int code;
    want->lack = QY_LACK_NOTHING;
    while ((code = look(space, page, want, &hole)) == 1) {
        if (qy_space_is_short(space))
            qy_space_collapse(space);
        code = hole.mapper != NULL ? ask_backing(&hole, want) : fill_own(space, &hole, page, want);
        if (code == -QY_ENOMEM && want->lack != QY_LACK_MAPPINGS &&
            find_more(space->mapping.mm, want, &rounds))
            continue;
        if (code != -QY_EAGAIN)
            break;
    }
    if (code == -QY_ENOMEM && want->lack == QY_LACK_NOTHING)
        want->lack = QY_LACK_FRAMES;
    return code;
}

int qy_space_populate(struct qy_space *space, uint64_t page, uint64_t count)
{
    struct qy_want want = {.need = QY_PROT_NONE};
    int code = 0;
    for (uint64_t at = page; at < page + count && code == 0; at++)
        code = qy_space_fill(space, at, &want);
    return code;
}

int qy_space_touch(struct qy_space *space, const void *address, bool write, enum qy_lack *lack)
{
    struct qy_want want = {.need = write ? QY_PROT_WRITE : QY_PROT_READ};
    uint64_t page = qy_space_page(space, address);
    int code = page < space->nr_pages ? qy_space_fill(space, page, &want) : -QY_EFAULT;
    *lack = want.lack;
    return code;
}

int qy_space_fault(struct qy_space *space, const void *address, bool write)
{
    if (qy_port_inherited(space))
        return -QY_ENOTSUP;
    enum qy_lack lack;
    return qy_space_touch(space, address, write, &lack);
}
