/*
 * test_mmap.c - the Nth call of the port fails while a file is used by pointers, for N = 1, 2, 3
 * ...
 *
 * Memory grows as it is needed, so that there may be no frame, no table, no node of the index; or
 * the host refuses a mapping. Whatever fails: what was written is read again, the host has what the
 * tables say, and at the end all of it is in the backing and every frame is free.
 */
#include "sim.h"
#include "support.h"

#include "backing.h"
#include "buddy/lend.h"
#include "pointer.h"
#include "reclaim/file.h"
#include "space/space.h"

#define BYTES (32 * MIB)
#define LIMIT (12 * MIB)
#define PAGES 48u

struct life {
    struct qy_mm *mm;
    struct qy_space *space;
    struct qy_file *file;
    char *at;
    unsigned char byte[PAGES]; /* of each page: the first */
};

static struct backing backing;

/* The host has what the tables say, or less where it refused to be told. */
static void compare(const struct life *life)
{
    struct qy_space *space = life->space;
    for (uint64_t page = 0; page < 2 * PAGES; page++) {
        uint32_t prot;
        uint64_t pfn = qy_sim_window(qy_space_address(space, page), &prot);
        qy_pte_t pte = qy_pgtable_get(&space->table, page);
        bool in_doubt = qy_space_in_doubt(space, page, page + 1);
        bool lost = in_doubt && pfn == UINT64_MAX;
        if (pfn != (qy_pte_none(pte) ? UINT64_MAX : qy_pte_pfn(pte)) && !lost)
            test_fail("page %llu: the host has another frame", (unsigned long long)page);
        if (!qy_pte_none(pte) && prot != qy_flags_prot(qy_pte_flags(pte)) && !in_doubt)
            test_fail("page %llu: the host allows %u", (unsigned long long)page, prot);
    }
    test_rules(life->mm);
}

static void check(const struct life *life, int code)
{
    if (code != 0 && code != -ENOMEM)
        test_fail("%d", code);
    compare(life);
}

static void touch(struct life *life, unsigned page, bool write)
{
    int code;
    unsigned char *byte = pointer_at(life->mm, life->space, life->at + page * PAGE, write, &code);
    check(life, code);
    if (byte == NULL)
        return;
    assert_int_equal(*byte, life->byte[page]);
    if (write)
        *byte = life->byte[page] = (unsigned char)(life->byte[page] * 3 + 1);
}

static void move(struct life *life, uint32_t page)
{
    struct qy_mapping *mapping = &life->file->mapping;
    uint32_t frame = qy_index_get(&life->file->index, page);
    bool fresh;
    if (frame == QY_NO_FRAME)
        return;
    qy_pfn_t from = life->mm->start_pfn + frame;
    int isolated = mapping->ops->isolate(mapping, page, from, 1);
    check(life, isolated > 0 ? 0 : isolated == -ENOSPC ? -ENOMEM : isolated);
    if (isolated != 1)
        return;
    qy_pfn_t to = qy_lend_block(life->mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 0, &fresh);
    to = to != QY_PFN_NONE ? to : from;
    memcpy(qy_frame_address(life->mm, to), qy_frame_address(life->mm, from), to != from ? PAGE : 0);
    assert_int_equal(mapping->ops->putback(mapping, page, from, to, 1), 0);
    compare(life);
}

/* None of the pages that somebody uses stays in doubt. */
static void recover(const struct life *life)
{
    for (uint64_t page = 0; page < PAGES; page++) {
        const void *at = life->at + page * PAGE;
        uint64_t number = qy_space_page(life->space, at);
        if (qy_pte_none(qy_pgtable_get(&life->space->table, number)))
            continue;
        assert_int_equal(qy_space_fault(life->space, at, false), 0);
        assert_false(qy_space_in_doubt(life->space, number, number + 1));
    }
    compare(life);
}

static void use(struct life *life)
{
    for (unsigned page = 0; page < PAGES; page += 3)
        touch(life, page, page % 2 == 0);
    assert_int_equal(qy_file_sync(life->file), 0);
    compare(life);
    for (unsigned page = 0; page < PAGES; page++)
        touch(life, page, true);
    move(life, 7);
    check(life, qy_space_pin(life->space, life->at + PAGE, 3 * PAGE, QY_PIN_LONG, NULL));
    if (life->space->nr_pinned != 0)
        assert_int_equal(qy_space_unpin(life->space, life->at + PAGE, 3 * PAGE), 0);
    check(life, qy_space_protect(life->space, life->at + 20 * PAGE, 5 * PAGE, QY_PROT_READ));
    int code = qy_space_protect(life->space, life->at + 20 * PAGE, 5 * PAGE, QY_PROT_WRITE);
    check(life, code);
    if (code != 0) /* what failed once may be tried again */
        assert_int_equal(
            qy_space_protect(life->space, life->at + 20 * PAGE, 5 * PAGE, QY_PROT_WRITE), 0);
    assert_int_equal(qy_file_sync(life->file), 0);
    qy_file_drop(life->file);
    compare(life);
    for (unsigned page = 0; page < PAGES; page += 2)
        touch(life, page, page % 4 == 0);
    check(life, qy_file_truncate(life->file, (PAGES - 3) * PAGE));
    qy_reclaim(life->mm, 10);
    compare(life);
    check(life, qy_space_unmap(life->space, life->at + 10 * PAGE, 5 * PAGE));
    if (qy_sim_failed())
        recover(life);
}

static void live(struct qy_mm *mm)
{
    struct life life = {.mm = mm};
    backing_fill(&backing, PAGES * PAGE);
    for (unsigned page = 0; page < PAGES; page++)
        life.byte[page] = backing.bytes[page * PAGE];
    life.space = qy_space_create(mm, "life", 16 * MIB, NULL);
    life.file = qy_file_create(mm, "array", &backing_ops, &backing, PAGES * PAGE, NULL);
    if (life.space != NULL && life.file != NULL)
        life.at = qy_space_map_file(life.space, life.file, 0, PAGES * PAGE, QY_PROT_WRITE, 0, NULL);
    if (life.at != NULL)
        use(&life);
    if (life.file != NULL)
        assert_int_equal(qy_file_close(life.file), 0);
    if (life.space != NULL)
        assert_int_equal(qy_space_destroy(life.space), 0);
    for (unsigned page = 0; page < backing.length / PAGE; page++)
        assert_int_equal(backing.bytes[page * PAGE], life.byte[page]);
    test_rules(mm);
}

/* Wrong if it failed: a host that refuses something once would cost the program a write, or
 * frames. */
static void nothing_is_lost(void **state)
{
    uint64_t nth = 0, used = 0;
    bool failed = true;
    (void)state;
    for (; failed; nth++) {
        struct test_memory memory;
        qy_sim_reset();
        qy_sim_cpu(-1); /* attaching is another test's */
        assert_true(test_memory_growing(&memory, BYTES, LIMIT / PAGE));
        struct qy_mm *mm = memory.mm;
        qy_sim_fail(nth);
        live(mm);
        failed = nth == 0 || qy_sim_failed();
        qy_sim_fail(0);
        live(mm);
        used = nth == 0 ? test_frames_in_use(mm) : used;
        assert_int_equal(test_frames_in_use(mm), used);
        test_memory_free(&memory);
    }
    print_message("%llu calls failed, one at a time\n", (unsigned long long)nth - 2);
    assert_true(nth > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
