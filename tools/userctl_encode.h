/*
 * JSON to the bytes of a message, by the JSON mapping of protobuf: both spellings of a field's
 * name, 64-bit numbers as strings or numbers, enums by name or number, bytes in base64, null for a
 * default, and the forms that the messages of google.protobuf have of their own. Pure.
 *
 * Owns, borrows: nothing after a call.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_ENCODE_H
#define TOOLS_USERCTL_ENCODE_H

#include "core/buf.h"
#include "userctl_schema.h"
#include "userctl_wanted.h"

#define USERCTL_ENCODE_DEPTH_MAX    64
#define USERCTL_ENCODE_SIZE_MAX     (4 * 1024 * 1024) /* of the text */
#define USERCTL_ENCODE_PROBLEM_SIZE 768

#define USERCTL_ENCODE_E_BAD 1 /* the problem says where, and what was expected */

/* Appends a message to `out`. Returns 0; or USERCTL_ENCODE_E_BAD with `problem`
 * (USERCTL_ENCODE_PROBLEM_SIZE bytes) filled in: no value of the text is in it. `wanted` may be
 * NULL; an Any of a type that it notes is refused. */
int userctl_encode(const struct userctl_schema *schema, const struct userctl_message *message,
                   struct bytes json, struct userctl_wanted *wanted, struct buf *out,
                   char *problem);

#endif
