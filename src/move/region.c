/*
 * region.c - contiguous regions come and go, and what is known of them
 *
 * WHAT    Creating one: its frames are got like any buffer's (isolate.c) or taken as a free run,
 *         its pageblocks change their migratetype, and the frames are free again: now for
 *         borrowers. Destroying one turns the migratetype back; who has borrowed frames keeps
 *         them.
 *
 * RULES   N2  in move/cma.h.
 *
 * LOCKS   mm->chain_lock for the chain of regions.
 *
 * COST    Once.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "base/text.h"
#include "buddy/alloc.h"
#include "buddy/buddy.h"
#include "buddy/lend.h"
#include "memory/fault.h"
#include "move/cma.h"
#include "move/move.h"
#include "reclaim/vmscan.h"

#include <quarry/slab.h>

/** The runs of a region begin and end with pairs of pageblocks, so that none is half of it. */
#define PART_ORDER QY_MAX_ORDER
#define PART_FRAMES (UINT64_C(1) << PART_ORDER)

static bool name_is_good(const char *name)
{
    unsigned length = 0;
    while (name != NULL && length < QY_CMA_NAME && name[length] > ' ' && name[length] < 127)
        length++;
    return name != NULL && length > 0 && length < QY_CMA_NAME && name[length] == '\0';
}

/** mm->chain_lock held. */
static struct qy_cma *find_locked(const struct qy_mm *mm, const char *name)
{
    struct qy_cma *cma = atomic_load_explicit(&mm->regions, memory_order_acquire);
    while (cma != NULL && !qy_text_equal(cma->name, name))
        cma = atomic_load_explicit(&cma->next, memory_order_acquire);
    return cma;
}

struct qy_cma *qy_cma_find(struct qy_mm *mm, const char *name)
{
    if (qy_port_inherited(mm))
        return NULL;
    qy_lock(&mm->chain_lock);
    struct qy_cma *cma = find_locked(mm, name);
    qy_unlock(&mm->chain_lock);
    return cma;
}

/* ---- getting the frames ---- */

/** All online, and of one zone. */
static bool is_one_zone(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    if (!qy_in_span(mm, pfn, nr_frames))
        return false;
    uint32_t first = qy_block_of(mm, pfn), last = qy_block_of(mm, pfn + nr_frames - 1);
    for (uint32_t block = first; block <= last; block++)
        if (!qy_frame_online(mm, (uint64_t)block * QY_PAGEBLOCK_FRAMES) ||
            mm->blocks[block].zone != mm->blocks[first].zone ||
            mm->blocks[block].migratetype >= QY_MIGRATE_HIGHATOMIC)
            return false;
    return true;
}

static bool is_online(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return qy_frame_online(mm, qy_frame_index(mm, pfn));
}

/** Is all of the run online, or what may come? */
static bool may_be_online(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    for (qy_pfn_t end = pfn + nr_frames; pfn < end; pfn += PART_FRAMES)
        if (!is_online(mm, pfn) && (!mm->options.grow || !qy_may_come_online(mm, pfn, PART_FRAMES)))
            return false;
    return true;
}

/** What of the run is not online comes online, and no more than that. */
static int come_online(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    int code = 0;
    for (qy_pfn_t end = pfn + nr_frames; pfn < end && code == 0; pfn += PART_FRAMES)
        if (!is_online(mm, pfn))
            code = qy_mm_online(mm, pfn, PART_FRAMES);
    return code;
}

/** The first free run that ends below this frame; some of it may have to come online. */
static qy_pfn_t take_below(struct qy_mm *mm, const struct qy_request *request, uint64_t nr_frames,
                           qy_pfn_t below)
{
    qy_pfn_t pfn = mm->start_pfn;
    for (; pfn + nr_frames <= below && pfn + nr_frames <= mm->start_pfn + mm->nr_frames;
         pfn += PART_FRAMES) {
        if (!may_be_online(mm, pfn, nr_frames))
            continue;
        if (come_online(mm, pfn, nr_frames) == -QY_ENOMEM)
            break; /* further up more would be needed */
        if (is_one_zone(mm, pfn, nr_frames) &&
            qy_zone_may_serve(qy_zone_of(mm, pfn), request, nr_frames) &&
            qy_take_behind(mm, pfn, nr_frames))
            return pfn;
    }
    return QY_PFN_NONE;
}

