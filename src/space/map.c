/*
 * map.c - areas are mapped, unmapped, protected
 *
 * WHAT    A change of a range of pages goes in an order that leaves nothing half done: wait until
 *         no page of it is being moved; see that it may be done; get what it needs (areas to cut
 *         with, tables); ask the host; then change entries, folios and areas, which cannot fail.
 *
 * RULES   V1, V2, V3  in space/mapping.h; V5  in space/area.c; V7  in space/mappings.c.
 *
 * LOCKS   mapping.lock.
 *
 * COST    A call of the port for a range, or for each run of pages that have frames; an entry
 *         and a folio a page.
 */
#include "space/space.h"

#include "base/assert.h"
#include "base/errno.h"
#include "memory/fault.h"

#include <quarry/slab.h>

/* ---- a range of pages, the lock held ---- */

void qy_space_settle_locked(struct qy_space *space, uint64_t page, uint64_t count)
{
    qy_assert_held(&space->mapping.lock);
    for (uint64_t at = page; space->nr_isolated != 0 && at < page + count;) {
        qy_pte_t pte = 0;
        at = qy_pgtable_next(&space->table, at, page + count, &pte);
        if (qy_pte_is_isolated(pte)) {
            qy_space_wait_locked(space);
            at = page;
        } else {
            at++;
        }
    }
}

static bool any_pinned_locked(const struct qy_space *space, uint64_t page, uint64_t count)
{
    qy_pte_t pte;
    uint64_t end = page + count;
    if (space->nr_pinned == 0)
        return false;
    const struct qy_tree_node *pin = qy_tree_at(&space->pins, page);
    if (pin != NULL && pin->start < end)
        return true;
    while ((page = qy_pgtable_next(&space->table, page, end, &pte)) < end) {
        if (!qy_pte_is_file(pte) && qy_folio_of(space->mapping.mm, qy_pte_pfn(pte))->pins != 0)
            return true;
        page++;
    }
    return false;
}

void qy_space_recall_pages_locked(struct qy_space *space, uint64_t page, uint64_t count)
{
    qy_assert_held(&space->mapping.lock);
    qy_pte_t pte;
    uint64_t end = page + count;
    while ((page = qy_pgtable_next(&space->table, page, end, &pte)) < end) {
        uint64_t run = qy_space_run_locked(space, page, end, &pte);
        if (qy_pte_may_write(pte) && !qy_pte_is_file(pte))
            qy_space_recall_locked(space, page, qy_pte_pfn(pte), run);
        page += run;
    }
}

void qy_space_release_locked(struct qy_space *space, uint64_t page, uint64_t count)
{
    qy_assert_held(&space->mapping.lock);
    qy_pte_t pte;
    uint64_t end = page + count, start = page;
    while ((page = qy_pgtable_next(&space->table, page, end, &pte)) < end) {
        uint64_t run = qy_space_run_locked(space, page, end, &pte);
        qy_assert(!qy_pte_is_isolated(pte), "V2");
        if (qy_pte_is_file(pte))
            space->nr_file -= run;
        else
            qy_space_disown_locked(space, qy_pte_pfn(pte), run);
        space->nr_resident -= run;
        page += run;
    }
    qy_pgtable_clear(&space->table, start, count);
}

/** No entry covers pages on both sides of an end. */
static int split_ends_locked(struct qy_space *space, uint64_t page, uint64_t count)
{
    if (qy_pgtable_split(&space->table, page) != 0)
        return -QY_ENOMEM;
    return qy_pgtable_split(&space->table, page + count);
}

/** Are there mappings for what is left? *growth: how many more. */
static bool may_unmap_locked(const struct qy_space *space, uint64_t page, uint64_t count,
                             int64_t *growth)
{
    *growth = qy_space_growth_locked(space, page, count, 0);
    return qy_space_may_grow_locked(space, *growth, qy_area_growth_unmapped(space, page, count),
                                    false);
}

static int unmap_locked(struct qy_space *space, uint64_t page, uint64_t count, int64_t *growth)
{
    qy_pte_t pte;
    if (any_pinned_locked(space, page, count))
        return -QY_EBUSY;
    if (!may_unmap_locked(space, page, count, growth) &&
        !(qy_space_make_way_locked(space) && may_unmap_locked(space, page, count, growth)))
        return qy_space_no_mappings_locked(space);
    if (split_ends_locked(space, page, count) != 0)
        return -QY_ENOMEM;
    uint64_t first = qy_pgtable_next(&space->table, page, page + count, &pte);
    if (first < page + count) {
        qy_space_recall_pages_locked(space, page, count);
        if (qy_space_deny_locked(space, first, page + count) != 0)
            return qy_space_no_mappings_locked(space);
        qy_space_release_locked(space, page, count);
    }
    return 0;
}

