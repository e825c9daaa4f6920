/*
 * boot.c - qy_boot(): the storeys, bottom first
 *
 * WHAT    Map, zones, free frames, slabs. It stands here because this is the highest layer
 *         that it needs; qy_mm_create() adds what memory that can be moved needs (move/boot.c).
 *
 * RULES   M2  in memory/memmap.c: nothing is built from a bad map.
 *
 * LOCKS   none: nobody else knows the instance yet.
 *
 * COST    Once.
 */
#include "base/errno.h"
#include "buddy/alloc.h"
#include "memory/fault.h"
#include "slab/boot.h"
#include "slab/cache.h"
#include "slab/guarded.h"

uint64_t qy_slab_reclaim(struct qy_mm *mm, qy_gfp_t gfp, unsigned order)
{
    (void)gfp;
    (void)order;
    uint64_t frames = qy_guarded_drain(mm);
    return frames + qy_kmem_cache_shrink_all(mm);
}

/** Slots that came before there was a kmalloc learn which sizes are small. */
static void open_slots(struct qy_mm *mm)
{
    qy_lock(&mm->cpus_lock);
    if (!qy_list_empty(&mm->cpus)) {
        qy_cpus_stop(&mm->cpus);
        qy_cpus_resume(&mm->cpus, qy_described_frames(mm), mm->small_bytes);
    }
    qy_unlock(&mm->cpus_lock);
}

/** The first frames: a slot of a memory without any would look stopped for ever. */
static bool bring_frames(struct qy_mm *mm, const struct qy_layout *layout, struct qy_error *error)
{
    struct qy_request request;
    if (qy_online_ram(mm, layout, error) != 0)
        return false;
    if (mm->options.no_virt || qy_described_frames(mm) != 0)
        return true;
    if (mm->options.grow && qy_request_read(&request, 0, QY_GFP_NOWAIT, 0) &&
        qy_grow(mm, &request, 1) == 0)
        return true;
    if (mm->options.grow)
        return qy_refuse_to_begin(mm, layout, error) == 0;
    qy_error_set(error, -QY_ENOMEM, "no RAM for the first slabs, and grow is off", UINT64_MAX, "");
    return false;
}

struct qy_mm *qy_boot(const struct qy_memmap *map, const struct qy_mm_options *options,
                      struct qy_error *error)
{
    struct qy_span spans[qy_layout_spans(map)];
    struct qy_layout layout;
    if (qy_layout_read(&layout, spans, map, error) != 0)
        return NULL;
    if (options->kmalloc_flags & ~QY_SLAB_MASK) {
        qy_error_set(error, -QY_EINVAL, "options: unknown flags in kmalloc_flags: ",
                     options->kmalloc_flags & ~QY_SLAB_MASK, "");
        return NULL;
    }
    if (layout.end - layout.start > UINT64_C(1) << 31) {
        qy_error_set(error, -QY_EINVAL, "memory map: it spans more than 8 TiB", UINT64_MAX, "");
        return NULL;
    }
    struct qy_mm *mm = qy_memory_build(&layout, map, options, error);
    if (mm == NULL)
        return NULL;
    atomic_init(&mm->reclaim, qy_slab_reclaim);
    if (!bring_frames(mm, &layout, error)) {
        qy_port_abandon(mm);
        return NULL;
    }
    if (!options->no_virt)
        qy_slab_boot(mm, options->kmalloc_flags);
    open_slots(mm);
    mm->mark = (struct qy_mark){QY_MARK_MAGIC, QY_MARK_LAYOUT, (uintptr_t)mm};
    return mm;
}
