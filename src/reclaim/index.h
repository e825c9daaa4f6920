/*
 * index.h - which frame holds which page of a file, and which pages are dirty
 *
 * WHAT    A radix tree of nodes with 64 places, as high as the file is long (Linux: the XArray
 *         and its marks). 5 bytes a page where pages are together.
 *
 * WHY     Not space/pgtable.h: a file has few pages here and there as often as many together,
 *         which costs a table of 4 KiB each there; and sync must find the dirty ones without
 *         looking at all others.
 *
 * RULES   W5  A page is marked dirty exactly when its folio is.
 *
 * LOCKS   The owner's, for all of it: mapping->lock. Nodes are taken without waiting.
 */
#ifndef QY_RECLAIM_INDEX_H
#define QY_RECLAIM_INDEX_H

#include "memory/mm.h"

/** No frame; as an index of the span it is out of range. */
#define QY_NO_FRAME UINT32_MAX

#define QY_INDEX_SLOTS 64u

struct qy_index_node {
    uint64_t used;  /* bit: this place has a node, or a frame */
    uint64_t dirty; /* bit: below it, something is dirty */
    union {
        struct qy_index_node *child[QY_INDEX_SLOTS];
        uint32_t frame[QY_INDEX_SLOTS]; /* of a leaf, which is allocated up to here */
    };
};

struct qy_index {
    struct qy_index_node *root; /* NULL: nothing is set */
    unsigned height;            /* 1: the root is a leaf */
    struct qy_index_node *leaf; /* the one used last; NULL */
    uint32_t leaf_number;       /* its first page / 64 */
};

/** The frame of a page, or QY_NO_FRAME. */
uint32_t qy_index_get(struct qy_index *index, uint32_t page);

/** See that there is a place for the page. 0, or -ENOMEM and nothing changed. */
QY_MUST_CHECK int qy_index_reserve(struct qy_mm *mm, struct qy_index *index, uint32_t page);

/** The page is on this frame; its place was reserved. Its mark stays. */
void qy_index_set(struct qy_index *index, uint32_t page, uint32_t frame);

/** It is on none, and clean. Nodes that become empty are freed, and levels that lead to one. */
void qy_index_remove(struct qy_mm *mm, struct qy_index *index, uint32_t page);

void qy_index_mark(struct qy_index *index, uint32_t page, bool dirty);
bool qy_index_marked(struct qy_index *index, uint32_t page);

/** The first page at or after *page, of all or of those that are dirty; false: there is none. */
bool qy_index_next(const struct qy_index *index, uint32_t *page, bool dirty);

/** Free all nodes. */
void qy_index_free(struct qy_mm *mm, struct qy_index *index);

#endif
