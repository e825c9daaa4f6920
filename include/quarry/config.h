/*
 * quarry/config.h - what may be chosen when Quarry is built
 *
 * Integers, tested with plain `if`, each tied to its range below. Choices that differ
 * between two instances in one program are not here but in struct qy_mm_options.
 */
#ifndef QUARRY_CONFIG_H
#define QUARRY_CONFIG_H

/** Nodes of one struct qy_mm, at most. */
#ifndef QY_MAX_NODES
#define QY_MAX_NODES 8
#endif

/** Ranges of one memory map, at most. */
#ifndef QY_MAX_RANGES
#define QY_MAX_RANGES 128
#endif

/** 1: assertions and lock ranks are checked; a broken one panics with its rule's name. */
#ifndef QY_DEBUG
#define QY_DEBUG 0
#endif

#ifndef __cplusplus
_Static_assert(QY_MAX_NODES >= 1 && QY_MAX_NODES <= 32, "QY_MAX_NODES: 1 .. 32");
_Static_assert(QY_MAX_RANGES >= 1 && QY_MAX_RANGES <= 4096, "QY_MAX_RANGES: 1 .. 4096");
_Static_assert(QY_DEBUG == 0 || QY_DEBUG == 1, "QY_DEBUG: 0 or 1");
#endif

#endif
