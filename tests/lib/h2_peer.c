#include "lib/h2_peer.h"

#include <check.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(struct buf *buf, const void *bytes, size_t size)
{
    if (size > 0) {
        ck_assert_int_eq(buf_append(buf, bytes, size), 0);
    }
}

void h2_frame_append(struct buf *out, unsigned type, unsigned flags, int32_t stream_id,
                     const void *payload, size_t size)
{
    uint32_t id = (uint32_t)stream_id;
    const uint8_t head[9] = {
        (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size,
        (uint8_t)type,         (uint8_t)flags,       (uint8_t)(id >> 24),
        (uint8_t)(id >> 16),   (uint8_t)(id >> 8),   (uint8_t)id,
    };

    append(out, head, sizeof(head));
    append(out, payload, size);
}

void h2_frame_append_number(struct buf *out, unsigned type, int32_t stream_id, uint32_t number)
{
    const uint8_t payload[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16),
                                (uint8_t)(number >> 8), (uint8_t)number};

    h2_frame_append(out, type, 0, stream_id, payload, sizeof(payload));
}

void h2_frame_append_preface(struct buf *out)
{
    static const char magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    append(out, magic, sizeof(magic) - 1);
    h2_frame_append(out, H2_FRAME_SETTINGS, 0, 0, NULL, 0);
    h2_frame_append(out, H2_FRAME_SETTINGS, H2_FLAG_ACK, 0, NULL, 0);
}

/* An HPACK string without Huffman coding; lengths below 127 + 127 * 128 will do. */
static void append_hpack_string(struct buf *block, const char *text)
{
    size_t size = strlen(text);
    uint8_t head[3] = {(uint8_t)size};
    size_t head_size = 1;

    if (size >= 127) {
        head[0] = 127;
        head[1] = (uint8_t)((size - 127) & 0x7f);
        if (size - 127 >= 128) {
            head[1] |= 0x80;
            head[2] = (uint8_t)((size - 127) >> 7);
            ck_assert_uint_lt((size - 127) >> 7, 128);
            head_size = 3;
        } else {
            head_size = 2;
        }
    }
    append(block, head, head_size);
    append(block, text, size);
}

void h2_frame_append_fields(struct buf *block, const char *const *fields)
{
    for (; *fields != NULL; fields += 2) {
        append(block, "", 1); /* literal, not indexed, new name */
        append_hpack_string(block, fields[0]);
        append_hpack_string(block, fields[1]);
    }
}

void h2_frame_append_request(struct buf *out, int32_t stream_id, unsigned flags, const char *path,
                             const char *const *more)
{
    const char *const fields[] = {":method", "POST",     ":scheme",      "http",
                                  ":path",   path,       ":authority",   "test",
                                  "te",      "trailers", "content-type", "application/grpc",
                                  NULL};
    struct buf block = {0};

    h2_frame_append_fields(&block, fields);
    if (more != NULL) {
        h2_frame_append_fields(&block, more);
    }
    h2_frame_append(out, H2_FRAME_HEADERS, flags | H2_FLAG_END_HEADERS, stream_id,
                    buf_bytes(&block).data, buf_size(&block));
    buf_deinit(&block);
}

