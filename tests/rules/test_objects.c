/*
 * test_objects.c - the rules of slots, slabs, magazines and runs, each broken
 */
#include "breaking.h"

#include "slab/kmalloc.h"
#include "slab/run_depot.h"
#include "slab/sampled.h"

#include <pthread.h>

struct objects {
    struct test_memory memory;
    struct qy_mm *mm;
    struct qy_kmem_cache *cache;
    struct qy_cpu *cpu;
    void *held[200];
};

/** A cache with full, partial and empty slabs, full magazines in both depots. */
static void use(struct objects *use)
{
    void *objects[4000];
    test_memory_simple(&use->memory, 4 * GIB, 64 * MIB, true);
    use->mm = use->memory.mm;
    use->cache = qy_kmem_cache_create(use->mm, "test", 1000, 0, 0, NULL, NULL);
    assert_non_null(use->cache);
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        assert_non_null(objects[i] = qy_kmem_cache_alloc(use->cache, QY_GFP_KERNEL));
    for (unsigned i = 0; i < COUNT_OF(objects); i++) {
        if (i % 20 == 0)
            use->held[i / 20] = objects[i];
        else
            assert_int_equal(qy_kmem_cache_free(use->cache, objects[i]), 0);
    }
    use->cpu = the_slot(use->mm);
    test_rules(use->mm);
}

static struct qy_slab *first_slab(struct qy_slab_list *list)
{
    assert_true(list->count > 0);
    return qy_list_entry(list->slabs.next, struct qy_slab, link);
}

/* Wrong if it failed: a slab could lie on a wrong list or count wrongly, and its objects be
 * lost or given twice. */
static void slabs(void **state)
{
    static struct objects used;
    (void)state;
    use(&used);
    struct qy_kmem_cache *cache = used.cache;
    struct qy_slab *slab = first_slab(&cache->slabs_partial);
    uint64_t frame = ((uintptr_t)slab->base - used.mm->base) / PAGE;
    BREAK(used.mm, "T3", used.mm->tags[frame + 1], QY_TAG_CACHE);
    BREAK(used.mm, "T3", used.mm->pages[frame].slab, first_slab(&cache->slabs_full));
    BREAK(used.mm, "S1", slab->cache, used.mm->cache_of[QY_TAG_CACHE]);
    BREAK(used.mm, "S2", slab->base, slab->base + 16);
    BREAK(used.mm, "S3", slab->free.word[0], ~slab->free.word[0]);
    BREAK(used.mm, "S3", slab->free.word[7], 1);
    BREAK(used.mm, "S3", cache->nr_free, cache->nr_free + 1);
    BREAK(used.mm, "S4", slab->nr_free, 0);
    BREAK(used.mm, "S4", cache->slabs_full.count, cache->slabs_full.count + 1);
    BREAK(used.mm, "S4", cache->slabs_partial.count, cache->slabs_partial.count - 1);
    BREAK(used.mm, "S5", used.mm->cache_of[cache->tag], used.mm->cache_of[QY_TAG_CACHE]);
    BREAK(used.mm, "S5", used.mm->cache_of[250], cache);
    test_memory_free(&used.memory);
}

/* Wrong if it failed: an object could lie in a magazine and be free or held as well. */
static void magazines(void **state)
{
    static struct objects used;
    (void)state;
    use(&used);
    struct qy_kmem_cache *cache = used.cache;
    struct qy_depot *own = &used.cpu->depot[cache->tag];
    void **top = used.cpu->top[cache->tag] - 1;
    struct qy_slab *slab = first_slab(&cache->slabs_partial);
    unsigned free_one = 0;
    while (!qy_bits_test(&slab->free, free_one))
        free_one++;
    assert_true(*top != NULL && own->nr_full > 0 && cache->nr_depot > 0);
    BREAK(used.mm, "G1", *top, slab->base + (size_t)free_one * cache->stride);
    BREAK(used.mm, "G1", *top, top[-1]);
    BREAK(used.mm, "G1", used.cpu->top[cache->tag], (void **)64);
    BREAK(used.mm, "S1", *top, (char *)used.mm);
    BREAK(used.mm, "S2", *top, (char *)*top + 8);
    BREAK(used.mm, "G2", own->full[QY_MAGAZINE_WORDS - 1], NULL);
    BREAK(used.mm, "G2", own->nr_full, own->nr_full + 1);
    BREAK(used.mm, "G2", cache->nr_depot, cache->nr_depot - 1);
    BREAK(used.mm, "G2", cache->nr_empties, 1);
    BREAK(used.mm, "G3", cache->most_in_slot, (uint8_t)(own->nr_full - 1));
    BREAK(used.mm, "G3", cache->most_in_depot, (uint8_t)(cache->nr_depot - 1));
    BREAK(used.mm, "G3", used.mm->extra_bytes, 1);
    test_memory_free(&used.memory);
}

