/*
 * A channel, and three servers that do whatever they like: they answer, refuse, reset, hang, say
 * goodbye, hold back flow control, die and come back, and the name stands for others every now and
 * then. Callers start, send, pause, cancel, call from inside their callbacks and close the channel
 * under it all. The time is the simulation's own.
 *
 *     sim_channel [SEED [RUNS]]     (1; 32 runs)
 *
 * What must hold: nothing is told inside a call to the channel; each call is told its end once, and
 * nothing after it; what we decide ourselves has a reason; once the servers behave, every call that
 * is cancelled ends and new ones succeed; a channel that is closed goes, and leaves neither a timer
 * nor an operation behind.
 *
 * The kernel decides when bytes and answers of the resolver's thread arrive, so a SEED repeats what
 * is tried, not when it meets what: let it run a few times.
 */
#include "lib/scripted_server.h"

#include "client/channel.h"
#include "client/service_config.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "core/ring.h"
#include "core/workpool.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVERS      3
#define CALLS        200
#define STEPS        4000
#define RUNS_DEFAULT 32
#define TURNS_MAX    60000 /* of 1 ms at most, to wait for something */
#define BODY_MAX     300000
#define MS           CLOCK_NS_PER_MS

#define METHODS                                                                                    \
    "\"methodConfig\":[{\"name\":[{\"service\":\"a.B\",\"method\":\"Retry\"}],\"retryPolicy\":{"   \
    "\"maxAttempts\":4,\"initialBackoff\":\"0.002s\",\"maxBackoff\":\"0.02s\","                    \
    "\"backoffMultiplier\":2,\"retryableStatusCodes\":[\"UNAVAILABLE\",\"INTERNAL\"]}},"           \
    "{\"name\":[{\"service\":\"a.B\",\"method\":\"Wait\"}],\"waitForReady\":true}],"               \
    "\"retryThrottling\":{\"maxTokens\":100,\"tokenRatio\":0.5}}"

struct caller {
    struct channel_call call;
    bool is_busy;
};

static struct sim {
    uint64_t seed;
    uint64_t random;
    uint64_t now_ns;
    unsigned in_api; /* inside a call to the channel */
    bool is_calm;    /* most answers are good ones */
    bool is_over;    /* servers behave, callers are done */
    struct reactor reactor;
    struct workpool *pool;
    struct scripted_server servers[SERVERS];
    bool is_up[SERVERS];
    struct target target;
    struct service_config *config;
    struct channel_options options;
    struct channel *channel; /* NULL = it has gone */
    struct caller callers[CALLS];
    uint64_t good_count; /* calls that ended with OK */
} sim;

/* What the name stands for: read by the resolver's thread. */
static atomic_uint named_servers;
static atomic_bool is_nameless;

static uint8_t body[BODY_MAX];

static void check(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "seed %" PRIu64 ": %s\n", sim.seed, what);
        abort();
    }
}

/* Below `count`. */
static unsigned draw(unsigned count)
{
    sim.random ^= sim.random << 13;
    sim.random ^= sim.random >> 7;
    sim.random ^= sim.random << 17;
    return (unsigned)(sim.random % count);
}

static bool one_in(unsigned count)
{
    return draw(count) == 0;
}

static uint64_t simulated_ns(struct clock_source *source)
{
    (void)source;
    return sim.now_ns;
}

/* ------------------------------------------------------------------------------------ the servers
 */

static int resolve(const struct target *of, struct target_address *ret_addresses,
                   unsigned *ret_count, char *problem)
{
    const unsigned named = atomic_load(&named_servers);

    (void)of;
    *ret_count = 0;
    for (unsigned i = 0; i < SERVERS && !atomic_load(&is_nameless); i++) {
        struct target_address *address = &ret_addresses[*ret_count];
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address->address;

        if ((named >> i & 1) != 0) {
            *address = (struct target_address){.size = sizeof(*in)};
            in->sin_family = AF_INET;
            in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            in->sin_port = htons((uint16_t)strtol(sim.servers[i].port, NULL, 10));
            (*ret_count)++;
        }
    }
    (void)snprintf(problem, TARGET_PROBLEM_SIZE, "nobody has that name");
    return *ret_count == 0 ? TARGET_E_UNRESOLVED : 0;
}

