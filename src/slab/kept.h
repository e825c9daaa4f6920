/*
 * kept.h - freed runs that a slot keeps for its next request
 *
 * WHAT    Forty short stacks, four for each doubling of length as kmalloc's classes are. A
 *         run on them is neither free in the buddy nor allocated: its tag is QY_TAG_NONE. A
 *         request takes the topmost run of its stack that is long enough, whole: at most a
 *         quarter more than was asked for.
 *
 * RULES   R2  A kept run's frames are in no other place; `frames` is the sum of their lengths
 *             and at most QY_KEPT_MOST, unless it is of one.
 *
 * LOCKS   (o) the slot's owner is inside, or its drainer.
 */
#ifndef QY_SLAB_KEPT_H
#define QY_SLAB_KEPT_H

#include "memory/mm.h"

#define QY_KEPT_STACKS 40
#define QY_KEPT_PLACES 7
/** Frames that a slot keeps at most: 2 MiB, or one run of up to 32 MiB. */
#define QY_KEPT_MOST ((UINT64_C(2) << 20) >> QY_PAGE_SHIFT)
#define QY_KEPT_LONGEST ((UINT64_C(32) << 20) >> QY_PAGE_SHIFT)

struct qy_kept_stack {
    uint32_t count;                  /* (o) */
    uint32_t index[QY_KEPT_PLACES];  /* (o) first frame, in the span */
    uint32_t frames[QY_KEPT_PLACES]; /* (o) length */
};

struct qy_kept {
    uint64_t frames; /* (o) R2 */
    uint32_t pushes; /* (o) since the last eviction of an old one */
    uint32_t next;   /* (o) the stack that gives up a run next */
    struct qy_kept_stack stack[QY_KEPT_STACKS];
};

/** A kept run of at least @nr_frames frames, at most a quarter more. False: there is none. */
bool qy_kept_take(struct qy_cpu *cpu, uint64_t nr_frames, uint64_t *index, uint64_t *frames);

/** Keep a run if there is a place for it. False: the caller still has it. */
bool qy_kept_try_give(struct qy_cpu *cpu, uint64_t index, uint64_t nr_frames);

/** Keep a run. What no longer fits goes back to the buddy; so may this one. */
void qy_kept_give(struct qy_cpu *cpu, uint64_t index, uint64_t nr_frames);

/** Give all of them back. */
void qy_kept_drain(struct qy_cpu *cpu);

#endif
