/*
 * pgtable.h - which frame is under which page
 *
 * WHAT    A tree of tables, each a frame of the memory, in the format of <quarry_pte.h>. It
 *         maps page numbers and knows of no addresses: the pages of a space, or of a file.
 *         512 pages that begin at a multiple of 512, on frames that do so, are one entry; not
 *         while they are isolated, because they may come back in parts; nor a file's, which go
 *         one by one when nothing can be taken.
 *
 *         To change pages in the middle of such an entry, split it first at both ends; to set
 *         pages, prepare first. So the steps that can fail come before those that change
 *         something.
 *
 * LOCKS   The owner's, for all of it: mapping->lock. Tables are taken without waiting.
 */
#ifndef QY_SPACE_PGTABLE_H
#define QY_SPACE_PGTABLE_H

#include "memory/mm.h"

#include <quarry_pte.h>

#define QY_PT_ENTRIES (1u << QY_PT_BITS)

struct qy_pgtable {
    struct qy_mm *mm;
    qy_pte_t *root;     /* NULL: nothing is set */
    uint64_t nr_tables; /* frames */
};

void qy_pgtable_init(struct qy_pgtable *table, struct qy_mm *mm);

/** The entry of one page, as if it were of that page alone; 0: none. */
qy_pte_t qy_pgtable_get(const struct qy_pgtable *table, uint64_t page);

/** The first page of [page, end) that has an entry, which goes to *pte; end: none has. */
uint64_t qy_pgtable_next(const struct qy_pgtable *table, uint64_t page, uint64_t end,
                         qy_pte_t *pte);

/** See that no entry covers both page - 1 and page. 0, or -ENOMEM and nothing changed. */
QY_MUST_CHECK int qy_pgtable_split(struct qy_pgtable *table, uint64_t page);

/** See that the same qy_pgtable_set() has all tables. 0, or -ENOMEM: some may have come, and
 *  qy_pgtable_clear() lets them go. */
QY_MUST_CHECK int qy_pgtable_prepare(struct qy_pgtable *table, uint64_t page, uint64_t count,
                                     qy_pfn_t pfn);

/** Pages [page, page + count) are on the frames from @pfn on, whatever was there before. With
 *  QY_PTE_ISOLATED or QY_PTE_FILE each of them gets an entry of its own, whose table is there. */
void qy_pgtable_set(struct qy_pgtable *table, uint64_t page, uint64_t count, qy_pfn_t pfn,
                    uint32_t flags);

/** They have no frame; tables that become empty go back. The last one takes the root along. */
void qy_pgtable_clear(struct qy_pgtable *table, uint64_t page, uint64_t count);

#endif
