/*
 * pageblock.h - 512 frames that are kept for one use: what the buddy knows of them
 *
 * RULES   B2  A pageblock is on the list of its largest free order and its migratetype, and
 *             on no other; with nothing free it is on none.
 *         B5  Two buddy pageblocks that are wholly free, in one zone and of one type, are a
 *             pair: the even one is on list 10, the odd one is its tail and on none.
 *
 * LOCKS   (z) zone->lock of its zone; (g) grow_lock.
 */
#ifndef QY_MEMORY_PAGEBLOCK_H
#define QY_MEMORY_PAGEBLOCK_H

#include "base/bits512.h"

#include <quarry/types.h>

#define QY_PAGEBLOCK_BYTES 32

/** In pageblock.flags. */
#define QY_BLOCK_ONLINE 0x01u /* (g) its zone is set; some of its frames are managed */
#define QY_BLOCK_TAIL 0x02u   /* (z) the odd half of a free block of order 10 */
#define QY_BLOCK_FRESH 0x04u  /* (z) B4: all that is free is fresh, and no bit says so */

struct qy_pageblock {
    uint32_t next, prev;              /* (z) neighbours on its list; QY_BLOCK_NONE: the end */
    int8_t word_order[QY_BITS_WORDS]; /* (z) each word's largest free order; -1: none */
    uint16_t nr_free;                 /* (z) set bits */
    uint16_t nr_fresh;                /* (z) of them, fresh */
    int8_t order;                     /* (z) largest free order, 10 for a pair's even half; -1 */
    uint8_t migratetype;              /* (z) */
    uint8_t zone;                     /* (g) index in mm->zones */
    uint8_t flags;
    uint32_t reserved[2];
};

_Static_assert(sizeof(struct qy_pageblock) == QY_PAGEBLOCK_BYTES, "two pageblocks a cache line");

#endif
