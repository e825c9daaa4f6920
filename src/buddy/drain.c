/*
 * drain.c - taking back what lies in slots, without their owners' help
 *
 * WHAT    Every slot is stopped (base/percpu.h), emptied, and opened again. Owners who come
 *         meanwhile sleep until it is done.
 *
 * RULES   C1, C2  in base/percpu.h.
 *
 * LOCKS   cpus_lock throughout; zone->lock for each list. The caller is in no slot.
 *
 * COST    A heavy barrier, and a lock pair for each list that holds something.
 */
#include "buddy/alloc.h"
#include "buddy/pcp.h"

#include <quarry/buddy.h>

void qy_for_each_stopped_cpu(struct qy_mm *mm, void (*work)(struct qy_mm *, struct qy_cpu *))
{
    qy_slots_stop(mm);
    qy_list_for_each (link, &mm->cpus) {
        struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        if (!qy_cpu_is_suspended(cpu))
            work(mm, cpu);
    }
    qy_slots_resume(mm);
}

static void drain_pages(struct qy_mm *mm, struct qy_cpu *cpu)
{
    qy_pcp_drain(mm, cpu);
}

void qy_drain_all_pages(struct qy_mm *mm)
{
    qy_for_each_stopped_cpu(mm, drain_pages);
}
