/*
 * If this failed: a program whose next block fits into none of the holes that it has would hold
 * the memory of the block and that of the holes.
 */
#include "threads.h"

#define PIECE (768 * KIB)
#define PIECES 40
#define LARGE (12 * MIB)

static char *pieces[PIECES];

static void *filled(size_t bytes)
{
    char *block = malloc(bytes);
    EXPECT(block, "a block of %zu KiB", bytes / KIB);
    return memset(opaque(block), 1, bytes);
}

int main(void)
{
    if (!under_quarry())
        skip("only Quarry promises to give the memory of holes back");
    if (getenv("QUARRY_HARDEN"))
        skip("freed blocks wait before they are free");
    deadline(60);
    size_t before = resident_bytes();
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = filled(PIECE);
    for (size_t i = 0; i < PIECES; i += 2)
        free(pieces[i]);
    size_t held = resident_bytes();
    EXPECT(held > before + PIECES * PIECE / 4 * 3, "holes that still have their memory");
    char *large = filled(LARGE);
    size_t more = resident_bytes() - held;
    EXPECT(more < LARGE - 3 * MIB, "%zu MiB, in place of memory that lies in holes; came %zu",
           LARGE / MIB, more / MIB);
    free(large);
    return 0;
}
