/*
 * buddy.c - the free frames of one zone
 *
 * WHAT    Which frames are free, and how to find 2^order of them, aligned, together.
 *         A pageblock's 512 frames are 512 bits; two buddies are two neighbouring
 *         aligned runs of set bits, so freeing merges by itself:
 *
 *         order 2   [1 1 1 1]      take order 1      [0 0 1 1]
 *         pfn        8 9 . 11      ------------->     8 9 . 11   list: order 2 -> order 1
 *
 *         A zone keeps, for each migratetype and order, the list of pageblocks whose largest
 *         free block has that order. A request takes the first pageblock of the first list
 *         that serves, and in it the smallest block that serves. Single frames: frames.c.
 *
 * RULES   B1  A frame is free exactly when its bit is set.
 *         B2, B5  in memory/pageblock.h: who is on which list; lists.c keeps them.
 *         B3  zone->nr_free is the number of set bits, and of each migratetype nr_free_of.
 *         B4  A fresh bit is set only where the free bit is; nr_fresh is their number. While a
 *             pageblock is QY_BLOCK_FRESH its free bits are the fresh ones: those of its own
 *             are written when the first frame comes back that was used.
 *         B6  Each word's largest order, and the pageblock's, are those of its bits.
 *         Checked by qy_check_buddy() in view/rules_buddy.c.
 *
 * LOCKS   zone->lock for all of it. Nothing here sleeps.
 *
 * COST    take and give touch one bit line, one header and at most one list. One more bit line
 *         is touched only where frames are fresh: what was used says so by no bit. A whole
 *         pageblock is as many lines, whatever its words.
 */
#include "buddy/buddy.h"

#include "base/errno.h"
#include "buddy/bits.h"

/* ---- one pageblock ---- */

/** All 512 frames of a pageblock at once. True: all of them were fresh. */
static bool clear_all(struct qy_mm *mm, struct qy_zone *zone, uint32_t block)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    bool fresh = pb->nr_fresh == QY_PAGEBLOCK_FRAMES;
    qy_assert(pb->nr_free == QY_PAGEBLOCK_FRAMES, "B1");
    mm->free_bits[block] = (struct qy_bits512){.word = {0}};
    __builtin_memset(pb->word_order, -1, sizeof(pb->word_order));
    if (pb->nr_fresh != 0) {
        pb->flags |= QY_BLOCK_FRESH;
        qy_block_account_fresh(zone, pb, -(int)pb->nr_fresh);
    }
    return fresh;
}

static void set_all(struct qy_mm *mm, struct qy_zone *zone, uint32_t block, bool fresh)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    qy_assert(pb->nr_free == 0, "B1");
    if (fresh) {
        pb->flags |= QY_BLOCK_FRESH;
        qy_block_account_fresh(zone, pb, QY_PAGEBLOCK_FRAMES);
    } else if (pb->flags & QY_BLOCK_FRESH) {
        qy_block_write_fresh(mm, block);
    }
    __builtin_memset(mm->free_bits[block].word, -1, sizeof(mm->free_bits[block].word));
    __builtin_memset(pb->word_order, QY_WORD_ORDER, sizeof(pb->word_order));
}

/** The word to take 2^order frames from: the one whose largest block is the smallest that
 *  serves; order 0..6. */
static unsigned best_word(const struct qy_pageblock *pb, unsigned order)
{
    unsigned best = 0;
    int best_order = QY_WORD_ORDER + 1;
    for (unsigned w = 0; w < QY_BITS_WORDS; w++)
        if (pb->word_order[w] >= (int)order && pb->word_order[w] < best_order) {
            best = w;
            best_order = pb->word_order[w];
        }
    return best;
}

/** The first word of 2^order frames made of whole words, in the smallest block that serves;
 *  order 7..9. */
