/*
 * report.h - what a process that ran on Quarry says of itself when it ends
 *
 * `quarry run` hands down a folder in QUARRY_REPORT_DIR. Each program that starts there
 * leaves a file PID.start, and at its end PID.end: a snapshot (view/snapshot.h) with one
 * record of the process before the views. Who ends by a signal or by _exit() leaves no
 * PID.end.
 */
#ifndef QUARRY_MALLOC_REPORT_H
#define QUARRY_MALLOC_REPORT_H

#include "memory/mm.h"
#include "view/lens.h"

/** A program that looks at this one's struct qy_mm must have been built with the same: 64 bits
 *  that change with what it looks at. */
#define QY_MALLOC_LAYOUT                                                                           \
    ((uint64_t)sizeof(struct qy_mm) << 32 ^ (uint64_t)offsetof(struct qy_mm, cpus) << 16 ^         \
     (uint64_t)offsetof(struct qy_mm, chain) ^ (uint64_t)sizeof(struct qy_zone) << 40 ^            \
     (uint64_t)sizeof(struct qy_cpu) << 8)

/** Read from outside: where the process's struct qy_mm is (malloc's own), and the above. */
extern QY_API struct qy_mm *qy_malloc_mm;
extern QY_API const uint64_t qy_malloc_layout;

#define QY_REPORT_DIR "QUARRY_REPORT_DIR"

/** Both files hold it: PID.start alone as it lies in memory, PID.end as QY_RECORD_PROCESS. */
struct qy_process_view {
    char name[QY_VIEW_NAME]; /* /proc/PID/comm */
    uint64_t pid, parent;
    uint64_t start_ns; /* CLOCK_MONOTONIC when the program started */
    uint64_t wall_ns;  /* since then; 0: not known (a child of fork) */
    uint64_t user_us, system_us;
    uint64_t minor_faults, major_faults;
    uint64_t peak_rss_kb; /* VmHWM */
};

/** Write PID.end. Needs no heap and no stdio; does nothing outside `quarry run`. */
void qy_malloc_report(struct qy_mm *mm);

#endif
