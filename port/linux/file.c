/*
 * file.c - qy_linux_file_open(): a path is what a cached file is read from and written to
 *
 * WHAT    preadv(2) and pwritev(2) of the frames themselves, ftruncate(2), fsync(2). What is said
 *         to be written is written whole: a short pwritev is gone on with.
 *
 *         With O_DIRECT whole pages go past the host's cache. What is less, the end of the file,
 *         cannot, for that takes whole blocks of the disk: it goes by a second descriptor. (The
 *         host writes it back before it reads or writes the block past its cache: open(2).)
 *
 * LOCKS   none: descriptors, and offsets that are handed in.
 *
 * COST    A system call for a batch of pages.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "memory/fault.h"
#include "memory/mm.h"

#include <quarry/cache.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_PIECES 128u
#define NAME_BYTES 32

/** Of one file; in a cookie. The same one twice but with O_DIRECT. */
struct fds {
    int plain, direct;
};

_Static_assert(sizeof(struct fds) == sizeof(void *), "a cookie holds both");

static struct fds fds_of(void *cookie)
{
    struct fds fds;
    memcpy(&fds, &cookie, sizeof(fds));
    return fds;
}

static void *cookie_of(struct fds fds)
{
    void *cookie;
    memcpy(&cookie, &fds, sizeof(cookie));
    return cookie;
}

static void close_both(struct fds fds)
{
    if (fds.direct != fds.plain)
        close(fds.direct);
    close(fds.plain);
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

/** So much of it as one call of the host moves: whole pages in their place, or the rest. */
static ssize_t transfer_some(transfer call, struct fds fds, struct iovec *pieces, unsigned count,
                             uint64_t offset)
{
    if (fds.direct == fds.plain)
        return call(fds.plain, pieces, (int)count, (off_t)offset);
    uint64_t bits = offset;
    size_t *last = &pieces[count - 1].iov_len, rest = *last % QY_PAGE_BYTES;
    for (unsigned i = 0; i < count; i++)
        bits |= (uintptr_t)pieces[i].iov_base | (i + 1 < count ? pieces[i].iov_len : 0);
    if (bits % QY_PAGE_BYTES != 0 || (count == 1 && *last == rest))
        return call(fds.plain, pieces, (int)count, (off_t)offset);
    *last -= rest;
    ssize_t done = call(fds.direct, pieces, (int)count - (*last == 0), (off_t)offset);
    *last += rest;
    return done;
}

/** All of it, or to the end of the file, or up to an error. */
static int64_t transfer_all(transfer call, void *cookie, uint64_t offset,
                            const struct qy_piece *from, unsigned count)
{
    struct iovec pieces[MOST_PIECES];
    int saved = errno;
    int64_t done = 0;
    if (count > MOST_PIECES)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++)
        pieces[i] = (struct iovec){from[i].base, from[i].bytes};
    while (count > 0) {
        ssize_t part = transfer_some(call, fds_of(cookie), pieces, count, offset + (uint64_t)done);
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
    return transfer_all(preadv, cookie, offset, pieces, count);
}

static int64_t write_pieces(void *cookie, uint64_t offset, const struct qy_piece *pieces,
                            unsigned count)
{
    return transfer_all(pwritev, cookie, offset, pieces, count);
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
    int code = fsync(fds_of(cookie).plain) == 0 ? 0 : -errno;
    errno = saved;
    return code == -EINVAL || code == -EROFS ? 0 : code; /* what has no durable storage */
}

static int truncate_file(void *cookie, uint64_t bytes)
{
    int saved = errno;
    int code = ftruncate(fds_of(cookie).plain, (off_t)bytes) == 0 ? 0 : -errno;
    errno = saved;
    return code;
}

static void close_file(void *cookie)
{
    int saved = errno;
    close_both(fds_of(cookie));
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

/** The same file without O_DIRECT. */
static int open_plainly(int fd, int flags)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, (flags & O_ACCMODE) | O_CLOEXEC);
}

/** 0, or an errno: none is open. */
static int open_both(const char *path, int flags, struct fds *fds, struct stat *stat)
{
    if ((flags & O_ACCMODE) == O_WRONLY)
        return EINVAL; /* a part of a page that is written has to be read first */
    int fd = open(path, (flags & ~O_APPEND) | O_CLOEXEC, 0666); /* each write says where */
    if (fd < 0)
        return errno;
    int code = fstat(fd, stat) != 0 ? errno : S_ISDIR(stat->st_mode) ? EISDIR : EINVAL;
    *fds = (struct fds){.plain = fd, .direct = fd};
    if (code == EINVAL && S_ISREG(stat->st_mode)) {
        fds->plain = flags & O_DIRECT ? open_plainly(fd, flags) : fd;
        code = fds->plain < 0 ? errno : 0;
    }
    if (code != 0)
        close(fd);
    return code;
}

struct qy_file *qy_linux_file_open(struct qy_mm *mm, const char *path, int flags,
                                   struct qy_error *error)
{
    char name[NAME_BYTES];
    struct stat stat = {.st_size = 0};
    struct fds fds = {-1, -1};
    int saved = errno;
    if (qy_port_inherited(mm)) /* not even opened: flags may say O_TRUNC */
        return qy_refused(error, -ENOTSUP, QY_INHERITED, UINT64_MAX);
    int code = open_both(path, flags, &fds, &stat);
    if (code != 0) {
        char why[96];
        snprintf(why, sizeof(why), "cannot be cached (%s): ", strerror(code));
        qy_error_set(error, -code, why, UINT64_MAX, path);
        errno = saved;
        return NULL;
    }
    name_of(path, name);
    bool writes = (flags & O_ACCMODE) == O_RDWR;
    struct qy_file *file = qy_file_create(mm, name, writes ? &write_ops : &read_ops, cookie_of(fds),
                                          (uint64_t)stat.st_size, error);
    if (file == NULL)
        close_both(fds);
    errno = saved;
    return file;
}
