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

#define LENGTH_MAX              16640 /* 2^14 + 256, RFC 8446, section 5.2 */
#define ENCRYPTED_LENGTH_MIN    17    /* a tag of 16 bytes, and at least the inner content type */
#define HELLO_BYTES_MAX         (16 * 1024) /* of a client */
#define HELLO_RECORDS_MAX       4
#define CLIENT_FLIGHT_BYTES_MAX (20 * 1024) /* room for a chain of 16 KiB */
#define SERVER_FLIGHT_BYTES_MAX (64 * 1024) /* TLS 1.2: its whole chain, in clear */
#define FLIGHT_RECORDS_MAX      32
#define ALERTS_MAX              4
#define CIPHER_CHANGES_MAX      4
#define WINDOW_BYTES            (1024 * 1024)
#define DATALESS_RECORDS_MAX    32
#define DATALESS_PER_SECOND_MAX 10
#define SECOND_NS               1000000000ULL

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

/* A record of the handshake, in clear or (TLS 1.3) encrypted. */
static enum tls_guard_verdict guard_count_flight(struct tls_guard *guard, uint32_t length)
{
    uint32_t bytes_max = guard->is_client ? SERVER_FLIGHT_BYTES_MAX : CLIENT_FLIGHT_BYTES_MAX;
    uint32_t records_max = FLIGHT_RECORDS_MAX;

    if (!guard->is_client && !guard->answered) {
        bytes_max = HELLO_BYTES_MAX;
        records_max = HELLO_RECORDS_MAX;
    }
    guard->flight_bytes += length;
    guard->flight_records++;
    if (guard->flight_bytes > bytes_max || guard->flight_records > records_max) {
        return TLS_GUARD_FLIGHT_TOO_LARGE;
    }
    return TLS_GUARD_PASS;
}

static enum tls_guard_verdict guard_judge_data(struct tls_guard *guard, uint32_t length)
{
    if (length < ENCRYPTED_LENGTH_MIN) {
        return TLS_GUARD_TOO_SHORT;
    }
    return guard->established ? TLS_GUARD_PASS : guard_count_flight(guard, length);
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
        return guard_judge_data(guard, length);
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
        /* After the handshake: encrypted in TLS 1.3, a renegotiation in 1.2. */
        return guard->established ? TLS_GUARD_BAD_TYPE : guard_count_flight(guard, length);
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
    guard->answered = true;
    guard->flight_bytes = 0;
    guard->flight_records = 0;
}

void tls_guard_note_data(struct tls_guard *guard, size_t size, bool record_done)
{
    guard->data_bytes += size;
    if (record_done) {
        guard->data_records++;
    }
}

enum tls_guard_verdict tls_guard_note_all_read(struct tls_guard *guard, uint64_t now_ns)
{
    /* The record in which the handshake ended may give data without having been counted. */
    uint32_t dataless =
        guard->records > guard->data_records ? guard->records - guard->data_records : 0;

    if (now_ns - guard->second_ns >= SECOND_NS) {
        guard->second_ns = now_ns;
        guard->second_count = 0;
    }
    if (dataless > guard->dataless) {
        guard->second_count += dataless - guard->dataless;
        guard->dataless = dataless;
    }
    if (dataless > DATALESS_RECORDS_MAX || guard->second_count > DATALESS_PER_SECOND_MAX) {
        return TLS_GUARD_FLOOD;
    }
    if (guard->data_bytes >= WINDOW_BYTES) {
        guard->records = 0;
        guard->data_records = 0;
        guard->data_bytes = 0;
        guard->dataless = 0;
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
    case TLS_GUARD_FLIGHT_TOO_LARGE:
        return "a TLS handshake that is too large";
    case TLS_GUARD_FLOOD:
        return "too many TLS records without data";
    }
    return "unknown";
}