/** Pages from @page on, which the host has one prot for: of an own area those that have frames, of
 *  a file's those whose entries allow the same. */
static uint64_t end_of_alike(const struct qy_space *space, const struct qy_area *area,
                             uint64_t page, uint64_t end)
{
    qy_pte_t pte = qy_pgtable_get(&space->table, page), next;
    end = end < area->node.end ? end : area->node.end;
    do
        next = ++page < end ? qy_pgtable_get(&space->table, page) : 0;
    while (!qy_pte_none(next) && (area->mapper == NULL || qy_pte_flags(next) == qy_pte_flags(pte)));
    return page;
}

/** The host allows this on pages that have frames; @prot NULL: what it allowed before. Returns how
 *  far it came: @end is all. */
static uint64_t protect_host_locked(struct qy_space *space, uint64_t page, uint64_t end,
                                    const uint32_t *prot)
{
    qy_pte_t pte;
    while ((page = qy_pgtable_next(&space->table, page, end, &pte)) < end) {
        const struct qy_area *area = qy_area_at(space, page);
        uint64_t next = end_of_alike(space, area, page, end);
        uint32_t flags =
            prot != NULL ? qy_pte_flags_under(pte, qy_prot_flags(*prot)) : qy_pte_flags(pte);
        if (qy_space_allow_locked(space, page, next, qy_flags_prot(flags)) != 0)
            return page;
        page = next;
    }
    return end;
}

static void protect_entries_locked(struct qy_space *space, uint64_t start, uint64_t end,
                                   uint32_t prot)
{
    qy_pte_t pte;
    uint64_t page = start;
    while ((page = qy_pgtable_next(&space->table, page, end, &pte)) < end) {
        uint64_t run = qy_space_run_locked(space, page, end, &pte);
        qy_pgtable_set(&space->table, page, run, qy_pte_pfn(pte),
                       qy_pte_flags_under(pte, qy_prot_flags(prot)));
        page += run;
    }
    for (struct qy_area *area; start < end; start = area->node.end) {
        area = qy_area_at(space, start);
        area->prot = prot;
    }
}

/** Is some of it a file's that cannot be written? */
static bool is_read_only(const struct qy_space *space, uint64_t page, uint64_t count)
{
    uint64_t end = page + count;
    for (const struct qy_area *area; page < end; page = area->node.end) {
        area = qy_area_at(space, page);
        if (area->mapper != NULL && !area->mapper->may_write)
            return true;
    }
    return false;
}

/** Are there mappings for it? *growth: how many more. */
static bool may_protect_locked(const struct qy_space *space, uint64_t page, uint64_t count,
                               uint32_t prot, int64_t *growth)
{
    *growth = qy_space_growth_by_flags_locked(space, page, count, qy_prot_flags(prot));
    return qy_space_may_grow_locked(space, *growth,
                                    qy_area_growth_protected(space, page, count, prot), false);
}

static int protect_locked(struct qy_space *space, uint64_t page, uint64_t count, uint32_t prot,
                          int64_t *growth, struct qy_area **spare)
{
    if (!qy_area_covers(space, page, count))
        return -QY_ENOMEM;
    if ((prot & QY_PROT_WRITE) && is_read_only(space, page, count))
        return -QY_EROFS;
    if (!may_protect_locked(space, page, count, prot, growth) &&
        !(qy_space_make_way_locked(space) && may_protect_locked(space, page, count, prot, growth)))
        return qy_space_no_mappings_locked(space);
    if (split_ends_locked(space, page, count) != 0)
        return -QY_ENOMEM;
    qy_space_restore_locked(space, page, page + count);
    uint64_t reached = protect_host_locked(space, page, page + count, &prot);
    if (reached < page + count) {
        uint64_t back = protect_host_locked(space, page, reached, NULL);
        qy_space_doubt_locked(space, back, reached);
        qy_space_restore_locked(space, page, page + count);
        return qy_space_no_mappings_locked(space);
    }
    qy_area_cut(space, page, &spare[0]);
    qy_area_cut(space, page + count, &spare[1]);
    protect_entries_locked(space, page, page + count, prot);
    return 0;
}

/* ---- areas ---- */

static void drop_spares(struct qy_mm *mm, struct qy_area *spare[2])
{
    qy_kfree(mm, spare[0]);
    qy_kfree(mm, spare[1]);
}

/** Take the lock when no page of the range is being moved, with an area for each end of it that
 *  cuts one; what cuts none needs no memory, or none could be given back where there is none.
 *  False: there is none, and no lock held. */
