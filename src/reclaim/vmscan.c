/*
 * vmscan.c - who gives way when memory is short, and in which order
 *
 * WHAT    The oldest pages are looked at in batches. Each goes to the newest end of its list when
 *         it is picked, so that whoever looks next finds others; then, under its file's lock:
 *
 *           on the inactive list   used -> active; clean -> given up; dirty -> written, then that
 *           on the active list     used -> stays; else -> inactive, while that one is short
 *
 *         Pages that areas have are used without a trace: no processor's accessed bit can be read
 *         in a process. So they lose their entries where they would be given up or become inactive,
 *         and have until the scan comes by again to be touched, which is a fault and so a use
 *         (Babaoglu & Joy, "Converting a swap-based system to do paging in an architecture lacking
 *         page-referenced bits", 1981).
 *
 *         Who runs short asks in this order, and goes on to the next only when there was not
 *         enough: clean pages, pages that have to be written, other people's caches, what the
 *         slabs keep idle, and the out-of-memory callback.
 *
 * RULES   W1, W2  in vmscan.h.
 *
 * LOCKS   Within mm->grace, so that a file does not go away that was found through a folio; its
 *         mapping.lock, and vmscan->lock inside.
 *
 * COST    A batch of 32 is one vmscan->lock pair, and a mapping.lock pair for each run of pages of
 *         one file.
 */
#include "base/assert.h"
#include "buddy/alloc.h"
#include "reclaim/file.h"

#include <quarry/buddy.h>

#define BATCH 32u
/** Who must not fail sleeps so often, a millisecond, while others have what he could use in
 *  hand. */
#define MOST_NAPS 1000u
#define NAP_NS UINT64_C(1000000)
/** Whose frames help who cannot move, and who can. */
#define ORDINARY (1u << QY_LRU_ORDINARY)
#define LENDING (1u << QY_LRU_ORDINARY | 1u << QY_LRU_REGION)
/** Of 16 pages of a list pair, so many are kept inactive: enough for a page to be used again before
 *  it goes, and no more, for scans fill them. (bench/cache, a Zipf of 1.0: one gives 0.8 % more
 *  hits than three, where what is hot never changes.) */
#define INACTIVE_SHARE 2u
/** Inactive pages that one scan takes from areas, and passes over, at most, and of all that are
 *  inactive one in so many; then it gives up what it finds. So its time is bounded, and no page
 *  comes by twice. */
#define MOST_TRIALS 64u
#define TRIAL_SHARE 4u

static struct qy_file *file_of(const struct qy_folio *folio)
{
    struct qy_mapping *mapping = atomic_load_explicit(&folio->mapping, memory_order_acquire);
    return mapping != NULL && mapping->ops == &qy_file_mapping_ops ? qy_file_of(mapping) : NULL;
}

static void to_list(struct qy_file *file, uint32_t frame, enum qy_lru lru)
{
    qy_lock(&file->vmscan->lock);
    if (qy_file_folio(file, frame)->lru != QY_LRU_NONE) {
        qy_lru_remove_locked(file->vmscan, frame);
        qy_lru_add_locked(file->vmscan, frame, lru);
    }
    qy_unlock(&file->vmscan->lock);
}

/** What an area has is used without anybody seeing it. So it is taken from there, and put on trial:
 *  if it is touched again, that is a use. False: no area has it, or it is pinned. */
static bool try_without(struct qy_file *file, uint32_t page, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    if (!(folio->flags & QY_FOLIO_MAPPED) || folio->pins != 0 ||
        !qy_file_unmap_page(file, page, frame))
        return false;
    folio->flags |= QY_FOLIO_ON_TRIAL;
    return true;
}

/** Look at a page, whose file is locked. True: it is dirty, and could go otherwise. */
static bool look(struct qy_scan *scan, struct qy_file *file, uint32_t frame, enum qy_lru lru)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    uint32_t page = atomic_load_explicit(&folio->index, memory_order_relaxed);
    if (qy_index_get(&file->index, page) != frame ||
        __atomic_load_n(&folio->lru, __ATOMIC_RELAXED) != lru) {
        scan->held++;
        return false; /* it became another's meanwhile, or somebody else looks at it */
    }
    bool used = folio->flags & QY_FOLIO_REFERENCED;
    folio->flags &= (uint8_t)~QY_FOLIO_REFERENCED;
    if (lru == QY_LRU_ACTIVE) {
        if (!used) {
            to_list(file, frame, QY_LRU_INACTIVE);
            try_without(file, page, frame);
        }
    } else if (used) {
        to_list(file, frame, QY_LRU_ACTIVE);
    } else if (scan->trials > 0 && try_without(file, page, frame)) {
        scan->trials--;
    } else if (folio->flags & QY_FOLIO_DIRTY) {
        scan->dirty++;
        return folio->pins == 0;
    } else {
        bool gone = qy_file_evict(file, page, frame, scan->places != QY_LRU_ALL_PLACES);
        scan->reclaimed += gone;
        scan->held += !gone && folio->long_pins == 0;
    }
    return false;
}

