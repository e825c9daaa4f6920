/*
 * sim.c - virtual CPUs as coroutines, and calls that fail when told to
 *
 * WHAT    A CPU is a stack of its own (ucontext). At a point the running one asks the
 *         schedule who goes on; a schedule is the list of these answers. Trying all lists
 *         with few preemptions finds most errors of interleaving (Musuvathi, Qadeer 2007,
 *         "Iterative context bounding").
 *
 * RULES   Memory is sequentially consistent here; store buffers are tests/spin's matter.
 */
#include "sim.h"

#include "slab/magazine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define STACK_BYTES (256u << 10)
#define MOST_SLOTS 64

struct slot {
    struct qy_mm *mm;
    int cpu;
    struct qy_cpu *slot;
    void *memory;
};

struct virtual_cpu {
    ucontext_t context;
    char *stack;
    bool done;
    _Atomic uint32_t *asleep_on; /* NULL: awake */
    bool polls;                  /* it waits for another one: goes on after the others */
    uint32_t held_ranks;
};

static struct slot slots[MOST_SLOTS];
static unsigned nr_slots;
static int current_cpu;
static uint64_t calls, fail_at, fail_end, lines, wakes;
static char last_line[400];

static struct virtual_cpu cpus[QY_SIM_CPUS];
static unsigned nr_running; /* 0: not within qy_sim_run() */
static unsigned preemptions;
static struct qy_sim_schedule *schedule;
static ucontext_t outside;
static uint32_t held_ranks_outside;
static void (*work_of_all)(int, void *);
static void *argument_of_all;

/* ---- failing ---- */

bool qy_sim_fails(void)
{
    return ++calls >= fail_at && calls < fail_end;
}

void qy_sim_fail_times(uint64_t nth, uint64_t times)
{
    calls = 0;
    fail_at = nth;
    fail_end = nth != 0 ? nth + times : 0;
}

void qy_sim_fail(uint64_t nth)
{
    qy_sim_fail_times(nth, 1);
}

bool qy_sim_failed(void)
{
    return fail_at != 0 && calls >= fail_at;
}

uint64_t qy_sim_wakes(void)
{
    return wakes;
}

uint64_t qy_sim_lines(void)
{
    return lines;
}

const char *qy_sim_last_line(void)
{
    return last_line;
}

static _Noreturn void end(const char *why)
{
    fprintf(stderr, "sim: %s\n", why);
    if (nr_running > 0 && schedule) {
        fprintf(stderr, "sim: choices:");
        for (size_t i = 0; i < schedule->length; i++)
            fprintf(stderr, " %u", schedule->choice[i]);
        fputc('\n', stderr);
    }
    abort();
}

/* ---- who goes on ---- */

static bool can_go_on(const struct virtual_cpu *cpu)
{
    return !cpu->done && !cpu->asleep_on;
}

/* The CPUs that may go on, the current one first, those that poll only if there is no other. */
static unsigned candidates(int *list)
{
    unsigned count = 0;
    for (unsigned pass = 0; pass < 2 && count == 0; pass++)
        for (unsigned i = 0; i < nr_running; i++) {
            int cpu = (current_cpu + (int)i) % (int)nr_running;
            if (can_go_on(&cpus[cpu]) && (pass == 1 || !cpus[cpu].polls))
                list[count++] = cpu;
        }
    return count;
}

static int choose(void)
{
    int list[QY_SIM_CPUS];
    unsigned count = candidates(list);

    if (count == 0)
        return -1;
    bool forced = list[0] != current_cpu;
    if (!forced && preemptions == 0)
        count = 1;
    if (schedule->length == QY_SIM_POINTS)
        end("the run is longer than any schedule");
    size_t at = schedule->length++;
    if (schedule->choice[at] >= count)
        end("the run is not the one that the schedule was made for");
    schedule->choices[at] = (uint8_t)count;
    if (!forced && schedule->choice[at] != 0)
        preemptions--;
    return list[schedule->choice[at]];
}

static void switch_to(ucontext_t *from, int cpu)
{
    current_cpu = cpu;
    cpus[cpu].polls = false;
    swapcontext(from, &cpus[cpu].context);
}

