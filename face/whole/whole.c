/*
 * whole.c - malloc and the library in one
 *
 * WHAT    libquarry-whole.so is libquarry-malloc.so with all of the library's calls to be had
 *         from outside, and with a memory whose frames can be lent: so a program's heap, its
 *         caches and its contiguous region share one limit.
 *
 *         A child of fork(2) has the parent's descriptors, but none of its threads: what they held
 *         stays held, and a dirty page would be written twice, by the child over what the
 *         parent wrote since. So the child leaves files, shrinkers and regions alone, and is
 *         refused calls on them (port/linux/addresses.c). Their pages stay where they are, and
 *         count against its limit.
 *
 * RULES   none of its own.
 *
 * LOCKS   none.
 *
 * COST    32 bytes of metadata for each page of the heap.
 */
#include "../malloc/malloc.h"
#include "../malloc/settings.h"

#include "../../port/linux/linux.h"
#include "base/round.h"
#include "move/boot.h"
#include "slab/boot.h"

#include <quarry/cma.h>
#include <quarry/malloc.h>

struct qy_mm *qy_malloc_memory(void)
{
    return qy_malloc_get_mm();
}

struct qy_mm *qy_malloc_create_movable(const struct qy_linux_options *options)
{
    struct qy_linux_options movable = *options;
    movable.movable = true;
    struct qy_mm *mm = qy_linux_heap_create(&movable, NULL);
    if (mm != NULL)
        qy_move_open(mm);
    return mm;
}

void qy_malloc_disown(struct qy_mm *mm, bool inside)
{
    qy_linux_inherit();
    mm->compact = NULL;
    atomic_store(&mm->reclaim, qy_slab_reclaim);
    if (!inside)
        mm->folios = NULL; /* new files and regions are refused: ENOTSUP */
}

void qy_malloc_reserve(struct qy_mm *mm, const char *name, const char *value)
{
    struct qy_error error = {0};
    struct qy_cma_options options = {.name = "default", .nr_ranges = 1};
    uint64_t bytes;
    if (!qy_setting_region(value, &bytes, &options.policy))
        qy_malloc_refuse(name, value, "expected " QY_EXPECTED_REGION);
    if (bytes == 0)
        return;
    uint64_t nr_frames = qy_round_up(qy_frames_for(bytes), QY_SECTION_FRAMES);
    if (mm->options.limit_pages != 0 && nr_frames > mm->options.limit_pages)
        qy_malloc_refuse(name, value, "it is more than QUARRY_LIMIT");
    options.ranges[0] = (struct qy_cma_range){QY_PFN_NONE, nr_frames};
    if (qy_cma_create(mm, &options, &error) == NULL)
        qy_malloc_refuse(name, value, error.text);
}
