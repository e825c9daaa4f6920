/*
 * memory.h - a small memory for a test, and the end of a test that found something
 */
#ifndef QUARRY_TESTS_MEMORY_H
#define QUARRY_TESTS_MEMORY_H

#include <quarry/mm.h>
#include <quarry/types.h>

#define PAGE 4096u
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/** Say what is wrong and abort: for fuzzers, and deep inside a model. */
_Noreturn void test_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct test_memory {
    struct qy_mm *mm;
    void *meta;
    size_t meta_bytes;
    char *frames; /* NULL: no_virt */
    uint64_t frames_bytes;
};

/**
 * Build a memory. virt_bytes == 0: nothing is behind the frames; else that many bytes are
 * mapped for the physical addresses from virt_base on. Of the options, which may be NULL,
 * meta, virt_offset and no_virt are set here.
 */
void test_memory_build(struct test_memory *memory, const struct qy_memmap *map,
                       const struct qy_mm_options *options, qy_phys_t virt_base,
                       uint64_t virt_bytes);

/** One node, one range of RAM from base on, of the zone that an address so low has: DMA
 *  below 16 MiB, DMA32 below 4 GiB, else NORMAL. No watermarks. */
void test_memory_simple(struct test_memory *memory, qy_phys_t base, uint64_t bytes, bool virt);

/** From 4 GiB on, of zone Normal, and its frames can be lent. */
void test_memory_lendable(struct test_memory *memory, uint64_t bytes, uint64_t min_free_kbytes);

/** The same, as a process has it: nothing is there until it is needed, metadata neither; at most
 *  @limit_pages ever (0: all). False: a call that failed left no instance. */
QY_MUST_CHECK bool test_memory_growing(struct test_memory *memory, uint64_t bytes,
                                       uint64_t limit_pages);

void test_memory_free(struct test_memory *memory);

/** Ask kmalloc for every size once: the caches behind it, made at the first request, stay. */
void test_make_classes(struct qy_mm *mm);

/** Frames in use once caches have given back what is idle in them, and lists what is on them. */
uint64_t test_frames_in_use(struct qy_mm *mm);
/** Objects that somebody has, of all caches; what waits for its next user goes back. */
uint64_t test_live_objects(struct qy_mm *mm);

/** Every rule of every layer holds, or the test ends here. */
void test_rules(struct qy_mm *mm);

/** From true to false, what goes to the standard error is not shown: the reports of faults
 *  that a test makes on purpose. */
void test_quiet(bool quiet);

#endif
