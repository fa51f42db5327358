/*
 * One Watch stream at a time, on the subchannel's present connection.
 *
 * The happy path: start() opens the stream, the server sends a status at once and whenever it
 * changes; stop() cancels it. A start() that comes before the old stream has ended is remembered.
 *
 * What can go wrong:
 * - UNIMPLEMENTED: the server does not know the service; it counts as healthy until the next
 * start().
 * - any other end: NOT_SERVING, and the stream is opened again after a backoff, which begins anew
 * when the stream had said something.
 * - nothing is said within the limit: the stream is ended, the rest as above.
 * - an answer that cannot be read, or a status that we do not know: NOT_SERVING.
 */
#include "client/health_watch.h"

#include "client/backoff.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "http2/grpc_frame.h"
#include "http2/proto_wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WATCH_PATH      "/grpc.health.v1.Health/Watch"
#define REQUEST_SERVICE 1 /* field numbers */
#define ANSWER_STATUS   1
#define STATUS_SERVING  1
#define ANSWER_MAX      1024
#define PROBLEM_SIZE    256

struct health_watch {
    struct reactor *reactor;
    struct subchannel *subchannel;
    const struct health_watch_events *events;
    void *owner;
    enum health_watch_state state;
    struct call_attempt attempt;
    struct buf request; /* framed */
    struct timer timer; /* until the stream is opened again, or must have said something */
    uint64_t answer_timeout_ns;
    struct backoff backoff;
    bool is_wanted; /* started, not stopped */
    bool is_open;   /* the attempt is under way, perhaps being cancelled */
    bool is_ending; /* it was cancelled */
    bool is_freed;  /* once the attempt is done */
    bool has_heard; /* something, on this stream */
    char problem[PROBLEM_SIZE];
};

static void free_watch(struct health_watch *watch)
{
    reactor_stop_timer(watch->reactor, &watch->timer);
    buf_deinit(&watch->request);
    free(watch);
}

static void set_state(struct health_watch *watch, enum health_watch_state state)
{
    if (watch->state != state) {
        watch->state = state;
        watch->events->changed(watch->owner);
    }
}

static void wait_to_try_again(struct health_watch *watch)
{
    uint64_t random;

    random_fill(random_system(), &random, sizeof(random));
    /* Without memory it stays as it is until the next connection. */
    (void)reactor_start_timer(watch->reactor, &watch->timer,
                              backoff_next(&watch->backoff, &backoff_defaults, random));
}

/* A status that is not sent is 0, UNKNOWN. */
static enum health_watch_state read_answer(struct bytes answer)
{
    struct proto_wire_field field;
    uint64_t status = 0;
    int ret;

    while ((ret = proto_wire_read(&answer, &field)) == 0) {
        if (field.number == ANSWER_STATUS && field.type == PROTO_WIRE_VARINT) {
            status = field.value;
        }
    }
    return ret == PROTO_WIRE_E_END && status == STATUS_SERVING ? HEALTH_WATCH_SERVING
                                                               : HEALTH_WATCH_NOT_SERVING;
}

static void on_message(struct call_attempt *attempt, struct bytes message)
{
    struct health_watch *watch = CONTAINER_OF(attempt, struct health_watch, attempt);

    if (watch->is_ending) {
        return;
    }
    watch->has_heard = true;
    reactor_stop_timer(watch->reactor, &watch->timer);
    (void)snprintf(watch->problem, sizeof(watch->problem), "its health is not SERVING");
    set_state(watch, read_answer(message));
}

static void open_stream(struct health_watch *watch);

static void note_end(struct health_watch *watch, const struct call_result *result)
{
    (void)snprintf(watch->problem, sizeof(watch->problem),
                   "its health is not known: Health/Watch ended with %s%s%.*s",
                   grpc_status_name((int)result->status), result->message.size == 0 ? "" : ": ",
                   (int)result->message.size, (const char *)result->message.data);
}

static void on_done(struct call_attempt *attempt, const struct call_result *result)
{
    struct health_watch *watch = CONTAINER_OF(attempt, struct health_watch, attempt);
    bool was_ending = watch->is_ending;

    watch->is_open = false;
    watch->is_ending = false;
    if (watch->is_freed) {
        free_watch(watch);
        return;
    }
    if (!watch->is_wanted) {
        return;
    }
    if (was_ending) {
        open_stream(watch);
        return;
    }
    if (result->cause == CALL_CAUSE_ANSWER && result->status == GRPC_STATUS_UNIMPLEMENTED) {
        reactor_stop_timer(watch->reactor, &watch->timer);
        set_state(watch, HEALTH_WATCH_UNSUPPORTED);
        return;
    }
    if (watch->has_heard) {
        backoff_reset(&watch->backoff);
    }
    note_end(watch, result);
    wait_to_try_again(watch);
    set_state(watch, HEALTH_WATCH_NOT_SERVING);
}

