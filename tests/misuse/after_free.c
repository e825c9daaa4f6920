/*
 * If these were not stopped, or not harmless: what is written into a freed block would steer the
 * heap, or what was in it would be told to the block's next owner.
 */
#include "misuse.h"

static void write_freed(size_t size, size_t offset, size_t bytes)
{
    char *p = block_of(size);
    free(p);
    for (size_t i = 0; i < bytes; i++)
        *(volatile char *)(p + offset + i) = 0x42;
    nothing_exploitable(size);
}

static void first_word(void)
{
    write_freed(64, 0, 8);
}
static void one_bit_of_it(void)
{
    write_freed(64, 33, 1);
}
static void last_byte(void)
{
    write_freed(64, 63, 1);
}
static void middle_of_1000(void)
{
    write_freed(1000, 500, 16);
}
static void whole_page(void)
{
    write_freed(4096, 0, 4096);
}
static void large(void)
{
    write_freed(200 * KIB, 100 * KIB, 64);
}
static void huge(void)
{
    write_freed(9 * MIB, 5 * MIB, 64);
}

static void *writes(void *p)
{
    memset(p, 0x42, 32);
    return NULL;
}

static void by_other_thread(void)
{
    char *p = block_of(128);
    free(p);
    in_thread(writes, p);
    nothing_exploitable(128);
}

static void freed_by_other_thread(void)
{
    char *p = block_of(128);
    in_thread(free_it, p);
    memset(p, 0x42, 32);
    nothing_exploitable(128);
}

static void after_realloc(void)
{
    char *p = block_of(64);
    char *q = realloc(p, 3000);
    memset(p, 0x42, 32);
    nothing_exploitable(64);
    free(q);
}

/* Nobody allocates that size any more: found at the latest when the page is given back. */
static void never_reused(void)
{
    char *blocks[200];
    for (int i = 0; i < 200; i++)
        blocks[i] = block_of(176);
    for (int i = 0; i < 200; i++)
        free(blocks[i]);
    blocks[100][8] = 0x42;
    nothing_exploitable(4000);
}

/* Nobody gets it again: the program's end is the last that can find it. */
static void at_the_end(void)
{
    char *p = block_of(100);
    free(p);
    p[50] = 0x42;
}

/* ---- planted pointers: what free lists inside of free memory would follow ---- */

static void plant(size_t size, size_t count, size_t words)
{
    static uint64_t *blocks[1000];
    for (size_t i = 0; i < count; i++)
        blocks[i] = block_of(size);
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
    for (size_t i = 0; i < count; i++)
        for (size_t word = 0; word < words; word++)
            blocks[i][word] = (uint64_t)(uintptr_t)&decoy[16 + word];
    nothing_exploitable(size);
}

static void plant_first(void)
{
    plant(64, 2, 1);
}
static void plant_second(void)
{
    plant(64, 2, 2);
}
static void plant_all(void)
{
    plant(256, 3, 32);
}
static void plant_in_many(void)
{
    plant(48, 1000, 2);
}
static void plant_in_large(void)
{
    plant(2000, 50, 4);
}

/* Fake neighbours on both sides of a fake block, as an unlink attack has them. */
static void plant_unlink(void)
{
    uint64_t *a = block_of(0x420), *b = block_of(0x420), *wall = block_of(0x420);
    a[0] = 0;
    a[1] = 0x411;
    a[2] = (uint64_t)(uintptr_t)&decoy[13];
    a[3] = (uint64_t)(uintptr_t)&decoy[14];
    decoy[16] = decoy[17] = (uint64_t)(uintptr_t)a;
    free(b);
    b[0] = b[1] = (uint64_t)(uintptr_t)&decoy[16];
    nothing_exploitable(0x420);
    if (decoy[16] != (uint64_t)(uintptr_t)a || decoy[17] != (uint64_t)(uintptr_t)a)
        exploitable("free wrote to a place that the program had planted");
    free(a);
    free(wall);
}

static void plant_then_double(void)
{
    uint64_t *p = block_of(64);
    free(p);
    p[0] = (uint64_t)(uintptr_t)&decoy[16];
    p[1] = 0;
    free(p);
    nothing_exploitable(64);
}

/* calloc must not trust that a freed block, or a page that was clean, still is. */
static void calloc_dirtied(size_t size)
{
    char *p = block_of(size);
    memset(p, 0, size);
    free(p);
    memset(p, 0x42, size < 4096 ? size : 4096);
    nothing_exploitable(size);
}

static void calloc_small(void)
{
    calloc_dirtied(80);
}
static void calloc_large(void)
{
    calloc_dirtied(300 * KIB);
}

/* ---- what was in it ---- */

static const char secret[] = "the secret of the block's former owner";

/* Hardened, recycled memory holds nothing; otherwise only calloc promises that. */
static void tell_secret(size_t size)
{
    const char *mode = getenv("QUARRY_HARDEN");
    char *p = block_of(size);
    memcpy(p + size / 2, secret, sizeof secret);
    free(p);
    for (int i = 0; i < 2000; i++) {
        char *q = malloc(size);
        if (mode && *mode == '1' && memcmp(q + size / 2, secret, sizeof secret) == 0)
            exploitable("malloc told the secret of a block's former owner");
        if (size < 64 * KIB && i % 7)
            continue; /* keep most, so that all recycled blocks are seen */
        free(q);
    }
}

static void tell_small(void)
{
    tell_secret(200);
}
static void tell_large(void)
{
    tell_secret(200 * KIB);
}

static void read_large(void)
{
    char *p = block_of(200 * KIB);
    free(p);
    (void)((volatile char *)p)[0];
}

/* None of Quarry's: it ends as it would without. */
static void read_nothing(void)
{
    (void)*(volatile char *)(uintptr_t)16;
}

static void read_freed(void)
{
    const char *mode = getenv("QUARRY_HARDEN");
    char *p = block_of(200);
    memcpy(p + 100, secret, sizeof secret);
    free(p);
    if (mode && *mode == '1' && memcmp(p + 100, secret, sizeof secret) == 0)
        exploitable("a freed block still tells its secret");
}

static const struct misuse cases[] = {
    {"first-word", first_word, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"one-byte", one_bit_of_it, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"last-byte", last_byte, HARMLESS, STOPPED, WRITTEN_AFTER "|" OVERFLOW},
    {"middle-of-1000", middle_of_1000, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"whole-page", whole_page, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"large", large, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"huge", huge, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"by-other-thread", by_other_thread, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"freed-by-other-thread", freed_by_other_thread, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"after-realloc", after_realloc, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"never-reused", never_reused, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"at-the-end", at_the_end, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"plant-first-word", plant_first, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"plant-second-word", plant_second, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"plant-all-words", plant_all, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"plant-in-many", plant_in_many, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"plant-in-large", plant_in_large, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"plant-unlink", plant_unlink, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"plant-then-double-free", plant_then_double, STOPPED, STOPPED, FREED_BEFORE},
    {"calloc-small", calloc_small, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"calloc-large", calloc_large, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"tell-small", tell_small, HARMLESS, HARMLESS, WRITTEN_AFTER},
    {"tell-large", tell_large, HARMLESS, HARMLESS, WRITTEN_AFTER},
    {"read-large", read_large, HARMLESS, STOPPED, WRITTEN_AFTER},
    {"read-nothing", read_nothing, TRAPPED, TRAPPED, WRITTEN_AFTER},
    {"read-freed", read_freed, HARMLESS, HARMLESS, WRITTEN_AFTER},
};

MAIN(cases)
