/*
 * json.c - views as JSON values
 */
#include "json.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

/** Bytes of the first character; 0: they are none. */
static size_t character(const char *text)
{
    size_t bytes = 0, found = 0;
    while (found == 0 && bytes < 4 && text[bytes] != '\0') {
        json_t *one = json_stringn(text, ++bytes);
        found = one != NULL ? bytes : 0;
        json_decref(one);
    }
    return found;
}

json_t *json_text(const char *text)
{
    static const char unknown[] = "\xef\xbf\xbd";
    json_t *string = json_string(text);
    if (string != NULL)
        return string;
    char *clean = calloc(strlen(text) + 1, strlen(unknown)), *to = clean;
    if (clean == NULL)
        err(EXIT_FAILED, "quarry");
    for (size_t bytes; *text != '\0'; text += bytes + !bytes) {
        bytes = character(text);
        to = mempcpy(to, bytes > 0 ? text : unknown, bytes > 0 ? bytes : strlen(unknown));
    }
    string = json_string(clean);
    free(clean);
    return string;
}

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *integers(const uint64_t *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, integer(values[i]));
    return array;
}

static json_t *zone_base(const struct qy_zone_view *zone)
{
    return json_pack("{s:I, s:s}", "node", (json_int_t)zone->node, "zone", zone->name);
}

static json_t *buddyinfo(const struct views *views)
{
    json_t *array = json_array();
    for (size_t z = 0; z < views->nr_zones; z++) {
        const struct qy_zone_view *zone = &views->zones[z];
        if (!zone->populated)
            continue;
        json_t *object = zone_base(zone);
        json_object_set_new(object, "free_blocks", integers(zone->nr_free, QY_NR_ORDERS));
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *pagetypeinfo(const struct views *views)
{
    json_t *array = json_array();
    for (size_t z = 0; z < views->nr_zones; z++) {
        const struct qy_zone_view *zone = &views->zones[z];
        for (unsigned type = 0; zone->populated && type < QY_NR_MIGRATETYPES; type++) {
            if ((views->memory.migratetypes >> type & 1) == 0)
                continue;
            json_t *object = zone_base(zone);
            json_object_set_new(object, "type", json_string(qy_migratetype_name(type)));
            json_object_set_new(object, "free_blocks",
                                integers(zone->nr_free_of[type], QY_NR_ORDERS));
            json_object_set_new(object, "pageblocks", integer(zone->nr_pageblocks[type]));
            json_array_append_new(array, object);
        }
    }
    return array;
}

static json_t *items(const struct views *views, enum qy_item_set set, size_t owner)
{
    json_t *object = json_object();
    for (size_t i = 0; i < views->nr_items; i++) {
        const struct qy_item_view *item = &views->items[i];
        if (item->set == (uint64_t)set && item->owner == owner)
            json_object_set_new(object, item->name, integer(item->value));
    }
    return object;
}

static json_t *pagesets(const struct views *views, size_t zone)
{
    json_t *array = json_array();
    for (size_t p = 0; p < views->nr_pagesets; p++) {
        const struct qy_pageset_view *set = &views->pagesets[p];
        if (set->zone != zone)
            continue;
        json_array_append_new(
            array, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "cpu", (json_int_t)set->cpu, "count",
                             (json_int_t)set->count, "high", (json_int_t)set->high, "batch",
                             (json_int_t)set->batch, "high_min", (json_int_t)set->high_min,
                             "high_max", (json_int_t)set->high_max));
    }
    return array;
}

static json_t *zone_figures(const struct qy_zone_view *zone)
{
    json_t *object = zone_base(zone);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"start_pfn", zone->start_pfn},
        {"spanned", zone->spanned},
        {"present", zone->present},
        {"managed", zone->managed},
        {"cma", zone->cma},
        {"free", zone->free},
        {"free_pcp", zone->pcp},
        {"boost", zone->boost},
        {"min", zone->min},
        {"low", zone->low},
        {"high", zone->high},
        {"promo", zone->promo},
    };
    for (size_t f = 0; f < sizeof(figures) / sizeof(figures[0]); f++)
        json_object_set_new(object, figures[f].name, integer(figures[f].value));
    json_object_set_new(object, "protection", integers(zone->protection, zone->nr_protections));
    return object;
}

