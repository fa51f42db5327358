/*
 * Any bytes from a client, through the whole of HTTP/2 and gRPC to an echoing handler: no crash, no
 * leak, every call finished once and freed. The first byte says how the rest is cut, and whether
 * the preface comes for free.
 *
 * Thread: one.
 */
#include "core/clock.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "http2/grpc_dispatch.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
    struct reactor reactor; /* only its time and timers */
    struct grpc_call_pool pool;
    struct grpc_call_host host;
    struct h2_events events;
    unsigned opened;
    unsigned finished;
    unsigned freed;
};

static struct grpc_method_table methods;
static struct grpc_dispatch dispatch = {.methods = &methods};

static void echo(void *service, struct grpc_call *call, struct bytes request)
{
    (void)service;
    grpc_call_reply(call, &request, 1);
}

static struct target *target_of(struct grpc_call_host *host)
{
    return CONTAINER_OF(host, struct target, host);
}

static void head_complete(struct grpc_call_host *host, struct grpc_call *call)
{
    (void)host;
    grpc_dispatch_head(&dispatch, call);
}

static void request_complete(struct grpc_call_host *host, struct grpc_call *call,
                             struct bytes message)
{
    (void)host;
    grpc_dispatch_request(&dispatch, call, message);
}

static void finished(struct grpc_call_host *host, struct grpc_call *call)
{
    target_of(host)->finished++;
    grpc_dispatch_finished(&dispatch, call);
}

static void touched(struct grpc_call_host *host, struct grpc_call *call)
{
    (void)host;
    (void)call;
}

static void freed(struct grpc_call_host *host)
{
    target_of(host)->freed++;
}

static const struct grpc_call_host_ops ops = {
    .head_complete = head_complete,
    .request_complete = request_complete,
    .finished = finished,
    .touched = touched,
    .freed = freed,
};

static void *stream_opened(void *owner, struct h2_stream *stream)
{
    struct target *target = owner;

    target->opened++;
    return grpc_call_new(&target->host, stream);
}

static void target_init(struct target *target)
{
    static const struct grpc_method row = {.path = "/s.S/M", .handler = echo};

    if (methods.count == 0) {
        assert(grpc_method_table_init(&methods, &row, 1) == 0);
    }
    *target = (struct target){.events = grpc_call_stream_events};
    list_init(&target->reactor.tasks);
    target->reactor.now_ns = CLOCK_NS_PER_S;
    target->reactor.turning = true;
    grpc_call_pool_init(&target->pool);
    target->host = (struct grpc_call_host){
        .ops = &ops, .reactor = &target->reactor, .pool = &target->pool, .max_message = 1000};
    target->events.stream_opened = stream_opened;
}

static int feed(struct h2_session *session, struct bytes bytes, size_t step, struct target *target)
{
    int outcome = 0;

    while (bytes.size > 0 && outcome == 0) {
        size_t size = bytes.size < step ? bytes.size : step;
        struct buf out = {0};

        outcome = h2_session_feed(session, (struct bytes){bytes.data, size}, target->reactor.now_ns,
                                  &out);
        if (outcome == 0) {
            outcome = h2_session_drain(session, &out, SIZE_MAX);
        }
        buf_deinit(&out);
        bytes = (struct bytes){bytes.data + size, bytes.size - size};
        target->reactor.now_ns += CLOCK_NS_PER_MS;
        timer_set_run(&target->reactor.timers, target->reactor.now_ns);
    }
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    const struct h2_options options = {.max_concurrent_streams = 10,
                                       .max_header_list = 2000,
                                       .max_header_list_hard = 4000,
                                       .max_headers = 50,
                                       .max_continuations = 4,
                                       .reset_burst = 20,
                                       .control_burst = 50,
                                       .max_empty_frames = 8};
    struct h2_session *session;
    struct target target;
    int outcome = 0;

    if (size < 1) {
        return 0;
    }
    target_init(&target);
    assert(h2_session_new(H2_ROLE_SERVER, &options, &target.events, &target, target.reactor.now_ns,
                          &session) == 0);
    if ((data[0] & 0x80) == 0) {
        outcome = feed(session, (struct bytes){(const uint8_t *)preface, sizeof(preface) - 1},
                       H2_FEED_MAX, &target);
    }
    if (outcome == 0) {
        size_t step = (data[0] & 0x7f) == 0 ? H2_FEED_MAX : data[0] & 0x7f;

        (void)feed(session, (struct bytes){data + 1, size - 1}, step, &target);
    }
    h2_session_free(session);
    assert(target.finished == target.opened);
    assert(target.freed == target.opened);
    assert(target.reactor.timers.count == 0);
    grpc_call_pool_deinit(&target.pool);
    timer_set_deinit(&target.reactor.timers);
    return 0;
}
