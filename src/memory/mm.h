/*
 * mm.h - struct qy_mm: a machine-full of memory
 *
 * WHAT    Everything that one instance has hangs from here; the core has no other state.
 *         Metadata are six arrays over the whole span of the map, in one window of
 *         addresses; with meta_lazy only what describes online frames is committed.
 *
 *           blocks[]       32 bytes a pageblock: its list, its largest free order
 *           free_bits[]    64 bytes a pageblock: bit set = frame free
 *           fresh_bits[]   64 bytes a pageblock: bit set = free, and reads as zero
 *           tags[]          1 byte a frame      (memory/page.h)
 *           pages[]         8 bytes a frame     (memory/page.h)
 *           folios[]       32 bytes a frame     (memory/folio.h), with options.movable
 *
 *         The first three, 160 bytes for 2 MiB (0.008 %), are all that free memory costs.
 *
 * LOCKS   (i) fixed since creation; (g) grow_lock; (p) cpus_lock; (h) chain_lock;
 *         (q) quarantine.lock; (r) run_depot.lock.
 */
#ifndef QY_MEMORY_MM_H
#define QY_MEMORY_MM_H

#include "base/bits512.h"
#include "base/grace.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/percpu.h"
#include "memory/folio.h"
#include "memory/page.h"
#include "memory/pageblock.h"
#include "memory/zone.h"

#include <quarry/config.h>
#include <quarry/mm.h>

#define QY_PAGE_BYTES (UINT64_C(1) << QY_PAGE_SHIFT)
/** Frames come online, and zones begin and end, in sections of the largest block: 4 MiB. */
#define QY_SECTION_FRAMES (UINT64_C(1) << QY_MAX_ORDER)
#define QY_MAX_ZONES (QY_MAX_NODES * QY_NR_ZONE_TYPES)

/** The arrays of metadata, in the order in which they lie in the window. */
enum qy_meta {
    QY_META_MM,
    QY_META_BLOCKS,
    QY_META_FREE_BITS,
    QY_META_FRESH_BITS,
    QY_META_TAGS,
    QY_META_PAGES,
    QY_META_FOLIOS,
    QY_NR_META
};

struct qy_meta_array {
    char *start;      /* (i) */
    size_t committed; /* (g) bytes, from the start */
};

/** A run of frames: RAM without what is reserved, or a HOTPLUG range. */
struct qy_span {
    qy_pfn_t start, end;
    uint32_t node;
};

#define QY_KMALLOC_CLASSES 40

/** A class's cache for the size that it is mostly asked for: slab/fit.c. */
struct qy_fit {
    uint32_t own;   /* its objects' bytes << 8 | its tag; 0: none. K6 */
    uint16_t steps; /* racy: the size that leads the vote, in QY_SMALL_STEPs */
    uint16_t votes; /* racy: its lead */
    uint64_t due;   /* bytes of full slabs at the next look; 0: the first */
};

/** Freed guarded runs, out of reach until others have come after them: slab/guarded.c. */
struct qy_quarantine {
    struct qy_lock lock;
    uint64_t oldest, newest;       /* (q) heads, as indexes of the span */
    uint64_t nr_runs;              /* (q) 0: the two above mean nothing */
    uint64_t nr_frames;            /* (q) guards included */
    _Atomic uint64_t nr_protected; /* runs whose guards are out of reach */
};

struct qy_kmem_cache;
struct qy_sample_pool;

/** Now and then an allocation gets a page of its own: slab/sampling.c, slab/sampled.c. */
struct qy_sampling {
    bool on;                             /* (i) else the rest means nothing */
    _Atomic bool making;                 /* somebody makes the pool */
    uint64_t interval_ns;                /* (i) 0: each allocation that can be */
    _Atomic uint64_t next_ns;            /* when the next is due */
    _Atomic uint64_t random;             /* state of what is left to chance */
    struct qy_kmem_cache *cache;         /* since there is a pool (i): its lock guards the pool */
    struct qy_sample_pool *_Atomic pool; /* NULL: none yet */
    _Atomic uint64_t nr_frames;          /* of the pool, guards included */
    _Atomic uint64_t nr_made, nr_live;   /* slots that were ever used, that are in use: D6 */
    _Atomic uint64_t nr_allocs, nr_frees;
    _Atomic uint64_t nr_skipped; /* it was time, and there was no slot */
};

