/*
 * interop-server: serves grpc.testing.TestService for the interoperability tests of gRPC, on the
 * very layers that userd stands on. For tests only: it is not installed.
 *
 *   1. The options say where to listen and with which certificate; without one it is clear text
 *      (HTTP/2 with prior knowledge).
 *   2. One line on standard output tells the address. With --port 0 that is how to learn the port.
 *   3. SIGTERM or SIGINT: open calls may finish for DRAIN_GRACE_NS, then it ends with code 0.
 *
 * What can go wrong: a start that fails says why on standard error, and everything made is taken
 * down again by the same way as at the end.
 */
#include "conformance/interop_service.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/reactor.h"
#include "core/signals.h"
#include "core/tls.h"
#include "http2/grpc_server.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#define DRAIN_GRACE_NS (2 * CLOCK_NS_PER_S)
#define TAKE_DOWN_NS   (10 * CLOCK_NS_PER_S)
#define TURN_NS        (100 * CLOCK_NS_PER_MS)
#define ADDRESS_SIZE   300
#define PROBLEM_SIZE   (RING_PROBLEM_SIZE > TLS_PROBLEM_SIZE ? RING_PROBLEM_SIZE : TLS_PROBLEM_SIZE)

struct arguments {
    const char *host;
    const char *port;
    const char *cert_file; /* NULL = clear text */
    const char *key_file;
    bool help;
};

struct interop {
    struct log log;
    struct reactor reactor;
    bool reactor_is_open;
    struct signals signals;
    bool signals_are_open;
    struct tls_context *tls;
    struct grpc_method_table methods;
    bool methods_are_built;
    struct grpc_dispatch dispatch;
    struct grpc_server *server;
    bool is_draining;
    bool is_drained;
    char problem[PROBLEM_SIZE];
};

/* The receive limit is that of all gRPC libraries. A thousand large calls at once must have room;
 * the budgets against misuse are userd's, but for what test clients do on purpose: cancel, over and
 * over. */
static const struct grpc_server_options server_options = {
    .h2 = {.max_concurrent_streams = 2000,
           .stream_window = 64 * 1024,
           .connection_window = 1024 * 1024,
           .max_frame_size = 16 * 1024,
           .max_header_list = 16 * 1024,
           .max_header_list_hard = 32 * 1024,
           .max_headers = 128,
           .max_continuations = 4,
           .reset_burst = 20000,
           .reset_rate = 2000,
           .control_burst = 1000,
           .control_rate = 100,
           .max_empty_frames = 8,
           .max_outq = 256},
    .max_connections = 10000,
    .max_connections_per_ip = 10000,
    .max_handshakes = 1000,
    .max_message = 4 * 1024 * 1024,
    .compress_max = 4 * 1024 * 1024,
    .max_running = 20000,
    .max_unsent = 4 * 1024 * 1024,
    .tls_timeout_ns = 10 * CLOCK_NS_PER_S,
    .preface_timeout_ns = 10 * CLOCK_NS_PER_S,
    .settings_ack_timeout_ns = 30 * CLOCK_NS_PER_S,
    .header_timeout_ns = 10 * CLOCK_NS_PER_S,
    .body_progress_ns = 60 * CLOCK_NS_PER_S,
    .idle_timeout_ns = 300 * CLOCK_NS_PER_S,
    .send_timeout_ns = 60 * CLOCK_NS_PER_S,
    .linger_timeout_ns = 1 * CLOCK_NS_PER_S,
    .backlog = 1024,
};

static void print_usage(FILE *out)
{
    (void)fputs(
        "Usage: interop-server --port N [--listen HOST] [--cert FILE --key FILE]\n"
        "\n"
        "Serves grpc.testing.TestService until SIGTERM or SIGINT.\n"
        "\n"
        "  --port N        the port; 0 = any that is free, told on standard output\n"
        "  --listen HOST   the address (127.0.0.1)\n"
        "  --cert FILE     certificate chain, PEM; without it the server speaks clear text\n"
        "  --key FILE      its private key, PEM\n",
        out);
}

/* Returns EX_OK or EX_USAGE, which it has explained. */
static int parse_arguments(int count, char **words, struct arguments *arguments)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'}, {"listen", required_argument, NULL, 'l'},
        {"cert", required_argument, NULL, 'c'}, {"key", required_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
    };
    int option;

    *arguments = (struct arguments){.host = "127.0.0.1"};
    while ((option = getopt_long(count, words, "h", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            arguments->port = optarg;
            break;
        case 'l':
            arguments->host = optarg;
            break;
        case 'c':
            arguments->cert_file = optarg;
            break;
        case 'k':
            arguments->key_file = optarg;
            break;
        case 'h':
            arguments->help = true;
            break;
        default:
            return EX_USAGE;
        }
    }
    if (arguments->help) {
        return EX_OK;
    }
    if (optind < count || arguments->port == NULL ||
        (arguments->cert_file == NULL) != (arguments->key_file == NULL)) {
        print_usage(stderr);
        return EX_USAGE;
    }
    return EX_OK;
}

