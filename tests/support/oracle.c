/*
 * oracle.c - what the core must have done, told by the textbook
 */
#include "oracle.h"

#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/view.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHIFT 12

static const char *const type_names[QY_NR_ZONE_TYPES] = {"DMA", "DMA32", "Normal", "Movable"};

/* The zone type of an address, straight from mm.h's words. */
static unsigned type_of(const struct qy_memmap *map, qy_phys_t address)
{
    if (address < map->dma_end)
        return QY_ZONE_DMA;
    if (address < map->dma32_end)
        return QY_ZONE_DMA32;
    if (map->movable_base == 0 || address < map->movable_base)
        return QY_ZONE_NORMAL;
    return QY_ZONE_MOVABLE;
}

static void mark_ranges(struct oracle *oracle, const struct qy_memmap *map, enum qy_range_type type)
{
    for (size_t i = 0; i < map->nr_ranges; i++) {
        const struct qy_range *range = &map->ranges[i];
        if (range->type != type)
            continue;
        for (uint64_t at = range->base; at < range->base + range->bytes; at += PAGE) {
            unsigned zone = ORACLE_ZONES;
            if (type == QY_RANGE_RAM)
                zone = range->node * QY_NR_ZONE_TYPES + type_of(map, at);
            oracle->zone_of[(at >> SHIFT) - oracle->start_pfn] = (uint8_t)zone;
        }
    }
}

/* One textbook zone of all its runs of frames. */
static struct qy_model_buddy *build_zone(const struct oracle *oracle, unsigned zone)
{
    struct qy_model_range runs[2 * QY_MAX_RANGES];
    size_t nr_runs = 0;
    uint64_t frames = oracle->end_pfn - oracle->start_pfn;

    for (uint64_t i = 0; i < frames; i++) {
        if (oracle->zone_of[i] != zone)
            continue;
        if (i > 0 && oracle->zone_of[i - 1] == zone)
            runs[nr_runs - 1].count++;
        else
            runs[nr_runs++] = (struct qy_model_range){oracle->start_pfn + i, 1};
    }
    return nr_runs > 0 ? qy_model_create(runs, nr_runs) : NULL;
}

void oracle_create(struct oracle *oracle, const struct qy_memmap *map)
{
    *oracle = (struct oracle){.start_pfn = QY_PFN_NONE, .nr_nodes = map->nr_nodes};
    for (size_t i = 0; i < map->nr_ranges; i++) {
        qy_pfn_t start = map->ranges[i].base >> SHIFT;
        qy_pfn_t end = (map->ranges[i].base + map->ranges[i].bytes) >> SHIFT;
        if (start < oracle->start_pfn)
            oracle->start_pfn = start;
        if (end > oracle->end_pfn)
            oracle->end_pfn = end;
    }
    oracle->zone_of = malloc(oracle->end_pfn - oracle->start_pfn);
    memset(oracle->zone_of, ORACLE_ZONES, oracle->end_pfn - oracle->start_pfn);
    mark_ranges(oracle, map, QY_RANGE_RAM);
    mark_ranges(oracle, map, QY_RANGE_RESERVED);
    for (unsigned zone = 0; zone < ORACLE_ZONES; zone++)
        oracle->zones[zone] = build_zone(oracle, zone);
}

void oracle_destroy(struct oracle *oracle)
{
    for (unsigned zone = 0; zone < ORACLE_ZONES; zone++)
        if (oracle->zones[zone])
            qy_model_destroy(oracle->zones[zone]);
    free(oracle->zone_of);
}

static unsigned zone_of(const struct oracle *oracle, qy_pfn_t pfn)
{
    if (pfn < oracle->start_pfn || pfn >= oracle->end_pfn)
        return ORACLE_ZONES;
    return oracle->zone_of[pfn - oracle->start_pfn];
}

bool oracle_has_frame(const struct oracle *oracle, qy_pfn_t pfn)
{
    return zone_of(oracle, pfn) != ORACLE_ZONES;
}

void oracle_adopt(struct oracle *oracle, struct qy_mm *mm)
{
    qy_drain_all_pages(mm);
    for (qy_pfn_t pfn = oracle->start_pfn; pfn < oracle->end_pfn; pfn++) {
        uint64_t index = qy_frame_index(mm, pfn);
        if (oracle_has_frame(oracle, pfn) && !qy_frame_is_free(mm, index))
            oracle_took(oracle, pfn, 0, QY_GFP_HIGHUSER_MOVABLE);
    }
}

