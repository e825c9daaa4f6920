/*
 * quarry/slab.h - objects of one size, and memory of any size
 *
 * A kmem_cache hands out objects of one size from slabs of contiguous pages, kept on three
 * lists: slabs_full, slabs_partial, slabs_empty (Bonwick 1994; Linux's first slab). Each
 * thread or CPU holds magazines of free objects in front of them (Bonwick & Adams 2001).
 */
#ifndef QUARRY_SLAB_H
#define QUARRY_SLAB_H

#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Options of one cache, fixed at creation. What is off costs nothing. */
#define QY_SLAB_RED_ZONE 0x01u   /* canaries before and after the requested size */
#define QY_SLAB_POISON 0x02u     /* fill free objects; a changed byte is a use after free */
#define QY_SLAB_STORE_USER 0x04u /* remember who allocated and who freed last */
#define QY_SLAB_RANDOM                                                                             \
    0x08u                          /* objects go out in random order, and not at once after
                                       they were freed */
#define QY_SLAB_ZERO_ON_FREE 0x10u /* freed objects are cleared, and checked at reuse */
#define QY_SLAB_CHECK_FREE 0x20u   /* a double free is caught at once, not at the slab */
#define QY_SLAB_NO_MAGAZINES 0x40u /* every call goes to the slabs, under the lock */
#define QY_SLAB_RECLAIMABLE 0x80u  /* its pages come from reclaimable pageblocks */
#define QY_SLAB_MASK 0xffu

/** Runs once on each object when its slab is made; objects come back constructed. */
typedef void (*qy_ctor_t)(void *object);

/**
 * Create a cache of objects of @object_bytes.
 *
 * @name   1 .. 31 bytes, copied; printable, no blank (it is a column of slabinfo)
 * @object_bytes  1 .. 32 KiB
 * @align  0 (16, or the object's natural alignment if it is smaller and a power of two)
 *         or a power of two <= 4096
 * @flags  QY_SLAB_*; POISON and ZERO_ON_FREE are refused together with a constructor
 * Returns NULL and fills *error: EINVAL (an argument, which), EEXIST (a cache of this name),
 * ENOSPC (157 exist beside kmalloc's), ENOMEM.
 */
QY_API QY_MUST_CHECK struct qy_kmem_cache *qy_kmem_cache_create(struct qy_mm *mm, const char *name,
                                                                size_t object_bytes, size_t align,
                                                                uint32_t flags, qy_ctor_t ctor,
                                                                struct qy_error *error);

/**
 * Destroy a cache. Returns 0, or -EBUSY while objects are live: then nothing changed and
 * *live (may be NULL) says how many; 0: a signal handler that forks has just interrupted a thread
 * that has some in its slot. Of a cache that was destroyed before it reports a fault (S5)
 * and returns -EINVAL, as long as nothing else lies there. No other call on this cache may run
 * meanwhile.
 */
QY_API QY_MUST_CHECK int qy_kmem_cache_destroy(struct qy_kmem_cache *cache, size_t *live);

/** One object, or NULL. @gfp: ZERO clears it; without DIRECT_RECLAIM it never waits. */
QY_API QY_MUST_CHECK void *qy_kmem_cache_alloc(struct qy_kmem_cache *cache, qy_gfp_t gfp);

/**
 * Give an object back. Wrong frees are reported by rule name and change nothing:
 * S1 not an object of this cache, S2 not the start of an object, S3 free already.
 * Returns 0 or -EINVAL. Where it goes to a magazine (neither CHECK_FREE nor NO_MAGAZINES), an
 * S2, or an S3 after another object was freed, may be found, and reported, only when the
 * magazine reaches its slab.
 */
QY_API int qy_kmem_cache_free(struct qy_kmem_cache *cache, void *object);

/** All @count objects or none. Returns 0 or -ENOMEM. */
QY_API QY_MUST_CHECK int qy_kmem_cache_alloc_bulk(struct qy_kmem_cache *cache, qy_gfp_t gfp,
                                                  size_t count, void **objects);
QY_API void qy_kmem_cache_free_bulk(struct qy_kmem_cache *cache, size_t count, void **objects);

/** Empty this cache's magazines and give its empty slabs back. Returns the frames freed. */
QY_API size_t qy_kmem_cache_shrink(struct qy_kmem_cache *cache);

/**
 * Memory of any size: four size classes a doubling up to 32 KiB, whole pages above.
 * Aligned to 16 bytes, and to its size if that is a power of two up to 4 KiB.
 * Returns NULL when there is none, or when bytes cannot be represented. kmalloc of 0 bytes
 * returns a pointer of its own that may be freed.
 */
QY_API QY_MUST_CHECK void *qy_kmalloc(struct qy_mm *mm, size_t bytes, qy_gfp_t gfp);
/** The same, aligned to @align: a power of two, 1 .. 1 GiB. */
QY_API QY_MUST_CHECK void *qy_kmalloc_aligned(struct qy_mm *mm, size_t bytes, size_t align,
                                              qy_gfp_t gfp);
/** Grow or shrink; the old block is kept when NULL comes back. krealloc(p, 0) frees. With ZERO what
 *  lies behind the old block's qy_ksize() is zero. */
QY_API QY_MUST_CHECK void *qy_krealloc(struct qy_mm *mm, void *block, size_t bytes, qy_gfp_t gfp);
/** NULL is allowed. Returns 0 or -EINVAL with a report (K1 foreign, K2 not a block's start,
 *  K3 nothing allocated there; S1 .. S3 as above). */
QY_API int qy_kfree(struct qy_mm *mm, void *block);
/** Usable bytes of a block: >= those asked for; 0 for NULL and for what is no block. */
QY_API size_t qy_ksize(struct qy_mm *mm, const void *block);

/** Frames given back by emptying all magazines and slabs of all caches. */
QY_API size_t qy_kmem_cache_shrink_all(struct qy_mm *mm);

#ifdef __cplusplus
}
#endif
#endif
