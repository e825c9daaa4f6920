/*
 * test_linux.c - port/linux: an instance in a process
 */
#define _GNU_SOURCE
#include "frames.h"
#include "support.h"

#include "buddy/alloc.h"
#include "buddy/buddy.h"
#include "../../port/linux/linux.h"
#include "memory/mm.h"

#include <quarry/buddy.h>
#include <quarry/cache.h>
#include <quarry/linux.h>
#include <quarry/slab.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 20000

static void *blocks[MOST];

static struct qy_mm *create(uint64_t limit_bytes)
{
    const struct qy_linux_options options = {.limit_bytes = limit_bytes, .span_bytes = 4 * GIB};
    struct qy_error error = {0};
    struct qy_mm *mm = qy_linux_mm_create(&options, &error);
    if (mm == NULL)
        fail_msg("%s", error.text);
    return mm;
}

/* Wrong if it failed: a wrong free far away, where no metadata is yet, would end the program. */
static void far_wrong_frees_are_refused(void **state)
{
    (void)state;
    struct qy_mm *mm = create(0);
    const uint64_t far[] = {mm->nr_frames / 2, mm->nr_frames - 1, mm->nr_frames, UINT64_MAX / PAGE};

    test_quiet(true);
    for (size_t i = 0; i < COUNT_OF(far); i++) {
        qy_pfn_t pfn = mm->start_pfn + far[i];
        void *address = (void *)(mm->base + (uintptr_t)(far[i] * PAGE)); /* may wrap */
        assert_int_equal(qy_free_pages(mm, pfn, 0), -EINVAL);
        assert_int_equal(qy_free_pages_exact(mm, pfn, 3), -EINVAL);
        assert_int_equal(qy_kfree(mm, address), -EINVAL);
        assert_int_equal(qy_ksize(mm, address), 0);
    }
    /* Longer than what is online. */
    qy_pfn_t run = qy_alloc_pages_exact(mm, QY_GFP_KERNEL, 5000, 0);
    assert_int_equal(qy_free_pages_exact(mm, run, mm->nr_frames / 2), -EINVAL);
    test_quiet(false);
    assert_int_equal(qy_free_pages_exact(mm, run, 5000), 0);
    test_rules(mm);
    qy_linux_mm_destroy(mm);
}

/* Wrong if it failed: an instance of the caller's own could not be as fast as one of the port's,
 * or would lose what lies in slots when it is closed. */
static void slots_of_an_instance_of_the_callers(void **state)
{
    struct test_memory memory;
    struct qy_mm_stat before, stat;
    (void)state;
    test_memory_simple(&memory, 4 * GIB, 64 * MIB, true);
    qy_linux_mm_close(memory.mm);
    qy_mm_stat(memory.mm, &before);
    assert_int_equal(qy_linux_mm_open(memory.mm), 0);
    assert_int_equal(qy_linux_mm_open(memory.mm), -EEXIST);
    qy_pfn_t pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    assert_int_equal(qy_free_pages(memory.mm, pfn, 0), 0);
    qy_mm_stat(memory.mm, &stat);
    assert_int_not_equal(stat.pcp, 0);
    qy_linux_mm_close(memory.mm);
    qy_mm_stat(memory.mm, &stat);
    assert_int_equal(stat.pcp, 0);
    assert_int_equal(stat.free, before.free);
    pfn = qy_alloc_pages(memory.mm, QY_GFP_KERNEL, 0);
    assert_int_equal(qy_free_pages(memory.mm, pfn, 0), 0);
    test_rules(memory.mm);
    test_memory_free(&memory);
}

static void *attach(void *mm)
{
    struct qy_cpu *cpu = qy_slot_enter(mm);
    bool alone = cpu == NULL || cpu->alone;
    if (cpu != NULL)
        qy_cpu_leave(cpu);
    return alone ? mm : NULL;
}

/* Wrong if it failed: R4: of two who free one run at the same moment one may do so without an
 * atomic instruction, and both would succeed. */
