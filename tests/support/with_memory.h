/*
 * with_memory.h - a memory of its own for each test of a file, in which every rule holds at the end
 */
#ifndef QUARRY_TESTS_WITH_MEMORY_H
#define QUARRY_TESTS_WITH_MEMORY_H

#include "support.h"

static struct test_memory memory;

/** 64 MiB of zone Normal, from 4 GiB on. */
static inline int memory_begin(void **state)
{
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, true);
    return 0;
}

static inline int memory_end(void **state)
{
    (void)state;
    test_rules(memory.mm);
    test_memory_free(&memory);
    return 0;
}

/** An entry of cmocka's table. */
#define WITH_MEMORY(test) cmocka_unit_test_setup_teardown(test, memory_begin, memory_end)

#endif
