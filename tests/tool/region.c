/* Reads 12 MiB of a file into memory that is lent, takes 4 + 2 MiB out of the region and gives
 * 2 back, asks in vain for 16, says so, and waits. With an argument it ends instead, or aborts. */
#include <quarry/cache.h>
#include <quarry/cma.h>
#include <quarry/linux.h>
#include <quarry/malloc.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096
#define FILE_PAGES 3072

int main(int argc, char **argv)
{
    char path[] = "/tmp/quarry-region.XXXXXX", page[PAGE] = "";
    struct qy_mm *mm = qy_malloc_memory();
    struct qy_cma *region = mm != NULL ? qy_cma_find(mm, "default") : NULL;
    if (region == NULL || mkstemp(path) < 0)
        return 1;
    struct qy_file *file = qy_linux_file_open(mm, path, O_RDWR, NULL);
    unlink(path);
    for (uint64_t at = 0; file != NULL && at < FILE_PAGES; at++)
        if (qy_file_write(file, page, PAGE, at * PAGE) != PAGE)
            return 1;
    const struct qy_cma_request four = {.nr_frames = 1024}, two = {.nr_frames = 512},
                                sixteen = {.nr_frames = 4096};
    qy_pfn_t pfn;
    if (qy_cma_alloc(region, &four, &pfn, NULL) != 0 ||
        qy_cma_alloc(region, &two, &pfn, NULL) != 0 || qy_cma_release(region, pfn, 512) != 0 ||
        qy_cma_alloc(region, &sixteen, &pfn, NULL) == 0)
        return 1;
    printf("%s ready\n", argv[0]);
    fflush(stdout);
    if (argc == 1)
        sleep(120);
    if (strcmp(argv[argc - 1], "abort") == 0)
        abort();
    return 0;
}
