/*
 * backed.c - entries that a file puts into a space, and takes away
 *
 * WHAT    See backing.h. A page that is touched is mapped with those of its 64 KiB around it whose
 *         frames lie beside its own and that have no entry yet: one call of the port.
 *
 *           pages of the space     16   17   18   19   20 ...
 *           frames of the file    f+0  f+1  f+2   g  f+4
 *           touched: 17           \------------/        one mapping of the host
 *
 * RULES   V8, V9  in space/backing.h; V7  in space/mappings.c.
 *
 * LOCKS   The space's mapping.lock, inside the backing's.
 *
 * COST    A call of the port for a run. Finding the pages of a backing looks at each area that the
 *         space has of it.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "space/space.h"

/* ---- mappers ---- */

struct qy_touch qy_area_touch(const struct qy_area *area, uint64_t page, uint32_t need)
{
    return (struct qy_touch){.page = page,
                             .index = area->offset + (page - area->node.start),
                             .need = need,
                             .prot = area->prot};
}

struct qy_mapper *qy_mapper_at(struct qy_space *space, uint64_t page, struct qy_touch *touch)
{
    qy_lock(&space->mapping.lock);
    const struct qy_area *area = qy_area_at(space, page);
    struct qy_mapper *mapper = area != NULL ? area->mapper : NULL;
    if (mapper != NULL) {
        mapper->users++;
        *touch = qy_area_touch(area, page, QY_PROT_NONE);
    }
    qy_unlock(&space->mapping.lock);
    return mapper;
}

static struct qy_mapper *without_areas(struct qy_space *space)
{
    qy_list_for_each (link, &space->mappers) {
        struct qy_mapper *mapper = qy_list_entry(link, struct qy_mapper, in_space);
        if (qy_list_empty(&mapper->areas))
            return mapper;
    }
    return NULL;
}

void qy_mappers_leave_locked(struct qy_space *space, struct qy_list *left)
{
    struct qy_mapper *mapper;
    qy_assert_held(&space->mapping.lock);
    qy_list_init(left);
    while ((mapper = without_areas(space)) != NULL) {
        if (mapper->users != 0) {
            qy_space_wait_locked(space);
            continue;
        }
        qy_list_remove(&mapper->in_space);
        qy_list_add_tail(left, &mapper->in_space);
    }
}

void qy_mappers_detach(struct qy_list *left)
{
    while (!qy_list_empty(left)) {
        struct qy_mapper *mapper = qy_list_entry(left->next, struct qy_mapper, in_space);
        qy_list_remove(&mapper->in_space);
        mapper->ops->detach(mapper);
    }
}

void qy_mapper_put(struct qy_mapper *mapper)
{
    struct qy_space *space = mapper->space;
    qy_lock(&space->mapping.lock);
    mapper->users--;
    if (space->nr_waiters != 0) { /* also if it has areas again, and they may go on */
        atomic_fetch_add_explicit(&space->moves, 1, memory_order_relaxed);
        qy_space_wake(space); /* while it cannot be destroyed */
    }
    qy_unlock(&space->mapping.lock);
}

/** The space's mapper of this one's backing: that which it has, or this one. */
static struct qy_mapper *mapper_of(struct qy_space *space, struct qy_mapper **fresh)
{
    struct qy_mapper *mapper = *fresh;
    qy_list_for_each (link, &space->mappers) {
        struct qy_mapper *there = qy_list_entry(link, struct qy_mapper, in_space);
        if (there->backing == mapper->backing)
            return there;
    }
    qy_list_add_tail(&space->mappers, &mapper->in_space);
    *fresh = NULL;
    return mapper;
}

uint64_t qy_mapper_area(struct qy_space *space, struct qy_mapper **mapper, struct qy_area **area,
                        uint64_t index, uint64_t count, const char **why)
{
    qy_lock(&space->mapping.lock);
    uint64_t page = qy_area_gap(space, count, why);
    if (page != QY_TREE_NO_GAP) {
        (*area)->mapper = mapper_of(space, mapper);
        (*area)->offset = index;
        qy_area_insert(space, *area, page, page + count);
        *area = qy_area_join(space, page, count);
        qy_space_recount_locked(space, 0);
    }
    qy_unlock(&space->mapping.lock);
    return page;
}

bool qy_space_has(struct qy_mm *mm, const void *address, size_t bytes)
{
    uintptr_t at = (uintptr_t)address;
    bool has = false;
    qy_lock(&mm->chain_lock);
    qy_list_for_each (link, &mm->spaces) {
        const struct qy_space *space = qy_list_entry(link, struct qy_space, link);
        uintptr_t start = (uintptr_t)space->start;
        has |= at < start + (space->nr_pages << QY_PAGE_SHIFT) && at + bytes > start;
    }
    qy_unlock(&mm->chain_lock);
    return has;
}

