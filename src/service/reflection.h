/*
 * grpc.reflection.v1 and v1alpha: which services there are and how their messages look, for clients
 * that have no proto files.
 *
 * Owns:    the streams under way.
 * Borrows: the reactor and the descriptors, for its life; the call of each stream, held.
 * Thread:  loop only.
 */
#ifndef SERVICE_REFLECTION_H
#define SERVICE_REFLECTION_H

#include "core/bytes.h"

#include <stdint.h>

struct grpc_method;
struct grpc_method_table;
struct reactor;
struct reflection;

struct reflection_options {
    struct bytes descriptors; /* a FileDescriptorSet; borrowed for its life */
    uint32_t max_messages;    /* limits.max_stream_messages: then RESOURCE_EXHAUSTED */
    uint32_t max_unsent;      /* bytes of answers not read, beyond which no request is taken */
    uint32_t max_fields;      /* limits.max_fields */
};

/* Returns 0, -ENOMEM, or -EBADMSG when the descriptors are none. */
int reflection_new(struct reactor *reactor, const struct reflection_options *options,
                   struct reflection **ret_reflection);

#define REFLECTION_METHOD_COUNT 2

/* Fills in the REFLECTION_METHOD_COUNT rows of the method table. */
void reflection_methods(struct reflection *reflection, struct grpc_method *ret_methods);

/* From now on list_services tells the services of this table; before, none. Returns 0 or -ENOMEM.
 */
int reflection_list(struct reflection *reflection, const struct grpc_method_table *methods);

/* Ends every stream with UNAVAILABLE, from the loop, and those that come later at once: a client
 * that keeps one open would hold up the end. */
void reflection_end_streams(struct reflection *reflection);

/* No stream may be left. NULL is fine. */
void reflection_free(struct reflection *reflection);

#endif
