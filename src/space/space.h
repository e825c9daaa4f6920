/*
 * space.h - a range of addresses whose pages have frames of their own
 *
 * WHAT    struct qy_space is a mapping (space/mapping.h): pages numbered from its first
 *         address, a page table that says which frame each has, and areas that say which pages
 *         the program has and what it may do with them. The port makes the addresses true:
 *
 *           area      program's   page number    page table      port
 *           map()     address --> - start -----> frame ------->  the host's mapping
 *
 *         A page gets its frame when it is touched, as one of a block that is aligned.
 *
 *         An area may be a cached file's: then its pages' frames are the file's, and come from
 *         there (space/backing.h).
 *
 * RULES   V1, V2, V3 in space/mapping.h; V4 in space/pin.c; V5 in space/area.c; V7 in
 *         space/mappings.c; V8, V9 in space/backing.h; V10 in space/restore.c.
 *
 * LOCKS   (m) mapping.lock, for all of it, the port's calls on these addresses included: so the
 *         table and the host's mappings agree whenever it is free. Frames are taken and cleared
 *         before it. (i) fixed since creation; (h) mm->chain_lock.
 */
#ifndef QY_SPACE_SPACE_H
#define QY_SPACE_SPACE_H

#include "base/list.h"
#include "base/tree.h"
#include "space/backing.h"
#include "space/mapping.h"
#include "space/pgtable.h"

#include <quarry/space.h>

struct qy_area {
    struct qy_tree_node node; /* pages */
    uint32_t prot, flags;
    struct qy_mapper *mapper; /* (i) whose pages they are; NULL: the space's own */
    uint64_t offset;          /* (m) the first one's, within the backing */
    struct qy_list link;      /* (m) mapper->areas */
};

/** A page of a file's area that is pinned through the space. */
struct qy_file_pin {
    struct qy_tree_node node; /* the page */
    struct qy_mapper *mapper; /* (i) counted in, and so is a pin of its file's page */
    uint64_t index;           /* (i) of the file */
    uint32_t pins;            /* (m) */
};

struct qy_space {
    struct qy_mapping mapping;
    char *start;             /* (i) */
    uint64_t nr_pages;       /* (i) */
    struct qy_pgtable table; /* (m) */
    struct qy_tree areas;    /* (m) */
    uint64_t nr_areas;       /* (m) */
    uint64_t nr_islands;     /* (m) of them, behind a gap */
    uint64_t nr_mapped;      /* (m) pages of all areas */
    uint64_t nr_resident;    /* (m) of them with a frame */
    uint64_t nr_file;        /* (m) of these, with a file's */
    struct qy_list mappers;  /* (m) struct qy_mapper.in_space */
    struct qy_tree pins;     /* (m) struct qy_file_pin */
    uint64_t nr_isolated;    /* (m) of them, being moved: V2 */
    uint64_t nr_pinned;      /* (m) of them, pinned: V3 */
    uint64_t nr_faults;      /* (m) pages that got a frame */
    uint64_t nr_moved;       /* (m) pages that got a new one */
    uint64_t nr_mappings;    /* (m) of the host: V7 */
    uint64_t charged;        /* (m) in mm->nr_mappings, and in those below: V7 */
    uint64_t collapse_page;  /* (m) where mappings.c goes on looking */
    uint32_t nr_waiters;     /* (m) for the end of a move, or of a last access */
    bool said_no_mappings;   /* (m) reported once */
    uint64_t doubt,
        doubt_end; /* (m) V10: in doubt are pages from the one up to the other, if any */
    _Atomic uint64_t *host_mappings; /* (i) of all memories */
    _Atomic uint32_t moves; /* moves, and last accesses, that ended: whoever waits sleeps on it */
    struct qy_list link;    /* (h) mm->spaces */
};

static inline struct qy_space *qy_space_of(struct qy_mapping *mapping)
{
    return (struct qy_space *)((char *)mapping - offsetof(struct qy_space, mapping));
}

