/*
 * The life of a call. Its state says which list of the channel it is in:
 *
 *     WAITING   for a backend that is usable
 *     DELAYED   for the time of its next attempt (wait_timer)
 *     OPEN      at an attempt
 *     FINISHED  its outcome is decided, and has to be told (no attempt is under way)
 *
 * and what happens takes it on:
 *
 *                 WAITING         DELAYED     OPEN                          FINISHED
 *     a backend   OPEN            -           -                             -
 *     no hope     FINISHED (1)    -           -                             -
 *     its time    -               WAITING     -                             -
 *     deadline    FINISHED        FINISHED    OPEN, ending                  -
 *     cancel      FINISHED        FINISHED    OPEN, ending                  nothing
 *     close       FINISHED        FINISHED    OPEN, ending                  nothing
 *     attempt     -               -           told, WAITING or DELAYED      -
 *     done                                    (channel_retry.c); ending:
 *                                             told
 *     a turn      -               -           -                             told
 *
 * (1) but not one that waits for ready
 *
 * A call that finds a usable backend when it starts, and nobody before it, goes to OPEN at once:
 * that is the way of every call on a channel that is warm. It allocates nothing: the channel keeps
 * buffers for the next calls.
 *
 * `done` runs inside the `done` of the attempt, or from the channel's task: never inside a call to
 * the channel.
 */
#include "client/channel_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_no_attempt(int state)
{
    return state == CHANNEL_CALL_WAITING || state == CHANNEL_CALL_DELAYED;
}

/* Takes it out of the list that it is in, if any. */
static void leave(struct channel_call *call)
{
    if (!list_is_empty(&call->link)) {
        call->channel->waiting_count -= has_no_attempt(call->state);
        list_remove(&call->link);
    }
}

/* Puts the call where its new state belongs. */
static void enter(struct channel_call *call, enum channel_call_state state)
{
    struct channel *channel = call->channel;
    struct list *const lists[CHANNEL_CALL_STATE_COUNT] = {
        [CHANNEL_CALL_WAITING] = &channel->waiting,
        [CHANNEL_CALL_DELAYED] = &channel->delayed,
        [CHANNEL_CALL_OPEN] = &channel->open,
        [CHANNEL_CALL_FINISHED] = &channel->finished,
    };

    leave(call);
    call->state = (int)state;
    channel->waiting_count += has_no_attempt(call->state);
    list_push_back(lists[state], &call->link);
}

/* The call is its owner's again. */
static void tell(struct channel_call *call, const struct call_result *result)
{
    struct channel *channel = call->channel;
    char room[CHANNEL_OUTCOME_SIZE];
    const struct call_result outcome = channel_outcome(call, result, room);

    leave(call);
    reactor_stop_timer(channel->reactor, &call->timer);
    reactor_stop_timer(channel->reactor, &call->wait_timer);
    channel_give_spare(channel, &call->replay);
    channel_give_spare(channel, &call->authorization);
    call->backend = channel_backend_index(channel, call->backend, call->avoid);
    free(call->earlier);
    call->earlier = NULL;
    call->channel = NULL;
    channel->call_count--;
    if (channel->closing) {
        channel_wake(channel);
    }
    call->done(call, &outcome);
}

/* Decides the outcome of a call that has no attempt. Without memory the text is lost. */
static void finish(struct channel_call *call, enum grpc_status status, enum call_cause cause,
                   const char *problem)
{
    struct channel *channel = call->channel;

    reactor_stop_timer(channel->reactor, &call->timer);
    reactor_stop_timer(channel->reactor, &call->wait_timer);
    call->status = status;
    call->cause = cause;
    call->problem = strdup(problem);
    channel->stats.breaker_refusals += cause == CALL_CAUSE_BREAKER;
    enter(call, CHANNEL_CALL_FINISHED);
    reactor_defer_slow(channel->reactor, &channel->tell_task);
}

void channel_tell_finished(struct channel *channel)
{
    struct list batch;

    list_init(&batch);
    list_splice_back(&batch, &channel->finished);
    while (!list_is_empty(&batch)) {
        struct channel_call *call = CONTAINER_OF(batch.next, struct channel_call, link);
        char *problem = call->problem;
        struct call_result result = {.status = call->status, .cause = call->cause};

        if (problem != NULL) {
            result.message = bytes_from_text(problem);
        }

        call->problem = NULL;
        tell(call, &result);
        free(problem);
    }
}

