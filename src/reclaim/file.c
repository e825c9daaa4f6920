/*
 * file.c - a file begins and ceases to be cached
 *
 * WHAT    A struct qy_file is kmalloc'd, on the memory's list of files. When it is closed and no
 *         area has pages of it, its pages go, then those are waited for who came to it through one
 *         of its folios.
 *
 * RULES   L2  in base/grace.h: nobody finds the file once it is closed.
 *         W2  in vmscan.h; W7 in file.h.
 *
 * LOCKS   mapping.lock; vmscan->lock for the list.
 *
 * COST    Cold.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "base/text.h"
#include "memory/fault.h"
#include "reclaim/file.h"

#include <quarry/slab.h>

static size_t length_of(const char *name)
{
    size_t length = 0;
    while (name != NULL && length < QY_MAPPING_NAME && name[length] != '\0')
        length++;
    return length;
}

static void enlist(struct qy_file *file)
{
    struct qy_vmscan *vmscan = file->vmscan;
    qy_lock(&vmscan->lock);
    file->number = ++vmscan->file_numbers;
    qy_list_add_tail(&vmscan->files, &file->link);
    qy_unlock(&vmscan->lock);
}

struct qy_file *qy_file_create(struct qy_mm *mm, const char *name, const struct qy_file_ops *ops,
                               void *cookie, uint64_t bytes, struct qy_error *error)
{
    size_t length = length_of(name);
    if (qy_port_inherited(mm))
        return qy_refused(error, -QY_ENOTSUP, QY_INHERITED, UINT64_MAX);
    if (length == 0 || length >= QY_MAPPING_NAME)
        return qy_refused(error, -QY_EINVAL, "a file's name has 1 .. 31 bytes, not ", length);
    if (ops == NULL || ops->read == NULL || (ops->readv == NULL) != (ops->writev == NULL))
        return qy_refused(error, -QY_EINVAL,
                          "file: read() is missing, or one of readv() and writev()", UINT64_MAX);
    if (bytes > QY_FILE_MOST_BYTES)
        return qy_refused(error, -QY_EINVAL, "a file of more than 16 TiB: ", bytes);
    if (mm->folios == NULL || mm->small_bytes == 0)
        return qy_refused(error, -QY_ENOTSUP,
                          "file: the memory was not made with options.movable, or is out of reach",
                          UINT64_MAX);
    struct qy_vmscan *vmscan = qy_vmscan_of(mm);
    struct qy_file *file =
        vmscan != NULL ? qy_kmalloc(mm, sizeof(*file), QY_GFP_KERNEL | QY_GFP_ZERO) : NULL;
    if (file == NULL)
        return qy_refused(error, -QY_ENOMEM, "no memory for a file", UINT64_MAX);
    *file = (struct qy_file){.ops = *ops, .cookie = cookie, .vmscan = vmscan, .bytes = bytes};
    file->cut = UINT64_MAX;
    file->last_page = UINT32_MAX;
    file->users = 1;
    qy_list_init(&file->mappers);
    file->mapping.ops = &qy_file_mapping_ops;
    file->mapping.mm = mm;
    __builtin_memcpy(file->mapping.name, name, length + 1);
    qy_lock_init(&file->mapping.lock, QY_RANK_FILE);
    enlist(file);
    return file;
}

/** What could not be written is lost: nothing is dirty. */
static void discard(struct qy_file *file)
{
    qy_lock(&file->mapping.lock);
    int code = qy_file_unmap(file, 0, UINT64_MAX);
    qy_assert(code == 0, "W7"); /* no area has a page */
    (void)code;
    qy_file_remove_from(file, 0);
    qy_assert(file->nr_pages == 0 && file->nr_dirty == 0, "W2");
    qy_unlock(&file->mapping.lock);
}

/** Nobody uses the file any more, and what could be written is. */
static void end(struct qy_file *file)
{
    struct qy_mm *mm = file->mapping.mm;
    discard(file);
    qy_lock(&file->vmscan->lock);
    qy_list_remove(&file->link);
    qy_unlock(&file->vmscan->lock);
    qy_grace_wait(&mm->grace);
    qy_index_free(mm, &file->index);
    if (file->ops.close != NULL)
        file->ops.close(file->cookie);
    qy_kfree(mm, file);
}

/** True: it was the last. */
static bool leave(struct qy_file *file)
{
    qy_lock(&file->mapping.lock);
    bool last = --file->users == 0;
    qy_unlock(&file->mapping.lock);
    return last;
}

/** The handle was closed long ago: nobody else can be told. */
static void say_lost(const struct qy_file *file, int code)
{
    char line[160];
    struct qy_text text;
    qy_text_init(&text, line, sizeof(line));
    qy_text_string(&text, "quarry: file ");
    qy_text_string(&text, file->mapping.name);
    qy_text_string(&text, ": its last area went, and what was written there is lost: error ");
    qy_text_u64(&text, (uint64_t)-code);
    qy_text_char(&text, '\n');
    qy_text_report(&text);
}

void qy_file_put(struct qy_file *file)
{
    if (!leave(file))
        return;
    int code = qy_file_sync(file);
    if (code != 0)
        say_lost(file, code);
    end(file);
}

int qy_file_close(struct qy_file *file)
{
    if (qy_port_inherited(file))
        return -QY_ENOTSUP;
    qy_lock(&file->mapping.lock);
    bool pinned = file->nr_pinned != 0;
    qy_unlock(&file->mapping.lock);
    if (pinned)
        return -QY_EBUSY;
    int code = qy_file_sync(file);
    if (leave(file))
        end(file);
    return code;
}

void qy_file_stat(struct qy_file *file, struct qy_file_stat *stat)
{
    *stat = (struct qy_file_stat){0};
    if (qy_port_inherited(file))
        return;
    qy_lock(&file->mapping.lock);
    *stat = (struct qy_file_stat){
        .pages = file->nr_pages,
        .dirty = file->nr_dirty,
        .pinned = file->nr_pinned,
        .hits = file->hits,
        .misses = file->misses,
        .readahead = file->readahead,
        .written = file->written,
        .errors = file->errors,
    };
    qy_unlock(&file->mapping.lock);
}
