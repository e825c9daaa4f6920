/*
 * window.c - room for what must lie together
 *
 * WHAT    A heap that needs eight frames side by side is not helped by eight old pages here and
 *         there. So a place is looked for where everything is free or a page of a file that can
 *         be dropped at once, the cheapest of those that are found within a bounded search:
 *
 *           free free page free | page page free page | free busy ...
 *           \---- costs 1 -----/ \----- costs 3 -----/ \- cannot be -/
 *
 *         Where all are free already there is nothing to give up: they are kept back by a
 *         watermark, or whoever asks would have them.
 *
 *         It is claimed while that is done, so that no frame of it goes elsewhere before all are
 *         free. Dirty pages are written first. Who cannot be dropped but moved is move/'s.
 *
 * WHY     One frame that cannot move spoils its pageblock for all who need a whole one. So what
 *         will not move is first given room where others like it lie.
 *
 * RULES   T5  in memory/folio.h.
 *
 * LOCKS   zone->lock through buddy/lend.h; mapping.lock through the mapping's ops; within
 *         mm->grace. Where to go on is a hint, which needs none.
 *
 * COST    A tag and a folio are read for each frame of the places that are looked at.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "buddy/lend.h"
#include "reclaim/file.h"

/** Places that could be had, after which the cheapest is taken. */
#define MOST_PLACES 64u
/** Places that are looked at at all. */
#define MOST_LOOKS 4096u
#define COST_OF_ACTIVE 4u
#define COST_OF_DIRTY 16u
#define IMPOSSIBLE UINT64_MAX

struct window {
    uint64_t index, frames; /* within the span */
    uint64_t cost;
};

/** May the window lie there? @mixed: only where others lie who cannot move. */
QY_RACY static bool serves(const struct qy_mm *mm, uint64_t index, bool mixed)
{
    const struct qy_pageblock *pb = &mm->blocks[index / QY_PAGEBLOCK_FRAMES];
    return (pb->flags & QY_BLOCK_ONLINE) && pb->migratetype < QY_MIGRATE_HIGHATOMIC &&
           (!mixed || pb->migratetype != QY_MIGRATE_MOVABLE);
}

/** What it takes to have the frame. mm->grace is entered. */
QY_RACY static uint64_t cost_of(const struct qy_mm *mm, uint64_t index)
{
    if (qy_frame_is_free(mm, index))
        return 0;
    if (mm->tags[index] != QY_TAG_FOLIO)
        return IMPOSSIBLE;
    const struct qy_folio *folio = &mm->folios[index];
    struct qy_mapping *mapping = atomic_load_explicit(&folio->mapping, memory_order_acquire);
    if (folio->state != QY_FOLIO_LENT || mapping == NULL || mapping->ops->drop == NULL)
        return IMPOSSIBLE;
    switch (mapping->ops->cost(mapping, folio)) {
    case QY_COST_DROP:
        return folio->lru == QY_LRU_ACTIVE ? COST_OF_ACTIVE : 1;
    case QY_COST_WRITE:
        return COST_OF_DIRTY;
    default:
        return IMPOSSIBLE;
    }
}

/** Where windows begin: a block where it can be one, a longer run at any pageblock. */
static uint64_t step_of(uint64_t frames)
{
    return frames <= UINT64_C(1) << QY_MAX_ORDER ? frames : QY_PAGEBLOCK_FRAMES;
}

/** The window's cost, as far as it is below @most; IMPOSSIBLE if none of it can be given up. *next:
 *  where the next one may begin. */
static uint64_t window_cost(const struct qy_mm *mm, const struct window *window, uint64_t step,
                            bool mixed, uint64_t most, uint64_t *next)
{
    uint64_t cost = 0, end = window->index + window->frames;
    *next = window->index + step;
    for (uint64_t i = window->index; i < end && cost < most; i++) {
        if (i % QY_PAGEBLOCK_FRAMES == 0 || i == window->index) {
            bool other_zone = mm->blocks[i / QY_PAGEBLOCK_FRAMES].zone !=
                              mm->blocks[window->index / QY_PAGEBLOCK_FRAMES].zone;
            if (!serves(mm, i, mixed) || other_zone) {
                uint64_t behind = (i / QY_PAGEBLOCK_FRAMES + 1) * QY_PAGEBLOCK_FRAMES;
                *next = (behind + step - 1) / step * step;
                return IMPOSSIBLE;
            }
        }
        uint64_t one = cost_of(mm, i);
        if (one == IMPOSSIBLE) {
            *next = (i / step + 1) * step;
            return IMPOSSIBLE;
        }
        cost += one;
    }
    return cost > 0 ? cost : IMPOSSIBLE;
}

