/*
 * Addresses become backends.
 *
 * An answer of the resolver is compared with the backends that are there: one whose address is
 * named again stays as it is, connections, health and breaker included; a new address gets a new
 * backend; one that is not named any more leaves: it takes no more calls, and goes when those that
 * it has are done. The order is that of the answer.
 *
 * When the name cannot be resolved, the addresses of the last answer stand.
 */
#include "client/channel_internal.h"
#include "core/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOLVE_INTERVAL_MIN_NS 1000000000ULL

/* Why this one is of no use, for calls that have no better. */
static void note_problem(struct channel_backend *backend)
{
    struct channel *channel = backend->channel;
    enum call_cause cause = CALL_CAUSE_CONNECT;
    const char *problem = subchannel_problem(backend->subchannel, &cause);

    channel->problem_cause = cause == CALL_CAUSE_TLS ? CALL_CAUSE_TLS : CALL_CAUSE_CONNECT;
    if (problem[0] == '\0') {
        problem = "no connection";
    }
    if (strstr(problem, backend->name) != NULL) {
        (void)snprintf(channel->problem, sizeof(channel->problem), "%s", problem);
    } else {
        (void)snprintf(channel->problem, sizeof(channel->problem), "%s: %s", backend->name,
                       problem);
    }
}

bool channel_backend_is_healthy(const struct channel_backend *backend)
{
    enum health_watch_state state;

    if (backend->health == NULL) {
        return true;
    }
    state = health_watch_state(backend->health);
    return state == HEALTH_WATCH_SERVING || state == HEALTH_WATCH_UNSUPPORTED;
}

/* For pick_first this ends the round: when the one in use is lost, it looks for another from the
 * first address on. */
static void note_success(struct channel_backend *backend)
{
    backend->has_failed = false;
    if (backend->channel->balancer.policy == BALANCER_PICK_FIRST) {
        channel_begin_round(backend->channel);
    }
}

static void on_health_changed(void *owner)
{
    struct channel_backend *backend = owner;

    backend->is_ready = backend->state == SUBCHANNEL_READY && channel_backend_is_healthy(backend);
    if (backend->is_ready) {
        note_success(backend);
    } else if (subchannel_state(backend->subchannel) == SUBCHANNEL_READY) {
        /* Else the watch was lost with its connection: that is the reason, and will be told. */
        backend->channel->problem_cause = CALL_CAUSE_ANSWER;
        (void)snprintf(backend->channel->problem, sizeof(backend->channel->problem), "%s: %s",
                       backend->name, health_watch_problem(backend->health));
    }
    channel_wake(backend->channel);
}

/* Without memory it goes without, and hears that it may not. */
static const char *authorize_health(void *owner)
{
    const struct channel_backend *backend = owner;
    struct channel *channel = backend->channel;
    struct buf *out = &channel->health_authorization;

    channel_wipe(out);
    (void)channel_authorize(channel, channel->options.health_token,
                            channel->options.health_token_file, out);
    return buf_size(out) == 0 ? NULL : (const char *)out->data;
}

static const struct health_watch_events health_events = {
    .changed = on_health_changed,
    .authorization = authorize_health,
};

/* A connection that failed is a failure of the backend like that of a call. One that was lost with
 * calls on it has been counted with the first of them. */
static void count_failed_connect(struct channel_backend *backend)
{
    struct channel *channel = backend->channel;
    uint64_t now_ns = reactor_now_ns(channel->reactor);
    uint64_t connection = subchannel_stats(backend->subchannel)->connects;
    uint32_t ticket;

    if (backend->loss_judged == connection) {
        return;
    }
    backend->loss_judged = connection; /* also for calls that are told later */
    if (breaker_admit(&backend->breaker, &channel->options.breaker, now_ns, &ticket)) {
        breaker_report(&backend->breaker, &channel->options.breaker, now_ns, ticket,
                       BREAKER_FAILURE);
    }
}

static void follow_health(struct channel_backend *backend)
{
    if (backend->health == NULL) {
        return;
    }
    /* READY again may be told in one event with the loss before it: ask for the new connection. */
    health_watch_stop(backend->health);
    if (backend->state == SUBCHANNEL_READY) {
        health_watch_start(backend->health);
    }
}