bool h2_frame_take(struct bytes *input, struct h2_frame *ret_frame)
{
    const uint8_t *head = input->data;
    size_t size;

    if (input->size < 9) {
        return false;
    }
    size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    if (input->size - 9 < size) {
        return false;
    }
    *ret_frame = (struct h2_frame){
        .type = head[3],
        .flags = head[4],
        .stream_id = (int32_t)((uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 |
                               (uint32_t)head[7] << 8 | head[8]),
        .payload = {head + 9, size},
    };
    *input = (struct bytes){head + 9 + size, input->size - 9 - size};
    return true;
}

uint32_t h2_frame_number(const struct h2_frame *frame, size_t offset)
{
    const uint8_t *at = frame->payload.data + offset;

    ck_assert_uint_ge(frame->payload.size, offset + 4);
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

unsigned h2_frame_count(struct bytes frames, unsigned type, int32_t stream_id,
                        struct h2_frame *ret_last)
{
    struct h2_frame frame;
    unsigned count = 0;

    while (h2_frame_take(&frames, &frame)) {
        if (frame.type == type && (stream_id < 0 || frame.stream_id == stream_id)) {
            count++;
            if (ret_last != NULL) {
                *ret_last = frame;
            }
        }
    }
    return count;
}

static void on_field(void *context, const struct h2_field *field)
{
    struct h2_peer_call *call = context;
    struct buf *block = call->head_done ? &call->trailers : &call->head;

    append(block, field->name.data, field->name.size);
    append(block, ": ", 2);
    append(block, field->value.data, field->value.size);
    append(block, "\n", 1);
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    struct h2_peer_call *call = context;

    call->head_done = true;
    call->head_ended = call->head_ended || (!trailers && ended);
    call->ended = call->ended || ended;
}

static void on_fields_too_large(void *context)
{
    (void)context;
    ck_abort_msg("the client was given a header list over its limit");
}

static void on_data(void *context, struct bytes bytes)
{
    struct h2_peer_call *call = context;

    append(&call->body, bytes.data, bytes.size);
    if (!call->holds_credit) {
        h2_stream_consume(call->stream, bytes.size);
    }
}

static void on_ended(void *context)
{
    struct h2_peer_call *call = context;

    call->ended = true;
}

static void on_closed(void *context, uint32_t error)
{
    struct h2_peer_call *call = context;

    ck_assert(!call->closed);
    call->closed = true;
    call->error = error;
    call->stream = NULL;
}

static void on_goaway(void *owner, uint32_t last_stream_id, uint32_t error, struct bytes debug)
{
    struct h2_peer *peer = owner;

    (void)debug;
    peer->goaway = true;
    peer->goaway_error = error;
    peer->goaway_last_id = last_stream_id;
}

static const struct h2_events events = {
    .field = on_field,
    .fields_complete = on_fields_complete,
    .fields_too_large = on_fields_too_large,
    .data = on_data,
    .ended = on_ended,
    .closed = on_closed,
    .goaway = on_goaway,
};

void h2_peer_init(struct h2_peer *peer, const struct h2_options *options)
{
    const struct h2_options none = {0};

    *peer = (struct h2_peer){0};
    ck_assert_int_eq(h2_session_new(H2_ROLE_CLIENT, options != NULL ? options : &none, &events,
                                    peer, 1, &peer->session),
                     0);
    h2_peer_drain(peer);
}

void h2_peer_deinit(struct h2_peer *peer)
{
    h2_session_free(peer->session);
    buf_deinit(&peer->out);
}

void h2_peer_begin(struct h2_peer *peer, struct h2_peer_call *call, const char *path,
                   const char *const *more)
{
    struct h2_field fields[32] = {
        {.name = BYTES_LITERAL(":method"), .value = BYTES_LITERAL("POST")},
        {.name = BYTES_LITERAL(":scheme"), .value = BYTES_LITERAL("http")},
        {.name = BYTES_LITERAL(":path"), .value = bytes_from_text(path)},
        {.name = BYTES_LITERAL(":authority"), .value = BYTES_LITERAL("test")},
        {.name = BYTES_LITERAL("te"), .value = BYTES_LITERAL("trailers")},
        {.name = BYTES_LITERAL("content-type"), .value = BYTES_LITERAL("application/grpc")},
    };
    size_t count = 6;

    for (; more != NULL && more[0] != NULL; more += 2) {
        fields[count].name = bytes_from_text(more[0]);
        fields[count].value = bytes_from_text(more[1]);
        count++;
    }
    *call = (struct h2_peer_call){0};
    ck_assert_int_eq(h2_session_request(peer->session, fields, count, call, &call->stream), 0);
}

void h2_peer_send(struct h2_peer_call *call, uint8_t flag, const void *message, size_t size)
{
    const uint8_t head[5] = {flag, (uint8_t)(size >> 24), (uint8_t)(size >> 16),
                             (uint8_t)(size >> 8), (uint8_t)size};
    const struct bytes parts[] = {{head, sizeof(head)}, {message, size}};

    ck_assert_int_eq(h2_stream_write(call->stream, parts, 2), 0);
}

void h2_peer_end(struct h2_peer_call *call)
{
    ck_assert_int_eq(h2_stream_end(call->stream, NULL, 0), 0);
}

void h2_peer_call_unary(struct h2_peer *peer, struct h2_peer_call *call, const char *path,
                        const void *message, size_t size)
{
    h2_peer_begin(peer, call, path, NULL);
    h2_peer_send(call, 0, message, size);
    h2_peer_end(call);
    h2_peer_drain(peer);
}

void h2_peer_feed(struct h2_peer *peer, struct bytes bytes)
{
    while (bytes.size > 0) {
        size_t size = bytes.size < H2_FEED_MAX ? bytes.size : H2_FEED_MAX;

        (void)h2_session_feed(peer->session, (struct bytes){bytes.data, size}, 1, &peer->out);
        bytes = (struct bytes){bytes.data + size, bytes.size - size};
    }
    h2_peer_drain(peer);
}

void h2_peer_drain(struct h2_peer *peer)
{
    (void)h2_session_drain(peer->session, &peer->out, SIZE_MAX);
}

/* Copies the value of "name: value\n" in a block into `out`. */
static bool find_field(const struct buf *block, const char *name, char *out, size_t room)
{
    struct bytes rest = buf_bytes(block);
    size_t name_size = strlen(name);

    while (rest.size > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        size_t line = (size_t)(end - rest.data);

        if (line >= name_size + 2 && memcmp(rest.data, name, name_size) == 0 &&
            memcmp(rest.data + name_size, ": ", 2) == 0) {
            (void)snprintf(out, room, "%.*s", (int)(line - name_size - 2),
                           (const char *)rest.data + name_size + 2);
            return true;
        }
        rest = (struct bytes){end + 1, rest.size - line - 1};
    }
    return false;
}

const char *h2_peer_field(const struct h2_peer_call *call, const char *name)
{
    static char value[8192];

    if (!find_field(&call->trailers, name, value, sizeof(value)) &&
        !find_field(&call->head, name, value, sizeof(value))) {
        value[0] = '\0';
    }
    return value;
}

void h2_peer_call_deinit(struct h2_peer_call *call)
{
    if (call->stream != NULL) {
        h2_stream_forget(call->stream);
    }
    buf_deinit(&call->head);
    buf_deinit(&call->trailers);
    buf_deinit(&call->body);
}
