#include "core/tls_guard.h"

/*
 * A record is a header of five bytes (type, version, length; RFC 8446, section 5.1) and a body.
 * The guard collects the header byte by byte, judges it when it is whole (its first bytes earlier:
 * an HTTP request on the TLS port should not wait for a fifth byte), then lets the body pass.
 */

#define TYPE_CHANGE_CIPHER_SPEC 20
#define TYPE_ALERT              21
#define TYPE_HANDSHAKE          22
#define TYPE_APPLICATION_DATA   23
#define VERSION_MAJOR           3

#define LENGTH_MAX               16640 /* 2^14 + 256, RFC 8446, section 5.2 */
#define ENCRYPTED_LENGTH_MIN     17    /* a tag of 16 bytes, and at least the inner content type */
#define SERVER_HELLO_BYTES_MAX   (16 * 1024)
#define SERVER_HELLO_RECORDS_MAX 4
#define CLIENT_HELLO_BYTES_MAX   (64 * 1024) /* TLS 1.2: a server's whole chain comes in clear */
#define CLIENT_HELLO_RECORDS_MAX 32
#define ALERTS_MAX               4
#define CIPHER_CHANGES_MAX       4
#define WINDOW_BYTES             (1024 * 1024)
#define DATALESS_RECORDS_MAX     32

static uint32_t guard_length(const struct tls_guard *guard)
{
    return (uint32_t)guard->header[3] << 8 | guard->header[4];
}

/* What can be said of the first record before its header is whole. */
static enum tls_guard_verdict guard_judge_start(const struct tls_guard *guard)
{
    uint8_t type = guard->header[0];

    /* A server may refuse our hello with an alert; a client has nothing to complain about yet. */
    if (type != TYPE_HANDSHAKE && !(guard->is_client && type == TYPE_ALERT)) {
        return TLS_GUARD_NOT_TLS;
    }
    if (guard->header_size >= 2 && guard->header[1] != VERSION_MAJOR) {
        return TLS_GUARD_NOT_TLS;
    }
    return TLS_GUARD_PASS;
}

static enum tls_guard_verdict guard_judge_handshake(struct tls_guard *guard, uint32_t length)
{
    uint32_t bytes_max = guard->is_client ? CLIENT_HELLO_BYTES_MAX : SERVER_HELLO_BYTES_MAX;
    uint32_t records_max = guard->is_client ? CLIENT_HELLO_RECORDS_MAX : SERVER_HELLO_RECORDS_MAX;

    if (guard->established) {
        return TLS_GUARD_BAD_TYPE; /* encrypted in TLS 1.3, a renegotiation in 1.2 */
    }
    guard->hello_bytes += length;
    guard->hello_records++;
    if (guard->hello_bytes > bytes_max || guard->hello_records > records_max) {
        return TLS_GUARD_HELLO_TOO_LARGE;
    }
    return TLS_GUARD_PASS;
}

static enum tls_guard_verdict guard_judge_cipher_change(struct tls_guard *guard)
{
    if (guard->established) {
        return TLS_GUARD_BAD_TYPE;
    }
    guard->cipher_changes++;
    return guard->cipher_changes > CIPHER_CHANGES_MAX ? TLS_GUARD_FLOOD : TLS_GUARD_PASS;
}

static enum tls_guard_verdict guard_judge_alert(struct tls_guard *guard)
{
    guard->alerts++;
    return guard->alerts > ALERTS_MAX ? TLS_GUARD_FLOOD : TLS_GUARD_PASS;
}

static enum tls_guard_verdict guard_judge_header(struct tls_guard *guard)
{
    uint32_t length = guard_length(guard);

    if (length > LENGTH_MAX) {
        return TLS_GUARD_BAD_LENGTH;
    }
    if (guard->header[0] == TYPE_APPLICATION_DATA) {
        return length < ENCRYPTED_LENGTH_MIN ? TLS_GUARD_TOO_SHORT : TLS_GUARD_PASS;
    }
    if (length == 0) {
        return TLS_GUARD_BAD_LENGTH;
    }
    switch (guard->header[0]) {
    case TYPE_CHANGE_CIPHER_SPEC:
        return guard_judge_cipher_change(guard);
    case TYPE_ALERT:
        return guard_judge_alert(guard);
    case TYPE_HANDSHAKE:
        return guard_judge_handshake(guard, length);
    default:
        return TLS_GUARD_BAD_TYPE;
    }
}

/* Takes one byte of a header. */
static enum tls_guard_verdict guard_take_header(struct tls_guard *guard, uint8_t byte)
{
    enum tls_guard_verdict verdict = TLS_GUARD_PASS;

    guard->header[guard->header_size++] = byte;
    if (!guard->started) {
        verdict = guard_judge_start(guard);
    }
    if (verdict != TLS_GUARD_PASS || guard->header_size < sizeof(guard->header)) {
        return verdict;
    }
    guard->started = true;
    guard->header_size = 0;
    guard->body_left = guard_length(guard);
    return guard_judge_header(guard);
}

enum tls_guard_verdict tls_guard_check(struct tls_guard *guard, struct bytes bytes)
{
    size_t offset = 0;

    while (offset < bytes.size) {
        if (guard->body_left > 0) {
            size_t left = bytes.size - offset;
            uint32_t step = left < guard->body_left ? (uint32_t)left : guard->body_left;

            offset += step;
            guard->body_left -= step;
            if (guard->body_left == 0 && guard->established) {
                guard->records++;
            }
        } else {
            enum tls_guard_verdict verdict = guard_take_header(guard, bytes.data[offset]);

            if (verdict != TLS_GUARD_PASS) {
                return verdict;
            }
            offset++;
        }
    }
    return TLS_GUARD_PASS;
}

void tls_guard_note_answer(struct tls_guard *guard)
{
    guard->hello_bytes = 0;
    guard->hello_records = 0;
}

void tls_guard_note_data(struct tls_guard *guard, size_t size, bool record_done)
{
    guard->data_bytes += size;
    if (record_done) {
        guard->data_records++;
    }
}

enum tls_guard_verdict tls_guard_note_all_read(struct tls_guard *guard)
{
    /* The record in which the handshake ended may give data without having been counted. */
    uint32_t dataless =
        guard->records > guard->data_records ? guard->records - guard->data_records : 0;

    if (dataless > DATALESS_RECORDS_MAX) {
        return TLS_GUARD_FLOOD;
    }
    if (guard->data_bytes >= WINDOW_BYTES) {
        guard->records = 0;
        guard->data_records = 0;
        guard->data_bytes = 0;
    }
    return TLS_GUARD_PASS;
}

const char *tls_guard_verdict_text(enum tls_guard_verdict verdict)
{
    switch (verdict) {
    case TLS_GUARD_PASS:
        return "passes";
    case TLS_GUARD_NOT_TLS:
        return "not TLS";
    case TLS_GUARD_BAD_TYPE:
        return "a TLS record of a wrong type";
    case TLS_GUARD_BAD_LENGTH:
        return "a TLS record of a forbidden length";
    case TLS_GUARD_TOO_SHORT:
        return "a TLS record too short for its tag";
    case TLS_GUARD_HELLO_TOO_LARGE:
        return "a TLS hello that is too large";
    case TLS_GUARD_FLOOD:
        return "too many TLS records without data";
    }
    return "unknown";
}