static void on_subchannel_changed(void *owner)
{
    struct channel_backend *backend = owner;
    struct channel *channel = backend->channel;
    enum subchannel_state before = backend->state;

    backend->state = subchannel_state(backend->subchannel);
    if (backend->is_leaving || channel->closing) {
        backend->is_ready = false;
        return;
    }
    follow_health(backend);
    if (backend->state == SUBCHANNEL_READY) {
        breaker_hurry(&backend->breaker); /* a server that was restarted is worth a probe */
    }
    backend->is_ready = backend->state == SUBCHANNEL_READY && channel_backend_is_healthy(backend);
    if (backend->is_ready) {
        note_success(backend);
    } else if (backend->state == SUBCHANNEL_TRANSIENT_FAILURE &&
               before != SUBCHANNEL_TRANSIENT_FAILURE) {
        backend->has_failed = true;
        note_problem(backend);
        count_failed_connect(backend);
        channel_ask_again(channel);
    } else if (before == SUBCHANNEL_READY) {
        note_problem(backend); /* until the next connection says more */
        channel_ask_again(channel);
    }
    channel_wake(channel);
}

static void on_subchannel_closed(void *owner)
{
    struct channel_backend *backend = owner;

    list_remove(&backend->link);
    channel_wake(backend->channel);
    free(backend);
}

static const struct subchannel_events subchannel_events = {
    .changed = on_subchannel_changed,
    .closed = on_subchannel_closed,
};

/* Returns NULL without memory. */
static struct channel_backend *make_backend(struct channel *channel,
                                            const struct target_address *address)
{
    const struct channel_options *options = &channel->options;
    const struct target_endpoint *endpoint = &channel->target.endpoints[address->endpoint];
    const struct health_watch_options watched = {
        .service = service_config_health_service(options->service_config),
        .answer_timeout_ns = options->connect_timeout_ns,
    };
    struct channel_backend *backend = calloc(1, sizeof(*backend));
    struct subchannel_options made = {.backoff = options->backoff};

    if (backend == NULL) {
        return NULL;
    }
    list_init(&backend->link);
    backend->channel = channel;
    backend->address = *address;
    breaker_init(&backend->breaker);
    target_format_address(address, backend->name, sizeof(backend->name));
    target_format_endpoint(endpoint, backend->authority, sizeof(backend->authority));
    made.transport = (struct transport_options){
        .tls = options->tls,
        .server_name = options->server_name != NULL ? options->server_name : endpoint->host,
        .authority = options->authority != NULL ? options->authority : backend->authority,
        .user_agent = channel->user_agent,
        .connect_timeout_ns = options->connect_timeout_ns,
        .keepalive_time_ns = options->keepalive_time_ns,
        .keepalive_timeout_ns = options->keepalive_timeout_ns,
        .keepalive_without_calls = options->keepalive_without_calls,
    };
    if (subchannel_new(channel->reactor, &made, address, &subchannel_events, backend,
                       &backend->subchannel) != 0) {
        free(backend);
        return NULL;
    }
    backend->number = ++channel->last_number;
    if (watched.service != NULL &&
        health_watch_new(channel->reactor, backend->subchannel, &watched, &health_events, backend,
                         &backend->health) != 0) {
        channel_backend_leave(backend); /* without health it would be used blindly */
        return NULL;
    }
    return backend;
}

void channel_backend_leave(struct channel_backend *backend)
{
    if (backend->is_leaving) {
        return;
    }
    backend->is_leaving = true;
    backend->is_ready = false;
    list_push_back(&backend->channel->leaving, &backend->link);
    health_watch_free(backend->health);
    backend->health = NULL;
    subchannel_close(backend->subchannel);
}

/* Takes the backend of that address out of the array; NULL when there is none. */
static struct channel_backend *take_backend(struct channel *channel,
                                            const struct target_address *address)
{
    for (unsigned i = 0; i < channel->backend_count; i++) {
        struct channel_backend *backend = channel->backends[i];

        if (backend != NULL && target_address_equal(&backend->address, address)) {
            channel->backends[i] = NULL;
            return backend;
        }
    }
    return NULL;
}

