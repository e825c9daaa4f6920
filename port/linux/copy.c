/*
 * copy.c - pages are copied, many of them past the caches, and cleared
 *
 * WHAT    Whoever moves pages looks at them no more, and they are more than the caches hold: so
 *         lines are written without being read first, and nobody else's are pushed out for them.
 *
 * LOCKS   none.
 *
 * COST    Per page 0.3 us where memcpy(3) takes 0.45, neither side being in a cache.
 */

#include "memory/mm.h"

#include <string.h>

/** Fewer fit into the caches, and are likely to be looked at soon by whoever waits for them. */
#define FEWEST_PAGES 64

#if defined(__x86_64__)
#include <emmintrin.h>

#define LINE 4 /* units of 16 bytes */

static void copy_past_caches(__m128i *to, const __m128i *from, size_t units)
{
    for (size_t i = 0; i < units; i += LINE) {
        __m128i a = _mm_load_si128(&from[i]), b = _mm_load_si128(&from[i + 1]);
        __m128i c = _mm_load_si128(&from[i + 2]), d = _mm_load_si128(&from[i + 3]);
        _mm_stream_si128(&to[i], a);
        _mm_stream_si128(&to[i + 1], b);
        _mm_stream_si128(&to[i + 2], c);
        _mm_stream_si128(&to[i + 3], d);
    }
    _mm_sfence(); /* such stores are in no order by themselves */
}
#endif

/** The host's entries may be with a space (tables.c). Who reads gets those of 16 pages in one
 *  fault, who writes those of one. */
static void meet(const char *pages, uint64_t count)
{
    for (uint64_t i = 0; i < count; i += 16)
        (void)*(const volatile char *)(pages + (i << QY_PAGE_SHIFT));
}

void qy_port_copy_pages(struct qy_mm *mm, void *to, const void *from, uint64_t count)
{
    (void)mm;
    meet(to, count);
#if defined(__x86_64__)
    if (count >= FEWEST_PAGES) {
        copy_past_caches(to, from, (count << QY_PAGE_SHIFT) / sizeof(__m128i));
        return;
    }
#endif
    memcpy(to, from, count << QY_PAGE_SHIFT);
}

void qy_port_clear_pages(struct qy_mm *mm, void *to, uint64_t count)
{
    (void)mm;
    meet(to, count);
    memset(to, 0, count << QY_PAGE_SHIFT);
}
