/*
 * Numbers and truths of protobuf: from what JSON has to their bytes, and back to its text. Pure.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef TOOLS_USERCTL_SCALAR_H
#define TOOLS_USERCTL_SCALAR_H

#include "http2/proto_wire.h"
#include "userctl_schema.h"

#include <stdio.h>

/* What was written for it. */
enum userctl_scalar_kind {
    USERCTL_SCALAR_INTEGER,
    USERCTL_SCALAR_REAL,
    USERCTL_SCALAR_TEXT, /* 64-bit numbers may stand in quotes, and all others too */
    USERCTL_SCALAR_TRUTH,
    USERCTL_SCALAR_OTHER,
};

struct userctl_scalar_input {
    enum userctl_scalar_kind kind;
    int64_t integer;
    double real;
    const char *text;
    bool truth;
};

/* Writes the bytes of a value into `out` (PROTO_WIRE_VARINT_MAX bytes). Returns how many; 0 when
 * the input is no such value, with *ret_expected saying what was expected. */
size_t userctl_scalar_put(enum userctl_type type, struct userctl_scalar_input input, uint8_t *out,
                          const char **ret_expected);

/* How such a value stands on the wire. */
enum proto_wire_type userctl_scalar_wire(enum userctl_type type);

/* It is what an absent field has. */
bool userctl_scalar_is_default(enum userctl_type type, uint64_t value);

/* Prints as JSON has it: 64-bit numbers and what no number can show in quotes. */
void userctl_scalar_print(FILE *out, enum userctl_type type, uint64_t value);

#endif
