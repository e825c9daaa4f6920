/*
 * test_hugepages.c - port/linux: a memory whose frame numbers are the machine's
 *
 * As root the tests put hugepages into the system's pool and take them out again; what cannot
 * be had is skipped.
 */
#define _GNU_SOURCE
#include "support.h"

#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/cma.h>
#include <quarry/linux.h>
#include <quarry/slab.h>
#include <quarry/space.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL "/proc/sys/vm/nr_hugepages"
#define POOL_FREE "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
#define HUGE (2 * MIB)
/** Hugepages. The system hands out those first that have no neighbour: of so many, some have. */
#define WANTED 256
#define LEAST 8

static long pool_before = -1;
static int pool_lock = -1;

static long read_number(const char *path)
{
    char text[32] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
    close(file);
    return bytes > 0 ? strtol(text, NULL, 10) : -1;
}

static void set_pool(long count)
{
    char text[32];
    int bytes = snprintf(text, sizeof(text), "%ld", count);
    int file = open(POOL, O_WRONLY | O_CLOEXEC);
    if (file >= 0 && write(file, text, (size_t)bytes) != bytes)
        print_message("%s cannot be set to %s\n", POOL, text);
    close(file);
}

/** No more than an eighth of what the machine has free. */
static long wanted(void)
{
    long most = sysconf(_SC_AVPHYS_PAGES) / 512 / 8;
    return most < WANTED ? most : WANTED;
}

/** The pool is this test's alone among its like, and has room. */
static int fill_pool(void **state)
{
    (void)state;
    pool_lock = open(POOL, O_RDONLY | O_CLOEXEC);
    if (pool_lock < 0 || flock(pool_lock, LOCK_EX) != 0)
        return 0;
    pool_before = read_number(POOL);
    if (pool_before >= 0 && geteuid() == 0)
        set_pool(pool_before + wanted());
    return 0;
}

static int empty_pool(void **state)
{
    (void)state;
    if (pool_before >= 0 && geteuid() == 0)
        set_pool(pool_before);
    close(pool_lock);
    return 0;
}

/** As many hugepages as the pool has, at most WANTED; a test that gets none is skipped. */
static struct qy_mm *create(bool movable)
{
    const struct qy_linux_options options = {.movable = movable, .min_free_kbytes = 4};
    struct qy_error error = {0};
    long count = read_number(POOL_FREE);
    if (count > WANTED)
        count = WANTED;
    if (count < LEAST) {
        print_message("%ld free hugepages in %s\n", count, POOL);
        skip();
    }
    struct qy_mm *mm = qy_linux_hugepages_create((uint64_t)count * HUGE, &options, &error);
    if (mm == NULL && error.code == -EPERM) {
        print_message("%s\n", error.text);
        skip();
    }
    if (mm == NULL)
        fail_msg("%s", error.text);
    if (error.text[0] != '\0')
        print_message("%s\n", error.text);
    assert_int_equal(error.code, 0);
    return mm;
}

/** The frame that the machine has at an address of this process. */
static qy_pfn_t frame_at(const void *address)
{
    uint64_t entry = 0;
    int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(pread(file, &entry, 8, (off_t)((uintptr_t)address / PAGE * 8)), 8);
    close(file);
    return entry & ((UINT64_C(1) << 55) - 1);
}

static void assert_real(const struct qy_mm *mm, qy_pfn_t pfn, uint64_t nr_frames)
{
    char *address = qy_page_address(mm, pfn);
    memset(address, 0x5a, nr_frames * PAGE);
    for (uint64_t i = 0; i < nr_frames; i += 1 + i % 61)
        assert_int_equal(frame_at(address + i * PAGE), pfn + i);
    assert_int_equal(frame_at(address + (nr_frames - 1) * PAGE), pfn + nr_frames - 1);
}

/* Wrong if it failed: a device that is handed frame numbers would write into memory that is
 * somebody else's. */
