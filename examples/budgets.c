/*
 * budgets.c - several memories in one process, each with a limit of its own
 *
 * Two tenants of one server. One asks for more and more; it comes to its limit, is told so,
 * gives something up and goes on. The other notices nothing: the two share no memory, no lock
 * and no counter. When a tenant leaves, all that it had goes back at once, without a walk
 * over its blocks.
 *
 *     cc budgets.c $(pkg-config --cflags --libs quarry)
 */
#include <quarry/linux.h>
#include <quarry/mm.h>
#include <quarry/slab.h>

#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define MOST_BLOCKS 4096

struct tenant {
    const char *name;
    uint64_t limit_bytes;
    struct qy_mm *mm;
    void *blocks[MOST_BLOCKS];
    unsigned nr_blocks;
};

static int open_tenant(struct tenant *tenant)
{
    struct qy_linux_options options = {.limit_bytes = tenant->limit_bytes};
    struct qy_error error;
    tenant->mm = qy_linux_mm_create(&options, &error);
    if (tenant->mm == NULL)
        fprintf(stderr, "budgets: %s: %s\n", tenant->name, error.text);
    return tenant->mm == NULL;
}

/** Take blocks until there are none. Returns the bytes that were had. */
static uint64_t fill(struct tenant *tenant, size_t block_bytes)
{
    uint64_t bytes = 0;
    while (tenant->nr_blocks < MOST_BLOCKS) {
        void *block = qy_kmalloc(tenant->mm, block_bytes, QY_GFP_KERNEL);
        if (block == NULL)
            break; /* out of memory is an answer, not the end */
        memset(block, 1, block_bytes);
        tenant->blocks[tenant->nr_blocks++] = block;
        bytes += block_bytes;
    }
    return bytes;
}

static void give_up_half(struct tenant *tenant)
{
    for (unsigned keep = tenant->nr_blocks / 2; tenant->nr_blocks > keep;)
        qy_kfree(tenant->mm, tenant->blocks[--tenant->nr_blocks]);
}

/** What a tenant has taken from the system, Quarry's own metadata included. */
static void show(const struct tenant *tenant)
{
    struct qy_mm_stat stat;
    qy_mm_stat(tenant->mm, &stat);
    printf("%-6s limit %3llu MiB: %5.1f MiB in use, %5.1f MiB free\n", tenant->name,
           (unsigned long long)(tenant->limit_bytes / MIB),
           (double)(stat.managed - stat.free) / 256 + (double)stat.meta_bytes / (double)MIB,
           (double)stat.free / 256);
}

int main(void)
{
    static struct tenant small = {.name = "small", .limit_bytes = 16 * MIB};
    static struct tenant large = {.name = "large", .limit_bytes = 64 * MIB};
    if (open_tenant(&small) || open_tenant(&large))
        return 1;

    printf("small takes 10 KiB again and again: %.1f MiB, then there is no more\n",
           (double)fill(&small, 10240) / (double)MIB);
    void *block = qy_kmalloc(large.mm, 1 * MIB, QY_GFP_KERNEL);
    printf("large asks for 1 MiB meanwhile: %s\n", block != NULL ? "here it is" : "none");
    show(&small);
    show(&large);

    give_up_half(&small);
    show(&small);
    printf("small takes 1 MiB blocks out of the rest: %.0f MiB\n",
           (double)fill(&small, 1 * MIB) / (double)MIB);

    qy_linux_mm_destroy(small.mm);
    qy_linux_mm_destroy(large.mm);
    return block != NULL ? 0 : 1;
}
