/*
 * guarded.h - blocks of whole pages between guards, for kmalloc with red zones
 */
#ifndef QY_SLAB_GUARDED_H
#define QY_SLAB_GUARDED_H

#include "memory/mm.h"

/** A guarded run of at least @bytes, clear but for its red tail. NULL: there is none. */
void *qy_guarded_alloc(struct qy_mm *mm, size_t bytes, unsigned align_order, qy_gfp_t gfp);
/** Give it into quarantine. 0, or -EINVAL and a report: its tail is damaged (D1), and it stays
 *  allocated; or somebody else freed it first (K3). */
int qy_guarded_free(struct qy_mm *mm, void *block);
/** Ask for more where it lies, or for less of the same pages. False: it has to move. */
bool qy_guarded_resize(struct qy_mm *mm, void *block, size_t bytes);
/** Move a run's pages to a longer one, where that is cheaper than copying. NULL: it is not,
 *  or there is none. */
void *qy_guarded_move(struct qy_mm *mm, void *block, size_t bytes, qy_gfp_t gfp);
/** The head of the run that has this frame for a guard. */
uint64_t qy_guarded_beside(const struct qy_mm *mm, uint64_t guard);
/** An access to this address was stopped. True: it is a guard's, or a freed run's, and that is
 *  reported; false: it is for somebody else to explain. Takes no lock: for a signal's handler. */
bool qy_guarded_explain(struct qy_mm *mm, const void *address);
/** The red tail of the run at this frame is whole. */
bool qy_guarded_whole(const struct qy_mm *mm, uint64_t index);
/** Look at all runs, live or in quarantine, unless that takes too long. Waits for nobody. 0, or
 *  -EINVAL and a report of the first that is damaged (D1) or was written to (D2). */
int qy_guarded_look_over(struct qy_mm *mm, uint64_t until_ns);
/** End the quarantine of all runs that are in it. Returns their frames. */
uint64_t qy_guarded_drain(struct qy_mm *mm);

#endif
