/*
 * restore.c - pages that are in doubt, because the host refused something
 *
 * WHAT    A host that refuses a change of its mappings may have made part of it, or have taken away
 *         what was there. Entries stay what they were, and the pages from the first that was to
 *         change to the last are in doubt:
 *
 *           page        0 1 2 3 4 5 6 7
 *           entries     w w w w w w w w
 *           host        w w r r - - w w        in doubt: 2 .. 5
 *
 *         An access to one puts that page in place; to allow something maps the frames anew, for
 *         where the host has nothing the program would see zeros; and tables do not go along. That
 *         is slow. So whoever comes to a page in doubt first tells the host again what entries say,
 *         a run after the other from the first page on, until it has heard all or refuses.
 *
 * RULES   V10  What the host has on a page that is not in doubt is what its entry says; and pages
 *              in doubt are the space's.
 *         Checked by check_mappings() in view/rules_space.c, as far as Quarry can see.
 *
 * LOCKS   mapping.lock.
 *
 * COST    A comparison while nothing is in doubt; else some calls of the port, tables filled.
 */
#include "space/space.h"

#include "base/assert.h"
#include "base/errno.h"

/** Runs, of 2 MiB at most, that one caller restores: 3 ms. */
#define MOST_RUNS 16u

void qy_space_doubt_locked(struct qy_space *space, uint64_t page, uint64_t end)
{
    qy_assert_held(&space->mapping.lock);
    bool first = space->doubt == space->doubt_end;
    space->doubt = first || page < space->doubt ? page : space->doubt;
    space->doubt_end = first || end > space->doubt_end ? end : space->doubt_end;
}

static int map_run(struct qy_space *space, uint64_t page, uint64_t count, qy_pte_t pte,
                   uint32_t prot)
{
    return qy_port_window_map(space->mapping.mm, qy_space_address(space, page), qy_pte_pfn(pte),
                              count, prot, false);
}

/** As many runs as one caller may, until one is refused. */
static void restore_some(struct qy_space *space)
{
    qy_pte_t pte;
    for (unsigned runs = 0; runs < MOST_RUNS; runs++) {
        uint64_t end = space->doubt_end;
        uint64_t page = qy_pgtable_next(&space->table, space->doubt, end, &pte);
        uint64_t most = page + QY_PAGEBLOCK_FRAMES;
        space->doubt = page;
        if (page == end)
            return;
        uint64_t run = qy_space_run_locked(space, page, most < end ? most : end, &pte);
        if (map_run(space, page, run, pte, qy_pte_host_prot(pte)) != 0)
            return;
        space->doubt += run;
    }
}

void qy_space_restore_locked(struct qy_space *space, uint64_t page, uint64_t end)
{
    qy_assert_held(&space->mapping.lock);
    if (qy_space_in_doubt(space, page, end))
        restore_some(space);
}

/** First the page: what others need might be the last mapping that there is. */
int qy_space_restore_page_locked(struct qy_space *space, uint64_t page)
{
    qy_assert_held(&space->mapping.lock);
    if (!qy_space_in_doubt(space, page, page + 1))
        return 0;
    qy_pte_t pte = qy_pgtable_get(&space->table, page);
    int code = map_run(space, page, 1, pte, qy_pte_host_prot(pte));
    restore_some(space);
    return code != 0 && qy_space_in_doubt(space, page, page + 1) ? -QY_ENOMEM : 0;
}

static int map_anew(struct qy_space *space, uint64_t page, uint64_t end, uint32_t prot)
{
    qy_pte_t pte;
    int code = 0;
    for (uint64_t run; page < end && code == 0; page += run) {
        run = qy_space_run_locked(space, page, end, &pte);
        code = map_run(space, page, run, pte, prot);
    }
    return code;
}

int qy_space_allow_locked(struct qy_space *space, uint64_t page, uint64_t end, uint32_t prot)
{
    qy_assert_held(&space->mapping.lock);
    char *address = qy_space_address(space, page);
    int code = qy_space_in_doubt(space, page, end)
                   ? map_anew(space, page, end, prot)
                   : qy_port_window_protect(space->mapping.mm, address, end - page, prot);
    if (code == 0)
        return 0;
    qy_space_doubt_locked(space, page, end);
    return -QY_ENOMEM;
}

int qy_space_deny_locked(struct qy_space *space, uint64_t page, uint64_t end)
{
    qy_assert_held(&space->mapping.lock);
    char *address = qy_space_address(space, page);
    if (qy_port_window_unmap(space->mapping.mm, address, end - page) == 0)
        return 0;
    qy_space_doubt_locked(space, page, end);
    return -QY_ENOMEM;
}

void qy_space_recall_locked(struct qy_space *space, uint64_t page, qy_pfn_t pfn, uint64_t count)
{
    qy_assert_held(&space->mapping.lock);
    if (!qy_space_in_doubt(space, page, page + count))
        qy_port_window_recall(space->mapping.mm, qy_space_address(space, page), pfn, count);
}
