/*
 * test_mappings.c - port/linux: the host allows no more mappings, or will not move its tables; and
 * faults that are not a space's
 *
 * Each test is a process of its own: handlers are installed once.
 */
#define _GNU_SOURCE
#include "support.h"

#include "buddy/lend.h"
#include "space/space.h"

#include <quarry/buddy.h>
#include <quarry/linux.h>
#include <quarry/space.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MINE 7
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            test_fail("%s:%d: %s", __FILE__, __LINE__, #condition);                                \
    } while (0)

static struct qy_mm *mm;
static struct qy_space *space;
static sigjmp_buf back;

static char *begin(size_t bytes, uint32_t prot, uint32_t flags)
{
    const struct qy_linux_options options = {.shared = true, .span_bytes = GIB};
    struct qy_error error = {0};
    mm = qy_linux_mm_create(&options, &error);
    space = mm ? qy_space_create(mm, "limited", 0, &error) : NULL;
    char *area = space ? qy_space_map(space, bytes, prot, flags, &error) : NULL;
    if (area == NULL)
        test_fail("%s", error.text);
    return area;
}

/* How a child ends that does this. */
static int end_of(void (*work)(void))
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        work();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static bool ended_by(int status, int signal)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == signal;
}

static char *parents;

/* ---- the program's own faults ---- */

static volatile char *volatile nowhere = (char *)64;

static void with_info(int signal, siginfo_t *info, void *context)
{
    sigset_t mask;
    (void)context;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    _exit(signal == SIGSEGV && info->si_addr == nowhere && sigismember(&mask, SIGSEGV) &&
                  sigismember(&mask, SIGUSR1)
              ? MINE
              : 1);
}

static void siginfo_before(void)
{
    struct sigaction action = {.sa_sigaction = with_info, .sa_flags = SA_SIGINFO};
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &action, NULL);
    begin(MIB, QY_PROT_WRITE, 0)[5] = 1;
    *nowhere = 1;
}

static void plain(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

static void jumps_out(void)
{
    signal(SIGSEGV, plain);
    volatile char *area = begin(MIB, QY_PROT_READ, 0);
    volatile int jumps = 0;
    if (sigsetjmp(back, 1) == 0)
        *nowhere = 1;
    jumps++;
    if (sigsetjmp(back, 1) == 0)
        area[70000] = 1; /* it may only be read */
    jumps++;
    if (jumps == 2 && area[70000] == 0)
        _exit(MINE);
}

static void by_default(void)
{
    begin(MIB, QY_PROT_WRITE, 0)[5] = 1;
    *nowhere = 1;
}

static void behind_an_area(void)
{
    begin(MIB, QY_PROT_WRITE, 0)[MIB] = 1;
}

static void ignored(void)
{
    signal(SIGSEGV, SIG_IGN);
    begin(MIB, QY_PROT_WRITE, 0)[5] = 1;
    raise(SIGSEGV);
    _exit(MINE);
}

static void sent(void)
{
    begin(MIB, QY_PROT_WRITE, 0)[5] = 1;
    raise(SIGSEGV);
}

static volatile size_t by_handler, by_main;

static void touch_one(int signal)
{
    (void)signal;
    if (by_handler < MIB * 32)
        parents[MIB * 32 + by_handler] = 1;
    by_handler += 64 * 1024;
}

static void signals_in_between(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct itimerspec often = {{0, 20000}, {0, 20000}};
    timer_t timer;
    parents = begin(64 * MIB, QY_PROT_WRITE, 0);
    signal(SIGUSR1, touch_one);
    alarm(30);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &often, NULL) == 0);
    for (; by_main < 32 * MIB || by_handler < 32 * MIB; by_main += 64 * 1024)
        if (by_main < 32 * MIB)
            parents[by_main] = 1;
    timer_delete(timer);
    test_rules(mm);
    _exit(MINE);
}

/* Wrong if it failed: a handler of another signal that touches a page while one is being put in
 * place would wait for ever. */
static void a_fault_is_not_interrupted(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(end_of(signals_in_between)), MINE);
}

