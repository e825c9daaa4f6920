/*
 * file.h - a cached file: its pages, and what may be done with one at which time
 *
 * WHAT    A page of a file is not there, BUSY, or ready.
 *
 *            not there --miss--> BUSY (being read; on no list)
 *                                  |
 *                                ready <----> BUSY (being written into, or moved)
 *                                  |  \-----> WRITEBACK (being written out; may be read)
 *                                given up
 *
 *         Whoever reads a ready page without the lock counts in pins meanwhile; whoever makes
 *         it BUSY waits until these have left. (In a guaranteed region it is read with the lock.)
 *         pins of long_pins are qy_file_pin()'s, for which nobody waits.
 *
 * RULES   W3  Only what is pinned is unpinned.
 *         W4  A page in a GUARANTEED pageblock is clean, not pinned, in no area, under no I/O, and
 *             no reader counts in there: so it can be dropped by whoever gets the lock.
 *         W6  A page that an entry of a space lets be written is dirty.
 *         W7  A file's users are its handle and its mappers.
 *
 * LOCKS   (m) mapping.lock; (i) fixed since creation; (l) vmscan->lock.
 */
#ifndef QY_RECLAIM_FILE_H
#define QY_RECLAIM_FILE_H

#include "reclaim/index.h"
#include "reclaim/vmscan.h"
#include "space/backing.h"
#include "space/mapping.h"

/** Pages that are read or written in one call of the backing: 512 KiB. */
#define QY_BATCH 128u
/** Pages that go before others may have the lock; not where areas have them, which lose them in one
 *  call of the port. */
#define QY_GONE_AT_ONCE 64u
/** Of a file: each page has a number below UINT32_MAX. */
#define QY_FILE_MOST_BYTES ((UINT64_C(1) << 44) - QY_PAGE_BYTES)

struct qy_file {
    struct qy_mapping mapping; /* first: its ops are handed this */
    struct qy_file_ops ops;    /* (i) */
    void *cookie;              /* (i) */
    struct qy_vmscan *vmscan;  /* (i) */
    struct qy_list link;       /* (l) vmscan->files */
    uint32_t number;           /* (i) */

    struct qy_index index;         /* (m) */
    uint64_t bytes;                /* (m) */
    uint64_t cut;                  /* (m) what is behind it may just be cut off; else UINT64_MAX */
    uint64_t nr_pages;             /* (m) */
    uint64_t nr_dirty;             /* (m) */
    uint64_t nr_pinned;            /* (m) */
    uint64_t nr_writeback;         /* (m) */
    bool changing;                 /* (m) one who writes, or truncates, at a time */
    int error;                     /* (m) the first of writing back since the last sync */
    uint32_t last_page;            /* (m) that was read or written */
    uint32_t ahead_page;           /* (m) behind what was read last */
    uint32_t ahead_window;         /* (m) pages that were read then */
    _Atomic uint32_t balance_page; /* where who is held back goes on to write */
    _Atomic uint32_t event; /* (m) for writing: something that somebody waits for came to pass */
    uint32_t nr_waiters;    /* (m) */
    uint64_t hits, misses, readahead, written, errors; /* (m) */
    struct qy_list mappers;                            /* (m) struct qy_mapper.in_backing */
    uint32_t users;          /* (m) its handle, and mappers: the last one's end is the file's */
    uint32_t pointer_misses; /* (m) faults that had to read, above those that had not: bounded */
    bool was_mapped;         /* (m) once: then what lies behind the end need not be zero */
};

static inline struct qy_file *qy_file_of(struct qy_mapping *mapping)
{
    return (struct qy_file *)mapping;
}

static inline struct qy_folio *qy_file_folio(const struct qy_file *file, uint32_t frame)
{
    return &file->mapping.mm->folios[frame];
}

static inline void *qy_file_address(const struct qy_file *file, uint32_t frame)
{
    return (void *)(file->mapping.mm->base + ((uintptr_t)frame << QY_PAGE_SHIFT));
}

/** Readers that are copying just now. (m) */
static inline bool qy_folio_in_use(const struct qy_folio *folio)
{
    return folio->pins != folio->long_pins;
}

/** Nobody is just reading, changing, writing out or moving it. (m) */
static inline bool qy_folio_at_rest(const struct qy_folio *folio)
{
    return !(folio->flags & (QY_FOLIO_BUSY | QY_FOLIO_WRITEBACK)) && !qy_folio_in_use(folio);
}

/** Where the file ends, as far as nobody cuts it off. (m) */
static inline uint64_t qy_file_end(const struct qy_file *file)
{
    return file->bytes < file->cut ? file->bytes : file->cut;
}

/** Pages up to there, the last of which may have less. (m) */
static inline uint64_t qy_file_pages(const struct qy_file *file)
{
    return (qy_file_end(file) + QY_PAGE_BYTES - 1) >> QY_PAGE_SHIFT;
}

/* ---- pagecache.c: pages. mapping.lock is held; where it is let go of, that is said ---- */

/** Lets go of the lock until something happens. */
void qy_file_wait(struct qy_file *file);
/** Something happened. */
void qy_file_notify(struct qy_file *file);

/** Does the file have this byte? Where it may just be cut off, waits until that is known. May let
 *  go of the lock. */
bool qy_file_has(struct qy_file *file, uint64_t offset);

/** The ready page's frame, waiting while it is BUSY, or with @stable under WRITEBACK;
 *  QY_NO_FRAME: it is not there. May let go of the lock. */
uint32_t qy_file_ready(struct qy_file *file, uint32_t page, bool stable);

