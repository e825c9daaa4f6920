/*
 * remote.c - looking at a running process without stopping it
 *
 * The lens for a live memory follows pointers. They hold in another process as well if what
 * they point to is copied to the same addresses, so that is what a child of this process
 * does: it looks at the other's struct qy_mm as if it were its own, and each page that it
 * misses is fetched with process_vm_readv() when it is first touched. What the child sees
 * comes back through a pipe as a snapshot. If the process changes its memory meanwhile, a
 * pointer may lead nowhere: then the child ends, and another one tries again.
 */
#include "tool.h"
#include "view/live.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u
/** Fetched at once; metadata that is used together lies together. */
#define CHUNK (64u * 1024)
#define TRIES 5
/** A look takes milliseconds; a process that is changing could send it round in circles. */
#define SECONDS_MOST 10
#define EXIT_GONE 3
#define RETRY_VARIABLE "QUARRY_LAYOUT_RETRY"

static int pagemap;     /* of it; negative: it is not to be had */
static pid_t looked_at; /* for the handler, which has no arguments of its own */

/** Map [start, start + bytes) where nothing is yet, and fill in what the process has there. */
static bool fetch(uintptr_t start, size_t bytes, uintptr_t needed)
{
    void *at = mmap((void *)start, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == MAP_FAILED)
        return false;
    if (at != (void *)start) { /* a kernel that does not know NOREPLACE */
        munmap(at, bytes);
        return false;
    }
    /* Parts of it are not there, or were never touched: by being read they would be. The page that
     * is needed must be there. */
    for (uintptr_t page = start; page < start + bytes; page += PAGE) {
        bool wanted = page == needed || target_touched(pagemap, page);
        int error = wanted ? target_read(looked_at, page, (void *)page, PAGE) : -EFAULT;
        if (error != 0 && page == needed)
            _exit(error == -ESRCH ? EXIT_GONE : EXIT_FAILED);
        if (error != 0)
            munmap((void *)page, PAGE);
    }
    return true;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1);
    uintptr_t chunk = page & ~(uintptr_t)(CHUNK - 1);
    if (!fetch(chunk, CHUNK, page) && !fetch(page, PAGE, page))
        _exit(EXIT_FAILED);
}

static int put(void *to, const void *bytes, size_t length)
{
    const int *pipe_end = to;
    const char *from = bytes;
    while (length > 0) {
        ssize_t written = write(*pipe_end, from, length);
        if (written < 0)
            return -errno;
        from += written;
        length -= (size_t)written;
    }
    return 0;
}

/** The child: look, tell, end. */
static _Noreturn void look(const struct target *target, size_t memory, int pipe_end)
{
    static char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct qy_totals totals;
    struct qy_live live = {
        .mm = (struct qy_mm *)(uintptr_t)target->mm[memory], .totals = &totals, .is_copy = true};
    struct qy_lens lens = qy_live_lens(&live);
    struct qy_sink sink = {.to = &pipe_end, .put = put};
    looked_at = target->pid;
    pagemap = target_pagemap(target->pid);
    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    alarm(SECONDS_MOST);
    int error = qy_snapshot_begin(&sink);
    if (error == 0)
        error = qy_snapshot_views(&sink, &lens);
    if (error == 0)
        error = qy_snapshot_end(&sink);
    _exit(error == 0 ? EXIT_OK : EXIT_FAILED);
}

/** All that comes through the pipe; the caller frees it. */
static unsigned char *read_all(int pipe_end, size_t *length)
{
    unsigned char *bytes = NULL;
    size_t room = 0;
    *length = 0;
    for (;;) {
        if (*length == room) {
            room = room == 0 ? 1u << 18 : 2 * room;
            unsigned char *grown = realloc(bytes, room);
            if (grown == NULL)
                err(EXIT_FAILED, "quarry");
            bytes = grown;
        }
        ssize_t got = read(pipe_end, bytes + *length, room - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return bytes;
        *length += (size_t)got;
    }
}

/** One look. The exit status of the child; EXIT_OK with *views filled in. */
static int try_to_look(const struct target *target, size_t memory, struct views *views)
{
    int ends[2], status;
    if (pipe(ends) != 0)
        err(EXIT_FAILED, "quarry");
    pid_t child = fork();
    if (child < 0)
        err(EXIT_FAILED, "quarry");
    if (child == 0) {
        close(ends[0]);
        look(target, memory, ends[1]);
    }
    close(ends[1]);
    struct qy_snapshot snapshot;
    unsigned char *bytes = read_all(ends[0], &snapshot.length);
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    snapshot.bytes = bytes;
    int result = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
    if (result == EXIT_OK && qy_snapshot_check(&snapshot) != 0)
        result = EXIT_FAILED;
    if (result == EXIT_OK) {
        struct qy_lens lens = qy_snapshot_lens(&snapshot);
        views_copy(views, &lens);
    }
    free(bytes);
    return result;
}

/** Start this program anew, so that its own mappings lie elsewhere. Returns if it cannot. */
static void start_elsewhere(void)
{
    const char *before = getenv(RETRY_VARIABLE);
    int tries = before == NULL ? 0 : atoi(before);
    char number[16], arguments[65536];
    char *argv[1024];
    FILE *file = fopen("/proc/self/cmdline", "re");
    if (file == NULL || tries >= TRIES)
        return;
    size_t length = fread(arguments, 1, sizeof(arguments) - 1, file), count = 0;
    fclose(file);
    arguments[length] = '\0';
    for (size_t at = 0; at < length && count < 1023; at += strlen(arguments + at) + 1)
        argv[count++] = arguments + at;
    argv[count] = NULL;
    snprintf(number, sizeof(number), "%d", tries + 1);
    setenv(RETRY_VARIABLE, number, 1);
    int persona = personality(0xffffffff);
    if (persona >= 0)
        personality((unsigned long)(persona & ~ADDR_NO_RANDOMIZE));
    execv("/proc/self/exe", argv);
}

int remote_read(const struct target *target, size_t memory, struct views *views)
{
    if (target_collides(target->pid)) {
        start_elsewhere();
        complain("process %d (%s): its memory lies where this program's own does; try again",
                 (int)target->pid, target->name);
        return EXIT_FAILED;
    }
    for (unsigned tries = 0; tries < TRIES; tries++) {
        int status = try_to_look(target, memory, views);
        if (status == EXIT_OK)
            return EXIT_OK;
        if (status == EXIT_GONE) {
            complain("process %d (%s) has ended", (int)target->pid, target->name);
            return EXIT_NO_PROCESS;
        }
    }
    complain("process %d (%s) changes its memory too fast to be read; try again", (int)target->pid,
             target->name);
    return EXIT_FAILED;
}
