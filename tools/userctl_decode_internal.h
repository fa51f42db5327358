/*
 * Shared by the parts of userctl_decode: what is being decoded, and how a part of it is.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_DECODE_INTERNAL_H
#define TOOLS_USERCTL_DECODE_INTERNAL_H

#include "http2/proto_wire.h"
#include "userctl_schema.h"
#include "userctl_wanted.h"

#include <stdbool.h>
#include <stdio.h>

struct userctl_decoding {
    const struct userctl_schema *schema;
    struct userctl_wanted *wanted; /* may be NULL */
    FILE *out;
    char *problem;
    unsigned depth;
};

/* One field as it came. */
struct userctl_decode_part {
    struct proto_wire_field wire;
    uint32_t field; /* its index in the message */
    uint32_t order;
};

struct userctl_decode_parts {
    struct userctl_decode_part *parts;
    size_t count;
};

/* Fill in the problem. Each returns USERCTL_DECODE_E_BAD. */
int userctl_decode_refuse(const struct userctl_decoding *decoding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int userctl_decode_malformed(const struct userctl_decoding *decoding, const char *name);

/* The parts of a message in the order of its fields, without those that no longer count. `parts` of
 * the result is to be freed. Returns 0 or USERCTL_DECODE_E_BAD, as all that follow. */
int userctl_decode_list_parts(const struct userctl_decoding *decoding,
                              const struct userctl_message *message, struct bytes bytes,
                              struct userctl_decode_parts *ret_parts);

int userctl_decode_message(struct userctl_decoding *decoding, const struct userctl_message *message,
                           struct bytes bytes);
/* Without the braces; the separator goes before the first member. */
int userctl_decode_members(struct userctl_decoding *decoding, const struct userctl_message *message,
                           struct bytes bytes, const char *separator);
/* A message as its type has it: with braces, or in a form of its own. */
int userctl_decode_known(struct userctl_decoding *decoding, const struct userctl_message *message,
                         struct bytes bytes);
/* All parts of one field, at least one; of a map. */
int userctl_decode_field(struct userctl_decoding *decoding, const struct userctl_field *field,
                         const struct userctl_decode_part *parts, size_t count);
int userctl_decode_map(struct userctl_decoding *decoding, const struct userctl_field *field,
                       const struct userctl_decode_part *parts, size_t count);
/* A value that stands where it should on the wire; bytes in base64. */
int userctl_decode_value(struct userctl_decoding *decoding, const struct userctl_field *field,
                         const struct proto_wire_field *wire);
int userctl_decode_bytes(const struct userctl_decoding *decoding, struct bytes bytes);

/* It stands on the wire as its type does. */
bool userctl_decode_fits(const struct userctl_field *field, const struct proto_wire_field *wire);

#endif