/* Wrong if it failed: a program would lose its own way of handling faults by using a space, or a
 * wrong pointer would hang it. */
static void others_faults_go_on(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(end_of(siginfo_before)), MINE);
    assert_int_equal(WEXITSTATUS(end_of(jumps_out)), MINE);
    assert_int_equal(WEXITSTATUS(end_of(ignored)), MINE);
    assert_true(ended_by(end_of(by_default), SIGSEGV));
    assert_true(ended_by(end_of(behind_an_area), SIGSEGV));
    assert_true(ended_by(end_of(sent), SIGSEGV));
}

static void touch_parents(void)
{
    parents[0] = 2;
}

/** The structures of the space are not mapped here. */
static void call_on_parents(void)
{
    struct qy_error error = {0};
    struct qy_space *of_parent = space;
    char *at = parents;
    CHECK(qy_space_unmap(of_parent, at, PAGE) == -ENOTSUP);
    CHECK(qy_space_protect(of_parent, at, PAGE, QY_PROT_READ) == -ENOTSUP);
    CHECK(qy_space_fault(of_parent, at, true) == -ENOTSUP);
    CHECK(qy_space_pin(of_parent, at, PAGE, QY_PIN_SHORT, NULL) == -ENOTSUP);
    CHECK(qy_space_unpin(of_parent, at, PAGE) == -ENOTSUP);
    CHECK(qy_space_translate(of_parent, at) == QY_PFN_NONE);
    CHECK(qy_space_destroy(of_parent) == -ENOTSUP);
    CHECK(qy_space_map(of_parent, PAGE, QY_PROT_WRITE, 0, &error) == NULL);
    CHECK(error.code == -ENOTSUP && strstr(error.text, "fork"));
    at = begin(MIB, QY_PROT_WRITE, 0); /* its own, perhaps at the same addresses */
    CHECK(qy_space_fault(space, at, true) == 0);
    at[0] = 1;
    test_rules(mm);
    _exit(MINE);
}

static void forks(void)
{
    parents = begin(MIB, QY_PROT_WRITE, 0);
    parents[0] = 1;
    CHECK(ended_by(end_of(touch_parents), SIGSEGV));
    CHECK(WEXITSTATUS(end_of(call_on_parents)) == MINE);
    CHECK(parents[0] == 1);
    parents[MIB / 2] = 1;
    test_rules(mm);
    _exit(MINE);
}

/* Wrong if it failed: a child would write into its parent's memory, where that may be moved; or end
 * by a signal for a call that could have been refused. */
static void a_child_has_nothing(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(end_of(forks)), MINE);
}

/* ---- the host's limit ---- */

#define MANY (272 * MIB)

static void no_more_mappings(void)
{
    int lines[2];
    char text[4096];
    char *area = begin(MANY, QY_PROT_WRITE, QY_AREA_POPULATE | QY_AREA_HUGE);
    char *other = qy_space_map(space, MIB, QY_PROT_WRITE, 0, NULL);
    CHECK(pipe(lines) == 0 && dup2(lines[1], STDERR_FILENO) >= 0);
    for (size_t i = 0; i < MANY; i += PAGE)
        area[i] = (char)(i / PAGE % 127);
    size_t at = 0;
    int code = 0;
    while (code == 0 && at < MANY) /* every other page needs a mapping of its own */
        code = qy_space_protect(space, area + (at += 2 * PAGE), PAGE, QY_PROT_READ);
    CHECK(code == -ENOMEM);
    test_rules(mm);
    area[at] = 1; /* may be written still */
    area[at] = (char)(at / PAGE % 127);
    qy_pfn_t pfn = qy_space_translate(space, area + at + 20 * PAGE);
    uint32_t page = (uint32_t)qy_space_page(space, area + at + 20 * PAGE);
    for (unsigned left = 0; left < 8; left++) /* the last ones */
        code = qy_space_ops.isolate(&space->mapping, page + 2 * left, pfn + 2 * left, 1);
    CHECK(code == -ENOSPC);
    code = 0;
    for (size_t i = 0; i < MIB && code == 0; i += 64 * 1024)
        code = qy_space_fault(space, other + i, true);
    CHECK(code == 0 || code == -ENOMEM);
    test_rules(mm);
    for (size_t i = 0; i < MANY; i += PAGE)
        CHECK(area[i] == (char)(i / PAGE % 127));
    ssize_t length = read(lines[0], text, sizeof(text) - 1);
    CHECK(length > 0);
    text[length] = '\0';
    CHECK(strstr(text, "space limited") && strstr(text, "vm.max_map_count"));
    CHECK(strchr(text, '\n') == text + length - 1); /* once */
    for (unsigned left = 0; left < 8; left++)
        if (qy_pte_is_isolated(qy_pgtable_get(&space->table, page + 2 * left)))
            CHECK(qy_space_ops.putback(&space->mapping, page + 2 * left, pfn + 2 * left,
                                       pfn + 2 * left, 1) == 0);
    CHECK(qy_space_unmap(space, area, MANY) == 0);
    CHECK(qy_space_fault(space, other, true) == 0);
    other[0] = 1;
    test_rules(mm);
    CHECK(qy_space_destroy(space) == 0);
    _exit(MINE);
}

