/*
 * users.v1.UserService: the store and the methods over it, connected with the log.
 *
 * Owns:    the store, the changes on their way, scans, watchers, streams of changes, the snapshot
 *          under way.
 * Borrows: reactor, random source, work pool, commit log (not yet started), for its life.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_SERVICE_H
#define SERVICE_USER_SERVICE_H

#include "service/commit_log.h"
#include "service/user_list.h"
#include "service/user_snapshot.h"
#include "service/user_stream.h"
#include "service/user_watch.h"

#include <stdint.h>

struct grpc_method;
struct log;
struct random_source;
struct reactor;
struct user_service;
struct workpool;

struct user_service_options {
    uint64_t max_users;           /* store.max_users */
    uint32_t password_memory_kib; /* password.memory_kib */
    uint32_t password_iterations; /* password.iterations */
    uint32_t password_min_length; /* password.min_length */
    uint32_t password_max_length; /* password.max_length */
    uint32_t max_fields;          /* limits.max_fields: protobuf fields in one message */
    uint64_t sync_interval_ms;    /* with wal.sync = interval; 0 = what is answered is durable */
    uint64_t snapshot_max_kept;   /* wal.snapshot_max_kept */
    struct user_lister_options lister;
    struct user_watch_options watch;
    struct user_stream_options streams;
};

#define USER_SERVICE_METHOD_COUNT 8

/* Makes the service with an empty store. Returns 0 or -ENOMEM. */
int user_service_new(struct reactor *reactor, struct random_source *random, struct workpool *pool,
                     const struct user_service_options *options, struct user_service **ret_service);

/* `told` hears, from the loop, of every checkpoint that begins or ends. Before the start. */
void user_service_watch_checkpoints(struct user_service *service,
                                    void (*told)(void *context,
                                                 const struct wal_snapshot_report *report),
                                    void *context);

/* `told` hears, about once a second while the recovery goes on, how far it has come. Before the
 * start. */
void user_service_watch_recovery(struct user_service *service,
                                 void (*told)(void *context, const struct wal_progress *progress),
                                 void *context);

/* Recovers the store from the log (blocking) and connects the two. `state_changed` is told of every
 * state of the log, from the loop. Returns as commit_log_ops.start does, with `problem`
 * (WAL_PROBLEM_SIZE bytes). */
int user_service_start(struct user_service *service, struct commit_log *log,
                       void (*state_changed)(void *context, enum commit_log_state state,
                                             const char *reason),
                       void *context, char *problem);

/* Fills in the USER_SERVICE_METHOD_COUNT rows of the method table. */
void user_service_methods(struct user_service *service, struct grpc_method *ret_methods);

/* Asks for a snapshot of all users. Returns 0; or why there will be none, -ENOTSUP, -EBUSY or -EIO
 * as commit_log_ops.checkpoint does, the last one also before the start. */
int user_service_checkpoint(struct user_service *service);

uint64_t user_service_user_count(const struct user_service *service);

/* Bytes, as user_store_memory(). */
uint64_t user_service_user_memory(const struct user_service *service);

/* Ends every watch, and those that come later: the server is shutting down. */
void user_service_end_watches(struct user_service *service);

/* For metrics. */
const struct user_lister *user_service_lister(const struct user_service *service);
const struct user_watch *user_service_watch(const struct user_service *service);
const struct user_streams *user_service_streams(const struct user_service *service);
const struct user_snapshot_stats *user_service_snapshot_stats(const struct user_service *service);

/* No call and no change may be on its way: drain the server, cancel jobs and close the log first.
 * NULL is fine.
 */
void user_service_free(struct user_service *service);

#endif
