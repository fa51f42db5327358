#include "service/reflection.h"

#include "core/list.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"
#include "service/reflection_answer.h"
#include "service/user_errors.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * A request is answered at once, so that none is ever kept. What bounds a stream is what waits to
 * be read by its client:
 *
 *   1. While too much of it does, the call is paused, until all has gone.
 *   2. A request is a few bytes, and many may come in one piece. After some answers the call is
 *      paused until a later turn, which the task of the stream waits for.
 */

/* An answer is at most about 7 KiB besides the request, and takes a microsecond or two to make. */
#define ANSWERS_PER_TURN 32

struct reflection {
    struct reactor *reactor;
    struct reflection_options options;
    struct reflection_index *index;
    struct buf services; /* a ListServiceResponse */
    struct list streams; /* of struct reflection_stream */
    bool ending;
};

struct reflection_stream {
    struct list link;
    struct reflection *reflection;
    struct grpc_call *call; /* held */
    uint64_t sent;          /* files */
    uint32_t taken;         /* requests, since the stream began, */
    uint32_t answered;      /* and since the task ran */
    struct reactor_task task;
};

/* ---- errors ---- */

static void fail_with(struct grpc_call *call, enum user_error_kind kind)
{
    struct user_error error;

    user_error_set(&error, kind);
    user_error_count(&error, &call->host->reactor->limits_hit);
    grpc_call_fail(call, &error.grpc);
}

static void fail_text(struct grpc_call *call, enum grpc_status status, const char *reason,
                      const char *message)
{
    const struct grpc_error error = {
        .status = status, .message = message, .reason = reason, .domain = "users.v1"};

    grpc_call_fail(call, &error);
}

static void fail_shutdown(struct grpc_call *call)
{
    fail_text(call, GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN", "the server is shutting down");
}

/* What became of an answer, or of sending it. */
static void fail_request(struct grpc_call *call, int result)
{
    switch (result) {
    case REFLECTION_ANSWER_E_EMPTY:
        fail_text(call, GRPC_STATUS_INVALID_ARGUMENT, "MISSING_FIELDS",
                  "invalid MessageRequest: none is set");
        break;
    case REFLECTION_ANSWER_E_TOO_MANY:
        fail_with(call, USER_ERROR_TOO_MANY_FIELDS);
        break;
    case -ENOMEM:
        fail_with(call, USER_ERROR_NO_MEMORY);
        break;
    default:
        fail_with(call, USER_ERROR_MALFORMED);
        break;
    }
}

/* ---- streams ---- */

/* Takes the stream out of everything, lets go of its call and frees it. */
static void leave(struct reflection_stream *stream)
{
    struct grpc_call *call = stream->call;

    list_remove(&stream->link);
    reactor_undefer(&stream->task);
    free(stream);
    grpc_call_listen(call, NULL, NULL);
    grpc_call_release(call);
}

/* Requests are taken only while their answers are read, and in turn with others. */
static bool must_wait(struct reflection_stream *stream)
{
    struct reflection *reflection = stream->reflection;

    if (stream->answered >= ANSWERS_PER_TURN) {
        reactor_defer_slow(reflection->reactor, &stream->task);
        return true;
    }
    return grpc_call_unsent_size(stream->call) >= reflection->options.max_unsent;
}

static void set_pause(struct reflection_stream *stream)
{
    if (must_wait(stream)) {
        grpc_call_pause(stream->call);
    } else {
        grpc_call_resume(stream->call);
    }
}

static void run(struct reactor_task *task)
{
    struct reflection_stream *stream = CONTAINER_OF(task, struct reflection_stream, task);

    if (stream->reflection->ending) {
        fail_shutdown(stream->call);
        leave(stream);
        return;
    }
    stream->answered = 0;
    set_pause(stream);
}

static int answer(struct reflection_stream *stream, struct bytes request)
{
    const struct reflection *reflection = stream->reflection;
    const struct reflection_source source = {
        .index = reflection->index,
        .services = buf_bytes(&reflection->services),
        .max_fields = reflection->options.max_fields,
    };
    struct buf reply = {0};
    int result = reflection_answer(&source, &stream->sent, request, &reply);

    if (result == 0) {
        struct bytes message = buf_bytes(&reply);

        result = grpc_call_send(stream->call, &message, 1);
    }
    buf_deinit(&reply);
    return result;
}

static void on_message(struct grpc_call *call, void *context, struct bytes message)
{
    struct reflection_stream *stream = context;
    int result;

    if (stream->taken == stream->reflection->options.max_messages) {
        fail_with(call, USER_ERROR_TOO_MANY_MESSAGES);
        leave(stream);
        return;
    }
    stream->taken++;
    stream->answered++;
    result = answer(stream, message);
    if (result != 0) {
        fail_request(call, result);
        leave(stream);
    } else if (must_wait(stream)) {
        grpc_call_pause(call);
    }
}

static void on_half_closed(struct grpc_call *call, void *context)
{
    grpc_call_finish(call);
    leave(context);
}

static void on_writable(struct grpc_call *call, void *context)
{
    (void)call;
    set_pause(context);
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    (void)call;
    leave(context);
}

static const struct grpc_call_events stream_events = {
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .cancelled = on_cancelled,
};

static void open_stream(void *service, struct grpc_call *call)
{
    struct reflection *reflection = service;
    struct reflection_stream *stream;

    if (reflection->ending) {
        fail_shutdown(call);
        return;
    }
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        fail_with(call, USER_ERROR_NO_MEMORY);
        return;
    }
    stream->reflection = reflection;
    stream->call = call;
    stream->task.run = run;
    list_init(&stream->task.link);
    list_init(&stream->link);
    list_push_back(&reflection->streams, &stream->link);
    grpc_call_hold(call);
    grpc_call_compress(call, false); /* it would take longer than all the rest */
    grpc_call_listen(call, &stream_events, stream);
    grpc_call_trim(call);
}

