/*
 * target.c - finding the memories of a process
 *
 * A struct qy_mm begins with a mark that holds its own address (memory/mm.h), and lies at the start
 * of a mapping; or, where what lies before it has become one mapping with it, at an address that
 * windows of the port begin at. So a look at these places finds all of them, however the program
 * came by Quarry: preloaded, linked with a library, or with its code inside; without a symbol, and
 * without a file that may have been replaced meanwhile. Pages that the process never touched are
 * passed over, so that it gets none by being looked at.
 *
 * A memory whose metadata the program placed itself (qy_mm_create()) is found if they begin a
 * mapping.
 */
#include "tool.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/** Windows begin at its multiples, if they are not reserved (port/linux/addresses.c). */
#define WINDOW_STEP (UINT64_C(1) << 30)

int target_read(pid_t pid, uint64_t address, void *to, size_t bytes)
{
    struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)address, bytes};
    ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (got < 0)
        return -errno;
    return (size_t)got == bytes ? 0 : -EFAULT;
}

static FILE *open_proc(pid_t pid, const char *file)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    return fopen(path, "re");
}

void complain_not_permitted(pid_t pid, int error)
{
    int scope = 0;
    FILE *yama = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    if (yama != NULL) {
        if (fscanf(yama, "%d", &scope) != 1)
            scope = 0;
        fclose(yama);
    }
    if (geteuid() == 0)
        complain("process %d: %s (this takes CAP_SYS_PTRACE, in its user namespace)", (int)pid,
                 strerror(error));
    else if (scope > 0)
        complain("process %d: %s (kernel.yama.ptrace_scope is %d: root may look, or set it to 0)",
                 (int)pid, strerror(error), scope);
    else
        complain("process %d: %s (its owner or root may look)", (int)pid, strerror(error));
}

/** One line of a maps file. */
struct mapping {
    uint64_t start, end, offset;
    char protection[5];
    char path[512];
};

static bool next_mapping(FILE *maps, struct mapping *mapping)
{
    char line[1024];
    if (fgets(line, sizeof(line), maps) == NULL)
        return false;
    mapping->path[0] = '\0';
    return sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %511[^\n]",
                  &mapping->start, &mapping->end, mapping->protection, &mapping->offset,
                  mapping->path) >= 4;
}

/* ---- the places ---- */

/** Private memory of no file, to read and to write. */
static bool may_hold_one(const struct mapping *mapping)
{
    return strcmp(mapping->protection, "rw-p") == 0 &&
           (mapping->path[0] == '\0' || strncmp(mapping->path, "[anon", 5) == 0);
}

