/*
 * quarry/cache.h - files in memory that gives way: page cache, shrinkers, pressure
 *
 * Pages of files stay in memory as long as nobody needs it more. Heap, objects, areas, buffers
 * and this cache share one limit (qy_mm_options.limit_pages): when another grows, the cache
 * gives way first, then other people's caches through their shrinkers, and only when nothing
 * more can be given up does an allocation fail.
 *
 * Needs an instance that was made with options.movable. In a child of fork(2) every call here fails
 * with -ENOTSUP, or does nothing: files and lists are the parent's.
 */
#ifndef QUARRY_CACHE_H
#define QUARRY_CACHE_H

#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qy_file;

/** A piece of memory, as struct iovec: one of those that lie one behind the other in a file. */
struct qy_piece {
    void *base;
    size_t bytes;
};

/**
 * Where a file's bytes are when they are not in memory. Each returns bytes, or a negative errno;
 * of read(), fewer bytes than asked for: the end of the file, and what follows reads as zero.
 *
 * They may sleep, and no lock of Quarry's is held. They may not call into the same file. What they
 * allocate from the same memory they allocate without QY_GFP_DIRECT_RECLAIM: any thread that
 * runs short may write back, so write() may not wait for a lock that is held across an
 * allocation.
 */
struct qy_file_ops {
    int64_t (*read)(void *cookie, uint64_t offset, void *buffer, size_t bytes);
    int64_t (*write)(void *cookie, uint64_t offset, const void *buffer, size_t bytes); /* or NULL */
    int (*sync)(void *cookie);   /* make it durable; 0 or -errno. NULL: nothing to do */
    void (*close)(void *cookie); /* NULL: nothing to do */
    /** Both or neither: several pieces at once. NULL: read() and write() are called for each. */
    int64_t (*readv)(void *cookie, uint64_t offset, const struct qy_piece *pieces, unsigned count);
    int64_t (*writev)(void *cookie, uint64_t offset, const struct qy_piece *pieces, unsigned count);
    /** The file ends there; what it had behind is gone. 0 or -errno. NULL: it cannot be made
     *  shorter. */
    int (*truncate)(void *cookie, uint64_t bytes);
};

/**
 * Begin to cache a file of @bytes bytes. @name: 1 .. 31 bytes, copied; reports name it.
 * NULL with *error: EINVAL, ENOMEM, ENOTSUP (the memory was not made with options.movable, or
 * the CPU cannot reach it).
 */
QY_API QY_MUST_CHECK struct qy_file *qy_file_create(struct qy_mm *mm, const char *name,
                                                    const struct qy_file_ops *ops, void *cookie,
                                                    uint64_t bytes, struct qy_error *error);

/** Write back what is dirty, make it durable, and forget the file. 0; -EBUSY while pages are
 *  pinned: nothing changed; or the first error of writing back since the last qy_file_sync(): it is
 *  closed all the same, and what could not be written is lost. No other call on the file may run.
 *  Areas that have pages of it (qy_space_map_file()) keep them: it is forgotten with the last. */
QY_API int qy_file_close(struct qy_file *file);

/** Copy bytes out of, or into, the file, through the cache. Returns how many, fewer at the end of
 *  the file or where an error stopped it; or a negative errno of the backing, -ENOMEM (of a read
 *  seldom: without memory it goes past the cache), -EROFS (it has no write()), -EFBIG (16 TiB).
 *  Writing behind the end makes the file longer; a hole reads as zero. Of two calls that meet in a
 *  page one sees it before the other changes it, or after. buffer may lie in an area. */
QY_API int64_t qy_file_read(struct qy_file *file, void *buffer, size_t bytes, uint64_t offset);
QY_API int64_t qy_file_write(struct qy_file *file, const void *buffer, size_t bytes,
                             uint64_t offset);

/** The file's length; make it shorter or longer. 0; nothing changed and -EBUSY (a page behind the
 *  new end is pinned), -ENOTSUP (no truncate()), -EROFS, -EFBIG, -ENOMEM (the host allows no more
 *  mappings, to take pages from areas), or the backing's errno. */