/* Wrong if it failed: a run could be said to be longer than it is, and freeing it would free
 * its neighbour. */
static void runs(void **state)
{
    struct test_memory memory;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, true);
    char *block = qy_kmalloc(memory.mm, 19 * PAGE, QY_GFP_KERNEL);
    assert_non_null(block);
    struct qy_page *page = &memory.mm->pages[((uintptr_t)block - memory.mm->base) / PAGE];
    assert_int_equal(page->run_frames, 19);
    BREAK(memory.mm, "K4", page->run_frames, 64 * MIB / PAGE);
    BREAK(memory.mm, "K4", memory.mm->tags[page - memory.mm->pages + 5], QY_TAG_RUN);
    BREAK(memory.mm, "K4", memory.mm->tags[page - memory.mm->pages], 255);
    test_memory_free(&memory);
}

/* Wrong if it failed: requests could be served by objects too small for them. */
static void fits(void **state)
{
    struct test_memory memory;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, true);
    struct qy_fit *fit = &memory.mm->fit[qy_kmalloc_class(4368)];
    for (unsigned i = 0; fit->own == 0; i++) {
        assert_true(i < 1000);
        assert_non_null(qy_kmalloc(memory.mm, 4368, QY_GFP_KERNEL));
    }
    BREAK(memory.mm, "K6", fit->own, fit->own + 256);
    BREAK(memory.mm, "K6", fit->own, fit->own ^ 1);
    BREAK(memory.mm, "K6", fit->own, (uint32_t)5120 << 8 | memory.mm->kmalloc_tag);
    BREAK(memory.mm, "K6", fit[1].own, fit->own);
    BREAK(memory.mm, "K6", fit[-1].own, fit->own);
    test_memory_free(&memory);
}

/* Wrong if it failed: a run that a slot keeps could go to somebody else as well. */
static void kept_runs(void **state)
{
    struct test_memory memory;
    void *blocks[3];
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, true);
    struct qy_mm *mm = memory.mm;
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        assert_non_null(blocks[i] = qy_kmalloc(mm, (20 + i) * PAGE, QY_GFP_KERNEL));
    for (unsigned i = 1; i < COUNT_OF(blocks); i++)
        assert_int_equal(qy_kfree(mm, blocks[i]), 0);
    struct qy_kept *kept = the_slot(mm)->kept;
    struct qy_kept_stack *stack = &kept->stack[qy_run_class(21)];
    struct qy_kept_run *run = stack->run;
    assert_int_equal(qy_kept_frames(kept), 21 + 22);
    uint32_t held = (uint32_t)(((uintptr_t)blocks[0] - mm->base) / PAGE);
    BREAK(mm, "R2", kept->roomy, 0);
    BREAK(mm, "R2", kept->open, 0);
    BREAK(mm, "R2", stack->exact.frames, 21);
    BREAK(mm, "R2", stack->room, QY_KEPT_STEP);
    BREAK(mm, "R2", run[0].frames, 1);
    BREAK(mm, "R2", run[1].frames, 1);
    BREAK(mm, "R2", run[1].tag, QY_TAG_RUN_CLASS);
    BREAK(mm, "R2", stack->used, (QY_KEPT_PLACES + 1) * QY_KEPT_STEP);
    BREAK(mm, "R2", run[1].index, held);
    BREAK(mm, "R2", run[1].index, 8 * 512);
    BREAK(mm, "R2", run[1].index, 64 * MIB / PAGE);
    BREAK(mm, "R2", run[1].index, run[2].index);
    BREAK(mm, "R4", mm->many_slots, true);
    BREAK(mm, "R4", mm->nr_cpus, 2);

    struct qy_cpu *cpu = qy_slot_enter(mm);
    struct qy_kept_run handed[2];
    for (unsigned i = 0; i < COUNT_OF(handed); i++)
        assert_true(qy_kept_take(cpu, 21, &handed[i]));
    unsigned class = qy_run_class(21);
    mm->run_depot.most = 2 * 30;
    qy_run_depot_give(cpu, class, handed, COUNT_OF(handed));
    qy_cpu_leave(cpu);
    struct qy_run_depot *depot = &mm->run_depot;
    struct qy_run_chunk *chunk = depot->chunk[class];
    BREAK(mm, "R3", depot->frames, 0);
    BREAK(mm, "R3", depot->most, 1);
    BREAK(mm, "R3", chunk->count, 1);
    BREAK(mm, "R3", chunk->run[0].index, held);
    BREAK(mm, "R3", chunk->run[0].index, 8 * 512);
    BREAK(mm, "R3", chunk->run[0].frames, 40);
    test_memory_free(&memory);
}

