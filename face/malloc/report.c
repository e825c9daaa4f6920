/*
 * report.c - what a process that runs on Quarry tells `quarry run` of itself
 *
 * WHAT    See report.h. It runs in other people's programs, also as their last act: it takes no
 *         lock that it could wait for, allocates nothing, uses no stdio, leaves errno alone, has
 *         no descriptor open when it returns, and is silent when it fails.
 *
 *         A child of fork makes a board of its own at once: later it may have locked itself into
 *         a sandbox, where what is asked of the kernel here would end it. For the same reason a
 *         picture asks nothing of the kernel, before the end.
 *
 *         After the end there may be more to see: destructors of other libraries run later. The
 *         pictures go on, and each says again what the process has used.
 *
 * RULES   J1  Who says on a board that it ends is the process that is named on it: not a child of
 *             vfork, which has its parent's memory.
 *         J2  A place for a picture is written while the other one is the last complete picture.
 *
 * LOCKS   drawing: who draws; others have nothing to do here.
 *
 * COST    Outside `quarry run` a load and a comparison a slow call, and in the core for each batch
 *         of frames. Else two stores, and pictures for less than a hundredth of the time.
 */
#include "report.h"
#include "buddy/alloc.h"
#include "malloc.h"
#include "view/live.h"
#include "view/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/** A picture is due when so many frames more or less are in use (or an eighth of them), or after so
 *  many slow calls; and only so often that all of them take a hundredth of the time. */
#define PICTURE_FRAMES 64
#define PICTURE_CALLS 256
#define PICTURE_SHARE 100

struct qy_board *qy_malloc_board;
static char report_to[QY_REPORT_TO_BYTES]; /* "": not under `quarry run` */
static pid_t owner;                        /* J1 */
static _Atomic bool drawing;
static bool has_left; /* a parent's board, in a child of fork */
/* Of whoever draws. */
static _Atomic uint64_t drawn_used, drawn_ns, drawn_cost_ns;
static _Atomic uint32_t calls;

