/*
 * decay.c - when free memory goes back to the system
 *
 * WHAT    Memory that is free may be wanted again in a moment, or never: nobody knows. So
 *         some is kept, and what is more goes back. If what went is wanted again within a
 *         second, that was a mistake: from then on as much is kept as was held. Of that, what
 *         nobody used for a while is given up again, a quarter at a time, down to 16 MiB: each
 *         second, or, as long as that is a mistake, too, every fourth.
 *
 *           one big working set, freed for good      goes back at once
 *           filled and emptied over and over         goes back once, then stays
 *
 *         Where a large block takes new memory although other memory is free, in smaller pieces,
 *         both would be held. So these pieces go back before the block is written to, as long
 *         as more is held than ever (exchange()). Not for realloc: what it leaves is where the
 *         next one goes.
 *
 * RULES   V1  Nothing goes back while at most `keep` plus an eighth of what is in use is free,
 *             but for V2.
 *         V2  What goes back for new memory is no more than that, and in all no more than an
 *             eighth of what is held.
 *
 * LOCKS   deciding: one thread at a time; another one has nothing to do here.
 *
 * COST    A few loads a call, off the fast path. Dropping costs a system call for 2 MiB.
 */
#include "malloc.h"

#include "base/round.h"
#include "buddy/alloc.h"
#include "slab/holes.h"
#include "slab/run_depot.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>

#define LEAST_KEPT (UINT64_C(16) << 20 >> QY_PAGE_SHIFT)
/** What may lie idle in caches, beside 1/64 of what is in use. */
#define LEAST_IDLE (UINT64_C(1) << 20 >> QY_PAGE_SHIFT)
/** Of what is free this much stays when memory grows: so much, and a part of what is in use. */
#define LEAST_SPARE (UINT64_C(512) << 10 >> QY_PAGE_SHIFT)
#define SPARE_PART 64
/** Memory has grown when it is larger than ever by so much, and by a part of it. */
#define LEAST_GROWTH (UINT64_C(1) << 20 >> QY_PAGE_SHIFT)
#define GROWTH_PART 64
/** Which part of it may have been given back for that, in all. */
#define MOST_PART 8
/** Slow frees between two looks into the caches. */
#define CALLS_PER_LOOK 32
#define SECOND UINT64_C(1000000000)
/** Between two steps by which the allowance shrinks, at most. */
#define MOST_PATIENCE (4 * SECOND)

/** In frames; written by whoever is deciding. */
static _Atomic uint64_t keep = LEAST_KEPT;
static _Atomic uint64_t most_held; /* in use, or free and not given back, as large blocks saw it */
static uint64_t exchanged;         /* dropped because a large block took new memory */
static uint64_t held_after;        /* in use, or free and not given back, after the last drop */
static uint64_t dropped;           /* by the last drop */
static uint64_t dropped_ns;        /* when; 0: never */
static uint64_t patience = SECOND; /* between two steps of shrink(): longer after mistakes */
static uint64_t shrunk_ns;         /* when keep was last looked at, to be reduced */
static _Atomic uint64_t unused = UINT64_MAX; /* the least that was free and not given back since */
static uint64_t idle_after;                  /* in caches, after they were last emptied */
static _Atomic bool deciding;

/** In frames. */
struct held {
    uint64_t used;
    uint64_t backed; /* free and not given back; large runs that all slots share are free here */
};

static struct held look(const struct qy_mm *mm)
{
    struct held held = {.used = qy_used_frames(mm), .backed = 0};
    const struct qy_zone *zone;
    qy_for_each_zone (zone, mm, 0)
        held.backed += qy_zone_backed(mm, zone);
    uint64_t kept = qy_run_depot_frames(mm);
    held.used -= kept < held.used ? kept : held.used;
    held.backed += kept;
    return held;
}

static uint64_t allowance(const struct held *held)
{
    return atomic_load_explicit(&keep, memory_order_relaxed) + held->used / 8;
}

/** Where @backed is free, and not given back: this little of it was unused. */
static void note_unused(uint64_t backed)
{
    if (backed < atomic_load_explicit(&unused, memory_order_relaxed))
        atomic_store_explicit(&unused, backed, memory_order_relaxed);
}

static void shrink(uint64_t now)
{
    if (now - shrunk_ns < patience)
        return;
    uint64_t frames = atomic_load_explicit(&keep, memory_order_relaxed);
    uint64_t idle = atomic_exchange_explicit(&unused, UINT64_MAX, memory_order_relaxed);
    for (; now - shrunk_ns >= patience && frames > LEAST_KEPT && idle > 0; shrunk_ns += patience) {
        uint64_t less = frames / 4 < idle ? frames / 4 : idle;
        frames -= less;
        idle -= less;
    }
    shrunk_ns = now;
    atomic_store_explicit(&keep, frames > LEAST_KEPT ? frames : LEAST_KEPT, memory_order_relaxed);
}

/** How much of an allowance is left by a drop, so that the next one is not the next call's: half,
 *  but where more was wanted before, not much less than is. */
static uint64_t least_left(uint64_t allowed)
{
    bool learned = atomic_load_explicit(&keep, memory_order_relaxed) > LEAST_KEPT;
    return learned ? allowed - allowed / 8 : allowed / 2;
}

/** Whole pageblocks first. If that is not enough, objects that lie idle in caches keep others
 *  from being whole; and if even that does not help, what is left is kept. */
