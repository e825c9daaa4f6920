/*
 * pressure.c - how much of the time threads wait for memory
 *
 * WHAT    A thread that reclaims for an allocation of its own is stalled. "Some": at least one is;
 *         "full": as many as have a slot of this memory. The time so spent is summed, and every
 *         two seconds its share goes into two averages that decay over 10 and 60 seconds
 *         (Weiner, "Pressure stall information", 2018; Linux's kernel/sched/psi.c).
 *
 *           average = average * e^(-2/10) + share * (1 - e^(-2/10))
 *
 *         Nothing runs every two seconds: whoever comes next makes up for the turns that were
 *         missed, all with the same share.
 *
 * RULES   none of its own.
 *
 * LOCKS   vmscan->lock.
 *
 * COST    Two looks at the clock for each reclaim.
 */
#include "reclaim/vmscan.h"

#define TURN_NS UINT64_C(2000000000)
#define MOST_TURNS 600u
#define ONE (UINT64_C(1) << QY_STALL_SHIFT)

/** e^(-2/10), e^(-2/60), times ONE. */
static const uint64_t decay[2] = {13736022, 16227193};

/** The sums, up to now. lock held. */
static void account(struct qy_vmscan *vmscan, uint64_t now)
{
    struct qy_stalls *stalls = &vmscan->stalls;
    uint64_t passed = now > stalls->since_ns ? now - stalls->since_ns : 0;
    uint32_t users = atomic_load_explicit(&vmscan->mm->nr_cpus, memory_order_relaxed);
    if (stalls->since_ns != 0 && stalls->waiting > 0) {
        stalls->some_ns += passed;
        stalls->full_ns += stalls->waiting >= users ? passed : 0;
    }
    stalls->since_ns = now;
}

static void decay_by(uint64_t average[2], uint64_t share, uint64_t turns)
{
    turns = turns < MOST_TURNS ? turns : MOST_TURNS;
    for (unsigned span = 0; span < 2; span++)
        for (uint64_t i = 0; i < turns; i++)
            average[span] =
                (average[span] * decay[span] + share * (ONE - decay[span])) >> QY_STALL_SHIFT;
}

/** Times ONE; in microseconds, so that days do not overflow. */
static uint64_t share_of(uint64_t part_ns, uint64_t whole_ns)
{
    return ((part_ns / 1000) << QY_STALL_SHIFT) / (whole_ns / 1000);
}

/** The averages, up to the last whole turn. lock held. */
static void sample(struct qy_stalls *stalls, uint64_t now)
{
    if (stalls->sampled_ns == 0)
        stalls->sampled_ns = now;
    uint64_t passed = now - stalls->sampled_ns;
    if (passed < TURN_NS)
        return;
    uint64_t some = stalls->some_ns - stalls->some_then_ns;
    uint64_t full = stalls->full_ns - stalls->full_then_ns;
    decay_by(stalls->average[0], share_of(some, passed), passed / TURN_NS);
    decay_by(stalls->average[1], share_of(full, passed), passed / TURN_NS);
    stalls->sampled_ns = now;
    stalls->some_then_ns = stalls->some_ns;
    stalls->full_then_ns = stalls->full_ns;
}

static void update_locked(struct qy_vmscan *vmscan, int change)
{
    uint64_t now = qy_port_clock_exact_ns();
    account(vmscan, now);
    sample(&vmscan->stalls, now);
    vmscan->stalls.waiting += (uint32_t)change;
}

void qy_stall_begin(struct qy_vmscan *vmscan)
{
    qy_lock(&vmscan->lock);
    update_locked(vmscan, 1);
    qy_unlock(&vmscan->lock);
}

void qy_stall_end(struct qy_vmscan *vmscan)
{
    qy_lock(&vmscan->lock);
    update_locked(vmscan, -1);
    qy_unlock(&vmscan->lock);
}

void qy_mm_pressure(struct qy_mm *mm, struct qy_pressure *pressure)
{
    struct qy_vmscan *vmscan = qy_vmscan_peek(mm);
    *pressure = (struct qy_pressure){.some_10s = 0};
    if (vmscan == NULL || qy_port_inherited(mm))
        return;
    qy_lock(&vmscan->lock);
    update_locked(vmscan, 0);
    const struct qy_stalls *stalls = &vmscan->stalls;
    pressure->some_10s = (uint32_t)(stalls->average[0][0] * 10000 >> QY_STALL_SHIFT);
    pressure->some_60s = (uint32_t)(stalls->average[0][1] * 10000 >> QY_STALL_SHIFT);
    pressure->full_10s = (uint32_t)(stalls->average[1][0] * 10000 >> QY_STALL_SHIFT);
    pressure->full_60s = (uint32_t)(stalls->average[1][1] * 10000 >> QY_STALL_SHIFT);
    pressure->some_us = stalls->some_ns / 1000;
    pressure->full_us = stalls->full_ns / 1000;
    qy_unlock(&vmscan->lock);
}
