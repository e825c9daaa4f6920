/*
 * quarry/types.h - the words that every part of Quarry shares
 *
 * Numbers that must not mix have a type of their own; everything else is a plain C type
 * whose unit the name says. Linux's words mean here what they mean in Linux.
 */
#ifndef QUARRY_TYPES_H
#define QUARRY_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QY_API __attribute__((visibility("default")))
#define QY_MUST_CHECK __attribute__((warn_unused_result))

/** A page frame number: physical address >> QY_PAGE_SHIFT. */
typedef uint64_t qy_pfn_t;
/** A physical address in bytes. In the process world: an address of the program. */
typedef uint64_t qy_phys_t;
/** Where frames may come from and what the call may do to get them. */
typedef uint32_t qy_gfp_t;

/** No frame: what an allocation that cannot be served returns. */
#define QY_PFN_NONE UINT64_MAX

/** Orders 0 .. 10: blocks of 1 .. 1024 frames. */
#define QY_MAX_ORDER 10
#define QY_NR_ORDERS (QY_MAX_ORDER + 1)
/** A pageblock is 2^9 = 512 aligned frames: what one migratetype is kept for. */
#define QY_PAGEBLOCK_ORDER 9
#define QY_PAGEBLOCK_FRAMES 512

/**
 * What the frames of a pageblock are mostly used for, so that frames which cannot move
 * stay together (Linux: enum migratetype; Gorman 2004, "anti-fragmentation").
 */
enum qy_migratetype {
    QY_MIGRATE_UNMOVABLE,
    QY_MIGRATE_MOVABLE,
    QY_MIGRATE_RECLAIMABLE,
    QY_MIGRATE_HIGHATOMIC, /* kept back for callers that cannot wait */
    QY_MIGRATE_CMA,        /* a reserved region, lent to movable requests */
    QY_MIGRATE_ISOLATE,    /* nothing is handed out of these */
    QY_MIGRATE_GUARANTEED, /* as CMA, lent only to what can be dropped at once; shown as CMA */
    QY_NR_MIGRATETYPES
};

/** Zones by address limit, lowest first (Linux: enum zone_type). */
enum qy_zone_type {
    QY_ZONE_DMA,
    QY_ZONE_DMA32,
    QY_ZONE_NORMAL,
    QY_ZONE_MOVABLE,
    QY_NR_ZONE_TYPES
};

/** Zone modifiers: the highest zone that may serve; none of them: NORMAL. */
#define QY_GFP_DMA 0x01u
#define QY_GFP_DMA32 0x04u
/** The owner can move the frame, or give it up. MOVABLE also opens the MOVABLE zone. */
#define QY_GFP_MOVABLE 0x08u
#define QY_GFP_RECLAIMABLE 0x10u
/** May dip below the low watermarks: for callers whose failure would cost dear. */
#define QY_GFP_HIGH 0x20u
/** May reclaim or compact before it fails; without it the call never waits. */
#define QY_GFP_DIRECT_RECLAIM 0x400u
/** Wakes background reclaim when a zone falls below its low watermark. */
#define QY_GFP_KSWAPD_RECLAIM 0x800u
/** The frames read as zero. Refused (QY_PFN_NONE) where the CPU cannot reach them: no_virt. */
#define QY_GFP_ZERO 0x100u
/** Accepted for Linux's sake, and means nothing: no call reports that it fails. */
#define QY_GFP_NOWARN 0x2000u
/** Never fails. Refused (-EINVAL, QY_PFN_NONE) where that could not be kept: together
 *  with ATOMIC or NOWAIT, above order 1, or under a limit with nothing to reclaim. */
#define QY_GFP_NOFAIL 0x8000u
/** Only the zones of the given node. */
#define QY_GFP_THISNODE 0x200000u

#define QY_GFP_KERNEL (QY_GFP_DIRECT_RECLAIM | QY_GFP_KSWAPD_RECLAIM)
#define QY_GFP_NOWAIT QY_GFP_KSWAPD_RECLAIM
#define QY_GFP_ATOMIC (QY_GFP_HIGH | QY_GFP_KSWAPD_RECLAIM)
#define QY_GFP_HIGHUSER_MOVABLE (QY_GFP_KERNEL | QY_GFP_MOVABLE)
/** Every flag there is; a call with any other bit is refused. */
#define QY_GFP_MASK                                                                                \
    (QY_GFP_DMA | QY_GFP_DMA32 | QY_GFP_MOVABLE | QY_GFP_RECLAIMABLE | QY_GFP_HIGH |               \
     QY_GFP_DIRECT_RECLAIM | QY_GFP_KSWAPD_RECLAIM | QY_GFP_ZERO | QY_GFP_NOWARN | QY_GFP_NOFAIL | \
     QY_GFP_THISNODE)

/**
 * One clear sentence about what was refused and where. Filled in by the calls that take
 * one; the pointer may be NULL.
 */
struct qy_error {
    int code; /* a negative errno */
    char text[160];
};

struct qy_mm;
struct qy_cpu;
struct qy_kmem_cache;

#ifdef __cplusplus
}
#endif
#endif
