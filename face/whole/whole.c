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

#include "../../port/linux/linux.h"
#include "move/boot.h"
#include "slab/boot.h"

#include <quarry/cma.h>
#include <quarry/malloc.h>

#include <string.h>

#define REGION_STEP (UINT64_C(4) << 20) /* regions are made of pairs of pageblocks */

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

/** @comma: what stands before its name; NULL: nothing is said, it is Linux's. */
static bool read_policy(const char *comma, enum qy_cma_policy *policy)
{
    static const char *const names[] = {
        [QY_CMA_LINUX] = "linux", [QY_CMA_EAGER] = "eager", [QY_CMA_GUARANTEED] = "guaranteed"};
    *policy = QY_CMA_LINUX;
    for (unsigned i = 0; comma != NULL && i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(comma + 1, names[i]) == 0) {
            *policy = (enum qy_cma_policy)i;
            return true;
        }
    return comma == NULL;
}

/** SIZE[,POLICY]: the bytes, in whole steps. */
static uint64_t read_size(const char *name, const char *value, enum qy_cma_policy *policy)
{
    static const char expected[] =
        "expected a size, such as 64M or 64M,eager (linux, eager, guaranteed)";
    char size[32] = "";
    const char *comma = strchr(value, ',');
    size_t length = comma != NULL ? (size_t)(comma - value) : strlen(value);
    if (!read_policy(comma, policy))
        qy_malloc_refuse(name, value, expected);
    for (size_t i = 0; i < length && i < sizeof(size) - 1; i++)
        size[i] = value[i];
    uint64_t bytes = qy_malloc_parse_bytes(name, size);
    return (bytes + REGION_STEP - 1) / REGION_STEP * REGION_STEP;
}

void qy_malloc_reserve(struct qy_mm *mm, const char *name, const char *value)
{
    struct qy_error error = {0};
    struct qy_cma_options options = {.name = "default", .nr_ranges = 1};
    uint64_t bytes = read_size(name, value, &options.policy);
    if (bytes == 0)
        return;
    if (mm->options.limit_pages != 0 && bytes >> QY_PAGE_SHIFT > mm->options.limit_pages)
        qy_malloc_refuse(name, value, "it is more than QUARRY_LIMIT");
    options.ranges[0] = (struct qy_cma_range){QY_PFN_NONE, bytes >> QY_PAGE_SHIFT};
    if (qy_cma_create(mm, &options, &error) == NULL)
        qy_malloc_refuse(name, value, error.text);
}
