/*
 * pgtable.c - which frame is under which page
 *
 * WHAT    Four functions walk down from the root over a range of pages, each entry of a level
 *         covering 512 times what one of the level below does:
 *
 *           level 3        2          1               0
 *           root  -->  table  -->  table  -->  512 entries, a page each
 *                                    \-------> or one entry for all 512
 *
 *         A table counts its entries, in its frame's struct qy_page, and goes with the last.
 *
 * RULES   V6  A table's count is that of its entries, and is not zero; nr_tables is the number of
 *             tables. (Within a call of qy_pgtable_prepare() a table may be empty.)
 *         Checked by check_tables() in view/rules_space.c.
 *
 * LOCKS   The owner's.
 *
 * COST    Four loads to find a page; a range goes along within its tables. A table of 4 KiB
 *         for each 2 MiB that are not one entry.
 */
#include "space/pgtable.h"

#include "base/assert.h"
#include "base/errno.h"
#include "buddy/alloc.h"

#define TOP (QY_PT_LEVELS - 1)

/* ---- tables ---- */

static uint64_t *count_of(const struct qy_pgtable *table, const qy_pte_t *entries)
{
    return &table->mm->pages[qy_address_index(table->mm, entries)].nr_entries;
}

static qy_pte_t *below(const struct qy_pgtable *table, qy_pte_t pte)
{
    return qy_frame_address(table->mm, qy_pte_pfn(pte));
}

static qy_pfn_t pfn_of(const struct qy_pgtable *table, const qy_pte_t *entries)
{
    return table->mm->start_pfn + qy_address_index(table->mm, entries);
}

/** Not through the slot: whoever touches a page of an area may be in it. Out of the reserve if need
 *  be: who reads files takes all above it as fast as others give it up. */
static qy_pte_t *new_table(struct qy_pgtable *table)
{
    struct qy_mm *mm = table->mm;
    struct qy_request request;
    bool fresh = false;
    if (!qy_request_read(&request, 0, QY_GFP_NOWAIT | QY_GFP_HIGH, 0))
        return NULL;
    qy_pfn_t pfn = qy_take_pages(mm, NULL, &request, &fresh);
    if (pfn == QY_PFN_NONE)
        return NULL;
    qy_tag_set(&mm->tags[qy_frame_index(mm, pfn)], QY_TAG_BLOCK);
    qy_pte_t *entries = qy_frame_address(mm, pfn);
    if (!fresh)
        __builtin_memset(entries, 0, QY_PAGE_BYTES);
    *count_of(table, entries) = 0;
    table->nr_tables++;
    return entries;
}

static void free_table(struct qy_pgtable *table, qy_pte_t *entries)
{
    qy_pfn_t pfn = pfn_of(table, entries);
    qy_tag_set(&table->mm->tags[qy_frame_index(table->mm, pfn)], QY_TAG_NONE);
    qy_give_pages(table->mm, NULL, pfn, 0, false);
    table->nr_tables--;
}

/* ---- entries ---- */

/** Pages that an entry of this level covers. */
static uint64_t width(unsigned level)
{
    return UINT64_C(1) << (level * QY_PT_BITS);
}

static unsigned slot(uint64_t page, unsigned level)
{
    return (unsigned)(page >> (level * QY_PT_BITS)) % QY_PT_ENTRIES;
}

/** Where what begins at @page ends within one entry of this level. */
static uint64_t end_within(uint64_t page, uint64_t end, unsigned level)
{
    uint64_t next = (page / width(level) + 1) * width(level);
    return next < end ? next : end;
}

static void write_entry(struct qy_pgtable *table, qy_pte_t *entries, unsigned at, qy_pte_t pte)
{
    uint64_t *count = count_of(table, entries);
    *count += !qy_pte_none(pte);
    *count -= !qy_pte_none(entries[at]);
    entries[at] = pte;
}

/** May these pages be one entry of this level? */
static bool fits_large(uint64_t page, uint64_t end, qy_pfn_t pfn, unsigned level)
{
    return level == QY_PT_LARGE_LEVEL && end - page == width(level) && pfn % width(level) == 0;
}

/* ---- looking ---- */

void qy_pgtable_init(struct qy_pgtable *table, struct qy_mm *mm)
{
    *table = (struct qy_pgtable){.mm = mm};
}

qy_pte_t qy_pgtable_get(const struct qy_pgtable *table, uint64_t page)
{
    const qy_pte_t *entries = table->root;
    for (unsigned level = TOP; entries != NULL; level--) {
        qy_pte_t pte = entries[slot(page, level)];
        if (qy_pte_is_leaf(pte))
            return qy_pte_make_leaf(qy_pte_pfn(pte) + page % width(level), qy_pte_flags(pte));
        entries = qy_pte_is_table(pte) ? below(table, pte) : NULL;
    }
    return 0;
}

static uint64_t next_in(const struct qy_pgtable *table, const qy_pte_t *entries, unsigned level,
                        uint64_t page, uint64_t end)
{
    while (page < end) {
        qy_pte_t pte = entries[slot(page, level)];
        uint64_t next = end_within(page, end, level);
        if (qy_pte_is_leaf(pte))
            return page;
        if (qy_pte_is_table(pte)) {
            uint64_t found = next_in(table, below(table, pte), level - 1, page, next);
            if (found < next)
                return found;
        }
        page = next;
    }
    return end;
}

