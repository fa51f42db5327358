/*
 * What the fields of a user may hold. Pure.
 *
 * Texts are valid UTF-8 when they come here, names trimmed.
 *
 *   username    1 to 64 characters, in any script: what user_fold_check_name() lets pass
 *   email       at most 254 bytes: 1 to 63 before the one @, which are such a name without quotes
 *               and spaces; behind it labels of letters, digits, -
 *   password    password.min_length characters to password.max_length bytes, anything in it
 *   request_id  at most 36 printable ASCII characters
 *   roles       at most 64, each 1 to 64 bytes: what user_fold_check_text() lets pass
 *   status      ACTIVE, INACTIVE or SUSPENDED
 *   id          1 to 64 bytes (as asked for; the server's own are UUIDs); one that a client chooses
 *               has letters, digits, and . _ ~ - alone
 *   first_name, last_name, avatar_url: at most 320 bytes each, user_fold_check_text()
 *
 * Names that differ in script alone but look the same (UTS 39) are different names.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef SERVICE_USER_VALIDATE_H
#define SERVICE_USER_VALIDATE_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct user;
struct user_patch;

#define USER_ID_BYTES_MAX            64
#define USER_USERNAME_CHARACTERS_MAX 64
#define USER_EMAIL_BYTES_MAX         254
#define USER_EMAIL_LOCAL_BYTES_MAX   63
#define USER_EMAIL_LABEL_BYTES_MAX   63
#define USER_TEXT_BYTES_MAX          320
#define USER_ROLE_BYTES_MAX          64
#define USER_REQUEST_ID_BYTES_MAX    36

#define USER_FAULTS_MAX 16

/* All that is wrong with a request. */
struct user_faults {
    struct {
        const char *field;   /* path in the request */
        const char *problem; /* "must not be empty" and the like */
    } items[USER_FAULTS_MAX];

    unsigned count;
    bool missing;      /* one of them is a required field that is empty */
    bool has_nul;      /* one of them is a text with a U+0000 */
    struct bytes path; /* the first of an update_mask that names nothing; without data: none did */
    char text[64];     /* holds a problem that names a configured number */
};

struct user_password_rule {
    uint32_t min_characters;
    uint32_t max_bytes;
};

/* The fields of a CreateUserRequest. */
struct user_draft {
    struct bytes username;
    struct bytes email;
    struct bytes password;
    struct bytes request_id;
};

/* Without white space (ASCII) at both ends: the form in which names are kept and shown. */
struct bytes user_validate_trim(struct bytes text);

/* Adds that a text holds a U+0000, which C would cut there: said once of a field, and nothing else
 * is said of it from then on. */
void user_faults_add_nul(struct user_faults *faults, const char *field);

/* Adds, in the words of `problem`, that the update_mask has a path that names nothing. */
void user_faults_add_path(struct user_faults *faults, struct bytes path, const char *problem);

/* Adds what is wrong with the id of the user that a request is about. */
void user_validate_id(struct bytes id, struct user_faults *faults);

/* Adds what is wrong with a new user. */
void user_validate_draft(const struct user_draft *draft, const struct user_password_rule *rule,
                         struct user_faults *faults);

/* Adds what is wrong with the fields that the patch sets. */
void user_validate_patch(const struct user_patch *patch, struct user_faults *faults);

/* Adds what is wrong with a whole user as SyncUsers sends it: the id may be empty and the status
 * unspecified; what only the server sets is not looked at. */
void user_validate_sync(const struct user *user, struct user_faults *faults);

#endif
