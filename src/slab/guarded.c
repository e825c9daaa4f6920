/*
 * guarded.c - blocks of whole pages between guards
 *
 * WHAT    Where kmalloc's caches have red zones, its runs of pages have guards: a frame before
 *         and one behind that nobody can reach, so that whoever runs over an end is stopped
 *         there and then. What is left of the last page is red and looked at in the free.
 *
 *           | guard |  what was asked for ...        red | guard |
 *             marks   run_frames                           run_bytes      (struct qy_page)
 *
 *         A freed run loses its memory at once and is put out of reach with its guards; its
 *         frames wait in quarantine, first in, first out, until enough others have come
 *         after it. Whoever still uses it is stopped, whoever frees it again is told so.
 *
 * RULES   D1  in slab/checked.c: the red tail of a live run is whole.
 *         D2  in slab/checked.c: a freed run that could not be put out of reach holds zero.
 *         D3  A guarded run, live or in quarantine, lies between two frames of QY_TAG_GUARD.
 *         D4  The quarantine's list leads from the oldest to the newest, over nr_runs runs
 *             of nr_frames frames with their guards, all with QY_TAG_FREED.
 *         D3, D4 are checked by qy_check_guarded() in view/rules_checked.c.
 *
 * LOCKS   quarantine.lock for the list, for who frees first, and while a live run's length or its
 *         pages change: who holds it may look at red tails. A run belongs to its owner, and once
 *         freed to whoever took it off the list.
 *
 * COST    Two system calls for an allocation, two for a free, one for the end of quarantine:
 *         hardening is not for free.
 */
#include "slab/guarded.h"

#include "buddy/alloc.h"
#include "slab/cache.h"
#include "slab/runs.h"

/** The quarantine ends for the oldest when there are more, but never for the newest. */
#define MOST_RUNS 1024
#define MOST_FRAMES (UINT64_C(256) << 20 >> QY_PAGE_SHIFT)
/** Guards cut mappings in pieces, of which Linux allows 65530 by default. */
#define MOST_PROTECTED 16384
/** Frames below which clearing, or copying, costs less than a system call and faults. */
#define LEAST_DROPPED (UINT64_C(1) << 20 >> QY_PAGE_SHIFT)

/* guard_marks */
#define GUARDS_PROTECTED 1u
#define ALL_PROTECTED 2u /* freed */
#define IS_FRESH 4u      /* freed: its memory is gone, and the guards' */

static char *address_of(const struct qy_mm *mm, uint64_t index)
{
    return (char *)(mm->base + (index << QY_PAGE_SHIFT));
}

/** The frame behind a run. */
static uint64_t behind(const struct qy_mm *mm, uint64_t index)
{
    return index + mm->pages[index].run_frames;
}

static bool is_head(const struct qy_mm *mm, uint64_t index)
{
    uint8_t tag = qy_frame_online(mm, index) ? qy_tag_get(&mm->tags[index]) : QY_TAG_NONE;
    return tag == QY_TAG_RUN || tag == QY_TAG_FREED;
}

/* ---- reports ---- */

static int report(struct qy_mm *mm, uint64_t index, const char *what, const char *rule)
{
    struct qy_fault fault = {
        .what = what, .rule = rule, .address = (uintptr_t)address_of(mm, index)};
    qy_run_fill_in(&fault, mm, index);
    return qy_fault_report(mm, &fault);
}

uint64_t qy_guarded_beside(const struct qy_mm *mm, uint64_t guard)
{
    return is_head(mm, guard + 1) ? guard + 1 : qy_run_head(mm, guard - 1);
}

