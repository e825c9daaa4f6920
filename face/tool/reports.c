/*
 * reports.c - what the processes of `quarry run` left on their boards
 */
#include "tool.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_at(int board, uint64_t offset, void *to, size_t bytes)
{
    return pread(board, to, bytes, (off_t)offset) == (ssize_t)bytes;
}

static uint64_t views_live_bytes(const struct views *views)
{
    uint64_t frames = 0, bytes = 0;
    uint64_t others = views->memory.quarantined; /* frames that are no blocks in use */
    for (size_t z = 0; z < views->nr_zones; z++)
        frames += views->zones[z].managed - views->zones[z].free - views->zones[z].pcp;
    for (size_t c = 0; c < views->nr_caches; c++) {
        bytes += views->caches[c].active_objs * views->caches[c].objsize;
        others += views->caches[c].num_slabs * views->caches[c].pagesperslab;
    }
    return bytes + (frames > others ? frames - others : 0) * views->memory.page_bytes;
}

/** What is in use since the picture was taken, or is no more, is only known in whole frames. */
static uint64_t live_now(uint64_t then_bytes, uint64_t used_then, uint64_t used)
{
    if (used >= used_then)
        return then_bytes + (used - used_then) * QY_PAGE_BYTES;
    uint64_t less = (used_then - used) * QY_PAGE_BYTES;
    return then_bytes > less ? then_bytes - less : 0;
}

static void read_picture(struct report *report, const struct qy_board *board,
                         struct qy_snapshot *snapshot, size_t place)
{
    if (qy_snapshot_check(snapshot) != 0)
        return;
    struct qy_lens lens = qy_snapshot_lens(snapshot);
    views_copy(&report->views, &lens);
    report->has_views = report->views.nr_zones > 0;
    report->meta_bytes = report->views.memory.meta_bytes;
    report->live_bytes =
        live_now(views_live_bytes(&report->views), board->picture_used[place], board->use.used);
    uint64_t peak = report->views.memory.allocated_peak * report->views.memory.page_bytes;
    if (report->peak_bytes < peak)
        report->peak_bytes = peak;
}

static void read_last_picture(struct report *report, const struct qy_board *board, int file)
{
    size_t place = (board->nr_pictures - 1) % 2, length = board->picture_length[place];
    if (board->nr_pictures == 0 || length > QY_PICTURE_BYTES)
        return;
    unsigned char *bytes = malloc(length + 1);
    if (bytes == NULL)
        err(EXIT_RUN_FAILED, "quarry");
    struct qy_snapshot snapshot = {.bytes = bytes, .length = length};
    if (read_at(file, QY_PAGE_BYTES + place * QY_PICTURE_BYTES, bytes, length))
        read_picture(report, board, &snapshot, place);
    free(bytes);
}

bool report_read(struct report *report, int file)
{
    struct qy_board board;
    struct stat status;
    *report = (struct report){.end = END_UNKNOWN};
    if (fstat(file, &status) != 0 || (uint64_t)status.st_size != QY_BOARD_BYTES ||
        !read_at(file, 0, &board, sizeof(board)))
        return false;
    report->process = board.process;
    report->before = board.process.usage;
    report->process.name[sizeof(report->process.name) - 1] = '\0';
    report->peak_bytes = board.use.peak * QY_PAGE_BYTES;
    report->live_bytes = board.use.used * QY_PAGE_BYTES;
    report->is_final = board.end != QY_END_NONE;
    if (report->is_final) {
        report->process.usage = board.at_end;
        report->late_bytes = (board.use.peak - board.peak_at_end) * QY_PAGE_BYTES;
    }
    if (board.end == QY_END_EXIT)
        report->end = END_EXIT;
    else if (board.end == QY_END_EXIT_AT_ONCE)
        report->end = END_EXIT_AT_ONCE;
    read_last_picture(report, &board, file);
    return true;
}

/* ---- all of them ---- */

static int larger_first(const void *one, const void *other)
{
    const struct report *a = one, *b = other;
    if (a->process.usage.peak_rss_kb != b->process.usage.peak_rss_kb)
        return a->process.usage.peak_rss_kb < b->process.usage.peak_rss_kb ? 1 : -1;
    if (a->process.start_ns != b->process.start_ns)
        return a->process.start_ns < b->process.start_ns ? -1 : 1;
    return a->process.pid < b->process.pid ? -1 : a->process.pid > b->process.pid;
}

void reports_sort(struct reports *reports)
{
    if (reports->count > 0)
        qsort(reports->list, reports->count, sizeof(*reports->list), larger_first);
    reports->with_views = 0;
    for (size_t r = 0; r < reports->count; r++) {
        struct report *report = &reports->list[r];
        if (report->has_views && reports->with_views == REPORTS_VIEWS) {
            views_free(&report->views);
            report->has_views = false;
        }
        reports->with_views += report->has_views;
    }
    if (reports->count > REPORTS_MOST) {
        reports->left_out += reports->count - REPORTS_MOST;
        reports->count = REPORTS_MOST;
    }
}

void reports_add(struct reports *reports, const struct report *report)
{
    if (reports->count == 2 * (size_t)REPORTS_MOST)
        reports_sort(reports);
    if ((reports->count & (reports->count - 1)) == 0) {
        size_t room = reports->count == 0 ? 1 : 2 * reports->count;
        reports->list = reallocarray(reports->list, room, sizeof(*reports->list));
        if (reports->list == NULL)
            err(EXIT_RUN_FAILED, "quarry");
    }
    reports->list[reports->count++] = *report;
    reports->with_views += report->has_views;
    if (reports->with_views > 4 * REPORTS_VIEWS)
        reports_sort(reports);
}

/** The only program that this process was; NULL: it was several. */
static struct report *only_one(struct reports *reports, pid_t pid)
{
    struct report *found = NULL;
    for (size_t r = 0; r < reports->count; r++) {
        if ((pid_t)reports->list[r].process.pid != pid)
            continue;
        if (found != NULL)
            return NULL;
        found = &reports->list[r];
    }
    return found;
}

static uint64_t microseconds(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

void reports_complete(struct reports *reports, const struct ending *ending)
{
    struct report *report = only_one(reports, ending->pid);
    struct rusage own;
    if (report != NULL && report->end == END_UNKNOWN && ending->signal != 0) {
        report->end = END_SIGNAL;
        report->signal = ending->signal;
    }
    if (report == NULL || !ending->is_own || getrusage(RUSAGE_SELF, &own) != 0)
        return;
    struct qy_usage *usage = &report->process.usage;
    usage->user_us = microseconds(&ending->usage.ru_utime);
    usage->system_us = microseconds(&ending->usage.ru_stime);
    usage->minor_faults = (uint64_t)ending->usage.ru_minflt;
    usage->major_faults = (uint64_t)ending->usage.ru_majflt;
    /* Before it became the program it was a copy of this process: what is less may be that. */
    if (ending->usage.ru_maxrss > own.ru_maxrss &&
        (uint64_t)ending->usage.ru_maxrss > usage->peak_rss_kb)
        usage->peak_rss_kb = (uint64_t)ending->usage.ru_maxrss;
}

void reports_free(struct reports *reports)
{
    for (size_t r = 0; r < reports->count; r++)
        views_free(&reports->list[r].views);
    free(reports->list);
    *reports = (struct reports){.list = NULL};
}