/** May another page be written back? */
static bool may_write(const struct qy_scan *scan)
{
    return scan->write && (scan->until == 0 || qy_port_clock_exact_ns() < scan->until);
}

/** Write back the page and its neighbours, then give it up. */
static void write_and_evict(struct qy_scan *scan, struct qy_file *file, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    uint32_t page = atomic_load_explicit(&folio->index, memory_order_relaxed);
    uint32_t next = page;
    int written = qy_file_write_run(file, &next, false);
    scan->held += written >= 0; /* unless it goes */
    if (written <= 0 || next <= page)
        return;
    qy_lock(&file->mapping.lock);
    if (qy_index_get(&file->index, page) == frame)
        scan->reclaimed += qy_file_evict(file, page, frame, false);
    qy_unlock(&file->mapping.lock);
}

/** Look at a batch of the oldest. Returns how many there were. */
static unsigned scan_batch(struct qy_scan *scan, enum qy_lru_place place, enum qy_lru lru)
{
    struct qy_mm *mm = scan->vmscan->mm;
    uint32_t frames[BATCH];
    struct qy_file *locked = NULL;
    unsigned ticket = qy_grace_enter(&mm->grace);
    unsigned count = qy_lru_oldest(scan->vmscan, place, lru, BATCH, frames);
    for (unsigned i = 0; i < count; i++) {
        struct qy_file *file = file_of(&mm->folios[frames[i]]);
        if (locked != NULL && file != locked) {
            qy_unlock(&locked->mapping.lock);
            locked = NULL;
        }
        if (file == NULL)
            continue;
        if (locked == NULL)
            qy_lock(&file->mapping.lock);
        locked = file;
        if (look(scan, file, frames[i], lru) && may_write(scan)) {
            qy_unlock(&file->mapping.lock);
            locked = NULL;
            write_and_evict(scan, file, frames[i]);
        }
    }
    if (locked != NULL)
        qy_unlock(&locked->mapping.lock);
    qy_grace_leave(&mm->grace, ticket);
    scan->scanned += count;
    return count;
}

