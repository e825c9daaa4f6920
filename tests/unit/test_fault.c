/*
 * test_fault.c - memory/fault.c: the line that each wrong call is told in, to the letter
 */
#include "sim.h"
#include "with_memory.h"

#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define BASE (4 * GIB)

static int build(void **state)
{
    (void)state;
    qy_sim_reset();
    test_memory_simple(&memory, BASE, 64 * MIB, true);
    return 0;
}

/** The last line, of which @format is all. */
static __attribute__((format(printf, 2, 3))) void expect(int code, const char *format, ...)
{
    char line[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    assert_int_equal(code, -EINVAL);
    assert_string_equal(qy_sim_last_line(), line);
}

/* Wrong if it failed: the middle of a block in use would be called freed, and a frame's number
 * read as an address. */
static void frames_are_called_frames(void **state)
{
    struct qy_mm *mm = memory.mm;
    (void)state;
    qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_KERNEL, 3);
    unsigned long long number = pfn;
    expect(qy_free_pages(mm, pfn, 2), "quarry: wrong size free of frame %#llx: rule F3\n", number);
    expect(qy_free_pages(mm, pfn + 7, 0), "quarry: interior free of frame %#llx: rule F2\n",
           number + 7);
    expect(qy_free_pages(mm, 5, 0), "quarry: foreign free of frame 0x5: rule F1\n");
    assert_int_equal(qy_free_pages(mm, pfn, 3), 0);
    expect(qy_free_pages(mm, pfn, 3),
           "quarry: double free of frame %#llx: rule F2, or it was never allocated\n", number);
    void *block = qy_kmalloc(mm, 100, QY_GFP_KERNEL);
    pfn = qy_virt_to_pfn(mm, block);
    expect(
        qy_free_pages(mm, pfn, 0),
        "quarry: invalid free of frame %#llx: rule F2, it belongs to a cache, a file or kmalloc\n",
        (unsigned long long)pfn);
    assert_int_equal(qy_kfree(mm, block), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_are_called_frames, build, memory_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
