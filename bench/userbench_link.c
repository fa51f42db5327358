#include "userbench_link.h"

#include "core/clock.h"
#include "core/reactor.h"
#include "http2/grpc_status.h"
#include "userbench_problem.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_HEAD_SIZE  9
#define GRPC_PREFIX_SIZE 5
#define MESSAGE_MAX      16000 /* ours; fits into any peer's frame */

#define STREAM_WINDOW (1U << 20)
#define LINK_WINDOW   (1U << 26)
#define WINDOW_FIRST  65535
#define FRAME_MAX     16384

enum frame_type {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RST_STREAM = 3,
    FRAME_SETTINGS = 4,
    FRAME_PUSH_PROMISE = 5,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW_UPDATE = 8,
    FRAME_CONTINUATION = 9,
};

enum frame_flag {
    FLAG_ACK = 1,
    FLAG_END_STREAM = 1,
    FLAG_END_HEADERS = 4,
    FLAG_PADDED = 8,
    FLAG_PRIORITY = 0x20,
};

enum setting {
    SETTING_HEADER_TABLE_SIZE = 1,
    SETTING_ENABLE_PUSH = 2,
    SETTING_MAX_CONCURRENT_STREAMS = 3,
    SETTING_INITIAL_WINDOW_SIZE = 4,
    SETTING_MAX_FRAME_SIZE = 5,
};

#define ERROR_CANCEL 8

struct frame {
    uint32_t size;
    uint8_t type;
    uint8_t flags;
    uint32_t stream_id;
    struct bytes payload;
};

/* In `held`, before the octets of the frame. */
struct held {
    uint32_t stream_id;
    uint32_t size; /* of the frame's payload */
};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static uint32_t get_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 24);
    bytes[1] = (uint8_t)(value >> 16);
    bytes[2] = (uint8_t)(value >> 8);
    bytes[3] = (uint8_t)value;
}

static void put_head(uint8_t *bytes, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream_id)
{
    bytes[0] = (uint8_t)(size >> 16);
    bytes[1] = (uint8_t)(size >> 8);
    bytes[2] = (uint8_t)size;
    bytes[3] = type;
    bytes[4] = flags;
    put_u32(bytes + 5, stream_id);
}

static uint8_t *room(struct buf *buf, size_t size)
{
    uint8_t *bytes = buf_reserve(buf, size);

    if (bytes == NULL) {
        userbench_problem("no memory");
    }
    return bytes;
}

static void append(struct buf *buf, const void *bytes, size_t size)
{
    if (buf_append(buf, bytes, size) != 0) {
        userbench_problem("no memory");
    }
}

static void append_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream_id,
                         struct bytes payload)
{
    uint8_t *bytes = room(out, FRAME_HEAD_SIZE + payload.size);

    put_head(bytes, (uint32_t)payload.size, type, flags, stream_id);
    if (payload.size > 0) {
        memcpy(bytes + FRAME_HEAD_SIZE, payload.data, payload.size);
    }
    buf_commit(out, FRAME_HEAD_SIZE + payload.size);
}

/* What is appended to it goes out at the end of the turn. */
static struct buf *output(struct userbench_link *link)
{
    struct buf *out = conn_output(link->conn);

    if (buf_size(out) == 0) {
        link->settings->drains++;
    }
    conn_touch(link->conn);
    return out;
}

static void send_u32(struct userbench_link *link, uint8_t type, uint32_t stream_id, uint32_t value)
{
    uint8_t bytes[4];

    put_u32(bytes, value);
    append_frame(output(link), type, 0, stream_id, (struct bytes){bytes, sizeof(bytes)});
}

static struct userbench_stream **place_of(struct userbench_link *link, uint32_t id)
{
    return &link->streams[id / 2 % USERBENCH_STREAMS_MAX];
}

/* NULL = it has ended, or was cancelled. */
static struct userbench_stream *find(struct userbench_link *link, uint32_t id)
{
    struct userbench_stream *stream = *place_of(link, id);

