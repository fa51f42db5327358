/*
 * One change on its way through user_store.h: its keys, in one block of memory, and what a log that
 * decides conflicts elsewhere has to hold it against. Pure.
 *
 * Owns:    copies of the keys; the new image, until it is in the store.
 * Borrows: nothing.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_CHANGE_H
#define SERVICE_USER_CHANGE_H

#include "core/bytes.h"
#include "service/commit_log.h"

#include <stdbool.h>
#include <stdint.h>

struct user_entry;

/* A key that a change has reserved. */
struct user_reservation {
    struct bytes key; /* names are folded; size 0 = nothing reserved */
    uint64_t hash;    /* of the key, while it is reserved */
    struct user_change *change;
};

/* One change on its way: what it has reserved, and the user as it will be. Embedded in its owner,
 * zero-initialised, the store's own apart from that. */
struct user_change {
    struct user_reservation id;
    struct user_reservation username;
    struct user_reservation email;
    struct user_reservation request_id;
    struct bytes old_username; /* names given up; size 0 = none */
    struct bytes old_email;
    uint64_t old_revision;    /* of the user that is changed; 0 = it is new */
    struct user_entry *after; /* the new image until it is in the store */
    uint8_t *memory;          /* holds the keys */
    bool is_new;
};

/* The names a user has, or will have, in the form shown. */
struct user_names {
    struct bytes id;
    struct bytes username; /* both empty: the user is to be deleted */
    struct bytes email;
    struct bytes request_id; /* of a new user; may be empty */
};

/* Copies the keys, names folded, into memory of the change; `before` is the stored user or NULL.
 * Returns 0, -EBADMSG for a name that does not fold, or -ENOMEM. */
int user_change_copy_keys(struct user_change *change, const struct user_names *names,
                          const struct user_entry *before);

/* Fills in the keys of the mutation. */
void user_change_fill_keys(const struct user_change *change, struct commit_mutation *mutation);

#endif
