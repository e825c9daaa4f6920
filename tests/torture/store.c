/*
 * store.c - backings of cached files
 */
#include "store.h"

#include "torture.h"

#include <quarry/linux.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/** Of so many calls one fails. */
#define FAILS_ONE_IN 64

static bool fails(struct store *store)
{
    struct random random = {world.seed + atomic_fetch_add(&store->calls, 1)};
    return store->fails && random_one_in(&random, FAILS_ONE_IN);
}

static int64_t read_array(void *cookie, uint64_t offset, void *buffer, size_t bytes)
{
    struct store *store = cookie;
    uint64_t length = store->length;
    if (fails(store))
        return -EIO;
    if (offset >= length)
        return 0;
    bytes = bytes < length - offset ? bytes : length - offset;
    memcpy(buffer, store->bytes + offset, bytes);
    return (int64_t)bytes;
}

static int64_t write_array(void *cookie, uint64_t offset, const void *buffer, size_t bytes)
{
    struct store *store = cookie;
    bool cut = fails(store);
    if (cut && fails(store))
        return -EIO;
    if (offset + bytes > STORE_BYTES)
        test_fail("a write-back at %llu, where nobody wrote", (unsigned long long)offset);
    bytes = cut ? bytes / 2 : bytes;
    memcpy(store->bytes + offset, buffer, bytes);
    uint64_t length = store->length;
    while (length < offset + bytes &&
           !atomic_compare_exchange_weak(&store->length, &length, offset + bytes))
        ;
    return (int64_t)bytes;
}

static int truncate_array(void *cookie, uint64_t bytes)
{
    struct store *store = cookie;
    uint64_t length = store->length;
    if (fails(store))
        return -EIO;
    if (bytes < length)
        memset(store->bytes + bytes, 0, length - bytes);
    store->length = bytes;
    return 0;
}

static int sync_array(void *cookie)
{
    return fails(cookie) ? -EIO : 0;
}

static const struct qy_file_ops array_ops = {
    .read = read_array, .write = write_array, .sync = sync_array, .truncate = truncate_array};

struct qy_file *store_open(struct store *store, struct qy_mm *mm, const char *name, bool array)
{
    struct qy_error error = {0};
    struct qy_file *file;
    if (array) {
        store->bytes = calloc(1, STORE_BYTES);
        store->length = 0;
        file = qy_file_create(mm, name, &array_ops, store, 0, &error);
    } else {
        snprintf(store->path, sizeof(store->path), "/tmp/quarry-%s-%d", name, (int)getpid());
        file = qy_linux_file_open(mm, store->path, O_RDWR | O_CREAT | O_TRUNC, &error);
    }
    if (file == NULL)
        test_fail("%s: %s", name, error.text);
    return file;
}

void store_peek(const struct store *store, uint64_t offset, void *buffer, size_t bytes)
{
    memset(buffer, 0, bytes);
    if (store->bytes != NULL) {
        memcpy(buffer, store->bytes + offset, bytes);
        return;
    }
    int fd = open(store->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, buffer, bytes, (off_t)offset) < 0)
        test_fail("%s cannot be read", store->path);
    close(fd);
}

void store_remove(struct store *store)
{
    if (store->bytes == NULL)
        unlink(store->path);
    free(store->bytes);
    *store = (struct store){.bytes = NULL};
}