static unsigned best_words(const struct qy_pageblock *pb, unsigned order)
{
    unsigned width = 1u << (order - QY_WORD_ORDER);
    unsigned found = 0;
    for (unsigned first = 0; first < QY_BITS_WORDS; first += width) {
        unsigned whole = 0;
        while (whole < width && pb->word_order[first + whole] == QY_WORD_ORDER)
            whole++;
        if (whole < width)
            continue;
        found = first;
        unsigned sibling = first ^ width;
        bool sibling_whole = sibling < QY_BITS_WORDS;
        for (unsigned w = sibling; sibling_whole && w < sibling + width; w++)
            sibling_whole = pb->word_order[w] == QY_WORD_ORDER;
        if (!sibling_whole)
            break;
    }
    return found;
}

/** Take 2^order frames at a place in a pageblock; order 0..9. True: all fresh. */
static bool take_at(struct qy_mm *mm, struct qy_zone *zone, uint32_t block, unsigned index,
                    unsigned order)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    bool fresh = true;
    qy_block_split_pair(mm, zone, pb);
    if (order == QY_PAGEBLOCK_ORDER) {
        fresh = clear_all(mm, zone, block);
        qy_block_account(mm, zone, pb, -QY_PAGEBLOCK_FRAMES, -1);
        return fresh;
    }
    if (order <= QY_WORD_ORDER) {
        uint64_t mask = qy_word_mask(order) << index % QY_WORD_BITS;
        fresh = qy_block_clear_bits(mm, zone, block, index / QY_WORD_BITS, mask) == mask;
    } else {
        for (unsigned w = 0; w < 1u << (order - QY_WORD_ORDER); w++)
            fresh &= qy_block_clear_bits(mm, zone, block, index / QY_WORD_BITS + w, QY_ALL_BITS) ==
                     QY_ALL_BITS;
    }
    qy_block_account(mm, zone, pb, -(1 << order), qy_block_largest_order(pb));
    return fresh;
}

/* ---- take ---- */

void qy_buddy_take_at_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, unsigned order,
                             bool *fresh)
{
    qy_assert_held(&zone->lock);
    uint32_t block = qy_block_of(mm, pfn);
    unsigned index = (unsigned)(qy_frame_index(mm, pfn) % QY_PAGEBLOCK_FRAMES);
    if (order < QY_MAX_ORDER) {
        *fresh = take_at(mm, zone, block, index, order);
    } else {
        *fresh = take_at(mm, zone, block, 0, QY_PAGEBLOCK_ORDER);
        *fresh &= take_at(mm, zone, block + 1, 0, QY_PAGEBLOCK_ORDER);
    }
    zone->nr_taken++;
}

qy_pfn_t qy_buddy_find_locked(const struct qy_mm *mm, const struct qy_zone *zone,
                              enum qy_migratetype migratetype, unsigned order)
{
    qy_assert_held(&zone->lock);
    unsigned lists = zone->nonempty[migratetype] >> order << order;
    if (lists == 0)
        return QY_PFN_NONE;
    uint32_t block = zone->list[migratetype][__builtin_ctz(lists)].first;
    const struct qy_pageblock *pb = &mm->blocks[block];
    unsigned index = 0;
    if (order <= QY_WORD_ORDER) {
        unsigned word = best_word(pb, order);
        index = word * QY_WORD_BITS + qy_word_best_fit(mm->free_bits[block].word[word], order);
    } else if (order < QY_PAGEBLOCK_ORDER) {
        index = best_words(pb, order) * QY_WORD_BITS;
    }
    return qy_block_pfn(mm, block) + index;
}

qy_pfn_t qy_buddy_take_locked(struct qy_mm *mm, struct qy_zone *zone,
                              enum qy_migratetype migratetype, unsigned order, bool *fresh)
{
    qy_assert_held(&zone->lock);
    qy_pfn_t pfn = qy_buddy_find_locked(mm, zone, migratetype, order);
    if (pfn != QY_PFN_NONE)
        qy_buddy_take_at_locked(mm, zone, pfn, order, fresh);
    return pfn;
}

