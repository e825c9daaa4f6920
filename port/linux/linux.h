/*
 * linux.h - what the files of this port share, and what the malloc face needs of them
 */
#ifndef QY_PORT_LINUX_H
#define QY_PORT_LINUX_H

#include "base/percpu.h"

#include <quarry/linux.h>

/** Instances of one process whose threads can have slots; further ones do without. */
#define QY_LINUX_INSTANCES (QY_LINUX_PLACES - 1)

/** A window of addresses: [start, start + bytes). reserved: mapped without access from the
 *  start, because the system has no addresses that can be left to chance. */
struct qy_linux_window {
    char *start;
    size_t bytes;
    bool reserved;
};

/** A range that nobody uses, as far as a look at both ends tells. 0 or -ENOMEM: none was found. */
int qy_linux_window_find(struct qy_linux_window *window, size_t bytes);
/** Reserve @bytes, or as many as there are but at least @least. 0 or -ENOMEM. */
int qy_linux_window_reserve(struct qy_linux_window *window, size_t bytes, size_t least);
void qy_linux_window_release(const struct qy_linux_window *window);

/** Number a new instance and remember its window; -1: no number is free. */
int qy_linux_slots_open(struct qy_mm *mm);
/** No thread has a slot of it any more, and its number is free again. */
void qy_linux_slots_close(struct qy_mm *mm);
/** Let slots of this instance lie in the threads' own storage. */
void qy_linux_slots_in(struct qy_mm *mm, struct qy_cpu *(*storage)(void));
/** In the child of a fork: only this thread is left. Slots of the others are emptied and
 *  closed. cpus_lock is held and all slots are stopped. */
void qy_linux_slots_after_fork(struct qy_mm *mm);

/** Register for membarrier(2), or find a substitute. */
void qy_linux_barrier_init(void);

#endif