/* ---- entries go ---- */

static int unmap_locked(struct qy_space *space, uint64_t page, uint64_t end)
{
    qy_pte_t pte;
    uint64_t first = qy_pgtable_next(&space->table, page, end, &pte), behind = first;
    uint64_t count = 0;
    for (uint64_t at = first; at < end; at = qy_pgtable_next(&space->table, behind, end, &pte)) {
        qy_assert(qy_pte_is_file(pte), "V8");
        behind = at + 1;
        count++;
    }
    if (count == 0)
        return 0;
    int64_t growth = qy_space_growth_locked(space, first, behind - first, 0);
    if (!qy_space_may_grow_locked(space, growth, 0, true) ||
        qy_space_deny_locked(space, first, behind) != 0)
        return qy_space_no_mappings_locked(space);
    qy_pgtable_clear(&space->table, first, behind - first);
    space->nr_resident -= count;
    space->nr_file -= count;
    qy_space_recount_locked(space, growth);
    return 0;
}

/** What lies between pinned pages of the area goes. True: something did. */
static bool empty_locked(struct qy_space *space, const struct qy_area *area)
{
    uint64_t page = area->node.start, before = space->nr_file;
    while (page < area->node.end) {
        const struct qy_tree_node *pin = qy_tree_at(&space->pins, page);
        uint64_t end = pin != NULL && pin->start < area->node.end ? pin->start : area->node.end;
        if (page < end && unmap_locked(space, page, end) != 0)
            break;
        page = end + 1;
    }
    return space->nr_file < before;
}

bool qy_space_make_way_locked(struct qy_space *space)
{
    qy_assert_held(&space->mapping.lock);
    bool some = false;
    qy_list_for_each (link, &space->mappers)
        qy_list_for_each (at, &qy_list_entry(link, struct qy_mapper, in_space)->areas)
            some |= empty_locked(space, qy_list_entry(at, struct qy_area, link));
    return some;
}

/* ---- entries come ---- */

/** The page has an entry, which does not allow enough. */
static int upgrade_locked(struct qy_space *space, const struct qy_touch *touch, qy_pte_t pte,
                          uint32_t prot)
{
    uint32_t flags = qy_prot_flags(prot);
    if ((qy_pte_flags(pte) & flags) == flags) /* others were faster, or it is to be pinned */
        return qy_space_restore_page_locked(space, touch->page);
    pte = qy_pte_make_leaf(qy_pte_pfn(pte), flags | QY_PTE_FILE);
    int64_t growth = qy_space_growth_locked(space, touch->page, 1, pte);
    if (!qy_space_may_grow_locked(space, growth, 0, touch->need != QY_PROT_NONE) ||
        qy_space_allow_locked(space, touch->page, touch->page + 1, prot) != 0)
        return -QY_ENOMEM;
    qy_pgtable_set(&space->table, touch->page, 1, qy_pte_pfn(pte), flags | QY_PTE_FILE);
    qy_space_recount_locked(space, growth);
    return 0;
}

static bool is_missing(const struct qy_space *space, uint64_t page)
{
    return qy_pte_none(qy_pgtable_get(&space->table, page));
}

/** Of the run, what is missing around the page, in its 64 KiB and its area. Returns its first
 *  page. */
static uint64_t clip_locked(const struct qy_space *space, const struct qy_area *area,
                            const struct qy_touch *touch, struct qy_frame_run *run)
{
    uint64_t before = touch->index - run->index, behind = run->count - 1 - before;
    uint64_t first = touch->page, last = first;
    while (before-- > 0 && first % QY_SPACE_AROUND != 0 && first > area->node.start &&
           is_missing(space, first - 1))
        first--;
    while (behind-- > 0 && last % QY_SPACE_AROUND != QY_SPACE_AROUND - 1 &&
           last + 1 < area->node.end && is_missing(space, last + 1))
        last++;
    uint64_t skipped = touch->index - (touch->page - first) - run->index;
    run->index += skipped;
    run->pfn += skipped;
    run->count = (unsigned)(last - first + 1);
    return first;
}