static void a_slot_is_alone_until_somebody_else_frees(void **state)
{
    (void)state;
    for (int with_slot = 0; with_slot < 2; with_slot++) {
        struct qy_mm *mm = create(0);
        pthread_t other;
        void *alone = mm, *run = qy_kmalloc(mm, 20 * PAGE, QY_GFP_KERNEL);
        assert_ptr_equal(attach(mm), mm);
        if (with_slot) {
            assert_int_equal(pthread_create(&other, NULL, attach, mm), 0);
            pthread_join(other, &alone);
            assert_null(alone);
        } else {
            qy_linux_mm_close(mm);
            assert_int_equal(qy_kfree(mm, run), 0);
            assert_int_equal(qy_linux_mm_open(mm), 0);
        }
        assert_null(attach(mm));
        test_rules(mm);
        qy_linux_mm_destroy(mm);
    }
}

/* Wrong if it failed: an instance would take more than its limit, or leave much of it unused,
 * the first time or the third. */
static void a_limit_is_kept_and_used_again_and_again(void **state)
{
    (void)state;
    const uint64_t limit = 64 * MIB;
    struct qy_mm *mm = create(limit);

    for (int refill = 0; refill < 3; refill++) {
        const size_t bytes = refill == 1 ? 100000 : 5000;
        struct qy_mm_stat stat;
        size_t count = 0;
        while (count < MOST && (blocks[count] = qy_kmalloc(mm, bytes, QY_GFP_KERNEL)) != NULL)
            count++;
        assert_true(count < MOST);
        qy_mm_stat(mm, &stat);
        assert_true(mm->charged * PAGE <= limit);
        assert_true(stat.managed * PAGE < limit);
        if (count * bytes < limit * 9 / 10)
            fail_msg("refill %d: only %zu MiB of 64 could be used", refill, count * bytes / MIB);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(qy_kfree(mm, blocks[i]), 0);
        void *half = qy_kmalloc(mm, limit / 2, QY_GFP_KERNEL); /* sizes do not keep memory */
        assert_non_null(half);
        assert_int_equal(qy_kfree(mm, half), 0);
        test_rules(mm);
    }
    qy_linux_mm_destroy(mm);
}

/* Wrong if it failed: two instances would share something, or one could not follow another. */
static void instances_come_and_go(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct qy_mm *first = create(0);
        struct qy_mm *second = create(16 * MIB);
        char *a = qy_kmalloc(first, 1000, QY_GFP_KERNEL);
        char *b = qy_kmalloc(second, 1000, QY_GFP_KERNEL);
        assert_true(a && b);
        test_quiet(true);
        assert_int_equal(qy_kfree(second, a), -EINVAL);
        assert_int_equal(qy_kfree(first, b), -EINVAL);
        test_quiet(false);
        assert_int_equal(qy_kfree(first, a), 0);
        qy_linux_mm_destroy(first);
        memset(b, 1, 1000);
        assert_int_equal(qy_kfree(second, b), 0);
        qy_linux_mm_destroy(second);
    }
}

/* Wrong if it failed: windows are wide and not reserved, so that two might overlap. One could not
 * grow where the other is, and in a child of fork() a memory of its own would pass for its
 * parent's, or its parent's for its own. */
static void windows_are_apart(void **state)
{
    (void)state;
    struct qy_mm *wide = qy_linux_mm_create(NULL, NULL);
    assert_non_null(wide);
    for (int round = 0; round < 1000; round++) {
        struct qy_mm *mm = create(16 * MIB);
        if (mm->port_window < wide->port_window + wide->port_window_bytes &&
            wide->port_window < mm->port_window + mm->port_window_bytes)
            fail_msg("%p lies in the window at %p", (void *)mm->port_window,
                     (void *)wide->port_window);
        qy_linux_mm_destroy(mm);
    }
    qy_linux_mm_destroy(wide);
}

#define OTHERS 4

