/*
 * The inside of a connection, shared by the files it is made of: grpc_connection.c moves its bytes
 * and has its life, grpc_connection_time.c ends what takes too long.
 *
 * Owns:    as grpc_connection.h says.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_CONNECTION_INTERNAL_H
#define HTTP2_GRPC_CONNECTION_INTERNAL_H

#include "http2/grpc_connection.h"

static inline bool grpc_connection_has_session(const struct grpc_connection *connection)
{
    return connection->session != NULL;
}

/* Ends a connection for what its peer did not do in time. */
void grpc_connection_finish_late(struct grpc_connection *connection, enum h2_error error,
                                 const char *reason);

/* Drops a connection whose peer takes nothing any more: nothing is sent to it. */
void grpc_connection_drop(struct grpc_connection *connection, const char *reason);

/* Begins the graceful end, whose final GOAWAY says why, and comes when the peer has seen the first
 * one, or after the pause. */
void grpc_connection_begin_drain(struct grpc_connection *connection, const char *reason,
                                 uint64_t pause_ns);

/* Makes the rest of that pause no longer than this. */
void grpc_connection_hasten(struct grpc_connection *connection, uint64_t pause_ns);

/* The final GOAWAY, when the first one is out: open calls finish. */
void grpc_connection_end_session(struct grpc_connection *connection);

/* Its calls are answered UNAVAILABLE, and it closes. */
void grpc_connection_cut(struct grpc_connection *connection, const char *reason,
                         const char *message);

/* grpc_connection_time.c: the connection is open, its times begin. */
void grpc_connection_start_watch(struct grpc_connection *connection);

/* A call has begun, or a header block: the watch looks again in time. */
void grpc_connection_watch_call(struct grpc_connection *connection);
void grpc_connection_watch_block(struct grpc_connection *connection);

/* The timer's. */
void grpc_connection_on_watch(struct timer *timer);

#endif
