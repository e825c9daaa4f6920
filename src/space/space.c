/*
 * space.c - spaces come and go, and what is known of them
 *
 * WHAT    A space is a range of addresses of the host's, a table of entries, and no areas yet. It
 *         goes when no page of it is pinned: whatever areas it has, go with it.
 *
 * RULES   V1, V2, V3  in space/mapping.h; V7  in space/mappings.c.
 *
 * LOCKS   mapping.lock; chain_lock for the list of spaces.
 *
 * COST    Once. Its end is a step for each page that has a frame, and waits for movers.
 */
#include "space/space.h"

#include "base/assert.h"
#include "base/errno.h"
#include "memory/fault.h"

#include <quarry/slab.h>

#define DEFAULT_BYTES (UINT64_C(64) << 30)
#define MOST_BYTES (UINT64_C(16) << 40)
#define BLOCK_BYTES (QY_PAGEBLOCK_FRAMES * QY_PAGE_BYTES)

static bool name_it(struct qy_space *space, const char *name)
{
    unsigned length = 0;
    while (name != NULL && length < QY_MAPPING_NAME && name[length] != '\0') {
        space->mapping.name[length] = name[length];
        length++;
    }
    return length > 0 && length < QY_MAPPING_NAME;
}

static void list(struct qy_space *space, bool in)
{
    struct qy_mm *mm = space->mapping.mm;
    qy_lock(&mm->chain_lock);
    if (in)
        qy_list_add_tail(&mm->spaces, &space->link);
    else
        qy_list_remove(&space->link);
    qy_unlock(&mm->chain_lock);
}

struct qy_space *qy_space_create(struct qy_mm *mm, const char *name, uint64_t bytes,
                                 struct qy_error *error)
{
    void *start;
    if (qy_port_inherited(mm))
        return qy_refused(error, -QY_ENOTSUP, QY_INHERITED, UINT64_MAX);
    bytes = bytes != 0 ? bytes : DEFAULT_BYTES;
    if (bytes % BLOCK_BYTES != 0 || bytes > MOST_BYTES)
        return qy_refused(error, -QY_EINVAL, "a space is of whole 2 MiB, up to 16 TiB: ", bytes);
    if (mm->folios == NULL || mm->base == 0)
        return qy_refused(error, -QY_ENOTSUP, "the memory was made without options.movable",
                          UINT64_MAX);
    struct qy_space *space = qy_kmalloc(mm, sizeof(*space), QY_GFP_KERNEL | QY_GFP_ZERO);
    if (space == NULL)
        return qy_refused(error, -QY_ENOMEM, "no memory to describe a space", UINT64_MAX);
    int code = name_it(space, name) ? qy_port_window_open(mm, space, bytes, &start) : -QY_EINVAL;
    if (code != 0) {
        qy_kfree(mm, space);
        return qy_refused(error, code,
                          code == -QY_EINVAL    ? "a name is of 1 .. 31 bytes"
                          : code == -QY_ENOTSUP ? "frames cannot be mapped: options.shared"
                                                : "no range of addresses",
                          UINT64_MAX);
    }
    space->mapping.ops = &qy_space_ops;
    space->mapping.mm = mm;
    qy_lock_init(&space->mapping.lock, QY_RANK_SPACE);
    space->start = start;
    space->nr_pages = bytes >> QY_PAGE_SHIFT;
    qy_pgtable_init(&space->table, mm);
    qy_list_init(&space->mappers);
    atomic_init(&space->moves, 0);
    atomic_store_explicit(&mm->most_mappings, qy_port_window_most(mm), memory_order_relaxed);
    space->host_mappings = qy_port_window_count(mm);
    space->nr_mappings = 1;
    qy_lock(&space->mapping.lock);
    qy_space_recount_locked(space, 0);
    qy_unlock(&space->mapping.lock);
    list(space, true);
    return space;
}

int qy_space_destroy(struct qy_space *space)
{
    if (qy_port_inherited(space))
        return -QY_ENOTSUP;
    struct qy_mm *mm = space->mapping.mm;
    qy_lock(&space->mapping.lock);
    qy_space_settle_locked(space, 0, space->nr_pages);
    int code = space->nr_pinned != 0 ? -QY_EBUSY : 0;
    struct qy_area *areas = NULL;
    struct qy_list left;
    qy_list_init(&left);
    if (code == 0) {
        qy_space_recall_pages_locked(space, 0, space->nr_pages);
        qy_port_window_close(mm, space->start, space->nr_pages << QY_PAGE_SHIFT);
        qy_space_release_locked(space, 0, space->nr_pages);
        areas = qy_area_remove(space, 0, space->nr_pages);
        qy_space_charge_locked(space, 0);
        qy_mappers_leave_locked(space, &left);
    }
    qy_unlock(&space->mapping.lock);
    if (code != 0)
        return code;
    list(space, false);
    qy_mappers_detach(&left);
    qy_areas_free(mm, areas);
    qy_grace_wait(&mm->grace); /* movers that found it through a folio */
    qy_kfree(mm, space);
    return 0;
}

qy_pfn_t qy_space_translate(struct qy_space *space, const void *address)
{
    if (qy_port_inherited(space))
        return QY_PFN_NONE;
    uint64_t page = qy_space_page(space, address);
    if (page >= space->nr_pages)
        return QY_PFN_NONE;
    qy_lock(&space->mapping.lock);
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    qy_unlock(&space->mapping.lock);
    return qy_pte_none(pte) ? QY_PFN_NONE : qy_pte_pfn(pte);
}

void qy_space_stat(struct qy_space *space, struct qy_space_stat *stat)
{
    *stat = (struct qy_space_stat){0};
    if (qy_port_inherited(space))
        return;
    qy_lock(&space->mapping.lock);
    *stat = (struct qy_space_stat){
        .areas = space->nr_areas,
        .mapped = space->nr_mapped,
        .resident = space->nr_resident,
        .pinned = space->nr_pinned,
        .table_frames = space->table.nr_tables,
        .faults = space->nr_faults,
        .moved = space->nr_moved,
    };
    qy_unlock(&space->mapping.lock);
}
