/*
 * wait.c - barriers, sleeping, clocks and last words
 *
 * WHAT    membarrier(2) is the heavy half of the asymmetric fence. Where it is refused, a
 *         page's protection is taken away instead: that interrupts every processor which
 *         runs a thread of this process, and an interrupt orders memory.
 *
 * LOCKS   the substitute's page has one of its own.
 *
 * COST    membarrier 0.2 us; the substitute some microseconds.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "base/lock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic bool have_membarrier;
static char *interrupt_page;
static struct qy_lock interrupt_lock = {0, QY_RANK_ZONE};

void qy_linux_barrier_init(void)
{
    int saved = errno;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0) {
        have_membarrier = true;
    } else if (interrupt_page == NULL) {
        char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED)
            qy_port_panic("quarry: no membarrier(2), and no page for its substitute\n");
        interrupt_page = page;
    }
    errno = saved;
}

static void interrupt_all(void)
{
    qy_lock(&interrupt_lock);
    if (mprotect(interrupt_page, 4096, PROT_READ | PROT_WRITE) != 0)
        qy_port_panic("quarry: mprotect failed, and no membarrier(2)\n");
    *interrupt_page = 1;
    if (mprotect(interrupt_page, 4096, PROT_NONE) != 0)
        qy_port_panic("quarry: mprotect failed, and no membarrier(2)\n");
    qy_unlock(&interrupt_lock);
}

void qy_port_heavy_barrier(void)
{
    int saved = errno;
    atomic_thread_fence(memory_order_seq_cst);
    if (!have_membarrier || syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
        if (interrupt_page == NULL)
            qy_linux_barrier_init();
        if (interrupt_page != NULL)
            interrupt_all();
        else
            syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    }
    errno = saved;
}

uint32_t qy_port_thread(void)
{
    return (uint32_t)syscall(SYS_gettid);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t qy_port_clock_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t qy_port_clock_exact_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

void qy_port_sleep(_Atomic uint32_t *word, uint32_t value)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    errno = saved;
}

void qy_port_wake(_Atomic uint32_t *word)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    errno = saved;
}

void qy_port_yield(void)
{
    sched_yield();
}

void qy_port_nap(uint64_t ns)
{
    const struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    int saved = errno;
    nanosleep(&time, NULL);
    errno = saved;
}

void qy_port_write(const char *text, size_t bytes)
{
    int saved = errno;
    while (bytes > 0) {
        ssize_t written = write(STDERR_FILENO, text, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        text += written;
        bytes -= (size_t)written;
    }
    errno = saved;
}

_Noreturn void qy_port_panic(const char *why)
{
    if (why != NULL)
        qy_port_write(why, strlen(why));
    abort();
}

uint32_t *qy_port_held_ranks(void)
{
    static _Thread_local uint32_t held;
    return &held;
}
