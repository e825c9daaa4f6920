/*
 * host.c - this machine's own /proc files, read into views
 *
 * Every figure is taken in, also those that Quarry has no use for, so that the printers give
 * back what was read to the letter.
 */
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct qy_zone_view *zone_named(struct views *views, uint64_t node, const char *name)
{
    for (size_t z = 0; z < views->nr_zones; z++)
        if (views->zones[z].node == node && strcmp(views->zones[z].name, name) == 0)
            return &views->zones[z];
    struct qy_zone_view *zone = views_zone(views);
    zone->node = node;
    snprintf(zone->name, sizeof(zone->name), "%s", name);
    return zone;
}

/** The zone that "Node 0, zone   Normal…" names, and *rest behind the name. NULL: no such line. */
static struct qy_zone_view *zone_line(struct views *views, const char *line, const char **rest)
{
    uint64_t node;
    char name[QY_VIEW_NAME];
    int length = 0;
    if (sscanf(line, "Node %" SCNu64 ", zone %47[^ ,\n]%n", &node, name, &length) != 2)
        return NULL;
    *rest = line + length;
    return zone_named(views, node, name);
}

/** Up to @count numbers; a leading '>' (Linux gave up counting) is skipped. How many. */
static size_t numbers(const char *text, uint64_t *values, size_t count)
{
    size_t found = 0;
    for (char *end; found < count; text = end) {
        text += strspn(text, " >");
        values[found] = strtoull(text, &end, 10);
        if (end == text)
            break;
        found++;
    }
    return found;
}

static int buddyinfo_line(struct views *views, const char *line)
{
    const char *rest;
    uint64_t orders[QY_NR_ORDERS + 1];
    struct qy_zone_view *zone = zone_line(views, line, &rest);
    if (zone == NULL || numbers(rest, orders, QY_NR_ORDERS + 1) != QY_NR_ORDERS)
        return -EINVAL;
    zone->populated = 1;
    memcpy(zone->nr_free, orders, sizeof(zone->nr_free));
    return 0;
}

static int migratetype_named(const char *name)
{
    for (unsigned type = 0; type < QY_NR_MIGRATETYPES; type++)
        if (strcmp(name, qy_migratetype_name(type)) == 0)
            return (int)type;
    return -1;
}

static int free_of_type(struct qy_zone_view *zone, const char *rest, struct views *views)
{
    char name[QY_VIEW_NAME];
    int length = 0;
    if (sscanf(rest, ", type %47s%n", name, &length) != 1)
        return -EINVAL;
    int type = migratetype_named(name);
    if (type < 0)
        return -EINVAL;
    uint64_t *orders = zone->nr_free_of[type];
    if (numbers(rest + length, orders, QY_NR_ORDERS) != QY_NR_ORDERS)
        return -EINVAL;
    zone->populated = 1;
    views->memory.migratetypes |= UINT64_C(1) << type;
    return 0;
}

static int pagetypeinfo_line(struct views *views, const char *line)
{
    const char *rest;
    struct qy_zone_view *zone = zone_line(views, line, &rest);
    if (zone == NULL)
        return 0; /* a heading */
    if (*rest == ',')
        return free_of_type(zone, rest, views);

    uint64_t blocks[QY_NR_MIGRATETYPES];
    size_t count = numbers(rest, blocks, QY_NR_MIGRATETYPES), next = 0;
    for (unsigned type = 0; type < QY_NR_MIGRATETYPES && next < count; type++)
        if (views->memory.migratetypes >> type & 1)
            zone->nr_pageblocks[type] = blocks[next++];
    return 0;
}

static void named_item(struct views *views, enum qy_item_set set, const char *name, uint64_t value,
                       bool is_kb)
{
    struct qy_item_view *item = views_item(views);
    snprintf(item->name, sizeof(item->name), "%s", name);
    item->set = set;
    item->owner = views->nr_zones == 0 ? 0 : views->nr_zones - 1;
    item->value = value;
    item->is_kb = is_kb;
}

/** "        boost    0" and the like. True: it was one of a zone's own figures. */
static bool zone_figure(struct qy_zone_view *zone, const char *name, uint64_t value)
{
    const struct {
        const char *name;
        uint64_t *value;
    } figures[] = {
        {"pages free", &zone->free},
        {"boost", &zone->boost},
        {"min", &zone->min},
        {"low", &zone->low},
        {"high", &zone->high},
        {"promo", &zone->promo},
        {"spanned", &zone->spanned},
        {"present", &zone->present},
        {"managed", &zone->managed},
        {"cma", &zone->cma},
        {"start_pfn:", &zone->start_pfn},
        {"node_unreclaimable:", &zone->node_unreclaimable},
    };
    for (size_t f = 0; f < sizeof(figures) / sizeof(figures[0]); f++) {
        if (strcmp(name, figures[f].name) == 0) {
            *figures[f].value = value;
            zone->populated = zone->present > 0;
            return true;
        }
    }
    return false;
}

