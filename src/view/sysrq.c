/*
 * sysrq.c - the memory in the words of SysRq-m
 *
 * WHAT    What Linux writes to its log when memory runs out or somebody presses SysRq-m: a
 *         line of watermarks and frames a zone, then its free blocks with the letters of the
 *         migratetypes that own them (U M E H C I):
 *
 *         Node 0 DMA: 0*4kB ... 1*1024kB (U) 1*2048kB (M) 3*4096kB (M) = 15360kB
 *
 *         Label by label as in mm/show_mem.c, but without its lines about the page cache and
 *         swap, and without labels of what is not known of a zone. local_pcp is of the CPU that
 *         prints: who looks from outside is none.
 *
 * RULES   none: it only prints.
 *
 * LOCKS   none.
 *
 * COST    The lens is asked for each zone twice, and for each item once.
 */
#include "base/text.h"
#include "view/lens.h"

static void kilobytes(struct qy_text *text, const char *label, uint64_t pages, uint64_t page_kb)
{
    qy_text_string(text, label);
    qy_text_u64(text, pages * page_kb);
    qy_text_string(text, "kB");
}

static void zone_name(const struct qy_zone_view *zone, struct qy_text *text)
{
    qy_text_string(text, "Node ");
    qy_text_u64(text, zone->node);
    qy_text_char(text, ' ');
    qy_text_string(text, zone->name);
}

static uint64_t blocks_frames(const uint64_t nr_free[QY_NR_ORDERS])
{
    uint64_t frames = 0;
    for (unsigned order = 0; order < QY_NR_ORDERS; order++)
        frames += nr_free[order] << order;
    return frames;
}

/** A zone's named counter. False: it has none of this name, and the value is 0. */
static bool counter(const struct qy_lens *lens, size_t zone, const char *name, uint64_t *value)
{
    struct qy_item_view item;
    for (size_t i = 0; qy_look_item(lens, i, &item); i++) {
        *value = item.value;
        if (item.set == QY_ITEMS_ZONE && item.owner == zone && qy_text_equal(item.name, name))
            return true;
    }
    *value = 0;
    return false;
}

/** A memory has them, but does not always know of which zone they are: then nothing is said. What
 *  it never has is 0. */
static bool is_of_files(const char *name)
{
    static const char *const names[] = {"nr_zone_active_file", "nr_zone_inactive_file",
                                        "nr_zone_write_pending"};
    bool is = false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        is |= qy_text_equal(name, names[i]);
    return is;
}

static void labelled_counter(const struct qy_lens *lens, size_t zone, const char *label,
                             const char *name, uint64_t page_kb, struct qy_text *text)
{
    uint64_t value;
    if (counter(lens, zone, name, &value) || !is_of_files(name))
        kilobytes(text, label, value, page_kb);
}

static void zone_watermarks(const struct qy_zone_view *zone, uint64_t page_kb, struct qy_text *text)
{
    kilobytes(text, " free:", zone->free, page_kb);
    kilobytes(text, " boost:", zone->boost, page_kb);
    kilobytes(text, " min:", zone->min, page_kb);
    kilobytes(text, " low:", zone->low, page_kb);
    kilobytes(text, " high:", zone->high, page_kb);
    qy_text_string(text, " reserved_highatomic:");
    qy_text_u64(text, zone->nr_pageblocks[QY_MIGRATE_HIGHATOMIC] * QY_PAGEBLOCK_FRAMES * page_kb);
    qy_text_string(text, "KB free_highatomic:");
    qy_text_u64(text, blocks_frames(zone->nr_free_of[QY_MIGRATE_HIGHATOMIC]) * page_kb);
    qy_text_string(text, "KB");
}

