/*
 * run_depot.c - freed runs that all slots share
 *
 * WHAT    What a slot does not keep comes here, a batch at a time, and what it has not got
 *         it looks for here first: so a thread's frees serve another's requests, and a
 *         program that makes and drops many large blocks in turn leaves the zone alone. Each
 *         class is a stack of runs, in chunks of a magazine's size.
 *
 *         There is no room to begin with. A run that finds none goes to the buddy and is
 *         remembered by its length; a run of that very length that is wanted and not here
 *         makes room for one, and one that finds no room takes as much room away. So
 *         lengths that come again stay, as many as come again. Random ones do not: they
 *         would lie between free frames and keep these from being together.
 *
 *         No more memory is used for it: before used frames, those here among them,
 *         would be more than ever, all runs go back. So they do when memory is
 *         taken back (reclaim, decay, trim).
 *
 * RULES   R3  A run in the depot has frames that are in no other place and no tag; `frames`
 *             is the sum of their lengths, and at most `most`.
 *         Checked by check_run_depot() in view/rules_slab.c.
 *
 * LOCKS   (r) run_depot.lock. A cache's and the zone's are taken inside for a chunk.
 *
 * COST    A lock pair and up to eight words for up to eight runs.
 */
#include "slab/run_depot.h"

#include "buddy/alloc.h"
#include "slab/cache.h"

/** Longer runs cost more to write to than to take from the zone. */
#define LONGEST ((UINT64_C(1) << 20) >> QY_PAGE_SHIFT)

_Static_assert(sizeof(struct qy_run_chunk) == 512, "a chunk is a magazine's block");

void qy_run_depot_init(struct qy_run_depot *depot)
{
    qy_lock_init(&depot->lock, QY_RANK_RUNS);
}

static void count_frames(struct qy_run_depot *depot, uint64_t frames)
{
    atomic_store_explicit(&depot->frames, frames, memory_order_relaxed);
}

void qy_runs_give_back(struct qy_mm *mm, const struct qy_kept_run *runs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        qy_give_run(mm, mm->start_pfn + runs[i].index, runs[i].frames, false);
}

static uint64_t sum_of(const struct qy_kept_run *runs, unsigned count)
{
    uint64_t frames = 0;
    for (unsigned i = 0; i < count; i++)
        frames += runs[i].frames;
    return frames;
}

static unsigned take_locked(struct qy_mm *mm, unsigned class, unsigned most,
                            struct qy_kept_run *runs)
{
    struct qy_run_depot *depot = &mm->run_depot;
    struct qy_run_chunk *chunk = depot->chunk[class];
    if (chunk == NULL)
        return 0;
    unsigned count = chunk->count < most ? (unsigned)chunk->count : most;
    chunk->count -= count;
    __builtin_memcpy(runs, &chunk->run[chunk->count], count * sizeof(*runs));
    if (chunk->count == 0) {
        __atomic_store_n(&depot->chunk[class], chunk->next, __ATOMIC_RELAXED);
        qy_slab_give_one(qy_cache_of_magazines(mm), chunk);
    }
    count_frames(depot, depot->frames - sum_of(runs, count));
    return count;
}

unsigned qy_run_depot_take(struct qy_cpu *cpu, unsigned class, unsigned most,
                           struct qy_kept_run *runs)
{
    struct qy_run_depot *depot = &cpu->mm->run_depot;
    qy_lock(&depot->lock);
    unsigned count = take_locked(cpu->mm, class, most < QY_RUN_BATCH ? most : QY_RUN_BATCH, runs);
    qy_unlock(&depot->lock);
    return count;
}

static void note_away_locked(struct qy_turned_away *away, const struct qy_kept_run *runs,
                             unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        away->frames = (away->length == runs[i].frames ? away->frames : 0) + runs[i].frames;
        __atomic_store_n(&away->length, runs[i].frames, __ATOMIC_RELAXED);
    }
}