/* ---- give ---- */

static bool any_free(const struct qy_mm *mm, uint32_t block, unsigned index, unsigned order)
{
    if (order == QY_PAGEBLOCK_ORDER)
        return mm->blocks[block].nr_free != 0;
    if (order <= QY_WORD_ORDER)
        return mm->free_bits[block].word[index / QY_WORD_BITS] & qy_word_mask(order)
                                                                     << index % QY_WORD_BITS;
    for (unsigned w = 0; w < 1u << (order - QY_WORD_ORDER); w++)
        if (mm->free_bits[block].word[index / QY_WORD_BITS + w] != 0)
            return true;
    return false;
}

static void give_at(struct qy_mm *mm, struct qy_zone *zone, uint32_t block, unsigned index,
                    unsigned order, bool fresh)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    unsigned word = index / QY_WORD_BITS;
    if (order == QY_PAGEBLOCK_ORDER) {
        set_all(mm, zone, block, fresh);
        qy_block_account(mm, zone, pb, QY_PAGEBLOCK_FRAMES, QY_PAGEBLOCK_ORDER);
        return;
    }
    if (order <= QY_WORD_ORDER) {
        qy_block_set_bits(mm, zone, block, word, qy_word_mask(order) << index % QY_WORD_BITS,
                          fresh);
    } else {
        for (unsigned w = 0; w < 1u << (order - QY_WORD_ORDER); w++)
            qy_block_set_bits(mm, zone, block, word + w, QY_ALL_BITS, fresh);
    }
    qy_block_account(mm, zone, pb, 1 << order, qy_block_order_grown(pb, word));
}

int qy_buddy_give_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, unsigned order,
                         bool fresh)
{
    qy_assert_held(&zone->lock);
    uint32_t block = qy_block_of(mm, pfn);
    unsigned index = (unsigned)(qy_frame_index(mm, pfn) % QY_PAGEBLOCK_FRAMES);
    zone->nr_given++;
    if (order < QY_MAX_ORDER) {
        if (any_free(mm, block, index, order))
            return -QY_EINVAL;
        give_at(mm, zone, block, index, order, fresh);
        return 0;
    }
    if (any_free(mm, block, 0, QY_PAGEBLOCK_ORDER) ||
        any_free(mm, block + 1, 0, QY_PAGEBLOCK_ORDER))
        return -QY_EINVAL;
    give_at(mm, zone, block, 0, QY_PAGEBLOCK_ORDER, fresh);
    give_at(mm, zone, block + 1, 0, QY_PAGEBLOCK_ORDER, fresh);
    return 0;
}

void qy_buddy_give_range_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn,
                                uint64_t nr_frames, bool fresh)
{
    qy_assert_held(&zone->lock);
    while (nr_frames > 0) {
        uint64_t index = qy_frame_index(mm, pfn);
        unsigned order = index == 0 ? QY_MAX_ORDER : (unsigned)__builtin_ctzll(index);
        if (order > QY_MAX_ORDER)
            order = QY_MAX_ORDER;
        while (UINT64_C(1) << order > nr_frames)
            order--;
        int given = qy_buddy_give_locked(mm, zone, pfn, order, fresh);
        qy_assert(given == 0, "B1");
        (void)given;
        pfn += UINT64_C(1) << order;
        nr_frames -= UINT64_C(1) << order;
    }
}

/* ---- whole pageblocks ---- */

void qy_buddy_set_migratetype_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                                     enum qy_migratetype migratetype)
{
    qy_assert_held(&zone->lock);
    struct qy_pageblock *pb = &mm->blocks[block];
    qy_block_split_pair(mm, zone, pb);
    qy_block_set_type(mm, zone, pb, migratetype);
    if (pb->order == QY_PAGEBLOCK_ORDER && qy_block_buddy(mm, pb)->migratetype == migratetype)
        qy_block_merge_pair(mm, zone, pb);
}
