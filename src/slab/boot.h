/*
 * boot.h - an instance without what only movable memory needs
 */
#ifndef QY_SLAB_BOOT_H
#define QY_SLAB_BOOT_H

#include "memory/mm.h"

/** As qy_mm_create(), for who never lends frames. */
QY_MUST_CHECK struct qy_mm *qy_boot(const struct qy_memmap *map,
                                    const struct qy_mm_options *options, struct qy_error *error);

/** mm->reclaim, until others come in front of it: what slabs and magazines keep idle. */
uint64_t qy_slab_reclaim(struct qy_mm *mm, qy_gfp_t gfp, unsigned order);

#endif
