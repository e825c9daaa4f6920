/*
 * runs.c - blocks of whole pages
 *
 * WHAT    A run is taken exact to the page, marked on its first frame, and given back whole.
 *         It grows where it lies if the frames behind it are free, and is cut where it lies.
 *
 * RULES   K4  in slab/kmalloc.c.
 *
 * LOCKS   zone->lock to look behind a run. A run belongs to whoever holds it.
 *
 * COST    What buddy/contig.c says, a tag and a page.
 */
#include "slab/runs.h"

#include "base/assert.h"
#include "base/errno.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"
#include "memory/fault.h"

#include <quarry/slab.h>

static uint64_t index_of(const struct qy_mm *mm, const void *block)
{
    return ((uintptr_t)block - mm->base) >> QY_PAGE_SHIFT;
}

static void mark(struct qy_mm *mm, uint64_t index, uint64_t nr_frames)
{
    mm->pages[index].run_frames = nr_frames;
    __atomic_store_n(&mm->tags[index], QY_TAG_RUN, __ATOMIC_RELEASE);
}

void *qy_run_alloc(struct qy_mm *mm, uint64_t nr_frames, unsigned align_order, qy_gfp_t gfp)
{
    struct qy_request request;
    bool fresh = false;
    if (nr_frames > mm->nr_frames || !qy_request_read(&request, 0, gfp, 0))
        return NULL;
    qy_pfn_t pfn = qy_take_run(mm, &request, nr_frames, align_order, &fresh);
    if (pfn == QY_PFN_NONE)
        return NULL;
    mark(mm, qy_frame_index(mm, pfn), nr_frames);
    void *block = qy_frame_address(mm, pfn);
    if ((gfp & QY_GFP_ZERO) && !fresh)
        __builtin_memset(block, 0, nr_frames << QY_PAGE_SHIFT);
    return block;
}

int qy_run_free(struct qy_mm *mm, void *block)
{
    uint64_t index = index_of(mm, block);
    if (__atomic_exchange_n(&mm->tags[index], QY_TAG_NONE, __ATOMIC_ACQ_REL) != QY_TAG_RUN)
        return qy_fault_report(mm, &(struct qy_fault){.what = "double free",
                                                      .rule = "K3",
                                                      .address = (uintptr_t)block});
    qy_give_run(mm, mm->start_pfn + index, mm->pages[index].run_frames, false);
    return 0;
}

bool qy_run_resize(struct qy_mm *mm, void *block, uint64_t nr_frames)
{
    uint64_t index = index_of(mm, block);
    uint64_t have = mm->pages[index].run_frames;
    qy_pfn_t pfn = mm->start_pfn + index;
    if (nr_frames > have && !qy_take_behind(mm, pfn + have, nr_frames - have))
        return false;
    mm->pages[index].run_frames = nr_frames;
    if (nr_frames < have)
        qy_give_run(mm, pfn + nr_frames, have - nr_frames, false);
    return true;
}

void *qy_run_move(struct qy_mm *mm, void *block, uint64_t nr_frames, qy_gfp_t gfp)
{
    (void)mm;
    (void)block;
    (void)nr_frames;
    (void)gfp;
    return NULL;
}