/** A free run, all of it below a frame (0: anywhere); it may have to come online first. */
static qy_pfn_t take_anywhere(struct qy_mm *mm, uint32_t claim, uint64_t nr_frames, qy_pfn_t below)
{
    struct qy_request request;
    bool fresh;
    unsigned rounds = 0;
    qy_pfn_t pfn;
    if (!qy_request_read(&request, 0, QY_GFP_HIGHUSER_MOVABLE, 0))
        return QY_PFN_NONE;
    do
        pfn = below != 0 ? take_below(mm, &request, nr_frames, below)
                         : qy_take_run(mm, &request, nr_frames, PART_ORDER, &fresh);
    while (pfn == QY_PFN_NONE &&
           qy_reclaim_again(mm, QY_GFP_HIGHUSER_MOVABLE, PART_ORDER, &rounds));
    if (pfn != QY_PFN_NONE)
        qy_claim_adopt(mm, claim, pfn, nr_frames);
    return pfn;
}

static int take_part(struct qy_cma *cma, const struct qy_cma_range *range, qy_pfn_t below,
                     struct qy_cma_part *part, struct qy_cma_report *report)
{
    struct qy_move move = {
        .mm = cma->mm, .claim = cma->claim, .naps = QY_MOVE_NAPS, .report = report};
    int code = 0;
    *part = (struct qy_cma_part){.pfn = range->pfn, .nr_frames = range->nr_frames};
    if (range->pfn != QY_PFN_NONE)
        code = qy_isolate(&move, range->pfn, range->nr_frames);
    else
        part->pfn = take_anywhere(cma->mm, cma->claim, range->nr_frames, below);
    if (code != 0 || part->pfn == QY_PFN_NONE)
        return code != 0 ? code : -QY_ENOMEM;
    uint64_t bits = part->nr_frames >> cma->order_per_bit;
    part->bitmap = qy_kmalloc(cma->mm, (bits + 63) / 64 * 8, QY_GFP_KERNEL | QY_GFP_ZERO);
    if (part->bitmap == NULL) {
        qy_unclaim(cma->mm, cma->claim, part->pfn, part->nr_frames);
        return -QY_ENOMEM;
    }
    cma->nr_parts++;
    return 0;
}

/** The ranges whose frames are given, or those left to us; what came stays with its parts. */
static int take_parts(struct qy_cma *cma, const struct qy_cma_options *options, bool given,
                      struct qy_error *error)
{
    struct qy_cma_report report = {0};
    for (unsigned i = 0; i < options->nr_ranges; i++) {
        const struct qy_cma_range *range = &options->ranges[i];
        if ((range->pfn != QY_PFN_NONE) != given)
            continue;
        int code = take_part(cma, range, options->below, &cma->part[cma->nr_parts], &report);
        if (code == -QY_EBUSY)
            return qy_error_set(error, code, "frames in the way cannot be moved: ", UINT64_MAX,
                                report.stuck[0].owner);
        if (code != 0)
            return qy_error_set(error, code, "no such frames are free for range ", i, "");
    }
    return 0;
}

static enum qy_migratetype type_for(enum qy_cma_policy policy)
{
    return policy == QY_CMA_GUARANTEED ? QY_MIGRATE_GUARANTEED : QY_MIGRATE_CMA;
}

/** The region's pageblocks are kept for borrowers, or for everybody again. */
static void set_types(struct qy_cma *cma, enum qy_migratetype migratetype)
{
    for (unsigned i = 0; i < cma->nr_parts; i++)
        qy_lend_set_type(cma->mm, cma->part[i].pfn, cma->part[i].nr_frames, migratetype);
}

/** Zones lend eagerly while one of their regions does. mm->chain_lock held. */
static void set_eager_locked(struct qy_mm *mm)
{
    bool eager[QY_MAX_ZONES] = {false};
    struct qy_cma *cma = atomic_load_explicit(&mm->regions, memory_order_acquire);
    for (; cma != NULL; cma = atomic_load_explicit(&cma->next, memory_order_acquire))
        for (unsigned i = 0; i < cma->nr_parts && cma->policy == QY_CMA_EAGER; i++)
            eager[qy_zone_of(mm, cma->part[i].pfn)->index] = true;
    for (unsigned i = 0; i < qy_nr_zones(mm); i++) {
        qy_lock(&mm->zones[i].lock);
        mm->zones[i].lends_eagerly = eager[i];
        qy_unlock(&mm->zones[i].lock);
    }
}

/* ---- create, destroy ---- */

/** Does a range have frames of one before it? */
static bool meets_another(const struct qy_cma_range *ranges, unsigned i)
{
    const struct qy_cma_range *range = &ranges[i], *other = ranges;
    for (; other < range; other++)
        if (range->pfn != QY_PFN_NONE && other->pfn != QY_PFN_NONE &&
            range->pfn < other->pfn + other->nr_frames &&
            other->pfn < range->pfn + range->nr_frames)
            return true;
    return false;
}

