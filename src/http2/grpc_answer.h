/*
 * How the end of a call looks on the wire: one message with status 0, or an error as Trailers-Only.
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

#include <stddef.h>

/* Head, one message gathered from parts (copied), trailers with status 0. Returns 0 or -ENOMEM. */
int grpc_answer_message(struct h2_stream *stream, const struct bytes *parts, size_t count);

struct grpc_answer {
    int http_status; /* 200, but for what is no gRPC answer (P23): 400, 405, 415 */
    const struct grpc_error *error;
    const char *extra_name; /* one more field with a constant value, or NULL */
    const char *extra_value;
};

/* One block of fields and the end (P19). When the client's limit for header lists is too small for
 * all of it, the details go first, then the tail of the message (P22). Scratch memory comes from
 * the arena; where it runs out, the parts that need it are left out too. Returns 0 or -ENOMEM. */
int grpc_answer_error(struct h2_stream *stream, struct arena *arena,
                      const struct grpc_answer *answer);

#endif