/** A line of "pagesets". True: it was one. */
static bool pageset_figure(struct views *views, const char *name, uint64_t value)
{
    struct qy_zone_view *zone = &views->zones[views->nr_zones - 1];
    if (strcmp(name, "cpu:") == 0) {
        struct qy_pageset_view *set = views_pageset(views);
        set->zone = views->nr_zones - 1;
        set->cpu = value;
        return true;
    }
    if (views->nr_pagesets == 0)
        return false;
    struct qy_pageset_view *set = &views->pagesets[views->nr_pagesets - 1];
    const struct {
        const char *name;
        uint64_t *value;
    } figures[] = {
        {"count:", &set->count},       {"high:", &set->high},
        {"batch:", &set->batch},       {"high_min:", &set->high_min},
        {"high_max:", &set->high_max}, {"vm stats threshold:", &set->threshold},
    };
    for (size_t f = 0; f < sizeof(figures) / sizeof(figures[0]); f++) {
        if (strcmp(name, figures[f].name) == 0) {
            *figures[f].value = value;
            zone->pcp += strcmp(name, "count:") == 0 ? value : 0;
            return true;
        }
    }
    return false;
}

static void protection(struct qy_zone_view *zone, const char *list)
{
    for (; *list != '\0' && zone->nr_protections < QY_VIEW_PROTECTIONS; list += strspn(list, ", "))
        zone->protection[zone->nr_protections++] = strtoull(list, (char **)&list, 10);
}

static int zoneinfo_line(struct views *views, const char *line)
{
    const char *rest;
    if (zone_line(views, line, &rest) != NULL)
        return 0;
    if (views->nr_zones == 0)
        return -EINVAL;

    struct qy_zone_view *zone = &views->zones[views->nr_zones - 1];
    char list[512], name[QY_VIEW_NAME];
    uint64_t value;
    if (sscanf(line, " protection: (%511[^)])", list) == 1) {
        protection(zone, list);
        return 0;
    }
    const char *last = strrchr(line, ' ');
    line += strspn(line, " ");
    if (last <= line || sscanf(last, " %" SCNu64, &value) != 1)
        return 0; /* a heading: per-node stats, pagesets */
    while (last > line && last[-1] == ' ')
        last--;
    snprintf(name, sizeof(name), "%.*s", (int)(last - line), line);
    bool in_node = zone->nr_protections == 0; /* its own counters come below that line */
    if (!zone_figure(zone, name, value) && !pageset_figure(views, name, value))
        named_item(views, in_node ? QY_ITEMS_NODE : QY_ITEMS_ZONE, name, value, false);
    return 0;
}

static int slabinfo_line(struct views *views, const char *line)
{
    if (*line == '#' || strncmp(line, "slabinfo", 8) == 0)
        return 0;
    struct qy_cache_view cache = {{0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    int fields = sscanf(
        line,
        "%47s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " : tunables %" SCNu64
        " %" SCNu64 " %" SCNu64 " : slabdata %" SCNu64 " %" SCNu64 " %" SCNu64,
        cache.name, &cache.active_objs, &cache.num_objs, &cache.objsize, &cache.objperslab,
        &cache.pagesperslab, &cache.limit, &cache.batchcount, &cache.sharedfactor,
        &cache.active_slabs, &cache.num_slabs, &cache.sharedavail);
    if (fields != 12)
        return -EINVAL;
    *views_cache(views) = cache;
    return 0;
}

static int meminfo_line(struct views *views, const char *line)
{
    char name[QY_VIEW_NAME], unit[4] = "";
    uint64_t value;
    if (sscanf(line, "%47[^:]: %" SCNu64 " %3s", name, &value, unit) < 2)
        return -EINVAL;
    named_item(views, QY_ITEMS_MEMINFO, name, value, strcmp(unit, "kB") == 0);
    return 0;
}

static int vmstat_line(struct views *views, const char *line)
{
    char name[QY_VIEW_NAME];
    uint64_t value;
    if (sscanf(line, "%47s %" SCNu64, name, &value) != 2)
        return -EINVAL;
    named_item(views, QY_ITEMS_VMSTAT, name, value, false);
    return 0;
}

static const struct {
    const char *name;
    int (*line)(struct views *views, const char *line);
} files[] = {
    {"buddyinfo", buddyinfo_line}, {"pagetypeinfo", pagetypeinfo_line}, {"zoneinfo", zoneinfo_line},
    {"slabinfo", slabinfo_line},   {"meminfo", meminfo_line},           {"vmstat", vmstat_line},
};

static int read_lines(FILE *file, size_t which, struct views *views)
{
    char *line = NULL;
    size_t room = 0, number = 0;
    int error = 0;
    while (error == 0 && getline(&line, &room, file) > 0) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        error = files[which].line(views, line);
    }
    if (error != 0)
        complain("/proc/%s, line %zu: not the format of this file: %.60s", files[which].name,
                 number, line);
    free(line);
    return error == 0 ? EXIT_OK : EXIT_FAILED;
}

static int read_file(const char *name, struct views *views)
{
    size_t which = 0;
    while (strcmp(files[which].name, name) != 0)
        which++;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%s", name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        bool denied = errno == EACCES || errno == EPERM;
        complain("%s: %s%s", path, strerror(errno), denied ? " (only root may read it)" : "");
        return denied ? EXIT_NOT_PERMITTED : EXIT_FAILED;
    }
    int status = read_lines(file, which, views);
    fclose(file);
    return status;
}

int host_read(const struct what *what, struct views *views)
{
    int status = EXIT_OK;
    views->memory.page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    for (size_t f = 0; status == EXIT_OK && what->host_files[f] != NULL; f++)
        status = read_file(what->host_files[f], views);
    /* Which migratetypes own the free blocks is an extra that only root can have. */
    if (status == EXIT_OK && what->print == qy_show_sysrq_m &&
        access("/proc/pagetypeinfo", R_OK) == 0)
        status = read_file("pagetypeinfo", views);
    if (what->print == qy_show_cma)
        sysfs_regions(views);
    return status;
}
