/*
 * area.c - areas of one space that all actors share: each has its own, side by side with others'
 *
 * An access is a plain one. Where it faults and cannot be served, or may not be done, the program
 * sees the signal as it would without Quarry, and comes out of it with a jump.
 */
#include "torture.h"

#include <quarry/buddy.h>
#include <quarry/linux.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>

#define AREAS 6
#define MOST_PAGES 1200

struct page {
    uint64_t key; /* 0: it reads as zero */
    uint8_t prot;
    uint8_t pins;
    bool has_frame;
    bool loose;   /* the host refused to change it, and perhaps to change it back */
    qy_pfn_t pfn; /* while it is pinned */
};

struct area {
    char *at; /* NULL: none */
    uint64_t pages;
    struct page page[MOST_PAGES];
};

struct areas {
    struct area area[AREAS];
};

static _Thread_local sigjmp_buf outside;
static _Thread_local bool expected;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    if (!expected)
        test_fail("signal %d at %p, which nobody expected", signal, info->si_addr);
    siglongjmp(outside, 1);
}

void catch_faults(void)
{
    static bool catches;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    if (!catches)
        sigaction(SIGSEGV, &action, NULL);
    catches = true;
}

static void prepare(void)
{
    struct qy_error error = {0};
    catch_faults();
    world.space = qy_space_create(world.mm, "torture", GIB, &error);
    if (world.space == NULL)
        test_fail("%s", error.text);
}

static void begin(struct actor *actor)
{
    actor->own[2] = calloc(1, sizeof(struct areas));
}

/* ---- accesses ---- */

bool touch_page(char *at, uint64_t key, bool write, const char *what)
{
    expected = true;
    if (sigsetjmp(outside, 1) != 0) {
        expected = false;
        return false;
    }
    if (write)
        fill(at, PAGE, key);
    else
        verify(at, PAGE, key, what);
    expected = false;
    return true;
}

static bool access_page(struct actor *actor, struct area *area, uint64_t i)
{
    struct page *page = &area->page[i];
    bool write = random_one_in(&actor->random, 2);
    uint32_t need = write ? QY_PROT_WRITE : QY_PROT_READ;
    if (page->loose && (page->prot & need) != need)
        return false;
    uint64_t key = write ? new_key(actor) : page->key;
    char *at = area->at + i * PAGE;
    doing(actor, write ? "write to an area" : "read of an area");
    if (random_one_in(&actor->random, 4)) {
        int code = qy_space_fault(world.space, at, write);
        bool fits = (page->prot & need) == need;
        if (code != (fits ? 0 : -EFAULT) && code != -ENOMEM)
            test_fail("qy_space_fault: %d, prot %u", code, page->prot);
        page->has_frame |= code == 0;
    }
    bool done = touch_page(at, key, write, "page of an area");
    if (done && (page->prot & need) != need)
        test_fail("page %p of prot %u was %s", (void *)at, page->prot, write ? "written" : "read");
    if (!done && (page->prot & need) == need && page->has_frame && !world.calls_fail)
        test_fail("page %p, which had a frame, was not to be %s", (void *)at,
                  write ? "written" : "read");
    if (done && write)
        page->key = key;
    page->has_frame |= done;
    return done;
}

/* ---- pins ---- */

static void verify_pinned(const struct area *area, uint64_t i)
{
    const struct page *page = &area->page[i];
    qy_pfn_t pfn = qy_space_translate(world.space, area->at + i * PAGE);
    if (pfn != page->pfn)
        test_fail("a pinned page went from frame %llu to %llu", (unsigned long long)page->pfn,
                  (unsigned long long)pfn);
    verify(qy_page_address(world.mm, pfn), PAGE, page->key, "frame of a pinned page");
}

static bool pin(struct actor *actor, struct area *area, uint64_t first)
{
    qy_pfn_t pfns[8];
    uint64_t count = 1 + random_below(&actor->random, 8);
    bool for_long = random_one_in(&actor->random, 4);
    if (count > area->pages - first)
        count = area->pages - first;
    doing(actor, for_long ? "pin for long" : "pin");
    int code = qy_space_pin(world.space, area->at + first * PAGE, count * PAGE,
                            for_long ? QY_PIN_LONG : QY_PIN_SHORT, pfns);
    if (!allowed("qy_space_pin", code, -ENOMEM, -EBUSY))
        return false;
    for (uint64_t i = first; i < first + count; i++) {
        struct page *page = &area->page[i];
        if (page->pins > 0 && page->pfn != pfns[i - first])
            test_fail("a pinned page has another frame");
        page->pfn = pfns[i - first];
        page->has_frame = true;
        page->pins++;
        verify_pinned(area, i);
    }
    return true;
}

