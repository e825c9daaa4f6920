/*
 * compact.h - what a request does before it fails: free frames come together
 */
#ifndef QY_MOVE_COMPACT_H
#define QY_MOVE_COMPACT_H

#include "memory/mm.h"

/** From now on requests for blocks compact this memory before they fail, if it can be moved. */
void qy_compact_open(struct qy_mm *mm);

#endif
