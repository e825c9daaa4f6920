/*
 * tool.h - what the parts of the program `quarry` share
 */
#ifndef QUARRY_TOOL_H
#define QUARRY_TOOL_H

#include "../malloc/report.h"
#include "view/lens.h"
#include "view/snapshot.h"

#include <quarry/types.h>

#include <argp.h>
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

/** The exit status when standard output cannot be written: EXIT_FAILED. */
extern int output_failure;
/** True: keep the last complaint while the terminal is in other hands. False: say it now. */
void complain_later(bool later);
/** For argp's help_filter: behind the text stands what @list prints. */
char *help_with_list(int key, const char *text, void (*list)(FILE *out));
/** The name that was probably meant; NULL: none is near. */
const char *nearest(const char *word, const char *const *names, size_t count);

/** For a command's own argp: -h is --help. */
extern const struct argp_child short_help[];

/* The commands: argv[0] is what --help calls it ("quarry show"). Each returns an exit status. */
int command_run(int argc, char **argv);
int command_show(int argc, char **argv);
int command_top(int argc, char **argv);

/* whose.c */

/** Options of each command that looks. */
#define KEY_HOST 256
#define KEY_MEMORY 257

struct target;

/** Whose memory is looked at. All zero: nobody's yet. */
struct whose {
    pid_t pid;     /* 0: not given */
    size_t memory; /* of the process, from 1; 0: not given */
    bool host;     /* this machine's */
};

/** For a command's parser: what it does not know itself. A wrong argument, one too many, or none
 *  ends the program. */
error_t whose_parse(int key, char *argument, struct argp_state *state, struct whose *whose);
/** Find the process, and see that it has the memory. 0, or an exit status: it has complained. The
 *  target is to be forgotten whatever comes. */
QY_MUST_CHECK int whose_find(const struct whose *whose, struct target *target);

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
/** Frames that are neither free nor in a per-CPU list. */
uint64_t views_used(const struct views *views);
/** A figure of meminfo in bytes; 0: it is not there. */
uint64_t views_meminfo(const struct views *views, const char *name);
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

/* target.c */

/** A process that uses Quarry, as it was found. */
struct target {
    pid_t pid;
    char name[16];   /* comm */
    uint64_t *mm;    /* where each struct qy_mm lies */
    size_t count;    /* at least 1 */
    bool has_malloc; /* the first is malloc's */
};

/** Find it. 0, or an exit status: it has complained. */
QY_MUST_CHECK int target_find(struct target *target, pid_t pid);
void target_forget(struct target *target);
/** Whether a range that the process may read (and no other) overlaps one of this process's. */
bool target_collides(pid_t pid);
/** Read memory of a process; short reads are failures. 0 or a negative errno. */
QY_MUST_CHECK int target_read(pid_t pid, uint64_t address, void *to, size_t bytes);
/** Its pagemap, to be closed; negative: it is not to be had. */
int target_pagemap(pid_t pid);
/** Has the page memory, or had it before it was swapped out? Perhaps, if that is not known. */
bool target_touched(int pagemap, uint64_t address);
void complain_not_permitted(pid_t pid, int error);

/* remote.c */

/** Look at one of a running process's memories. 0, or an exit status: it has complained. */
QY_MUST_CHECK int remote_read(const struct target *target, size_t memory, struct views *views);

/* print.c */

/** Whether to colour what goes to @out: a terminal, TERM not dumb, NO_COLOR not set. */
bool wants_colour(FILE *out);
/** A name that a terminal only shows: control characters are '?'. Static buffers, as below. */
const char *plain_name(const char *name);
void make_plain(char *text);
/** "12.3 MiB" in a static buffer; eight of them live at once. */
const char *human_bytes(uint64_t bytes);
/** In five places: 99999, then 123k, 456M. Static buffers, too. */
const char *short_count(uint64_t count);
/** What of a process's memory lies in no object cache, each in bytes; NULL: that was the last. */
const char *outside_caches(const struct views *views, size_t index, uint64_t *bytes);
/** Columns of regions: what stands above them, and one region's line in a static buffer. */
extern const char region_columns[];
const char *region_line(const struct qy_region_view *region, uint64_t page_bytes);
/** Print through one of the view's printers. */
void print_views(FILE *out, const struct what *what, const struct views *views);

struct reports;

/* collect.c */

