/*
 * claim.c - getting lent frames back
 *
 * WHAT    A claim walks a range a pageblock at a time, under the zone's lock: free frames are taken
 *         and HELD, lent ones WANTED. When a borrower returns a frame that is wanted, it is
 *         HELD for the claim and never free in between.
 *
 * RULES   T4, T5  in memory/folio.h. Checked by qy_check_folios() in view/rules_lent.c.
 *
 * LOCKS   zone->lock.
 *
 * COST    A lock pair for each pageblock of the range, 32 bytes a frame.
 */
#include "buddy/lend.h"

#include "base/assert.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"

/* ---- a range, pageblock by pageblock ---- */

/** What is done with frames [index, end) of one pageblock, the zone's lock held. */
typedef void (*qy_part_work)(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end,
                             void *context);

static void for_each_part(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames, qy_part_work work,
                          void *context)
{
    uint64_t index = qy_frame_index(mm, pfn);
    uint64_t last = index + nr_frames;
    while (index < last) {
        uint64_t end = qy_block_end(index, last);
        struct qy_zone *zone = qy_zone_of(mm, mm->start_pfn + index);
        qy_lock(&zone->lock);
        work(mm, zone, index, end, context);
        qy_unlock(&zone->lock);
        index = end;
    }
}

/** Frames [index, end) become free, as one range. */
static void set_free_locked(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end)
{
    for (uint64_t i = index; i < end; i++) {
        qy_tag_set(&mm->tags[i], QY_TAG_NONE);
        mm->folios[i].state = QY_FOLIO_FREE;
    }
    if (end > index)
        qy_buddy_give_range_locked(mm, zone, mm->start_pfn + index, end - index, false);
}

static void return_part(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end,
                        void *context)
{
    (void)context;
    uint64_t start = index;
    for (; index < end; index++) {
        struct qy_folio *folio = &mm->folios[index];
        qy_assert(folio->state == QY_FOLIO_LENT || folio->state == QY_FOLIO_WANTED, "T4");
        if (folio->state == QY_FOLIO_LENT)
            continue;
        folio->state = QY_FOLIO_HELD;
        set_free_locked(mm, zone, start, index);
        start = index + 1;
    }
    set_free_locked(mm, zone, start, end);
}

void qy_lend_return(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    for_each_part(mm, pfn, nr_frames, return_part, NULL);
    qy_tell(mm);
}

/* ---- claims ---- */

uint32_t qy_claim_number(struct qy_mm *mm)
{
    return atomic_fetch_add_explicit(&mm->claims, 1, memory_order_relaxed) + 1;
}

struct claim {
    uint32_t number;
    struct qy_claimed *found;
    uint64_t freed;
    bool holds;
};

static void hold_locked(struct qy_mm *mm, uint64_t index, uint64_t end, uint32_t number)
{
    for (uint64_t i = index; i < end; i++) {
        qy_tag_set(&mm->tags[i], QY_TAG_FOLIO);
        qy_folio_begin(&mm->folios[i], QY_FOLIO_HELD, number);
    }
}

static void hold_free_locked(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end,
                             struct claim *claim)
{
    qy_take_range_locked(mm, zone, mm->start_pfn + index, end - index);
    hold_locked(mm, index, end, claim->number);
    claim->found->held += end - index;
}

/** A frame that is not free. */
static void want_locked(struct qy_mm *mm, uint64_t index, struct claim *claim)
{
    struct qy_folio *folio = &mm->folios[index];
    bool is_folio = qy_tag_get(&mm->tags[index]) == QY_TAG_FOLIO;
    if (is_folio && folio->state == QY_FOLIO_LENT) {
        folio->state = QY_FOLIO_WANTED;
        folio->holder = claim->number;
        claim->found->wanted++;
    } else if (is_folio && folio->holder == claim->number) {
        if (folio->state == QY_FOLIO_HELD)
            claim->found->held++;
        else
            claim->found->wanted++;
    } else {
        if (claim->found->stuck++ == 0)
            claim->found->first_stuck = mm->start_pfn + index;
    }
}