/** A page that is not there, and whose place is reserved, comes, BUSY, on a lent frame. */
void qy_file_insert(struct qy_file *file, uint32_t page, uint32_t frame);
/** It was read: it is ready, and on a list. @used: by somebody, not just read ahead. */
void qy_file_inserted(struct qy_file *file, uint32_t page, uint32_t frame);
/** The page, which nobody uses, goes, and its frame goes back. It may be BUSY; not WRITEBACK. */
void qy_file_remove(struct qy_file *file, uint32_t page, uint32_t frame);
/** So many, on frames in a row, which the caller returns: without the lock. */
void qy_file_forget_run(struct qy_file *file, uint32_t page, uint32_t frame, unsigned count);

void qy_file_not_busy(struct qy_file *file, uint32_t frame);

void qy_file_set_dirty(struct qy_file *file, uint32_t page, uint32_t frame);
void qy_file_clear_dirty(struct qy_file *file, uint32_t page, uint32_t frame);
/** It was used. */
void qy_file_used(struct qy_file *file, uint32_t page, uint32_t frame);

/** Give up a clean page that nobody uses. @keep: it may live on in a guaranteed region. True: its
 *  frame is free. False: it is in use, dirty, or pinned. */
bool qy_file_evict(struct qy_file *file, uint32_t page, uint32_t frame, bool keep);
/** Frames of guaranteed regions that nobody has. Racy. */
uint64_t qy_guaranteed_idle(const struct qy_mm *mm);
/** So many of them are left to pages that are given up elsewhere, which are worth more than new
 *  ones. */
#define QY_GUARANTEED_KEPT 32u

/** Another frame takes the page over, which is BUSY or nobody uses; the bytes were copied. The old
 *  one goes back. */
void qy_file_replace(struct qy_file *file, uint32_t page, uint32_t from, uint32_t to);
/** The same, and copies them. */
void qy_file_copy_to(struct qy_file *file, uint32_t page, uint32_t from, uint32_t to);

/** The page, which nobody has pinned, moves to a frame outside of regions, that may be pinned or
 *  dirty. Lets go of the lock. 0: it is on *frame; -EAGAIN: it went, or was in use, meanwhile;
 *  -ENOMEM. */
QY_MUST_CHECK int qy_file_leave_region(struct qy_file *file, uint32_t page, uint32_t *frame,
                                       bool pinned);

/* ---- pin.c ---- */

/** Pin the page for long, outside of regions. 0; -EAGAIN: it went meanwhile, or is not there:
 *  QY_NO_FRAME; -ENOMEM, -EBUSY. mapping.lock held; it may be let go of. */
QY_MUST_CHECK int qy_file_pin_ready(struct qy_file *file, uint32_t page, bool write,
                                    uint32_t *frame);
/** The page is pinned. mapping.lock held. */
void qy_file_unpin_locked(struct qy_file *file, uint32_t page, uint32_t frame);

/* ---- filemap.c. Without the lock ---- */

/** One at a time changes the file's bytes or length. */
void qy_file_change_begin(struct qy_file *file);
void qy_file_change_end(struct qy_file *file);

/* ---- truncate.c ---- */

/** What the last page has behind the end reads as zero if the file becomes longer. mapping.lock
 *  held; it may be let go of. */
void qy_file_clear_end(struct qy_file *file);
/** All pages from this one on go, when nobody uses them; no area has any. mapping.lock held; it is
 *  let go of after each run of pages. */
void qy_file_remove_from(struct qy_file *file, uint32_t page);

/* ---- readahead.c. Without the lock ---- */

/** Frames for pages; reclaims. Returns how many, 0 .. @count. */
unsigned qy_file_frames(struct qy_mm *mm, unsigned count, uint32_t *frames);
/** Return frames that did not become pages. */
void qy_file_return(struct qy_mm *mm, unsigned count, const uint32_t *frames);

/** Read the page, which was not there, and those behind it that are likely to be asked for.
 *  @wanted: pages that were asked for in this call; 0: one, and it will be written or pinned, so it
 *  may not lie in a guaranteed region; nor do pages that come to a file which areas have. 0, or why
 *  the page could not be read. */
QY_MUST_CHECK int qy_file_fill(struct qy_file *file, uint32_t page, uint64_t wanted);

/* ---- writeback.c. Without the lock ---- */

/** Write dirty pages at and behind *page, as far as they are neighbours, in one call. *page: behind
 *  them. @wait: for those that are BUSY, or being written; else they are passed over, as by whoever
 *  may have one BUSY himself. Returns how many were written, 0: none is dirty, or a negative errno:
 *  they are dirty still. */
int qy_file_write_run(struct qy_file *file, uint32_t *page, bool wait);
/** All of them. */
void qy_file_write_all(struct qy_file *file);
/** Too many dirty pages: who makes more writes some back. */
void qy_file_balance(struct qy_file *file);

/* ---- rmap.c. mapping.lock is held ---- */

/** No space has the pages any more. 0, or -ENOMEM: some may have some. */
QY_MUST_CHECK int qy_file_unmap(struct qy_file *file, uint32_t page, uint64_t count);
/** Nor this one, which is there and not pinned. False: -ENOMEM. */
QY_MUST_CHECK bool qy_file_unmap_page(struct qy_file *file, uint32_t page, uint32_t frame);
/** No space lets the pages be written. 0, or -ENOMEM: some may. */
QY_MUST_CHECK int qy_file_write_protect(struct qy_file *file, uint32_t page, uint64_t count);

/* ---- file.c. Without the lock ---- */

/** One user less. */
void qy_file_put(struct qy_file *file);

/** mapping.c */
extern const struct qy_mapping_ops qy_file_mapping_ops;

#endif