/** Which pair of lists is looked at next: all in turn, as often as they are long. */
static enum qy_lru_place next_place(const struct qy_scan *scan)
{
    uint64_t pages = qy_lru_pages(scan->vmscan, scan->places);
    uint64_t turn = (scan->scanned / BATCH * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
    turn = pages > 0 ? turn % pages : 0;
    unsigned place = QY_LRU_ORDINARY;
    for (; place + 1 < QY_NR_LRU_PLACES; place++) {
        uint64_t here = qy_lru_pages(scan->vmscan, scan->places & 1u << place);
        if (turn < here)
            break;
        turn -= here;
    }
    return (enum qy_lru_place)place;
}

/** A batch of one place: of the inactive, and of the active if these are more than their share. */
static unsigned scan_place(struct qy_scan *scan, enum qy_lru_place place)
{
    uint64_t inactive = qy_figure(&scan->vmscan->list[place][QY_LRU_INACTIVE].count);
    uint64_t all = qy_lru_pages(scan->vmscan, 1u << place);
    bool is_short = inactive < all * INACTIVE_SHARE / 16 || inactive == 0;
    unsigned looked = is_short ? scan_batch(scan, place, QY_LRU_ACTIVE) : 0;
    return looked + scan_batch(scan, place, QY_LRU_INACTIVE);
}

/** What is given up elsewhere goes to guaranteed regions: see that there is room for a batch. */
static void make_guaranteed_room(struct qy_vmscan *vmscan)
{
    struct qy_scan scan = {.vmscan = vmscan, .places = QY_LRU_ALL_PLACES};
    uint64_t pages = qy_lru_pages(vmscan, 1u << QY_LRU_GUARANTEED);
    while (scan.scanned < 2 * pages && qy_guaranteed_idle(vmscan->mm) < QY_GUARANTEED_KEPT)
        if (scan_place(&scan, QY_LRU_GUARANTEED) == 0)
            break;
}

uint64_t qy_shrink_cache(struct qy_scan *scan)
{
    struct qy_vmscan *vmscan = scan->vmscan;
    uint64_t pages = qy_lru_pages(vmscan, scan->places);
    uint64_t most = 4 * pages + BATCH; /* used, active, unused, inactive: each once */
    uint64_t trials = qy_lru_count(vmscan, QY_LRU_INACTIVE) / TRIAL_SHARE;
    scan->trials = trials < MOST_TRIALS ? trials : MOST_TRIALS;
    while (pages > 0 && scan->reclaimed < scan->wanted && scan->scanned < most) {
        if (scan->places != QY_LRU_ALL_PLACES)
            make_guaranteed_room(vmscan);
        if (scan_place(scan, next_place(scan)) == 0)
            break;
        if (!scan->write && scan->dirty > pages / 2)
            break; /* who writes is held back at a fifth: clean ones are few */
    }
    qy_count(&vmscan->scanned[scan->background], scan->scanned);
    qy_count(&vmscan->reclaimed[scan->background], scan->reclaimed);
    return scan->reclaimed;
}

/** Clean pages, and if these are not enough, dirty ones. */
static uint64_t shrink_files(const struct qy_scan *what, uint64_t *held)
{
    struct qy_scan scan = *what;
    uint64_t frames = qy_shrink_cache(&scan);
    *held = scan.held;
    if (frames >= what->wanted || scan.dirty == 0)
        return frames;
    scan = *what;
    scan.wanted -= frames;
    scan.write = true;
    frames += qy_shrink_cache(&scan);
    *held += scan.held;
    return frames;
}

/* ---- who runs short ---- */

static bool ask_for_more(struct qy_vmscan *vmscan, qy_gfp_t gfp, unsigned order)
{
    qy_lock(&vmscan->lock);
    qy_oom_t oom = vmscan->oom;
    void *cookie = vmscan->oom_cookie;
    qy_unlock(&vmscan->lock);
    return oom != NULL && oom(vmscan->mm, gfp, order, cookie);
}

/** Who cannot move needs frames that lie together, even if he asks for one: others will come. */
static uint64_t reclaim_together(struct qy_vmscan *vmscan, unsigned order)
{
    uint64_t frames = 0;
    if (qy_lru_pages(vmscan, ORDINARY) == 0)
        return 0;
    if (order > 0)
        qy_drain_all_pages(vmscan->mm);
    if (order < QY_LEAST_ORDER)
        frames = qy_reclaim_window(vmscan, QY_LEAST_ORDER);
    return frames > 0 ? frames : qy_reclaim_window(vmscan, order);
}

/** How many frames have to come before whoever asks may take so many, in the zone where the fewest
 *  have to. */
static uint64_t lacks(const struct qy_mm *mm, qy_gfp_t gfp, uint64_t nr_frames)
{
    struct qy_request request;
    uint64_t least = UINT64_MAX;
    if (!qy_request_read(&request, 0, gfp & ~QY_GFP_NOFAIL, 0))
        return 0;
    request.lends = gfp & QY_GFP_MOVABLE;
    for (unsigned z = 0; z < qy_nr_zones(mm); z++) {
        uint64_t frames = qy_zone_lacks(&mm->zones[z], &request, nr_frames);
        least = frames < least ? frames : least;
    }
    return least != UINT64_MAX ? least : 0;
}

/** *held: pages that somebody had just then. */
static uint64_t give_way(struct qy_vmscan *vmscan, qy_gfp_t gfp, unsigned order, uint64_t until,
                         uint64_t *held)
{
    const struct qy_mm *mm = vmscan->mm;
    unsigned places = gfp & QY_GFP_MOVABLE ? LENDING : ORDINARY;
    uint64_t asked = UINT64_C(1) << (order < 31 ? order : 31);
    uint64_t wanted = asked > QY_LEAST_WANTED ? asked : QY_LEAST_WANTED;
    uint64_t frames = places == ORDINARY ? reclaim_together(vmscan, order) : 0;
    uint64_t missing = lacks(mm, gfp, asked);
    *held = 0;
    if (frames >= asked && missing == 0)
        return frames;
    const struct qy_scan scan = {.vmscan = vmscan,
                                 .wanted = missing > wanted ? missing : wanted,
                                 .places = places,
                                 .until = until};
    /* With twice as many as he asks for, more of them here and there would not help. */
    if (order == 0 || lacks(mm, gfp, 2 * asked) > 0)
        frames += shrink_files(&scan, held);
    uint64_t others = frames < wanted ? qy_shrink_others(vmscan, wanted - frames) : 0;
    frames += others;
    /* What others freed are objects: their slabs have to follow. And what lies together may be
     * all that is missing. */
    if (frames < wanted || others > 0 || order > 0 || lacks(mm, gfp, asked) > 0)
        frames += vmscan->next_reclaim(vmscan->mm, gfp, order);
    return frames;
}

/** As give_way(). Nothing may be found because others have all of it in hand: they read it, write
 *  it back, reclaim it; and do not run, where there are more threads than processors. */
static uint64_t give_way_in_time(struct qy_vmscan *vmscan, qy_gfp_t gfp, unsigned order,
                                 uint64_t until)
{
    uint64_t frames, held, free_before = qy_free_frames(vmscan->mm);
    for (unsigned naps = 0;; naps++) {
        uint64_t others = atomic_fetch_add(&vmscan->nr_reclaiming, 1);
        frames = give_way(vmscan, gfp, order, until, &held);
        atomic_fetch_sub(&vmscan->nr_reclaiming, 1);
        if (frames > 0 || !(gfp & QY_GFP_NOFAIL) || naps == MOST_NAPS ||
            held + others + qy_figure(&vmscan->nr_reading) == 0)
            break;
        qy_port_nap(NAP_NS);
        if (qy_free_frames(vmscan->mm) > free_before)
            return 1; /* somebody has let go */
    }
    return frames;
}

uint64_t qy_reclaim_until(struct qy_mm *mm, qy_gfp_t gfp, unsigned order, uint64_t until)
{
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    if (vmscan == NULL)
        return atomic_load_explicit(&mm->reclaim, memory_order_acquire)(mm, gfp, order);
    qy_stall_begin(vmscan);
    uint64_t frames = give_way_in_time(vmscan, gfp, order, until);
    if (frames == 0 && ask_for_more(vmscan, gfp, order))
        frames = 1;
    qy_stall_end(vmscan);
    return frames;
}

/** mm->reclaim, from the first use of this layer on. */
static uint64_t reclaim(struct qy_mm *mm, qy_gfp_t gfp, unsigned order)
{
    return qy_reclaim_until(mm, gfp, order, 0);
}

void qy_vmscan_register(struct qy_vmscan *vmscan)
{
    struct qy_mm *mm = vmscan->mm;
    vmscan->next_reclaim = atomic_load_explicit(&mm->reclaim, memory_order_relaxed);
    atomic_store_explicit(&mm->vmscan, vmscan, memory_order_release);
    atomic_store_explicit(&mm->reclaim, reclaim, memory_order_release);
}

/* ---- calls ---- */

uint64_t qy_reclaim(struct qy_mm *mm, uint64_t frames)
{
    if (qy_port_inherited(mm))
        return 0;
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    const struct qy_scan scan = {.vmscan = vmscan, .wanted = frames, .places = QY_LRU_ALL_PLACES};
    uint64_t held;
    return vmscan != NULL && frames > 0 ? shrink_files(&scan, &held) : 0;
}

/** Frames that are missing until each zone is at its high watermark, for who cannot use regions. */
QY_RACY static uint64_t missing(const struct qy_mm *mm)
{
    uint64_t frames = 0, limit = mm->options.limit_pages;
    if (mm->options.grow &&
        (limit == 0 ||
         atomic_load_explicit(&mm->charged, memory_order_relaxed) + QY_SECTION_FRAMES <= limit))
        return 0;
    for (unsigned z = 0; z < qy_nr_zones(mm); z++) {
        const struct qy_zone *zone = &mm->zones[z];
        uint64_t kept = zone->watermark[QY_WMARK_HIGH] + zone->nr_free_of[QY_MIGRATE_CMA] +
                        zone->nr_free_of[QY_MIGRATE_GUARANTEED];
        uint64_t nr_free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
        frames += qy_zone_populated(zone) && nr_free < kept ? kept - nr_free : 0;
    }
    return frames;
}

bool qy_reclaim_background(struct qy_mm *mm)
{
    if (qy_port_inherited(mm))
        return false;
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    uint64_t wanted = missing(mm);
    if (vmscan == NULL || wanted == 0)
        return false;
    wanted = wanted < QY_LEAST_WANTED ? wanted : QY_LEAST_WANTED;
    const struct qy_scan scan = {
        .vmscan = vmscan, .wanted = wanted, .places = ORDINARY, .background = true};
    uint64_t held, frames = shrink_files(&scan, &held);
    if (frames < wanted)
        frames += qy_shrink_others(vmscan, wanted - frames);
    return frames > 0 && missing(mm) > 0;
}
