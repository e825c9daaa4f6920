/*
 * quarry/malloc.h - the memory behind malloc, for programs that want more of it than malloc
 *
 * In libquarry-whole.so malloc and the library are one: named caches, cached files and
 * contiguous regions come out of malloc's own memory and share its limit, QUARRY_LIMIT. When the
 * heap grows the cached files give way. Link with it (pkg-config quarry-whole), or start the
 * program with `quarry run --cma SIZE`.
 */
#ifndef QUARRY_MALLOC_H
#define QUARRY_MALLOC_H

#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** malloc's memory, made with options.movable; it must not be destroyed. NULL: the system gives
 *  none. QUARRY_CMA=64M[,linux|eager|guaranteed] reserves a region in it, named "default".
 *
 * A child of fork(2) has malloc, and objects; the parent's files, shrinkers and regions are none of
 * its own. Calls on them fail with ENOTSUP and change nothing, as calls for new ones do. Pages that
 * are cached stay as they are, within its limit; dirty ones are the parent's to write. */
QY_API struct qy_mm *qy_malloc_memory(void);

#ifdef __cplusplus
}
#endif
#endif
