/*
 * test_view_formats.c - the printers of src/view, each against what Linux prints
 */
#include "support.h"

#include "view/lens.h"

static const struct qy_zone_view zones[] = {
    {
        .name = "DMA",
        .node = 0,
        .populated = 1,
        .start_pfn = 1,
        .spanned = 4095,
        .present = 3998,
        .managed = 3840,
        .free = 3840,
        .min = 48,
        .low = 60,
        .high = 72,
        .promo = 84,
        .nr_protections = 5,
        .protection = {0, 3019, 5195, 5195, 5195},
        .nr_free = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3},
        .nr_free_of =
            {
                [QY_MIGRATE_UNMOVABLE] = {[8] = 1},
                [QY_MIGRATE_MOVABLE] = {[9] = 1, [10] = 3},
            },
        .nr_pageblocks = {[QY_MIGRATE_UNMOVABLE] = 1, [QY_MIGRATE_MOVABLE] = 7},
    },
    {.name = "Movable", .node = 0, .min = 32, .low = 32, .high = 32, .promo = 32},
};

static const struct qy_item_view items[] = {
    {.name = "MemTotal", .set = QY_ITEMS_MEMINFO, .value = 24684084, .is_kb = 1},
    {.name = "VmallocTotal", .set = QY_ITEMS_MEMINFO, .value = 34359738367, .is_kb = 1},
    {.name = "HugePages_Total", .set = QY_ITEMS_MEMINFO, .value = 7},
    {.name = "nr_free_pages", .set = QY_ITEMS_VMSTAT, .value = 1214583},
    {.name = "nr_mlock", .set = QY_ITEMS_NODE, .owner = 0, .value = 5},
    {.name = "nr_zone_write_pending", .set = QY_ITEMS_ZONE, .owner = 0, .value = 59},
    {.name = "nr_mlock", .set = QY_ITEMS_ZONE, .owner = 0, .value = 2},
};

static const struct qy_region_view regions[] = {
    {
        .name = "default",
        .policy = 1,
        .total_pages = 16384,
        .available_pages = 8192,
        .alloc_pages_success = 24576,
        .alloc_pages_fail = 0,
        .release_pages_success = 16384,
        .out = 8192,
        .lent = 8000,
        .free = 192,
        .requests = 201,
        .moved = 7,
        .dropped = 9,
        .latency = {[0] = 50, [4] = 51, [14] = 80, [15] = 18, [24] = 2},
    },
    {
        .name = "a-region-of-an-older-kernel",
        .policy = QY_VIEW_UNKNOWN,
        .total_pages = QY_VIEW_UNKNOWN,
        .available_pages = QY_VIEW_UNKNOWN,
        .alloc_pages_success = 12,
        .alloc_pages_fail = 3,
        .release_pages_success = QY_VIEW_UNKNOWN,
        .out = QY_VIEW_UNKNOWN,
        .lent = QY_VIEW_UNKNOWN,
        .free = QY_VIEW_UNKNOWN,
        .requests = QY_VIEW_UNKNOWN,
        .failures = QY_VIEW_UNKNOWN,
        .moved = QY_VIEW_UNKNOWN,
        .dropped = QY_VIEW_UNKNOWN,
        .written = QY_VIEW_UNKNOWN,
    },
    {.name = "the-third-of-them"},
};

static bool look(const void *from, enum qy_view_kind kind, size_t index, void *view)
{
    static const struct qy_memory_view memory = {.page_bytes = 4096, .migratetypes = 0x2f};
    static const struct qy_pageset_view set = {0, 1, 7, 30, 1, 30, 240, 4};
    static const struct qy_cache_view cache = {
        "ext4_inode_cache", 57274, 57280, 1128, 14, 4, 120, 60, 8, 4091, 4092, 3};
    (void)from;
    switch (kind) {
    case QY_VIEW_MEMORY:
        *(struct qy_memory_view *)view = memory;
        return index == 0;
    case QY_VIEW_ZONE:
        if (index < COUNT_OF(zones))
            *(struct qy_zone_view *)view = zones[index];
        return index < COUNT_OF(zones);
    case QY_VIEW_PAGESET:
        *(struct qy_pageset_view *)view = set;
        return index == 0;
    case QY_VIEW_CACHE:
        *(struct qy_cache_view *)view = cache;
        return index == 0;
    case QY_VIEW_REGION:
        if (index < COUNT_OF(regions))
            *(struct qy_region_view *)view = regions[index];
        return index < COUNT_OF(regions);
    default:
        if (index < COUNT_OF(items))
            *(struct qy_item_view *)view = items[index];
        return index < COUNT_OF(items);
    }
}

static void expect(void (*show)(const struct qy_lens *lens, struct qy_text *text),
                   const char *wanted)
{
    char buffer[8192];
    struct qy_lens lens = {.look = look};
    struct qy_text text = {.buffer = buffer, .bytes = sizeof(buffer)};
    show(&lens, &text);
    assert_string_equal(buffer, wanted);
    assert_int_equal(text.length, strlen(wanted));
}

