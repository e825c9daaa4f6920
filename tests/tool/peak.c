/* Takes 40 MiB, first in one piece, then in pieces of 100 bytes, and gives all of it back. */
#include <stdlib.h>
#include <string.h>

static void *pieces[400000];

int main(void)
{
    char *large = malloc(40 << 20);
    if (large == NULL)
        return 1;
    memset(large, 1, 40 << 20);
    free(large);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        pieces[i] = malloc(100);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        free(pieces[i]);
    return 0;
}