static const struct call_attempt_events attempt_events = {
    .message = on_message,
    .done = on_done,
};

/* Where there is no connection, the owner will say so, and start again with the next. */
static void open_stream(struct health_watch *watch)
{
    int ret;

    watch->attempt = (struct call_attempt){
        .events = &attempt_events,
        .path = WATCH_PATH,
        .authorization = watch->events->authorization == NULL
                             ? NULL
                             : watch->events->authorization(watch->owner),
        .deadline_ns = CALL_NO_DEADLINE,
        .request = buf_bytes(&watch->request),
        .half_closed = true,
        .max_message = ANSWER_MAX,
    };
    watch->has_heard = false;
    ret = subchannel_start(watch->subchannel, &watch->attempt);
    watch->is_open = ret == 0;
    if (ret < 0) {
        wait_to_try_again(watch);
    } else if (ret == 0 && watch->answer_timeout_ns != 0) {
        /* Without memory it has no limit. */
        (void)reactor_start_timer(watch->reactor, &watch->timer, watch->answer_timeout_ns);
    }
}

static void on_time(struct timer *timer)
{
    struct health_watch *watch = CONTAINER_OF(timer, struct health_watch, timer);
    char problem[64];

    if (!watch->is_open) {
        open_stream(watch);
        return;
    }
    (void)snprintf(problem, sizeof(problem), "no answer within %llu ms",
                   (unsigned long long)(watch->answer_timeout_ns / CLOCK_NS_PER_MS));
    call_attempt_fail(&watch->attempt, GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE, problem);
}

static int make_request(struct health_watch *watch, const char *service)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];
    struct buf message = {0};
    int ret = 0;

    if (service[0] != '\0') { /* the server as a whole has the empty name, which is not sent */
        ret = proto_wire_append_bytes(&message, REQUEST_SERVICE, bytes_from_text(service));
    }
    grpc_frame_encode_head(head, false, (uint32_t)buf_size(&message));
    if (ret == 0) {
        ret = buf_append(&watch->request, head, sizeof(head));
    }
    if (ret == 0) {
        ret = buf_append(&watch->request, message.data, buf_size(&message));
    }
    buf_deinit(&message);
    return ret;
}

int health_watch_new(struct reactor *reactor, struct subchannel *subchannel,
                     const struct health_watch_options *options,
                     const struct health_watch_events *events, void *owner,
                     struct health_watch **ret_watch)
{
    struct health_watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL) {
        return -ENOMEM;
    }
    watch->reactor = reactor;
    watch->subchannel = subchannel;
    watch->answer_timeout_ns = options->answer_timeout_ns;
    watch->events = events;
    watch->owner = owner;
    watch->timer.fire = on_time;
    if (make_request(watch, options->service) != 0) {
        free_watch(watch);
        return -ENOMEM;
    }
    *ret_watch = watch;
    return 0;
}

static void end_stream(struct health_watch *watch)
{
    watch->is_wanted = false;
    reactor_stop_timer(watch->reactor, &watch->timer);
    if (watch->is_open && !watch->is_ending) {
        watch->is_ending = true;
        call_attempt_fail(&watch->attempt, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED,
                          "Cancelled");
    }
}

void health_watch_start(struct health_watch *watch)
{
    if (watch->is_wanted) {
        return;
    }
    watch->is_wanted = true;
    watch->state = HEALTH_WATCH_UNKNOWN;
    backoff_reset(&watch->backoff);
    if (!watch->is_open) {
        open_stream(watch);
    }
}

void health_watch_stop(struct health_watch *watch)
{
    end_stream(watch);
    watch->state = HEALTH_WATCH_UNKNOWN;
}

enum health_watch_state health_watch_state(const struct health_watch *watch)
{
    return watch->state;
}

const char *health_watch_problem(const struct health_watch *watch)
{
    return watch->problem;
}

void health_watch_free(struct health_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    end_stream(watch);
    watch->is_freed = true;
    if (!watch->is_open) {
        free_watch(watch);
    }
}
