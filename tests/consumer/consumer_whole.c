/*
 * consumer_whole.c - somebody else's program on libquarry-whole.so: malloc and the library share a
 * memory
 */
#include <quarry/buddy.h>
#include <quarry/malloc.h>

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    struct qy_mm *mm = qy_malloc_memory();
    void *volatile block = malloc(100000);
    int shared = mm && block && qy_virt_to_pfn(mm, block) != QY_PFN_NONE;
    free(block);
    if (!shared)
        fprintf(stderr, "consumer: malloc's block is not of malloc's memory\n");
    return shared ? 0 : 1;
}
