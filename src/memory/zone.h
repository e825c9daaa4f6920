/*
 * zone.h - the frames of one node below one address limit
 *
 * RULES   Z1  managed <= present <= spanned.
 *         Z2  watermarks rise: min <= low <= high.
 *         Z3  A pageblock lies in one zone.
 *
 * LOCKS   (z) zone->lock; (g) mm->grow_lock for writing; (i) fixed since creation.
 */
#ifndef QY_MEMORY_ZONE_H
#define QY_MEMORY_ZONE_H

#include "base/assert.h"
#include "base/lock.h"

#include <quarry/config.h>
#include <quarry/types.h>

/** No pageblock: the end of a list. */
#define QY_BLOCK_NONE UINT32_MAX

/** The pageblocks whose largest free block has one order, of one migratetype. */
struct qy_block_list {
    uint32_t first, last; /* (z) indexes into mm->blocks */
};

enum qy_watermark {
    QY_WMARK_MIN,
    QY_WMARK_LOW,
    QY_WMARK_HIGH,
    QY_NR_WMARKS
};

struct qy_zone {
    const char *name;                          /* (i) "DMA", "DMA32", "Normal", "Movable" */
    enum qy_zone_type type;                    /* (i) */
    uint32_t node;                             /* (i) */
    uint32_t index;                            /* (i) in mm->zones */
    uint32_t pcp;                              /* (i) which of a slot's per-CPU lists are its own */
    qy_pfn_t start_pfn;                        /* (g) first frame */
    qy_pfn_t end_pfn;                          /* (g) one past the last */
    uint64_t present;                          /* (g) frames that exist */
    uint64_t managed;                          /* (g) frames that were given to the buddy */
    uint64_t watermark[QY_NR_WMARKS];          /* (g) frames */
    uint64_t lowmem_reserve[QY_NR_ZONE_TYPES]; /* (g) frames kept from requests of that type */

    /** From here on what changes under the lock: on lines apart from what everybody reads, and
     *  first what every visit writes. */
    _Alignas(64) struct qy_lock lock;
    _Atomic uint64_t nr_free;     /* (z) B3; read anywhere */
    const struct qy_cpu *visitor; /* (z) the slot that came last to refill or to give back */
    _Atomic uint64_t nr_fresh;    /* (z) B4: of them, those without memory; read anywhere */
    uint64_t nr_taken;            /* (z) blocks that came from the lists, not from a slot */
    uint64_t nr_given;            /* (z) */
    uint16_t nonempty[QY_NR_MIGRATETYPES];                /* (z) bit k: list k has pageblocks */
    _Alignas(64) uint64_t nr_free_of[QY_NR_MIGRATETYPES]; /* (z) */
    uint64_t nr_stolen; /* (z) pageblocks that changed their migratetype */
    struct qy_block_list list[QY_NR_MIGRATETYPES][QY_NR_ORDERS]; /* (z) */

    qy_pfn_t run_end; /* (z) behind the last run that was taken; 0: none was */

    uint64_t nr_cma;    /* (z) frames of contiguous regions, whoever has them */
    bool lends_eagerly; /* (z) they are lent before all others */
};

QY_RACY static inline bool qy_zone_populated(const struct qy_zone *zone)
{
    return zone->present != 0;
}

#endif
