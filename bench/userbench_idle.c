/*
 * So many connections with the preface and SETTINGS exchanged, each maybe with open streams of
 * SyncUsers that send nothing, with watches that have had their first message, with one GetUser
 * behind it. A few are made at once, so that the server's limits on handshakes are not in the way.
 *
 * An open stream says nothing that would tell that the server has it. A GetUser on the same
 * connection does, since frames are taken in order: with --streams there always is one.
 */
#include "userbench_idle.h"

#include "core/clock.h"
#include "core/reactor.h"
#include "core/slurp.h"
#include "core/tls.h"
#include "http2/grpc_status.h"
#include "userbench_address.h"
#include "userbench_arguments.h"
#include "userbench_link.h"
#include "userbench_memory.h"
#include "userbench_problem.h"
#include "userbench_requests.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TOKEN_SIZE_MAX   8192
#define AT_ONCE          32 /* connections that do not stand yet */
#define RING_ENTRIES     1024
#define RING_BUFFERS     256
#define RING_BUFFER_SIZE 16384

struct options {
    const char *target;
    const char *ca_file;
    const char *token_file;
    unsigned connections;
    unsigned users;
    unsigned streams; /* of each connection, as is the next one */
    unsigned watches;
    bool requests;
};

struct idle;

struct held_stream {
    struct userbench_stream stream;
    struct held *owner;
    enum userbench_method method;
    bool is_settled; /* has had its first message */
    char id[USERBENCH_ID_SIZE];
};

/* One connection. */
struct held {
    struct userbench_link link;
    struct idle *idle;
    struct held_stream *streams;
    unsigned pending; /* streams whose first message is awaited */
    bool has_begun;
};

struct idle {
    struct options options;
    struct userbench_address address;
    struct reactor reactor;
    struct tls_context *tls;
    char *token;
    size_t token_size;
    struct userbench_link_settings settings;
    struct userbench_requests requests;
    struct held *held;
    unsigned streams_per_connection; /* of all kinds */
    unsigned opened;
    unsigned standing;
    struct ring_op input_op;
    bool input_ended;
};

static void settle(struct held *held)
{
    held->idle->standing += held->pending == 0;
}

static void on_message(struct userbench_stream *stream)
{
    struct held_stream *one = CONTAINER_OF(stream, struct held_stream, stream);

    if (!one->is_settled) {
        one->is_settled = true;
        one->owner->pending--;
        settle(one->owner);
    }
}

static void on_writable(struct userbench_link *link)
{
    (void)link;
}

static void on_ended(struct userbench_stream *stream, int grpc_status)
{
    struct held_stream *one = CONTAINER_OF(stream, struct held_stream, stream);

    if (grpc_status != GRPC_STATUS_OK || one->method != USERBENCH_GET) {
        userbench_problem("%s%s%s ended with %s%s", userbench_method_name(one->method),
                          one->id[0] == '\0' ? "" : " of ", one->id, grpc_status_name(grpc_status),
                          one->method == USERBENCH_GET ? "" : ", and should stay open");
    }
    one->owner->pending--;
    settle(one->owner);
}

static const struct userbench_link_events link_events = {
    .message = on_message,
    .writable = on_writable,
    .ended = on_ended,
};

static void start(struct held *held, struct held_stream *one, enum userbench_method method)
{
    struct userbench_requests *requests = &held->idle->requests;
    const bool is_stream = userbench_method_is_stream(method);
    struct bytes message = {0};

    one->owner = held;
    one->method = method;
    one->stream.is_streaming = method != USERBENCH_GET;
    if (!userbench_link_has_room(&held->link)) {
        userbench_problem("the server allows %u streams on a connection: fewer of --streams and "
                          "--watch, or a higher http2.max_concurrent_streams",
                          held->link.peer_streams_max);
    }
    if (!is_stream) {
        message = userbench_requests_make(requests, method, one->id);
        held->pending++;
    }
    userbench_link_start(&held->link, &one->stream, userbench_method_path(method), message,
                         !is_stream);
}