static inline void *qy_space_address(const struct qy_space *space, uint64_t page)
{
    return space->start + (page << QY_PAGE_SHIFT);
}

/** The number of the page that holds an address; nr_pages or more: not of this space. */
static inline uint64_t qy_space_page(const struct qy_space *space, const void *address)
{
    return ((uintptr_t)address - (uintptr_t)space->start) >> QY_PAGE_SHIFT;
}

/** What an entry of an area's page says, and back. */
static inline uint32_t qy_prot_flags(uint32_t prot)
{
    return (prot & QY_PROT_WRITE)  ? QY_PTE_READ | QY_PTE_WRITE
           : (prot & QY_PROT_READ) ? QY_PTE_READ
                                   : 0;
}

static inline uint32_t qy_flags_prot(uint32_t flags)
{
    return (flags & QY_PTE_WRITE)  ? QY_PROT_READ | QY_PROT_WRITE
           : (flags & QY_PTE_READ) ? QY_PROT_READ
                                   : QY_PROT_NONE;
}

/** What the host lets be done with an entry's page, a file's or not: it is written only when it is
 *  not isolated. */
static inline uint32_t qy_pte_host_prot(qy_pte_t pte)
{
    uint32_t prot = qy_flags_prot(qy_pte_flags(pte));
    return qy_pte_is_isolated(pte) ? prot & ~QY_PROT_WRITE : prot;
}

/** What an entry says when its area allows no more than @flags: those of files never more than they
 *  did, for that is the file's to say when they are touched. */
static inline uint32_t qy_pte_flags_under(qy_pte_t pte, uint32_t flags)
{
    return qy_pte_is_file(pte) ? qy_pte_flags(pte) & (flags | QY_PTE_FILE) : flags;
}

/** Neighbours that are one but for what may be done with them. */
static inline bool qy_areas_are_alike(const struct qy_area *area, const struct qy_area *next)
{
    return next->flags == area->flags && next->mapper == area->mapper &&
           (area->mapper == NULL ||
            next->offset == area->offset + (area->node.end - area->node.start));
}

/** No two neighbours can be more alike. */
static inline bool qy_areas_join(const struct qy_area *area, const struct qy_area *next)
{
    return next->prot == area->prot && qy_areas_are_alike(area, next);
}

/** Whole pages of this space. */
static inline bool qy_space_holds(const struct qy_space *space, const void *address, size_t bytes)
{
    uint64_t page = qy_space_page(space, address);
    return ((uintptr_t)address | bytes) % QY_PAGE_BYTES == 0 && bytes != 0 &&
           page < space->nr_pages && bytes >> QY_PAGE_SHIFT <= space->nr_pages - page;
}

/* ---- area.c: the lock is held ---- */

struct qy_area *qy_area_at(const struct qy_space *space, uint64_t page);
/** The area that holds the page, or the next one; NULL. */
struct qy_area *qy_area_from(const struct qy_space *space, uint64_t page);
/** Is every page of the range in an area? */
bool qy_area_covers(const struct qy_space *space, uint64_t page, uint64_t count);
/** Where one of so many pages can begin, or QY_TREE_NO_GAP, and why. */
uint64_t qy_area_gap(struct qy_space *space, uint64_t count, const char **why);
/** A new one, where none is. */
void qy_area_insert(struct qy_space *space, struct qy_area *area, uint64_t start, uint64_t end);
/** Does an area begin before this page, and end behind it? */
bool qy_area_lies_across(const struct qy_space *space, uint64_t page);
/** See that none does: cut it, with *spare, which is NULL then. */
void qy_area_cut(struct qy_space *space, uint64_t page, struct qy_area **spare);
/** Take out areas that lie wholly within the range. Returns them, linked by node.left. */
struct qy_area *qy_area_remove(struct qy_space *space, uint64_t page, uint64_t count);
/** Make one of neighbours that are alike, from @page to @page + count. What is left over is
 *  returned as above. */
