/*
 * rules_lent.c - the rules of frames that can be moved or given up
 *
 * WHAT    Tag and folio of each frame agree, and what is held belongs to nobody else. A region's
 *         bitmap and its pageblocks are what its name promises.
 *
 * RULES   T4, T5  in memory/folio.h; N1, N2  in move/cma.h.
 *
 * LOCKS   chain_lock for the regions. Exact while nothing moves.
 *
 * COST    A pass over tags and folios of all online frames.
 */
#include "view/rules.h"

#include "move/cma.h"

static void check_folio(struct qy_ruling *ruling, uint64_t frame)
{
    const struct qy_mm *mm = ruling->mm;
    const struct qy_folio *folio = &mm->folios[frame];
    qy_pfn_t pfn = mm->start_pfn + frame;
    bool tagged = mm->tags[frame] == QY_TAG_FOLIO;
    if (tagged != (folio->state != QY_FOLIO_FREE))
        qy_broken(ruling, "T4", "frame", pfn,
                  "its tag and its folio disagree on whether it is lent");
    if (tagged && qy_frame_is_free(mm, frame))
        qy_broken(ruling, "T4", "frame", pfn, "is lent and free");
    if (folio->state == QY_FOLIO_HELD &&
        atomic_load_explicit(&folio->mapping, memory_order_relaxed) != NULL)
        qy_broken(ruling, "T5", "frame", pfn, "is held, and in a mapping");
}

void qy_check_folios(struct qy_ruling *ruling)
{
    const struct qy_mm *mm = ruling->mm;
    for (uint64_t frame = 0; mm->folios != NULL && frame < qy_described_frames(mm); frame++)
        if (qy_frame_is_online(mm, frame))
            check_folio(ruling, frame);
}

static void check_bits(struct qy_ruling *ruling, const struct qy_cma *cma, unsigned part)
{
    const struct qy_mm *mm = ruling->mm;
    const struct qy_cma_part *run = &cma->part[part];
    for (uint64_t i = 0; i < run->nr_frames; i++) {
        const struct qy_folio *folio = &mm->folios[qy_frame_index(mm, run->pfn + i)];
        uint64_t bit = i >> cma->order_per_bit;
        bool out = run->bitmap[bit / 64] >> bit % 64 & 1;
        bool held = folio->state == QY_FOLIO_HELD && folio->holder == cma->claim;
        if (out != held)
            qy_broken(ruling, "N1", "frame", run->pfn + i,
                      "its bit and its folio disagree on whether it is out");
    }
}

/** How many runs of regions have this frame. */
static unsigned runs_of(const struct qy_mm *mm, qy_pfn_t pfn)
{
    const struct qy_cma *cma = atomic_load_explicit(&mm->regions, memory_order_acquire);
    unsigned runs = 0;
    for (; cma != NULL; cma = atomic_load_explicit(&cma->next, memory_order_acquire))
        for (unsigned i = 0; i < cma->nr_parts; i++)
            runs += pfn - cma->part[i].pfn < cma->part[i].nr_frames;
    return runs;
}

static void check_blocks(struct qy_ruling *ruling, const struct qy_cma *cma, unsigned part)
{
    const struct qy_mm *mm = ruling->mm;
    const struct qy_cma_part *run = &cma->part[part];
    unsigned type = cma->policy == QY_CMA_GUARANTEED ? QY_MIGRATE_GUARANTEED : QY_MIGRATE_CMA;
    for (uint64_t i = 0; i < run->nr_frames; i += QY_PAGEBLOCK_FRAMES) {
        if (mm->blocks[qy_block_of(mm, run->pfn + i)].migratetype != type)
            qy_broken(ruling, "N2", "pageblock", run->pfn + i,
                      "is of a region and not of its migratetype");
        if (runs_of(mm, run->pfn + i) != 1)
            qy_broken(ruling, "N2", "pageblock", run->pfn + i, "is of two runs of regions");
    }
}

void qy_check_regions(struct qy_ruling *ruling)
{
    const struct qy_cma *cma = atomic_load_explicit(&ruling->mm->regions, memory_order_acquire);
    for (; cma != NULL; cma = atomic_load_explicit(&cma->next, memory_order_acquire))
        for (unsigned part = 0; part < cma->nr_parts; part++) {
            check_bits(ruling, cma, part);
            check_blocks(ruling, cma, part);
        }
}
