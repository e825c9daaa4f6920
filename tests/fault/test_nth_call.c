/*
 * test_nth_call.c - the Nth call of the port fails, for N = 1, 2, 3 ... until none is left
 *
 * Each run is a whole life: create, take frames and objects, trim, shrink, give back. Whatever
 * failed on the way, the errors must be clean ones, the rules must hold, and after all is
 * freed the memory must be as if nothing had failed.
 */
#include "sim.h"
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#include <errno.h>
#include <sys/mman.h>

#define BASE (4 * GIB)
#define RAM_BYTES (4 * MIB)
#define MORE_BYTES (60 * MIB)
#define BYTES (RAM_BYTES + MORE_BYTES)

#define MOST_BLOCKS 64
#define MOST_OBJECTS 2048

struct life {
    struct qy_mm *mm;
    char *frames, *meta;
    size_t meta_bytes;
    struct {
        qy_pfn_t pfn;
        unsigned order;
    } blocks[MOST_BLOCKS];
    size_t nr_blocks;
    qy_pfn_t run;
    struct qy_kmem_cache *caches[3];
    void *objects[3][MOST_OBJECTS];
    size_t nr_objects[3];
    void *memory[64];
    size_t nr_memory;
};

static const struct qy_range ranges[] = {
    {.base = BASE, .bytes = RAM_BYTES},
    {.base = BASE + RAM_BYTES, .bytes = MORE_BYTES, .type = QY_RANGE_HOTPLUG},
};
/* As firmware has it: some RAM from the start. As a process has it: none, all comes as it is
 * needed, the first metadata included. */
static const struct qy_memmap some_ram = {.ranges = ranges, .nr_ranges = 2, .nr_nodes = 1};
static const struct qy_memmap no_ram = {.ranges = &ranges[1], .nr_ranges = 1, .nr_nodes = 1};

