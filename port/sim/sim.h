/*
 * sim.h - how a test steers the simulated world
 *
 * Two things can be chosen: which of the port's calls fails ("the Nth"), and, for CPUs that
 * run side by side, who goes on at each point. A test that tries N = 1, 2, 3 ... until nothing
 * fails, or every schedule until qy_sim_next() says that there is none left, leaves nothing
 * to luck.
 */
#ifndef QUARRY_SIM_H
#define QUARRY_SIM_H

#include <quarry_port.h>

#define QY_SIM_CPUS 4
#define QY_SIM_POINTS 4096 /* of one run, at most */

/** Forget all slots, failures and counts. No memory of before may be used any more. */
void qy_sim_reset(void);

/** Who makes the calls from here on: CPU 0 .. QY_SIM_CPUS - 1; -1: one that gets no slot. */
void qy_sim_cpu(int cpu);

/** The nth call from now on that can fail (commit, decommit, move, protect, attach, those on
 *  windows; sleep: returns at once) fails, and no other; 0: none. */
void qy_sim_fail(uint64_t nth);
/** So do those that follow it, @times in all. */
void qy_sim_fail_times(uint64_t nth, uint64_t times);
/** For the port's files: is this the call? */
bool qy_sim_fails(void);
void qy_sim_windows_reset(void);
/** Has it failed? */
bool qy_sim_failed(void);

/** What the host would show at an address of a window: its frame, or UINT64_MAX; *prot. */
uint64_t qy_sim_window(const void *address, uint32_t *prot);
/** Calls of qy_port_window_map() so far. */
uint64_t qy_sim_maps(void);

/** Spaces that are created from now on may have so many mappings. */
void qy_sim_window_most(uint64_t mappings);

/** How often the core woke who sleeps on a word, if anybody did. */
uint64_t qy_sim_wakes(void);

/** Lines of report that the core wrote; the last one. */
uint64_t qy_sim_lines(void);
const char *qy_sim_last_line(void);

/** Which CPU went on at each point. All zero: the first schedule, without preemption. */
struct qy_sim_schedule {
    unsigned preemptions; /* of CPUs that could have gone on, at most */
    size_t length;
    uint8_t choice[QY_SIM_POINTS];  /* among those that could go on, 0: the same one */
    uint8_t choices[QY_SIM_POINTS]; /* how many there were */
};

/** Run work(i, argument) on CPUs i = 0 .. count - 1 until all have returned. */
void qy_sim_run(struct qy_sim_schedule *schedule, unsigned count, void (*work)(int, void *),
                void *argument);

/** The next schedule after one that was run; false: that was the last. */
bool qy_sim_next(struct qy_sim_schedule *schedule);

#endif
