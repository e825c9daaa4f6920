/*
 * lens.h - what a view needs to know, wherever it comes from
 *
 * WHAT    The printers do not look at a struct qy_mm. They look through a lens, which fills
 *         in plain figures: of a live memory (live.h), of one that was saved or is another
 *         process's (snapshot.h), of this machine's own /proc files (the tool).
 *
 *         struct qy_mm ----+
 *         a saved snapshot +--> lens --> buddyinfo, zoneinfo, slabinfo ... --> text
 *         /proc of a host -+
 *
 *         Every view is a number of u64 and short names, without pointers, so that it can be
 *         written to a file or sent through a pipe as it is.
 */
#ifndef QY_VIEW_LENS_H
#define QY_VIEW_LENS_H

#include <quarry/view.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Zones that one zone may keep reserves against, at most: Linux has up to five. */
#define QY_VIEW_PROTECTIONS 8
/** A name's room, its NUL included: the longest of Linux's /proc/vmstat has 34 characters. */
#define QY_VIEW_NAME 48

/** One zone of one node. Figures are frames unless the name says blocks. */
struct qy_zone_view {
    char name[QY_VIEW_NAME];
    uint64_t node;
    uint64_t populated; /* it has frames; only such zones are in buddyinfo */
    uint64_t start_pfn;
    uint64_t spanned, present, managed, cma;
    uint64_t free, pcp;
    uint64_t boost, min, low, high, promo;
    uint64_t nr_protections;
    uint64_t protection[QY_VIEW_PROTECTIONS];
    uint64_t node_unreclaimable;
    /** Free blocks of each order, of all migratetypes together and of each. */
    uint64_t nr_free[QY_NR_ORDERS];
    uint64_t nr_free_of[QY_NR_MIGRATETYPES][QY_NR_ORDERS];
    /** Whole pageblocks of each migratetype. */
    uint64_t nr_pageblocks[QY_NR_MIGRATETYPES];
};

/** One CPU's (or thread's) list of one zone, as zoneinfo's "pagesets" shows it. */
struct qy_pageset_view {
    uint64_t zone; /* index among the lens's zones */
    uint64_t cpu;
    uint64_t count, high, batch, high_min, high_max;
    uint64_t threshold; /* of the per-CPU statistics; 0 where they are exact */
};

/** One kmem_cache: a line of slabinfo. */
struct qy_cache_view {
    char name[QY_VIEW_NAME];
    uint64_t active_objs, num_objs;
    uint64_t objsize; /* bytes */
    uint64_t objperslab, pagesperslab;
    uint64_t limit, batchcount, sharedfactor;
    uint64_t active_slabs, num_slabs, sharedavail;
};

/** What the tool reads as "not known here": a kernel without this file of /sys. */
#define QY_VIEW_UNKNOWN UINT64_MAX
/** Buckets of a region's histogram: requests that took less than 1 us, 2 us, 4 us .. */
#define QY_VIEW_LATENCIES 32

/** One contiguous region: a folder of /sys/kernel/mm/cma. Frames unless said otherwise. */
struct qy_region_view {
    char name[QY_VIEW_NAME];
    uint64_t policy; /* enum qy_cma_policy */
    uint64_t total_pages, available_pages;
    uint64_t alloc_pages_success, alloc_pages_fail, release_pages_success;
    uint64_t out, lent, free;
    uint64_t requests, failures; /* requests */
    uint64_t moved, dropped, written;
    uint64_t latency[QY_VIEW_LATENCIES]; /* requests */
};

/** Which list a named figure is a line of. */
enum qy_item_set {
    QY_ITEMS_MEMINFO, /* one list */
    QY_ITEMS_VMSTAT,  /* one list */
    QY_ITEMS_NODE,    /* of the zoneinfo's zone (owner: its index) that opens a node */
    QY_ITEMS_ZONE     /* of each populated zone (owner: its index) */
};

struct qy_item_view {
    char name[QY_VIEW_NAME];
    uint64_t set;   /* enum qy_item_set */
    uint64_t owner; /* a zone's index; 0 for the single lists */
    uint64_t value; /* frames, events, or kB where the next says so */
    uint64_t is_kb;
};

