/*
 * percpu.c - stopping slots and opening them again
 *
 * WHAT    The drainer's half of percpu.h. All slots are stopped together: one heavy barrier
 *         serves for any number of them.
 *
 * RULES   C1, C2, see percpu.h. Checked by check_cpus() in view/rules.c.
 *
 * LOCKS   The caller holds mm->cpus_lock. Owners wait for the drainer in
 *         qy_cpu_enter_wait(); the drainer waits for owners only while it holds no other
 *         lock, and an owner inside waits only for locks of higher rank, so neither can
 *         wait for the other in a circle.
 *
 * COST    One membarrier (0.2 us) and at most the rest of each owner's section.
 */
#include "base/percpu.h"

static void set_limits(struct qy_cpu *cpu, uint64_t nr_frames, size_t small_bytes)
{
    bool ready = small_bytes != 0 && !cpu->led_astray;
    atomic_store_explicit(&cpu->ready_bytes, ready ? QY_READY_BYTES : 0, memory_order_release);
    atomic_store_explicit(&cpu->small_bytes, small_bytes, memory_order_release);
    atomic_store_explicit(&cpu->nr_frames, nr_frames, memory_order_release);
}

void qy_cpu_enter_wait(struct qy_cpu *cpu)
{
    while (!qy_cpu_enter(cpu)) {
        qy_cpu_leave(cpu);
        qy_port_sleep(&cpu->stop, 1);
    }
}

struct qy_cpu *qy_slot_enter_slow(struct qy_mm *mm, struct qy_cpu *cpu)
{
    if (cpu == NULL)
        cpu = qy_port_attach(mm);
    else
        qy_cpu_leave(cpu);
    if (cpu != NULL)
        qy_cpu_enter_wait(cpu);
    return cpu;
}

void qy_cpu_open(struct qy_cpu *cpu, struct qy_list *cpus, uint64_t nr_frames, size_t small_bytes)
{
    qy_list_add_tail(cpus, &cpu->link);
    set_limits(cpu, nr_frames, small_bytes);
}

/** An owner that was inside may have raised its limit: then it may come in again, and is
 *  stopped again. It sees stop from the second barrier on. */
static void wait_until_idle(struct qy_cpu *cpu)
{
    for (;;) {
        while (atomic_load_explicit(&cpu->busy, memory_order_acquire) == QY_CPU_INSIDE)
            qy_port_yield();
        if (atomic_load_explicit(&cpu->nr_frames, memory_order_relaxed) == 0)
            return;
        set_limits(cpu, 0, 0);
        qy_port_heavy_barrier();
    }
}

void qy_cpus_stop(struct qy_list *cpus)
{
    qy_list_for_each (link, cpus) {
        struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        atomic_store_explicit(&cpu->stop, 1, memory_order_relaxed);
        set_limits(cpu, 0, 0);
    }
    qy_port_heavy_barrier();
    qy_list_for_each (link, cpus) {
        struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        wait_until_idle(cpu);
    }
}

void qy_cpus_resume(struct qy_list *cpus, uint64_t nr_frames, size_t small_bytes)
{
    qy_list_for_each (link, cpus) {
        struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        set_limits(cpu, nr_frames, small_bytes);
        atomic_store_explicit(&cpu->stop, 0, memory_order_release);
        qy_port_wake(&cpu->stop);
    }
}