static bool lock_for_change(struct qy_space *space, uint64_t page, uint64_t count,
                            struct qy_area *spare[2])
{
    struct qy_mm *mm = space->mapping.mm;
    spare[0] = spare[1] = NULL;
    for (;;) {
        qy_lock(&space->mapping.lock);
        qy_space_settle_locked(space, page, count);
        bool short_of[2] = {spare[0] == NULL && qy_area_lies_across(space, page),
                            spare[1] == NULL && qy_area_lies_across(space, page + count)};
        if (!short_of[0] && !short_of[1])
            return true;
        qy_unlock(&space->mapping.lock);
        for (unsigned i = 0; i < 2; i++)
            if (short_of[i] &&
                (spare[i] = qy_kmalloc(mm, sizeof(**spare), QY_GFP_KERNEL)) == NULL) {
                drop_spares(mm, spare);
                return false;
            }
    }
}

void *qy_space_map(struct qy_space *space, size_t bytes, uint32_t prot, uint32_t flags,
                   struct qy_error *error)
{
    if (qy_port_inherited(space))
        return qy_refused(error, -QY_ENOTSUP, QY_INHERITED, UINT64_MAX);
    struct qy_mm *mm = space->mapping.mm;
    uint64_t count = (bytes >> QY_PAGE_SHIFT) + (bytes % QY_PAGE_BYTES != 0);
    if (bytes == 0 || (prot & ~(QY_PROT_READ | QY_PROT_WRITE)) ||
        (flags & ~(QY_AREA_HUGE | QY_AREA_POPULATE)))
        return qy_refused(error, -QY_EINVAL, "no such area: bytes ", bytes);
    struct qy_area *area = qy_kmalloc(mm, sizeof(*area), QY_GFP_KERNEL | QY_GFP_ZERO);
    if (area == NULL)
        return qy_refused(error, -QY_ENOMEM, "no memory to describe an area", UINT64_MAX);
    area->prot = (prot & QY_PROT_WRITE) ? prot | QY_PROT_READ : prot;
    area->flags = flags & QY_AREA_HUGE;
    const char *why;
    qy_lock(&space->mapping.lock);
    uint64_t page = qy_area_gap(space, count, &why);
    struct qy_area *left = area;
    if (page != QY_TREE_NO_GAP) {
        qy_area_insert(space, area, page, page + count);
        left = qy_area_join(space, page, count);
        qy_space_recount_locked(space, 0);
    }
    qy_unlock(&space->mapping.lock);
    qy_areas_free(mm, left);
    if (page == QY_TREE_NO_GAP)
        return qy_refused(error, -QY_ENOMEM, why, count);
    void *address = qy_space_address(space, page);
    if ((flags & QY_AREA_POPULATE) && qy_space_populate(space, page, count) != 0) {
        qy_space_unmap(space, address, count << QY_PAGE_SHIFT);
        return qy_refused(error, -QY_ENOMEM, "no frames, or no mappings, for pages: ", count);
    }
    return address;
}

int qy_space_unmap(struct qy_space *space, void *address, size_t bytes)
{
    if (qy_port_inherited(space))
        return -QY_ENOTSUP;
    struct qy_mm *mm = space->mapping.mm;
    if (!qy_space_holds(space, address, bytes))
        return -QY_EINVAL;
    struct qy_area *spare[2], *removed = NULL;
    int64_t growth = 0;
    struct qy_list left;
    uint64_t page = qy_space_page(space, address), count = bytes >> QY_PAGE_SHIFT;
    if (!lock_for_change(space, page, count, spare))
        return -QY_ENOMEM;
    int code = unmap_locked(space, page, count, &growth);
    if (code == 0) {
        qy_area_cut(space, page, &spare[0]);
        qy_area_cut(space, page + count, &spare[1]);
        removed = qy_area_remove(space, page, count);
        qy_space_recount_locked(space, growth);
    }
    qy_mappers_leave_locked(space, &left);
    qy_unlock(&space->mapping.lock);
    qy_mappers_detach(&left);
    qy_areas_free(mm, removed);
    drop_spares(mm, spare);
    return code;
}

int qy_space_protect(struct qy_space *space, void *address, size_t bytes, uint32_t prot)
{
    if (qy_port_inherited(space))
        return -QY_ENOTSUP;
    struct qy_mm *mm = space->mapping.mm;
    if (!qy_space_holds(space, address, bytes) || (prot & ~(QY_PROT_READ | QY_PROT_WRITE)))
        return -QY_EINVAL;
    struct qy_area *spare[2], *left = NULL;
    int64_t growth = 0;
    prot |= (prot & QY_PROT_WRITE) ? QY_PROT_READ : 0;
    uint64_t page = qy_space_page(space, address), count = bytes >> QY_PAGE_SHIFT;
    if (!lock_for_change(space, page, count, spare))
        return -QY_ENOMEM;
    int code = protect_locked(space, page, count, prot, &growth, spare);
    if (code == 0) {
        left = qy_area_join(space, page, count);
        qy_space_recount_locked(space, growth);
    }
    qy_unlock(&space->mapping.lock);
    qy_areas_free(mm, left);
    drop_spares(mm, spare);
    return code;
}
