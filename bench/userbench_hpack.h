/*
 * Request heads as gRPC clients send them, and what matters of the heads of answers (RFC 7541).
 *
 * A field of a request goes into the peer's dynamic table with its first use and is one or two
 * bytes from then on. That is written by hand: nghttp2's encoder never indexes `authorization`,
 * which gRPC's own libraries do. Heads of answers are decoded by nghttp2's decoder; one that
 * consists of references only and was decoded before, with the same table, is not decoded again.
 *
 * Owns:    the decoder, the memory of fields that are in the peer's table.
 * Borrows: the texts of the fields, while the encoder lives.
 * Thread:  one.
 */
#ifndef USERBENCH_HPACK_H
#define USERBENCH_HPACK_H

#include "core/buf.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USERBENCH_HPACK_FIELDS_MAX 32
#define USERBENCH_HPACK_TABLE      4096 /* octets of the dynamic table, until the peer says less */
#define USERBENCH_HPACK_MEMOS      4
#define USERBENCH_HPACK_MEMO_SIZE  16

struct userbench_field {
    const char *name;
    const char *value;
    unsigned static_index; /* of the name in the static table; 0 = written out */
    bool static_is_whole;  /* the static entry has the value too */
    struct bytes encoded;  /* by userbench_hpack_never_indexed(); empty = indexed */
};

/* One field's place in the peer's table: known by the address of its value. */
struct userbench_hpack_entry {
    const char *name;
    const char *value;
};

struct userbench_encoder {
    struct userbench_hpack_entry entries[USERBENCH_HPACK_FIELDS_MAX]; /* oldest first */
    unsigned entry_count;
    size_t table_size;
    size_t table_max;
    bool table_change_due;
};

/* What an answer's head says. */
struct userbench_head {
    int http_status; /* 0 = trailers, or none */
    int grpc_status; /* -1 = none */
};

struct userbench_memo {
    uint8_t block[USERBENCH_HPACK_MEMO_SIZE];
    size_t size; /* 0 = free */
    struct userbench_head head;
};

struct userbench_decoder {
    struct nghttp2_hd_inflater *inflater;
    struct userbench_memo memos[USERBENCH_HPACK_MEMOS];
    unsigned memo_next;
};

void userbench_encoder_init(struct userbench_encoder *encoder);

/* The peer's SETTINGS_HEADER_TABLE_SIZE. Before the first head only. */
void userbench_encoder_limit(struct userbench_encoder *encoder, uint32_t table_max);

/* Appends one head. Fields that stay the same have the same address of the value each time. */
void userbench_encode(struct userbench_encoder *encoder, const struct userbench_field *fields,
                      size_t count, struct buf *out);

/* Appends a field as nghttp2 sends secrets: never indexed, with Huffman's code. It is the same in
 * every head, provided its name is in the static table. */
void userbench_hpack_never_indexed(const char *name, const char *value, struct buf *out);

void userbench_decoder_init(struct userbench_decoder *decoder);
void userbench_decoder_deinit(struct userbench_decoder *decoder);

/* Returns 0, or -EPROTO when the block is no HPACK. */
int userbench_decode(struct userbench_decoder *decoder, struct bytes block,
                     struct userbench_head *ret_head);

#endif
