/*
 * If these were not stopped: a block freed with a size or an alignment that is not its own would
 * be kept among blocks of another size, and given out as one that is longer than it is.
 */
#include "misuse.h"
#include <new>

void operator delete(void *, std::size_t) noexcept;
void operator delete[](void *, std::size_t) noexcept;
void operator delete(void *, std::size_t, std::align_val_t) noexcept;

static void free_as(size_t size, size_t said)
{
    auto sized = reinterpret_cast<void (*)(void *, size_t)>(dlsym(RTLD_DEFAULT, "free_sized"));
    void *p = block_of(size);
    if (!sized)
        _exit(4);
    sized(p, said);
    nothing_exploitable(said);
    nothing_exploitable(size);
}

static void free_aligned_as(size_t alignment, size_t size, size_t said_alignment, size_t said)
{
    auto sized = reinterpret_cast<void (*)(void *, size_t, size_t)>(
        dlsym(RTLD_DEFAULT, "free_aligned_sized"));
    void *p = memalign(alignment, size);
    if (!sized)
        _exit(4);
    sized(p, said_alignment, said);
    nothing_exploitable(said);
}

static void smaller()
{
    free_as(1000, 100);
}
static void larger()
{
    free_as(100, 1000);
}
static void same_class()
{
    free_as(100, 97);
}
static void off_by_one()
{
    free_as(64, 65);
}
static void small_as_large()
{
    free_as(64, MIB);
}
static void large_as_small()
{
    free_as(MIB, 64);
}
static void large_by_a_page()
{
    free_as(100 * KIB, 96 * KIB);
}
static void zero()
{
    free_as(100, 0);
}
static void aligned_size()
{
    free_aligned_as(256, 1000, 256, 4000);
}

/* Of two neighbours one at most can be aligned to 4096. */
static void alignment()
{
    auto sized = reinterpret_cast<void (*)(void *, size_t, size_t)>(
        dlsym(RTLD_DEFAULT, "free_aligned_sized"));
    void *p = block_of(64), *q = block_of(64);
    if (!sized)
        _exit(4);
    sized(reinterpret_cast<uintptr_t>(p) % 4096 ? p : q, 4096, 64);
    nothing_exploitable(64);
}

static void by_delete()
{
    void *p = operator new(40);
    operator delete(p, static_cast<size_t>(4000));
    nothing_exploitable(4000);
}

static void by_delete_array()
{
    void *p = operator new[](4000);
    operator delete[](p, static_cast<size_t>(40));
    nothing_exploitable(40);
}

static void by_aligned_delete()
{
    void *p = operator new(128, std::align_val_t(64));
    operator delete(p, static_cast<size_t>(100000), std::align_val_t(64));
    nothing_exploitable(100000);
}

static void delete_twice()
{
    int *p = new int(5);
    __asm__ volatile("" : "+r"(p) : : "memory");
    delete p;
    __asm__ volatile("" : "+r"(p) : : "memory");
    delete p;
    nothing_exploitable(sizeof *p);
}

static void delete_array_twice()
{
    char *p = new char[700];
    __asm__ volatile("" : "+r"(p) : : "memory");
    delete[] p;
    __asm__ volatile("" : "+r"(p) : : "memory");
    delete[] p;
    nothing_exploitable(700);
}

/* Frees the array behind its count: four objects with destructors, deleted as if it were one. */
struct counted {
    char bytes[40];
    ~counted()
    {
        bytes[0] = 0;
    }
};

static void array_as_one()
{
    counted *p = new counted[4];
    __asm__ volatile("" : "+r"(p) : : "memory");
    delete p;
    nothing_exploitable(sizeof *p);
}

static const struct misuse cases[] = {
    {"smaller", smaller, HARMLESS, STOPPED, WRONG_SIZE},
    {"larger", larger, HARMLESS, STOPPED, WRONG_SIZE},
    {"same-class", same_class, HARMLESS, STOPPED, WRONG_SIZE},
    {"off-by-one", off_by_one, HARMLESS, STOPPED, WRONG_SIZE},
    {"small-as-large", small_as_large, HARMLESS, STOPPED, WRONG_SIZE},
    {"large-as-small", large_as_small, HARMLESS, STOPPED, WRONG_SIZE},
    {"large-by-a-page", large_by_a_page, HARMLESS, STOPPED, WRONG_SIZE},
    {"zero", zero, HARMLESS, STOPPED, WRONG_SIZE},
    {"aligned-size", aligned_size, HARMLESS, STOPPED, WRONG_SIZE},
    {"alignment", alignment, HARMLESS, STOPPED, WRONG_SIZE},
    {"by-delete", by_delete, HARMLESS, STOPPED, WRONG_SIZE},
    {"by-delete-array", by_delete_array, HARMLESS, STOPPED, WRONG_SIZE},
    {"by-aligned-delete", by_aligned_delete, HARMLESS, STOPPED, WRONG_SIZE},
    {"delete-twice", delete_twice, STOPPED, STOPPED, DOUBLE_FREE},
    {"delete-array-twice", delete_array_twice, STOPPED, STOPPED, DOUBLE_FREE},
    {"array-as-one", array_as_one, STOPPED, STOPPED, NOT_A_START "|" WRONG_SIZE},
};

MAIN(cases)