static void *reserve_and_release(void *unused)
{
    struct qy_linux_window window;
    for (unsigned i = 0; i < 5000; i++)
        if (qy_linux_window_reserve(&window, 4 * MIB, 4 * MIB) == 0) {
            assert_true(qy_linux_window_is_reserved(window.start));
            qy_linux_window_release(&window);
        }
    return unused;
}

/* Wrong if it failed: the end of one window would be taken for that of another thread's, which the
 * system has just been given the same addresses: it would be unmapped, or never be known to end. */
static void windows_come_and_go_side_by_side(void **state)
{
    pthread_t threads[OTHERS];
    struct qy_linux_window windows[1024];
    unsigned count = 0, again = 0;
    (void)state;
    while (count < COUNT_OF(windows) &&
           qy_linux_window_reserve(&windows[count], 4 * MIB, 4 * MIB) == 0)
        count++;
    assert_in_range(count, 1000, COUNT_OF(windows)); /* as many as there can be */
    for (unsigned i = 0; i < count; i++)
        qy_linux_window_release(&windows[i]);
    for (unsigned i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reserve_and_release, NULL), 0);
    for (unsigned i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    while (again < count && qy_linux_window_reserve(&windows[again], 4 * MIB, 4 * MIB) == 0)
        again++;
    assert_int_equal(again, count);
    for (unsigned i = 0; i < count; i++)
        qy_linux_window_release(&windows[i]);
}

