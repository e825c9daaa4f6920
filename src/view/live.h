/*
 * live.h - a lens upon a memory that is in use
 */
#ifndef QY_VIEW_LIVE_H
#define QY_VIEW_LIVE_H

#include "memory/mm.h"
#include "view/lens.h"

/** How many slots are looked at; a process with more threads shows the first ones. */
#define QY_VIEW_CPUS 4096

/** What the named counters are made of. */
struct qy_totals {
    uint64_t managed, free, pcp, backed, taken, given, stolen;
    uint64_t slab, slab_reclaimable, refills, flushes;
    uint64_t cma, cma_free, cma_success, cma_fail;
    uint64_t peak, limit, meta, faults;
    uint64_t sampled, sampled_freed, sampled_skipped;
    uint64_t cached, active, inactive, dirty, writeback;
    uint64_t scanned[2], reclaimed[2], refaults, activated;
};

struct qy_live {
    struct qy_mm *mm;
    /** Room for them: they are counted at the first item, and are of one moment. NULL: for each. */
    struct qy_totals *totals;
    /** A copy of another process's memory: nobody works in it, and a lock that was held when
     *  the copy was made is held for ever. */
    bool is_copy;
};

/** It keeps the pointer. */
struct qy_lens qy_live_lens(const struct qy_live *live);

/* live.c, items.c: for each other */
bool qy_live_cache(const struct qy_live *live, size_t index, struct qy_cache_view *view);
bool qy_live_item(const struct qy_live *live, size_t index, struct qy_item_view *view);
/* regions.c */
bool qy_live_region(const struct qy_live *live, size_t index, struct qy_region_view *view);
/** Requests of all regions together. */
void qy_live_requests(const struct qy_live *live, uint64_t *success, uint64_t *fail);
/** Of each zone: frames of its regions that are free. */
uint64_t qy_live_free_cma(const struct qy_zone *zone);
/** Call @count for each slot. Nothing happens if they cannot be locked soon. */
void qy_live_slots(const struct qy_live *live,
                   void (*count)(const struct qy_cpu *cpu, void *context), void *context);
/** Frames in all slots' lists of one zone. */
uint64_t qy_live_pcp(const struct qy_live *live, const struct qy_zone *zone);
void qy_view_name(char name[QY_VIEW_NAME], const char *from);

/** Free blocks of each order 0..9 that 512 frames' bits hold, added to counts. */
void qy_count_blocks(const struct qy_bits512 *bits, uint64_t counts[QY_NR_ORDERS]);

#endif
