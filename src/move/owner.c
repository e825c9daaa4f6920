/*
 * owner.c - who has this frame, and what it would take to have it
 *
 * WHAT    The tag says it (memory/page.h): a cache, a run of kmalloc's, a block of
 *         qy_alloc_pages(), or a mapping through the frame's folio.
 *
 * RULES   none: it only reads.
 *
 * LOCKS   none; inside mm->grace. What it says may be out of date at once.
 *
 * COST    A bit, a byte, and for a folio its line.
 */
#include "move/move.h"

#include "slab/cache.h"

QY_RACY enum qy_folio_cost qy_move_cost(const struct qy_mm *mm, uint64_t index)
{
    if (qy_tag_get(&mm->tags[index]) != QY_TAG_FOLIO)
        return qy_frame_is_free(mm, index) ? QY_COST_FREE : QY_COST_NEVER;
    const struct qy_folio *folio = &mm->folios[index];
    if (folio->state != QY_FOLIO_LENT)
        return QY_COST_NEVER;
    const struct qy_mapping *mapping = atomic_load_explicit(&folio->mapping, memory_order_acquire);
    return mapping != NULL ? mapping->ops->cost(mapping, folio) : QY_COST_MOVE;
}

QY_RACY bool qy_move_is_ordinary(const struct qy_mm *mm, uint64_t index, uint64_t frames)
{
    const struct qy_pageblock *first = &mm->blocks[index / QY_PAGEBLOCK_FRAMES];
    const struct qy_pageblock *last = &mm->blocks[(index + frames - 1) / QY_PAGEBLOCK_FRAMES];
    return (first->flags & last->flags & QY_BLOCK_ONLINE) && first->zone == last->zone &&
           first->migratetype < QY_MIGRATE_HIGHATOMIC && last->migratetype < QY_MIGRATE_HIGHATOMIC;
}

bool qy_move_can_empty(struct qy_mm *mm, uint64_t index, uint64_t frames)
{
    unsigned ticket = qy_grace_enter(&mm->grace);
    uint64_t at = index;
    while (at < index + frames && qy_move_cost(mm, at) != QY_COST_NEVER)
        at++;
    qy_grace_leave(&mm->grace, ticket);
    return at == index + frames;
}

static void copy_name(char *to, const char *from)
{
    unsigned i = 0;
    for (; i + 1 < sizeof(((struct qy_cma_stuck *)0)->owner) && from[i] != '\0'; i++)
        to[i] = from[i];
    to[i] = '\0';
}

/** Does what has this tag go on for so many frames behind the one that carries it? Of a run of any
 *  length only its owner could tell: it does. */
static bool reaches(uint8_t tag, uint64_t distance)
{
    if (tag >= QY_TAG_RUN_CLASS)
        return distance < qy_run_class_frames(tag - QY_TAG_RUN_CLASS);
    if (tag >= QY_TAG_BLOCK && tag < QY_TAG_RUN)
        return distance < UINT64_C(1) << (tag - QY_TAG_BLOCK);
    return tag == QY_TAG_RUN || tag == QY_TAG_FREED || distance == 0;
}

/** A frame's tag, or that of the block or run that it lies in. */
static uint8_t tag_of(const struct qy_mm *mm, uint64_t index)
{
    uint64_t distance = 0;
    uint8_t tag = qy_tag_get(&mm->tags[index]);
    while (tag == QY_TAG_NONE && distance < index && distance < QY_RUN_CLASS_LONGEST &&
           !qy_frame_is_free(mm, index - distance))
        tag = qy_tag_get(&mm->tags[index - ++distance]);
    return reaches(tag, distance) ? tag : QY_TAG_NONE;
}

enum qy_cma_reason qy_move_reason(struct qy_mm *mm, uint64_t index)
{
    if (qy_tag_get(&mm->tags[index]) != QY_TAG_FOLIO)
        return tag_of(mm, index) == QY_TAG_NONE ? QY_CMA_BUSY : QY_CMA_UNMOVABLE;
    unsigned ticket = qy_grace_enter(&mm->grace);
    const struct qy_folio *folio = &mm->folios[index];
    const struct qy_mapping *mapping = atomic_load_explicit(&folio->mapping, memory_order_acquire);
    bool pinned = mapping != NULL && mapping->ops->cost(mapping, folio) == QY_COST_NEVER;
    qy_grace_leave(&mm->grace, ticket);
    return pinned ? QY_CMA_PINNED : QY_CMA_BUSY;
}

const char *qy_cma_reason_name(enum qy_cma_reason reason)
{
    static const char *const names[QY_CMA_NR_REASONS] = {
        [QY_CMA_PINNED] = "pinned",
        [QY_CMA_UNMOVABLE] = "unmovable",
        [QY_CMA_BUSY] = "busy",
        [QY_CMA_NO_TARGET] = "no target",
        [QY_CMA_NO_MAPPING] = "no mapping",
        [QY_CMA_WRITE_FAILED] = "write failed",
    };
    return (unsigned)reason < QY_CMA_NR_REASONS ? names[reason] : "?";
}

static const char *owner_of(const struct qy_mm *mm, uint64_t index)
{
    uint8_t tag = tag_of(mm, index);
    if (tag == QY_TAG_FOLIO) {
        const struct qy_mapping *mapping =
            atomic_load_explicit(&mm->folios[index].mapping, memory_order_acquire);
        return mapping != NULL ? mapping->name : "on its way";
    }
    if (qy_tag_is_run(tag))
        return "kmalloc, a run of pages";
    if (tag >= QY_TAG_CACHE)
        return mm->cache_of[tag] != NULL ? mm->cache_of[tag]->name : "a cache";
    return tag == QY_TAG_NONE ? "on its way" : "qy_alloc_pages()";
}

void qy_move_stuck(struct qy_move *move, qy_pfn_t pfn, enum qy_cma_reason reason)
{
    struct qy_cma_report *report = move->report;
    for (uint64_t i = 0; i < report->nr_stuck && i < QY_CMA_MAX_STUCK; i++)
        if (report->stuck[i].pfn == pfn)
            return;
    if (report->nr_stuck < QY_CMA_MAX_STUCK) {
        struct qy_cma_stuck *stuck = &report->stuck[report->nr_stuck];
        stuck->pfn = pfn;
        stuck->reason = reason;
        unsigned ticket = qy_grace_enter(&move->mm->grace);
        copy_name(stuck->owner, owner_of(move->mm, qy_frame_index(move->mm, pfn)));
        qy_grace_leave(&move->mm->grace, ticket);
    }
    report->nr_stuck++;
}