struct qy_vmscan;
struct qy_cma;
struct qy_run_chunk;
struct qy_mm;

typedef uint64_t (*qy_reclaim_t)(struct qy_mm *mm, qy_gfp_t gfp, unsigned order);

/** Runs of one class that the depot had no room for. */
struct qy_turned_away {
    uint32_t frames; /* (r) of them all, not wanted again so far */
    uint32_t length; /* (r) for writing; of each of them */
};

/** Freed runs that all slots share: slab/run_depot.c. */
struct qy_run_depot {
    struct qy_lock lock;
    unsigned next;                              /* (r) the class that gives runs back next */
    _Atomic uint64_t frames;                    /* (r) for writing; R3 */
    uint64_t most;                              /* (r) R3 */
    struct qy_turned_away away[QY_RUN_CLASSES]; /* (r) */
    struct qy_run_chunk *chunk[QY_RUN_CLASSES]; /* (r) for writing */
};

/** How a memory is known from outside (face/tool): nothing else has these three words, and a copy
 *  of them does not lie where it says. */
struct qy_mark {
    uint64_t magic, layout;
    uintptr_t self;
};
#define QY_MARK_MAGIC UINT64_C(0x6d6d797272617571) /* "quarrymm" */
/** Who looks was built with the same: 64 bits that change with what it looks at. */
#define QY_MARK_LAYOUT                                                                             \
    ((uint64_t)sizeof(struct qy_mm) << 32 ^ (uint64_t)offsetof(struct qy_mm, cpus) << 16 ^         \
     (uint64_t)offsetof(struct qy_mm, chain) ^ (uint64_t)sizeof(struct qy_zone) << 40 ^            \
     (uint64_t)sizeof(struct qy_cpu) << 8)

/** Frames in use, for who looks at them while, and after, the process goes: `quarry run`. */
struct qy_watch {
    _Atomic uint64_t used, peak;
};

/** Room for the caches that others are made of. */
#define QY_FIRST_CACHES_BYTES 864

struct qy_mm {
    struct qy_mark mark;          /* (i) first; written when all the rest is there */
    qy_pfn_t start_pfn;           /* (i) first frame of the span, a multiple of a section */
    uint64_t nr_frames;           /* (i) width of the span, a multiple of a section */
    uintptr_t base;               /* (i) address of start_pfn; 0: no_virt */
    struct qy_mm_options options; /* (i) */

    struct qy_pageblock *blocks;
    struct qy_bits512 *free_bits;
    struct qy_bits512 *fresh_bits;
    uint8_t *tags;
    struct qy_page *pages;
    struct qy_folio *folios;        /* NULL: not movable */
    struct qy_watch *_Atomic watch; /* NULL: nobody watches */
    struct qy_meta_array meta[QY_NR_META];
    _Atomic uint64_t meta_bytes; /* committed */
    _Atomic uint64_t described;  /* (g) frames whose metadata is committed; only grows */

    unsigned nr_nodes;                            /* (i) */
    uint8_t distance[QY_MAX_NODES][QY_MAX_NODES]; /* (i) */
    qy_phys_t zone_end[QY_NR_ZONE_TYPES];         /* (i) each zone's address limit */
    /** For each node: indexes of the zones that the map can populate, nearest node first,
     *  highest zone first. */
    uint8_t zonelist[QY_MAX_NODES][QY_MAX_ZONES]; /* (i) */
    uint8_t zonelist_length;                      /* (i) */
    uint8_t nr_pcp;                               /* (i) zones that the map can populate */

    struct qy_lock grow_lock;
    uint32_t nr_hotplug;      /* (i) */
    uint32_t nr_reserved;     /* (i) */
    uint32_t grow_range;      /* (g) where the next section comes from */
    qy_pfn_t grow_pfn;        /* (g) */
    uint64_t nr_away;         /* (g) free frames that trim or feed holds just now */
    _Atomic uint64_t managed; /* frames of all zones */
    _Atomic uint64_t charged; /* frames and metadata pages that count against the limit */
    _Atomic uint64_t peak;    /* most frames in use, seen at slow paths */

