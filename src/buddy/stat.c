/*
 * stat.c - the counters of one instance
 *
 * WHAT    Sums over zones, and over the slots' lists of frames.
 *
 * RULES   none: it only reads.
 *
 * LOCKS   cpus_lock for the walk along the slots. All else is read one after the other: each
 *         figure is true, two of them may be of different moments.
 *
 * COST    A cache line a zone, and a slot's lists.
 */
#include "base/assert.h"
#include "buddy/pcp.h"

#include <quarry/mm.h>

QY_RACY static void add_zone(struct qy_mm_stat *stat, const struct qy_mm *mm,
                             const struct qy_zone *zone)
{
    stat->spanned += zone->end_pfn - zone->start_pfn;
    stat->present += zone->present;
    stat->managed += zone->managed;
    stat->backed += qy_zone_backed(mm, zone);
}

QY_RACY static uint64_t frames_in_slot(const struct qy_mm *mm, const struct qy_cpu *cpu)
{
    uint64_t frames = 0;
    for (unsigned i = 0; i < mm->nr_pcp && cpu->pcp != NULL; i++)
        frames += qy_pcp_count(&cpu->pcp[i]);
    return frames;
}

void qy_mm_stat(struct qy_mm *mm, struct qy_mm_stat *stat)
{
    *stat = (struct qy_mm_stat){
        .free = qy_free_frames(mm),
        .limit = mm->options.limit_pages,
        .meta_bytes = atomic_load_explicit(&mm->meta_bytes, memory_order_relaxed),
        .peak = atomic_load_explicit(&mm->peak, memory_order_relaxed),
    };
    for (unsigned i = 0; i < qy_nr_zones(mm); i++)
        add_zone(stat, mm, &mm->zones[i]);
    qy_lock(&mm->cpus_lock);
    qy_list_for_each (link, &mm->cpus)
        stat->pcp += frames_in_slot(mm, qy_list_entry(link, struct qy_cpu, link));
    qy_unlock(&mm->cpus_lock);
}
