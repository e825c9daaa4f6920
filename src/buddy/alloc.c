/*
 * alloc.c - from a request to a block, what if there is none, and back
 *
 * WHAT    The order of events:
 *           1. the slot's own list                      (no lock)
 *           2. the zones of the zonelist, while they stay above the low watermark
 *           3. more memory is brought online, where the instance may grow
 *           4. the zones again, down to min; urgent requests below it
 *           5. for a block, compaction; then reclaim; then 4 again, as long as something comes
 *              of it
 *         What a zone has for a request is in request.c.
 *
 * RULES   A1  in buddy/request.c.
 *         T1, T2  in memory/page.h: an allocated block's head carries its order, and free
 *             frames carry nothing.
 *         F1  What is freed lies in managed memory.
 *         F2  It is the head of an allocated block.
 *         F3  It is freed with the order it was allocated with.
 *         F1..F3 are checked at each free; T1, T2 by qy_check_tags() in view/rules_buddy.c.
 *
 * LOCKS   zone->lock, one at a time. Step 3, and 4 before it fails, take grow_lock; step
 *         5 runs outside all locks and outside the slot.
 *
 * COST    Step 1 on x86-64, gcc 12: 32 instructions to allocate and 38 to free, no call, no
 *         locked one, whatever the flags say as long as they ask for no more than a frame
 *         (QUICK_FLAGS). Allocating touches the slot, the list and the frame's tag; freeing
 *         the pageblock's header as well, which says whose list the frame goes to. That is
 *         compared with what the slot remembers and not looked up: so nothing that the next
 *         call needs waits for it. F1 is the comparison that finds the slot stopped, F2 and
 *         F3 are one comparison of the tag.
 */
#include "buddy/alloc.h"

#include "base/assert.h"
#include "base/errno.h"
#include "base/text.h"
#include "buddy/pcp.h"
#include "memory/fault.h"

#include <quarry/buddy.h>

/* ---- the zones ---- */

static qy_pfn_t take_from_zones(struct qy_mm *mm, const struct qy_request *request,
                                enum qy_watermark watermark, bool *fresh)
{
    struct qy_zone *zone;
    qy_for_each_zone (zone, mm, request->node) {
        if (qy_zone_room(zone, request, watermark) < UINT64_C(1) << request->order)
            continue;
        qy_lock(&zone->lock);
        qy_pfn_t pfn = qy_zone_take_locked(mm, zone, request, fresh);
        qy_unlock(&zone->lock);
        qy_tell(mm);
        if (pfn != QY_PFN_NONE)
            return pfn;
    }
    return QY_PFN_NONE;
}

/* ---- through the slot ---- */

/** The first zone that the request may use: the one whose lists serve it. */
static struct qy_zone *preferred_zone(struct qy_mm *mm, const struct qy_request *request)
{
    struct qy_zone *zone;
    qy_for_each_zone (zone, mm, request->node) {
        if (qy_zone_may_use(zone, request))
            return zone;
    }
    return NULL;
}

/** Refill the slot's list, as far as the low watermark allows. */
static bool refill(struct qy_mm *mm, struct qy_cpu *cpu, struct qy_zone *zone,
                   const struct qy_request *request)
{
    uint64_t most = qy_zone_room(zone, request, QY_WMARK_LOW) >> request->order;
    return qy_pcp_places(request->order) != 0 && most != 0 &&
           qy_pcp_refill(mm, cpu, zone, request, most);
}

static qy_pfn_t take_from_slot(struct qy_mm *mm, struct qy_cpu *cpu,
                               const struct qy_request *request, bool *fresh)
{
    struct qy_zone *zone = preferred_zone(mm, request);
    if (zone == NULL)
        return QY_PFN_NONE;
    struct qy_pcp_list *lists = cpu->pcp[zone->pcp].list[request->migratetype];
    if (request->node == 0 && !(request->gfp & QY_GFP_THISNODE))
        cpu->take_from[request->gfp % QY_PCP_CHOICES] = lists;
    struct qy_pcp_list *list = &lists[request->order];
    if (list->top == list->frame && !refill(mm, cpu, zone, request))
        return QY_PFN_NONE;
    uint32_t frame = *--list->top;
    *fresh = frame & QY_FRAME_FRESH;
    return mm->start_pfn + (frame & ~QY_FRAME_FRESH);
}

