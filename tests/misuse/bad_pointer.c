/*
 * If these were not stopped: memory that never came from malloc, or the middle of a block, would
 * become a block that others get.
 */
#include "misuse.h"
#include <limits.h>

/* ---- inside of a block ---- */

static void inside(size_t size, size_t offset)
{
    char *p = block_of(size);
    free(p + offset);
    nothing_exploitable(size);
    free(p);
}

static void inside_16(void)
{
    inside(64, 16);
}
static void inside_32(void)
{
    inside(1000, 32);
}
static void inside_8(void)
{
    inside(64, 8);
}
static void inside_1(void)
{
    inside(64, 1);
}
static void inside_page(void)
{
    inside(20000, 4096);
}
static void inside_large_16(void)
{
    inside(100 * KIB, 16);
}
static void inside_large_page(void)
{
    inside(100 * KIB, 4096);
}
static void inside_large_half(void)
{
    inside(MIB, 512 * KIB);
}
static void inside_huge_block(void)
{
    inside(9 * MIB, 2 * MIB);
}
static void inside_huge_page(void)
{
    inside(9 * MIB, 4096);
}

static void inside_aligned(void)
{
    char *p = memalign(4096, 4096);
    free(p + 64);
    nothing_exploitable(4096);
    free(p);
}

static void before_start(void)
{
    char *first = block_of(64), *p = block_of(64);
    free((p < first ? p : first) - 16);
    nothing_exploitable(64);
}

static void past_end(void)
{
    char *p = block_of(MIB);
    free(p + MIB);
    nothing_exploitable(MIB);
    free(p);
}

static void realloc_misaligned(void)
{
    char *p = block_of(100);
    void *q = realloc(p + 8, 200);
    nothing_exploitable(100);
    free(q);
}

static void realloc_inside(void)
{
    char *p = block_of(64);
    void *q = realloc(p + 16, 200);
    nothing_exploitable(64);
    free(q);
}

static void realloc_inside_large(void)
{
    char *p = block_of(MIB);
    void *q = realloc(p + 64 * KIB, 2 * MIB);
    nothing_exploitable(MIB);
    free(q);
}

static void size_inside(void)
{
    char *p = block_of(64);
    if (malloc_usable_size(p + 16) > 48 + 16)
        exploitable("a usable size that reaches beyond the block");
    free(p);
}

/* ---- not from malloc at all ---- */

static void of_stack(void)
{
    uint64_t local[32] __attribute__((aligned(16)));
    memset(local, 0, sizeof local);
    free(local);
    nothing_exploitable(64);
    nothing_exploitable(sizeof local);
}

/* Dressed up as a block of a heap with headers. */
static void of_stack_dressed(void)
{
    uint64_t local[64] __attribute__((aligned(64)));
    for (int i = 0; i < 64; i++)
        local[i] = i % 2 ? 0x41 : 0;
    free(&local[2]);
    nothing_exploitable(0x38);
}

static void of_stack_odd(void)
{
    char local[64];
    memset(local, 0, sizeof local);
    free(local + 3);
    nothing_exploitable(48);
}

static void of_global(void)
{
    decoy[1] = 0x51;
    decoy[11] = 0x51;
    free(&decoy[2]);
    nothing_exploitable(0x48);
}

static void of_page_aligned_global(void)
{
    free(decoy);
    nothing_exploitable(4096);
}

static const char constant[64] __attribute__((aligned(16))) = "a constant";
static void of_constant(void)
{
    free((void *)(uintptr_t)constant);
    nothing_exploitable(64);
}

static void of_function(void)
{
    free((void *)(uintptr_t)of_constant);
    nothing_exploitable(64);
}

static void of_mapping(void)
{
    char *pages = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(pages);
    nothing_exploitable(MIB);
    pages[0] = 1;
}

static void inside_mapping(void)
{
    char *pages = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ((uint64_t *)pages)[1] = 0x1002;
    free(pages + 16);
    nothing_exploitable(4096);
    pages[0] = 1;
}

static void of_break(void)
{
    char *end = sbrk(8192);
    free((char *)(((uintptr_t)end + 4095) & ~(uintptr_t)4095));
    nothing_exploitable(4096);
}

static void of_environment(void)
{
    extern char **environ;
    free(environ);
    nothing_exploitable(64);
}

static _Thread_local char of_this_thread[64] __attribute__((aligned(64)));
static void of_thread_local(void)
{
    free(of_this_thread);
    nothing_exploitable(64);
}

static void of_small_number(void)
{
    free((void *)(uintptr_t)16);
}
static void of_odd_number(void)
{
    free((void *)(uintptr_t)13);
}
static void of_top_address(void)
{
    free((void *)(uintptr_t)-16);
}
static void of_kernel_address(void)
{
    free((void *)(UINT64_C(0xffff888000001000)));
}
static void of_no_address(void)
{
    free((void *)(UINT64_C(0x4141414141414140)));
}

static void of_unmapped(void)
{
    char *pages = mmap(NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages, MIB);
    free(pages);
    nothing_exploitable(MIB);
}

/* ---- in the heap, but never given out ---- */

static void far_in_heap(void)
{
    char *p = block_of(64);
    free((char *)(((uintptr_t)p & ~(uintptr_t)4095) + 700 * MIB));
    nothing_exploitable(64);
}

