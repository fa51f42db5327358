#include "service/user_errors.h"

#include "service/user_request.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define DOMAIN   "users.v1"
#define RESOURCE "users.v1.User"

/* What a client should wait before it tries again, in ms. A flush of the log takes well under one,
 * unless the disk is in trouble; a hash takes tens; a full disk wants somebody to come. */
#define RETRY_LOG_MS    50
#define RETRY_SLOW_MS   500
#define RETRY_CROWD_MS  20
#define RETRY_HASH_MS   1000
#define RETRY_SPACE_MS  5000
#define RETRY_MEMORY_MS 1000
#define RETRY_DOWN_MS   1000

static const struct {
    enum grpc_status status;
    const char *reason;
    const char *message;
    int64_t retry_delay_ms; /* 0 = trying again does not help, or is not safe */
    const char *field;      /* with its description: a bad field of the request */
    const char *description;
} kinds[] = {
    [USER_ERROR_MALFORMED] = {GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE",
                              "Malformed request message", 0, NULL, NULL},
    [USER_ERROR_TOO_MANY_FIELDS] = {GRPC_STATUS_INVALID_ARGUMENT, "TOO_MANY_FIELDS",
                                    "Too many fields in the request message (limits.max_fields, "
                                    "or more than 16 that are unknown)",
                                    0, NULL, NULL},
    [USER_ERROR_NUL] = {GRPC_STATUS_INVALID_ARGUMENT, "NUL_IN_TEXT",
                        "NUL character in a text field", 0, "id", "must not have U+0000"},
    [USER_ERROR_ID_MISSING] = {GRPC_STATUS_INVALID_ARGUMENT, "MISSING_FIELDS",
                               "Missing required fields", 0, "id", "must not be empty"},
    [USER_ERROR_ID_TOO_LONG] = {GRPC_STATUS_INVALID_ARGUMENT, "INVALID_FIELDS",
                                "Invalid user fields", 0, "id", "must have at most 64 bytes"},
    [USER_ERROR_CROWDED] = {GRPC_STATUS_ABORTED, "TOO_MANY_CONCURRENT_CHANGES",
                            "Too many concurrent changes of this user", RETRY_CROWD_MS, NULL, NULL},
    [USER_ERROR_HASH_FULL] = {GRPC_STATUS_RESOURCE_EXHAUSTED, "HASH_QUEUE_FULL",
                              "Too many passwords wait to be hashed (password.queue_max)",
                              RETRY_HASH_MS, NULL, NULL},
    [USER_ERROR_TOO_MANY_USERS] = {GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_USERS",
                                   "No room for another user (store.max_users)", 0, NULL, NULL},
    [USER_ERROR_NO_MEMORY] = {GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "Out of memory",
                              RETRY_MEMORY_MS, NULL, NULL},
    [USER_ERROR_CANCELLED] = {GRPC_STATUS_CANCELLED, "CANCELLED", "The call was cancelled", 0, NULL,
                              NULL},
    [USER_ERROR_CONFLICT] = {GRPC_STATUS_ABORTED, "CONCURRENT_CHANGE",
                             "The user was changed at the same time", RETRY_CROWD_MS, NULL, NULL},
    [USER_ERROR_UNKNOWN] = {GRPC_STATUS_UNKNOWN, "COMMIT_OUTCOME_UNKNOWN", "commit outcome unknown",
                            0, NULL, NULL},
    [USER_ERROR_NOT_SENT] = {GRPC_STATUS_UNAVAILABLE, "LOG_UNAVAILABLE", "The log takes no changes",
                             RETRY_DOWN_MS, NULL, NULL},
    [USER_ERROR_LOG_FULL] = {GRPC_STATUS_UNAVAILABLE, "LOG_QUEUE_FULL",
                             "Too many changes wait for the disk (wal.max_pending)", RETRY_LOG_MS,
                             NULL, NULL},
    [USER_ERROR_LOG_SLOW] = {GRPC_STATUS_UNAVAILABLE, "DISK_SLOW",
                             "Changes have to wait too long for the disk (wal.max_pending_ms)",
                             RETRY_SLOW_MS, NULL, NULL},
    [USER_ERROR_NO_SPACE] = {GRPC_STATUS_RESOURCE_EXHAUSTED, "DISK_FULL",
                             "No space left for changes", RETRY_SPACE_MS, NULL, NULL},
    [USER_ERROR_TOO_LARGE] = {GRPC_STATUS_INVALID_ARGUMENT, "USER_TOO_LARGE",
                              "The user is too large to store", 0, NULL, NULL},
    [USER_ERROR_TOO_MANY_MESSAGES] = {GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_MESSAGES",
                                      "Too many messages on one stream "
                                      "(limits.max_stream_messages)",
                                      0, NULL, NULL},
    [USER_ERROR_RATE] = {GRPC_STATUS_RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED",
                         "Rate limit exceeded", 0, NULL, NULL},
};