static unsigned nr_mappings(void)
{
    unsigned lines = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    for (int c; (c = fgetc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

/* Wrong if it failed: who gives too little would not be told how much is enough. */
static void a_limit_that_is_too_low_is_told_the_least(void **state)
{
    (void)state;
    struct qy_linux_options kinds[] = {
        {.span_bytes = 4 * GIB},
        {.span_bytes = 0},
        {.span_bytes = 64 * MIB, .movable = true},
        {.span_bytes = 64 * MIB, .fixed = true},
        {.span_bytes = 64 * MIB, .shared = true},
    };
    const uint64_t too_low[] = {1, PAGE, 4 * PAGE};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (size_t l = 0; l < COUNT_OF(too_low); l++) {
            struct qy_error error = {0};
            unsigned long long least = 0;
            kinds[i].limit_bytes = too_low[l];
            assert_null(qy_linux_mm_create(&kinds[i], &error));
            assert_int_equal(error.code, -ENOMEM);
            if (sscanf(error.text, "the limit is too low to begin with: it must be %llu", &least) !=
                1)
                fail_msg("%s", error.text);
            kinds[i].limit_bytes = least - PAGE;
            assert_null(qy_linux_mm_create(&kinds[i], NULL));
            kinds[i].limit_bytes = least;
            struct qy_mm *mm = qy_linux_mm_create(&kinds[i], NULL);
            assert_non_null(mm);
            qy_linux_mm_destroy(mm);
        }
}

/* Wrong if it failed: a memory would be made that serves nobody, or a flag be passed over. */
static void options_that_make_no_sense(void **state)
{
    (void)state;
    const struct {
        struct qy_linux_options options;
        const char *says;
    } bad[] = {
        {{.kmalloc_flags = 0x80000000}, "options: unknown flags in kmalloc_flags: 2147483648"},
        {{.limit_bytes = 8 * MIB, .min_free_kbytes = 8192},
         "options: min_free_kbytes keeps back all there is: 8192 kB"},
        {{.span_bytes = 8 * MIB, .fixed = true, .min_free_kbytes = UINT64_MAX},
         "options: min_free_kbytes keeps back all there is: 8192 kB"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct qy_error error = {0};
        assert_null(qy_linux_mm_create(&bad[i].options, &error));
        assert_int_equal(error.code, -EINVAL);
        assert_string_equal(error.text, bad[i].says);
    }
}

/* Wrong if it failed: an instance that cannot be made would leave mappings behind, or take those of
 * others along that lie where its own would have been. A few mappings more or less are the kernel's
 * or valgrind's: neighbours that become one, memory of their own. */
static void what_cannot_be_made_leaves_all_as_it_was(void **state)
{
    const struct qy_linux_options options = {.limit_bytes = 16 * PAGE};
    const int rounds = 400;
    unsigned mappings = 0;
    (void)state;
    for (int round = 0; round < rounds; round++) {
        struct qy_mm *mm = qy_linux_mm_create(NULL, NULL);
        char *block = mm != NULL ? qy_kmalloc(mm, 1000, QY_GFP_KERNEL) : NULL;
        assert_non_null(block);
        assert_null(qy_linux_mm_create(&options, NULL));
        memset(block, 1, 1000);
        assert_int_equal(qy_kfree(mm, block), 0);
        qy_linux_mm_destroy(mm);
        mappings = round == 0 ? nr_mappings() : mappings;
    }
    assert_true(nr_mappings() < mappings + (unsigned)rounds / 2);
}

/* Wrong if it failed: a large block would be moved where it could grow where it is; or when it
 * moves its bytes or the memory that it leaves would be lost. */
static void large_blocks_grow_where_they_are_or_move(void **state)
{
    (void)state;
    struct qy_mm *mm = create(0);
    assert_int_equal(qy_kfree(mm, qy_kmalloc(mm, 512 * MIB, QY_GFP_KERNEL)), 0);
    uint64_t before = test_frames_in_use(mm);
    for (size_t bytes = 2 * MIB; bytes <= 32 * MIB; bytes *= 4) {
        unsigned char *block = qy_kmalloc(mm, bytes, QY_GFP_KERNEL);
        for (size_t at = 0; at < bytes; at += 64)
            block[at] = (unsigned char)(at / 64 % 251);
        unsigned char *grown = qy_krealloc(mm, block, bytes + bytes / 2, QY_GFP_KERNEL);
        assert_ptr_equal(grown, block); /* there is nothing behind it */
        assert_true(qy_ksize(mm, grown) >= bytes + bytes / 2);
        qy_pfn_t behind = qy_virt_to_pfn(mm, grown + qy_ksize(mm, grown));
        assert_true(qy_take_behind(mm, behind, 1));
        unsigned char *moved = qy_krealloc(mm, grown, 4 * bytes, QY_GFP_KERNEL);
        assert_true(moved != NULL && moved != grown);
        for (size_t at = 0; at < bytes; at += 64)
            if (moved[at] != at / 64 % 251)
                fail_msg("byte %zu of %zu is lost", at, bytes);
        test_rules(mm);
        qy_give_run(mm, behind, 1, false);
        assert_int_equal(qy_kfree(mm, moved), 0);
        assert_int_equal(test_frames_in_use(mm), before);
    }
    qy_linux_mm_destroy(mm);
}

/** The system moves pages and leaves the addresses; valgrind does not. */
static bool moves_pages(void)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    bool does = mremap(pages, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
                       pages + PAGE) == pages + PAGE;
    munmap(pages, 2 * PAGE);
    return does;
}

/* Wrong if it failed: a block would be copied to where there is no memory yet, a fault a page; or
 * moved to where there is, which would be lost, and so would be what its own place has. */
static void pages_move_to_where_there_are_none(void **state)
{
    const size_t bytes = 3 * MIB, most = 64 * MIB;
    (void)state;
    for (int used = moves_pages() ? 0 : 1; used < 2; used++) {
        struct qy_mm *mm = create(0);
        char *all = used ? qy_kmalloc(mm, most, QY_GFP_KERNEL) : NULL;
        if (used)
            memset(all, 1, most);
        assert_int_equal(qy_kfree(mm, all), 0);
        qy_kmem_cache_shrink_all(mm);
        char *block = qy_kmalloc(mm, bytes, QY_GFP_KERNEL);
        memset(block, 2, bytes);
        assert_true(qy_take_behind(mm, qy_virt_to_pfn(mm, block + bytes), 1));
        char *moved = qy_krealloc(mm, block, 2 * bytes, QY_GFP_KERNEL);
        assert_true(moved != NULL && moved != block);
        assert_int_equal(moved[bytes - 1], 2);
        assert_int_equal(frames_resident(block, bytes), used ? bytes / PAGE : 0);
        assert_int_equal(frames_resident(moved, 2 * bytes), (size_t)(used + 1) * bytes / PAGE);
        if (!used)
            assert_true(frames_take(mm, qy_virt_to_pfn(mm, block), bytes / PAGE));
        qy_linux_mm_destroy(mm);
    }
}

/* Wrong if it failed: a block that grows would be moved where memory ends so far, although more
 * can be had right behind it. */
static void a_block_grows_past_the_end_of_memory(void **state)
{
    (void)state;
    struct qy_mm *mm = create(0);
    struct qy_mm_stat first, stat;
    unsigned char *block = qy_kmalloc(mm, 2 * MIB, QY_GFP_KERNEL);
    size_t pages = 2 * MIB / PAGE;
    qy_mm_stat(mm, &first);
    do {
        assert_ptr_equal(qy_krealloc(mm, block, ++pages * PAGE, QY_GFP_KERNEL), block);
        assert_true(qy_ksize(mm, block) >= pages * PAGE);
        qy_mm_stat(mm, &stat);
    } while (stat.managed == first.managed && pages < 256 * MIB / PAGE);
    assert_true(stat.managed > first.managed);
    memset(block, 1, pages * PAGE);
    test_rules(mm);
    assert_int_equal(qy_kfree(mm, block), 0);
    qy_linux_mm_destroy(mm);
}

/* Wrong if it failed: pages that are written back would be added to the end of their file, for the
 * host does not look where they belong. */
static void a_file_that_is_opened_to_append(void **state)
{
    const struct qy_linux_options options = {.movable = true, .span_bytes = 64 * MIB};
    char path[] = "/tmp/quarry-append-XXXXXX", bytes[8] = "";
    int fd = mkstemp(path);
    struct qy_mm *mm = qy_linux_mm_create(&options, NULL);
    (void)state;
    assert_non_null(mm);
    assert_int_equal(pwrite(fd, "0123", 4, 0), 4);
    struct qy_file *file = qy_linux_file_open(mm, path, O_RDWR | O_APPEND, NULL);
    assert_non_null(file);
    assert_int_equal(qy_file_write(file, "x", 1, 2), 1);
    assert_int_equal(qy_file_close(file), 0);
    assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), 4);
    assert_memory_equal(bytes, "01x3", 4);
    close(fd);
    unlink(path);
    qy_linux_mm_destroy(mm);
}

/* Wrong if it failed: a file that cannot be read, or is none, would be cached; or whoever asked
 * would not be told why not. */
static void files_that_cannot_be_cached(void **state)
{
    const struct qy_linux_options options = {.movable = true, .span_bytes = 64 * MIB};
    const struct {
        const char *path;
        int flags, code;
        const char *text;
    } bad[] = {
        {"/nowhere/file", O_RDONLY, -ENOENT, "cannot be cached (No such file or directory): "},
        {"/tmp", O_RDONLY, -EISDIR, "cannot be cached (Is a directory): /tmp"},
        {"/dev/null", O_RDWR, -EINVAL, "cannot be cached (Invalid argument): /dev/null"},
        {"/proc/self/comm", O_WRONLY, -EINVAL, "cannot be cached (Invalid argument): "},
    };
    struct qy_mm *mm = qy_linux_mm_create(&options, NULL);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct qy_error error = {0};
        assert_null(qy_linux_file_open(mm, bad[i].path, bad[i].flags, &error));
        assert_int_equal(error.code, bad[i].code);
        assert_non_null(strstr(error.text, bad[i].text));
    }
    qy_linux_mm_destroy(mm);
}

