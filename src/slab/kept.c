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
/** The shortest run, 8 frames, is on stack 0. */
#define SHORTEST_POWER 3

/** The stack of runs of this length; four a doubling, lengths rounded up. */
static unsigned stack_of(uint64_t nr_frames)
{
    uint64_t last = nr_frames - 1;
    if (last < UINT64_C(1) << SHORTEST_POWER)
        return 0;
    unsigned power = 63 - (unsigned)__builtin_clzll(last);
    return (power - SHORTEST_POWER) * 4 + (unsigned)(last >> (power - 2) & 3);
}

bool qy_kept_take(struct qy_cpu *cpu, uint64_t nr_frames, uint64_t *index, uint64_t *frames)
{
    unsigned which = stack_of(nr_frames);
    if (which >= QY_KEPT_STACKS)
        return false;
    struct qy_kept_stack *stack = &cpu->kept->stack[which];
    for (unsigned i = stack->count; i-- > 0;) {
        if (stack->frames[i] < nr_frames)
            continue;
        *index = stack->index[i];
        *frames = stack->frames[i];
        cpu->kept->frames -= stack->frames[i];
        stack->count--;
        stack->index[i] = stack->index[stack->count];
        stack->frames[i] = stack->frames[stack->count];
        return true;
    }
    return false;
}

/** The oldest run of a stack goes back to the buddy. */
static void evict(struct qy_cpu *cpu, struct qy_kept_stack *stack)
{
    qy_pfn_t pfn = cpu->mm->start_pfn + stack->index[0];
    uint64_t frames = stack->frames[0];
    stack->count--;
    for (unsigned i = 0; i < stack->count; i++) {
        stack->index[i] = stack->index[i + 1];
        stack->frames[i] = stack->frames[i + 1];
    }
    cpu->kept->frames -= frames;
    qy_give_run(cpu->mm, pfn, frames, false);
}

static void evict_some(struct qy_cpu *cpu)
{
    struct qy_kept *kept = cpu->kept;
    for (unsigned tries = 0; tries < QY_KEPT_STACKS; tries++) {
        struct qy_kept_stack *stack = &kept->stack[kept->next];
        kept->next = (kept->next + 1) % QY_KEPT_STACKS;
        if (stack->count > 0) {
            evict(cpu, stack);
            return;
        }
    }
}

bool qy_kept_try_give(struct qy_cpu *cpu, uint64_t index, uint64_t nr_frames)
{
    struct qy_kept *kept = cpu->kept;
    unsigned which = stack_of(nr_frames);
    if (which >= QY_KEPT_STACKS || nr_frames > QY_KEPT_LONGEST ||
        kept->stack[which].count == QY_KEPT_PLACES ||
        (kept->frames != 0 && kept->frames + nr_frames > QY_KEPT_MOST))
        return false;
    struct qy_kept_stack *stack = &kept->stack[which];
    stack->index[stack->count] = (uint32_t)index;
    stack->frames[stack->count++] = (uint32_t)nr_frames;
    kept->frames += nr_frames;
    kept->pushes++;
    return true;
}

void qy_kept_give(struct qy_cpu *cpu, uint64_t index, uint64_t nr_frames)
{
    struct qy_kept *kept = cpu->kept;
    unsigned which = stack_of(nr_frames);
    if (which >= QY_KEPT_STACKS || nr_frames > QY_KEPT_LONGEST) {
        qy_give_run(cpu->mm, cpu->mm->start_pfn + index, nr_frames, false);
        return;
    }
    if (kept->stack[which].count == QY_KEPT_PLACES)
        evict(cpu, &kept->stack[which]);
    if (kept->pushes >= PUSHES_PER_EVICTION) {
        kept->pushes = 0;
        evict_some(cpu);
    }
    while (kept->frames != 0 && kept->frames + nr_frames > QY_KEPT_MOST)
        evict_some(cpu);
    bool given = qy_kept_try_give(cpu, index, nr_frames);
    qy_assert(given, "R2");
    (void)given;
}

void qy_kept_drain(struct qy_cpu *cpu)
{
    for (unsigned which = 0; which < QY_KEPT_STACKS; which++)
        while (cpu->kept->stack[which].count > 0)
            evict(cpu, &cpu->kept->stack[which]);
    qy_assert(cpu->kept->frames == 0, "R2");
}
