/*
 * kept.h - freed runs that a slot keeps for its next request
 *
 * WHAT    Forty short stacks, four for each doubling of length as kmalloc's classes are. A
 *         run on them is neither free in the buddy nor allocated: its tag is QY_TAG_NONE. A
 *         request takes a run of its stack that is long enough, whole: at most a quarter more
 *         than was asked for.
 *
 *             run[0]               run[1]   ...   run[count]
 *             index: the count     the oldest     the newest: who is long enough?
 *             frames: 0
 *
 *         So "is there none?" and "is the newest too short?" are one comparison.
 *
 * RULES   R2  A kept run's frames are in no other place; `frames` is the sum of their lengths
 *             and at most QY_KEPT_MOST, unless it is of one.
 *         R4  Who frees a run clears its tag, so that of two who do one finds it cleared: by an
 *             atomic instruction, unless the slot is `alone`. Only the one slot of a memory that
 *             has never had two is, while nobody frees runs without a slot.
 *
 * LOCKS   (o) the slot's owner is inside, or its drainer.
 *
 * WHY     An atomic instruction waits until all that was written to the block before has left the
 *         processor's store buffer: 60 ns after a write to each of sixteen pages.
 */
#ifndef QY_SLAB_KEPT_H
#define QY_SLAB_KEPT_H

#include "memory/mm.h"

#define QY_KEPT_PLACES 15
/** Frames that a slot keeps at most: 2 MiB, or one run of up to 32 MiB. */
#define QY_KEPT_MOST ((UINT64_C(2) << 20) >> QY_PAGE_SHIFT)

struct qy_kept_run {
    uint32_t index;  /* (o) first frame, in the span */
    uint16_t frames; /* (o) length */
    uint8_t tag;     /* (o) that it has while it is allocated */
    uint8_t reserved;
};

struct qy_kept_stack {
    struct qy_kept_run run[1 + QY_KEPT_PLACES];
};

struct qy_kept {
    uint64_t frames; /* (o) R2 */
    uint32_t pushes; /* (o) since the last eviction of an old one */
    uint32_t next;   /* (o) the stack that gives up a run next */
    struct qy_kept_stack stack[QY_RUN_CLASSES];
};

static inline uint32_t *qy_kept_count(struct qy_kept_stack *stack)
{
    return &stack->run[0].index;
}

/** The newest kept run of this class, now allocated; NULL: there is none so long. The owner
 *  is inside. */
static inline void *qy_kept_pop(struct qy_cpu *cpu, uint64_t nr_frames)
{
    unsigned class = qy_run_class(nr_frames);
    if (qy_unlikely(class >= QY_RUN_CLASSES))
        return NULL;
    struct qy_kept_stack *stack = &cpu->kept->stack[class];
    const struct qy_kept_run *run = &stack->run[*qy_kept_count(stack)];
    if (run->frames < nr_frames)
        return NULL;
    uint64_t index = run->index;
    cpu->kept->frames -= run->frames;
    qy_tag_set(&cpu->mm->tags[index], run->tag);
    --*qy_kept_count(stack);
    return (void *)(cpu->base + (index << QY_PAGE_SHIFT));
}

/** There is a place for one more. */
static inline bool qy_kept_has_room(const struct qy_kept *kept, unsigned class, uint64_t nr_frames)
{
    return kept->stack[class].run[0].index != QY_KEPT_PLACES &&
           (kept->frames + nr_frames <= QY_KEPT_MOST || kept->frames == 0);
}

static inline void qy_kept_push(struct qy_kept *kept, unsigned class, uint64_t index,
                                uint64_t nr_frames, uint8_t tag)
{
    struct qy_kept_stack *stack = &kept->stack[class];
    uint32_t count = *qy_kept_count(stack) + 1;
    struct qy_kept_run *run = &stack->run[count];
    run->index = (uint32_t)index;
    run->frames = (uint16_t)nr_frames;
    run->tag = tag;
    kept->frames += nr_frames;
    *qy_kept_count(stack) = count;
}

/** A kept run of at least @nr_frames frames, at most a quarter more, not tagged yet. False:
 *  there is none. */
bool qy_kept_take(struct qy_cpu *cpu, uint64_t nr_frames, struct qy_kept_run *run);

/** Keep a run. What no longer fits goes to the depot; too long a one back to the buddy. */
void qy_kept_give(struct qy_cpu *cpu, uint64_t index, uint64_t nr_frames);

/** Somebody frees runs without a slot (R4). The caller is in none. */
void qy_slots_are_many(struct qy_mm *mm);

/** Give all of them back. */
void qy_kept_drain(struct qy_cpu *cpu);

#endif
