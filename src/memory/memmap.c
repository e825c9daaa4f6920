/*
 * memmap.c - reading a memory map: is it sound, and which frames does it hold?
 *
 * WHAT    Firmware's maps come in any order, with holes and with reserved parts. Here one is
 *         checked, sorted, and cut into runs of usable frames:
 *
 *           RAM       |--------------------|      |---------|
 *           reserved        |---|                 |--|
 *           runs      |-----|   |----------|         |------|
 *
 * RULES   M1  Runs are sorted, disjoint, not empty, and within the span.
 *         M2  Nothing is built from a map that is not sound.
 *         Asserted here, M2 in memory/mm.c; M1 checked by check_spans() in view/rules.c.
 *
 * LOCKS   none: the layout is the caller's.
 *
 * COST    Once, at creation: quadratic in at most QY_MAX_RANGES ranges.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "base/round.h"
#include "memory/fault.h"
#include "memory/mm.h"

/** Frame numbers stay below 2^44: a 56-bit physical address. */
#define MAX_ADDRESS (UINT64_C(1) << 56)

static int refuse(struct qy_error *error, int code, size_t index, const char *why)
{
    return qy_error_set(error, code, "memory map: range ", index, why);
}

static int check_range(const struct qy_range *range, size_t index, const struct qy_memmap *map,
                       struct qy_error *error)
{
    if ((range->base | range->bytes) & (QY_PAGE_BYTES - 1))
        return refuse(error, -QY_EINVAL, index, " is not a multiple of the page size");
    if (range->bytes == 0)
        return refuse(error, -QY_EINVAL, index, " is empty");
    if (range->base + range->bytes < range->base)
        return refuse(error, -QY_EINVAL, index, " wraps past the last address");
    if (range->base + range->bytes > MAX_ADDRESS)
        return refuse(error, -QY_EINVAL, index, " ends beyond 2^56");
    if (range->node >= map->nr_nodes)
        return refuse(error, -QY_EINVAL, index, " names a node that does not exist");
    if (range->type > QY_RANGE_HOTPLUG)
        return refuse(error, -QY_EINVAL, index, " is of an unknown type");
    return 0;
}

static bool overlap(const struct qy_range *a, const struct qy_range *b)
{
    return a->base < b->base + b->bytes && b->base < a->base + a->bytes;
}

static bool contains(const struct qy_range *outer, const struct qy_range *inner)
{
    return outer->type != QY_RANGE_RESERVED && outer->base <= inner->base &&
           inner->base + inner->bytes <= outer->base + outer->bytes && outer->node == inner->node;
}

static qy_phys_t section_of(qy_phys_t address)
{
    return address / (QY_SECTION_FRAMES * QY_PAGE_BYTES);
}

/** Two nodes may not meet within a section: its frames would belong to two zones. */
static bool share_section(const struct qy_range *a, const struct qy_range *b)
{
    return a->node != b->node && section_of(a->base) <= section_of(b->base + b->bytes - 1) &&
           section_of(b->base) <= section_of(a->base + a->bytes - 1);
}

static int check_against_others(const struct qy_memmap *map, size_t index, struct qy_error *error)
{
    const struct qy_range *range = &map->ranges[index];
    bool inside = range->type != QY_RANGE_RESERVED;
    for (size_t i = 0; i < map->nr_ranges; i++) {
        const struct qy_range *other = &map->ranges[i];
        bool same_kind = (other->type == QY_RANGE_RESERVED) == (range->type == QY_RANGE_RESERVED);
        if (i < index && same_kind && overlap(range, other))
            return refuse(error, -QY_EINVAL, index, " overlaps an earlier one");
        if (i != index && share_section(range, other))
            return refuse(error, -QY_EINVAL, index, " shares a 4 MiB section with another node");
        inside = inside || contains(other, range);
    }
    if (!inside)
        return refuse(error, -QY_EINVAL, index, " is reserved but lies in no RAM of its node");
    return 0;
}

static int check_limits(const struct qy_memmap *map, struct qy_error *error)
{
    qy_phys_t section = QY_SECTION_FRAMES * QY_PAGE_BYTES;
    if ((map->dma_end | map->dma32_end | map->movable_base) % section != 0)
        return qy_error_set(error, -QY_EINVAL, "memory map: a zone's limit is no multiple of 4 MiB",
                            UINT64_MAX, "");
    if ((map->dma_end && map->dma32_end && map->dma32_end <= map->dma_end) ||
        (map->movable_base && map->movable_base < map->dma32_end) ||
        (map->movable_base && map->movable_base < map->dma_end))
        return qy_error_set(error, -QY_EINVAL, "memory map: zone limits do not rise", UINT64_MAX,
                            "");
    return 0;
}

