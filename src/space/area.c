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

static void put_in(struct qy_space *space, struct qy_area *area, uint64_t start, uint64_t end)
{
    space->nr_islands += 1 - beside(space, start, end);
    area->node.start = start;
    area->node.end = end;
    qy_tree_insert(&space->areas, &area->node);
    space->nr_areas++;
    space->nr_mapped += end - start;
}

static void take_out(struct qy_space *space, struct qy_area *area)
{
    qy_tree_remove(&space->areas, &area->node);
    space->nr_islands -= 1 - beside(space, area->node.start, area->node.end);
    space->nr_areas--;
    space->nr_mapped -= area->node.end - area->node.start;
}

bool qy_area_place(struct qy_space *space, struct qy_area *area, uint64_t count, uint64_t align)
{
    uint64_t page = qy_tree_gap(&space->areas, space->nr_pages, count, align);
    if (page == QY_TREE_NO_GAP)
        return false;
    put_in(space, area, page, page + count);
    return true;
}

void qy_area_cut(struct qy_space *space, uint64_t page, struct qy_area **spare)
{
    struct qy_area *area = qy_area_at(space, page), *rest = *spare;
    if (area == NULL || area->node.start == page)
        return;
    uint64_t start = area->node.start, end = area->node.end;
    *spare = NULL;
    rest->prot = area->prot;
    rest->flags = area->flags;
    take_out(space, area);
    put_in(space, area, start, page);
    put_in(space, rest, page, end);
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
        if (next == NULL || next->prot != area->prot || next->flags != area->flags) {
            area = qy_area_from(space, border);
            continue;
        }
        uint64_t end = next->node.end;
        take_out(space, area);
        take_out(space, next);
        put_in(space, area, start, end);
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

int qy_area_growth_protected(const struct qy_space *space, uint64_t page, uint64_t count,
                             uint32_t prot)
{
    uint64_t end = page + count;
    const struct qy_area *before = page > 0 ? qy_area_at(space, page - 1) : NULL;
    const struct qy_area *behind = qy_area_at(space, end), *area = qy_area_from(space, page);
    int growth = (before == NULL || before->prot != prot) +
                 (behind != NULL && behind->prot != prot) - begins(space, end);
    for (; area != NULL && area->node.start < end; area = qy_area_from(space, area->node.end))
        growth -= area->node.start >= page;
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
