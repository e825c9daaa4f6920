/*
 * assert.h - what must hold, checked in debug builds
 *
 * The text is the rule's name: qy_assert(bit_is_set, "B1"). Compiled always, so that it cannot rot;
 * evaluated only with QY_DEBUG.
 */
#ifndef QY_BASE_ASSERT_H
#define QY_BASE_ASSERT_H

#include <quarry/config.h>
#include <quarry_port.h>

#define qy_assert(condition, rule)                                                                 \
    do {                                                                                           \
        if (QY_DEBUG && !(condition))                                                              \
            qy_port_panic("quarry: rule " rule " broken: " #condition);                            \
    } while (0)

/** A function that reads what others write under a lock of theirs: what it sees may be stale,
 *  and it can live with that. Tells the thread sanitizer so. */
#define QY_RACY __attribute__((no_sanitize("thread")))

#define qy_likely(condition) __builtin_expect(!!(condition), 1)
#define qy_unlikely(condition) __builtin_expect(!!(condition), 0)

#endif
