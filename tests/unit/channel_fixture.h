/*
 * What the tests of channels share: a reactor, a few scripted servers on it whose answers stand in
 * the path of the request, a channel to all of them, calls and what came of them. Include it in one
 * file of a test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_CHANNEL_FIXTURE_H
#define UNIT_CHANNEL_FIXTURE_H

#include "lib/scripted_server.h"
#include "lib/unit.h"

#include "client/channel.h"
#include "client/service_config.h"
#include "core/clock.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "core/tls.h"
#include "core/workpool.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#define PLACES_MAX  3
#define TRIALS_MAX  300
#define QUIET_TURNS 50
#define FOR_EVER    1000000U

/* A server and what it is to do. */
struct place {
    struct scripted_server server;
    bool is_open;
    unsigned served;      /* requests to /echo that were answered with OK */
    unsigned seen;        /* requests of every kind but health */
    unsigned failures;    /* so many requests to /echo fail with `status` */
    unsigned refusals;    /* so many are refused by REFUSED_STREAM */
    bool is_mute;         /* requests to /echo get no answer */
    const char *status;   /* "14" */
    const char *pushback; /* NULL = none */
    int health;           /* what it says; 0 = the service is unknown to it, -1 = nothing */
    unsigned watches;     /* streams of Health/Watch, ever */
    struct scripted_request *watch;  /* the last of them, while it is open */
    struct scripted_request *silent; /* the last request that gets no answer, likewise */
    char attempts[TRIALS_MAX];       /* first letter of grpc-previous-rpc-attempts of each */
};

/* A call and what came of it. */
struct trial {
    struct channel_call call;
    bool is_done;
    enum grpc_status status;
    enum call_cause cause;
    char message[512];
    char reply[256];
    size_t reply_size;
    void (*then)(struct trial *trial);
};

static struct reactor reactor;
static struct place places[PLACES_MAX];
static unsigned place_count;
static struct channel *channel;
static struct trial trials[TRIALS_MAX];
static unsigned closed_count;
static struct tls_context *client_tls;
static struct tls_context *server_tls;
static struct workpool *pool;
static struct service_config *config;
static struct channel_options options; /* of the next channel */
static struct target target;

static inline void turn(void)
{
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
}

static inline void turn_quietly(void)
{
    for (unsigned i = 0; i < QUIET_TURNS; i++) {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
}

#define UNTIL(condition_)                                                                          \
    do {                                                                                           \
        while (!(condition_)) {                                                                    \
            turn();                                                                                \
        }                                                                                          \
    } while (0)

static inline struct place *place_of(struct scripted_server *server)
{
    return CONTAINER_OF(server, struct place, server);
}

static inline void refuse(struct scripted_request *request, const char *status,
                          const char *pushback)
{
    const struct h2_field head[] = {
        {.name = BYTES_LITERAL(":status"), .value = BYTES_LITERAL("200")},
        {.name = BYTES_LITERAL("content-type"), .value = BYTES_LITERAL("application/grpc")},
        {.name = BYTES_LITERAL("grpc-status"), .value = bytes_from_text(status)},
        {.name = BYTES_LITERAL("grpc-retry-pushback-ms"),
         .value = bytes_from_text(pushback == NULL ? "" : pushback)},
    };

    ck_assert_int_eq(h2_stream_respond(request->stream, head, pushback == NULL ? 3 : 4, true), 0);
    conn_touch(request->connection->conn);
}

static inline void reset(struct scripted_request *request, uint32_t error)
{
    h2_stream_reset(request->stream, error);
    conn_touch(request->connection->conn);
}

static inline void answer_echo(struct place *place, struct scripted_request *request)
{
    struct bytes body = buf_bytes(&request->body);

    if (place->is_mute) {
        place->silent = request;
    } else if (place->refusals > 0) {
        place->refusals--;
        reset(request, H2_ERROR_REFUSED_STREAM);
    } else if (place->failures > 0) {
        place->failures--;
        refuse(request, place->status, place->pushback);
    } else {
        place->served++;
        scripted_request_reply(request, (struct bytes){body.data + 5, body.size - 5});
    }
}

static inline void say_health(struct place *place)
{
    const uint8_t message[] = {0x08, (uint8_t)place->health};

    scripted_request_send(place->watch, (struct bytes){message, sizeof(message)});
}

static inline void answer_health(struct place *place, struct scripted_request *request)
{
    place->watches++;
    if (place->health == 0) {
        refuse(request, "12", NULL);
        return;
    }
    place->watch = request;
    if (place->health > 0) {
        say_health(place);
    }
}

static inline void show_heads(struct scripted_request *request)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "%.20s|%s|%s|%s|%s|%s", request->authorization,
                   request->content_type, request->te,
                   request->timeout[0] == '\0' ? "no timeout" : "timeout", request->user_agent,
                   request->authority);
    scripted_request_reply(request, bytes_from_text(text));
}