/* Wrong if it failed: an overflow, or a write to a free object, could go unseen; or an object
 * that waits after its free could be lost, or go out twice. */
static void checked(void **state)
{
    struct test_memory memory;
    void *objects[100];
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, true);
    struct qy_kmem_cache *cache = qy_kmem_cache_create(
        memory.mm, "test", 100, 0, QY_SLAB_RED_ZONE | QY_SLAB_POISON | QY_SLAB_RANDOM, NULL, NULL);
    assert_non_null(cache);
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        assert_non_null(objects[i] = qy_kmem_cache_alloc(cache, QY_GFP_KERNEL));
    unsigned char *live = objects[0];
    for (unsigned i = 1; i < COUNT_OF(objects); i++)
        assert_int_equal(qy_kmem_cache_free(cache, objects[i]), 0);
    assert_true(cache->nr_waiting > 1);
    unsigned place = 0;
    while (cache->waiting[place] == NULL)
        place++;
    unsigned char *waits = cache->waiting[place];
    BREAK(memory.mm, "D1", live[100], 0);
    BREAK(memory.mm, "D1", live[-1], 0);
    BREAK(memory.mm, "D2", waits[50], 0);
    BREAK(memory.mm, "D5", cache->waiting[place], live);
    BREAK(memory.mm, "D5", cache->waiting[place], NULL);
    BREAK(memory.mm, "D5", cache->nr_waiting, cache->nr_waiting - 1);
    struct qy_slab *slab = qy_slab_of(cache, live);
    unsigned free_one = 0;
    while (!qy_bits_test(&slab->free, free_one))
        free_one++;
    BREAK(memory.mm, "D5", slab->notes[free_one].bytes, 100);
    test_memory_free(&memory);
}

/* Wrong if it failed: a large block could lose its guards, or a freed one its place. */
static void guarded(void **state)
{
    struct test_memory memory;
    struct qy_mm_options options = {.kmalloc_flags = QY_SLAB_RED_ZONE};
    struct qy_range range = {.base = 4 * GIB, .bytes = 64 * MIB};
    struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    char *blocks[4];
    (void)state;
    test_memory_build(&memory, &map, &options, 4 * GIB, 64 * MIB);
    struct qy_mm *mm = memory.mm;
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        assert_non_null(blocks[i] = qy_kmalloc(mm, 100000, QY_GFP_KERNEL));
    for (unsigned i = 1; i < COUNT_OF(blocks); i++)
        assert_int_equal(qy_kfree(mm, blocks[i]), 0);
    uint64_t head = ((uintptr_t)blocks[0] - mm->base) / PAGE;
    assert_int_equal(mm->quarantine.nr_runs, 3);
    BREAK(mm, "D1", blocks[0][100000], 0);
    BREAK(mm, "D3", mm->tags[head - 1], QY_TAG_NONE);
    BREAK(mm, "D3", mm->tags[head + 25], QY_TAG_NONE);
    BREAK(mm, "D4", mm->quarantine.nr_runs, 2);
    BREAK(mm, "D4", mm->quarantine.nr_frames, mm->quarantine.nr_frames + 1);
    BREAK(mm, "D4", mm->quarantine.newest, mm->quarantine.oldest);
    BREAK(mm, "D4", mm->quarantine.oldest, head);
    test_memory_free(&memory);
}

