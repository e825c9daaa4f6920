/*
 * mm.c - qy_linux_mm_create(): a memory of the process's own
 *
 * WHAT    One window: metadata, and behind them frames, not far off, so that the host's page
 *         tables for a small instance are few. Physical addresses are the program's own, so a
 *         frame's number is its address / 4096. All of it is one HOTPLUG range in zone Normal that
 *         grows as it is used.
 *
 * LOCKS   none: nobody else knows the instance.
 *
 * COST    Nine system calls: five for metadata, one for frames.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "memory/fault.h"
#include "memory/mm.h"
#include "move/boot.h"
#include "slab/boot.h"
#include "slab/magazine.h"

#include <errno.h>

#include <sys/mman.h>

#define DEFAULT_SPAN (UINT64_C(1) << 40)
#define SECTION_BYTES (QY_SECTION_FRAMES * QY_PAGE_BYTES)
/** Metadata is at most this share of a span: 160 bytes a pageblock, 9 a frame, 32 more for one
 *  that can be moved. */
#define META_SHARE 256
#define META_SHARE_MOVABLE 64

static struct qy_memmap map_of(struct qy_range *range, char *start, uint64_t bytes, bool fixed)
{
    *range = (struct qy_range){
        .base = (uintptr_t)start, .bytes = bytes, .type = fixed ? QY_RANGE_RAM : QY_RANGE_HOTPLUG};
    return (struct qy_memmap){.ranges = range, .nr_ranges = 1, .nr_nodes = 1};
}

static bool is_movable(const struct qy_linux_options *options)
{
    return options->movable || options->shared;
}

static uint64_t meta_share(const struct qy_linux_options *options)
{
    return is_movable(options) ? META_SHARE_MOVABLE : META_SHARE;
}

static uint64_t span_in(const struct qy_linux_window *window, uint64_t wanted, uint64_t share)
{
    uint64_t room = window->bytes - window->bytes / (share / 2) - SECTION_BYTES;
    uint64_t span = wanted < room ? wanted : room;
    return span / SECTION_BYTES * SECTION_BYTES;
}

/* A window is not reserved, so others may have come to lie in it: only what an instance has mapped
 * may be unmapped. */

/** Sections of the span from *index on that are online; false: there are no more. */
static bool next_online(const struct qy_mm *mm, uint64_t *index, uint64_t *end)
{
    uint64_t all = qy_described_frames(mm);
    while (*index < all && !qy_frame_online(mm, *index))
        *index += QY_SECTION_FRAMES;
    *end = *index;
    while (*end < all && qy_frame_online(mm, *end))
        *end += QY_SECTION_FRAMES;
    return *index < all;
}

static void unmap_frames(const struct qy_mm *mm)
{
    uint64_t index = 0, end = 0;
    for (; next_online(mm, &index, &end); index = end)
        munmap((char *)mm->base + index * QY_PAGE_BYTES, (end - index) * QY_PAGE_BYTES);
}

/** The instance itself is the last of them. */
static void unmap_meta(const struct qy_mm *mm)
{
    struct qy_meta_array meta[QY_NR_META];
    __builtin_memcpy(meta, mm->meta, sizeof(meta));
    for (unsigned which = QY_NR_META; which-- > 0;)
        if (meta[which].committed != 0)
            munmap(meta[which].start, meta[which].committed);
}

void qy_port_abandon(struct qy_mm *mm)
{
    if (qy_linux_window_is_reserved((const char *)mm))
        return; /* whoever reserved it releases it */
    if (mm->options.grow)
        unmap_frames(mm); /* else they were committed before, all at once */
    unmap_meta(mm);
}

