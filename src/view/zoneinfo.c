/*
 * zoneinfo.c - everything there is to say about each zone
 *
 * WHAT    /proc/zoneinfo: frames and watermarks, the reserves that lower zones keep against
 *         requests for higher ones, then, for zones that have frames, their counters and
 *         each CPU's list. A node's own counters stand in its first populated zone.
 *
 * RULES   none: it only prints.
 *
 * LOCKS   none.
 *
 * COST    A pass over all items and pagesets for each zone.
 */
#include "base/text.h"
#include "view/lens.h"

static void labelled(struct qy_text *text, const char *label, uint64_t value)
{
    qy_text_string(text, label);
    qy_text_u64(text, value);
}

static void items(const struct qy_lens *lens, enum qy_item_set set, size_t zone, const char *title,
                  struct qy_text *text)
{
    struct qy_item_view item;
    for (size_t i = 0; qy_look_item(lens, i, &item); i++) {
        if (item.set != set || item.owner != zone)
            continue;
        qy_text_string(text, title);
        title = "";
        qy_text_string(text, "\n      ");
        qy_text_string_left(text, item.name, 12);
        labelled(text, " ", item.value);
    }
}

static void frames(const struct qy_zone_view *zone, struct qy_text *text)
{
    labelled(text, "\n  pages free     ", zone->free);
    labelled(text, "\n        boost    ", zone->boost);
    labelled(text, "\n        min      ", zone->min);
    labelled(text, "\n        low      ", zone->low);
    labelled(text, "\n        high     ", zone->high);
    labelled(text, "\n        promo    ", zone->promo);
    labelled(text, "\n        spanned  ", zone->spanned);
    labelled(text, "\n        present  ", zone->present);
    labelled(text, "\n        managed  ", zone->managed);
    labelled(text, "\n        cma      ", zone->cma);
    qy_text_string(text, "\n        protection: (");
    for (size_t p = 0; p < zone->nr_protections && p < QY_VIEW_PROTECTIONS; p++)
        labelled(text, p == 0 ? "" : ", ", zone->protection[p]);
    qy_text_char(text, ')');
}

static void pagesets(const struct qy_lens *lens, size_t zone, struct qy_text *text)
{
    struct qy_pageset_view set;
    qy_text_string(text, "\n  pagesets");
    for (size_t p = 0; qy_look_pageset(lens, p, &set); p++) {
        if (set.zone != zone)
            continue;
        labelled(text, "\n    cpu: ", set.cpu);
        labelled(text, "\n              count:    ", set.count);
        labelled(text, "\n              high:     ", set.high);
        labelled(text, "\n              batch:    ", set.batch);
        labelled(text, "\n              high_min: ", set.high_min);
        labelled(text, "\n              high_max: ", set.high_max);
        labelled(text, "\n  vm stats threshold: ", set.threshold);
    }
}

void qy_show_zoneinfo(const struct qy_lens *lens, struct qy_text *text)
{
    struct qy_zone_view zone;
    for (size_t z = 0; qy_look_zone(lens, z, &zone); z++) {
        qy_text_zone(text, &zone);
        items(lens, QY_ITEMS_NODE, z, "\n  per-node stats", text);
        frames(&zone, text);
        if (zone.populated) {
            items(lens, QY_ITEMS_ZONE, z, "", text);
            pagesets(lens, z, text);
            labelled(text, "\n  node_unreclaimable:  ", zone.node_unreclaimable);
            labelled(text, "\n  start_pfn:           ", zone.start_pfn);
        }
        qy_text_char(text, '\n');
    }
}