static struct bytes some_body(void)
{
    return (struct bytes){body, one_in(10) ? draw(BODY_MAX) : draw(200)};
}

static void reset(struct scripted_request *request, uint32_t error)
{
    h2_stream_reset(request->stream, error);
    conn_touch(request->connection->conn);
}

static void say_goodbye(struct scripted_request *request, bool is_announced)
{
    if (is_announced) {
        h2_session_announce_end(request->connection->session);
    } else {
        h2_session_end(request->connection->session, H2_ERROR_NO_ERROR, "bye");
    }
    conn_touch(request->connection->conn);
}

static void push_back(struct scripted_request *request)
{
    const struct h2_field head[] = {
        {.name = BYTES_LITERAL(":status"), .value = BYTES_LITERAL("200")},
        {.name = BYTES_LITERAL("content-type"), .value = BYTES_LITERAL("application/grpc")},
        {.name = BYTES_LITERAL("grpc-status"), .value = BYTES_LITERAL("14")},
        {.name = BYTES_LITERAL("grpc-retry-pushback-ms"),
         .value = bytes_from_text(one_in(3) ? "x" : "3")},
    };

    check(h2_stream_respond(request->stream, head, 4, true) == 0, "a server has no memory");
    conn_touch(request->connection->conn);
}

static void send_several(struct scripted_request *request)
{
    for (unsigned i = draw(5); i > 0; i--) {
        scripted_request_send(request, some_body());
    }
    scripted_request_finish(request, one_in(2) ? "0" : "14", "grpc-retry-pushback-ms",
                            one_in(2) ? "5" : "-1");
}

static void answer_health(struct scripted_request *request)
{
    const struct bytes good = BYTES_LITERAL("\x08\x01");

    switch (sim.is_over ? 0 : draw(12)) {
    case 1:
        scripted_request_refuse(request, "200", "application/grpc", "12", "no");
        break;
    case 2:
        scripted_request_send(request, BYTES_LITERAL("\x08\x02"));
        scripted_request_send(request, good);
        break;
    case 3:
        scripted_request_send(request, good);
        scripted_request_finish(request, "14", NULL, NULL);
        break;
    case 4:
        reset(request, H2_ERROR_REFUSED_STREAM);
        break;
    case 5: /* never says anything */
        break;
    default:
        scripted_request_send(request, good);
        break;
    }
}

/* One of the ways in which a connection ends. */
static void end_connection(struct scripted_request *request)
{
    if (one_in(2)) {
        conn_abort(request->connection->conn);
    } else {
        conn_close(request->connection->conn);
    }
}

static void misbehave(struct scripted_request *request)
{
    switch (draw(14)) {
    case 0:
        scripted_request_refuse(request, "200", "application/grpc", "14", "busy");
        break;
    case 1:
        reset(request, H2_ERROR_REFUSED_STREAM);
        break;
    case 2:
        reset(request, H2_ERROR_INTERNAL);
        break;
    case 3: /* hangs */
        break;
    case 4:
        send_several(request);
        break;
    case 5: /* hangs later */
        scripted_request_send(request, some_body());
        break;
    case 6:
        scripted_request_send(request, some_body());
        say_goodbye(request, false);
        scripted_request_finish(request, "0", NULL, NULL);
        break;
    case 7:
        say_goodbye(request, true);
        scripted_request_reply(request, some_body());
        break;
    case 8:
        say_goodbye(request, false);
        break;
    case 9:
        scripted_request_refuse(request, one_in(2) ? "503" : "200",
                                one_in(2) ? "text/html" : "application/grpc", NULL, NULL);
        break;
    case 10:
        push_back(request);
        break;
    case 11:
        scripted_request_send(request, some_body());
        reset(request, one_in(2) ? H2_ERROR_REFUSED_STREAM : H2_ERROR_CANCEL);
        break;
    case 12:
        end_connection(request);
        break;
    default:
        scripted_request_reply(request, some_body());
        break;
    }
}

static void answer(struct scripted_server *server, struct scripted_request *request)
{
    (void)server;
    if (request->has_trailers) { /* answered before its end */
        return;
    }
    if (strstr(request->path, "Health") != NULL) {
        answer_health(request);
    } else if (request->has_head) {
        scripted_request_finish(request, sim.is_over || one_in(2) ? "0" : "14", NULL, NULL);
    } else if (sim.is_over || draw(4) < (sim.is_calm ? 3 : 1)) {
        scripted_request_reply(request, some_body());
    } else {
        misbehave(request);
    }
}

