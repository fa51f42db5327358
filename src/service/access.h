/*
 * The stage that asks the policy: after the caller is known, before anything is looked at or done
 * for the call.
 *
 * Owns:    the policy; a note of every stream that is open.
 * Borrows: the log, for its life; the calls of the streams, until they have finished.
 * Thread:  loop only.
 */
#ifndef SERVICE_ACCESS_H
#define SERVICE_ACCESS_H

#include "http2/grpc_dispatch.h"

#include <stdbool.h>
#include <stdint.h>

struct access;
struct log;
struct policy;

/* Methods that auth lets everybody call are not judged. */
struct access_options {
    bool anonymous_health;     /* auth.anonymous_health */
    bool anonymous_reflection; /* auth.anonymous_reflection */
};

/* Counts since start, for metrics. */
struct access_stats {
    uint64_t denied;        /* calls */
    uint64_t streams_ended; /* open ones that a new policy forbids */
    uint64_t left_out;      /* denied calls without a line in the log */
    uint64_t streams;       /* open now */
};

/* Makes it without a policy: everybody passes. Returns 0 or -ENOMEM. */
int access_new(const struct access_options *options, struct log *log, struct access **ret_access);

/* The stage; behind the one of auth. */
struct grpc_stage access_stage(struct access *access);

/* Takes the policy over (NULL = none) and frees the one before. Open streams that it forbids end
 * with PERMISSION_DENIED, inside this call. Not from inside a stage or a handler. */
void access_set_policy(struct access *access, struct policy *policy);

/* What is known of the callers has changed: open streams are judged anew, as above. */
void access_rejudge(struct access *access);

void access_set_options(struct access *access, const struct access_options *options);

const struct access_stats *access_stats(const struct access *access);

/* No call may be open. NULL is fine. */
void access_free(struct access *access);

#endif
