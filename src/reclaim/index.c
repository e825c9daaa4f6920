/*
 * index.c - which frame holds which page of a file, and which pages are dirty
 *
 * WHAT    See index.h. Page 64 * 5 + 3 of a tree of height 2 is place 3 of the leaf at place 5 of
 *         the root:
 *
 *           root   used  . . . . . 1       leaf   used  . . . 1 . .
 *                  dirty . . . . . 1              dirty . . . 1 . .
 *
 *         A node above is dirty where a leaf below it is; so is a search for the next dirty page
 *         a few looks at words.
 *
 * RULES   W5  in index.h.
 *
 * LOCKS   The file's, held by whoever calls.
 *
 * COST    The leaf that was used last is remembered: a page beside the last one is found with
 *         two comparisons, another one with a look for each level, six at most.
 */
#include "reclaim/index.h"

#include "base/assert.h"
#include "base/errno.h"

#include <quarry/slab.h>

#define BITS 6
#define MOST_HEIGHT 6

static unsigned place_of(uint32_t page, unsigned level)
{
    return page >> (BITS * level) & (QY_INDEX_SLOTS - 1);
}

static bool within(const struct qy_index *index, uint32_t page)
{
    return (uint64_t)page >> (BITS * index->height) == 0;
}

static struct qy_index_node *new_node(struct qy_mm *mm, bool leaf)
{
    size_t bytes = offsetof(struct qy_index_node, frame) +
                   QY_INDEX_SLOTS * (leaf ? sizeof(uint32_t) : sizeof(void *));
    struct qy_index_node *node = qy_kmalloc(mm, bytes, QY_GFP_NOWAIT | QY_GFP_NOWARN);
    if (node == NULL)
        return NULL;
    node->used = node->dirty = 0;
    return node;
}

/** The leaf that holds the page's place; NULL: there is none. */
static struct qy_index_node *leaf_of(struct qy_index *index, uint32_t page)
{
    if (qy_likely(index->leaf != NULL && index->leaf_number == page / QY_INDEX_SLOTS))
        return index->leaf;
    struct qy_index_node *node = within(index, page) ? index->root : NULL;
    for (unsigned level = index->height - 1; node != NULL && level > 0; level--) {
        unsigned place = place_of(page, level);
        node = node->used >> place & 1 ? node->child[place] : NULL;
    }
    if (node != NULL) {
        index->leaf = node;
        index->leaf_number = page / QY_INDEX_SLOTS;
    }
    return node;
}

uint32_t qy_index_get(struct qy_index *index, uint32_t page)
{
    const struct qy_index_node *leaf = leaf_of(index, page);
    unsigned place = page % QY_INDEX_SLOTS;
    return leaf != NULL && (leaf->used >> place & 1) ? leaf->frame[place] : QY_NO_FRAME;
}

/** One level more on top. */
static int raise(struct qy_mm *mm, struct qy_index *index)
{
    struct qy_index_node *node = new_node(mm, index->height == 0);
    if (node == NULL)
        return -QY_ENOMEM;
    if (index->root != NULL) {
        node->child[0] = index->root;
        node->used = 1;
        node->dirty = index->root->dirty != 0;
    }
    index->root = node;
    index->height++;
    return 0;
}

int qy_index_reserve(struct qy_mm *mm, struct qy_index *index, uint32_t page)
{
    if (leaf_of(index, page) != NULL)
        return 0;
    while (index->root == NULL || !within(index, page))
        if (raise(mm, index) != 0)
            return -QY_ENOMEM;
    struct qy_index_node *node = index->root;
    for (unsigned level = index->height - 1; level > 0; level--) {
        unsigned place = place_of(page, level);
        if (!(node->used >> place & 1)) {
            struct qy_index_node *below = new_node(mm, level == 1);
            if (below == NULL)
                return -QY_ENOMEM;
            node->child[place] = below;
            node->used |= UINT64_C(1) << place;
        }
        node = node->child[place];
    }
    return 0;
}

