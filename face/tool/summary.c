/*
 * summary.c - what `quarry run` says at the end
 */
#include "json.h"
#include "tool.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/** Lines of a table, at most; the rest is counted. */
#define PROCESSES_SHOWN 20
#define CACHES_SHOWN 10

static const char *bold(FILE *out)
{
    return wants_colour(out) ? "\033[1m" : "";
}

static const char *plain(FILE *out)
{
    return wants_colour(out) ? "\033[0m" : "";
}

static double seconds(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

static void headline(FILE *out, const struct reports *reports, const struct ending *ending,
                     char *const *argv)
{
    size_t others = reports->left_out + reports->unseen;
    for (size_t r = 0; r < reports->count; r++)
        others += (pid_t)reports->list[r].process.pid != ending->pid &&
                  reports->list[r].end != END_EXEC; /* it has another line, of what it became */
    fprintf(out, "%squarry: %s", bold(out), plain_name(argv[0]));
    if (others > 0)
        fprintf(out, " and %zu more process%s", others, others == 1 ? "" : "es");
    if (ending->signal != 0)
        fprintf(out, ", killed by signal %d (%s)", ending->signal, strsignal(ending->signal));
    else
        fprintf(out, ", exit status %d", ending->status);
    fprintf(out, "%s\n", plain(out));
    fprintf(out, "%.3f s elapsed, %.3f s user, %.3f s system, %ld page faults in all\n",
            (double)ending->wall_ns / 1e9, seconds(&ending->usage.ru_utime),
            seconds(&ending->usage.ru_stime), ending->usage.ru_minflt + ending->usage.ru_majflt);
}

/** In the width of a column; "" for the usual end. */
static const char *end_name(const struct report *report)
{
    static const char *const names[] = {
        [END_EXIT] = "",         [END_EXIT_AT_ONCE] = "_exit", [END_EXEC] = "exec",
        [END_SIGNAL] = "signal", [END_RUNNING] = "runs",       [END_UNKNOWN] = "?",
    };
    const char *signal = report->end == END_SIGNAL ? sigabbrev_np(report->signal) : NULL;
    return signal != NULL ? signal : names[report->end];
}

/** A figure of the end, or as it was when it was last seen. */
static void process_line(FILE *out, const struct report *report)
{
    const struct qy_process_view *process = &report->process;
    const struct qy_usage *usage = &process->usage;
    fprintf(out, "%7" PRIu64 "  %-15.15s %10s %10s %10s%c %7.3f %7" PRIu64 "%s%s\n", process->pid,
            plain_name(process->name),
            usage->peak_rss_kb == 0 ? "-" : human_bytes(usage->peak_rss_kb * 1024),
            human_bytes(report->peak_bytes), human_bytes(report->live_bytes),
            report->is_final ? ' ' : '~', (double)(usage->user_us + usage->system_us) / 1e6,
            usage->minor_faults + usage->major_faults, *end_name(report) != '\0' ? " " : "",
            end_name(report));
}

/** What a process was after @before, or first; NULL: nothing else. */
static const struct report *next_of(const struct reports *reports, pid_t pid,
                                    const struct report *before)
{
    uint64_t after_ns = before == NULL ? 0 : before->process.start_ns;
    const struct report *next = NULL;
    for (size_t r = 0; r < reports->count; r++) {
        const struct report *report = &reports->list[r];
        if ((pid_t)report->process.pid == pid && report->process.start_ns > after_ns &&
            (next == NULL || report->process.start_ns < next->process.start_ns))
            next = report;
    }
    return next;
}

static void process_table(FILE *out, const struct reports *reports, const struct ending *ending)
{
    fprintf(out, "\n%s%7s  %-15s %10s %10s %10s  %7s %7s %s%s\n", bold(out), "PID", "PROGRAM",
            "PEAK RSS", "PEAK HEAP", "AT END", "CPU s", "FAULTS", "END", plain(out));
    /* The program itself comes first, as all that it was, then the others, largest first. */
    const struct report *own = NULL;
    while ((own = next_of(reports, ending->pid, own)) != NULL)
        process_line(out, own);
    size_t shown = 0, left = reports->left_out;
    bool guessed = false;
    for (size_t r = 0; r < reports->count; r++) {
        const struct report *report = &reports->list[r];
        bool is_shown = (pid_t)report->process.pid == ending->pid || shown < PROCESSES_SHOWN;
        guessed |= is_shown && !report->is_final;
        if ((pid_t)report->process.pid == ending->pid)
            continue;
        if (shown++ < PROCESSES_SHOWN)
            process_line(out, report);
        else
            left++;
    }
    if (left > 0)
        fprintf(out, "%7s  and %zu more\n", "", left);
    if (reports->unseen > 0)
        fprintf(out, "%7s  and %zu that could not be watched: too many at once\n", "",
                reports->unseen);
    if (guessed)
        fprintf(out, "~ it could not report at its end: these are the last figures known\n");
}

static void buddyinfo(FILE *out, const struct views *views)
{
    fprintf(out, "\n%sFREE BLOCKS OF ", bold(out));
    for (unsigned order = 0; order < QY_NR_ORDERS; order++) {
        uint64_t kb = views->memory.page_bytes / 1024 << order;
        fprintf(out, "%4" PRIu64 "%c", kb < 1024 ? kb : kb / 1024, kb < 1024 ? 'K' : 'M');
        fputs(order + 1 < QY_NR_ORDERS ? " " : "", out);
    }
    fprintf(out, "%s\n", plain(out));
    for (size_t z = 0; z < views->nr_zones; z++) {
        const struct qy_zone_view *zone = &views->zones[z];
        if (!zone->populated)
            continue;
        fprintf(out, "node %" PRIu64 " %-7s", zone->node, zone->name);
        for (unsigned order = 0; order < QY_NR_ORDERS; order++)
            fprintf(out, " %5s", short_count(zone->nr_free[order]));
        fputc('\n', out);
    }
}

static uint64_t cache_frames(const struct qy_cache_view *cache)
{
    return cache->num_slabs * cache->pagesperslab;
}

static uint64_t live_bytes(const struct qy_cache_view *cache)
{
    return cache->active_objs * cache->objsize;
}

static int busier_first(const void *one, const void *other)
{
    const struct qy_cache_view *a = one, *b = other;
    if (live_bytes(a) != live_bytes(b))
        return live_bytes(a) < live_bytes(b) ? 1 : -1;
    if (cache_frames(a) != cache_frames(b))
        return cache_frames(a) < cache_frames(b) ? 1 : -1;
    return strcmp(a->name, b->name);
}

static void caches(FILE *out, struct views *views)
{
    uint64_t page = views->memory.page_bytes;
    if (views->nr_caches > 0)
        qsort(views->caches, views->nr_caches, sizeof(*views->caches), busier_first);
    fprintf(out, "\n%s%-20s %8s %9s %9s %5s %11s %11s%s\n", bold(out), "CACHE", "OBJSIZE", "LIVE",
            "ROOM FOR", "FULL", "LIVE BYTES", "MEMORY", plain(out));
    size_t shown = 0, left = 0;
    for (size_t c = 0; c < views->nr_caches; c++) {
        const struct qy_cache_view *cache = &views->caches[c];
        if (cache->num_slabs == 0)
            continue;
        if (shown++ >= CACHES_SHOWN) {
            left++;
            continue;
        }
        double full =
            100.0 * (double)cache->active_objs / (double)(cache->num_objs + !cache->num_objs);
        fprintf(out, "%-20.20s %8" PRIu64 " %9" PRIu64 " %9" PRIu64 " %4.0f%% %11s %11s\n",
                plain_name(cache->name), cache->objsize, cache->active_objs, cache->num_objs, full,
                human_bytes(live_bytes(cache)), human_bytes(cache_frames(cache) * page));
    }
    if (left > 0)
        fprintf(out, "and %zu with less\n", left);
    const char *label;
    uint64_t bytes;
    for (size_t i = 0; (label = outside_caches(views, i, &bytes)) != NULL; i++)
        if (bytes > 0)
            fprintf(out, "%-67s %11s\n", label, human_bytes(bytes));
}

static void regions(FILE *out, const struct views *views)
{
    if (views->nr_regions == 0)
        return;
    fprintf(out, "\n%s%s%s\n", bold(out), region_columns, plain(out));
    for (size_t r = 0; r < views->nr_regions; r++)
        fprintf(out, "%s\n", region_line(&views->regions[r], views->memory.page_bytes));
}

static void cost(FILE *out, const struct views *views)
{
    uint64_t page = views->memory.page_bytes, pcp = 0, managed = 0;
    for (size_t z = 0; z < views->nr_zones; z++) {
        pcp += views->zones[z].pcp;
        managed += views->zones[z].managed;
    }
    fprintf(out, "\nQuarry's own: %s of metadata, %s in threads' lists,\n",
            human_bytes(views->memory.meta_bytes), human_bytes(pcp * page));
    fprintf(out, "%s free and not yet given back, of %s that it manages",
            human_bytes(views->memory.backed * page), human_bytes(managed * page));
    if (views->memory.limit > 0)
        fprintf(out, "; limit %s", human_bytes(views->memory.limit * page));
    fputs(".\n", out);
}

void summary_text(FILE *out, const struct reports *reports, const struct ending *ending,
                  char *const *argv)
{
    headline(out, reports, ending, argv);
    if (reports->count == 0 && ending->status == EXIT_RUN_FAILED)
        return; /* Quarry itself ended it, and has said why */
    if (reports->count == 0) {
        fprintf(out,
                "\nno report: %s never loaded Quarry (is it static, or set-user-ID?),\n"
                "or is in another network namespace and could not say so\n",
                plain_name(argv[0]));
        return;
    }
    process_table(out, reports, ending);
    for (size_t r = 0; r < reports->count; r++) {
        struct report *report = &reports->list[r];
        if (!report->has_views)
            continue;
        fprintf(out, "\n%s%s (%" PRIu64 ") %s%s\n", bold(out), plain_name(report->process.name),
                report->process.pid,
                report->is_final ? "at its end" : "at its last picture, before its end",
                plain(out));
        buddyinfo(out, &report->views);
        caches(out, &report->views);
        regions(out, &report->views);
        cost(out, &report->views);
        return;
    }
    fputs(reports->list[0].peak_bytes > 0
              ? "\nNo free blocks and caches: it was killed before it made a picture of them.\n"
              : "\nNo process took memory from Quarry.\n",
          out);
}

static json_t *process_json(const struct report *report)
{
    const struct qy_process_view *process = &report->process;
    static const char *const ends[] = {
        [END_EXIT] = "exit",     [END_EXIT_AT_ONCE] = "_exit", [END_EXEC] = "exec",
        [END_SIGNAL] = "signal", [END_RUNNING] = "running",    [END_UNKNOWN] = "unknown",
    };
    json_t *object =
        json_pack("{s:I, s:o, s:I, s:s, s:i, s:b, s:b}", "pid", (json_int_t)process->pid, "program",
                  json_text(process->name), "parent", (json_int_t)process->parent, "ending",
                  ends[report->end], "signal", report->signal, "final", (int)report->is_final,
                  "report", (int)report->has_views);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"peak_rss_bytes", process->usage.peak_rss_kb * 1024},
        {"peak_heap_bytes", report->peak_bytes},
        {"live_at_end_bytes", report->live_bytes},
        {"metadata_bytes", report->meta_bytes},
        {"user_us", process->usage.user_us},
        {"system_us", process->usage.system_us},
        {"minor_faults", process->usage.minor_faults},
        {"major_faults", process->usage.major_faults},
    };
    for (size_t f = 0; f < sizeof(figures) / sizeof(figures[0]); f++)
        json_object_set_new(object, figures[f].name, json_integer((json_int_t)figures[f].value));
    if (!report->has_views)
        return object;
    for (size_t w = 0; w < nr_whats; w++)
        if (whats[w].print != qy_show_sysrq_m)
            json_object_set_new(object, whats[w].name, json_what(&whats[w], &report->views));
    return object;
}

void summary_json(FILE *out, const struct reports *reports, const struct ending *ending,
                  char *const *argv)
{
    json_t *command = json_array(), *processes = json_array();
    for (size_t a = 0; argv[a] != NULL; a++)
        json_array_append_new(command, json_text(argv[a]));
    for (size_t r = 0; r < reports->count; r++)
        json_array_append_new(processes, process_json(&reports->list[r]));
    json_t *object = json_pack(
        "{s:o, s:i, s:i, s:f, s:f, s:f, s:I, s:o}", "command", command, "exit_status",
        ending->status, "signal", ending->signal, "elapsed_s", (double)ending->wall_ns / 1e9,
        "user_s", seconds(&ending->usage.ru_utime), "system_s", seconds(&ending->usage.ru_stime),
        "processes_left_out", (json_int_t)reports->left_out + (json_int_t)reports->unseen,
        "processes", processes);
    json_write(object, out);
}