static int check_range(struct qy_mm *mm, const struct qy_cma_options *options, unsigned i,
                       struct qy_error *error)
{
    const struct qy_cma_range *range = &options->ranges[i];
    if (range->nr_frames == 0 || range->nr_frames % PART_FRAMES != 0)
        return qy_error_set(error, -QY_EINVAL, "not a multiple of 1024 frames in range ", i, "");
    if (range->nr_frames > mm->nr_frames)
        return qy_error_set(error, -QY_ENOMEM, "more frames than the memory has in range ", i, "");
    if (range->pfn == QY_PFN_NONE)
        return 0;
    if (range->pfn % PART_FRAMES != 0 || !is_one_zone(mm, range->pfn, range->nr_frames))
        return qy_error_set(error, -QY_EINVAL,
                            "not ordinary online frames of one zone, from a multiple of 1024 on, "
                            "in range ",
                            i, "");
    if (meets_another(options->ranges, i))
        return qy_error_set(error, -QY_EINVAL, "frames of an earlier one in range ", i, "");
    if (options->below != 0 && range->pfn + range->nr_frames > options->below)
        return qy_error_set(error, -QY_EINVAL, "frames that are not below the limit in range ", i,
                            "");
    return 0;
}

static int check_options(struct qy_mm *mm, const struct qy_cma_options *options,
                         struct qy_error *error)
{
    if (mm->folios == NULL || mm->small_bytes == 0)
        return qy_error_set(error, -QY_ENOTSUP, "a region needs a memory made with options.movable",
                            UINT64_MAX, "");
    if (!name_is_good(options->name))
        return qy_error_set(error, -QY_EINVAL,
                            "a region's name has 1 .. 31 printable characters, no blank",
                            UINT64_MAX, "");
    if (options->nr_ranges == 0 || options->nr_ranges > QY_CMA_MAX_RANGES)
        return qy_error_set(error, -QY_EINVAL, "a region has 1 .. 8 ranges, not ",
                            options->nr_ranges, "");
    if (options->order_per_bit > PART_ORDER)
        return qy_error_set(error, -QY_EINVAL, "a region's order_per_bit is at most 10, not ",
                            options->order_per_bit, "");
    if (options->policy > QY_CMA_GUARANTEED)
        return qy_error_set(error, -QY_EINVAL, "a region has no such policy: ", options->policy,
                            "");
    int code = 0;
    for (unsigned i = 0; i < options->nr_ranges && code == 0; i++)
        code = check_range(mm, options, i, error);
    return code;
}

static void free_region(struct qy_cma *cma)
{
    for (unsigned i = 0; i < cma->nr_parts; i++) {
        qy_unclaim(cma->mm, cma->claim, cma->part[i].pfn, cma->part[i].nr_frames);
        qy_kfree(cma->mm, cma->part[i].bitmap);
    }
    qy_kfree(cma->mm, cma);
}

/** Did its frames become another region's after they were looked at? All of them are held now, so
 *  it does not happen any more. */
static bool overlaps(const struct qy_cma *cma)
{
    for (unsigned i = 0; i < cma->nr_parts; i++)
        if (!is_one_zone(cma->mm, cma->part[i].pfn, cma->part[i].nr_frames))
            return true;
    return false;
}

/** On to the chain, and open to borrowers; false: name or frames are another's. */
static bool publish(struct qy_cma *cma)
{
    struct qy_mm *mm = cma->mm;
    qy_lock(&mm->chain_lock);
    bool is_new = find_locked(mm, cma->name) == NULL && !overlaps(cma);
    if (is_new) {
        set_types(cma, type_for(cma->policy));
        atomic_store_explicit(&cma->next, atomic_load_explicit(&mm->regions, memory_order_relaxed),
                              memory_order_relaxed);
        atomic_store_explicit(&mm->regions, cma, memory_order_release);
        set_eager_locked(mm);
    }
    qy_unlock(&mm->chain_lock);
    for (unsigned i = 0; is_new && i < cma->nr_parts; i++)
        qy_unclaim(mm, cma->claim, cma->part[i].pfn, cma->part[i].nr_frames);
    return is_new;
}

