/*
 * A server that does what the test says: listens on 127.0.0.1, takes one connection after the
 * other, hands every complete request to the test, or every part of it. For the client's tests,
 * where the real server would behave too well.
 *
 * Owns:    listener, connections, sessions.
 * Borrows: the reactor, the TLS context.
 * Thread:  one, that of the reactor.
 */
#ifndef TESTS_LIB_SCRIPTED_SERVER_H
#define TESTS_LIB_SCRIPTED_SERVER_H

#include "core/buf.h"
#include "core/conn.h"
#include "http2/h2_session.h"

#include <stdbool.h>

#define SCRIPTED_CONNECTIONS_MAX 64 /* at once */

struct listener;
struct reactor;
struct scripted_server;
struct tls_context;

struct scripted_connection {
    struct scripted_server *server;
    struct conn *conn;
    struct h2_session *session;
};

/* A request, until its stream is closed. */
struct scripted_request {
    struct scripted_connection *connection;
    struct h2_stream *stream;
    char path[128];
    char timeout[16];
    char authorization[64];
    char content_type[64];
    char te[16];
    char accept_encoding[32];
    char continue_on_error[8]; /* users-continue-on-error */
    char previous_attempts[8]; /* grpc-previous-rpc-attempts */
    char authority[64];
    char user_agent[64];
    char probe[128];   /* x-probe, x-probe-bin */
    struct buf body;   /* with the frame heads */
    unsigned taken;    /* messages, by scripted_request_take() */
    bool is_secret;    /* the authorization: never indexed */
    bool has_ended;    /* the client's side */
    bool has_head;     /* the answer's was sent */
    bool has_trailers; /* likewise */
};

struct scripted_server {
    struct reactor *reactor;
    struct listener *listener;
    struct tls_context *tls;
    struct conn_settings settings;
    /* The whole request is there. */
    void (*answer)(struct scripted_server *server, struct scripted_request *request);
    /* More of the body is there. NULL = not wanted. */
    void (*received)(struct scripted_server *server, struct scripted_request *request);
    bool holds_credit;         /* bodies give no flow-control credit back */
    struct h2_options options; /* of later connections: the test may change what
                                  scripted_server_open() has filled in */
    struct h2_stats stats;     /* of all of them */
    struct scripted_connection connections[SCRIPTED_CONNECTIONS_MAX];
    unsigned accepted;   /* connections, ever */
    unsigned open_count; /* connections, now */
    unsigned resets;     /* requests that ended by CANCEL */
    bool listener_closed;
    char port[6];
};

/* Listens; ends the program when that fails. `tls` NULL = plain text. */
void scripted_server_open(struct scripted_server *server, struct reactor *reactor,
                          struct tls_context *tls,
                          void (*answer)(struct scripted_server *server,
                                         struct scripted_request *request));

/* Ends everything and turns the reactor until it is gone. */
void scripted_server_close(struct scripted_server *server);

/* Listens again, on the port that it had, after scripted_server_close(). */
void scripted_server_reopen(struct scripted_server *server);

/* 200, one message, grpc-status 0. */
void scripted_request_reply(struct scripted_request *request, struct bytes message);

/* Takes the next whole message off the body; borrowed until more of the body comes. False when none
 * is there. */
bool scripted_request_take(struct scripted_request *request, struct bytes *ret_message);

/* One message of many; the head goes before the first. */
void scripted_request_send(struct scripted_request *request, struct bytes message);

/* Trailers after these (or after none), with one field more when `name` is not NULL. */
void scripted_request_finish(struct scripted_request *request, const char *grpc_status,
                             const char *name, const char *value);

/* Trailers-Only with that HTTP status and content-type; grpc-status and grpc-message when not
 * NULL. */
void scripted_request_refuse(struct scripted_request *request, const char *http_status,
                             const char *type, const char *grpc_status, const char *grpc_message);

#endif
