/*
 * pointer.h - what a program does by a pointer into a space, on port/sim: where nothing is mapped,
 *             a table says what the host would show, and a fault is a call
 */
#ifndef QUARRY_TESTS_POINTER_H
#define QUARRY_TESTS_POINTER_H

#include "sim.h"

#include "memory.h"
#include "memory/mm.h"

#include <quarry/space.h>

#include <stdint.h>

/** Where the byte at an address is, after as many faults as it takes; NULL: *code is the last
 *  one's. */
static inline unsigned char *pointer_at(struct qy_mm *mm, struct qy_space *space,
                                        const void *address, bool write, int *code)
{
    uint32_t prot, need = write ? QY_PROT_WRITE : QY_PROT_READ;
    for (unsigned tries = 0; tries < 100; tries++) {
        uint64_t pfn = qy_sim_window(address, &prot);
        *code = 0;
        if (pfn != UINT64_MAX && (prot & need))
            return (unsigned char *)qy_frame_address(mm, pfn) + (uintptr_t)address % PAGE;
        *code = qy_space_fault(space, address, write);
        if (*code != 0)
            return NULL;
    }
    test_fail("an access at %p faults for ever", address);
}

#endif