static void frame_numbers_are_the_machines(void **state)
{
    (void)state;
    struct qy_mm *mm = create(false);
    struct qy_mm_stat stat;
    long pool_free = read_number(POOL_FREE);
    qy_mm_stat(mm, &stat);
    assert_int_equal(stat.present % 512, 0);
    for (int round = 0; round < 100; round++) {
        qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_KERNEL, (unsigned)round % 10);
        assert_int_not_equal(pfn, QY_PFN_NONE);
        assert_real(mm, pfn, UINT64_C(1) << round % 10);
        assert_int_equal(qy_free_pages(mm, pfn, (unsigned)round % 10), 0);
    }
    qy_pfn_t low = qy_alloc_pages(mm, QY_GFP_KERNEL | QY_GFP_DMA32, 0);
    if (low != QY_PFN_NONE)
        assert_true(low < 4 * GIB / PAGE);
    void *object = qy_kmalloc(mm, 1000, QY_GFP_KERNEL | QY_GFP_ZERO);
    assert_non_null(object);
    assert_int_equal(frame_at(object), qy_virt_to_pfn(mm, object));
    test_rules(mm);
    qy_linux_mm_destroy(mm);
    assert_int_equal(read_number(POOL_FREE), pool_free + (long)(stat.present / 512));
}

/* Wrong if it failed: a run that is handed out as contiguous would be so for the program alone. */
static void runs_are_contiguous_for_a_device(void **state)
{
    (void)state;
    struct qy_mm *mm = create(false);
    qy_pfn_t pfn = qy_alloc_pages_exact(mm, QY_GFP_KERNEL, 1024, 0);
    if (pfn == QY_PFN_NONE) {
        print_message("no two of these hugepages are neighbours\n");
        qy_linux_mm_destroy(mm);
        skip();
    }
    assert_real(mm, pfn, 1024);
    assert_int_equal(qy_free_pages_exact(mm, pfn, 1024), 0);
    test_rules(mm);
    qy_linux_mm_destroy(mm);
}

/* Wrong if it failed: a camera's buffers could not come out of such a memory. */
static void a_region_hands_out_real_frames(void **state)
{
    (void)state;
    const struct qy_cma_options options = {
        .name = "camera", .ranges = {{QY_PFN_NONE, 1024}}, .nr_ranges = 1};
    const struct qy_cma_request request = {.nr_frames = 700};
    struct qy_error error = {0};
    struct qy_mm *mm = create(true);
    struct qy_cma *cma = qy_cma_create(mm, &options, &error);
    qy_pfn_t pfn;
    if (cma == NULL) {
        print_message("%s\n", error.text);
        assert_int_equal(error.code, -ENOMEM);
        qy_linux_mm_destroy(mm);
        skip();
    }
    for (int round = 0; round < 3; round++) {
        assert_int_equal(qy_cma_alloc(cma, &request, &pfn, NULL), 0);
        assert_real(mm, pfn, request.nr_frames);
        assert_int_equal(qy_cma_release(cma, pfn, request.nr_frames), 0);
    }
    test_rules(mm);
    assert_null(
        qy_space_create(mm, "space", GIB, &error)); /* 4 KiB of a hugepage cannot be mapped */
    assert_int_equal(error.code, -ENOTSUP);
    assert_int_equal(qy_cma_destroy(cma), 0);
    test_rules(mm);
    qy_linux_mm_destroy(mm);
}

/* Wrong if it failed: parent and child would write into the same frames, each believing them
 * its own. */
static void a_child_has_none_of_the_frames(void **state)
{
    (void)state;
    struct qy_mm *mm = create(false);
    qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_KERNEL, 0);
    unsigned char resident;
    pid_t child = fork();
    if (child == 0)
        _exit(mincore(qy_page_address(mm, pfn), PAGE, &resident) != 0 && errno == ENOMEM ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_real(mm, pfn, 1);
    qy_linux_mm_destroy(mm);
}

/* ---- where it cannot be had ---- */