    struct qy_lock cpus_lock;
    struct qy_list cpus;      /* (p) every attached slot */
    _Atomic uint32_t nr_cpus; /* (p) for writing */
    bool many_slots;          /* (p) R4: no slot is alone any more */
    uint32_t port_index;      /* (i) the port's; UINT32_MAX: not open to slots yet */
    void *port_window;        /* (i) the port's */
    size_t port_window_bytes; /* (i) the port's */

    /** Who can give frames back when there are none: reclaim(), compaction. */
    qy_reclaim_t _Atomic reclaim;
    /** 1: the background reclaimer sleeps on it. Who finds memory below its low watermark wakes
     *  him: buddy/alloc.h. */
    _Atomic uint32_t background;

    /** See that a block of this order becomes free; false: it did not. NULL: nothing can be
     *  moved. */
    bool (*compact)(struct qy_mm *mm, qy_gfp_t gfp, unsigned order); /* (i) */

    struct qy_grace grace;            /* who follows a folio's mapping is inside */
    _Atomic uint32_t claims;          /* numbers given out by qy_claim_number() */
    struct qy_vmscan *_Atomic vmscan; /* (h) for writing; reclaim/; NULL: nothing was ever cached */
    struct qy_cma *_Atomic regions;   /* (h) for writing; move/cma.c: a chain */

    struct qy_lock chain_lock;
    struct qy_list chain;                             /* (h) every kmem_cache */
    struct qy_list spaces;                            /* (h) space/space.h */
    _Atomic uint64_t nr_mappings, most_mappings;      /* of all spaces: space/mappings.c */
    uint8_t class_of[QY_SMALL_BYTES / QY_SMALL_STEP]; /* (i) kmalloc: a cache's tag */
    uint8_t *tags_of_slots;                           /* (i) tags; all 0: slots find no frame */
    struct qy_fit fit[QY_KMALLOC_CLASSES];            /* kmalloc: by class */
    size_t small_bytes;                               /* (i) QY_SMALL_BYTES; 0: no kmalloc here */
    size_t largest_class_bytes;                       /* (i) kmalloc: above, whole pages */
    _Atomic uint64_t extra_bytes;                     /* G3: what slots may keep beyond the usual */
    size_t class_slack;  /* (i) kmalloc: bytes added to each request for a red zone */
    uint8_t kmalloc_tag; /* (i) of the smallest class; the others follow */
    uint8_t kmalloc_end; /* (i) one past the largest: caches below are never destroyed */
    bool hardened;       /* (i) kmalloc: objects have red zones, runs guards and a quarantine */
    struct qy_sampling sampling;
    struct qy_quarantine quarantine;

    bool panic_on_fault;    /* a wrong free ends the program */
    const char *last_fault; /* the last broken rule's name; NULL: none. Racy. */
    _Atomic uint64_t nr_faults;

    /* Tables last, and what is most seldom used at their end: a small instance touches three
     * pages. */
    struct qy_kmem_cache *cache_of[QY_NR_TAGS]; /* (h) for writing; by tag */
    struct qy_run_depot run_depot;
    uint64_t first_caches[QY_FIRST_CACHES_BYTES / 8]; /* slab/create.c */
    struct qy_span hotplug[QY_MAX_RANGES];            /* (i) */
    struct qy_zone zones[QY_MAX_ZONES];
    struct qy_span reserved[QY_MAX_RANGES]; /* (i) within the hotplug ranges; sorted */
};

/** The zones that can have frames, those nearest to the node first (Linux:
 *  for_each_zone_zonelist). */