void qy_index_set(struct qy_index *index, uint32_t page, uint32_t frame)
{
    struct qy_index_node *leaf = leaf_of(index, page);
    leaf->frame[page % QY_INDEX_SLOTS] = frame;
    leaf->used |= UINT64_C(1) << page % QY_INDEX_SLOTS;
}

/** The nodes from the root to the page's leaf, by level. */
static void path_of(const struct qy_index *index, uint32_t page,
                    struct qy_index_node *path[MOST_HEIGHT])
{
    struct qy_index_node *node = index->root;
    for (unsigned level = index->height; level-- > 0;) {
        path[level] = node;
        if (level > 0)
            node = node->child[place_of(page, level)];
    }
}

void qy_index_mark(struct qy_index *index, uint32_t page, bool dirty)
{
    struct qy_index_node *path[MOST_HEIGHT];
    path_of(index, page, path);
    for (unsigned level = 0; level < index->height; level++) {
        uint64_t bit = UINT64_C(1) << place_of(page, level);
        uint64_t before = path[level]->dirty;
        path[level]->dirty = dirty ? before | bit : before & ~bit;
        if ((path[level]->dirty != 0) == (before != 0))
            return;
    }
}

bool qy_index_marked(struct qy_index *index, uint32_t page)
{
    const struct qy_index_node *leaf = leaf_of(index, page);
    return leaf != NULL && (leaf->dirty >> page % QY_INDEX_SLOTS & 1);
}

void qy_index_remove(struct qy_mm *mm, struct qy_index *index, uint32_t page)
{
    struct qy_index_node *path[MOST_HEIGHT], *leaf = leaf_of(index, page);
    uint64_t bit = UINT64_C(1) << page % QY_INDEX_SLOTS;
    if (leaf->dirty & bit)
        qy_index_mark(index, page, false);
    if (leaf->used != bit) {
        leaf->used &= ~bit;
        return;
    }
    path_of(index, page, path);
    for (unsigned level = 0; level < index->height; level++) {
        path[level]->used &= ~(UINT64_C(1) << place_of(page, level));
        if (path[level]->used != 0)
            return;
        if (path[level] == index->leaf)
            index->leaf = NULL;
        qy_kfree(mm, path[level]);
    }
    *index = (struct qy_index){.root = NULL};
}

bool qy_index_next(const struct qy_index *index, uint32_t *page, bool dirty)
{
    uint64_t at = *page;
    while (index->root != NULL && at >> (BITS * index->height) == 0) {
        const struct qy_index_node *node = index->root;
        unsigned level = index->height - 1;
        for (;;) {
            unsigned place = (unsigned)(at >> (BITS * level)) & (QY_INDEX_SLOTS - 1);
            uint64_t ahead = (dirty ? node->dirty : node->used) >> place;
            if (ahead == 0) { /* nothing in the rest of this node: go on behind it */
                at = ((at >> (BITS * (level + 1))) + 1) << (BITS * (level + 1));
                break;
            }
            unsigned skipped = (unsigned)__builtin_ctzll(ahead);
            if (skipped > 0)
                at = ((at >> (BITS * level)) + skipped) << (BITS * level);
            if (level == 0) {
                *page = (uint32_t)at;
                return true;
            }
            node = node->child[place + skipped];
            level--;
        }
    }
    return false;
}

static void free_below(struct qy_mm *mm, struct qy_index_node *node, unsigned level)
{
    for (uint64_t left = level > 0 ? node->used : 0; left != 0; left &= left - 1)
        free_below(mm, node->child[__builtin_ctzll(left)], level - 1);
    qy_kfree(mm, node);
}

void qy_index_free(struct qy_mm *mm, struct qy_index *index)
{
    if (index->root != NULL)
        free_below(mm, index->root, index->height - 1);
    *index = (struct qy_index){.root = NULL};
}