    return stream != NULL && stream->id == id ? stream : NULL;
}

static void forget(struct userbench_link *link, struct userbench_stream *stream)
{
    *place_of(link, stream->id) = NULL;
    link->open_count--;
}

static void end(struct userbench_link *link, struct userbench_stream *stream, int grpc_status)
{
    static const uint8_t no_error[4];

    if (!stream->is_half_closed) {
        append_frame(output(link), FRAME_RST_STREAM, 0, stream->id,
                     (struct bytes){no_error, sizeof(no_error)});
    }
    forget(link, stream);
    link->settings->events->ended(stream, grpc_status);
}

/* ------------------------------------------------------------------------------ what is received
 */

/* "User" as field 1 of the message, and in it "id" as field 1. */
static void check_id(const struct userbench_stream *stream, struct bytes message)
{
    size_t at = 1;

    while (at < message.size && at < 6 && (message.data[at] & 0x80) != 0) {
        at++;
    }
    at++; /* the length's last octet */
    if (message.size < at + 38 || message.data[0] != 0x0a || message.data[at] != 0x0a ||
        memcmp(message.data + at + 2, stream->expected_id, 36) != 0) {
        userbench_problem("the answer holds another user than %.36s", stream->expected_id);
    }
}

static void message_begins(struct userbench_stream *stream, struct bytes rest)
{
    stream->message_left = get_u32(stream->prefix + 1);
    stream->prefix_size = 0;
    if (stream->expected_id != NULL && rest.size >= stream->message_left &&
        stream->prefix[0] == 0) {
        check_id(stream, (struct bytes){rest.data, stream->message_left});
    }
}

static void message_ends(struct userbench_link *link, struct userbench_stream *stream)
{
    stream->message_count++;
    if (stream->is_streaming) {
        link->settings->events->message(stream);
    }
}

static void take_body(struct userbench_link *link, struct userbench_stream *stream,
                      struct bytes body)
{
    const uint32_t id = stream->id;

    while (body.size > 0 && find(link, id) == stream) {
        size_t size;

        if (stream->message_left == 0) {
            size = GRPC_PREFIX_SIZE - stream->prefix_size;
            size = size < body.size ? size : body.size;
            memcpy(stream->prefix + stream->prefix_size, body.data, size);
            stream->prefix_size += (unsigned)size;
            body.data += size;
            body.size -= size;
            if (stream->prefix_size < GRPC_PREFIX_SIZE) {
                return;
            }
            message_begins(stream, body);
        } else {
            size = stream->message_left < body.size ? stream->message_left : body.size;
            stream->message_left -= (uint32_t)size;
            body.data += size;
            body.size -= size;
        }
        if (stream->message_left == 0) {
            message_ends(link, stream);
        }
    }
}

static struct bytes without_padding(const struct frame *frame)
{
    struct bytes payload = frame->payload;

    if ((frame->flags & FLAG_PADDED) != 0) {
        if (payload.size == 0 || payload.data[0] >= payload.size) {
            userbench_problem("the server sent a frame with wrong padding");
        }
        payload.size -= 1U + payload.data[0];
        payload.data++;
    }
    return payload;
}

static void take_data(struct userbench_link *link, const struct frame *frame)
{
    struct userbench_stream *stream = find(link, frame->stream_id);
    const bool is_last = (frame->flags & FLAG_END_STREAM) != 0;

    link->unacknowledged += frame->size;
    if (link->unacknowledged >= LINK_WINDOW / 2) {
        send_u32(link, FRAME_WINDOW_UPDATE, 0, link->unacknowledged);
        link->unacknowledged = 0;
    }
    if (stream == NULL) {
        return;
    }
    stream->unacknowledged += frame->size;
    if (stream->unacknowledged >= STREAM_WINDOW / 2 && !is_last) {
        send_u32(link, FRAME_WINDOW_UPDATE, stream->id, stream->unacknowledged);
        stream->unacknowledged = 0;
    }
    take_body(link, stream, without_padding(frame));
    if (is_last && find(link, frame->stream_id) == stream) {
        end(link, stream, GRPC_STATUS_UNKNOWN); /* no trailers */
    }
}

