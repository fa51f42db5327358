/*
 * Reads a descriptor in place, field by field. Pure.
 *
 * Owns:    nothing.
 * Borrows: what it is given: what is returned points into it.
 * Thread:  any.
 */
#ifndef TOOLS_USERCTL_SCHEMA_READ_H
#define TOOLS_USERCTL_SCHEMA_READ_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The last bytes field of that number; of size 0 when there is none. */
struct bytes userctl_schema_bytes_of(struct bytes message, uint32_t number);

/* The last number of that field, or `absent`. */
uint64_t userctl_schema_number_of(struct bytes message, uint32_t number, uint64_t absent);

/* How many bytes fields of that number there are. */
size_t userctl_schema_count_of(struct bytes message, uint32_t number);

/* Takes the next bytes field of that number off the front; false when there is none. */
bool userctl_schema_next_of(struct bytes *message, uint32_t number, struct bytes *ret_bytes);

/* It can be read to its end. */
bool userctl_schema_is_well_formed(struct bytes message);

#endif
