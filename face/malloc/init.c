/*
 * init.c - the instance behind malloc: made at the first call, from anywhere
 *
 * WHAT    The first call may come before any constructor has run, from the loader itself.
 *         So nothing here needs more than system calls; what needs the C library
 *         (pthread_atfork may allocate) waits for this library's constructor.
 *
 *         If the system refuses the memory to begin with, malloc returns NULL, and the next
 *         call tries again.
 *
 * RULES   I1  qy_malloc_mm is written once with what is not NULL.
 *
 * LOCKS   state: whoever changes it from NONE to MAKING makes it; others wait.
 *
 * COST    A load and a comparison, off the fast path.
 */
#define _GNU_SOURCE
#include "malloc.h"
#include "settings.h"

#include "../../port/linux/linux.h"
#include "slab/sampled.h"

#include <quarry/slab.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    NONE,
    MAKING,
    MADE
};

struct qy_mm *qy_malloc_mm;
static _Atomic int state;

/* ---- settings ---- */

const char *qy_malloc_value_of(const char *entry, const char *name)
{
    while (*name != '\0' && *entry == *name)
        entry++, name++;
    return *name == '\0' && *entry == '=' ? entry + 1 : NULL;
}

_Noreturn void qy_malloc_refuse(const char *name, const char *value, const char *expected)
{
    const char *parts[] = {"quarry: ", name, "=", value, ": ", expected, "\n"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        qy_port_write(parts[i], strlen(parts[i]));
    _exit(125);
}

enum {
    LIMIT,
    HARDEN,
    CHECK,
    CMA,
    SAMPLE,
    NR_NAMES
};

static const char names[NR_NAMES][16] = {"QUARRY_LIMIT", "QUARRY_HARDEN", "QUARRY_CHECK",
                                         "QUARRY_CMA", "QUARRY_SAMPLE"};

/** The first of several entries counts, as with getenv(). */
static void read_entry(const char *values[NR_NAMES], const char *entry)
{
    for (unsigned i = 0; i < NR_NAMES && *entry == 'Q'; i++)
        if (values[i] == NULL)
            values[i] = qy_malloc_value_of(entry, names[i]);
}

/** 0: it is not set. What is set to something else than @read takes ends the program. */
static uint64_t number_of(const char *name, const char *value,
                          bool (*read)(const char *value, uint64_t *number), const char *expected)
{
    uint64_t number = 0;
    if (value != NULL && *value != '\0' && !read(value, &number))
        qy_malloc_refuse(name, value, expected);
    return number;
}

static bool is_on(const char *name, const char *value)
{
    return number_of(name, value, qy_setting_switch, "expected " QY_EXPECTED_SWITCH) != 0;
}

/** Whoever reads it comes later, and the environment may be gone by then. */
static void copy_cma(struct qy_malloc_settings *settings, const char *value)
{
    if (value == NULL || *value == '\0')
        return;
    if (qy_malloc_reserve == NULL)
        qy_malloc_refuse(names[CMA], value,
                         "libquarry-whole.so can do that, in the place of libquarry-malloc.so");
    if (strlen(value) >= sizeof(settings->cma))
        qy_malloc_refuse(names[CMA], value, "expected " QY_EXPECTED_REGION);
    strcpy(settings->cma, value);
}

static struct qy_malloc_settings parse(const char *const values[NR_NAMES])
{
    struct qy_malloc_settings settings = {0};
    settings.limit_bytes =
        number_of(names[LIMIT], values[LIMIT], qy_setting_bytes, "expected " QY_EXPECTED_BYTES);
    copy_cma(&settings, values[CMA]);
    settings.harden = is_on(names[HARDEN], values[HARDEN]);
    settings.check = is_on(names[CHECK], values[CHECK]);
    settings.sample_ms = number_of(names[SAMPLE], values[SAMPLE], qy_setting_interval,
                                   "expected " QY_EXPECTED_INTERVAL);
    if (settings.harden) { /* which finds more */
        settings.check = false;
        settings.sample_ms = 0;
    }
    return settings;
}

/** The C library does not know its environment yet; the kernel does. */
static __attribute__((noinline)) struct qy_malloc_settings read_early(void)
{
    char text[8192];
    const char *values[NR_NAMES] = {NULL};
    int fd = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
    ssize_t bytes = fd >= 0 ? read(fd, text, sizeof(text) - 2) : 0;
    if (fd >= 0)
        close(fd);
    bytes = bytes > 0 ? bytes : 0;
    text[bytes] = text[bytes + 1] = '\0';
    for (const char *at = text; *at != '\0'; at += strlen(at) + 1)
        read_entry(values, at);
    return parse(values);
}

void qy_malloc_read_settings(struct qy_malloc_settings *settings)
{
    const char *values[NR_NAMES] = {NULL};
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        read_entry(values, *entry);
    *settings = environ != NULL ? parse(values) : read_early();
}

/* ---- the instance ---- */

static struct qy_cpu *own_slot(void)
{
    return &qy_malloc_cpu;
}

static struct qy_mm *make(const struct qy_malloc_settings *settings)
{
    struct qy_linux_options options = {
        .limit_bytes = settings->limit_bytes,
        .kmalloc_flags = settings->harden ? QY_SLAB_RED_ZONE | QY_SLAB_ZERO_ON_FREE |
                                                QY_SLAB_RANDOM | QY_SLAB_CHECK_FREE
                                          : 0,
    };
    struct qy_mm *mm = qy_malloc_create_movable != NULL ? qy_malloc_create_movable(&options)
                                                        : qy_linux_heap_create(&options, NULL);
    if (mm == NULL)
        return NULL;
    if (settings->check && !qy_malloc_know(mm))
        qy_malloc_refuse("QUARRY_CHECK", "1", "no range of addresses for it");
    uint64_t ms = settings->sample_ms;
    if (ms != 0)
        qy_sampling_start(mm, ms == QY_SAMPLE_ALL ? 0 : ms * UINT64_C(1000000));
    mm->panic_on_fault = true;
    qy_linux_slots_in(mm, own_slot);
    return mm;
}

static __attribute__((noinline)) struct qy_mm *make_once(void)
{
    int expected = NONE;
    int saved = errno;
    if (atomic_compare_exchange_strong(&state, &expected, MAKING)) {
        struct qy_malloc_settings settings;
        qy_malloc_read_settings(&settings);
        qy_malloc_mm = make(&settings);
        if (qy_malloc_mm != NULL && (settings.harden || settings.sample_ms != 0))
            qy_malloc_explain_faults();
        atomic_store(&state, qy_malloc_mm != NULL ? MADE : NONE);
        if (qy_unlikely(qy_malloc_board != NULL))
            qy_malloc_report_watch(qy_malloc_mm);
        if (qy_malloc_mm != NULL && qy_malloc_reserve != NULL && settings.cma[0] != '\0')
            qy_malloc_reserve(qy_malloc_mm, names[CMA], settings.cma);
    }
    while (atomic_load(&state) == MAKING)
        sched_yield();
    errno = saved;
    return qy_malloc_mm;
}

struct qy_mm *qy_malloc_get_mm(void)
{
    if (qy_likely(atomic_load_explicit(&state, memory_order_acquire) == MADE))
        return qy_malloc_mm;
    return make_once();
}

__attribute__((constructor)) static void start(void)
{
    qy_malloc_watch_fork();
}

__attribute__((destructor)) static void end(void)
{
    if (qy_malloc_mm != NULL && qy_malloc_mm->hardened)
        qy_malloc_look_over(qy_malloc_mm);
    qy_malloc_report_end(qy_malloc_mm, QY_END_EXIT);
}
