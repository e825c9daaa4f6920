/*
 * cma.c - contiguous regions: reserve, take back, release
 *
 * WHAT    A region's frames are ordinary frames of their zone, in pageblocks of a migratetype
 *         that only borrowers are served from. A bit of its bitmap says that frames are out in
 *         a buffer, or being taken back for one:
 *
 *           choose a window (choose.c)                        no lock: others do the same
 *           set its bits, if they are still clear             lock held; else choose again
 *           get its frames back (isolate.c)                   no lock: others do the same elsewhere
 *           failed: clear the bits, keep clear of what stuck, choose again
 *
 *         Frames of a buffer are HELD by the region's claim (buddy/lend.h). (Linux: mm/cma.c.)
 *
 * RULES   N1, N2  in move/cma.h.
 *
 * LOCKS   cma->lock for bitmap and figures, never across work. mm->chain_lock for the chain of
 *         regions.
 *
 * COST    See choose.c and migrate.c. Releasing writes 33 bytes a frame.
 */
#include "move/cma.h"

#include "base/assert.h"
#include "base/errno.h"
#include "buddy/alloc.h"
#include "buddy/lend.h"
#include "memory/fault.h"
#include "move/move.h"

#define MAX_ALIGN_ORDER 18

/* ---- the bitmap ---- */

static uint64_t first_bit(const struct qy_cma *cma, const struct qy_cma_window *window)
{
    return (window->pfn - cma->part[window->part].pfn) >> cma->order_per_bit;
}

void qy_cma_mark(struct qy_cma *cma, const struct qy_cma_window *window, bool out)
{
    uint64_t *bitmap = cma->part[window->part].bitmap;
    uint64_t bit = first_bit(cma, window), end = bit + (window->nr_frames >> cma->order_per_bit);
    for (; bit < end; bit++) {
        uint64_t mask = UINT64_C(1) << bit % 64, word = bitmap[bit / 64];
        __atomic_store_n(&bitmap[bit / 64], out ? word | mask : word & ~mask, __ATOMIC_RELAXED);
    }
}

bool qy_cma_is_marked(const struct qy_cma *cma, const struct qy_cma_window *window, bool out)
{
    const uint64_t *bitmap = cma->part[window->part].bitmap;
    uint64_t bit = first_bit(cma, window), end = bit + (window->nr_frames >> cma->order_per_bit);
    for (; bit < end; bit++)
        if ((bitmap[bit / 64] >> bit % 64 & 1) != out)
            return false;
    return true;
}

/** False: another request was faster. */
static bool mark_if_clear(struct qy_cma *cma, const struct qy_cma_window *window)
{
    qy_lock(&cma->lock);
    bool clear = qy_cma_is_marked(cma, window, false);
    if (clear)
        qy_cma_mark(cma, window, true);
    qy_unlock(&cma->lock);
    return clear;
}

/** Choose a window; its bits are set if the request is more than a dry run. */
static int reserve(struct qy_cma *cma, const struct qy_cma_request *request,
                   const struct qy_cma_avoid *avoid, struct qy_cma_window *window,
                   struct qy_cma_report *expected)
{
    unsigned ticket = qy_grace_enter(&cma->mm->grace);
    unsigned others = atomic_fetch_add_explicit(&cma->nr_searches, 1, memory_order_relaxed);
    int code;
    do
        code = qy_cma_choose(cma, request, avoid, others, window, expected);
    while (code == 0 && !(request->flags & QY_CMA_DRY_RUN) && !mark_if_clear(cma, window));
    atomic_fetch_sub_explicit(&cma->nr_searches, 1, memory_order_relaxed);
    qy_grace_leave(&cma->mm->grace, ticket);
    return code;
}

static void unreserve(struct qy_cma *cma, const struct qy_cma_window *window)
{
    qy_lock(&cma->lock);
    qy_assert(qy_cma_is_marked(cma, window, true), "N1");
    qy_cma_mark(cma, window, false);
    qy_unlock(&cma->lock);
}