QY_RACY bool qy_guarded_explain(struct qy_mm *mm, const void *address)
{
    uint64_t index = qy_address_index(mm, address);
    if (!mm->hardened || !qy_frame_online(mm, index))
        return false;
    bool is_guard = qy_tag_get(&mm->tags[index]) == QY_TAG_GUARD;
    uint64_t head = is_guard ? qy_guarded_beside(mm, index) : qy_run_head(mm, index);
    if (head == UINT64_MAX || !qy_frame_online(mm, behind(mm, head)))
        return false;
    bool is_freed = qy_tag_get(&mm->tags[head]) == QY_TAG_FREED;
    if (!is_freed && !is_guard)
        return false;
    struct qy_fault fault = {
        .what = is_freed       ? "use after free"
                : head > index ? "underflow"
                               : "overflow",
        .rule = is_freed ? "D2" : "D1",
        .address = (uintptr_t)address,
        .note = "stopped at the access",
    };
    qy_run_fill_in(&fault, mm, head);
    qy_fault_report(mm, &fault);
    return true;
}

/* ---- the red tail ---- */

static void paint(struct qy_mm *mm, uint64_t index, size_t bytes)
{
    uint64_t end = mm->pages[index].run_frames << QY_PAGE_SHIFT;
    mm->pages[behind(mm, index)].run_bytes = bytes;
    __builtin_memset(address_of(mm, index) + bytes, QY_RED_BYTE, end - bytes);
}

bool qy_guarded_whole(const struct qy_mm *mm, uint64_t index)
{
    const char *block = address_of(mm, index);
    size_t bytes = mm->pages[behind(mm, index)].run_bytes;
    size_t end = mm->pages[index].run_frames << QY_PAGE_SHIFT;
    return qy_bytes_are(block + bytes, end - bytes, QY_RED_BYTE);
}

/* ---- guards ---- */

static void protect_guards(struct qy_mm *mm, uint64_t index)
{
    bool any = false; /* one guard is better than none */
    if (atomic_fetch_add(&mm->quarantine.nr_protected, 1) < MOST_PROTECTED) {
        any |= qy_port_protect(mm, address_of(mm, index - 1), QY_PAGE_BYTES, false) == 0;
        any |= qy_port_protect(mm, address_of(mm, behind(mm, index)), QY_PAGE_BYTES, false) == 0;
    }
    if (any)
        mm->pages[index - 1].guard_marks = GUARDS_PROTECTED;
    else
        atomic_fetch_sub(&mm->quarantine.nr_protected, 1);
}

/** All of it can be reached again, guards included. */
static bool unprotect(struct qy_mm *mm, uint64_t index)
{
    uint64_t marks = mm->pages[index - 1].guard_marks;
    size_t bytes = (mm->pages[index].run_frames + 2) << QY_PAGE_SHIFT;
    if (!(marks & (GUARDS_PROTECTED | ALL_PROTECTED)))
        return true;
    if (qy_port_protect(mm, address_of(mm, index - 1), bytes, true) != 0)
        return false;
    if (marks & GUARDS_PROTECTED)
        atomic_fetch_sub(&mm->quarantine.nr_protected, 1);
    mm->pages[index - 1].guard_marks = marks & IS_FRESH;
    return true;
}

/** Large pieces are cleared by giving their memory back: most of it may never be touched. */
static void clear(struct qy_mm *mm, uint64_t index, uint64_t nr_frames)
{
    size_t bytes = nr_frames << QY_PAGE_SHIFT;
    if (!mm->options.lazy_backing || nr_frames < LEAST_DROPPED ||
        qy_port_decommit(mm, address_of(mm, index), bytes) != 0)
        __builtin_memset(address_of(mm, index), 0, bytes);
}

static void tag(struct qy_mm *mm, uint64_t index, uint8_t guards, uint8_t head)
{
    qy_tag_set(&mm->tags[index - 1], guards);
    qy_tag_set(&mm->tags[behind(mm, index)], guards);
    __atomic_store_n(&mm->tags[index], head, __ATOMIC_RELEASE);
}

/* ---- quarantine ---- */

/** is_costly() reads it without the lock. */
static void count_frames(struct qy_quarantine *quarantine, uint64_t nr_frames)
{
    __atomic_store_n(&quarantine->nr_frames, nr_frames, __ATOMIC_RELAXED);
}

