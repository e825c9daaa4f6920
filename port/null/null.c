/*
 * null.c - the cold calls of the smallest port, and the compiler's four memory functions
 */
#include <quarry_port.h>

/* A kernel has these already. Bytes one by one, and volatile, or the compiler would see
 * memset() in memset()'s loop. */
void *memset(void *to, int byte, size_t bytes);
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

void *memset(void *to, int byte, size_t bytes)
{
    volatile unsigned char *out = to;
    for (size_t i = 0; i < bytes; i++)
        out[i] = (unsigned char)byte;
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    volatile unsigned char *out = to;
    const unsigned char *in = from;
    if ((uintptr_t)to < (uintptr_t)from)
        for (size_t i = 0; i < bytes; i++)
            out[i] = in[i];
    else
        for (size_t i = bytes; i-- > 0;)
            out[i] = in[i];
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    return memmove(to, from, bytes);
}

int memcmp(const void *a, const void *b, size_t bytes)
{
    const volatile unsigned char *left = a;
    const volatile unsigned char *right = b;
    for (size_t i = 0; i < bytes; i++)
        if (left[i] != right[i])
            return left[i] < right[i] ? -1 : 1;
    return 0;
}

/* No per-CPU lists: every call goes to the zone. */
struct qy_cpu *qy_port_cpu(const struct qy_mm *mm, uint32_t port_index)
{
    (void)mm;
    (void)port_index;
    return NULL;
}

struct qy_cpu *qy_port_attach(struct qy_mm *mm)
{
    (void)mm;
    return NULL;
}

_Noreturn void qy_port_panic(const char *why)
{
    (void)why;
    for (;;)
        atomic_signal_fence(memory_order_seq_cst);
}

void qy_port_write(const char *text, size_t bytes)
{
    (void)text;
    (void)bytes;
}

/* All memory is there, and is never given back. */
int qy_port_commit(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    memset(address, 0, bytes);
    return 0;
}

int qy_port_decommit(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    memset(address, 0, bytes);
    return 0;
}

void qy_port_clear(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    memset(address, 0, bytes);
}

/* Nothing is out of reach of a CPU without page tables. */
int qy_port_protect(struct qy_mm *mm, void *address, size_t bytes, bool accessible)
{
    (void)mm;
    (void)address;
    (void)bytes;
    return accessible ? 0 : -1;
}

void qy_port_abandon(struct qy_mm *mm)
{
    (void)mm;
}

void qy_port_populate(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    (void)address;
    (void)bytes;
}

bool qy_port_populate_huge(struct qy_mm *mm, void *block, void *address, size_t bytes)
{
    (void)block;
    qy_port_populate(mm, address, bytes);
    return false;
}

void qy_port_heavy_barrier(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* Time stands still: what decays with it is kept. */
uint64_t qy_port_clock_ns(void)
{
    return 0;
}

uint64_t qy_port_clock_exact_ns(void)
{
    return 0;
}

uint32_t qy_port_thread(void)
{
    return 1;
}

/* One CPU never finds a lock taken, so nobody sleeps. */
void qy_port_sleep(_Atomic uint32_t *word, uint32_t value)
{
    (void)word;
    (void)value;
}

void qy_port_wake(_Atomic uint32_t *word)
{
    (void)word;
}

void qy_port_yield(void)
{
}

void qy_port_nap(uint64_t ns)
{
    (void)ns;
}

uint32_t *qy_port_held_ranks(void)
{
    static uint32_t held;
    return &held;
}

uint64_t qy_port_look(struct qy_mm *mm, void *address, uint64_t pages, bool *backed)
{
    (void)mm;
    (void)address;
    *backed = true;
    return pages;
}

int qy_port_move(struct qy_mm *mm, void *from, void *to, size_t bytes)
{
    (void)mm;
    (void)from;
    (void)to;
    (void)bytes;
    return -1;
}

void qy_port_copy_pages(struct qy_mm *mm, void *to, const void *from, uint64_t count)
{
    (void)mm;
    __builtin_memcpy(to, from, count << QY_PAGE_SHIFT);
}

void qy_port_clear_pages(struct qy_mm *mm, void *to, uint64_t count)
{
    (void)mm;
    __builtin_memset(to, 0, count << QY_PAGE_SHIFT);
}

/* No addresses but the frames' own: there are no spaces here. */
int qy_port_window_open(struct qy_mm *mm, struct qy_space *space, uint64_t bytes, void **start)
{
    (void)mm;
    (void)space;
    (void)bytes;
    (void)start;
    return -95; /* ENOTSUP */
}

void qy_port_window_close(struct qy_mm *mm, void *start, uint64_t bytes)
{
    (void)mm;
    (void)start;
    (void)bytes;
}

uint64_t qy_port_window_most(struct qy_mm *mm)
{
    (void)mm;
    return UINT64_MAX;
}

_Atomic uint64_t *qy_port_window_count(struct qy_mm *mm)
{
    static _Atomic uint64_t none;
    (void)mm;
    return &none;
}

int qy_port_window_map(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count, uint32_t prot,
                       bool written)
{
    (void)mm;
    (void)address;
    (void)pfn;
    (void)count;
    (void)prot;
    (void)written;
    return -12; /* ENOMEM */
}

void qy_port_window_recall(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count)
{
    (void)mm;
    (void)address;
    (void)pfn;
    (void)count;
}

int qy_port_window_unmap(struct qy_mm *mm, void *address, uint64_t count)
{
    (void)mm;
    (void)address;
    (void)count;
    return -12;
}

int qy_port_window_protect(struct qy_mm *mm, void *address, uint64_t count, uint32_t prot)
{
    (void)mm;
    (void)address;
    (void)count;
    (void)prot;
    return -12;
}