static int map_locked(struct qy_space *space, const struct qy_area *area, struct qy_touch *touch,
                      struct qy_frame_run *run)
{
    struct qy_mm *mm = space->mapping.mm;
    uint32_t prot = run->prot & area->prot;
    qy_pte_t pte = qy_pgtable_get(&space->table, touch->page);
    if (!qy_pte_none(pte)) {
        qy_assert(qy_pte_is_file(pte) && qy_pte_pfn(pte) - run->pfn == touch->index - run->index,
                  "V8");
        run->count = 0;
        int code = upgrade_locked(space, touch, pte, prot);
        touch->no_mapping = code != 0;
        return code;
    }
    uint64_t page = clip_locked(space, area, touch, run);
    uint32_t flags = qy_prot_flags(prot) | QY_PTE_FILE;
    int64_t growth =
        qy_space_growth_locked(space, page, run->count, qy_pte_make_leaf(run->pfn, flags));
    int code = qy_pgtable_prepare(&space->table, page, run->count, run->pfn);
    if (code == 0 && (!qy_space_may_grow_locked(space, growth, 0, touch->need != QY_PROT_NONE) ||
                      qy_port_window_map(mm, qy_space_address(space, page), run->pfn, run->count,
                                         prot, false) != 0)) {
        code = -QY_ENOMEM;
        touch->no_mapping = true;
    }
    if (code != 0) {
        qy_pgtable_clear(&space->table, page, run->count); /* tables that came for nothing */
        return code;
    }
    qy_pgtable_set(&space->table, page, run->count, run->pfn, flags);
    space->nr_resident += run->count;
    space->nr_file += run->count;
    space->nr_faults += run->count;
    qy_space_recount_locked(space, growth);
    return 0;
}

int qy_mapper_map(struct qy_mapper *mapper, struct qy_touch *touch, struct qy_frame_run *run)
{
    struct qy_space *space = mapper->space;
    int code = -QY_EAGAIN;
    qy_lock(&space->mapping.lock);
    const struct qy_area *area = qy_area_at(space, touch->page);
    if (area != NULL && area->mapper == mapper && (touch->need & ~area->prot) == 0 &&
        area->offset + (touch->page - area->node.start) == touch->index) {
        const struct qy_frame_run wanted = *run;
        code = map_locked(space, area, touch, run);
        if (touch->no_mapping && qy_space_make_way_locked(space)) {
            touch->no_mapping = false;
            *run = wanted;
            code = map_locked(space, area, touch, run);
        }
        if (touch->no_mapping)
            code = qy_space_no_mappings_locked(space);
    }
    qy_unlock(&space->mapping.lock);
    return code;
}

/* ---- what a file wants of all areas that have its pages ---- */

/** The area's pages that hold some of [index, index + count) of its backing. */
static bool overlap(const struct qy_area *area, uint64_t index, uint64_t count, uint64_t *page,
                    uint64_t *end)
{
    uint64_t pages = area->node.end - area->node.start;
    uint64_t from = index > area->offset ? index - area->offset : 0;
    uint64_t behind = index + count < index ? UINT64_MAX : index + count;
    uint64_t to = behind > area->offset ? behind - area->offset : 0;
    to = to < pages ? to : pages;
    *page = area->node.start + from;
    *end = area->node.start + to;
    return from < to;
}

static int protect_locked(struct qy_space *space, uint64_t page, uint64_t end)
{
    qy_pte_t pte;
    qy_space_restore_locked(space, page, end);
    while ((page = qy_pgtable_next(&space->table, page, end, &pte)) < end) {
        uint64_t behind = page + 1;
        if (qy_pte_may_write(pte)) {
            while (behind < end && qy_pte_may_write(qy_pgtable_get(&space->table, behind)))
                behind++;
            int64_t growth =
                qy_space_growth_by_flags_locked(space, page, behind - page, QY_PTE_READ);
            if (!qy_space_may_grow_locked(space, growth, 0, true) ||
                qy_space_allow_locked(space, page, behind, QY_PROT_READ) != 0)
                return qy_space_no_mappings_locked(space);
            for (uint64_t at = page; at < behind; at++)
                qy_pgtable_set(&space->table, at, 1, qy_pte_pfn(qy_pgtable_get(&space->table, at)),
                               QY_PTE_READ | QY_PTE_FILE);
            qy_space_recount_locked(space, growth);
        }
        page = behind;
    }
    return 0;
}

static int for_each_overlap(struct qy_mapper *mapper, uint64_t index, uint64_t count,
                            int (*work)(struct qy_space *, uint64_t, uint64_t))
{
    struct qy_space *space = mapper->space;
    uint64_t page, end;
    int code = 0;
    qy_lock(&space->mapping.lock);
    qy_list_for_each (link, &mapper->areas) {
        const struct qy_area *area = qy_list_entry(link, struct qy_area, link);
        if (overlap(area, index, count, &page, &end))
            code = work(space, page, end);
        if (code != 0)
            break;
    }
    qy_unlock(&space->mapping.lock);
    return code;
}

int qy_mapper_unmap(struct qy_mapper *mapper, uint64_t index, uint64_t count)
{
    return for_each_overlap(mapper, index, count, unmap_locked);
}

int qy_mapper_protect(struct qy_mapper *mapper, uint64_t index, uint64_t count)
{
    return for_each_overlap(mapper, index, count, protect_locked);
}
