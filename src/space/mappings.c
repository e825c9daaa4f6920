/*
 * mappings.c - how many mappings of the host a space takes, and what is done before there are none
 *
 * WHAT    The host keeps one mapping for pages that lie side by side, allow the same, and are on
 *         frames that lie side by side, too; and one for each gap between them:
 *
 *           page     0  1  2 | 3  4 | 5  6 | 7
 *           frame    7  8  9 | -  - | 3  4 | 5 read only        4 mappings
 *
 *         It allows a process so many, and at that number refuses whatever would change one. So a
 *         space counts its own, adds them to those of all memories of the process, and keeps
 *         clear of that number:
 *
 *           0 ------------ calls may ------------ most - spare -- accesses may -- most -- the
 *           host's
 *
 *         Calls are refused first: they can say so, an access cannot. What they leave over is for
 *         accesses. Each area, and each gap between areas, is counted as one even when nothing of
 *         it was touched yet: so that its accesses find what they need.
 *
 *         And where the calls' share is used up, the next access first collapses a block of pages
 *         that takes many: all of it goes to frames that lie side by side (Linux: khugepaged).
 *         Pages of files need no mapping until they are touched again: before somebody is refused,
 *         all of the space's give theirs up (qy_space_make_way_locked()).
 *
 * RULES   V7  nr_mappings is 1 and a border wherever a page and the one before differ; what a space
 *             is charged is that, or what its areas and gaps need if that is more;
 *             mm->nr_mappings is the sum, and part of *space->host_mappings.
 *         Checked by check_mappings() in view/rules_space.c.
 *
 * LOCKS   mapping.lock.
 *
 * COST    A walk over the pages that change. Collapsing: a copy of the block, and some calls of the
 *         host, with the lock held: 2 MiB at most. Before that 64 looks, 15 us where each is at
 *         512 pages in vain.
 */
#include "space/space.h"

#include "base/assert.h"
#include "base/errno.h"
#include "base/text.h"
#include "buddy/lend.h"

/** Of the mappings that there may be, a sixteenth is left to accesses. */
#define SPARE_SHARE 16

/** Blocks that are looked at for one that is worth collapsing. */
#define MOST_LOOKS 64u
/** A collapse pays if it saves a mapping for each so many frames that it takes. */
#define FRAMES_A_MAPPING 32u

/* ---- counting ---- */

/** Are two neighbours in one mapping of the host? */
static bool goes_on(qy_pte_t before, qy_pte_t pte)
{
    if (qy_pte_none(before) || qy_pte_none(pte))
        return qy_pte_none(before) && qy_pte_none(pte);
    return qy_pte_pfn(pte) == qy_pte_pfn(before) + 1 &&
           qy_pte_host_prot(pte) == qy_pte_host_prot(before);
}

/** Borders from the first page's to the one behind the last; @flags: as if what is on frames there
 *  had these, or less if it is a file's. NULL: as it is. */
static uint64_t borders(const struct qy_space *space, uint64_t page, uint64_t count,
                        const uint32_t *flags)
{
    const struct qy_pgtable *table = &space->table;
    uint64_t end = page + count, nr = 0;
    qy_pte_t before = page > 0 ? qy_pgtable_get(table, page - 1) : 0, ignored;
    for (uint64_t at = page; at <= end && at < space->nr_pages;) {
        qy_pte_t pte = qy_pgtable_get(table, at);
        if (flags != NULL && at < end && !qy_pte_none(pte))
            pte = qy_pte_make_leaf(qy_pte_pfn(pte), qy_pte_flags_under(pte, *flags));
        nr += at > 0 && !goes_on(before, pte);
        before = pte;
        at++;
        if (qy_pte_none(pte) && at < end)
            at = qy_pgtable_next(table, at, end, &ignored);
    }
    return nr;
}

/** The same, if the pages were on frames in a row, the first as @pte says; 0: on none. */
static uint64_t borders_as(const struct qy_space *space, uint64_t page, uint64_t count,
                           qy_pte_t pte)
{
    uint64_t end = page + count;
    qy_pte_t last =
        qy_pte_none(pte) ? 0 : qy_pte_make_leaf(qy_pte_pfn(pte) + count - 1, qy_pte_flags(pte));
    return (page > 0 && !goes_on(qy_pgtable_get(&space->table, page - 1), pte)) +
           (end < space->nr_pages && !goes_on(last, qy_pgtable_get(&space->table, end)));
}

uint64_t qy_space_mappings(const struct qy_space *space)
{
    return 1 + borders(space, 0, space->nr_pages, NULL);
}

int64_t qy_space_growth_locked(const struct qy_space *space, uint64_t page, uint64_t count,
                               qy_pte_t pte)
{
    qy_assert_held(&space->mapping.lock);
    return (int64_t)borders_as(space, page, count, pte) -
           (int64_t)borders(space, page, count, NULL);
}