QY_API uint64_t qy_file_bytes(struct qy_file *file);
QY_API int qy_file_truncate(struct qy_file *file, uint64_t bytes);

/**
 * Hold page @index (bytes / 4096) in memory and look at it in place. NULL: *code (may be NULL)
 * says why: -EINVAL (behind the end), -EROFS, -ENOMEM, -EBUSY (it is pinned more often than can
 * be counted), or the backing's errno. The pointer holds until qy_file_unpin(); @write: it will be
 * changed, and is dirty. Pins nest. Pages that are pinned leave contiguous regions first.
 */
QY_API QY_MUST_CHECK void *qy_file_pin(struct qy_file *file, uint64_t index, bool write, int *code);
/** 0, or -EINVAL with a report naming rule W3: not pinned. */
QY_API int qy_file_unpin(struct qy_file *file, uint64_t index);

/** Write all dirty pages back and make them durable. 0, or the first error since the last call of
 *  this: each error is reported once (as fsync). Pages that could not be written stay dirty. */
QY_API QY_MUST_CHECK int qy_file_sync(struct qy_file *file);

/** Drop all pages that are clean and not pinned. Returns how many. */
QY_API uint64_t qy_file_drop(struct qy_file *file);

struct qy_file_stat {
    uint64_t pages, dirty, pinned;
    uint64_t hits, misses, readahead; /* pages; the last were read before anybody asked */
    uint64_t written, errors;
};

QY_API void qy_file_stat(struct qy_file *file, struct qy_file_stat *stat);

/* ---- other people's caches ---- */

struct qy_shrinker {
    const char *name;
    /** About how many frames could be given up. Cheap: asked often. */
    uint64_t (*count)(struct qy_shrinker *shrinker);
    /** Give up about @frames frames; returns how many. Called from whichever thread runs short,
     *  without locks of Quarry's; it must not wait for a thread that allocates. It may close files
     *  and take areas away, but not unregister a shrinker. */
    uint64_t (*scan)(struct qy_shrinker *shrinker, uint64_t frames);
    void *cookie;
    struct qy_shrinker *next; /* Quarry's */
};

/** 0; -EINVAL (a function is missing), -EEXIST (it is registered), -ENOMEM. */
QY_API QY_MUST_CHECK int qy_shrinker_register(struct qy_mm *mm, struct qy_shrinker *shrinker);
/** When it returns, no call of it runs any more. */
QY_API void qy_shrinker_unregister(struct qy_mm *mm, struct qy_shrinker *shrinker);

/* ---- how short memory is ---- */

/** As Linux's PSI: how much of the time threads waited for memory, in 1/100 of a percent. */
struct qy_pressure {
    uint32_t some_10s, some_60s; /* at least one thread waited */
    uint32_t full_10s, full_60s; /* all that used this memory waited */
    uint64_t some_us, full_us;   /* in all */
};

QY_API void qy_mm_pressure(struct qy_mm *mm, struct qy_pressure *pressure);

/** Called when an allocation is about to fail after all; true: something was freed, try again.
 *  At most three times for one allocation, and 64 times for an access to an area, which has nobody
 *  to tell that there is no memory. NULL: nobody. */
typedef bool (*qy_oom_t)(struct qy_mm *mm, qy_gfp_t gfp, unsigned order, void *cookie);
QY_API void qy_mm_set_oom(struct qy_mm *mm, qy_oom_t oom, void *cookie);

/** Give up about @frames frames of cache now, dirty pages only where clean ones do not do.
 *  Returns how many. */
QY_API uint64_t qy_reclaim(struct qy_mm *mm, uint64_t frames);

/** One turn of background reclaim: between the low and the high watermark. True: there is more to
 *  do. The port's background thread calls it; a program without one may. */
QY_API bool qy_reclaim_background(struct qy_mm *mm);

struct qy_cache_stat {
    uint64_t pages, active, inactive, dirty, writeback; /* frames */
    uint64_t scanned, reclaimed, direct, background;    /* frames, since creation */
    uint64_t refaults; /* came back soon after they were given up */
};

QY_API void qy_cache_stat(struct qy_mm *mm, struct qy_cache_stat *stat);

#ifdef __cplusplus
}
#endif
#endif
