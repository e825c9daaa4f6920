/*
 * kept.h - freed runs that a slot keeps for its next request
 *
 * WHAT    Forty short stacks, four for each doubling of length as kmalloc's classes are. A
 *         run on them is neither free in the buddy nor allocated: its tag is QY_TAG_NONE. A
 *         request takes a run of its stack that is long enough, whole: at most a quarter more
 *         than was asked for.
 *
 *             used, room   run[0]      run[1]   ...   run[used]                     run[room]
 *                          frames: 0   the oldest     the newest: is it long enough?
 *
 *         So "is there none?" and "is the newest too short?" are one comparison. How much all
 *         stacks may hold is settled when a stack gets room for one run more. A free then only
 *         asks "is there room?", and no sum has to be kept: what is written for each call lies
 *         in one line.
 *
 * RULES   R2  A kept run's frames are in no other place. A stack holds no more than it has
 *             room for. `roomy` is the sum of the rooms, each for a run of its class's
 *             length, and at most QY_KEPT_MOST, unless it is of one.
 *         R4  Who frees a run clears its tag, so that of two who do one finds it cleared: by an
 *             atomic instruction, unless the slot is `alone`. Only the one slot of a memory that
 *             has never had two is, while nobody frees runs without a slot. (A thread
 *             that a signal handler's fork interrupts after it has seen `alone` may not see that
 *             there are two since: of two who free one run then, both may succeed.)
 *
 * LOCKS   (o) the slot's owner is inside, or its drainer.
 *
 * WHY     An atomic instruction waits until all that was written to the block before has left the
 *         processor's store buffer: 60 ns after a write to each of sixteen pages.
 */
#ifndef QY_SLAB_KEPT_H
#define QY_SLAB_KEPT_H

#include "memory/mm.h"

#define QY_KEPT_PLACES 29
/** Frames that a slot keeps at most: 2 MiB, or one run of up to 32 MiB. */
#define QY_KEPT_MOST ((UINT64_C(2) << 20) >> QY_PAGE_SHIFT)

struct qy_kept_run {
    uint32_t index;  /* (o) first frame, in the span */
    uint16_t frames; /* (o) length */
    uint8_t tag;     /* (o) that it has while it is allocated */
    uint8_t reserved;
};

/** 256 bytes. Counts are multiplied by QY_KEPT_STEP: so their place in run[] is one addition. */
struct qy_kept_stack {
    _Alignas(64) uint32_t used;                 /* (o) of run[], from 1 on */
    uint32_t room;                              /* (o) R2 */
    struct qy_kept_run exact;                   /* (o) of the class's length, where there is room */
    struct qy_kept_run run[1 + QY_KEPT_PLACES]; /* (o) */
};
#define QY_KEPT_STEP ((uint32_t)sizeof(struct qy_kept_run))

_Static_assert(sizeof(struct qy_kept_stack) == 256, "a stack is found by a shift");

struct qy_kept {
    struct qy_kept_stack stack[QY_RUN_CLASSES];
    uint64_t roomy;  /* (o) R2 */
    uint64_t open;   /* (o) the stacks that have room, a bit each */
    uint32_t pushes; /* (o) since the last eviction of an old one */
    uint32_t next;   /* (o) the stack that gives up a run next */
};

/** &cpu->kept->stack[class], computed once: the compiler would begin anew for each field. */
static inline struct qy_kept_stack *qy_kept_stack_of(const struct qy_cpu *cpu, uint64_t class)
{
    uintptr_t stack = (uintptr_t)cpu->kept + class * sizeof(struct qy_kept_stack);
    return (struct qy_kept_stack *)stack;
}

static inline struct qy_kept_run *qy_kept_run_at(struct qy_kept_stack *stack, uint32_t used)
{
    return (struct qy_kept_run *)((uintptr_t)stack + used + offsetof(struct qy_kept_stack, run));
}

static inline uint32_t qy_kept_count(const struct qy_kept_stack *stack)
{
    return stack->used / QY_KEPT_STEP;
}

/** The newest kept run of this class, now allocated; NULL: there is none so long. At most
 *  QY_RUN_CLASS_LONGEST frames. The owner is inside. */
static inline void *qy_kept_pop(struct qy_cpu *cpu, uint8_t *tags, uint64_t nr_frames)
{
    struct qy_kept_stack *stack = qy_kept_stack_of(cpu, qy_run_class(nr_frames));
    uint32_t used = stack->used;
    const struct qy_kept_run *run = qy_kept_run_at(stack, used);
    if (run->frames < nr_frames)
        return NULL;
    uint64_t index = run->index;
    qy_tag_set(&tags[index], run->tag);
    stack->used = used - QY_KEPT_STEP;
    return (void *)(cpu->base + (index << QY_PAGE_SHIFT));
}

static inline bool qy_kept_has_room(const struct qy_kept_stack *stack)
{
    return stack->used != stack->room;
}

/** One more, where there is room. @like: it, but for its index. */
static inline void qy_kept_push(struct qy_kept_stack *stack, const struct qy_kept_run *like,
                                uint64_t index)
{
    uint32_t used = stack->used + QY_KEPT_STEP;
    struct qy_kept_run *run = qy_kept_run_at(stack, used);
    *run = *like;
    run->index = (uint32_t)index;
    stack->used = used;
}

static inline struct qy_kept_run qy_kept_run_of(uint64_t index, uint64_t nr_frames)
{
    return (struct qy_kept_run){
        .index = (uint32_t)index, .frames = (uint16_t)nr_frames, .tag = qy_run_tag(nr_frames)};
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
/** Frames of all kept runs. */
uint64_t qy_kept_frames(const struct qy_kept *kept);

#endif
