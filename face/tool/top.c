/*
 * top.c - `quarry top`: zones, free blocks and caches, live
 */
#include "tool.h"

#include <curses.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REFRESH_MS 500
/** How high the bar of the order that most free memory lies in is. */
#define BAR_ROWS 3
#define FIRST_COLUMN 15
#define COLUMN_WIDTH 6

/** A line of text from the left edge; what a narrow window has no room for is left out. How long
 *  it is. */
static __attribute__((format(printf, 2, 3))) int put_line(int row, const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    mvaddnstr(row, 0, line, COLS);
    return length;
}

/** @target: NULL: this machine. */
static int gather(const struct target *target, size_t memory, struct views *views)
{
    if (target != NULL)
        return remote_read(target, memory, views);
    static const char *const parts[] = {"zoneinfo", "buddyinfo", "cma", "slabinfo"};
    int status = EXIT_OK;
    for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]) && status == EXIT_OK; p++) {
        bool only_root = strcmp(parts[p], "slabinfo") == 0;
        if (only_root && access("/proc/slabinfo", R_OK) != 0)
            break;
        status = host_read(what_find(parts[p]), views);
    }
    return status;
}

static void draw_head(const struct target *target, size_t memory, const struct views *views)
{
    uint64_t managed = 0, page = views->memory.page_bytes;
    for (size_t z = 0; z < views->nr_zones; z++)
        managed += views->zones[z].managed;
    char peak[32] = "";
    if (views->memory.allocated_peak > 0)
        snprintf(peak, sizeof(peak), ", peak %s", human_bytes(views->memory.allocated_peak * page));
    char who[96] = "this machine";
    if (target != NULL && target->count == 1)
        snprintf(who, sizeof(who), "process %d", (int)target->pid);
    else if (target != NULL)
        snprintf(who, sizeof(who), "process %d, memory %zu of %zu", (int)target->pid, memory + 1,
                 target->count);
    attr_t bold = wants_colour(stdout) ? A_BOLD : A_NORMAL;
    attron(bold);
    int length = put_line(0, "%s: %s in use of %s%s", who, human_bytes(views_used(views) * page),
                          human_bytes(managed * page), peak);
    attroff(bold);
    if (length + 8 < COLS)
        mvaddstr(0, COLS - 7, "q: end");
}

/** One line under the head; nothing of a machine, whose meminfo is not read. */
static void draw_outside(int row, const struct views *views)
{
    char line[256] = "";
    const char *label;
    uint64_t bytes;
    size_t length = 0;
    for (size_t i = 0; (label = outside_caches(views, i, &bytes)) != NULL; i++)
        if (bytes > 0)
            length += (size_t)snprintf(line + length, sizeof(line) - length, "%s%s: %s",
                                       length > 0 ? ", " : "", label, human_bytes(bytes));
    put_line(row, "%s", line);
}

/** How many orders a window has room for. */
static unsigned orders_shown(void)
{
    int room = (COLS - FIRST_COLUMN + 1) / COLUMN_WIDTH;
    return room < 0 ? 0 : room < QY_NR_ORDERS ? (unsigned)room : QY_NR_ORDERS;
}

static void draw_orders(int row, uint64_t page)
{
    attron(A_REVERSE);
    mvhline(row, 0, ' ', COLS);
    put_line(row, "FREE BLOCKS");
    for (unsigned order = 0; order < orders_shown(); order++) {
        uint64_t kb = page / 1024 << order;
        mvprintw(row, FIRST_COLUMN + (int)order * COLUMN_WIDTH, "%4" PRIu64 "%c",
                 kb < 1024 ? kb : kb / 1024, kb < 1024 ? 'K' : 'M');
    }
    attroff(A_REVERSE);
}

/** Counts, and under them bars: how the zone's free memory is spread over the orders. */
static int draw_zone(int row, const struct qy_zone_view *zone)
{
    uint64_t most = 1;
    for (unsigned order = 0; order < QY_NR_ORDERS; order++)
        if (zone->nr_free[order] << order > most)
            most = zone->nr_free[order] << order;
    put_line(row, "node %" PRIu64 " %-7s", zone->node, zone->name);
    for (unsigned order = 0; order < orders_shown(); order++) {
        int column = FIRST_COLUMN + (int)order * COLUMN_WIDTH;
        uint64_t height = ((zone->nr_free[order] << order) * BAR_ROWS + most - 1) / most;
        mvprintw(row, column, "%5s", short_count(zone->nr_free[order]));
        attron(A_REVERSE);
        for (int bar = 0; bar < (int)height; bar++)
            mvprintw(row + BAR_ROWS - bar, column + 1, "    ");
        attroff(A_REVERSE);
    }
    return row + BAR_ROWS + 1;
}

static int larger_first(const void *one, const void *other)
{
    const struct qy_cache_view *a = one, *b = other;
    uint64_t frames_a = a->num_slabs * a->pagesperslab, frames_b = b->num_slabs * b->pagesperslab;
    if (frames_a != frames_b)
        return frames_a < frames_b ? 1 : -1;
    return strcmp(a->name, b->name);
}

/** Cells of a cache's row; the narrower the window, the more of them are missing. */
static const struct {
    const char *title;
    int width;
    int stays; /* longer than those of less */
} columns[] = {
    {"OBJSIZE", 8, 0}, {"LIVE", 10, 2}, {"ROOM", 10, 1}, {"USED", 5, 3}, {"MEMORY", 12, 4},
};
enum {
    NR_COLUMNS = sizeof(columns) / sizeof(columns[0]),
    NAME_WIDTH = 24
};

