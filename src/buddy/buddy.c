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
 *         that serves, and in it the smallest block that serves. Single frames, which any
 *         pageblock serves, come from the fullest of the lists' first: one that is half used up
 *         may still have a large free block, and would be left for one with a few frames in
 *         use, which then never becomes whole.
 *
 * RULES   B1  A frame is free exactly when its bit is set.
 *         B2, B5  in memory/pageblock.h: who is on which list; lists.c keeps them.
 *         B3  zone->nr_free is the number of set bits, and of each migratetype nr_free_of.
 *         B4  A backed bit is set only where the free bit is; nr_backed is their number.
 *         B6  Each word's largest order, and the pageblock's, are those of its bits.
 *         Checked by check_buddy() in view/rules.c.
 *
 * LOCKS   zone->lock for all of it. Nothing here sleeps.
 *
 * COST    take and give touch one bit line, one header and at most one list; with
 *         lazy_backing one more bit line. Nothing is done per frame but in give_frames: one
 *         bit each, and once a word its order, which for a single bit is one look at the run
 *         around it. There a frame alone in its word costs 80 instructions, on top of 43 to put
 *         it into the slot's list; the branches that go either way are those of a pageblock's
 *         list, once in tens of frames. Frames in no order therefore cost three lines each (header, free bits,
 *         backed bits), fetched ahead, beside that of the tag: those four are the floor.
 *         A whole pageblock is three lines as well, whatever its words.
 */
#include "buddy/buddy.h"

#include "base/assert.h"
#include "base/errno.h"
#include "buddy/lists.h"

#define ALL_WORDS_WHOLE UINT64_C(0x0606060606060606)
#define ALL_WORDS_EMPTY (~UINT64_C(0))
#define ALL_BITS (~UINT64_C(0))

/* ---- one pageblock ---- */

static int largest_order(const struct qy_pageblock *pb)
{
    uint64_t orders;
    __builtin_memcpy(&orders, pb->word_order, sizeof(orders));
    if (orders == ALL_WORDS_WHOLE)
        return QY_PAGEBLOCK_ORDER;
    if (orders == ALL_WORDS_EMPTY)
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
static void count_free(struct qy_zone *zone, unsigned migratetype, int frames)
{
    uint64_t nr_free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
    atomic_store_explicit(&zone->nr_free, nr_free + (uint64_t)(int64_t)frames,
                          memory_order_relaxed);
    zone->nr_free_of[migratetype] += (uint64_t)(int64_t)frames;
}

/** The pageblock's bits changed by so many frames: counts, list and pairs follow. */
static void account(struct qy_mm *mm, struct qy_zone *zone, struct qy_pageblock *pb, int frames,
                    int order)
{
    pb->nr_free = (uint16_t)(pb->nr_free + frames);
    count_free(zone, pb->migratetype, frames);
    qy_block_set_order(mm, zone, pb, order);
}

/** Free frames lose or gain their memory's content. */
static void account_backed(struct qy_zone *zone, struct qy_pageblock *pb, int frames)
{
    pb->nr_backed = (uint16_t)(pb->nr_backed + frames);
    zone->nr_backed += (uint64_t)(int64_t)frames;
}

static unsigned count_of(uint64_t mask)
{
    return mask == ALL_BITS ? QY_WORD_BITS : qy_word_count(mask);
}

/** Clear bits of one word. True: all of them were fresh. */
static bool clear_bits(struct qy_mm *mm, struct qy_zone *zone, uint32_t block, unsigned word,
                       uint64_t mask)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    uint64_t *free_word = &mm->free_bits[block].word[word];
    qy_assert((*free_word & mask) == mask, "B1");
    *free_word &= ~mask;
    pb->word_order[word] = (int8_t)qy_word_largest(*free_word);
    if (!mm->options.lazy_backing)
        return false;
    uint64_t *backed_word = &mm->backed_bits[block].word[word];
    uint64_t backed = *backed_word & mask;
    if (backed == 0)
        return true;
    *backed_word &= ~mask;
    account_backed(zone, pb, -(int)count_of(backed));
    return false;
}

