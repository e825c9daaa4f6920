/*
 * model/buddy.c - the buddy system as the textbooks draw it
 *
 * WHAT    A free block of order k is 2^k free frames at a multiple of 2^k. Its buddy is the
 *         other half of the block of order k + 1 that both lie in: the frame number with
 *         bit k flipped. Eleven lists hold the free blocks, one list an order:
 *
 *         alloc order 0      free_area[3]: (0)                       take the smallest that
 *                                          /  \                      suffices, halve it, keep
 *                            free_area[2]:  .  (4)                   the upper half on the
 *                                          / \                       list below
 *                            free_area[1]: . (2)
 *                                         / \
 *                            free_area[0]: . (1)     frame 0 goes out
 *
 *         free frame 0       is 0 ^ 1 free, of order 0? unlink it, merge, ask for order 1 ...
 *
 * RULES   A free block stands on the list of its order, on its first frame's link. No two free
 *         buddies stand on one list below the top: they were merged.
 */
#include "buddy.h"

#include <errno.h>
#include <stdlib.h>

enum frame_state {
    INSIDE,    /* a hole, or not the first frame of its block */
    FREE_HEAD, /* first frame of a free block of this order */
    HELD_HEAD  /* first frame of a block that is taken */
};

struct frame {
    struct frame *next;
    struct frame *prev;
    uint8_t state; /* enum frame_state */
    uint8_t order; /* of the block that begins here */
};

struct free_area {
    struct frame *first;
    uint64_t nr_free;
};

struct qy_model_buddy {
    qy_pfn_t start_pfn; /* a multiple of 2^QY_MAX_ORDER */
    uint64_t spanned;   /* frames from start_pfn on, holes included */
    struct frame *frames;
    struct free_area free_area[QY_NR_ORDERS];
};

static struct frame *frame_of(const struct qy_model_buddy *zone, qy_pfn_t pfn)
{
    if (pfn < zone->start_pfn || pfn - zone->start_pfn >= zone->spanned)
        return NULL;
    return &zone->frames[pfn - zone->start_pfn];
}

static qy_pfn_t pfn_of(const struct qy_model_buddy *zone, const struct frame *frame)
{
    return zone->start_pfn + (qy_pfn_t)(frame - zone->frames);
}

static void add_to_free_list(struct qy_model_buddy *zone, qy_pfn_t pfn, unsigned order)
{
    struct free_area *area = &zone->free_area[order];
    struct frame *frame = frame_of(zone, pfn);

    frame->state = FREE_HEAD;
    frame->order = (uint8_t)order;
    frame->prev = NULL;
    frame->next = area->first;
    if (area->first)
        area->first->prev = frame;
    area->first = frame;
    area->nr_free++;
}

static void del_from_free_list(struct qy_model_buddy *zone, qy_pfn_t pfn, unsigned order)
{
    struct free_area *area = &zone->free_area[order];
    struct frame *frame = frame_of(zone, pfn);

    if (frame->prev)
        frame->prev->next = frame->next;
    else
        area->first = frame->next;
    if (frame->next)
        frame->next->prev = frame->prev;
    frame->state = INSIDE;
    area->nr_free--;
}

static bool is_free_block(const struct qy_model_buddy *zone, qy_pfn_t pfn, unsigned order)
{
    const struct frame *frame = frame_of(zone, pfn);

    return frame && frame->state == FREE_HEAD && frame->order == order;
}

/* The way down: halve the block at pfn until the block of order low that holds wanted is
 * left; the other halves go to the lists below. Returns the wanted block. */
static qy_pfn_t expand(struct qy_model_buddy *zone, qy_pfn_t pfn, unsigned high, unsigned low,
                       qy_pfn_t wanted)
{
    while (high > low) {
        high--;
        qy_pfn_t upper = pfn + ((qy_pfn_t)1 << high);

        if (wanted < upper) {
            add_to_free_list(zone, upper, high);
        } else {
            add_to_free_list(zone, pfn, high);
            pfn = upper;
        }
    }
    frame_of(zone, pfn)->state = HELD_HEAD;
    frame_of(zone, pfn)->order = (uint8_t)low;
    return pfn;
}

