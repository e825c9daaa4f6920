/*
 * dlopen.c - libraries that are loaded for themselves alone
 *
 * WHAT    RTLD_DEEPBIND lets a library that is loaded see its own symbols and those of what it
 *         needs before the program's. The C library is among them, with the malloc that Quarry
 *         has taken the place of: blocks that cross from the library to the program, or back,
 *         would be freed into another heap (PHP loads its extensions so, and crashes under
 *         any preloaded malloc). So libraries are loaded without it.
 *
 * RULES   none.
 *
 * LOCKS   the loader's.
 *
 * COST    A look-up, once.
 */
#define _GNU_SOURCE
#include "malloc.h"

#include <dlfcn.h>

typedef void *(*dlopen_call)(const char *path, int mode);

/* The C library looks at who called it, for his RUNPATH and $ORIGIN. So it is jumped to, and
 * returns to him, however the rest is compiled. */
#ifdef __clang__
#define JUMPS
#define JUMP_TO __attribute__((musttail)) return
#else
#define JUMPS __attribute__((optimize("O2")))
#define JUMP_TO return
#endif

JUMPS QY_API void *dlopen(const char *path, int mode)
{
    static _Atomic(dlopen_call) found;
    dlopen_call next = atomic_load_explicit(&found, memory_order_relaxed);
    if (next == NULL) {
        next = (dlopen_call)dlsym(RTLD_NEXT, "dlopen");
        atomic_store_explicit(&found, next, memory_order_relaxed);
    }
    JUMP_TO next(path, mode & ~RTLD_DEEPBIND);
}
