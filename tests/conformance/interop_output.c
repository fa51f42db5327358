/*
 * The methods that answer with many messages: StreamingOutputCall, FullDuplexCall, HalfDuplexCall.
 *
 * A request is a list of replies, each with a size, a delay before it, and a wish for compression.
 * Requests wait in a queue; advance() works the first one off, reply by reply, and stops
 *
 *   - for a delay: the timer goes on;
 *   - when UNSENT_MAX bytes wait for the client: `writable` goes on;
 *   - when the queue is empty: the next message goes on, or the call ends if none will come.
 *
 * The three methods differ in when the queue is filled. StreamingOutputCall has its one request
 * from the beginning. FullDuplexCall takes one, and pauses the call until that is worked off, so
 * that a client which does not read has to stop writing. HalfDuplexCall gathers all (up to limits)
 * before it begins.
 *
 * The end, whatever its reason, is one function, which frees the state.
 */
#include "conformance/interop_message.h"
#include "conformance/interop_stream.h"
#include "core/clock.h"
#include "core/reactor.h"

#include <stdlib.h>

#define UNSENT_MAX   (64 * 1024)
#define REQUESTS_MAX 1024              /* gathered by HalfDuplexCall, */
#define BYTES_MAX    (4 * 1024 * 1024) /* and their bytes */

struct queued {
    struct list link;
    Grpc__Testing__StreamingOutputCallRequest *message;
};

struct output {
    struct grpc_call *call;
    struct timer delay;
    struct list queue; /* of struct queued */
    unsigned gathered_count;
    size_t gathered_bytes;
    size_t position; /* of the next reply in the first request */
    bool has_waited; /* the delay before that reply is over */
    bool gathers;    /* HalfDuplexCall: nothing is answered before the client has ended */
    bool is_last;    /* no more requests will come */
};

/* NULL when the queue is empty. */
static struct queued *first_of(const struct output *output)
{
    return list_is_empty(&output->queue) ? NULL
                                         : CONTAINER_OF(output->queue.next, struct queued, link);
}

static void drop(struct output *output, struct queued *first)
{
    list_remove(&first->link);
    grpc__testing__streaming_output_call_request__free_unpacked(first->message, NULL);
    free(first);
    output->position = 0;
}

/* Whatever the call ended with, it has. */
static void end(struct output *output)
{
    struct grpc_call *call = output->call;
    struct queued *first;

    reactor_stop_timer(call->host->reactor, &output->delay);
    while ((first = first_of(output)) != NULL) {
        drop(output, first);
    }
    free(output);
    grpc_call_listen(call, NULL, NULL);
    grpc_call_release(call);
}

static void end_for_memory(struct output *output)
{
    interop_fail_memory(output->call);
    end(output);
}

/* Returns 0 or -ENOMEM. */
static int send_reply(struct output *output, const Grpc__Testing__ResponseParameters *wanted)
{
    struct buf reply = {0};
    int result = interop_encode_payload(wanted->size, &reply);

    if (result == 0) {
        struct bytes whole = buf_bytes(&reply);

        interop_compress(output->call, wanted->compressed);
        result = grpc_call_send(output->call, &whole, 1);
    }
    buf_deinit(&reply);
    return result;
}

enum outcome {
    GOES_ON,
    WAITS, /* something was started that will go on */
    ENDED,
};

/* The next reply of a request. The output is gone when it ENDED. */
static enum outcome reply_once(struct output *output,
                               const Grpc__Testing__ResponseParameters *wanted)
{
    struct grpc_call *call = output->call;

    if (!interop_check_size(call, wanted->size)) {
        end(output);
        return ENDED;
    }
    if (grpc_call_unsent_size(call) > UNSENT_MAX) {
        return WAITS;
    }
    if (wanted->interval_us > 0 && !output->has_waited) {
        uint64_t delay_us = (uint32_t)wanted->interval_us;

        if (reactor_start_timer(call->host->reactor, &output->delay, delay_us * CLOCK_NS_PER_US) ==
            0) {
            return WAITS;
        }
        end_for_memory(output);
        return ENDED;
    }
    if (send_reply(output, wanted) != 0) {
        end_for_memory(output);
        return ENDED;
    }
    output->has_waited = false;
    output->position++;
    return GOES_ON;
}

