/*
 * collect.c - gathering what the processes of `quarry run` report
 *
 * A process that starts connects to a socket without a name in any folder, and hands over a board
 * (face/malloc/report.h). It is watched through a descriptor of the process, which cannot be taken
 * for another of the same PID, and its board is read when it has ended. So nothing has to be
 * cleaned up by whoever is killed; and a tree of thousands costs two descriptors for each process
 * that lives, and a line for each that does not.
 *
 * Anybody in the same network namespace may connect: a token, which only the program's environment
 * has, says who is ours, and nobody of another user is waited for.
 *
 * What the kernel knows only while a process lives, its peak, is looked up when it comes and four
 * times a second: who is killed cannot say it.
 */
#include "tool.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/** Programs that have started and were not yet asked who they are. */
#define BACKLOG 4096
/** Asked one after the other, before others are looked at. */
#define ASKED_MOST 256
#define GLANCE_MS 250
/** Looked at in one round; of more than that each has its turn. */
#define GLANCES_MOST 64

/** A program in a process that had not ended when it was last looked at. */
struct image {
    pid_t pid;
    int process; /* its descriptor; -1: it had ended before it could be had */
    int board;
    struct qy_usage before; /* of the process, when this program began */
    struct qy_usage seen;   /* at the last glance */
};

struct collector {
    char address[QY_REPORT_TO_BYTES];
    char token[24];
    int listener, stop, events;
    int spare; /* closed to make room for one more when descriptors run out */
    pthread_t thread;
    bool is_running;
    struct image **images;
    size_t nr_images, next_glance;
    struct reports reports;
};

/* ---- the end of a program ---- */

/** Linux 6.15 and later remember how a process ended for who has a descriptor of it. */
static int wait_status_of(int process)
{
    enum {
        INFO_EXIT = 8 /* PIDFD_INFO_EXIT */
    };
    struct { /* struct pidfd_info, younger than most headers */
        uint64_t mask, cgroup;
        uint32_t ids[11];
        int32_t exit_code;
    } info = {.mask = INFO_EXIT};
    if (process < 0 || ioctl(process, _IOWR(0xff, 11, info), &info) != 0)
        return -1;
    return info.mask & INFO_EXIT ? info.exit_code : -1;
}

static void keep_larger(uint64_t *value, uint64_t other)
{
    if (*value < other)
        *value = other;
}

static void merge_usage(struct qy_usage *usage, const struct qy_usage *seen)
{
    keep_larger(&usage->user_us, seen->user_us);
    keep_larger(&usage->system_us, seen->system_us);
    keep_larger(&usage->minor_faults, seen->minor_faults);
    keep_larger(&usage->major_faults, seen->major_faults);
    keep_larger(&usage->peak_rss_kb, seen->peak_rss_kb);
}

static uint64_t less(uint64_t value, uint64_t part)
{
    return value > part ? value - part : 0;
}

/** What the process used before it became this program is the program's before. */
static void take_off(struct qy_usage *usage, const struct qy_usage *before)
{
    usage->user_us = less(usage->user_us, before->user_us);
    usage->system_us = less(usage->system_us, before->system_us);
    usage->minor_faults = less(usage->minor_faults, before->minor_faults);
    usage->major_faults = less(usage->major_faults, before->major_faults);
}

static void set_end(struct report *report, int wait_status)
{
    if (report->end != END_UNKNOWN || wait_status < 0)
        return;
    /* Neither told: _exit() by a system call of its own, or of a program without Quarry. */
    report->left_silently = !WIFSIGNALED(wait_status);
    if (WIFSIGNALED(wait_status)) {
        report->end = END_SIGNAL;
        report->signal = WTERMSIG(wait_status);
    }
}

/** Is it known at all that it was there? A child of fork that became another program was not. */
static bool is_worth_a_line(const struct report *report)
{
    return !report->process.is_forked || report->end != END_EXEC;
}

static bool has_ended(const struct image *image)
{
    struct pollfd process = {.fd = image->process, .events = POLLIN};
    return image->process >= 0 ? poll(&process, 1, 0) > 0
                               : kill(image->pid, 0) != 0 && errno == ESRCH;
}

/** Its board is read, and it is watched no longer. @next: of the program that took its place. */
static void end_image(struct collector *collector, size_t index, const struct qy_usage *next,
                      enum end end)
{
    struct image *image = collector->images[index];
    struct report report;
    struct glance glance = {.wait_status = -1};
    bool is_there = next == NULL && procfs_glance(image->pid, &glance);
    if (is_there && (glance.is_dead || end == END_RUNNING))
        merge_usage(&image->seen, &glance.usage);
    if (next != NULL)
        merge_usage(&image->seen, next);
    if (report_read(&report, image->board)) {
        report.process.pid = (uint64_t)image->pid;
        if (end != END_UNKNOWN && report.end == END_UNKNOWN)
            report.end = end;
        set_end(&report, glance.is_dead ? glance.wait_status : wait_status_of(image->process));
        if (!report.is_final || report.process.usage.peak_rss_kb == 0)
            merge_usage(&report.process.usage, &image->seen);
        take_off(&report.process.usage, &image->before);
        if (is_worth_a_line(&report))
            reports_add(&collector->reports, &report);
        else
            views_free(&report.views);
    }
    if (image->process >= 0)
        close(image->process);
    close(image->board);
    free(image);
    collector->images[index] = collector->images[--collector->nr_images];
}

