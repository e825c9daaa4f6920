/*
 * soft_pte.h - the format of page table entries where no processor reads them
 *
 * WHAT    The shape of x86-64's: four levels of 512 entries, leaves of one page and of 512.
 *         A port whose tables are only Quarry's own includes this as its <quarry_pte.h>; one
 *         whose processor walks them writes the same ten inlines for that processor.
 *
 *           63 ...... 52 | 51 ........ 12 | 11  10    9    8   7   6 5 4 3 2   1     0
 *                        |  frame number  |    FILE ISOL.     leaf           WRITE   any
 *           READ is bit 2. An entry that maps a frame is not 0, whatever may be done with it.
 */
#ifndef QY_SPACE_SOFT_PTE_H
#define QY_SPACE_SOFT_PTE_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t qy_pte_t;

#define QY_PT_LEVELS 4
#define QY_PT_BITS 9        /* of a page's number, a level */
#define QY_PT_LARGE_LEVEL 1 /* leaves stand here and on level 0 */

/* What a leaf says of its frame. */
#define QY_PTE_WRITE 0x002u    /* may be written */
#define QY_PTE_READ 0x004u     /* may be read */
#define QY_PTE_ISOLATED 0x200u /* is being moved: V2 */
#define QY_PTE_FILE 0x400u     /* is a cached file's, lent to the space: V8 */
#define QY_PTE_FLAGS (QY_PTE_WRITE | QY_PTE_READ | QY_PTE_ISOLATED | QY_PTE_FILE)

#define QY_PTE_PRESENT 0x001u
#define QY_PTE_LEAF 0x080u
#define QY_PTE_FRAME UINT64_C(0x000ffffffffff000)

/** No frame, no table. */
static inline bool qy_pte_none(qy_pte_t pte)
{
    return pte == 0;
}

/** It maps a frame, or 512 of them. */
static inline bool qy_pte_is_leaf(qy_pte_t pte)
{
    return pte & QY_PTE_LEAF;
}

/** It leads to a table of the level below. */
static inline bool qy_pte_is_table(qy_pte_t pte)
{
    return (pte & (QY_PTE_PRESENT | QY_PTE_LEAF)) == QY_PTE_PRESENT;
}

static inline uint64_t qy_pte_pfn(qy_pte_t pte)
{
    return (pte & QY_PTE_FRAME) >> 12;
}

static inline uint32_t qy_pte_flags(qy_pte_t pte)
{
    return (uint32_t)pte & QY_PTE_FLAGS;
}

static inline bool qy_pte_may_write(qy_pte_t pte)
{
    return pte & QY_PTE_WRITE;
}

static inline bool qy_pte_is_isolated(qy_pte_t pte)
{
    return pte & QY_PTE_ISOLATED;
}

static inline bool qy_pte_is_file(qy_pte_t pte)
{
    return pte & QY_PTE_FILE;
}

static inline qy_pte_t qy_pte_make_leaf(uint64_t pfn, uint32_t flags)
{
    return pfn << 12 | QY_PTE_PRESENT | QY_PTE_LEAF | flags;
}

static inline qy_pte_t qy_pte_make_table(uint64_t pfn)
{
    return pfn << 12 | QY_PTE_PRESENT | QY_PTE_READ | QY_PTE_WRITE;
}

#endif