/* Wrong if it failed: scripts that split /proc/buddyinfo at its columns would misread ours. */
static void buddyinfo_is_as_linux_prints_it(void **state)
{
    (void)state;
    expect(qy_show_buddyinfo, "Node 0, zone      DMA      0      0      0      0      0      0"
                              "      0      0      1      1      3 \n");
}

/* Wrong if it failed: fragmentation tools that read /proc/pagetypeinfo would misread ours. */
static void pagetypeinfo_is_as_linux_prints_it(void **state)
{
    (void)state;
    expect(qy_show_pagetypeinfo,
           "Page block order: 9\nPages per block:  512\n\n"
           "Free pages count per migrate type at order       0      1      2      3      4      5"
           "      6      7      8      9     10 \n"
           "Node    0, zone      DMA, type    Unmovable      0      0      0      0      0      0"
           "      0      0      1      0      0 \n"
           "Node    0, zone      DMA, type      Movable      0      0      0      0      0      0"
           "      0      0      0      1      3 \n"
           "Node    0, zone      DMA, type  Reclaimable      0      0      0      0      0      0"
           "      0      0      0      0      0 \n"
           "Node    0, zone      DMA, type   HighAtomic      0      0      0      0      0      0"
           "      0      0      0      0      0 \n"
           "Node    0, zone      DMA, type      Isolate      0      0      0      0      0      0"
           "      0      0      0      0      0 \n"
           "\nNumber of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      "
           "Isolate \n"
           "Node 0, zone      DMA            1            7            0            0            "
           "0 \n");
}

/* Wrong if it failed: slabtop(1) would refuse our slabinfo. */
static void slabinfo_is_as_linux_prints_it(void **state)
{
    (void)state;
    expect(qy_show_slabinfo,
           "slabinfo - version: 2.1\n"
           "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
           " : tunables <limit> <batchcount> <sharedfactor>"
           " : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
           "ext4_inode_cache   57274  57280   1128   14    4 : tunables  120   60    8"
           " : slabdata   4091   4092      3\n");
}

/* Wrong if it failed: free(1) and exporters would misread our meminfo and vmstat. */
static void meminfo_and_vmstat_are_as_linux_prints_them(void **state)
{
    (void)state;
    expect(qy_show_meminfo, "MemTotal:       24684084 kB\n"
                            "VmallocTotal:   34359738367 kB\n"
                            "HugePages_Total:       7\n");
    expect(qy_show_vmstat, "nr_free_pages 1214583\n");
}

/* Wrong if it failed: watermark exporters would misread our zoneinfo. */
static void zoneinfo_is_as_linux_prints_it(void **state)
{
    (void)state;
    expect(qy_show_zoneinfo,
           "Node 0, zone      DMA\n  per-node stats\n      nr_mlock     5\n"
           "  pages free     3840\n        boost    0\n        min      48\n"
           "        low      60\n        high     72\n        promo    84\n"
           "        spanned  4095\n        present  3998\n        managed  3840\n"
           "        cma      0\n        protection: (0, 3019, 5195, 5195, 5195)\n"
           "      nr_zone_write_pending 59\n      nr_mlock     2\n"
           "  pagesets\n    cpu: 1\n              count:    7\n              high:     30\n"
           "              batch:    1\n              high_min: 30\n              high_max: 240\n"
           "  vm stats threshold: 4\n  node_unreclaimable:  0\n  start_pfn:           1\n"
           "Node 0, zone  Movable\n  pages free     0\n        boost    0\n        min      32\n"
           "        low      32\n        high     32\n        promo    32\n"
           "        spanned  0\n        present  0\n        managed  0\n        cma      0\n"
           "        protection: ()\n");
}

/* Wrong if it failed: people who read SysRq-m in their logs would not find their way. The labels
 * are those of show_free_areas() in Linux's mm/show_mem.c, free_highatomic and zspages those of
 * 6.13 and later: K() is in kB, but "KB" stands behind both counts of highatomic; letters only
 * follow where there are blocks. Of the pages of files this zone knows only those to be written:
 * what is not known is no 0. */
static void sysrq_m_is_as_linux_prints_it(void **state)
{
    (void)state;
    expect(qy_show_sysrq_m,
           "Mem-Info:\n"
           "Node 0 DMA free:15360kB boost:0kB min:192kB low:240kB high:288kB "
           "reserved_highatomic:0KB free_highatomic:0KB active_anon:0kB inactive_anon:0kB "
           "unevictable:0kB writepending:236kB zspages:0kB "
           "present:15992kB managed:15360kB mlocked:8kB bounce:0kB free_pcp:0kB local_pcp:0kB "
           "free_cma:0kB\n"
           "lowmem_reserve[]: 0 3019 5195 5195 5195\n"
           "Node 0 DMA: 0*4kB 0*8kB 0*16kB 0*32kB 0*64kB 0*128kB 0*256kB 0*512kB 1*1024kB (U) "
           "1*2048kB (M) 3*4096kB (M) = 15360kB\n"
           "3998 pages RAM\n0 pages HighMem/MovableOnly\n158 pages reserved\n");
}

