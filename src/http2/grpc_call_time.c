#include "http2/grpc_call.h"
#include "http2/grpc_call_internal.h"

#include <assert.h>

/*
 * What ends a call when it takes too long. One timer serves two ends, the earlier of which it is
 * armed for: the deadline, and for calls that can live long the end of the caller's authorization.
 * Standing still has no timer: the connection looks at its calls now and then.
 *
 *   1. A call that is wanted: trailers with the status; but where bytes are on the stream that the
 *      client does not take, trailers would wait behind them: then the stream is reset (P8).
 *   2. A call that was answered, but the answer is not taken: reset at the deadline.
 *   3. Neither the request nor the answer moves by GRPC_CALL_PROGRESS_BYTES in the time given: as
 *      above. A stream of requests may rest between messages, and when its handler made it wait.
 *
 * A reset is held against the client where it does not take an answer that is complete (3), and
 * nowhere else: that time is over is no fault of it, and a request that stands still takes long.
 */

static const struct grpc_error error_deadline = {
    .status = GRPC_STATUS_DEADLINE_EXCEEDED,
    .message = "Deadline exceeded",
    .reason = "DEADLINE_EXCEEDED",
    .domain = "grpc",
};

static const struct grpc_error error_token = {
    .status = GRPC_STATUS_UNAUTHENTICATED,
    .message = "Invalid authentication token",
    .reason = "TOKEN_EXPIRED",
    .domain = "users.v1",
};

/* Which of the two ends comes first. A unary call may finish with the token it began with. */
static bool ends_by_authorization(const struct grpc_call *call)
{
    return call->authorized_until_ns < call->deadline_ns && call->method != NULL &&
           call->method->kind != GRPC_METHOD_UNARY;
}

static const struct grpc_error *authorization_error(const struct grpc_call *call)
{
    return call->authorization_end != NULL ? call->authorization_end : &error_token;
}

static void arm_timer(struct grpc_call *call, uint64_t delay_ns)
{
    if (reactor_start_timer(call->host->reactor, &call->timer, delay_ns) != 0) {
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
    }
}

void grpc_call_arm_deadline(struct grpc_call *call)
{
    const struct grpc_call_host *host = call->host;
    uint64_t timeout_ns = call->head.timeout_ns;

    if (timeout_ns == GRPC_TIMEOUT_NONE && host->default_deadline_ns != 0) {
        timeout_ns = host->default_deadline_ns;
    }
    if (host->max_deadline_ns != 0 && timeout_ns > host->max_deadline_ns) {
        timeout_ns = host->max_deadline_ns;
    }
    if (timeout_ns >= UINT64_MAX - call->started_ns) {
        return; /* centuries: none at all */
    }
    call->deadline_ns = call->started_ns + timeout_ns;
    if (timeout_ns == 0) {
        grpc_call_fail(call, &error_deadline);
    } else {
        arm_timer(call, timeout_ns);
    }
}

void grpc_call_arm_authorization(struct grpc_call *call)
{
    uint64_t now_ns = call->host->reactor->now_ns;

    if (!ends_by_authorization(call)) {
        return;
    }
    if (call->authorized_until_ns <= now_ns) {
        grpc_call_fail(call, authorization_error(call));
    } else {
        arm_timer(call, call->authorized_until_ns - now_ns);
    }
}

void grpc_call_authorize_until(struct grpc_call *call, uint64_t until_ns)
{
    uint64_t now_ns = call->host->reactor->now_ns;
    uint64_t end_ns;

    if (!grpc_call_is_wanted(call)) {
        return;
    }
    call->authorized_until_ns = until_ns;
    end_ns = ends_by_authorization(call) ? until_ns : call->deadline_ns;
    if (ends_by_authorization(call) && until_ns <= now_ns) {
        grpc_call_abandon(call, authorization_error(call), true);
    } else if (end_ns != UINT64_MAX) {
        arm_timer(call, end_ns > now_ns ? end_ns - now_ns : 0);
    } else {
        reactor_stop_timer(call->host->reactor, &call->timer);
    }
}

void grpc_call_on_timer(struct timer *timer)
{
    struct grpc_call *call = CONTAINER_OF(timer, struct grpc_call, timer);
    uint64_t now_ns = call->host->reactor->now_ns;

    assert(call->stream != NULL);
    if (grpc_call_is_wanted(call)) {
        grpc_call_abandon(
            call, ends_by_authorization(call) ? authorization_error(call) : &error_deadline, true);
        return;
    }
    if (now_ns >= call->deadline_ns) {
        h2_stream_reset_unblamed(call->stream, H2_ERROR_CANCEL);
        call->host->ops->touched(call->host, call);
    } else if (call->deadline_ns != UINT64_MAX) {
        /* It was the authorization's, and the answer came before: the deadline is still to come.
         * The set has room for a timer that has just left it. */
        (void)reactor_start_timer(call->host->reactor, timer, call->deadline_ns - now_ns);
    }
}

void grpc_call_check_progress(struct grpc_call *call, uint64_t patience_ns)
{
    static const struct grpc_error error = {
        .status = GRPC_STATUS_DEADLINE_EXCEEDED,
        .message = "the request message did not arrive in time",
        .reason = "REQUEST_STALLED",
        .domain = "grpc",
    };
    uint64_t now_ns = call->host->reactor->now_ns;

    if (call->state == GRPC_CALL_ANSWERED &&
        call->unsent_seen - h2_stream_unsent_size(call->stream) >= GRPC_CALL_PROGRESS_BYTES) {
        call->unsent_seen = h2_stream_unsent_size(call->stream);
        call->progress_ns = now_ns;
    }
    if (now_ns - call->progress_ns < patience_ns) {
        return;
    }
    if (call->state == GRPC_CALL_ANSWERED) {
        limits_hit_add(&call->host->reactor->limits_hit, LIMITS_HIT_BODY_PROGRESS);
        h2_stream_reset(call->stream, H2_ERROR_CANCEL);
        call->host->ops->touched(call->host, call);
    } else if (grpc_call_expects_body(call)) {
        limits_hit_add(&call->host->reactor->limits_hit, LIMITS_HIT_BODY_PROGRESS);
        grpc_call_abandon(call, &error, true);
    }
}