static uint64_t now_ns(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- what is said ---- */

/** VmHWM; 0: not known. */
static uint64_t peak_rss_kb(void)
{
    static const char key[] = "\nVmHWM:";
    char status[1536]; /* it stands in the first half of the file */
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = file >= 0 ? read(file, status, sizeof(status) - 1) : 0;
    if (file >= 0)
        close(file);
    status[length > 0 ? length : 0] = '\0';
    const char *line = strstr(status, key);
    return line == NULL ? 0 : strtoull(line + sizeof(key) - 1, NULL, 10);
}

/** What is resident now: more is not known of who is killed at once. */
static uint64_t rss_kb(void)
{
    char statm[128];
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = file >= 0 ? read(file, statm, sizeof(statm) - 1) : 0;
    if (file >= 0)
        close(file);
    statm[length > 0 ? length : 0] = '\0';
    const char *second = strchr(statm, ' ');
    return second == NULL ? 0 : strtoull(second, NULL, 10) * (QY_PAGE_BYTES / 1024);
}

static struct qy_usage usage_now(uint64_t peak_rss)
{
    struct rusage usage;
    memset(&usage, 0, sizeof(usage));
    getrusage(RUSAGE_SELF, &usage);
    return (struct qy_usage){
        .user_us = (uint64_t)usage.ru_utime.tv_sec * 1000000 + (uint64_t)usage.ru_utime.tv_usec,
        .system_us = (uint64_t)usage.ru_stime.tv_sec * 1000000 + (uint64_t)usage.ru_stime.tv_usec,
        .minor_faults = (uint64_t)usage.ru_minflt,
        .major_faults = (uint64_t)usage.ru_majflt,
        .peak_rss_kb = peak_rss,
    };
}

/** Word by word: two threads may end the program at once. */
static void say_usage(struct qy_board *board)
{
    int saved = errno;
    __atomic_store_n(&board->peak_at_end, board->use.peak, __ATOMIC_RELAXED);
    const struct qy_usage usage = usage_now(peak_rss_kb());
    __atomic_store_n(&board->at_end.user_us, usage.user_us, __ATOMIC_RELAXED);
    __atomic_store_n(&board->at_end.system_us, usage.system_us, __ATOMIC_RELAXED);
    __atomic_store_n(&board->at_end.minor_faults, usage.minor_faults, __ATOMIC_RELAXED);
    __atomic_store_n(&board->at_end.major_faults, usage.major_faults, __ATOMIC_RELAXED);
    __atomic_store_n(&board->at_end.peak_rss_kb, usage.peak_rss_kb, __ATOMIC_RELAXED);
    errno = saved;
}

/* ---- pictures ---- */

struct place {
    char *bytes;
    uint64_t used;
};

static int put(void *to, const void *bytes, size_t length)
{
    struct place *place = to;
    if (length > QY_PICTURE_BYTES - place->used)
        return -EMSGSIZE;
    memcpy(place->bytes + place->used, bytes, length);
    place->used += length;
    return 0;
}

static int write_picture(struct place *place, struct qy_mm *mm)
{
    struct qy_totals totals;
    struct qy_live live = {.mm = mm, .totals = &totals};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_sink sink = {.to = place, .put = put};
    int error = qy_snapshot_begin(&sink);
    if (error == 0 && mm != NULL)
        error = qy_snapshot_views(&sink, &lens);
    return error == 0 ? qy_snapshot_end(&sink) : error;
}

/** drawing is held. */
static void draw(struct qy_board *board, struct qy_mm *mm)
{
    uint64_t nr = atomic_load_explicit(&board->nr_pictures, memory_order_relaxed);
    struct place place = {.bytes = (char *)board + QY_PAGE_BYTES + nr % 2 * QY_PICTURE_BYTES};
    uint64_t used = mm != NULL ? qy_used_frames(mm) : 0;
    drawn_used = used;
    if (write_picture(&place, mm) != 0)
        return;
    board->picture_length[nr % 2] = place.used;
    board->picture_used[nr % 2] = used;
    /* J2: all of it is there before it counts. */
    atomic_store_explicit(&board->nr_pictures, nr + 1, memory_order_release);
}

static bool is_due(uint64_t used)
{
    uint64_t drawn = atomic_load_explicit(&drawn_used, memory_order_relaxed);
    uint64_t change = used > drawn ? used - drawn : drawn - used;
    uint64_t most = drawn / 8 > PICTURE_FRAMES ? drawn / 8 : PICTURE_FRAMES;
    if (change < most && atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) < PICTURE_CALLS)
        return false;
    return now_ns() - drawn_ns >= PICTURE_SHARE * drawn_cost_ns;
}

/* ---- a board of one's own ---- */

static bool send_board(int file)
{
    struct qy_report_hello hello = {.board_bytes = sizeof(struct qy_board)};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *token = strchr(report_to, ' ');
    size_t length = (size_t)(token - report_to);
    memcpy(address.sun_path + 1, report_to, length); /* a NUL in front: no name in any folder */
    strncpy(hello.token, token + 1, sizeof(hello.token) - 1);

    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(file))];
    } control;
    memset(&control, 0, sizeof(control));
    struct iovec part = {&hello, sizeof(hello)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control.bytes)};
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(file)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &file, sizeof(file));

    int socket_end = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket_end < 0)
        return false;
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    bool sent = connect(socket_end, (const struct sockaddr *)&address, bytes) == 0 &&
                sendmsg(socket_end, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(hello);
    close(socket_end);
    return sent;
}

static void describe(struct qy_process_view *process, bool is_forked)
{
    prctl(PR_GET_NAME, process->name);
    process->pid = (uint64_t)getpid();
    process->parent = (uint64_t)getppid();
    process->start_ns = now_ns();
    process->is_forked = is_forked;
    process->usage = usage_now(rss_kb());
}

