/*
 * sampled.h - now and then a small block gets a page of its own between guards
 *
 * When is for sampling.c to say, what becomes of the block for sampled.c.
 */
#ifndef QY_SLAB_SAMPLED_H
#define QY_SLAB_SAMPLED_H

#include "memory/fault.h"
#include "slab/cache.h"

/** A slab of one object, the page; its second page is the guard behind. */
struct qy_sample_slot {
    struct qy_slab slab; /* first */
    struct qy_object_note note;
    uint32_t bytes;  /* (c) asked for; still there when it is freed */
    uint32_t offset; /* (c) of the block in its page */
};

/** In the first frames of its run; a guard follows, then the slots' pages. */
struct qy_sample_pool {
    uint64_t first;    /* (i) frame of the first slot's page, in the span */
    unsigned nr_slots; /* (i) */
    struct qy_sample_slot slot[];
};

/* ---- sampling.c: when ---- */

/** Sample from now on: an allocation each @interval_ns, or, 0, each that can be. Of a new
 *  instance, before any slot. */
void qy_sampling_start(struct qy_mm *mm, uint64_t interval_ns);

/** Sampling is on, and this slow call is one that asks; not all do, if they come often. */
static inline bool qy_sample_asks(const struct qy_mm *mm)
{
    if (qy_likely(!mm->sampling.on))
        return false;
    struct qy_cpu *cpu = qy_port_cpu(mm, mm->port_index);
    if (cpu == NULL || cpu->looks_in == 0)
        return true;
    cpu->looks_in--;
    return false;
}

/** kmalloc is asked for so much, and asks: a block of the pool, if it is time for one; NULL: it is
 *  not, there is none, or this is no block that can be. The caller is in no slot. */
void *qy_sample(struct qy_mm *mm, size_t bytes, size_t align, qy_gfp_t gfp);
/** A slow call that allocates nothing, while sampling is on: if it asks, and it is time, this
 *  slot's next small allocation is a slow one. The caller is in no slot. */
void qy_sample_soon(struct qy_mm *mm);

/** Any number: chance, not secrecy. */
uint64_t qy_sample_draw(struct qy_sampling *sampling);

/* ---- sampled.c: blocks of the pool; addresses lie in its frames ---- */

/** A block, as qy_kmalloc() would give it. NULL: all are live, or one cannot be brought into
 *  reach, or somebody else is here. */
void *qy_sampled_take(struct qy_mm *mm, struct qy_sample_pool *pool, size_t bytes, size_t align,
                      qy_gfp_t gfp);
/** What was asked for the block; 0: it is none, or freed. */
size_t qy_sampled_bytes(struct qy_kmem_cache *cache, const void *block);
/** Free it. 0, or -EINVAL and a report: of a free that is wrong (K2, K3), or of what was written
 *  beside the block (D1), which then stays allocated. */
int qy_sampled_free(struct qy_kmem_cache *cache, const void *block);
/** Report what was done with what is no block in use. -EINVAL. */
int qy_sampled_refuse(struct qy_kmem_cache *cache, const void *block, enum qy_act act);
/** A report is of this block. */
void qy_sampled_fill_in(struct qy_fault *fault, const struct qy_kmem_cache *cache,
                        const void *block);
/** An access ("read", "write", "access") to this address was stopped. True: it is the pool's, and
 *  that is reported; how the program goes on is the caller's to say. Takes no lock: for a
 *  signal's handler. */
bool qy_sampled_explain(struct qy_mm *mm, const void *address, const char *access);

/** The rule that this slab of the pool breaks, D1 or D6; NULL: none. cache->lock held. */
const char *qy_sampled_look(const struct qy_slab *slab);

/** Frames of the pool without a live block; of these, such as no slab lies on. Racy. */
uint64_t qy_sampled_idle(const struct qy_mm *mm);
uint64_t qy_sampled_untouched(const struct qy_mm *mm);

#endif
