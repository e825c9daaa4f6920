/*
 * with_space.h - a space of its own for each test of a file, which leaves nothing behind
 */
#ifndef QUARRY_TESTS_WITH_SPACE_H
#define QUARRY_TESTS_WITH_SPACE_H

#include "support.h"

#include "space/space.h"

/** Of the memory. */
#define BYTES (32 * MIB)

static struct test_memory memory;
static struct qy_mm *mm;
static struct qy_space *space;

static inline void space_begin(uint64_t bytes)
{
    test_memory_lendable(&memory, BYTES, 1);
    mm = memory.mm;
    space = qy_space_create(mm, "test", bytes, NULL);
    assert_non_null(space);
}

static inline int space_end(void **state)
{
    (void)state;
    test_rules(mm);
    assert_int_equal(qy_space_destroy(space), 0);
    assert_int_equal(mm->nr_mappings, 0);
    test_rules(mm);
    test_memory_free(&memory);
    return 0;
}

#endif