static void skip_unless_usual(void)
{
    long limit = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    if (file == NULL || fscanf(file, "%ld", &limit) != 1 || limit > 66000) {
        print_message("skipped: vm.max_map_count is not 65,530\n");
        skip();
    }
    fclose(file);
}

/* Wrong if it failed: a program that has as many mappings as the host allows would crash, or lose
 * what its pages hold. */
static void the_hosts_limit(void **state)
{
    (void)state;
    skip_unless_usual();
    assert_int_equal(WEXITSTATUS(end_of(no_more_mappings)), MINE);
}

/* ---- the host's tables ---- */

/* What mremap(2) does instead of moving them; and which calls of mmap(2) for a space fail. */
static enum {
    MOVES,
    UNKNOWN, /* an old kernel: nothing has changed */
    REFUSES, /* there are too many mappings: nothing has changed */
    FORGETS  /* no memory, once what was there is unmapped */
} tables;
static unsigned mmaps_fail; /* bits: the next call, the one behind it ... */
static int refused;

/* The library's calls come here. Each call has fewer arguments than are read. */
__attribute__((no_sanitize("address"))) long syscall(long number, ...)
{
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    bool fails = number == SYS_mremap ? tables != MOVES : number == SYS_mmap && (mmaps_fail & 1);
    mmaps_fail >>= number == SYS_mmap;
    if (fails) {
        refused++;
        if (number == SYS_mremap && tables == FORGETS)
            munmap((void *)a[4], (size_t)a[2]);
        errno = number == SYS_mremap && tables == UNKNOWN ? EINVAL : ENOMEM;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define BLOCK (2 * MIB)

static void write_all(char *area, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i += 512)
        area[i] = (char)(i / 512 * 7 + seed);
}

static void check_all(const char *area, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i += 512)
        CHECK(area[i] == (char)(i / 512 * 7 + seed));
}

/* A block goes to other frames, as a mover does it. Returns what putting back did. */
static int move_block(char *at, unsigned fail_mmaps)
{
    uint32_t page = (uint32_t)qy_space_page(space, at);
    qy_pfn_t from = qy_space_translate(space, at);
    bool fresh;
    qy_pfn_t to = qy_lend_block(mm, QY_GFP_NOWAIT, QY_LEND_OUTSIDE, 9, &fresh);
    CHECK(to != QY_PFN_NONE);
    CHECK(qy_space_ops.isolate(&space->mapping, page, from, 512) == 512);
    CHECK(memcmp(at, qy_frame_address(mm, from), PAGE) == 0);
    qy_port_copy_pages(mm, qy_frame_address(mm, to), qy_frame_address(mm, from), 512);
    mmaps_fail = fail_mmaps;
    int code = qy_space_ops.putback(&space->mapping, page, from, to, 512);
    mmaps_fail = 0;
    if (code != 0)
        qy_lend_return(mm, to, 512);
    CHECK(qy_space_translate(space, at) == (code == 0 ? to : from));
    test_rules(mm);
    return code;
}