void qy_note_peak(struct qy_mm *mm)
{
    uint64_t used = qy_used_frames(mm);
    uint64_t peak = atomic_load_explicit(&mm->peak, memory_order_relaxed);
    while (used > peak && !atomic_compare_exchange_weak_explicit(
                              &mm->peak, &peak, used, memory_order_relaxed, memory_order_relaxed))
        ;
    struct qy_watch *watch = atomic_load_explicit(&mm->watch, memory_order_relaxed);
    if (watch == NULL)
        return;
    uint64_t told = atomic_load_explicit(&watch->peak, memory_order_relaxed);
    atomic_store_explicit(&watch->used, used, memory_order_relaxed);
    while (used > told &&
           !atomic_compare_exchange_weak_explicit(&watch->peak, &told, used, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

/** Down to min; where frames may be away for trim, once more when they are back (R1). */
static qy_pfn_t take_to_min(struct qy_mm *mm, const struct qy_request *request, bool *fresh)
{
    qy_wake_reclaimer(mm, request->gfp);
    qy_pfn_t pfn = take_from_zones(mm, request, QY_WMARK_MIN, fresh);
    if (pfn != QY_PFN_NONE || !mm->options.lazy_backing)
        return pfn;
    qy_lock(&mm->grow_lock);
    qy_assert(mm->nr_away == 0, "R1");
    pfn = take_from_zones(mm, request, QY_WMARK_MIN, fresh);
    qy_unlock(&mm->grow_lock);
    return pfn;
}

qy_pfn_t qy_take_pages(struct qy_mm *mm, struct qy_cpu *cpu, const struct qy_request *request,
                       bool *fresh)
{
    qy_pfn_t pfn = QY_PFN_NONE;
    if (cpu != NULL)
        pfn = take_from_slot(mm, cpu, request, fresh);
    if (pfn == QY_PFN_NONE)
        pfn = take_from_zones(mm, request, QY_WMARK_LOW, fresh);
    while (pfn == QY_PFN_NONE && mm->options.grow && !request->within &&
           qy_grow(mm, request, UINT64_C(1) << request->order) == 0)
        pfn = take_from_zones(mm, request, QY_WMARK_LOW, fresh);
    if (pfn == QY_PFN_NONE)
        pfn = take_to_min(mm, request, fresh);
    return pfn;
}

/** Which list a frame goes to. While its pageblock changes, one type is as good as the other. */
QY_RACY static unsigned type_of(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return mm->blocks[qy_block_of(mm, pfn)].migratetype;
}

void qy_give_pages(struct qy_mm *mm, struct qy_cpu *cpu, qy_pfn_t pfn, unsigned order, bool fresh)
{
    struct qy_zone *zone = qy_zone_of(mm, pfn);
    unsigned migratetype = type_of(mm, pfn);
    if (cpu == NULL || qy_pcp_places(order) == 0 || migratetype >= QY_PCP_TYPES) {
        qy_lock(&zone->lock);
        int given = qy_buddy_give_locked(mm, zone, pfn, order, fresh);
        qy_unlock(&zone->lock);
        qy_assert(given == 0, "B1");
        (void)given;
        qy_tell(mm);
        return;
    }
    cpu->give_to = cpu->pcp[zone->pcp].list[migratetype];
    cpu->give_type = (uint8_t)migratetype;
    cpu->give_zone = (uint8_t)zone->index;
    struct qy_pcp_list *list = &cpu->give_to[order];
    if (list->top == list->high)
        qy_pcp_make_room(mm, cpu, zone, list, order);
    *list->top++ = (uint32_t)qy_frame_index(mm, pfn) | (fresh ? QY_FRAME_FRESH : 0);
}

/* ---- the public calls ---- */

static qy_pfn_t alloc_with_reclaim(struct qy_mm *mm, const struct qy_request *request, bool *fresh)
{
    qy_pfn_t pfn = QY_PFN_NONE;
    if (!(request->gfp & QY_GFP_DIRECT_RECLAIM))
        return pfn;
    qy_drain_all_pages(mm); /* what others' lists hold is free, too */
    pfn = take_to_min(mm, request, fresh);
    unsigned rounds = 0;
    while (pfn == QY_PFN_NONE) {
        if (qy_compact_again(mm, request->gfp, request->order))
            pfn = take_to_min(mm, request, fresh);
        if (pfn != QY_PFN_NONE || !qy_reclaim_again(mm, request->gfp, request->order, &rounds))
            break;
        pfn = take_to_min(mm, request, fresh);
    }
    return pfn;
}

/** Flags that need no more than a list's topmost block. */
#define QUICK_FLAGS (QY_PCP_CHOOSING | QY_GFP_HIGH | QY_GFP_KERNEL | QY_GFP_NOWARN)

qy_pfn_t qy_alloc_pages_node(struct qy_mm *mm, unsigned node, qy_gfp_t gfp, unsigned order)
{
    struct qy_request request;
    bool fresh = false;
    if (node >= mm->nr_nodes || !qy_request_read(&request, node, gfp, order) ||
        !qy_can_clear(mm, gfp))
        return QY_PFN_NONE;
    struct qy_cpu *cpu = qy_slot_enter(mm);
    qy_pfn_t pfn = qy_take_pages(mm, cpu, &request, &fresh);
    if (cpu != NULL)
        qy_cpu_leave(cpu);
    if (qy_unlikely(pfn == QY_PFN_NONE))
        pfn = alloc_with_reclaim(mm, &request, &fresh);
    if (qy_unlikely(pfn == QY_PFN_NONE))
        return pfn;
    qy_tag_set(&mm->tags[qy_frame_index(mm, pfn)], (uint8_t)(QY_TAG_BLOCK + order));
    if ((gfp & QY_GFP_ZERO) && !fresh)
        __builtin_memset(qy_frame_address(mm, pfn), 0, QY_PAGE_BYTES << order);
    return pfn;
}

qy_pfn_t qy_alloc_pages(struct qy_mm *mm, qy_gfp_t gfp, unsigned order)
{
    struct qy_cpu *cpu = qy_port_cpu(mm, mm->port_index);
    if (qy_unlikely(cpu == NULL || (gfp & ~QUICK_FLAGS) || order > QY_MAX_ORDER))
        return qy_alloc_pages_node(mm, 0, gfp, order);
    if (qy_likely(qy_cpu_enter(cpu))) {
        struct qy_pcp_list *list = &cpu->take_from[gfp % QY_PCP_CHOICES][order];
        uint32_t *top = list->top;
        if (qy_likely(top != list->frame)) {
            uint32_t frame = top[-1] & ~QY_FRAME_FRESH;
            list->top = top - 1;
            qy_cpu_leave(cpu);
            qy_tag_set(&mm->tags[frame], (uint8_t)(QY_TAG_BLOCK + order));
            return mm->start_pfn + frame;
        }
    }
    qy_cpu_leave(cpu);
    return qy_alloc_pages_node(mm, 0, gfp, order);
}

/* ---- free ---- */

/** The frame lies in an allocated block, behind its head. */
static bool is_interior(const struct qy_mm *mm, uint64_t index)
{
    for (unsigned order = 1; order <= QY_MAX_ORDER; order++) {
        uint64_t head = index >> order << order;
        uint8_t tag = qy_tag_get(&mm->tags[head]);
        if (head != index && tag >= QY_TAG_BLOCK + order && tag <= QY_TAG_BLOCK + QY_MAX_ORDER)
            return true;
    }
    return false;
}

enum fault_kind {
    FOREIGN,
    OTHER_ORDER,
    INTERIOR,
    FREED,
    INVALID
};

/** Why no block of the order in question can be freed at this frame. */
static enum fault_kind kind_of(const struct qy_mm *mm, uint64_t index)
{
    if (!qy_frame_online(mm, index))
        return FOREIGN;
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    if (tag == QY_TAG_NONE)
        return is_interior(mm, index) ? INTERIOR : FREED;
    return tag <= QY_TAG_BLOCK + QY_MAX_ORDER ? OTHER_ORDER : INVALID;
}

static int refuse_free(struct qy_mm *mm, qy_pfn_t pfn, unsigned order)
{
    static const struct {
        const char *what, *rule, *note;
    } faults[] = {
        [FOREIGN] = {"foreign free", "F1", NULL},
        [OTHER_ORDER] = {"wrong order free", "F3", NULL},
        [INTERIOR] = {"interior free", "F2", NULL},
        [FREED] = {"double free", "F2", "or it was never allocated"},
        [INVALID] = {"invalid free", "F2", "it belongs to a cache, a file or kmalloc"},
    };
    uint64_t index = qy_frame_index(mm, pfn);
    enum fault_kind kind = kind_of(mm, index);
    struct qy_fault fault = {.what = faults[kind].what,
                             .rule = faults[kind].rule,
                             .address = pfn,
                             .unit = "frame",
                             .note = faults[kind].note};
    char note[64];
    if (kind == OTHER_ORDER) {
        struct qy_text text;
        qy_text_init(&text, note, sizeof(note));
        qy_text_string(&text, "freed with order ");
        qy_text_u64(&text, order);
        qy_text_string(&text, ", allocated with order ");
        qy_text_u64(&text, (uint64_t)(qy_tag_get(&mm->tags[index]) - QY_TAG_BLOCK));
        fault.note = note;
    }
    return qy_fault_report(mm, &fault);
}

/** Is there an allocated block of this order at pfn? If so its tag is cleared. */
static int untag(struct qy_mm *mm, qy_pfn_t pfn, unsigned order)
{
    uint64_t index = qy_frame_index(mm, pfn);
    bool allocated = order <= QY_MAX_ORDER && qy_frame_online(mm, index) &&
                     mm->tags[index] == QY_TAG_BLOCK + order;
    if (!allocated)
        return refuse_free(mm, pfn, order);
    qy_tag_set(&mm->tags[index], QY_TAG_NONE);
    return 0;
}

static int free_slow(struct qy_mm *mm, qy_pfn_t pfn, unsigned order)
{
    if (untag(mm, pfn, order) != 0)
        return -QY_EINVAL;
    struct qy_cpu *cpu = qy_slot_enter(mm);
    if (cpu != NULL)
        qy_cpu_extend(cpu, qy_described_frames(mm));
    qy_give_pages(mm, cpu, pfn, order, false);
    if (cpu != NULL)
        qy_cpu_leave(cpu);
    return 0;
}

/** The slot's lists for what is freed are this pageblock's. */
QY_RACY static bool gives_to(const struct qy_cpu *cpu, const struct qy_pageblock *pb)
{
    return pb->migratetype == cpu->give_type && pb->zone == cpu->give_zone;
}

int qy_free_pages(struct qy_mm *mm, qy_pfn_t pfn, unsigned order)
{
    struct qy_cpu *cpu = qy_port_cpu(mm, mm->port_index);
    if (qy_unlikely(cpu == NULL || order > QY_MAX_ORDER))
        return free_slow(mm, pfn, order);
    qy_cpu_set_busy(cpu);
    uint64_t index = qy_frame_index(mm, pfn);
    if (qy_likely(index < qy_port_load_limit(&cpu->nr_frames))) {
        uint8_t *tag = &mm->tags[index];
        if (qy_likely(*tag == (uint8_t)(QY_TAG_BLOCK + order) &&
                      gives_to(cpu, &mm->blocks[index / QY_PAGEBLOCK_FRAMES]))) {
            struct qy_pcp_list *list = &cpu->give_to[order];
            uint32_t *top = list->top;
            if (qy_likely(top != list->high)) {
                qy_tag_set(tag, QY_TAG_NONE);
                *top = (uint32_t)index;
                list->top = top + 1;
                qy_cpu_leave(cpu);
                return 0;
            }
        }
    }
    qy_cpu_leave(cpu);
    return free_slow(mm, pfn, order);
}

size_t qy_alloc_pages_bulk(struct qy_mm *mm, qy_gfp_t gfp, size_t count, qy_pfn_t *pfns)
{
    size_t taken = 0;
    while (taken < count && (pfns[taken] = qy_alloc_pages(mm, gfp, 0)) != QY_PFN_NONE)
        taken++;
    return taken;
}

size_t qy_free_pages_bulk(struct qy_mm *mm, size_t count, const qy_pfn_t *pfns)
{
    size_t refused = 0;
    for (size_t i = 0; i < count; i++)
        refused += qy_free_pages(mm, pfns[i], 0) != 0;
    return refused;
}

void *qy_page_address(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return mm->base != 0 && qy_in_span(mm, pfn, 1) ? qy_frame_address(mm, pfn) : NULL;
}

qy_pfn_t qy_virt_to_pfn(const struct qy_mm *mm, const void *address)
{
    uint64_t index = qy_address_index(mm, address);
    return mm->base != 0 && index < mm->nr_frames ? mm->start_pfn + index : QY_PFN_NONE;
}