static void go_on(void)
{
    int me = current_cpu;
    int next = choose();

    if (next < 0)
        end("deadlock: everybody sleeps");
    cpus[me].polls = false;
    if (next != me)
        switch_to(&cpus[me].context, next);
}

void qy_sim_point(void)
{
    if (nr_running > 0)
        go_on();
}

static void begin(void)
{
    int me = current_cpu;
    work_of_all(me, argument_of_all);
    cpus[me].done = true;
    int next = choose();
    if (next >= 0)
        switch_to(&cpus[me].context, next);
    for (unsigned i = 0; i < nr_running; i++)
        if (!cpus[i].done)
            end("deadlock: somebody sleeps for ever");
    swapcontext(&cpus[me].context, &outside);
}

void qy_sim_run(struct qy_sim_schedule *chosen, unsigned count, void (*work)(int, void *),
                void *argument)
{
    int before = current_cpu;

    schedule = chosen;
    schedule->length = 0;
    preemptions = schedule->preemptions;
    work_of_all = work;
    argument_of_all = argument;
    for (unsigned i = 0; i < count; i++) {
        char *stack = cpus[i].stack ? cpus[i].stack : malloc(STACK_BYTES);
        cpus[i] = (struct virtual_cpu){.stack = stack};
        getcontext(&cpus[i].context);
        cpus[i].context.uc_stack = (stack_t){.ss_sp = stack, .ss_size = STACK_BYTES};
        cpus[i].context.uc_link = NULL;
        makecontext(&cpus[i].context, begin, 0);
    }
    nr_running = count;
    switch_to(&outside, 0);
    nr_running = 0;
    current_cpu = before;
}

bool qy_sim_next(struct qy_sim_schedule *last)
{
    size_t at = last->length;
    while (at > 0 && last->choice[at - 1] + 1 >= last->choices[at - 1])
        at--;
    if (at == 0)
        return false;
    last->choice[at - 1]++;
    memset(last->choice + at, 0, sizeof(last->choice) - at);
    return true;
}

/* ---- slots ---- */

void qy_sim_reset(void)
{
    for (unsigned i = 0; i < nr_slots; i++) {
        free(slots[i].slot);
        free(slots[i].memory);
    }
    qy_sim_windows_reset();
    nr_slots = 0;
    current_cpu = 0;
    calls = fail_at = fail_end = lines = wakes = 0;
    last_line[0] = '\0';
    held_ranks_outside = 0;
}

void qy_sim_cpu(int cpu)
{
    current_cpu = cpu;
}

struct qy_cpu *qy_port_cpu(const struct qy_mm *mm, uint32_t port_index)
{
    (void)port_index;
    for (unsigned i = 0; i < nr_slots; i++)
        if (slots[i].mm == mm && slots[i].cpu == current_cpu)
            return slots[i].slot;
    return NULL;
}

static void *zeroed(size_t bytes)
{
    size_t whole = (bytes + QY_CACHE_LINE - 1) / QY_CACHE_LINE * QY_CACHE_LINE;
    void *memory = aligned_alloc(QY_CACHE_LINE, whole);
    if (!memory)
        end("no memory for a slot");
    return memset(memory, 0, whole);
}

struct qy_cpu *qy_port_attach(struct qy_mm *mm)
{
    if (current_cpu < 0 || nr_slots == MOST_SLOTS || qy_sim_fails())
        return NULL;
    struct slot *slot = &slots[nr_slots++];
    *slot = (struct slot){mm, current_cpu, zeroed(sizeof(struct qy_cpu)), zeroed(qy_cpu_bytes(mm))};
    qy_cpu_attach(mm, slot->slot, slot->memory);
    return slot->slot;
}

uint32_t *qy_port_held_ranks(void)
{
    return nr_running > 0 ? &cpus[current_cpu].held_ranks : &held_ranks_outside;
}

/* ---- the rest ---- */

_Noreturn void qy_port_panic(const char *why)
{
    end(why ? why : last_line);
}

void qy_port_write(const char *text, size_t bytes)
{
    lines++;
    snprintf(last_line, sizeof(last_line), "%.*s", (int)bytes, text);
}

