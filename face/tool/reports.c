/*
 * reports.c - what the processes of `quarry run` left behind
 */
#include "tool.h"

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/** No report is larger than some hundred kilobytes. */
#define REPORT_BYTES_MOST (16u << 20)

/** A whole file of the folder; NULL where there is none. The caller frees it. */
static unsigned char *read_file(int folder, const char *name, size_t *length)
{
    unsigned char *bytes = NULL;
    struct stat status;
    *length = 0;
    int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return NULL;
    if (fstat(file, &status) == 0 && status.st_size > 0 && status.st_size < REPORT_BYTES_MOST)
        bytes = malloc((size_t)status.st_size);
    while (bytes != NULL && *length < (size_t)status.st_size) {
        ssize_t got = read(file, bytes + *length, (size_t)status.st_size - *length);
        if (got <= 0)
            break;
        *length += (size_t)got;
    }
    close(file);
    return bytes;
}

static struct report *report_of(struct reports *reports, uint64_t pid)
{
    for (size_t r = 0; r < reports->count; r++)
        if (reports->list[r].process.pid == pid)
            return &reports->list[r];
    struct report *grown = reallocarray(reports->list, reports->count + 1, sizeof(*reports->list));
    if (grown == NULL)
        err(EXIT_RUN_FAILED, "quarry");
    reports->list = grown;
    grown += reports->count++;
    *grown = (struct report){.process = {.pid = pid}};
    return grown;
}

static void read_start(struct report *report, const unsigned char *bytes, size_t length)
{
    if (length == sizeof(report->process) && !report->has_views)
        memcpy(&report->process, bytes, length);
}

static void read_end(struct report *report, const unsigned char *bytes, size_t length)
{
    struct qy_snapshot snapshot = {.bytes = bytes, .length = length};
    if (qy_snapshot_check(&snapshot) != 0)
        return;
    const void *process =
        qy_snapshot_find(&snapshot, QY_RECORD_PROCESS, 0, sizeof(report->process));
    if (process == NULL)
        return;
    memcpy(&report->process, process, sizeof(report->process));
    struct qy_lens lens = qy_snapshot_lens(&snapshot);
    views_copy(&report->views, &lens);
    report->has_views = true;
}

static void read_entry(struct reports *reports, int folder, const char *name)
{
    char *suffix;
    uint64_t pid = strtoull(name, &suffix, 10);
    bool is_start = strcmp(suffix, ".start") == 0, is_end = strcmp(suffix, ".end") == 0;
    size_t length;
    if (!is_start && !is_end)
        return;
    unsigned char *bytes = read_file(folder, name, &length);
    struct report *report = report_of(reports, pid);
    if (bytes != NULL && is_start)
        read_start(report, bytes, length);
    else if (bytes != NULL)
        read_end(report, bytes, length);
    report->process.name[sizeof(report->process.name) - 1] = '\0';
    free(bytes);
}

static int larger_first(const void *one, const void *other)
{
    const struct report *a = one, *b = other;
    if (a->process.peak_rss_kb != b->process.peak_rss_kb)
        return a->process.peak_rss_kb < b->process.peak_rss_kb ? 1 : -1;
    return a->process.pid < b->process.pid ? -1 : a->process.pid > b->process.pid;
}

void reports_collect(struct reports *reports, const char *folder)
{
    DIR *directory = opendir(folder);
    *reports = (struct reports){.list = NULL};
    if (directory == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        read_entry(reports, dirfd(directory), entry->d_name);
        unlinkat(dirfd(directory), entry->d_name, 0);
    }
    closedir(directory);
    rmdir(folder);
    if (reports->count > 0)
        qsort(reports->list, reports->count, sizeof(*reports->list), larger_first);
}

void reports_free(struct reports *reports)
{
    for (size_t r = 0; r < reports->count; r++)
        views_free(&reports->list[r].views);
    free(reports->list);
    *reports = (struct reports){.list = NULL};
}

uint64_t report_live_bytes(const struct report *report)
{
    const struct views *views = &report->views;
    uint64_t frames = 0, bytes = 0, slab_frames = 0;
    for (size_t z = 0; z < views->nr_zones; z++)
        frames += views->zones[z].managed - views->zones[z].free - views->zones[z].pcp;
    for (size_t c = 0; c < views->nr_caches; c++) {
        bytes += views->caches[c].active_objs * views->caches[c].objsize;
        slab_frames += views->caches[c].num_slabs * views->caches[c].pagesperslab;
    }
    return bytes + (frames > slab_frames ? frames - slab_frames : 0) * views->memory.page_bytes;
}

uint64_t report_heap_peak_bytes(const struct report *report)
{
    return report->views.memory.allocated_peak * report->views.memory.page_bytes;
}