int64_t qy_space_growth_by_flags_locked(const struct qy_space *space, uint64_t page, uint64_t count,
                                        uint32_t flags)
{
    qy_assert_held(&space->mapping.lock);
    return (int64_t)borders(space, page, count, &flags) -
           (int64_t)borders(space, page, count, NULL);
}

/* ---- charging ---- */

void qy_space_charge_locked(struct qy_space *space, uint64_t charge)
{
    qy_assert_held(&space->mapping.lock);
    struct qy_mm *mm = space->mapping.mm;
    atomic_fetch_add_explicit(&mm->nr_mappings, charge - space->charged, memory_order_relaxed);
    atomic_fetch_add_explicit(space->host_mappings, charge - space->charged, memory_order_relaxed);
    space->charged = charge;
}

void qy_space_recount_locked(struct qy_space *space, int64_t growth)
{
    qy_assert_held(&space->mapping.lock);
    space->nr_mappings += (uint64_t)growth;
    uint64_t charge = qy_space_charge(space->nr_mappings, space->nr_areas + space->nr_islands);
    qy_space_charge_locked(space, charge);
}

static uint64_t left_to_calls(const struct qy_mm *mm)
{
    uint64_t most = atomic_load_explicit(&mm->most_mappings, memory_order_relaxed);
    return most - most / SPARE_SHARE;
}

bool qy_space_may_grow_locked(const struct qy_space *space, int64_t growth, int areas, bool access)
{
    qy_assert_held(&space->mapping.lock);
    const struct qy_mm *mm = space->mapping.mm;
    uint64_t most =
        access ? atomic_load_explicit(&mm->most_mappings, memory_order_relaxed) : left_to_calls(mm);
    uint64_t parts = space->nr_areas + space->nr_islands + (uint64_t)(int64_t)areas;
    uint64_t charge = qy_space_charge(space->nr_mappings + (uint64_t)growth, parts);
    return charge <= space->charged ||
           atomic_load_explicit(space->host_mappings, memory_order_relaxed) + charge -
                   space->charged <=
               most;
}

int qy_space_no_mappings_locked(struct qy_space *space)
{
    qy_assert_held(&space->mapping.lock);
    char line[200];
    struct qy_text text;
    if (space->said_no_mappings)
        return -QY_ENOMEM;
    space->said_no_mappings = true;
    qy_text_init(&text, line, sizeof(line));
    qy_text_string(&text, "quarry: space ");
    qy_text_string(&text, space->mapping.name);
    qy_text_string(&text, ": has ");
    qy_text_u64(&text, space->charged);
    qy_text_string(&text, " mappings, and the host allows no more (vm.max_map_count); ");
    qy_text_string(&text, "larger areas, or QY_AREA_HUGE, need fewer\n");
    qy_text_report(&text);
    return -QY_ENOMEM;
}

/* ---- collapsing ---- */

/** Pages of one area, all of which go to one block of frames. */
struct block {
    uint64_t page;
    unsigned order;
    uint32_t prot;
};

/** Is any page of it pinned, or being moved? */
static bool is_held(const struct qy_space *space, const struct block *block)
{
    qy_pte_t pte;
    uint64_t end = block->page + (UINT64_C(1) << block->order);
    for (uint64_t at = block->page; (at = qy_pgtable_next(&space->table, at, end, &pte)) < end;
         at++)
        if (qy_pte_is_isolated(pte) || qy_folio_of(space->mapping.mm, qy_pte_pfn(pte))->pins != 0)
            return true;
    return false;
}

/** Fewer borders than these are worth no block, however small. */
#define FEWEST_BORDERS 4u

/** The largest block round this page that is worth it, up to an order; false: none is, nor is any
 *  other in *block. Frames of files are not the space's to give up. */
static bool worth_collapsing(const struct qy_space *space, uint64_t page, unsigned most,
                             struct block *block)
{
    const struct qy_area *area = qy_area_at(space, page);
    block->prot = area->prot;
    for (block->order = area->mapper == NULL ? most : 0; block->order > 0; block->order--) {
        uint64_t count = UINT64_C(1) << block->order;
        block->page = page & ~(count - 1);
        if (block->page < area->node.start || block->page + count > area->node.end)
            continue;
        uint64_t takes = borders(space, block->page, count, NULL);
        if (takes < FEWEST_BORDERS)
            return false;
        if ((takes - 2) * FRAMES_A_MAPPING >= count && !is_held(space, block))
            return true;
    }
    return false;
}

/** The page where to look next: of an own area behind this block, or 64 KiB on, of a file's its
 *  end. */
static uint64_t next_look(const struct qy_space *space, uint64_t page, const struct block *block)
{
    const struct qy_area *area = qy_area_at(space, page);
    unsigned order = block->order > QY_SPACE_AROUND_ORDER ? block->order : QY_SPACE_AROUND_ORDER;
    return area->mapper != NULL ? area->node.end : (page | ((UINT64_C(1) << order) - 1)) + 1;
}

