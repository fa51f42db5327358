/*
 * The turn moves with the pick, not with the clock: after index i it is the turn of the first
 * usable one behind i. So one that is passed over costs its neighbour nothing, and the usable ones
 * come round in the same order whichever of the others fail.
 */
#include "client/balancer.h"

typedef bool usable_fn(const void *context, size_t index);

void balancer_init(struct balancer *balancer, enum balancer_policy policy, size_t start)
{
    *balancer = (struct balancer){.policy = policy, .next = start};
}

/* The first usable one from `start` on, once round. */
static size_t find(size_t start, size_t count, usable_fn *is_usable, const void *context,
                   size_t avoid)
{
    size_t index = start;

    for (size_t i = 0; i < count; i++) {
        if (index != avoid && is_usable(context, index)) {
            return index;
        }
        index = index + 1 == count ? 0 : index + 1;
    }
    return BALANCER_NONE;
}

/* A retry that goes elsewhere does not move the others along. */
static size_t pick_first(struct balancer *balancer, size_t count, usable_fn *is_usable,
                         const void *context, size_t avoid)
{
    size_t present = balancer->next;
    size_t other;

    if (present >= count || !is_usable(context, present)) {
        present = find(0, count, is_usable, context, BALANCER_NONE);
        balancer->next = present == BALANCER_NONE ? 0 : present;
    }
    if (present != avoid || present == BALANCER_NONE) {
        return present;
    }
    other = find(0, count, is_usable, context, avoid);
    return other == BALANCER_NONE ? present : other;
}

static size_t pick_next(struct balancer *balancer, size_t count, usable_fn *is_usable,
                        const void *context, size_t avoid)
{
    size_t start = balancer->next < count ? balancer->next : balancer->next % count;
    size_t index = find(start, count, is_usable, context, avoid);

    if (index == BALANCER_NONE && avoid < count && is_usable(context, avoid)) {
        index = avoid;
    }
    if (index != BALANCER_NONE) {
        balancer->next = index + 1 == count ? 0 : index + 1;
    }
    return index;
}

size_t balancer_pick(struct balancer *balancer, size_t count, usable_fn *is_usable,
                     const void *context, size_t avoid)
{
    if (count == 0) {
        return BALANCER_NONE;
    }
    return balancer->policy == BALANCER_PICK_FIRST
               ? pick_first(balancer, count, is_usable, context, avoid)
               : pick_next(balancer, count, is_usable, context, avoid);
}

const char *balancer_policy_name(enum balancer_policy policy)
{
    return policy == BALANCER_PICK_FIRST ? "pick_first" : "round_robin";
}
