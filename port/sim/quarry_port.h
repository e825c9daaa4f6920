/*
 * quarry_port.h - a world made for tests: virtual CPUs, and calls that fail when told to
 *
 * One host thread plays all CPUs, one at a time. Wherever the order of two CPUs' steps can
 * matter the core passes through the port: each such call is a point at which another CPU
 * may go on. sim.h says how a test chooses.
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

/* ---- hot ---- */

/** A point at which another virtual CPU may go on. */
void qy_sim_point(void);

struct qy_cpu *qy_port_cpu(const struct qy_mm *mm, uint32_t port_index);

static inline void qy_port_relax(void)
{
    qy_sim_point();
}

static inline void qy_port_light_barrier(void)
{
    qy_sim_point();
}

static inline uint64_t qy_port_load_limit(const _Atomic uint64_t *limit)
{
    return atomic_load_explicit(limit, memory_order_acquire);
}

/* ---- cold ---- */

_Noreturn void qy_port_panic(const char *why);
void qy_port_write(const char *text, size_t bytes);

int qy_port_commit(struct qy_mm *mm, void *address, size_t bytes);
int qy_port_decommit(struct qy_mm *mm, void *address, size_t bytes);
void qy_port_clear(struct qy_mm *mm, void *address, size_t bytes);
int qy_port_protect(struct qy_mm *mm, void *address, size_t bytes, bool accessible);
void qy_port_populate(struct qy_mm *mm, void *address, size_t bytes);
int qy_port_move(struct qy_mm *mm, void *from, void *to, size_t bytes);

int qy_port_window_open(struct qy_mm *mm, struct qy_space *space, uint64_t bytes, void **start);
void qy_port_window_close(struct qy_mm *mm, void *start, uint64_t bytes);
int qy_port_window_map(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count,
                       uint32_t prot);
int qy_port_window_unmap(struct qy_mm *mm, void *address, uint64_t count);
int qy_port_window_protect(struct qy_mm *mm, void *address, uint64_t count, uint32_t prot);

void qy_port_heavy_barrier(void);
uint64_t qy_port_clock_ns(void);
uint64_t qy_port_clock_exact_ns(void);
uint32_t qy_port_thread(void);
void qy_port_sleep(_Atomic uint32_t *word, uint32_t value);
void qy_port_wake(_Atomic uint32_t *word);
void qy_port_yield(void);

struct qy_cpu *qy_port_attach(struct qy_mm *mm);
uint32_t *qy_port_held_ranks(void);

#endif
