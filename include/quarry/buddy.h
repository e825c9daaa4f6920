/*
 * quarry/buddy.h - page frames in blocks of 2^order
 *
 * Free frames are kept so that 2^order of them, aligned to their own size, are found at
 * once, and freed neighbours grow together again (Knowlton 1965; Knuth, TAOCP 1, 2.5;
 * Linux's mm/page_alloc.c). Every call here may be made from any thread; none allocates
 * anything but the frames it returns.
 */
#ifndef QUARRY_BUDDY_H
#define QUARRY_BUDDY_H

#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Take 2^order free, contiguous, naturally aligned frames.
 *
 * @order  0 .. QY_MAX_ORDER (10: 1024 frames, 4 MiB of 4 KiB pages)
 * @gfp    where they may come from and whether the call may wait; see types.h
 * Returns the first frame's number, or QY_PFN_NONE when no zone can give them
 * within its watermarks even after reclaim, or when order or gfp is out of range.
 * Cost: one per-CPU list access in the common case.
 */
QY_API QY_MUST_CHECK qy_pfn_t qy_alloc_pages(struct qy_mm *mm, qy_gfp_t gfp, unsigned order);

/** The same, preferring the zones of @node (< nr_nodes). */
QY_API QY_MUST_CHECK qy_pfn_t qy_alloc_pages_node(struct qy_mm *mm, unsigned node, qy_gfp_t gfp,
                                                  unsigned order);

/**
 * Give back a block that qy_alloc_pages() returned, with the order it was asked for.
 *
 * Returns 0, or -EINVAL with nothing changed and a report naming the rule: F1 no frame of
 * this memory (foreign), F2 no block begins there that is in use (double or interior free),
 * F3 another order was allocated there.
 */
QY_API int qy_free_pages(struct qy_mm *mm, qy_pfn_t pfn, unsigned order);

/**
 * Take up to @count single frames at once into pfns[]; order 0, not contiguous.
 * Returns how many it got: 0 .. count.
 */
QY_API QY_MUST_CHECK size_t qy_alloc_pages_bulk(struct qy_mm *mm, qy_gfp_t gfp, size_t count,
                                                qy_pfn_t *pfns);
/** Give back @count single frames. Returns how many were refused as wrong frees. */
QY_API size_t qy_free_pages_bulk(struct qy_mm *mm, size_t count, const qy_pfn_t *pfns);

/**
 * Take exactly @nr_frames contiguous frames. What the lists cannot find, a search over the
 * zone does (linear in its pageblocks).
 *
 * @align_order  the first frame is a multiple of 2^align_order: 0 .. 18 (1 GiB of 4 KiB
 *               pages). With 0, a power of two up to 1024 is aligned to itself, and any
 *               other length starts where it fits.
 */
QY_API QY_MUST_CHECK qy_pfn_t qy_alloc_pages_exact(struct qy_mm *mm, qy_gfp_t gfp,
                                                   uint64_t nr_frames, unsigned align_order);
/**
 * Give back all, or the last part from pfn on, of an exact run. Errors as qy_free_pages().
 *
 * @nr_frames  to the end of the run, no further: nothing marks where a run ends. A length that
 *             is too long is F2 where a frame behind the run is free, or belongs to what is not
 *             cut into blocks as one run of that length would be; where all of that fits, what
 *             lies behind goes back as well.
 */
QY_API int qy_free_pages_exact(struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames);

/** The CPU's address of a frame; NULL where the CPU cannot reach it (no_virt). */
QY_API void *qy_page_address(const struct qy_mm *mm, qy_pfn_t pfn);
/** The frame that holds an address, or QY_PFN_NONE if it is not of this memory. */
QY_API qy_pfn_t qy_virt_to_pfn(const struct qy_mm *mm, const void *address);

/** Give every per-CPU list's frames back to the buddy. May wait for other threads' short
 *  critical sections; not from within one. */
QY_API void qy_drain_all_pages(struct qy_mm *mm);

/**
 * Give the backing of free frames back to the system, until at most @keep_frames free
 * frames still have theirs. Returns the number of frames that lost it. Does nothing
 * (returns 0) unless the instance has lazy_backing.
 */
QY_API uint64_t qy_mm_trim(struct qy_mm *mm, uint64_t keep_frames);

#ifdef __cplusplus
}
#endif
#endif
