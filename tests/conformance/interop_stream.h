/*
 * The streaming methods of grpc.testing.TestService.
 *
 * Owns:    one object per call, until the call ends.
 * Borrows: the call, held meanwhile.
 * Thread:  loop only.
 */
#ifndef CONFORMANCE_INTEROP_STREAM_H
#define CONFORMANCE_INTEROP_STREAM_H

#include "core/bytes.h"

struct grpc_call;

/* A grpc_handler_fn. */
void interop_streaming_output_call(void *service, struct grpc_call *call, struct bytes message);

/* Of the type grpc_open_fn. */
void interop_streaming_input_call(void *service, struct grpc_call *call);
void interop_full_duplex_call(void *service, struct grpc_call *call);
void interop_half_duplex_call(void *service, struct grpc_call *call);

#endif
