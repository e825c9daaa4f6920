/*
 * If this failed: one name of the malloc family would be left to the C library, so that a block
 * of one heap would be freed into the other.
 */
#include "contract.h"

/* Compatibility symbols that no header declares any more; old binaries still call them. */
void cfree(void *);
__asm__(".symver cfree, cfree@GLIBC_2.2.5");
void *__libc_malloc(size_t);
void __libc_free(void *);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void *__libc_valloc(size_t);
void *__libc_pvalloc(size_t);

static const void *home;

static const void *object_of(const void *entry)
{
    Dl_info info;
    return entry && dladdr(entry, &info) ? info.dli_fbase : NULL;
}

static void same_home(const char *name, const void *entry)
{
    Dl_info info = {.dli_fname = "nowhere"};
    if (entry)
        dladdr(entry, &info);
    EXPECT(object_of(entry) == home, "%s in the object that has malloc, came %s", name,
           info.dli_fname);
}

static void linked_names(void)
{
#define LINKED(name) same_home(#name, (const void *)(uintptr_t)(name))
    LINKED(malloc);
    LINKED(free);
    LINKED(calloc);
    LINKED(realloc);
    LINKED(reallocarray);
    LINKED(aligned_alloc);
    LINKED(posix_memalign);
    LINKED(memalign);
    LINKED(valloc);
    LINKED(pvalloc);
    LINKED(cfree);
    LINKED(malloc_usable_size);
    LINKED(malloc_trim);
    LINKED(malloc_stats);
    LINKED(malloc_info);
    LINKED(mallopt);
    LINKED(mallinfo2);
    LINKED(__libc_malloc);
    LINKED(__libc_free);
    LINKED(__libc_calloc);
    LINKED(__libc_realloc);
    LINKED(__libc_memalign);
    LINKED(__libc_valloc);
    LINKED(__libc_pvalloc);
    same_home("mallinfo", dlsym(RTLD_DEFAULT, "mallinfo"));
}

/* Every block of every call may go to every way of freeing. */
static void mixed(void)
{
    for (size_t size = 1; size < 3 * MIB; size = size * 3 + 1) {
        void *blocks[] = {
            malloc(size),
            calloc(1, size),
            realloc(NULL, size),
            memalign(64, size),
            aligned_alloc(128, size),
            valloc(size),
            pvalloc(size),
            reallocarray(NULL, 1, size),
            __libc_malloc(size),
            __libc_calloc(1, size),
            __libc_realloc(NULL, size),
            __libc_memalign(32, size),
            __libc_valloc(size),
            __libc_pvalloc(size),
        };
        for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
            EXPECT(blocks[i], "a block of %zu bytes (way %zu)", size, i);
            EXPECT(malloc_usable_size(blocks[i]) >= size, "usable size >= %zu", size);
            memset(blocks[i], 0x5a, size);
            switch ((i + size) % 4) {
            case 0:
                free(blocks[i]);
                break;
            case 1:
                __libc_free(blocks[i]);
                break;
            case 2:
                free(realloc(blocks[i], size + 100));
                break;
            default:
                cfree(blocks[i]);
                break;
            }
        }
    }
}

static void page_calls(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 0; size < 20000; size += 777) {
        void *p = valloc(size), *q = pvalloc(size);
        EXPECT(p && is_aligned(p, page), "valloc(%zu) at a page, came %p", size, p);
        EXPECT(q && is_aligned(q, page), "pvalloc(%zu) at a page, came %p", size, q);
        EXPECT(malloc_usable_size(q) >= (size + page - 1) / page * page,
               "whole pages from pvalloc(%zu), came %zu", size, malloc_usable_size(q));
        memset(q, 1, malloc_usable_size(q));
        free(p);
        free(q);
    }
    errno = 0;
    EXPECT(pvalloc(opaque_size(SIZE_MAX - 100)) == NULL, "NULL from pvalloc(SIZE_MAX - 100)");
    EXPECT_ERRNO(ENOMEM, "pvalloc(SIZE_MAX - 100)");
}

int main(void)
{
    deadline(30);
    home = object_of((const void *)(uintptr_t)malloc);
    EXPECT(home, "an object that has malloc");
    linked_names();
    mixed();
    page_calls();
    return 0;
}
