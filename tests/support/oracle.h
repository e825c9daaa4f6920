/*
 * oracle.h - what the core must have done, told by the textbook
 *
 * An oracle has one textbook buddy (model/buddy.h) for each zone of a map, and replays on it
 * which frames the core handed out. It does not foretell which block comes, only whether
 * that one may: aligned, within the map, in a zone that the flags allow, and free. For the
 * same set of allocated frames the free blocks are the same, whoever chose them: so the
 * counts must be equal, order by order.
 */
#ifndef QUARRY_TESTS_ORACLE_H
#define QUARRY_TESTS_ORACLE_H

#include "memory.h"

#include <quarry/config.h>

#include "model/buddy.h"

#define ORACLE_ZONES (QY_MAX_NODES * QY_NR_ZONE_TYPES)

struct oracle {
    qy_pfn_t start_pfn, end_pfn;
    /* By frame: index of its zone, or ORACLE_ZONES: no usable frame. */
    uint8_t *zone_of;
    struct qy_model_buddy *zones[ORACLE_ZONES]; /* by node * QY_NR_ZONE_TYPES + type; or NULL */
    unsigned nr_nodes;
};

/** The frames of all RAM ranges, less those reserved. HOTPLUG ranges are no frames yet. */
void oracle_create(struct oracle *oracle, const struct qy_memmap *map);
void oracle_destroy(struct oracle *oracle);

/** What is not free in mm now was taken by mm itself, for its first slabs. */
void oracle_adopt(struct oracle *oracle, struct qy_mm *mm);

/** Is this one of the map's usable frames? */
bool oracle_has_frame(const struct oracle *oracle, qy_pfn_t pfn);

/** The core handed out this block for these flags, or this run of single frames. */
void oracle_took(struct oracle *oracle, qy_pfn_t pfn, unsigned order, qy_gfp_t gfp);
void oracle_took_run(struct oracle *oracle, qy_pfn_t pfn, uint64_t nr_frames, qy_gfp_t gfp);
/** It went back. */
void oracle_gave(struct oracle *oracle, qy_pfn_t pfn, unsigned order);
void oracle_gave_run(struct oracle *oracle, qy_pfn_t pfn, uint64_t nr_frames);

/** May a request with these flags be served by zones[zone]? */
bool oracle_zone_serves(const struct oracle *oracle, unsigned zone, qy_gfp_t gfp);
/** Is there such a block in any zone that serves? */
bool oracle_feasible(const struct oracle *oracle, unsigned order, qy_gfp_t gfp);
/** Free frames of all zones. */
uint64_t oracle_free_frames(const struct oracle *oracle);

/** Drains the per-CPU lists, and compares every count of every zone. */
void oracle_compare(const struct oracle *oracle, struct qy_mm *mm);

#endif
