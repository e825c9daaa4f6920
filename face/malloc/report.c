/*
 * report.c - what a process that ran on Quarry says of itself when it ends
 *
 * It runs in other people's programs, as their last act: it takes no lock that it could wait
 * for, allocates nothing, uses no stdio, leaves errno alone, and is silent when it fails.
 */
#include "report.h"
#include "base/text.h"
#include "malloc.h"
#include "view/live.h"
#include "view/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

const uint64_t qy_malloc_layout = QY_MALLOC_LAYOUT;

static char *folder; /* NULL: not under `quarry run` */
static uint64_t start_ns;
static pid_t started; /* who start_ns is of */

static uint64_t now_ns(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/** A small file of /proc/self, with a NUL behind; "" if it cannot be read. */
static void read_self(const char *path, char *text, size_t bytes)
{
    ssize_t length = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        length = read(file, text, bytes - 1);
        close(file);
    }
    text[length > 0 ? length : 0] = '\0';
}

static uint64_t peak_rss_kb(void)
{
    static const char key[] = "\nVmHWM:";
    char status[4096];
    read_self("/proc/self/status", status, sizeof(status));
    const char *line = strstr(status, key);
    return line == NULL ? 0 : strtoull(line + sizeof(key) - 1, NULL, 10);
}

/** Who this process is. */
static void identify(struct qy_process_view *view)
{
    memset(view, 0, sizeof(*view));
    read_self("/proc/self/comm", view->name, sizeof(view->name));
    view->name[strcspn(view->name, "\n")] = '\0';
    view->pid = (uint64_t)getpid();
    view->parent = (uint64_t)getppid();
    view->start_ns = start_ns;
}

/** What it has used. */
static void measure(struct qy_process_view *view)
{
    struct rusage usage;
    memset(&usage, 0, sizeof(usage));
    view->wall_ns = getpid() == started ? now_ns() - start_ns : 0;
    getrusage(RUSAGE_SELF, &usage);
    view->user_us = (uint64_t)usage.ru_utime.tv_sec * 1000000 + (uint64_t)usage.ru_utime.tv_usec;
    view->system_us = (uint64_t)usage.ru_stime.tv_sec * 1000000 + (uint64_t)usage.ru_stime.tv_usec;
    view->minor_faults = (uint64_t)usage.ru_minflt;
    view->major_faults = (uint64_t)usage.ru_majflt;
    view->peak_rss_kb = peak_rss_kb();
}

/** FOLDER/PID.suffix, new and empty. A negative number: it cannot be made. */
static int create(const char *suffix)
{
    char path[PATH_MAX + 32];
    struct qy_text text;
    qy_text_init(&text, path, sizeof(path));
    qy_text_string(&text, folder);
    qy_text_char(&text, '/');
    qy_text_u64(&text, (uint64_t)getpid());
    qy_text_string(&text, suffix);
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
}

struct output {
    int file;
    size_t used;
    char bytes[4096];
};

static int flush(struct output *output)
{
    for (size_t done = 0; done < output->used;) {
        ssize_t written = write(output->file, output->bytes + done, output->used - done);
        if (written < 0 && errno != EINTR)
            return -errno;
        done += written > 0 ? (size_t)written : 0;
    }
    output->used = 0;
    return 0;
}

static int put(void *to, const void *bytes, size_t length)
{
    struct output *output = to;
    if (length > sizeof(output->bytes) - output->used) {
        int error = flush(output);
        if (error != 0)
            return error;
    }
    if (length > sizeof(output->bytes))
        return -EMSGSIZE;
    memcpy(output->bytes + output->used, bytes, length);
    output->used += length;
    return 0;
}

static int write_report(struct output *output, struct qy_mm *mm)
{
    struct qy_process_view process;
    struct qy_live live = {.mm = mm};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_sink sink = {.to = output, .put = put};
    identify(&process);
    measure(&process);
    int error = qy_snapshot_begin(&sink);
    if (error == 0)
        error = qy_snapshot_record(&sink, QY_RECORD_PROCESS, &process, sizeof(process));
    if (error == 0 && mm != NULL)
        error = qy_snapshot_views(&sink, &lens);
    if (error == 0)
        error = qy_snapshot_end(&sink);
    return error == 0 ? flush(output) : error;
}

void qy_malloc_report(struct qy_mm *mm)
{
    if (folder == NULL)
        return;
    int saved = errno;
    struct output output;
    output.used = 0;
    output.file = create(".end");
    if (output.file >= 0) {
        if (write_report(&output, mm) != 0)
            ftruncate(output.file, 0);
        close(output.file);
    }
    errno = saved;
}

static bool is_asked_for(void)
{
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        if (qy_malloc_value_of(*entry, QY_REPORT_DIR) != NULL)
            return true;
    return false;
}

/** The folder is remembered now: at the end the environment may be gone. */
__attribute__((constructor)) static void note_start(void)
{
    const char *value = is_asked_for() ? secure_getenv(QY_REPORT_DIR) : NULL;
    if (value == NULL || value[0] != '/' || strlen(value) >= PATH_MAX)
        return;
    int saved = errno;
    struct qy_process_view process;
    char *copy = mmap(NULL, PATH_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) {
        errno = saved;
        return;
    }
    folder = strcpy(copy, value);
    start_ns = now_ns();
    started = getpid();
    identify(&process);
    int file = create(".start");
    if (file >= 0) {
        ssize_t written = write(file, &process, sizeof(process));
        (void)written; /* short: the tool takes it for a file that is not there */
        close(file);
    }
    errno = saved;
}