static void set_bits(struct qy_mm *mm, struct qy_zone *zone, uint32_t block, unsigned word,
                     uint64_t mask, bool fresh)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    uint64_t *free_word = &mm->free_bits[block].word[word];
    qy_assert((*free_word & mask) == 0, "B1");
    *free_word |= mask;
    pb->word_order[word] = (int8_t)qy_word_largest(*free_word);
    if (mm->options.lazy_backing && !fresh) {
        mm->backed_bits[block].word[word] |= mask;
        account_backed(zone, pb, (int)count_of(mask));
    }
}

/** All 512 frames of a pageblock at once. True: all of them were fresh. */
static bool clear_all(struct qy_mm *mm, struct qy_zone *zone, uint32_t block)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    bool fresh = mm->options.lazy_backing && pb->nr_backed == 0;
    qy_assert(pb->nr_free == QY_PAGEBLOCK_FRAMES, "B1");
    mm->free_bits[block] = (struct qy_bits512){.word = {0}};
    __builtin_memset(pb->word_order, -1, sizeof(pb->word_order));
    if (pb->nr_backed != 0) {
        mm->backed_bits[block] = (struct qy_bits512){.word = {0}};
        account_backed(zone, pb, -(int)pb->nr_backed);
    }
    return fresh;
}

static void set_all(struct qy_mm *mm, struct qy_zone *zone, uint32_t block, bool fresh)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    qy_assert(pb->nr_free == 0, "B1");
    __builtin_memset(mm->free_bits[block].word, -1, sizeof(mm->free_bits[block].word));
    __builtin_memset(pb->word_order, QY_WORD_ORDER, sizeof(pb->word_order));
    if (mm->options.lazy_backing && !fresh) {
        __builtin_memset(mm->backed_bits[block].word, -1, sizeof(mm->backed_bits[block].word));
        account_backed(zone, pb, QY_PAGEBLOCK_FRAMES);
    }
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
        account(mm, zone, pb, -QY_PAGEBLOCK_FRAMES, -1);
        return fresh;
    }
    if (order <= QY_WORD_ORDER) {
        uint64_t mask = qy_word_mask(order) << index % QY_WORD_BITS;
        fresh = clear_bits(mm, zone, block, index / QY_WORD_BITS, mask);
    } else {
        for (unsigned w = 0; w < 1u << (order - QY_WORD_ORDER); w++)
            fresh &= clear_bits(mm, zone, block, index / QY_WORD_BITS + w, ALL_BITS);
    }
    account(mm, zone, pb, -(1 << order), largest_order(pb));
    return fresh;
}

/* ---- take ---- */

void qy_buddy_take_at_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, unsigned order,
                             bool *fresh)
{
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

qy_pfn_t qy_buddy_take_locked(struct qy_mm *mm, struct qy_zone *zone,
                              enum qy_migratetype migratetype, unsigned order, bool *fresh)
{
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
    qy_pfn_t pfn = qy_block_pfn(mm, block) + index;
    qy_buddy_take_at_locked(mm, zone, pfn, order, fresh);
    return pfn;
}

/** Write the frames of a word's mask into the array. */
static unsigned list_frames(uint32_t first, uint64_t mask, uint32_t flag, uint32_t *frames)
{
    unsigned count = 0;
    if (mask == ALL_BITS) {
        for (; count < QY_WORD_BITS; count++)
            frames[count] = (first + count) | flag;
        return count;
    }
    for (; mask != 0; mask &= mask - 1)
        frames[count++] = (first + (uint32_t)__builtin_ctzll(mask)) | flag;
    return count;
}

/** Of a mask, the lowest @count bits. */
static uint64_t lowest_bits(uint64_t mask, unsigned count)
{
    uint64_t rest = mask;
    while (count-- > 0)
        rest &= rest - 1;
    return mask & ~rest;
}

/** Take up to count single frames of one pageblock. */
static unsigned take_frames_of(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                               unsigned count, uint32_t *frames)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    unsigned taken = 0;
    qy_block_split_pair(mm, zone, pb);
    for (unsigned w = 0; w < QY_BITS_WORDS && taken < count; w++) {
        uint64_t mask = mm->free_bits[block].word[w];
        if (mask == 0)
            continue;
        if (count - taken < QY_WORD_BITS && count_of(mask) > count - taken)
            mask = lowest_bits(mask, count - taken);
        uint64_t backed = mm->options.lazy_backing ? mm->backed_bits[block].word[w] & mask : mask;
        uint32_t first = block * QY_PAGEBLOCK_FRAMES + w * QY_WORD_BITS;
        clear_bits(mm, zone, block, w, mask);
        taken += list_frames(first, backed, 0, frames + taken);
        taken += list_frames(first, mask & ~backed, QY_FRAME_FRESH, frames + taken);
    }
    account(mm, zone, pb, -(int)taken, largest_order(pb));
    return taken;
}

