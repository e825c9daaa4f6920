/*
 * test_cache.c - the Nth call of the port fails while a file is cached, for N = 1, 2, 3 ...
 *
 * Memory grows as it is needed, so that a page, a node of the index, or the file itself may be what
 * there is no memory for. Whatever fails: what a call said to have written is read again.
 */
#include "sim.h"
#include "support.h"

#include "backing.h"
#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#define BYTES (32 * MIB)
#define LIMIT (12 * MIB)

static struct backing backing;

static void live(struct qy_mm *mm)
{
    static unsigned char written[3 * MIB], buffer[PAGE];
    uint64_t done = 0;
    void *runs[20] = {NULL};
    memset(&backing, 0, sizeof(backing));
    struct qy_file *file = qy_file_create(mm, "array", &backing_ops, &backing, 0, NULL);
    if (file == NULL)
        return;
    for (size_t i = 0; i < sizeof(written); i++)
        written[i] = (unsigned char)(i / 100);
    for (unsigned i = 0; i < 20; i++)
        runs[i] = qy_kmalloc(mm, 300000, QY_GFP_KERNEL);
    while (done < sizeof(written)) {
        int64_t put = qy_file_write(file, written + done, sizeof(written) - done, done);
        assert_true(put > 0 || put == -ENOMEM);
        done += put > 0 ? (uint64_t)put : 0;
        if (put <= 0)
            break;
    }
    test_rules(mm);
    assert_int_equal(qy_file_sync(file), 0);
    assert_int_equal(backing.length, done);
    assert_memory_equal(backing.bytes, written, done);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(qy_kfree(mm, runs[i]), 0);
    for (uint64_t at = 0; at + PAGE <= done; at += PAGE) {
        int64_t got = qy_file_read(file, buffer, PAGE, at);
        assert_true(got == PAGE || got == -ENOMEM);
        if (got == PAGE)
            assert_memory_equal(buffer, written + at, PAGE);
    }
    assert_int_equal(qy_file_close(file), 0);
    test_rules(mm);
}

/* Wrong if it failed: memory that is refused once would lose pages, or frames. */
static void nothing_is_lost(void **state)
{
    uint64_t nth = 0;
    bool failed = true;
    (void)state;
    for (; failed; nth++) {
        struct test_memory memory;
        qy_sim_reset();
        qy_sim_cpu(0);
        qy_sim_fail(nth);
        if (test_memory_growing(&memory, BYTES, LIMIT / PAGE)) {
            live(memory.mm);
            failed = nth == 0 || qy_sim_failed();
            qy_sim_fail(0);
            live(memory.mm);
            assert_int_equal(qy_sim_lines(), 0);
        }
        test_memory_free(&memory);
    }
    print_message("%llu calls failed, one at a time\n", (unsigned long long)nth - 2);
    assert_true(nth > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
