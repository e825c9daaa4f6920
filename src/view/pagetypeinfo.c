/*
 * pagetypeinfo.c - free blocks by what their pageblocks are kept for
 *
 * WHAT    First the free blocks of each order for each migratetype, then how many whole
 *         pageblocks each migratetype has, as /proc/pagetypeinfo. Many migratetypes with
 *         few blocks each is what fragmentation looks like.
 *
 * RULES   none: it only prints.
 *
 * LOCKS   none.
 *
 * COST    The lens is asked for each zone twice.
 */
#include "base/text.h"
#include "view/lens.h"

const char *qy_migratetype_name(unsigned migratetype)
{
    static const char *const names[QY_NR_MIGRATETYPES] = {
        "Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate", "CMA",
    };
    return migratetype < QY_NR_MIGRATETYPES ? names[migratetype] : "?";
}

static bool has_type(const struct qy_memory_view *memory, unsigned type)
{
    return memory->migratetypes >> type & 1;
}

static void free_line(const struct qy_zone_view *zone, unsigned type, struct qy_text *text)
{
    qy_text_string(text, "Node ");
    qy_text_u64_right(text, zone->node, 4);
    qy_text_string(text, ", zone ");
    qy_text_string_right(text, zone->name, 8);
    qy_text_string(text, ", type ");
    qy_text_string_right(text, qy_migratetype_name(type), 12);
    qy_text_char(text, ' ');
    for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
        qy_text_u64_right(text, zone->nr_free_of[type][order], 6);
        qy_text_char(text, ' ');
    }
    qy_text_char(text, '\n');
}

static void free_blocks(const struct qy_lens *lens, const struct qy_memory_view *memory,
                        struct qy_text *text)
{
    qy_text_string_left(text, "Free pages count per migrate type at order", 43);
    for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
        qy_text_char(text, ' ');
        qy_text_u64_right(text, order, 6);
    }
    qy_text_string(text, " \n");

    struct qy_zone_view zone;
    for (size_t z = 0; qy_look_zone(lens, z, &zone); z++)
        for (unsigned type = 0; zone.populated && type < QY_NR_MIGRATETYPES; type++)
            if (has_type(memory, type))
                free_line(&zone, type, text);
}

static void pageblocks(const struct qy_lens *lens, const struct qy_memory_view *memory,
                       struct qy_text *text)
{
    qy_text_char(text, '\n');
    qy_text_string_left(text, "Number of blocks type", 23);
    for (unsigned type = 0; type < QY_NR_MIGRATETYPES; type++) {
        if (!has_type(memory, type))
            continue;
        qy_text_string_right(text, qy_migratetype_name(type), 12);
        qy_text_char(text, ' ');
    }
    qy_text_char(text, '\n');

    struct qy_zone_view zone;
    for (size_t z = 0; qy_look_zone(lens, z, &zone); z++) {
        if (!zone.populated)
            continue;
        qy_text_zone(text, &zone);
        qy_text_char(text, ' ');
        for (unsigned type = 0; type < QY_NR_MIGRATETYPES; type++) {
            if (!has_type(memory, type))
                continue;
            qy_text_u64_right(text, zone.nr_pageblocks[type], 12);
            qy_text_char(text, ' ');
        }
        qy_text_char(text, '\n');
    }
}

void qy_show_pagetypeinfo(const struct qy_lens *lens, struct qy_text *text)
{
    struct qy_memory_view memory;
    if (!qy_look_memory(lens, &memory))
        return;
    qy_text_string(text, "Page block order: ");
    qy_text_u64(text, QY_PAGEBLOCK_ORDER);
    qy_text_string(text, "\nPages per block:  ");
    qy_text_u64(text, QY_PAGEBLOCK_FRAMES);
    qy_text_string(text, "\n\n");
    free_blocks(lens, &memory, text);
    pageblocks(lens, &memory, text);
}
