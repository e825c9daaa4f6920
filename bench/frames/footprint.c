/*
 * footprint.c - what the book-keeping costs in memory
 *
 *   meta-free   resident memory that an instance adds, for each byte described, all 4 GiB free
 *   meta-full   the same when every frame has been taken singly
 *   idle-1T     resident memory that an idle instance with a terabyte-wide range adds
 */
#include "frames.h"

static void share(const char *name, uint64_t kib)
{
    printf("%s x %.8f 0 0\n", name, (double)kib / (double)(MEMORY_FRAMES * BENCH_PAGE / 1024));
}

int main(void)
{
    static qy_pfn_t pfns[MEMORY_FRAMES];
    struct qy_error error;
    memset(pfns, 1, sizeof(pfns)); /* resident from now on */
    uint64_t before = resident_kib();
    struct qy_mm *mm = memory_new();
    share("meta-free", resident_kib() - before);
    uint64_t n = 0;
    while (n < MEMORY_FRAMES &&
           (pfns[n] = qy_alloc_pages(mm, QY_GFP_HIGHUSER_MOVABLE | QY_GFP_NOWARN, 0)) !=
               QY_PFN_NONE)
        n++;
    share("meta-full", resident_kib() - before);
    report_kib("frames-lost", (MEMORY_FRAMES - n) * 4, 0);

    before = resident_kib();
    struct qy_mm *process =
        qy_linux_mm_create(&(struct qy_linux_options){.span_bytes = 1ull << 40}, &error);
    if (!process)
        die(error.text);
    report_kib("idle-1T", resident_kib() - before, 0);
    return 0;
}
