/*
 * The users in memory, their order, their indexes, and the names that changes on their way have
 * reserved. Pure: no I/O, no clock; times, ids and records are handed in.
 *
 * Owns:    the stored users; what a change reserved, until it is released.
 * Borrows: every struct user_change, from user_store_reserve() until user_store_release().
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_STORE_H
#define SERVICE_USER_STORE_H

#include "core/bytes.h"
#include "core/hash.h"
#include "service/commit_log.h"
#include "service/user_change.h"
#include "service/user_entry.h"

#include <stdbool.h>
#include <stdint.h>

struct user_order;
struct user_store;

/* Hears of every entry that a change takes out of the store, before it is freed: for who still has
 * to tell of the state before. */
struct user_store_keeper {
    /* True: the entry is the keeper's from now on, to be freed by it. */
    bool (*keep)(struct user_store_keeper *keeper, struct user_entry *entry);
};

/* Number and time of a change that is about to be logged. */
struct user_stamp {
    uint64_t change;
    int64_t created_at; /* ms; never below that of a user created before */
};

/* `max_users` counts new users on their way too. Returns 0 or -ENOMEM. */
int user_store_new(uint64_t max_users, struct hash_seed seed, struct user_store **ret_store);

/* No change may be reserved any more, and no keeper set. NULL is fine. */
void user_store_free(struct user_store *store);

/* Forgets all users: the log gives the whole state anew. No keeper may be set. */
void user_store_clear(struct user_store *store);

/* Makes room for so many more users, or as many as there may be, all at once. Returns 0 or -ENOMEM.
 */
int user_store_reserve_users(struct user_store *store, uint64_t count);

/* Between changes that the log gives back at the start, when nobody waits: the maps that have grown
 * are put in order at once, which is cheaper than a little with each change. */
void user_store_settle(struct user_store *store);

/* Everything is loaded: gives back the room that was reserved for it and not needed, as that for
 * request_ids where few users have one. No change may be on its way. */
void user_store_end_load(struct user_store *store);

/* At most one; NULL ends it. */
void user_store_set_keeper(struct user_store *store, struct user_store_keeper *keeper);

uint64_t user_store_count(const struct user_store *store);

/* Bytes that the stored users and their indexes take, without what the allocator adds. */
uint64_t user_store_memory(const struct user_store *store);

/* The number of the last change applied, which names the state of the store: as long as it stays,
 * nothing has changed. 0 = no change yet. */
uint64_t user_store_applied(const struct user_store *store);

/* How far counting has come with the changes applied. */
struct user_counters user_store_counters(const struct user_store *store);

/* Leaves out so many numbers, which may have been given to changes that are lost. Returns where
 * counting goes on from: to be logged, or the next start knows nothing of it. */
struct user_counters user_store_skip_changes(struct user_store *store, uint64_t count);

/* Reads: committed state alone. NULL when there is none. Names are folded. */
const struct user_entry *user_store_find(const struct user_store *store, struct bytes id);
const struct user_entry *user_store_find_username(const struct user_store *store,
                                                  struct bytes username);
const struct user_entry *user_store_find_email(const struct user_store *store, struct bytes email);
const struct user_entry *user_store_find_request(const struct user_store *store,
                                                 struct bytes request_id);

/* The stored users in the order of their creation. A cursor is good until the next apply. */
const struct user_order *user_store_order(const struct user_store *store);

/* The change on its way for this user, or for a new user with this request_id. NULL = none. */
struct user_change *user_store_change_of_id(const struct user_store *store, struct bytes id);
struct user_change *user_store_change_of_request(const struct user_store *store,
                                                 struct bytes request_id);

#define USER_STORE_E_USERNAME_TAKEN 1
#define USER_STORE_E_EMAIL_TAKEN    2
#define USER_STORE_E_TOO_MANY       3 /* max_users */

/* Checks the names against stored users and changes on their way, and reserves them. No change of
 * this id, and no stored user or change with this request_id, may exist: look first.
 *
 * Returns 0, or with nothing reserved: USER_STORE_E_*; -EBADMSG for names that do not fold, which
 * none does that passed user_validate.h; -ENOMEM. */
int user_store_reserve(struct user_store *store, struct user_change *change,
                       const struct user_names *names);

/* Gives the next number. Take it right before user_store_plan() and submit: numbers then follow the
 * order of the log. */
struct user_stamp user_store_stamp(struct user_store *store, int64_t now_ms);

/* The last step before submit: checks the record in `mutation` (record, record_type) against what
 * is reserved, prepares everything that user_store_apply() will need memory for, and fills in the
 * keys of the mutation.
 *
 * Returns 0 or -ENOMEM with the reservations kept. */
int user_store_plan(struct user_store *store, struct user_change *change,
                    struct commit_mutation *mutation);

/* The only way in which the stored users change. A change that was planned here cannot fail. What
 * comes from a snapshot must fit beside all that is there, and replaces nothing.
 *
 * Returns 0; -EBADMSG for a record that is malformed or does not fit what is stored; -ENOMEM. */
int user_store_apply(struct user_store *store, const struct commit_event *event);

/* Gives back what the change has reserved. Safe on a change that reserved nothing. */
void user_store_release(struct user_store *store, struct user_change *change);

#endif