/* The first answer lets each client of many begin at another backend. */
static size_t choose_start(const struct channel *channel, unsigned count)
{
    uint32_t random;

    if (channel->balancer.policy == BALANCER_PICK_FIRST) {
        return 0;
    }
    random_fill(random_system(), &random, sizeof(random));
    return random % count;
}

/* The turn stays with the backend that has it. */
static size_t find_turn(struct channel_backend *const *backends, unsigned count,
                        const struct channel_backend *turn)
{
    for (unsigned i = 0; i < count; i++) {
        if (backends[i] == turn) {
            return i;
        }
    }
    return 0;
}

static void take_addresses(struct channel *channel, const struct target_address *addresses,
                           unsigned count)
{
    struct channel_backend *backends[CHANNEL_BACKENDS_MAX];
    const struct channel_backend *turn = channel->balancer.next < channel->backend_count
                                             ? channel->backends[channel->balancer.next]
                                             : NULL;
    const bool is_first = channel->backend_count == 0;
    unsigned kept = 0;

    for (unsigned i = 0; i < count && i < CHANNEL_BACKENDS_MAX; i++) {
        struct channel_backend *backend = take_backend(channel, &addresses[i]);

        backend = backend != NULL ? backend : make_backend(channel, &addresses[i]);
        if (backend != NULL) {
            backends[kept++] = backend;
        }
    }
    for (unsigned i = 0; i < channel->backend_count; i++) {
        if (channel->backends[i] != NULL) {
            channel_backend_leave(channel->backends[i]);
        }
    }
    for (unsigned i = 0; i < kept; i++) {
        channel->backends[i] = backends[i];
    }
    channel->backend_count = kept;
    channel->balancer.next =
        is_first && kept != 0 ? choose_start(channel, kept) : find_turn(backends, kept, turn);
}

static void on_resolved(void *owner, const struct target_address *addresses, unsigned count)
{
    struct channel *channel = owner;

    if (channel->closing) {
        return;
    }
    channel->has_unresolved = false;
    take_addresses(channel, addresses, count);
    if (channel->backend_count == 0) {
        channel->has_unresolved = true;
        channel->problem_cause = CALL_CAUSE_MEMORY;
        (void)snprintf(channel->problem, sizeof(channel->problem), "out of memory");
    }
    channel_wake(channel);
}

static void on_resolve_failed(void *owner, const char *problem)
{
    struct channel *channel = owner;

    channel->has_unresolved = true;
    if (channel->backend_count == 0) {
        channel->problem_cause = CALL_CAUSE_CONNECT;
        (void)snprintf(channel->problem, sizeof(channel->problem), "%s", problem);
    }
    channel_wake(channel);
}

static void on_resolver_closed(void *owner)
{
    struct channel *channel = owner;

    channel->resolver = NULL;
    channel_wake(channel);
}

static const struct resolver_events resolver_events = {
    .resolved = on_resolved,
    .failed = on_resolve_failed,
    .closed = on_resolver_closed,
};

int channel_resolve(struct channel *channel)
{
    const struct resolver_options options = {
        .target = &channel->target,
        .interval_ns = channel->options.resolve_interval_ns,
        .min_interval_ns = RESOLVE_INTERVAL_MIN_NS,
        .resolve = channel->options.resolve,
    };

    /* One that is closing may have none any more, and nobody would close another. */
    if (channel->resolver != NULL || channel->closing) {
        return 0;
    }
    return resolver_new(channel->reactor, channel->options.pool, &options, &resolver_events,
                        channel, &channel->resolver);
}

void channel_ask_again(struct channel *channel)
{
    if (channel->resolver != NULL && !channel->closing) {
        resolver_ask_again(channel->resolver);
    }
}

void channel_reset_backoff(struct channel *channel)
{
    if (channel->closing) {
        return;
    }
    for (unsigned i = 0; i < channel->backend_count; i++) {
        subchannel_reset_backoff(channel->backends[i]->subchannel);
        channel->backends[i]->has_failed = false;
    }
    channel_ask_again(channel);
    channel_wake(channel);
}
