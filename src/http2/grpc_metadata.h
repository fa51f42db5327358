/*
 * The head of a request, field by field, to what gRPC needs of it; and the small codecs of metadata
 * (grpc-timeout, -bin values). Pure.
 *
 * Owns:    nothing.
 * Borrows: the arena that copies go to.
 * Thread:  one at a time.
 */
#ifndef HTTP2_GRPC_METADATA_H
#define HTTP2_GRPC_METADATA_H

#include "core/arena.h"
#include "core/bytes.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

#define GRPC_METADATA_CUSTOM_MAX 128 /* as many fields as http2.max_headers allows by default */
#define GRPC_TIMEOUT_NONE        UINT64_MAX

/* What is wrong with a head; checked in this order when it is complete (but for the last, which
 * comes before a verdict over fields that there was no memory for). */
enum grpc_head_fault {
    GRPC_HEAD_OK,
    GRPC_HEAD_NOT_POST,         /* 405 with status 13 and allow: POST (P3) */
    GRPC_HEAD_BAD_CONTENT_TYPE, /* 415 (P4) */
    GRPC_HEAD_BAD_AUTHORITY,    /* 400 with status 13 (P6) */
    GRPC_HEAD_BAD_TIMEOUT,      /* 400 with status 13, "malformed grpc-timeout" (P7) */
    GRPC_HEAD_BAD_BINARY,       /* 400 with status 13 (P10) */
    GRPC_HEAD_BAD_PATH,         /* 12 (P1, P2) */
    GRPC_HEAD_BAD_SUBTYPE,      /* 12: application/grpc+json and the like (P4) */
    GRPC_HEAD_BAD_ENCODING,     /* 12 with grpc-accept-encoding (C1) */
    GRPC_HEAD_NO_MEMORY,        /* 8: the head is larger than the call's arena or table of fields */
};

struct grpc_metadata_field {
    struct bytes name;
    struct bytes value; /* of a -bin field: still base64, and one value (P10) */
};

struct grpc_head {
    struct bytes path;
    struct bytes authorization; /* the one value; absent = size 0 */
    struct bytes user_agent;
    struct bytes encoding; /* grpc-encoding; size 0 = absent */
    uint64_t timeout_ns;   /* GRPC_TIMEOUT_NONE = no deadline asked for */
    unsigned authorization_count;
    unsigned authority_count;
    unsigned host_count;
    bool is_post;
    bool is_grpc;                       /* the content-type is application/grpc, with any subtype */
    bool is_proto;                      /* and its subtype is absent or proto */
    bool has_te;                        /* te: trailers was there (P5) */
    bool accepts_gzip;                  /* in grpc-accept-encoding */
    bool uses_gzip;                     /* as its grpc-encoding */
    enum grpc_head_fault fault;         /* the first that a field alone shows */
    struct grpc_metadata_field *custom; /* in the arena */
    unsigned custom_count;
};

void grpc_head_init(struct grpc_head *head);

/* Overwrites the credentials where they lie, which is in the arena, and forgets them. */
void grpc_head_wipe(struct grpc_head *head);

/* Takes one field; what must outlive the block is copied into the arena. */
void grpc_head_add(struct grpc_head *head, struct arena *arena, const struct h2_field *field);

/* The verdict over the whole head. */
enum grpc_head_fault grpc_head_check(const struct grpc_head *head);

/* The first custom field of that (lower-case) name, or NULL. */
const struct grpc_metadata_field *grpc_head_find(const struct grpc_head *head, const char *name);

/* The next one of the same name, or NULL. */
const struct grpc_metadata_field *grpc_head_find_next(const struct grpc_head *head,
                                                      const struct grpc_metadata_field *field);

/* "trace-bin" and the like: the value is bytes, and travels as base64. */
bool grpc_metadata_is_binary(struct bytes name);

/* The value as its sender gave it: of a -bin field decoded, into the arena. Returns 0, -ENOMEM or
 * -EBADMSG (never for a field of a head that was checked). */
int grpc_metadata_value(const struct grpc_metadata_field *field, struct arena *arena,
                        struct bytes *ret_value);

/* "250m" and the like: 1 to 8 digits and one of H M S m u n. Clamped, never overflowing.
 * Returns 0 or -EBADMSG. */
int grpc_timeout_parse(struct bytes text, uint64_t *ret_timeout_ns);

/* The shortest form that keeps the value to 1 part in 1000, rounded up. At most 10 bytes with the
 * NUL. */
void grpc_timeout_format(uint64_t timeout_ns, char *out);

/* Standard base64, padded or not. `out` takes text.size / 4 * 3 + 3 bytes. Returns 0 or -EBADMSG.
 */
int grpc_base64_decode(struct bytes text, uint8_t *out, size_t *ret_size);

/* Unpadded. `out` takes (size + 2) / 3 * 4 + 1 bytes; a NUL is written. Returns the length. */
size_t grpc_base64_encode(struct bytes bytes, char *out);

#endif