/* The connection has its SETTINGS. */
static void begin(struct held *held)
{
    const struct options *options = &held->idle->options;
    struct held_stream *one = held->streams;

    held->has_begun = true;
    for (unsigned i = 0; i < options->streams; i++) {
        start(held, one++, USERBENCH_SYNC);
    }
    for (unsigned i = 0; i < options->watches; i++) {
        start(held, one++, USERBENCH_WATCH);
    }
    if (options->requests) {
        start(held, one, USERBENCH_GET);
    }
    settle(held);
}

static void turn(struct idle *idle)
{
    int result = reactor_turn(&idle->reactor, UINT64_MAX);

    if (result != 0) {
        userbench_problem("the loop: %s", strerror(-result));
    }
}

static void open_more(struct idle *idle)
{
    while (idle->opened < idle->options.connections && idle->opened - idle->standing < AT_ONCE) {
        struct held *held = &idle->held[idle->opened++];

        held->idle = idle;
        held->streams =
            userbench_memory_get(idle->streams_per_connection + 1, sizeof(*held->streams));
        userbench_link_open(&held->link, &idle->settings);
    }
}

static void open_all(struct idle *idle)
{
    unsigned first = 0; /* that has not begun */

    while (idle->standing < idle->options.connections) {
        open_more(idle);
        turn(idle);
        for (unsigned i = first; i < idle->opened; i++) {
            if (idle->held[i].link.is_ready && !idle->held[i].has_begun) {
                begin(&idle->held[i]);
            }
            first += i == first && idle->held[i].has_begun;
        }
    }
}

static void wait_for_input(struct idle *idle)
{
    if (ring_poll(idle->reactor.ring, &idle->input_op, STDIN_FILENO, POLLIN) != 0) {
        userbench_problem("the standard input cannot be waited for");
    }
}

static void on_input(struct ring_op *op, const struct ring_event *event)
{
    struct idle *idle = CONTAINER_OF(op, struct idle, input_op);
    char bytes[256];

    (void)event;
    if (read(STDIN_FILENO, bytes, sizeof(bytes)) <= 0) {
        idle->input_ended = true;
    } else {
        wait_for_input(idle);
    }
}

static void close_all(struct idle *idle)
{
    for (unsigned i = 0; i < idle->opened; i++) {
        userbench_link_close(&idle->held[i].link);
    }
    for (unsigned i = 0; i < idle->opened; i++) {
        while (!idle->held[i].link.is_closed) {
            turn(idle);
        }
        userbench_link_deinit(&idle->held[i].link);
        free(idle->held[i].streams);
    }
    while (ring_pending_count(idle->reactor.ring) > 0) {
        turn(idle);
    }
    userbench_link_settings_deinit(&idle->settings);
    reactor_deinit(&idle->reactor);
    tls_context_unref(idle->tls);
    userbench_requests_deinit(&idle->requests);
    slurp_free(idle->token, idle->token_size);
    free(idle->held);
}

static void read_options(struct options *options, int argc, char **argv)
{
    const struct userbench_argument rows[] = {
        {"--target", &options->target, NULL, NULL},
        {"--ca", &options->ca_file, NULL, NULL},
        {"--token-file", &options->token_file, NULL, NULL},
        {"--connections", NULL, &options->connections, NULL},
        {"--users", NULL, &options->users, NULL},
        {"--streams", NULL, &options->streams, NULL},
        {"--watch", NULL, &options->watches, NULL},
        {"--request", NULL, NULL, &options->requests},
    };

    userbench_arguments_read(rows, sizeof(rows) / sizeof(rows[0]), argc, argv);
    if (options->target == NULL) {
        userbench_problem("--target is missing: HOST:PORT of the server to measure");
    } else if (options->connections == 0 || options->users == 0) {
        userbench_problem("--connections and --users: at least 1");
    } else if (options->streams + options->watches >= USERBENCH_STREAMS_MAX / 2) {
        userbench_problem("--streams and --watch: less than %d on a connection",
                          USERBENCH_STREAMS_MAX / 2);
    }
    options->requests = options->requests || options->streams > 0;
}

