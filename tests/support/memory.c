/*
 * memory.c - a small memory for a test, and the end of a test that found something
 */
#include "memory.h"

#include "slab/cache.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>
#include <quarry/view.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void test_fail(const char *format, ...)
{
    va_list arguments;
    test_quiet(false);
    va_start(arguments, format);
    fflush(stdout);
    fputs("\nFAILED: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

/* Slots go with the memory that they are of, whichever port it is. */
void qy_sim_reset(void) __attribute__((weak));
int qy_linux_slots_open(struct qy_mm *mm) __attribute__((weak));
void qy_linux_slots_close(struct qy_mm *mm) __attribute__((weak));

static void *map_bytes(uint64_t bytes, int protection)
{
    void *at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        test_fail("no address space for %llu bytes", (unsigned long long)bytes);
    return at;
}

/* Aligned as the physical addresses are, up to 64 MiB. */
static char *map_frames(qy_phys_t base, uint64_t bytes, int protection)
{
    const uint64_t slack = 64 * MIB;
    char *at = map_bytes(bytes + slack, protection);
    uint64_t skip = (base - (uintptr_t)at) & (slack - 1);
    if (skip > 0)
        munmap(at, skip);
    munmap(at + skip + bytes, slack - skip);
    return at + skip;
}

/** Address space for what the options want, which then say where it is. */
static void map_all(struct test_memory *memory, const struct qy_memmap *map,
                    struct qy_mm_options *options, qy_phys_t virt_base, uint64_t virt_bytes,
                    int protection)
{
    *memory = (struct test_memory){.frames_bytes = virt_bytes};
    memory->meta_bytes = qy_mm_meta_bytes(map, options);
    if (memory->meta_bytes == 0)
        test_fail("the map is bad");
    memory->meta = map_bytes(memory->meta_bytes, protection);
    options->meta = memory->meta;
    options->no_virt = virt_bytes == 0;
    if (virt_bytes > 0) {
        memory->frames = map_frames(virt_base, virt_bytes, protection);
        options->virt_offset = (uintptr_t)memory->frames - virt_base;
    }
}

void test_memory_build(struct test_memory *memory, const struct qy_memmap *map,
                       const struct qy_mm_options *options, qy_phys_t virt_base,
                       uint64_t virt_bytes)
{
    struct qy_error error = {0};
    struct qy_mm_options chosen = options ? *options : (struct qy_mm_options){0};

    map_all(memory, map, &chosen, virt_base, virt_bytes, PROT_READ | PROT_WRITE);
    memory->mm = qy_mm_create(map, &chosen, &error);
    if (!memory->mm)
        test_fail("qy_mm_create: %s", error.text);
    if (qy_linux_slots_open)
        qy_linux_slots_open(memory->mm);
}

void test_memory_simple(struct test_memory *memory, qy_phys_t base, uint64_t bytes, bool virt)
{
    const struct qy_range range = {.base = base, .bytes = bytes, .type = QY_RANGE_RAM};
    const struct qy_memmap map = {
        .ranges = &range,
        .nr_ranges = 1,
        .nr_nodes = 1,
        .dma_end = 16 * MIB,
        .dma32_end = 4 * GIB,
    };
    const struct qy_mm_options options = {.min_free_kbytes = 1};

    test_memory_build(memory, &map, &options, base, virt ? bytes : 0);
}

void test_memory_lendable(struct test_memory *memory, uint64_t bytes, uint64_t min_free_kbytes)
{
    const struct qy_range range = {.base = 4 * GIB, .bytes = bytes};
    const struct qy_memmap map = {
        .ranges = &range, .nr_ranges = 1, .nr_nodes = 1, .dma32_end = 4 * GIB};
    const struct qy_mm_options options = {.min_free_kbytes = min_free_kbytes, .movable = true};

    test_memory_build(memory, &map, &options, range.base, bytes);
}

bool test_memory_growing(struct test_memory *memory, uint64_t bytes, uint64_t limit_pages)
{
    const struct qy_range range = {.base = 4 * GIB, .bytes = bytes, .type = QY_RANGE_HOTPLUG};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    struct qy_mm_options options = {.grow = true,
                                    .lazy_backing = true,
                                    .meta_lazy = true,
                                    .movable = true,
                                    .limit_pages = limit_pages};
    struct qy_error error = {0};

    map_all(memory, &map, &options, range.base, bytes, PROT_NONE);
    memory->mm = qy_mm_create(&map, &options, &error);
    if (memory->mm == NULL && error.code != -ENOMEM)
        test_fail("qy_mm_create: %s", error.text);
    return memory->mm != NULL;
}

void test_memory_free(struct test_memory *memory)
{
    if (qy_sim_reset)
        qy_sim_reset();
    if (qy_linux_slots_close)
        qy_linux_slots_close(memory->mm);
    if (memory->meta)
        munmap(memory->meta, memory->meta_bytes);
    if (memory->frames)
        munmap(memory->frames, memory->frames_bytes);
}

uint64_t test_frames_in_use(struct qy_mm *mm)
{
    struct qy_mm_stat stat;
    qy_kmem_cache_shrink_all(mm);
    qy_drain_all_pages(mm);
    test_rules(mm);
    qy_mm_stat(mm, &stat);
    if (stat.pcp != 0)
        test_fail("%llu frames stay on lists that were drained", (unsigned long long)stat.pcp);
    return stat.managed - stat.free;
}

void test_rules(struct qy_mm *mm)
{
    static char buffer[8192];
    struct qy_text text = {.buffer = buffer, .bytes = sizeof(buffer)};

    buffer[0] = '\0';
    size_t broken = qy_check_rules(mm, &text);
    if (broken > 0)
        test_fail("%zu rules broken:\n%s", broken, buffer);
}

uint64_t test_live_objects(struct qy_mm *mm)
{
    uint64_t live = 0;
    qy_kmem_cache_shrink_all(mm);
    qy_list_for_each (link, &mm->chain) {
        const struct qy_kmem_cache *cache = qy_list_entry(link, struct qy_kmem_cache, chain);
        uint64_t slabs =
            cache->slabs_full.count + cache->slabs_partial.count + cache->slabs_empty.count;
        live += slabs * cache->nr_objects - cache->nr_free;
    }
    return live;
}

void test_quiet(bool quiet)
{
    static int shown = -1, nowhere = -1;

    if (shown < 0) {
        shown = dup(STDERR_FILENO);
        nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    }
    fflush(stderr);
    if (dup2(quiet ? nowhere : shown, STDERR_FILENO) < 0)
        abort();
}

void test_make_classes(struct qy_mm *mm)
{
    for (size_t bytes = 16; bytes <= 32 << 10; bytes += 16)
        if (qy_kfree(mm, qy_kmalloc(mm, bytes, QY_GFP_KERNEL)) != 0)
            test_fail("kmalloc's block of %zu bytes is not freed", bytes);
}