static void take_head(struct userbench_link *link, uint32_t stream_id, struct bytes block,
                      bool is_last)
{
    struct userbench_stream *stream = find(link, stream_id);
    struct userbench_head head;

    if (userbench_decode(&link->decoder, block, &head) != 0) {
        userbench_problem("the server sent a head that cannot be decoded");
    }
    if (stream == NULL) {
        return;
    }
    if (head.grpc_status >= 0) {
        stream->grpc_status = head.grpc_status;
    } else if (head.http_status >= 400) {
        stream->grpc_status = (int)grpc_status_from_http(head.http_status);
    }
    if (is_last) {
        end(link, stream,
            stream->grpc_status >= 0 ? stream->grpc_status : (int)GRPC_STATUS_UNKNOWN);
    }
}

static void take_headers(struct userbench_link *link, const struct frame *frame)
{
    struct bytes block = without_padding(frame);
    const bool is_last = (frame->flags & FLAG_END_STREAM) != 0;

    if ((frame->flags & FLAG_PRIORITY) != 0 && block.size >= 5) {
        block.data += 5;
        block.size -= 5;
    }
    if ((frame->flags & FLAG_END_HEADERS) != 0) {
        take_head(link, frame->stream_id, block, is_last);
        return;
    }
    buf_clear(&link->block);
    append(&link->block, block.data, block.size);
    link->block_stream = frame->stream_id;
    link->block_ends_stream = is_last;
}

static void take_continuation(struct userbench_link *link, const struct frame *frame)
{
    append(&link->block, frame->payload.data, frame->payload.size);
    if ((frame->flags & FLAG_END_HEADERS) != 0) {
        take_head(link, link->block_stream, buf_bytes(&link->block), link->block_ends_stream);
    }
}

static void set_initial_window(struct userbench_link *link, uint32_t size)
{
    const int64_t more = (int64_t)size - link->peer_initial_window;

    link->peer_initial_window = size;
    for (unsigned i = 0; i < USERBENCH_STREAMS_MAX && link->open_count > 0; i++) {
        if (link->streams[i] != NULL) {
            link->streams[i]->send_window += more;
        }
    }
}

static void take_setting(struct userbench_link *link, unsigned name, uint32_t value)
{
    switch (name) {
    case SETTING_HEADER_TABLE_SIZE:
        if (!link->is_ready) {
            userbench_encoder_limit(&link->encoder, value);
        } else if (value < link->encoder.table_max) {
            userbench_problem("the server shrinks its header table in the middle");
        }
        break;
    case SETTING_MAX_CONCURRENT_STREAMS:
        link->peer_streams_max = value;
        break;
    case SETTING_INITIAL_WINDOW_SIZE:
        set_initial_window(link, value);
        break;
    default:
        break;
    }
}

/* Our bodies are written in order, as far as the connection's window goes. */
static void send_held(struct userbench_link *link)
{
    struct held held;

    while (buf_size(&link->held) > sizeof(held)) {
        memcpy(&held, link->held.data + link->held.start, sizeof(held));
        if (link->send_window < held.size) {
            return;
        }
        buf_consume(&link->held, sizeof(held));
        if (find(link, held.stream_id) != NULL) {
            link->send_window -= held.size;
            append(output(link), buf_bytes(&link->held).data, FRAME_HEAD_SIZE + held.size);
        }
        buf_consume(&link->held, FRAME_HEAD_SIZE + held.size);
    }
}

