/*
 * snapshot.c - a memory's views as bytes
 *
 * WHAT    [header][kind length view][kind length view] ... [end]
 *
 * RULES   none of the memory's. A reader trusts no length: each record is checked to lie
 *         within the bytes before it is looked at.
 *
 * LOCKS   none; writing reads through the lens.
 *
 * COST    Finding a record is a walk over all of them: some hundreds.
 */
#include "view/snapshot.h"
#include "base/errno.h"

struct header {
    char magic[8];
    uint64_t version;
    uint64_t view_bytes; /* of all the views together: another build has another sum */
};

struct record {
    uint32_t kind;
    uint32_t length;
};

static const struct header this_build = {
    .magic = "quarry\n",
    .version = 1,
    .view_bytes = sizeof(struct qy_zone_view) + sizeof(struct qy_pageset_view) +
                  sizeof(struct qy_cache_view) + sizeof(struct qy_item_view) +
                  sizeof(struct qy_memory_view) + sizeof(struct qy_region_view),
};

union any_view {
    struct qy_memory_view memory;
    struct qy_zone_view zone;
    struct qy_pageset_view pageset;
    struct qy_cache_view cache;
    struct qy_item_view item;
    struct qy_region_view region;
};

_Static_assert(offsetof(struct qy_zone_view, name) == 0 &&
                   offsetof(struct qy_cache_view, name) == 0 &&
                   offsetof(struct qy_item_view, name) == 0 &&
                   offsetof(struct qy_region_view, name) == 0,
               "names first");

static const size_t view_bytes[] = {
    [QY_VIEW_MEMORY] = sizeof(struct qy_memory_view),
    [QY_VIEW_ZONE] = sizeof(struct qy_zone_view),
    [QY_VIEW_PAGESET] = sizeof(struct qy_pageset_view),
    [QY_VIEW_CACHE] = sizeof(struct qy_cache_view),
    [QY_VIEW_ITEM] = sizeof(struct qy_item_view),
    [QY_VIEW_REGION] = sizeof(struct qy_region_view),
};

int qy_snapshot_begin(const struct qy_sink *sink)
{
    return sink->put(sink->to, &this_build, sizeof(this_build));
}

static int put_record(const struct qy_sink *sink, uint32_t kind, const void *view, size_t length)
{
    struct record record = {.kind = kind, .length = (uint32_t)length};
    int error = sink->put(sink->to, &record, sizeof(record));
    if (error == 0 && length > 0)
        error = sink->put(sink->to, view, length);
    return error;
}

int qy_snapshot_end(const struct qy_sink *sink)
{
    return put_record(sink, QY_RECORD_END, NULL, 0);
}

int qy_snapshot_views(const struct qy_sink *sink, const struct qy_lens *lens)
{
    union any_view view;
    for (unsigned kind = QY_VIEW_MEMORY; kind < QY_VIEW_KINDS_END; kind++) {
        for (size_t i = 0; lens->look(lens->from, kind, i, &view); i++) {
            int error = put_record(sink, kind, &view, view_bytes[kind]);
            if (error != 0)
                return error;
        }
    }
    return 0;
}

/** The record at *at, and *at moved behind it; NULL where no whole record lies. */
static const struct record *next_record(const struct qy_snapshot *snapshot, size_t *at)
{
    if (*at > snapshot->length || snapshot->length - *at < sizeof(struct record))
        return NULL;
    const struct record *record = (const void *)(snapshot->bytes + *at);
    size_t room = snapshot->length - *at - sizeof(*record);
    if (record->length > room || record->length % sizeof(uint64_t) != 0)
        return NULL;
    *at += sizeof(*record) + record->length;
    return record;
}

int qy_snapshot_check(const struct qy_snapshot *snapshot)
{
    if (snapshot->length < sizeof(struct header) ||
        __builtin_memcmp(snapshot->bytes, &this_build, sizeof(this_build)) != 0)
        return -QY_EINVAL;
    size_t at = sizeof(struct header);
    const struct record *record;
    do {
        record = next_record(snapshot, &at);
        if (record == NULL)
            return -QY_EINVAL;
    } while (record->kind != QY_RECORD_END);
    return 0;
}

/** The index-th record of a kind, or NULL; @length is what such a record must have. */
static const void *find(const struct qy_snapshot *snapshot, uint32_t kind, size_t index,
                        size_t length)
{
    size_t at = sizeof(struct header);
    const struct record *record;
    while ((record = next_record(snapshot, &at)) != NULL) {
        if (record->kind != kind)
            continue;
        if (index == 0)
            return record->length == length ? (const void *)(record + 1) : NULL;
        index--;
    }
    return NULL;
}

static bool look(const void *from, enum qy_view_kind kind, size_t index, void *view)
{
    const void *found = find(from, kind, index, view_bytes[kind]);
    if (found == NULL)
        return false;
    __builtin_memcpy(view, found, view_bytes[kind]);
    if (kind != QY_VIEW_MEMORY && kind != QY_VIEW_PAGESET)
        ((char *)view)[QY_VIEW_NAME - 1] = '\0'; /* the name comes first in each */
    return true;
}

struct qy_lens qy_snapshot_lens(const struct qy_snapshot *snapshot)
{
    return (struct qy_lens){.from = snapshot, .look = look};
}