/** Gathers what processes report, in a thread of its own. */
struct collector;

/** Listen, so that processes can be started. NULL: it has complained. */
struct collector *collector_open(void);
/** What processes are told in QY_REPORT_TO. */
const char *collector_address(const struct collector *collector);
/** Begin to gather: after the program was started, for it must not inherit what this changes. */
void collector_run(struct collector *collector);
/** The program has ended, but was not waited for: look once more, and gather no more. */
void collector_stop(struct collector *collector);
/** What came is in *reports, largest peak first; without collector_run() it is nothing. */
void collector_close(struct collector *collector, struct reports *reports);

/* needs.c */

/** Whether the program that execvp(3) would find was linked with this library. */
bool program_needs(const char *program, const char *library);
/** Why it loads nothing that is preloaded; NULL: as far as the file tells it does. */
const char *program_loads_nothing(const char *program);
/** Whether the file is a library of this name, or of a version of it. */
bool library_is(const char *path, const char *name);

/* launch.c */

struct launch {
    char *const *argv;   /* the program and its arguments, NULL last */
    const char *library; /* libquarry-malloc.so, or -whole.so */
    struct collector *collector;
    const char *limit; /* bytes; NULL: none */
    bool check, harden;
    const char *cma; /* SIZE[,POLICY]; NULL: no region */
};

struct ending {
    int status; /* what a shell would have in $? */
    int signal; /* that ended it; 0: none */
    pid_t pid;
    uint64_t wall_ns;
    struct rusage usage; /* of all that it waited for, too */
    bool is_own;         /* it waited for none: usage is its own */
};

/** Run it to its end, passing signals on. 0, or an exit status: it was never run, and that
 *  has been complained about. */
QY_MUST_CHECK int launch(const struct launch *launch, struct ending *ending);

/* procfs.c */

/** What /proc says of a process, also of one that has ended but was not waited for. */
struct glance {
    bool is_dead;
    bool has_waited; /* for a child: what wait4() says of it is not its own alone */
    int wait_status; /* of a dead one, as wait(2) has it; -1: not known */
    struct qy_usage
        usage; /* times in steps of 1 / sysconf(_SC_CLK_TCK); peak_rss_kb 0 of a dead one */
};
/** False: it is not there any more. */
bool procfs_glance(pid_t pid, struct glance *glance);

/* reports.c */

/** How a program came to its end. */
enum end {
    END_EXIT,
    END_EXIT_AT_ONCE, /* _exit() */
    END_EXEC,         /* it became another program */
    END_SIGNAL,
    END_RUNNING, /* it had not when `quarry run` ended */
    END_UNKNOWN
};

/** What is known of one program in one process. */
struct report {
    struct qy_process_view process; /* and what it has used */
    struct qy_usage before;         /* what its process had used when it started */
    enum end end;
    int signal;          /* of END_SIGNAL; 0: not known which */
    bool left_silently;  /* by a system call of its own, or as a program that does not report */
    bool is_final;       /* the views are of its end; else of a while before */
    bool has_views;      /* they were kept, and there were any */
    uint64_t peak_bytes; /* of what came from Quarry */
    uint64_t live_bytes; /* what the program still held */
    uint64_t meta_bytes; /* Quarry's own */
    uint64_t late_bytes; /* by how much the peak grew after it had said what it used */
    struct views views;
};

/** Processes of which a line is kept, and of which views: the largest. */
#define REPORTS_MOST 4096
#define REPORTS_VIEWS 16

struct reports {
    struct report *list;
    size_t count, with_views;
    size_t left_out; /* smaller ones */
    size_t unseen;   /* processes that could not be watched */
};

/** Read a board that nobody writes on any more. False: it is none. */
bool report_read(struct report *report, int board);
/** One more. It takes the views over. */
void reports_add(struct reports *reports, const struct report *report);
/** Largest peak first, and no more than the above. */
void reports_sort(struct reports *reports);
/** What the program's parent, which is this process, knows of its end better than it could say. */
void reports_complete(struct reports *reports, const struct ending *ending);
void reports_free(struct reports *reports);

/* summary.c */

void summary_text(FILE *out, const struct reports *reports, const struct ending *ending,
                  char *const *argv);
void summary_json(FILE *out, const struct reports *reports, const struct ending *ending,
                  char *const *argv);

#endif