/** Runs in quarantine are worth their frames as long as memory need not grow for them by more
 *  than a sixteenth. */
static bool is_costly(struct qy_mm *mm)
{
    uint64_t managed = atomic_load_explicit(&mm->managed, memory_order_relaxed);
    return __atomic_load_n(&mm->quarantine.nr_frames, __ATOMIC_RELAXED) > managed / 16;
}

/** The oldest run, if there are enough or @all are wanted; UINT64_MAX: none. */
static uint64_t take_oldest(struct qy_mm *mm, bool all)
{
    struct qy_quarantine *quarantine = &mm->quarantine;
    uint64_t index = UINT64_MAX;
    qy_lock(&quarantine->lock);
    bool many = quarantine->nr_runs > MOST_RUNS || quarantine->nr_frames > MOST_FRAMES;
    if (all ? quarantine->nr_runs > 0 : many && quarantine->nr_runs > 1) {
        index = quarantine->oldest;
        quarantine->oldest = mm->pages[behind(mm, index)].next_freed;
        quarantine->nr_runs--;
        count_frames(quarantine, quarantine->nr_frames - (mm->pages[index].run_frames + 2));
    }
    qy_unlock(&quarantine->lock);
    return index;
}

static void append(struct qy_mm *mm, uint64_t index)
{
    struct qy_quarantine *quarantine = &mm->quarantine;
    qy_lock(&quarantine->lock);
    if (quarantine->nr_runs == 0)
        quarantine->oldest = index;
    else
        mm->pages[behind(mm, quarantine->newest)].next_freed = index;
    quarantine->newest = index;
    quarantine->nr_runs++;
    count_frames(quarantine, quarantine->nr_frames + mm->pages[index].run_frames + 2);
    qy_unlock(&quarantine->lock);
}

/** Its frames go back. False: it cannot be reached, and stays in quarantine. */
static bool release(struct qy_mm *mm, uint64_t index)
{
    uint64_t nr_frames = mm->pages[index].run_frames;
    bool was_in_reach = !(mm->pages[index - 1].guard_marks & ALL_PROTECTED);
    if (!unprotect(mm, index)) {
        append(mm, index);
        return false;
    }
    bool fresh = mm->pages[index - 1].guard_marks & IS_FRESH;
    if (was_in_reach && !qy_bytes_are(address_of(mm, index), nr_frames << QY_PAGE_SHIFT, 0)) {
        report(mm, index, "use after free", "D2");
        fresh = false;
    }
    tag(mm, index, QY_TAG_NONE, QY_TAG_NONE);
    qy_give_run(mm, mm->start_pfn + index - 1, nr_frames + 2, fresh);
    return true;
}

/** The memory goes at once, and so does the way to it. */
static void put_away(struct qy_mm *mm, uint64_t index)
{
    uint64_t nr_frames = mm->pages[index].run_frames;
    uint64_t *marks = &mm->pages[index - 1].guard_marks;
    if (mm->options.lazy_backing &&
        qy_port_decommit(mm, address_of(mm, index - 1), (nr_frames + 2) << QY_PAGE_SHIFT) == 0)
        *marks |= IS_FRESH;
    else
        __builtin_memset(address_of(mm, index), 0, nr_frames << QY_PAGE_SHIFT);
    if ((*marks & GUARDS_PROTECTED) &&
        qy_port_protect(mm, address_of(mm, index), nr_frames << QY_PAGE_SHIFT, false) == 0)
        *marks |= ALL_PROTECTED;
}

/** One of those who free a run at once is the first. */
static bool claim(struct qy_mm *mm, uint64_t index)
{
    qy_lock(&mm->quarantine.lock);
    bool first = mm->tags[index] == QY_TAG_RUN;
    if (first)
        __atomic_store_n(&mm->tags[index], QY_TAG_FREED, __ATOMIC_RELEASE);
    qy_unlock(&mm->quarantine.lock);
    return first;
}

