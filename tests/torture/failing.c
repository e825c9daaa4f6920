/*
 * failing.c - linked in, it makes every so many calls of the port fail
 *
 * The linker leads the core's calls here (--wrap). A host may refuse any of them: memory that is
 * overcommitted, vm.max_map_count, a sealed page.
 */
#include "torture.h"

#include <errno.h>

#define FAILS_ONE_IN 24

extern const bool torture_failing;
const bool torture_failing = true;

static bool fails(void)
{
    static _Atomic uint64_t calls;
    struct random random = {world.seed +
                            atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed)};
    return atomic_load_explicit(&world.calls_fail, memory_order_relaxed) &&
           random_one_in(&random, FAILS_ONE_IN);
}

/** What a call of the port does, and this instead. */
#define FAILING(name, parameters, arguments)                                                       \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        return fails() ? -ENOMEM : __real_##name arguments;                                        \
    }

FAILING(qy_port_commit, (struct qy_mm * mm, void *address, size_t bytes), (mm, address, bytes))
FAILING(qy_port_decommit, (struct qy_mm * mm, void *address, size_t bytes), (mm, address, bytes))
FAILING(qy_port_move, (struct qy_mm * mm, void *from, void *to, size_t bytes),
        (mm, from, to, bytes))
FAILING(qy_port_window_map,
        (struct qy_mm * mm, void *address, uint64_t pfn, uint64_t count, uint32_t prot,
         bool written),
        (mm, address, pfn, count, prot, written))
FAILING(qy_port_window_unmap, (struct qy_mm * mm, void *address, uint64_t count),
        (mm, address, count))
FAILING(qy_port_window_protect, (struct qy_mm * mm, void *address, uint64_t count, uint32_t prot),
        (mm, address, count, prot))