uint64_t qy_pgtable_next(const struct qy_pgtable *table, uint64_t page, uint64_t end, qy_pte_t *pte)
{
    if (table->root == NULL)
        return end;
    page = next_in(table, table->root, TOP, page, end);
    if (page < end)
        *pte = qy_pgtable_get(table, page);
    return page;
}

/* ---- changing ---- */

/** One entry for 512 pages becomes a table of 512 entries. */
static int split_entry(struct qy_pgtable *table, qy_pte_t *entry)
{
    qy_pte_t *entries = new_table(table);
    if (entries == NULL)
        return -QY_ENOMEM;
    for (unsigned i = 0; i < QY_PT_ENTRIES; i++)
        entries[i] = qy_pte_make_leaf(qy_pte_pfn(*entry) + i, qy_pte_flags(*entry));
    *count_of(table, entries) = QY_PT_ENTRIES;
    *entry = qy_pte_make_table(pfn_of(table, entries));
    return 0;
}

int qy_pgtable_split(struct qy_pgtable *table, uint64_t page)
{
    qy_pte_t *entries = table->root;
    for (unsigned level = TOP; entries != NULL && level > 0; level--) {
        qy_pte_t *entry = &entries[slot(page, level)];
        if (qy_pte_is_leaf(*entry))
            return page % width(level) == 0 ? 0 : split_entry(table, entry);
        entries = qy_pte_is_table(*entry) ? below(table, *entry) : NULL;
    }
    return 0;
}

/** See that a table is below this entry. */
static int see_table(struct qy_pgtable *table, qy_pte_t *entries, unsigned at)
{
    if (qy_pte_is_leaf(entries[at]))
        return split_entry(table, &entries[at]);
    if (qy_pte_is_table(entries[at]))
        return 0;
    qy_pte_t *table_below = new_table(table);
    if (table_below == NULL)
        return -QY_ENOMEM;
    write_entry(table, entries, at, qy_pte_make_table(pfn_of(table, table_below)));
    return 0;
}

static int prepare_in(struct qy_pgtable *table, qy_pte_t *entries, unsigned level, uint64_t page,
                      uint64_t end, qy_pfn_t pfn)
{
    while (level > 0 && page < end) {
        uint64_t next = end_within(page, end, level);
        unsigned at = slot(page, level);
        if (!fits_large(page, next, pfn, level)) {
            if (see_table(table, entries, at) != 0 ||
                prepare_in(table, below(table, entries[at]), level - 1, page, next, pfn) != 0)
                return -QY_ENOMEM;
        }
        pfn += next - page;
        page = next;
    }
    return 0;
}

int qy_pgtable_prepare(struct qy_pgtable *table, uint64_t page, uint64_t count, qy_pfn_t pfn)
{
    if (table->root == NULL)
        table->root = new_table(table);
    if (table->root == NULL)
        return -QY_ENOMEM;
    return prepare_in(table, table->root, TOP, page, page + count, pfn);
}

static void set_in(struct qy_pgtable *table, qy_pte_t *entries, unsigned level, uint64_t page,
                   uint64_t end, qy_pfn_t pfn, uint32_t flags)
{
    while (page < end) {
        uint64_t next = end_within(page, end, level);
        unsigned at = slot(page, level);
        bool large =
            fits_large(page, next, pfn, level) && !(flags & (QY_PTE_ISOLATED | QY_PTE_FILE));
        if (level == 0 || large) {
            if (qy_pte_is_table(entries[at]))
                free_table(table, below(table, entries[at]));
            write_entry(table, entries, at, qy_pte_make_leaf(pfn, flags));
        } else {
            qy_assert(qy_pte_is_table(entries[at]), "V6");
            set_in(table, below(table, entries[at]), level - 1, page, next, pfn, flags);
        }
        pfn += next - page;
        page = next;
    }
}

void qy_pgtable_set(struct qy_pgtable *table, uint64_t page, uint64_t count, qy_pfn_t pfn,
                    uint32_t flags)
{
    set_in(table, table->root, TOP, page, page + count, pfn, flags);
}

static void clear_in(struct qy_pgtable *table, qy_pte_t *entries, unsigned level, uint64_t page,
                     uint64_t end)
{
    while (page < end) {
        uint64_t next = end_within(page, end, level);
        unsigned at = slot(page, level);
        qy_pte_t pte = entries[at];
        if (qy_pte_is_table(pte)) {
            clear_in(table, below(table, pte), level - 1, page, next);
            if (*count_of(table, below(table, pte)) == 0) {
                free_table(table, below(table, pte));
                write_entry(table, entries, at, 0);
            }
        } else if (qy_pte_is_leaf(pte)) {
            qy_assert(next - page == width(level), "V6");
            write_entry(table, entries, at, 0);
        }
        page = next;
    }
}

void qy_pgtable_clear(struct qy_pgtable *table, uint64_t page, uint64_t count)
{
    if (table->root == NULL)
        return;
    clear_in(table, table->root, TOP, page, page + count);
    if (*count_of(table, table->root) == 0) {
        free_table(table, table->root);
        table->root = NULL;
    }
}
