/*
 * frames.c - single frames, many at a time
 *
 * WHAT    A slot's list is refilled with frames out of the fullest pageblock at the head of any
 *         list, whole words at once: one that is half used up may still have a large free block,
 *         and would otherwise be left for one with a few frames in use, which then never becomes
 *         whole. Where only whole ones are left, those that the slot had last come first. Frames go
 *         back in batches: those of one word meet there together. Trim takes the free frames of a
 *         pageblock that still have their memory.
 *
 * RULES   B1 .. B6  in buddy/buddy.c.
 *
 * LOCKS   zone->lock for all of it. Nothing here sleeps.
 *
 * COST    One bit a frame, and once a word its order, which for a single bit is one look at the run
 *         around it. A frame alone in its word costs 72 instructions, on top of 38 to put it into
 *         the slot's list; the branches that go either way are those of a pageblock's list, once in
 *         tens of frames. Frames in no order therefore cost two lines each (header and free bits),
 *         fetched ahead, beside that of the tag: those three are the floor.
 */
#include "buddy/bits.h"
#include "buddy/buddy.h"

/* ---- take ---- */

/** Write the frames of a word's mask below @end, the lowest last. Returns where they begin. */
static uint32_t *list_frames(uint32_t first, uint64_t mask, uint32_t flag, uint32_t *end)
{
    if (mask == QY_ALL_BITS) {
        end -= QY_WORD_BITS;
        for (unsigned i = 0; i < QY_WORD_BITS; i++)
            end[i] = (first + QY_WORD_BITS - 1 - i) | flag;
        return end;
    }
    for (; mask != 0; mask &= mask - 1)
        *--end = (first + (uint32_t)__builtin_ctzll(mask)) | flag;
    return end;
}

/** Of a mask, the lowest @count bits. */
static uint64_t lowest_bits(uint64_t mask, unsigned count)
{
    uint64_t rest = mask;
    while (count-- > 0)
        rest &= rest - 1;
    return mask & ~rest;
}