/* ---- a request ---- */

static bool can_ever_serve(const struct qy_cma *cma, const struct qy_cma_request *request)
{
    uint64_t longest = 0;
    for (unsigned i = 0; i < cma->nr_parts; i++)
        longest = cma->part[i].nr_frames > longest ? cma->part[i].nr_frames : longest;
    return request->nr_frames != 0 && request->nr_frames <= longest &&
           request->align_order <= MAX_ALIGN_ORDER &&
           !(request->flags & ~(QY_CMA_DRY_RUN | QY_CMA_FIRST_FIT));
}

/** What stood in the way of the last window is avoided by the next. As Linux does, the first fit
 *  learns nothing but where to begin. */
static void avoid_stuck(struct qy_cma_avoid *avoid, const struct qy_cma_report *report,
                        const struct qy_cma_window *window)
{
    avoid->last = *window;
    unsigned named =
        report->nr_stuck < QY_CMA_MAX_STUCK ? (unsigned)report->nr_stuck : QY_CMA_MAX_STUCK;
    for (unsigned i = 0; i < named && avoid->count < QY_CMA_MAX_STUCK; i++)
        if (report->stuck[i].pfn - window->pfn < window->nr_frames)
            avoid->pfn[avoid->count++] = report->stuck[i].pfn;
}

/** The frames that stand in the way of the window that has the fewest. */
static void name_holders(struct qy_move *move, const struct qy_cma_window *window)
{
    uint64_t first = qy_frame_index(move->mm, window->pfn);
    unsigned ticket = qy_grace_enter(&move->mm->grace);
    for (uint64_t index = first; index < first + window->nr_frames; index++)
        if (qy_move_cost(move->mm, index) == QY_COST_NEVER)
            qy_move_stuck(move, move->mm->start_pfn + index, qy_move_reason(move->mm, index));
    qy_grace_leave(&move->mm->grace, ticket);
}

/** Try one window, whose bits are set. 0: it is taken; else its bits are clear again. */
static int try_window(struct qy_cma *cma, struct qy_move *move, const struct qy_cma_window *window,
                      struct qy_cma_avoid *avoid)
{
    struct qy_cma_report *report = move->report;
    struct qy_cma_report of_this = {0};
    move->report = &of_this;
    int code = qy_isolate(move, window->pfn, window->nr_frames);
    move->report = report;
    report->windows_tried++;
    report->moved += of_this.moved;
    report->dropped += of_this.dropped;
    report->written += of_this.written;
    if (code == 0) {
        report->free = window->nr_frames - of_this.moved - of_this.dropped;
        report->nr_stuck = 0; /* what stood in the way of others does not matter any more */
        return 0;
    }
    unreserve(cma, window);
    avoid_stuck(avoid, &of_this, window);
    if (report->nr_stuck == 0) {
        report->nr_stuck = of_this.nr_stuck;
        __builtin_memcpy(report->stuck, of_this.stuck, sizeof(report->stuck));
    }
    return code;
}

/** Windows that are tried before a request fails: what was in the way of one may have gone, and
 *  the same one be chosen again. */
#define MOST_WINDOWS (QY_CMA_MAX_STUCK + 4)

/** Is it worth another window? The first fit tries all. */
static bool goes_on(const struct qy_cma_request *request, struct qy_cma_avoid *avoid,
                    uint64_t tried)
{
    if (request->flags & QY_CMA_FIRST_FIT) {
        avoid->count = 0;
        return true;
    }
    return tried < MOST_WINDOWS && avoid->count < QY_CMA_MAX_STUCK;
}

/** In a guaranteed region nobody keeps a frame but with a lock held, for as long as a copy takes;
 *  it comes as soon as he runs again. So nothing but a deadline ends waiting for it. */
static bool never_fails(const struct qy_cma *cma)
{
    return cma->policy == QY_CMA_GUARANTEED;
}

