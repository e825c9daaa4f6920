/*
 * quarry/space.h - memory whose frames may change under the program
 *
 * A space is a range of addresses, divided into areas. A program holds plain pointers into an
 * area; which frame is under a page is Quarry's business: it comes with the first touch, and
 * may be replaced by another while threads read and write. That is what lets a contiguous
 * region be lent out and be taken back (cma.h).
 *
 * Needs an instance that was made with options.movable (mm.h); in a process, with
 * qy_linux_options.shared as well.
 */
#ifndef QUARRY_SPACE_H
#define QUARRY_SPACE_H

#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qy_space;
struct qy_file; /* cache.h */

/** What a program may do with the pages of an area. NONE: they stay, and may not be touched. */
#define QY_PROT_NONE 0x0u
#define QY_PROT_READ 0x1u
#define QY_PROT_WRITE 0x2u /* and READ */

/** Options of an area. */
#define QY_AREA_HUGE 0x1u     /* prefer whole 2 MiB blocks: fewer faults, faster moves */
#define QY_AREA_POPULATE 0x2u /* every page gets its frame now, not with its first touch */
#define QY_AREA_PRIVATE 0x4u  /* of a file: -ENOTSUP, they are shared */

/**
 * Make a space of @bytes addresses (a multiple of 2 MiB, up to 16 TiB; 0: 64 GiB).
 * @name  1 .. 31 bytes, copied: reports name it. NULL with *error: EINVAL, ENOMEM, ENOTSUP (the
 * instance was not made for it, or the port cannot map).
 */
QY_API QY_MUST_CHECK struct qy_space *qy_space_create(struct qy_mm *mm, const char *name,
                                                      uint64_t bytes, struct qy_error *error);

/** Unmap all areas and give every frame back. 0, or -EBUSY while pages are pinned: nothing
 *  changed. No other thread may use the space. */
QY_API QY_MUST_CHECK int qy_space_destroy(struct qy_space *space);

/**
 * Make an area of @bytes (> 0, rounded up to pages) in the lowest gap that has room, aligned to
 * 2 MiB if it is that large, else to 64 KiB. Its pages read as zero.
 *
 * Returns its address. NULL: ENOMEM in *error (no gap, no frames to populate it, or the host
 * allows no more mappings: vm.max_map_count).
 */
QY_API QY_MUST_CHECK void *qy_space_map(struct qy_space *space, size_t bytes, uint32_t prot,
                                        uint32_t flags, struct qy_error *error);

/**
 * Make an area whose pages are those of a cached file, from @offset (a multiple of 4096) on, as
 * mmap(2) with MAP_SHARED does: the program and the cache use the same frames. So what is written
 * by the pointer is read by qy_file_read(), by other areas and other spaces, and the other way
 * round; qy_file_sync(), or reclaim, writes it back.
 *
 * @prot   WRITE wants a file that can be written
 * @flags  QY_AREA_POPULATE: read all of it now
 *
 * The file may be closed; it stays until its last area is gone, and what was written by then is
 * written back by whoever takes that away. A page that is touched comes as qy_file_read() would
 * read it: the file's read() is called where the access is made, in a process inside a signal
 * handler. Behind the end of the file, and where reading fails, an access is a fault: -EFAULT, or
 * read()'s errno, of qy_space_fault(), and SIGSEGV in a process. Bytes behind the end in the last
 * page read as zero, or as what was written there, and go nowhere.
 *
 * Returns its address. NULL with *error: EINVAL, EFBIG (16 TiB), EROFS, ENOTSUP (QY_AREA_PRIVATE),
 * ENOMEM as qy_space_map(); when populating, read()'s.
 */
QY_API QY_MUST_CHECK void *qy_space_map_file(struct qy_space *space, struct qy_file *file,
                                             uint64_t offset, size_t bytes, uint32_t prot,
                                             uint32_t flags, struct qy_error *error);

/**
 * Take pages away; their frames go back. The range may cut areas in two or cover several.
 * 0; -EINVAL (not whole pages, or not of this space), -EBUSY (a page is pinned), -ENOMEM (an
 * area cannot be cut: no memory, or the host has no mappings for one piece more). On an error
 * nothing changed. If a file was closed and this was its last area, what is dirty is written back
 * here.
 */
QY_API int qy_space_unmap(struct qy_space *space, void *address, size_t bytes);

/** Change what may be done. Errors as qy_space_unmap(); -ENOMEM if part of it is no area; -EROFS if
 *  part of it is a file's that cannot be written. At the host's limit on mappings pages may then be
 *  open to more than their area says, until the next call that succeeds on them. */
QY_API QY_MUST_CHECK int qy_space_protect(struct qy_space *space, void *address, size_t bytes,
                                          uint32_t prot);

/**
 * A page was touched: give it a frame, or wait until its move is over. The port's fault handler
 * calls it; a program may, to have pages in place before a system call writes to them.
 *
 * 0: try again. -EFAULT: no area there, it does not allow this, or its file has no such page;
 * -ENOMEM: no frame even after reclaim, or no mapping left; what the file's read() said. Allocates;
 * takes space->lock; may read a file, and write some of it back.
 */
QY_API QY_MUST_CHECK int qy_space_fault(struct qy_space *space, const void *address, bool write);

/** The frame under an address just now, or QY_PFN_NONE. It may change at once unless pinned. */
QY_API QY_MUST_CHECK qy_pfn_t qy_space_translate(struct qy_space *space, const void *address);

/** How long a pin lasts. A long-lived one first moves its frames out of lent regions. */
enum qy_pin {
    QY_PIN_SHORT, /* for a transfer, a system call */
    QY_PIN_LONG   /* for as long as somebody likes */
};

/**
 * Hold the frames under [address, address + bytes) where they are until qy_space_unpin(): for
 * devices, and for system calls that write to them. Pages without a frame get one. pfns (may
 * be NULL) gets the frames, one a page. Pins nest.
 *
 * A page of a file is pinned in the file, as by qy_file_pin(): to be written if its area may be.
 *
 * 0; -EFAULT (no area, or no such page of its file), -ENOMEM (no frames, or none outside of lent
 * regions), -EBUSY (a page in a lent region is pinned short just now; or 65,535 times), what the
 * file's read() said. Nothing is pinned on an error.
 */
QY_API QY_MUST_CHECK int qy_space_pin(struct qy_space *space, const void *address, size_t bytes,
                                      enum qy_pin how, qy_pfn_t *pfns);
/** 0, or -EINVAL: not pinned; a report names rule V4 and nothing changed. */
QY_API int qy_space_unpin(struct qy_space *space, const void *address, size_t bytes);

struct qy_space_stat {
    uint64_t areas;
    uint64_t mapped;        /* pages of all areas */
    uint64_t resident;      /* of them with a frame */
    uint64_t pinned;        /* of them, pinned */
    uint64_t table_frames;  /* of the page tables */
    uint64_t faults, moved; /* since creation: pages that got a frame; a new one */
};

QY_API void qy_space_stat(struct qy_space *space, struct qy_space_stat *stat);

#ifdef __cplusplus
}
#endif
#endif
