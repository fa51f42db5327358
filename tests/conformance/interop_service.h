/*
 * grpc.testing.TestService, as the interoperability tests of gRPC describe it.
 *
 * Owns:    nothing; each call has its own state.
 * Thread:  loop only.
 */
#ifndef CONFORMANCE_INTEROP_SERVICE_H
#define CONFORMANCE_INTEROP_SERVICE_H

#include "http2/grpc_method.h"

#define INTEROP_METHOD_COUNT 7

/* Fills in the rows. UnimplementedCall and the whole UnimplementedService stay out on purpose: they
 * are there to be refused. */
void interop_service_methods(struct grpc_method rows[INTEROP_METHOD_COUNT]);

#endif
