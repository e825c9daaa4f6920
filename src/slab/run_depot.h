/*
 * run_depot.h - freed runs that all slots share
 */
#ifndef QY_SLAB_RUN_DEPOT_H
#define QY_SLAB_RUN_DEPOT_H

#include "slab/kept.h"

/** Runs that slot and depot exchange at once. */
#define QY_RUN_BATCH 8
#define QY_RUNS_A_CHUNK 62

/** A magazine's block, as part of a class's stack: only the first chunk is not full. */
struct qy_run_chunk {
    struct qy_run_chunk *next;
    uint64_t count;
    struct qy_kept_run run[QY_RUNS_A_CHUNK];
};

/** Frames that the depot holds just now. Racy. */
static inline uint64_t qy_run_depot_frames(const struct qy_mm *mm)
{
    return atomic_load_explicit(&mm->run_depot.frames, memory_order_relaxed);
}

/** It has runs of this class. Racy. */
static inline bool qy_run_depot_has(const struct qy_mm *mm, unsigned class)
{
    return __atomic_load_n(&mm->run_depot.chunk[class], __ATOMIC_RELAXED) != NULL;
}

void qy_run_depot_init(struct qy_run_depot *depot);

/** Up to @most of the newest runs of a class, QY_RUN_BATCH at most, none of them tagged.
 *  Returns how many. */
unsigned qy_run_depot_take(struct qy_cpu *cpu, unsigned class, unsigned most,
                           struct qy_kept_run *runs);
/** Hand in runs of one class that have no tags. What finds no room goes back to the buddy. The
 *  owner is inside. */
void qy_run_depot_give(struct qy_cpu *cpu, unsigned class, const struct qy_kept_run *runs,
                       unsigned count);
/** Give runs that have no tags back to the buddy. */
void qy_runs_give_back(struct qy_mm *mm, const struct qy_kept_run *runs, unsigned count);
/** A run of this length was not here and is about to be taken. The caller holds no lock. */
void qy_run_depot_missed(struct qy_mm *mm, uint64_t nr_frames);
/** So many frames are about to be taken: if more were used then than ever, all runs go back. The
 *  caller holds no lock. */
void qy_run_depot_make_way(struct qy_mm *mm, uint64_t nr_frames);
/** Give all of them back. The caller holds no cache's lock. */
void qy_run_depot_drain(struct qy_mm *mm);

#endif