/* Wrong if it failed: who knows the names of /sys/kernel/mm/cma would not find them; a figure that
 * the kernel does not show would be a false one; or lines would be wider than a terminal. */
static void cma_is_a_table_of_what_sysfs_shows(void **state)
{
    (void)state;
    expect(qy_show_cma, "pages of 4 KiB               default  a-region-of-an-older-kernel\n"
                        "policy                         eager                            -\n"
                        "total_pages                    16384                            -\n"
                        "available_pages                 8192                            -\n"
                        "alloc_pages_success            24576                           12\n"
                        "alloc_pages_fail                   0                            3\n"
                        "release_pages_success          16384                            -\n"
                        "out                             8192                            -\n"
                        "lent                            8000                            -\n"
                        "free                             192                            -\n"
                        "requests                         201                            -\n"
                        "failures                           0                            -\n"
                        "moved                              7                            -\n"
                        "dropped                            9                            -\n"
                        "written                            0                            -\n"
                        "latency p50                    <16us                            -\n"
                        "latency p90                    <17ms                            -\n"
                        "latency p99                    <33ms                            -\n"
                        "latency max                     <17s                            -\n"
                        "\n"
                        "pages of 4 KiB          the-third-of-them\n"
                        "policy                              linux\n"
                        "total_pages                             0\n"
                        "available_pages                         0\n"
                        "alloc_pages_success                     0\n"
                        "alloc_pages_fail                        0\n"
                        "release_pages_success                   0\n"
                        "out                                     0\n"
                        "lent                                    0\n"
                        "free                                    0\n"
                        "requests                                0\n"
                        "failures                                0\n"
                        "moved                                   0\n"
                        "dropped                                 0\n"
                        "written                                 0\n"
                        "latency p50                             -\n"
                        "latency p90                             -\n"
                        "latency p99                             -\n"
                        "latency max                             -\n");
}

/* Wrong if it failed: a percentile would be one request off, and so a power of two. */
static void percentiles_are_by_rank(void **state)
{
    struct qy_region_view region = {.latency = {[3] = 9, [10] = 1}};
    (void)state;
    assert_int_equal(qy_region_latency_us(&region, 90), 8);
    assert_int_equal(qy_region_latency_us(&region, 91), 1024);
    assert_int_equal(qy_region_latency_us(&region, 100), 1024);
    region.latency[3] = 989;
    region.latency[10] = 11;
    assert_int_equal(qy_region_latency_us(&region, 98), 8);
    assert_int_equal(qy_region_latency_us(&region, 99), 1024);
    region.latency[3] = UINT64_MAX / 2;
    assert_int_equal(qy_region_latency_us(&region, 99), 8);
}

static bool look_with_highmem(const void *from, enum qy_view_kind kind, size_t index, void *view)
{
    static const struct qy_zone_view both[] = {
        {.name = "HighMem", .populated = 1, .present = 100, .managed = 90, .cma = 16},
        {.name = "Movable", .populated = 1, .present = 50, .managed = 40},
    };
    if (kind != QY_VIEW_ZONE)
        return kind == QY_VIEW_MEMORY && look(from, kind, index, view);
    if (index < COUNT_OF(both))
        *(struct qy_zone_view *)view = both[index];
    return index < COUNT_OF(both);
}

/* Wrong if it failed: the last lines would not be those of __show_mem(), which counts what is
 * present; of it as HighMem/MovableOnly what is_highmem(), so on 64 bits nothing. */
static void sysrq_m_counts_high_memory_as_linux(void **state)
{
    (void)state;
    char buffer[8192];
    struct qy_lens lens = {.look = look_with_highmem};
    struct qy_text text = {.buffer = buffer, .bytes = sizeof(buffer)};
    qy_show_sysrq_m(&lens, &text);
    assert_non_null(strstr(buffer, "\n150 pages RAM\n100 pages HighMem/MovableOnly\n"
                                   "20 pages reserved\n16 pages cma reserved\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buddyinfo_is_as_linux_prints_it),
        cmocka_unit_test(pagetypeinfo_is_as_linux_prints_it),
        cmocka_unit_test(slabinfo_is_as_linux_prints_it),
        cmocka_unit_test(meminfo_and_vmstat_are_as_linux_prints_them),
        cmocka_unit_test(zoneinfo_is_as_linux_prints_it),
        cmocka_unit_test(sysrq_m_is_as_linux_prints_it),
        cmocka_unit_test(sysrq_m_counts_high_memory_as_linux),
        cmocka_unit_test(cma_is_a_table_of_what_sysfs_shows),
        cmocka_unit_test(percentiles_are_by_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
