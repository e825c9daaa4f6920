/*
 * mm.c - building a machine-full of memory: metadata, then zones without frames
 *
 * WHAT    The metadata of the whole span lie in one window of addresses, array after array
 *         (mm.h). The caller hands the window in, or it is cut off the end of the map's
 *         largest run of RAM: the early allocator, needed once. With meta_lazy the window is
 *         only addresses; it is committed from each array's start as far as the highest
 *         online frame, so a terabyte that is not used costs nothing.
 *
 * RULES   M3  Metadata of every online frame is committed.
 *         M4  charged, in frames and metadata pages, never exceeds the limit.
 *         Checked by check_memory() in view/rules.c.
 *
 * LOCKS   grow_lock for what is committed; charged is a counter of its own.
 *
 * COST    Once per section.
 */
#include "memory/mm.h"

#include "base/assert.h"
#include "base/errno.h"
#include "base/round.h"
#include "memory/fault.h"
#include "memory/pageblock.h"

/** Lazy metadata is committed in steps of this: fewer system calls. */
#define COMMIT_STEP (UINT64_C(64) << 10)

/** The first tags are not where pages begin: the lines of a first-level cache that hold the first
 *  bytes of pages are those that programs use most. */
#define TAGS_OFFSET 2048

/** Bytes of each array for so many frames. */
static uint64_t array_bytes(enum qy_meta which, uint64_t nr_frames, bool movable)
{
    uint64_t blocks = nr_frames / QY_PAGEBLOCK_FRAMES;
    switch (which) {
    case QY_META_MM:
        return sizeof(struct qy_mm);
    case QY_META_BLOCKS:
        return blocks * QY_PAGEBLOCK_BYTES;
    case QY_META_FREE_BITS:
    case QY_META_FRESH_BITS:
        return blocks * sizeof(struct qy_bits512);
    case QY_META_TAGS:
        return TAGS_OFFSET + nr_frames;
    case QY_META_PAGES:
        return nr_frames * sizeof(struct qy_page);
    case QY_META_FOLIOS:
        return movable ? nr_frames * sizeof(struct qy_folio) : 0;
    default:
        return 0;
    }
}

size_t qy_layout_meta(const struct qy_layout *layout, bool movable, size_t offset[QY_NR_META])
{
    uint64_t nr_frames = layout->end - layout->start;
    size_t bytes = 0;
    for (unsigned which = 0; which < QY_NR_META; which++) {
        offset[which] = bytes;
        bytes += qy_round_up(array_bytes((enum qy_meta)which, nr_frames, movable), QY_PAGE_BYTES);
    }
    return bytes;
}

size_t qy_mm_meta_bytes(const struct qy_memmap *map, const struct qy_mm_options *options)
{
    struct qy_span spans[qy_layout_spans(map)];
    struct qy_layout layout;
    size_t offset[QY_NR_META];
    bool movable = options != NULL && options->movable;
    if (qy_layout_read(&layout, spans, map, NULL) != 0)
        return 0;
    return qy_layout_meta(&layout, movable, offset);
}

/** Cut @bytes off the end of the largest run of RAM. NULL: no run is large enough. */
static void *allocate_early(struct qy_layout *layout, uintptr_t virt_offset, size_t bytes)
{
    uint64_t frames = bytes >> QY_PAGE_SHIFT;
    struct qy_span *largest = NULL;
    for (unsigned i = 0; i < layout->nr_ram; i++) {
        struct qy_span *run = &layout->ram[i];
        if (largest == NULL || run->end - run->start > largest->end - largest->start)
            largest = run;
    }
    if (largest == NULL || largest->end - largest->start <= frames)
        return NULL;
    largest->end -= frames;
    layout->reserved[layout->nr_reserved++] =
        (struct qy_span){largest->end, largest->end + frames, largest->node};
    char *window = (char *)(virt_offset + (uintptr_t)(largest->end << QY_PAGE_SHIFT));
    for (size_t i = 0; i < bytes; i++)
        window[i] = 0;
    return window;
}

int qy_mm_charge(struct qy_mm *mm, uint64_t pages)
{
    uint64_t limit = mm->options.limit_pages;
    uint64_t before = atomic_load_explicit(&mm->charged, memory_order_relaxed);
    do {
        if (limit != 0 && (pages > limit || before > limit - pages))
            return -QY_ENOMEM;
    } while (!atomic_compare_exchange_weak_explicit(&mm->charged, &before, before + pages,
                                                    memory_order_relaxed, memory_order_relaxed));
    return 0;
}

void qy_mm_uncharge(struct qy_mm *mm, uint64_t pages)
{
    atomic_fetch_sub_explicit(&mm->charged, pages, memory_order_relaxed);
}

