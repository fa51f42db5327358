/*
 * The 17 status codes, their names, the percent-encoding of grpc-message, and its text. Pure.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef HTTP2_GRPC_STATUS_H
#define HTTP2_GRPC_STATUS_H

#include "core/bytes.h"

#include <stddef.h>
#include <stdint.h>

enum grpc_status {
    GRPC_STATUS_OK = 0,
    GRPC_STATUS_CANCELLED = 1,
    GRPC_STATUS_UNKNOWN = 2,
    GRPC_STATUS_INVALID_ARGUMENT = 3,
    GRPC_STATUS_DEADLINE_EXCEEDED = 4,
    GRPC_STATUS_NOT_FOUND = 5,
    GRPC_STATUS_ALREADY_EXISTS = 6,
    GRPC_STATUS_PERMISSION_DENIED = 7,
    GRPC_STATUS_RESOURCE_EXHAUSTED = 8,
    GRPC_STATUS_FAILED_PRECONDITION = 9,
    GRPC_STATUS_ABORTED = 10,
    GRPC_STATUS_OUT_OF_RANGE = 11,
    GRPC_STATUS_UNIMPLEMENTED = 12,
    GRPC_STATUS_INTERNAL = 13,
    GRPC_STATUS_UNAVAILABLE = 14,
    GRPC_STATUS_DATA_LOSS = 15,
    GRPC_STATUS_UNAUTHENTICATED = 16,
};

#define GRPC_STATUS_COUNT 17

/* "NOT_FOUND"; "UNKNOWN" for numbers outside the table. */
const char *grpc_status_name(int status);

/* The status a client shows for a stream that ended by RST_STREAM (P24). */
enum grpc_status grpc_status_from_h2_error(uint32_t error);

/* The status a client shows for an answer that is no gRPC answer (http-grpc-status-mapping). */
enum grpc_status grpc_status_from_http(int http_status);

/* Percent-encodes a message (P20) into `out` with a NUL, cut at a character border so that it fits
 * `room`. A blank at either end is encoded too. Returns the length. */
size_t grpc_status_encode_message(struct bytes message, char *out, size_t room);

/* The reverse; bad escapes stay as they are. Returns the length, without the NUL it writes. */
size_t grpc_status_decode_message(struct bytes encoded, char *out, size_t room);

/* Makes a peer's text fit to be shown: what a terminal would obey (control characters) or could not
 * read (what is no UTF-8) becomes '?', the ends of lines and tabs become blanks. */
void grpc_status_clean_text(char *text, size_t size);

#endif
