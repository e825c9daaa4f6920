/*
 * borrower.c - a mapping for tests
 */
#include "borrower.h"

#include "base/errno.h"
#include "buddy/lend.h"
#include "memory.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

static struct borrower *borrower_of(const struct qy_mapping *mapping)
{
    return (struct borrower *)mapping;
}

static uint64_t *bytes_of(const struct borrower *borrower, qy_pfn_t pfn)
{
    struct qy_mm *mm = borrower->mapping.mm;
    return mm->base != 0 ? qy_frame_address(mm, pfn) : NULL;
}

static void write_page(struct borrower *borrower, uint32_t page)
{
    uint64_t *bytes = bytes_of(borrower, borrower->pfn[page]);
    borrower->written[page]++;
    for (unsigned i = 0; bytes != NULL && i < PAGE / 8; i += 64) {
        bytes[i] = page;
        bytes[i + 1] = borrower->written[page];
    }
}

static void check_page(struct borrower *borrower, uint32_t page)
{
    const uint64_t *bytes = bytes_of(borrower, borrower->pfn[page]);
    for (unsigned i = 0; bytes != NULL && i < PAGE / 8; i += 64)
        if (bytes[i] != page || bytes[i + 1] != borrower->written[page])
            test_fail("page %u has the bytes of page %llu, written %llu times and not %llu", page,
                      (unsigned long long)bytes[i], (unsigned long long)bytes[i + 1],
                      (unsigned long long)borrower->written[page]);
}

QY_RACY static enum qy_folio_cost cost(const struct qy_mapping *mapping,
                                       const struct qy_folio *folio)
{
    const struct borrower *borrower = borrower_of(mapping);
    uint32_t page = atomic_load(&folio->index);
    static const enum qy_folio_cost costs[] = {
        [BORROWED_NOTHING] = QY_COST_FREE,  [BORROWED_MOVABLE] = QY_COST_MOVE,
        [BORROWED_CLEAN] = QY_COST_DROP,    [BORROWED_DIRTY] = QY_COST_WRITE,
        [BORROWED_ISOLATED] = QY_COST_MOVE,
    };
    return borrower->pinned[page] ? QY_COST_NEVER : costs[borrower->kind[page]];
}

/** Is the page there, and may it be touched? 0, or why not. */
static int state_of(const struct borrower *borrower, uint32_t page, qy_pfn_t pfn)
{
    if (page >= BORROWER_PAGES || borrower->kind[page] == BORROWED_NOTHING ||
        borrower->kind[page] == BORROWED_ISOLATED || borrower->pfn[page] != pfn)
        return -QY_EAGAIN;
    return borrower->pinned[page] ? -QY_EBUSY : 0;
}

static void forget(struct borrower *borrower, uint32_t page)
{
    borrower->kind[page] = BORROWED_NOTHING;
    borrower->pinned[page] = 0;
    borrower->nr_pages--;
    if (page < borrower->first_empty)
        borrower->first_empty = page;
}

static int isolate(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn, unsigned count)
{
    struct borrower *borrower = borrower_of(mapping);
    qy_lock(&mapping->lock);
    int code = state_of(borrower, index, pfn);
    unsigned done = 0;
    for (; done < count && state_of(borrower, index + done, pfn + done) == 0; done++) {
        borrower->was[index + done] = borrower->kind[index + done];
        borrower->kind[index + done] = BORROWED_ISOLATED;
    }
    qy_unlock(&mapping->lock);
    return done > 0 ? (int)done : code;
}

static int putback(struct qy_mapping *mapping, uint32_t index, qy_pfn_t from, qy_pfn_t to,
                   unsigned count)
{
    struct borrower *borrower = borrower_of(mapping);
    struct qy_mm *mm = mapping->mm;
    bool stays = to == from || borrower->putback_fails;
    qy_lock(&mapping->lock);
    for (unsigned i = 0; i < count; i++) {
        borrower->kind[index + i] = borrower->was[index + i];
        if (stays)
            continue;
        qy_folio_disown(qy_folio_of(mm, from + i));
        qy_folio_own(qy_folio_of(mm, to + i), mapping, index + i);
        borrower->pfn[index + i] = to + i;
        check_page(borrower, index + i);
    }
    borrower->moved += stays ? 0 : count;
    qy_unlock(&mapping->lock);
    if (!stays)
        qy_lend_return(mm, from, count);
    return to != from && stays ? -QY_ENOMEM : 0;
}

static int drop(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn, unsigned count)
{
    struct borrower *borrower = borrower_of(mapping);
    qy_lock(&mapping->lock);
    int code = state_of(borrower, index, pfn);
    if (code == 0 && borrower->kind[index] != BORROWED_CLEAN)
        code = -QY_EINVAL;
    unsigned done = 0;
    for (; done < count && state_of(borrower, index + done, pfn + done) == 0 &&
           borrower->kind[index + done] == BORROWED_CLEAN;
         done++) {
        forget(borrower, index + done);
        qy_folio_disown(qy_folio_of(mapping->mm, pfn + done));
        borrower->dropped++;
    }
    qy_unlock(&mapping->lock);
    if (done > 0)
        qy_lend_return(mapping->mm, pfn, done);
    return done > 0 ? (int)done : code;
}