static void on_attempt_done(struct call_attempt *attempt, const struct call_result *result);

static void on_message(struct call_attempt *attempt, struct bytes message)
{
    struct channel_call *call = CONTAINER_OF(attempt, struct channel_call, attempt);

    if (!call->is_committed) {
        channel_commit(call);
    }
    channel_judge_early(call);
    call->message(call, message);
}

static void on_writable(struct call_attempt *attempt)
{
    struct channel_call *call = CONTAINER_OF(attempt, struct channel_call, attempt);

    if (call->writable != NULL) {
        call->writable(call);
    }
}

static const struct call_attempt_events unary_events = {
    .done = on_attempt_done,
};

static const struct call_attempt_events stream_events = {
    .message = on_message,
    .writable = on_writable,
    .done = on_attempt_done,
};

/* Returns 0 or -ENOMEM. */
static int prepare_attempt(struct channel_call *call)
{
    const struct channel *channel = call->channel;
    uint32_t max_message = channel->options.max_message;
    int ret;

    call->authorization = channel_take_spare(call->channel);
    ret = channel_authorize(call->channel, call->token, call->token_file, &call->authorization);
    if (call->method->max_response_bytes != 0 && call->method->max_response_bytes < max_message) {
        max_message = call->method->max_response_bytes;
    }
    call->attempt = (struct call_attempt){
        .events = call->is_stream ? &stream_events : &unary_events,
        .path = call->path,
        .authorization =
            buf_size(&call->authorization) == 0 ? NULL : (const char *)call->authorization.data,
        .fields = call->fields,
        .field_count = call->field_count,
        .deadline_ns = call->deadline_ns,
        .previous_attempts = call->is_counted ? call->attempts - 1 : call->attempts,
        .request = buf_bytes(&call->replay),
        .half_closed = call->is_half_closed,
        .max_message = max_message,
    };
    return ret;
}

/* On the backend that was picked. Returns as subchannel_start(). */
static int start_on(struct channel_call *call, struct channel_backend *backend)
{
    int ret = prepare_attempt(call);

    if (ret == 0) {
        ret = subchannel_start(backend->subchannel, &call->attempt);
    }
    if (ret != 0) {
        channel_give_spare(call->channel, &call->authorization);
        return ret;
    }
    call->on = backend;
    call->connection = subchannel_stats(backend->subchannel)->connects; /* the last one is ready */
    call->is_judged = false;
    if (!call->is_counted) {
        call->is_counted = true;
        call->channel->stats.retries += call->attempts != 0;
        call->attempts++;
    }
    backend->calls++;
    backend->open_calls++;
    enter(call, CHANNEL_CALL_OPEN);
    if (call->is_paused) {
        call_attempt_pause(&call->attempt);
    }
    if (call->is_stream && buf_size(&call->replay) > CHANNEL_REPLAY_MAX) {
        channel_commit(call);
    }
    return 0;
}

/* Returns false when no backend is usable, and the call is as it was. */
static bool start_attempt(struct channel_call *call)
{
    struct channel *channel = call->channel;
    struct channel_backend *backend;

    while ((backend = channel_pick(channel, call)) != NULL) {
        int ret = start_on(call, backend);

        if (ret == 0) {
            return true;
        }
        breaker_report(&backend->breaker, &channel->options.breaker,
                       reactor_now_ns(channel->reactor), call->breaker_ticket, BREAKER_NEITHER);
        if (ret < 0) {
            finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_MEMORY, "out of memory");
            return true;
        }
        backend->is_ready = false; /* `changed` says when it is again */
    }
    return false;
}

static void on_time(struct timer *timer)
{
    struct channel_call *call = CONTAINER_OF(timer, struct channel_call, wait_timer);

    enter(call, CHANNEL_CALL_WAITING);
    channel_wake(call->channel);
}

