/*
 * cxx.c - every C++ operator new and delete
 *
 * WHAT    The operators by their mangled names (Itanium C++ ABI, 64-bit), so that the library
 *         needs no C++ runtime. There is memory, or the program's own runtime decides: its
 *         operator of the same name is called, which asks malloc again, calls the new-handler
 *         for as long as there is one, throws bad_alloc, and in its nothrow forms catches
 *         what a handler throws. It is looked up when it is first needed, since a program may
 *         load it late, and privately (a plug-in written in C++).
 *
 *         Where there is none, a nothrow form returns NULL, and the others end the program.
 *
 * LOCKS   the loader's, when memory was refused.
 *
 * COST    As malloc; as free, and a comparison more where the size is told.
 */
#define _GNU_SOURCE
#include "malloc.h"

#include "slab/kmalloc.h"

#include <dlfcn.h>
#include <stdlib.h>

/* ---- when there is no memory ---- */

/** An operator as the C++ runtime defines it; NULL: there is none. */
static void *runtimes_own(const char *name)
{
    static const char *const runtimes[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
    void *found = dlsym(RTLD_NEXT, name);
    for (size_t i = 0; found == NULL && i < sizeof(runtimes) / sizeof(runtimes[0]); i++) {
        void *runtime = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD);
        if (runtime == NULL)
            continue;
        found = dlsym(runtime, name);
        dlclose(runtime);
    }
    return found;
}

static _Noreturn void out_of_memory(void)
{
    qy_port_panic("quarry: operator new: out of memory, and no C++ runtime to say so\n");
}

/* The slow half of each kind of operator new; @name: the one that was called. */

static __attribute__((noinline)) void *new_slow(const char *name, size_t bytes)
{
    void *block = qy_malloc_slow(bytes);
    if (block != NULL)
        return block;
    void *(*own)(size_t) = (void *(*)(size_t))runtimes_own(name);
    if (own != NULL)
        return own(bytes);
    out_of_memory();
}

static __attribute__((noinline)) void *new_aligned_slow(const char *name, size_t bytes,
                                                        size_t align)
{
    void *(*own)(size_t, size_t) = (void *(*)(size_t, size_t))runtimes_own(name);
    if (own != NULL)
        return own(bytes, align);
    out_of_memory();
}

static __attribute__((noinline)) void *new_nothrow_slow(const char *name, size_t bytes,
                                                        const void *nothrow)
{
    void *block = qy_malloc_slow(bytes);
    if (block != NULL)
        return block;
    void *(*own)(size_t, const void *) = (void *(*)(size_t, const void *))runtimes_own(name);
    return own != NULL ? own(bytes, nothrow) : NULL;
}

static __attribute__((noinline)) void *new_aligned_nothrow_slow(const char *name, size_t bytes,
                                                                size_t align, const void *nothrow)
{
    void *(*own)(size_t, size_t, const void *) =
        (void *(*)(size_t, size_t, const void *))runtimes_own(name);
    return own != NULL ? own(bytes, align, nothrow) : NULL;
}

/* ---- the operators ---- */

static void delete_aligned_sized(void *block, size_t bytes, size_t align)
{
    qy_kfree_check(qy_malloc_get_mm(), block, bytes, align);
    free(block);
}

#define NEW(name, ...)                                                                             \
    QY_API void *name(__VA_ARGS__);                                                                \
    QY_API void *name(__VA_ARGS__)
#define DELETE(name, ...)                                                                          \
    QY_API void name(__VA_ARGS__);                                                                 \
    QY_API void name(__VA_ARGS__)

/* new, new[]; nothrow; aligned; both */
NEW(_Znwm, size_t n)
{
    return qy_malloc_pop(n) ?: new_slow(__func__, n);
}
NEW(_Znam, size_t n)
{
    return qy_malloc_pop(n) ?: new_slow(__func__, n);
}
NEW(_ZnwmRKSt9nothrow_t, size_t n, const void *t)
{
    return qy_malloc_pop(n) ?: new_nothrow_slow(__func__, n, t);
}
NEW(_ZnamRKSt9nothrow_t, size_t n, const void *t)
{
    return qy_malloc_pop(n) ?: new_nothrow_slow(__func__, n, t);
}
NEW(_ZnwmSt11align_val_t, size_t n, size_t a)
{
    return qy_malloc_aligned(a, n, QY_GFP_KERNEL) ?: new_aligned_slow(__func__, n, a);
}
NEW(_ZnamSt11align_val_t, size_t n, size_t a)
{
    return qy_malloc_aligned(a, n, QY_GFP_KERNEL) ?: new_aligned_slow(__func__, n, a);
}
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t n, size_t a, const void *t)
{
    return qy_malloc_aligned(a, n, QY_GFP_KERNEL) ?: new_aligned_nothrow_slow(__func__, n, a, t);
}
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, size_t n, size_t a, const void *t)
{
    return qy_malloc_aligned(a, n, QY_GFP_KERNEL) ?: new_aligned_nothrow_slow(__func__, n, a, t);
}

/* delete, delete[]; sized; nothrow; aligned; aligned and sized; aligned and nothrow */
DELETE(_ZdlPv, void *p)
{
    free(p);
}
DELETE(_ZdaPv, void *p)
{
    free(p);
}
DELETE(_ZdlPvm, void *p, size_t n)
{
    qy_malloc_free_sized(p, n);
}
DELETE(_ZdaPvm, void *p, size_t n)
{
    qy_malloc_free_sized(p, n);
}
DELETE(_ZdlPvRKSt9nothrow_t, void *p, const void *t)
{
    (void)t;
    free(p);
}
DELETE(_ZdaPvRKSt9nothrow_t, void *p, const void *t)
{
    (void)t;
    free(p);
}
DELETE(_ZdlPvSt11align_val_t, void *p, size_t a)
{
    (void)a;
    free(p);
}
DELETE(_ZdaPvSt11align_val_t, void *p, size_t a)
{
    (void)a;
    free(p);
}
DELETE(_ZdlPvmSt11align_val_t, void *p, size_t n, size_t a)
{
    delete_aligned_sized(p, n, a);
}
DELETE(_ZdaPvmSt11align_val_t, void *p, size_t n, size_t a)
{
    delete_aligned_sized(p, n, a);
}
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, void *p, size_t a, const void *t)
{
    (void)a;
    (void)t;
    free(p);
}
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, void *p, size_t a, const void *t)
{
    (void)a;
    (void)t;
    free(p);
}
