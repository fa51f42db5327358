/*
 * An error as a call ends with it: status, message, and the google.rpc details that go into
 * grpc-status-details-bin (E1, E2). Pure.
 *
 * Owns:    nothing; every text is borrowed until the error was encoded.
 * Thread:  any.
 */
#ifndef HTTP2_GRPC_ERROR_H
#define HTTP2_GRPC_ERROR_H

#include "core/buf.h"
#include "http2/grpc_status.h"

#define GRPC_ERROR_FIELDS_MAX   16
#define GRPC_ERROR_METADATA_MAX 4

/* One bad field of BadRequest. */
struct grpc_field_violation {
    const char *field;
    const char *description;
};

struct grpc_error {
    enum grpc_status status;
    const char *message;
    const char *reason; /* ErrorInfo.reason, UPPER_SNAKE; required */
    const char *domain; /* ErrorInfo.domain, e.g. "users.v1" */

    struct {
        const char *key;
        const char *value;
    } metadata[GRPC_ERROR_METADATA_MAX]; /* ErrorInfo.metadata: every dynamic part of the message */

    unsigned metadata_count;
    struct grpc_field_violation fields[GRPC_ERROR_FIELDS_MAX]; /* BadRequest, when any */
    unsigned field_count;
    const char *resource_type; /* ResourceInfo, when set */
    const char *resource_name;
    const char *precondition_type; /* PreconditionFailure, when set */
    const char *precondition_subject;
    const char *precondition_text;
    int64_t retry_delay_ms; /* RetryInfo and grpc-retry-pushback-ms, when > 0 */
};

/* Adds one bad field; more than the table holds are dropped. */
void grpc_error_add_field(struct grpc_error *error, const char *field, const char *description);

void grpc_error_add_metadata(struct grpc_error *error, const char *key, const char *value);

/* Appends the google.rpc.Status with its details. Returns 0 or -ENOMEM. */
int grpc_error_encode(const struct grpc_error *error, struct buf *out);

/* Writes google.rpc.Status bytes as lines for people ("reason: USER_NOT_FOUND", "field email: ...")
 * onto `out`. What it does not know is left out. Returns 0, -EBADMSG or -ENOMEM. */
int grpc_error_describe(struct bytes encoded, struct buf *out);

#endif
