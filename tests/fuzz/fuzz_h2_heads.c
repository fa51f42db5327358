/*
 * Any fields, blocks and bodies of one request, to two sessions: one checks messages itself, the
 * other lets nghttp2 do it. Both must hand on the same and end the stream in the same way. Pairs of
 * name and value, each ended by a NUL; the name "!" makes a DATA frame, "$" begins another block.
 *
 * Thread: one.
 */
#include "core/buf.h"
#include "http2/h2_session.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FRAME_MAX  16000
#define PART_MAX   2000
#define TYPE_DATA  0
#define TYPE_HEADS 1
#define END_STREAM 0x1
#define END_BLOCK  0x4

/* Appends, or gives up: what two halves are compared by must be whole. */
static void append(struct buf *out, const void *bytes, size_t size)
{
    assert(buf_append(out, bytes, size) == 0);
}

static void *on_opened(void *owner, struct h2_stream *stream)
{
    (void)stream;
    return owner;
}

static void on_field(void *context, const struct h2_field *field)
{
    append(context, "f", 1);
    append(context, field->name.data, field->name.size);
    append(context, "=", 1);
    append(context, field->value.data, field->value.size);
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    append(context, trailers ? "t" : "h", 1);
    append(context, ended ? "e" : "-", 1);
}

static void on_data(void *context, struct bytes bytes)
{
    append(context, "d", 1);
    append(context, bytes.data, bytes.size);
}

static void on_ended(void *context)
{
    append(context, "e", 1);
}

static void on_closed(void *context, uint32_t error)
{
    append(context, "c", 1);
    append(context, &error, sizeof(error));
}

static const struct h2_events events = {
    .stream_opened = on_opened,
    .field = on_field,
    .fields_complete = on_fields_complete,
    .data = on_data,
    .ended = on_ended,
    .closed = on_closed,
};

static struct bytes next_part(struct bytes *input)
{
    const uint8_t *end = input->size > 0 ? memchr(input->data, '\0', input->size) : NULL;
    size_t size = end == NULL ? input->size : (size_t)(end - input->data);
    struct bytes part = {input->data, size < PART_MAX ? size : PART_MAX};

    size += end != NULL;
    *input = (struct bytes){size > 0 ? input->data + size : input->data, input->size - size};
    return part;
}

static void append_frame(struct buf *out, unsigned type, unsigned flags, struct bytes payload)
{
    const uint8_t head[9] = {
        0,       (uint8_t)(payload.size >> 8), (uint8_t)payload.size, (uint8_t)type, (uint8_t)flags,
        [8] = 1,
    };

    append(out, head, sizeof(head));
    append(out, payload.data, payload.size);
}

/* As a literal of HPACK: with a first byte of 127 the length goes on. */
static void append_text(struct buf *block, struct bytes text)
{
    size_t rest = text.size;
    uint8_t byte = (uint8_t)(rest < 127 ? rest : 127);

    append(block, &byte, 1);
    if (byte == 127) {
        for (rest -= 127; rest >= 128; rest /= 128) {
            byte = (uint8_t)(rest % 128 + 128);
            append(block, &byte, 1);
        }
        byte = (uint8_t)rest;
        append(block, &byte, 1);
    }
    append(block, text.data, text.size);
}

static void append_request(struct buf *out, struct bytes input)
{
    struct buf block = {0};
    bool in_block = true;
    bool is_last;

    do {
        struct bytes name = next_part(&input);
        struct bytes value = next_part(&input);
        bool is_data = bytes_equal(name, BYTES_LITERAL("!"));
        bool is_border = is_data || bytes_equal(name, BYTES_LITERAL("$"));
        unsigned end;

        is_last = input.size == 0;
        end = is_last ? END_STREAM : 0;
        if (!is_border) {
            append(&block, "", 1);
            append_text(&block, name);
            append_text(&block, value);
            in_block = true;
        }
        if (in_block && (is_border || is_last || buf_size(&block) > FRAME_MAX - 2 * PART_MAX - 8)) {
            append_frame(out, TYPE_HEADS, END_BLOCK | (is_data ? 0 : end), buf_bytes(&block));
            buf_clear(&block);
            in_block = false;
        }
        if (is_data) {
            append_frame(out, TYPE_DATA, end, value);
        }
    } while (!is_last);
    buf_deinit(&block);
}

/* What a session makes of the bytes, and what it answers. */
static void run(enum h2_checks checks, struct bytes bytes, struct buf *ret_seen)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    const struct h2_options options = {.checks = checks, .max_continuations = 8};
    struct h2_session *session;

    assert(h2_session_new(H2_ROLE_SERVER, &options, &events, ret_seen, 1, &session) == 0);
    (void)h2_session_feed(session, (struct bytes){(const uint8_t *)preface, sizeof(preface) - 1}, 1,
                          ret_seen);
    while (bytes.size > 0) {
        size_t size = bytes.size < H2_FEED_MAX ? bytes.size : H2_FEED_MAX;
        struct buf out = {0};
        int outcome = h2_session_feed(session, (struct bytes){bytes.data, size}, 1, &out);

        append(ret_seen, &outcome, sizeof(outcome));
        append(ret_seen, buf_bytes(&out).data, buf_size(&out));
        buf_deinit(&out);
        bytes = (struct bytes){bytes.data + size, bytes.size - size};
    }
    h2_session_free(session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf in = {0};
    struct buf seen[2] = {{0}, {0}};

    append_request(&in, (struct bytes){data, size});
    run(H2_CHECKS_OWN, buf_bytes(&in), &seen[0]);
    run(H2_CHECKS_ENGINE, buf_bytes(&in), &seen[1]);
    assert(bytes_equal(buf_bytes(&seen[0]), buf_bytes(&seen[1])));
    buf_deinit(&in);
    buf_deinit(&seen[0]);
    buf_deinit(&seen[1]);
    return 0;
}
