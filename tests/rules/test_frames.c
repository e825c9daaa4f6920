/*
 * test_frames.c - the rules of memory, zones, pageblocks and per-CPU lists, each broken
 */
#include "breaking.h"

#include "buddy/lend.h"
#include "move/cma.h"

/** 64 MiB of zone Normal: some of it taken, some in the slot's lists. */
static struct test_memory used_memory(qy_pfn_t *taken)
{
    struct test_memory memory;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, true);
    *taken = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 3);
    qy_pfn_t single = qy_alloc_pages(memory.mm, QY_GFP_KERNEL | QY_GFP_MOVABLE, 0);
    assert_true(*taken != QY_PFN_NONE && single != QY_PFN_NONE);
    test_rules(memory.mm);
    return memory;
}

/* Wrong if it failed: frames could be online whose metadata is not there, or a limit be
 * exceeded, and no check would see it. */
static void memory(void **state)
{
    qy_pfn_t taken;
    struct test_memory memory = used_memory(&taken);
    struct qy_mm *mm = memory.mm;
    (void)state;
    mm->options.meta_lazy = true;
    for (unsigned array = QY_META_BLOCKS; array < QY_NR_META; array++)
        mm->meta[array].committed = SIZE_MAX;
    BREAK(mm, "M3", mm->meta[QY_META_FREE_BITS].committed, 64);
    mm->charged = 2;
    BREAK(mm, "M4", mm->options.limit_pages, 1);
    BREAK(mm, "O1", mm->blocks[31].flags, 0);
    test_memory_free(&memory);
}

/* Wrong if it failed: frames could come online where the map has none. */
static void ranges(void **state)
{
    const struct qy_range ranges[] = {
        {.base = 4 * GIB, .bytes = 8 * MIB},
        {.base = 4 * GIB + 8 * MIB, .bytes = 8 * MIB, .type = QY_RANGE_HOTPLUG},
        {.base = 4 * GIB + 16 * MIB, .bytes = 8 * MIB, .type = QY_RANGE_HOTPLUG},
        {.base = 4 * GIB + 9 * MIB, .bytes = MIB, .type = QY_RANGE_RESERVED},
    };
    const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 4, .nr_nodes = 1};
    struct test_memory memory;
    (void)state;
    test_memory_build(&memory, &map, NULL, 0, 0);
    struct qy_mm *mm = memory.mm;
    BREAK(mm, "M1", mm->hotplug[0].end, mm->hotplug[1].start + 1);
    BREAK(mm, "M1", mm->hotplug[1].end, mm->hotplug[1].start);
    BREAK(mm, "M1", mm->hotplug[1].end, mm->start_pfn + mm->nr_frames + 1);
    BREAK(mm, "M1", mm->hotplug[0].start, mm->start_pfn - 1);
    BREAK(mm, "M1", mm->reserved[0].end, mm->reserved[0].start);
    test_memory_free(&memory);
}

/* Wrong if it failed: a zone's bounds and watermarks could contradict each other unseen. */
static void zones(void **state)
{
    qy_pfn_t taken;
    struct test_memory memory = used_memory(&taken);
    struct qy_zone *zone = zone_of_name(memory.mm, "Normal");
    (void)state;
    BREAK(memory.mm, "Z1", zone->present, zone->end_pfn - zone->start_pfn + 1);
    BREAK(memory.mm, "Z1", zone->present, zone->managed - 1);
    BREAK(memory.mm, "Z2", zone->watermark[QY_WMARK_LOW], zone->watermark[QY_WMARK_HIGH] + 1);
    BREAK(memory.mm, "Z2", zone->watermark[QY_WMARK_MIN], zone->watermark[QY_WMARK_LOW] + 1);
    BREAK(memory.mm, "Z3", memory.mm->blocks[3].zone, QY_MAX_ZONES - 1);
    test_memory_free(&memory);
}

/* Wrong if it failed: the buddy's figures could leave its bits behind and nobody would know
 * before a frame is given twice. */
static void pageblocks(void **state)
{
    qy_pfn_t taken;
    struct test_memory memory = used_memory(&taken);
    struct qy_mm *mm = memory.mm;
    struct qy_zone *zone = zone_of_name(mm, "Normal");
    uint32_t b = qy_block_of(mm, taken);
    struct qy_pageblock *block = &mm->blocks[b];
    struct qy_pageblock *whole = &mm->blocks[8];
    (void)state;
    assert_int_equal(whole->order, QY_MAX_ORDER);
    BREAK(mm, "B1", mm->blocks[8].flags, 0);
    BREAK(mm, "B2", zone->list[block->migratetype][block->order].first, QY_BLOCK_NONE);
    BREAK(mm, "B2", zone->nonempty[QY_MIGRATE_RECLAIMABLE], 8);
    BREAK(mm, "B2", whole->prev, 12345);
    BREAK(mm, "B2", whole->next, whole->next ^ 1);
    BREAK(mm, "B3", zone->nr_free, zone->nr_free + 1);
    BREAK(mm, "B3", zone->nr_free_of[block->migratetype], 0);
    BREAK(mm, "B3", block->nr_free, block->nr_free - 1);
    BREAK(mm, "B4", zone->nr_fresh, zone->nr_fresh + 1);
    BREAK(mm, "B4", block->nr_fresh, block->nr_fresh + 1);
    BREAK(mm, "B4", block->flags, block->flags | QY_BLOCK_FRESH);
    BREAK(mm, "B5", mm->blocks[9].flags, QY_BLOCK_ONLINE);
    BREAK(mm, "B5", whole->order, QY_PAGEBLOCK_ORDER);
    BREAK(mm, "B6", block->order, block->order - 1);
    BREAK(mm, "B6", block->word_order[7], block->word_order[7] - 1);
    test_memory_free(&memory);
}

