/*
 * page.h - what a frame is: a tag each, and a word for whoever owns it
 *
 * WHAT    tags[] holds a byte a frame. It is what free(p) looks at first, and what makes a
 *         wrong free impossible to miss: only the head of an allocated block carries its
 *         order, and it is cleared when the block is freed.
 *
 *         pages[] holds a struct qy_page a frame, touched only where a layer that owns
 *         pages has something to say. The tag says which member of the union holds. Runs of
 *         forty lengths, four a doubling, have a tag each: it says all, nothing else of such
 *         a run is touched.
 *
 * RULES   T1  The tag of a free, reserved or offline frame is QY_TAG_NONE.
 *         T2  The head of an allocated block of order k has QY_TAG_BLOCK + k, its other
 *             frames QY_TAG_NONE; unless a run or a cache owns it.
 *         T3  Every frame of a slab has its cache's tag, and its head's page names the slab.
 *
 * LOCKS   Both belong to the owner of the frame: whoever holds an allocated block. Freed
 *         frames pass to the next owner through a zone's lock or a slot.
 */
#ifndef QY_MEMORY_PAGE_H
#define QY_MEMORY_PAGE_H

#include <quarry/types.h>

#include <stdbool.h>
#include <stdint.h>

enum qy_tag {
    QY_TAG_NONE = 0,
    QY_TAG_BLOCK = 1,      /* + order: 1 .. 11 */
    QY_TAG_RUN = 12,       /* head of a run of pages from kmalloc */
    QY_TAG_GUARD = 13,     /* the frame before, or behind, a guarded run */
    QY_TAG_FREED = 14,     /* head of a guarded run in quarantine */
    QY_TAG_FOLIO = 15,     /* each frame that can be moved or given up: memory/folio.h */
    QY_TAG_CACHE = 16,     /* this and those above: a cache's number */
    QY_TAG_RUN_CLASS = 216 /* + class: head of a run of exactly that class's length */
};

#define QY_RUN_CLASSES 40
/** Of the longest class: 32 MiB. */
#define QY_RUN_CLASS_LONGEST UINT64_C(8192)

/** The class of runs of this length: the shortest that is as long; 10, 12, 14, 16, 20 ... */
static inline unsigned qy_run_class(uint64_t nr_frames)
{
    uint64_t last = nr_frames > 8 ? nr_frames - 1 : 8;
    unsigned power = 63 ^ (unsigned)__builtin_clzll(last);
    return (power - 3) * 4 + (unsigned)(last >> (power - 2) & 3);
}

static inline uint64_t qy_run_class_frames(unsigned class)
{
    return (uint64_t)(5 + class % 4) << (class / 4 + 1);
}

static inline bool qy_tag_is_run(uint8_t tag)
{
    return tag == QY_TAG_RUN || tag >= QY_TAG_RUN_CLASS;
}

/** The tag of a run of this length. */
static inline uint8_t qy_run_tag(uint64_t nr_frames)
{
    unsigned class = qy_run_class(nr_frames);
    bool exact = class < QY_RUN_CLASSES && qy_run_class_frames(class) == nr_frames;
    return (uint8_t)(exact ? QY_TAG_RUN_CLASS + class : QY_TAG_RUN);
}

/** For whoever does not own the frame, or not for certain. */
static inline uint8_t qy_tag_get(const uint8_t *tag)
{
    return __atomic_load_n(tag, __ATOMIC_RELAXED);
}

static inline void qy_tag_set(uint8_t *tag, uint8_t value)
{
    __atomic_store_n(tag, value, __ATOMIC_RELAXED);
}

/** What had this tag has none. False: it had another; of two who free one block at the same
 *  moment, one gets that. */
static inline bool qy_tag_clear(uint8_t *tag, uint8_t expected)
{
    return __atomic_compare_exchange_n(tag, &expected, QY_TAG_NONE, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}

struct qy_slab;

struct qy_page {
    union {
        struct qy_slab *slab; /* head of a slab */
        uint64_t run_frames;  /* head of a run (QY_TAG_RUN, QY_TAG_FREED) */
        uint64_t run_bytes;   /* the guard behind a run: what was asked for */
        uint64_t next_freed;  /* the guard behind a freed run: the next one's head */
        uint64_t guard_marks; /* the guard before a run: slab/guarded.c */
        uint64_t nr_entries;  /* a page table: space/pgtable.c */
    };
};

#endif
