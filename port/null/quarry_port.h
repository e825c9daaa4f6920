/*
 * quarry_port.h - the smallest port: one CPU, all memory there from the start, nobody to wait for
 *
 * Nothing of the core is left out and nothing of a system is needed, which is what
 * scripts/check-freestanding proves with it. To port Quarry, copy this folder and make each
 * line true of your machine; docs/PORTING.md says what each must do.
 */
#ifndef QUARRY_PORT_H
#define QUARRY_PORT_H

#include "base/port.h"

#define QY_PAGE_SHIFT 12
#define QY_CACHE_LINE 64
#define QY_SLEEP_POLLS 1

struct qy_cpu *qy_port_cpu(const struct qy_mm *mm, uint32_t port_index);

static inline bool qy_port_inherited(const void *handle)
{
    (void)handle;
    return false;
}

static inline void qy_port_relax(void)
{
}

/* One CPU sees its own stores in order: the compiler alone must not mix them. */
static inline void qy_port_light_barrier(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

static inline uint64_t qy_port_load_limit(const _Atomic uint64_t *limit)
{
    return atomic_load_explicit(limit, memory_order_acquire);
}

#endif
