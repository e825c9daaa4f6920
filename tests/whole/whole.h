/*
 * whole.h - what the programs of tests/whole share: a file whose pages say where they are from
 *
 * Each is linked with libquarry-whole.so, and run with QUARRY_LIMIT=64M QUARRY_CMA=16M,eager.
 */
#ifndef QUARRY_TESTS_WHOLE_H
#define QUARRY_TESTS_WHOLE_H

#include "../contract/contract.h"

#include <quarry/cache.h>
#include <quarry/linux.h>
#include <quarry/malloc.h>

#define LIMIT (64 * MIB)
#define PAGE ((size_t)4096)

/** The same file, to be read past the cache, in *fd. */
static struct qy_file *open_temporary(struct qy_mm *mm, int *fd)
{
    char path[] = "/tmp/quarry-whole.XXXXXX";
    struct qy_error error = {0};
    int own = mkstemp(path);
    EXPECT(own >= 0, "a temporary file");
    struct qy_file *file = qy_linux_file_open(mm, path, O_RDWR, &error);
    unlink(path);
    EXPECT(file != NULL, "to cache it: %s", error.text);
    if (fd != NULL)
        *fd = own;
    return file;
}

static void write_all(struct qy_file *file, size_t bytes, uint64_t generation)
{
    for (uint64_t at = 0; at < bytes; at += PAGE) {
        const uint64_t stamp[] = {generation, at};
        int64_t came = qy_file_write(file, stamp, sizeof(stamp), at);
        EXPECT(came == sizeof(stamp), "to write at %zu, came %d", (size_t)at, (int)came);
    }
}

static void read_all(struct qy_file *file, size_t bytes, uint64_t generation)
{
    for (uint64_t at = 0; at < bytes; at += PAGE) {
        uint64_t stamp[2] = {0};
        int64_t came = qy_file_read(file, stamp, sizeof(stamp), at);
        EXPECT(came == sizeof(stamp) || at + PAGE >= bytes, "to read at %zu, came %d", (size_t)at,
               (int)came);
        EXPECT(stamp[0] == generation && stamp[1] == at, "what was written at %zu", (size_t)at);
    }
}

#endif
