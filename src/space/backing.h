/*
 * backing.h - areas whose pages are those of another mapping: a cached file's
 *
 * WHAT    A mapper says that a space has areas of a backing. It is on a list of each of them, so
 *         both find the other:
 *
 *           backing (a file)                    space
 *             mappers  -->  mapper  <--  areas
 *             page 7 is on frame f  ----------  an entry names f as well: one frame, no copy
 *
 *         Up:    a page was touched that has no entry, or one that does not allow enough. The
 *                backing finds the frame, with no lock of the space's held: it may have to read.
 *         Down:  the backing, its own lock held, puts entries there, and takes them away, or their
 *                right to write, whenever it wants: who touches the page then comes up again. So an
 *                entry is never needed, and a frame of a file goes or moves without any.
 *
 * RULES   V8  An entry with QY_PTE_FILE lies in an area of a backing, and names the frame that the
 *             backing has for that page; such a frame's folio is QY_FOLIO_MAPPED.
 *         V9  A mapper has its areas on its list, counts them in users, and is on the lists of both
 *             its space and its backing. Who takes its last area away waits until nobody is in its
 *             ops any more, and detaches it.
 *         Checked by qy_check_spaces() in view/rules_space.c.
 *
 * LOCKS   (b) the backing's mapping->lock, which is taken first; (m) the space's; (i) fixed.
 */
#ifndef QY_SPACE_BACKING_H
#define QY_SPACE_BACKING_H

#include "base/list.h"
#include "space/mapping.h"

struct qy_space;
struct qy_area;
struct qy_mapper;

/** A page of an area was touched. */
struct qy_touch {
    uint64_t page;   /* of the space */
    uint64_t index;  /* of the backing */
    uint32_t need;   /* QY_PROT_*: what it is touched for */
    uint32_t prot;   /* what its area allows; it may have changed by now */
    bool no_mapping; /* set by qy_mapper_map(): the host allows no more; memory would not help */
};

/** What a backing does for areas. Each is called without any lock. */
struct qy_backing_ops {
    /** Have the page put there, by qy_mapper_map(), so that what it is needed for can be done. 0;
     *  -EAGAIN: look again; -EFAULT: the backing has no such page; -ENOMEM; an error of reading. */
    int (*fault)(struct qy_mapper *mapper, struct qy_touch *touch);
    /** So, and hold its frame in place. 0, or as above; -EBUSY. */
    int (*pin)(struct qy_mapper *mapper, struct qy_touch *touch, qy_pfn_t *pfn);
    void (*unpin)(struct qy_mapper *mapper, uint64_t index);
    /** The space has no area of it any more, and nobody is in the two above. The mapper leaves the
     *  backing and is freed. */
    void (*detach)(struct qy_mapper *mapper);
};

struct qy_mapper {
    const struct qy_backing_ops *ops; /* (i) */
    struct qy_mapping *backing;       /* (i) it stays as long as the mapper does */
    struct qy_space *space;           /* (i) it stays until the mapper is detached */
    bool may_write;                   /* (i) areas may allow it */
    struct qy_list in_backing;        /* (b) */
    struct qy_list in_space;          /* (m) space->mappers, until it is detached */
    struct qy_list areas;             /* (m) struct qy_area.link */
    uint64_t users;                   /* (m) areas, and calls of ops under way */
};

/** Pages in a row on frames in a row, one of which was touched. */
struct qy_frame_run {
    uint64_t index; /* the first, of the backing */
    qy_pfn_t pfn;
    unsigned count;
    uint32_t prot; /* what may be done with them, of what the area allows */
};

/** Does the memory lie, in part, in a space? No lock is held. */
bool qy_space_has(struct qy_mm *mm, const void *address, size_t bytes);

/* ---- backed.c. The backing's lock is held; they take the space's ---- */

/**
 * Make an area of @count pages from @index on, the lowest gap that has room, with the space's
 * mapper of this backing, or with *mapper, which is NULL then. *area likewise: what is left over is
 * to be freed. Its first page, or QY_TREE_NO_GAP, and why.
 */
QY_MUST_CHECK uint64_t qy_mapper_area(struct qy_space *space, struct qy_mapper **mapper,
                                      struct qy_area **area, uint64_t index, uint64_t count,
                                      const char **why);

/** Put the page that was touched there, with those of the run that are missing around it in its
 *  64 KiB. *run: those that were mapped. 0; -EAGAIN: the area is not what it was; -ENOMEM. */
QY_MUST_CHECK int qy_mapper_map(struct qy_mapper *mapper, struct qy_touch *touch,
                                struct qy_frame_run *run);

/** Pages [index, index + count) have no entries in the space any more. 0, or -ENOMEM: the host
 *  allows no more mappings; some may have none. */
QY_MUST_CHECK int qy_mapper_unmap(struct qy_mapper *mapper, uint64_t index, uint64_t count);

/** They may not be written. 0, or -ENOMEM: some may. */
QY_MUST_CHECK int qy_mapper_protect(struct qy_mapper *mapper, uint64_t index, uint64_t count);

#endif