/* A part of a request's body: some servers do not wait for the end. */
static void receive(struct scripted_server *server, struct scripted_request *request)
{
    struct bytes message;

    (void)server;
    if (sim.is_over || request->has_trailers || request->has_ended) {
        return;
    }
    switch (draw(12)) {
    case 0:
        while (scripted_request_take(request, &message)) {
        }
        break;
    case 1:
        if (!request->has_head) {
            scripted_request_refuse(request, "200", "application/grpc", "9", "early");
            request->has_head = true;
            request->has_trailers = true;
        }
        break;
    case 2:
        scripted_request_send(request, some_body());
        break;
    default:
        break;
    }
}

static void open_servers(void)
{
    for (unsigned i = 0; i < SERVERS; i++) {
        struct scripted_server *server = &sim.servers[i];

        scripted_server_open(server, &sim.reactor, NULL, answer);
        server->received = receive;
        server->options.reset_burst = UINT32_MAX;
        server->options.max_concurrent_streams = 20;
        sim.is_up[i] = true;
    }
    atomic_store(&named_servers, (1U << SERVERS) - 1);
    atomic_store(&is_nameless, false);
}

static void change_servers(void)
{
    const unsigned i = draw(SERVERS);

    if (one_in(50)) {
        sim.servers[i].holds_credit = one_in(2);
    }
    if (one_in(100)) {
        atomic_store(&named_servers, draw(1U << SERVERS));
        atomic_store(&is_nameless, one_in(5));
        sim.now_ns += CLOCK_NS_PER_S; /* so that it is asked */
    }
    if (one_in(400)) {
        if (sim.is_up[i]) {
            scripted_server_close(&sim.servers[i]);
        } else {
            scripted_server_reopen(&sim.servers[i]);
        }
        sim.is_up[i] = !sim.is_up[i];
    }
}

/* From here on they do what they should. */
static void calm_servers(void)
{
    sim.is_over = true;
    atomic_store(&named_servers, (1U << SERVERS) - 1);
    atomic_store(&is_nameless, false);
    for (unsigned i = 0; i < SERVERS; i++) {
        sim.servers[i].holds_credit = false;
        if (!sim.is_up[i]) {
            scripted_server_reopen(&sim.servers[i]);
        }
    }
}

/* ------------------------------------------------------------------------------------ the callers
 */

static void start_one(void);

static struct caller *any_caller(void)
{
    return &sim.callers[draw(CALLS)];
}

static void send_some(struct caller *caller)
{
    (void)channel_send(&caller->call, (struct bytes){body, one_in(20) ? draw(100000) : draw(3000)});
}

/* Does something to a call that is under way. */
static void poke(struct caller *caller)
{
    const bool is_stream = caller->call.message != NULL;

    if (!caller->is_busy) {
        return;
    }
    sim.in_api++;
    switch (draw(7)) {
    case 0:
        channel_cancel(&caller->call);
        break;
    case 1:
        channel_pause(&caller->call);
        break;
    case 2:
        break;
    case 3:
        if (is_stream) {
            send_some(caller);
        }
        break;
    case 4:
        if (is_stream) {
            (void)channel_half_close(&caller->call);
        }
        break;
    default:
        channel_resume(&caller->call);
        break;
    }
    sim.in_api--;
}

static void close_channel(void)
{
    if (sim.channel == NULL) {
        return;
    }
    sim.in_api++;
    if (one_in(2)) {
        channel_close(sim.channel);
    }
    if (one_in(2)) {
        channel_abort(sim.channel);
    } else {
        channel_close(sim.channel);
    }
    sim.in_api--;
}

static volatile uint8_t last_read;

/* What was told can be read to its end. */
static void read_all(struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        last_read = bytes.data[i];
    }
}

static struct caller *told(struct channel_call *call)
{
    struct caller *caller = CONTAINER_OF(call, struct caller, call);

    check(sim.in_api == 0, "a callback ran inside a call to the channel");
    check(caller->is_busy, "a callback ran after the end of its call");
    return caller;
}

