/*
 * bits.h - the bits of one pageblock, and what follows from them
 *
 * Whoever clears or sets a word's bits brings the word's largest order up to date;
 * qy_block_account() then brings the counts and the lists up to date, once for all words. The
 * caller holds zone->lock. Rules B1 .. B6 are kept here: buddy.c says which they are.
 */
#ifndef QY_BUDDY_BITS_H
#define QY_BUDDY_BITS_H

#include "base/assert.h"
#include "buddy/lists.h"

#define QY_ALL_WORDS_WHOLE UINT64_C(0x0606060606060606)
#define QY_ALL_WORDS_EMPTY (~UINT64_C(0))
#define QY_ALL_BITS (~UINT64_C(0))

static inline int qy_block_largest_order(const struct qy_pageblock *pb)
{
    uint64_t orders;
    __builtin_memcpy(&orders, pb->word_order, sizeof(orders));
    if (orders == QY_ALL_WORDS_WHOLE)
        return QY_PAGEBLOCK_ORDER;
    if (orders == QY_ALL_WORDS_EMPTY)
        return -1;
    int largest = -1;
    unsigned whole = 0;
    for (unsigned w = 0; w < QY_BITS_WORDS; w++) {
        largest = pb->word_order[w] > largest ? pb->word_order[w] : largest;
        whole |= (unsigned)(pb->word_order[w] == QY_WORD_ORDER) << w;
    }
    if (largest < QY_WORD_ORDER)
        return largest;
    unsigned pairs = whole & whole >> 1 & 0x55;
    unsigned fours = pairs & pairs >> 2 & 0x11;
    return fours ? QY_WORD_ORDER + 2 : pairs ? QY_WORD_ORDER + 1 : QY_WORD_ORDER;
}

/** So many frames of a migratetype are free now, or no more. */
static inline void qy_block_count_free(struct qy_zone *zone, unsigned migratetype, int frames)
{
    uint64_t nr_free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
    atomic_store_explicit(&zone->nr_free, nr_free + (uint64_t)(int64_t)frames,
                          memory_order_relaxed);
    zone->nr_free_of[migratetype] += (uint64_t)(int64_t)frames;
}

/** The pageblock's bits changed by so many frames: counts, list and pairs follow. */
static inline void qy_block_account(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb,
                                    int frames, int order)
{
    pb->nr_free = (uint16_t)(pb->nr_free + frames);
    qy_block_count_free(zone, pb->migratetype, frames);
    qy_block_set_order(mm, zone, pb, order);
}

/** So many more of the free frames are fresh, or no more. */
static inline void qy_block_account_fresh(struct qy_zone *zone, struct qy_pageblock *pb, int frames)
{
    pb->nr_fresh = (uint16_t)(pb->nr_fresh + frames);
    uint64_t nr_fresh = atomic_load_explicit(&zone->nr_fresh, memory_order_relaxed);
    atomic_store_explicit(&zone->nr_fresh, nr_fresh + (uint64_t)(int64_t)frames,
                          memory_order_relaxed);
}

/** None of the pageblock's free frames is fresh any more. */
static inline void qy_block_forget_fresh(struct qy_mm *mm, struct qy_zone *zone, uint32_t block)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    if (pb->nr_fresh == 0)
        return;
    pb->flags &= (uint8_t)~QY_BLOCK_FRESH;
    mm->fresh_bits[block] = (struct qy_bits512){.word = {0}};
    qy_block_account_fresh(zone, pb, -(int)pb->nr_fresh);
}

/** From now on bits say which of the free frames are fresh: up to now all are. */
static inline void qy_block_write_fresh(struct qy_mm *mm, uint32_t block)
{
    mm->blocks[block].flags &= (uint8_t)~QY_BLOCK_FRESH;
    mm->fresh_bits[block] = mm->free_bits[block];
}

/** Of a free frame. */
static inline bool qy_frame_is_fresh(const struct qy_mm *mm, uint64_t index)
{
    uint64_t block = index / QY_PAGEBLOCK_FRAMES;
    return (mm->blocks[block].flags & QY_BLOCK_FRESH) ||
           qy_bits_test(&mm->fresh_bits[block], index % QY_PAGEBLOCK_FRAMES);
}

/** May runs be taken from this pageblock? It need not be the zone's. */
QY_RACY static inline bool qy_block_serves_runs(const struct qy_zone *zone,
                                                const struct qy_pageblock *pb)
{
    return (pb->flags & QY_BLOCK_ONLINE) && pb->zone == zone->index &&
           pb->migratetype < QY_MIGRATE_HIGHATOMIC;
}

/** And has it free frames with memory? */
static inline bool qy_block_serves_backed(const struct qy_zone *zone, const struct qy_pageblock *pb)
{
    return qy_block_serves_runs(zone, pb) && pb->nr_free > pb->nr_fresh;
}

/** Free frames of one word that have memory. */
static inline uint64_t qy_block_backed_word(const struct qy_mm *mm, uint64_t block, unsigned word)
{
    bool all_fresh = mm->blocks[block].flags & QY_BLOCK_FRESH;
    return all_fresh ? 0 : mm->free_bits[block].word[word] & ~mm->fresh_bits[block].word[word];
}

static inline unsigned qy_block_count_of(uint64_t mask)
{
    return mask == QY_ALL_BITS ? QY_WORD_BITS : qy_word_count(mask);
}

/** Clear bits of one word. Returns those of them that were fresh. */
static inline uint64_t qy_block_clear_bits(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                                           unsigned word, uint64_t mask)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    uint64_t *free_word = &mm->free_bits[block].word[word];
    qy_assert((*free_word & mask) == mask, "B1");
    *free_word &= ~mask;
    pb->word_order[word] = (int8_t)qy_word_largest(*free_word);
    if (pb->nr_fresh == 0)
        return 0;
    uint64_t fresh = mask;
    if (!(pb->flags & QY_BLOCK_FRESH)) {
        uint64_t *fresh_word = &mm->fresh_bits[block].word[word];
        fresh &= *fresh_word;
        *fresh_word &= ~mask;
    }
    qy_block_account_fresh(zone, pb, -(int)qy_block_count_of(fresh));
    return fresh;
}

/** Frames of one word are about to be free. */
static inline void qy_block_set_fresh(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                                      unsigned word, uint64_t mask, bool fresh)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    if (qy_unlikely(pb->flags & QY_BLOCK_FRESH) && !fresh)
        qy_block_write_fresh(mm, block);
    if (qy_unlikely(fresh)) {
        if (!(pb->flags & QY_BLOCK_FRESH))
            mm->fresh_bits[block].word[word] |= mask;
        qy_block_account_fresh(zone, pb, (int)qy_block_count_of(mask));
    }
}

static inline void qy_block_set_bits(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                                     unsigned word, uint64_t mask, bool fresh)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    uint64_t *free_word = &mm->free_bits[block].word[word];
    qy_assert((*free_word & mask) == 0, "B1");
    qy_block_set_fresh(mm, zone, block, word, mask, fresh);
    *free_word |= mask;
    pb->word_order[word] = (int8_t)qy_word_largest(*free_word);
}

/** The pageblock's largest order, now that a word's has grown. */
static inline int qy_block_order_grown(const struct qy_pageblock *pb, unsigned word)
{
    int grown = pb->word_order[word];
    if (grown == QY_WORD_ORDER)
        return qy_block_largest_order(pb);
    return grown > pb->order ? grown : pb->order;
}

#endif
