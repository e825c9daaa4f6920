/*
 * sampling.c - when an allocation gets a page of its own between guards
 *
 * WHAT    One in an interval of time does (slab/sampled.c). Whether it is time is asked in slow
 *         halves alone, which are taken anyway. The one that finds so takes a block of the pool;
 *         or by chance, or because it is a free or wants more than a page, it closes its slot's
 *         gate: the slot's table has no class for small sizes then, so the next small
 *         allocation is a slow one as well, and opens it. So what is allocated and freed in turn,
 *         and never leaves the fast path by itself, is sampled too, if the thread makes any slow
 *         call: who makes none for a while is not sampled for that while.
 *
 *         The fuller the pool, the longer the interval: blocks that live long use it up slowly.
 *         The pool is made for the first sample, of at most a sixty-fourth of what memory may be.
 *
 * RULES   D6  in slab/sampled.c.
 *
 * LOCKS   A gate belongs to its slot's owner. Who sets `making` makes the pool; who moves next_ns
 *         has the sample. Nobody waits here.
 *
 * COST    Off: a comparison in the slow halves. On: there a countdown; one in up to 256 looks at
 *         the clock, some sixteen times in an interval.
 */
#include "slab/sampled.h"

#include "slab/kmalloc.h"

/** 2 MiB of pages, guards and slots; fewer, so that it is no more than a part of the memory. */
#define MOST_SLOTS 248u
#define LEAST_SLOTS 7u
#define POOL_PART 64
/** The interval doubles with each of so many parts of the pool that are live. */
#define PARTS 8
/** A slot that makes slow calls looks at the clock so often in an interval. */
#define LEAST_LOOKS 16
/** Of an interval so long, doubled for each part, the end is a time that a clock can still show. */
#define LONGEST_NS (UINT64_MAX >> (PARTS + 2))

uint64_t qy_sample_draw(struct qy_sampling *sampling)
{
    uint64_t random = atomic_load_explicit(&sampling->random, memory_order_relaxed);
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    atomic_store_explicit(&sampling->random, random, memory_order_relaxed);
    return random;
}

void qy_sampling_start(struct qy_mm *mm, uint64_t interval_ns)
{
    struct qy_sampling *sampling = &mm->sampling;
    uint64_t now = qy_port_clock_exact_ns();
    atomic_init(&sampling->random, (now ^ mm->base) | 1);
    sampling->interval_ns = interval_ns < LONGEST_NS ? interval_ns : LONGEST_NS;
    if (interval_ns == 0)
        __builtin_memset(mm->class_of, QY_TAG_NONE, sizeof(mm->class_of));
    else /* of programs that are soon over, some are sampled */
        atomic_init(&sampling->next_ns, now + qy_sample_draw(sampling) % sampling->interval_ns);
    sampling->on = true;
}

/* ---- when ---- */

/** From now on the slot's small sizes have no class: to allocate one takes the slow half. That
 *  asks, for looks_in is 0 while the gate is closed. */
static void close_gate(struct qy_cpu *cpu)
{
    if (cpu == NULL)
        return;
    __builtin_memset(cpu->class_of, QY_TAG_NONE, sizeof(cpu->class_of));
    cpu->looks_in = 0;
}

/** False: it was open, or never is. */
static bool open_gate(struct qy_mm *mm, struct qy_cpu *cpu)
{
    if (cpu == NULL || cpu->class_of[0] == mm->class_of[0])
        return false;
    __builtin_memcpy(cpu->class_of, mm->class_of, sizeof(cpu->class_of));
    return true;
}

/** The slot looks at the clock now. Who does often does less often from now on, but not so that it
 *  would matter. */
static void pace(const struct qy_sampling *sampling, struct qy_cpu *cpu, uint64_t now)
{
    if (cpu == NULL || sampling->interval_ns == 0)
        return;
    bool often = now - cpu->looked_ns < sampling->interval_ns / LEAST_LOOKS;
    cpu->looks_every = (uint8_t)(often ? cpu->looks_every << 1 | 1 : cpu->looks_every >> 1);
    cpu->looks_in = cpu->looks_every;
    cpu->looked_ns = now;
}

static bool is_due(const struct qy_sampling *sampling, uint64_t now)
{
    return now >= atomic_load_explicit(&sampling->next_ns, memory_order_relaxed);
}

void qy_sample_soon(struct qy_mm *mm)
{
    struct qy_cpu *cpu = qy_port_cpu(mm, mm->port_index);
    if (mm->sampling.interval_ns == 0 || !qy_sample_asks(mm))
        return;
    uint64_t now = qy_port_clock_ns();
    pace(&mm->sampling, cpu, now);
    if (is_due(&mm->sampling, now))
        close_gate(cpu);
    else
        open_gate(mm, cpu);
}

