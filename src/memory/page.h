/*
 * page.h - what a frame is: a tag each, and a word for whoever owns it
 *
 * WHAT    tags[] holds a byte a frame. It is what free(p) looks at first, and what makes a
 *         wrong free impossible to miss: only the head of an allocated block carries its
 *         order, and it is cleared when the block is freed.
 *
 *         pages[] holds a struct qy_page a frame, touched only where a layer that owns
 *         pages has something to say. The tag says which member of the union holds.
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

enum qy_tag {
    QY_TAG_NONE = 0,
    QY_TAG_BLOCK = 1,  /* + order: 1 .. 11 */
    QY_TAG_RUN = 12,   /* head of a run of pages from kmalloc */
    QY_TAG_GUARD = 13, /* the frame before, or behind, a guarded run */
    QY_TAG_FREED = 14, /* head of a guarded run in quarantine */
    QY_TAG_CACHE = 16  /* this and all above: a cache's number */
};

struct qy_slab;

struct qy_page {
    union {
        struct qy_slab *slab; /* head of a slab */
        uint64_t run_frames;  /* head of a run (QY_TAG_RUN, QY_TAG_FREED) */
        uint64_t run_bytes;   /* the guard behind a run: what was asked for */
        uint64_t next_freed;  /* the guard behind a freed run: the next one's head */
        uint64_t guard_marks; /* the guard before a run: slab/guarded.c */
    };
};

#endif