static int clean(struct qy_mapping *mapping, uint32_t index, qy_pfn_t pfn)
{
    struct borrower *borrower = borrower_of(mapping);
    qy_lock(&mapping->lock);
    int code = state_of(borrower, index, pfn);
    if (code == 0 && borrower->kind[index] == BORROWED_MOVABLE)
        code = -QY_EINVAL;
    else if (code == 0 && borrower->clean_fails)
        code = -QY_ENOSPC;
    if (code == 0) {
        borrower->kind[index] = BORROWED_CLEAN;
        borrower->cleaned++;
    }
    qy_unlock(&mapping->lock);
    return code == 0 ? 1 : code;
}

struct borrower *borrower_create(struct qy_mm *mm, const char *name)
{
    static const struct qy_mapping_ops ops = {
        .kind = "test",
        .cost = cost,
        .isolate = isolate,
        .putback = putback,
        .drop = drop,
        .clean = clean,
    };
    struct borrower *borrower = calloc(1, sizeof(*borrower));
    if (borrower == NULL)
        test_fail("no memory for a borrower");
    borrower->mapping.ops = &ops;
    borrower->mapping.mm = mm;
    qy_lock_init(&borrower->mapping.lock, QY_RANK_SPACE);
    strncpy(borrower->mapping.name, name, sizeof(borrower->mapping.name) - 1);
    return borrower;
}

void borrower_return(struct borrower *borrower, uint32_t page)
{
    struct qy_mm *mm = borrower->mapping.mm;
    qy_lock(&borrower->mapping.lock);
    qy_pfn_t pfn = borrower->pfn[page];
    bool had =
        borrower->kind[page] != BORROWED_NOTHING && borrower->kind[page] != BORROWED_ISOLATED;
    if (had) {
        check_page(borrower, page);
        forget(borrower, page);
        qy_folio_disown(qy_folio_of(mm, pfn));
    }
    qy_unlock(&borrower->mapping.lock);
    if (had)
        qy_lend_return(mm, pfn, 1);
}

static bool borrower_has(struct borrower *borrower, uint32_t page)
{
    qy_lock(&borrower->mapping.lock);
    bool has = borrower->kind[page] != BORROWED_NOTHING;
    qy_unlock(&borrower->mapping.lock);
    return has;
}

void borrower_destroy(struct borrower *borrower)
{
    for (uint32_t page = 0; page < BORROWER_PAGES; page++)
        while (borrower_has(borrower, page)) {
            borrower_return(borrower, page);
            sched_yield(); /* isolated: it comes back */
        }
    qy_grace_wait(&borrower->mapping.mm->grace);
    free(borrower);
}

uint32_t borrower_borrow(struct borrower *borrower, enum borrowed kind)
{
    struct qy_mm *mm = borrower->mapping.mm;
    bool fresh;
    qy_pfn_t pfn = qy_lend_block(
        mm, QY_GFP_NOWAIT, kind == BORROWED_CLEAN ? QY_LEND_DROPPABLE : QY_LEND_MOVABLE, 0, &fresh);
    if (pfn == QY_PFN_NONE)
        return UINT32_MAX;
    qy_lock(&borrower->mapping.lock);
    uint32_t page = borrower->first_empty;
    while (page < BORROWER_PAGES && borrower->kind[page] != BORROWED_NOTHING)
        page++;
    borrower->first_empty = page;
    if (page < BORROWER_PAGES) {
        borrower->pfn[page] = pfn;
        borrower->kind[page] = (uint8_t)kind;
        borrower->pinned[page] = 0;
        borrower->nr_pages++;
        qy_folio_own(qy_folio_of(mm, pfn), &borrower->mapping, page);
        write_page(borrower, page);
    }
    qy_unlock(&borrower->mapping.lock);
    if (page < BORROWER_PAGES)
        return page;
    qy_lend_return(mm, pfn, 1);
    return UINT32_MAX;
}

bool borrower_write(struct borrower *borrower, uint32_t page)
{
    qy_lock(&borrower->mapping.lock);
    bool writable =
        borrower->kind[page] != BORROWED_NOTHING && borrower->kind[page] != BORROWED_ISOLATED;
    if (writable) {
        check_page(borrower, page);
        write_page(borrower, page);
        if (borrower->kind[page] == BORROWED_CLEAN)
            borrower->kind[page] = BORROWED_DIRTY;
    }
    qy_unlock(&borrower->mapping.lock);
    return writable;
}

bool borrower_pin(struct borrower *borrower, uint32_t page, bool pinned)
{
    qy_lock(&borrower->mapping.lock);
    bool there =
        borrower->kind[page] != BORROWED_NOTHING && borrower->kind[page] != BORROWED_ISOLATED;
    if (there)
        borrower->pinned[page] = pinned;
    qy_unlock(&borrower->mapping.lock);
    return there;
}

void borrower_check(struct borrower *borrower)
{
    qy_lock(&borrower->mapping.lock);
    for (uint32_t page = 0; page < BORROWER_PAGES; page++)
        if (borrower->kind[page] != BORROWED_NOTHING)
            check_page(borrower, page);
    qy_unlock(&borrower->mapping.lock);
}
