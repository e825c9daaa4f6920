/*
 * quarry/linux.h - Quarry inside a Linux process
 */
#ifndef QUARRY_LINUX_H
#define QUARRY_LINUX_H

#include <quarry/mm.h>
#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qy_linux_options {
    uint64_t limit_bytes;     /* all that this instance ever takes, metadata included; 0: none */
    uint64_t span_bytes;      /* width of the address range it may grow in; 0: 1 TiB */
    uint32_t kmalloc_flags;   /* QY_SLAB_* for the caches behind kmalloc: slab.h */
    bool movable;             /* spaces, cached files, contiguous regions: as in mm.h */
    bool shared;              /* implies movable: frames can be mapped into spaces (space.h). They
                                 lie in a memfd then, mapped shared; a child that fork() makes has
                                 none of them: calls on spaces, files and regions fail with
                                 ENOTSUP there, and it must not use the instance otherwise */
    bool fixed;               /* all span_bytes are brought online at once */
    uint64_t min_free_kbytes; /* watermarks, as in struct qy_mm_options; 0: Linux's formula if
                                 fixed, else none */
};

/**
 * A memory of this process's own: frames are pages of an address range that is mapped as it
 * is needed. Returns NULL with *error filled in (ENOMEM: no such range, EINVAL).
 */
QY_API QY_MUST_CHECK struct qy_mm *qy_linux_mm_create(const struct qy_linux_options *options,
                                                      struct qy_error *error);

/**
 * A memory out of 2 MiB hugepages of the system's pool, under the frame numbers that the machine
 * gives them: what qy_alloc_pages_exact() or a contiguous region (cma.h) hands out as one run is
 * one run for a device, at pfn << 12, and for the program, at qy_page_address(). Zones are DMA32
 * (below 4 GiB) and Normal. All pages are taken, cleared and mapped at once; none comes later,
 * and none goes back before qy_linux_mm_destroy().
 *
 * @bytes    rounded up to 2 MiB; at most 4 TiB
 * @options  kmalloc_flags, movable and min_free_kbytes count (0: Linux's formula); NULL: none.
 *           shared is movable here: regions and cached files, but no spaces, whose pages of
 *           4 KiB no system maps out of a hugepage
 *
 * Runs of neighbouring pages are kept together, the longest QY_MAX_RANGES of them: what is left
 * is given back, and *error then says how much, with code 0. How long runs are is the system's
 * doing: it hands out pages without free neighbours first, so reserve at boot (hugepages=N), or
 * ask for more than is needed.
 *
 * Returns NULL with *error saying what to do: EPERM (only root, CAP_SYS_ADMIN, may see frame
 * numbers), ENOMEM (too few free hugepages: sysctl vm.nr_hugepages; or no addresses), ENOENT (no
 * /proc), ENOTSUP (a kernel without such pages), EFBIG (RLIMIT_FSIZE), EAGAIN (a page was moved
 * meanwhile), EINVAL. Nothing is held then, and qy_linux_mm_create() serves with the same options.
 *
 * The system moves a hugepage only when its memory is taken offline, fails, or is moved by
 * migrate_pages(2) and the like; frame numbers are not followed then. A device driver pins what it
 * is given (VFIO), and ends that.
 *
 * A child that fork() makes has none of the frames (MADV_DONTFORK), and must not use the instance:
 * touching one ends it by SIGSEGV. They stay the parent's alone.
 */
QY_API QY_MUST_CHECK struct qy_mm *qy_linux_hugepages_create(uint64_t bytes,
                                                             const struct qy_linux_options *options,
                                                             struct qy_error *error);

/**
 * Let the threads of this process have slots of an instance that qy_mm_create() made: per-CPU
 * lists and magazines, which they use without a lock. Without this every call goes to the
 * zones and slabs. qy_linux_mm_create() does it by itself.
 *
 * Returns 0, -EEXIST (it is open), or -EAGAIN (15 instances are open: it goes on without slots).
 */
QY_API QY_MUST_CHECK int qy_linux_mm_open(struct qy_mm *mm);

/**
 * The end of what qy_linux_mm_open() began: what lies in slots goes back, and no thread has one
 * any more. To be called before the memory of the instance goes; no other thread may be in
 * a call on it. The instance goes on without slots.
 */
QY_API void qy_linux_mm_close(struct qy_mm *mm);

struct qy_file;

/**
 * Cache a regular file: cache.h. Its name in reports is the end of the path.
 *
 * @flags  as open(2) takes them: O_RDONLY, or O_RDWR with or without O_CREAT, O_TRUNC ...; O_APPEND
 *         means nothing, for each write says where; with O_DIRECT whole pages go past the host's
 *         cache, and only the end of a file of another length goes through it
 * NULL with *error: open(2)'s errno, EISDIR, EINVAL (neither of these), or as qy_file_create().
 */
QY_API QY_MUST_CHECK struct qy_file *qy_linux_file_open(struct qy_mm *mm, const char *path,
                                                        int flags, struct qy_error *error);

/**
 * A thread that gives up cache as soon as a zone falls below its low watermark, until it is at
 * its high one: so those who allocate seldom have to. Without watermarks (min_free_kbytes) it has
 * nothing to do. 0, -EEXIST, or -EAGAIN (no thread, or 15 instances have one).
 */
QY_API QY_MUST_CHECK int qy_linux_reclaimer_start(struct qy_mm *mm);
/** Its end; before qy_linux_mm_destroy(). Nothing happens if there is none. */
QY_API void qy_linux_reclaimer_stop(struct qy_mm *mm);

/** Unmap all of it. No thread may use it any more, nor any block out of it. */
QY_API void qy_linux_mm_destroy(struct qy_mm *mm);

/**
 * For programs that install a handler of SIGSEGV after the first space was created: call this
 * first, with what the handler was given (a siginfo_t and a ucontext_t). True: it was a page of a
 * space that is in place now, or that the access may try again; return. False: it is the program's
 * own fault.
 *
 * A handler that was there before needs nothing: Quarry's calls it for faults that are not of
 * spaces. Quarry's runs on the alternate stack if the thread has one, lets the signal come again
 * meanwhile, and other signals wait: block them in yours as well, if their handlers touch areas.
 * An access by a system call is no fault but an EFAULT: have the pages in place by
 * qy_space_pin(), or populated, before.
 */
QY_API QY_MUST_CHECK bool qy_linux_fault_handler(int signal, void *info, void *context);

#ifdef __cplusplus
}
#endif
#endif
