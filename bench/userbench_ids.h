/*
 * Which user the next call is about. Pure: the same seed gives the same sequence.
 *
 * Owns:    the table of a Zipf distribution.
 * Thread:  one.
 */
#ifndef USERBENCH_IDS_H
#define USERBENCH_IDS_H

#include <stdint.h>

enum userbench_ids_kind {
    USERBENCH_IDS_UNIFORM,
    USERBENCH_IDS_ZIPF,       /* the n-th favourite is asked for in proportion to n^-exponent */
    USERBENCH_IDS_SEQUENTIAL, /* in the order of creation, again and again */
    USERBENCH_IDS_ONE,
};

struct userbench_ids {
    enum userbench_ids_kind kind;
    uint64_t users;
    uint64_t state; /* of the random numbers (splitmix64) */
    uint64_t next;  /* sequential */
    double *shares; /* Zipf: of the first so many favourites together */
};

/* Returns 0 or -ENOMEM. */
int userbench_ids_init(struct userbench_ids *ids, enum userbench_ids_kind kind, uint64_t users,
                       double exponent, uint64_t seed);
void userbench_ids_deinit(struct userbench_ids *ids);

uint64_t userbench_ids_random(struct userbench_ids *ids);

/* Below `users`. Favourites lie anywhere in the order of creation. */
uint64_t userbench_ids_next(struct userbench_ids *ids);

#endif
