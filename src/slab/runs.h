/*
 * runs.h - blocks of whole pages, for kmalloc
 */
#ifndef QY_SLAB_RUNS_H
#define QY_SLAB_RUNS_H

#include "memory/fault.h"
#include "slab/kept.h"

/** A run, tagged; clear if gfp asks for it. NULL: there is none. */
void *qy_run_alloc(struct qy_mm *mm, uint64_t nr_frames, unsigned align_order, qy_gfp_t gfp);

/** Length of the run that starts at this frame: K4. */
static inline uint64_t qy_run_frames(const struct qy_mm *mm, uint64_t index)
{
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    return tag >= QY_TAG_RUN_CLASS ? qy_run_class_frames(tag - QY_TAG_RUN_CLASS)
                                   : mm->pages[index].run_frames;
}

/** A run of this length may be so long: the length of its class, where there is one. */
static inline uint64_t qy_run_roomy(uint64_t nr_frames)
{
    unsigned class = qy_run_class(nr_frames);
    return class < QY_RUN_CLASSES ? qy_run_class_frames(class) : nr_frames;
}

/** The head of the run, live or in quarantine, that this frame lies in; UINT64_MAX: none. */
uint64_t qy_run_head(const struct qy_mm *mm, uint64_t index);
/** Bytes of the run that starts at this frame: its pages; of a guarded one what was asked for. */
size_t qy_run_bytes(const struct qy_mm *mm, uint64_t index);
/** A report is of this run; UINT64_MAX: of none. */
void qy_run_fill_in(struct qy_fault *fault, const struct qy_mm *mm, uint64_t head);

/** Put a run on a stack of the slot, if there is room, and if nobody else was faster (R4). */
static inline bool qy_run_push(struct qy_cpu *cpu, struct qy_kept_stack *stack, uint8_t *tags,
                               const struct qy_kept_run *like, uint64_t index, uint8_t tag)
{
    if (qy_unlikely(!qy_kept_has_room(stack)))
        return false;
    if (qy_likely(cpu->alone))
        qy_tag_set(&tags[index], QY_TAG_NONE);
    else if (!qy_tag_clear(&tags[index], tag))
        return false;
    qy_kept_push(stack, like, index);
    return true;
}

/** Let the slot keep a run of a class's length, which its tag says. False: no room, or it is none
 *  any more; nothing changed. The owner is inside. */
static inline bool qy_run_keep_exact(struct qy_cpu *cpu, uint8_t *tags, uint64_t index,
                                     uint64_t tag)
{
    struct qy_kept_stack *stack = cpu->last_stack;
    if (qy_unlikely(tag != cpu->last_tag)) {
        stack = qy_kept_stack_of(cpu, tag - QY_TAG_RUN_CLASS);
        cpu->last_stack = stack;
        cpu->last_tag = (uint8_t)tag;
    }
    return qy_run_push(cpu, stack, tags, &stack->exact, index, (uint8_t)tag);
}

/** The same for a run of any length; false as well: it is guarded, or too long. */
static inline bool qy_run_keep(struct qy_cpu *cpu, uint64_t index)
{
    struct qy_mm *mm = cpu->mm;
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    if (tag >= QY_TAG_RUN_CLASS)
        return qy_run_keep_exact(cpu, mm->tags, index, tag);
    if (tag != QY_TAG_RUN || mm->hardened || mm->pages[index].run_frames > QY_RUN_CLASS_LONGEST)
        return false;
    struct qy_kept_run run = {
        .frames = (uint16_t)mm->pages[index].run_frames,
        .tag = QY_TAG_RUN,
    };
    struct qy_kept_stack *stack = &cpu->kept->stack[qy_run_class(run.frames)];
    return qy_run_push(cpu, stack, mm->tags, &run, index, QY_TAG_RUN);
}

/** Give a run back. False: it is none; somebody was faster. */
QY_MUST_CHECK bool qy_run_free(struct qy_mm *mm, void *block);
/** Make a run longer or shorter where it lies. False: something is in the way. */
bool qy_run_resize(struct qy_mm *mm, void *block, uint64_t nr_frames);
/** Replace a block of @bytes by a run of at least so many frames, which holds the same. What grows
 *  by little grows again, and gets room for that. NULL: there is none just now, and nothing
 *  changed. */
void *qy_run_grow(struct qy_mm *mm, void *block, size_t bytes, uint64_t nr_frames, qy_gfp_t gfp);

#endif
