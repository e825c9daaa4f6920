/*
 * kept.c - freed runs that a slot keeps
 *
 * WHAT    A program that frees a large block often asks for one like it soon. Taking frames
 *         apart and together again, faulting their memory in anew, would cost far more than
 *         remembering the run.
 *
 * RULES   R2  in slab/kept.h. Checked by check_kept() in view/rules_slab.c.
 *
 * LOCKS   The slot's owner is inside, or its drainer; zone->lock when a run goes back.
 *
 * COST    take, give: the stack's one or two lines.
 *
 * WHY     Every so often a push gives up one old run of some stack, in turn: lengths that
 *         nobody asks for any more do not stay for ever.
 */
#include "slab/kept.h"

#include "base/assert.h"
#include "buddy/alloc.h"

/** Pushes after which one old run goes. */
#define PUSHES_PER_EVICTION 64

bool qy_kept_take(struct qy_cpu *cpu, uint64_t nr_frames, struct qy_kept_run *run)
{
    unsigned class = qy_run_class(nr_frames);
    if (class >= QY_RUN_CLASSES)
        return false;
    struct qy_kept_stack *stack = &cpu->kept->stack[class];
    for (uint32_t i = *qy_kept_count(stack); i > 0; i--) {
        if (stack->run[i].frames < nr_frames)
            continue;
        *run = stack->run[i];
        stack->run[i] = stack->run[*qy_kept_count(stack)];
        --*qy_kept_count(stack);
        cpu->kept->frames -= run->frames;
        return true;
    }
    return false;
}

/** The oldest run of a stack goes back to the buddy. */
static void evict(struct qy_cpu *cpu, struct qy_kept_stack *stack)
{
    struct qy_kept_run run = stack->run[1];
    uint32_t count = *qy_kept_count(stack);
    for (uint32_t i = 1; i < count; i++)
        stack->run[i] = stack->run[i + 1];
    *qy_kept_count(stack) = count - 1;
    cpu->kept->frames -= run.frames;
    qy_give_run(cpu->mm, cpu->mm->start_pfn + run.index, run.frames, false);
}

static void evict_some(struct qy_cpu *cpu)
{
    struct qy_kept *kept = cpu->kept;
    for (unsigned tries = 0; tries < QY_RUN_CLASSES; tries++) {
        struct qy_kept_stack *stack = &kept->stack[kept->next];
        kept->next = (kept->next + 1) % QY_RUN_CLASSES;
        if (*qy_kept_count(stack) > 0) {
            evict(cpu, stack);
            return;
        }
    }
}

void qy_kept_give(struct qy_cpu *cpu, uint64_t index, uint64_t nr_frames)
{
    struct qy_kept *kept = cpu->kept;
    unsigned class = qy_run_class(nr_frames);
    if (class >= QY_RUN_CLASSES) {
        qy_give_run(cpu->mm, cpu->mm->start_pfn + index, nr_frames, false);
        return;
    }
    if (*qy_kept_count(&kept->stack[class]) == QY_KEPT_PLACES)
        evict(cpu, &kept->stack[class]);
    if (++kept->pushes >= PUSHES_PER_EVICTION) {
        kept->pushes = 0;
        evict_some(cpu);
    }
    while (!qy_kept_has_room(kept, class, nr_frames))
        evict_some(cpu);
    qy_kept_push(kept, class, index, nr_frames, qy_run_tag(nr_frames));
}

void qy_kept_drain(struct qy_cpu *cpu)
{
    for (unsigned class = 0; class < QY_RUN_CLASSES; class ++)
        while (*qy_kept_count(&cpu->kept->stack[class]) > 0)
            evict(cpu, &cpu->kept->stack[class]);
    qy_assert(cpu->kept->frames == 0, "R2");
}
