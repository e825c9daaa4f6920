/*
 * needs.c - whether a program was linked with a library
 *
 * libquarry-whole.so brings a malloc of its own. Were libquarry-malloc.so preloaded before it, the
 * program's heap and what it makes in qy_malloc_memory() would be two memories.
 */
#include "tool.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** The file that execvp(3) would run; negative: there is none that could be read. */
static int open_program(const char *name)
{
    const char *path = strchr(name, '/') != NULL ? NULL : getenv("PATH");
    char file[PATH_MAX];
    if (path == NULL)
        return open(name, O_RDONLY | O_CLOEXEC);
    for (size_t length; *path != '\0'; path += length + (path[length] == ':')) {
        length = strcspn(path, ":");
        snprintf(file, sizeof(file), "%.*s/%s", (int)length, length == 0 ? "." : path, name);
        if (access(file, X_OK) == 0)
            return open(file, O_RDONLY | O_CLOEXEC);
    }
    return -1;
}

static bool read_at(int file, uint64_t offset, void *to, size_t bytes)
{
    return pread(file, to, bytes, (off_t)offset) == (ssize_t)bytes;
}

/** The offset in the file of what lies at an address; 0: it is not in the file. */
static uint64_t offset_of(const ElfW(Phdr) * segments, size_t count, uint64_t address)
{
    for (size_t s = 0; s < count; s++)
        if (segments[s].p_type == PT_LOAD && address - segments[s].p_vaddr < segments[s].p_filesz)
            return segments[s].p_offset + (address - segments[s].p_vaddr);
    return 0;
}

static bool name_is(int file, uint64_t offset, const char *library)
{
    char name[256] = "";
    size_t length = strlen(library);
    return pread(file, name, sizeof(name) - 1, (off_t)offset) > 0 &&
           strncmp(name, library, length) == 0 && (name[length] == '\0' || name[length] == '.');
}

/** The dynamic section names libraries by offsets into a table of strings. */
static bool dynamic_names(int file, const ElfW(Phdr) * segments, size_t count, uint64_t offset,
                          const char *library)
{
    ElfW(Dyn) entries[128];
    ssize_t bytes = pread(file, entries, sizeof(entries), (off_t)offset);
    size_t nr = bytes > 0 ? (size_t)bytes / sizeof(entries[0]) : 0;
    uint64_t strings = 0;
    for (size_t i = 0; i < nr && entries[i].d_tag != DT_NULL; i++)
        if (entries[i].d_tag == DT_STRTAB)
            strings = offset_of(segments, count, entries[i].d_un.d_ptr);
    for (size_t i = 0; strings != 0 && i < nr && entries[i].d_tag != DT_NULL; i++)
        if (entries[i].d_tag == DT_NEEDED &&
            name_is(file, strings + entries[i].d_un.d_val, library))
            return true;
    return false;
}

bool program_needs(const char *program, const char *library)
{
    ElfW(Ehdr) header;
    ElfW(Phdr) segments[32];
    bool needs = false;
    int file = open_program(program);
    if (file < 0)
        return false;
    if (read_at(file, 0, &header, sizeof(header)) && memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
        header.e_phentsize == sizeof(segments[0]) && header.e_phnum <= 32 &&
        read_at(file, header.e_phoff, segments, header.e_phnum * sizeof(segments[0])))
        for (size_t s = 0; s < header.e_phnum && !needs; s++)
            needs = segments[s].p_type == PT_DYNAMIC &&
                    dynamic_names(file, segments, header.e_phnum, segments[s].p_offset, library);
    close(file);
    return needs;
}
