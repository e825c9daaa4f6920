/*
 * test_populate.c - buddy/populate.c: huge pages under what small objects fill
 */
#include "frames.h"
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/linux.h>
#include <quarry/slab.h>

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define OBJECT 256
#define OBJECTS (64 * MIB / OBJECT)
/** Frames on per-CPU lists are free to nobody: so many at most. */
#define FEW 256

static struct qy_mm *mm;
static void **objects;

/** No huge page takes long here: after one that does, no more are asked for, for a while. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    *now = (struct timespec){0};
    return clock == CLOCK_THREAD_CPUTIME_ID ? 0 : (int)syscall(SYS_clock_gettime, clock, now);
}

static int build(void **state)
{
    const struct qy_linux_options options = {.span_bytes = 4 * GIB};
    struct qy_error error = {0};
    (void)state;
    mm = qy_linux_mm_create(&options, &error);
    objects = calloc(OBJECTS, sizeof(*objects));
    return mm == NULL || objects == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    test_rules(mm);
    qy_linux_mm_destroy(mm);
    free(objects);
    return 0;
}

static void fill(void)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        objects[i] = qy_kmalloc(mm, OBJECT, QY_GFP_KERNEL);
        assert_non_null(objects[i]);
        memset(objects[i], 1, OBJECT);
    }
}

static void empty(void)
{
    for (size_t i = 0; i < OBJECTS; i++)
        assert_int_equal(qy_kfree(mm, objects[i]), 0);
}

/** A figure of /proc/self/smaps in KiB, or mappings with this flag, between the span's ends. */
static unsigned long in_smaps(const char *name, const char *flag)
{
    FILE *smaps = fopen("/proc/self/smaps", "r");
    char line[512];
    unsigned long start = 0, end, kib, sum = 0;
    bool inside = false;
    assert_non_null(smaps);
    while (fgets(line, sizeof(line), smaps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && strchr(line, '-') < line + 17)
            inside = start >= mm->base && start < mm->base + 4 * GIB;
        else if (inside && name != NULL && strncmp(line, name, strlen(name)) == 0 &&
                 sscanf(line + strlen(name), ": %lu", &kib) == 1)
            sum += kib;
        else if (inside && flag != NULL && strncmp(line, "VmFlags:", 8) == 0)
            sum += strstr(line, flag) != NULL;
    }
    fclose(smaps);
    return sum;
}

/* Wrong if it failed: memory that came with a huge page would be thought to be gone, so it would
 * not count as held and never go back. */
static void what_a_huge_page_brings_is_counted(void **state)
{
    (void)state;
    fill();
    assert_in_range(frames_held(mm).fresh, 0, FEW);
    empty();
    assert_in_range(frames_held(mm).fresh, 0, FEW);
    qy_kmem_cache_shrink_all(mm);
    qy_mm_trim(mm, 0);
    assert_in_range(frames_held(mm).all, 0, FEW + (1 * MIB / PAGE));
}

/* Wrong if it failed: a large heap of small objects would cost a fault and a translation a page; or
 * the system would fill up again what was given back, behind our back. */
static void small_objects_of_a_large_heap_lie_in_huge_pages(void **state)
{
    (void)state;
    fill();
    assert_int_equal(in_smaps(NULL, " hg"), 0);
    unsigned long huge = in_smaps("AnonHugePages", NULL);
    empty();
    if (huge == 0)
        skip(); /* the system has none: transparent_hugepage is never, or memory too fragmented */
    assert_in_range(huge, 8 * MIB / 1024, 36 * MIB / 1024);
}

/* Wrong if it failed: a small heap, or large blocks that are hardly written to, would cost 2 MiB
 * for each place that is touched. */
static void others_do_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < 16 * MIB / OBJECT; i++)
        memset(objects[i] = qy_kmalloc(mm, OBJECT, QY_GFP_KERNEL), 1, OBJECT);
    assert_int_equal(in_smaps("AnonHugePages", NULL), 0);
    char *large = qy_kmalloc(mm, 256 * MIB, QY_GFP_KERNEL);
    assert_non_null(large);
    for (size_t at = 0; at < 256 * MIB; at += 8 * MIB)
        large[at] = 1;
    assert_int_equal(in_smaps("AnonHugePages", NULL), 0);
    assert_int_equal(qy_kfree(mm, large), 0);
    for (size_t i = 0; i < 16 * MIB / OBJECT; i++)
        assert_int_equal(qy_kfree(mm, objects[i]), 0);
}

int main(void)
{
    FILE *mode = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    char line[64] = "";
    if (mode != NULL && fgets(line, sizeof(line), mode) != NULL && strstr(line, "[always]") != NULL)
        return 77; /* then every mapping has them, whatever Quarry does */
    if (mode != NULL)
        fclose(mode);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_huge_page_brings_is_counted, build, tear_down),
        cmocka_unit_test_setup_teardown(small_objects_of_a_large_heap_lie_in_huge_pages, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(others_do_not, build, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