/** Columns that stay less long have no room. */
static int least_that_stays(void)
{
    int least = -1, width;
    do {
        least++;
        width = NAME_WIDTH;
        for (size_t c = 0; c < NR_COLUMNS; c++)
            width += columns[c].stays >= least ? columns[c].width + 1 : 0;
    } while (width > COLS && least < NR_COLUMNS);
    return least;
}

static void put_cells(int row, const char *name, const char *const cells[NR_COLUMNS])
{
    char line[256];
    int least = least_that_stays();
    int length = snprintf(line, sizeof(line), "%-*.*s", NAME_WIDTH, NAME_WIDTH, name);
    for (size_t c = 0; c < NR_COLUMNS; c++)
        if (columns[c].stays >= least)
            length += snprintf(line + length, sizeof(line) - (size_t)length, " %*s",
                               columns[c].width, cells[c]);
    put_line(row, "%s", line);
}

static void draw_cache(int row, const struct qy_cache_view *cache, uint64_t page)
{
    char texts[NR_COLUMNS - 1][24];
    double used = (double)cache->active_objs / (double)(cache->num_objs + !cache->num_objs);
    snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, cache->objsize);
    snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, cache->active_objs);
    snprintf(texts[2], sizeof(texts[2]), "%" PRIu64, cache->num_objs);
    snprintf(texts[3], sizeof(texts[3]), "%.0f%%", 100 * used);
    const char *const cells[] = {texts[0], texts[1], texts[2], texts[3],
                                 human_bytes(cache->num_slabs * cache->pagesperslab * page)};
    put_cells(row, plain_name(cache->name), cells);
}

static void draw_caches(int row, struct views *views)
{
    const char *titles[NR_COLUMNS];
    if (views->nr_caches == 0)
        return;
    for (size_t c = 0; c < NR_COLUMNS; c++)
        titles[c] = columns[c].title;
    qsort(views->caches, views->nr_caches, sizeof(*views->caches), larger_first);
    attron(A_REVERSE);
    mvhline(row, 0, ' ', COLS);
    put_cells(row++, "CACHE", titles);
    attroff(A_REVERSE);
    for (size_t c = 0; c < views->nr_caches && row < LINES && views->caches[c].num_slabs > 0; c++)
        draw_cache(row++, &views->caches[c], views->memory.page_bytes);
}

/** The first ones: below them there must be room for caches. */
static int draw_regions(int row, const struct views *views)
{
    enum {
        MOST = 4
    };
    if (views->nr_regions == 0)
        return row;
    attron(A_REVERSE);
    mvhline(row, 0, ' ', COLS);
    put_line(row++, "%s", region_columns);
    attroff(A_REVERSE);
    for (size_t r = 0; r < views->nr_regions && r < MOST && row < LINES; r++)
        put_line(row++, "%s", region_line(&views->regions[r], views->memory.page_bytes));
    return row + 1;
}

static void draw(const struct target *target, size_t memory, struct views *views)
{
    int row = 2;
    erase();
    draw_head(target, memory, views);
    draw_outside(1, views);
    draw_orders(row++, views->memory.page_bytes);
    for (size_t z = 0; z < views->nr_zones; z++)
        if (views->zones[z].populated && row + BAR_ROWS < LINES)
            row = draw_zone(row, &views->zones[z]);
    row = draw_regions(row + 1, views);
    draw_caches(row, views);
    refresh();
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/** m: the next memory of several. */
static int watch(const struct target *target, size_t memory)
{
    const struct sigaction action = {.sa_handler = on_interrupt};
    struct views views = {.nr_zones = 0};
    int status = gather(target, memory, &views); /* before the screen is taken: it may complain */
    if (status != EXIT_OK)
        return status;
    sigaction(SIGINT, &action, NULL); /* ^C ends it as q does; curses' own handler fails */
    initscr();
    noecho();
    curs_set(0);
    timeout(REFRESH_MS);
    complain_later(true);
    for (int key = 0; status == EXIT_OK && key != 'q' && key != 'Q' && !interrupted;) {
        draw(target, memory, &views);
        key = getch();
        if (key == 'm' && target != NULL)
            memory = (memory + 1) % target->count;
        views_free(&views);
        status = gather(target, memory, &views);
    }
    endwin();
    complain_later(false);
    views_free(&views);
    return status;
}

static int watch_process(const struct whose *whose)
{
    struct target target;
    int status = whose_find(whose, &target);
    if (status == EXIT_OK)
        status = watch(&target, whose->memory != 0 ? whose->memory - 1 : 0);
    target_forget(&target);
    return status;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    return whose_parse(key, argument, state, state->input);
}

int command_top(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"host", KEY_HOST, NULL, 0, "This machine's own memory, as its /proc and /sys say", 0},
        {"memory", KEY_MEMORY, "N", 0, "Of a process with several memories begin with this one", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .children = short_help,
        .args_doc = "PID|--host",
        .doc = "Show the memory of a process that runs on Quarry, or of this machine, live: free "
               "blocks by order, with bars for how the free memory is spread over them, contiguous "
               "regions, and the largest caches. The process is not stopped. q or ^C ends it; m "
               "goes on to the next of several memories.",
    };
    struct whose whose = {.pid = 0};
    argp_parse(&argp, argc, argv, 0, NULL, &whose);
    if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)) {
        complain("top needs a terminal; 'quarry show' prints");
        return EXIT_FAILED;
    }
    return whose.host ? watch(NULL, 0) : watch_process(&whose);
}
