/*
 * How a call's answers look on the wire: head, messages, trailers; or an error as Trailers-Only.
 *
 * Owns:    nothing.
 * Borrows: the stream and the arena, for the call.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_ANSWER_H
#define HTTP2_GRPC_ANSWER_H

#include "core/arena.h"
#include "core/bytes.h"
#include "http2/grpc_error.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stddef.h>

/* What the head says beside the usual; zero = nothing. */
struct grpc_answer_head {
    bool gzip;                     /* messages may be compressed */
    bool discloses;                /* the client is told which encodings we take (C5) */
    const struct h2_field *fields; /* custom metadata, GRPC_ANSWER_CUSTOM_MAX at most */
    size_t field_count;
};

#define GRPC_ANSWER_CUSTOM_MAX 8

/* How it ends. */
struct grpc_answer {
    int http_status; /* 200, but for what is no gRPC answer (P23): 400, 405, 415 */
    const struct grpc_error *error;
    const char *extra_name; /* one more field with a constant value, or NULL */
    const char *extra_value;
    const struct h2_field *trailers; /* custom metadata, GRPC_ANSWER_CUSTOM_MAX at most */
    size_t trailer_count;
};

/* All of a unary call's answer: head, one message gathered from parts (copied), trailers with
 * status 0. Returns 0 or -ENOMEM. */
int grpc_answer_message(struct h2_stream *stream, const struct bytes *parts, size_t count);

/* The head alone. Custom fields that the client's limit for header lists has no room for are left
 * out. Returns 0 or -ENOMEM. */
int grpc_answer_head(struct h2_stream *stream, const struct grpc_answer_head *head);

/* One message behind the head. Returns 0, or -ENOMEM with nothing written. */
int grpc_answer_write(struct h2_stream *stream, const struct bytes *parts, size_t count,
                      bool compressed);

/* Trailers behind a head, with status 0 when `answer->error` is NULL. Its HTTP status and extra
 * field do not matter. The limit and the scratch memory: as below. Returns 0 or -ENOMEM. */
int grpc_answer_end(struct h2_stream *stream, struct arena *arena,
                    const struct grpc_answer *answer);

/* An error as one block of fields and the end (P19). When the client's limit for header lists is
 * too small for all of it, the details go first, then custom metadata, then the tail of the message
 * (P22). Scratch memory comes from the arena; where it runs out, the parts that need it are left
 * out too. Returns 0 or -ENOMEM. */
int grpc_answer_error(struct h2_stream *stream, struct arena *arena,
                      const struct grpc_answer *answer);

#endif
