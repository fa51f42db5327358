/*
 * Every status and text that users.v1 answers with, in one place.
 *
 * Owns:    the texts that were put together for one error.
 * Borrows: what is passed in, until the error was encoded.
 * Thread:  any.
 */
#ifndef SERVICE_USER_ERRORS_H
#define SERVICE_USER_ERRORS_H

#include "core/bytes.h"
#include "core/limits_hit.h"
#include "http2/grpc_error.h"
#include "service/user_validate.h"
#include "service/user_write.h"

#include <stdint.h>

/* Errors without anything variable in them. */
enum user_error_kind {
    USER_ERROR_MALFORMED,       /* the message is no protobuf of that type */
    USER_ERROR_TOO_MANY_FIELDS, /* limits.max_fields */
    USER_ERROR_NUL,             /* in the id of a request that has no other text */
    USER_ERROR_ID_MISSING,
    USER_ERROR_ID_TOO_LONG,
    USER_ERROR_TOO_MANY_USERS, /* store.max_users */
    USER_ERROR_CROWDED,
    USER_ERROR_HASH_FULL, /* password.queue_max */
    USER_ERROR_NO_MEMORY,
    USER_ERROR_CANCELLED,
    USER_ERROR_CONFLICT,
    USER_ERROR_UNKNOWN,
    USER_ERROR_NOT_SENT,
    USER_ERROR_LOG_FULL, /* wal.max_pending */
    USER_ERROR_LOG_SLOW, /* wal.max_pending_ms */
    USER_ERROR_NO_SPACE,
    USER_ERROR_TOO_LARGE,
    USER_ERROR_TOO_MANY_MESSAGES, /* limits.max_stream_messages */
    USER_ERROR_RATE,              /* rate.write_identity_per_s; the delay is the caller's to set */
};

#define USER_ERROR_VALUE_SIZE 384 /* any name, with its kind and a NUL */

/* Do not copy it: it points into itself. */
struct user_error {
    struct grpc_error grpc;
    unsigned limit; /* one more than the limits_hit_reason that it tells of; 0 = none */
    char message[128];
    char value[USER_ERROR_VALUE_SIZE];
    char resource[USER_ERROR_VALUE_SIZE];
    char index[24];
};

void user_error_set(struct user_error *error, enum user_error_kind kind);

/* `User <id> not found`; the id is at most USER_ID_BYTES_MAX bytes of UTF-8. */
void user_error_not_found(struct user_error *error, struct bytes id);

/* All bad fields at once, with the path of a mask that names nothing. The reason is that of the
 * gravest: NUL_IN_TEXT, INVALID_UPDATE_MASK, MISSING_FIELDS, else INVALID_FIELDS. */
void user_error_fields(struct user_error *error, const struct user_faults *faults);

/* What user_request.h said of a request that is no good; `faults` counts with
 * USER_REQUEST_E_FAULTS. */
void user_error_of_request(struct user_error *error, int result, const struct user_faults *faults);

/* Why a change came to nothing: every outcome but DONE and ON_ITS_WAY. */
void user_error_of_write(struct user_error *error, const struct user_write *write,
                         enum user_write_outcome outcome);

/* Counts the limit that it tells of, if any. Once for every time that somebody is told; those of
 * the log count by themselves. */
void user_error_count(const struct user_error *error, struct limits_hit *hits);

/* Adds to any of these which message of the stream it is about, counted from 0. */
void user_error_add_index(struct user_error *error, uint64_t index);

#endif