/* What the peer does with a request stands in the last part of its path. */
static inline void answer(struct scripted_server *server, struct scripted_request *request)
{
    struct place *place = place_of(server);
    const char *path = strrchr(request->path, '/');

    if (strcmp(request->path, "/grpc.health.v1.Health/Watch") == 0) {
        answer_health(place, request);
        return;
    }
    if (place->seen < TRIALS_MAX) {
        place->attempts[place->seen] = request->previous_attempts[0];
    }
    place->seen++;
    if (strcmp(path, "/echo") == 0) {
        answer_echo(place, request);
    } else if (strcmp(path, "/heads") == 0) {
        show_heads(request);
    } else if (strcmp(path, "/error") == 0) {
        scripted_request_refuse(request, "200", "application/grpc", "5", "not%20here");
    } else if (strcmp(path, "/late") == 0) {
        scripted_request_finish(request, "14", NULL, NULL);
    } else if (strcmp(path, "/html") == 0) {
        scripted_request_refuse(request, "503", "text/html", NULL, NULL);
    } else if (strcmp(path, "/reset") == 0) {
        reset(request, H2_ERROR_ENHANCE_YOUR_CALM);
    } else if (strcmp(path, "/drop") == 0) {
        conn_abort(request->connection->conn);
    } else if (strcmp(path, "/goaway") == 0) {
        scripted_request_reply(request, BYTES_LITERAL("last"));
        h2_session_end(request->connection->session, H2_ERROR_NO_ERROR, "bye");
    } else {
        place->silent = request; /* nothing */
    }
}

static inline void on_done(struct channel_call *call, const struct call_result *result)
{
    struct trial *trial = CONTAINER_OF(call, struct trial, call);

    ck_assert(!trial->is_done);
    trial->is_done = true;
    trial->status = result->status;
    trial->cause = result->cause;
    (void)snprintf(trial->message, sizeof(trial->message), "%.*s", (int)result->message.size,
                   (const char *)result->message.data);
    trial->reply_size = result->reply.size;
    (void)snprintf(trial->reply, sizeof(trial->reply), "%.*s", (int)result->reply.size,
                   (const char *)result->reply.data);
    if (trial->then != NULL) {
        trial->then(trial);
    }
}

static inline void on_closed(void *context)
{
    (void)context;
    closed_count++;
}

static uint64_t clock_offset_ns;

static inline uint64_t shifted_ns(struct clock_source *source)
{
    (void)source;
    return clock_monotonic_ns(clock_system()) + clock_offset_ns;
}

/* From here on the clock may be moved by `clock_offset_ns`: for times beside which what the test
 * takes to run plays no part. */
static inline void use_shifted_clock(void)
{
    static struct clock_source clock = {.monotonic_ns = shifted_ns, .realtime_ns = shifted_ns};

    clock_offset_ns = 0;
    reactor.clock = &clock;
}

/* Usual options, and a reactor. */
static inline void begin_reactor(void)
{
    const struct ring_options ring = {
        .entries = 256, .recv_buffer_count = 64, .recv_buffer_size = 16384};
    char problem[RING_PROBLEM_SIZE];

    closed_count = 0;
    channel = NULL;
    place_count = 0;
    ck_assert_msg(reactor_init(&reactor, &ring, clock_system(), NULL, problem) == 0, "%s", problem);
    options = (struct channel_options){
        .connect_timeout_ns = 30 * CLOCK_NS_PER_S,
        .max_message = 65536,
        .breaker = breaker_defaults,
        .backoff = {.initial_ns = 5 * CLOCK_NS_PER_MS,
                    .max_ns = 20 * CLOCK_NS_PER_MS,
                    .factor_percent = 160,
                    .jitter_percent = 20},
    };
    options.breaker.enabled = false;
}

static inline void begin_places(unsigned count, struct tls_context *tls)
{
    for (unsigned i = 0; i < count; i++) {
        places[i] = (struct place){.status = "14", .is_open = true};
        scripted_server_open(&places[i].server, &reactor, tls, answer);
    }
    place_count = count;
}

/* The target of the first `count` servers. */
static inline void name_places(char *text, size_t room, unsigned count)
{
    size_t used = 0;

    for (unsigned i = 0; i < count; i++) {
        used += (size_t)snprintf(text + used, room - used, "%s127.0.0.1:%s", i == 0 ? "" : ",",
                                 places[i].server.port);
    }
    ck_assert_uint_lt(used, room);
}

static inline void begin_channel(const char *text)
{
    char problem[TARGET_PROBLEM_SIZE];

    ck_assert_msg(target_parse(text, problem, &target) == 0, "%s", problem);
    options.target = &target;
    options.service_config = config;
    ck_assert_int_eq(channel_new(&reactor, &options, on_closed, NULL, &channel), 0);
}

