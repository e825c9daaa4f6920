/* memories NAME...: makes a memory for each, with a region of this name, takes 4 MiB out of it,
 * says so, and waits. Of a memory "hidden" the start is not that of a mapping; "pieces" has 210,000
 * frames, of which every second one is free. */
#define _GNU_SOURCE
#include <quarry/buddy.h>
#include <quarry/cma.h>
#include <quarry/linux.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define ALONE (4 << 20)
#define PIECES 210000

static int is_start(const void *address)
{
    char line[512];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
        found |= strtoul(line, NULL, 16) == (unsigned long)address;
    return maps == NULL || fclose(maps) != 0 || found;
}

/** What lies before it becomes one mapping with it. */
static int hide(struct qy_mm *mm)
{
    char *before = (char *)mm - PAGE;
    return mmap(before, PAGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
                0) == before &&
           !is_start(mm);
}

static int make_pieces(struct qy_mm *mm)
{
    static qy_pfn_t pfns[PIECES];
    for (int i = 0; i < PIECES; i++)
        if ((pfns[i] = qy_alloc_pages(mm, QY_GFP_KERNEL, 0)) == QY_PFN_NONE)
            return 0;
    for (int i = 0; i < PIECES; i += 2)
        if (qy_free_pages(mm, pfns[i], 0) != 0)
            return 0;
    return 1;
}

static int make(const char *name)
{
    const struct qy_linux_options movable = {.movable = true};
    const struct qy_cma_options options = {
        .name = name, .ranges = {{QY_PFN_NONE, 4096}}, .nr_ranges = 1};
    const struct qy_cma_request four = {.nr_frames = 1024};
    struct qy_mm *mm = qy_linux_mm_create(&movable, NULL);
    qy_pfn_t pfn;
    struct qy_cma *region = mm != NULL ? qy_cma_create(mm, &options, NULL) : NULL;
    if (region == NULL || qy_cma_alloc(region, &four, &pfn, NULL) != 0)
        return 0;
    return strcmp(name, "hidden") == 0 ? hide(mm) : strcmp(name, "pieces") != 0 || make_pieces(mm);
}

/** A page far from all others, which a look must not touch. */
static char *map_alone(void)
{
    char *at = mmap(NULL, ALONE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED || mprotect(at + ALONE / 2, PAGE, PROT_READ | PROT_WRITE) != 0)
        exit(1);
    return at + ALONE / 2;
}

int main(int argc, char **argv)
{
    char *untouched = map_alone();
    for (int i = 1; i < argc; i++)
        if (!make(argv[i]))
            return 1;
    printf("ready %#lx\n", (unsigned long)untouched);
    fflush(stdout);
    sleep(120);
    return 0;
}