static void claim_part(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end,
                       void *context)
{
    while (index < end) {
        uint64_t taken = qy_next_frame(mm, index, end, false);
        uint64_t next = qy_next_frame(mm, taken, end, true);
        if (taken > index)
            hold_free_locked(mm, zone, index, taken, context);
        for (index = taken; index < next; index++)
            want_locked(mm, index, context);
    }
}

void qy_claim(struct qy_mm *mm, uint32_t number, qy_pfn_t pfn, uint64_t nr_frames,
              struct qy_claimed *found)
{
    struct claim claim = {.number = number, .found = found};
    for_each_part(mm, pfn, nr_frames, claim_part, &claim);
}

static bool holds(const struct qy_mm *mm, uint64_t index, uint32_t number)
{
    return qy_tag_get(&mm->tags[index]) == QY_TAG_FOLIO &&
           mm->folios[index].state == QY_FOLIO_HELD && mm->folios[index].holder == number;
}

static void unclaim_part(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end,
                         void *context)
{
    struct claim *claim = context;
    while (index < end) {
        uint64_t next = index;
        while (next < end && holds(mm, next, claim->number))
            next++;
        set_free_locked(mm, zone, index, next);
        claim->freed += next - index;
        struct qy_folio *folio = &mm->folios[next];
        if (next < end && qy_tag_get(&mm->tags[next]) == QY_TAG_FOLIO &&
            folio->state == QY_FOLIO_WANTED && folio->holder == claim->number)
            folio->state = QY_FOLIO_LENT;
        index = next + 1;
    }
}

uint64_t qy_unclaim(struct qy_mm *mm, uint32_t number, qy_pfn_t pfn, uint64_t nr_frames)
{
    struct claim claim = {.number = number};
    for_each_part(mm, pfn, nr_frames, unclaim_part, &claim);
    return claim.freed;
}

static void check_part(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end,
                       void *context)
{
    struct claim *claim = context;
    (void)zone;
    for (; index < end && claim->holds; index++)
        claim->holds = holds(mm, index, claim->number);
}

bool qy_claim_holds(struct qy_mm *mm, uint32_t number, qy_pfn_t pfn, uint64_t nr_frames)
{
    struct claim claim = {.number = number, .holds = true};
    for_each_part(mm, pfn, nr_frames, check_part, &claim);
    return claim.holds;
}

static void adopt_part(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end,
                       void *context)
{
    const struct claim *claim = context;
    (void)zone;
    hold_locked(mm, index, end, claim->number);
}

void qy_claim_adopt(struct qy_mm *mm, uint32_t number, qy_pfn_t pfn, uint64_t nr_frames)
{
    struct claim claim = {.number = number};
    for_each_part(mm, pfn, nr_frames, adopt_part, &claim);
}

static bool is_region(unsigned migratetype)
{
    return migratetype == QY_MIGRATE_CMA || migratetype == QY_MIGRATE_GUARANTEED;
}

static void set_type_part(struct qy_mm *mm, struct qy_zone *zone, uint64_t index, uint64_t end,
                          void *context)
{
    const enum qy_migratetype *migratetype = context;
    uint32_t block = (uint32_t)(index / QY_PAGEBLOCK_FRAMES);
    qy_assert(end - index == QY_PAGEBLOCK_FRAMES, "T5");
    zone->nr_cma -= is_region(mm->blocks[block].migratetype) ? QY_PAGEBLOCK_FRAMES : 0;
    zone->nr_cma += is_region(*migratetype) ? QY_PAGEBLOCK_FRAMES : 0;
    qy_buddy_set_migratetype_locked(mm, zone, block, *migratetype);
}

void qy_lend_set_type(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames,
                      enum qy_migratetype migratetype)
{
    for_each_part(mm, pfn, nr_frames, set_type_part, &migratetype);
}
