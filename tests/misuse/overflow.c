/*
 * If these were not stopped, or not harmless: a write beyond a block would change the heap's own
 * books, and the next malloc would return what an attacker wrote.
 */
#include "misuse.h"

/* Writes `bytes` bytes at `offset` from the block's start, between two neighbours, then frees. */
static void write_beyond(size_t size, ptrdiff_t offset, size_t bytes, int value)
{
    char *blocks[9];
    for (int i = 0; i < 9; i++)
        blocks[i] = block_of(size);
    for (size_t i = 0; i < bytes; i++)
        *(volatile char *)(blocks[4] + offset + (ptrdiff_t)i) = (char)value;
    for (int i = 8; i >= 0; i--)
        free(blocks[i]);
    nothing_exploitable(size);
}

/* Between what was asked for and where the size class ends. */
static void slack_1(void)
{
    write_beyond(100, 100, 1, 0x42);
}
static void slack_8(void)
{
    write_beyond(100, 100, 8, 0x42);
}
static void slack_16(void)
{
    write_beyond(4000, 4000, 16, 0x42);
}
static void slack_zero_byte(void)
{
    write_beyond(100, 100, 1, 0);
}
static void slack_last(void)
{
    write_beyond(20, 31, 1, 0x42);
}
static void slack_aligned(void)
{
    write_beyond(24, 24, 8, 0x42);
}

/* Right behind the class: the neighbour, or a red zone. */
static void exact_1(void)
{
    write_beyond(64, 64, 1, 0x42);
}
static void exact_8(void)
{
    write_beyond(64, 64, 8, 0x42);
}
static void exact_16(void)
{
    write_beyond(64, 64, 16, 0x42);
}
static void exact_zero_byte(void)
{
    write_beyond(64, 64, 1, 0);
}
static void exact_page(void)
{
    write_beyond(4096, 4096, 8, 0x42);
}
static void neighbours(void)
{
    write_beyond(48, 48, 128, 0x42);
}

static void under_1(void)
{
    write_beyond(64, -1, 1, 0x42);
}
static void under_8(void)
{
    write_beyond(64, -8, 8, 0x42);
}
static void under_16(void)
{
    write_beyond(1000, -16, 16, 0x42);
}

static void large_1(void)
{
    write_beyond(100000, 100000, 1, 0x42);
}
static void large_8(void)
{
    write_beyond(1000000, 1000000, 8, 0x42);
}
static void large_page(void)
{
    write_beyond(256 * KIB, 256 * KIB, 4096, 0x42);
}
static void large_under(void)
{
    write_beyond(256 * KIB, -8, 8, 0x42);
}
static void huge_1(void)
{
    write_beyond(5000000, 5000000, 1, 0x42);
}
static void huge_page(void)
{
    write_beyond(6 * MIB, 6 * MIB, 64, 0x42);
}

static void huge_read(void)
{
    char *p = block_of(6 * MIB);
    (void)((volatile char *)p)[6 * MIB];
    free(p);
}

/* Aligned blocks have pages of their own, however small they are. */
static void aligned_under(void)
{
    char *p = memalign(64, 3);
    ((volatile char *)p)[-1] = 0x42;
    free(p);
    nothing_exploitable(3);
}

static void found_by_realloc(void)
{
    char *p = block_of(100);
    memset(p + 100, 0x42, 8);
    free(realloc(p, 1000));
    nothing_exploitable(100);
}

static void found_by_other_thread(void)
{
    char *p = block_of(100);
    memset(p + 100, 0x42, 8);
    in_thread(free_it, p);
    nothing_exploitable(100);
}

static void of_calloc(void)
{
    char *p = calloc(10, 10);
    p[100] = 0x42;
    free(p);
    nothing_exploitable(100);
}

static void of_aligned(void)
{
    char *p = memalign(64, 100);
    p[100] = 0x42;
    free(p);
    nothing_exploitable(100);
}

/* The end of the block moves with realloc, and so must what guards it. */
static void after_shrink(void)
{
    char *p = realloc(block_of(110), 100);
    p[105] = 0x42;
    free(p);
    nothing_exploitable(100);
}

