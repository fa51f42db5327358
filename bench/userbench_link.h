/*
 * One connection that costs little: frames are written and read by hand, heads by
 * userbench_hpack.h, TLS and the socket by core/conn.h. It checks what a measurement needs (the
 * answer is whole, its status, the id in it), not what a client library would.
 *
 * A stream is a call: a unary one, or one of many items, of which a bounded number is under way.
 * Stream ids grow; one whose place in the table is still taken by an old stream is left out, which
 * HTTP/2 allows.
 *
 * Flow control: we grant the peer more than it needs, and renew that when half is used. What the
 * peer does not grant us waits: bodies in order in `held`, which is written when it grants more.
 *
 * Whatever goes wrong with the connection ends the program with the reason.
 *
 * Owns:    the connection, its tables and buffers.
 * Borrows: the shared settings, every stream from start until `ended`.
 * Thread:  one.
 */
#ifndef USERBENCH_LINK_H
#define USERBENCH_LINK_H

#include "core/buf.h"
#include "core/bytes.h"
#include "core/conn.h"
#include "userbench_hpack.h"

#include <stdbool.h>
#include <stdint.h>

#define USERBENCH_STREAMS_MAX 4096 /* of one connection; a power of two */
#define USERBENCH_FIELDS_MAX  12

struct userbench_link;

struct userbench_stream {
    uint32_t id;
    int64_t send_window;
    unsigned message_count; /* received */
    uint32_t message_left;  /* octets of the present one */
    uint8_t prefix[5];      /* of the present one, as far as it came */
    unsigned prefix_size;
    uint32_t unacknowledged; /* octets received and not granted anew */
    int grpc_status;         /* -1 = not known yet */
    bool is_streaming;       /* its messages are told one by one */
    bool is_half_closed;     /* we sent all */
    const char *expected_id; /* 36 characters that the first message begins with, as field 1 of
                                field 1; NULL = not looked at */
};

struct userbench_link_events {
    /* Only of streaming calls: one message has come whole. */
    void (*message)(struct userbench_stream *stream);
    /* Only of streaming calls: what was refused by send windows before may go now. */
    void (*writable)(struct userbench_link *link);
    /* The last call for it. `grpc_status` is what the peer said, or what the reset means. */
    void (*ended)(struct userbench_stream *stream, int grpc_status);
};

/* Shared by all connections. */
struct userbench_link_settings {
    struct conn_settings conn; /* events and reactor are set by userbench_link_settings_init() */
    const struct userbench_link_events *events;
    struct tls_context *tls; /* NULL = plain text */
    const char *host;
    const char *port;
    char authority[256];
    struct userbench_field fields[USERBENCH_FIELDS_MAX]; /* of every head; the path is the first */
    unsigned field_count;
    char *texts[USERBENCH_FIELDS_MAX]; /* of these, what was made for them */
    unsigned text_count;
    struct buf literal; /* the token, as it is never indexed */
    uint64_t bytes_received;
    uint64_t bytes_sent; /* plain */
    uint64_t receives;
    uint64_t drains; /* turns in which something was sent */
};

struct userbench_link {
    struct userbench_link_settings *settings;
    struct conn *conn;
    struct userbench_encoder encoder;
    struct userbench_decoder decoder;
    struct userbench_stream *streams[USERBENCH_STREAMS_MAX];
    unsigned open_count;
    uint32_t next_id;
    uint32_t peer_streams_max;
    uint32_t peer_initial_window;
    uint32_t peer_frame_max;
    int64_t send_window;
    uint32_t unacknowledged;
    struct buf received; /* the beginning of a frame */
    struct buf block;    /* a head that is continued */
    uint32_t block_stream;
    bool block_ends_stream;
    struct buf held; /* bodies that wait for the connection's window, as struct held and octets */
    bool is_ready;   /* the peer's SETTINGS are known */
    bool is_closed;
    bool is_wanted; /* its end is no problem */
};

/* `fields` after the path; `token` NULL = none. The texts are borrowed. */
struct userbench_link_options {
    struct reactor *reactor;
    struct tls_context *tls;
    const char *host;
    const char *port;
    const char *token;
    bool token_is_literal;
    unsigned deadline_ms;   /* 0 = none */
    bool continue_on_error; /* of BatchCreateUsers */
    const struct userbench_link_events *events;
};

void userbench_link_settings_init(struct userbench_link_settings *settings,
                                  const struct userbench_link_options *options);

/* No connection may use them any more. */
void userbench_link_settings_deinit(struct userbench_link_settings *settings);

/* Connects, and blocks until the socket is connected; TLS and HTTP/2 follow in the loop. */
void userbench_link_open(struct userbench_link *link, struct userbench_link_settings *settings);

/* Closes gently; is_closed says when it is done. */
void userbench_link_close(struct userbench_link *link);

/* Frees what it holds, once it is closed. */
void userbench_link_deinit(struct userbench_link *link);

/* Whether one more stream may be opened. */
bool userbench_link_has_room(const struct userbench_link *link);

/* Sends a head, and a body unless it is empty; with `is_last` our side ends there. `path` is a
 * literal: its address tells paths apart. */
void userbench_link_start(struct userbench_link *link, struct userbench_stream *stream,
                          const char *path, struct bytes message, bool is_last);

/* One more message of a streaming call. Returns false when the windows have no room for it now. */
bool userbench_link_send(struct userbench_link *link, struct userbench_stream *stream,
                         struct bytes message, bool is_last);

/* Resets the stream with CANCEL; `ended` does not follow. */
void userbench_link_cancel(struct userbench_link *link, struct userbench_stream *stream);

#endif