/* The limits among them, plus one. */
static const uint8_t limits[sizeof(kinds) / sizeof(kinds[0])] = {
    [USER_ERROR_TOO_MANY_FIELDS] = LIMITS_HIT_FIELDS + 1,
    [USER_ERROR_TOO_MANY_USERS] = LIMITS_HIT_USERS + 1,
    [USER_ERROR_HASH_FULL] = LIMITS_HIT_HASH_QUEUE + 1,
    [USER_ERROR_TOO_MANY_MESSAGES] = LIMITS_HIT_STREAM_MESSAGES + 1,
};

static void start(struct user_error *error, enum grpc_status status, const char *reason,
                  const char *message)
{
    *error = (struct user_error){
        .grpc = {.status = status, .message = message, .reason = reason, .domain = DOMAIN},
    };
}

void user_error_set(struct user_error *error, enum user_error_kind kind)
{
    start(error, kinds[kind].status, kinds[kind].reason, kinds[kind].message);
    error->grpc.retry_delay_ms = kinds[kind].retry_delay_ms;
    error->limit = limits[kind];
    if (kinds[kind].field != NULL) {
        grpc_error_add_field(&error->grpc, kinds[kind].field, kinds[kind].description);
    }
}

/* Keeps a text in the error, cut when it is longer than any that is valid. */
static void keep_value(struct user_error *error, struct bytes value)
{
    (void)snprintf(error->value, sizeof(error->value), "%.*s", (int)value.size,
                   (const char *)value.data);
}

static void start_with_id(struct user_error *error, enum grpc_status status, const char *reason,
                          struct bytes id)
{
    start(error, status, reason, error->message);
    keep_value(error, id);
    grpc_error_add_metadata(&error->grpc, "id", error->value);
    error->grpc.resource_type = RESOURCE;
    error->grpc.resource_name = error->value;
}

void user_error_not_found(struct user_error *error, struct bytes id)
{
    start_with_id(error, GRPC_STATUS_NOT_FOUND, "USER_NOT_FOUND", id);
    (void)snprintf(error->message, sizeof(error->message), "User %.*s not found", USER_ID_BYTES_MAX,
                   error->value);
}

/* The etag sent is not the present one. */
static void set_stale(struct user_error *error, struct bytes id)
{
    start_with_id(error, GRPC_STATUS_ABORTED, "ETAG_MISMATCH", id);
    (void)snprintf(error->message, sizeof(error->message), "User %.*s was changed meanwhile",
                   USER_ID_BYTES_MAX, error->value);
    error->grpc.precondition_type = "ETAG";
    error->grpc.precondition_subject = error->value;
    error->grpc.precondition_text = "the etag is not that of the user as it is now";
}

/* `field` is what the create or update asked for and cannot have. */
static void set_taken(struct user_error *error, const char *field, struct bytes value)
{
    start(error, GRPC_STATUS_ALREADY_EXISTS, "USER_ALREADY_EXISTS", "User already exists");
    keep_value(error, value);
    (void)snprintf(error->resource, sizeof(error->resource), "%s/%.320s", field, error->value);
    grpc_error_add_metadata(&error->grpc, "field", field);
    grpc_error_add_metadata(&error->grpc, "value", error->value);
    error->grpc.resource_type = RESOURCE;
    error->grpc.resource_name = error->resource;
}

/* A path longer than any valid text is no help, and may be cut in a character. */
static void add_path(struct user_error *error, struct bytes path)
{
    if (path.data != NULL && path.size <= USER_TEXT_BYTES_MAX) {
        keep_value(error, path);
        grpc_error_add_metadata(&error->grpc, "path", error->value);
    }
}