static void take_settings(struct userbench_link *link, const struct frame *frame)
{
    if ((frame->flags & FLAG_ACK) != 0) {
        return;
    }
    for (size_t i = 0; i + 6 <= frame->payload.size; i += 6) {
        const uint8_t *setting = frame->payload.data + i;

        take_setting(link, (unsigned)setting[0] << 8 | setting[1], get_u32(setting + 2));
    }
    append_frame(output(link), FRAME_SETTINGS, FLAG_ACK, 0, (struct bytes){0});
    link->is_ready = true;
    link->settings->events->writable(link);
}

static void take_window_update(struct userbench_link *link, const struct frame *frame)
{
    struct userbench_stream *stream = find(link, frame->stream_id);

    if (frame->payload.size != 4) {
        userbench_problem("the server sent a malformed WINDOW_UPDATE");
    }
    if (frame->stream_id == 0) {
        link->send_window += get_u32(frame->payload.data) & INT32_MAX;
        send_held(link);
    } else if (stream != NULL) {
        stream->send_window += get_u32(frame->payload.data) & INT32_MAX;
    }
    link->settings->events->writable(link);
}

static void take_goaway(const struct userbench_link *link, const struct frame *frame)
{
    if (frame->payload.size >= 8 && !link->is_wanted) {
        userbench_problem("the server ends the connection: error %u, \"%.*s\"",
                          get_u32(frame->payload.data + 4), (int)frame->payload.size - 8,
                          (const char *)frame->payload.data + 8);
    }
}

static void take_reset(struct userbench_link *link, const struct frame *frame)
{
    struct userbench_stream *stream = find(link, frame->stream_id);

    if (stream != NULL && frame->payload.size == 4) {
        stream->is_half_closed = true;
        end(link, stream, (int)grpc_status_from_h2_error(get_u32(frame->payload.data)));
    }
}

static void take_frame(struct userbench_link *link, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_DATA:
        take_data(link, frame);
        break;
    case FRAME_HEADERS:
        take_headers(link, frame);
        break;
    case FRAME_CONTINUATION:
        take_continuation(link, frame);
        break;
    case FRAME_RST_STREAM:
        take_reset(link, frame);
        break;
    case FRAME_SETTINGS:
        take_settings(link, frame);
        break;
    case FRAME_PING:
        if ((frame->flags & FLAG_ACK) == 0) {
            append_frame(output(link), FRAME_PING, FLAG_ACK, 0, frame->payload);
        }
        break;
    case FRAME_GOAWAY:
        take_goaway(link, frame);
        break;
    case FRAME_WINDOW_UPDATE:
        take_window_update(link, frame);
        break;
    case FRAME_PUSH_PROMISE:
        userbench_problem("the server pushes");
    default: /* unknown types are ignored (RFC 9113 4.1) */
        break;
    }
}

/* Takes the whole frames; returns how many octets that were. */
static size_t take_frames(struct userbench_link *link, struct bytes bytes)
{
    size_t at = 0;

    while (bytes.data != NULL && bytes.size - at >= FRAME_HEAD_SIZE) {
        const uint8_t *head = bytes.data + at;
        const struct frame frame = {
            .size = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2],
            .type = head[3],
            .flags = head[4],
            .stream_id = get_u32(head + 5) & INT32_MAX,
            .payload = {head + FRAME_HEAD_SIZE,
                        (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]},
        };

        if (frame.size > FRAME_MAX) {
            userbench_problem("the server sent a frame of %u octets", frame.size);
        }
        if (bytes.size - at < FRAME_HEAD_SIZE + frame.size) {
            break;
        }
        take_frame(link, &frame);
        at += FRAME_HEAD_SIZE + frame.size;
    }
    return at;
}

static void on_received(void *owner, struct bytes bytes)
{
    struct userbench_link *link = owner;
    size_t taken;

    link->settings->bytes_received += bytes.size;
    link->settings->receives++;
    if (buf_size(&link->received) > 0) {
        append(&link->received, bytes.data, bytes.size);
        buf_consume(&link->received, take_frames(link, buf_bytes(&link->received)));
        return;
    }
    taken = take_frames(link, bytes);
    append(&link->received, bytes.data + taken, bytes.size - taken);
}

