/*
 * Shared by the parts of userctl_encode: what is being encoded, and how a part of it is.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_ENCODE_INTERNAL_H
#define TOOLS_USERCTL_ENCODE_INTERNAL_H

#include "core/buf.h"
#include "userctl_schema.h"
#include "userctl_wanted.h"

#include <jansson.h>

#include <stdbool.h>

#define USERCTL_ENCODE_PATH_SIZE 256

struct userctl_encoding {
    const struct userctl_schema *schema;
    struct userctl_wanted *wanted; /* may be NULL */
    char *problem;
    unsigned depth;
    size_t path_size;
    char path[USERCTL_ENCODE_PATH_SIZE];
};

/* Fill in the problem with the present path. Each returns USERCTL_ENCODE_E_BAD. */
int userctl_encode_refuse(const struct userctl_encoding *encoding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int userctl_encode_no_memory(const struct userctl_encoding *encoding);
int userctl_encode_too_deep(const struct userctl_encoding *encoding);
int userctl_encode_expected(const struct userctl_encoding *encoding, const char *what,
                            json_t *value);

/* What stands there, for people: "a number". */
const char *userctl_encode_kind(json_t *value);

struct bytes userctl_encode_text(json_t *value);

/* NULL also when there is a zero byte in it: what follows it would be overlooked. */
const char *userctl_encode_word(json_t *value);

/* Append to `out`. Return 0 or USERCTL_ENCODE_E_BAD. */
int userctl_encode_message(struct userctl_encoding *encoding, const struct userctl_message *message,
                           json_t *value, struct buf *out);
int userctl_encode_field(struct userctl_encoding *encoding, const struct userctl_field *field,
                         json_t *value, struct buf *out);
/* All members of an object, but for one of that name unless it is NULL. */
int userctl_encode_members(struct userctl_encoding *encoding, const struct userctl_message *message,
                           json_t *object, const char *except, struct buf *out);
/* A message whose `known` is not USERCTL_KNOWN_NONE. */
int userctl_encode_known(struct userctl_encoding *encoding, const struct userctl_message *message,
                         json_t *value, struct buf *out);

/* Append a value that is no message, with its head; of a number for a packed field without. */
int userctl_encode_bytes(const struct userctl_encoding *encoding, const struct userctl_field *field,
                         json_t *value, struct buf *out);
int userctl_encode_enum(const struct userctl_encoding *encoding, const struct userctl_field *field,
                        json_t *value, struct buf *out);
int userctl_encode_number(const struct userctl_encoding *encoding,
                          const struct userctl_field *field, json_t *value, bool with_head,
                          struct buf *out);
int userctl_encode_key(const struct userctl_encoding *encoding, const struct userctl_field *field,
                       const char *name, struct buf *out);

#endif
