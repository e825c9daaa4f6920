/*
 * bits512.h - 512 bits: one cache line that says which of 512 things are free
 *
 * WHAT    A free block of 2^k things is 2^k set bits, aligned. Orders 0..6 live within one
 *         of the eight words, 7..9 are whole words. Nothing is stored to merge or split:
 *
 *         order 2   [1 1 1 1]      take order 1      [0 0 1 1]
 *                    8 9 . 11      ------------->     8 9 . 11
 *
 *         Runs are found by folding: x & (x >> 1) leaves a bit where two neighbours are set;
 *         masked to even places these are the free buddies of order 1, and so on.
 */
#ifndef QY_BASE_BITS512_H
#define QY_BASE_BITS512_H

#include <stdbool.h>
#include <stdint.h>

#define QY_BITS_WORDS 8
#define QY_WORD_BITS 64
/** The largest order that lives within a word. */
#define QY_WORD_ORDER 6

struct qy_bits512 {
    _Alignas(64) uint64_t word[QY_BITS_WORDS];
};

/** The low 2^order bits of a word; order 0..6. */
static inline uint64_t qy_word_mask(unsigned order)
{
    return ~UINT64_C(0) >> (QY_WORD_BITS - (1u << order));
}

/** Of runs of 2^order set bits, keep those whose buddy on the right is one too. */
static inline uint64_t qy_word_fold(uint64_t runs, unsigned order)
{
    static const uint64_t left_buddy[QY_WORD_ORDER] = {
        UINT64_C(0x5555555555555555), UINT64_C(0x1111111111111111), UINT64_C(0x0101010101010101),
        UINT64_C(0x0001000100010001), UINT64_C(0x0000000100000001), UINT64_C(0x0000000000000001),
    };
    return runs & (runs >> (1u << order)) & left_buddy[order];
}

/** A bit at the start of every aligned run of 2^order set bits; order 0..6. */
static inline uint64_t qy_word_runs(uint64_t word, unsigned order)
{
    for (unsigned k = 0; k < order; k++)
        word = qy_word_fold(word, k);
    return word;
}

/** The order of the largest aligned run of set bits in a word; -1 if none is set. */
static inline int qy_word_largest(uint64_t word)
{
    if (word == 0)
        return -1;
    for (unsigned order = 0; order < QY_WORD_ORDER; order++) {
        word = qy_word_fold(word, order);
        if (word == 0)
            return (int)order;
    }
    return QY_WORD_ORDER;
}

/**
 * Where to take 2^order bits from a word that has such a run: the first one inside the
 * smallest free block that serves, so that larger blocks stay whole.
 */
static inline unsigned qy_word_best_fit(uint64_t word, unsigned order)
{
    uint64_t runs = qy_word_runs(word, order);
    for (unsigned k = order; k < QY_WORD_ORDER; k++) {
        uint64_t wider = qy_word_fold(runs, k);
        uint64_t exact = runs & ~(wider | wider << (1u << k));
        if (exact != 0)
            return (unsigned)__builtin_ctzll(exact);
        runs = wider;
    }
    return (unsigned)__builtin_ctzll(runs);
}

/**
 * The order of the largest aligned run of a word whose bit @bit was just set; @order: what it
 * was before, so less than QY_WORD_ORDER. It can only have grown there, and by one: of a run of
 * two orders more the other half would have been there already.
 */
static inline int qy_word_grown(uint64_t word, unsigned bit, int order)
{
    /* By order: the run of the next one, and the bits of the places where it may begin. */
    static const uint64_t next_run[QY_WORD_ORDER + 1] = {
        UINT64_C(0x1),    UINT64_C(0x3),        UINT64_C(0xf), UINT64_C(0xff),
        UINT64_C(0xffff), UINT64_C(0xffffffff), ~UINT64_C(0),
    };
    static const uint8_t next_start[QY_WORD_ORDER + 1] = {63, 62, 60, 56, 48, 32, 0};
    uint64_t run = next_run[order + 1] << (bit & next_start[order + 1]);
    return order + ((~word & run) == 0);
}

/** How many bits of a word are set. Few processors can be relied on to have an instruction for
 *  it, and the compiler's substitute is a call (Knuth, TAOCP 4A, 7.1.3). */
static inline unsigned qy_word_count(uint64_t word)
{
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(word * UINT64_C(0x0101010101010101) >> 56);
}

static inline bool qy_bits_test(const struct qy_bits512 *bits, unsigned index)
{
    return bits->word[index / QY_WORD_BITS] >> (index % QY_WORD_BITS) & 1;
}

static inline void qy_bits_set(struct qy_bits512 *bits, unsigned index)
{
    bits->word[index / QY_WORD_BITS] |= UINT64_C(1) << (index % QY_WORD_BITS);
}

static inline void qy_bits_clear(struct qy_bits512 *bits, unsigned index)
{
    bits->word[index / QY_WORD_BITS] &= ~(UINT64_C(1) << (index % QY_WORD_BITS));
}

/** How many of the 512 are set. */
static inline unsigned qy_bits_count(const struct qy_bits512 *bits)
{
    unsigned count = 0;
    for (unsigned w = 0; w < QY_BITS_WORDS; w++)
        count += qy_word_count(bits->word[w]);
    return count;
}

#endif