/** What is true of the whole memory. */
struct qy_memory_view {
    uint64_t page_bytes;
    uint64_t migratetypes;                  /* a bit for each that exists here */
    uint64_t allocated_peak, limit, backed; /* frames, as in struct qy_mm_stat */
    uint64_t meta_bytes;
    uint64_t quarantined; /* frames: freed, and kept out of reach for a while */
};

enum qy_view_kind {
    QY_VIEW_MEMORY = 1, /* exactly one */
    QY_VIEW_ZONE,
    QY_VIEW_PAGESET,
    QY_VIEW_CACHE,
    QY_VIEW_ITEM,
    QY_VIEW_REGION,
    QY_VIEW_KINDS_END
};

struct qy_lens {
    const void *from;
    /** Fills *view with the index-th of its kind; false: there are no more. */
    bool (*look)(const void *from, enum qy_view_kind kind, size_t index, void *view);
};

static inline bool qy_look_memory(const struct qy_lens *lens, struct qy_memory_view *view)
{
    return lens->look(lens->from, QY_VIEW_MEMORY, 0, view);
}

static inline bool qy_look_zone(const struct qy_lens *lens, size_t index, struct qy_zone_view *view)
{
    return lens->look(lens->from, QY_VIEW_ZONE, index, view);
}

static inline bool qy_look_pageset(const struct qy_lens *lens, size_t index,
                                   struct qy_pageset_view *view)
{
    return lens->look(lens->from, QY_VIEW_PAGESET, index, view);
}

static inline bool qy_look_cache(const struct qy_lens *lens, size_t index,
                                 struct qy_cache_view *view)
{
    return lens->look(lens->from, QY_VIEW_CACHE, index, view);
}

static inline bool qy_look_item(const struct qy_lens *lens, size_t index, struct qy_item_view *view)
{
    return lens->look(lens->from, QY_VIEW_ITEM, index, view);
}

static inline bool qy_look_region(const struct qy_lens *lens, size_t index,
                                  struct qy_region_view *view)
{
    return lens->look(lens->from, QY_VIEW_REGION, index, view);
}

/* The printers, each in the format of Linux's file of that name. */
void qy_show_buddyinfo(const struct qy_lens *lens, struct qy_text *text);
void qy_show_pagetypeinfo(const struct qy_lens *lens, struct qy_text *text);
void qy_show_zoneinfo(const struct qy_lens *lens, struct qy_text *text);
void qy_show_slabinfo(const struct qy_lens *lens, struct qy_text *text);
void qy_show_meminfo(const struct qy_lens *lens, struct qy_text *text);
void qy_show_vmstat(const struct qy_lens *lens, struct qy_text *text);
void qy_show_sysrq_m(const struct qy_lens *lens, struct qy_text *text);
/** A table: the files of /sys/kernel/mm/cma by their names, then what else is known. */
void qy_show_cma(const struct qy_lens *lens, struct qy_text *text);

/** One figure of a region. */
struct qy_region_figure {
    const char *name;
    size_t at; /* offset in struct qy_region_view */
};
#define QY_REGION_FIGURES 13
extern const struct qy_region_figure qy_region_figures[QY_REGION_FIGURES];
/** "linux", "eager", "guaranteed"; "-": not known. */
const char *qy_policy_name(uint64_t policy);
/** "<16us", "<17ms", "<2s", rounded up so that it stays true; "-" for 0. Flush right. */
void qy_text_below_us(struct qy_text *text, uint64_t below_us, unsigned width);
/** @percent of a region's requests took less than so many microseconds; 0: there were none. */
uint64_t qy_region_latency_us(const struct qy_region_view *region, unsigned percent);

/** "Node 0, zone   Normal": what such lists of zones begin with. */
void qy_text_zone(struct qy_text *text, const struct qy_zone_view *zone);
/** The names that pagetypeinfo uses: "Unmovable", "Movable" ... */
const char *qy_migratetype_name(unsigned migratetype);

#endif
