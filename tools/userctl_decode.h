/*
 * The bytes of a message to JSON, on one line: the mapping of protobuf with the proto's own field
 * names. Fields that the schema does not know are left out. Pure.
 *
 * Owns, borrows: nothing after a call.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_DECODE_H
#define TOOLS_USERCTL_DECODE_H

#include "userctl_schema.h"
#include "userctl_wanted.h"

#include <stdio.h>

#define USERCTL_DECODE_DEPTH_MAX    64
#define USERCTL_DECODE_PROBLEM_SIZE 512

#define USERCTL_DECODE_E_BAD 1 /* the problem says why */

/* Prints a message without a line end. Returns 0; or USERCTL_DECODE_E_BAD with `problem`
 * (USERCTL_DECODE_PROBLEM_SIZE bytes) filled in: what was printed then is a piece. `wanted` may be
 * NULL; an Any of a type that it notes is printed in base64. */
int userctl_decode(const struct userctl_schema *schema, const struct userctl_message *message,
                   struct bytes bytes, struct userctl_wanted *wanted, FILE *out, char *problem);

#endif
