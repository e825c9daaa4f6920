/*
 * tree.h - ranges that do not overlap, in order, and the gaps between them
 *
 * WHAT    A search tree that is also a heap by a number drawn for each node: so it is balanced
 *         whatever order the ranges come in (Aragon & Seidel, "Randomized Search Trees", 1989).
 *         Each node knows the ends of its subtree and the widest gap within, so the lowest
 *         gap that has room is found without looking at those that have none.
 *
 * LOCKS   The caller's.
 */
#ifndef QY_BASE_TREE_H
#define QY_BASE_TREE_H

#include <stdint.h>

struct qy_tree_node {
    struct qy_tree_node *left, *right;
    uint64_t start, end;      /* [start, end), not empty; fixed while it is in a tree */
    uint64_t lowest, highest; /* of the subtree */
    uint64_t gap;             /* the widest between two ranges of the subtree */
    uint64_t priority;        /* higher ones are nearer the root */
};

struct qy_tree {
    struct qy_tree_node *root;
    uint64_t state; /* of the numbers that are drawn */
};

#define QY_TREE_NO_GAP UINT64_MAX

void qy_tree_insert(struct qy_tree *tree, struct qy_tree_node *node);
void qy_tree_remove(struct qy_tree *tree, struct qy_tree_node *node);

/** The first range that ends behind @point: it holds the point, or is the next one. NULL. */
struct qy_tree_node *qy_tree_at(const struct qy_tree *tree, uint64_t point);

/** The lowest multiple of @align (> 0) from which @count numbers are free, below @end;
 *  QY_TREE_NO_GAP. */
uint64_t qy_tree_gap(const struct qy_tree *tree, uint64_t end, uint64_t count, uint64_t align);

#endif
