/*
 * What to do with an attempt that ended, and what it says about its backend.
 *
 * Transparently (gRFC A6): the server has not looked at it, so it cannot matter that it is sent
 * again. Once, as two servers that refuse are a reason to stop; but as often as it never left us.
 *
 * By policy: the status is one of those that the service config names for the method, nothing of an
 * answer came, the call is not committed, attempts and tokens of the throttle are left, the server
 * does not forbid it, and the deadline leaves time for it.
 *
 * The throttle counts the attempts of methods that have a policy: a status that may be retried, or
 * a server that says not to, takes a token; OK gives some back; another status, and what ended by
 * our own doing, counts as neither. A connection that was lost takes one token, however many calls
 * it had: those would use up all of them at once, and then nothing would be retried for a reason
 * that is no overload.
 *
 * An attempt that is followed by another may have been executed all the same, unless the server has
 * not looked at it. The outcome must not deny that.
 */
#include "client/channel_internal.h"
#include "core/random.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUSHBACK_FIELD "grpc-retry-pushback-ms"
#define NS_PER_MS      1000000ULL

enum pushback {
    PUSHBACK_NONE,
    PUSHBACK_FORBIDS, /* negative, or not a number */
    PUSHBACK_AFTER,
};

/* A signed number of 32 bits. */
static enum pushback read_pushback(const struct call_result *result, uint64_t *ret_delay_ns)
{
    struct bytes text = {0};
    uint64_t ms = 0;

    if (result->status != GRPC_STATUS_OK) {
        text = call_reply_find(result->fields, PUSHBACK_FIELD);
    }
    if (text.data == NULL) {
        return PUSHBACK_NONE;
    }
    if (text.size == 0 || text.size > 10) {
        return PUSHBACK_FORBIDS;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return PUSHBACK_FORBIDS;
        }
        ms = ms * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (ms > INT32_MAX) {
        return PUSHBACK_FORBIDS;
    }
    *ret_delay_ns = ms * NS_PER_MS;
    return PUSHBACK_AFTER;
}

static enum breaker_outcome judge(const struct call_result *result)
{
    uint64_t delay_ns;

    switch (result->cause) {
    case CALL_CAUSE_CONNECT:
    case CALL_CAUSE_TLS:
    case CALL_CAUSE_LOST:
        return BREAKER_FAILURE;
    case CALL_CAUSE_DEADLINE: /* a watch that was answered ends like this every time */
        return result->has_head ? BREAKER_NEITHER : BREAKER_FAILURE;
    case CALL_CAUSE_REFUSED:
    case CALL_CAUSE_CANCELLED:
    case CALL_CAUSE_BREAKER:
    case CALL_CAUSE_MEMORY:
    case CALL_CAUSE_CALLER:
        return BREAKER_NEITHER;
    case CALL_CAUSE_ANSWER:
        break;
    }
    if (result->status == GRPC_STATUS_UNAVAILABLE || result->status == GRPC_STATUS_INTERNAL ||
        result->status == GRPC_STATUS_UNKNOWN || result->status == GRPC_STATUS_DATA_LOSS) {
        return BREAKER_FAILURE;
    }
    if (result->status == GRPC_STATUS_RESOURCE_EXHAUSTED &&
        read_pushback(result, &delay_ns) != PUSHBACK_NONE) {
        return BREAKER_FAILURE;
    }
    return BREAKER_SUCCESS;
}

/* Whether the attempt was lost with a connection whose loss `*seen` has already; it has it then. */
static bool is_seen_loss(const struct channel_call *call, const struct call_result *result,
                         uint64_t *seen)
{
    bool is_seen = result->cause == CALL_CAUSE_LOST && *seen == call->connection;

    if (result->cause == CALL_CAUSE_LOST) {
        *seen = call->connection;
    }
    return is_seen;
}

/* Tells the breaker how the attempt went, once. */
static void report(struct channel_call *call, enum breaker_outcome outcome)
{
    const struct channel *channel = call->channel;

    if (!call->is_judged) {
        call->is_judged = true;
        breaker_report(&call->on->breaker, &channel->options.breaker,
                       reactor_now_ns(channel->reactor), call->breaker_ticket, outcome);
    }
}

void channel_judge_early(struct channel_call *call)
{
    if (!call->is_judged && call->on->breaker.state == BREAKER_HALF_OPEN) {
        report(call, BREAKER_SUCCESS);
        if (!list_is_empty(&call->channel->waiting)) {
            channel_wake(call->channel); /* there may be a place for another probe */
        }
    }
}

/* A lost connection counts with the first of its calls that the breaker listens to. */
void channel_judge_end(struct channel_call *call, const struct call_result *result)
{
    struct channel_backend *backend = call->on;
    enum breaker_outcome outcome = judge(result);

    backend->failures += outcome == BREAKER_FAILURE;
    if (!call->is_judged && call->breaker_ticket == backend->breaker.generation &&
        is_seen_loss(call, result, &backend->loss_judged)) {
        outcome = BREAKER_NEITHER;
    }
    report(call, outcome);
}

/* It ended by our own doing: it says nothing about what may be tried. */
static bool is_ours(enum call_cause cause)
{
    return cause == CALL_CAUSE_DEADLINE || cause == CALL_CAUSE_CANCELLED ||
           cause == CALL_CAUSE_BREAKER || cause == CALL_CAUSE_MEMORY || cause == CALL_CAUSE_CALLER;
}