/** Some runs of the next class in turn that has any. */
static unsigned push_out_locked(struct qy_mm *mm, struct qy_kept_run *runs)
{
    struct qy_run_depot *depot = &mm->run_depot;
    unsigned count = 0;
    for (unsigned tries = 0; tries < QY_RUN_CLASSES && count == 0; tries++) {
        count = take_locked(mm, depot->next, QY_RUN_BATCH, runs);
        note_away_locked(&depot->away[depot->next], runs, count);
        depot->next = (depot->next + 1) % QY_RUN_CLASSES;
    }
    return count;
}

/** From now on there is no more room than this; what finds none goes back. */
static void shrink(struct qy_mm *mm, uint64_t most)
{
    struct qy_run_depot *depot = &mm->run_depot;
    struct qy_kept_run runs[QY_RUN_BATCH];
    unsigned count = 1;
    while (count != 0) {
        qy_lock(&depot->lock);
        count = depot->frames > most ? push_out_locked(mm, runs) : 0;
        if (depot->most > most)
            depot->most = depot->frames > most ? depot->frames : most;
        qy_unlock(&depot->lock);
        qy_runs_give_back(mm, runs, count);
    }
}

/** False: it has no room, or there is no memory for a chunk. */
static bool put_locked(struct qy_cpu *cpu, unsigned class, const struct qy_kept_run *run)
{
    struct qy_run_depot *depot = &cpu->mm->run_depot;
    struct qy_run_chunk *chunk = depot->chunk[class];
    if (depot->frames + run->frames > depot->most)
        return false;
    if (chunk == NULL || chunk->count == QY_RUNS_A_CHUNK) {
        chunk = qy_slab_take_one(qy_cache_of_magazines(cpu->mm), cpu, false);
        if (chunk == NULL)
            return false;
        chunk->count = 0;
        chunk->next = depot->chunk[class];
        __atomic_store_n(&depot->chunk[class], chunk, __ATOMIC_RELAXED);
    }
    chunk->run[chunk->count++] = *run;
    count_frames(depot, depot->frames + run->frames);
    return true;
}

void qy_run_depot_give(struct qy_cpu *cpu, unsigned class, const struct qy_kept_run *runs,
                       unsigned count)
{
    struct qy_run_depot *depot = &cpu->mm->run_depot;
    unsigned given = 0;
    if (qy_run_class_frames(class) <= LONGEST) {
        qy_lock(&depot->lock);
        while (given < count && put_locked(cpu, class, &runs[given]))
            given++;
        note_away_locked(&depot->away[class], runs + given, count - given);
        uint64_t most = depot->most, away = sum_of(runs + given, count - given);
        qy_unlock(&depot->lock);
        if (away != 0 && most != 0)
            shrink(cpu->mm, most > away ? most - away : 0);
    }
    qy_runs_give_back(cpu->mm, runs + given, count - given);
}

/** One of the runs that found no room is wanted again: there is room for it from now on. */
static void make_room(struct qy_run_depot *depot, uint64_t nr_frames)
{
    unsigned class = qy_run_class(nr_frames);
    if (nr_frames > LONGEST ||
        __atomic_load_n(&depot->away[class].length, __ATOMIC_RELAXED) != nr_frames)
        return;
    struct qy_turned_away *away = &depot->away[class];
    qy_lock(&depot->lock);
    if (away->length == nr_frames && away->frames >= nr_frames) {
        away->frames -= (uint32_t)nr_frames;
        depot->most += nr_frames;
    }
    qy_unlock(&depot->lock);
}

void qy_run_depot_missed(struct qy_mm *mm, uint64_t nr_frames)
{
    make_room(&mm->run_depot, nr_frames);
    qy_run_depot_make_way(mm, nr_frames);
}

void qy_run_depot_make_way(struct qy_mm *mm, uint64_t nr_frames)
{
    if (qy_run_depot_frames(mm) == 0)
        return;
    if (qy_used_frames(mm) + nr_frames > atomic_load_explicit(&mm->peak, memory_order_relaxed))
        qy_run_depot_drain(mm);
}

void qy_run_depot_drain(struct qy_mm *mm)
{
    shrink(mm, 0);
}
