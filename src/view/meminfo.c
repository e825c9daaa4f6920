/*
 * meminfo.c - the two lists of named figures, meminfo and vmstat
 *
 * WHAT    /proc/meminfo pads a name and its colon to 16 and the number to 8; most are kB.
 *         /proc/vmstat is a name, a blank and a number.
 *
 * RULES   none: it only prints.
 *
 * LOCKS   none.
 *
 * COST    One pass over all the lens's items.
 */
#include "base/text.h"
#include "view/lens.h"

static void meminfo_line(const struct qy_item_view *item, struct qy_text *text)
{
    size_t start = text->length;
    qy_text_string(text, item->name);
    qy_text_char(text, ':');
    while (text->length - start < 16)
        qy_text_char(text, ' ');
    qy_text_u64_right(text, item->value, 8);
    qy_text_string(text, item->is_kb ? " kB\n" : "\n");
}

void qy_show_meminfo(const struct qy_lens *lens, struct qy_text *text)
{
    struct qy_item_view item;
    for (size_t i = 0; qy_look_item(lens, i, &item); i++)
        if (item.set == QY_ITEMS_MEMINFO)
            meminfo_line(&item, text);
}

void qy_show_vmstat(const struct qy_lens *lens, struct qy_text *text)
{
    struct qy_item_view item;
    for (size_t i = 0; qy_look_item(lens, i, &item); i++) {
        if (item.set != QY_ITEMS_VMSTAT)
            continue;
        qy_text_string(text, item.name);
        qy_text_char(text, ' ');
        qy_text_u64(text, item.value);
        qy_text_char(text, '\n');
    }
}
