/*
 * tiny.c - a program that does almost nothing
 *
 * Stands for the small commands that scripts start by the thousand. Ten blocks, their first bytes
 * written, all freed, the end. What remains is the allocator's start-up, in time and in memory.
 *
 *   tiny
 */
#include <stdlib.h>

int main(void)
{
    void *volatile blocks[10];
    for (int i = 0; i < 10; i++) {
        blocks[i] = malloc((size_t)16 << i);
        if (!blocks[i])
            return 1;
        *(volatile char *)blocks[i] = 1;
    }
    for (int i = 0; i < 10; i++)
        free(blocks[i]);
    return 0;
}
