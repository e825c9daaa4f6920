/*
 * boot.c - qy_mm_create(): the last storey
 *
 * WHAT    What slab/boot.c builds, and for memory that can be moved who moves it when a block, or
 *         room for what cannot move, is wanted. Who never lends (malloc) calls qy_boot(), and is
 *         not linked with any of this.
 *
 * RULES   none of its own.
 *
 * LOCKS   none: nobody else knows the instance yet.
 *
 * COST    Once.
 */
#include "move/boot.h"

#include "move/move.h"
#include "slab/boot.h"

void qy_move_open(struct qy_mm *mm)
{
    if (mm->folios == NULL)
        return;
    mm->compact = qy_compact_for;
    atomic_store_explicit(&mm->reclaim, qy_make_room, memory_order_release);
}

struct qy_mm *qy_mm_create(const struct qy_memmap *map, const struct qy_mm_options *options,
                           struct qy_error *error)
{
    struct qy_mm *mm = qy_boot(map, options, error);
    if (mm != NULL)
        qy_move_open(mm);
    return mm;
}
