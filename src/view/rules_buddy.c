/*
 * rules_buddy.c - the rules of frames: B1..B6, T1, T2, K4, P1, P2
 *
 * WHAT    Each figure that the buddy keeps is computed again from the bits alone.
 *
 * RULES   none of its own. It changes nothing.
 *
 * LOCKS   zone->lock for each zone's pageblocks. Slots are stopped (rules.c).
 *
 * COST    Every pageblock's bits, and a byte for each frame.
 */
#include "view/rules.h"
#include "buddy/pcp.h"
#include "memory/pageblock.h"
#include "slab/runs.h"

/* ---- one pageblock ---- */

/** The largest order in 512 bits; -1: none is set. */
static int largest_order(const struct qy_bits512 *bits)
{
    int largest = -1;
    unsigned whole = 0;
    for (unsigned w = 0; w < QY_BITS_WORDS; w++) {
        int order = qy_word_largest(bits->word[w]);
        largest = order > largest ? order : largest;
        whole |= (unsigned)(order == QY_WORD_ORDER) << w;
    }
    for (unsigned order = 0; order < QY_PAGEBLOCK_ORDER - QY_WORD_ORDER; order++) {
        whole = (unsigned)qy_word_fold(whole, order);
        if (whole != 0)
            largest = QY_WORD_ORDER + (int)order + 1;
    }
    return largest;
}

static bool is_whole(const struct qy_mm *mm, uint32_t b)
{
    return (mm->blocks[b].flags & QY_BLOCK_ONLINE) &&
           qy_bits_count(&mm->free_bits[b]) == QY_PAGEBLOCK_FRAMES;
}

/** Whether a pageblock and its buddy should be one block of order 10. */
static bool should_pair(const struct qy_mm *mm, uint32_t b)
{
    uint32_t buddy = b ^ 1;
    return buddy < qy_last_block(mm) && is_whole(mm, b) && is_whole(mm, buddy) &&
           mm->blocks[b].zone == mm->blocks[buddy].zone &&
           mm->blocks[b].migratetype == mm->blocks[buddy].migratetype;
}

static void check_orders(struct qy_ruling *ruling, uint32_t b)
{
    const struct qy_pageblock *block = &ruling->mm->blocks[b];
    const struct qy_bits512 *bits = &ruling->mm->free_bits[b];
    qy_pfn_t pfn = qy_block_pfn(ruling->mm, b);
    bool tail = block->flags & QY_BLOCK_TAIL, pair = should_pair(ruling->mm, b);
    int order = largest_order(bits);

    for (unsigned w = 0; w < QY_BITS_WORDS; w++)
        if (block->word_order[w] != qy_word_largest(bits->word[w]))
            qy_broken(ruling, "B6", "pageblock", pfn, "a word's order is not that of its bits");
    if (pair != (tail || block->order == QY_MAX_ORDER) || tail != (pair && b % 2 == 1))
        qy_broken(ruling, "B5", "pageblock", pfn,
                  "is half of a pair and not marked so, or marked and not");
    else if (block->order != (pair && !tail ? QY_MAX_ORDER : order))
        qy_broken(ruling, "B6", "pageblock", pfn, "its order is not that of its bits");
}

static void check_counts(struct qy_ruling *ruling, uint32_t b)
{
    const struct qy_mm *mm = ruling->mm;
    const struct qy_pageblock *block = &mm->blocks[b];
    qy_pfn_t pfn = qy_block_pfn(mm, b);
    if (block->nr_free != qy_bits_count(&mm->free_bits[b]))
        qy_broken(ruling, "B3", "pageblock", pfn, "nr_free is not the number of its bits");
    bool all_fresh = block->flags & QY_BLOCK_FRESH;
    const struct qy_bits512 *fresh = all_fresh ? &mm->free_bits[b] : &mm->fresh_bits[b];
    if (block->nr_fresh != qy_bits_count(fresh))
        qy_broken(ruling, "B4", "pageblock", pfn, "nr_fresh is not the number of its bits");
    for (unsigned w = 0; w < QY_BITS_WORDS; w++)
        if (fresh->word[w] & ~mm->free_bits[b].word[w])
            qy_broken(ruling, "B4", "pageblock", pfn, "a frame is fresh and not free");
}

/* ---- one zone ---- */

struct sums {
    uint64_t free, fresh, listed;
    uint64_t free_of[QY_NR_MIGRATETYPES];
};