/* Wrong if it failed: a free frame could carry an owner's mark, or an owner's frames another
 * mark than the order that they are freed with. */
static void tags(void **state)
{
    qy_pfn_t taken;
    struct test_memory memory = used_memory(&taken);
    struct qy_mm *mm = memory.mm;
    uint64_t head = qy_frame_index(mm, taken);
    uint64_t free = UINT64_C(8) * QY_PAGEBLOCK_FRAMES;
    (void)state;
    BREAK(mm, "T1", mm->tags[free], QY_TAG_BLOCK);
    BREAK(mm, "T2", mm->tags[head + 1], QY_TAG_BLOCK);
    BREAK(mm, "T2", mm->tags[head], QY_TAG_BLOCK + 10);
    BREAK(mm, "T2", mm->tags[head], QY_TAG_CACHE - 1);
    BREAK(mm, "T3", mm->tags[head + 1], QY_TAG_RUN_CLASS - 1);
    test_memory_free(&memory);
}

/* Wrong if it failed: a frame in a per-CPU list could be free or allocated as well, and so go
 * to two owners. */
static void per_cpu_lists(void **state)
{
    qy_pfn_t taken;
    struct test_memory memory = used_memory(&taken);
    struct qy_mm *mm = memory.mm;
    struct qy_pcp *pcp = &the_slot(mm)->pcp[zone_of_name(mm, "Normal")->pcp];
    struct qy_pcp_list *list = &pcp->list[QY_MIGRATE_MOVABLE][0];
    qy_pfn_t pfns[40];
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(pfns); i++)
        pfns[i] = qy_alloc_pages(mm, QY_GFP_KERNEL | QY_GFP_MOVABLE, 0);
    for (unsigned i = 0; i < COUNT_OF(pfns); i++)
        assert_int_equal(qy_free_pages(mm, pfns[i], 0), 0);
    assert_true(list->top >= list->frame + 2);
    BREAK(mm, "P1", list->frame[0], 8 * QY_PAGEBLOCK_FRAMES);
    BREAK(mm, "P1", list->frame[0], (uint32_t)qy_frame_index(mm, taken));
    BREAK(mm, "P1", list->frame[0], list->frame[1]);
    BREAK(mm, "P1", list->frame[0], 0x7fffffffu);
    BREAK(mm, "P2", list->top, list->high + 1);
    BREAK(mm, "P2", list->high, list->frame + QY_PCP_PLACES + 1);
    test_memory_free(&memory);
}

/* Wrong if it failed: a frame could be lent and free, or held by two, and nobody would know. */
static void folios(void **state)
{
    const struct qy_range range = {.base = 4 * GIB, .bytes = 8 * MIB};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_mm_options options = {.movable = true};
    struct test_memory memory;
    struct qy_claimed found = {0};
    bool fresh;
    (void)state;
    test_memory_build(&memory, &map, &options, 0, 0);
    struct qy_mm *mm = memory.mm;
    qy_pfn_t lent = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_MOVABLE, 2, &fresh);
    struct qy_folio *folio = &mm->folios[qy_frame_index(mm, lent)];
    BREAK(mm, "T4", folio->state, QY_FOLIO_FREE);
    BREAK(mm, "T4", mm->tags[folio - mm->folios], QY_TAG_NONE);
    qy_lend_return(mm, lent, 4);
    uint32_t claim = qy_claim_number(mm);
    qy_claim(mm, claim, lent, 1, &found);
    struct qy_mapping *nobody = (struct qy_mapping *)mm;
    test_rules(mm);
    atomic_store(&folio->mapping, nobody);
    expect_broken(mm, "T5");
    atomic_store(&folio->mapping, NULL);
    test_rules(mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: a buffer's frames could be lent out under the device that writes them. */
static void regions(void **state)
{
    const struct qy_range range = {.base = 4 * GIB, .bytes = 16 * MIB};
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_mm_options options = {.movable = true};
    const struct qy_cma_options camera = {
        .name = "camera", .ranges = {{QY_PFN_NONE, 1024}}, .nr_ranges = 1};
    const struct qy_cma_request request = {.nr_frames = 64};
    struct test_memory memory;
    qy_pfn_t pfn;
    (void)state;
    test_memory_build(&memory, &map, &options, 4 * GIB, 16 * MIB);
    struct qy_mm *mm = memory.mm;
    struct qy_cma *cma = qy_cma_create(mm, &camera, NULL);
    assert_non_null(cma);
    assert_int_equal(qy_cma_alloc(cma, &request, &pfn, NULL), 0);
    BREAK(mm, "N1", cma->part[0].bitmap[0], 1);
    BREAK(mm, "N1", mm->folios[qy_frame_index(mm, pfn)].holder, cma->claim + 1);
    struct qy_pageblock *block = &mm->blocks[qy_block_of(mm, pfn)];
    test_rules(mm);
    block->migratetype = QY_MIGRATE_GUARANTEED;
    expect_broken(mm, "N2");
    block->migratetype = QY_MIGRATE_CMA;
    test_rules(mm);
    assert_int_equal(qy_cma_release(cma, pfn, 64), 0);
    cma->part[1] = cma->part[0]; /* the same frames twice: all else agrees */
    BREAK(mm, "N2", cma->nr_parts, 2);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory), cmocka_unit_test(folios),        cmocka_unit_test(regions),
        cmocka_unit_test(ranges), cmocka_unit_test(zones),         cmocka_unit_test(pageblocks),
        cmocka_unit_test(tags),   cmocka_unit_test(per_cpu_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
