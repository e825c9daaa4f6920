/*
 * regions.c - the contiguous regions of a memory that is in use
 *
 * WHAT    The live half of cmainfo.c: a region's figures, and what all of them add to vmstat.
 *
 * RULES   none: it only reads.
 *
 * LOCKS   mm->chain_lock for the walk along the regions, if it can be had at once; of a copy
 *         (live.h) none. No region's own lock: its figures are read as they are.
 *
 * COST    A region: a look at each of its frames, for how many are lent.
 */
#include "base/assert.h"
#include "move/cma.h"
#include "view/live.h"

/** More are not looked at: in a copy the chain may lead round. */
#define MOST_REGIONS 1024

_Static_assert(QY_VIEW_LATENCIES == QY_CMA_LATENCIES && QY_VIEW_NAME >= QY_CMA_NAME, "");
_Static_assert(sizeof(struct qy_cma_stat) % sizeof(uint64_t) == 0, "read as words");

static bool lock_chain(const struct qy_live *live)
{
    return live->is_copy || qy_trylock(&live->mm->chain_lock);
}

static void unlock_chain(const struct qy_live *live)
{
    if (!live->is_copy)
        qy_unlock(&live->mm->chain_lock);
}

static const struct qy_cma *first_region(const struct qy_live *live)
{
    return atomic_load_explicit(&live->mm->regions, memory_order_acquire);
}

static const struct qy_cma *next_region(const struct qy_cma *cma)
{
    return atomic_load_explicit(&cma->next, memory_order_acquire);
}

/** The index-th in order of creation, which the chain has last first. */
static const struct qy_cma *region_at(const struct qy_live *live, size_t index)
{
    const struct qy_cma *cma = first_region(live);
    size_t count = 0;
    for (; cma != NULL && count < MOST_REGIONS; cma = next_region(cma))
        count++;
    if (index >= count)
        return NULL;
    cma = first_region(live);
    for (size_t skip = count - 1 - index; cma != NULL && skip > 0; skip--)
        cma = next_region(cma);
    return cma;
}

bool qy_live_region(const struct qy_live *live, size_t index, struct qy_region_view *view)
{
    struct qy_cma_stat stat;
    /* A child of fork that has left its parent's regions alone has no folios (face/whole). */
    if (live->mm->folios == NULL || !lock_chain(live))
        return false;
    const struct qy_cma *cma = region_at(live, index);
    if (cma != NULL)
        qy_cma_stat_racy(cma, &stat);
    unlock_chain(live);
    if (cma == NULL)
        return false;
    *view = (struct qy_region_view){
        .policy = stat.policy,
        .total_pages = stat.frames,
        .available_pages = stat.frames > stat.out ? stat.frames - stat.out : 0,
        .alloc_pages_success = stat.alloc_pages_success,
        .alloc_pages_fail = stat.alloc_pages_fail,
        .release_pages_success = stat.release_pages_success,
        .out = stat.out,
        .lent = stat.lent,
        .free = stat.free,
        .requests = stat.requests,
        .failures = stat.failures,
        .moved = stat.moved,
        .dropped = stat.dropped,
        .written = stat.written,
    };
    stat.name[sizeof(stat.name) - 1] = '\0';
    qy_view_name(view->name, stat.name);
    __builtin_memcpy(view->latency, stat.latency, sizeof(view->latency));
    return true;
}

QY_RACY void qy_live_requests(const struct qy_live *live, uint64_t *success, uint64_t *fail)
{
    if (!lock_chain(live))
        return;
    size_t count = 0;
    const struct qy_cma *cma = first_region(live);
    for (; cma != NULL && count < MOST_REGIONS; cma = next_region(cma), count++) {
        *success += cma->stat.requests - cma->stat.failures;
        *fail += cma->stat.failures;
    }
    unlock_chain(live);
}

uint64_t qy_live_free_cma(const struct qy_zone *zone)
{
    return zone->nr_free_of[QY_MIGRATE_CMA] + zone->nr_free_of[QY_MIGRATE_GUARANTEED];
}
