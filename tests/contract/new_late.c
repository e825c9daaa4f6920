/*
 * If this failed: a program in C that loads a part written in C++ late, and for itself alone, would
 * be ended by an operator new that finds no memory, instead of asking that part's new-handler.
 */
#include "contract.h"
#include <dlfcn.h>

typedef void (*new_handler)(void);
typedef void *(*new_nothrow)(size_t, const void *);

static new_handler (*set_new_handler)(new_handler);
static int handler_calls;

static void gives_up(void)
{
    if (++handler_calls == 3)
        set_new_handler(NULL);
}

int main(void)
{
    static const char nothrow;
    deadline(30);
    new_nothrow make = (new_nothrow)dlsym(RTLD_DEFAULT, "_ZnwmRKSt9nothrow_t");
    EXPECT(make, "operator new from the library under test");
    EXPECT(!make(opaque_size(SIZE_MAX / 2), &nothrow), "NULL where there is no C++ runtime");

    void *runtime = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    if (!runtime)
        skip("no libstdc++.so.6 here: %s", dlerror());
    set_new_handler = (new_handler(*)(new_handler))dlsym(runtime, "_ZSt15set_new_handlerPFvvE");
    EXPECT(set_new_handler, "std::set_new_handler in libstdc++");
    set_new_handler(gives_up);
    EXPECT(!make(opaque_size(SIZE_MAX / 2), &nothrow), "NULL once no handler is left");
    EXPECT(handler_calls == 3, "the new-handler called 3 times, came %d", handler_calls);
    return 0;
}