/** The pageblock to take single frames from: the fullest of those at the heads of the lists. */
static uint32_t fullest(const struct qy_mm *mm, const struct qy_zone *zone, unsigned migratetype)
{
    uint32_t best = QY_BLOCK_NONE;
    for (unsigned lists = zone->nonempty[migratetype]; lists != 0; lists &= lists - 1) {
        uint32_t block = zone->list[migratetype][__builtin_ctz(lists)].first;
        if (best == QY_BLOCK_NONE || mm->blocks[block].nr_free < mm->blocks[best].nr_free)
            best = block;
    }
    return best;
}

unsigned qy_buddy_take_frames_locked(struct qy_mm *mm, struct qy_zone *zone,
                                     enum qy_migratetype migratetype, unsigned count,
                                     uint32_t *frames)
{
    unsigned taken = 0;
    while (taken < count && zone->nonempty[migratetype] != 0) {
        uint32_t block = fullest(mm, zone, migratetype);
        taken += take_frames_of(mm, zone, block, count - taken, frames + taken);
        zone->nr_taken++;
    }
    return taken;
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

/** The pageblock's largest order, now that a word's has grown. */
static int order_grown(const struct qy_pageblock *pb, unsigned word)
{
    int grown = pb->word_order[word];
    if (grown == QY_WORD_ORDER)
        return largest_order(pb);
    return grown > pb->order ? grown : pb->order;
}

static void give_at(struct qy_mm *mm, struct qy_zone *zone, uint32_t block, unsigned index,
                    unsigned order, bool fresh)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    unsigned word = index / QY_WORD_BITS;
    if (order == QY_PAGEBLOCK_ORDER) {
        set_all(mm, zone, block, fresh);
        account(mm, zone, pb, QY_PAGEBLOCK_FRAMES, QY_PAGEBLOCK_ORDER);
        return;
    }
    if (order <= QY_WORD_ORDER) {
        set_bits(mm, zone, block, word, qy_word_mask(order) << index % QY_WORD_BITS, fresh);
    } else {
        for (unsigned w = 0; w < 1u << (order - QY_WORD_ORDER); w++)
            set_bits(mm, zone, block, word + w, ALL_BITS, fresh);
    }
    account(mm, zone, pb, 1 << order, order_grown(pb, word));
}

