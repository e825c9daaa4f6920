/*
 * backing.h - an array that cached files are read from and written to, and that fails when told to
 */
#ifndef QUARRY_TESTS_BACKING_H
#define QUARRY_TESTS_BACKING_H

#include "memory.h"

#include <quarry/cache.h>

#include <errno.h>
#include <string.h>

#define BACKING_MOST (4 * MIB)

struct backing {
    unsigned char bytes[BACKING_MOST];
    uint64_t length;
    uint64_t reads, writes, syncs, closes; /* calls */
    uint64_t fail_read, fail_write;        /* the nth call from now fails; 0: none */
    uint64_t bad_from, bad_to;             /* pages that cannot be read, nor written */
    int error;
};

static inline bool backing_fails(const struct backing *backing, uint64_t *countdown,
                                 uint64_t offset, size_t bytes)
{
    if (*countdown > 0 && --*countdown == 0)
        return true;
    return offset < backing->bad_to * PAGE && offset + bytes > backing->bad_from * PAGE;
}

static inline int64_t backing_read(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    struct backing *backing = cookie;
    backing->reads++;
    if (backing_fails(backing, &backing->fail_read, offset, bytes))
        return -(backing->error ? backing->error : EIO);
    if (offset >= backing->length)
        return 0;
    if (bytes > backing->length - offset)
        bytes = backing->length - offset;
    memcpy(buffer, backing->bytes + offset, bytes);
    return (int64_t)bytes;
}

static inline int64_t backing_write(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    struct backing *backing = cookie;
    backing->writes++;
    if (backing_fails(backing, &backing->fail_write, offset, bytes))
        return -(backing->error ? backing->error : EIO);
    if (offset + bytes > BACKING_MOST)
        return -ENOSPC;
    if (offset > backing->length)
        memset(backing->bytes + backing->length, 0, offset - backing->length);
    memcpy(backing->bytes + offset, buffer, bytes);
    if (offset + bytes > backing->length)
        backing->length = offset + bytes;
    return (int64_t)bytes;
}

static inline int backing_truncate(void *cookie, uint64_t bytes)
{
    struct backing *backing = cookie;
    if (bytes > BACKING_MOST)
        return -ENOSPC;
    if (bytes > backing->length)
        memset(backing->bytes + backing->length, 0, bytes - backing->length);
    backing->length = bytes;
    return 0;
}

static inline int backing_sync(void *cookie)
{
    struct backing *backing = cookie;
    backing->syncs++;
    return 0;
}

static inline void backing_close(void *cookie)
{
    struct backing *backing = cookie;
    backing->closes++;
}

static const struct qy_file_ops backing_ops = {
    .read = backing_read,
    .write = backing_write,
    .sync = backing_sync,
    .close = backing_close,
    .truncate = backing_truncate,
};

/** Byte i of page p of an array that says where it is. */
static inline void backing_fill(struct backing *backing, uint64_t bytes)
{
    backing->length = bytes;
    for (uint64_t i = 0; i < bytes; i++)
        backing->bytes[i] = (unsigned char)(i / PAGE * 31 + i % 251);
}

#endif