int qy_guarded_free(struct qy_mm *mm, void *block)
{
    uint64_t index = qy_address_index(mm, block);
    if (!qy_guarded_whole(mm, index))
        return report(mm, index, "overflow", "D1");
    if (!claim(mm, index))
        return report(mm, index, "double free", "K3");
    put_away(mm, index);
    append(mm, index);
    while ((index = take_oldest(mm, false)) != UINT64_MAX && release(mm, index))
        ;
    return 0;
}

uint64_t qy_guarded_drain(struct qy_mm *mm)
{
    uint64_t frames = 0;
    uint64_t index;
    while ((index = take_oldest(mm, true)) != UINT64_MAX) {
        uint64_t nr_frames = mm->pages[index].run_frames + 2;
        if (!release(mm, index))
            break;
        frames += nr_frames;
    }
    return frames;
}

/* ---- a last look ---- */

static bool is_damaged(struct qy_mm *mm, uint64_t index)
{
    if (!qy_trylock(&mm->quarantine.lock))
        return false;
    bool is_live = __atomic_load_n(&mm->tags[index], __ATOMIC_ACQUIRE) == QY_TAG_RUN;
    bool damaged = is_live && !qy_guarded_whole(mm, index);
    qy_unlock(&mm->quarantine.lock);
    return damaged;
}

/** A run in quarantine that could be reached, and was; UINT64_MAX: none. */
static uint64_t written_to(struct qy_mm *mm, uint64_t until_ns)
{
    const struct qy_quarantine *quarantine = &mm->quarantine;
    if (!qy_trylock(&mm->quarantine.lock))
        return UINT64_MAX;
    uint64_t index = quarantine->oldest, left = quarantine->nr_runs;
    for (; left > 0 && qy_port_clock_ns() < until_ns; left--) {
        size_t bytes = mm->pages[index].run_frames << QY_PAGE_SHIFT;
        if (!(mm->pages[index - 1].guard_marks & ALL_PROTECTED) &&
            !qy_bytes_are(address_of(mm, index), bytes, 0))
            break;
        index = mm->pages[behind(mm, index)].next_freed;
    }
    bool found = left > 0 && qy_port_clock_ns() < until_ns;
    qy_unlock(&mm->quarantine.lock);
    return found ? index : UINT64_MAX;
}

int qy_guarded_look_over(struct qy_mm *mm, uint64_t until_ns)
{
    uint64_t end = qy_described_frames(mm);
    for (uint64_t index = 0; index < end; index++) {
        if (!is_head(mm, index))
            continue;
        if (qy_port_clock_ns() >= until_ns)
            return 0;
        if (is_damaged(mm, index))
            return report(mm, index, "overflow", "D1");
    }
    uint64_t written = written_to(mm, until_ns);
    return written == UINT64_MAX ? 0 : report(mm, written, "use after free", "D2");
}

/* ---- allocate ---- */

static qy_pfn_t take(struct qy_mm *mm, struct qy_request *request, uint64_t nr_frames,
                     unsigned align_order, bool *fresh)
{
    if (is_costly(mm)) {
        request->within = true;
        qy_pfn_t pfn = qy_take_run(mm, request, nr_frames, align_order, fresh);
        if (pfn != QY_PFN_NONE)
            return pfn;
        qy_guarded_drain(mm);
        request->within = false;
    }
    return qy_take_run(mm, request, nr_frames, align_order, fresh);
}