/** Take up to count single frames of one pageblock, and write them below @end. Returns how many. */
static unsigned take_frames_of(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                               unsigned count, uint32_t *end)
{
    struct qy_pageblock *pb = &mm->blocks[block];
    unsigned taken = 0;
    qy_block_split_pair(mm, zone, pb);
    for (unsigned w = 0; w < QY_BITS_WORDS && taken < count; w++) {
        uint64_t mask = mm->free_bits[block].word[w];
        if (mask == 0)
            continue;
        unsigned found = qy_block_count_of(mask);
        if (found > count - taken) {
            found = count - taken;
            mask = lowest_bits(mask, found);
        }
        uint32_t first = block * QY_PAGEBLOCK_FRAMES + w * QY_WORD_BITS;
        uint64_t fresh = qy_block_clear_bits(mm, zone, block, w, mask);
        end = list_frames(first, mask & ~fresh, 0, end);
        end = list_frames(first, fresh, QY_FRAME_FRESH, end);
        taken += found;
    }
    qy_block_account(mm, zone, pb, -(int)taken, qy_block_largest_order(pb));
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

/** A whole pageblock is as good as any other: the last of the homes that is one, or this. */
static uint32_t home_or(const struct qy_mm *mm, struct qy_homes *homes, uint32_t block)
{
    const struct qy_pageblock *any = &mm->blocks[block];
    if (any->nr_free != QY_PAGEBLOCK_FRAMES)
        return block;
    while (homes->nr > 0) {
        uint32_t home = homes->block[--homes->next % QY_HOMES];
        const struct qy_pageblock *pb = &mm->blocks[home];
        homes->nr--;
        if (pb->nr_free == QY_PAGEBLOCK_FRAMES && pb->migratetype == any->migratetype &&
            pb->zone == any->zone)
            return home;
    }
    return block;
}

unsigned qy_buddy_take_frames_locked(struct qy_mm *mm, struct qy_zone *zone,
                                     enum qy_migratetype migratetype, unsigned least, unsigned most,
                                     uint32_t *frames, struct qy_homes *homes)
{
    qy_assert_held(&zone->lock);
    unsigned left = most;
    while (most - left < least && zone->nonempty[migratetype] != 0) {
        uint32_t block = fullest(mm, zone, migratetype);
        if (homes != NULL)
            block = home_or(mm, homes, block);
        left -= take_frames_of(mm, zone, block, left, frames + left);
        zone->nr_taken++;
    }
    if (left != 0)
        __builtin_memmove(frames, frames + left, (most - left) * sizeof(*frames));
    return most - left;
}

/* ---- give ---- */

/** Frames that are compared at once: a vector or two. */
#define ROW_STEP 8

/** A batch of frames on its way back: where their bits are, and what it has changed in its zone,
 *  written there once. Frames of a batch are hardly ever of more than one migratetype. No function
 *  that is really called gets its address: its members stay in registers. */
struct giving {
    struct qy_mm *mm;
    struct qy_zone *zone;
    struct qy_pageblock *blocks;
    uint64_t *free_words;
    uint8_t migratetype;
    int free;
};

/** Give the frames @mask of one word back, @count of them; @frame is one of them. True: none of
 *  them was free. Else nothing is done. */
static inline __attribute__((always_inline)) bool give_word(struct giving *giving, uint32_t frame,
                                                            uint64_t mask, unsigned count)
{
    uint32_t index = frame & ~QY_FRAME_FRESH;
    uint32_t at = index / QY_WORD_BITS;
    unsigned word = at % QY_BITS_WORDS;
    struct qy_pageblock *pb = &giving->blocks[index / QY_PAGEBLOCK_FRAMES];
    uint64_t before = giving->free_words[at], after = before | mask;
    if (qy_unlikely(before & mask))
        return false;
    if (qy_unlikely(index != frame || pb->flags & QY_BLOCK_FRESH))
        qy_block_set_fresh(giving->mm, giving->zone, index / QY_PAGEBLOCK_FRAMES, word, mask,
                           index != frame);
    giving->free_words[at] = after;
    if (qy_unlikely(pb->migratetype != giving->migratetype)) {
        qy_block_count_free(giving->zone, giving->migratetype, giving->free);
        giving->migratetype = pb->migratetype;
        giving->free = 0;
    }
    pb->nr_free = (uint16_t)(pb->nr_free + count);
    giving->free += (int)count;
    int order = count == 1 ? qy_word_grown(after, index % QY_WORD_BITS, pb->word_order[word])
                           : qy_word_largest(after);
    pb->word_order[word] = (int8_t)order;
    if (qy_unlikely(order > pb->order || order == QY_WORD_ORDER))
        qy_block_set_order(giving->mm, giving->zone, pb, qy_block_order_grown(pb, word));
    return true;
}

/** How many frames at the array's head stand in a row, within one word. */
static unsigned row_of(const uint32_t *frames, unsigned count)
{
    unsigned most = QY_WORD_BITS - frames[0] % QY_WORD_BITS;
    most = count < most ? count : most;
    unsigned n = 0;
    for (uint32_t other = 0; n + ROW_STEP <= most; n += ROW_STEP) {
        for (unsigned i = 0; i < ROW_STEP; i++)
            other |= frames[n + i] ^ (frames[0] + n + i);
        if (other != 0)
            break;
    }
    while (n < most && frames[n] == frames[0] + n)
        n++;
    return n;
}

/** Give the frames at the array's head that share a word with its first: those in a row, or all.
 *  Returns how many they are; some may be refused. */
static inline __attribute__((always_inline)) unsigned
give_together(struct giving *giving, const uint32_t *frames, unsigned count, unsigned *refused)
{
    unsigned n = row_of(frames, count);
    uint64_t row_mask = n < QY_WORD_BITS ? (UINT64_C(1) << n) - 1 : QY_ALL_BITS;
    uint64_t mask = row_mask << frames[0] % QY_WORD_BITS;
    /* The flag is a bit of the number, so those of a word are all fresh or none is. */
    for (bool row = n > 1; !row && n < count && (frames[n] ^ frames[0]) < QY_WORD_BITS; n++)
        mask |= UINT64_C(1) << frames[n] % QY_WORD_BITS;
    if (qy_likely(qy_block_count_of(mask) == n && give_word(giving, frames[0], mask, n)))
        return n;
    for (unsigned i = 0; i < n; i++)
        *refused += !give_word(giving, frames[i], UINT64_C(1) << frames[i] % QY_WORD_BITS, 1);
    return n;
}

unsigned qy_buddy_give_frames_locked(struct qy_mm *mm, struct qy_zone *zone, unsigned count,
                                     const uint32_t *frames)
{
    qy_assert_held(&zone->lock);
    struct giving giving = {
        .mm = mm, .zone = zone, .blocks = mm->blocks, .free_words = mm->free_bits->word};
    const uint32_t *const end = frames + count;
    unsigned refused = 0;
    while (frames < end) {
        uint32_t frame = *frames;
        if (end - frames > QY_GIVE_AHEAD)
            qy_buddy_prefetch(mm, frames[QY_GIVE_AHEAD]);
        if (end - frames > 1 && (frame ^ frames[1]) < QY_WORD_BITS) {
            frames += give_together(&giving, frames, (unsigned)(end - frames), &refused);
            continue;
        }
        refused += !give_word(&giving, frame, UINT64_C(1) << frame % QY_WORD_BITS, 1);
        frames++;
    }
    qy_block_count_free(zone, giving.migratetype, giving.free);
    zone->nr_given += count - refused;
    return refused;
}

/* ---- those with memory ---- */

unsigned qy_buddy_take_backed_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                                     struct qy_bits512 *which)
{
    qy_assert_held(&zone->lock);
    struct qy_pageblock *pb = &mm->blocks[block];
    unsigned taken = pb->nr_free - pb->nr_fresh;
    if (taken == 0)
        return 0;
    qy_block_split_pair(mm, zone, pb);
    for (unsigned w = 0; w < QY_BITS_WORDS; w++) {
        which->word[w] = mm->free_bits[block].word[w] & ~mm->fresh_bits[block].word[w];
        if (which->word[w] != 0)
            qy_block_clear_bits(mm, zone, block, w, which->word[w]);
    }
    qy_block_account(mm, zone, pb, -(int)taken, qy_block_largest_order(pb));
    return taken;
}

void qy_buddy_return_locked(struct qy_mm *mm, struct qy_zone *zone, uint32_t block,
                            const struct qy_bits512 *which, bool fresh)
{
    qy_assert_held(&zone->lock);
    struct qy_pageblock *pb = &mm->blocks[block];
    unsigned returned = qy_bits_count(which);
    if (returned == 0)
        return; /* it may be half of a pair by now, which qy_block_account() must not see */
    for (unsigned w = 0; w < QY_BITS_WORDS; w++)
        if (which->word[w] != 0)
            qy_block_set_bits(mm, zone, block, w, which->word[w], fresh);
    qy_block_account(mm, zone, pb, (int)returned, qy_block_largest_order(pb));
}