/** An instance in this window. NULL: error says why, and nothing is mapped there. */
static struct qy_mm *create_in(const struct qy_linux_window *window, uint64_t wanted,
                               const struct qy_linux_options *options, struct qy_error *error)
{
    struct qy_range range;
    uint64_t span = span_in(window, wanted, meta_share(options));
    char *frames = window->start + (window->bytes - span) / SECTION_BYTES * SECTION_BYTES;
    struct qy_memmap map = map_of(&range, frames, span, options->fixed);
    struct qy_mm_options core = {
        .meta = window->start,
        .meta_lazy = true,
        .grow = !options->fixed,
        .lazy_backing = true,
        .movable = is_movable(options),
        .limit_pages = options->limit_bytes >> QY_PAGE_SHIFT,
        .kmalloc_flags = options->kmalloc_flags,
        .min_free_kbytes = options->min_free_kbytes,
    };
    struct qy_mm *mm = NULL;
    if (options->limit_bytes != 0 && core.limit_pages == 0)
        core.limit_pages = 1;
    int shared = options->shared ? qy_linux_share(frames, span) : 0;
    if (shared != 0)
        qy_error_set(error, shared, "no memfd for a span of bytes: ", span, "");
    else if (options->fixed && qy_port_commit(NULL, frames, span) != 0)
        qy_error_set(error, -ENOMEM, "no memory for a fixed span of bytes: ", span, "");
    else if ((mm = qy_boot(&map, &core, error)) == NULL && options->fixed &&
             !qy_linux_window_is_reserved(frames))
        munmap(frames, span); /* else with its window, of which nobody gets a part before */
    if (mm == NULL)
        qy_linux_unshare(frames);
    if (mm == NULL)
        qy_linux_window_release(window);
    return mm;
}

/** At an address left to chance; where such cannot be had, in a range that is reserved. */
static struct qy_mm *create(struct qy_linux_window *window, uint64_t wanted,
                            const struct qy_linux_options *options, struct qy_error *error)
{
    uint64_t bytes = wanted + wanted / (meta_share(options) / 4) + 8 * SECTION_BYTES;
    if (qy_linux_window_find(window, bytes) == 0) {
        struct qy_mm *mm = create_in(window, wanted, options, error);
        if (mm != NULL)
            return mm;
    }
    if (qy_linux_window_reserve(window, bytes, options->fixed ? bytes : 16 * SECTION_BYTES) == 0)
        return create_in(window, wanted, options, error);
    return qy_refused(error, -ENOMEM, "no range of addresses for a span of bytes: ", wanted);
}

struct qy_mm *qy_linux_heap_create(const struct qy_linux_options *options, struct qy_error *error)
{
    static const struct qy_linux_options defaults;
    struct qy_linux_window window;
    if (options == NULL)
        options = &defaults;
    uint64_t wanted = options->span_bytes != 0 ? options->span_bytes : DEFAULT_SPAN;
    wanted = (wanted + SECTION_BYTES - 1) / SECTION_BYTES * SECTION_BYTES;
    if (wanted > UINT64_C(1) << 42)
        return qy_refused(error, -EINVAL, "span_bytes is above 4 TiB: ", options->span_bytes);
    qy_linux_barrier_init();
    struct qy_mm *mm = create(&window, wanted, options, error);
    if (mm == NULL)
        return NULL;
    mm->port_window = window.start;
    mm->port_window_bytes = window.bytes;
    if (is_movable(options))
        qy_linux_window_lends(window.start);
    qy_linux_slots_open(mm);
    return mm;
}

struct qy_mm *qy_linux_mm_create(const struct qy_linux_options *options, struct qy_error *error)
{
    struct qy_mm *mm = qy_linux_heap_create(options, error);
    if (mm == NULL)
        return NULL;
    qy_move_open(mm);
    if (options != NULL && is_movable(options))
        qy_linux_watch_forks();
    return mm;
}

int qy_linux_mm_open(struct qy_mm *mm)
{
    if (mm->port_index < QY_LINUX_INSTANCES)
        return -EEXIST;
    qy_linux_barrier_init();
    return qy_linux_slots_open(mm) == 0 ? 0 : -EAGAIN;
}

void qy_linux_mm_close(struct qy_mm *mm)
{
    qy_slots_stop(mm);
    while (!qy_list_empty(&mm->cpus)) {
        struct qy_cpu *cpu = qy_list_entry(mm->cpus.next, struct qy_cpu, link);
        qy_list_remove(&cpu->link);
        mm->nr_cpus--;
        qy_slot_empty(mm, cpu);
        cpu->mm = NULL;
    }
    qy_unlock(&mm->cpus_lock);
    qy_linux_slots_close(mm);
}

void qy_linux_mm_destroy(struct qy_mm *mm)
{
    struct qy_linux_window window = {mm->port_window, mm->port_window_bytes};
    qy_linux_slots_close(mm);
    qy_linux_unshare((char *)mm->base);
    if (!qy_linux_window_is_reserved(window.start)) {
        unmap_frames(mm);
        unmap_meta(mm);
    }
    qy_linux_window_release(&window);
}
