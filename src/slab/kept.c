/*
 * kept.c - freed runs that a slot keeps
 *
 * WHAT    A program that frees a large block often asks for one like it soon. Taking frames
 *         apart and together again, faulting their memory in anew, would cost far more than
 *         remembering the run. What a slot has no room for goes to the depot that all share
 *         (slab/run_depot.c), and what it misses comes from there, a batch at a time.
 *
 * RULES   R2  in slab/kept.h. Checked by check_kept() in view/rules_slab.c.
 *
 * LOCKS   The slot's owner is inside, or its drainer; what run_depot.c takes.
 *
 * COST    take, give: the stack's one or two lines.
 *
 * WHY     Every so often a push hands on old runs of some stack, in turn: lengths that
 *         nobody asks for any more do not stay for ever.
 */
#include "slab/kept.h"

#include "base/assert.h"
#include "buddy/alloc.h"
#include "slab/run_depot.h"

/** Pushes after which some old runs go. */
#define PUSHES_PER_EVICTION 64

/** The oldest runs of a stack leave it. */
static unsigned take_oldest(struct qy_kept *kept, unsigned class, struct qy_kept_run *runs)
{
    struct qy_kept_stack *stack = &kept->stack[class];
    uint32_t count = *qy_kept_count(stack);
    unsigned taken = count < QY_RUN_BATCH ? count : QY_RUN_BATCH;
    for (unsigned i = 0; i < taken; i++) {
        runs[i] = stack->run[1 + i];
        kept->frames -= runs[i].frames;
    }
    for (uint32_t i = 1; i + taken <= count; i++)
        stack->run[i] = stack->run[i + taken];
    *qy_kept_count(stack) = count - taken;
    return taken;
}

static unsigned hand_on(struct qy_cpu *cpu, unsigned class)
{
    struct qy_kept_run runs[QY_RUN_BATCH];
    unsigned count = take_oldest(cpu->kept, class, runs);
    if (count != 0)
        qy_run_depot_give(cpu, class, runs, count);
    return count;
}

/** Old runs of the next stack in turn that has any. */
static void hand_on_some(struct qy_cpu *cpu)
{
    struct qy_kept *kept = cpu->kept;
    unsigned count = 0;
    for (unsigned tries = 0; tries < QY_RUN_CLASSES && count == 0; tries++) {
        count = hand_on(cpu, kept->next);
        kept->next = (kept->next + 1) % QY_RUN_CLASSES;
    }
}

/** A batch from the depot on an empty stack, or as many as there is room for. */
static void refill(struct qy_cpu *cpu, unsigned class)
{
    struct qy_kept *kept = cpu->kept;
    struct qy_kept_run runs[QY_RUN_BATCH];
    uint64_t frames = qy_run_class_frames(class);
    if (!qy_run_depot_has(cpu->mm, class))
        return;
    while (!qy_kept_has_room(kept, class, frames))
        hand_on_some(cpu);
    unsigned most = frames < QY_KEPT_MOST ? (unsigned)((QY_KEPT_MOST - kept->frames) / frames) : 1;
    unsigned count = qy_run_depot_take(cpu, class, most, runs);
    for (unsigned i = 0; i < count; i++)
        qy_kept_push(kept, class, runs[i].index, runs[i].frames, runs[i].tag);
}

bool qy_kept_take(struct qy_cpu *cpu, uint64_t nr_frames, struct qy_kept_run *run)
{
    unsigned class = qy_run_class(nr_frames);
    if (class >= QY_RUN_CLASSES)
        return false;
    struct qy_kept_stack *stack = &cpu->kept->stack[class];
    if (*qy_kept_count(stack) == 0)
        refill(cpu, class);
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

void qy_kept_give(struct qy_cpu *cpu, uint64_t index, uint64_t nr_frames)
{
    struct qy_kept *kept = cpu->kept;
    unsigned class = qy_run_class(nr_frames);
    if (class >= QY_RUN_CLASSES) {
        qy_give_run(cpu->mm, cpu->mm->start_pfn + index, nr_frames, false);
        return;
    }
    if (*qy_kept_count(&kept->stack[class]) == QY_KEPT_PLACES)
        hand_on(cpu, class);
    if (++kept->pushes >= PUSHES_PER_EVICTION) {
        kept->pushes = 0;
        hand_on_some(cpu);
    }
    while (!qy_kept_has_room(kept, class, nr_frames))
        hand_on_some(cpu);
    qy_kept_push(kept, class, index, nr_frames, qy_run_tag(nr_frames));
}

void qy_kept_drain(struct qy_cpu *cpu)
{
    struct qy_kept_run runs[QY_RUN_BATCH];
    for (unsigned class = 0; class < QY_RUN_CLASSES; class ++) {
        unsigned count;
        while ((count = take_oldest(cpu->kept, class, runs)) != 0)
            qy_runs_give_back(cpu->mm, runs, count);
    }
    qy_assert(cpu->kept->frames == 0, "R2");
}