static size_t index_of(const struct collector *collector, const struct image *image)
{
    size_t index = 0;
    while (index < collector->nr_images && collector->images[index] != image)
        index++;
    return index;
}

/* ---- the beginning ---- */

/** The board in the one message; -1: none came, or from somebody else. @waits: for it to come. */
static int receive_board(struct collector *collector, int from, bool waits)
{
    struct qy_report_hello hello;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    int board = -1;
    struct iovec part = {&hello, sizeof(hello)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct timeval patience = {.tv_sec = 1};
    setsockopt(from, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ssize_t length = recvmsg(from, &message, MSG_CMSG_CLOEXEC | (waits ? 0 : MSG_DONTWAIT));
    struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    for (; header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int file;
            memcpy(&file, CMSG_DATA(header) + i * sizeof(file), sizeof(file));
            if (board < 0)
                board = file;
            else
                close(file);
        }
    }
    bool is_ours = length == (ssize_t)sizeof(hello) &&
                   hello.board_bytes == sizeof(struct qy_board) &&
                   memcmp(hello.token, collector->token, sizeof(hello.token)) == 0;
    if (is_ours && board < 0)
        collector->reports.unseen++; /* there was no room for it among the descriptors */
    if (board >= 0 && !is_ours) {
        close(board);
        return -1;
    }
    return board;
}

static void watch(struct collector *collector, struct image *image, bool is_gone)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = image};
    if ((collector->nr_images & (collector->nr_images - 1)) == 0) {
        size_t room = collector->nr_images == 0 ? 1 : 2 * collector->nr_images;
        collector->images = reallocarray(collector->images, room, sizeof(struct image *));
        if (collector->images == NULL)
            err(EXIT_RUN_FAILED, "quarry");
    }
    collector->images[collector->nr_images++] = image;
    if (is_gone)
        end_image(collector, collector->nr_images - 1, NULL, END_UNKNOWN);
    else if (image->process >= 0)
        epoll_ctl(collector->events, EPOLL_CTL_ADD, image->process, &event);
    /* Else it is read when `quarry run` ends. */
}

/** Who said hello; a descriptor of it, if there is one; its board. */
static void begin_image(struct collector *collector, pid_t pid, int process, int board,
                        bool is_gone)
{
    struct report report;
    struct image *image = calloc(1, sizeof(*image));
    if (image == NULL)
        err(EXIT_RUN_FAILED, "quarry");
    if (!report_read(&report, board)) {
        if (process >= 0)
            close(process);
        close(board);
        free(image);
        return;
    }
    *image = (struct image){.pid = pid, .board = board, .seen = report.before};
    views_free(&report.views);
    for (size_t i = 0; i < collector->nr_images; i++) {
        if (collector->images[i]->pid != pid)
            continue;
        image->before = report.before;
        image->before.peak_rss_kb = 0; /* that is the new program's */
        end_image(collector, i, &image->before, END_EXEC);
        break;
    }
    struct glance glance;
    if (procfs_glance(pid, &glance))
        merge_usage(&image->seen, &glance.usage);
    image->process = process;
    watch(collector, image, is_gone);
}

/** A descriptor of whoever is at the other end; negative: there is none. */
static int process_of(int from, pid_t pid, bool *is_gone)
{
    enum {
        PEER_PIDFD = 77 /* SO_PEERPIDFD, Linux 6.5: also of one that was waited for already */
    };
    int process = -1;
    socklen_t length = sizeof(process);
    *is_gone = false;
    if (getsockopt(from, SOL_SOCKET, PEER_PIDFD, &process, &length) == 0 && process >= 0)
        return process;
    process = (int)syscall(SYS_pidfd_open, pid, 0);
    *is_gone = process < 0 && errno == ESRCH;
    return process;
}