/* -------------------------------------------------------------------------------- the connection
 */

static void on_opened(void *owner)
{
    struct userbench_link *link = owner;
    static const uint8_t settings[] = {
        0, SETTING_ENABLE_PUSH,         0, 0,    0, 0,
        0, SETTING_INITIAL_WINDOW_SIZE, 0, 0x10, 0, 0, /* STREAM_WINDOW */
    };

    append(output(link), preface, sizeof(preface) - 1);
    append_frame(output(link), FRAME_SETTINGS, 0, 0, (struct bytes){settings, sizeof(settings)});
    send_u32(link, FRAME_WINDOW_UPDATE, 0, LINK_WINDOW - WINDOW_FIRST);
}

static void on_ended(void *owner)
{
    struct userbench_link *link = owner;

    conn_close(link->conn);
}

static void on_drain(void *owner)
{
    struct userbench_link *link = owner;

    link->settings->bytes_sent += buf_size(conn_output(link->conn));
}

static void on_closed(void *owner, enum conn_end conn_end, const char *detail)
{
    struct userbench_link *link = owner;

    link->is_closed = true;
    if (!link->is_wanted) {
        userbench_problem("the connection to %s:%s has ended%s%s%s", link->settings->host,
                          link->settings->port,
                          conn_end == CONN_END_TLS       ? ", TLS failed"
                          : conn_end == CONN_END_PEER    ? ", the server closed it"
                          : conn_end == CONN_END_TIMEOUT ? ", the server did not answer"
                                                         : "",
                          detail[0] == '\0' ? "" : ": ", detail);
    }
}

static const struct conn_events conn_events = {
    .opened = on_opened,
    .received = on_received,
    .ended = on_ended,
    .drain = on_drain,
    .closed = on_closed,
};

static int connect_to(const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const int on = 1;
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, port, &hints, &found);
    int fd = -1;

    if (error != 0) {
        userbench_problem("--target %s:%s: %s", host, port, gai_strerror(error));
    }
    for (const struct addrinfo *one = found; one != NULL && fd < 0; one = one->ai_next) {
        fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, one->ai_addr, one->ai_addrlen) != 0) {
            error = errno;
            (void)close(fd); /* nothing was written to it */
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd < 0) {
        userbench_problem("cannot connect to %s:%s: %s", host, port, strerror(error));
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* a matter of speed only */
    return fd;
}

void userbench_link_open(struct userbench_link *link, struct userbench_link_settings *settings)
{
    int error;

    *link = (struct userbench_link){
        .settings = settings,
        .next_id = 1,
        .peer_streams_max = UINT32_MAX,
        .peer_initial_window = WINDOW_FIRST,
        .send_window = WINDOW_FIRST,
    };
    settings->conn.events = &conn_events;
    userbench_encoder_init(&link->encoder);
    userbench_decoder_init(&link->decoder);
    error = conn_new(&settings->conn, connect_to(settings->host, settings->port), settings->tls,
                     settings->tls == NULL ? NULL : settings->host, link, &link->conn);
    if (error != 0) {
        userbench_problem("cannot use the connection to %s:%s: %s", settings->host, settings->port,
                          strerror(-error));
    }
}

void userbench_link_close(struct userbench_link *link)
{
    link->is_wanted = true;
    if (!link->is_closed) {
        conn_close(link->conn);
    }
}

void userbench_link_deinit(struct userbench_link *link)
{
    userbench_decoder_deinit(&link->decoder);
    buf_deinit(&link->received);
    buf_deinit(&link->block);
    buf_deinit(&link->held);
}

/* -------------------------------------------------------------------------------------- requests
 */

bool userbench_link_has_room(const struct userbench_link *link)
{
    return link->is_ready && link->open_count < link->peer_streams_max &&
           link->open_count < USERBENCH_STREAMS_MAX / 2;
}