static void drained(void *context)
{
    struct interop *interop = context;

    interop->is_drained = true;
    reactor_stop(&interop->reactor);
}

static void on_signal(struct signals *signals, int number)
{
    struct interop *interop = CONTAINER_OF(signals, struct interop, signals);

    if (number == SIGTERM || number == SIGINT) {
        grpc_server_drain(interop->server, interop->is_draining ? 0 : DRAIN_GRACE_NS, drained,
                          interop);
        interop->is_draining = true;
    }
}

/* A connection is a file, and channel soaks open many. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int load_certificate(struct interop *interop, const struct arguments *arguments)
{
    const struct tls_server_options options = {
        .cert_file = arguments->cert_file,
        .key_file = arguments->key_file,
        .min_version = TLS_VERSION_1_2, /* as old as interop clients may be */
    };

    if (arguments->cert_file == NULL) {
        return 0;
    }
    return tls_context_new_server(&options, interop->problem, &interop->tls);
}

static int open_loop(struct interop *interop)
{
    static const struct ring_options options = {
        .entries = 1024,
        .recv_buffer_count = 256,
        .recv_buffer_size = H2_FEED_MAX,
    };
    int result =
        reactor_init(&interop->reactor, &options, clock_system(), &interop->log, interop->problem);

    if (result != 0) {
        return result;
    }
    interop->reactor_is_open = true;
    result = signals_open(&interop->signals, &interop->reactor, on_signal);
    interop->signals_are_open = result == 0;
    return result;
}

static int build_server(struct interop *interop)
{
    struct grpc_method rows[INTEROP_METHOD_COUNT];
    int result;

    interop_service_methods(rows);
    result = grpc_method_table_init(&interop->methods, rows, INTEROP_METHOD_COUNT);
    if (result != 0) {
        return result;
    }
    interop->methods_are_built = true;
    interop->dispatch.methods = &interop->methods;
    return grpc_server_new(&interop->reactor, &server_options, &interop->dispatch,
                           &interop->server);
}

static int listen_on(struct interop *interop, const struct arguments *arguments)
{
    char address[ADDRESS_SIZE];
    int result;

    (void)snprintf(address, sizeof(address), strchr(arguments->host, ':') ? "[%s]:%s" : "%s:%s",
                   arguments->host, arguments->port);
    result = grpc_server_listen(interop->server, address, interop->tls, interop->problem);
    if (result == 0) {
        (void)printf("listening %s\n", grpc_server_address(interop->server, 0));
        (void)fflush(stdout);
    }
    return result;
}

/* Returns 0, or negative errno with a problem that may be empty. */
static int start(struct interop *interop, const struct arguments *arguments)
{
    int result;

    log_init(&interop->log, clock_system());
    interop->log.level = LEVEL_WARN;
    raise_file_limit();
    result = load_certificate(interop, arguments);
    if (result == 0) {
        result = open_loop(interop);
    }
    if (result == 0) {
        result = build_server(interop);
    }
    return result == 0 ? listen_on(interop, arguments) : result;
}

/* Turns the loop until nothing is open any more. False: something never came to its end. */
static bool quiesce(struct interop *interop)
{
    uint64_t end_ns = clock_monotonic_ns(clock_system()) + TAKE_DOWN_NS;

    if (!interop->reactor_is_open) {
        return true;
    }
    if (interop->server != NULL && !interop->is_drained) {
        grpc_server_drain(interop->server, 0, drained, interop);
    }
    while (interop->server != NULL && !interop->is_drained) {
        if (reactor_turn(&interop->reactor, TURN_NS) < 0 ||
            clock_monotonic_ns(clock_system()) > end_ns) {
            return false;
        }
    }
    if (interop->signals_are_open) {
        signals_close(&interop->signals);
    }
    while (ring_pending_count(interop->reactor.ring) > 0) {
        if (reactor_turn(&interop->reactor, TURN_NS) < 0 ||
            clock_monotonic_ns(clock_system()) > end_ns) {
            return false;
        }
    }
    return true;
}

static void free_parts(struct interop *interop)
{
    grpc_server_free(interop->server);
    if (interop->methods_are_built) {
        grpc_method_table_deinit(&interop->methods);
    }
    if (interop->reactor_is_open) {
        reactor_deinit(&interop->reactor);
    }
    tls_context_unref(interop->tls);
}

static int run(const struct arguments *arguments)
{
    static struct interop interop;
    int result = start(&interop, arguments);

    if (result == 0) {
        result = reactor_run(&interop.reactor);
    } else {
        (void)fprintf(stderr, "interop-server: %s\n",
                      interop.problem[0] != '\0' ? interop.problem : strerror(-result));
    }
    if (!quiesce(&interop)) {
        (void)fputs("interop-server: something did not come to its end\n", stderr);
        return EX_SOFTWARE;
    }
    free_parts(&interop);
    return result == 0 ? EX_OK : EX_SOFTWARE;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    int exit_code = parse_arguments(argc, argv, &arguments);

    if (exit_code != EX_OK) {
        return exit_code;
    }
    if (arguments.help) {
        print_usage(stdout);
        return EX_OK;
    }
    return run(&arguments);
}
