/*
 * round.h - up to the next multiple, down to the lesser of two
 */
#ifndef QY_BASE_ROUND_H
#define QY_BASE_ROUND_H

#include <stdint.h>

/** The smallest multiple of step that is >= n; step > 0, and the sum does not wrap. */
static inline uint64_t qy_round_up(uint64_t n, uint64_t step)
{
    return (n + step - 1) / step * step;
}

static inline uint64_t qy_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