/** No other can be so much cheaper that it is worth looking for. */
static bool is_cheap(const struct window *window)
{
    uint64_t cheap = window->frames / 16;
    return window->cost <= (cheap > 1 ? cheap : 1);
}

/** The cheapest window, once round from where the last search ended; false: there is none. */
static bool find(struct qy_vmscan *vmscan, uint64_t frames, bool mixed, struct window *best)
{
    struct qy_mm *mm = vmscan->mm;
    uint64_t end = qy_described_frames(mm), step = step_of(frames), passed = 0;
    uint64_t last = atomic_load_explicit(&vmscan->window_block, memory_order_relaxed);
    struct window window = {.index = last * QY_PAGEBLOCK_FRAMES / step * step, .frames = frames};
    unsigned places = 0, looks = 0;
    *best = (struct window){.frames = frames, .cost = IMPOSSIBLE};
    while (passed < end && looks < MOST_LOOKS && places < MOST_PLACES && !is_cheap(best)) {
        uint64_t next = end;
        window.cost = window.index + frames <= end
                          ? window_cost(mm, &window, step, mixed, best->cost, &next)
                          : IMPOSSIBLE;
        looks++;
        places += window.cost != IMPOSSIBLE;
        if (window.cost < best->cost)
            *best = window;
        passed += next - window.index;
        window.index = next < end ? next : 0;
    }
    return best->cost != IMPOSSIBLE;
}

/** Make a wanted frame's owner let go of it. mm->grace is entered. */
static void drop_frame(struct qy_mm *mm, uint64_t index)
{
    const struct qy_folio *folio = &mm->folios[index];
    struct qy_mapping *mapping = atomic_load_explicit(&folio->mapping, memory_order_acquire);
    uint32_t page = atomic_load_explicit(&folio->index, memory_order_relaxed);
    qy_pfn_t pfn = mm->start_pfn + index;
    if (mapping == NULL || mapping->ops->drop == NULL)
        return;
    if (mapping->ops->drop(mapping, page, pfn, 1) != -QY_EINVAL || mapping->ops->clean == NULL)
        return;
    if (mapping->ops->clean(mapping, page, pfn) >= 0 &&
        mapping->ops->drop(mapping, page, pfn, 1) < 0)
        return; /* it was used again meanwhile */
}

/** Have the window's frames. Returns how many are free in the end; 0: no more than before, which
 *  does not help. */
static uint64_t take(struct qy_mm *mm, const struct window *window)
{
    struct qy_claimed found = {0};
    uint32_t claim = qy_claim_number(mm);
    qy_pfn_t pfn = mm->start_pfn + window->index;
    qy_claim(mm, claim, pfn, window->frames, &found);
    uint64_t held = found.held;
    for (uint64_t i = 0; found.stuck == 0 && i < window->frames; i++)
        if (!qy_claim_holds(mm, claim, pfn + i, 1))
            drop_frame(mm, window->index + i);
    uint64_t frames = qy_unclaim(mm, claim, pfn, window->frames);
    return frames > held ? frames : 0;
}

uint64_t qy_reclaim_window(struct qy_vmscan *vmscan, unsigned order)
{
    struct qy_mm *mm = vmscan->mm;
    struct window window;
    if (order > 31)
        return 0;
    unsigned ticket = qy_grace_enter(&mm->grace);
    uint64_t frames = 0;
    uint64_t wanted = UINT64_C(1) << order;
    bool small = wanted < QY_PAGEBLOCK_FRAMES;
    if ((small && find(vmscan, wanted, true, &window)) || find(vmscan, wanted, false, &window)) {
        atomic_store_explicit(&vmscan->window_block, (uint32_t)(window.index / QY_PAGEBLOCK_FRAMES),
                              memory_order_relaxed);
        frames = take(mm, &window);
    }
    qy_grace_leave(&mm->grace, ticket);
    qy_count(&vmscan->reclaimed[0], window.cost != IMPOSSIBLE ? frames : 0);
    return frames;
}
