#include "lib/call_rig.h"

#include <check.h>

#include <stdio.h>
#include <string.h>

static struct call_rig *rig_of(struct grpc_call_host *host)
{
    return CONTAINER_OF(host, struct call_rig, host);
}

static void head_complete(struct grpc_call_host *host, struct grpc_call *call)
{
    struct call_rig *rig = rig_of(host);

    rig->heads++;
    call->method = rig->method;
    if (rig->on_head != NULL) {
        rig->on_head(call);
    }
}

static void proceed(struct grpc_call_host *host, struct grpc_call *call)
{
    rig_of(host)->on_proceed(call);
}

static void request_complete(struct grpc_call_host *host, struct grpc_call *call,
                             struct bytes message)
{
    struct call_rig *rig = rig_of(host);

    rig->requests++;
    ck_assert_uint_le(message.size, CALL_RIG_MAX_MESSAGE);
    if (message.size > 0) {
        memcpy(rig->message, message.data, message.size);
    }
    rig->message[message.size] = '\0';
    if (rig->on_request != NULL) {
        rig->on_request(call, message);
    }
}

static void opened(struct grpc_call_host *host, struct grpc_call *call)
{
    rig_of(host)->on_open(call);
}

static bool may_deliver(struct grpc_call_host *host)
{
    return !rig_of(host)->is_shut;
}

static void finished(struct grpc_call_host *host, struct grpc_call *call)
{
    struct call_rig *rig = rig_of(host);

    rig->finished++;
    rig->status = call->status;
    if (rig->on_finished != NULL) {
        rig->on_finished(call);
    }
}

static void touched(struct grpc_call_host *host, struct grpc_call *call)
{
    (void)call;
    rig_of(host)->touched++;
}

static void freed(struct grpc_call_host *host)
{
    rig_of(host)->freed++;
}

static const struct grpc_call_host_ops ops = {
    .head_complete = head_complete,
    .proceed = proceed,
    .opened = opened,
    .request_complete = request_complete,
    .may_deliver = may_deliver,
    .finished = finished,
    .touched = touched,
    .freed = freed,
};

static void *stream_opened(void *owner, struct h2_stream *stream)
{
    struct call_rig *rig = owner;

    rig->opened++;
    rig->call = grpc_call_new(&rig->host, stream);
    return rig->call;
}

void call_rig_init(struct call_rig *rig)
{
    static const struct h2_options options = {.max_header_list = 4000,
                                              .max_header_list_hard = 16000,
                                              .reset_burst = CALL_RIG_RESET_BURST};

    *rig = (struct call_rig){.on_request = call_rig_hold, .on_open = call_rig_open};
    list_init(&rig->reactor.tasks);
    list_init(&rig->reactor.slow_tasks);
    rig->reactor.now_ns = 1000 * CLOCK_NS_PER_S;
    rig->reactor.turning = true; /* timers count from now_ns */
    grpc_call_pool_init(&rig->pool);
    rig->host = (struct grpc_call_host){.ops = &ops,
                                        .reactor = &rig->reactor,
                                        .pool = &rig->pool,
                                        .compress_max = UINT32_MAX,
                                        .max_message = CALL_RIG_MAX_MESSAGE};
    rig->events = grpc_call_stream_events;
    rig->events.stream_opened = stream_opened;
    ck_assert_int_eq(h2_session_new(H2_ROLE_SERVER, &options, &rig->events, rig,
                                    rig->reactor.now_ns, &rig->session),
                     0);
    h2_peer_init(&rig->peer, NULL);
    call_rig_talk(rig);
}

void call_rig_deinit(struct call_rig *rig)
{
    h2_session_free(rig->session);
    h2_peer_deinit(&rig->peer);
    ck_assert_uint_eq(rig->finished, rig->opened);
    ck_assert_uint_eq(rig->freed, rig->opened);
    ck_assert_uint_eq(rig->reactor.timers.count, 0);
    ck_assert_uint_eq(rig->host.buffered, 0);
    ck_assert_uint_eq(rig->host.unfinished, 0);
    ck_assert_uint_eq(rig->pool.buffered, 0);
    grpc_call_pool_deinit(&rig->pool);
    timer_set_deinit(&rig->reactor.timers);
    buf_deinit(&rig->out);
}

static void feed(struct call_rig *rig, struct bytes bytes)
{
    while (bytes.size > 0) {
        size_t size = bytes.size < H2_FEED_MAX ? bytes.size : H2_FEED_MAX;

        ck_assert_int_eq(h2_session_feed(rig->session, (struct bytes){bytes.data, size},
                                         rig->reactor.now_ns, &rig->out),
                         0);
        bytes = (struct bytes){bytes.data + size, bytes.size - size};
    }
    ck_assert_int_eq(h2_session_drain(rig->session, &rig->out, SIZE_MAX), 0);
}