static json_t *zoneinfo(const struct views *views)
{
    json_t *array = json_array();
    for (size_t z = 0; z < views->nr_zones; z++) {
        json_t *object = zone_figures(&views->zones[z]);
        json_object_set_new(object, "node_stats", items(views, QY_ITEMS_NODE, z));
        json_object_set_new(object, "zone_stats", items(views, QY_ITEMS_ZONE, z));
        json_object_set_new(object, "pagesets", pagesets(views, z));
        json_array_append_new(array, object);
    }
    return array;
}

/** What SysRq-m prints of each zone: its figures, its counters, its free blocks. */
static json_t *sysrq(const struct views *views)
{
    json_t *array = json_array();
    for (size_t z = 0; z < views->nr_zones; z++) {
        if (!views->zones[z].populated)
            continue;
        json_t *object = zone_figures(&views->zones[z]);
        json_object_set_new(object, "zone_stats", items(views, QY_ITEMS_ZONE, z));
        json_object_set_new(object, "free_blocks", integers(views->zones[z].nr_free, QY_NR_ORDERS));
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *slabinfo(const struct views *views)
{
    json_t *array = json_array();
    for (size_t c = 0; c < views->nr_caches; c++) {
        const struct qy_cache_view *cache = &views->caches[c];
        json_array_append_new(
            array,
            json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
                      json_text(cache->name), "active_objs", (json_int_t)cache->active_objs,
                      "num_objs", (json_int_t)cache->num_objs, "objsize",
                      (json_int_t)cache->objsize, "objperslab", (json_int_t)cache->objperslab,
                      "pagesperslab", (json_int_t)cache->pagesperslab, "limit",
                      (json_int_t)cache->limit, "batchcount", (json_int_t)cache->batchcount,
                      "sharedfactor", (json_int_t)cache->sharedfactor, "active_slabs",
                      (json_int_t)cache->active_slabs, "num_slabs", (json_int_t)cache->num_slabs,
                      "sharedavail", (json_int_t)cache->sharedavail));
    }
    return array;
}

static json_t *meminfo(const struct views *views)
{
    return items(views, QY_ITEMS_MEMINFO, 0);
}

static json_t *vmstat(const struct views *views)
{
    return items(views, QY_ITEMS_VMSTAT, 0);
}

static json_t *percentiles(const struct qy_region_view *region)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "p50", (json_int_t)qy_region_latency_us(region, 50),
                     "p90", (json_int_t)qy_region_latency_us(region, 90), "p99",
                     (json_int_t)qy_region_latency_us(region, 99), "max",
                     (json_int_t)qy_region_latency_us(region, 100));
}

/** What is not known, of a machine's region, is left out. */
static json_t *cma(const struct views *views)
{
    json_t *array = json_array();
    for (size_t r = 0; r < views->nr_regions; r++) {
        const struct qy_region_view *region = &views->regions[r];
        json_t *object = json_pack("{s:o}", "name", json_text(region->name));
        for (size_t f = 0; f < QY_REGION_FIGURES; f++) {
            uint64_t value;
            memcpy(&value, (const char *)region + qy_region_figures[f].at, sizeof(value));
            if (value != QY_VIEW_UNKNOWN)
                json_object_set_new(object, qy_region_figures[f].name, integer(value));
        }
        if (region->policy != QY_VIEW_UNKNOWN) {
            json_object_set_new(object, "policy", json_string(qy_policy_name(region->policy)));
            json_object_set_new(object, "latency_below_us", percentiles(region));
            json_object_set_new(object, "latency_histogram",
                                integers(region->latency, QY_VIEW_LATENCIES));
        }
        json_array_append_new(array, object);
    }
    return array;
}

json_t *json_what(const struct what *what, const struct views *views)
{
    static const struct {
        void (*print)(const struct qy_lens *lens, struct qy_text *text);
        json_t *(*json)(const struct views *views);
    } makers[] = {
        {qy_show_buddyinfo, buddyinfo},
        {qy_show_pagetypeinfo, pagetypeinfo},
        {qy_show_slabinfo, slabinfo},
        {qy_show_zoneinfo, zoneinfo},
        {qy_show_meminfo, meminfo},
        {qy_show_vmstat, vmstat},
        {qy_show_cma, cma},
        {qy_show_sysrq_m, sysrq},
    };
    for (size_t m = 0; m < sizeof(makers) / sizeof(makers[0]); m++)
        if (makers[m].print == what->print)
            return makers[m].json(views);
    return json_null();
}

void json_write(json_t *object, FILE *out)
{
    /* Of a time in seconds, nine digits are all that was measured. */
    json_dumpf(object, out, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
    fputc('\n', out);
    json_decref(object);
}