/** As Linux's slit_valid(): a node is 10 from itself and farther from each other. */
static int check_distances(const struct qy_memmap *map, struct qy_error *error)
{
    for (unsigned i = 0; map->distance != NULL && i < map->nr_nodes * map->nr_nodes; i++) {
        bool is_same = i / map->nr_nodes == i % map->nr_nodes;
        if (is_same ? map->distance[i] != 10 : map->distance[i] <= 10)
            return qy_error_set(error, -QY_EINVAL, "memory map: distance ", i,
                                is_same ? " is that of a node from itself, and not 10"
                                        : " is that of two nodes, and not above 10");
    }
    return 0;
}

static int check_map(const struct qy_memmap *map, struct qy_error *error)
{
    if (map == NULL || map->ranges == NULL || map->nr_ranges == 0)
        return qy_error_set(error, -QY_EINVAL, "memory map: no ranges", UINT64_MAX, "");
    if (map->nr_ranges > QY_MAX_RANGES)
        return qy_error_set(error, -QY_E2BIG, "memory map: more ranges than ", QY_MAX_RANGES, "");
    if (map->nr_nodes == 0 || map->nr_nodes > QY_MAX_NODES)
        return qy_error_set(error, -QY_EINVAL, "memory map: nodes must be 1 to ", QY_MAX_NODES, "");
    int code = check_limits(map, error);
    if (code == 0)
        code = check_distances(map, error);
    for (size_t i = 0; i < map->nr_ranges && code == 0; i++)
        code = check_range(&map->ranges[i], i, map, error);
    for (size_t i = 0; i < map->nr_ranges && code == 0; i++)
        code = check_against_others(map, i, error);
    return code;
}

static void insert_sorted(struct qy_span *spans, unsigned *count, struct qy_span span)
{
    unsigned at = (*count)++;
    for (; at > 0 && spans[at - 1].start > span.start; at--)
        spans[at] = spans[at - 1];
    spans[at] = span;
}

static struct qy_span span_of(const struct qy_range *range)
{
    return (struct qy_span){
        .start = range->base >> QY_PAGE_SHIFT,
        .end = (range->base + range->bytes) >> QY_PAGE_SHIFT,
        .node = range->node,
    };
}

/** What of one RAM range is not reserved. */
static void cut_reserved(struct qy_layout *layout, struct qy_span ram)
{
    for (unsigned i = 0; i < layout->nr_reserved; i++) {
        const struct qy_span *reserved = &layout->reserved[i];
        if (reserved->end <= ram.start || reserved->start >= ram.end)
            continue;
        if (reserved->start > ram.start)
            layout->ram[layout->nr_ram++] = (struct qy_span){ram.start, reserved->start, ram.node};
        ram.start = reserved->end;
    }
    if (ram.start < ram.end)
        layout->ram[layout->nr_ram++] = ram;
}

bool qy_spans_are_sound(const struct qy_span *spans, unsigned count, qy_pfn_t start, qy_pfn_t end)
{
    for (unsigned i = 0; i < count; i++) {
        if (spans[i].start < start || spans[i].start >= spans[i].end)
            return false;
        start = spans[i].end;
    }
    return start <= end;
}

/** Everything that was given to the layout lies in order within it. */
static bool layout_is_sound(const struct qy_layout *layout)
{
    qy_pfn_t start = layout->start, end = layout->end;
    return qy_spans_are_sound(layout->ram, layout->nr_ram, start, end) &&
           qy_spans_are_sound(layout->hotplug, layout->nr_hotplug, start, end) &&
           qy_spans_are_sound(layout->reserved, layout->nr_reserved, start, end);
}

size_t qy_layout_spans(const struct qy_memmap *map)
{
    return map != NULL && map->nr_ranges <= QY_MAX_RANGES ? 4 * map->nr_ranges + 1 : 1;
}

int qy_layout_read(struct qy_layout *layout, struct qy_span *spans, const struct qy_memmap *map,
                   struct qy_error *error)
{
    int code = check_map(map, error);
    if (code != 0)
        return code;
    struct qy_span *ram = spans + map->nr_ranges; /* their pieces are no more than ranges */
    unsigned nr_ram = 0;
    *layout = (struct qy_layout){
        .ram = spans,
        .hotplug = ram + map->nr_ranges,
        .reserved = ram + 2 * map->nr_ranges,
        .start = QY_PFN_NONE,
    };
    for (size_t i = 0; i < map->nr_ranges; i++) {
        struct qy_span span = span_of(&map->ranges[i]);
        if (map->ranges[i].type == QY_RANGE_RAM)
            insert_sorted(ram, &nr_ram, span);
        else if (map->ranges[i].type == QY_RANGE_HOTPLUG)
            insert_sorted(layout->hotplug, &layout->nr_hotplug, span);
        else
            insert_sorted(layout->reserved, &layout->nr_reserved, span);
        if (span.start < layout->start)
            layout->start = span.start;
        if (span.end > layout->end)
            layout->end = span.end;
    }
    for (unsigned i = 0; i < nr_ram; i++)
        cut_reserved(layout, ram[i]);
    layout->start &= ~(QY_SECTION_FRAMES - 1);
    layout->end = qy_round_up(layout->end, QY_SECTION_FRAMES);
    qy_assert(layout_is_sound(layout), "M1");
    return 0;
}
