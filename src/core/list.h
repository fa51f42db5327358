/*
 * Intrusive doubly linked list: the link lives in the thing that is listed.
 *
 * Owns:    nothing.
 * Borrows: every element while it is linked.
 * Thread:  the caller's.
 */
#ifndef CORE_LIST_H
#define CORE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

/* A link, and also the head of a list. A link that is in no list points to itself. */
struct list {
    struct list *next;
    struct list *prev;
};

#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

/* The same question asked of an element instead of a head. */
static inline bool list_is_linked(const struct list *link)
{
    return link->next != link;
}

static inline void list_push_back(struct list *list, struct list *link)
{
    assert(!list_is_linked(link));
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

/* Safe on a link that is in no list. */
static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* Takes the first element out, or returns NULL when there is none. */
static inline struct list *list_pop_front(struct list *list)
{
    struct list *link = list->next;

    if (link == list) {
        return NULL;
    }
    list->next = link->next;
    link->next->prev = list;
    list_init(link);
    return link;
}

/* Moves everything from `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_is_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    list_init(from);
}

#endif