/** The sample is this caller's, and the next one's time is set. False: somebody else was faster. */
static bool take_turn(struct qy_sampling *sampling, const struct qy_sample_pool *pool, uint64_t now)
{
    uint64_t due = atomic_load_explicit(&sampling->next_ns, memory_order_relaxed);
    uint64_t parts = pool != NULL ? sampling->nr_live * PARTS / pool->nr_slots : 0;
    return sampling->interval_ns == 0 ||
           (now >= due && atomic_compare_exchange_strong(&sampling->next_ns, &due,
                                                         now + (sampling->interval_ns << parts)));
}

/* ---- the pool ---- */

/** For the slots themselves: with the guard that follows an even number, for slabs are aligned. */
static uint64_t frames_of_slots(unsigned nr_slots)
{
    return qy_frames_for(sizeof(struct qy_sample_pool) + nr_slots * sizeof(struct qy_sample_slot)) |
           1;
}

static uint64_t frames_of_pool(unsigned nr_slots)
{
    return frames_of_slots(nr_slots) + 1 + 2 * (uint64_t)nr_slots;
}

/** As many slots as are no more than a part of what there may be; 0: too few. */
static unsigned choose_slots(const struct qy_mm *mm)
{
    uint64_t most = mm->options.limit_pages != 0 ? mm->options.limit_pages
                    : mm->options.grow           ? mm->nr_frames
                                                 : atomic_load(&mm->managed);
    unsigned nr_slots = MOST_SLOTS;
    while (nr_slots >= LEAST_SLOTS && frames_of_pool(nr_slots) > most / POOL_PART)
        nr_slots /= 2;
    return nr_slots >= LEAST_SLOTS ? nr_slots : 0;
}

/** A run of frames, out of reach but for the slots. NULL: there is none, or it cannot be. */
static struct qy_sample_pool *make_frames(struct qy_mm *mm, unsigned nr_slots)
{
    struct qy_request request;
    bool fresh;
    uint64_t nr_frames = frames_of_pool(nr_slots), own = frames_of_slots(nr_slots);
    if (nr_slots == 0 || !qy_request_read(&request, 0, QY_GFP_NOWAIT, 0))
        return NULL;
    qy_pfn_t pfn = qy_take_run(mm, &request, nr_frames, 1, &fresh);
    if (pfn == QY_PFN_NONE)
        return NULL;
    struct qy_sample_pool *pool = qy_frame_address(mm, pfn);
    char *guard = (char *)pool + (own << QY_PAGE_SHIFT);
    size_t bytes = (nr_frames - own) << QY_PAGE_SHIFT;
    if (qy_port_protect(mm, guard, bytes, false) != 0) {
        int code = qy_port_protect(mm, guard, bytes, true); /* if part of it was */
        (void)code;
        qy_give_run(mm, pfn, nr_frames, fresh);
        return NULL;
    }
    pool->first = qy_frame_index(mm, pfn) + own + 1;
    pool->nr_slots = nr_slots;
    qy_tag_set(&mm->tags[pool->first - 1], QY_TAG_GUARD);
    atomic_store_explicit(&mm->sampling.nr_frames, nr_frames - own, memory_order_relaxed);
    return pool;
}

static struct qy_sample_pool *make_pool(struct qy_mm *mm)
{
    struct qy_sampling *sampling = &mm->sampling;
    if (atomic_exchange(&sampling->making, true))
        return NULL;
    struct qy_sample_pool *pool = atomic_load(&sampling->pool);
    if (sampling->cache == NULL)
        sampling->cache = qy_cache_make_sampled(mm);
    if (pool == NULL && sampling->cache != NULL) {
        pool = make_frames(mm, choose_slots(mm));
        atomic_store(&sampling->pool, pool);
    }
    atomic_store(&sampling->making, false);
    return pool;
}

void *qy_sample(struct qy_mm *mm, size_t bytes, size_t align, qy_gfp_t gfp)
{
    struct qy_sampling *sampling = &mm->sampling;
    struct qy_cpu *cpu = qy_port_cpu(mm, mm->port_index);
    uint64_t now = qy_port_clock_ns();
    bool was_closed = open_gate(mm, cpu), always = sampling->interval_ns == 0;
    pace(sampling, cpu, now);
    if (!is_due(sampling, now))
        return NULL;
    if (bytes > QY_PAGE_BYTES || align > QY_PAGE_BYTES || !(gfp & QY_GFP_DIRECT_RECLAIM) ||
        (!was_closed && !always && (qy_sample_draw(sampling) & 1))) {
        close_gate(always ? NULL : cpu);
        return NULL;
    }
    struct qy_sample_pool *pool = atomic_load_explicit(&sampling->pool, memory_order_acquire);
    if (!take_turn(sampling, pool, now))
        return NULL;
    if (pool == NULL)
        pool = make_pool(mm);
    return pool != NULL ? qy_sampled_take(mm, pool, bytes, align, gfp) : NULL;
}
