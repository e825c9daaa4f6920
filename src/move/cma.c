/*
 * cma.c - contiguous regions: reserve, take back, release
 *
 * WHAT    A region's frames are ordinary frames of their zone, in pageblocks of a migratetype
 *         that only borrowers are served from. A bit of its bitmap says that frames are out in
 *         a buffer, or being taken back for one:
 *
 *           choose a window (choose.c) and set its bits       lock held
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

#include <quarry/slab.h>

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
        uint64_t mask = UINT64_C(1) << bit % 64;
        bitmap[bit / 64] = out ? bitmap[bit / 64] | mask : bitmap[bit / 64] & ~mask;
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

/** Choose a window and set its bits. */
static bool reserve(struct qy_cma *cma, const struct qy_cma_request *request,
                    const struct qy_cma_avoid *avoid, struct qy_cma_window *window)
{
    unsigned ticket = qy_grace_enter(&cma->mm->grace);
    qy_lock(&cma->lock);
    bool found = qy_cma_choose(cma, request, avoid, window, NULL);
    if (found)
        qy_cma_mark(cma, window, true);
    qy_unlock(&cma->lock);
    qy_grace_leave(&cma->mm->grace, ticket);
    return found;
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
           !(request->flags & ~(QY_CMA_DRY_RUN | QY_CMA_PARTIAL | QY_CMA_FIRST_FIT));
}

/** What stood in the way of the last window is avoided by the next. */
static void avoid_stuck(struct qy_cma_avoid *avoid, const struct qy_cma_report *report,
                        const struct qy_cma_window *window)
{
    unsigned named =
        report->nr_stuck < QY_CMA_MAX_STUCK ? (unsigned)report->nr_stuck : QY_CMA_MAX_STUCK;
    for (unsigned i = 0; i < named && avoid->count < QY_CMA_MAX_STUCK; i++)
        if (report->stuck[i].pfn - window->pfn < window->nr_frames)
            avoid->pfn[avoid->count++] = report->stuck[i].pfn;
}

/** One window after the other, until one comes. */
static int take_back(struct qy_cma *cma, const struct qy_cma_request *request, struct qy_move *move,
                     qy_pfn_t *pfn)
{
    struct qy_cma_report *report = move->report;
    struct qy_cma_avoid avoid = {0};
    struct qy_cma_window window;
    int code = -QY_ENOMEM;
    while (avoid.count < QY_CMA_MAX_STUCK && reserve(cma, request, &avoid, &window)) {
        struct qy_cma_report of_this = {0};
        move->report = &of_this;
        code = qy_isolate(move, window.pfn, window.nr_frames);
        move->report = report;
        report->windows_tried++;
        report->moved += of_this.moved;
        report->dropped += of_this.dropped;
        report->written += of_this.written;
        if (code == 0) {
            report->free = window.nr_frames - of_this.moved - of_this.dropped;
            *pfn = window.pfn;
            return 0;
        }
        unreserve(cma, &window);
        if (report->nr_stuck == 0 && of_this.nr_stuck != 0) {
            report->nr_stuck = of_this.nr_stuck;
            __builtin_memcpy(report->stuck, of_this.stuck, sizeof(report->stuck));
        }
        if (code != -QY_EBUSY)
            return code;
        unsigned before = avoid.count;
        avoid_stuck(&avoid, &of_this, &window);
        if (avoid.count == before)
            return code;
    }
    return code;
}

/** Would it succeed? The report says at what cost; changes nothing. */
static int dry_run(struct qy_cma *cma, const struct qy_cma_request *request,
                   struct qy_cma_report *report)
{
    struct qy_cma_window window;
    unsigned ticket = qy_grace_enter(&cma->mm->grace);
    qy_lock(&cma->lock);
    bool found = qy_cma_choose(cma, request, NULL, &window, report);
    qy_unlock(&cma->lock);
    qy_grace_leave(&cma->mm->grace, ticket);
    return found ? 0 : -QY_ENOMEM;
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

int qy_cma_alloc(struct qy_cma *cma, const struct qy_cma_request *request, qy_pfn_t *pfn,
                 struct qy_cma_report *report)
{
    struct qy_cma_report own;
    report = report != NULL ? report : &own;
    *report = (struct qy_cma_report){0};
    if (!can_ever_serve(cma, request) || (request->flags & QY_CMA_PARTIAL))
        return -QY_EINVAL;
    if (request->flags & QY_CMA_DRY_RUN)
        return dry_run(cma, request, report);
    uint64_t started = qy_port_clock_exact_ns();
    struct qy_move move = {
        .mm = cma->mm,
        .claim = cma->claim,
        .deadline_ns = request->deadline_ns != 0 ? started + request->deadline_ns : 0,
        .most = request->most_moved,
        .report = report,
    };
    int code = take_back(cma, request, &move, pfn);
    report->ns = qy_port_clock_exact_ns() - started;
    uint64_t bit = UINT64_C(1) << cma->order_per_bit;
    count(cma, report, (request->nr_frames + bit - 1) / bit * bit, code);
    return code;
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

int qy_cma_alloc_partial(struct qy_cma *cma, const struct qy_cma_request *request, qy_pfn_t *pfns,
                         struct qy_cma_report *report)
{
    struct qy_cma_report own, one;
    struct qy_cma_request block = *request;
    uint64_t wanted = request->nr_frames >> request->align_order;
    int code = -QY_EINVAL;
    int got = 0;
    report = report != NULL ? report : &own;
    *report = (struct qy_cma_report){0};
    if (request->align_order > MAX_ALIGN_ORDER || wanted == 0 || wanted > INT32_MAX ||
        (request->flags & QY_CMA_DRY_RUN))
        return code;
    block.flags &= ~QY_CMA_PARTIAL;
    block.nr_frames = UINT64_C(1) << request->align_order;
    while ((uint64_t)got < wanted) {
        code = qy_cma_alloc(cma, &block, &pfns[got], &one);
        add_report(report, &one);
        if (code != 0)
            break;
        got++;
    }
    return got > 0 ? got : code;
}

static bool find_window(const struct qy_cma *cma, qy_pfn_t pfn, uint64_t nr_frames,
                        struct qy_cma_window *window)
{
    uint64_t bit = UINT64_C(1) << cma->order_per_bit;
    nr_frames = (nr_frames + bit - 1) / bit * bit;
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
    struct qy_cma_window window;
    bool is_out = find_window(cma, pfn, nr_frames, &window) &&
                  qy_claim_holds(cma->mm, cma->claim, pfn, window.nr_frames);
    if (!is_out)
        return qy_fault_report(
            cma->mm,
            &(struct qy_fault){.what = "release of frames not out", .rule = "N1", .address = pfn});
    uint64_t freed = qy_unclaim(cma->mm, cma->claim, pfn, window.nr_frames);
    qy_lock(&cma->lock);
    qy_cma_mark(cma, &window, false);
    cma->stat.out -= freed;
    cma->stat.release_pages_success += freed;
    qy_unlock(&cma->lock);
    return 0;
}