/** Nobody writes the pages any more. */
static int close_pages(struct qy_space *space, const struct block *block)
{
    qy_pte_t pte;
    uint64_t page = block->page, end = page + (UINT64_C(1) << block->order);
    int code = 0;
    while (code == 0 && (page = qy_pgtable_next(&space->table, page, end, &pte)) < end) {
        uint64_t run = qy_space_run_locked(space, page, end, &pte);
        code = qy_space_allow_locked(space, page, page + run, QY_PROT_READ);
        page += run;
    }
    return code;
}

/** What the pages hold, on the new frames; which read as zero if they are @fresh. */
static void copy_pages(const struct qy_space *space, const struct block *block, qy_pfn_t to,
                       bool fresh)
{
    struct qy_mm *mm = space->mapping.mm;
    for (uint64_t i = 0; i < UINT64_C(1) << block->order; i++) {
        qy_pte_t pte = qy_pgtable_get(&space->table, block->page + i);
        if (!qy_pte_none(pte))
            __builtin_memcpy(qy_frame_address(mm, to + i), qy_frame_address(mm, qy_pte_pfn(pte)),
                             QY_PAGE_BYTES);
        else if (!fresh)
            __builtin_memset(qy_frame_address(mm, to + i), 0, QY_PAGE_BYTES);
    }
}

/** The entries, folios and figures say what the host does already. */
static void settle_pages(struct qy_space *space, const struct block *block, qy_pfn_t to)
{
    qy_pte_t pte;
    uint64_t count = UINT64_C(1) << block->order, end = block->page + count, moved = 0;
    uint64_t page = block->page;
    while ((page = qy_pgtable_next(&space->table, page, end, &pte)) < end) {
        uint64_t run = qy_space_run_locked(space, page, end, &pte);
        qy_space_disown_locked(space, qy_pte_pfn(pte), run);
        moved += run;
        page += run;
    }
    qy_pgtable_set(&space->table, block->page, count, to, qy_prot_flags(block->prot));
    qy_space_own_locked(space, block->page, to, count);
    space->nr_moved += moved;
    space->nr_resident += count - moved;
    space->nr_faults += count - moved;
}

/** What the pages hold goes to the new frames, and so does the host. On an error they are in doubt:
 *  on the old frames still, but the host may let some of them only be read, or have none. */
static int carry_over(struct qy_space *space, const struct block *block, qy_pfn_t to, bool fresh)
{
    int code = (block->prot & QY_PROT_WRITE) ? close_pages(space, block) : 0;
    if (code != 0)
        return code;
    copy_pages(space, block, to, fresh);
    return qy_port_window_map(space->mapping.mm, qy_space_address(space, block->page), to,
                              UINT64_C(1) << block->order, block->prot, false);
}

/** In an order that leaves nothing half done: what can fail comes before entries change. */
static bool collapse_locked(struct qy_space *space, const struct block *block, qy_pfn_t to,
                            bool fresh)
{
    uint64_t count = UINT64_C(1) << block->order, end = block->page + count;
    if (qy_pgtable_split(&space->table, block->page) != 0 ||
        qy_pgtable_split(&space->table, end) != 0 ||
        qy_pgtable_prepare(&space->table, block->page, count, to) != 0)
        return false;
    if (carry_over(space, block, to, fresh) != 0) {
        qy_space_doubt_locked(space, block->page, end);
        qy_space_restore_locked(space, block->page, end);
        return false;
    }
    int64_t growth = qy_space_growth_locked(space, block->page, count,
                                            qy_pte_make_leaf(to, qy_prot_flags(block->prot)));
    settle_pages(space, block, to);
    qy_space_recount_locked(space, growth);
    return true;
}

bool qy_space_is_short(const struct qy_space *space)
{
    const struct qy_mm *mm = space->mapping.mm;
    return qy_unlikely(atomic_load_explicit(space->host_mappings, memory_order_relaxed) + 2 >
                       left_to_calls(mm));
}

void qy_space_collapse(struct qy_space *space)
{
    struct qy_mm *mm = space->mapping.mm;
    unsigned most = QY_PAGEBLOCK_ORDER;
    struct block block;
    qy_pte_t pte;
    bool fresh;
    qy_lock(&space->mapping.lock);
    uint64_t page = space->collapse_page;
    for (unsigned looks = 0; looks < MOST_LOOKS && most > 0; looks++) {
        page = qy_pgtable_next(&space->table, page, space->nr_pages, &pte);
        if (page >= space->nr_pages) {
            page = 0;
            continue;
        }
        if (!worth_collapsing(space, page, most, &block)) {
            page = next_look(space, page, &block);
            continue;
        }
        qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, block.order, &fresh);
        if (to == QY_PFN_NONE) {
            most = block.order - 1; /* there are no larger ones */
            continue;
        }
        if (!collapse_locked(space, &block, to, fresh))
            qy_lend_return(mm, to, UINT64_C(1) << block.order);
        page = next_look(space, page, &block);
        break;
    }
    space->collapse_page = page;
    qy_unlock(&space->mapping.lock);
}
