/*
 * list.h - a doubly linked ring through the things themselves
 *
 * The head is a link that no thing owns; an empty ring links to itself. The caller's lock
 * guards the ring.
 */
#ifndef QY_BASE_LIST_H
#define QY_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct qy_list {
    struct qy_list *next, *prev;
};

static inline void qy_list_init(struct qy_list *head)
{
    head->next = head->prev = head;
}

static inline bool qy_list_empty(const struct qy_list *head)
{
    return head->next == head;
}

static inline void qy_list_add(struct qy_list *head, struct qy_list *link)
{
    link->prev = head;
    link->next = head->next;
    head->next->prev = link;
    head->next = link;
}

static inline void qy_list_add_tail(struct qy_list *head, struct qy_list *link)
{
    qy_list_add(head->prev, link);
}

static inline void qy_list_remove(struct qy_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = link;
}

/** The thing of @type whose member @member is this link. */
#define qy_list_entry(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

#define qy_list_for_each(link, head)                                                               \
    for (struct qy_list *link = (head)->next; link != (head); link = link->next)

#endif