static void on_message(struct channel_call *call, struct bytes message)
{
    struct caller *caller = told(call);

    read_all(message);
    if (sim.is_over) {
        return;
    }
    if (one_in(4)) {
        poke(caller);
    }
    if (one_in(10)) {
        poke(any_caller());
    }
    if (one_in(30)) {
        start_one();
    }
}

static void on_writable(struct channel_call *call)
{
    struct caller *caller = told(call);

    if (one_in(2)) {
        poke(caller);
    }
}

static void on_done(struct channel_call *call, const struct call_result *result)
{
    struct caller *caller = told(call);

    caller->is_busy = false;
    sim.good_count += result->status == GRPC_STATUS_OK;
    check(result->status == GRPC_STATUS_OK || result->cause == CALL_CAUSE_ANSWER ||
              result->message.size != 0,
          "a call failed without a reason");
    read_all(result->reply);
    read_all(result->message);
    read_all(result->fields);
    if (sim.is_over) {
        return;
    }
    if (one_in(5)) {
        start_one();
    }
    if (one_in(10)) {
        poke(any_caller());
    }
    if (one_in(20) && sim.channel != NULL) {
        channel_connect(sim.channel);
    }
    if (one_in(3000)) {
        close_channel();
    }
}

/* In that caller's memory; as a stream or not. */
static void start_call(struct caller *caller, const char *path, bool is_stream)
{
    int ret;

    caller->call.path = path;
    caller->call.done = on_done;
    caller->is_busy = true;
    sim.in_api++;
    if (is_stream) {
        caller->call.message = on_message;
        ret = channel_open(sim.channel, &caller->call);
    } else {
        ret = channel_start(sim.channel, &caller->call,
                            (struct bytes){body, one_in(20) ? draw(100000) : draw(500)});
    }
    check(ret == 0, "a call cannot be started");
    if (is_stream && one_in(2)) {
        send_some(caller);
        (void)channel_half_close(&caller->call);
    }
    sim.in_api--;
}

/* When there is a channel, and room for it. */
static void start_one(void)
{
    static const char *const paths[] = {"/a.B/Retry", "/a.B/Plain", "/a.B/Wait"};
    struct caller *caller = any_caller();

    if (caller->is_busy || sim.channel == NULL) {
        return;
    }
    caller->call = (struct channel_call){
        .timeout_ns = one_in(3) ? CALL_NO_DEADLINE : (1 + draw(60)) * MS,
        .token = one_in(2) ? "token" : NULL,
        .has_wait_for_ready = one_in(3),
        .wait_for_ready = one_in(2),
        .writable = one_in(2) ? on_writable : NULL,
    };
    start_call(caller, paths[draw(3)], one_in(2));
}

static unsigned busy_count(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < CALLS; i++) {
        count += sim.callers[i].is_busy;
    }
    return count;
}

/* ------------------------------------------------------------------------------------ the course
 */

static void turn(uint64_t timeout_ns)
{
    check(reactor_turn(&sim.reactor, timeout_ns) == 0, "the loop fails");
}

/* One turn of a wait for something that has to come. */
static void turn_patiently(unsigned *turns, const char *what)
{
    check(++*turns <= TURNS_MAX, what);
    turn(MS);
    sim.now_ns += MS / 2;
}

static void on_closed(void *context)
{
    (void)context;
    check(sim.in_api == 0, "`closed` ran inside a call to the channel");
    sim.channel = NULL;
}

static void make_channel(void)
{
    sim.options.has_policy = true;
    sim.options.policy = one_in(2) ? BALANCER_PICK_FIRST : BALANCER_ROUND_ROBIN;
    sim.options.breaker.enabled = one_in(2);
    check(channel_new(&sim.reactor, &sim.options, on_closed, NULL, &sim.channel) == 0,
          "a channel cannot be made");
}