/* What a test hands in as memory is private and anonymous: the kernel clears it again, and
 * until it is committed a test may have it out of reach. */
static int fresh(void *address, size_t bytes)
{
    if (mprotect(address, bytes, PROT_READ | PROT_WRITE) != 0)
        end("memory is committed where the test has none");
    return madvise(address, bytes, MADV_DONTNEED) == 0 ? 0 : -ENOMEM;
}

int qy_port_commit(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    return qy_sim_fails() ? -ENOMEM : fresh(address, bytes);
}

int qy_port_decommit(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    qy_sim_point(); /* a system call takes time */
    return qy_sim_fails() ? -ENOMEM : fresh(address, bytes);
}

void qy_port_clear(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    memset(address, 0, bytes);
}

int qy_port_protect(struct qy_mm *mm, void *address, size_t bytes, bool accessible)
{
    (void)mm;
    if (qy_sim_fails())
        return -ENOMEM;
    return mprotect(address, bytes, accessible ? PROT_READ | PROT_WRITE : PROT_NONE) == 0 ? 0
                                                                                          : -errno;
}

void qy_port_abandon(struct qy_mm *mm)
{
    (void)mm; /* all of it is the test's */
}

void qy_port_populate(struct qy_mm *mm, void *address, size_t bytes)
{
    (void)mm;
    (void)address;
    (void)bytes;
}

/* Memory is there as soon as it is written. */
bool qy_port_populate_huge(struct qy_mm *mm, void *block, void *address, size_t bytes)
{
    (void)mm;
    (void)block;
    (void)address;
    (void)bytes;
    return !qy_sim_fails();
}

void qy_port_heavy_barrier(void)
{
    qy_sim_point();
}

/* A millisecond passes with each look at the clock. */
uint64_t qy_port_clock_ns(void)
{
    static uint64_t now;
    return now += 1000000;
}

uint64_t qy_port_clock_exact_ns(void)
{
    return qy_port_clock_ns();
}

uint32_t qy_port_thread(void)
{
    return (uint32_t)(current_cpu + 2); /* 1: the CPU without a slot */
}

void qy_port_sleep(_Atomic uint32_t *word, uint32_t value)
{
    if (qy_sim_fails() || atomic_load(word) != value)
        return;
    if (nr_running == 0)
        end("deadlock: the only CPU sleeps");
    cpus[current_cpu].asleep_on = word;
    go_on();
}

void qy_port_wake(_Atomic uint32_t *word)
{
    wakes++;
    for (unsigned i = 0; i < nr_running; i++)
        if (cpus[i].asleep_on == word)
            cpus[i].asleep_on = NULL;
    qy_sim_point();
}

void qy_port_yield(void)
{
    if (nr_running == 0)
        return;
    cpus[current_cpu].polls = true;
    go_on();
}

void qy_port_nap(uint64_t ns)
{
    (void)ns;
    qy_port_yield();
}

static bool is_zero(const char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, QY_PAGE_BYTES - 1) == 0;
}

/* What reads as zero is taken for memory that is not there. */
uint64_t qy_port_look(struct qy_mm *mm, void *address, uint64_t pages, bool *backed)
{
    const char *page = address;
    uint64_t count = 1;
    (void)mm;
    qy_sim_point();
    *backed = !is_zero(page);
    while (count < pages && is_zero(page + (count << QY_PAGE_SHIFT)) != *backed)
        count++;
    return count;
}

int qy_port_move(struct qy_mm *mm, void *from, void *to, size_t bytes)
{
    (void)mm;
    if (qy_sim_fails())
        return -ENOMEM;
    memcpy(to, from, bytes);
    return fresh(from, bytes);
}

void qy_port_copy_pages(struct qy_mm *mm, void *to, const void *from, uint64_t count)
{
    (void)mm;
    memcpy(to, from, count << QY_PAGE_SHIFT);
}

void qy_port_clear_pages(struct qy_mm *mm, void *to, uint64_t count)
{
    (void)mm;
    qy_sim_point();
    memset(to, 0, count << QY_PAGE_SHIFT);
}
