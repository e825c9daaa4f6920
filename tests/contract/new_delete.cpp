/*
 * If this failed: C++ programs would get blocks from one heap and delete them into another, or
 * an over-aligned type would land at the wrong address.
 */
#include "contract.h"
#include <cstddef>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

void operator delete(void *, std::size_t) noexcept;
void operator delete[](void *, std::size_t) noexcept;
#ifdef __cpp_aligned_new
void operator delete(void *, std::size_t, std::align_val_t) noexcept;
void operator delete[](void *, std::size_t, std::align_val_t) noexcept;
#endif

static void *check(void *p, size_t size, size_t alignment)
{
    EXPECT(p, "new of %zu bytes", size);
    EXPECT(is_aligned(p, alignment), "new of %zu bytes aligned to %zu, came %p", size, alignment,
           p);
    EXPECT(malloc_usable_size(p) >= size, "malloc to know new's block of %zu bytes", size);
    memset(p, 0x5b, size);
    return p;
}

static void every_operator(size_t size)
{
    operator delete(check(operator new(size), size, 16));
    operator delete[](check(operator new[](size), size, 16));
    operator delete(check(operator new(size, std::nothrow), size, 16), std::nothrow);
    operator delete[](check(operator new[](size, std::nothrow), size, 16), std::nothrow);
    operator delete(check(operator new(size), size, 16), size);
    operator delete[](check(operator new[](size), size, 16), size);
    free(check(operator new(size), size, 16));
#ifdef __cpp_aligned_new
    for (size_t alignment = 16; alignment <= 1 * MIB; alignment *= 4) {
        std::align_val_t at = std::align_val_t(alignment);
        operator delete(check(operator new(size, at), size, alignment), at);
        operator delete[](check(operator new[](size, at), size, alignment), at);
        operator delete(check(operator new(size, at), size, alignment), size, at);
        operator delete[](check(operator new[](size, at), size, alignment), size, at);
        operator delete(check(operator new(size, at, std::nothrow), size, alignment), at,
                        std::nothrow);
        operator delete[](check(operator new[](size, at, std::nothrow), size, alignment), at,
                          std::nothrow);
    }
#endif
}

static void from_malloc_itself()
{
    /* The operators come from the object that has malloc, so that no other heap is asked. */
    Dl_info of_malloc, of_new;
    void *(*plain)(std::size_t) = operator new;
    if (!under_quarry())
        return;
    EXPECT(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &of_malloc) &&
               dladdr(reinterpret_cast<void *>(plain), &of_new) &&
               of_malloc.dli_fbase == of_new.dli_fbase,
           "operator new in the object that has malloc, came %s", of_new.dli_fname);
    static const char *const names[] = {
        "_Znwm",
        "_Znam",
        "_ZnwmRKSt9nothrow_t",
        "_ZnamRKSt9nothrow_t",
        "_ZnwmSt11align_val_t",
        "_ZnamSt11align_val_t",
        "_ZnwmSt11align_val_tRKSt9nothrow_t",
        "_ZnamSt11align_val_tRKSt9nothrow_t",
        "_ZdlPv",
        "_ZdaPv",
        "_ZdlPvm",
        "_ZdaPvm",
        "_ZdlPvRKSt9nothrow_t",
        "_ZdaPvRKSt9nothrow_t",
        "_ZdlPvSt11align_val_t",
        "_ZdaPvSt11align_val_t",
        "_ZdlPvmSt11align_val_t",
        "_ZdaPvmSt11align_val_t",
        "_ZdlPvSt11align_val_tRKSt9nothrow_t",
        "_ZdaPvSt11align_val_tRKSt9nothrow_t",
    };
    for (const char *name : names) {
        void *entry = dlsym(RTLD_DEFAULT, name);
        EXPECT(entry && dladdr(entry, &of_new) && of_malloc.dli_fbase == of_new.dli_fbase,
               "%s in the object that has malloc, came %s", name,
               entry ? of_new.dli_fname : "nowhere");
    }
}

struct alignas(256) wide {
    char bytes[300];
};

static void containers()
{
    std::map<std::string, std::vector<int>> table;
    for (int i = 0; i < 5000; i++)
        table["a key that is longer than any short string " + std::to_string(i)].assign(
            static_cast<size_t>(i % 100), i);
    for (int i = 0; i < 5000; i += 2)
        table.erase("a key that is longer than any short string " + std::to_string(i));
    for (auto &entry : table)
        for (int value : entry.second)
            EXPECT(entry.first.substr(43) == std::to_string(value), "the value of its key, came %d",
                   value);
    auto shared = std::make_shared<std::vector<std::unique_ptr<wide>>>();
    for (int i = 0; i < 200; i++) {
        shared->push_back(std::unique_ptr<wide>(new wide));
#ifdef __cpp_aligned_new
        EXPECT(is_aligned(shared->back().get(), 256), "an over-aligned object, came %p",
               static_cast<void *>(shared->back().get()));
#endif
    }
    std::thread([moved = std::move(shared)]() mutable { moved.reset(); }).join();
}

int main()
{
    deadline(60);
    from_malloc_itself();
    for (size_t size = 0; size < 2 * MIB; size += size < 600 ? 1 : size / 5)
        every_operator(size);
    operator delete(nullptr);
    operator delete[](nullptr, std::nothrow);
    operator delete(nullptr, 10);
    containers();
    return 0;
}
