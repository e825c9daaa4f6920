/*
 * quarry_port.h - what the core asks of the world it runs in: a Linux process
 *
 * The contract is docs/PORTING.md. Hot calls are inlines here; cold ones are linked.
 */
#ifndef QUARRY_PORT_H
#define QUARRY_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qy_mm;
struct qy_cpu;
struct qy_space;

#define QY_PAGE_SHIFT 12
#define QY_CACHE_LINE 64

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

/* ---- hot ---- */

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

/* ---- cold ---- */

/** The program cannot go on. The report was written already. */
_Noreturn void qy_port_panic(const char *why);
/** One line of text to whoever reads reports. */
void qy_port_write(const char *text, size_t bytes);

/** Make [address, address + bytes) usable memory that reads as zero; whole pages.
 *  0, -ENOMEM (there is none), -EEXIST (the range belongs to somebody else). */
int qy_port_commit(struct qy_mm *mm, void *address, size_t bytes);
/** Give the memory behind the range back; it stays usable and reads as zero. 0 or -errno:
 *  then its content is unchanged. */
int qy_port_decommit(struct qy_mm *mm, void *address, size_t bytes);
/** Make a range of usable memory read as zero, in whichever way is cheaper: whole pages. */
void qy_port_clear(struct qy_mm *mm, void *address, size_t bytes);
/** Put the range out of everybody's reach, or back into it: an access to it stops the program.
 *  Whole pages that were committed; what they hold is kept. 0 or -errno: then nothing has
 *  changed, or only that what was in reach still is. */
int qy_port_protect(struct qy_mm *mm, void *address, size_t bytes, bool accessible);
/** Advice: all of the range is about to be written. */
void qy_port_populate(struct qy_mm *mm, void *address, size_t bytes);
/** Move the memory at @from to @to: same bytes, whole pages; @to was committed and its content
 *  is lost; @from stays usable and reads as zero. 0, or -errno and nothing changed. */
int qy_port_move(struct qy_mm *mm, void *from, void *to, size_t bytes);

/** Find @bytes of addresses (whole 2 MiB, so aligned) for a space: an access there leads to
 *  qy_space_fault(). 0, -ENOMEM (there are none), -ENOTSUP (frames cannot be mapped elsewhere). */
int qy_port_window_open(struct qy_mm *mm, struct qy_space *space, uint64_t bytes, void **start);
void qy_port_window_close(struct qy_mm *mm, void *start, uint64_t bytes);
/** The pages from @address on are these frames from now on, whatever they were before, in one
 *  step; @prot: QY_PROT_*. 0, or -ENOMEM and nothing changed. */
int qy_port_window_map(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count,
                       uint32_t prot);
/** They are none. 0, or -ENOMEM and nothing changed. */
int qy_port_window_unmap(struct qy_mm *mm, void *address, uint64_t count);
/** What may be done with pages that are mapped. When it returns no thread writes any more to what
 *  may not be written. 0, or -ENOMEM and nothing changed. */
int qy_port_window_protect(struct qy_mm *mm, void *address, uint64_t count, uint32_t prot);

/** Every other thread's loads and stores before and after this call are ordered by it. */
void qy_port_heavy_barrier(void);

/** Monotonic nanoseconds, may be as coarse as some milliseconds. */
uint64_t qy_port_clock_ns(void);
/** The same, exact: for deadlines and for how long something took. */
uint64_t qy_port_clock_exact_ns(void);

/** A number for whoever is calling, not 0, as a report may name it. */
uint32_t qy_port_thread(void);

/** Sleep while *word == value; may return early. Wake all who sleep on it. */
void qy_port_sleep(_Atomic uint32_t *word, uint32_t value);
void qy_port_wake(_Atomic uint32_t *word);

/** Let other threads run: somebody inside a short section must come out of it. */
void qy_port_yield(void);

/** Give this thread a slot of @mm if it can have one: calls qy_cpu_attach(), and sees to it
 *  that qy_cpu_detach() is called before the thread is gone. NULL: serve without one. */
struct qy_cpu *qy_port_attach(struct qy_mm *mm);

/** Debug builds: this thread's set of held lock ranks. */
uint32_t *qy_port_held_ranks(void);

#endif
