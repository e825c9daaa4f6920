/*
 * support.h - what the cmocka tests share
 *
 * Random tests take their seed from QUARRY_SEED: a number, or "random" for another one each
 * time; without it they do the same on every run. The seed is printed, so that a failure can
 * be run again.
 */
#ifndef QUARRY_TESTS_SUPPORT_H
#define QUARRY_TESTS_SUPPORT_H

#include "memory.h"
#include "random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/** QUARRY_SEED, or 1; printed. */
static inline uint64_t test_seed(void)
{
    const char *text = getenv("QUARRY_SEED");
    uint64_t seed = 1;
    if (text && strcmp(text, "random") == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed = (uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec;
    } else if (text) {
        seed = strtoull(text, NULL, 0);
    }
    print_message("QUARRY_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#endif
