/*
 * What the fields of a user may hold, and the folding that makes names unique. Pure.
 *
 * Texts are valid UTF-8 when they come here. This version folds ASCII alone: `Anna` and `anna` are
 * one name, `Ä` and `ä` are two. Normalisation and the bidi rule of PRECIS (RFC 8265) are still to
 * come; until then the characters that people cannot see, or take for others, are refused outright.
 *
 *   username    1 to 64 characters, no invisible ones, no space but U+0020
 *   email       at most 254 bytes: 1 to 63 before the one @, behind it labels of letters, digits, -
 *   password    password.min_length characters to password.max_length bytes, anything in it
 *   request_id  at most 36 printable ASCII characters
 *   roles       at most 64, each 1 to 64 bytes, no control characters
 *   status      ACTIVE, INACTIVE or SUSPENDED
 *   id          1 to 64 bytes (as asked for; the server's own are UUIDs)
 *   first_name, last_name, avatar_url: at most 320 bytes each, no control characters
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef SERVICE_USER_VALIDATE_H
#define SERVICE_USER_VALIDATE_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

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
    bool missing;  /* one of them is a required field that is empty */
    char text[64]; /* holds a problem that names a configured number */
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

/* Writes the form in which names are compared, of the same size; `text` is trimmed. */
void user_validate_fold(struct bytes text, uint8_t *out);

/* Adds what is wrong with a new user; names are trimmed already. */
void user_validate_draft(const struct user_draft *draft, const struct user_password_rule *rule,
                         struct user_faults *faults);

/* Adds what is wrong with the fields that the patch sets; names are trimmed already. */
void user_validate_patch(const struct user_patch *patch, struct user_faults *faults);

#endif