static void on_attempt_done(struct call_attempt *attempt, const struct call_result *result)
{
    struct channel_call *call = CONTAINER_OF(attempt, struct channel_call, attempt);
    struct channel *channel = call->channel;
    struct channel_backend *backend = call->on;
    uint64_t delay_ns = 0;
    enum channel_retry retry;

    channel_judge_end(call, result);
    backend->open_calls--;
    call->on = NULL;
    call->avoid = backend->number;
    channel_give_spare(channel, &call->authorization);
    if (!list_is_empty(&channel->waiting)) {
        channel_wake(channel); /* a probe of the breaker may be free again */
    }
    retry = channel_decide_retry(call, backend, result, &delay_ns);
    if (retry != CHANNEL_RETRY_NONE) {
        channel_note_attempt(call, result);
    }
    if (retry == CHANNEL_RETRY_LATER &&
        reactor_start_timer(channel->reactor, &call->wait_timer, delay_ns) == 0) {
        enter(call, CHANNEL_CALL_DELAYED);
    } else if (retry == CHANNEL_RETRY_NOW) {
        enter(call, CHANNEL_CALL_WAITING);
        channel_wake(channel);
    } else {
        tell(call, result);
    }
}

void channel_call_fail(struct channel_call *call, enum grpc_status status, enum call_cause cause,
                       const char *problem)
{
    if (call->state == CHANNEL_CALL_OPEN) {
        call->is_ending = true;
        call_attempt_fail(&call->attempt, status, cause, problem);
    } else if (call->state != CHANNEL_CALL_FINISHED) {
        finish(call, status, cause, problem);
    }
}

static void on_deadline(struct timer *timer)
{
    struct channel_call *call = CONTAINER_OF(timer, struct channel_call, timer);
    char problem[CHANNEL_PROBLEM_SIZE + 64];
    char room[CHANNEL_PROBLEM_SIZE];

    if (call->state == CHANNEL_CALL_WAITING) {
        const char *reason = channel_describe_wait(call->channel, room, sizeof(room));

        (void)snprintf(problem, sizeof(problem),
                       "Deadline exceeded while waiting for a backend%s%s",
                       reason[0] == '\0' ? "" : ": ", reason);
    } else {
        (void)snprintf(problem, sizeof(problem), "Deadline exceeded%s",
                       call->state == CHANNEL_CALL_DELAYED ? " before the next attempt" : "");
    }
    channel_call_fail(call, GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE, problem);
}

static bool waits_for_ready(const struct channel_call *call)
{
    return call->has_wait_for_ready
               ? call->wait_for_ready
               : call->method->has_wait_for_ready && call->method->wait_for_ready;
}

/* True when the call has been failed for want of hope. */
static bool give_up(struct channel_call *call, enum channel_prospect prospect)
{
    char problem[CHANNEL_PROBLEM_SIZE + 192];

    if (prospect == CHANNEL_PROSPECT_WAIT || waits_for_ready(call)) {
        return false;
    }
    channel_describe_prospect(call->channel, prospect, problem, sizeof(problem));
    finish(call, GRPC_STATUS_UNAVAILABLE,
           prospect == CHANNEL_PROSPECT_DOWN ? call->channel->problem_cause : CALL_CAUSE_BREAKER,
           problem);
    return true;
}

void channel_serve_waiting(struct channel *channel)
{
    enum channel_prospect prospect;
    struct list *next;

    while (!list_is_empty(&channel->waiting)) {
        if (!start_attempt(CONTAINER_OF(channel->waiting.next, struct channel_call, link))) {
            break;
        }
    }
    prospect = channel_prospect(channel);
    if (prospect == CHANNEL_PROSPECT_WAIT) {
        return;
    }
    for (struct list *link = channel->waiting.next; link != &channel->waiting; link = next) {
        next = link->next;
        (void)give_up(CONTAINER_OF(link, struct channel_call, link), prospect);
    }
    channel_begin_round(channel);
}

/* What its options and the service config say, and nothing from a call before. */
static int prepare(struct channel *channel, struct channel_call *call, bool is_stream)
{
    list_init(&call->link);
    call->channel = channel;
    call->timer = (struct timer){.fire = on_deadline};
    call->wait_timer = (struct timer){.fire = on_time};
    call->deadline_ns = CALL_NO_DEADLINE;
    call->replay = (struct buf){0};
    call->authorization = (struct buf){0};
    call->method = service_config_method(channel->options.service_config, call->path);
    call->on = NULL;
    call->avoid = 0;
    call->backend = BALANCER_NONE;
    call->attempts = 0;
    call->backoff_step = 0;
    call->problem = NULL;
    call->earlier = NULL;
    call->is_stream = is_stream;
    call->is_half_closed = !is_stream;
    call->is_paused = false;
    call->is_committed = false;
    call->is_ending = false;
    call->was_refused = false;
    call->is_counted = false;
    call->may_be_done = false;
    return channel_resolve(channel);
}

