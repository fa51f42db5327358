/*
 * A JSON line to a user, by the JSON mapping of protobuf: both spellings of a field's name, 64-bit
 * numbers as strings or numbers, enums by name or number, null for a default.
 *
 * Owns:    the parsed line, which the user points into; wiped when it is freed, for it may hold a
 *          password or its hash.
 * Borrows: the line, for the call.
 * Thread:  one.
 */
#ifndef TOOLS_COMMON_READ_H
#define TOOLS_COMMON_READ_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMON_READ_PROBLEM_SIZE 512

/* The fields that a line may have. */
enum common_read_fields {
    COMMON_READ_USER = 1 << 0,   /* those of a User */
    COMMON_READ_CREATE = 1 << 1, /* those of a CreateUserRequest */
    COMMON_READ_STORED = 1 << 2, /* password_hash, request_id: what is stored beside a User */
    COMMON_READ_IGNORE_UNKNOWN = 1 << 3 /* leave out all others; without it they are refused */
};

/* A text that is not in the line has no data; a NUL stands behind one that is. */
struct common_read {
    struct bytes id;
    struct bytes username;
    struct bytes email;
    struct bytes password;
    struct bytes password_hash;
    struct bytes request_id;
    struct bytes etag;
    struct bytes first_name;
    struct bytes last_name;
    struct bytes avatar_url;
    struct bytes *roles;
    size_t role_count;
    int64_t created_at;
    int64_t updated_at;
    int32_t status; /* which ones there are is for others to say */
    bool has_profile;
    void *root; /* jansson's */
};

/* Before the first line. */
void common_read_begin(void);

/* Returns 0; or 1 with `problem` saying why, without any value of the line in it.
 * common_read_deinit() is needed in any case. */
int common_read_line(struct bytes line, unsigned fields, char problem[COMMON_READ_PROBLEM_SIZE],
                     struct common_read *ret_read);
void common_read_deinit(struct common_read *read);

/* What is wrong with a JSON text, in words of our own: those of jansson show pieces of it, which
 * could be of a password. */
struct json_error_t;
const char *common_read_fault(const struct json_error_t *error);

#endif
