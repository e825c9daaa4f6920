/*
 * magazine.h - the fast path: a slot's loaded magazine of a cache
 *
 * WHAT    A magazine is 64 words, aligned to its size. The last `places` of them hold free
 *         objects; the word below them is NULL. A slot keeps for each cache a pointer to the
 *         place above the topmost object:
 *
 *             word   0 ...  bottom | bottom+1 ...            63
 *                    link    NULL  |  object  object   .   .
 *                                                     ^ top
 *
 *         Empty: the word below top is NULL. Full: top is a multiple of 512, so the pointer
 *         itself says so. One comparison each, on what was loaded anyway. A cache that has no
 *         magazine loaded points to the end of one that is all NULL, and so looks empty and
 *         full at once.
 *
 *         One more comparison, with the word below top: the object that was freed last is
 *         not freed again. What came before it is not looked at: who frees an object twice
 *         with others in between is found by its slab, or not at all.
 *
 * RULES   G1  The word below a loaded magazine's places is NULL; those from there up to top
 *             hold objects of the cache, each of which is nowhere else.
 *
 * LOCKS   (o) the slot's owner is inside.
 */
#ifndef QY_SLAB_MAGAZINE_H
#define QY_SLAB_MAGAZINE_H

#include "base/percpu.h"
#include "slab/cache.h"

#define QY_MAGAZINE_WORDS 64
#define QY_MAGAZINE_BYTES (QY_MAGAZINE_WORDS * sizeof(void *))
#define QY_MAGAZINE_MOST (QY_MAGAZINE_WORDS - 1)
/** Empty magazines that a slot keeps, or a cache beside its depot. */
#define QY_MOST_SPARE 8
#define QY_NO_MAGAZINE ((void **)&qy_no_magazine[QY_MAGAZINE_WORDS])

/** All NULL: empty and full. */
extern void *const qy_no_magazine[QY_MAGAZINE_WORDS];

/** What a slot keeps of one cache beside the loaded magazine. */
struct qy_depot {
    void **full;      /* (o) full magazines, linked by their first word */
    uint16_t nr_full; /* (o) */
    uint16_t fill;    /* (o) objects of the next refill from the slabs: it doubles */
    uint16_t extra;   /* (o) G3: magazines that it may hold beyond most_in_slot */
    uint16_t gone;    /* (o) that found no room since objects were last taken off slabs */
};

static inline void *qy_magazine_pop(struct qy_cpu *cpu, unsigned tag)
{
    void *object = *(cpu->top[tag] - 1);
    if (qy_likely(object != NULL)) {
        atomic_signal_fence(memory_order_seq_cst);
        cpu->top[tag]--;
    }
    return object;
}

/** The object is the one that was pushed last. */
static inline bool qy_magazine_is_last(const struct qy_cpu *cpu, unsigned tag, const void *object)
{
    return *(cpu->top[tag] - 1) == object;
}

/** False: there is no place, or the object lies on top already. */
static inline bool qy_magazine_push(struct qy_cpu *cpu, uint64_t tag, void *object)
{
    void **place = cpu->top[tag];
    if (qy_unlikely((uintptr_t)place % QY_MAGAZINE_BYTES == 0) ||
        qy_unlikely(*(place - 1) == object))
        return false;
    *place = object;
    atomic_signal_fence(memory_order_seq_cst);
    cpu->top[tag]++;
    return true;
}

/** The slow halves of an allocation and of a free: exchange the magazine and go on. @cpu: the
 *  slot that the caller is in; NULL: it has none, and goes to the slabs. NULL: no memory.
 *  -EINVAL: the object went to its slab and was wrong, which has been reported. */
void *qy_magazine_refill(struct qy_cpu *cpu, struct qy_kmem_cache *cache);
int qy_magazine_flush(struct qy_cpu *cpu, struct qy_kmem_cache *cache, void *object);

/** Has the slot a magazine of this cache, or room in its depot for more than the usual? */
bool qy_magazine_has_any(const struct qy_cpu *cpu, const struct qy_kmem_cache *cache);
/** Give everything that a slot holds of a cache back to its slabs. */
void qy_magazine_drain(struct qy_cpu *cpu, struct qy_kmem_cache *cache);
/** It has nothing of it any more, and the objects are nobody's for good. */
void qy_magazine_abandon(struct qy_cpu *cpu, struct qy_kmem_cache *cache);
/** Give everything that lies in a cache's shared depot back to its slabs. */
void qy_depot_drain(struct qy_kmem_cache *cache, struct qy_cpu *cpu);

/** Give everything that a stopped slot holds back: objects, magazines, frames. */
void qy_slot_empty(struct qy_mm *mm, struct qy_cpu *cpu);
/** A suspended slot whose owner will not go on: what it holds stays in use, and is nobody's. */
void qy_slot_abandon(struct qy_mm *mm, struct qy_cpu *cpu);
/** Give a slot's spare magazines back. */
void qy_magazine_drop_spare(struct qy_cpu *cpu);

/** Bytes of memory that qy_cpu_attach() needs for a slot's lists. */
size_t qy_cpu_bytes(const struct qy_mm *mm);
/** Open @cpu for the calling thread; its lists lie in @memory, the port's own: zeroed, or as
 *  qy_cpu_detach() has left it, which has emptied them. */
void qy_cpu_attach(struct qy_mm *mm, struct qy_cpu *cpu, void *memory);
/** Empty and close it. The memory may be used for another. */
void qy_cpu_detach(struct qy_mm *mm, struct qy_cpu *cpu);

#endif
