/*
 * area.c - which pages of a space the program has
 *
 * WHAT    Areas are ranges of pages in a tree (base/tree.h). A change of a range first cuts the
 *         areas at its ends, so that it is one of whole areas; then it changes those; then
 *         neighbours that are alike become one again.
 *
 * RULES   V5  Areas do not overlap, lie within the space, and add up to nr_areas and nr_mapped;
 *             nr_islands of them have a gap before them; each node's figures are those of its
 *             subtree.
 *         Checked by check_areas() in view/rules_space.c.
 *
 * LOCKS   mapping.lock.
 *
 * COST    Some 2 ln n steps for each area that is touched.
 */
#include "space/space.h"

#include "base/assert.h"

#include <quarry/slab.h>

static struct qy_area *area_of(struct qy_tree_node *node)
{
    return node != NULL ? qy_list_entry(node, struct qy_area, node) : NULL;
}

struct qy_area *qy_area_from(const struct qy_space *space, uint64_t page)
{
    return area_of(qy_tree_at(&space->areas, page));
}

struct qy_area *qy_area_at(const struct qy_space *space, uint64_t page)
{
    struct qy_area *area = qy_area_from(space, page);
    return area != NULL && area->node.start <= page ? area : NULL;
}

bool qy_area_covers(const struct qy_space *space, uint64_t page, uint64_t count)
{
    uint64_t end = page + count;
    while (page < end) {
        const struct qy_area *area = qy_area_at(space, page);
        if (area == NULL)
            return false;
        page = area->node.end;
    }
    return true;
}

/** Neighbours of [start, end) that lie right beside it: 0, 1 or 2. */
static uint64_t beside(const struct qy_space *space, uint64_t start, uint64_t end)
{
    return (start > 0 && qy_area_at(space, start - 1) != NULL) + (qy_area_at(space, end) != NULL);
}

void qy_area_insert(struct qy_space *space, struct qy_area *area, uint64_t start, uint64_t end)
{
    space->nr_islands += 1 - beside(space, start, end);
    area->node.start = start;
    area->node.end = end;
    qy_tree_insert(&space->areas, &area->node);
    space->nr_areas++;
    space->nr_mapped += end - start;
    if (area->mapper != NULL) {
        qy_list_add_tail(&area->mapper->areas, &area->link);
        area->mapper->users++;
    }
}

static void take_out(struct qy_space *space, struct qy_area *area)
{
    qy_tree_remove(&space->areas, &area->node);
    space->nr_islands -= 1 - beside(space, area->node.start, area->node.end);
    space->nr_areas--;
    space->nr_mapped -= area->node.end - area->node.start;
    if (area->mapper != NULL) {
        qy_list_remove(&area->link);
        area->mapper->users--;
    }
}

uint64_t qy_area_gap(struct qy_space *space, uint64_t count, const char **why)
{
    uint64_t align = count >= QY_PAGEBLOCK_FRAMES ? QY_PAGEBLOCK_FRAMES : QY_SPACE_AROUND;
    if (!qy_space_may_grow_locked(space, 0, 2, false)) {
        qy_space_no_mappings_locked(space);
        *why = "the host allows no more mappings (vm.max_map_count), for pages: ";
        return QY_TREE_NO_GAP;
    }
    *why = "no gap in the space has room for pages: ";
    return qy_tree_gap(&space->areas, space->nr_pages, count, align);
}

bool qy_area_lies_across(const struct qy_space *space, uint64_t page)
{
    const struct qy_area *area = qy_area_at(space, page);
    return area != NULL && area->node.start != page;
}

void qy_area_cut(struct qy_space *space, uint64_t page, struct qy_area **spare)
{
    struct qy_area *area = qy_area_at(space, page), *rest = *spare;
    if (!qy_area_lies_across(space, page))
        return;
    uint64_t start = area->node.start, end = area->node.end;
    *spare = NULL;
    rest->prot = area->prot;
    rest->flags = area->flags;
    rest->mapper = area->mapper;
    rest->offset = area->offset + (page - start);
    take_out(space, area);
    qy_area_insert(space, area, start, page);
    qy_area_insert(space, rest, page, end);
}

static struct qy_area *chained(struct qy_area *area, struct qy_area *chain)
{
    area->node.left = chain != NULL ? &chain->node : NULL;
    return area;
}

struct qy_area *qy_area_remove(struct qy_space *space, uint64_t page, uint64_t count)
{
    struct qy_area *removed = NULL, *area;
    while ((area = qy_area_from(space, page)) != NULL && area->node.start < page + count) {
        qy_assert(area->node.start >= page && area->node.end <= page + count, "V5");
        take_out(space, area);
        removed = chained(area, removed);
    }
    return removed;
}

struct qy_area *qy_area_join(struct qy_space *space, uint64_t page, uint64_t count)
{
    struct qy_area *left_over = NULL;
    struct qy_area *area = qy_area_from(space, page > 0 ? page - 1 : 0);
    while (area != NULL && area->node.end <= page + count) {
        uint64_t start = area->node.start, border = area->node.end;
        struct qy_area *next = qy_area_at(space, border);
        if (next == NULL || !qy_areas_join(area, next)) {
            area = qy_area_from(space, border);
            continue;
        }
        uint64_t end = next->node.end;
        take_out(space, area);
        take_out(space, next);
        qy_area_insert(space, area, start, end);
        left_over = chained(next, left_over);
    }
    return left_over;
}

/** Does an area begin at this page? */
static bool begins(const struct qy_space *space, uint64_t page)
{
    const struct qy_area *area = qy_area_at(space, page);
    return area != NULL && area->node.start == page;
}

int qy_area_growth_unmapped(const struct qy_space *space, uint64_t page, uint64_t count)
{
    uint64_t end = page + count;
    const struct qy_area *area = qy_area_from(space, page);
    int growth = 0;
    for (; area != NULL && area->node.start < end; area = qy_area_from(space, area->node.end)) {
        if (area->node.start < page)
            continue;
        bool island = area->node.start == 0 || qy_area_at(space, area->node.start - 1) == NULL;
        growth -= 1 + island;
    }
    if (qy_area_at(space, end) != NULL) /* what is behind the range begins an area, and an island */
        growth += !begins(space, end) + (qy_area_at(space, end - 1) != NULL);
    return growth;
}

/** Are these one area, or neighbours that become one where both allow the same? */
static bool is_next(const struct qy_area *area, const struct qy_area *next)
{
    return next == area || qy_areas_are_alike(area, next);
}

int qy_area_growth_protected(const struct qy_space *space, uint64_t page, uint64_t count,
                             uint32_t prot)
{
    uint64_t end = page + count;
    const struct qy_area *before = page > 0 ? qy_area_at(space, page - 1) : NULL;
    const struct qy_area *behind = qy_area_at(space, end), *area = qy_area_at(space, page);
    int growth = !(before != NULL && before->prot == prot && is_next(before, area)) -
                 (area->node.start == page);
    for (const struct qy_area *next; area->node.end < end; area = next) {
        next = qy_area_at(space, area->node.end);
        growth -= is_next(area, next);
    }
    if (behind != NULL)
        growth += !(behind->prot == prot && is_next(area, behind)) - begins(space, end);
    return growth;
}

void qy_areas_free(struct qy_mm *mm, struct qy_area *areas)
{
    while (areas != NULL) {
        struct qy_area *next = area_of(areas->node.left);
        qy_kfree(mm, areas);
        areas = next;
    }
}
