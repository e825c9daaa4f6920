/*
 * If this failed: a C++ program out of memory would not be asked through its new-handler, or
 * would get a null pointer where the language promises an exception.
 */
#include "contract.h"
#include <new>
#include <stdexcept>
#include <vector>

static int handler_calls;
static const size_t much = opaque_size(SIZE_MAX / 2);

static void gives_up()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

struct my_failure : std::bad_alloc {
};
static void throws()
{
    handler_calls++;
    throw my_failure();
}

/* A handler that frees something lets the same request succeed. */
static void *reserve;
static size_t wanted;
static void frees_reserve()
{
    handler_calls++;
    free(reserve);
    reserve = nullptr;
    wanted = 64;
    std::set_new_handler(nullptr);
}

template <typename call> static bool throws_bad_alloc(call make)
{
    try {
        void *p = make();
        EXPECT(false, "std::bad_alloc, came the pointer %p", p);
    } catch (const std::bad_alloc &) {
        return true;
    }
}

template <typename call> static void handler_then(const char *name, call make)
{
    handler_calls = 0;
    std::set_new_handler(gives_up);
    EXPECT(throws_bad_alloc(make), "bad_alloc from %s", name);
    EXPECT(handler_calls == 3, "the new-handler called 3 times by %s, came %d", name,
           handler_calls);

    handler_calls = 0;
    std::set_new_handler(throws);
    try {
        opaque(make());
        EXPECT(false, "the handler's exception through %s", name);
    } catch (const my_failure &) {
        EXPECT(handler_calls == 1, "one call of the handler, came %d", handler_calls);
    }
    std::set_new_handler(nullptr);
}

template <typename call> static void nothrow_is_null(const char *name, call make)
{
    handler_calls = 0;
    std::set_new_handler(gives_up);
    void *p = make();
    EXPECT(p == nullptr, "NULL from %s, came %p", name, p);
    EXPECT(handler_calls == 3, "the new-handler called 3 times by %s, came %d", name,
           handler_calls);
    /* A handler that throws does not escape from a nothrow call. */
    std::set_new_handler(throws);
    p = make();
    EXPECT(p == nullptr, "NULL from %s when the handler throws, came %p", name, p);
    std::set_new_handler(nullptr);
}

int main()
{
    deadline(30);
    handler_then("new", [] { return operator new(much); });
    handler_then("new[]", [] { return operator new[](much); });
    nothrow_is_null("new(nothrow)", [] { return operator new(much, std::nothrow); });
    nothrow_is_null("new[](nothrow)", [] { return operator new[](much, std::nothrow); });
#ifdef __cpp_aligned_new
    std::align_val_t at = std::align_val_t(256);
    handler_then("new(align)", [at] { return operator new(much, at); });
    handler_then("new[](align)", [at] { return operator new[](much, at); });
    nothrow_is_null("new(align, nothrow)", [at] { return operator new(much, at, std::nothrow); });
    nothrow_is_null("new[](align, nothrow)",
                    [at] { return operator new[](much, at, std::nothrow); });
#endif
    reserve = malloc(100);
    wanted = much;
    handler_calls = 0;
    std::set_new_handler(frees_reserve);
    EXPECT(throws_bad_alloc([] { return operator new(wanted); }),
           "bad_alloc once no handler is left");
    EXPECT(handler_calls == 1 && reserve == nullptr, "one call of the handler, came %d",
           handler_calls);

    bool too_long = false;
    std::vector<char> kept(1000, 'k');
    try {
        kept.resize(kept.max_size() - 1);
    } catch (const std::bad_alloc &) {
        too_long = true;
    }
    EXPECT(too_long && kept.size() == 1000 && kept[999] == 'k', "the vector kept, came size %zu",
           kept.size());
    return 0;
}