/* Wrong if it failed: what is written beside a sampled block, or over its slot, could go unseen. */
static void sampled(void **state)
{
    struct test_memory memory;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 256 * MIB, true);
    struct qy_mm *mm = memory.mm;
    qy_sampling_start(mm, 0);
    char *block = qy_kmalloc(mm, 60, QY_GFP_KERNEL);
    char *freed = qy_kmalloc(mm, 60, QY_GFP_KERNEL);
    assert_true(block != NULL && freed != NULL);
    while ((uintptr_t)block % PAGE != 0) /* it lies at the left end */
        assert_non_null(block = qy_kmalloc(mm, 60, QY_GFP_KERNEL));
    assert_int_equal(qy_kfree(mm, freed), 0);
    struct qy_kmem_cache *cache = mm->sampling.cache;
    struct qy_sample_slot *slot = (struct qy_sample_slot *)qy_slab_of(cache, block);
    struct qy_sample_slot *free_slot = (struct qy_sample_slot *)qy_slab_of(cache, freed);
    uint64_t frame = ((uintptr_t)block - mm->base) / PAGE;
    BREAK(mm, "D1", block[60], 0);
    BREAK(mm, "D1", block[PAGE - 1], 0);
    BREAK(mm, "D6", slot->bytes, 61);
    BREAK(mm, "D6", slot->offset, 8);
    BREAK(mm, "D6", slot->offset, 4048);
    BREAK(mm, "D6", slot->offset, 1 << 20);
    BREAK(mm, "D6", slot->note.bytes, QY_OBJECT_FREED);
    BREAK(mm, "D6", mm->sampling.nr_live, 1000);
    BREAK(mm, "D6", mm->sampling.nr_made, 1000);
    BREAK(mm, "D5", free_slot->note.bytes, 60);
    BREAK(mm, "T3", mm->tags[frame + 1], QY_TAG_NONE);
    test_memory_free(&memory);
}

/* Wrong if it failed: a slot that is stopped could still serve its owner. */
static void limits(void **state)
{
    static struct objects used;
    (void)state;
    use(&used);
    BREAK(used.mm, "C2", used.cpu->nr_frames, 0);
    BREAK(used.mm, "C2", used.cpu->small_bytes, 0);
    BREAK(used.mm, "C2", used.cpu->ready_bytes, 0);
    test_memory_free(&used.memory);
}

static _Atomic bool stop_meddling;

/** Changes what only the slot's owner may change, without going in. */
static void *meddle(void *argument)
{
    struct qy_pcp_list *list = argument;
    while (!stop_meddling)
        for (uint16_t count = 0; count < 60000 && !stop_meddling; count++)
            __atomic_store_n(&list->top, list->frame + count, __ATOMIC_RELAXED);
    return NULL;
}

/* Wrong if it failed: somebody could take from a slot while it is drained. */
static void slots_are_left_alone(void **state)
{
    static struct objects used;
    pthread_t thread;
    (void)state;
    use(&used);
    struct qy_pcp *pcp = &used.cpu->pcp[zone_of_name(used.mm, "Normal")->pcp];
    assert_int_equal(pthread_create(&thread, NULL, meddle, &pcp->list[0][0]), 0);
    char buffer[64];
    bool seen = false;
    for (unsigned tries = 0; tries < 1000 && !seen; tries++) {
        static char text_bytes[1 << 16];
        struct qy_text text = {text_bytes, sizeof(text_bytes), 0};
        size_t broken = qy_check_rules(used.mm, &text);
        snprintf(buffer, sizeof(buffer), "C1: slots %u: ", used.mm->nr_cpus);
        seen = broken > 0 && strstr(text_bytes, buffer) != NULL;
    }
    stop_meddling = true;
    pthread_join(thread, NULL);
    assert_true(seen);
    test_memory_free(&used.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slabs),     cmocka_unit_test(magazines),
        cmocka_unit_test(runs),      cmocka_unit_test(fits),
        cmocka_unit_test(kept_runs), cmocka_unit_test(checked),
        cmocka_unit_test(guarded),   cmocka_unit_test(sampled),
        cmocka_unit_test(limits),    cmocka_unit_test(slots_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