void call_rig_talk(struct call_rig *rig)
{
    h2_peer_drain(&rig->peer);
    do {
        feed(rig, buf_bytes(&rig->peer.out));
        buf_clear(&rig->peer.out);
        h2_peer_feed(&rig->peer, buf_bytes(&rig->out));
        buf_clear(&rig->out);
    } while (buf_size(&rig->peer.out) > 0);
}

void call_rig_feed(struct call_rig *rig, const struct buf *bytes)
{
    feed(rig, buf_bytes(bytes));
}

void call_rig_turn(struct call_rig *rig)
{
    struct list *link;

    while ((link = list_pop_front(&rig->reactor.tasks)) != NULL ||
           (link = list_pop_front(&rig->reactor.slow_tasks)) != NULL) {
        struct reactor_task *task = CONTAINER_OF(link, struct reactor_task, link);

        task->run(task);
    }
}

void call_rig_advance(struct call_rig *rig, uint64_t ns)
{
    rig->reactor.now_ns += ns;
    timer_set_run(&rig->reactor.timers, rig->reactor.now_ns);
}

void call_rig_lose(struct call_rig *rig)
{
    h2_session_free(rig->session);
    rig->session = NULL;
}

void call_rig_write(struct call_rig *rig, struct h2_peer_call *call, struct bytes bytes,
                    size_t step)
{
    while (bytes.size > 0 && call->stream != NULL) {
        const struct bytes part = {bytes.data, bytes.size < step ? bytes.size : step};

        ck_assert_int_eq(h2_stream_write(call->stream, &part, 1), 0);
        call_rig_talk(rig);
        bytes = (struct bytes){bytes.data + part.size, bytes.size - part.size};
    }
}

void call_rig_check(const struct h2_peer_call *call, enum grpc_status status, const char *message)
{
    char number[4];
    char text[1100];

    (void)snprintf(number, sizeof(number), "%d", (int)status);
    ck_assert(call->ended);
    ck_assert_str_eq(h2_peer_field(call, "grpc-status"), number);
    if (message != NULL) {
        (void)grpc_status_decode_message(bytes_from_text(h2_peer_field(call, "grpc-message")), text,
                                         sizeof(text));
        ck_assert_str_eq(text, message);
    }
}

/* Their requests wait while the host is shut. */
const struct grpc_method call_rig_unary = {.path = "/s.S/M", .long_answers = true};
const struct grpc_method call_rig_server_stream = {
    .path = "/s.S/M", .kind = GRPC_METHOD_SERVER_STREAM, .long_answers = true};
const struct grpc_method call_rig_client_stream = {
    .path = "/s.S/M", .kind = GRPC_METHOD_CLIENT_STREAM, .long_answers = true};
const struct grpc_method call_rig_bidi_stream = {
    .path = "/s.S/M", .kind = GRPC_METHOD_BIDI_STREAM, .long_answers = true};

static void hear(struct call_rig *rig, const char *sign, struct bytes text, const char *end)
{
    size_t used = strlen(rig->heard);

    ck_assert_uint_lt(used + text.size + 3, sizeof(rig->heard));
    (void)snprintf(rig->heard + used, sizeof(rig->heard) - used, "%s%.*s%s", sign, (int)text.size,
                   (const char *)text.data, end);
}

#define SHOWN_MAX 100 /* bytes of a message: of a longer one only the size */

static void on_message(struct grpc_call *call, void *context, struct bytes message)
{
    struct call_rig *rig = context;

    char size[24];

    ck_assert(grpc_call_is_wanted(call));
    (void)snprintf(size, sizeof(size), "#%zu", message.size);
    hear(rig, "[", message.size > SHOWN_MAX ? bytes_from_text(size) : message, "]");
    if (rig->on_message != NULL) {
        rig->on_message(call, message);
    }
}

static void on_half_closed(struct grpc_call *call, void *context)
{
    ck_assert(grpc_call_is_wanted(call));
    hear(context, "$", (struct bytes){0}, "");
}

static void on_writable(struct grpc_call *call, void *context)
{
    ck_assert(grpc_call_is_wanted(call));
    hear(context, "w", (struct bytes){0}, "");
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    ck_assert(!grpc_call_is_wanted(call));
    ck_assert(call->cancelled);
    hear(context, "x", (struct bytes){0}, "");
}

static const struct grpc_call_events events = {.message = on_message,
                                               .half_closed = on_half_closed,
                                               .writable = on_writable,
                                               .cancelled = on_cancelled};

void call_rig_open(struct grpc_call *call)
{
    grpc_call_listen(call, &events, rig_of(call->host));
}

void call_rig_echo(struct grpc_call *call, struct bytes message)
{
    grpc_call_reply(call, &message, 1);
}

void call_rig_hold(struct grpc_call *call, struct bytes message)
{
    (void)message;
    grpc_call_hold(call);
}
