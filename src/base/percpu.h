/*
 * percpu.h - the slot of a CPU or thread, which its owner uses without a lock
 *
 * WHAT    What is taken and given most often stands in a slot of its own: the magazines of
 *         every cache and the per-CPU lists of every zone. Only the owner works in it, so it
 *         needs neither lock nor atomic. Somebody else (trim, memory pressure, fork) may
 *         still have to take what lies there; it asks asymmetrically, so that all of the
 *         cost is on its side:
 *
 *           owner                            drainer (holds cpus_lock)
 *           busy = 1                         stop = 1, limits = 0
 *           light barrier                    heavy barrier
 *           limits != 0 ? work : slow path   wait until busy != 1
 *           busy = 0                         work; limits back; stop = 0
 *
 *         "Limits" are the bounds that the fast paths compare against anyway: how large a
 *         small size is, how many frames there are. A stopped slot has bounds of 0, so the
 *         look at stop costs no instruction. A slot that is all zero is a stopped one: a
 *         thread's first call takes the slow path, which attaches it.
 *
 *         A signal handler may interrupt the owner inside and have to wait for a drainer, who
 *         would wait for the owner. It says so (busy = 2): then drainers go past this slot, and
 *         what the owner was at stays as it is until it goes on.
 *
 * WHY     The heavy barrier orders the owner's store of busy before its load of the limits,
 *         whenever it runs: so either the owner sees the limits at 0, or the drainer sees
 *         busy. Both may happen (then the owner backs off); neither cannot. Proved for
 *         store-buffering processors in tests/spin/drain.pml.
 *
 * RULES   C1  Only the owner, between enter and leave, or the drainer of a stopped and idle
 *             slot touches its magazines and lists; nobody those of a suspended one.
 *         C2  A slot on mm->cpus has limits of 0 exactly while stop is set.
 *
 * LOCKS   (o) the owner, or the drainer of a stopped slot; (p) mm->cpus_lock.
 *         cpus_lock is never taken while busy is 1.
 */
#ifndef QY_BASE_PERCPU_H
#define QY_BASE_PERCPU_H

#include "base/assert.h"
#include "base/list.h"

#include <quarry/types.h>
#include <quarry_port.h>

#include <stdatomic.h>

/** A tag is a byte that says what a frame is; a cache's number is one of them. */
#define QY_NR_TAGS 256
/** kmalloc sizes up to this are looked up in a table of 16-byte steps. */
#define QY_SMALL_BYTES 1024
#define QY_SMALL_STEP 16
/** Of a larger block, up to this size, a slot may have one ready: the longest run that it keeps. */
#define QY_READY_BYTES (UINT64_C(32) << 20)

/** Values of busy, beside 0. */
#define QY_CPU_INSIDE 1    /* the owner is at work */
#define QY_CPU_SUSPENDED 2 /* a signal handler has interrupted it there */

/** The gfp flags that choose a list are the lowest: so many combinations. */
#define QY_PCP_CHOICES 32

struct qy_pcp;
struct qy_pcp_list;
struct qy_depot;
struct qy_kept;
struct qy_kept_stack;

struct qy_cpu {
    void **top[QY_NR_TAGS]; /* (o) above the topmost object of each loaded magazine */
    /** (o) Where a request finds its lists, by order: by the low bits of its gfp. Here, so that the
     *  line behind is not where it would be slow in most programs: docs/fast-paths.md. */
    struct qy_pcp_list *take_from[QY_PCP_CHOICES];
    struct qy_list link;    /* (p) mm->cpus */
    struct qy_pcp *pcp;     /* (o) one a zone */
    struct qy_depot *depot; /* (o) one a tag */
    void *spare;            /* (o) empty magazines, linked */
    unsigned nr_spare;      /* (o) */

    _Alignas(64) _Atomic uint32_t busy; /* 0, or QY_CPU_...; a new cache line */
    _Atomic uint64_t small_bytes;       /* QY_SMALL_BYTES, or 0: stopped; written by (p) */
    _Atomic uint64_t nr_frames; /* frames that have a tag, or 0: stopped; written by (p), and
                                    raised by the owner when there are more by now */
    uintptr_t base;             /* address of the span's first frame */
    uint8_t *tags;              /* mm->tags_of_slots */
    uint8_t class_of[QY_SMALL_BYTES / QY_SMALL_STEP]; /* by (bytes - 1) / 16: a cache's tag */

