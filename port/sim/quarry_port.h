/*
 * quarry_port.h - a world made for tests: virtual CPUs, and calls that fail when told to
 *
 * One host thread plays all CPUs, one at a time. Wherever the order of two CPUs' steps can
 * matter the core passes through the port: each such call is a point at which another CPU
 * may go on. sim.h says how a test chooses.
 */
#ifndef QUARRY_PORT_H
#define QUARRY_PORT_H

#include "base/port.h"

#define QY_PAGE_SHIFT 12
#define QY_CACHE_LINE 64
#define QY_SLEEP_POLLS 100

/** A point at which another virtual CPU may go on. */
void qy_sim_point(void);

struct qy_cpu *qy_port_cpu(const struct qy_mm *mm, uint32_t port_index);

static inline bool qy_port_inherited(const void *handle)
{
    (void)handle;
    return false;
}

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

#endif
