/*
 * test_memmap.c - memory/memmap.c: which maps are sound, and what is built from them
 */
#include "support.h"

#include <quarry/buddy.h>
#include <quarry/config.h>

#include <errno.h>
#include <sys/mman.h>

struct bad_map {
    const char *says; /* a part of the error's text */
    struct qy_memmap map;
    struct qy_range ranges[3];
};

#define RAM(address, length)                                                                       \
    {                                                                                              \
        .base = (address), .bytes = (length)                                                       \
    }
#define ONE_NODE(count)                                                                            \
    {                                                                                              \
        .nr_ranges = (count), .nr_nodes = 1                                                        \
    }

static const struct bad_map bad_maps[] = {
    {"page size", ONE_NODE(1), {RAM(MIB + 1, MIB)}},
    {"page size", ONE_NODE(1), {RAM(MIB, MIB + 512)}},
    {"empty", ONE_NODE(2), {RAM(MIB, MIB), RAM(8 * MIB, 0)}},
    {"wraps", ONE_NODE(1), {RAM(UINT64_MAX - PAGE + 1, 2 * PAGE)}},
    {"wraps", ONE_NODE(1), {RAM(UINT64_MAX - 2 * PAGE + 1, 2 * PAGE)}},
    {"2^56", ONE_NODE(1), {RAM((UINT64_C(1) << 56) - PAGE, 2 * PAGE)}},
    {"node", ONE_NODE(1), {{.base = MIB, .bytes = MIB, .node = 1}}},
    {"type", ONE_NODE(1), {{.base = MIB, .bytes = MIB, .type = (enum qy_range_type)3}}},
    {"overlaps", ONE_NODE(2), {RAM(MIB, 2 * MIB), RAM(3 * MIB - PAGE, MIB)}},
    {"overlaps", ONE_NODE(2), {RAM(2 * MIB, 4 * PAGE), RAM(MIB, 8 * MIB)}},
    {"overlaps",
     ONE_NODE(2),
     {RAM(MIB, 2 * MIB), {.base = 2 * MIB, .bytes = MIB, .type = QY_RANGE_HOTPLUG}}},
    {"overlaps",
     ONE_NODE(3),
     {RAM(0, 8 * MIB),
      {.base = MIB, .bytes = MIB, .type = QY_RANGE_RESERVED},
      {.base = 2 * MIB - PAGE, .bytes = MIB, .type = QY_RANGE_RESERVED}}},
    {"reserved",
     ONE_NODE(2),
     {RAM(MIB, MIB), {.base = 4 * MIB, .bytes = PAGE, .type = QY_RANGE_RESERVED}}},
    {"reserved",
     ONE_NODE(2),
     {RAM(MIB, MIB), {.base = 2 * MIB - PAGE, .bytes = 2 * PAGE, .type = QY_RANGE_RESERVED}}},
    {"section",
     {.nr_ranges = 2, .nr_nodes = 2},
     {RAM(0, 2 * MIB), {.base = 2 * MIB, .bytes = 8 * MIB, .node = 1}}},
    {"no ranges", ONE_NODE(0), {RAM(0, 0)}},
    {"more ranges", ONE_NODE(QY_MAX_RANGES + 1), {RAM(0, 0)}},
    {"nodes", {.nr_ranges = 1, .nr_nodes = 0}, {RAM(0, MIB)}},
    {"nodes", {.nr_ranges = 1, .nr_nodes = QY_MAX_NODES + 1}, {RAM(0, MIB)}},
    {"distance 1 is that of two nodes",
     {.nr_ranges = 1, .nr_nodes = 2, .distance = (const uint8_t[]){10, 0, 20, 10}},
     {RAM(0, 8 * MIB)}},
    {"distance 2 is that of two nodes",
     {.nr_ranges = 1, .nr_nodes = 2, .distance = (const uint8_t[]){10, 20, 10, 10}},
     {RAM(0, 8 * MIB)}},
    {"distance 3 is that of a node from itself",
     {.nr_ranges = 1, .nr_nodes = 2, .distance = (const uint8_t[]){10, 20, 20, 0}},
     {RAM(0, 8 * MIB)}},
    {"4 MiB", {.nr_ranges = 1, .nr_nodes = 1, .dma_end = MIB}, {RAM(0, 8 * MIB)}},
    {"4 MiB", {.nr_ranges = 1, .nr_nodes = 1, .movable_base = 6 * MIB}, {RAM(0, 8 * MIB)}},
    {"rise",
     {.nr_ranges = 1, .nr_nodes = 1, .dma_end = 16 * MIB, .dma32_end = 8 * MIB},
     {RAM(0, 64 * MIB)}},
    {"rise",
     {.nr_ranges = 1, .nr_nodes = 1, .dma_end = 16 * MIB, .movable_base = 8 * MIB},
     {RAM(0, 64 * MIB)}},
};