int qy_buddy_give_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn, unsigned order,
                         bool fresh)
{
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

/** A batch of frames on its way back: where their bits are, and what it has changed in its zone,
 *  written there once. Frames of a batch are hardly ever of more than one migratetype. */
struct giving {
    struct qy_mm *mm;
    struct qy_zone *zone;
    struct qy_pageblock *blocks;
    uint64_t *free_words;
    uint64_t *backed_words; /* NULL: memory is never given to the system */
    unsigned migratetype;
    int free, backed;
};

static void settle(struct giving *giving, unsigned migratetype)
{
    count_free(giving->zone, giving->migratetype, giving->free);
    giving->zone->nr_backed += (uint64_t)(int64_t)giving->backed;
    giving->migratetype = migratetype;
    giving->free = giving->backed = 0;
}

/** Give the frames @mask of one word back, @count of them; @frame is one of them. True: none of
 *  them was free. Else nothing is done. */
static inline __attribute__((always_inline)) bool give_word(struct giving *giving, uint32_t frame,
                                                            uint64_t mask, unsigned count)
{
    uint32_t index = frame & ~QY_FRAME_FRESH;
    uint32_t at = index / QY_WORD_BITS;
    struct qy_pageblock *pb = &giving->blocks[index / QY_PAGEBLOCK_FRAMES];
    uint64_t before = giving->free_words[at], after = before | mask;
    if (qy_unlikely(before & mask))
        return false;
    giving->free_words[at] = after;
    if (qy_unlikely(pb->migratetype != giving->migratetype))
        settle(giving, pb->migratetype);
    pb->nr_free = (uint16_t)(pb->nr_free + count);
    giving->free += (int)count;
    if (giving->backed_words != NULL && index == frame) {
        giving->backed_words[at] |= mask;
        pb->nr_backed = (uint16_t)(pb->nr_backed + count);
        giving->backed += (int)count;
    }
    unsigned word = at % QY_BITS_WORDS;
    int order = count == 1 ? qy_word_grown(after, index % QY_WORD_BITS, pb->word_order[word])
                           : qy_word_largest(after);
    pb->word_order[word] = (int8_t)order;
    if (qy_unlikely(order > pb->order || order == QY_WORD_ORDER))
        qy_block_set_order(giving->mm, giving->zone, pb, order_grown(pb, word));
    return true;
}

/** Give the frames at the array's head that share a word with its first. Returns how many they
 *  are; some may be refused. */
static unsigned give_together(struct giving *giving, const uint32_t *frames, unsigned count,
                              unsigned *refused)
{
    uint64_t mask = 0;
    unsigned n = 0;
    /* The flag is a bit of the number, so those of a word are all fresh or none is. */
    for (; n < count && (frames[n] ^ frames[0]) < QY_WORD_BITS; n++)
        mask |= UINT64_C(1) << frames[n] % QY_WORD_BITS;
    if (qy_likely(count_of(mask) == n && give_word(giving, frames[0], mask, n)))
        return n;
    for (unsigned i = 0; i < n; i++)
        *refused += !give_word(giving, frames[i], UINT64_C(1) << frames[i] % QY_WORD_BITS, 1);
    return n;
}

unsigned qy_buddy_give_frames_locked(struct qy_mm *mm, struct qy_zone *zone, unsigned count,
                                     const uint32_t *frames)
{
    struct giving giving = {
        .mm = mm,
        .zone = zone,
        .blocks = mm->blocks,
        .free_words = mm->free_bits->word,
        .backed_words = mm->options.lazy_backing ? mm->backed_bits->word : NULL,
    };
    unsigned refused = 0;
    for (unsigned i = 0; i < count;) {
        uint32_t frame = frames[i];
        if (i + QY_GIVE_AHEAD < count)
            qy_buddy_prefetch(mm, frames[i + QY_GIVE_AHEAD]);
        if (i + 1 < count && (frame ^ frames[i + 1]) < QY_WORD_BITS) {
            i += give_together(&giving, frames + i, count - i, &refused);
            continue;
        }
        refused += !give_word(&giving, frame, UINT64_C(1) << frame % QY_WORD_BITS, 1);
        i++;
    }
    settle(&giving, 0);
    zone->nr_given += count - refused;
    return refused;
}

void qy_buddy_give_range_locked(struct qy_mm *mm, struct qy_zone *zone, qy_pfn_t pfn,
                                uint64_t nr_frames, bool fresh)
{
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
    struct qy_pageblock *pb = &mm->blocks[block];
    qy_block_split_pair(mm, zone, pb);
    qy_block_set_type(mm, zone, pb, migratetype);
    if (pb->order == QY_PAGEBLOCK_ORDER && qy_block_buddy(mm, pb)->migratetype == migratetype)
        qy_block_merge_pair(mm, zone, pb);
}

unsigned qy_buddy_take_backed_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                                     struct qy_bits512 *which)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    unsigned taken = pb->nr_backed;
    if (taken == 0)
        return 0;
    qy_block_split_pair(mm, zone, pb);
    for (unsigned w = 0; w < QY_BITS_WORDS; w++) {
        which->word[w] = mm->backed_bits[block].word[w];
        if (which->word[w] != 0)
            clear_bits(mm, zone, block, w, which->word[w]);
    }
    account(mm, zone, pb, -(int)taken, largest_order(pb));
    return taken;
}

void qy_buddy_return_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                            const struct qy_bits512 *which, bool fresh)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    unsigned returned = qy_bits_count(which);
    if (returned == 0)
        return; /* it may be half of a pair by now, which account() must not see */
    for (unsigned w = 0; w < QY_BITS_WORDS; w++)
        if (which->word[w] != 0)
            set_bits(mm, zone, block, w, which->word[w], fresh);
    account(mm, zone, pb, (int)returned, largest_order(pb));
}
