/*
 * cache.h - a kmem_cache and its slabs
 *
 * RULES   S1  An object's frames carry its cache's tag, and name its slab.
 *         S2  Objects start at whole strides from the slab's base.
 *         S3  An object is free in its slab exactly when its bit is set. Objects in
 *             magazines and depots are not.
 *         S4  A slab is on slabs_full with no free object, on slabs_empty with all of them
 *             free, on slabs_partial else; the counts are those of the lists.
 *
 * LOCKS   (i) fixed since creation; (c) cache->lock; (h) mm->chain_lock.
 */
#ifndef QY_SLAB_CACHE_H
#define QY_SLAB_CACHE_H

#include "base/bits512.h"
#include "base/list.h"
#include "base/lock.h"
#include "buddy/alloc.h"
#include "memory/fault.h"

#include <quarry/slab.h>

#define QY_CACHE_NAME_BYTES 32
#define QY_RECIPROCAL_SHIFT 40
#define QY_SLAB_MOST_OBJECTS 512
/** Flags of the core's own. */
#define QY_SLAB_ON_SLAB 0x100u /* the header lies in the slab's first bytes */
#define QY_SLAB_SAMPLED 0x200u /* its slabs are slots of the pool: slab/sampled.c */
/** Any of these: objects are looked at on each call, so none goes through magazines. */
#define QY_SLAB_CHECKED                                                                            \
    (QY_SLAB_RED_ZONE | QY_SLAB_POISON | QY_SLAB_STORE_USER | QY_SLAB_RANDOM |                     \
     QY_SLAB_ZERO_ON_FREE | QY_SLAB_CHECK_FREE | QY_SLAB_SAMPLED)

/** What red zones hold. */
#define QY_RED_BYTE 0xbb

struct qy_slab_list {
    struct qy_list slabs; /* (c) */
    size_t count;         /* (c) */
};

#define QY_OBJECT_FREED UINT32_MAX

/** Beside each object of a checked cache: what was asked for, and by whom. */
struct qy_object_note {
    uint32_t bytes;        /* (c) requested, or QY_OBJECT_FREED */
    uint32_t allocated_by; /* (c) thread */
    uint32_t freed_by;     /* (c) thread; 0: never freed */
    uint32_t reserved;
};

struct qy_slab {
    struct qy_bits512 free;       /* (c) S3 */
    struct qy_list link;          /* (c) S4 */
    struct qy_kmem_cache *cache;  /* (i) */
    char *base;                   /* (i) the first object */
    struct qy_object_note *notes; /* (i) one an object; NULL: not a checked cache */
    uint16_t nr_free;             /* (c) */
    uint16_t nr_objects;          /* (i) */
    uint32_t reserved;
};

struct qy_kmem_cache {
    struct qy_lock lock;
    uint32_t flags;            /* (i) QY_SLAB_* */
    struct qy_mm *mm;          /* (i) */
    uint64_t reciprocal;       /* (i) ceil(2^40 / stride): division by multiplication */
    uint32_t stride;           /* (i) from one object to the next */
    uint32_t object_bytes;     /* (i) as asked for */
    uint32_t first_offset;     /* (i) of the first object in its slab */
    uint16_t nr_objects;       /* (i) of a slab */
    uint8_t order;             /* (i) of a slab's pages */
    uint8_t tag;               /* (i) mm->cache_of[tag] is this */
    uint8_t places;            /* (i) objects of a full magazine; 0: no magazines */
    uint8_t most_in_slot;      /* (i) full magazines that a slot keeps */
    uint8_t most_in_depot;     /* (i) full magazines that the cache keeps */
    bool populate;             /* (c) fresh slabs are filled with memory at once */
    struct qy_request request; /* (i) for its pages */
    qy_ctor_t ctor;            /* (i) */
    uint32_t align;            /* (i) */
    uint32_t random;           /* (c) state of the order of a RANDOM cache */
    void **waiting;            /* (c) freed objects of a RANDOM cache, before they reach their
                                    slabs; a magazine's words, NULL: none yet */
    uint16_t most_waiting;     /* (i) places of it; 0: a freed object may go out at once */
    uint16_t nr_waiting;       /* (c) places that hold an object */

    struct qy_slab_list slabs_full, slabs_partial, slabs_empty; /* (c) S4 */
    size_t nr_free;                                             /* (c) free objects of all slabs */
    void **depot;                    /* (c) full magazines, linked by their first word */
    size_t nr_depot;                 /* (c) */
    void **empties;                  /* (c) G2: and empty ones, for who brings full ones */
    uint16_t nr_empties;             /* (c) */
    uint16_t depot_extra;            /* (c) G3: magazines beyond most_in_depot */
    uint16_t depot_gone;             /* (c) that found no room since slabs were last asked */
    uint64_t nr_refills, nr_flushes; /* (c) */

    struct qy_list chain;           /* (h) */
    char name[QY_CACHE_NAME_BYTES]; /* (i) */
};

