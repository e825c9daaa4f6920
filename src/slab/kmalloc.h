/*
 * kmalloc.h - memory of any size: which class, and what a block is
 */
#ifndef QY_SLAB_KMALLOC_H
#define QY_SLAB_KMALLOC_H

#include "slab/cache.h"

#define QY_KMALLOC_LARGEST (UINT64_C(32) << 10)

/** The class of a size, 0 .. QY_KMALLOC_CLASSES - 1; 1 <= bytes <= QY_KMALLOC_LARGEST. */
static inline unsigned qy_kmalloc_class(size_t bytes)
{
    size_t last = bytes - 1;
    if (last < 128)
        return (unsigned)(last / 16);
    unsigned power = 63 ^ (unsigned)__builtin_clzll(last);
    return 8 + (power - 7) * 4 + (unsigned)(last >> (power - 2) & 3);
}

/** Bytes of a class: 16 .. 128 in steps of 16, then four a doubling. */
static inline size_t qy_kmalloc_class_bytes(unsigned class)
{
    if (class < 8)
        return (class + 1) * 16;
    unsigned power = 7 + (class - 8) / 4;
    return (size_t)(5 + (class - 8) % 4) << (power - 2);
}

/** The tag of the cache that serves a size above QY_SMALL_BYTES: its class's, or one that fits
 *  better (slab/fit.c). */
static inline unsigned qy_kmalloc_tag(const struct qy_mm *mm, size_t bytes)
{
    unsigned class = qy_kmalloc_class(bytes);
    uint32_t own = __atomic_load_n(&mm->fit[class].own, __ATOMIC_ACQUIRE);
    return bytes <= own >> 8 ? own & 0xff : mm->kmalloc_tag + class;
}

/** The class without a cache that fits was asked for that many bytes: is it time for one? */
void qy_fit_look(struct qy_mm *mm, const struct qy_kmem_cache *cache, struct qy_fit *fit,
                 size_t bytes);

/** Sizes can be asked for from now on; their caches get the tags from @tag on. */
void qy_kmalloc_boot(struct qy_mm *mm, unsigned tag, uint32_t flags);
/** The name of a class's cache, which may not be there yet. */
const char *qy_kmalloc_class_name(unsigned class);

/** The halves behind the fast paths: any size, any block. The caller is in no slot. */
void *qy_kmalloc_slow(struct qy_mm *mm, size_t bytes, qy_gfp_t gfp);
/** Would freeing this block with that size and alignment be right? 0, or -EINVAL and a
 *  report (K5). What no block is, the free itself will find. */
int qy_kfree_check(struct qy_mm *mm, const void *block, size_t bytes, size_t align);
/** Look at all blocks, in use or freed, for what their next call would find, unless that takes too
 *  long (a time of qy_port_clock_ns()). Waits for nobody. 0, or -EINVAL and a report. */
int qy_kmalloc_look_over(struct qy_mm *mm, uint64_t until_ns);
int qy_kfree_slow(struct qy_mm *mm, void *block);
/** Report what was done with what is no block, or free already. -EINVAL. */
int qy_kmalloc_refuse(struct qy_mm *mm, const void *block, enum qy_act act);

#endif