static char *reserve(size_t bytes, int protection)
{
    char *at =
        mmap(NULL, bytes + 4 * MIB, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(at != MAP_FAILED);
    return at;
}

/* False: creation failed, cleanly. */
static bool create(struct life *life, const struct qy_memmap *map)
{
    struct qy_error error = {0};
    struct qy_mm_options options = {.grow = true, .lazy_backing = true, .meta_lazy = true};

    memset(life, 0, sizeof(*life));
    life->run = QY_PFN_NONE;
    life->meta_bytes = qy_mm_meta_bytes(map, &options);
    life->meta = reserve(life->meta_bytes, PROT_NONE); /* until it is committed */
    char *window = reserve(BYTES, PROT_NONE);
    life->frames = window;
    uintptr_t aligned = ((uintptr_t)window + 4 * MIB - 1) & ~(4 * MIB - 1);
    assert_int_equal(mprotect((void *)aligned, RAM_BYTES, PROT_READ | PROT_WRITE), 0);
    options.meta = life->meta;
    options.virt_offset = aligned - BASE;
    life->mm = qy_mm_create(map, &options, &error);
    if (life->mm == NULL) {
        assert_int_equal(error.code, -ENOMEM);
        assert_true(strlen(error.text) > 0);
    }
    return life->mm != NULL;
}

static void destroy(struct life *life)
{
    munmap(life->meta, life->meta_bytes + 4 * MIB);
    munmap(life->frames, BYTES + 4 * MIB);
    qy_sim_reset();
}

static void construct(void *object)
{
    memset(object, 0xc0, 72);
}

static void take_frames(struct life *life)
{
    for (unsigned i = 0; i < MOST_BLOCKS; i++) {
        unsigned order = i % 7 == 6 ? 9 + i % 2 : i % 4;
        qy_pfn_t pfn =
            qy_alloc_pages(life->mm, i % 3 ? QY_GFP_KERNEL : QY_GFP_HIGHUSER_MOVABLE, order);
        if (pfn == QY_PFN_NONE)
            continue;
        memset(qy_page_address(life->mm, pfn), (int)i, (size_t)PAGE << order);
        life->blocks[life->nr_blocks].pfn = pfn;
        life->blocks[life->nr_blocks++].order = order;
    }
    life->run = qy_alloc_pages_exact(life->mm, QY_GFP_KERNEL, 3000, 0);
}

static void give_frames(struct life *life)
{
    while (life->nr_blocks > 0) {
        life->nr_blocks--;
        assert_int_equal(qy_free_pages(life->mm, life->blocks[life->nr_blocks].pfn,
                                       life->blocks[life->nr_blocks].order),
                         0);
    }
    if (life->run != QY_PFN_NONE)
        assert_int_equal(qy_free_pages_exact(life->mm, life->run, 3000), 0);
    life->run = QY_PFN_NONE;
}

static void take_objects(struct life *life)
{
    static const struct {
        const char *name;
        size_t bytes;
        uint32_t flags;
        qy_ctor_t ctor;
    } kinds[] = {
        {"plain", 200, 0, NULL},
        {"constructed", 72, 0, construct},
        {"checked", 100, QY_SLAB_RED_ZONE | QY_SLAB_POISON | QY_SLAB_STORE_USER, NULL},
    };

    for (unsigned kind = 0; kind < 3; kind++) {
        struct qy_error error = {0};
        struct qy_kmem_cache **cache = &life->caches[kind];
        *cache = qy_kmem_cache_create(life->mm, kinds[kind].name, kinds[kind].bytes, 0,
                                      kinds[kind].flags, kinds[kind].ctor, &error);
        if (*cache == NULL) {
            assert_int_equal(error.code, -ENOMEM);
            continue;
        }
        for (size_t i = 0; i < MOST_OBJECTS; i++) {
            void *object = qy_kmem_cache_alloc(*cache, QY_GFP_KERNEL);
            if (object != NULL)
                life->objects[kind][life->nr_objects[kind]++] = object;
        }
    }
    for (size_t bytes = 8; bytes < 20 * MIB; bytes = bytes * 3 / 2) {
        void *memory = qy_kmalloc(life->mm, bytes, QY_GFP_KERNEL);
        if (memory == NULL)
            continue;
        memset(memory, 0x33, bytes < PAGE ? bytes : PAGE);
        void *more = qy_krealloc(life->mm, memory, bytes * 2, QY_GFP_KERNEL);
        life->memory[life->nr_memory++] = more ? more : memory;
    }
}

static void give_objects(struct life *life)
{
    while (life->nr_memory > 0)
        assert_int_equal(qy_kfree(life->mm, life->memory[--life->nr_memory]), 0);
    for (unsigned kind = 0; kind < 3; kind++) {
        if (life->caches[kind] == NULL)
            continue;
        size_t live = 0;
        if (life->nr_objects[kind] > 0) {
            assert_int_equal(qy_kmem_cache_destroy(life->caches[kind], &live), -EBUSY);
            assert_int_equal(live, life->nr_objects[kind]);
        }
        while (life->nr_objects[kind] > 0)
            assert_int_equal(qy_kmem_cache_free(life->caches[kind],
                                                life->objects[kind][--life->nr_objects[kind]]),
                             0);
        assert_int_equal(qy_kmem_cache_destroy(life->caches[kind], &live), 0);
        life->caches[kind] = NULL;
    }
}

static void live(struct life *life)
{
    take_frames(life);
    take_objects(life);
    test_rules(life->mm);
    give_frames(life);
    qy_mm_trim(life->mm, 100);
    qy_drain_all_pages(life->mm);
    test_rules(life->mm);
    take_frames(life);
    give_objects(life);
    qy_mm_trim(life->mm, 0);
    give_frames(life);
}

/* Returns the frames left over, or 0: there was no Nth call. */
static uint64_t run(const struct qy_memmap *map, uint64_t nth, uint64_t usual)
{
    static struct life life;
    uint64_t left = usual;
    bool failed = true;

    qy_sim_reset();
    qy_sim_cpu(0);
    qy_sim_fail(nth);
    if (create(&life, map)) {
        live(&life);
        failed = nth == 0 || qy_sim_failed();
        qy_sim_fail(0);
        left = test_frames_in_use(life.mm);
        live(&life); /* nothing fails now, and nothing may be missing */
        assert_int_equal(test_frames_in_use(life.mm), left);
        assert_int_equal(qy_sim_lines(), 0);
    }
    destroy(&life);
    if (usual != 0 && left != usual)
        fail_msg("call %llu failed: %llu frames are left over, %llu are usual",
                 (unsigned long long)nth, (unsigned long long)left, (unsigned long long)usual);
    return failed ? left : 0;
}

static void fail_each(const struct qy_memmap *map)
{
    uint64_t usual = run(map, 0, 0);
    uint64_t nth = 1;

    while (run(map, nth, usual) != 0)
        nth++;
    print_message("%llu calls failed, one at a time\n", (unsigned long long)nth - 1);
    assert_true(nth > 20);
}

/* Wrong if it failed: a call that fails once would lose memory, break a rule, or end the
 * program. */
static void whichever_call_fails_nothing_is_lost(void **state)
{
    (void)state;
    fail_each(&some_ram);
}

/* Wrong if it failed: the same for a process, whose very first metadata may be refused. */
static void nor_where_no_memory_is_there_at_first(void **state)
{
    (void)state;
    fail_each(&no_ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whichever_call_fails_nothing_is_lost),
        cmocka_unit_test(nor_where_no_memory_is_there_at_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