/* As many as the system lets this process have. */
static void allow_connections(unsigned count)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* looked at below */
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < count + 16U) {
        userbench_problem("--connections %u: the limit of open files is %llu; raise it (ulimit -n)",
                          count, (unsigned long long)limit.rlim_cur);
    }
}

static void read_token(struct idle *idle)
{
    const char *path = idle->options.token_file;
    int result = slurp_file(path, TOKEN_SIZE_MAX, &idle->token, &idle->token_size);

    if (result != 0) {
        userbench_problem("%s: %s", path, result < 0 ? strerror(-result) : "too large");
    }
    idle->token[strcspn(idle->token, "\r\n")] = '\0';
}

static void init(struct idle *idle)
{
    const struct options *options = &idle->options;
    const struct ring_options ring_options = {
        .entries = RING_ENTRIES,
        .recv_buffer_count = RING_BUFFERS,
        .recv_buffer_size = RING_BUFFER_SIZE,
    };
    const struct tls_client_options tls_options = {.ca_file = options->ca_file};
    char problem[TLS_PROBLEM_SIZE + RING_PROBLEM_SIZE];

    userbench_address_read(&idle->address, options->target);
    allow_connections(options->connections);
    if (reactor_init(&idle->reactor, &ring_options, clock_system(), NULL, problem) != 0 ||
        (options->ca_file != NULL &&
         tls_context_new_client(&tls_options, problem, &idle->tls) != 0)) {
        userbench_problem("%s", problem);
    }
    if (options->token_file != NULL) {
        read_token(idle);
    }
    userbench_link_settings_init(&idle->settings, &(struct userbench_link_options){
                                                      .reactor = &idle->reactor,
                                                      .tls = idle->tls,
                                                      .host = idle->address.host,
                                                      .port = idle->address.port,
                                                      .token = idle->token,
                                                      .events = &link_events,
                                                  });
    idle->requests.users = options->users;
    if (userbench_ids_init(&idle->requests.ids, USERBENCH_IDS_SEQUENTIAL, options->users, 0, 0) !=
        0) {
        userbench_problem("no memory");
    }
    idle->streams_per_connection =
        options->streams + options->watches + (options->requests ? 1 : 0);
    idle->held = userbench_memory_get(options->connections, sizeof(*idle->held));
    idle->input_op.done = on_input;
}

int userbench_idle_run(int argc, char **argv)
{
    struct idle idle = {.options = {.connections = 1, .users = 1000}};
    const uint64_t began_ns = clock_monotonic_ns(clock_system());
    const struct options *options = &idle.options;

    read_options(&idle.options, argc, argv);
    init(&idle);
    open_all(&idle);
    (void)printf("{\"connections\": %u, \"streams\": %llu, \"watches\": %llu, \"seconds\": %.3f}\n",
                 options->connections, (unsigned long long)options->connections * options->streams,
                 (unsigned long long)options->connections * options->watches,
                 (double)(clock_monotonic_ns(clock_system()) - began_ns) / (double)CLOCK_NS_PER_S);
    if (fflush(stdout) != 0) {
        userbench_problem("the result cannot be written");
    }
    wait_for_input(&idle);
    while (!idle.input_ended) {
        turn(&idle);
    }
    close_all(&idle);
    return EXIT_SUCCESS;
}

void userbench_idle_help(void)
{
    (void)puts("  connections --target HOST:PORT [--ca FILE] [--token-file FILE] --connections N\n"
               "          [--request] [--streams N] [--watch N] [--users N]: so many connections "
               "that stand\n"
               "          still, each after a GetUser, or with so many streams of SyncUsers or "
               "WatchUser\n"
               "          open; prints JSON when all stand, and holds them until the standard "
               "input ends");
}