/* Until the next attempt. A server that names a time starts the sequence of waits anew. */
static uint64_t take_delay(struct channel_call *call, enum pushback pushback, uint64_t pushback_ns)
{
    uint64_t random;

    if (pushback == PUSHBACK_AFTER) {
        call->backoff_step = 0;
        return pushback_ns;
    }
    random_fill(random_system(), &random, sizeof(random));
    call->backoff_step++;
    return service_config_retry_delay(&call->method->retry, call->backoff_step + 1, random);
}

static bool has_time_for(const struct channel_call *call, uint64_t delay_ns)
{
    uint64_t now_ns = reactor_now_ns(call->channel->reactor);

    return call->deadline_ns == CALL_NO_DEADLINE ||
           (call->deadline_ns > now_ns && call->deadline_ns - now_ns > delay_ns);
}

static enum channel_retry decide_by_policy(struct channel_call *call,
                                           struct channel_backend *backend,
                                           const struct call_result *result, uint64_t *ret_delay_ns)
{
    const struct service_config_retry *policy = &call->method->retry;
    struct channel *channel = call->channel;
    bool is_listed = result->status != GRPC_STATUS_OK &&
                     (policy->status_mask & 1U << (unsigned)result->status) != 0;
    uint64_t pushback_ns = 0;
    enum pushback pushback = read_pushback(result, &pushback_ns);
    uint64_t delay_ns;

    if (policy->max_attempts == 0 || is_ours(result->cause)) {
        return CHANNEL_RETRY_NONE;
    }
    if (result->status == GRPC_STATUS_OK) {
        retry_throttle_succeeded(&channel->throttle);
    }
    if (!is_listed && pushback != PUSHBACK_FORBIDS) {
        return CHANNEL_RETRY_NONE;
    }
    if (!is_seen_loss(call, result, &backend->loss_throttled)) {
        retry_throttle_failed(&channel->throttle);
    }
    if (!is_listed || pushback == PUSHBACK_FORBIDS || result->has_head || call->is_committed ||
        call->is_ending || call->attempts >= policy->max_attempts) {
        return CHANNEL_RETRY_NONE;
    }
    if (!retry_throttle_allows(&channel->throttle)) {
        channel->stats.throttled++;
        return CHANNEL_RETRY_NONE;
    }
    delay_ns = take_delay(call, pushback, pushback_ns);
    if (!has_time_for(call, delay_ns)) {
        return CHANNEL_RETRY_NONE;
    }
    call->is_counted = false;
    *ret_delay_ns = delay_ns;
    return delay_ns == 0 ? CHANNEL_RETRY_NOW : CHANNEL_RETRY_LATER;
}

enum channel_retry channel_decide_retry(struct channel_call *call, struct channel_backend *backend,
                                        const struct call_result *result, uint64_t *ret_delay_ns)
{
    if (result->cause == CALL_CAUSE_REFUSED && (result->is_unsent || !call->was_refused) &&
        !result->has_head && !call->is_committed && !call->is_ending) {
        call->was_refused = call->was_refused || !result->is_unsent;
        call->channel->stats.transparent_retries++;
        return CHANNEL_RETRY_NOW;
    }
    return decide_by_policy(call, backend, result, ret_delay_ns);
}

/* Without memory the text is lost; what may have been done is what counts. */
void channel_note_attempt(struct channel_call *call, const struct call_result *result)
{
    char text[CHANNEL_EARLIER_SIZE];

    if (result->cause != CALL_CAUSE_REFUSED && !result->is_unsent) {
        call->may_be_done = true;
    }
    if (call->is_counted || call->earlier != NULL) {
        return;
    }
    (void)snprintf(text, sizeof(text), "%s%s%.*s", grpc_status_name((int)result->status),
                   result->message.size == 0 ? "" : ": ",
                   result->message.size > sizeof(text) ? (int)sizeof(text)
                                                       : (int)result->message.size,
                   result->message.size == 0 ? "" : (const char *)result->message.data);
    call->earlier = strdup(text);
}

/* These say that nothing was done. */
static bool denies(enum call_cause cause)
{
    return cause == CALL_CAUSE_CONNECT || cause == CALL_CAUSE_TLS || cause == CALL_CAUSE_REFUSED ||
           cause == CALL_CAUSE_BREAKER;
}

struct call_result channel_outcome(const struct channel_call *call,
                                   const struct call_result *result, char *room)
{
    struct call_result outcome = *result;
    int size;

    if (result->cause == CALL_CAUSE_REFUSED && result->has_head) {
        outcome.cause = CALL_CAUSE_ANSWER; /* it says that it has not looked, after it answered */
    } else if (call->may_be_done && denies(result->cause)) {
        outcome.cause = CALL_CAUSE_LOST;
    }
    if (call->earlier == NULL || result->cause == CALL_CAUSE_ANSWER ||
        result->cause == CALL_CAUSE_CANCELLED) {
        return outcome;
    }
    size = snprintf(room, CHANNEL_OUTCOME_SIZE, "%.*s; the first attempt ended with %s",
                    result->message.size > CHANNEL_OUTCOME_SIZE / 2 ? CHANNEL_OUTCOME_SIZE / 2
                                                                    : (int)result->message.size,
                    result->message.size == 0 ? "" : (const char *)result->message.data,
                    call->earlier);
    outcome.message = (struct bytes){(const uint8_t *)room, (size_t)size};
    return outcome;
}