/** Is what stuck let go of by itself, in time? */
static bool may_pass(const struct qy_cma_report *report)
{
    for (uint64_t i = 0; i < report->nr_stuck && i < QY_CMA_MAX_STUCK; i++)
        if (report->stuck[i].reason != QY_CMA_PINNED && report->stuck[i].reason != QY_CMA_BUSY)
            return false;
    return true;
}

/** No window came: somebody holds frames in each. Wait until there is one in which nobody does, and
 *  in that one until it is whole. */
static int wait_for_window(struct qy_cma *cma, const struct qy_cma_request *request,
                           struct qy_move *move, qy_pfn_t *pfn)
{
    struct qy_cma_avoid ignored = {0};
    struct qy_cma_window window;
    int code = reserve(cma, request, NULL, &window, NULL), slept = 0;
    for (unsigned naps = 0; code == -QY_EBUSY && slept == 0; naps++) {
        slept = qy_move_nap(move, naps);
        code = slept == 0 ? reserve(cma, request, NULL, &window, NULL) : code;
    }
    move->report->nr_stuck = 0;
    if (code == -QY_EBUSY)
        name_holders(move, &window);
    if (code != 0)
        return slept != 0 ? slept : code;
    code = try_window(cma, move, &window, &ignored);
    if (code == 0)
        *pfn = window.pfn;
    return code;
}

/** One window after the other, until one comes. */
static int try_windows(struct qy_cma *cma, const struct qy_cma_request *request,
                       struct qy_move *move, qy_pfn_t *pfn)
{
    struct qy_cma_avoid avoid = {0};
    struct qy_cma_window window;
    int code = -QY_ENOMEM;
    for (uint64_t i = 0; goes_on(request, &avoid, i); i++) {
        int chosen = reserve(cma, request, &avoid, &window, NULL);
        if (chosen != 0 && i > 0)
            return code; /* why the first window did not come says more */
        if (chosen == -QY_EBUSY)
            name_holders(move, &window);
        if (chosen != 0)
            return chosen;
        code = try_window(cma, move, &window, &avoid);
        if (code == 0)
            *pfn = window.pfn;
        if (code != -QY_EBUSY)
            return code;
    }
    return code;
}

/** How often it may sleep for what somebody holds: until the deadline if there is one, in a
 *  guaranteed region as often as it takes. The first fit tries all windows, as Linux does, and
 *  waits for none. */
static unsigned naps_for(const struct qy_cma *cma, const struct qy_cma_request *request)
{
    if (never_fails(cma))
        return UINT32_MAX;
    if (request->flags & QY_CMA_FIRST_FIT)
        return 0;
    return request->deadline_ns != 0 ? UINT32_MAX : QY_MOVE_NAPS;
}

static int take_back(struct qy_cma *cma, const struct qy_cma_request *request, bool patient,
                     struct qy_move *move, qy_pfn_t *pfn)
{
    int code = try_windows(cma, request, move, pfn);
    move->naps = patient ? naps_for(cma, request) : 0;
    while (code == -QY_EBUSY && may_pass(move->report)) {
        code = qy_move_nap(move, 0);
        if (code != 0)
            break;
        code = wait_for_window(cma, request, move, pfn);
    }
    return code;
}

/** Free frames outside of a window that has so many, which its pages could be moved to. */
static uint64_t room_beside(const struct qy_mm *mm, uint64_t free_in_it)
{
    struct qy_request request;
    uint64_t room = 0,
             limit = mm->options.limit_pages != 0 ? mm->options.limit_pages : mm->nr_frames;
    uint64_t charged = atomic_load_explicit(&mm->charged, memory_order_relaxed);
    if (!qy_request_read(&request, 0, QY_GFP_HIGHUSER_MOVABLE, 0))
        return 0;
    request.lends = true;
    for (unsigned z = 0; z < qy_nr_zones(mm); z++)
        room += qy_zone_room(&mm->zones[z], &request, QY_WMARK_MIN);
    room += mm->options.grow && limit > charged ? limit - charged : 0;
    return room > free_in_it ? room - free_in_it : 0;
}

