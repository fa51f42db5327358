/*
 * What the methods of grpc.testing.TestService share: replies made of zeros, echoed metadata, and
 * the checks on what a request asks for.
 *
 * Owns:    nothing.
 * Borrows: the call, for the time of a call of these.
 * Thread:  loop only.
 */
#ifndef CONFORMANCE_INTEROP_MESSAGE_H
#define CONFORMANCE_INTEROP_MESSAGE_H

#include "core/buf.h"
#include "http2/grpc_call.h"

#include <grpc/testing/messages.pb-c.h>

#define INTEROP_PAYLOAD_MAX (16 * 1024 * 1024) /* bytes in one reply */

/* Copies x-grpc-test-echo-initial into the head and x-grpc-test-echo-trailing-bin into the trailers
 * of the answer. Returns true, or has failed the call. */
bool interop_echo_metadata(struct grpc_call *call);

/* Is the message that is being handled compressed as its sender says it is? NULL = it says nothing.
 * Returns true, or has failed the call with INVALID_ARGUMENT. */
bool interop_check_compression(struct grpc_call *call, const Grpc__Testing__BoolValue *expected);

/* Returns true when the request asks for no error, or has failed the call as asked. */
bool interop_check_status(struct grpc_call *call, const Grpc__Testing__EchoStatus *status);

/* Returns true for a size of payload that can be had, or has failed the call. */
bool interop_check_size(struct grpc_call *call, int32_t size);

/* Compression of what is sent next, where the request has a wish. */
void interop_compress(struct grpc_call *call, const Grpc__Testing__BoolValue *wanted);

/* Appends a reply that carries a payload of `size` zeros. It is a SimpleResponse and a
 * StreamingOutputCallResponse alike: both have their payload in field 1. Returns 0 or -ENOMEM. */
int interop_encode_payload(int32_t size, struct buf *out);

/* How calls end when memory is short, and when a request cannot be parsed (P17). */
void interop_fail_memory(struct grpc_call *call);
void interop_fail_parse(struct grpc_call *call);

#endif
