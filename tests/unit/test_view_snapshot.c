/*
 * test_view_snapshot.c - src/view/snapshot.c: a memory's views as bytes
 */
#include "support.h"

#include "view/live.h"
#include "view/snapshot.h"

#include <quarry/buddy.h>

struct store {
    size_t length;
    _Alignas(8) unsigned char bytes[1 << 18];
};

static int put(void *to, const void *bytes, size_t length)
{
    struct store *store = to;
    if (length > sizeof(store->bytes) - store->length)
        return -28;
    memcpy(store->bytes + store->length, bytes, length);
    store->length += length;
    return 0;
}

static void save(struct store *store, struct qy_mm *mm)
{
    struct qy_live live = {.mm = mm};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_sink sink = {.to = store, .put = put};
    store->length = 0;
    assert_int_equal(qy_snapshot_begin(&sink), 0);
    assert_int_equal(qy_snapshot_views(&sink, &lens), 0);
    assert_int_equal(qy_snapshot_end(&sink), 0);
}

static void show_all(const struct qy_lens *lens, struct qy_text *text)
{
    qy_show_buddyinfo(lens, text);
    qy_show_pagetypeinfo(lens, text);
    qy_show_zoneinfo(lens, text);
    qy_show_slabinfo(lens, text);
    qy_show_meminfo(lens, text);
    qy_show_vmstat(lens, text);
    qy_show_sysrq_m(lens, text);
    qy_show_cma(lens, text);
}

/* Wrong if it failed: a report would show another memory than the process had. */
static void what_is_read_back_is_what_was_saved(void **state)
{
    static struct store store;
    static char live_text[1 << 16], saved_text[1 << 16];
    struct test_memory memory;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 32 * MIB, true);
    qy_pfn_t pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 3);
    assert_true(pfn != QY_PFN_NONE);
    save(&store, memory.mm);

    struct qy_live live = {.mm = memory.mm};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_snapshot snapshot = {.bytes = store.bytes, .length = store.length};
    struct qy_text one = {live_text, sizeof(live_text), 0};
    struct qy_text other = {saved_text, sizeof(saved_text), 0};
    show_all(&lens, &one);
    assert_int_equal(qy_snapshot_check(&snapshot), 0);
    lens = qy_snapshot_lens(&snapshot);
    show_all(&lens, &other);
    assert_string_equal(live_text, saved_text);
    assert_true(one.length > 2000);
    test_memory_free(&memory);
}

/* Wrong if it failed: the report of a process that was killed while writing it would be read
 * beyond its end. */
static void every_cut_snapshot_is_refused(void **state)
{
    static struct store store;
    struct test_memory memory;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 8 * MIB, true);
    save(&store, memory.mm);
    for (size_t length = 0; length < store.length; length++) {
        unsigned char *copy = malloc(length + 1); /* so that a checker sees its end */
        memcpy(copy, store.bytes, length);
        struct qy_snapshot snapshot = {.bytes = copy, .length = length};
        assert_int_not_equal(qy_snapshot_check(&snapshot), 0);
        free(copy);
    }
    test_memory_free(&memory);
}

/* Wrong if it failed: a damaged report would crash the tool instead of being refused or
 * shown. */
static void damaged_snapshots_are_read_within_their_bounds(void **state)
{
    static struct store store;
    static char text_bytes[1 << 16];
    struct test_memory memory;
    struct random random = {test_seed()};
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 8 * MIB, true);
    save(&store, memory.mm);
    unsigned char *copy = malloc(store.length);
    for (unsigned round = 0; round < 300; round++) {
        memcpy(copy, store.bytes, store.length);
        for (unsigned i = 0; i < 4; i++)
            copy[random_below(&random, store.length)] = (unsigned char)random_below(&random, 256);
        struct qy_snapshot snapshot = {.bytes = copy, .length = store.length};
        if (qy_snapshot_check(&snapshot) != 0)
            continue;
        struct qy_lens lens = qy_snapshot_lens(&snapshot);
        struct qy_text text = {text_bytes, sizeof(text_bytes), 0};
        qy_show_zoneinfo(&lens, &text);
        qy_show_slabinfo(&lens, &text);
    }
    free(copy);
    test_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_back_is_what_was_saved),
        cmocka_unit_test(every_cut_snapshot_is_refused),
        cmocka_unit_test(damaged_snapshots_are_read_within_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
