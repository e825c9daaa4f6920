/*
 * random.h - seeded random numbers: splitmix64 (Steele, Lea, Flood 2014)
 */
#ifndef QUARRY_TESTS_RANDOM_H
#define QUARRY_TESTS_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/** 0 .. bound - 1. */
static inline uint64_t random_below(struct random *random, uint64_t bound)
{
    return random_next(random) % bound;
}

static inline bool random_one_in(struct random *random, uint64_t chances)
{
    return random_below(random, chances) == 0;
}

#endif