static void zone_frames(const struct qy_lens *lens, size_t index, uint64_t page_kb,
                        struct qy_text *text)
{
    static const char *const lru[][2] = {
        {" active_anon:", "nr_zone_active_anon"},
        {" inactive_anon:", "nr_zone_inactive_anon"},
        {" active_file:", "nr_zone_active_file"},
        {" inactive_file:", "nr_zone_inactive_file"},
        {" unevictable:", "nr_zone_unevictable"},
        {" writepending:", "nr_zone_write_pending"},
        {" zspages:", "nr_zspages"},
    };
    struct qy_zone_view zone;
    if (!qy_look_zone(lens, index, &zone))
        return;
    zone_name(&zone, text);
    zone_watermarks(&zone, page_kb, text);
    for (size_t i = 0; i < sizeof(lru) / sizeof(lru[0]); i++)
        labelled_counter(lens, index, lru[i][0], lru[i][1], page_kb, text);
    kilobytes(text, " present:", zone.present, page_kb);
    kilobytes(text, " managed:", zone.managed, page_kb);
    labelled_counter(lens, index, " mlocked:", "nr_mlock", page_kb, text);
    labelled_counter(lens, index, " bounce:", "nr_bounce", page_kb, text);
    kilobytes(text, " free_pcp:", zone.pcp, page_kb);
    kilobytes(text, " local_pcp:", 0, page_kb);
    kilobytes(text, " free_cma:", blocks_frames(zone.nr_free_of[QY_MIGRATE_CMA]), page_kb);
    qy_text_string(text, "\nlowmem_reserve[]:");
    for (size_t p = 0; p < zone.nr_protections && p < QY_VIEW_PROTECTIONS; p++) {
        qy_text_char(text, ' ');
        qy_text_u64(text, zone.protection[p]);
    }
    qy_text_char(text, '\n');
}

/** " (UM)": which migratetypes have free blocks of this order. */
static void owners(const struct qy_zone_view *zone, unsigned order, struct qy_text *text)
{
    bool any = false;
    for (unsigned type = 0; type < QY_NR_MIGRATETYPES; type++) {
        if (zone->nr_free_of[type][order] == 0)
            continue;
        qy_text_string(text, any ? "" : " (");
        qy_text_char(text, "UMEHCI"[type]);
        any = true;
    }
    qy_text_string(text, any ? ")" : "");
}

static void zone_blocks(const struct qy_zone_view *zone, uint64_t page_kb, struct qy_text *text)
{
    zone_name(zone, text);
    qy_text_char(text, ':');
    for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
        qy_text_char(text, ' ');
        qy_text_u64(text, zone->nr_free[order]);
        kilobytes(text, "*", UINT64_C(1) << order, page_kb);
        owners(zone, order, text);
    }
    kilobytes(text, " = ", blocks_frames(zone->nr_free), page_kb);
    qy_text_char(text, '\n');
}

static void totals(const struct qy_lens *lens, struct qy_text *text)
{
    uint64_t present = 0, managed = 0, high = 0, cma = 0;
    struct qy_zone_view zone;
    for (size_t z = 0; qy_look_zone(lens, z, &zone); z++) {
        present += zone.present;
        managed += zone.managed;
        high += qy_text_equal(zone.name, "HighMem") ? zone.present : 0;
        cma += zone.cma;
    }
    qy_text_u64(text, present);
    qy_text_string(text, " pages RAM\n");
    qy_text_u64(text, high);
    qy_text_string(text, " pages HighMem/MovableOnly\n");
    qy_text_u64(text, present - managed);
    qy_text_string(text, " pages reserved\n");
    if (cma == 0)
        return; /* as a kernel without regions */
    qy_text_u64(text, cma);
    qy_text_string(text, " pages cma reserved\n");
}

void qy_show_sysrq_m(const struct qy_lens *lens, struct qy_text *text)
{
    struct qy_memory_view memory;
    struct qy_zone_view zone;
    if (!qy_look_memory(lens, &memory))
        return;
    uint64_t page_kb = memory.page_bytes / 1024;
    qy_text_string(text, "Mem-Info:\n");
    for (size_t z = 0; qy_look_zone(lens, z, &zone); z++)
        if (zone.populated)
            zone_frames(lens, z, page_kb, text);
    for (size_t z = 0; qy_look_zone(lens, z, &zone); z++)
        if (zone.populated)
            zone_blocks(&zone, page_kb, text);
    totals(lens, text);
}