static void check_sums(struct qy_ruling *ruling, const struct qy_zone *zone,
                       const struct sums *sums)
{
    if (atomic_load_explicit(&zone->nr_free, memory_order_relaxed) != sums->free)
        qy_broken_name(ruling, "B3", "zone", zone->name, "nr_free is not the number of its bits");
    for (unsigned type = 0; type < QY_NR_MIGRATETYPES; type++)
        if (zone->nr_free_of[type] != sums->free_of[type])
            qy_broken_name(ruling, "B3", "zone", zone->name,
                           "nr_free_of a migratetype is not the number of its bits");
    if (atomic_load_explicit(&zone->nr_fresh, memory_order_relaxed) != sums->fresh)
        qy_broken_name(ruling, "B4", "zone", zone->name, "nr_fresh is not the number of its bits");
}

/** Walk one list. Returns how many pageblocks are rightly on it. */
static uint64_t check_list(struct qy_ruling *ruling, const struct qy_zone *zone, unsigned type,
                           unsigned order)
{
    const struct qy_mm *mm = ruling->mm;
    const struct qy_block_list *list = &zone->list[type][order];
    uint32_t before = QY_BLOCK_NONE, most = qy_last_block(mm);
    uint64_t count = 0;
    bool marked = zone->nonempty[type] >> order & 1;
    if (marked != (list->first != QY_BLOCK_NONE))
        qy_broken_name(ruling, "B2", "zone", zone->name, "a list's mark in nonempty is wrong");
    for (uint32_t b = list->first; b != QY_BLOCK_NONE; b = mm->blocks[b].next) {
        if (b >= most || count > most) {
            qy_broken_name(ruling, "B2", "zone", zone->name, "a list leads nowhere");
            return count;
        }
        const struct qy_pageblock *block = &mm->blocks[b];
        if (block->prev != before || block->zone != zone->index || block->migratetype != type ||
            block->order != (int)order || (block->flags & QY_BLOCK_TAIL))
            qy_broken(ruling, "B2", "pageblock", qy_block_pfn(mm, b), "is on a wrong list");
        before = b;
        count++;
    }
    if (list->last != before && (count > 0 || list->last != QY_BLOCK_NONE))
        qy_broken_name(ruling, "B2", "zone", zone->name, "a list's last is not its last");
    return count;
}

static void check_zone(struct qy_ruling *ruling, struct qy_zone *zone)
{
    const struct qy_mm *mm = ruling->mm;
    struct sums sums = {.free = 0};
    uint64_t listed = 0;
    for (uint32_t b = 0; b < qy_last_block(mm); b++) {
        const struct qy_pageblock *block = &mm->blocks[b];
        if (!(block->flags & QY_BLOCK_ONLINE) || block->zone != zone->index)
            continue;
        check_orders(ruling, b);
        check_counts(ruling, b);
        unsigned count = qy_bits_count(&mm->free_bits[b]);
        sums.free += count;
        sums.free_of[block->migratetype % QY_NR_MIGRATETYPES] += count;
        sums.fresh += block->nr_fresh;
        sums.listed += block->order >= 0 && !(block->flags & QY_BLOCK_TAIL);
    }
    for (unsigned type = 0; type < QY_NR_MIGRATETYPES; type++)
        for (unsigned order = 0; order < QY_NR_ORDERS; order++)
            listed += check_list(ruling, zone, type, order);
    if (listed != sums.listed)
        qy_broken_name(ruling, "B2", "zone", zone->name,
                       "its lists do not hold exactly the pageblocks with free frames");
    check_sums(ruling, zone, &sums);
}

void qy_check_buddy(struct qy_ruling *ruling)
{
    struct qy_mm *mm = ruling->mm;
    for (uint32_t b = 0; b < qy_last_block(mm); b++)
        if (!(mm->blocks[b].flags & QY_BLOCK_ONLINE) && qy_bits_count(&mm->free_bits[b]) != 0)
            qy_broken(ruling, "B1", "pageblock", qy_block_pfn(mm, b),
                      "is offline and has free frames");
    for (size_t z = 0; z < QY_MAX_ZONES; z++) {
        if (!qy_zone_populated(&mm->zones[z]))
            continue;
        qy_lock(&mm->zones[z].lock);
        check_zone(ruling, &mm->zones[z]);
        qy_unlock(&mm->zones[z].lock);
    }
}

/* ---- tags ---- */

/** A head of @count frames: the others carry nothing, and none is free. */
static void check_extent(struct qy_ruling *ruling, const char *rule, uint64_t head, uint64_t count)
{
    const struct qy_mm *mm = ruling->mm;
    for (uint64_t i = 0; i < count; i++) {
        if (!qy_frame_is_online(mm, head + i)) {
            qy_broken(ruling, rule, "frame", mm->start_pfn + head, "its block leaves the memory");
            return;
        }
        if (qy_frame_is_free(mm, head + i))
            qy_broken(ruling, rule, "frame", mm->start_pfn + head + i, "is free and allocated");
        if (i > 0 && mm->tags[head + i] != QY_TAG_NONE)
            qy_broken(ruling, rule, "frame", mm->start_pfn + head + i,
                      "has a tag inside of another's block");
    }
}

