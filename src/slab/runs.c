/*
 * runs.c - blocks of whole pages
 *
 * WHAT    A run is taken exact to the page, marked on its first frame, and kept in the slot
 *         for a while when it is freed (slab/kept.h). It grows where it lies if the frames
 *         behind it are free, and is cut where it lies. What has to move to grow by little gets
 *         the length of its class, for it will grow again; where it comes to lie on frames without
 *         memory, free ones elsewhere give it theirs (buddy/feed.c).
 *
 * RULES   K4  in slab/kmalloc.c.
 *
 * LOCKS   zone->lock to look behind a run; what feed.c takes. A run belongs to whoever holds it.
 *
 * COST    What buddy/contig.c says, a tag and a page; for large blocks what the port's system calls
 *         to clear and to move them cost.
 */
#include "slab/runs.h"

#include "buddy/alloc.h"
#include "slab/run_depot.h"

#include <quarry/slab.h>

/** To a place that has memory, which it would lose, a move pays later than qy_least_moved(). */
#define LEAST_MOVED_ONTO (UINT64_C(8) << 20)

/** Below, clearing all of it costs little more than looking what there is to clear. */
#define LEAST_LOOKED_AT (UINT64_C(8) << 20)

uint64_t qy_run_head(const struct qy_mm *mm, uint64_t index)
{
    uint64_t head = index;
    while (head > 0 && qy_tag_get(&mm->tags[head]) == QY_TAG_NONE)
        head--;
    uint8_t tag = qy_tag_get(&mm->tags[head]);
    bool is_run = qy_tag_is_run(tag) || tag == QY_TAG_FREED;
    return is_run && index - head < qy_run_frames(mm, head) ? head : UINT64_MAX;
}

size_t qy_run_bytes(const struct qy_mm *mm, uint64_t index)
{
    uint64_t nr_frames = qy_run_frames(mm, index);
    if (mm->hardened && qy_tag_get(&mm->tags[index]) == QY_TAG_RUN)
        return mm->pages[index + nr_frames].run_bytes;
    return nr_frames << QY_PAGE_SHIFT;
}

void qy_run_fill_in(struct qy_fault *fault, const struct qy_mm *mm, uint64_t head)
{
    if (head == UINT64_MAX)
        return;
    fault->cache = "pages";
    fault->object = mm->base + (head << QY_PAGE_SHIFT);
    fault->object_bytes = qy_run_bytes(mm, head);
}

static void mark(struct qy_mm *mm, uint64_t index, uint64_t nr_frames)
{
    uint8_t tag = qy_run_tag(nr_frames);
    if (tag == QY_TAG_RUN)
        mm->pages[index].run_frames = nr_frames;
    qy_tag_set(&mm->tags[index], tag);
}

/** Of a large block the last user may have touched a little here and there: the port leaves the
 *  rest without memory. */
static void clear(struct qy_mm *mm, void *block, uint64_t bytes)
{
    if (!mm->options.lazy_backing || bytes < LEAST_LOOKED_AT)
        __builtin_memset(block, 0, bytes);
    else
        qy_port_clear(mm, block, bytes);
}

static void *take_kept(struct qy_mm *mm, uint64_t nr_frames)
{
    struct qy_cpu *cpu = qy_slot_enter(mm);
    struct qy_kept_run run;
    if (cpu == NULL)
        return NULL;
    bool taken = qy_kept_take(cpu, nr_frames, &run);
    qy_cpu_leave(cpu);
    if (!taken)
        return NULL;
    qy_tag_set(&mm->tags[run.index], run.tag);
    return qy_frame_address(mm, mm->start_pfn + run.index);
}

/** A run, tagged. *fresh: it reads as zero, and has no memory yet if the port gives that lazily. */
static void *take(struct qy_mm *mm, uint64_t nr_frames, unsigned align_order, qy_gfp_t gfp,
                  bool *fresh)
{
    struct qy_request request;
    *fresh = false;
    void *kept = align_order == 0 ? take_kept(mm, nr_frames) : NULL;
    if (kept != NULL)
        return kept;
    if (nr_frames > mm->nr_frames || !qy_request_read(&request, 0, gfp, 0))
        return NULL;
    qy_run_depot_missed(mm, nr_frames);
    qy_pfn_t pfn = qy_take_run(mm, &request, nr_frames, align_order, fresh);
    if (pfn == QY_PFN_NONE)
        return NULL;
    mark(mm, qy_frame_index(mm, pfn), nr_frames);
    return qy_frame_address(mm, pfn);
}

void *qy_run_alloc(struct qy_mm *mm, uint64_t nr_frames, unsigned align_order, qy_gfp_t gfp)
{
    bool fresh;
    void *block = take(mm, nr_frames, align_order, gfp, &fresh);
    if (block != NULL && (gfp & QY_GFP_ZERO) && !fresh)
        clear(mm, block, nr_frames << QY_PAGE_SHIFT);
    return block;
}

