/*
 * If this failed: a program's heap, its cached file and its region would not share one limit:
 * malloc would fail while pages of the file could still be dropped, or all would take more than the
 * limit.
 */
#include "whole.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>

#define FILE_BYTES (48 * MIB)
#define REGION_FRAMES (16 * MIB / PAGE)
#define MOST_BLOCKS 1024

static void within(struct qy_mm *mm)
{
    struct qy_mm_stat stat;
    qy_mm_stat(mm, &stat);
    EXPECT(stat.managed * PAGE + stat.meta_bytes <= LIMIT, "at most %zu bytes, came %zu", LIMIT,
           (size_t)(stat.managed * PAGE + stat.meta_bytes));
}

static uint64_t cached(struct qy_mm *mm)
{
    struct qy_cache_stat stat;
    qy_cache_stat(mm, &stat);
    return stat.pages;
}

int main(void)
{
    static char *blocks[MOST_BLOCKS];
    struct qy_mm *mm = qy_malloc_memory();
    struct qy_cma *cma = mm ? qy_cma_find(mm, "default") : NULL;
    EXPECT(cma != NULL, "a region, for QUARRY_CMA=%s", getenv("QUARRY_CMA"));
    struct qy_file *file = open_temporary(mm, NULL);
    write_all(file, FILE_BYTES, 1);
    EXPECT(qy_file_sync(file) == 0, "to write back");
    read_all(file, FILE_BYTES, 1);
    EXPECT(cached(mm) > 30 * MIB / PAGE, "most of the file in memory, came %zu pages",
           (size_t)cached(mm));

    unsigned count = 0;
    errno = 0;
    while (count < MOST_BLOCKS && (blocks[count] = malloc(MIB / 4)) != NULL) {
        memset(blocks[count++], 1, MIB / 4);
        within(mm);
    }
    EXPECT(errno == ENOMEM, "malloc to fail with ENOMEM, came %d", errno);
    EXPECT(count * (MIB / 4) > LIMIT - 16 * MIB - 4 * MIB,
           "all but region and metadata for malloc, came %zu KiB", count * (MIB / 4) / KIB);
    EXPECT(cached(mm) <= REGION_FRAMES + 256, "pages of the file in the region only, came %zu",
           (size_t)cached(mm));

    const struct qy_cma_request request = {.nr_frames = REGION_FRAMES};
    qy_pfn_t pfn;
    int code = qy_cma_alloc(cma, &request, &pfn, NULL);
    EXPECT(code == 0, "the region, of which only clean pages are lent, came %d", code);
    EXPECT(qy_cma_release(cma, pfn, REGION_FRAMES) == 0, "to give it back");
    within(mm);
    while (count > 0)
        free(blocks[--count]);
    read_all(file, FILE_BYTES, 1);
    within(mm);
    EXPECT(qy_file_close(file) == 0, "to close the file");
    return 0;
}