/* fail_mmaps: the second move fails; with two of them its pages are nowhere for a moment. */
static void life_of_blocks(unsigned fail_mmaps)
{
    char *area = begin(2 * BLOCK, QY_PROT_WRITE, QY_AREA_HUGE);
    write_all(area, 2 * BLOCK, 1);
    CHECK(move_block(area, 0) == 0);
    check_all(area, 2 * BLOCK, 1);
    write_all(area, BLOCK, 2);
    CHECK(move_block(area, fail_mmaps) == (fail_mmaps != 0 ? -ENOMEM : 0));
    check_all(area, BLOCK, 2);
    check_all(area + BLOCK, BLOCK, 1 + BLOCK / 512 * 7);
    write_all(area, 2 * BLOCK, 3);
    CHECK(qy_space_unmap(space, area, BLOCK) == 0);
    check_all(area + BLOCK, BLOCK, 3 + BLOCK / 512 * 7);
    area = qy_space_map(space, BLOCK, QY_PROT_WRITE, QY_AREA_HUGE, NULL);
    CHECK(area != NULL && area[5 * PAGE] == 0);
    CHECK(qy_space_destroy(space) == 0);
    test_rules(mm);
    qy_linux_mm_destroy(mm);
}

static void no_such_call(void)
{
    tables = UNKNOWN;
    life_of_blocks(0);
    CHECK(refused == 1); /* it is not asked again */
    _exit(MINE);
}

static void refuses(void)
{
    tables = REFUSES;
    life_of_blocks(0);
    CHECK(refused > 4);
    _exit(MINE);
}

static void refuses_all(void)
{
    tables = REFUSES;
    life_of_blocks(1);
    _exit(MINE);
}

static void forgets(void)
{
    tables = FORGETS;
    life_of_blocks(0);
    _exit(MINE);
}

static void forgets_once(void)
{
    tables = FORGETS;
    life_of_blocks(1);
    _exit(MINE);
}

static void forgets_twice(void)
{
    tables = FORGETS;
    life_of_blocks(3);
    _exit(MINE);
}

/* The pages are not put back on their frames either: they are out of reach until they are
 * used. */
static void forgets_and_refuses(void)
{
    char *area = begin(2 * BLOCK, QY_PROT_WRITE, QY_AREA_HUGE);
    tables = FORGETS;
    write_all(area, 2 * BLOCK, 1);
    CHECK(move_block(area, 5) == -ENOMEM);
    CHECK(qy_space_in_doubt(space, 0, 1));
    CHECK(qy_space_protect(space, area, 2 * BLOCK, QY_PROT_READ) == 0);
    check_all(area, 2 * BLOCK, 1);
    CHECK(qy_space_protect(space, area, 2 * BLOCK, QY_PROT_WRITE) == 0);
    CHECK(move_block(area, 5) == -ENOMEM);
    CHECK(move_block(area, 0) == 0); /* read only for a moment */
    CHECK(!qy_space_in_doubt(space, 0, space->nr_pages));
    write_all(area, BLOCK / 2, 2);
    check_all(area, BLOCK / 2, 2);
    check_all(area + BLOCK / 2, 3 * BLOCK / 2, 1 + BLOCK / 2 / 512 * 7);
    _exit(MINE);
}

/* Wrong if it failed: where the host cannot move its tables, or has no memory in the middle of it,
 * a program would lose its bytes, or crash. */
static void tables_that_stay(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(end_of(no_such_call)), MINE);
    assert_int_equal(WEXITSTATUS(end_of(refuses)), MINE);
    assert_int_equal(WEXITSTATUS(end_of(refuses_all)), MINE);
    assert_int_equal(WEXITSTATUS(end_of(forgets)), MINE);
    assert_int_equal(WEXITSTATUS(end_of(forgets_once)), MINE);
    assert_int_equal(WEXITSTATUS(end_of(forgets_twice)), MINE);
    assert_int_equal(WEXITSTATUS(end_of(forgets_and_refuses)), MINE);
}

