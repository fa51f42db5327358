/*
 * The store inside: shared by user_store.c and user_store_apply.c alone.
 *
 * Owns:    see user_store.h.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_STORE_INTERNAL_H
#define SERVICE_USER_STORE_INTERNAL_H

#include "core/map.h"
#include "service/user_order.h"
#include "service/user_store.h"

struct user_store {
    struct map by_id; /* of struct user_entry, like the next three */
    struct map by_username;
    struct map by_email;
    struct map by_request;
    struct user_order order;          /* of the same entries, by sequence */
    struct map changes;               /* of struct user_reservation: ids of changes on their way */
    struct map reserved_names;        /* usernames and e-mails: one namespace */
    struct map reserved_requests;     /* request_ids */
    struct user_store_keeper *keeper; /* or NULL */
    uint64_t max_users;
    uint64_t new_count;      /* users on their way in */
    uint64_t entry_bytes;    /* of the stored entries */
    uint64_t change_last;    /* greatest number given or applied */
    uint64_t change_applied; /* greatest number applied */
    int64_t created_at_last; /* greatest time given or applied */
};

/* Room for so many more users in every map and in the order. Returns 0 or -ENOMEM. */
int user_store_make_room(struct user_store *store, size_t count);

/* False for NULL. */
bool user_store_is_other(const struct user_entry *entry, struct bytes id);

/* Has a stored user other than `id` this username or e-mail? */
bool user_store_has_other(const struct user_store *store, struct bytes folded, uint64_t hash,
                          struct bytes id);

#endif
