/*
 * zone.c - nodes and zones: which frames they hold, what they keep back, who is asked first
 *
 * WHAT    A zone is the part of a node below an address limit. Watermarks are what it keeps
 *         free: below min only urgent callers are served, between low and high background
 *         reclaim works (Linux: mm/page_alloc.c, __setup_per_zone_wmarks; min_free_kbytes is
 *         4 * sqrt(managed kB), 128 .. 262144). The lowmem reserve keeps a lower zone for those
 *         who can use no other: a request that may be served by a higher zone must leave in a
 *         lower one 1/ratio of all the memory above it (setup_per_zone_lowmem_reserve).
 *         A zonelist names, for a node, the zones to ask: nearest node first, and
 *         within a node the highest zone first.
 *
 * RULES   Z1, Z2, Z3, see zone.h. Checked by check_zones() in view/rules.c.
 *
 * LOCKS   mm->grow_lock for everything that changes here; readers take single fields.
 *
 * COST    A change costs a pass over all zones; it happens when a section comes online.
 */
#include "memory/mm.h"

#include "base/assert.h"

#define MIN_FREE_KBYTES_LEAST 128
#define MIN_FREE_KBYTES_MOST 262144

static const char *const zone_names[QY_NR_ZONE_TYPES] = {"DMA", "DMA32", "Normal", "Movable"};
static const uint32_t default_reserve_ratio[3] = {256, 256, 32};

static struct qy_zone *zone_at(struct qy_mm *mm, unsigned node, unsigned type)
{
    return &mm->zones[node * QY_NR_ZONE_TYPES + type];
}

/** Number the zones that these frames lie in, or will: each needs per-CPU lists. */
static void number_zones(struct qy_mm *mm, const struct qy_span *spans, unsigned count,
                         bool numbered[QY_MAX_ZONES])
{
    for (unsigned i = 0; i < count; i++)
        for (qy_pfn_t pfn = spans[i].start; pfn < spans[i].end;) {
            struct qy_zone *zone = qy_zone_for(mm, pfn, spans[i].node);
            if (!numbered[zone->index])
                zone->pcp = mm->nr_pcp++;
            numbered[zone->index] = true;
            pfn = mm->zone_end[zone->type] >> QY_PAGE_SHIFT;
        }
}

/** Every zone that the map can populate: readers pass over what is still empty. */
static void set_zonelist(struct qy_mm *mm, unsigned node, const bool *possible)
{
    bool listed[QY_MAX_NODES] = {false};
    unsigned length = 0;
    for (unsigned round = 0; round < mm->nr_nodes; round++) {
        unsigned nearest = 0;
        while (listed[nearest])
            nearest++;
        for (unsigned other = nearest + 1; other < mm->nr_nodes; other++)
            if (!listed[other] && mm->distance[node][other] < mm->distance[node][nearest])
                nearest = other;
        listed[nearest] = true;
        for (unsigned type = QY_NR_ZONE_TYPES; type-- > 0;)
            if (possible[nearest * QY_NR_ZONE_TYPES + type])
                mm->zonelist[node][length++] = (uint8_t)(nearest * QY_NR_ZONE_TYPES + type);
    }
    mm->zonelist_length = (uint8_t)length;
}

void qy_zones_init(struct qy_mm *mm, const struct qy_memmap *map, const struct qy_layout *layout)
{
    mm->zone_end[QY_ZONE_DMA] = map->dma_end;
    mm->zone_end[QY_ZONE_DMA32] = map->dma32_end ? map->dma32_end : map->dma_end;
    mm->zone_end[QY_ZONE_NORMAL] = map->movable_base ? map->movable_base : UINT64_MAX;
    mm->zone_end[QY_ZONE_MOVABLE] = UINT64_MAX;
    mm->nr_nodes = map->nr_nodes;
    for (unsigned a = 0; a < map->nr_nodes; a++)
        for (unsigned b = 0; b < map->nr_nodes; b++)
            mm->distance[a][b] = map->distance != NULL ? map->distance[a * map->nr_nodes + b]
                                                       : (uint8_t)(a == b ? 10 : 20);
    for (unsigned i = 0; i < qy_nr_zones(mm); i++) {
        struct qy_zone *zone = &mm->zones[i];
        qy_lock_init(&zone->lock, QY_RANK_ZONE);
        zone->type = (enum qy_zone_type)(i % QY_NR_ZONE_TYPES);
        zone->name = zone_names[zone->type];
        zone->node = i / QY_NR_ZONE_TYPES;
        zone->index = i;
        for (unsigned type = 0; type < QY_NR_MIGRATETYPES; type++)
            for (unsigned order = 0; order < QY_NR_ORDERS; order++)
                zone->list[type][order] = (struct qy_block_list){QY_BLOCK_NONE, QY_BLOCK_NONE};
    }
    bool numbered[QY_MAX_ZONES] = {false};
    number_zones(mm, layout->ram, layout->nr_ram, numbered);
    number_zones(mm, layout->hotplug, layout->nr_hotplug, numbered);
    number_zones(mm, layout->reserved, layout->nr_reserved, numbered);
    for (unsigned node = 0; node < mm->nr_nodes; node++)
        set_zonelist(mm, node, numbered);
}