void user_error_fields(struct user_error *error, const struct user_faults *faults)
{
    if (faults->has_nul) {
        start(error, GRPC_STATUS_INVALID_ARGUMENT, "NUL_IN_TEXT", "NUL character in a text field");
    } else if (faults->path.data != NULL) {
        start(error, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_UPDATE_MASK", "Invalid update mask");
    } else if (faults->missing) {
        start(error, GRPC_STATUS_INVALID_ARGUMENT, "MISSING_FIELDS", "Missing required fields");
    } else {
        start(error, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_FIELDS", "Invalid user fields");
    }
    for (unsigned i = 0; i < faults->count; i++) {
        grpc_error_add_field(&error->grpc, faults->items[i].field, faults->items[i].problem);
    }
    add_path(error, faults->path);
}

void user_error_of_request(struct user_error *error, int result, const struct user_faults *faults)
{
    switch (result) {
    case USER_REQUEST_E_FAULTS:
        user_error_fields(error, faults);
        break;
    case USER_REQUEST_E_TOO_MANY:
        user_error_set(error, USER_ERROR_TOO_MANY_FIELDS);
        break;
    case USER_REQUEST_E_NUL:
        user_error_set(error, USER_ERROR_NUL);
        break;
    case USER_REQUEST_E_TOO_LARGE:
        user_error_set(error, USER_ERROR_TOO_LARGE);
        break;
    default:
        user_error_set(error, result == -ENOMEM ? USER_ERROR_NO_MEMORY : USER_ERROR_MALFORMED);
        break;
    }
}

static struct bytes username_of(const struct user_write *write)
{
    if (write->kind == USER_WRITE_CREATE) {
        return write->draft.username;
    }
    return write->kind == USER_WRITE_SYNC ? write->user->username : write->patch->user.username;
}

static struct bytes email_of(const struct user_write *write)
{
    if (write->kind == USER_WRITE_CREATE) {
        return write->draft.email;
    }
    return write->kind == USER_WRITE_SYNC ? write->user->email : write->patch->user.email;
}

void user_error_of_write(struct user_error *error, const struct user_write *write,
                         enum user_write_outcome outcome)
{
    switch (outcome) {
    case USER_WRITE_NOT_FOUND:
        user_error_not_found(error, user_write_id(write));
        return;
    case USER_WRITE_STALE:
        set_stale(error, write->id);
        return;
    case USER_WRITE_USERNAME_TAKEN:
        set_taken(error, "username", username_of(write));
        return;
    case USER_WRITE_EMAIL_TAKEN:
        set_taken(error, "email", email_of(write));
        return;
    case USER_WRITE_TOO_MANY_USERS:
        user_error_set(error, USER_ERROR_TOO_MANY_USERS);
        return;
    case USER_WRITE_CROWDED:
        user_error_set(error, USER_ERROR_CROWDED);
        return;
    case USER_WRITE_HASH_FULL:
        user_error_set(error, USER_ERROR_HASH_FULL);
        return;
    case USER_WRITE_NO_MEMORY:
        user_error_set(error, USER_ERROR_NO_MEMORY);
        return;
    case USER_WRITE_CANCELLED:
        user_error_set(error, USER_ERROR_CANCELLED);
        return;
    case USER_WRITE_CONFLICT:
        user_error_set(error, USER_ERROR_CONFLICT);
        return;
    case USER_WRITE_UNKNOWN:
        user_error_set(error, USER_ERROR_UNKNOWN);
        return;
    case USER_WRITE_NOT_SENT:
        user_error_set(error, USER_ERROR_NOT_SENT);
        return;
    case USER_WRITE_LOG_FULL:
        user_error_set(error, USER_ERROR_LOG_FULL);
        return;
    case USER_WRITE_LOG_SLOW:
        user_error_set(error, USER_ERROR_LOG_SLOW);
        return;
    case USER_WRITE_NO_SPACE:
        user_error_set(error, USER_ERROR_NO_SPACE);
        return;
    case USER_WRITE_TOO_LARGE:
        user_error_set(error, USER_ERROR_TOO_LARGE);
        return;
    case USER_WRITE_ON_ITS_WAY:
    case USER_WRITE_DONE:
        break;
    }
    assert(false);
}

void user_error_count(const struct user_error *error, struct limits_hit *hits)
{
    if (error->limit != 0) {
        limits_hit_add(hits, (enum limits_hit_reason)(error->limit - 1));
    }
}

void user_error_add_index(struct user_error *error, uint64_t index)
{
    (void)snprintf(error->index, sizeof(error->index), "%llu", (unsigned long long)index);
    grpc_error_add_metadata(&error->grpc, "index", error->index);
}