/* The highest block that is alive has, behind it, places that nobody got yet. */
static void never_given(void)
{
    char *blocks[70], *top = NULL;
    for (int i = 0; i < 70; i++) {
        blocks[i] = block_of(208);
        if (blocks[i] > top)
            top = blocks[i];
    }
    size_t step = malloc_usable_size(top) + 15;
    step -= step % 16;
    free(top + 9 * step);
    nothing_exploitable(208);
}

static void realloc_stack(void)
{
    uint64_t local[32] __attribute__((aligned(16)));
    memset(local, 0x42, sizeof local);
    void *q = realloc(local, 1000);
    nothing_exploitable(256);
    free(q);
}

static void realloc_global(void)
{
    void *q = realloc(&decoy[2], 1000);
    nothing_exploitable(64);
    free(q);
}

static void size_of_stack(void)
{
    uint64_t local[32] __attribute__((aligned(16)));
    memset(local, 0x42, sizeof local);
    if (malloc_usable_size(local) > sizeof local)
        exploitable("a usable size for memory that is not ours");
}

static void *free_other_stack(void *local)
{
    free(local);
    return NULL;
}

static void of_other_stack(void)
{
    uint64_t local[32] __attribute__((aligned(16)));
    memset(local, 0, sizeof local);
    in_thread(free_other_stack, local);
    nothing_exploitable(64);
}

static const struct misuse cases[] = {
    {"inside-16", inside_16, UNSEEN, STOPPED, NOT_A_START},
    {"inside-32", inside_32, STOPPED, STOPPED, NOT_A_START},
    {"inside-8", inside_8, STOPPED, STOPPED, NOT_A_START},
    {"inside-1", inside_1, UNSEEN, STOPPED, NOT_A_START},
    {"inside-page", inside_page, UNSEEN, STOPPED, NOT_A_START},
    {"inside-large-16", inside_large_16, STOPPED, STOPPED, NOT_A_START},
    {"inside-large-page", inside_large_page, STOPPED, STOPPED, NOT_A_START},
    {"inside-large-half", inside_large_half, STOPPED, STOPPED, NOT_A_START},
    {"inside-huge-pageblock", inside_huge_block, STOPPED, STOPPED, NOT_A_START},
    {"inside-huge-page", inside_huge_page, STOPPED, STOPPED, NOT_A_START},
    {"inside-aligned", inside_aligned, UNSEEN, STOPPED, NOT_A_START},
    {"before-start", before_start, STOPPED, STOPPED, NOT_A_START "|" NOT_OURS "|" DOUBLE_FREE},
    {"past-end", past_end, STOPPED, STOPPED, NOT_A_START "|" NOT_OURS "|" DOUBLE_FREE},
    {"realloc-misaligned", realloc_misaligned, STOPPED, STOPPED, NO_START_TO_MOVE},
    {"realloc-inside", realloc_inside, STOPPED, STOPPED, NO_START_TO_MOVE},
    {"realloc-inside-large", realloc_inside_large, STOPPED, STOPPED, NO_START_TO_MOVE},
    {"size-inside", size_inside, HARMLESS, STOPPED, "interior query"},
    {"of-stack", of_stack, STOPPED, STOPPED, NOT_OURS},
    {"of-stack-dressed", of_stack_dressed, STOPPED, STOPPED, NOT_OURS},
    {"of-stack-odd", of_stack_odd, STOPPED, STOPPED, NOT_OURS},
    {"of-other-stack", of_other_stack, STOPPED, STOPPED, NOT_OURS},
    {"of-global", of_global, STOPPED, STOPPED, NOT_OURS},
    {"of-page-aligned-global", of_page_aligned_global, STOPPED, STOPPED, NOT_OURS},
    {"of-constant", of_constant, STOPPED, STOPPED, NOT_OURS},
    {"of-function", of_function, STOPPED, STOPPED, NOT_OURS},
    {"of-mapping", of_mapping, STOPPED, STOPPED, NOT_OURS},
    {"inside-mapping", inside_mapping, STOPPED, STOPPED, NOT_OURS},
    {"of-break", of_break, STOPPED, STOPPED, NOT_OURS},
    {"of-environment", of_environment, STOPPED, STOPPED, NOT_OURS},
    {"of-thread-local", of_thread_local, STOPPED, STOPPED, NOT_OURS},
    {"of-small-number", of_small_number, STOPPED, STOPPED, NOT_OURS},
    {"of-odd-number", of_odd_number, STOPPED, STOPPED, NOT_OURS},
    {"of-top-address", of_top_address, STOPPED, STOPPED, NOT_OURS},
    {"of-kernel-address", of_kernel_address, STOPPED, STOPPED, NOT_OURS},
    {"of-no-address", of_no_address, STOPPED, STOPPED, NOT_OURS},
    {"of-unmapped", of_unmapped, STOPPED, STOPPED, NOT_OURS},
    {"far-in-heap", far_in_heap, STOPPED, STOPPED, NOT_OURS "|" DOUBLE_FREE},
    {"never-given", never_given, UNSEEN, STOPPED, NOT_OURS "|" NOT_A_START "|" DOUBLE_FREE},
    {"realloc-of-stack", realloc_stack, STOPPED, STOPPED, NOT_OURS_TO_MOVE},
    {"realloc-of-global", realloc_global, STOPPED, STOPPED, NOT_OURS_TO_MOVE},
    {"size-of-stack", size_of_stack, HARMLESS, STOPPED, "foreign query"},
};

MAIN(cases)
