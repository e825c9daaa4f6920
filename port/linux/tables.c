/*
 * tables.c - the host's page tables go along with the frames
 *
 * WHAT    A frame under a page of a space has two addresses, the core's and the program's. To fill
 *         the host's tables at the other one, page by page, takes longer than to copy what lies
 *         there. mremap(2) with MREMAP_DONTUNMAP takes the entries from one to the other, a whole
 *         table at a time where both lie alike in their 2 MiB:
 *
 *           fault, put back   the core's address  ----->  the program's
 *           isolate, unmap    the program's       ----->  the core's, for it is who copies next
 *
 *         Both stay mapped. Who touches the side without entries gets them back from the host page
 *         by page, as after any mmap(): nothing is ever out of reach, it is only slower. What is
 *         mapped at the core's addresses is not inherited by fork, what is mapped at the
 *         program's is: so each move of entries sets that as well.
 *
 * RULES   None of its own: what lies where is as it would be without this file.
 *
 * LOCKS   mapping->lock: nobody else maps these addresses or these frames meanwhile.
 *
 * COST    For 2 MiB 6 us, three system calls. For less than 64 KiB it does not pay.
 *
 * WHY     mremap(2) unmaps what is at the new address before it knows whether it can go on. With
 *         RLIMIT_AS it could not, once in a while: then it is not tried. What is left is a host
 *         that has no memory to describe a mapping.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "memory/mm.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/** From how many pages on it is cheaper than filling tables. */
#define FEWEST_PAGES 16

static bool addresses_are_limited(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

/** 0; -EOPNOTSUPP: nothing has changed; -ENOMEM: there may be nothing at @to any more. */
static int move_entries(void *from, void *to, size_t bytes, int when_forked)
{
    static _Atomic bool impossible; /* an old kernel, or none */
    if (bytes < FEWEST_PAGES * QY_PAGE_BYTES || impossible || addresses_are_limited())
        return -EOPNOTSUPP;
    /* Not libc's: the thread sanitizer would take it for a write to all of the range. */
    long at = syscall(SYS_mremap, from, bytes, bytes,
                      MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
    if (at != -1) {
        madvise(to, bytes, when_forked); /* it fails only at the limit of mappings */
        return 0;
    }
    /* Linux before 5.13 says EINVAL after it has unmapped what was at @to. */
    impossible = errno == EINVAL || errno == ENOSYS;
    return errno == ENOSYS ? -EOPNOTSUPP : -ENOMEM;
}

bool qy_linux_has_hole(void *address, size_t bytes)
{
    int saved = errno;
    bool has = msync(address, bytes, MS_ASYNC) != 0 && errno == ENOMEM;
    errno = saved;
    return has;
}

int qy_linux_tables_give(void *frames, void *address, size_t bytes)
{
    int saved = errno;
    int code = move_entries(frames, address, bytes, MADV_DOFORK);
    errno = saved;
    return code;
}

void qy_port_window_recall(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count)
{
    int saved = errno;
    void *frames = qy_frame_address(mm, pfn);
    size_t bytes = count << QY_PAGE_SHIFT;
    if (move_entries(address, frames, bytes, MADV_DONTFORK) == -ENOMEM &&
        qy_linux_share_again(frames, bytes) != 0 && qy_linux_has_hole(frames, bytes))
        qy_port_panic("quarry: the host took away memory that it had given\n");
    errno = saved;
}
