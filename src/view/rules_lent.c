/*
 * rules_lent.c - the rules of frames that can be moved or given up
 *
 * WHAT    Tag and folio of each frame agree, and what is held belongs to nobody else.
 *
 * RULES   T4, T5  in memory/folio.h.
 *
 * LOCKS   none: exact while nothing moves.
 *
 * COST    A pass over tags and folios of all online frames.
 */
#include "view/rules.h"

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
