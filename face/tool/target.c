/*
 * target.c - finding the memory of a process that runs on Quarry
 *
 * libquarry-malloc.so, as libquarry-whole.so, exports a pointer to its struct qy_mm. Where the
 * library lies is said by /proc/PID/maps, where the pointer lies in it by its dynamic symbols; both
 * are read from the process itself, since the file may have been replaced meanwhile.
 */
#include "tool.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/** The dynamic symbols and their names: some kilobytes. */
#define SYMBOLS_BYTES_MOST (1u << 20)

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

/** Is this file one of the libraries that take malloc's place? */
static bool is_library(const char *path)
{
    static const char *const names[] = {"/libquarry-malloc.so", "/libquarry-whole.so"};
    const char *name = strrchr(path, '/');
    for (size_t i = 0; name != NULL && i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/** Where the library begins; 0: it is not there. */
static uint64_t library_base(FILE *maps)
{
    struct mapping mapping;
    while (next_mapping(maps, &mapping))
        if (mapping.offset == 0 && is_library(mapping.path))
            return mapping.start;
    return 0;
}

/** Where the library's symbols and their names lie. */
struct symbols {
    uint64_t table, names, names_bytes;
};

static bool read_dynamic(pid_t pid, uint64_t base, uint64_t dynamic, struct symbols *symbols)
{
    *symbols = (struct symbols){0, 0, 0};
    for (unsigned i = 0; i < 128; i++) {
        ElfW(Dyn) entry;
        if (target_read(pid, dynamic + i * sizeof(entry), &entry, sizeof(entry)) != 0)
            return false;
        /* The loader has made most of these absolute; not all loaders do. */
        uint64_t address = entry.d_un.d_ptr < base ? base + entry.d_un.d_ptr : entry.d_un.d_ptr;
        if (entry.d_tag == DT_NULL)
            break;
        if (entry.d_tag == DT_SYMTAB)
            symbols->table = address;
        else if (entry.d_tag == DT_STRTAB)
            symbols->names = address;
        else if (entry.d_tag == DT_STRSZ)
            symbols->names_bytes = entry.d_un.d_val;
    }
    return symbols->table != 0 && symbols->names > symbols->table && symbols->names_bytes > 0 &&
           symbols->names - symbols->table + symbols->names_bytes < SYMBOLS_BYTES_MOST;
}

static bool find_symbols(pid_t pid, uint64_t base, struct symbols *symbols)
{
    ElfW(Ehdr) header;
    if (target_read(pid, base, &header, sizeof(header)) != 0 ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    for (unsigned i = 0; i < header.e_phnum && i < 64; i++) {
        ElfW(Phdr) segment;
        uint64_t at = base + header.e_phoff + i * sizeof(segment);
        if (target_read(pid, at, &segment, sizeof(segment)) != 0)
            return false;
        if (segment.p_type == PT_DYNAMIC)
            return read_dynamic(pid, base, base + segment.p_vaddr, symbols);
    }
    return false;
}

/** Where a variable lies; 0: there is none of this name. Symbols come before their names. */
static uint64_t find_symbol(pid_t pid, uint64_t base, const struct symbols *symbols,
                            const char *wanted)
{
    uint64_t found = 0;
    size_t table_bytes = symbols->names - symbols->table;
    size_t bytes = table_bytes + symbols->names_bytes;
    char *copy = malloc(bytes + 1);
    if (copy != NULL && target_read(pid, symbols->table, copy, bytes) == 0) {
        copy[bytes] = '\0';
        const ElfW(Sym) *table = (const void *)copy;
        for (size_t i = 0; i < table_bytes / sizeof(*table) && found == 0; i++)
            if (table[i].st_name < symbols->names_bytes && table[i].st_shndx != SHN_UNDEF &&
                strcmp(copy + table_bytes + table[i].st_name, wanted) == 0)
                found = base + table[i].st_value;
    }
    free(copy);
    return found;
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

static int read_pointer(struct target *target, uint64_t base)
{
    struct symbols symbols;
    uint64_t layout = 0, probe;
    int error = target_read(target->pid, base, &probe, sizeof(probe));
    if (error == -EPERM || error == -EACCES) {
        complain_not_permitted(target->pid, -error);
        return EXIT_NOT_PERMITTED;
    }
    uint64_t mm_at = 0, layout_at = 0;
    if (find_symbols(target->pid, base, &symbols)) {
        mm_at = find_symbol(target->pid, base, &symbols, "qy_malloc_mm");
        layout_at = find_symbol(target->pid, base, &symbols, "qy_malloc_layout");
    }
    if (mm_at == 0 || layout_at == 0 ||
        target_read(target->pid, layout_at, &layout, sizeof(layout)) != 0 ||
        layout != QY_MALLOC_LAYOUT) {
        complain("process %d (%s): its Quarry is of another version", (int)target->pid,
                 target->name);
        return EXIT_FAILED;
    }
    if (target_read(target->pid, mm_at, &target->mm, sizeof(target->mm)) != 0 || target->mm == 0) {
        complain("process %d (%s) has not taken memory from Quarry yet", (int)target->pid,
                 target->name);
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

int target_find(struct target *target, pid_t pid)
{
    *target = (struct target){.pid = pid};
    if (kill(pid, 0) != 0 && errno == ESRCH) {
        complain("there is no process %d", (int)pid);
        return EXIT_NO_PROCESS;
    }
    read_name(target);
    struct glance glance;
    if (procfs_glance(pid, &glance) && glance.is_dead) {
        complain("process %d (%s) has ended", (int)pid, target->name);
        return EXIT_NO_PROCESS;
    }
    FILE *maps = open_proc(pid, "maps");
    int error = maps == NULL ? errno : 0;
    uint64_t base = maps == NULL ? 0 : library_base(maps);
    if (maps != NULL && base == 0 && ferror(maps))
        error = errno;
    if (maps != NULL)
        fclose(maps);
    if (error == EACCES || error == EPERM) {
        complain_not_permitted(pid, error);
        return EXIT_NOT_PERMITTED;
    }
    if (base == 0) {
        complain(
            "process %d (%s) does not run on Quarry; start it with 'quarry run', or link it with "
            "quarry-whole",
            (int)pid, target->name);
        return EXIT_NOT_QUARRY;
    }
    return read_pointer(target, base);
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
