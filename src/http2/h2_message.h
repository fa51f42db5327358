/*
 * What HTTP/2 asks of a message: its head, its trailers, and as many body bytes as it announced
 * (RFC 9113 section 8). First the field alone, from its texts; then its place among the others.
 * Refuses exactly what nghttp2 does, which can check instead (enum h2_checks), and is
 * cheaper. Pure.
 *
 * Owns, borrows: nothing.
 * Thread:        one at a time.
 */
#ifndef HTTP2_H2_MESSAGE_H
#define HTTP2_H2_MESSAGE_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum h2_verdict {
    H2_VERDICT_KEEP,
    H2_VERDICT_DROP,   /* as if the field were not there: content-length where none belongs */
    H2_VERDICT_REFUSE, /* the message is malformed: PROTOCOL_ERROR for its stream */
};

/* What was seen of a message. */
enum h2_mark {
    H2_MARK_METHOD = 1 << 0,
    H2_MARK_SCHEME = 1 << 1,
    H2_MARK_PATH = 1 << 2,
    H2_MARK_AUTHORITY = 1 << 3,
    H2_MARK_HOST = 1 << 4,
    H2_MARK_STATUS = 1 << 5,
    H2_MARK_LENGTH = 1 << 6,
    H2_MARK_ONCE = (1 << 7) - 1, /* each of those above may be there once */
    H2_MARK_CONNECT = 1 << 7,
    H2_MARK_OPTIONS = 1 << 8,
    H2_MARK_SCHEME_HTTP = 1 << 9,
    H2_MARK_PATH_SLASH = 1 << 10,
    H2_MARK_PATH_ASTERISK = 1 << 11,
    H2_MARK_REGULAR = 1 << 12,  /* a field that is no pseudo-header */
    H2_MARK_PRIORITY = 1 << 13, /* of RFC 9218: the field alone means nothing here */
    H2_MARK_INTERIM = 1 << 14,  /* of an answer: 1xx has come, and the head has not */
};

/* What one field is, whatever stands around it. */
struct h2_meaning {
    int64_t number;  /* of content-length and :status */
    uint16_t shows;  /* enum h2_mark */
    bool is_refused; /* for its texts alone */
};

struct h2_message {
    int64_t length;   /* of the body, as announced; -1 = it was not */
    int64_t received; /* bytes of it */
    uint16_t seen;    /* enum h2_mark */
    uint16_t status;  /* of an answer; 0 = not seen yet */
    bool is_answer;   /* of a request otherwise */
    bool has_head;    /* what follows are trailers */
};

void h2_message_init(struct h2_message *message, bool is_answer);

/* Judges the texts of a field of a request or answer. */
struct h2_meaning h2_field_meaning(bool is_answer, struct bytes name, struct bytes value);

/* Takes the next field of the present block. */
enum h2_verdict h2_message_add(struct h2_message *message, const struct h2_meaning *meaning);

/* The block is complete. `ended`: the message, too. False when it is malformed. */
bool h2_message_end_block(struct h2_message *message, bool ended);

/* Takes body bytes. False when there are too many, or none may come. */
bool h2_message_add_body(struct h2_message *message, size_t size);

/* The message ends with its body. False when bytes are missing. */
bool h2_message_end_body(const struct h2_message *message);

/* What a client wishes for the order of answers (RFC 9218). */
struct h2_priority {
    uint8_t urgency; /* 0 to 7; smaller goes first */
    bool incremental;
};

#define H2_PRIORITY_DEFAULT ((struct h2_priority){.urgency = 3})

/* Reads the value of a `priority` field over what is there. False when it is not well formed. */
bool h2_priority_parse(struct bytes value, struct h2_priority *priority);

#endif
