/*
 * From a ServerReflectionRequest to its ServerReflectionResponse, on the wire: those of
 * grpc.reflection.v1 and of v1alpha are the same bytes. Pure.
 *
 * Owns:    nothing.
 * Borrows: the index, and what it borrows.
 * Thread:  any.
 */
#ifndef SERVICE_REFLECTION_ANSWER_H
#define SERVICE_REFLECTION_ANSWER_H

#include "core/buf.h"
#include "service/reflection_index.h"

/* What answers are made of. */
struct reflection_source {
    const struct reflection_index *index;
    struct bytes services; /* the answer to list_services: a ListServiceResponse */
    uint32_t max_fields;   /* of a request: limits.max_fields */
};

#define REFLECTION_UNKNOWN_MAX 16 /* unknown fields in one request */

#define REFLECTION_ANSWER_E_EMPTY    1 /* the request asks for nothing that is known */
#define REFLECTION_ANSWER_E_TOO_MANY 2 /* fields in all, or unknown ones */

/* Appends the answer to `out`; what is not found is one too. `sent` are the files that the client
 * has got, to which it adds. Returns 0, one of those above, -EBADMSG for what is no such message
 * (bad UTF-8 included), or -ENOMEM. */
int reflection_answer(const struct reflection_source *source, uint64_t *sent, struct bytes request,
                      struct buf *out);

/* Appends a service to a ListServiceResponse. Returns 0 or -ENOMEM. */
int reflection_answer_add_service(struct buf *services, struct bytes name);

#endif