/** What the file has is what it should have, seen past Quarry. */
static void check_file(const char *path, const unsigned char *bytes, size_t length)
{
    static unsigned char seen[512 * PAGE];
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, seen, sizeof(seen), 0), length);
    if (memcmp(seen, bytes, length) != 0)
        test_fail("other bytes at a length of %zu", length);
    close(fd);
}

static uint64_t direct_transfers, plain_transfers;

/** Whether a call moved whole pages past the host's cache, or the rest. */
static ssize_t count_transfer(int fd, ssize_t moved)
{
    bool direct = fcntl(fd, F_GETFL) & O_DIRECT;
    *(direct ? &direct_transfers : &plain_transfers) += moved > 0 ? (uint64_t)moved : 0;
    return moved;
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    return count_transfer(fd, syscall(SYS_pwritev, fd, pieces, count, offset, 0));
}

/* Wrong if it failed: the end of a file that is open with O_DIRECT could not be written or read,
 * for it is no whole block; or all of it would go through the host's cache. */
static void the_end_of_a_direct_file(void **state)
{
    static unsigned char bytes[300 * PAGE], buffer[300 * PAGE];
    static const size_t lengths[] = {
        5, 512, PAGE - 1, PAGE, PAGE + 1000, 3 * PAGE + 512, 200 * PAGE + 7, sizeof(bytes)};
    const struct qy_linux_options options = {.movable = true, .span_bytes = 64 * MIB};
    char path[] = "/tmp/quarry-direct-XXXXXX";
    int fd = mkstemp(path);
    struct qy_mm *mm = qy_linux_mm_create(&options, NULL);
    struct qy_error error;
    (void)state;
    assert_non_null(mm);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i / 512 * 7 + i);
    for (unsigned i = 0; i < COUNT_OF(lengths); i++) {
        struct qy_file *file = qy_linux_file_open(mm, path, O_RDWR | O_DIRECT, &error);
        if (file == NULL && error.code == -EINVAL)
            break; /* this file system does without */
        assert_non_null(file);
        size_t before = i > 0 ? lengths[i - 1] : 0;
        direct_transfers = plain_transfers = 0;
        assert_int_equal(qy_file_read(file, buffer, sizeof(buffer), 0), before);
        assert_memory_equal(buffer, bytes, before);
        assert_int_equal(qy_file_write(file, bytes, lengths[i], 0), lengths[i]);
        assert_int_equal(qy_file_sync(file), 0);
        assert_int_equal(direct_transfers, lengths[i] / PAGE * PAGE);
        assert_int_equal(plain_transfers, lengths[i] % PAGE);
        check_file(path, bytes, lengths[i]);
        if (i % 2 == 0) {
            assert_int_equal(qy_file_truncate(file, lengths[i] - 3), 0);
            assert_int_equal(qy_file_write(file, bytes + lengths[i] - 3, 3, lengths[i] - 3), 3);
        }
        assert_int_equal(qy_file_close(file), 0);
        check_file(path, bytes, lengths[i]);
    }
    close(fd);
    unlink(path);
    qy_linux_mm_destroy(mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_wrong_frees_are_refused),
        cmocka_unit_test(slots_of_an_instance_of_the_callers),
        cmocka_unit_test(a_slot_is_alone_until_somebody_else_frees),
        cmocka_unit_test(a_limit_is_kept_and_used_again_and_again),
        cmocka_unit_test(instances_come_and_go),
        cmocka_unit_test(windows_are_apart),
        cmocka_unit_test(windows_come_and_go_side_by_side),
        cmocka_unit_test(what_cannot_be_made_leaves_all_as_it_was),
        cmocka_unit_test(a_limit_that_is_too_low_is_told_the_least),
        cmocka_unit_test(options_that_make_no_sense),
        cmocka_unit_test(large_blocks_grow_where_they_are_or_move),
        cmocka_unit_test(pages_move_to_where_there_are_none),
        cmocka_unit_test(a_block_grows_past_the_end_of_memory),
        cmocka_unit_test(a_file_that_is_opened_to_append),
        cmocka_unit_test(files_that_cannot_be_cached),
        cmocka_unit_test(the_end_of_a_direct_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