    _Atomic uint64_t ready_bytes;     /* up to so many may lie ready in the slot; 0: stopped, or who
                                     asks is led to the slow halves; written by (p) */
    struct qy_kept *kept;             /* (o) freed runs of pages */
    struct qy_kept_stack *last_stack; /* (o) the stack of last_tag: slab/runs.h */
    bool alone;                       /* (o) no other thread frees runs, cleared by (p): R4 in
                                         slab/kept.h */
    uint8_t last_tag;                 /* (o) of the run freed last; 0: none */
    bool led_astray;                  /* ready_bytes is always 0: mm->tags_of_slots */
    uint8_t give_type, give_zone;     /* (o) of the last pageblock that a frame was given to */
    struct qy_pcp_list *give_to;      /* (o) its lists, by order */
    struct qy_mm *mm;
    uint8_t looks_in;      /* (o) so many slow calls until one asks whether to sample */
    uint8_t looks_every;   /* (o) what it is set to then: slab/sampling.c */
    _Atomic uint32_t stop; /* (p) 1: somebody drains; the owner sleeps on it */
    uint64_t looked_ns;    /* (o) when it asked last */
};

/** Half of going in: only if a limit, loaded after this, is not 0 does the caller own the slot. */
static inline void qy_cpu_set_busy(struct qy_cpu *cpu)
{
    atomic_store_explicit(&cpu->busy, QY_CPU_INSIDE, memory_order_relaxed);
    qy_port_light_barrier();
}

/** Go in. False: stopped, or never attached; the slow path must be taken, and is busy. */
static inline bool qy_cpu_enter(struct qy_cpu *cpu)
{
    qy_cpu_set_busy(cpu);
    return qy_likely(qy_port_load_limit(&cpu->nr_frames) != 0);
}

static inline void qy_cpu_leave(struct qy_cpu *cpu)
{
    atomic_store_explicit(&cpu->busy, 0, memory_order_release);
}

/** In a signal handler of the owner's: was it inside? Then drainers pass by until it resumes. */
static inline bool qy_cpu_suspend(struct qy_cpu *cpu)
{
    bool inside = atomic_load_explicit(&cpu->busy, memory_order_relaxed) != 0;
    if (inside)
        atomic_store_explicit(&cpu->busy, QY_CPU_SUSPENDED, memory_order_release);
    return inside;
}

/** The handler is about to return. The caller holds cpus_lock, so nobody looks. */
static inline void qy_cpu_resume(struct qy_cpu *cpu, bool was_inside)
{
    if (was_inside)
        atomic_store_explicit(&cpu->busy, QY_CPU_INSIDE, memory_order_relaxed);
}

/** Of a stopped slot. The caller holds cpus_lock. */
static inline bool qy_cpu_is_suspended(const struct qy_cpu *cpu)
{
    return atomic_load_explicit(&cpu->busy, memory_order_relaxed) == QY_CPU_SUSPENDED;
}

/** Go in, waiting while somebody drains the slot. */
void qy_cpu_enter_wait(struct qy_cpu *cpu);

/** The cold half of qy_slot_enter() in memory/mm.h. @cpu: busy but stopped; NULL: not attached. */
struct qy_cpu *qy_slot_enter_slow(struct qy_mm *mm, struct qy_cpu *cpu);

/** Put an attached slot on @cpus and open it. Caller holds cpus_lock, and is the owner. */
void qy_cpu_open(struct qy_cpu *cpu, struct qy_list *cpus, uint64_t nr_frames, size_t small_bytes);

static inline uint64_t qy_cpu_frames(const struct qy_cpu *cpu)
{
    return atomic_load_explicit(&cpu->nr_frames, memory_order_relaxed);
}

/** The owner, inside, has seen that more frames have tags by now. */
static inline void qy_cpu_extend(struct qy_cpu *cpu, uint64_t nr_frames)
{
    if (atomic_load_explicit(&cpu->stop, memory_order_relaxed) == 0)
        atomic_store_explicit(&cpu->nr_frames, nr_frames, memory_order_release);
}

/** Stop every slot of @cpus and wait until no owner is inside, or it is suspended there. Caller
 *  holds cpus_lock and is in no slot. */
void qy_cpus_stop(struct qy_list *cpus);
/** Open them again, with the limits that they had. */
void qy_cpus_resume(struct qy_list *cpus, uint64_t nr_frames, size_t small_bytes);

#endif
