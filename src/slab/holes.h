/*
 * holes.h - memory that caches hold and nobody uses
 */
#ifndef QY_SLAB_HOLES_H
#define QY_SLAB_HOLES_H

#include "memory/mm.h"

/** Frames' worth of free objects in kmalloc's slabs and depots. Racy. */
uint64_t qy_slab_idle(struct qy_mm *mm);

/** Give the memory of idle pages within partial slabs back. Returns the pages. */
uint64_t qy_slab_trim(struct qy_mm *mm);

#endif
