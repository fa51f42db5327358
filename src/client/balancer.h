/*
 * Which of the ready backends gets the next call. Pure: works on an array that its owner keeps.
 *
 * pick_first: the first in the order of the addresses that is usable, and stays with it while it
 * is. round_robin: one after the other; those that are not usable are passed over, and the turn of
 * the others is not disturbed by that, so that calls spread evenly over the usable ones.
 *
 * Owns, borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef CLIENT_BALANCER_H
#define CLIENT_BALANCER_H

#include <stdbool.h>
#include <stddef.h>

enum balancer_policy {
    BALANCER_PICK_FIRST,
    BALANCER_ROUND_ROBIN,
};

struct balancer {
    enum balancer_policy policy;
    size_t next; /* pick_first: the index it stays with; round_robin: the one whose turn it is */
};

#define BALANCER_NONE ((size_t)-1)

void balancer_init(struct balancer *balancer, enum balancer_policy policy, size_t start);

/* An index below `count` with is_usable(context, index), or BALANCER_NONE. `avoid` (an index or
 * BALANCER_NONE) is taken only when it is the only one: a retry goes elsewhere when it can. */
size_t balancer_pick(struct balancer *balancer, size_t count,
                     bool (*is_usable)(const void *context, size_t index), const void *context,
                     size_t avoid);

const char *balancer_policy_name(enum balancer_policy policy);

#endif
