/*
 * borrower.h - one who borrows frames and gives them back as asked: a mapping for tests
 *
 * Its pages carry their number and how often they were written, so a page that was moved
 * wrongly is seen. Each can be pinned, be dirty, or be one that can be dropped.
 */
#ifndef QUARRY_TESTS_BORROWER_H
#define QUARRY_TESTS_BORROWER_H

#include "space/mapping.h"

#define BORROWER_PAGES 65536

enum borrowed {
    BORROWED_NOTHING,
    BORROWED_MOVABLE,  /* has to be copied */
    BORROWED_CLEAN,    /* can be dropped */
    BORROWED_DIRTY,    /* can be cleaned, and then dropped */
    BORROWED_ISOLATED, /* between isolate and putback */
};

struct borrower {
    struct qy_mapping mapping;
    qy_pfn_t pfn[BORROWER_PAGES];
    uint8_t kind[BORROWER_PAGES]; /* enum borrowed */
    uint8_t was[BORROWER_PAGES];  /* before it was isolated */
    uint8_t pinned[BORROWER_PAGES];
    uint64_t written[BORROWER_PAGES];
    uint64_t nr_pages;
    uint32_t first_empty; /* no page below it is */
    uint64_t moved, dropped, cleaned;
    bool putback_fails; /* the host allows no more mappings */
    bool clean_fails;   /* the backing does not take it */
};

/** Without frames. Too large for a stack. */
struct borrower *borrower_create(struct qy_mm *mm, const char *name);
/** Gives every frame back. */
void borrower_destroy(struct borrower *borrower);

/** Borrow a frame for the lowest empty page; UINT32_MAX: there is none. */
uint32_t borrower_borrow(struct borrower *borrower, enum borrowed kind);
/** Give a page's frame back by itself. */
void borrower_return(struct borrower *borrower, uint32_t page);
/** Write to a page; false: it is isolated. */
bool borrower_write(struct borrower *borrower, uint32_t page);
/** Hold a page in place, or no more; false: it is not there, or isolated. */
bool borrower_pin(struct borrower *borrower, uint32_t page, bool pinned);
/** Every page has its own bytes, or the test ends here. */
void borrower_check(struct borrower *borrower);

#endif