struct qy_cma *qy_cma_create(struct qy_mm *mm, const struct qy_cma_options *options,
                             struct qy_error *error)
{
    if (qy_port_inherited(mm))
        return qy_refused(error, -QY_ENOTSUP, QY_INHERITED, UINT64_MAX);
    if (check_options(mm, options, error) != 0)
        return NULL;
    struct qy_cma *cma = qy_kmalloc(mm, sizeof(*cma), QY_GFP_KERNEL | QY_GFP_ZERO);
    if (cma == NULL)
        return qy_refused(error, -QY_ENOMEM, "no memory for a region of its own", UINT64_MAX);
    cma->mm = mm;
    cma->policy = options->policy;
    cma->order_per_bit = options->order_per_bit;
    cma->claim = qy_claim_number(mm);
    qy_lock_init(&cma->lock, QY_RANK_CMA);
    for (unsigned i = 0; options->name[i] != '\0'; i++)
        cma->name[i] = options->name[i];
    /* Given ones first: else what is left to us might be theirs. */
    if (take_parts(cma, options, true, error) != 0 || take_parts(cma, options, false, error) != 0) {
        free_region(cma);
        return NULL;
    }
    if (!publish(cma)) {
        free_region(cma);
        return qy_refused(error, -QY_EEXIST, "there is a region of this name, or of these frames",
                          UINT64_MAX);
    }
    return cma;
}

/** Is any buffer out? If not, all bits are set, so that no more goes out. */
static bool close_region(struct qy_cma *cma)
{
    bool idle = true;
    qy_lock(&cma->lock);
    for (unsigned i = 0; i < cma->nr_parts && idle; i++) {
        struct qy_cma_window all = {i, cma->part[i].pfn, cma->part[i].nr_frames};
        idle = qy_cma_is_marked(cma, &all, false);
    }
    for (unsigned i = 0; i < cma->nr_parts && idle; i++) {
        struct qy_cma_window all = {i, cma->part[i].pfn, cma->part[i].nr_frames};
        qy_cma_mark(cma, &all, true);
    }
    qy_unlock(&cma->lock);
    return idle;
}

int qy_cma_destroy(struct qy_cma *cma)
{
    if (qy_port_inherited(cma))
        return -QY_ENOTSUP;
    struct qy_mm *mm = cma->mm;
    if (!close_region(cma))
        return -QY_EBUSY;
    qy_lock(&mm->chain_lock);
    struct qy_cma *_Atomic *link = &mm->regions;
    while (atomic_load_explicit(link, memory_order_relaxed) != cma)
        link = &atomic_load_explicit(link, memory_order_relaxed)->next;
    atomic_store_explicit(link, atomic_load_explicit(&cma->next, memory_order_relaxed),
                          memory_order_release);
    set_types(cma, QY_MIGRATE_MOVABLE);
    set_eager_locked(mm);
    qy_unlock(&mm->chain_lock);
    qy_lru_sort(mm);
    free_region(cma);
    return 0;
}

/** It may be a copy of another process's, made while it changed: no part is believed. */
QY_RACY static void count_frames(const struct qy_cma *cma, struct qy_cma_stat *stat)
{
    const struct qy_mm *mm = cma->mm;
    for (unsigned i = 0; i < cma->nr_parts && i < QY_CMA_MAX_RANGES; i++) {
        if (!qy_in_span(mm, cma->part[i].pfn, cma->part[i].nr_frames))
            continue;
        uint64_t index = qy_frame_index(mm, cma->part[i].pfn);
        uint64_t end = index + cma->part[i].nr_frames;
        stat->frames += cma->part[i].nr_frames;
        for (; index < end; index++)
            stat->lent += mm->folios[index].state == QY_FOLIO_LENT ||
                          mm->folios[index].state == QY_FOLIO_WANTED;
    }
    uint64_t used = stat->out + stat->lent;
    stat->free = stat->frames > used ? stat->frames - used : 0;
}

static void describe(const struct qy_cma *cma, struct qy_cma_stat *stat)
{
    __builtin_memcpy(stat->name, cma->name, sizeof(stat->name));
    stat->policy = cma->policy;
    count_frames(cma, stat);
}

void qy_cma_stat(struct qy_cma *cma, struct qy_cma_stat *stat)
{
    *stat = (struct qy_cma_stat){.frames = 0};
    if (qy_port_inherited(cma))
        return;
    qy_lock(&cma->lock);
    *stat = cma->stat;
    qy_unlock(&cma->lock);
    describe(cma, stat);
}

QY_RACY void qy_cma_stat_racy(const struct qy_cma *cma, struct qy_cma_stat *stat)
{
    const volatile uint64_t *from = (const volatile uint64_t *)&cma->stat;
    uint64_t *to = (uint64_t *)stat;
    for (size_t i = 0; i < sizeof(*stat) / sizeof(*to); i++)
        to[i] = from[i];
    describe(cma, stat);
}