/** Each of these runs in a child, and returns the code that it was told. */
static int ask(uint64_t bytes, const char *must_say)
{
    struct qy_error error = {0};
    struct qy_mm *mm = qy_linux_hugepages_create(bytes, NULL, &error);
    if (mm != NULL)
        return 1;
    if (strstr(error.text, must_say) == NULL) {
        print_message("said: %s\n", error.text);
        return 2;
    }
    struct qy_mm *ordinary = qy_linux_mm_create(NULL, &error);
    bool serves = ordinary != NULL && qy_kmalloc(ordinary, 1000, QY_GFP_KERNEL) != NULL;
    return serves ? error.code : 3;
}

static int as_nobody(void)
{
    return setgid(65534) == 0 && setuid(65534) == 0 ? ask(HUGE, "run as root") : 4;
}

static int without_proc(void)
{
    char folder[] = "/tmp/quarry-test-XXXXXX";
    if (mkdtemp(folder) == NULL || chroot(folder) != 0)
        return 4;
    rmdir(folder); /* it is the root now, and stays until this process ends */
    return ask(HUGE, "mount /proc");
}

static int more_than_there_are(void)
{
    return ask(UINT64_C(1) << 41, "vm.nr_hugepages");
}

/** There where AddressSanitizer is, whose shadow is wider than any limit. */
extern void __asan_init(void) __attribute__((weak));

static int few_addresses(void)
{
    if (__asan_init != NULL)
        return -ENOMEM;
    const struct rlimit limit = {64 * MIB, 64 * MIB};
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return 4;
    struct qy_error error = {0};
    struct qy_mm *mm = qy_linux_hugepages_create(40 * HUGE, NULL, &error);
    return mm == NULL && strstr(error.text, "RLIMIT_AS") != NULL ? error.code : 1;
}

static int short_files(void)
{
    const struct rlimit limit = {MIB, MIB};
    return setrlimit(RLIMIT_FSIZE, &limit) == 0 ? ask(HUGE, "ulimit -f") : 4;
}

static int no_files(void)
{
    const struct rlimit limit = {0, 0};
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? ask(HUGE, "pagemap") : 4;
}

static int no_bytes(void)
{
    return ask(0, "2 MiB");
}

/* Wrong if it failed: a program would die of SIGBUS or SIGXFSZ, would not be told what to do, or
 * hugepages would be lost to the system. */
static void each_want_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int (*run)(void);
        int code;
        bool needs_root;
    } wants[] = {
        {"nobody", as_nobody, -EPERM, true},
        {"no /proc", without_proc, -ENOENT, true},
        {"more than there are", more_than_there_are, -ENOMEM, true},
        {"RLIMIT_AS", few_addresses, -ENOMEM, true},
        {"RLIMIT_FSIZE", short_files, -EFBIG, true},
        {"RLIMIT_NOFILE", no_files, -EMFILE, false},
        {"no bytes", no_bytes, -EINVAL, false},
    };
    long pool_free = read_number(POOL_FREE);
    if (pool_free < 40) /* then the pool is what is told */
        skip();
    for (size_t i = 0; i < COUNT_OF(wants); i++) {
        int status;
        if (wants[i].needs_root && geteuid() != 0)
            continue;
        pid_t child = fork();
        if (child == 0)
            _exit(-wants[i].run() & 0xff);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != -wants[i].code)
            fail_msg("%s: status %#x", wants[i].name, (unsigned)status);
        assert_int_equal(read_number(POOL_FREE), pool_free);
    }
}

int main(void)
{
    /* Addresses as wide as the machine's memory take valgrind minutes. */
    const char *preload = getenv("LD_PRELOAD");
    if (preload != NULL && strstr(preload, "vgpreload") != NULL)
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_numbers_are_the_machines),
        cmocka_unit_test(runs_are_contiguous_for_a_device),
        cmocka_unit_test(a_region_hands_out_real_frames),
        cmocka_unit_test(a_child_has_none_of_the_frames),
        cmocka_unit_test(each_want_is_told),
    };
    return cmocka_run_group_tests(tests, fill_pool, empty_pool);
}