static void begin(uint64_t seed)
{
    static struct clock_source clock = {simulated_ns, simulated_ns};
    const struct ring_options ring = {
        .entries = 256, .recv_buffer_count = 64, .recv_buffer_size = 16384};
    char problem[1024];

    sim = (struct sim){.seed = seed,
                       .random = seed * 0x9e3779b97f4a7c15ULL + 1,
                       .now_ns = 1000 * CLOCK_NS_PER_S,
                       .is_calm = seed % 8 >= 4};
    check(reactor_init(&sim.reactor, &ring, &clock, NULL, problem) == 0, "no loop can be made");
    check(workpool_new(&sim.reactor, 1, 8, &sim.pool) == 0, "no thread can be made");
    open_servers();
    check(target_parse("dns:///users:1", problem, &sim.target) == 0, "the target");
    check(service_config_parse(seed % 4 >= 2
                                   ? "{\"healthCheckConfig\":{\"serviceName\":\"a.B\"}," METHODS
                                   : "{" METHODS,
                               problem, &sim.config) == 0,
          "the service config");
    sim.options = (struct channel_options){
        .target = &sim.target,
        .pool = sim.pool,
        .resolve = resolve,
        .connect_timeout_ns = 50 * MS,
        .keepalive_time_ns = 20 * MS,
        .keepalive_timeout_ns = 10 * MS,
        .resolve_interval_ns = 50 * MS,
        .max_message = 250000,
        .service_config = sim.config,
        .breaker = {true, 100 * MS, 5, 50, 20 * MS, 2},
        .backoff = {2 * MS, 30 * MS, 160, 20},
    };
    make_channel();
}

static void step(void)
{
    for (unsigned i = draw(4); i > 0; i--) {
        start_one();
    }
    poke(any_caller());
    poke(any_caller());
    if (one_in(3)) {
        sim.now_ns += draw(3) * MS / 2;
    }
    turn(one_in(4) ? 20000 : 0);
    change_servers();
    if (one_in(2000)) {
        close_channel();
    }
    if (one_in(50) && sim.channel != NULL) {
        const struct channel_stats stats = channel_stats(sim.channel);

        for (unsigned i = 0; i < stats.backend_count; i++) {
            (void)channel_backend_stats(sim.channel, i);
        }
    }
    if (sim.channel == NULL) {
        make_channel();
    }
}

/* Every call ends that is cancelled, and a patient one succeeds: perhaps not the first, as breakers
 * may still be open. */
static void expect_recovery(void)
{
    const uint64_t good_count = sim.good_count;
    struct caller *caller = &sim.callers[0];
    unsigned turns = 0;

    for (unsigned i = 0; i < CALLS; i++) {
        if (sim.callers[i].is_busy) {
            channel_cancel(&sim.callers[i].call);
        }
    }
    while (busy_count() != 0) {
        turn_patiently(&turns, "a cancelled call does not end");
    }
    turns = 0;
    while (sim.good_count < good_count + 10) {
        if (sim.channel == NULL) { /* it was being closed */
            make_channel();
        }
        if (!caller->is_busy) {
            caller->call = (struct channel_call){.timeout_ns = CALL_NO_DEADLINE};
            start_call(caller, "/a.B/Wait", false);
        }
        turn_patiently(&turns, "calls do not succeed again");
    }
}

static void end(void)
{
    unsigned turns = 0;

    close_channel();
    while (sim.channel != NULL) {
        turn_patiently(&turns, "the channel does not close");
    }
    check(busy_count() == 0, "a call was not told its end");
    for (unsigned i = 0; i < SERVERS; i++) {
        scripted_server_close(&sim.servers[i]);
    }
    while (!workpool_is_idle(sim.pool)) {
        turn_patiently(&turns, "the resolver does not end");
    }
    workpool_close(sim.pool);
    while (ring_pending_count(sim.reactor.ring) > 0) {
        turn_patiently(&turns, "operations are left");
    }
    check(timer_set_next_ns(&sim.reactor.timers) == UINT64_MAX, "a timer is left");
    reactor_deinit(&sim.reactor);
    service_config_free(sim.config);
}

static void run(uint64_t seed)
{
    begin(seed);
    for (unsigned i = 0; i < STEPS; i++) {
        step();
    }
    calm_servers();
    if (seed % 2 != 0) { /* else the channel is closed under what is under way */
        expect_recovery();
    }
    end();
}

int main(int argc, char **argv)
{
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : RUNS_DEFAULT;
    unsigned passed;

    for (passed = 0; passed < runs; passed++) {
        run(seed + passed);
    }
    printf("%u passed, 0 failed\n", passed);
    return EXIT_SUCCESS;
}