static inline void use_config(const char *json)
{
    char problem[SERVICE_CONFIG_PROBLEM_SIZE];

    ck_assert_msg(service_config_parse(json, problem, &config) == 0, "%s", problem);
}

static inline void begin_channel_to_places(void)
{
    char text[128];

    name_places(text, sizeof(text), place_count);
    begin_channel(text);
}

/* So many servers, and a channel to them with the options as they are. */
static inline void begin(unsigned count)
{
    begin_reactor();
    begin_places(count, NULL);
    begin_channel_to_places();
}

static inline void close_channel(void)
{
    channel_close(channel);
    UNTIL(closed_count != 0);
    ck_assert_uint_eq(closed_count, 1);
}

static inline void kill_place(unsigned index)
{
    places[index].is_open = false;
    scripted_server_close(&places[index].server);
    places[index].watch = NULL;
    places[index].silent = NULL;
}

static inline void revive_place(unsigned index)
{
    places[index].is_open = true;
    scripted_server_reopen(&places[index].server);
}

static inline void end(void)
{
    if (channel != NULL && closed_count == 0) {
        close_channel();
    }
    for (unsigned i = 0; i < place_count; i++) {
        if (places[i].is_open) {
            kill_place(i);
        }
    }
    if (pool != NULL) {
        workpool_close(pool);
        pool = NULL;
        turn_quietly();
    }
    service_config_free(config);
    config = NULL;
    reactor_deinit(&reactor);
    tls_context_unref(client_tls);
    tls_context_unref(server_tls);
    client_tls = NULL;
    server_tls = NULL;
}

/* Fills in a trial; the caller may add to its call before start_trial(). */
static inline struct trial *make(unsigned index, const char *path)
{
    struct trial *trial = &trials[index];

    *trial = (struct trial){
        .call = {.path = path, .timeout_ns = CALL_NO_DEADLINE, .done = on_done},
        .then = trial->then,
    };
    return trial;
}

static inline struct trial *start_trial(struct trial *trial, const char *text)
{
    ck_assert_int_eq(channel_start(channel, &trial->call, bytes_from_text(text)), 0);
    ck_assert(!trial->is_done);
    return trial;
}

static inline struct trial *start(unsigned index, const char *path, const char *text)
{
    return start_trial(make(index, path), text);
}

static inline struct trial *start_with_timeout(unsigned index, const char *path, uint64_t ns)
{
    struct trial *trial = make(index, path);

    trial->call.timeout_ns = ns;
    return start_trial(trial, "");
}

/* One that waits for ready. */
static inline struct trial *start_patiently(unsigned index, const char *path, const char *text)
{
    struct trial *trial = make(index, path);

    trial->call.has_wait_for_ready = true;
    trial->call.wait_for_ready = true;
    return start_trial(trial, text);
}

static inline void wait_for(const struct trial *trial)
{
    UNTIL(trial->is_done);
}

static inline void expect(const struct trial *trial, enum grpc_status status, enum call_cause cause)
{
    wait_for(trial);
    ck_assert_msg(trial->status == status, "status %d: %s", (int)trial->status, trial->message);
    ck_assert_msg(trial->cause == cause, "cause %d: %s", (int)trial->cause, trial->message);
}

static inline void expect_echo(unsigned index)
{
    struct trial *trial = start(index, "/echo", "hello");

    expect(trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trial->reply, "hello");
}

static inline struct channel_backend_stats backend(unsigned index)
{
    return channel_backend_stats(channel, index);
}

static inline bool is_in_state(unsigned index, enum subchannel_state state)
{
    return index < channel_stats(channel).backend_count && backend(index).state == state;
}

/* Connects, and waits until every one of them is ready. */
static inline void connect_all(unsigned count)
{
    channel_connect(channel);
    for (unsigned i = 0; i < count; i++) {
        UNTIL(is_in_state(i, SUBCHANNEL_READY));
    }
    turn_quietly();
}

static inline void begin_round_robin(unsigned count)
{
    begin_reactor();
    begin_places(count, NULL);
    options.has_policy = true;
    options.policy = BALANCER_ROUND_ROBIN;
}

/* Calls to /echo, one after the other, that must all go well. */
static inline void call_often(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        expect(start(i, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    }
}

static inline void forget_served(void)
{
    for (unsigned i = 0; i < place_count; i++) {
        places[i].served = 0;
        places[i].seen = 0;
    }
}

/* A port where nobody listens: one that was free a moment ago. */
static inline void find_dead_target(char *text, size_t room)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    (void)snprintf(text, room, "127.0.0.1:%d", ntohs(address.sin_port));
}

#endif