struct qy_zone *qy_zone_for(struct qy_mm *mm, qy_pfn_t pfn, uint32_t node)
{
    unsigned type = QY_ZONE_DMA;
    while (pfn << QY_PAGE_SHIFT >= mm->zone_end[type])
        type++;
    return zone_at(mm, node, type);
}

/** The largest whole number whose square is at most n; n < 2^62. */
static uint64_t square_root(uint64_t n)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit != 0; bit >>= 1)
        if ((root + bit) * (root + bit) <= n)
            root += bit;
    return root;
}

static uint64_t min_free_kbytes(const struct qy_mm *mm, uint64_t managed)
{
    if (mm->options.min_free_kbytes != 0)
        return mm->options.min_free_kbytes;
    if (mm->options.grow)
        return 0;
    uint64_t kbytes = square_root((managed << (QY_PAGE_SHIFT - 10)) * 16);
    if (kbytes < MIN_FREE_KBYTES_LEAST)
        return MIN_FREE_KBYTES_LEAST;
    return kbytes > MIN_FREE_KBYTES_MOST ? MIN_FREE_KBYTES_MOST : kbytes;
}

/** Each zone's share of min_free_kbytes; low and high a quarter and a half above. */
static void set_watermarks(struct qy_mm *mm)
{
    uint64_t managed = 0;
    for (unsigned i = 0; i < qy_nr_zones(mm); i++)
        if (mm->zones[i].type != QY_ZONE_MOVABLE)
            managed += mm->zones[i].managed;
    if (managed == 0)
        return;
    uint64_t pages_min = min_free_kbytes(mm, managed) >> (QY_PAGE_SHIFT - 10);
    for (unsigned i = 0; i < qy_nr_zones(mm); i++) {
        struct qy_zone *zone = &mm->zones[i];
        uint64_t share = pages_min * zone->managed / managed;
        uint64_t min = share;
        if (zone->type == QY_ZONE_MOVABLE)
            min = pages_min < 128 ? pages_min : 128;
        zone->watermark[QY_WMARK_MIN] = min;
        zone->watermark[QY_WMARK_LOW] = min + share / 4;
        zone->watermark[QY_WMARK_HIGH] = min + share / 2;
    }
}

static void set_lowmem_reserves(struct qy_mm *mm)
{
    for (unsigned node = 0; node < mm->nr_nodes; node++)
        for (unsigned low = 0; low + 1 < QY_NR_ZONE_TYPES; low++) {
            uint32_t ratio = mm->options.lowmem_reserve_ratio[low];
            uint64_t above = 0;
            if (ratio == 0)
                ratio = default_reserve_ratio[low];
            for (unsigned high = low + 1; high < QY_NR_ZONE_TYPES; high++) {
                above += zone_at(mm, node, high)->managed;
                zone_at(mm, node, low)->lowmem_reserve[high] = above / ratio;
            }
        }
}

void qy_zone_extend(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, uint64_t present,
                    uint64_t managed)
{
    bool first = !qy_zone_populated(zone);
    if (first || pfn < zone->start_pfn)
        zone->start_pfn = pfn;
    if (first || pfn + present > zone->end_pfn)
        zone->end_pfn = pfn + present;
    zone->present += present;
    zone->managed += managed;
    qy_assert(zone->managed <= zone->present, "Z1");
    set_watermarks(mm);
    set_lowmem_reserves(mm);
}
