/*
 * report.h - what a process that runs on Quarry tells `quarry run` of itself
 *
 * WHAT    `quarry run` hands down where it listens, in QUARRY_REPORT_TO. Each program that starts
 *         there makes a board, some pages of shared memory without a name in any folder, gives the
 *         tool a descriptor of it, and forgets its own. From then on it writes on the board:
 *
 *           used, peak     whenever pages are taken or come back: two stores of the core's
 *           a picture      now and then, and at its end: a snapshot (view/snapshot.h). Two places,
 *                          taken in turn: the last complete one can be read whenever it is killed
 *           how it ended   by exit(), by _exit(), and what it had used by then; neither: by exec,
                          a signal, or still there
 *
 *         The tool reads it when the process is gone. When the tool is gone, there is nothing that
 *         could be left behind.
 */
#ifndef QUARRY_MALLOC_REPORT_H
#define QUARRY_MALLOC_REPORT_H

#include "memory/mm.h"
#include "view/lens.h"

/** "NAME TOKEN": an abstract socket of type SEQPACKET, and what who writes there has to say. */
#define QY_REPORT_TO "QUARRY_REPORT_TO"
#define QY_REPORT_TO_BYTES 64

/** The one message, with the board's descriptor. */
struct qy_report_hello {
    char token[24];
    uint64_t board_bytes; /* sizeof(struct qy_board): another build has another */
};

/** What a process has used, since its PID began. */
struct qy_usage {
    uint64_t user_us, system_us;
    uint64_t minor_faults, major_faults;
    uint64_t peak_rss_kb; /* of this program: VmHWM */
};

/** Who it is, and what its PID had used when the program started. */
struct qy_process_view {
    char name[QY_VIEW_NAME]; /* its comm */
    uint64_t pid, parent;
    uint64_t start_ns;  /* CLOCK_MONOTONIC when the program started */
    uint64_t is_forked; /* it is its parent's program, and started in fork() */
    struct qy_usage usage;
};

enum qy_end {
    QY_END_NONE,
    QY_END_EXIT,
    QY_END_EXIT_AT_ONCE /* _exit() */
};

#define QY_PICTURE_BYTES (UINT64_C(512) << 10) /* room for one; what is not touched costs nothing */
#define QY_BOARD_BYTES (QY_PAGE_BYTES + 2 * QY_PICTURE_BYTES)

struct qy_board {
    struct qy_process_view process; /* as it started; the pid is its own namespace's */
    struct qy_watch use;            /* written by the core whenever it changes */
    _Atomic uint64_t nr_pictures;   /* complete ones; the last is in place (nr_pictures - 1) % 2 */
    uint64_t picture_length[2];
    uint64_t picture_used[2]; /* what used was */
    struct qy_usage at_end;   /* valid once it has said how it ended */
    uint64_t peak_at_end;     /* use.peak, at that moment */
    _Atomic uint64_t end;     /* enum qy_end */
};

_Static_assert(sizeof(struct qy_board) <= QY_PAGE_BYTES, "pictures begin behind it");

/** NULL: not under `quarry run`. */
extern struct qy_board *qy_malloc_board;

/** There is a board now, or a memory: from now on the core says on the one what is in use of the
 *  other. Nothing if one of them is NULL. */
void qy_malloc_report_watch(struct qy_mm *mm);
/** At the end of a slow call, without locks, in qy_malloc_enter(). Seldom a picture. */
void qy_malloc_report_call(struct qy_mm *mm);
/** The program ends. Needs no heap and no stdio; does nothing outside `quarry run`. */
void qy_malloc_report_end(struct qy_mm *mm, enum qy_end end);
/** A child of fork: from now on it has nothing to do with its parent's board. */
void qy_malloc_report_leave(void);
/** And when it can allocate again, it gets one of its own. */
void qy_malloc_report_in_child(void);

#endif
