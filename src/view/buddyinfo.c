/*
 * buddyinfo.c - how many free blocks there are of each order
 *
 * WHAT    One line a populated zone, eleven columns, as /proc/buddyinfo:
 *
 *         Node 0, zone   Normal   1240    408    628 ...    362
 *                                 4 KiB   8 KiB  16 KiB     4 MiB
 *
 * RULES   none: it only prints.
 *
 * LOCKS   none.
 *
 * COST    Whatever the lens costs a zone.
 */
#include "base/text.h"
#include "view/lens.h"

void qy_text_zone(struct qy_text *text, const struct qy_zone_view *zone)
{
    qy_text_string(text, "Node ");
    qy_text_u64(text, zone->node);
    qy_text_string(text, ", zone ");
    qy_text_string_right(text, zone->name, 8);
}

void qy_show_buddyinfo(const struct qy_lens *lens, struct qy_text *text)
{
    struct qy_zone_view zone;
    for (size_t z = 0; qy_look_zone(lens, z, &zone); z++) {
        if (!zone.populated)
            continue;
        qy_text_zone(text, &zone);
        qy_text_char(text, ' ');
        for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
            qy_text_u64_right(text, zone.nr_free[order], 6);
            qy_text_char(text, ' ');
        }
        qy_text_char(text, '\n');
    }
}
