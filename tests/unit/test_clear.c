/*
 * test_clear.c - port/linux: how a large block that was used before comes to read as zero
 */
#include "frames.h"
#include "support.h"

#include <quarry/linux.h>
#include <quarry/slab.h>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define BYTES (32 * MIB)

static struct qy_mm *mm;
static bool hidden;         /* mincore() finds no page in memory, as if all were out */
static const char *swapped; /* "1": something is, says sysinfo(); "0": nothing; in turn */

/* In place of the C library's. */
int mincore(void *start, size_t length, unsigned char *vec)
{
    long code = syscall(SYS_mincore, start, length, vec);
    if (code == 0 && hidden)
        memset(vec, 0, length / PAGE);
    return (int)code;
}

int sysinfo(struct sysinfo *info)
{
    memset(info, 0, sizeof(*info));
    info->totalswap = 1000;
    info->freeswap = *swapped == '1' ? 999 : 1000;
    swapped += swapped[1] != 0;
    return 0;
}

static int build(void **state)
{
    const struct qy_linux_options options = {.span_bytes = 4 * GIB};
    (void)state;
    mm = qy_linux_mm_create(&options, NULL);
    return mm == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    qy_linux_mm_destroy(mm);
    return 0;
}

/** The block that was freed last, which reads as zero. */
static void again(char *block, size_t pages)
{
    assert_int_equal(qy_kfree(mm, block), 0);
    assert_ptr_equal(qy_kmalloc(mm, BYTES, QY_GFP_KERNEL | QY_GFP_ZERO), block);
    assert_int_equal(frames_resident(block, BYTES), pages);
    for (size_t at = 0; at < BYTES; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, block + at, sizeof(word));
        if (word != 0)
            fail_msg("not zero at %zu", at);
    }
}

static char *fresh(void)
{
    char *block = qy_kmalloc(mm, BYTES, QY_GFP_KERNEL);
    assert_non_null(block);
    assert_int_equal(frames_resident(block, BYTES), 0);
    return block;
}

/* Wrong if it failed: of a table that is used here and there, all would get memory, or what is used
 * would lose it and be faulted in anew each time; or some of it would not be zero. */
static void pages_keep_the_memory_they_have_and_get_none(void **state)
{
    (void)state;
    char *block = fresh();
    memset(block, 1, 3 * PAGE);
    memset(block + BYTES - PAGE, 1, PAGE);
    for (size_t i = 0; i < 20; i++)
        memset(block + MIB + i * 64 * 1024, 1, 2 * PAGE);
    memset(block + 4 * MIB, 1, 3 * MIB);
    swapped = "0";
    again(block, 3 + 1 + 40 + 3 * MIB / PAGE);
    assert_int_equal(qy_kfree(mm, block), 0);
}

/* Wrong if it failed: bytes of an earlier owner that were swapped out just then would come back. */
static void what_is_swapped_out_is_zero_as_well(void **state)
{
    static const char *const looks[] = {"1", "01", "10"};
    (void)state;
    char *block = fresh();
    hidden = true;
    for (size_t i = 0; i < COUNT_OF(looks); i++) {
        memset(block, 1, BYTES);
        swapped = looks[i];
        again(block, 0);
    }
    hidden = false;
    assert_int_equal(qy_kfree(mm, block), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_keep_the_memory_they_have_and_get_none, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_swapped_out_is_zero_as_well, build, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
