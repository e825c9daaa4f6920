/*
 * shrinker.c - other people's caches, and what a memory's reclaim hangs from
 *
 * WHAT    Each cache says how much it could give up, and is asked for its share of what is wanted.
 *         (Linux: mm/shrinker.c.)
 *
 * RULES   L2  in base/grace.h: who unregisters waits until nobody calls any more.
 *
 * LOCKS   vmscan->lock for the list, not while a shrinker runs: the walk is within vmscan->grace,
 *         and one that is taken out still leads on to those behind it. Not within mm->grace: a
 *         shrinker may close files, and take areas away. chain_lock once.
 *
 * COST    A call of count() for each shrinker, and one of scan() for those that have something.
 */
#include "base/errno.h"
#include "reclaim/file.h"

#include <quarry/slab.h>

static struct qy_shrinker *after(struct qy_vmscan *vmscan, const struct qy_shrinker *shrinker)
{
    qy_lock(&vmscan->lock);
    struct qy_shrinker *next = shrinker != NULL ? shrinker->next : vmscan->shrinkers;
    qy_unlock(&vmscan->lock);
    return next;
}

uint64_t qy_shrink_others(struct qy_vmscan *vmscan, uint64_t wanted)
{
    uint64_t could = 0, freed = 0;
    unsigned ticket = qy_grace_enter(&vmscan->grace);
    struct qy_shrinker *shrinker = NULL;
    while ((shrinker = after(vmscan, shrinker)) != NULL)
        could += shrinker->count(shrinker);
    while (could > 0 && freed < wanted && (shrinker = after(vmscan, shrinker)) != NULL) {
        uint64_t has = shrinker->count(shrinker);
        uint64_t share = wanted >= could ? has : (has * wanted + could - 1) / could;
        if (has > 0)
            freed += shrinker->scan(shrinker, share);
    }
    qy_grace_leave(&vmscan->grace, ticket);
    return freed;
}

int qy_shrinker_register(struct qy_mm *mm, struct qy_shrinker *shrinker)
{
    if (qy_port_inherited(mm))
        return -QY_ENOTSUP;
    if (shrinker == NULL || shrinker->count == NULL || shrinker->scan == NULL)
        return -QY_EINVAL;
    struct qy_vmscan *vmscan = qy_vmscan_of(mm);
    if (vmscan == NULL)
        return -QY_ENOMEM;
    qy_lock(&vmscan->lock);
    const struct qy_shrinker *there = vmscan->shrinkers;
    while (there != NULL && there != shrinker)
        there = there->next;
    if (there == NULL) {
        shrinker->next = vmscan->shrinkers;
        vmscan->shrinkers = shrinker;
    }
    qy_unlock(&vmscan->lock);
    return there == NULL ? 0 : -QY_EEXIST;
}

void qy_shrinker_unregister(struct qy_mm *mm, struct qy_shrinker *shrinker)
{
    if (qy_port_inherited(mm))
        return;
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    if (vmscan == NULL)
        return;
    qy_lock(&vmscan->lock);
    struct qy_shrinker **link = &vmscan->shrinkers;
    while (*link != NULL && *link != shrinker)
        link = &(*link)->next;
    if (*link != NULL)
        *link = shrinker->next;
    qy_unlock(&vmscan->lock);
    qy_grace_wait(&vmscan->grace);
}

void qy_mm_set_oom(struct qy_mm *mm, qy_oom_t oom, void *cookie)
{
    if (qy_port_inherited(mm))
        return;
    struct qy_vmscan *vmscan = qy_vmscan_of(mm);
    if (vmscan == NULL)
        return;
    qy_lock(&vmscan->lock);
    vmscan->oom = oom;
    vmscan->oom_cookie = cookie;
    qy_unlock(&vmscan->lock);
}

/* ---- what all of it hangs from ---- */

static void init(struct qy_vmscan *vmscan, struct qy_mm *mm, char *spare_page)
{
    *vmscan = (struct qy_vmscan){.mm = mm, .spare_page = spare_page};
    qy_lock_init(&vmscan->lock, QY_RANK_LRU);
    qy_grace_init(&vmscan->grace);
    qy_list_init(&vmscan->files);
    for (unsigned place = 0; place < QY_NR_LRU_PLACES; place++)
        for (unsigned lru = 0; lru < QY_NR_LRUS; lru++)
            vmscan->list[place][lru].newest = vmscan->list[place][lru].oldest = QY_NO_FRAME;
}

struct qy_vmscan *qy_vmscan_of(struct qy_mm *mm)
{
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    if (vmscan != NULL)
        return vmscan;
    struct qy_vmscan *made = qy_kmalloc(mm, sizeof(*made), QY_GFP_KERNEL);
    char *spare = qy_kmalloc_aligned(mm, QY_PAGE_BYTES, QY_PAGE_BYTES, QY_GFP_KERNEL);
    bool complete = made != NULL && spare != NULL;
    if (complete)
        init(made, mm, spare);
    qy_lock(&mm->chain_lock);
    vmscan = qy_vmscan_peek(mm);
    if (vmscan == NULL && complete)
        qy_vmscan_register(made);
    qy_unlock(&mm->chain_lock);
    if (vmscan == NULL && complete)
        return made;
    qy_kfree(mm, made);
    qy_kfree(mm, spare);
    return vmscan;
}

void qy_cache_stat(struct qy_mm *mm, struct qy_cache_stat *stat)
{
    const struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    *stat = (struct qy_cache_stat){.pages = 0};
    if (vmscan == NULL || qy_port_inherited(mm))
        return;
    stat->active = qy_lru_count(vmscan, QY_LRU_ACTIVE);
    stat->inactive = qy_lru_count(vmscan, QY_LRU_INACTIVE);
    stat->pages = stat->active + stat->inactive;
    stat->dirty = qy_figure(&vmscan->nr_dirty);
    stat->writeback = qy_figure(&vmscan->nr_writeback);
    stat->direct = qy_figure(&vmscan->reclaimed[0]);
    stat->background = qy_figure(&vmscan->reclaimed[1]);
    stat->scanned = qy_figure(&vmscan->scanned[0]) + qy_figure(&vmscan->scanned[1]);
    stat->reclaimed = stat->direct + stat->background;
    stat->refaults = qy_figure(&vmscan->refaults);
}
