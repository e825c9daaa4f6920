/*
 * slot.c - a slot comes and goes
 *
 * WHAT    The port hands in a slot and memory for its lists: the page lists of each zone, a
 *         depot a tag, places for frames, the runs it keeps. From then on the owner uses it without
 *         a lock (base/percpu.h).
 *
 * RULES   C1, C2  in base/percpu.h; R4 in slab/kept.h.
 *
 * LOCKS   cpus_lock; whoever attaches or detaches is in no slot of this instance.
 *
 * COST    Attach: a lock pair and 2 KiB of pointers; the second stops the first for a moment.
 *         Pages of the lists are touched as used.
 */
#include "base/round.h"
#include "buddy/pcp.h"
#include "slab/kept.h"
#include "slab/magazine.h"

/** What lies in a slot's memory: first what every program touches, so that it is one page. */
struct lists {
    size_t depot, places, kept, bytes; /* offsets, and their end */
};

static struct lists lists_of(const struct qy_mm *mm)
{
    struct lists at;
    at.depot = qy_round_up(mm->nr_pcp * sizeof(struct qy_pcp), _Alignof(struct qy_depot));
    at.places = at.depot + QY_NR_TAGS * sizeof(struct qy_depot);
    at.kept = qy_round_up(at.places + mm->nr_pcp * sizeof(struct qy_pcp_places),
                          _Alignof(struct qy_kept));
    at.bytes = at.kept + sizeof(struct qy_kept);
    return at;
}

size_t qy_cpu_bytes(const struct qy_mm *mm)
{
    return lists_of(mm).bytes;
}

/** R4, from now on for ever. cpus_lock is held. */
static void are_many_locked(struct qy_mm *mm)
{
    if (mm->many_slots)
        return;
    mm->many_slots = true;
    qy_cpus_stop(&mm->cpus);
    qy_list_for_each (link, &mm->cpus)
        qy_list_entry(link, struct qy_cpu, link)->alone = false;
    qy_cpus_resume(&mm->cpus, qy_described_frames(mm), mm->small_bytes);
}

void qy_slots_are_many(struct qy_mm *mm)
{
    qy_lock(&mm->cpus_lock);
    are_many_locked(mm);
    qy_unlock(&mm->cpus_lock);
}

void qy_cpu_attach(struct qy_mm *mm, struct qy_cpu *cpu, void *memory)
{
    struct lists at = lists_of(mm);
    cpu->mm = mm;
    cpu->base = mm->base;
    cpu->tags = mm->tags_of_slots;
    cpu->led_astray = mm->tags_of_slots != mm->tags;
    cpu->pcp = memory;
    cpu->depot = (void *)((char *)memory + at.depot);
    cpu->kept = (void *)((char *)memory + at.kept);
    cpu->last_tag = QY_TAG_NONE;
    cpu->spare = NULL;
    cpu->nr_spare = 0;
    cpu->looks_in = cpu->looks_every = 0;
    __builtin_memcpy(cpu->class_of, mm->class_of, sizeof(cpu->class_of));
    for (unsigned tag = 0; tag < QY_NR_TAGS; tag++)
        cpu->top[tag] = QY_NO_MAGAZINE;
    qy_pcp_init(mm, cpu, (void *)((char *)memory + at.places));
    qy_lock(&mm->cpus_lock);
    if (mm->nr_cpus != 0)
        are_many_locked(mm);
    cpu->alone = !mm->many_slots;
    qy_cpu_open(cpu, &mm->cpus, qy_described_frames(mm), mm->small_bytes);
    mm->nr_cpus++;
    qy_unlock(&mm->cpus_lock);
}

static void for_each_cache(struct qy_mm *mm, struct qy_cpu *cpu,
                           void (*work)(struct qy_cpu *cpu, struct qy_kmem_cache *cache))
{
    for (unsigned tag = QY_TAG_CACHE; tag < QY_NR_TAGS; tag++) {
        struct qy_kmem_cache *cache = __atomic_load_n(&mm->cache_of[tag], __ATOMIC_ACQUIRE);
        if (cache != NULL && cache->places != 0)
            work(cpu, cache);
    }
}

void qy_slot_abandon(struct qy_mm *mm, struct qy_cpu *cpu)
{
    for_each_cache(mm, cpu, qy_magazine_abandon);
}

void qy_slot_empty(struct qy_mm *mm, struct qy_cpu *cpu)
{
    for_each_cache(mm, cpu, qy_magazine_drain);
    qy_magazine_drop_spare(cpu);
    qy_kept_drain(cpu);
    qy_pcp_drain(mm, cpu);
}

void qy_cpu_detach(struct qy_mm *mm, struct qy_cpu *cpu)
{
    qy_lock(&mm->cpus_lock);
    atomic_store_explicit(&cpu->nr_frames, 0, memory_order_relaxed);
    atomic_store_explicit(&cpu->small_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&cpu->ready_bytes, 0, memory_order_relaxed);
    qy_list_remove(&cpu->link);
    mm->nr_cpus--;
    qy_slot_empty(mm, cpu);
    cpu->mm = NULL;
    qy_unlock(&mm->cpus_lock);
}