int target_pagemap(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

bool target_touched(int pagemap, uint64_t address)
{
    uint64_t entry;
    off_t at = (off_t)(address / QY_PAGE_BYTES * sizeof(entry));
    return pread(pagemap, &entry, sizeof(entry), at) != (ssize_t)sizeof(entry) || entry >> 62 != 0;
}

static bool is_malloc(pid_t pid, uint64_t mm)
{
    bool panics = false; /* only malloc's ends the program at a wrong free */
    return target_read(pid, mm + offsetof(struct qy_mm, panic_on_fault), &panics, sizeof(panics)) ==
               0 &&
           panics;
}

/** malloc's comes first, the others by their addresses. */
static void add(struct target *target, uint64_t mm)
{
    uint64_t *grown = reallocarray(target->mm, target->count + 1, sizeof(*grown));
    if (grown == NULL)
        err(EXIT_FAILED, "quarry");
    bool first = is_malloc(target->pid, mm);
    target->mm = grown;
    memmove(&grown[first], &grown[0], first ? target->count * sizeof(*grown) : 0);
    grown[first ? 0 : target->count] = mm;
    target->has_malloc |= first;
    target->count++;
}

/** What a scan came upon besides. */
struct scan {
    int pagemap;
    int refused;    /* the errno with which nothing could be read; 0: it could */
    bool of_others; /* a memory of another version of Quarry */
    bool library;   /* one of Quarry's libraries */
};

static void probe(struct target *target, struct scan *scan, uint64_t address)
{
    struct qy_mark mark;
    if (!target_touched(scan->pagemap, address))
        return;
    int error = target_read(target->pid, address, &mark, sizeof(mark));
    if (error == -EPERM || error == -EACCES)
        scan->refused = -error;
    if (error != 0 || mark.magic != QY_MARK_MAGIC || mark.self != address)
        return;
    if (mark.layout == QY_MARK_LAYOUT)
        add(target, address);
    else
        scan->of_others = true;
}

static void scan_mappings(struct target *target, struct scan *scan, FILE *maps)
{
    struct mapping mapping;
    while (scan->refused == 0 && next_mapping(maps, &mapping)) {
        scan->library |= strstr(mapping.path, "/libquarry") != NULL;
        if (!may_hold_one(&mapping))
            continue;
        for (uint64_t at = mapping.start; at < mapping.end;
             at = (at / WINDOW_STEP + 1) * WINDOW_STEP)
            probe(target, scan, at);
    }
    if (ferror(maps))
        scan->refused = errno;
}

static void read_name(struct target *target)
{
    FILE *comm = open_proc(target->pid, "comm");
    target->name[0] = '\0';
    if (comm != NULL) {
        if (fgets(target->name, sizeof(target->name), comm) != NULL)
            target->name[strcspn(target->name, "\n")] = '\0';
        fclose(comm);
    }
}

/** 0, or an exit status: it has complained. */
static int answer(const struct target *target, const struct scan *scan)
{
    if (scan->refused != 0) {
        complain_not_permitted(target->pid, scan->refused);
        return EXIT_NOT_PERMITTED;
    }
    if (target->count > 0)
        return EXIT_OK;
    if (scan->of_others)
        complain("process %d (%s): its Quarry is of another version", (int)target->pid,
                 target->name);
    else if (scan->library)
        complain("process %d (%s) has not taken memory from Quarry yet", (int)target->pid,
                 target->name);
    else
        complain("process %d (%s) does not run on Quarry; 'quarry run' starts a program on it",
                 (int)target->pid, target->name);
    return scan->of_others || scan->library ? EXIT_FAILED : EXIT_NOT_QUARRY;
}

int target_find(struct target *target, pid_t pid)
{
    struct scan scan = {.refused = 0};
    struct glance glance;
    *target = (struct target){.pid = pid};
    if (kill(pid, 0) != 0 && errno == ESRCH) {
        complain("there is no process %d", (int)pid);
        return EXIT_NO_PROCESS;
    }
    read_name(target);
    if (procfs_glance(pid, &glance) && glance.is_dead) {
        complain("process %d (%s) has ended", (int)pid, target->name);
        return EXIT_NO_PROCESS;
    }
    FILE *maps = open_proc(pid, "maps");
    scan.refused = maps == NULL ? errno : 0;
    scan.pagemap = target_pagemap(pid);
    if (maps != NULL) {
        scan_mappings(target, &scan, maps);
        fclose(maps);
    }
    if (scan.pagemap >= 0)
        close(scan.pagemap);
    return answer(target, &scan);
}

void target_forget(struct target *target)
{
    free(target->mm);
    target->mm = NULL;
}

bool target_collides(pid_t pid)
{
    struct mapping own, other;
    bool collides = false;
    FILE *mine = fopen("/proc/self/maps", "re"), *its = open_proc(pid, "maps");
    while (mine != NULL && its != NULL && !collides && next_mapping(its, &other)) {
        if (other.protection[0] != 'r' || strncmp(other.path, "[v", 2) == 0)
            continue;
        rewind(mine);
        while (!collides && next_mapping(mine, &own))
            collides = own.start < other.end && other.start < own.end;
    }
    if (mine != NULL)
        fclose(mine);
    if (its != NULL)
        fclose(its);
    return collides;
}