/** What an array has committed at least, when frames so far are described. */
static uint64_t reaching_bytes(const struct qy_mm *mm, enum qy_meta which, uint64_t nr_frames)
{
    bool movable = mm->options.movable;
    uint64_t step = mm->options.meta_lazy ? COMMIT_STEP : QY_PAGE_BYTES;
    uint64_t whole = qy_round_up(array_bytes(which, mm->nr_frames, movable), QY_PAGE_BYTES);
    return qy_least(qy_round_up(array_bytes(which, nr_frames, movable), step), whole);
}

static int commit_array(struct qy_mm *mm, struct qy_meta_array *array, uint64_t bytes)
{
    if (bytes <= array->committed)
        return 0;
    uint64_t more = bytes - array->committed;
    if (qy_mm_charge(mm, more >> QY_PAGE_SHIFT) != 0)
        return -QY_ENOMEM;
    if (mm->options.meta_lazy && qy_port_commit(mm, array->start + array->committed, more) != 0) {
        qy_mm_uncharge(mm, more >> QY_PAGE_SHIFT);
        return -QY_ENOMEM;
    }
    array->committed = bytes;
    atomic_fetch_add_explicit(&mm->meta_bytes, more, memory_order_relaxed);
    return 0;
}

int qy_meta_reach(struct qy_mm *mm, qy_pfn_t end)
{
    uint64_t nr_frames = qy_round_up(qy_frame_index(mm, end), QY_SECTION_FRAMES);
    for (unsigned which = QY_META_BLOCKS; which < QY_NR_META; which++)
        if (commit_array(mm, &mm->meta[which],
                         reaching_bytes(mm, (enum qy_meta)which, nr_frames)) != 0)
            return -QY_ENOMEM;
    if (nr_frames > qy_described_frames(mm))
        atomic_store_explicit(&mm->described, nr_frames, memory_order_release);
    return 0;
}

int qy_refuse_to_begin(const struct qy_mm *mm, const struct qy_layout *layout,
                       struct qy_error *error)
{
    uint64_t frames = 0, bytes = mm->meta[QY_META_MM].committed;
    qy_pfn_t end = mm->start_pfn;
    for (unsigned i = 0; i < layout->nr_ram; i++) {
        frames += layout->ram[i].end - layout->ram[i].start;
        end = layout->ram[i].end;
    }
    if (frames == 0 && mm->nr_hotplug > 0) { /* it begins with a frame that comes online */
        frames = 1;
        end = mm->hotplug[0].start + 1;
    }
    if (!mm->options.meta_lazy)
        end = mm->start_pfn + mm->nr_frames;
    uint64_t nr_frames = qy_round_up(qy_frame_index(mm, end), QY_SECTION_FRAMES);
    for (unsigned which = QY_META_BLOCKS; which < QY_NR_META; which++)
        bytes += reaching_bytes(mm, (enum qy_meta)which, nr_frames);
    bytes += frames << QY_PAGE_SHIFT;
    if (mm->options.limit_pages != 0 && mm->options.limit_pages < bytes >> QY_PAGE_SHIFT)
        return qy_error_set(error, -QY_ENOMEM, "the limit is too low to begin with: it must be ",
                            bytes, " bytes at least");
    return qy_error_set(error, -QY_ENOMEM, "the system gives no memory to begin with: ", bytes,
                        " bytes");
}

static void set_arrays(struct qy_mm *mm, char *window, const size_t offset[QY_NR_META])
{
    for (unsigned which = 0; which < QY_NR_META; which++)
        mm->meta[which] = (struct qy_meta_array){.start = window + offset[which]};
    mm->meta[QY_META_MM].committed = qy_round_up(sizeof(*mm), QY_PAGE_BYTES);
    mm->blocks = (void *)mm->meta[QY_META_BLOCKS].start;
    mm->free_bits = (void *)mm->meta[QY_META_FREE_BITS].start;
    mm->fresh_bits = (void *)mm->meta[QY_META_FRESH_BITS].start;
    mm->tags = (void *)(mm->meta[QY_META_TAGS].start + TAGS_OFFSET);
    mm->tags_of_slots = mm->tags;
    mm->pages = (void *)mm->meta[QY_META_PAGES].start;
    mm->folios = mm->options.movable ? (void *)mm->meta[QY_META_FOLIOS].start : NULL;
}

static void set_hotplug(struct qy_mm *mm, const struct qy_layout *layout)
{
    mm->nr_hotplug = layout->nr_hotplug;
    for (unsigned i = 0; i < layout->nr_hotplug; i++)
        mm->hotplug[i] = layout->hotplug[i];
    for (unsigned i = 0; i < layout->nr_reserved; i++)
        for (unsigned j = 0; j < layout->nr_hotplug; j++)
            if (layout->reserved[i].start >= layout->hotplug[j].start &&
                layout->reserved[i].start < layout->hotplug[j].end)
                mm->reserved[mm->nr_reserved++] = layout->reserved[i];
    if (layout->nr_hotplug > 0)
        mm->grow_pfn = layout->hotplug[0].start;
}

