/*
 * quarry/mm.h - from a memory map to a machine-full of memory
 *
 * Hand in what memory there is; get a struct qy_mm: nodes, zones, and every usable frame
 * free in its zone's buddy lists. A program may hold several, and they share nothing.
 */
#ifndef QUARRY_MM_H
#define QUARRY_MM_H

#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum qy_range_type {
    QY_RANGE_RAM,      /* usable from the start */
    QY_RANGE_RESERVED, /* lies within RAM and is never handed out (firmware, images) */
    QY_RANGE_HOTPLUG   /* may be added later, by qy_mm_online() or by the allocator itself
                          when it runs short and options.grow says so */
};

/** A range of physical addresses. base and bytes are multiples of the page size. */
struct qy_range {
    qy_phys_t base;
    uint64_t bytes; /* > 0; base + bytes does not wrap */
    uint32_t node;  /* < nr_nodes */
    enum qy_range_type type;
};

/**
 * What memory there is. RAM and HOTPLUG ranges may not overlap each other; each RESERVED
 * range lies within one of them and may not overlap another. Any order.
 */
struct qy_memmap {
    const struct qy_range *ranges;
    size_t nr_ranges;  /* 1 .. QY_MAX_RANGES */
    unsigned nr_nodes; /* 1 .. QY_MAX_NODES */
    /** nr_nodes * nr_nodes distances as ACPI's SLIT has them, row by row: 10 within a node,
     *  above 10 between two. NULL: 10 and 20. */
    const uint8_t *distance;
    /** Address limits of the zones in bytes: DMA is [0, dma_end), DMA32 [dma_end, dma32_end),
     *  NORMAL [dma32_end, movable_base), MOVABLE what is at and above movable_base.
     *  0: no such zone (for movable_base: no MOVABLE zone). Multiples of 4 MiB. */
    qy_phys_t dma_end;
    qy_phys_t dma32_end;
    qy_phys_t movable_base;
};

struct qy_mm_options {
    /** Where Quarry's own metadata goes: qy_mm_meta_bytes() bytes, page-aligned, zeroed: 0.23 %
     *  of the map's span, holes included, and 0.8 % more with `movable`. With meta_lazy only
     *  that of online frames gets memory.
     *  NULL: taken out of the map itself, from its largest RAM range (this needs virt). */
    void *meta;
    /** meta is address space only: pages of it are asked for with qy_port_commit() when
     *  the frames that they describe come online. */
    bool meta_lazy;
    /** The CPU's address of physical address 0 of the map (virt = phys + this).
     *  Meaningless, and never used, where no_virt is set. */
    uintptr_t virt_offset;
    /** The CPU cannot reach the frames (a trace, a device's memory): nothing in them is
     *  read or written, and no slabs can be built on them. */
    bool no_virt;
    /** HOTPLUG ranges are brought online by the allocator itself when it runs short. */
    bool grow;
    /** Frames lose and regain their backing (qy_port_commit, decommit): a process. */
    bool lazy_backing;
    /** Frames can be lent to owners that move them or give them up: spaces, cached files,
     *  contiguous regions. 32 bytes of metadata a frame. */
    bool movable;
    /** Most frames that may ever be managed, metadata's pages included. 0: no limit. */
    uint64_t limit_pages;
    /** Watermarks, as Linux's vm.min_free_kbytes. 0: Linux's formula for grow == false,
     *  none for grow == true. Less than all that may be managed outside of MOVABLE: Linux takes
     *  any value, and then has nothing to give. */
    uint64_t min_free_kbytes;
    /** QY_SLAB_* for the caches behind kmalloc (slab.h). */
    uint32_t kmalloc_flags;
    /** Linux's vm.lowmem_reserve_ratio for DMA, DMA32, NORMAL; 0: Linux's 256, 256, 32. */
    uint32_t lowmem_reserve_ratio[3];
};

/** Bytes of metadata that qy_mm_create() needs for this map, a multiple of the page size;
 *  0 when the map is bad (qy_mm_create() says why). Of *options only `movable` counts; NULL: it
 *  is off. */
QY_API size_t qy_mm_meta_bytes(const struct qy_memmap *map, const struct qy_mm_options *options);

/**
 * Build a machine-full of memory. Nothing is kept of *map or *options.
 *
 * Returns NULL when the map is bad (EINVAL: overlap, unaligned, empty, wrapped, unknown node, bad
 * distance; E2BIG: too many ranges), when an option is (EINVAL: meta unaligned, unknown
 * kmalloc_flags, too large a min_free_kbytes), or when metadata has no room or backing (ENOMEM).
 * error says which range and why, and how large the limit must be at least. Then nothing was
 * built and nothing is held.
 *
 * There is no call that ends it: when nobody is in a call on it any more, and after
 * qy_linux_mm_close() where it was opened, its owner takes back frames and metadata, whatever is
 * still allocated.
 */
QY_API QY_MUST_CHECK struct qy_mm *qy_mm_create(const struct qy_memmap *map,
                                                const struct qy_mm_options *options,
                                                struct qy_error *error);

/**
 * Bring frames of a HOTPLUG range online: they become present, managed and free.
 *
 * @pfn, @nr_frames  both multiples of 1024 (a section of 4 MiB), within one HOTPLUG range
 * Returns 0, -EINVAL (not such a range), -EEXIST (online already), -ENOMEM (no backing, or
 * over the limit). On an error nothing is online that was not before.
 */
QY_API QY_MUST_CHECK int qy_mm_online(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames);

/** Counters of one instance. All in frames but the last two. */
struct qy_mm_stat {
    uint64_t spanned;    /* from the lowest to the highest frame of the map, holes included */
    uint64_t present;    /* exist */
    uint64_t managed;    /* were ever given to the buddy */
    uint64_t free;       /* in the buddy; per-CPU lists not counted */
    uint64_t pcp;        /* in per-CPU lists */
    uint64_t backed;     /* free, but their memory is still held (lazy_backing) */
    uint64_t limit;      /* 0: none */
    uint64_t meta_bytes; /* committed metadata */
    uint64_t peak;       /* most frames ever managed and not free at once, seen at slow paths */
};

/** Fills *stat. Racy: the figures are read one after the other. */
QY_API void qy_mm_stat(struct qy_mm *mm, struct qy_mm_stat *stat);

#ifdef __cplusplus
}
#endif
#endif