static void after_growth(void)
{
    char *p = realloc(block_of(100), 108);
    p[108] = 0x42;
    free(p);
    nothing_exploitable(108);
}

/* Nobody frees it: the program's end is the last that can find it. */
static void never_freed(void)
{
    char *p = block_of(100);
    p[100] = 0x42;
}

static void never_freed_large(void)
{
    char *p = block_of(100000);
    p[100000] = 0x42;
}

static void ends_at_once(void)
{
    never_freed();
    _exit(0);
}

/* A header that says "free, and 0x420 long": what heaps with headers believe. */
static void false_size(void)
{
    uint64_t *a = block_of(24), *b = block_of(24), *c = block_of(24);
    a[3] = 0x421;
    b[3] = 0x421;
    free(b);
    uint64_t *d = block_of(0x410);
    if ((char *)d <= (char *)c && (char *)c < (char *)d + 0x410)
        exploitable("malloc gave overlapping blocks");
    free(a);
    free(c);
    nothing_exploitable(24);
    free(d);
}

static const struct misuse cases[] = {
    {"slack-1", slack_1, HARMLESS, STOPPED, OVERFLOW},
    {"slack-8", slack_8, HARMLESS, STOPPED, OVERFLOW},
    {"slack-16", slack_16, HARMLESS, STOPPED, OVERFLOW},
    {"slack-zero-byte", slack_zero_byte, HARMLESS, STOPPED, OVERFLOW},
    {"slack-last", slack_last, HARMLESS, STOPPED, OVERFLOW},
    {"slack-aligned", slack_aligned, HARMLESS, STOPPED, OVERFLOW},
    {"exact-1", exact_1, HARMLESS, STOPPED, OVERFLOW},
    {"exact-8", exact_8, HARMLESS, STOPPED, OVERFLOW},
    {"exact-16", exact_16, HARMLESS, STOPPED, OVERFLOW},
    {"exact-zero-byte", exact_zero_byte, HARMLESS, STOPPED, OVERFLOW},
    {"exact-page", exact_page, HARMLESS, STOPPED, OVERFLOW},
    {"neighbours", neighbours, HARMLESS, STOPPED, OVERFLOW "|" UNDERFLOW},
    {"under-1", under_1, HARMLESS, STOPPED, UNDERFLOW},
    {"under-8", under_8, HARMLESS, STOPPED, UNDERFLOW},
    {"under-16", under_16, HARMLESS, STOPPED, UNDERFLOW},
    {"large-1", large_1, HARMLESS, STOPPED, OVERFLOW},
    {"large-8", large_8, HARMLESS, STOPPED, OVERFLOW},
    {"large-page", large_page, HARMLESS, STOPPED, OVERFLOW},
    {"large-under", large_under, HARMLESS, STOPPED, UNDERFLOW},
    {"huge-1", huge_1, HARMLESS, STOPPED, OVERFLOW},
    {"huge-page", huge_page, HARMLESS, STOPPED, OVERFLOW},
    {"huge-read", huge_read, HARMLESS, STOPPED, OVERFLOW},
    {"aligned-under", aligned_under, HARMLESS, STOPPED, UNDERFLOW},
    {"found-by-realloc", found_by_realloc, HARMLESS, STOPPED, OVERFLOW},
    {"found-by-other-thread", found_by_other_thread, HARMLESS, STOPPED, OVERFLOW},
    {"of-calloc", of_calloc, HARMLESS, STOPPED, OVERFLOW},
    {"of-aligned", of_aligned, HARMLESS, STOPPED, OVERFLOW},
    {"after-shrink", after_shrink, HARMLESS, STOPPED, OVERFLOW},
    {"after-growth", after_growth, HARMLESS, STOPPED, OVERFLOW},
    {"never-freed", never_freed, HARMLESS, STOPPED, OVERFLOW},
    {"never-freed-large", never_freed_large, HARMLESS, STOPPED, OVERFLOW},
    {"ends-at-once", ends_at_once, HARMLESS, HARMLESS, OVERFLOW},
    {"false-size", false_size, HARMLESS, STOPPED, OVERFLOW},
};

MAIN(cases)
