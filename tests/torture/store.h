/*
 * store.h - where the bytes of the files are that actors read and write: two files of the system,
 *           and two arrays whose calls fail now and then
 */
#ifndef QUARRY_TESTS_TORTURE_STORE_H
#define QUARRY_TESTS_TORTURE_STORE_H

#include <quarry/cache.h>

#define STORE_PAGES 2048u
#define STORE_BYTES ((uint64_t)STORE_PAGES * 4096)

struct store {
    unsigned char *bytes;    /* an array's; NULL: a file of the system */
    _Atomic uint64_t length; /* an array's; behind it all is zero */
    _Atomic uint64_t calls;  /* which of them fail is drawn from this */
    _Atomic bool fails;      /* now and then */
    char path[64];
};

/** A new, empty one, and the file that caches it. */
struct qy_file *store_open(struct store *store, struct qy_mm *mm, const char *name, bool array);

/** What is there, around all caches. Behind the end it is zero. */
void store_peek(const struct store *store, uint64_t offset, void *buffer, size_t bytes);

void store_remove(struct store *store);

#endif