/** Frames that there may come to be under the watermarks: those of no zone MOVABLE. */
static uint64_t frames_to_keep_free(const struct qy_layout *layout, const struct qy_memmap *map,
                                    uint64_t limit_pages)
{
    const struct qy_span *const spans[] = {layout->ram, layout->hotplug};
    const unsigned counts[] = {layout->nr_ram, layout->nr_hotplug};
    qy_pfn_t end = map->movable_base != 0 ? map->movable_base >> QY_PAGE_SHIFT : QY_PFN_NONE;
    uint64_t frames = 0;
    for (unsigned kind = 0; kind < 2; kind++)
        for (unsigned i = 0; i < counts[kind]; i++)
            if (spans[kind][i].start < end)
                frames += qy_least(spans[kind][i].end, end) - spans[kind][i].start;
    return limit_pages != 0 ? qy_least(frames, limit_pages) : frames;
}

static int check_options(const struct qy_layout *layout, const struct qy_memmap *map,
                         const struct qy_mm_options *options, struct qy_error *error)
{
    uint64_t frames = frames_to_keep_free(layout, map, options->limit_pages);
    if ((uintptr_t)options->meta % QY_PAGE_BYTES != 0)
        return qy_error_set(error, -QY_EINVAL, "options: meta is no multiple of the page size, ",
                            QY_PAGE_BYTES, "");
    /* Linux takes any value, and then has no memory to give. */
    if (frames != 0 && options->min_free_kbytes >> (QY_PAGE_SHIFT - 10) >= frames)
        return qy_error_set(error, -QY_EINVAL, "options: min_free_kbytes keeps back all there is: ",
                            frames << (QY_PAGE_SHIFT - 10), " kB");
    return 0;
}

static char *find_window(struct qy_layout *layout, const struct qy_mm_options *options,
                         size_t bytes, struct qy_error *error)
{
    if (options->meta != NULL)
        return options->meta;
    if (options->no_virt) {
        qy_error_set(error, -QY_EINVAL, "no_virt needs metadata of the caller's: ", bytes,
                     " bytes");
        return NULL;
    }
    char *window = allocate_early(layout, options->virt_offset, bytes);
    if (window == NULL)
        qy_error_set(error, -QY_ENOMEM, "no run of RAM has room for metadata of ", bytes, " bytes");
    return window;
}

struct qy_mm *qy_memory_build(struct qy_layout *layout, const struct qy_memmap *map,
                              const struct qy_mm_options *options, struct qy_error *error)
{
    size_t offset[QY_NR_META];
    qy_assert(qy_spans_are_sound(layout->ram, layout->nr_ram, layout->start, layout->end), "M2");
    if (check_options(layout, map, options, error) != 0)
        return NULL;
    size_t bytes = qy_layout_meta(layout, options->movable, offset);
    char *window = find_window(layout, options, bytes, error);
    if (window == NULL)
        return NULL;
    struct qy_mm *mm = (struct qy_mm *)window;
    uint64_t own_bytes = offset[QY_META_BLOCKS];
    if (options->meta_lazy) /* at once with the first pageblocks, which lie behind */
        own_bytes += qy_least(COMMIT_STEP, offset[QY_META_FREE_BITS] - own_bytes);
    if (options->meta_lazy && qy_port_commit(NULL, window, own_bytes) != 0) {
        qy_error_set(error, -QY_ENOMEM, "no memory for struct qy_mm: ", own_bytes, " bytes");
        return NULL;
    }
    mm->options = *options;
    mm->start_pfn = layout->start;
    mm->nr_frames = layout->end - layout->start;
    if (!options->no_virt)
        mm->base = options->virt_offset + (uintptr_t)(layout->start << QY_PAGE_SHIFT);
    atomic_init(&mm->meta_bytes, own_bytes);
    atomic_init(&mm->charged, own_bytes >> QY_PAGE_SHIFT);
    qy_lock_init(&mm->grow_lock, QY_RANK_GROW);
    qy_lock_init(&mm->cpus_lock, QY_RANK_CPUS);
    qy_lock_init(&mm->chain_lock, QY_RANK_CHAIN);
    qy_lock_init(&mm->quarantine.lock, QY_RANK_QUARANTINE);
    qy_grace_init(&mm->grace);
    qy_list_init(&mm->cpus);
    qy_list_init(&mm->chain);
    qy_list_init(&mm->spaces);
    mm->port_index = UINT32_MAX;
    set_arrays(mm, window, offset);
    mm->meta[QY_META_BLOCKS].committed = own_bytes - offset[QY_META_BLOCKS];
    set_hotplug(mm, layout);
    qy_zones_init(mm, map, layout);
    return mm;
}