/* ---- slab.c: slabs and the objects in them ---- */

/** Take up to count objects off the slabs there are. Returns how many. */
unsigned qy_slab_take_locked(struct qy_kmem_cache *cache, unsigned count, void **objects);

/** Give one object back to its slab. 0, or a rule's name (S2, S3) and nothing changed. */
const char *qy_slab_give_locked(struct qy_kmem_cache *cache, void *object);

/** Make a slab and put it on the empty list. @cpu: the slot that the caller is in, or NULL.
 *  cache->lock is not held. 0 or -ENOMEM. */
QY_MUST_CHECK int qy_slab_grow(struct qy_kmem_cache *cache, struct qy_cpu *cpu);
/** One object of a cache without magazines. may_grow: memory may be brought online for it;
 *  else the caller can do without. NULL: there is none. The lock is not held. */
void *qy_slab_take_one(struct qy_kmem_cache *cache, struct qy_cpu *cpu, bool may_grow);
void qy_slab_give_one(struct qy_kmem_cache *cache, void *object);

/** Give all but @keep empty slabs back. The lock is not held. Returns the frames. */
size_t qy_slab_release(struct qy_kmem_cache *cache, struct qy_cpu *cpu, size_t keep);

/** The slab that an object of the cache lies in. */
struct qy_slab *qy_slab_of(const struct qy_kmem_cache *cache, const void *object);
/** The object's number in its slab; nr_objects or more: it lies on none. *exact: it is an
 *  object's first byte. */
unsigned qy_slab_index(const struct qy_slab *slab, const void *object, bool *exact);

/** The address is an object's first byte: told from the cache's shape alone, no slab is looked
 *  at. It lies in the cache's frames. */
static inline bool qy_slab_is_start(const struct qy_kmem_cache *cache, const void *object)
{
    const struct qy_mm *mm = cache->mm;
    uint64_t in_slab = ((uintptr_t)object - mm->base) & ((QY_PAGE_BYTES << cache->order) - 1);
    uint64_t offset = in_slab - cache->first_offset;
    uint64_t index = offset * cache->reciprocal >> QY_RECIPROCAL_SHIFT;
    return in_slab >= cache->first_offset && index * cache->stride == offset &&
           index < cache->nr_objects;
}

/** Report what was done with an address that lies in this cache's frames and is no object in use.
 *  -EINVAL. */
int qy_slab_refuse(struct qy_kmem_cache *cache, const void *object, enum qy_act act);
/** The same of one that is in another's frames, or in nobody's. */
int qy_slab_refuse_foreign(struct qy_kmem_cache *cache, const void *object);

/* ---- checked.c: caches whose objects are looked at on each call ---- */

void *qy_checked_alloc(struct qy_kmem_cache *cache, struct qy_cpu *cpu, size_t bytes);
/** The same for kmalloc: enters the slot, and reclaims. */
void *qy_checked_kmalloc(struct qy_kmem_cache *cache, size_t bytes, qy_gfp_t gfp);
int qy_checked_free(struct qy_kmem_cache *cache, struct qy_cpu *cpu, void *object);
/** A new slab's objects get what free objects have. */
void qy_checked_prepare(struct qy_slab *slab);
/** An empty slab goes: look at its objects for the last time. */
void qy_checked_retire(struct qy_slab *slab);
/** Let no freed object wait any longer. */
void qy_checked_drain(struct qy_kmem_cache *cache);
/** The rule that this object breaks, D1 or D2; NULL: none. cache->lock held. */
const char *qy_checked_look(const struct qy_slab *slab, unsigned index);
/** Look at all objects, live or free, unless that takes too long. Waits for nobody. 0, or -EINVAL
 *  and a report of the first that breaks D1 or D2. */
int qy_checked_look_over(struct qy_kmem_cache *cache, uint64_t until_ns);
/** All @count bytes have this value. */
bool qy_bytes_are(const void *bytes, size_t count, int value);
/** Bytes the owner asked for; the object is one of a checked cache. 0: it is no object, or
 *  free. */
size_t qy_checked_bytes(struct qy_kmem_cache *cache, const void *object);

/* ---- create.c ---- */

/** The three caches that everything else needs. */
void qy_slab_boot(struct qy_mm *mm, uint32_t kmalloc_flags);
/** The cache of a kmalloc class, made now or by somebody else just now. The caller is in no
 *  slot. NULL: no memory for it. */
struct qy_kmem_cache *qy_cache_make_class(struct qy_mm *mm, unsigned tag, const char *name,
                                          size_t object_bytes, qy_gfp_t gfp);
/** The cache whose slabs are the slots of sampled.c: a page and its guard each. NULL: no memory. */
struct qy_kmem_cache *qy_cache_make_sampled(struct qy_mm *mm);
struct qy_kmem_cache *qy_cache_of_slabs(struct qy_mm *mm);
struct qy_kmem_cache *qy_cache_of_magazines(struct qy_mm *mm);

#endif