/** Dirty pages are moved as long as there is room; then they are written, and dropped. */
static void expect_moved(const struct qy_mm *mm, struct qy_cma_report *report)
{
    uint64_t room = room_beside(mm, report->free);
    uint64_t left = room > report->moved ? room - report->moved : 0;
    uint64_t moved = report->written < left ? report->written : left;
    report->moved += moved;
    report->written -= moved;
    report->dropped += report->written;
}

/** Would it succeed? The report says at what cost; changes nothing. */
static int dry_run(struct qy_cma *cma, const struct qy_cma_request *request,
                   struct qy_cma_report *report)
{
    struct qy_cma_window window;
    struct qy_move move = {.mm = cma->mm, .report = report};
    int code = reserve(cma, request, NULL, &window, report);
    expect_moved(cma->mm, report);
    if (code == -QY_EBUSY)
        name_holders(&move, &window);
    return code;
}

static unsigned bucket_of(uint64_t ns)
{
    uint64_t us = ns / 1000;
    unsigned bucket = us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(us);
    return bucket < QY_CMA_LATENCIES ? bucket : QY_CMA_LATENCIES - 1;
}

static void count(struct qy_cma *cma, const struct qy_cma_report *report, uint64_t nr_frames,
                  int code)
{
    qy_lock(&cma->lock);
    struct qy_cma_stat *stat = &cma->stat;
    stat->requests++;
    stat->failures += code != 0;
    stat->alloc_pages_success += code == 0 ? nr_frames : 0;
    stat->alloc_pages_fail += code != 0 ? nr_frames : 0;
    stat->out += code == 0 ? nr_frames : 0;
    stat->moved += report->moved;
    stat->dropped += report->dropped;
    stat->written += report->written;
    stat->latency[bucket_of(report->ns)]++;
    qy_unlock(&cma->lock);
}

/** When a request's time is over; 0: never. */
static uint64_t deadline_of(const struct qy_cma_request *request, uint64_t started)
{
    if (request->deadline_ns == 0)
        return 0;
    uint64_t most = UINT64_MAX - started;
    return started + (request->deadline_ns < most ? request->deadline_ns : most);
}

/** @patient: what somebody holds for a moment is waited for. */
static int alloc(struct qy_cma *cma, const struct qy_cma_request *request, bool patient,
                 qy_pfn_t *pfn, struct qy_cma_report *report)
{
    *report = (struct qy_cma_report){0};
    if (!can_ever_serve(cma, request))
        return -QY_EINVAL;
    if (request->flags & QY_CMA_DRY_RUN)
        return dry_run(cma, request, report);
    uint64_t started = qy_port_clock_exact_ns();
    struct qy_move move = {
        .mm = cma->mm,
        .claim = cma->claim,
        .deadline_ns = deadline_of(request, started),
        .most = request->most_moved,
        .report = report,
    };
    int code = take_back(cma, request, patient, &move, pfn);
    qy_tell(cma->mm);
    report->ns = qy_port_clock_exact_ns() - started;
    count(cma, report, qy_cma_frames(cma, request->nr_frames), code);
    return code;
}

int qy_cma_alloc(struct qy_cma *cma, const struct qy_cma_request *request, qy_pfn_t *pfn,
                 struct qy_cma_report *report)
{
    struct qy_cma_report own = {0};
    report = report != NULL ? report : &own;
    *report = own;
    if (qy_port_inherited(cma))
        return -QY_ENOTSUP;
    return alloc(cma, request, true, pfn, report);
}