bool oracle_zone_serves(const struct oracle *oracle, unsigned zone, qy_gfp_t gfp)
{
    unsigned highest = QY_ZONE_NORMAL;
    if (gfp & QY_GFP_DMA)
        highest = QY_ZONE_DMA;
    else if (gfp & QY_GFP_DMA32)
        highest = QY_ZONE_DMA32;
    else if (gfp & QY_GFP_MOVABLE)
        highest = QY_ZONE_MOVABLE;
    return oracle->zones[zone] != NULL && zone % QY_NR_ZONE_TYPES <= highest;
}

void oracle_took(struct oracle *oracle, qy_pfn_t pfn, unsigned order, qy_gfp_t gfp)
{
    unsigned zone = zone_of(oracle, pfn);

    if (zone == ORACLE_ZONES)
        test_fail("frame %#llx of order %u is none of the map's", (unsigned long long)pfn, order);
    if (!oracle_zone_serves(oracle, zone, gfp))
        test_fail("frame %#llx: node %u, zone %s may not serve gfp %#x", (unsigned long long)pfn,
                  zone / QY_NR_ZONE_TYPES, type_names[zone % QY_NR_ZONE_TYPES], gfp);
    int code = qy_model_alloc_specific(oracle->zones[zone], pfn, order);
    if (code != 0)
        test_fail("frame %#llx of order %u was handed out, but is %s", (unsigned long long)pfn,
                  order, code == -22 ? "misaligned" : "not free as a whole");
}

void oracle_took_run(struct oracle *oracle, qy_pfn_t pfn, uint64_t nr_frames, qy_gfp_t gfp)
{
    for (uint64_t i = 0; i < nr_frames; i++)
        oracle_took(oracle, pfn + i, 0, gfp);
}

void oracle_gave(struct oracle *oracle, qy_pfn_t pfn, unsigned order)
{
    unsigned zone = zone_of(oracle, pfn);

    if (zone == ORACLE_ZONES || qy_model_free(oracle->zones[zone], pfn, order) != 0)
        test_fail("frame %#llx of order %u was taken back, but was never out",
                  (unsigned long long)pfn, order);
}

void oracle_gave_run(struct oracle *oracle, qy_pfn_t pfn, uint64_t nr_frames)
{
    for (uint64_t i = 0; i < nr_frames; i++)
        oracle_gave(oracle, pfn + i, 0);
}

bool oracle_feasible(const struct oracle *oracle, unsigned order, qy_gfp_t gfp)
{
    for (unsigned zone = 0; zone < ORACLE_ZONES; zone++)
        if (oracle_zone_serves(oracle, zone, gfp) && qy_model_feasible(oracle->zones[zone], order))
            return true;
    return false;
}

uint64_t oracle_free_frames(const struct oracle *oracle)
{
    uint64_t frames = 0;
    for (unsigned zone = 0; zone < ORACLE_ZONES; zone++)
        if (oracle->zones[zone])
            frames += qy_model_free_frames(oracle->zones[zone]);
    return frames;
}

/* One line of buddyinfo: "Node 0, zone   Normal  1  2 ...". */
static unsigned compare_line(const struct oracle *oracle, const char *line)
{
    unsigned node, zone = ORACLE_ZONES;
    char name[16];
    int at = 0;

    if (sscanf(line, "Node %u, zone %15s%n", &node, name, &at) != 2 || node >= oracle->nr_nodes)
        test_fail("buddyinfo has a line that is none: %s", line);
    for (unsigned type = 0; type < QY_NR_ZONE_TYPES; type++)
        if (strcmp(name, type_names[type]) == 0)
            zone = node * QY_NR_ZONE_TYPES + type;
    if (zone == ORACLE_ZONES || oracle->zones[zone] == NULL)
        test_fail("buddyinfo shows a zone that the map does not have: %s", line);
    for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
        unsigned long long core, textbook = qy_model_count(oracle->zones[zone], order);
        int width = 0;
        if (sscanf(line + at, "%llu%n", &core, &width) != 1)
            test_fail("buddyinfo has fewer than 11 columns: %s", line);
        at += width;
        if (core != textbook)
            test_fail("node %u, zone %s, order %u: %llu free blocks, the textbook has %llu", node,
                      name, order, core, textbook);
    }
    return zone;
}

void oracle_compare(const struct oracle *oracle, struct qy_mm *mm)
{
    static char buffer[16384];
    struct qy_text text = {.buffer = buffer, .bytes = sizeof(buffer)};
    bool seen[ORACLE_ZONES] = {false};
    char *rest = buffer;

    qy_drain_all_pages(mm);
    buffer[0] = '\0';
    qy_print_buddyinfo(mm, &text);
    for (char *line = strtok_r(buffer, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        seen[compare_line(oracle, line)] = true;
    for (unsigned zone = 0; zone < ORACLE_ZONES; zone++)
        if (oracle->zones[zone] && !seen[zone])
            test_fail("buddyinfo lacks zone %u", zone);
}
