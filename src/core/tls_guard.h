/*
 * Looks at TLS record headers before the library does, and refuses what no honest peer sends:
 * wrong types, lengths beyond 16,640, application records too short for a tag (the shape of
 * CVE-2024-0901), floods of alerts, handshake records and empty records. Pure.
 *
 * Owns, borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef CORE_TLS_GUARD_H
#define CORE_TLS_GUARD_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised is a guard of a server at the start of a connection. */
struct tls_guard {
    bool is_client;          /* set by the owner: it is a server's stream that is checked */
    bool established;        /* set by the owner after the handshake */
    uint8_t header[5];       /* of the present record */
    uint8_t header_size;     /* bytes of it seen */
    uint32_t body_left;      /* bytes of the present record still to come */
    bool started;            /* the first record's header was accepted */
    bool answered;           /* something of ours has gone out */
    uint32_t flight_bytes;   /* bytes of the handshake since the last answer */
    uint32_t flight_records; /* and the records they came in */
    uint32_t alerts;         /* records of type alert */
    uint32_t cipher_changes; /* records of type change_cipher_spec */
    uint32_t records;        /* complete records in this window, after the handshake */
    uint32_t data_records;   /* those that carried application data */
    uint64_t data_bytes;     /* application data in this window */
    uint32_t dataless;       /* records of this window known to have carried none */
    uint64_t second_ns;      /* when the present second of counting began */
    uint32_t second_count;   /* records without data in it */
};

enum tls_guard_verdict {
    TLS_GUARD_PASS,
    TLS_GUARD_NOT_TLS,          /* the first bytes are no TLS handshake */
    TLS_GUARD_BAD_TYPE,         /* a type that is unknown, or out of place after the handshake */
    TLS_GUARD_BAD_LENGTH,       /* over 16,640, or none where there must be some */
    TLS_GUARD_TOO_SHORT,        /* an encrypted record without room for its tag and type */
    TLS_GUARD_FLIGHT_TOO_LARGE, /* too many handshake bytes or records without an answer of ours */
    TLS_GUARD_FLOOD,            /* too many alerts, cipher changes or records without data */
};

/* Checks the next bytes of the stream, however they are cut. After a verdict other than PASS the
 * connection is over. */
enum tls_guard_verdict tls_guard_check(struct tls_guard *guard, struct bytes bytes);

/* We answered a flight of the handshake: the limits on the next one start afresh. */
void tls_guard_note_answer(struct tls_guard *guard);

/* The library gave out `size` bytes of application data; `record_done`: the last of their record.
 */
void tls_guard_note_data(struct tls_guard *guard, size_t size, bool record_done);

/* The library has worked through all bytes checked so far: the records that gave no data are
 * counted (KeyUpdates, tickets, empty ones). Returns PASS or FLOOD: over 32 of them per MiB, or
 * over 10 in a second. The time is of a clock that only goes forward. */
enum tls_guard_verdict tls_guard_note_all_read(struct tls_guard *guard, uint64_t now_ns);

/* For the log. */
const char *tls_guard_verdict_text(enum tls_guard_verdict verdict);

#endif