/* ---- the service ---- */

void reflection_methods(struct reflection *reflection, struct grpc_method *ret_methods)
{
    const struct grpc_method rows[REFLECTION_METHOD_COUNT] = {
        {.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
         .kind = GRPC_METHOD_BIDI_STREAM,
         .open = open_stream,
         .service = reflection,
         .long_answers = true},
        {.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
         .kind = GRPC_METHOD_BIDI_STREAM,
         .open = open_stream,
         .service = reflection,
         .long_answers = true},
    };

    memcpy(ret_methods, rows, sizeof(rows));
}

/* "/pkg.Service/Method" without the slashes and the method; the table has no other form. */
static struct bytes service_of(const struct grpc_method *method)
{
    struct bytes path = bytes_from_text(method->path);
    const uint8_t *slash = memrchr(path.data, '/', path.size);

    return (struct bytes){path.data + 1, (size_t)(slash - path.data) - 1};
}

static int compare_services(const void *a, const void *b)
{
    return reflection_index_order(*(const struct bytes *)a, *(const struct bytes *)b);
}

int reflection_list(struct reflection *reflection, const struct grpc_method_table *methods)
{
    struct bytes *names = calloc(methods->count + 1, sizeof(*names));
    int result = 0;

    if (names == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < methods->count; i++) {
        names[i] = service_of(&methods->methods[i]);
    }
    qsort(names, methods->count, sizeof(*names), compare_services);
    buf_clear(&reflection->services);
    for (unsigned i = 0; i < methods->count && result == 0; i++) {
        if (i == 0 || !bytes_equal(names[i], names[i - 1])) {
            result = reflection_answer_add_service(&reflection->services, names[i]);
        }
    }
    free(names);
    return result;
}

int reflection_new(struct reactor *reactor, const struct reflection_options *options,
                   struct reflection **ret_reflection)
{
    struct reflection *reflection = calloc(1, sizeof(*reflection));
    int result;

    if (reflection == NULL) {
        return -ENOMEM;
    }
    result = reflection_index_new(options->descriptors, &reflection->index);
    if (result != 0) {
        free(reflection);
        return result;
    }
    reflection->reactor = reactor;
    reflection->options = *options;
    list_init(&reflection->streams);
    *ret_reflection = reflection;
    return 0;
}

void reflection_end_streams(struct reflection *reflection)
{
    struct list *streams = &reflection->streams;

    reflection->ending = true;
    for (struct list *link = streams->next; link != streams; link = link->next) {
        reactor_defer_slow(reflection->reactor,
                           &CONTAINER_OF(link, struct reflection_stream, link)->task);
    }
}

void reflection_free(struct reflection *reflection)
{
    if (reflection == NULL) {
        return;
    }
    assert(list_is_empty(&reflection->streams));
    reflection_index_free(reflection->index);
    buf_deinit(&reflection->services);
    free(reflection);
}
