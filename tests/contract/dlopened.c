/*
 * If this failed: memory that a loaded library allocated could not be freed after the library was
 * closed again, or by the program where the library asked to see its own malloc first
 * (RTLD_DEEPBIND), or each loading would leave some memory behind.
 */
#include "threads.h"

/* libcrypt's crypt_ra grows a buffer that the caller owns and frees: both sides share one heap. */
typedef char *(*crypt_ra_call)(const char *, const char *, void **, int *);
typedef char *(*demangle_call)(const char *, char *, size_t *, int *);

static void with_libcrypt(int mode)
{
    void *library = dlopen("libcrypt.so.1", RTLD_NOW | mode);
    if (!library)
        return;
    crypt_ra_call crypt_ra = (crypt_ra_call)dlsym(library, "crypt_ra");
    EXPECT(crypt_ra, "crypt_ra in libcrypt");
    void *ours = malloc(10), *theirs = NULL;
    int ours_bytes = 10, theirs_bytes = 0;
    EXPECT(crypt_ra("word", "$1$saltsalt$", &ours, &ours_bytes), "a hash in our buffer");
    EXPECT(crypt_ra("word", "$1$saltsalt$", &theirs, &theirs_bytes),
           "a hash in the library's buffer");
    EXPECT(malloc_usable_size(theirs) >= (size_t)theirs_bytes,
           "the library's block to be ours too");
    EXPECT(dlclose(library) == 0, "dlclose");
    memset(theirs, 0x11, (size_t)theirs_bytes);
    free(realloc(ours, (size_t)ours_bytes * 2));
    free(theirs);
}

static void with_libstdcpp(void)
{
    void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    demangle_call demangle = (demangle_call)dlsym(library, "__cxa_demangle");
    EXPECT(demangle, "__cxa_demangle in libstdc++");
    size_t bytes = 4;
    char *text = demangle("_ZNSt6vectorIiSaIiEE9push_backERKi", malloc(4), &bytes, NULL);
    EXPECT(text, "a demangled name");
    dlclose(library);
    EXPECT(strstr(text, "std::vector<int"), "the name kept after dlclose, came %s", text);
    free(text);
}

static void *loads(void *n)
{
    for (int i = 0; i < 20; i++) {
        with_libcrypt(RTLD_LOCAL);
        with_libcrypt(RTLD_DEEPBIND); /* which is not heeded */
        with_libstdcpp();
    }
    return n;
}

int main(void)
{
    pthread_t threads[3];
    deadline(60);
    for (int i = 0; i < 20; i++) {
        with_libcrypt(RTLD_LOCAL);
        with_libstdcpp();
    }
    size_t before = mallinfo2().uordblks;
    for (size_t i = 0; i < 3; i++)
        EXPECT(pthread_create(&threads[i], NULL, loads, NULL) == 0, "a thread to start");
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    loads(NULL);
    size_t after = mallinfo2().uordblks;
    EXPECT(after < before + 256 * KIB, "what is in use back near %zu, came %zu", before, after);
    return 0;
}
