/*
 * file.c - qy_linux_file_open(): a path is what a cached file is read from and written to
 *
 * WHAT    preadv(2) and pwritev(2) of the frames themselves, ftruncate(2), fsync(2). What is said
 *         to be written is written whole: a short pwritev is gone on with.
 *
 * LOCKS   none: a descriptor, and offsets that are handed in.
 *
 * COST    A system call for a batch of pages.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "memory/fault.h"

#include <quarry/cache.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_PIECES 128u
#define NAME_BYTES 32

static int fd_of(void *cookie)
{
    return (int)(intptr_t)cookie;
}

/** So many bytes of the pieces are done: what is left of them. Returns how many there are. */
static unsigned advance(struct iovec *pieces, unsigned count, size_t done)
{
    unsigned gone = 0;
    while (gone < count && done >= pieces[gone].iov_len)
        done -= pieces[gone++].iov_len;
    memmove(pieces, pieces + gone, (count - gone) * sizeof(*pieces));
    if (gone < count && done > 0) {
        pieces[0].iov_base = (char *)pieces[0].iov_base + done;
        pieces[0].iov_len -= done;
    }
    return count - gone;
}

typedef ssize_t (*transfer)(int, const struct iovec *, int, off_t);

/** All of it, or to the end of the file, or up to an error. */
static int64_t transfer_all(transfer call, int fd, uint64_t offset, const struct qy_piece *from,
                            unsigned count)
{
    struct iovec pieces[MOST_PIECES];
    int saved = errno;
    int64_t done = 0;
    if (count > MOST_PIECES)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++)
        pieces[i] = (struct iovec){from[i].base, from[i].bytes};
    while (count > 0) {
        ssize_t part = call(fd, pieces, (int)count, (off_t)offset + done);
        int code = errno;
        errno = saved;
        if (part < 0 && code == EINTR)
            continue;
        if (part < 0)
            return -code;
        if (part == 0)
            break;
        done += part;
        count = advance(pieces, count, (size_t)part);
    }
    return done;
}

static int64_t read_pieces(void *cookie, uint64_t offset, const struct qy_piece *pieces,
                           unsigned count)
{
    return transfer_all(preadv, fd_of(cookie), offset, pieces, count);
}

static int64_t write_pieces(void *cookie, uint64_t offset, const struct qy_piece *pieces,
                            unsigned count)
{
    return transfer_all(pwritev, fd_of(cookie), offset, pieces, count);
}

static int64_t read_one(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    const struct qy_piece piece = {buffer, bytes};
    return read_pieces(cookie, offset, &piece, 1);
}

static int64_t write_one(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    const struct qy_piece piece = {(void *)(uintptr_t)buffer, bytes};
    return write_pieces(cookie, offset, &piece, 1);
}

static int sync_file(void *cookie)
{
    int saved = errno;
    int code = fsync(fd_of(cookie)) == 0 ? 0 : -errno;
    errno = saved;
    return code == -EINVAL || code == -EROFS ? 0 : code; /* what has no durable storage */
}

static int truncate_file(void *cookie, uint64_t bytes)
{
    int saved = errno;
    int code = ftruncate(fd_of(cookie), (off_t)bytes) == 0 ? 0 : -errno;
    errno = saved;
    return code;
}

static void close_file(void *cookie)
{
    int saved = errno;
    close(fd_of(cookie));
    errno = saved;
}

static const struct qy_file_ops read_ops = {
    .read = read_one,
    .readv = read_pieces,
    .writev = write_pieces,
    .close = close_file,
};

static const struct qy_file_ops write_ops = {
    .read = read_one,
    .write = write_one,
    .readv = read_pieces,
    .writev = write_pieces,
    .sync = sync_file,
    .truncate = truncate_file,
    .close = close_file,
};

/** The end of a path, as far as a name has room. */
static void name_of(const char *path, char name[NAME_BYTES])
{
    const char *last = strrchr(path, '/');
    last = last != NULL && last[1] != '\0' ? last + 1 : path;
    strncpy(name, last, NAME_BYTES - 1);
    name[NAME_BYTES - 1] = '\0';
}

struct qy_file *qy_linux_file_open(struct qy_mm *mm, const char *path, int flags,
                                   struct qy_error *error)
{
    char name[NAME_BYTES];
    struct stat stat;
    int saved = errno;
    if (qy_port_inherited(mm)) { /* not even opened: flags may say O_TRUNC */
        qy_error_set(error, -ENOTSUP, QY_INHERITED, UINT64_MAX, "");
        return NULL;
    }
    int fd = open(path, (flags & ~O_APPEND) | O_CLOEXEC, 0666); /* each write says where */
    if (fd < 0 || fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode)) {
        int code = fd >= 0 && S_ISDIR(stat.st_mode) ? EISDIR : fd >= 0 ? EINVAL : errno;
        qy_error_set(error, -code, "cannot be cached: ", UINT64_MAX, path);
        if (fd >= 0)
            close(fd);
        errno = saved;
        return NULL;
    }
    name_of(path, name);
    bool writes = (flags & O_ACCMODE) == O_RDWR;
    struct qy_file *file = qy_file_create(mm, name, writes ? &write_ops : &read_ops,
                                          (void *)(intptr_t)fd, (uint64_t)stat.st_size, error);
    if (file == NULL)
        close(fd);
    errno = saved;
    return file;
}