/* Below what it has already: the host gives no more addresses, not even in exchange. */
static void few_addresses(void)
{
    char *area = begin(2 * BLOCK, QY_PROT_WRITE, QY_AREA_HUGE);
    write_all(area, 2 * BLOCK, 1);
    CHECK(qy_space_unmap(space, area + BLOCK, BLOCK) == 0); /* there is a block to move to */
    qy_pfn_t pfn = qy_space_translate(space, area);
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){64 * MIB, RLIM_INFINITY}) == 0);
    CHECK(move_block(area, 0) == -ENOMEM);
    check_all(area, BLOCK, 1);
    write_all(area, BLOCK, 2);
    check_all(qy_frame_address(mm, pfn), BLOCK, 2);
    _exit(MINE);
}

/* Wrong if it failed: a limit on addresses would take the core's away. */
static void a_limit_of_addresses(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(end_of(few_addresses)), MINE);
}

static long resident_shared(void)
{
    long size = 0, resident = 0, shared = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%ld %ld %ld", &size, &resident, &shared) == 3);
    fclose(file);
    return shared;
}

#define BLOCKS 32

static char *frames_of_block;

static void touch_frames(void)
{
    frames_of_block[0] = 2;
}

static void both_sides(void)
{
    char *area = begin(BLOCKS * BLOCK, QY_PROT_WRITE, QY_AREA_HUGE);
    long before = resident_shared(), pages = BLOCKS * 512;
    for (size_t i = 0; i < BLOCKS * BLOCK; i += BLOCK)
        area[i] = 1;
    CHECK(resident_shared() - before < pages + pages / 4);
    qy_pfn_t pfn = qy_space_translate(space, area);
    CHECK(move_block(area, 0) == 0);
    frames_of_block = qy_frame_address(mm, pfn);
    CHECK(ended_by(end_of(touch_frames), SIGSEGV)); /* not inherited, though it was an area's */
    parents = area;
    CHECK(ended_by(end_of(touch_parents), SIGSEGV));
    CHECK(area[0] == 1);
    _exit(MINE);
}

/* Wrong if it failed: a block would be mapped twice over, page by page, which takes longer than to
 * copy it; or a child would write into its parent's memory. */
static void tables_go_along(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(end_of(both_sides)), MINE);
}

/** The host's mappings within the area's first pages. */
static uint64_t hosts_mappings(const char *area, size_t bytes)
{
    char line[512];
    uint64_t count = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        unsigned long start = strtoul(line, NULL, 16);
        count += start >= (uintptr_t)area && start < (uintptr_t)area + bytes;
    }
    fclose(file);
    return count;
}

static void every_other_page(void)
{
    char *area = begin(MANY, QY_PROT_WRITE, 0);
    size_t end = PAGE;
    test_quiet(true);
    while (qy_space_unmap(space, area + end, PAGE) == 0)
        end += 2 * PAGE;
    CHECK(end > 50000 * PAGE && end < MANY);
    for (size_t i = 0; i < end; i += 2 * PAGE)
        area[i] = 1;
    CHECK(hosts_mappings(area, end) == end / PAGE);
    CHECK(space->nr_mappings == end / PAGE + 1); /* and what is behind */
    test_rules(mm);
    _exit(MINE);
}

/* Wrong if it failed: a program that takes its area to pieces would end at some later access,
 * though the call that made one piece too many could have been refused. */
static void pieces_can_be_accessed(void **state)
{
    (void)state;
    skip_unless_usual();
    assert_int_equal(WEXITSTATUS(end_of(every_other_page)), MINE);
}

/* Wrong if it failed: who moves a part of 2 MiB, for whose table there is no frame, would be told
 * to raise the host's limit on mappings. */