/* A new stream has a place that no old one occupies. */
static void open_stream(struct userbench_link *link, struct userbench_stream *stream)
{
    while (*place_of(link, link->next_id) != NULL) {
        link->next_id += 2;
    }
    if (link->next_id > INT32_MAX) {
        userbench_problem("a connection has used up its stream ids; run for a shorter time");
    }
    stream->id = link->next_id;
    stream->send_window = link->peer_initial_window;
    stream->message_count = 0;
    stream->message_left = 0;
    stream->prefix_size = 0;
    stream->unacknowledged = 0;
    stream->grpc_status = -1;
    stream->is_half_closed = false;
    link->next_id += 2;
    link->open_count++;
    *place_of(link, stream->id) = stream;
}

static void send_head(struct userbench_link *link, struct userbench_stream *stream,
                      const char *path)
{
    struct userbench_link_settings *settings = link->settings;
    struct buf *out = output(link);
    const size_t before = buf_size(out);
    size_t size;

    settings->fields[0].value = path;
    (void)room(out, FRAME_HEAD_SIZE);
    buf_commit(out, FRAME_HEAD_SIZE);
    userbench_encode(&link->encoder, settings->fields, settings->field_count, out);
    size = buf_size(out) - before - FRAME_HEAD_SIZE;
    if (size > FRAME_MAX) {
        userbench_problem("the token is too large for one frame");
    }
    put_head(out->data + out->start + before, (uint32_t)size, FRAME_HEADERS, FLAG_END_HEADERS,
             stream->id);
}

static void append_message(struct buf *out, uint32_t stream_id, struct bytes message, bool is_last)
{
    const uint32_t size = GRPC_PREFIX_SIZE + (uint32_t)message.size;
    uint8_t *bytes = room(out, FRAME_HEAD_SIZE + size);

    put_head(bytes, size, FRAME_DATA, is_last ? FLAG_END_STREAM : 0, stream_id);
    bytes[FRAME_HEAD_SIZE] = 0;
    put_u32(bytes + FRAME_HEAD_SIZE + 1, (uint32_t)message.size);
    if (message.size > 0) {
        memcpy(bytes + FRAME_HEAD_SIZE + GRPC_PREFIX_SIZE, message.data, message.size);
    }
    buf_commit(out, FRAME_HEAD_SIZE + size);
}

bool userbench_link_send(struct userbench_link *link, struct userbench_stream *stream,
                         struct bytes message, bool is_last)
{
    const int64_t size = (int64_t)message.size + GRPC_PREFIX_SIZE;

    if (message.size > MESSAGE_MAX) {
        userbench_problem("a request is too large");
    }
    if (stream->send_window < size || link->send_window < size || buf_size(&link->held) > 0) {
        return false;
    }
    stream->send_window -= size;
    link->send_window -= size;
    stream->is_half_closed = is_last;
    append_message(output(link), stream->id, message, is_last);
    return true;
}

void userbench_link_start(struct userbench_link *link, struct userbench_stream *stream,
                          const char *path, struct bytes message, bool is_last)
{
    struct held held;

    open_stream(link, stream);
    send_head(link, stream, path);
    if (message.size == 0 && !is_last) {
        return;
    }
    if (!userbench_link_send(link, stream, message, is_last)) {
        if (stream->send_window < (int64_t)message.size + GRPC_PREFIX_SIZE) {
            userbench_problem("the server's initial window is smaller than a request");
        }
        held.stream_id = stream->id;
        held.size = GRPC_PREFIX_SIZE + (uint32_t)message.size;
        append(&link->held, &held, sizeof(held));
        append_message(&link->held, stream->id, message, is_last);
        stream->send_window -= held.size;
        stream->is_half_closed = is_last;
    }
}

void userbench_link_cancel(struct userbench_link *link, struct userbench_stream *stream)
{
    forget(link, stream);
    send_u32(link, FRAME_RST_STREAM, stream->id, ERROR_CANCEL);
}
