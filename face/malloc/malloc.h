/*
 * malloc.h - what the files of the malloc face share
 */
#ifndef QUARRY_FACE_MALLOC_H
#define QUARRY_FACE_MALLOC_H

#include "memory/fault.h"
#include "memory/mm.h"
#include "report.h"
#include "slab/magazine.h"

#include <quarry/linux.h>
#include <quarry/types.h>

/** This thread's slot: in static thread-local storage, so that the fast path finds it by one
 *  addition. All zero, and so stopped, until its first slow path. */
extern _Thread_local struct qy_cpu qy_malloc_cpu __attribute__((tls_model("initial-exec")));

/** The instance behind malloc as it is: NULL, none was made yet. */
extern struct qy_mm *qy_malloc_mm;
/** The same, made at the first call; NULL: the system gives no memory. */
struct qy_mm *qy_malloc_get_mm(void);

/** How deep this thread is in the slow halves, where it may hold locks: who forks from a
 *  signal handler then cannot wait for them (fork.c). */
extern _Thread_local unsigned qy_malloc_depth __attribute__((tls_model("initial-exec")));

static inline struct qy_mm *qy_malloc_enter(void)
{
    qy_malloc_depth++;
    atomic_signal_fence(memory_order_seq_cst);
    return qy_malloc_get_mm();
}

static inline void qy_malloc_leave(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    qy_malloc_depth--;
}

/** At the end of a slow half: `quarry run` may want to know. */
static inline void qy_malloc_tell(struct qy_mm *mm)
{
    if (qy_unlikely(qy_malloc_board != NULL) && mm != NULL)
        qy_malloc_report_call(mm);
}

/** What QUARRY_* asked for. */
struct qy_malloc_settings {
    uint64_t limit_bytes; /* QUARRY_LIMIT: bytes, or with K, M, G, T */
    bool harden;          /* QUARRY_HARDEN=1 */
    bool check;           /* QUARRY_CHECK=1, and not the above, which finds more */
    uint64_t sample_ms;   /* QUARRY_SAMPLE, likewise: milliseconds, or QY_SAMPLE_ALL; 0: off */
    char cma[32];         /* QUARRY_CMA, not read yet; "": not set */
};
void qy_malloc_read_settings(struct qy_malloc_settings *settings);
/** "quarry: NAME=VALUE: expected", and the program ends with 125. */
_Noreturn void qy_malloc_refuse(const char *name, const char *value, const char *expected);
/** What only one of the libraries has: NULL in the other, without a search when it is loaded. */
#define QY_OPTIONAL __attribute__((weak, visibility("hidden")))
/** Reserve the region that QUARRY_CMA asks for: ../whole/whole.c. NULL in libquarry-malloc.so. */
QY_OPTIONAL void qy_malloc_reserve(struct qy_mm *mm, const char *name, const char *value);
/** A memory whose frames can be lent and moved: ../whole/whole.c. NULL in libquarry-malloc.so. */
QY_OPTIONAL struct qy_mm *qy_malloc_create_movable(const struct qy_linux_options *options);
/** In a child of fork: leave alone what is the parent's, files and regions. @inside: a signal
 *  handler forked, this thread may be in a call. ../whole/whole.c; NULL in libquarry-malloc.so. */
QY_OPTIONAL void qy_malloc_disown(struct qy_mm *mm, bool inside);
/** The value in NAME=value; NULL: another name. Used for getenv(), whose page of the C library a
 *  tiny program need not touch. */
const char *qy_malloc_value_of(const char *entry, const char *name);

/** Know every block from now on: of a new instance, before any slot. False: there is no room. */
QY_MUST_CHECK bool qy_malloc_know(struct qy_mm *mm);
/** NULL: blocks are not known, and the next ones do nothing. */
extern uint8_t *qy_malloc_known;
void qy_malloc_note_known(const struct qy_mm *mm, const void *block);
/** The program has this block, or NULL. */
static inline void qy_malloc_note(const struct qy_mm *mm, const void *block)
{
    if (qy_unlikely(qy_malloc_known != NULL))
        qy_malloc_note_known(mm, block);
}
/** The same, if the slot, which the caller is in, has one ready. */
void *qy_malloc_pop_known(struct qy_cpu *cpu, size_t bytes);
/** The program gives it back, if the slot has room; else nothing has changed. */
bool qy_malloc_push_known(struct qy_cpu *cpu, void *block);
/** It has it no longer. False: it never had, which is reported as what was done. */
bool qy_malloc_forget(struct qy_mm *mm, const void *block, enum qy_act act);

/** Accesses that the guards of qy_malloc_mm stop are explained from now on. */
void qy_malloc_explain_faults(void);
/** The program ends: look for what no call will find any more. */
void qy_malloc_look_over(struct qy_mm *mm);

/** Handlers for fork(2). */
void qy_malloc_watch_fork(void);

/** The fast half of malloc. NULL: the caller is still in the slot, and goes on to the slow half. */
static inline void *qy_malloc_pop(size_t bytes)
{
    struct qy_cpu *cpu = &qy_malloc_cpu;
    size_t last = bytes - 1;
    qy_cpu_set_busy(cpu);
    if (qy_unlikely(last >= qy_port_load_limit(&cpu->small_bytes)))
        return NULL;
    void *object = qy_magazine_pop(cpu, cpu->class_of[last / QY_SMALL_STEP]);
    if (qy_likely(object != NULL)) {
        object = qy_port_result(object);
        if (object == NULL)
            __builtin_unreachable(); /* which the compiler has lost sight of */
        qy_cpu_leave(cpu);
    }
    return object;
}

/** The slow half: leaves the slot, tries all there is; errno is set on failure. */
void *qy_malloc_slow(size_t bytes);

/** free_sized(). */
void qy_malloc_free_sized(void *block, size_t bytes);

/** malloc for any size and alignment, without the fast path; errno is set on failure. */
void *qy_malloc_aligned(size_t align, size_t bytes, qy_gfp_t gfp);

/** Give memory back that has been free for long, or is much. Called off the fast path. */
void qy_malloc_decay(struct qy_mm *mm);
/** The same after a realloc to a large size: what it holds is no growth that a malloc would have to
 *  make up for. */
void qy_malloc_decay_resized(struct qy_mm *mm);
/** A large block was taken: note how little is free now; if more is held than ever, free pieces
 *  that did not do for it go back. Called off the fast path. */
void qy_malloc_decay_taken(struct qy_mm *mm);
/** After a fork: the thread that was deciding may be none of the child's. */
void qy_malloc_decay_in_child(void);

#endif
