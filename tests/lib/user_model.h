/*
 * Users so simple that they can be believed: an array of numbers, and a list of all changes ever
 * sent to the log, by LSN. Says what a store must hold after any of them, field by field.
 *
 * Owns:    the list.
 * Borrows: nothing.
 * Thread:  one.
 */
#ifndef TESTS_LIB_USER_MODEL_H
#define TESTS_LIB_USER_MODEL_H

#include "core/buf.h"
#include "core/bytes.h"
#include "service/user_record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct user_store;

#define USER_MODEL_IDS   32
#define USER_MODEL_NAMES 60 /* few, so that they collide; for usernames and e-mails alike */

/* A user: numbers, from which all its texts follow. */
struct user_model_user {
    bool exists;
    uint32_t username;
    uint32_t email;
    uint32_t request; /* 0 = without */
    uint32_t roles;   /* how many */
    uint32_t salt;    /* of profile and password */
    uint32_t size;    /* of the avatar's address */
    int32_t status;
    int64_t created_at;
    int64_t updated_at;
    uint64_t sequence;
    uint64_t change;
    uint64_t lsn; /* of the record that made it what it is */
};

/* A record that was sent to the log. */
struct user_model_change {
    uint8_t type; /* enum user_record_type */
    unsigned id;
    struct user_model_user after;
    struct user_counters counters; /* reached with this record */
};

struct user_model {
    struct user_model_change *changes; /* of LSN 1 at index 0 */
    uint64_t count;                    /* highest LSN sent */
    uint64_t capacity;
};

/* The users after some LSN. */
struct user_model_state {
    struct user_model_user users[USER_MODEL_IDS];
    unsigned count;
    struct user_counters counters;
};

/* The list must be empty before the first call, and is freed by _deinit(). */
void user_model_add(struct user_model *model, const struct user_model_change *change);
void user_model_forget_after(struct user_model *model, uint64_t lsn);
void user_model_deinit(struct user_model *model);

void user_model_state_at(const struct user_model *model, uint64_t lsn,
                         struct user_model_state *ret_state);

/* Texts; they hold until some calls later. */
struct bytes user_model_id(unsigned id);
struct bytes user_model_name(uint32_t name); /* of a username or e-mail, as it is shown */

/* Appends the record that makes the user what it is. Aborts when out of memory. */
void user_model_build(unsigned id, const struct user_model_user *user, uint8_t type,
                      struct buf *out);

/* Whether the store holds exactly this. Otherwise `ret_what` says what is not so. */
bool user_model_is_held(const struct user_model_state *state, const struct user_store *store,
                        const char **ret_what);

/* Whether a record of a snapshot is that of a user of this state, whose id is returned. */
bool user_model_has_record(const struct user_model_state *state, struct bytes body, uint64_t lsn,
                           unsigned *ret_id);

#endif