/** By the frame, as a device would. */
static void write_frame(struct actor *actor, struct area *area, uint64_t i)
{
    struct page *page = &area->page[i];
    verify_pinned(area, i);
    page->key = new_key(actor);
    fill(qy_page_address(world.mm, page->pfn), PAGE, page->key);
}

static void unpin(struct actor *actor, struct area *area, uint64_t i)
{
    verify_pinned(area, i);
    doing(actor, "unpin");
    if (qy_space_unpin(world.space, area->at + i * PAGE, PAGE) != 0)
        test_fail("a pinned page is not unpinned");
    area->page[i].pins--;
}

/* ---- areas ---- */

static bool map(struct actor *actor, struct area *area)
{
    uint64_t most = random_one_in(&actor->random, 4) ? MOST_PAGES : 40;
    uint32_t prot = random_one_in(&actor->random, 4) ? QY_PROT_READ : QY_PROT_WRITE | QY_PROT_READ;
    uint32_t flags = random_one_in(&actor->random, 3) ? QY_AREA_HUGE : 0;
    struct qy_error error = {0};
    area->pages = 1 + random_below(&actor->random, most);
    flags |= random_one_in(&actor->random, 4) ? QY_AREA_POPULATE : 0;
    doing(actor, "map");
    area->at = qy_space_map(world.space, area->pages * PAGE, prot, flags, &error);
    if (area->at == NULL && error.code != -ENOMEM)
        test_fail("qy_space_map: %s", error.text);
    for (uint64_t i = 0; i < area->pages; i++)
        area->page[i] = (struct page){.prot = (uint8_t)prot, .has_frame = flags & QY_AREA_POPULATE};
    return area->at != NULL;
}

/** The end of it, or all. */
static bool unmap(struct actor *actor, struct area *area, uint64_t first)
{
    bool pinned = false;
    for (uint64_t i = first; i < area->pages; i++)
        pinned |= area->page[i].pins > 0;
    doing(actor, "unmap");
    int code = qy_space_unmap(world.space, area->at + first * PAGE, (area->pages - first) * PAGE);
    if (code == 0 && pinned)
        test_fail("pinned pages were unmapped");
    if (code != 0 && code != (pinned ? -EBUSY : -ENOMEM) && code != -ENOMEM)
        test_fail("qy_space_unmap: %d", code);
    if (code == 0)
        area->pages = first;
    if (area->pages == 0)
        area->at = NULL;
    return code == 0;
}

static bool protect(struct actor *actor, struct area *area, uint64_t first)
{
    static const uint32_t some[] = {QY_PROT_NONE, QY_PROT_READ, QY_PROT_WRITE, QY_PROT_WRITE};
    uint32_t prot = some[random_below(&actor->random, COUNT_OF(some))];
    uint64_t count = 1 + random_below(&actor->random, area->pages - first);
    doing(actor, "protect");
    int code = qy_space_protect(world.space, area->at + first * PAGE, count * PAGE, prot);
    bool done = allowed("qy_space_protect", code, -ENOMEM, 0);
    prot |= (prot & QY_PROT_WRITE) ? QY_PROT_READ : 0;
    for (uint64_t i = first; i < first + count; i++) {
        area->page[i].prot = done ? (uint8_t)prot : area->page[i].prot;
        area->page[i].loose = !done && world.calls_fail;
    }
    return done;
}

static bool step(struct actor *actor)
{
    struct areas *areas = actor->own[2];
    struct area *area = &areas->area[random_below(&actor->random, AREAS)];
    if (area->at == NULL)
        return holds_back(actor) || map(actor, area);
    uint64_t i = random_below(&actor->random, area->pages);
    if (area->page[i].pins > 0 && random_one_in(&actor->random, 2))
        unpin(actor, area, i);
    else if (area->page[i].pins > 0)
        write_frame(actor, area, i);
    else if (random_one_in(&actor->random, world.lean ? 16 : 256))
        return unmap(actor, area, random_one_in(&actor->random, 2) ? 0 : i);
    else if (random_one_in(&actor->random, 32))
        return protect(actor, area, i);
    else if (random_one_in(&actor->random, 32))
        return pin(actor, area, i);
    else
        return access_page(actor, area, i);
    return true;
}

static void end(struct actor *actor)
{
    struct areas *areas = actor->own[2];
    for (unsigned a = 0; a < AREAS; a++) {
        struct area *area = &areas->area[a];
        for (uint64_t i = 0; area->at != NULL && i < area->pages; i++) {
            while (area->page[i].pins > 0)
                unpin(actor, area, i);
            if (area->page[i].prot & QY_PROT_READ)
                touch_page(area->at + i * PAGE, area->page[i].key, false, "page of an area");
        }
    }
    free(areas);
}

/** What areas are left go with their space. */
static void finish(void)
{
    if (qy_space_destroy(world.space) != 0)
        test_fail("the space is not destroyed");
}

const struct kind area_kind = {"area", 40, prepare, begin, step, end, finish};