/* Wrong if it failed: something would be built from a map that cannot be true. */
static void each_bad_map_is_refused_with_its_reason(void **state)
{
    (void)state;
    void *meta = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct qy_mm_options options = {.meta = meta, .no_virt = true};

    assert_true(meta != MAP_FAILED); /* who touches it dies */
    for (size_t i = 0; i < COUNT_OF(bad_maps); i++) {
        struct qy_error error = {0};
        struct qy_memmap map = bad_maps[i].map;
        map.ranges = bad_maps[i].ranges;
        int code = map.nr_ranges > QY_MAX_RANGES ? -E2BIG : -EINVAL;
        assert_int_equal(qy_mm_meta_bytes(&map, NULL), 0);
        assert_null(qy_mm_create(&map, &options, &error));
        assert_int_equal(error.code, code);
        if (!strstr(error.text, bad_maps[i].says))
            fail_msg("map %zu: \"%s\" does not say \"%s\"", i, error.text, bad_maps[i].says);
        assert_null(qy_mm_create(&map, &options, NULL));
    }
    munmap(meta, 64 * MIB);
}

/* Wrong if it failed: options that cannot be meant would be taken, and fail later, or never
 * serve. */
static void each_bad_option_is_refused_with_its_reason(void **state)
{
    (void)state;
    const struct qy_range ranges[] = {
        RAM(0, 8 * MIB),
        {.base = 8 * MIB, .bytes = 8 * MIB, .type = QY_RANGE_HOTPLUG},
        RAM(32 * MIB, 64 * MIB), /* movable: nothing of that is kept back */
    };
    const struct qy_memmap map = {
        .ranges = ranges, .nr_ranges = 3, .nr_nodes = 1, .movable_base = 16 * MIB};
    char *meta = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct {
        const char *says;
        struct qy_mm_options options;
    } bad[] = {
        {"options: meta is no multiple of the page size, 4096",
         {.meta = meta + 64, .no_virt = true}},
        {"options: unknown flags in kmalloc_flags: 2147483648",
         {.meta = meta, .no_virt = true, .kmalloc_flags = 0x80000000}},
        {"options: min_free_kbytes keeps back all there is: 16384 kB",
         {.meta = meta, .no_virt = true, .min_free_kbytes = 16384}},
        {"options: min_free_kbytes keeps back all there is: 4096 kB",
         {.meta = meta, .no_virt = true, .limit_pages = 1024, .min_free_kbytes = 4096}},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct qy_error error = {0};
        assert_null(qy_mm_create(&map, &bad[i].options, &error));
        assert_int_equal(error.code, -EINVAL);
        assert_string_equal(error.text, bad[i].says);
    }
    munmap(meta, 64 * MIB);
}

/* Wrong if it failed: the report would not name the range that is wrong. */
static void the_error_names_the_range(void **state)
{
    (void)state;
    const struct qy_range ranges[] = {RAM(0, MIB), RAM(4 * MIB, MIB), RAM(8 * MIB, 0)};
    const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 3, .nr_nodes = 1};
    const struct qy_mm_options options = {.meta = NULL, .no_virt = true};
    struct qy_error error = {0};

    assert_null(qy_mm_create(&map, &options, &error));
    assert_non_null(strstr(error.text, "range 2"));
}

