/*
 * snapshot.h - a memory's views as bytes
 *
 * WHAT    What a lens shows, written down: to look at later, from another process, or from
 *         a report file. A header, then records of kind, length and a view as it lies in
 *         memory, then an end mark: what lacks it was cut off. For the same machine and the
 *         same build; the header tells.
 */
#ifndef QY_VIEW_SNAPSHOT_H
#define QY_VIEW_SNAPSHOT_H

#include "view/lens.h"

/** A kind of record besides the views' own: of nothing, the last. */
#define QY_RECORD_END 101u

/** Where the bytes go. put returns 0 or a negative errno, which ends the writing. */
struct qy_sink {
    void *to;
    int (*put)(void *to, const void *bytes, size_t length);
};

/** The header, with which a snapshot begins. 0 or what put said. */
QY_MUST_CHECK int qy_snapshot_begin(const struct qy_sink *sink);
/** All that the lens shows, without header and end. */
QY_MUST_CHECK int qy_snapshot_views(const struct qy_sink *sink, const struct qy_lens *lens);
QY_MUST_CHECK int qy_snapshot_end(const struct qy_sink *sink);

/** A snapshot as it lies in memory, aligned to 8. */
struct qy_snapshot {
    const unsigned char *bytes;
    size_t length;
};

/** 0, or -EINVAL: not a snapshot, of another build, or cut off. */
QY_MUST_CHECK int qy_snapshot_check(const struct qy_snapshot *snapshot);
/** A lens upon a checked snapshot; it keeps the pointer. */
struct qy_lens qy_snapshot_lens(const struct qy_snapshot *snapshot);

#endif