struct qy_area *qy_area_join(struct qy_space *space, uint64_t page, uint64_t count);
/** How many more areas and islands there are, together, when the range is none any more. */
int qy_area_growth_unmapped(const struct qy_space *space, uint64_t page, uint64_t count);
/** When it, which is all in areas, may be used so. */
int qy_area_growth_protected(const struct qy_space *space, uint64_t page, uint64_t count,
                             uint32_t prot);
/** Free what the two above returned; no lock. */
void qy_areas_free(struct qy_mm *mm, struct qy_area *areas);

/* ---- backed.c: areas of files ---- */

/** What a fault at the page, which lies in this area, asks the area's backing for. lock held. */
struct qy_touch qy_area_touch(const struct qy_area *area, uint64_t page, uint32_t need);
/** The page's mapper, counted in, if its area has one; NULL. No lock is held. */
struct qy_mapper *qy_mapper_at(struct qy_space *space, uint64_t page, struct qy_touch *touch);
/** Count out. No lock is held. It does not end the file: who faults may be inside mm->grace, which
 *  that waits for. */
void qy_mapper_put(struct qy_mapper *mapper);
/** Mappers that have no area any more leave the space, onto the list, when the last access that was
 *  under way is over. lock held; it may be let go of. */
void qy_mappers_leave_locked(struct qy_space *space, struct qy_list *left);
/** They leave their backings, which may go with them. No lock is held. */
void qy_mappers_detach(struct qy_list *left);
/** Mappings are short. Pages of files need none until they are touched again: so all of the space's
 *  give theirs up, but for those that are pinned. True: some did. lock held. */
bool qy_space_make_way_locked(struct qy_space *space);

/* ---- fault.c ---- */

/** Pages of a block without QY_AREA_HUGE: 64 KiB. */
#define QY_SPACE_AROUND_ORDER 4
#define QY_SPACE_AROUND (1u << QY_SPACE_AROUND_ORDER)

/** Why a page cannot be put in place. */
enum qy_lack {
    QY_LACK_NOTHING,
    QY_LACK_FRAMES,
    QY_LACK_MAPPINGS
};

/** What a page is wanted for. */
struct qy_want {
    uint32_t need;     /* QY_PROT_* that it must allow; NONE: a call asks, which can be refused */
    bool pinned;       /* its frame will stay where it is for long */
    enum qy_lack lack; /* with -ENOMEM: of what */
};

/** See that a page has a frame: as the page of a block. No lock is held. Errors as
 *  qy_space_fault(). */
QY_MUST_CHECK int qy_space_fill(struct qy_space *space, uint64_t page, struct qy_want *want);
/** The same for each page of a run, up to the first that cannot have one. */
QY_MUST_CHECK int qy_space_populate(struct qy_space *space, uint64_t page, uint64_t count);

/** qy_space_fault(), and of what there is a lack. */
QY_MUST_CHECK int qy_space_touch(struct qy_space *space, const void *address, bool write,
                                 enum qy_lack *lack);

/** How many pages from this one on, which has an entry, are on frames in a row, alike, at most
 *  up to @end. *pte: the first one's entry. */
uint64_t qy_space_run_locked(const struct qy_space *space, uint64_t page, uint64_t end,
                             qy_pte_t *pte);
/** Wait until a move has ended; the lock is let go meanwhile. */
void qy_space_wait_locked(struct qy_space *space);

/* ---- map.c: pages [page, page + count) ---- */

/** Wait until none of them is being moved; the lock is let go meanwhile. */
void qy_space_settle_locked(struct qy_space *space, uint64_t page, uint64_t count);
/** The host's tables for them, who are about to go, are the core's. */
void qy_space_recall_pages_locked(struct qy_space *space, uint64_t page, uint64_t count);
/** Their frames go back, but for those of files; none is pinned or being moved, and the host has
 *  let go. */
void qy_space_release_locked(struct qy_space *space, uint64_t page, uint64_t count);

/* ---- mappings.c ---- */

