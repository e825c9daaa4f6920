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
 * WHY     A stack that is full gets room that another does not use; if there is none, old
 *         runs of some stack are handed on, in turn. So they are every so often: lengths
 *         that nobody asks for any more do not stay for ever.
 */
#include "slab/kept.h"

#include "base/assert.h"
#include "buddy/alloc.h"
#include "slab/run_depot.h"

/** Pushes after which some old runs go. */
#define PUSHES_PER_EVICTION 64

/** The oldest runs of a stack leave it. */
static unsigned take_oldest(struct qy_kept_stack *stack, struct qy_kept_run *runs)
{
    uint32_t count = qy_kept_count(stack);
    unsigned taken = count < QY_RUN_BATCH ? count : QY_RUN_BATCH;
    for (unsigned i = 0; i < taken; i++)
        runs[i] = stack->run[1 + i];
    for (uint32_t i = 1; i + taken <= count; i++)
        stack->run[i] = stack->run[i + taken];
    stack->used -= taken * QY_KEPT_STEP;
    return taken;
}

static void hand_on(struct qy_cpu *cpu, unsigned class)
{
    struct qy_kept_run runs[QY_RUN_BATCH];
    unsigned count = take_oldest(&cpu->kept->stack[class], runs);
    if (count != 0)
        qy_run_depot_give(cpu, class, runs, count);
}

/** The next stack in turn that has room; one has. */
static unsigned next_open(struct qy_kept *kept)
{
    uint64_t from = kept->open >> kept->next << kept->next;
    unsigned class = (unsigned)__builtin_ctzll(from != 0 ? from : kept->open);
    kept->next = class + 1;
    return class;
}

/** The stack has no room but for what it holds. */
static void narrow(struct qy_kept *kept, unsigned class)
{
    struct qy_kept_stack *stack = &kept->stack[class];
    kept->roomy -= (stack->room - stack->used) / QY_KEPT_STEP * qy_run_class_frames(class);
    stack->room = stack->used;
    if (stack->room == 0)
        kept->open &= ~(UINT64_C(1) << class);
}

/** R2 allows the stack room for one more. */
static bool may_widen(const struct qy_kept *kept, unsigned class)
{
    return kept->stack[class].room < QY_KEPT_PLACES * QY_KEPT_STEP &&
           (kept->roomy == 0 || kept->roomy + qy_run_class_frames(class) <= QY_KEPT_MOST);
}

static void widen(struct qy_kept *kept, unsigned class)
{
    struct qy_kept_stack *stack = &kept->stack[class];
    stack->exact = qy_kept_run_of(0, qy_run_class_frames(class));
    stack->room += QY_KEPT_STEP;
    kept->open |= UINT64_C(1) << class;
    kept->roomy += qy_run_class_frames(class);
}

/** See that the stack has room for one run. What others do not use goes first; who is asked for
 *  the second time hands on old runs. */
static void make_room(struct qy_cpu *cpu, unsigned class)
{
    struct qy_kept *kept = cpu->kept;
    struct qy_kept_stack *stack = &kept->stack[class];
    uint64_t asked = 0;
    if (qy_kept_count(stack) == QY_KEPT_PLACES)
        hand_on(cpu, class);
    while (!qy_kept_has_room(stack) && !may_widen(kept, class)) {
        unsigned next = next_open(kept);
        if (asked >> next & 1)
            hand_on(cpu, next);
        asked |= UINT64_C(1) << next;
        if (next != class)
            narrow(kept, next);
    }
    if (!qy_kept_has_room(stack))
        widen(kept, class);
}

/** A batch from the depot on an empty stack, or as many as there is room for. */
static void refill(struct qy_cpu *cpu, unsigned class)
{
    struct qy_kept *kept = cpu->kept;
    struct qy_kept_stack *stack = &kept->stack[class];
    struct qy_kept_run runs[QY_RUN_BATCH];
    if (!qy_run_depot_has(cpu->mm, class))
        return;
    make_room(cpu, class);
    while (stack->room < QY_RUN_BATCH * QY_KEPT_STEP && may_widen(kept, class))
        widen(kept, class);
    unsigned count = qy_run_depot_take(cpu, class, stack->room / QY_KEPT_STEP, runs);
    for (unsigned i = 0; i < count; i++)
        qy_kept_push(stack, &runs[i], runs[i].index);
}

bool qy_kept_take(struct qy_cpu *cpu, uint64_t nr_frames, struct qy_kept_run *run)
{
    unsigned class = qy_run_class(nr_frames);
    if (class >= QY_RUN_CLASSES)
        return false;
    struct qy_kept_stack *stack = &cpu->kept->stack[class];
    if (stack->used == 0)
        refill(cpu, class);
    for (uint32_t i = qy_kept_count(stack); i > 0; i--) {
        if (stack->run[i].frames < nr_frames)
            continue;
        *run = stack->run[i];
        stack->run[i] = *qy_kept_run_at(stack, stack->used);
        stack->used -= QY_KEPT_STEP;
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
    if (++kept->pushes >= PUSHES_PER_EVICTION && kept->open != 0) {
        kept->pushes = 0;
        hand_on(cpu, next_open(kept));
    }
    make_room(cpu, class);
    struct qy_kept_run run = qy_kept_run_of(index, nr_frames);
    qy_kept_push(&kept->stack[class], &run, index);
}

void qy_kept_drain(struct qy_cpu *cpu)
{
    struct qy_kept_run runs[QY_RUN_BATCH];
    struct qy_kept *kept = cpu->kept;
    while (kept->open != 0) {
        unsigned count, class = next_open(kept);
        while ((count = take_oldest(&kept->stack[class], runs)) != 0)
            qy_runs_give_back(cpu->mm, runs, count);
        narrow(kept, class);
    }
    qy_assert(kept->roomy == 0, "R2");
}

uint64_t qy_kept_frames(const struct qy_kept *kept)
{
    uint64_t frames = 0;
    for (unsigned class = 0; class < QY_RUN_CLASSES; class ++)
        for (uint32_t i = 1; i <= qy_kept_count(&kept->stack[class]); i++)
            frames += kept->stack[class].run[i].frames;
    return frames;
}
