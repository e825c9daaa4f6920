/*
 * If these were not stopped with QUARRY_SAMPLE: what reads or writes beside a small block, or
 * uses one that was freed, would go on unseen in production, where nothing dearer can be had.
 */
#include "misuse.h"

#define SIZE ((size_t)60)
#define REACH ((size_t)8 << 10) /* it ends in a guard, on whichever side of its page a block lies */

#define READ "out-of-bounds read"
#define WRITTEN "out-of-bounds write"

static int sum;

static void read_range(const volatile char *from, ptrdiff_t step)
{
    for (size_t i = 0; i < REACH; i++)
        sum += from[(ptrdiff_t)i * step];
}

/* Between two that nobody frees, which lie in the heap on both sides of it. */
static char *one(void)
{
    static char *around[200];
    for (int i = 0; i < 200; i++)
        around[i] = block_of(SIZE);
    return around[100];
}

static void read_right(void)
{
    read_range(one() + SIZE, 1);
}
static void read_left(void)
{
    read_range(one() - 1, -1);
}
static void read_freed(void)
{
    char *p = one();
    free(p);
    sum += *(volatile char *)(p + 5);
}
static void write_freed(void)
{
    char *p = one();
    free(p);
    *(volatile char *)(p + 5) = 1;
}
static void write_far_right(void)
{
    char *p = one();
    for (size_t i = 0; i < REACH; i++)
        *(volatile char *)(p + SIZE + i) = 0x42;
}
static void write_near(void)
{
    char *p = one();
    *(volatile char *)(p + SIZE) = 0x42;
    free(p);
}
static void free_inside(void)
{
    free(one() + 16);
}
static void free_twice_later(void)
{
    char *p = one(), *q = block_of(SIZE);
    free(p);
    free(q);
    free(p);
}
static void free_twice_elsewhere(void)
{
    char *p = one();
    in_thread(free_it, p);
    free(p);
}
static void read_aligned(void)
{
    char *p = aligned_alloc(4096, 4096);
    sum += *(volatile char *)(p + 4096);
}
static void resize_freed(void)
{
    char *p = one();
    free(p);
    free(block_of(SIZE));
    if (!realloc(p, 3 * SIZE))
        _exit(4);
}

static const struct misuse cases[] = {
    {"read_right", read_right, HARMLESS, HARMLESS, READ},
    {"read_left", read_left, HARMLESS, HARMLESS, READ},
    {"read_freed", read_freed, HARMLESS, HARMLESS, "use-after-free read"},
    {"write_freed", write_freed, HARMLESS, STOPPED, "use-after-free write|use after free"},
    {"write_far_right", write_far_right, HARMLESS, STOPPED,
     WRITTEN "|underflow|overflow|use after free"},
    {"write_near", write_near, HARMLESS, STOPPED, "memory corruption|overflow"},
    {"free_inside", free_inside, UNSEEN, STOPPED, "invalid free|" NOT_A_START},
    {"free_twice_later", free_twice_later, UNSEEN, STOPPED, "invalid free|" DOUBLE_FREE},
    {"free_twice_elsewhere", free_twice_elsewhere, UNSEEN, STOPPED, "invalid free|" DOUBLE_FREE},
    {"read_aligned", read_aligned, HARMLESS, STOPPED, READ "|overflow"},
    {"resize_freed", resize_freed, UNSEEN, STOPPED, "invalid free|" FREED_BEFORE},
};

MAIN(cases)