static void no_frame_for_a_table(void **state)
{
    const struct qy_linux_options options = {.shared = true, .limit_bytes = 32 * MIB};
    struct qy_mm *full = qy_linux_mm_create(&options, NULL);
    struct qy_space *huge = qy_space_create(full, "huge", 0, NULL);
    (void)state;
    assert_non_null(huge);
    char *area = qy_space_map(huge, 2 * MIB, QY_PROT_WRITE, QY_AREA_HUGE | QY_AREA_POPULATE, NULL);
    assert_non_null(area);
    while (qy_alloc_pages(full, QY_GFP_KERNEL | QY_GFP_NOWARN | QY_GFP_HIGH, 0) != QY_PFN_NONE)
        ;
    uint32_t page = (uint32_t)qy_space_page(huge, area);
    qy_pfn_t pfn = qy_space_translate(huge, area);
    assert_int_equal(qy_space_ops.isolate(&huge->mapping, page, pfn, 3), -ENOMEM);
    test_rules(full);
    assert_int_equal(qy_space_destroy(huge), 0);
    qy_linux_mm_destroy(full);
}

static int said[2];

static void not_mine(int signal)
{
    (void)signal;
    _exit(MINE);
}

static void no_two_frames_together(void)
{
    static qy_pfn_t pfns[512 * MIB / PAGE];
    const struct qy_linux_options options = {
        .shared = true, .span_bytes = 512 * MIB, .fixed = true, .min_free_kbytes = 1};
    struct qy_error error;
    unsigned count = 0;
    signal(SIGSEGV, not_mine);
    mm = qy_linux_mm_create(&options, &error);
    space = qy_space_create(mm, "scattered", 0, &error);
    char *area = qy_space_map(space, MANY, QY_PROT_WRITE, 0, &error);
    CHECK(area != NULL && dup2(said[1], STDERR_FILENO) >= 0);
    while ((pfns[count] = qy_alloc_pages(mm, QY_GFP_KERNEL | QY_GFP_NOWARN, 0)) != QY_PFN_NONE)
        count++;
    while (count-- > 0)
        if (pfns[count] % 2 == 0)
            CHECK(qy_free_pages(mm, pfns[count], 0) == 0);
    qy_drain_all_pages(mm);
    for (size_t i = 0; i < MANY; i += PAGE)
        area[i] = 1;
}

static void no_frame_left(void)
{
    const struct qy_linux_options options = {.shared = true, .limit_bytes = 16 * MIB};
    struct qy_error error;
    mm = qy_linux_mm_create(&options, &error);
    space = qy_space_create(mm, "full", 0, &error);
    char *area = qy_space_map(space, 32 * MIB, QY_PROT_WRITE, 0, &error);
    CHECK(area != NULL && dup2(said[1], STDERR_FILENO) >= 0);
    for (size_t i = 0; i < 32 * MIB; i += PAGE)
        area[i] = 1;
}

static void no_frame_left_for_who_knows(void)
{
    signal(SIGSEGV, not_mine);
    no_frame_left();
}

static void expect_end(void (*work)(void), const char *what, const char *why)
{
    char text[1024];
    CHECK(pipe(said) == 0);
    assert_true(ended_by(end_of(work), SIGSEGV));
    ssize_t length = read(said[0], text, sizeof(text) - 1);
    assert_true(length > 0);
    text[length] = '\0';
    assert_non_null(strstr(text, what));
    assert_non_null(strstr(text, why));
}

/* Wrong if it failed: an access that the host has no mapping for would come to the program's
 * handler as if it were a wrong one; or one that the memory has no frame for would not; or either
 * would end the program without a word. */
static void an_access_without_a_mapping_or_frame(void **state)
{
    (void)state;
    expect_end(no_frame_left, "space full: no frame for its page at 0x", "the memory is full");
    assert_int_equal(WEXITSTATUS(end_of(no_frame_left_for_who_knows)), MINE);
    skip_unless_usual();
    expect_end(no_two_frames_together, "space scattered: no mapping for its page at 0x",
               "vm.max_map_count, 655");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_is_not_interrupted),
        cmocka_unit_test(others_faults_go_on),
        cmocka_unit_test(a_child_has_nothing),
        cmocka_unit_test(the_hosts_limit),
        cmocka_unit_test(tables_that_stay),
        cmocka_unit_test(a_limit_of_addresses),
        cmocka_unit_test(tables_go_along),
        cmocka_unit_test(pieces_can_be_accessed),
        cmocka_unit_test(an_access_without_a_mapping_or_frame),
        cmocka_unit_test(no_frame_for_a_table), /* the first space of this very process */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
