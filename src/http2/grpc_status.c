#include "http2/grpc_status.h"

#include "http2/h2_session.h"
#include "http2/proto_wire.h"

static const char *const status_names[GRPC_STATUS_COUNT] = {
    [GRPC_STATUS_OK] = "OK",
    [GRPC_STATUS_CANCELLED] = "CANCELLED",
    [GRPC_STATUS_UNKNOWN] = "UNKNOWN",
    [GRPC_STATUS_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [GRPC_STATUS_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [GRPC_STATUS_NOT_FOUND] = "NOT_FOUND",
    [GRPC_STATUS_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [GRPC_STATUS_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [GRPC_STATUS_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [GRPC_STATUS_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [GRPC_STATUS_ABORTED] = "ABORTED",
    [GRPC_STATUS_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [GRPC_STATUS_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [GRPC_STATUS_INTERNAL] = "INTERNAL",
    [GRPC_STATUS_UNAVAILABLE] = "UNAVAILABLE",
    [GRPC_STATUS_DATA_LOSS] = "DATA_LOSS",
    [GRPC_STATUS_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

const char *grpc_status_name(int status)
{
    if (status < 0 || status >= GRPC_STATUS_COUNT) {
        return "UNKNOWN";
    }
    return status_names[status];
}

enum grpc_status grpc_status_from_h2_error(uint32_t error)
{
    switch (error) {
    case H2_ERROR_REFUSED_STREAM:
        return GRPC_STATUS_UNAVAILABLE;
    case H2_ERROR_CANCEL:
        return GRPC_STATUS_CANCELLED;
    case H2_ERROR_ENHANCE_YOUR_CALM:
        return GRPC_STATUS_RESOURCE_EXHAUSTED;
    case H2_ERROR_INADEQUATE_SECURITY:
        return GRPC_STATUS_PERMISSION_DENIED;
    default:
        return GRPC_STATUS_INTERNAL;
    }
}

enum grpc_status grpc_status_from_http(int http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_STATUS_INTERNAL;
    case 401:
        return GRPC_STATUS_UNAUTHENTICATED;
    case 403:
        return GRPC_STATUS_PERMISSION_DENIED;
    case 404:
        return GRPC_STATUS_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_STATUS_UNAVAILABLE;
    default:
        return GRPC_STATUS_UNKNOWN;
    }
}

/* Bytes of the UTF-8 character that begins with `lead`; 1 for what cannot begin one, so that any
 * bytes get through. */
static size_t character_size(uint8_t lead)
{
    if (lead >= 0xf0 && lead <= 0xf4) {
        return 4;
    }
    if (lead >= 0xe0 && lead < 0xf0) {
        return 3;
    }
    if (lead >= 0xc2 && lead < 0xe0) {
        return 2;
    }
    return 1;
}

/* A field value may not begin or end with a blank (RFC 9113 section 8.2.1): some clients drop the
 * whole message for it. */
static bool is_raw(struct bytes message, size_t index)
{
    uint8_t byte = message.data[index];

    if (byte == ' ' && (index == 0 || index == message.size - 1)) {
        return false;
    }
    return byte >= 0x20 && byte <= 0x7e && byte != '%';
}

size_t grpc_status_encode_message(struct bytes message, char *out, size_t room)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;
    size_t i = 0;

    if (room == 0) {
        return 0;
    }
    while (i < message.size && used < room - 1) {
        size_t size;

        if (is_raw(message, i)) {
            out[used++] = (char)message.data[i++];
            continue;
        }
        size = character_size(message.data[i]);
        if (size > message.size - i) {
            size = 1; /* a character cut short by the text's own end */
        }
        if (3 * size > room - 1 - used) {
            break;
        }
        for (; size > 0; size--, i++) {
            out[used++] = '%';
            out[used++] = digits[message.data[i] >> 4];
            out[used++] = digits[message.data[i] & 0xf];
        }
    }
    while (used > 0 && out[used - 1] == ' ') {
        used--; /* where the text was cut */
    }
    out[used] = '\0';
    return used;
}

/* The value of a hexadecimal digit, or -1. */
static int digit_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return -1;
}

size_t grpc_status_decode_message(struct bytes encoded, char *out, size_t room)
{
    size_t used = 0;
    size_t i = 0;

    if (room == 0) {
        return 0;
    }
    while (i < encoded.size && used < room - 1) {
        int high = -1;
        int low = -1;

        if (encoded.data[i] == '%' && encoded.size - i >= 3) {
            high = digit_value(encoded.data[i + 1]);
            low = digit_value(encoded.data[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            out[used++] = (char)(high * 16 + low);
            i += 3;
        } else {
            out[used++] = (char)encoded.data[i++];
        }
    }
    out[used] = '\0';
    return used;
}

/* C0, DEL, and C1, which in UTF-8 is C2 and the number. */
static bool is_control(const uint8_t *character, size_t size)
{
    return character[0] < 0x20 || character[0] == 0x7f ||
           (size == 2 && character[0] == 0xc2 && character[1] < 0xa0);
}

void grpc_status_clean_text(char *text, size_t size)
{
    uint8_t *at = (uint8_t *)text;
    size_t step;

    for (; size > 0; at += step, size -= step) {
        size_t character_size = proto_wire_utf8_size((struct bytes){at, size});

        step = character_size == 0 ? 1 : character_size;
        if (*at == '\t' || *at == '\n' || *at == '\r') {
            *at = ' ';
        } else if (character_size == 0 || is_control(at, step)) {
            memset(at, '?', step);
        }
    }
}
