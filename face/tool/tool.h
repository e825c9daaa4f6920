/*
 * tool.h - what the parts of the program `quarry` share
 */
#ifndef QUARRY_TOOL_H
#define QUARRY_TOOL_H

#include "../malloc/report.h"
#include "view/lens.h"
#include "view/snapshot.h"

#include <quarry/types.h>

#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>

/** Exit statuses; quarry(1) lists them. `quarry run` passes its program's on and has 125..127
 *  and 128 + signal for the rest, as env(1) and timeout(1) do. */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,        /* it could not be done; the line on stderr says why */
    EXIT_USAGE = 2,         /* wrong arguments */
    EXIT_NO_PROCESS = 3,    /* no process has this PID */
    EXIT_NOT_QUARRY = 4,    /* it does not run on Quarry */
    EXIT_NOT_PERMITTED = 5, /* not allowed to look */
    EXIT_RUN_FAILED = 125,
    EXIT_NOT_EXECUTABLE = 126,
    EXIT_NOT_FOUND = 127,
    EXIT_SIGNALLED = 128
};

/* main.c */

/** "quarry: …" and a newline on stderr. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** True: keep the last complaint while the terminal is in other hands. False: say it now. */
void complain_later(bool later);
/** For argp's help_filter: behind the text stands what @list prints. */
char *help_with_list(int key, const char *text, void (*list)(FILE *out));
/** The name that was probably meant; NULL: none is near. */
const char *nearest(const char *word, const char *const *names, size_t count);

/* The commands: argv[0] is what --help calls it ("quarry show"). Each returns an exit status. */
int command_run(int argc, char **argv);
int command_show(int argc, char **argv);
int command_top(int argc, char **argv);

/* show.c */

/** 0: not a PID. */
pid_t parse_pid(const char *text);

/* views.c */

/** Views gathered one by one, and a lens upon them. All zero is empty. */
struct views {
    struct qy_memory_view memory;
    struct qy_zone_view *zones;
    struct qy_pageset_view *pagesets;
    struct qy_cache_view *caches;
    struct qy_item_view *items;
    struct qy_region_view *regions;
    size_t nr_zones, nr_pagesets, nr_caches, nr_items, nr_regions;
};

/** One more, all zero; out of memory ends the program. Valid until the next of its kind. */
struct qy_zone_view *views_zone(struct views *views);
struct qy_pageset_view *views_pageset(struct views *views);
struct qy_cache_view *views_cache(struct views *views);
struct qy_item_view *views_item(struct views *views);
struct qy_region_view *views_region(struct views *views);
struct qy_lens views_lens(const struct views *views);
/** All that a lens shows. */
void views_copy(struct views *views, const struct qy_lens *lens);
void views_free(struct views *views);

/* what.c */

/** One of the things that `quarry show` knows. */
struct what {
    const char *name;
    const char *host_files[4]; /* the /proc files that it is made of */
    void (*print)(const struct qy_lens *lens, struct qy_text *text);
    const char *summary;
};

extern const struct what whats[];
extern const size_t nr_whats;
/** NULL: there is none of this name. */
const struct what *what_find(const char *name);

/* host.c */

/** Read the /proc files of one thing into *views. 0, or an exit status: it has complained. */
QY_MUST_CHECK int host_read(const struct what *what, struct views *views);

/* sysfs.c */

/** This machine's contiguous regions: none where the kernel has none. */
void sysfs_regions(struct views *views);

/* remote.c */

/** Look at a running process that uses Quarry. 0, or an exit status: it has complained. */
QY_MUST_CHECK int remote_read(pid_t pid, struct views *views);

/* target.c */

/** A process that uses Quarry, as it was found. */
struct target {
    pid_t pid;
    char name[16]; /* comm */
    uint64_t mm;   /* where its struct qy_mm lies */
};

/** Find it. 0, or an exit status: it has complained. */
QY_MUST_CHECK int target_find(struct target *target, pid_t pid);
/** Whether a range that the process may read (and no other) overlaps one of this process's. */
bool target_collides(pid_t pid);
/** Read memory of a process; short reads are failures. 0 or a negative errno. */
QY_MUST_CHECK int target_read(pid_t pid, uint64_t address, void *to, size_t bytes);
void complain_not_permitted(pid_t pid, int error);

/* print.c */

/** Whether to colour what goes to @out: a terminal, TERM not dumb, NO_COLOR not set. */
bool wants_colour(FILE *out);
/** "12.3 MiB" in a static buffer; eight of them live at once. */
const char *human_bytes(uint64_t bytes);
/** Columns of regions: what stands above them, and one region's line in a static buffer. */
extern const char region_columns[];
const char *region_line(const struct qy_region_view *region, uint64_t page_bytes);
/** Print through one of the view's printers. */
void print_views(FILE *out, const struct what *what, const struct views *views);

/* launch.c */

struct launch {
    char *const *argv;   /* the program and its arguments, NULL last */
    const char *library; /* libquarry-malloc.so, or -whole.so */
    const char *folder;  /* where reports go */
    const char *limit;   /* bytes; NULL: none */
    bool harden;
    const char *cma; /* SIZE[,POLICY]; NULL: no region */
};

struct ending {
    int status; /* what a shell would have in $? */
    int signal; /* that ended it; 0: none */
    pid_t pid;
    uint64_t wall_ns;
    struct rusage usage; /* of all that it waited for, too */
};

/** Run it to its end, passing signals on. 0, or an exit status: it was never run, and that
 *  has been complained about. */
QY_MUST_CHECK int launch(const struct launch *launch, struct ending *ending);

/* reports.c */

/** What one process left behind. */
struct report {
    struct qy_process_view process;
    bool has_views; /* it came to a regular end */
    struct views views;
};

struct reports {
    struct report *list; /* largest peak first */
    size_t count;
};

/** Collect what lies in the folder, and delete it. */
void reports_collect(struct reports *reports, const char *folder);
void reports_free(struct reports *reports);
/** Bytes that the program still held, of all its memory. */
uint64_t report_live_bytes(const struct report *report);
uint64_t report_heap_peak_bytes(const struct report *report);

/* summary.c */

void summary_text(FILE *out, const struct reports *reports, const struct ending *ending,
                  char *const *argv);
void summary_json(FILE *out, const struct reports *reports, const struct ending *ending,
                  char *const *argv);

#endif
