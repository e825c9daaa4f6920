/*
 * views.c - views gathered in arrays, and a lens upon them
 */
#include "tool.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

/** Room for one more of @bytes, all zero; the array doubles at each power of two. */
static void *one_more(void *array, size_t *count, size_t bytes)
{
    char **start = array;
    if ((*count & (*count - 1)) == 0) {
        size_t room = *count == 0 ? 1 : 2 * *count;
        char *grown = reallocarray(*start, room, bytes);
        if (grown == NULL)
            err(EXIT_FAILED, "quarry");
        *start = grown;
    }
    return memset(*start + bytes * (*count)++, 0, bytes);
}

struct qy_zone_view *views_zone(struct views *views)
{
    return one_more(&views->zones, &views->nr_zones, sizeof(*views->zones));
}

struct qy_pageset_view *views_pageset(struct views *views)
{
    return one_more(&views->pagesets, &views->nr_pagesets, sizeof(*views->pagesets));
}

struct qy_cache_view *views_cache(struct views *views)
{
    return one_more(&views->caches, &views->nr_caches, sizeof(*views->caches));
}

struct qy_item_view *views_item(struct views *views)
{
    return one_more(&views->items, &views->nr_items, sizeof(*views->items));
}

struct qy_region_view *views_region(struct views *views)
{
    return one_more(&views->regions, &views->nr_regions, sizeof(*views->regions));
}

static bool look(const void *from, enum qy_view_kind kind, size_t index, void *view)
{
    const struct views *views = from;
    const struct {
        const void *array;
        size_t count, bytes;
    } kinds[] = {
        [QY_VIEW_MEMORY] = {&views->memory, 1, sizeof(views->memory)},
        [QY_VIEW_ZONE] = {views->zones, views->nr_zones, sizeof(*views->zones)},
        [QY_VIEW_PAGESET] = {views->pagesets, views->nr_pagesets, sizeof(*views->pagesets)},
        [QY_VIEW_CACHE] = {views->caches, views->nr_caches, sizeof(*views->caches)},
        [QY_VIEW_ITEM] = {views->items, views->nr_items, sizeof(*views->items)},
        [QY_VIEW_REGION] = {views->regions, views->nr_regions, sizeof(*views->regions)},
    };
    if (index >= kinds[kind].count)
        return false;
    memcpy(view, (const char *)kinds[kind].array + index * kinds[kind].bytes, kinds[kind].bytes);
    if (kind == QY_VIEW_CACHE || kind == QY_VIEW_REGION)
        make_plain(view); /* the program chose the name, which comes first */
    return true;
}

struct qy_lens views_lens(const struct views *views)
{
    return (struct qy_lens){.from = views, .look = look};
}

uint64_t views_used(const struct views *views)
{
    uint64_t frames = 0;
    for (size_t z = 0; z < views->nr_zones; z++) {
        const struct qy_zone_view *zone = &views->zones[z];
        uint64_t idle = zone->free + zone->pcp;
        frames += zone->managed > idle ? zone->managed - idle : 0;
    }
    return frames;
}

uint64_t views_meminfo(const struct views *views, const char *name)
{
    for (size_t i = 0; i < views->nr_items; i++)
        if (views->items[i].set == QY_ITEMS_MEMINFO && strcmp(views->items[i].name, name) == 0)
            return views->items[i].value * 1024;
    return 0;
}

void views_copy(struct views *views, const struct qy_lens *lens)
{
    struct qy_zone_view zone;
    struct qy_pageset_view set;
    struct qy_cache_view cache;
    struct qy_item_view item;
    struct qy_region_view region;
    if (!qy_look_memory(lens, &views->memory))
        return;
    for (size_t i = 0; qy_look_zone(lens, i, &zone); i++)
        *views_zone(views) = zone;
    for (size_t i = 0; qy_look_pageset(lens, i, &set); i++)
        *views_pageset(views) = set;
    for (size_t i = 0; qy_look_cache(lens, i, &cache); i++)
        *views_cache(views) = cache;
    for (size_t i = 0; qy_look_item(lens, i, &item); i++)
        *views_item(views) = item;
    for (size_t i = 0; qy_look_region(lens, i, &region); i++)
        *views_region(views) = region;
}

void views_free(struct views *views)
{
    free(views->zones);
    free(views->pagesets);
    free(views->caches);
    free(views->items);
    free(views->regions);
    *views = (struct views){0};
}