static uint64_t drop(struct qy_mm *mm, const struct held *held)
{
    uint64_t allowed = allowance(held);
    qy_run_depot_drain(mm);
    uint64_t left = least_left(allowed);
    uint64_t frames = qy_trim_whole(mm, left);
    if (held->backed - frames <= allowed)
        return frames;
    qy_kmem_cache_shrink_all(mm);
    idle_after = qy_slab_idle(mm);
    frames += qy_mm_trim(mm, left);
    struct held now = look(mm);
    if (now.backed > allowed)
        atomic_store_explicit(&keep, now.backed, memory_order_relaxed);
    return frames;
}

/** Little more than ever is no growth: then nobody has to look at all pageblocks. */
static bool has_outgrown(const struct held *held)
{
    uint64_t most = atomic_load_explicit(&most_held, memory_order_relaxed);
    return held->used + held->backed > most + most / GROWTH_PART + LEAST_GROWTH;
}

/** So much has been held, and is no growth when it is held again. */
static void remember(uint64_t all)
{
    uint64_t most = atomic_load_explicit(&most_held, memory_order_relaxed);
    while (all > most && !atomic_compare_exchange_weak(&most_held, &most, all))
        ;
}

/** A large block lies in new memory, which will be written to. What is free in places that did not
 *  do for it goes back in its stead; but in all no more than a part of what is held, for who takes
 *  and frees large blocks at random would have it back in a moment. */
static void exchange(struct qy_mm *mm, const struct held *held)
{
    uint64_t most = atomic_load_explicit(&most_held, memory_order_relaxed);
    uint64_t all = held->used + held->backed;
    uint64_t spare = LEAST_SPARE + held->used / SPARE_PART;
    uint64_t less = held->backed > spare ? held->backed - spare : 0, left = all / MOST_PART;
    less = qy_least(less, all > most ? all - most : 0);
    less = qy_least(less, left > exchanged ? left - exchanged : 0);
    if (less > 0) {
        qy_run_depot_drain(mm);
        uint64_t gone = qy_mm_trim(mm, held->backed - less);
        exchanged += gone;
        all -= qy_least(gone, all); /* others may have freed meanwhile */
    }
    remember(all);
}

static void decide(struct qy_mm *mm, const struct held *held)
{
    uint64_t now = qy_port_clock_ns();
    uint64_t all = held->used + held->backed;
    bool wanted_again =
        dropped_ns != 0 && now - dropped_ns < SECOND && all >= held_after + dropped / 2;
    if (wanted_again) {
        atomic_store_explicit(&keep, all, memory_order_relaxed);
        shrunk_ns = now;
        patience = patience < MOST_PATIENCE ? patience * 2 : MOST_PATIENCE;
        return;
    }
    patience = dropped_ns != 0 && now - dropped_ns >= SECOND ? SECOND : patience;
    dropped = drop(mm, held);
    held_after = all - dropped;
    dropped_ns = now;
}

/** Caches may hold free objects on nearly every page: they give up what they can when this has
 *  grown by a quarter. If half of what is in use is idle even then, the pages
 *  between the live objects lose their memory. */
static void empty_caches(struct qy_mm *mm, const struct held *held)
{
    uint64_t idle = qy_slab_idle(mm);
    if (idle < idle_after)
        idle_after = idle;
    if (idle <= idle_after + idle_after / 4 + LEAST_IDLE + held->used / 64)
        return;
    qy_kmem_cache_shrink_all(mm);
    idle_after = qy_slab_idle(mm);
    if (idle_after > LEAST_KEPT + held->used / 2)
        qy_slab_trim(mm);
}

/** More memory came online: before it is written to, what lies idle in caches may do instead.
 *  Only slow frees put anything there, so it is soon enough to ask at one. */
static bool has_grown(const struct qy_mm *mm)
{
    static _Atomic uint64_t seen;
    uint64_t managed = atomic_load_explicit(&mm->managed, memory_order_relaxed);
    return atomic_load_explicit(&seen, memory_order_relaxed) != managed &&
           atomic_exchange_explicit(&seen, managed, memory_order_relaxed) != 0;
}

void qy_malloc_decay_in_child(void)
{
    atomic_store(&deciding, false);
}

void qy_malloc_decay_taken(struct qy_mm *mm)
{
    struct held held = look(mm);
    note_unused(held.backed);
    if (!has_outgrown(&held) || atomic_exchange(&deciding, true))
        return;
    held = look(mm);
    if (has_outgrown(&held))
        exchange(mm, &held);
    atomic_store(&deciding, false);
}

/** @held: what is, just now. */
static void decay(struct qy_mm *mm, struct held held)
{
    static _Thread_local unsigned calls __attribute__((tls_model("initial-exec")));
    bool look_closer = has_grown(mm) || ++calls % CALLS_PER_LOOK == 0;
    note_unused(held.backed);
    if (!look_closer && held.backed <= allowance(&held))
        return;
    if (atomic_exchange(&deciding, true))
        return;
    if (look_closer) {
        shrink(qy_port_clock_ns());
        empty_caches(mm, &held);
    }
    held = look(mm);
    if (held.backed > allowance(&held))
        decide(mm, &held);
    atomic_store(&deciding, false);
}

void qy_malloc_decay(struct qy_mm *mm)
{
    decay(mm, look(mm));
}

void qy_malloc_decay_resized(struct qy_mm *mm)
{
    struct held held = look(mm);
    remember(held.used + held.backed);
    decay(mm, held);
}