/* CALL_NO_DEADLINE, which is more than all others, when nobody sets one. */
static uint64_t choose_timeout(const struct channel_call *call)
{
    const uint64_t configured_ns = call->method->timeout_ns;
    const bool is_less = configured_ns < call->timeout_ns;

    return is_less || (call->timeout_is_default && configured_ns != CALL_NO_DEADLINE)
               ? configured_ns
               : call->timeout_ns;
}

/* From here on `done` will run. `refusal` says why the call will not be made; NULL = it will.
 * Returns 0 or -ENOMEM. */
static int begin(struct channel *channel, struct channel_call *call, const char *refusal)
{
    const uint64_t timeout_ns = choose_timeout(call);

    if (timeout_ns != CALL_NO_DEADLINE) {
        if (reactor_start_timer(channel->reactor, &call->timer, timeout_ns) != 0) {
            return -ENOMEM;
        }
        call->deadline_ns = call->timer.deadline_ns;
    }
    channel->call_count++;
    channel->stats.calls++;
    if (channel->closing) {
        finish(call, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED, "the channel is closed");
        return 0;
    }
    if (refusal != NULL) {
        finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_CALLER, refusal);
        return 0;
    }
    if (list_is_empty(&channel->waiting) && start_attempt(call)) {
        return 0;
    }
    if (channel->backend_count == 0) {
        channel_ask_again(channel);
    }
    if (!give_up(call, channel_prospect(channel))) {
        enter(call, CHANNEL_CALL_WAITING);
        channel_wake(channel);
    }
    return 0;
}

int channel_start(struct channel *channel, struct channel_call *call, struct bytes request)
{
    char text[CHANNEL_TOO_LARGE_SIZE];
    const char *refusal = NULL;
    int ret;

    assert(call->message == NULL && call->field_count <= CALL_FIELDS_MAX);
    if (channel->call_count == CHANNEL_CALLS_MAX) {
        return CHANNEL_E_BUSY;
    }
    ret = prepare(channel, call, false);
    if (ret == 0 && channel_is_too_large(call, request.size, text)) {
        refusal = text; /* not copied either */
    } else if (ret == 0) {
        call->replay = channel_take_spare(channel);
        ret = channel_keep_message(call, request);
    }
    if (ret == 0) {
        ret = begin(channel, call, refusal);
    }
    if (ret != 0) {
        channel_give_spare(channel, &call->replay);
        call->channel = NULL;
    }
    return ret;
}

int channel_open(struct channel *channel, struct channel_call *call)
{
    int ret;

    assert(call->message != NULL && call->field_count <= CALL_FIELDS_MAX);
    if (channel->call_count == CHANNEL_CALLS_MAX) {
        return CHANNEL_E_BUSY;
    }
    ret = prepare(channel, call, true);
    if (ret == 0) {
        ret = begin(channel, call, NULL);
    }
    if (ret != 0) {
        call->channel = NULL;
    }
    return ret;
}

void channel_cancel(struct channel_call *call)
{
    if (call->channel != NULL) {
        channel_call_fail(call, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED, "Cancelled");
    }
}

void channel_cancel_all(struct channel *channel)
{
    struct list *const idle[] = {&channel->waiting, &channel->delayed};

    for (size_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++) {
        while (!list_is_empty(idle[i])) {
            channel_cancel(CONTAINER_OF(idle[i]->next, struct channel_call, link));
        }
    }
    for (struct list *link = channel->open.next; link != &channel->open; link = link->next) {
        channel_cancel(CONTAINER_OF(link, struct channel_call, link));
    }
}

void channel_lose_call(struct channel_call *call)
{
    const uint64_t number = call->on == NULL ? call->avoid : call->on->number;

    channel_wipe(&call->replay);
    channel_wipe(&call->authorization);
    call->backend = channel_backend_index(call->channel, call->backend, number);
    call->channel = NULL;
}
