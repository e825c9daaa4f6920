/*
 * window.c - addresses of spaces: what a host's page tables would say, written down
 *
 * WHAT    Nothing is mapped. A window is an array of a word a page, which a test compares with
 *         Quarry's own tables. Each call can fail, and is a point at which another CPU may go on.
 */
#include "sim.h"

#include <quarry/space.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOWS 4
#define STEP (UINT64_C(1) << 40)

struct page {
    uint64_t pfn; /* + 1; 0: none */
    uint32_t prot;
};

struct window {
    char *start;
    uint64_t pages;
    struct page *page;
};

static struct window windows[WINDOWS];
static uint64_t most_mappings = UINT64_MAX;
static _Atomic uint64_t nr_mappings;
static uint64_t nr_maps;

static struct page *page_of(const void *address)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        uint64_t page = ((uintptr_t)address - (uintptr_t)windows[i].start) >> QY_PAGE_SHIFT;
        if (windows[i].page && page < windows[i].pages)
            return &windows[i].page[page];
    }
    qy_port_panic("an address of no window");
}

void qy_sim_windows_reset(void)
{
    for (unsigned i = 0; i < WINDOWS; i++)
        free(windows[i].page);
    memset(windows, 0, sizeof(windows));
    most_mappings = UINT64_MAX;
    nr_mappings = 0;
    nr_maps = 0;
}

void qy_sim_window_most(uint64_t mappings)
{
    most_mappings = mappings;
}

uint64_t qy_sim_maps(void)
{
    return nr_maps;
}

uint64_t qy_sim_window(const void *address, uint32_t *prot)
{
    const struct page *page = page_of(address);
    *prot = page->prot;
    return page->pfn - 1;
}

int qy_port_window_open(struct qy_mm *mm, struct qy_space *space, uint64_t bytes, void **start)
{
    (void)mm;
    (void)space;
    unsigned i = 0;
    while (i < WINDOWS && windows[i].page)
        i++;
    if (i == WINDOWS || qy_sim_fails())
        return -ENOMEM;
    windows[i] = (struct window){(char *)((i + 1) * STEP), bytes >> QY_PAGE_SHIFT, NULL};
    windows[i].page = calloc(windows[i].pages, sizeof(struct page));
    *start = windows[i].start;
    return 0;
}

void qy_port_window_close(struct qy_mm *mm, void *start, uint64_t bytes)
{
    (void)mm;
    (void)bytes;
    for (unsigned i = 0; i < WINDOWS; i++)
        if (windows[i].start == start) {
            free(windows[i].page);
            windows[i] = (struct window){0};
        }
}

uint64_t qy_port_window_most(struct qy_mm *mm)
{
    (void)mm;
    return most_mappings;
}

_Atomic uint64_t *qy_port_window_count(struct qy_mm *mm)
{
    (void)mm;
    return &nr_mappings;
}

int qy_port_window_map(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count, uint32_t prot,
                       bool written)
{
    (void)mm;
    (void)written;
    nr_maps++;
    qy_sim_point();
    if (qy_sim_fails()) { /* of one page: nothing changes; of several: they are lost */
        if (count > 1)
            memset(page_of(address), 0, count * sizeof(struct page));
        return count > 1 ? -EFAULT : -ENOMEM;
    }
    for (uint64_t i = 0; i < count; i++)
        page_of(address)[i] = (struct page){pfn + i + 1, prot};
    return 0;
}

void qy_port_window_recall(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count)
{
    (void)mm;
    qy_sim_point();
    for (uint64_t i = 0; i < count; i++) {
        struct page page = page_of(address)[i];
        if (page.pfn != pfn + i + 1 || !(page.prot & QY_PROT_WRITE))
            qy_port_panic("recalls a page that is another frame, or may not be written");
    }
}

int qy_port_window_unmap(struct qy_mm *mm, void *address, uint64_t count)
{
    (void)mm;
    qy_sim_point();
    bool fails = qy_sim_fails(); /* of several pages, half are gone already */
    memset(page_of(address), 0, (fails ? count / 2 : count) * sizeof(struct page));
    return fails ? -ENOMEM : 0;
}

int qy_port_window_protect(struct qy_mm *mm, void *address, uint64_t count, uint32_t prot)
{
    (void)mm;
    qy_sim_point();
    bool fails = qy_sim_fails(); /* of several pages, half have it already */
    for (uint64_t i = 0; i < (fails ? count / 2 : count); i++) {
        if (page_of(address)[i].pfn == 0)
            qy_port_panic("protects a page that is not mapped");
        page_of(address)[i].prot = prot;
    }
    return fails ? -ENOMEM : 0;
}
