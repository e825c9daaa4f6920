/*
 * tree.c - ranges that do not overlap, in order, and the gaps between them
 *
 * WHAT    A node goes in where its number puts it: what was there is split at its start, into
 *         what is left and right of it. It goes out by merging its two subtrees.
 *
 * RULES   V5  in space/area.c: order, heap and figures are checked there.
 *
 * LOCKS   The caller's.
 *
 * COST    Some 2 ln n steps, 28 for a million ranges; the recursion is as deep.
 */
#include "base/tree.h"

#include "base/round.h"

#include <stddef.h>

static uint64_t wider(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void update(struct qy_tree_node *node)
{
    const struct qy_tree_node *left = node->left, *right = node->right;
    node->lowest = left != NULL ? left->lowest : node->start;
    node->highest = right != NULL ? right->highest : node->end;
    node->gap = 0;
    if (left != NULL)
        node->gap = wider(left->gap, node->start - left->highest);
    if (right != NULL)
        node->gap = wider(node->gap, wider(right->gap, right->lowest - node->end));
}

/** What starts below @point goes left, the rest right. */
static void split(struct qy_tree_node *node, uint64_t point, struct qy_tree_node **left,
                  struct qy_tree_node **right)
{
    if (node == NULL) {
        *left = *right = NULL;
        return;
    }
    if (node->start < point) {
        split(node->right, point, &node->right, right);
        *left = node;
    } else {
        split(node->left, point, left, &node->left);
        *right = node;
    }
    update(node);
}

static struct qy_tree_node *merge(struct qy_tree_node *left, struct qy_tree_node *right)
{
    if (left == NULL || right == NULL)
        return left != NULL ? left : right;
    struct qy_tree_node *root = left->priority > right->priority ? left : right;
    if (root == left)
        left->right = merge(left->right, right);
    else
        right->left = merge(left, right->left);
    update(root);
    return root;
}

static struct qy_tree_node *insert(struct qy_tree_node *root, struct qy_tree_node *node)
{
    if (root == NULL || node->priority > root->priority) {
        split(root, node->start, &node->left, &node->right);
        root = node;
    } else if (node->start < root->start) {
        root->left = insert(root->left, node);
    } else {
        root->right = insert(root->right, node);
    }
    update(root);
    return root;
}

static struct qy_tree_node *remove_node(struct qy_tree_node *root, struct qy_tree_node *node)
{
    if (root == node)
        return merge(node->left, node->right);
    if (node->start < root->start)
        root->left = remove_node(root->left, node);
    else
        root->right = remove_node(root->right, node);
    update(root);
    return root;
}

void qy_tree_insert(struct qy_tree *tree, struct qy_tree_node *node)
{
    /* Knuth's MMIX generator; the upper half is random enough. */
    tree->state = tree->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    node->priority = tree->state >> 32;
    node->left = node->right = NULL;
    tree->root = insert(tree->root, node);
}

void qy_tree_remove(struct qy_tree *tree, struct qy_tree_node *node)
{
    tree->root = remove_node(tree->root, node);
}

struct qy_tree_node *qy_tree_at(const struct qy_tree *tree, uint64_t point)
{
    struct qy_tree_node *found = NULL;
    for (struct qy_tree_node *node = tree->root; node != NULL;) {
        if (node->end > point) {
            found = node;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return found;
}

struct search {
    uint64_t from; /* where the range before ends */
    uint64_t count, align;
};

/** Gaps in front of, and within, a subtree; search->from moves behind it. */
static uint64_t gap_in(const struct qy_tree_node *node, struct search *search)
{
    if (node == NULL)
        return QY_TREE_NO_GAP;
    if (wider(node->gap, node->lowest - search->from) < search->count) {
        search->from = node->highest;
        return QY_TREE_NO_GAP;
    }
    uint64_t found = gap_in(node->left, search);
    if (found != QY_TREE_NO_GAP)
        return found;
    found = qy_round_up(search->from, search->align);
    if (found < node->start && node->start - found >= search->count)
        return found;
    search->from = node->end;
    return gap_in(node->right, search);
}

uint64_t qy_tree_gap(const struct qy_tree *tree, uint64_t end, uint64_t count, uint64_t align)
{
    struct search search = {.count = count, .align = align};
    uint64_t found = gap_in(tree->root, &search);
    if (found != QY_TREE_NO_GAP)
        return found;
    found = qy_round_up(search.from, align);
    return found < end && end - found >= count ? found : QY_TREE_NO_GAP;
}