bool qy_run_free(struct qy_mm *mm, void *block)
{
    struct qy_cpu *cpu = qy_slot_enter(mm);
    if (cpu == NULL)
        qy_slots_are_many(mm);
    uint64_t index = qy_address_index(mm, block);
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    uint64_t frames = qy_run_frames(mm, index);
    bool freed = qy_tag_is_run(tag) && qy_tag_clear(&mm->tags[index], tag);
    if (freed && cpu != NULL)
        qy_kept_give(cpu, index, frames);
    else if (freed)
        qy_give_run(mm, mm->start_pfn + index, frames, false);
    if (cpu != NULL)
        qy_cpu_leave(cpu);
    return freed;
}

/** The run ends where memory ends so far: bring more online behind it. */
static bool grow_behind(struct qy_mm *mm, qy_pfn_t end, uint64_t nr_frames)
{
    struct qy_request request;
    if (!mm->options.grow || qy_frame_online(mm, qy_frame_index(mm, end)) ||
        !qy_in_span(mm, end, nr_frames) || !qy_request_read(&request, 0, QY_GFP_NOWAIT, 0))
        return false;
    return qy_grow(mm, &request, nr_frames) == 0 && qy_take_behind(mm, end, nr_frames);
}

bool qy_run_resize(struct qy_mm *mm, void *block, uint64_t nr_frames)
{
    uint64_t index = qy_address_index(mm, block);
    uint64_t have = qy_run_frames(mm, index);
    qy_pfn_t pfn = mm->start_pfn + index;
    if (nr_frames <= have && have <= qy_run_roomy(nr_frames))
        return true;
    if (nr_frames > have && !qy_take_behind(mm, pfn + have, nr_frames - have) &&
        !grow_behind(mm, pfn + have, nr_frames - have))
        return false;
    mark(mm, index, nr_frames);
    if (nr_frames < have)
        qy_give_run(mm, pfn + nr_frames, have - nr_frames, false);
    else
        qy_feed(mm, pfn + have, nr_frames - have);
    return true;
}

/** Pages change their place instead of being copied. @fresh: there is no memory yet. */
static bool move_pages(struct qy_mm *mm, void *run, void *to, bool fresh)
{
    uint64_t index = qy_address_index(mm, run);
    uint64_t frames = qy_run_frames(mm, index);
    uint64_t bytes = frames << QY_PAGE_SHIFT;
    if (!mm->options.lazy_backing || frames < qy_least_moved(mm) ||
        (!fresh && bytes < LEAST_MOVED_ONTO) || qy_port_move(mm, run, to, bytes) != 0)
        return false;
    qy_tag_set(&mm->tags[index], QY_TAG_NONE);
    qy_give_run(mm, mm->start_pfn + index, frames, true);
    return true;
}

/** A run that was outgrown: as long a one is not asked for soon, and its neighbours, outgrown as
 *  well, make a longer one with it. It is kept nowhere. */
static void give_outgrown(struct qy_mm *mm, void *block)
{
    uint64_t index = qy_address_index(mm, block);
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    uint64_t frames = qy_run_frames(mm, index);
    if (qy_tag_is_run(tag) && qy_tag_clear(&mm->tags[index], tag)) {
        qy_give_run(mm, mm->start_pfn + index, frames, false);
        return;
    }
    int code = qy_kfree(mm, block); /* no run; or somebody else's free was faster: it is reported */
    (void)code;
}

/** The block's content, by moving or copying it. @written: frames that somebody will write soon. */
static void fill(struct qy_mm *mm, void *block, void *to, size_t bytes, uint64_t written,
                 bool fresh)
{
    qy_pfn_t pfn = mm->start_pfn + qy_address_index(mm, to);
    uint64_t old_frames = qy_frames_for(bytes);
    if (qy_tag_is_run(qy_tag_get(&mm->tags[qy_address_index(mm, block)])) &&
        move_pages(mm, block, to, fresh)) {
        qy_feed(mm, pfn + old_frames, written > old_frames ? written - old_frames : 0);
        return;
    }
    qy_feed(mm, pfn, written);
    if (fresh && mm->options.lazy_backing)
        qy_port_populate(mm, to, bytes);
    __builtin_memcpy(to, block, bytes);
    give_outgrown(mm, block);
}

void *qy_run_grow(struct qy_mm *mm, void *block, size_t bytes, uint64_t nr_frames, qy_gfp_t gfp)
{
    bool fresh, by_little = (nr_frames << QY_PAGE_SHIFT) - bytes <= bytes / 4;
    void *to = take(mm, by_little ? qy_run_roomy(nr_frames) : nr_frames, 0, gfp, &fresh);
    if (to == NULL)
        return NULL;
    bool zero = gfp & QY_GFP_ZERO; /* fresh frames are so, unless they are given other memory */
    fill(mm, block, to, bytes, zero ? 0 : nr_frames, fresh);
    if (zero && !fresh) {
        uint64_t room = qy_run_frames(mm, qy_address_index(mm, to)) << QY_PAGE_SHIFT;
        __builtin_memset((char *)to + bytes, 0, room - bytes);
    }
    return to;
}