void *qy_guarded_alloc(struct qy_mm *mm, size_t bytes, unsigned align_order, qy_gfp_t gfp)
{
    struct qy_request request;
    bool fresh = false;
    uint64_t lead = UINT64_C(1) << align_order; /* the last of these is the guard before */
    uint64_t nr_frames = qy_frames_for(bytes);
    uint64_t all = lead + nr_frames + 1;
    if (all > mm->nr_frames || !qy_request_read(&request, 0, gfp, 0))
        return NULL;
    qy_pfn_t pfn = take(mm, &request, all, align_order, &fresh);
    if (pfn == QY_PFN_NONE)
        return NULL;
    if (lead > 1)
        qy_give_run(mm, pfn, lead - 1, fresh);
    uint64_t index = qy_frame_index(mm, pfn) + lead;
    mm->pages[index - 1].guard_marks = 0;
    mm->pages[index].run_frames = nr_frames;
    if (!fresh)
        clear(mm, index, nr_frames);
    paint(mm, index, bytes);
    protect_guards(mm, index);
    tag(mm, index, QY_TAG_GUARD, QY_TAG_RUN);
    return address_of(mm, index);
}

/* ---- change of size ---- */

/** The guard behind, and what follows it, can be reached, and are clear: as many frames more as the
 *  run needs, the last of which is for its guard. */
static bool take_more(struct qy_mm *mm, uint64_t index, uint64_t more)
{
    uint64_t guard = behind(mm, index);
    bool protected = mm->pages[index - 1].guard_marks & GUARDS_PROTECTED;
    if (!qy_take_behind(mm, mm->start_pfn + guard + 1, more))
        return false;
    if (protected && qy_port_protect(mm, address_of(mm, guard), QY_PAGE_BYTES, true) != 0) {
        qy_give_run(mm, mm->start_pfn + guard + 1, more, false);
        return false;
    }
    clear(mm, guard, more);
    return true;
}

static void set_length(struct qy_mm *mm, uint64_t index, uint64_t nr_frames, size_t bytes)
{
    qy_lock(&mm->quarantine.lock);
    qy_tag_set(&mm->tags[behind(mm, index)], QY_TAG_NONE);
    mm->pages[index].run_frames = nr_frames;
    qy_tag_set(&mm->tags[behind(mm, index)], QY_TAG_GUARD);
    paint(mm, index, bytes);
    qy_unlock(&mm->quarantine.lock);
}

bool qy_guarded_resize(struct qy_mm *mm, void *block, size_t bytes)
{
    uint64_t index = qy_address_index(mm, block);
    uint64_t have = mm->pages[index].run_frames;
    uint64_t want = qy_frames_for(bytes);
    if (!qy_guarded_whole(mm, index))
        report(mm, index, "overflow", "D1");
    if (want < have || (want > have && !take_more(mm, index, want - have)))
        return false;
    set_length(mm, index, want, bytes);
    if (want > have && (mm->pages[index - 1].guard_marks & GUARDS_PROTECTED))
        qy_port_protect(mm, address_of(mm, behind(mm, index)), QY_PAGE_BYTES, false);
    return true;
}

void *qy_guarded_move(struct qy_mm *mm, void *block, size_t bytes, qy_gfp_t gfp)
{
    uint64_t have = mm->pages[qy_address_index(mm, block)].run_frames;
    if (!mm->options.lazy_backing || have < LEAST_DROPPED || qy_frames_for(bytes) < have)
        return NULL;
    void *to = qy_guarded_alloc(mm, bytes, 0, gfp);
    if (to == NULL)
        return NULL;
    qy_lock(&mm->quarantine.lock);
    bool moved = qy_port_move(mm, block, to, have << QY_PAGE_SHIFT) == 0;
    if (moved) {
        size_t old_bytes = mm->pages[behind(mm, qy_address_index(mm, block))].run_bytes;
        __builtin_memset((char *)to + old_bytes, 0, (have << QY_PAGE_SHIFT) - old_bytes);
        paint(mm, qy_address_index(mm, to), bytes);
        paint(mm, qy_address_index(mm, block), old_bytes);
    }
    qy_unlock(&mm->quarantine.lock);
    qy_guarded_free(mm, moved ? block : to);
    return moved ? to : NULL;
}