#define qy_for_each_zone(zone, mm, node)                                                           \
    for (unsigned zone##_at = 0; zone##_at < (mm)->zonelist_length &&                              \
                                 ((zone) = &(mm)->zones[(mm)->zonelist[node][zone##_at]], true);   \
         zone##_at++)

/** Zones that the nodes of this instance have, populated or not. */
static inline unsigned qy_nr_zones(const struct qy_mm *mm)
{
    return mm->nr_nodes * QY_NR_ZONE_TYPES;
}

static inline uint64_t qy_frame_index(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return pfn - mm->start_pfn;
}

/** The index of the frame that holds an address; not of this memory: nr_frames or more. */
static inline uint64_t qy_address_index(const struct qy_mm *mm, const void *address)
{
    return ((uintptr_t)address - mm->base) >> QY_PAGE_SHIFT;
}

static inline uint32_t qy_block_of(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return (uint32_t)(qy_frame_index(mm, pfn) >> QY_PAGEBLOCK_ORDER);
}

static inline qy_pfn_t qy_block_pfn(const struct qy_mm *mm, uint32_t block)
{
    return mm->start_pfn + ((uint64_t)block << QY_PAGEBLOCK_ORDER);
}

static inline void *qy_frame_address(const struct qy_mm *mm, qy_pfn_t pfn)
{
    return (void *)(mm->base + (qy_frame_index(mm, pfn) << QY_PAGE_SHIFT));
}

/** How many frames hold so many bytes, at least one. */
static inline uint64_t qy_frames_for(size_t bytes)
{
    return (uint64_t)((bytes - 1) >> QY_PAGE_SHIFT) + 1;
}

/** [pfn, pfn + nr_frames) lies within the span. */
static inline bool qy_in_span(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    uint64_t index = qy_frame_index(mm, pfn);
    return index < mm->nr_frames && nr_frames <= mm->nr_frames - index;
}

/** How many frames, from the first, have a tag: all a slot may look at. */
static inline uint64_t qy_described_frames(const struct qy_mm *mm)
{
    return atomic_load_explicit(&mm->described, memory_order_acquire);
}

/** The slot of this thread, attached and entered; NULL: it cannot have one. */
static inline struct qy_cpu *qy_slot_enter(struct qy_mm *mm)
{
    struct qy_cpu *cpu = qy_port_cpu(mm, mm->port_index);
    if (qy_likely(cpu != NULL && qy_cpu_enter(cpu)))
        return cpu;
    return qy_slot_enter_slow(mm, cpu);
}

/** Every slot is stopped, and none comes or goes, until qy_slots_resume(). The caller is in no
 *  slot. */
static inline void qy_slots_stop(struct qy_mm *mm)
{
    qy_lock(&mm->cpus_lock);
    qy_cpus_stop(&mm->cpus);
}

static inline void qy_slots_resume(struct qy_mm *mm)
{
    qy_cpus_resume(&mm->cpus, qy_described_frames(mm), mm->small_bytes);
    qy_unlock(&mm->cpus_lock);
}

/** The frame's pageblock is online; index: of the span, any number. */
QY_RACY static inline bool qy_frame_online(const struct qy_mm *mm, uint64_t index)
{
    return index < qy_described_frames(mm) &&
           (mm->blocks[index >> QY_PAGEBLOCK_ORDER].flags & QY_BLOCK_ONLINE);
}

/** The word that holds the frame's bit; index: of a frame that has one. */
QY_RACY static inline uint64_t qy_free_word(const struct qy_mm *mm, uint64_t index)
{
    const struct qy_bits512 *bits = &mm->free_bits[index / QY_PAGEBLOCK_FRAMES];
    return bits->word[index % QY_PAGEBLOCK_FRAMES / QY_WORD_BITS];
}

/** The frame's bit is set; index: of a frame that has one. */
static inline bool qy_frame_is_free(const struct qy_mm *mm, uint64_t index)
{
    return qy_free_word(mm, index) >> index % QY_WORD_BITS & 1;
}

/** The first frame of [index, end) that is free, or that is not; end: none is so. */
static inline uint64_t qy_next_frame(const struct qy_mm *mm, uint64_t index, uint64_t end,
                                     bool free)
{
    while (index < end) {
        uint64_t word = qy_free_word(mm, index);
        word = (free ? word : ~word) >> index % QY_WORD_BITS;
        if (word != 0) {
            index += (unsigned)__builtin_ctzll(word);
            break;
        }
        index = (index / QY_WORD_BITS + 1) * QY_WORD_BITS;
    }
    return index < end ? index : end;
}

/** Where the frame's pageblock ends, or @end if that comes before. */
static inline uint64_t qy_block_end(uint64_t index, uint64_t end)
{
    uint64_t block_end = (index / QY_PAGEBLOCK_FRAMES + 1) * QY_PAGEBLOCK_FRAMES;
    return block_end < end ? block_end : end;
}

/** Free frames of all zones. Racy: zone after zone. */
static inline uint64_t qy_free_frames(const struct qy_mm *mm)
{
    uint64_t frames = 0;
    const struct qy_zone *zone;
    qy_for_each_zone (zone, mm, 0)
        frames += atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
    return frames;
}

/** Frames of all zones that are not free: in use, or on a list. Racy, as they are. */
static inline uint64_t qy_used_frames(const struct qy_mm *mm)
{
    uint64_t managed = atomic_load_explicit(&mm->managed, memory_order_acquire);
    uint64_t nr_free = qy_free_frames(mm);
    return managed > nr_free ? managed - nr_free : 0; /* memory comes online just now */
}

/** Free frames of a zone whose memory is still held; where none is ever given to the system
 *  nobody asks, and it is 0. Racy. */
static inline uint64_t qy_zone_backed(const struct qy_mm *mm, const struct qy_zone *zone)
{
    uint64_t nr_fresh = atomic_load_explicit(&zone->nr_fresh, memory_order_relaxed);
    uint64_t nr_free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
    return mm->options.lazy_backing && nr_free > nr_fresh ? nr_free - nr_fresh : 0;
}

/** The map, checked and sorted: memory/memmap.c. */
struct qy_layout {
    struct qy_span *ram; /* RAM without what is reserved */
    struct qy_span *hotplug;
    struct qy_span *reserved; /* present, never managed; sorted */
    unsigned nr_ram, nr_hotplug, nr_reserved;
    qy_pfn_t start, end; /* whole sections */
};

/** How many spans the layout of this map needs room for, metadata's own among them: at most
 *  4 * QY_MAX_RANGES + 1, but most maps are small, and so are some stacks. */
size_t qy_layout_spans(const struct qy_memmap *map);
/** @spans: so many, which the layout lies in from now on. */
QY_MUST_CHECK int qy_layout_read(struct qy_layout *layout, struct qy_span *spans,
                                 const struct qy_memmap *map, struct qy_error *error);
/** Each run lies behind the one before, is not empty, and all lie in [start, end): M1. */
bool qy_spans_are_sound(const struct qy_span *spans, unsigned count, qy_pfn_t start, qy_pfn_t end);
/** Bytes of the metadata window for this layout, and where each array starts in it. */
size_t qy_layout_meta(const struct qy_layout *layout, bool movable, size_t offset[QY_NR_META]);

/** Build nodes and zones; every frame is offline. NULL: error says why. */
QY_MUST_CHECK struct qy_mm *qy_memory_build(struct qy_layout *layout, const struct qy_memmap *map,
                                            const struct qy_mm_options *options,
                                            struct qy_error *error);

/** See that metadata is there for all sections that begin below @end. grow_lock held. 0 or
 *  -ENOMEM. */
QY_MUST_CHECK int qy_meta_reach(struct qy_mm *mm, qy_pfn_t end);

/** There was no room for the first frames: say how much is wanted at least, if that is the limit's
 *  doing. -ENOMEM. */
int qy_refuse_to_begin(const struct qy_mm *mm, const struct qy_layout *layout,
                       struct qy_error *error);

/** Count @pages against the limit. 0, or -ENOMEM with nothing changed. */
QY_MUST_CHECK int qy_mm_charge(struct qy_mm *mm, uint64_t pages);
void qy_mm_uncharge(struct qy_mm *mm, uint64_t pages);

struct qy_zone *qy_zone_for(struct qy_mm *mm, qy_pfn_t pfn, uint32_t node);
/** Count frames as present and managed in their zone; watermarks follow.
 *  grow_lock held. */
void qy_zone_extend(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, uint64_t present,
                    uint64_t managed);
void qy_zones_init(struct qy_mm *mm, const struct qy_memmap *map, const struct qy_layout *layout);

#endif
