/* library SIGNAL: takes 100 MB of malloc's memory by the library's own calls, gives half of it
 * back, and ends by the signal; malloc itself is never called. */
#include <quarry/malloc.h>
#include <quarry/slab.h>

#include <signal.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static void *blocks[1000];
    struct qy_mm *mm = qy_malloc_memory();
    if (argc != 2 || mm == NULL)
        return 1;
    for (int i = 0; i < 1000; i++)
        if ((blocks[i] = qy_kmalloc(mm, 100000, QY_GFP_KERNEL)) == NULL)
            return 1;
    for (int i = 0; i < 500; i++)
        if (qy_kfree(mm, blocks[i]) != 0)
            return 1;
    raise(atoi(argv[1]));
    return 1;
}
