/*
 * cxx.c - every C++ operator new and delete
 *
 * WHAT    The operators by their mangled names (Itanium C++ ABI, 64-bit), so that the library
 *         needs no C++ runtime. The new-handler and bad_alloc are the program's own
 *         runtime's, looked up weakly: a program without one calls no operator new.
 *
 * LOCKS   none.
 *
 * COST    As malloc and free, and a jump.
 */
#include "malloc.h"

#include "slab/kmalloc.h"

#include <quarry/slab.h>

#include <stdlib.h>

typedef void (*new_handler)(void);

/** std::get_new_handler(), std::__throw_bad_alloc() of libstdc++. */
__attribute__((weak)) new_handler _ZSt15get_new_handlerv(void);
__attribute__((weak)) _Noreturn void _ZSt17__throw_bad_allocv(void);

static void *allocate(size_t bytes, size_t align)
{
    return align == 0 ? malloc(bytes) : qy_malloc_aligned(align, bytes, QY_GFP_KERNEL);
}

/** As the standard says: the handler again and again until there is memory or no handler. */
static __attribute__((noinline)) void *new_slow(size_t bytes, size_t align)
{
    for (;;) {
        new_handler handler = _ZSt15get_new_handlerv ? _ZSt15get_new_handlerv() : NULL;
        if (handler == NULL)
            break;
        handler();
        void *block = allocate(bytes, align);
        if (block != NULL)
            return block;
    }
    if (_ZSt17__throw_bad_allocv)
        _ZSt17__throw_bad_allocv();
    qy_port_panic("quarry: operator new: out of memory, and no C++ runtime to say so\n");
}

/** nothrow: what the handler throws cannot be caught here without a runtime, so the handler
 *  is not called; no memory is NULL at once. */
static void *new_or_null(size_t bytes, size_t align)
{
    return allocate(bytes, align);
}

static void *new_or_throw(size_t bytes, size_t align)
{
    void *block = allocate(bytes, align);
    return qy_likely(block != NULL) ? block : new_slow(bytes, align);
}

static void delete_sized(void *block, size_t bytes, size_t align)
{
    qy_kfree_check(qy_malloc_get_mm(), block, bytes, align);
    free(block);
}

#define NEW(name, ...) QY_API void *name(__VA_ARGS__); QY_API void *name(__VA_ARGS__)
#define DELETE(name, ...) QY_API void name(__VA_ARGS__); QY_API void name(__VA_ARGS__)

/* new, new[]; nothrow; aligned; both */
NEW(_Znwm, size_t n) { return new_or_throw(n, 0); }
NEW(_Znam, size_t n) { return new_or_throw(n, 0); }
NEW(_ZnwmRKSt9nothrow_t, size_t n, const void *t) { (void)t; return new_or_null(n, 0); }
NEW(_ZnamRKSt9nothrow_t, size_t n, const void *t) { (void)t; return new_or_null(n, 0); }
NEW(_ZnwmSt11align_val_t, size_t n, size_t a) { return new_or_throw(n, a); }
NEW(_ZnamSt11align_val_t, size_t n, size_t a) { return new_or_throw(n, a); }
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t n, size_t a, const void *t)
{
    (void)t;
    return new_or_null(n, a);
}
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, size_t n, size_t a, const void *t)
{
    (void)t;
    return new_or_null(n, a);
}

/* delete, delete[]; sized; nothrow; aligned; aligned and sized; aligned and nothrow */
DELETE(_ZdlPv, void *p) { free(p); }
DELETE(_ZdaPv, void *p) { free(p); }
DELETE(_ZdlPvm, void *p, size_t n) { delete_sized(p, n, 1); }
DELETE(_ZdaPvm, void *p, size_t n) { delete_sized(p, n, 1); }
DELETE(_ZdlPvRKSt9nothrow_t, void *p, const void *t) { (void)t; free(p); }
DELETE(_ZdaPvRKSt9nothrow_t, void *p, const void *t) { (void)t; free(p); }
DELETE(_ZdlPvSt11align_val_t, void *p, size_t a) { (void)a; free(p); }
DELETE(_ZdaPvSt11align_val_t, void *p, size_t a) { (void)a; free(p); }
DELETE(_ZdlPvmSt11align_val_t, void *p, size_t n, size_t a) { delete_sized(p, n, a); }
DELETE(_ZdaPvmSt11align_val_t, void *p, size_t n, size_t a) { delete_sized(p, n, a); }
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
