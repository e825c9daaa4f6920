/*
 * folio.h - a frame that its owner can move, or give up
 *
 * WHAT    Frames of a space's areas and of cached files carry QY_TAG_FOLIO, and 32 bytes that
 *         say to whom they belong and where: so whoever needs just this frame can ask for it.
 *         (Linux: struct folio, its mapping, index and flags.) The array exists only in
 *         instances that were made with options.movable.
 *
 *              free --lend--> LENT --wanted--> WANTED --its owner lets go--> HELD --> free
 *                                                 \--- not after all --> LENT
 *
 *         A frame that is wanted does not go back to the buddy when its owner frees it, but to
 *         who wants it. So nobody else can get in between.
 *
 * RULES   T4  A frame has QY_TAG_FOLIO exactly when its folio's state is not FREE.
 *         T5  A HELD frame has no mapping; its holder is a contiguous buffer or a mover.
 *
 * LOCKS   (z) zone->lock. (m) the mapping's lock. (l) mm->lru.lock. mapping and index are
 *         written by the owner under its lock and read anywhere as a hint: the owner's own table
 *         is the truth.
 */
#ifndef QY_MEMORY_FOLIO_H
#define QY_MEMORY_FOLIO_H

#include <stdatomic.h>

#include <quarry/types.h>

struct qy_mapping;

enum qy_folio_state {
    QY_FOLIO_FREE,   /* no folio */
    QY_FOLIO_LENT,   /* belongs to its mapping, or to who is about to put it there */
    QY_FOLIO_WANTED, /* so, and somebody waits for it */
    QY_FOLIO_HELD    /* in a contiguous buffer, or the target of a move */
};

/** In folio.flags. */
#define QY_FOLIO_DIRTY 0x01u      /* newer than what its backing has */
#define QY_FOLIO_WRITEBACK 0x02u  /* being written */
#define QY_FOLIO_REFERENCED 0x04u /* used since the scan last came by */
#define QY_FOLIO_BUSY 0x08u       /* being read, changed or moved: who wants it waits */
#define QY_FOLIO_MAPPED 0x10u     /* areas may have it: ask the file's mappers */
#define QY_FOLIO_WRITE_PIN 0x20u  /* whoever has it pinned may write at any time */
#define QY_FOLIO_UNUSED 0x40u     /* nobody has used it since it came */
#define QY_FOLIO_ON_TRIAL 0x80u   /* taken from areas to see whether it is used again */

/** Which LRU list it is on. */
enum qy_lru {
    QY_LRU_NONE,
    QY_LRU_INACTIVE,
    QY_LRU_ACTIVE,
    QY_NR_LRUS
};

struct qy_folio {
    struct qy_mapping *_Atomic mapping; /* (m) NULL: not in one yet, or no more */
    _Atomic uint32_t index;             /* (m) page within the mapping */
    uint32_t holder;                    /* (z) WANTED, HELD: the claim's number */
    uint32_t next, prev;                /* (l) frame indexes */
    uint16_t pins, long_pins;           /* (m) all, and of them those for long */
    uint8_t flags;                      /* (m) QY_FOLIO_DIRTY ... */
    uint8_t lru;                        /* (l) enum qy_lru */
    uint8_t state;                      /* (z) enum qy_folio_state */
    uint8_t place;                      /* (l) of which pair of lists: reclaim/vmscan.h */
};

/** A frame that is nobody's gets a folio, in no mapping. Who follows an old hint may read it just
 *  now: so the words that are hints are stored as such, and never torn. zone->lock held. */
static inline void qy_folio_begin(struct qy_folio *folio, enum qy_folio_state state,
                                  uint32_t holder)
{
    atomic_store_explicit(&folio->mapping, NULL, memory_order_relaxed);
    atomic_store_explicit(&folio->index, 0, memory_order_relaxed);
    folio->holder = holder;
    folio->next = folio->prev = 0;
    folio->pins = folio->long_pins = 0;
    folio->flags = 0;
    folio->lru = QY_LRU_NONE;
    folio->state = (uint8_t)state;
}

_Static_assert(sizeof(void *) == 8, "64-bit pointers");
_Static_assert(sizeof(struct qy_folio) == 32, "two folios a cache line");

#endif