/** NULL: there is no tool any more, or not the memory. */
static struct qy_board *introduce(bool is_forked)
{
    struct rlimit most;
    struct qy_board *board = MAP_FAILED;
    if (getrlimit(RLIMIT_FSIZE, &most) != 0 || most.rlim_cur < QY_BOARD_BYTES)
        return NULL; /* ftruncate() would end the program by SIGXFSZ */
    int file = memfd_create("quarry-report", MFD_CLOEXEC);
    if (file < 0)
        return NULL;
    if (ftruncate(file, QY_BOARD_BYTES) == 0)
        board = mmap(NULL, QY_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (board != MAP_FAILED) {
        describe(&board->process, is_forked);
        if (!send_board(file)) {
            munmap(board, QY_BOARD_BYTES);
            board = MAP_FAILED; /* the tool is gone */
        }
    }
    close(file);
    return board != MAP_FAILED ? board : NULL;
}

void qy_malloc_report_watch(struct qy_mm *mm)
{
    if (mm == NULL || qy_malloc_board == NULL)
        return;
    atomic_store(&mm->watch, &qy_malloc_board->use);
    qy_note_peak(mm);
}

void qy_malloc_report_call(struct qy_mm *mm)
{
    struct qy_board *board = qy_malloc_board;
    if (board == NULL)
        return; /* a child, since the caller looked */
    if (!is_due(qy_used_frames(mm)) ||
        atomic_exchange_explicit(&drawing, true, memory_order_acquire))
        return;
    uint64_t began = now_ns();
    draw(board, mm);
    if (board->end != QY_END_NONE && getpid() == owner) /* J1 */
        say_usage(board);
    atomic_store_explicit(&calls, 0, memory_order_relaxed);
    uint64_t ended = now_ns();
    drawn_ns = ended;
    drawn_cost_ns = ended - began;
    atomic_store_explicit(&drawing, false, memory_order_release);
}

void qy_malloc_report_end(struct qy_mm *mm, enum qy_end end)
{
    struct qy_board *board = qy_malloc_board;
    if (board == NULL || getpid() != owner) /* J1 */
        return;
    int saved = errno;
    if (mm != NULL)
        qy_note_peak(mm);
    /* Who is drawing may be this very thread, which a signal's handler has taken here. */
    if (!atomic_exchange_explicit(&drawing, true, memory_order_acquire)) {
        qy_malloc_depth++; /* who forks in a signal's handler must not wait for its locks */
        draw(board, mm);
        qy_malloc_depth--;
        atomic_store_explicit(&drawing, false, memory_order_release);
    }
    say_usage(board);
    atomic_store(&board->end, end);
    errno = saved;
}

/** It stays mapped: the child of a signal's handler may be about to write on it. */
void qy_malloc_report_leave(void)
{
    has_left = qy_malloc_board != NULL;
    if (qy_malloc_mm != NULL)
        atomic_store(&qy_malloc_mm->watch, NULL);
    qy_malloc_board = NULL;
}

void qy_malloc_report_in_child(void)
{
    int saved = errno;
    if (!has_left)
        return;
    owner = getpid();
    drawn_used = drawn_ns = drawn_cost_ns = 0;
    atomic_store(&drawing, false);
    qy_malloc_board = introduce(true);
    qy_malloc_report_watch(qy_malloc_mm);
    errno = saved;
}

/* ---- beginning and end ---- */

QY_API _Noreturn void _Exit(int status);

/** The C library's own would leave no report. */
QY_API _Noreturn void _exit(int status)
{
    if (qy_malloc_board != NULL)
        qy_malloc_report_end(qy_malloc_mm, QY_END_EXIT_AT_ONCE);
    for (;;)
        syscall(SYS_exit_group, status);
}

QY_API _Noreturn void _Exit(int status)
{
    _exit(status);
}

static void on_quick_exit(void)
{
    qy_malloc_report_end(qy_malloc_mm, QY_END_EXIT_AT_ONCE);
}

static bool is_asked_for(void)
{
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        if (qy_malloc_value_of(*entry, QY_REPORT_TO) != NULL)
            return true;
    return false;
}

/** Where to report is remembered now: later the environment may be gone. */
__attribute__((constructor)) static void note_start(void)
{
    const char *value = is_asked_for() ? secure_getenv(QY_REPORT_TO) : NULL;
    if (value == NULL || strlen(value) >= sizeof(report_to) || strchr(value, ' ') == NULL)
        return;
    int saved = errno;
    strcpy(report_to, value);
    owner = getpid();
    qy_malloc_board = introduce(false);
    qy_malloc_report_watch(qy_malloc_mm);
    if (qy_malloc_board != NULL) {
        int refused = at_quick_exit(on_quick_exit);
        (void)refused; /* then who ends so has not said how */
    }
    errno = saved;
}
