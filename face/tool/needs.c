/*
 * needs.c - what a file says of how it is loaded
 *
 * libquarry-whole.so brings a malloc of its own. Were libquarry-malloc.so preloaded before it, the
 * program's heap and what it makes in qy_malloc_memory() would be two memories.
 *
 * Some programs load nothing that is preloaded: then no setting of Quarry's holds for them.
 */
#include "tool.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/** An ELF file, open. */
struct image {
    int file; /* negative: it cannot be read, or is none */
    ElfW(Ehdr) header;
    ElfW(Phdr) segments[32]; /* of one of this machine's word */
    size_t count;
};

static bool read_at(int file, uint64_t offset, void *to, size_t bytes)
{
    return pread(file, to, bytes, (off_t)offset) == (ssize_t)bytes;
}

static struct image open_image(int file)
{
    struct image image = {.file = file};
    ElfW(Ehdr) *header = &image.header;
    bool is_elf = file >= 0 && read_at(file, 0, header, sizeof(*header)) &&
                  memcmp(header->e_ident, ELFMAG, SELFMAG) == 0;
    if (file >= 0 && !is_elf) {
        close(file);
        image.file = -1;
    }
    if (is_elf && header->e_phentsize == sizeof(image.segments[0]) && header->e_phnum <= 32 &&
        read_at(file, header->e_phoff, image.segments, header->e_phnum * sizeof(image.segments[0])))
        image.count = header->e_phnum;
    return image;
}

static void close_image(const struct image *image)
{
    if (image->file >= 0)
        close(image->file);
}

/** The first of this type; image->count: it has none. */
static size_t segment_of(const struct image *image, uint32_t type)
{
    size_t s = 0;
    while (s < image->count && image->segments[s].p_type != type)
        s++;
    return s;
}

/** The offset in the file of what lies at an address; 0: it is not in the file. */
static uint64_t offset_of(const struct image *image, uint64_t address)
{
    for (size_t s = 0; s < image->count; s++) {
        const ElfW(Phdr) *segment = &image->segments[s];
        if (segment->p_type == PT_LOAD && address - segment->p_vaddr < segment->p_filesz)
            return segment->p_offset + (address - segment->p_vaddr);
    }
    return 0;
}

static bool name_is(const struct image *image, uint64_t offset, const char *library)
{
    char name[256] = "";
    size_t length = strlen(library);
    return pread(image->file, name, sizeof(name) - 1, (off_t)offset) > 0 &&
           strncmp(name, library, length) == 0 && (name[length] == '\0' || name[length] == '.');
}

/** Has its dynamic section such an entry of this name? It gives names by offsets into a table. */
static bool has_name(const struct image *image, int64_t tag, const char *library)
{
    ElfW(Dyn) entries[128];
    size_t dynamic = segment_of(image, PT_DYNAMIC);
    ssize_t bytes = dynamic == image->count ? 0
                                            : pread(image->file, entries, sizeof(entries),
                                                    (off_t)image->segments[dynamic].p_offset);
    size_t nr = bytes > 0 ? (size_t)bytes / sizeof(entries[0]) : 0;
    uint64_t strings = 0;
    for (size_t i = 0; i < nr && entries[i].d_tag != DT_NULL; i++)
        if (entries[i].d_tag == DT_STRTAB)
            strings = offset_of(image, entries[i].d_un.d_ptr);
    for (size_t i = 0; strings != 0 && i < nr && entries[i].d_tag != DT_NULL; i++)
        if (entries[i].d_tag == tag && name_is(image, strings + entries[i].d_un.d_val, library))
            return true;
    return false;
}

bool program_needs(const char *program, const char *library)
{
    struct image image = open_image(open_program(program));
    bool needs = image.file >= 0 && has_name(&image, DT_NEEDED, library);
    close_image(&image);
    return needs;
}

bool library_is(const char *path, const char *name)
{
    struct image image = open_image(open(path, O_RDONLY | O_CLOEXEC));
    bool is = image.file >= 0 && has_name(&image, DT_SONAME, name);
    close_image(&image);
    return is;
}

const char *program_loads_nothing(const char *program)
{
    struct image image = open_image(open_program(program));
    const char *why = NULL;
    struct stat status;
    if (image.file < 0 || fstat(image.file, &status) != 0)
        why = NULL;
    else if (image.header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
        why = "built for another word size";
    else if (image.count > 0 && segment_of(&image, PT_INTERP) == image.count)
        why = "linked statically";
    else if (((status.st_mode & S_ISUID) && status.st_uid != geteuid()) ||
             ((status.st_mode & S_ISGID) && status.st_gid != getegid()))
        why = "set-user-ID or set-group-ID";
    close_image(&image);
    return why;
}