static void finish_or_take_more(struct output *output)
{
    if (output->is_last) {
        grpc_call_finish(output->call);
        end(output);
    } else {
        grpc_call_resume(output->call);
    }
}

/* May free the output. */
static void advance(struct output *output)
{
    struct queued *first;

    while ((first = first_of(output)) != NULL) {
        const Grpc__Testing__StreamingOutputCallRequest *request = first->message;

        if (output->position == 0 &&
            !interop_check_status(output->call, request->response_status)) {
            end(output);
            return;
        }
        while (output->position < request->n_response_parameters) {
            if (reply_once(output, request->response_parameters[output->position]) != GOES_ON) {
                return;
            }
        }
        drop(output, first);
    }
    finish_or_take_more(output);
}

static void delay_over(struct timer *timer)
{
    struct output *output = CONTAINER_OF(timer, struct output, delay);

    output->has_waited = true;
    advance(output);
}

static void on_writable(struct grpc_call *call, void *context)
{
    struct output *output = context;

    (void)call;
    if (!timer_is_armed(&output->delay) && !list_is_empty(&output->queue) &&
        (!output->gathers || output->is_last)) {
        advance(output);
    }
}

/* Returns true, or has failed the call. */
static bool queue_request(struct output *output, struct bytes message)
{
    struct queued *queued = calloc(1, sizeof(*queued));

    if (queued == NULL) {
        interop_fail_memory(output->call);
        return false;
    }
    queued->message =
        grpc__testing__streaming_output_call_request__unpack(NULL, message.size, message.data);
    if (queued->message == NULL) {
        free(queued);
        interop_fail_parse(output->call);
        return false;
    }
    list_init(&queued->link);
    list_push_back(&output->queue, &queued->link);
    return true;
}

/* Returns true, or has failed the call. */
static bool gather_within_limits(struct output *output, struct bytes message)
{
    output->gathered_count++;
    output->gathered_bytes += message.size;
    if (output->gathered_count <= REQUESTS_MAX && output->gathered_bytes <= BYTES_MAX) {
        return true;
    }
    grpc_call_fail_text(output->call, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS",
                        "HalfDuplexCall keeps 1024 requests of 4 MiB together");
    return false;
}

static void on_message(struct grpc_call *call, void *context, struct bytes message)
{
    struct output *output = context;

    if ((output->gathers && !gather_within_limits(output, message)) ||
        !queue_request(output, message)) {
        end(output);
    } else if (!output->gathers) {
        grpc_call_pause(call);
        advance(output);
    }
}

static void on_half_closed(struct grpc_call *call, void *context)
{
    struct output *output = context;

    (void)call;
    output->is_last = true;
    advance(output);
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    (void)call;
    end(context);
}

/* Returns NULL after it has failed the call. */
static struct output *start(struct grpc_call *call)
{
    static const struct grpc_call_events events = {
        .message = on_message,
        .half_closed = on_half_closed,
        .writable = on_writable,
        .cancelled = on_cancelled,
    };
    struct output *output;

    if (!interop_echo_metadata(call)) {
        return NULL;
    }
    output = calloc(1, sizeof(*output));
    if (output == NULL) {
        interop_fail_memory(call);
        return NULL;
    }
    output->call = call;
    output->delay.fire = delay_over;
    list_init(&output->queue);
    grpc_call_hold(call);
    grpc_call_listen(call, &events, output);
    return output;
}

void interop_streaming_output_call(void *service, struct grpc_call *call, struct bytes message)
{
    struct output *output = start(call);

    (void)service;
    if (output == NULL) {
        return;
    }
    output->is_last = true;
    if (queue_request(output, message)) {
        advance(output);
    } else {
        end(output);
    }
}

void interop_full_duplex_call(void *service, struct grpc_call *call)
{
    (void)service;
    (void)start(call);
}

void interop_half_duplex_call(void *service, struct grpc_call *call)
{
    struct output *output = start(call);

    (void)service;
    if (output != NULL) {
        output->gathers = true;
    }
}
