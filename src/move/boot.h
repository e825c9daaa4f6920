/*
 * boot.h - what a request does before it fails, where memory can be moved
 */
#ifndef QY_MOVE_BOOT_H
#define QY_MOVE_BOOT_H

#include "memory/mm.h"

/** From now on requests make room before they fail, if this memory can be moved: blocks by
 *  compaction, and for who cannot move in what lies idle of regions. Nobody uses it yet. */
void qy_move_open(struct qy_mm *mm);

#endif
