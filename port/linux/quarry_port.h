/*
 * quarry_port.h - what the core asks of the world it runs in: a Linux process
 *
 * The contract is docs/PORTING.md. Hot calls are inlines here; the others are linked: base/port.h.
 */
#ifndef QUARRY_PORT_H
#define QUARRY_PORT_H

#include "base/port.h"

#define QY_PAGE_SHIFT 12
#define QY_CACHE_LINE 64
/** 25 us of 25 ns each, on a virtual machine that halts: 22 to be woken, 7 to wake. */
#define QY_SLEEP_POLLS 1000

/* ThreadSanitizer, as gcc and as clang say it. */
#if defined(__SANITIZE_THREAD__)
#define QY_PORT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QY_PORT_TSAN 1
#endif
#endif
#ifndef QY_PORT_TSAN
#define QY_PORT_TSAN 0
#endif

/** Places in a thread's table of slots. The last one is nobody's, and always NULL: the number
 *  of an instance that is not open, UINT32_MAX, leads there. */
#define QY_LINUX_PLACES 16

/** This thread's slots, by mm->port_index. */
extern _Thread_local struct qy_cpu *qy_linux_cpus[QY_LINUX_PLACES]
    __attribute__((tls_model("initial-exec")));

/** This thread's slot of @mm, whose mm->port_index is handed in as well; NULL where it has
 *  none (yet). */
static inline struct qy_cpu *qy_port_cpu(const struct qy_mm *mm, uint32_t port_index)
{
    (void)mm;
    return qy_linux_cpus[port_index % QY_LINUX_PLACES];
}

extern _Atomic uint32_t qy_linux_nr_inherited;
bool qy_linux_is_inherited(const void *handle);

/** Is this (a memory, or what lies in one) another process's, of which this one is a child? */
static inline bool qy_port_inherited(const void *handle)
{
    return __builtin_expect(atomic_load_explicit(&qy_linux_nr_inherited, memory_order_relaxed) != 0,
                            0) &&
           qy_linux_is_inherited(handle);
}

/** A hint to the processor that this is a spin loop. */
static inline void qy_port_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/**
 * The owner's half of the asymmetric fence: orders the store before it and the load after it
 * against qy_port_heavy_barrier() of another thread. A compiler barrier alone; the heavy
 * barrier pays for both (membarrier(2)). ThreadSanitizer knows no membarrier: it gets the
 * real thing.
 */
static inline void qy_port_light_barrier(void)
{
#if QY_PORT_TSAN
    static _Atomic int fence;
    atomic_fetch_add_explicit(&fence, 0, memory_order_seq_cst);
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/**
 * Load a limit right after the light barrier; later loads stay behind it. Where the
 * processor keeps loads in order a plain load does, which the compiler folds into the
 * comparison: the barrier before it and the branch after it keep it in its place.
 */
static inline uint64_t qy_port_load_limit(const _Atomic uint64_t *limit)
{
#if defined(__x86_64__) && !QY_PORT_TSAN
    return *(const uint64_t *)limit;
#else
    return atomic_load_explicit(limit, memory_order_acquire);
#endif
}

/**
 * The pointer, in the register in which a function returns it: without this gcc 12 keeps
 * the address of the slot there, and needs a move at the end.
 */
static inline void *qy_port_result(void *pointer)
{
#if defined(__x86_64__)
    __asm__("" : "+a"(pointer));
#endif
    return pointer;
}

#endif
