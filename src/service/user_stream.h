/*
 * BatchCreateUsers and SyncUsers: a stream of changes, answered in their order, many of them on
 * their way at once.
 *
 * Owns:    the streams under way with their changes.
 * Borrows: the writer and its store, for its life; the call of each stream, held.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_STREAM_H
#define SERVICE_USER_STREAM_H

#include "core/list.h"
#include "service/user_validate.h"

#include <stdint.h>

struct grpc_call;
struct rate_limit;
struct reactor;
struct user_writer;

struct user_stream_options {
    uint32_t max_messages; /* limits.max_stream_messages: then RESOURCE_EXHAUSTED */
    uint32_t max_inflight; /* limits.max_stream_inflight: then the client's window stays shut */
    uint32_t max_unsent;   /* bytes of replies not read, beyond which no request is taken */
    uint32_t max_fields;   /* limits.max_fields */
    /* Of all streams together, so that they leave room for others: */
    uint32_t max_hashing;   /* passwords that wait or are being hashed */
    uint32_t max_submitted; /* changes that wait for the disk */
    struct user_password_rule password_rule;
    struct rate_limit *rate; /* each message is a change; NULL = no limit. Borrowed for its life */
};

struct user_streams {
    struct reactor *reactor;
    struct user_writer *writer;
    struct user_stream_options options;
    unsigned hash_count;      /* as max_hashing counts */
    unsigned submitted_count; /* as max_submitted counts */
    struct list hash_turns;   /* streams with a password to hash, in turn; list_init() it */
    uint64_t items_done;      /* since start, for metrics */
    uint64_t items_failed;
    uint64_t retries; /* of items that found a queue full */
};

/* The openers of the two methods; `streams` is a struct user_streams, filled in by its owner. */
void user_stream_open_batch(void *streams, struct grpc_call *call);
void user_stream_open_sync(void *streams, struct grpc_call *call);

#endif
