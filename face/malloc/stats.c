/*
 * stats.c - glibc's questions about the heap, and its knobs
 *
 * WHAT    mallinfo, malloc_info and malloc_stats answer with what Quarry knows: arena is what
 *         was brought online, fordblks what of it is free in the buddy, slabs and depots,
 *         uordblks the rest, as mallinfo(3) has it: the two make up arena. Nothing is counted
 *         as mapped apart (hblks, hblkhd). mallopt takes glibc's knobs and says yes; none of them
 *         has a meaning here.
 *
 * LOCKS   none: figures are read one after the other.
 *
 * COST    Cold; malloc_trim stops all slots and drops the memory of every free frame.
 */
#define _GNU_SOURCE
#include "malloc.h"

#include "base/text.h"
#include "slab/holes.h"
#include "slab/sampled.h"

#include <quarry/buddy.h>
#include <quarry/mm.h>
#include <quarry/slab.h>
#include <quarry/view.h>

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

QY_API int malloc_trim(size_t pad)
{
    struct qy_mm *mm = qy_malloc_enter();
    int saved = errno;
    uint64_t dropped = 0;
    if (mm != NULL) {
        qy_kmem_cache_shrink_all(mm);
        dropped = qy_slab_trim(mm) + qy_mm_trim(mm, pad >> QY_PAGE_SHIFT);
    }
    qy_malloc_leave();
    errno = saved;
    return dropped != 0;
}

QY_API int mallopt(int param, int value)
{
    (void)value;
    switch (param) {
    case M_MXFAST:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
        return 1;
    default:
        return 0;
    }
}

QY_API struct mallinfo2 mallinfo2(void)
{
    struct qy_mm_stat stat = {0};
    struct qy_mm *mm = qy_malloc_get_mm();
    if (mm != NULL)
        qy_mm_stat(mm, &stat);
    size_t managed = stat.managed << QY_PAGE_SHIFT;
    size_t free_bytes = stat.free << QY_PAGE_SHIFT;
    if (mm != NULL) /* freed, and kept out of reach for a while, with guards; idle objects */
        free_bytes += (__atomic_load_n(&mm->quarantine.nr_frames, __ATOMIC_RELAXED) +
                       qy_sampled_idle(mm) + qy_slab_idle(mm))
                      << QY_PAGE_SHIFT;
    return (struct mallinfo2){
        .arena = managed,
        .ordblks = 1,
        .uordblks = managed - free_bytes,
        .fordblks = free_bytes,
        .keepcost = stat.backed << QY_PAGE_SHIFT,
    };
}

static int as_int(size_t n)
{
    return n > INT_MAX ? INT_MAX : (int)n;
}

QY_API struct mallinfo mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){
        .arena = as_int(wide.arena),
        .ordblks = as_int(wide.ordblks),
        .uordblks = as_int(wide.uordblks),
        .fordblks = as_int(wide.fordblks),
        .keepcost = as_int(wide.keepcost),
    };
}

QY_API int malloc_info(int options, FILE *stream)
{
    if (options != 0) {
        errno = EINVAL;
        return EINVAL;
    }
    struct mallinfo2 info = mallinfo2();
    fprintf(stream,
            "<malloc version=\"1\">\n"
            "<heap nr=\"0\">\n<sizes>\n</sizes>\n"
            "<total type=\"rest\" count=\"1\" size=\"%zu\"/>\n"
            "<system type=\"current\" size=\"%zu\"/>\n"
            "<system type=\"max\" size=\"%zu\"/>\n"
            "</heap>\n"
            "<total type=\"rest\" count=\"1\" size=\"%zu\"/>\n"
            "<system type=\"current\" size=\"%zu\"/>\n"
            "<system type=\"max\" size=\"%zu\"/>\n"
            "</malloc>\n",
            info.fordblks, info.arena, info.arena, info.fordblks, info.arena, info.arena);
    return 0;
}

QY_API void malloc_stats(void)
{
    char buffer[8192];
    struct qy_text text = {buffer, sizeof(buffer), 0};
    struct qy_mm *mm = qy_malloc_get_mm();
    struct mallinfo2 info = mallinfo2();
    qy_text_string(&text, "system bytes     = ");
    qy_text_u64_right(&text, info.arena, 10);
    qy_text_string(&text, "\nin use bytes     = ");
    qy_text_u64_right(&text, info.uordblks, 10);
    qy_text_char(&text, '\n');
    if (mm != NULL)
        qy_print_meminfo(mm, &text);
    qy_text_report(&text);
}

/* glibc has deprecated mallinfo; programs still call it. */
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
QY_API __typeof__(mallinfo) __libc_mallinfo __attribute__((alias("mallinfo")));
QY_API __typeof__(mallopt) __libc_mallopt __attribute__((alias("mallopt")));