/** How many mappings of the host the space takes, counted anew. */
uint64_t qy_space_mappings(const struct qy_space *space);
/** What a space is charged: those, or one for each area and gap. */
static inline uint64_t qy_space_charge(uint64_t nr_mappings, uint64_t areas_and_islands)
{
    return nr_mappings > areas_and_islands + 1 ? nr_mappings : areas_and_islands + 1;
}

/** How many more it takes when the pages are on frames in a row, the first as the entry says; 0: on
 *  none. Before they are. */
int64_t qy_space_growth_locked(const struct qy_space *space, uint64_t page, uint64_t count,
                               qy_pte_t pte);
/** When what is on frames has these flags. */
int64_t qy_space_growth_by_flags_locked(const struct qy_space *space, uint64_t page, uint64_t count,
                                        uint32_t flags);
/** The space is charged so many. */
void qy_space_charge_locked(struct qy_space *space, uint64_t charge);
/** So many more, or less than 0, and perhaps other areas: charge for them. */
void qy_space_recount_locked(struct qy_space *space, int64_t growth);
/** May there be so many mappings more, and areas and islands? @access: of a program, which cannot
 *  be refused. */
QY_MUST_CHECK bool qy_space_may_grow_locked(const struct qy_space *space, int64_t growth, int areas,
                                            bool access);
/** A mapping was refused: say so, once. -ENOMEM. */
int qy_space_no_mappings_locked(struct qy_space *space);

/** Are the mappings that calls may take used up? Racy. */
bool qy_space_is_short(const struct qy_space *space);
/** Make one mapping of some that are worth it. The lock is not held. */
void qy_space_collapse(struct qy_space *space);

/* ---- restore.c ---- */

/** Is some page of [page, end) in doubt? */
static inline bool qy_space_in_doubt(const struct qy_space *space, uint64_t page, uint64_t end)
{
    return page < space->doubt_end && space->doubt < end && space->doubt < space->doubt_end;
}

/** The host has refused something, and may have something else there than what entries say. */
void qy_space_doubt_locked(struct qy_space *space, uint64_t page, uint64_t end);
/** If pages of [page, end) are in doubt: the host is told what entries say, so that none is, or
 *  fewer are. Not while a call has changed the host and not yet the entries. */
void qy_space_restore_locked(struct qy_space *space, uint64_t page, uint64_t end);
/** So, and this one first. 0; -ENOMEM: it still is. */
QY_MUST_CHECK int qy_space_restore_page_locked(struct qy_space *space, uint64_t page);
/** The host allows this on pages that all have entries. 0; -ENOMEM: they are in doubt. */
QY_MUST_CHECK int qy_space_allow_locked(struct qy_space *space, uint64_t page, uint64_t end,
                                        uint32_t prot);
/** It has none of them. 0; -ENOMEM: those with entries are in doubt. */
QY_MUST_CHECK int qy_space_deny_locked(struct qy_space *space, uint64_t page, uint64_t end);
/** The host's tables for these pages, alike and on frames from @pfn on, go over to the core, who
 *  touches the frames next. Pages that may not be written keep theirs. */
void qy_space_recall_locked(struct qy_space *space, uint64_t page, qy_pfn_t pfn, uint64_t count);

/* ---- rmap.c ---- */

extern const struct qy_mapping_ops qy_space_ops;

/** As in mapping.h, with the lock held. */
int qy_space_isolate_locked(struct qy_space *space, uint64_t page, qy_pfn_t pfn, unsigned count);
int qy_space_putback_locked(struct qy_space *space, uint64_t page, qy_pfn_t from, qy_pfn_t to,
                            unsigned count);
/** The moves that ended are seen by those who wait. */
void qy_space_wake(struct qy_space *space);

/** The pages, which have frames in a row, get them: V1. */
void qy_space_own_locked(struct qy_space *space, uint64_t page, qy_pfn_t pfn, uint64_t count);
/** The frames are the pages' no more; they go back. */
void qy_space_disown_locked(struct qy_space *space, qy_pfn_t pfn, uint64_t count);

#endif
