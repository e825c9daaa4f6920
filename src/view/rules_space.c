/*
 * rules_space.c - the rules of spaces: pages, areas, tables
 *
 * WHAT    Each space is walked from its side: areas, tables, the folio of each page's frame; and
 *         all folios are looked at that name it.
 *
 * RULES   V1, V2, V3  in space/mapping.h; V5  in space/area.c; V6  in space/pgtable.c; V7  in
 *         space/mappings.c; V8, V9  in space/backing.h; V10  in space/restore.c; W4, W6  in
 *         reclaim/file.h.
 *
 * LOCKS   chain_lock for the list of spaces; what is in them is exact while nothing moves.
 *
 * COST    A pass over the resident pages of each space, and over all folios for each.
 */
#include "reclaim/file.h"
#include "space/space.h"
#include "view/rules.h"

static struct qy_area *area_of(struct qy_tree_node *node)
{
    return qy_list_entry(node, struct qy_area, node);
}

/* ---- areas ---- */

struct areas {
    uint64_t count, islands, pages, end;
    bool sound;
};

static uint64_t wider(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/** The figures of a node, from those of the nodes below. */
static bool figures_agree(const struct qy_tree_node *node)
{
    const struct qy_tree_node *left = node->left, *right = node->right;
    uint64_t gap = 0;
    if (left != NULL)
        gap = wider(left->gap, node->start - left->highest);
    if (right != NULL)
        gap = wider(gap, wider(right->gap, right->lowest - node->end));
    return node->gap == gap && node->lowest == (left != NULL ? left->lowest : node->start) &&
           node->highest == (right != NULL ? right->highest : node->end) &&
           (left == NULL || left->priority <= node->priority) &&
           (right == NULL || right->priority <= node->priority);
}

static void walk_areas(struct qy_tree_node *node, struct areas *areas)
{
    if (node == NULL)
        return;
    walk_areas(node->left, areas);
    areas->sound = areas->sound && node->start >= areas->end && node->end > node->start &&
                   figures_agree(node) && !(area_of(node)->prot & ~(QY_PROT_READ | QY_PROT_WRITE));
    areas->islands += areas->count == 0 || node->start > areas->end;
    areas->end = node->end;
    areas->pages += node->end - node->start;
    areas->count++;
    walk_areas(node->right, areas);
}

static void check_areas(struct qy_ruling *ruling, const struct qy_space *space)
{
    struct areas areas = {.sound = true};
    walk_areas(space->areas.root, &areas);
    if (!areas.sound || areas.end > space->nr_pages)
        qy_broken_name(ruling, "V5", "space", space->mapping.name, "its areas are not in order");
    if (areas.count != space->nr_areas || areas.islands != space->nr_islands ||
        areas.pages != space->nr_mapped)
        qy_broken_name(ruling, "V5", "space", space->mapping.name,
                       "its areas are not those that were counted");
}

/* ---- tables ---- */

static void walk_tables(struct qy_ruling *ruling, const struct qy_space *space,
                        const qy_pte_t *entries, uint64_t *tables)
{
    const struct qy_mm *mm = ruling->mm;
    uint64_t count = 0;
    for (unsigned i = 0; i < QY_PT_ENTRIES; i++) {
        count += !qy_pte_none(entries[i]);
        if (qy_pte_is_table(entries[i]))
            walk_tables(ruling, space, qy_frame_address(mm, qy_pte_pfn(entries[i])), tables);
    }
    if (count == 0 || count != mm->pages[qy_address_index(mm, entries)].nr_entries)
        qy_broken_name(ruling, "V6", "space", space->mapping.name,
                       "a table's entries are not those that were counted");
    (*tables)++;
}

static void check_tables(struct qy_ruling *ruling, const struct qy_space *space)
{
    uint64_t tables = 0;
    if (space->table.root != NULL)
        walk_tables(ruling, space, space->table.root, &tables);
    if (tables != space->table.nr_tables)
        qy_broken_name(ruling, "V6", "space", space->mapping.name,
                       "its tables are not those that were counted");
}

/* ---- pages ---- */

struct pages {
    uint64_t resident, isolated, pinned, file;
};

/** The page is on a frame of a file's. */
static void check_file_page(struct qy_ruling *ruling, const struct qy_area *area, uint64_t page,
                            qy_pte_t pte)
{
    struct qy_mm *mm = ruling->mm;
    qy_pfn_t pfn = qy_pte_pfn(pte);
    uint32_t frame = (uint32_t)qy_frame_index(mm, pfn);
    if (area == NULL || area->mapper == NULL) {
        qy_broken(ruling, "V8", "frame", pfn, "is a file's, in an area that is no file's");
        return;
    }
    struct qy_file *file = qy_file_of(area->mapper->backing);
    uint8_t flags = mm->folios[frame].flags;
    if (qy_index_get(&file->index, (uint32_t)(area->offset + page - area->node.start)) != frame)
        qy_broken(ruling, "V8", "frame", pfn, "is in an area, and the file has another there");
    if (!(flags & QY_FOLIO_MAPPED))
        qy_broken(ruling, "V8", "frame", pfn, "is in an area, and its file does not know");
    if (qy_pte_flags(pte) & ~(qy_prot_flags(area->prot) | QY_PTE_FILE))
        qy_broken(ruling, "V5", "frame", pfn, "is under a page that its area does not have so");
    if (qy_pte_may_write(pte) && !(flags & (QY_FOLIO_DIRTY | QY_FOLIO_WRITEBACK)))
        qy_broken(ruling, "W6", "frame", pfn, "may be written in an area, and is clean");
    if (qy_frame_in_guaranteed(mm, frame))
        qy_broken(ruling, "W4", "frame", pfn, "is in a guaranteed region, and in an area");
}

static void check_page(struct qy_ruling *ruling, const struct qy_space *space, uint64_t page,
                       qy_pte_t pte, struct pages *pages)
{
    struct qy_mm *mm = ruling->mm;
    qy_pfn_t pfn = qy_pte_pfn(pte);
    const struct qy_folio *folio = qy_folio_of(mm, pfn);
    const struct qy_area *area = qy_area_at(space, page);
    pages->resident++;
    if (qy_pte_is_file(pte)) {
        pages->file++;
        check_file_page(ruling, area, page, pte);
        return;
    }
    pages->isolated += qy_pte_is_isolated(pte);
    pages->pinned += folio->pins != 0;
    if (mm->tags[qy_frame_index(mm, pfn)] != QY_TAG_FOLIO ||
        (folio->state != QY_FOLIO_LENT && folio->state != QY_FOLIO_WANTED) ||
        atomic_load_explicit(&folio->mapping, memory_order_relaxed) != &space->mapping ||
        atomic_load_explicit(&folio->index, memory_order_relaxed) != (uint32_t)page)
        qy_broken(ruling, "V1", "frame", pfn, "its folio does not name the page that is on it");
    if (area == NULL || area->mapper != NULL ||
        (qy_pte_flags(pte) & ~QY_PTE_ISOLATED) != qy_prot_flags(area->prot))
        qy_broken(ruling, "V5", "frame", pfn, "is under a page that its area does not have so");
    if (qy_pte_is_isolated(pte) && folio->pins != 0)
        qy_broken(ruling, "V3", "frame", pfn, "is pinned, and being moved");
    if (folio->long_pins > folio->pins)
        qy_broken(ruling, "V3", "frame", pfn, "has more pins for long than pins");
}

/** Pages of files that are pinned through the space. */
static uint64_t pins_below(const struct qy_tree_node *node)
{
    return node == NULL ? 0 : 1 + pins_below(node->left) + pins_below(node->right);
}

/** Folios that name the space. */
static uint64_t named(const struct qy_mm *mm, const struct qy_space *space)
{
    uint64_t count = 0;
    for (uint64_t frame = 0; frame < qy_described_frames(mm); frame++)
        count += qy_frame_is_online(mm, frame) &&
                 atomic_load_explicit(&mm->folios[frame].mapping, memory_order_relaxed) ==
                     &space->mapping;
    return count;
}

static void check_pages(struct qy_ruling *ruling, const struct qy_space *space)
{
    struct pages pages = {0};
    qy_pte_t pte;
    for (uint64_t page = 0;
         (page = qy_pgtable_next(&space->table, page, space->nr_pages, &pte)) < space->nr_pages;
         page++)
        check_page(ruling, space, page, pte, &pages);
    pages.pinned += pins_below(space->pins.root);
    if (pages.file != space->nr_file)
        qy_broken_name(ruling, "V8", "space", space->mapping.name,
                       "its pages of files are not those that were counted");
    if (pages.resident != space->nr_resident ||
        pages.resident - pages.file != named(ruling->mm, space))
        qy_broken_name(ruling, "V1", "space", space->mapping.name,
                       "its pages are not those that were counted, or that folios name");
    if (pages.isolated != space->nr_isolated)
        qy_broken_name(ruling, "V2", "space", space->mapping.name,
                       "its pages that are being moved are not those that were counted");
    if (pages.pinned != space->nr_pinned)
        qy_broken_name(ruling, "V3", "space", space->mapping.name,
                       "its pinned pages are not those that were counted");
}

/** Returns what the space is charged. */
static uint64_t check_mappings(struct qy_ruling *ruling, const struct qy_space *space)
{
    if (space->nr_mappings != qy_space_mappings(space) ||
        space->charged != qy_space_charge(space->nr_mappings, space->nr_areas + space->nr_islands))
        qy_broken_name(ruling, "V7", "space", space->mapping.name,
                       "its mappings are not those that were counted, or charged");
    if (space->doubt > space->doubt_end || space->doubt_end > space->nr_pages)
        qy_broken_name(ruling, "V10", "space", space->mapping.name,
                       "pages are in doubt that it does not have");
    return space->charged;
}

/* ---- mappers ---- */

/** Areas of a space that are files'. */
static uint64_t users_below(struct qy_tree_node *node)
{
    if (node == NULL)
        return 0;
    return (area_of(node)->mapper != NULL) + users_below(node->left) + users_below(node->right);
}

static bool is_listed(const struct qy_mapper *mapper)
{
    const struct qy_file *file = qy_file_of(mapper->backing);
    qy_list_for_each (link, &file->mappers)
        if (link == &mapper->in_backing)
            return true;
    return false;
}

static void check_mappers(struct qy_ruling *ruling, const struct qy_space *space)
{
    uint64_t users = 0;
    qy_list_for_each (link, &space->mappers) {
        const struct qy_mapper *mapper = qy_list_entry(link, struct qy_mapper, in_space);
        bool sound = mapper->space == space && is_listed(mapper) && mapper->users > 0;
        qy_list_for_each (at, &mapper->areas)
            sound = sound && qy_list_entry(at, struct qy_area, link)->mapper == mapper;
        if (!sound)
            qy_broken_name(ruling, "V9", "space", space->mapping.name,
                           "a mapper is not where its areas and its file look for it");
        users += mapper->users;
    }
    if (users != users_below(space->areas.root) + pins_below(space->pins.root))
        qy_broken_name(ruling, "V9", "space", space->mapping.name,
                       "its mappers have more users than areas and pins, or fewer");
}

void qy_check_spaces(struct qy_ruling *ruling)
{
    struct qy_mm *mm = ruling->mm;
    uint64_t charged = 0;
    qy_lock(&mm->chain_lock);
    qy_list_for_each (link, &mm->spaces) {
        const struct qy_space *space = qy_list_entry(link, struct qy_space, link);
        check_areas(ruling, space);
        check_tables(ruling, space);
        check_pages(ruling, space);
        charged += check_mappings(ruling, space);
        check_mappers(ruling, space);
    }
    if (charged != atomic_load_explicit(&mm->nr_mappings, memory_order_relaxed))
        qy_broken_name(ruling, "V7", "space", "all", "mappings are not what spaces are charged");
    qy_unlock(&mm->chain_lock);
}