static void check_tag(struct qy_ruling *ruling, uint64_t frame)
{
    const struct qy_mm *mm = ruling->mm;
    uint8_t tag = mm->tags[frame];
    if (tag == QY_TAG_NONE)
        return;
    if (qy_frame_is_free(mm, frame)) {
        qy_broken(ruling, "T1", "frame", mm->start_pfn + frame, "is free and has a tag");
        return;
    }
    if (tag < QY_TAG_BLOCK + QY_NR_ORDERS) {
        unsigned order = tag - QY_TAG_BLOCK;
        if (((mm->start_pfn + frame) & ((UINT64_C(1) << order) - 1)) != 0)
            qy_broken(ruling, "T2", "frame", mm->start_pfn + frame,
                      "is the head of a block and not aligned to it");
        check_extent(ruling, "T2", frame, UINT64_C(1) << order);
    } else if (qy_tag_is_run(tag) || tag == QY_TAG_FREED) {
        check_extent(ruling, "K4", frame, qy_run_frames(mm, frame));
    } else if ((tag == QY_TAG_GUARD && (mm->hardened || mm->sampling.pool != NULL)) ||
               (tag == QY_TAG_FOLIO && mm->folios != NULL)) {
        return; /* rules_checked.c, rules_lent.c */
    } else if (tag < QY_TAG_CACHE) {
        qy_broken(ruling, "T2", "frame", mm->start_pfn + frame, "has a tag that does not exist");
    } else if (mm->cache_of[tag] == NULL) {
        qy_broken(ruling, "T3", "frame", mm->start_pfn + frame, "has the tag of no cache");
    }
}

void qy_check_tags(struct qy_ruling *ruling)
{
    const struct qy_mm *mm = ruling->mm;
    for (uint32_t b = 0; b < qy_last_block(mm); b++) {
        if (!(mm->blocks[b].flags & QY_BLOCK_ONLINE))
            continue;
        for (uint64_t i = 0; i < QY_PAGEBLOCK_FRAMES; i++)
            check_tag(ruling, (uint64_t)b * QY_PAGEBLOCK_FRAMES + i);
    }
}

/* ---- per-CPU lists ---- */

static void check_pcp_frame(struct qy_ruling *ruling, const struct qy_zone *zone, uint64_t frame,
                            unsigned order)
{
    const struct qy_mm *mm = ruling->mm;
    qy_pfn_t pfn = mm->start_pfn + frame;
    uint64_t count = UINT64_C(1) << order;
    if ((pfn & (count - 1)) != 0 || !qy_frame_is_online(mm, frame) ||
        mm->blocks[frame / QY_PAGEBLOCK_FRAMES].zone != zone->index) {
        qy_broken(ruling, "P1", "frame", pfn, "is in a list and no block of its zone");
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        if (qy_frame_is_free(mm, frame + i) || mm->tags[frame + i] != QY_TAG_NONE)
            qy_broken(ruling, "P1", "frame", pfn + i, "is in a list, and free or allocated");
}

static void check_pcp_list(struct qy_ruling *ruling, const struct qy_zone *zone,
                           const struct qy_pcp_list *list, unsigned order)
{
    if (list->frame > list->top || list->top > list->high ||
        list->high > list->frame + qy_pcp_places(order)) {
        qy_broken_name(ruling, "P2", "zone", zone->name,
                       "a per-CPU list has more than it can hold");
        return;
    }
    for (unsigned i = 0; i < qy_pcp_list_count(list); i++) {
        uint64_t frame = list->frame[i] & ~QY_FRAME_FRESH;
        check_pcp_frame(ruling, zone, frame, order);
        for (unsigned j = 0; j < i; j++)
            if ((list->frame[j] & ~QY_FRAME_FRESH) == frame)
                qy_broken(ruling, "P1", "frame", ruling->mm->start_pfn + frame,
                          "is in a list twice");
    }
}

void qy_check_pcp(struct qy_ruling *ruling)
{
    struct qy_mm *mm = ruling->mm;
    qy_list_for_each (link, &mm->cpus) {
        const struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        if (cpu->pcp == NULL || qy_cpu_is_suspended(cpu)) /* in the middle of a call, maybe */
            continue;
        for (size_t z = 0; z < QY_MAX_ZONES; z++) {
            const struct qy_zone *zone = &mm->zones[z];
            if (!qy_zone_populated(zone))
                continue;
            for (unsigned type = 0; type < QY_PCP_TYPES; type++)
                for (unsigned order = 0; order < QY_NR_ORDERS; order++)
                    check_pcp_list(ruling, zone, &cpu->pcp[zone->pcp].list[type][order], order);
        }
    }
}