/** One process that wants to say hello. False: there is none. */
static bool accept_one(struct collector *collector)
{
    struct ucred who;
    socklen_t length = sizeof(who);
    int from = accept4(collector->listener, NULL, NULL, SOCK_CLOEXEC);
    if (from < 0 && (errno == EMFILE || errno == ENFILE)) {
        close(collector->spare);
        from = accept4(collector->listener, NULL, NULL, SOCK_CLOEXEC);
        if (from >= 0)
            close(from);
        collector->spare = fcntl(collector->stop, F_DUPFD_CLOEXEC, 0);
        collector->reports.unseen += from >= 0;
        return from >= 0;
    }
    if (from < 0)
        return errno == EINTR || errno == ECONNABORTED;
    if (getsockopt(from, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0 && who.pid > 0) {
        int board = receive_board(collector, from, who.uid == 0 || who.uid == geteuid());
        bool is_gone;
        int process = board >= 0 ? process_of(from, who.pid, &is_gone) : -1;
        if (board >= 0)
            begin_image(collector, who.pid, process, board, is_gone);
    }
    close(from);
    return true;
}

/* ---- the thread ---- */

static void glance_at_some(struct collector *collector)
{
    struct glance glance;
    size_t count = collector->nr_images < GLANCES_MOST ? collector->nr_images : GLANCES_MOST;
    for (size_t i = 0; i < count; i++) {
        struct image *image = collector->images[collector->next_glance++ % collector->nr_images];
        if (procfs_glance(image->pid, &glance))
            merge_usage(&image->seen, &glance.usage);
    }
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/** Processes that want to say hello, up to so many. */
static void accept_some(struct collector *collector, unsigned most)
{
    while (most-- > 0 && accept_one(collector))
        continue;
}

/** False: it is time to stop. */
static bool take_events(struct collector *collector, int timeout_ms)
{
    struct epoll_event events[16];
    bool goes_on = true;
    int count = epoll_wait(collector->events, events, 16, timeout_ms);
    /* Whoever came first is asked first: a program that took another's place ends that one. */
    for (int e = 0; e < count; e++)
        if (events[e].data.ptr == &collector->listener)
            accept_some(collector, ASKED_MOST);
    for (int e = 0; e < count; e++) {
        if (events[e].data.ptr == &collector->stop)
            goes_on = false;
        /* It may have been ended above, and another one lie in its place. */
        size_t index = index_of(collector, events[e].data.ptr);
        if (index < collector->nr_images && has_ended(collector->images[index]))
            end_image(collector, index, NULL, END_UNKNOWN);
    }
    return goes_on;
}

static void *gather(void *argument)
{
    struct collector *collector = argument;
    uint64_t glanced = now_ms();
    while (take_events(collector, collector->nr_images > 0 ? GLANCE_MS : -1)) {
        if (now_ms() - glanced < GLANCE_MS)
            continue;
        glance_at_some(collector);
        glanced = now_ms();
    }
    return NULL;
}

/* ---- from outside ---- */

static void listen_to(struct collector *collector, int file, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(collector->events, EPOLL_CTL_ADD, file, &event) != 0)
        err(EXIT_RUN_FAILED, "quarry");
}

struct collector *collector_open(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint64_t random[2];
    struct collector *collector = calloc(1, sizeof(*collector));
    if (collector == NULL || getrandom(random, sizeof(random), 0) != sizeof(random))
        err(EXIT_RUN_FAILED, "quarry");
    char name[32]; /* what is in it is no secret; the token is */
    int length = snprintf(name, sizeof(name), "quarry-run.%016" PRIx64, random[0]);
    memcpy(address.sun_path + 1, name, (size_t)length);
    snprintf(collector->token, sizeof(collector->token), "%016" PRIx64, random[1]);
    snprintf(collector->address, sizeof(collector->address), "%s %s", name, collector->token);

    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    collector->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    collector->stop = eventfd(0, EFD_CLOEXEC);
    collector->spare = fcntl(collector->stop, F_DUPFD_CLOEXEC, 0);
    collector->events = epoll_create1(EPOLL_CLOEXEC);
    if (collector->listener < 0 || collector->stop < 0 || collector->events < 0 ||
        bind(collector->listener, (const struct sockaddr *)&address, bytes) != 0 ||
        listen(collector->listener, BACKLOG) != 0) {
        complain("cannot listen to the program: %s", strerror(errno));
        free(collector);
        return NULL;
    }
    listen_to(collector, collector->listener, &collector->listener);
    listen_to(collector, collector->stop, &collector->stop);
    return collector;
}

const char *collector_address(const struct collector *collector)
{
    return collector->address;
}

void collector_run(struct collector *collector)
{
    struct rlimit files;
    sigset_t all, before;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&collector->thread, NULL, gather, collector);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        errx(EXIT_RUN_FAILED, "quarry: no thread: %s", strerror(error));
    collector->is_running = true;
}

void collector_stop(struct collector *collector)
{
    uint64_t one = 1;
    if (!collector->is_running)
        return;
    if (write(collector->stop, &one, sizeof(one)) < 0)
        err(EXIT_RUN_FAILED, "quarry");
    pthread_join(collector->thread, NULL);
    collector->is_running = false;
    accept_some(collector, BACKLOG + 1); /* all who came before it was time to stop */
    while (collector->nr_images > 0) {
        size_t last = collector->nr_images - 1;
        bool is_over = has_ended(collector->images[last]);
        end_image(collector, last, NULL, is_over ? END_UNKNOWN : END_RUNNING);
    }
}

void collector_close(struct collector *collector, struct reports *reports)
{
    collector_stop(collector);
    reports_sort(&collector->reports);
    *reports = collector->reports;
    close(collector->listener);
    close(collector->stop);
    close(collector->spare);
    close(collector->events);
    free(collector->images);
    free(collector);
}
