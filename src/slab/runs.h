/*
 * runs.h - blocks of whole pages, for kmalloc
 */
#ifndef QY_SLAB_RUNS_H
#define QY_SLAB_RUNS_H

#include "memory/mm.h"

/** A run, tagged; clear if gfp asks for it. NULL: there is none. */
void *qy_run_alloc(struct qy_mm *mm, uint64_t nr_frames, unsigned align_order, qy_gfp_t gfp);
/** A run that the slot kept, or NULL. The owner is inside. */
void *qy_run_take_kept(struct qy_cpu *cpu, uint64_t nr_frames);
/** Let the slot keep the run that starts at this frame. False: no place; nothing changed. */
bool qy_run_keep(struct qy_cpu *cpu, uint64_t index);

/** Give a run back: the caller has seen its tag. */
void qy_run_free(struct qy_mm *mm, void *block);
/** Make a run longer or shorter where it lies. False: something is in the way. */
bool qy_run_resize(struct qy_mm *mm, void *block, uint64_t nr_frames);
/** Move a run's pages to a longer one, where that is cheaper than copying. NULL: it is not,
 *  or there is none. */
void *qy_run_move(struct qy_mm *mm, void *block, uint64_t nr_frames, qy_gfp_t gfp);

#endif
