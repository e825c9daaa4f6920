/*
 * vram.c - frames of a memory that the CPU cannot touch
 *
 * A graphics card has 256 MiB of memory behind its own address 0x8000'0000. The driver hands
 * pieces of it to textures. Quarry keeps track of them: nothing is read or written in the
 * memory itself, for what is free is known from bits that lie in ordinary memory.
 *
 *     cc vram.c $(pkg-config --cflags --libs quarry)
 */
#include <quarry/buddy.h>
#include <quarry/mm.h>
#include <quarry/view.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096
#define MIB (UINT64_C(1) << 20)

struct texture {
    const char *name;
    uint64_t bytes;
    unsigned align_order; /* the first frame is a multiple of 2^this */
    qy_pfn_t pfn;
};

static void show_free_blocks(struct qy_mm *mm)
{
    char buffer[1024];
    struct qy_text text = {buffer, sizeof(buffer), 0};
    qy_print_buddyinfo(mm, &text);
    fputs(buffer, stdout);
}

static uint64_t pages(uint64_t bytes)
{
    return (bytes + PAGE - 1) / PAGE;
}

int main(void)
{
    struct texture textures[] = {
        {"sky", 3 * 1920 * 1080, 0, 0}, /* 1,519 frames: no power of two, none lost */
        {"glyphs", 300 * 1024, 0, 0},
        {"frame buffer", 4 * 3840 * 2160, 9, 0}, /* scanned out in 2 MiB pages */
        {"terrain", 100 * MIB, 0, 0},
    };
    const size_t count = sizeof(textures) / sizeof(textures[0]);
    const struct qy_range vram = {.base = 0x80000000, .bytes = 256 * MIB, .type = QY_RANGE_RAM};
    const struct qy_memmap map = {.ranges = &vram, .nr_ranges = 1, .nr_nodes = 1};

    /* The bookkeeping needs memory that the CPU can touch. Nothing is kept back: 4 kB. */
    size_t meta_bytes = qy_mm_meta_bytes(&map, NULL);
    void *meta = aligned_alloc(PAGE, meta_bytes);
    if (meta == NULL)
        return 1;
    memset(meta, 0, meta_bytes);
    struct qy_mm_options options = {.meta = meta, .no_virt = true, .min_free_kbytes = 4};
    struct qy_error error;
    struct qy_mm *mm = qy_mm_create(&map, &options, &error);
    if (mm == NULL) {
        fprintf(stderr, "vram: %s\n", error.text);
        return 1;
    }
    printf("256 MiB of video memory, %zu KiB of bookkeeping\n", meta_bytes / 1024);

    for (size_t i = 0; i < count; i++) {
        struct texture *t = &textures[i];
        t->pfn = qy_alloc_pages_exact(mm, QY_GFP_KERNEL, pages(t->bytes), t->align_order);
        if (t->pfn == QY_PFN_NONE)
            return 1;
        printf("%-13s %6llu frames at 0x%llx\n", t->name, (unsigned long long)pages(t->bytes),
               (unsigned long long)t->pfn * PAGE);
    }
    show_free_blocks(mm);

    if (qy_alloc_pages_exact(mm, QY_GFP_KERNEL, pages(200 * MIB), 0) == QY_PFN_NONE)
        printf("200 MiB more: none\n");
    for (size_t i = 0; i < count; i++)
        if (qy_free_pages_exact(mm, textures[i].pfn, pages(textures[i].bytes)) != 0)
            return 1;
    show_free_blocks(mm); /* all of it is whole again */

    /* A wrong free is refused with a line on the standard error, and changes nothing. */
    if (qy_free_pages_exact(mm, textures[0].pfn, pages(textures[0].bytes)) == 0)
        return 1;
    free(meta); /* there is nothing else to give back */
    return 0;
}
