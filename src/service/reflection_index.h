/*
 * What a set of protobuf descriptors declares: in which file a name or an extension stands, and
 * what a file imports. Built once, by reading the set as it is on the wire.
 *
 * Owns:    its tables.
 * Borrows: the set, for its life.
 * Thread:  any after building.
 */
#ifndef SERVICE_REFLECTION_INDEX_H
#define SERVICE_REFLECTION_INDEX_H

#include "core/bytes.h"

#include <stdint.h>

struct reflection_index;

#define REFLECTION_FILES_MAX 64                   /* a set of them is one number: bit n = file n */
#define REFLECTION_NO_FILE   REFLECTION_FILES_MAX /* what is looked for is in none */

struct reflection_extension {
    struct bytes type; /* the message that it extends, "users.v1.User" */
    int32_t number;
    unsigned file;
};

/* Reads a FileDescriptorSet. Returns 0, -ENOMEM, or -EBADMSG for bytes that are none, for more than
 * REFLECTION_FILES_MAX files, and for names that are very long. */
int reflection_index_new(struct bytes set, struct reflection_index **ret_index);

/* Which file has this name, "users/v1/users.proto"; declares this, a full name without a dot in
 * front; has this extension. Or REFLECTION_NO_FILE. */
unsigned reflection_index_file(const struct reflection_index *index, struct bytes name);
unsigned reflection_index_symbol(const struct reflection_index *index, struct bytes name);
unsigned reflection_index_extension(const struct reflection_index *index, struct bytes type,
                                    int32_t number);

/* All extensions of a message, by number; borrowed from the index. */
const struct reflection_extension *reflection_index_extensions(const struct reflection_index *index,
                                                               struct bytes type,
                                                               size_t *ret_count);

/* The descriptor of a file as it stands in the set, as field 1 of it, with key and length. */
struct bytes reflection_index_entry(const struct reflection_index *index, unsigned file);

/* The file and all that it imports, and these import; what is not in the set is left out. */
uint64_t reflection_index_imports(const struct reflection_index *index, unsigned file);

/* By bytes: below, at or above 0. */
int reflection_index_order(struct bytes a, struct bytes b);

/* NULL is fine. */
void reflection_index_free(struct reflection_index *index);

#endif
