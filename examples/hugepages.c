/*
 * hugepages.c - a buffer for a device: where in the machine does it lie?
 *
 * A device that has no page tables of its own needs one contiguous run of physical addresses. Out
 * of the system's hugepages a program can have such a run, and knows where it is. As root:
 *
 *     sysctl vm.nr_hugepages=64
 *
 * Where that cannot be had the program says why, and goes on with ordinary memory.
 *
 *     cc hugepages.c $(pkg-config --cflags --libs quarry)
 */
#include <quarry/buddy.h>
#include <quarry/linux.h>

#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)

/** Memory of the machine's own frames, if there is any; else any memory. */
static struct qy_mm *open_memory(uint64_t bytes, bool *real)
{
    struct qy_error error;
    struct qy_mm *mm = qy_linux_hugepages_create(bytes, NULL, &error);
    *real = mm != NULL;
    if (error.text[0] != '\0')
        printf("hugepages: %s\n", error.text);
    if (mm == NULL)
        mm = qy_linux_mm_create(NULL, &error);
    if (mm == NULL)
        fprintf(stderr, "hugepages: %s\n", error.text);
    return mm;
}

int main(void)
{
    bool real;
    struct qy_mm *mm = open_memory(16 * MIB, &real);
    if (mm == NULL)
        return 1;

    const uint64_t frames = 1 * MIB / PAGE;
    qy_pfn_t pfn = qy_alloc_pages_exact(mm, QY_GFP_KERNEL, frames, 0);
    if (pfn == QY_PFN_NONE) {
        fprintf(stderr, "hugepages: no run of 1 MiB\n");
        return 1;
    }
    char *buffer = qy_page_address(mm, pfn);
    memset(buffer, 0, frames * PAGE);
    printf("the program writes at %p\n", (void *)buffer);
    if (real)
        printf("a device reads at   %#llx .. %#llx\n", (unsigned long long)(pfn * PAGE),
               (unsigned long long)((pfn + frames) * PAGE - 1));
    else
        printf("no device can read there: its frame numbers are this program's own\n");

    int code = qy_free_pages_exact(mm, pfn, frames);
    qy_linux_mm_destroy(mm);
    return code != 0;
}