/* The way up: as long as the buddy is free as a whole, unlink it and merge. */
static void free_one_page(struct qy_model_buddy *zone, qy_pfn_t pfn, unsigned order)
{
    frame_of(zone, pfn)->state = INSIDE;
    while (order < QY_MAX_ORDER) {
        qy_pfn_t buddy_pfn = pfn ^ ((qy_pfn_t)1 << order);

        if (!is_free_block(zone, buddy_pfn, order))
            break;
        del_from_free_list(zone, buddy_pfn, order);
        pfn &= ~((qy_pfn_t)1 << order);
        order++;
    }
    add_to_free_list(zone, pfn, order);
}

qy_pfn_t qy_model_alloc(struct qy_model_buddy *zone, unsigned order)
{
    for (unsigned high = order; high < QY_NR_ORDERS; high++) {
        if (!zone->free_area[high].first)
            continue;
        qy_pfn_t pfn = pfn_of(zone, zone->free_area[high].first);

        del_from_free_list(zone, pfn, high);
        return expand(zone, pfn, high, order, pfn);
    }
    return QY_PFN_NONE;
}

int qy_model_alloc_specific(struct qy_model_buddy *zone, qy_pfn_t pfn, unsigned order)
{
    if (order > QY_MAX_ORDER || (pfn & (((qy_pfn_t)1 << order) - 1)))
        return -EINVAL;
    for (unsigned high = order; high < QY_NR_ORDERS; high++) {
        qy_pfn_t head = pfn & ~(((qy_pfn_t)1 << high) - 1);

        if (!is_free_block(zone, head, high))
            continue;
        del_from_free_list(zone, head, high);
        expand(zone, head, high, order, pfn);
        return 0;
    }
    return -EBUSY;
}

int qy_model_free(struct qy_model_buddy *zone, qy_pfn_t pfn, unsigned order)
{
    const struct frame *frame = frame_of(zone, pfn);

    if (!frame || frame->state != HELD_HEAD || frame->order != order)
        return -EINVAL;
    free_one_page(zone, pfn, order);
    return 0;
}

uint64_t qy_model_count(const struct qy_model_buddy *zone, unsigned order)
{
    return zone->free_area[order].nr_free;
}

bool qy_model_feasible(const struct qy_model_buddy *zone, unsigned order)
{
    for (; order < QY_NR_ORDERS; order++)
        if (zone->free_area[order].first)
            return true;
    return false;
}

bool qy_model_is_free(const struct qy_model_buddy *zone, qy_pfn_t pfn)
{
    for (unsigned order = 0; order < QY_NR_ORDERS; order++)
        if (is_free_block(zone, pfn & ~(((qy_pfn_t)1 << order) - 1), order))
            return true;
    return false;
}

uint64_t qy_model_free_frames(const struct qy_model_buddy *zone)
{
    uint64_t frames = 0;

    for (unsigned order = 0; order < QY_NR_ORDERS; order++)
        frames += zone->free_area[order].nr_free << order;
    return frames;
}

struct qy_model_buddy *qy_model_create(const struct qy_model_range *ranges, size_t nr_ranges)
{
    const qy_pfn_t block = (qy_pfn_t)1 << QY_MAX_ORDER;
    qy_pfn_t low = QY_PFN_NONE;
    qy_pfn_t high = 0;

    for (size_t i = 0; i < nr_ranges; i++) {
        if (ranges[i].count == 0)
            return NULL;
        if (ranges[i].first < low)
            low = ranges[i].first;
        if (ranges[i].first + ranges[i].count > high)
            high = ranges[i].first + ranges[i].count;
    }
    if (high == 0)
        return NULL;

    struct qy_model_buddy *zone = calloc(1, sizeof(*zone));

    if (!zone)
        return NULL;
    zone->start_pfn = low & ~(block - 1);
    zone->spanned = high - zone->start_pfn;
    zone->frames = calloc(zone->spanned, sizeof(*zone->frames));
    for (size_t i = 0; zone->frames && i < nr_ranges; i++) {
        for (qy_pfn_t pfn = ranges[i].first; pfn < ranges[i].first + ranges[i].count; pfn++) {
            if (qy_model_is_free(zone, pfn)) { /* a second time: an overlap */
                qy_model_destroy(zone);
                return NULL;
            }
            free_one_page(zone, pfn, 0);
        }
    }
    if (zone->frames)
        return zone;
    free(zone);
    return NULL;
}

void qy_model_destroy(struct qy_model_buddy *zone)
{
    free(zone->frames);
    free(zone);
}