static void add_report(struct qy_cma_report *sum, const struct qy_cma_report *one)
{
    sum->ns += one->ns;
    sum->windows_tried += one->windows_tried;
    sum->free += one->free;
    sum->moved += one->moved;
    sum->dropped += one->dropped;
    sum->written += one->written;
    if (one->nr_stuck != 0) {
        sum->nr_stuck = one->nr_stuck;
        __builtin_memcpy(sum->stuck, one->stuck, sizeof(sum->stuck));
    }
}

/** Of the request's time and work, a next block has what is left; false: nothing is. */
static bool limit_rest(struct qy_cma_request *block, const struct qy_cma_request *request,
                       const struct qy_cma_report *done)
{
    uint64_t work = done->moved + done->written;
    if ((request->deadline_ns != 0 && done->ns >= request->deadline_ns) ||
        (request->most_moved != 0 && work >= request->most_moved))
        return false;
    block->deadline_ns = request->deadline_ns != 0 ? request->deadline_ns - done->ns : 0;
    block->most_moved = request->most_moved != 0 ? request->most_moved - work : 0;
    return true;
}

int qy_cma_alloc_partial(struct qy_cma *cma, const struct qy_cma_request *request, qy_pfn_t *pfns,
                         struct qy_cma_report *report)
{
    struct qy_cma_report own = {0}, one = {0};
    struct qy_cma_request block = *request;
    uint64_t wanted = request->nr_frames >> request->align_order;
    int code = -QY_EINVAL;
    int got = 0;
    report = report != NULL ? report : &own;
    *report = (struct qy_cma_report){0};
    if (qy_port_inherited(cma))
        return -QY_ENOTSUP;
    if (request->align_order > MAX_ALIGN_ORDER || wanted == 0 || wanted > INT32_MAX ||
        (request->flags & QY_CMA_DRY_RUN))
        return code;
    block.nr_frames = UINT64_C(1) << request->align_order;
    while ((uint64_t)got < wanted) {
        code = alloc(cma, &block, got == 0, &pfns[got], &one); /* enough is what there is */
        add_report(report, &one);
        got += code == 0;
        if (code != 0 || !limit_rest(&block, request, report))
            break;
    }
    return got > 0 ? got : code;
}

static bool find_window(const struct qy_cma *cma, qy_pfn_t pfn, uint64_t nr_frames,
                        struct qy_cma_window *window)
{
    uint64_t bit = UINT64_C(1) << cma->order_per_bit;
    nr_frames = qy_cma_frames(cma, nr_frames);
    for (unsigned i = 0; i < cma->nr_parts; i++) {
        const struct qy_cma_part *part = &cma->part[i];
        if (pfn >= part->pfn && pfn - part->pfn < part->nr_frames &&
            nr_frames <= part->nr_frames - (pfn - part->pfn) && (pfn - part->pfn) % bit == 0) {
            *window = (struct qy_cma_window){.part = i, .pfn = pfn, .nr_frames = nr_frames};
            return nr_frames != 0;
        }
    }
    return false;
}

int qy_cma_release(struct qy_cma *cma, qy_pfn_t pfn, uint64_t nr_frames)
{
    if (qy_port_inherited(cma))
        return -QY_ENOTSUP;
    struct qy_cma_window window;
    bool is_out = find_window(cma, pfn, nr_frames, &window) &&
                  qy_claim_holds(cma->mm, cma->claim, pfn, window.nr_frames);
    if (!is_out)
        return qy_fault_report(cma->mm, &(struct qy_fault){.what = "release",
                                                           .rule = "N1",
                                                           .address = pfn,
                                                           .unit = "frame",
                                                           .note = "not all of them are out"});
    uint64_t freed = qy_unclaim(cma->mm, cma->claim, pfn, window.nr_frames);
    qy_tell(cma->mm);
    qy_lock(&cma->lock);
    qy_cma_mark(cma, &window, false);
    cma->stat.out -= freed;
    cma->stat.release_pages_success += freed;
    qy_unlock(&cma->lock);
    return 0;
}
