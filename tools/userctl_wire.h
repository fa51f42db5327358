/*
 * The fields of a message of any server: as http2/proto_wire reads them, and groups too, which old
 * servers send. Pure.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef TOOLS_USERCTL_WIRE_H
#define TOOLS_USERCTL_WIRE_H

#include "http2/proto_wire.h"

#define USERCTL_WIRE_GROUP      ((enum proto_wire_type)3) /* of a field that was a whole group */
#define USERCTL_WIRE_GROUPS_MAX 64                        /* in each other */

/* As proto_wire_read(); a group is one field, without what is in it. */
int userctl_wire_read(struct bytes *input, struct proto_wire_field *ret_field);

#endif