/* Wrong if it failed: the last frame that a map may have would be refused. */
static void a_map_may_end_at_the_last_address(void **state)
{
    (void)state;
    const struct qy_range last = RAM((UINT64_C(1) << 56) - 8 * MIB, 8 * MIB);
    const struct qy_memmap map = {.ranges = &last, .nr_ranges = 1, .nr_nodes = 1};
    struct test_memory memory;

    test_memory_build(&memory, &map, NULL, 0, 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: metadata would be looked for where there is none. */
static void metadata_without_a_place_is_refused(void **state)
{
    (void)state;
    const struct qy_range small = RAM(GIB, 4 * PAGE);
    const struct qy_memmap map = {.ranges = &small, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_mm_options no_virt = {.no_virt = true};
    const struct qy_mm_options no_room = {.virt_offset = PAGE};
    struct qy_error error = {0};

    assert_null(qy_mm_create(&map, &no_virt, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_null(qy_mm_create(&map, &no_room, &error));
    assert_int_equal(error.code, -ENOMEM);
}

/* Wrong if it failed: metadata taken from the map itself would be handed out again. */
static void metadata_can_come_out_of_the_map(void **state)
{
    (void)state;
    char *frames = mmap(NULL, 32 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct qy_range range = RAM(GIB, 32 * MIB);
    const struct qy_memmap map = {.ranges = &range, .nr_ranges = 1, .nr_nodes = 1};
    const struct qy_mm_options options = {.virt_offset = (uintptr_t)frames - GIB};
    struct qy_mm_stat stat;

    memset(frames, 0xa5, 32 * MIB);
    struct qy_mm *mm = qy_mm_create(&map, &options, NULL);
    assert_non_null(mm);
    assert_in_range((uintptr_t)mm, (uintptr_t)frames, (uintptr_t)frames + 32 * MIB - 1);
    qy_mm_stat(mm, &stat);
    assert_int_equal(stat.present, 32 * MIB / PAGE);
    assert_int_equal(stat.managed, (32 * MIB - qy_mm_meta_bytes(&map, NULL)) / PAGE);
    assert_in_range(stat.free, stat.managed - 64, stat.managed); /* less the first slabs */
    test_rules(mm);
    struct test_memory memory = {.mm = mm, .frames = frames, .frames_bytes = 32 * MIB};
    test_memory_free(&memory);
}

/* Wrong if it failed: holes or reserved frames would count as memory. */
static void present_and_managed_are_what_the_map_says(void **state)
{
    (void)state;
    const struct qy_range ranges[] = {
        RAM(64 * MIB + PAGE, 5 * MIB),
        RAM(16 * MIB, 7 * PAGE), /* in any order */
        {.base = 65 * MIB, .bytes = 9 * PAGE, .type = QY_RANGE_RESERVED},
    };
    const struct qy_memmap map = {.ranges = ranges, .nr_ranges = 3, .nr_nodes = 1};
    struct test_memory memory;
    struct qy_mm_stat stat;

    test_memory_build(&memory, &map, NULL, 0, 0);
    qy_mm_stat(memory.mm, &stat);
    assert_int_equal(stat.present, 5 * MIB / PAGE + 7);
    assert_int_equal(stat.managed, 5 * MIB / PAGE + 7 - 9);
    assert_int_equal(stat.free, stat.managed);
    assert_int_equal(stat.spanned, (64 * MIB + PAGE + 5 * MIB - 16 * MIB) / PAGE);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

/* Wrong if it failed: memory that begins to be movable where DMA32 ends would be refused, or
 * what comes later could come online first. */
static void limits_may_meet_and_ranges_come_in_any_order(void **state)
{
    (void)state;
    const struct qy_range ranges[] = {
        {.base = 32 * MIB, .bytes = 8 * MIB, .type = QY_RANGE_HOTPLUG},
        {.base = 16 * MIB, .bytes = 8 * MIB, .type = QY_RANGE_HOTPLUG},
    };
    const struct qy_memmap map = {.ranges = ranges,
                                  .nr_ranges = 2,
                                  .nr_nodes = 1,
                                  .dma_end = 4 * MIB,
                                  .dma32_end = 24 * MIB,
                                  .movable_base = 24 * MIB};
    const struct qy_mm_options options = {.grow = true};
    struct test_memory memory;

    test_memory_build(&memory, &map, &options, 0, 0);
    qy_pfn_t pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    assert_in_range(pfn, 16 * MIB / PAGE, 24 * MIB / PAGE - 1);
    assert_int_equal(qy_free_pages(memory.mm, pfn, 0), 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bad_map_is_refused_with_its_reason),
        cmocka_unit_test(each_bad_option_is_refused_with_its_reason),
        cmocka_unit_test(the_error_names_the_range),
        cmocka_unit_test(a_map_may_end_at_the_last_address),
        cmocka_unit_test(metadata_without_a_place_is_refused),
        cmocka_unit_test(metadata_can_come_out_of_the_map),
        cmocka_unit_test(present_and_managed_are_what_the_map_says),
        cmocka_unit_test(limits_may_meet_and_ranges_come_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
