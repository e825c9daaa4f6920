/* As a library: a destructor that runs after Quarry's, and frees much or takes much. As a program
 * (MAIN): makes what it frees, 80 MB in small blocks. */
#include <stdlib.h>
#include <string.h>

#define NR_BLOCKS 50000

#ifdef MAIN

void late_make(void);
void late_take(void);

int main(int argc, char **argv)
{
    (void)argv;
    (argc > 1 ? late_take : late_make)();
    return 0;
}

#else

static char *blocks[NR_BLOCKS];
static int takes;

static void make(void)
{
    for (size_t i = 0; i < NR_BLOCKS; i++) {
        size_t bytes = 100 + i % 3000;
        blocks[i] = malloc(bytes);
        if (blocks[i] != NULL)
            memset(blocks[i], 1, bytes);
    }
}

void late_make(void)
{
    make();
}

/** Now nothing, and at the end all of it. */
void late_take(void)
{
    takes = 1;
}

__attribute__((destructor)) static void at_the_end(void)
{
    if (takes)
        make();
    else
        for (size_t i = 0; i < NR_BLOCKS; i++)
            free(blocks[i]);
}

#endif
