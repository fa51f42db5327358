/*
 * Connections one after the other in so many slots: connect, TLS handshake (never resumed), ALPN
 * h2, close. A latency counts from when the connection was due, or began to be made in the closed
 * loop, until the handshake is done on our side: our last flight is ready then, so the server's
 * check of it is not part of the time.
 *
 * We close gently. The local port stays in TIME_WAIT then, which Linux lets be used again after a
 * second on loopback; towards another machine some 28,000 connections a minute are all that go.
 */
#include "userbench_handshakes.h"

#include "core/clock.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "core/tls.h"
#include "userbench_address.h"
#include "userbench_arguments.h"
#include "userbench_memory.h"
#include "userbench_problem.h"
#include "userbench_samples.h"

#include <ctype.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_NS        (10 * CLOCK_NS_PER_S)
#define COUNT_DEFAULT     1000
#define IN_FLIGHT_MAX     4096
#define IN_FLIGHT_RATE    256 /* of a rate, unless told otherwise */
#define CAUSES_MAX        8
#define CAUSE_SIZE        256
#define FLUSH_MAX         16384
#define RING_BUFFERS      256
#define RING_BUFFER_SIZE  4096
#define NS_PER_US_AS_REAL 1000.0

struct options {
    const char *target;
    const char *ca_file;
    unsigned count; /* 0 = until the time is over */
    unsigned seconds;
    unsigned in_flight;
    unsigned rate; /* 0 = closed loop */
    bool sleeps;
};

struct cause {
    char text[CAUSE_SIZE];
    uint64_t count;
};

struct run;

/* One connection at a time. */
struct slot {
    struct ring_op connect_op;
    struct conn *conn;
    struct run *run;
    struct slot *next; /* free */
    int fd;
    uint64_t begin_ns;
    bool is_open;
};

struct run {
    struct options options;
    struct userbench_address address;
    struct reactor reactor;
    struct tls_context *tls;
    struct conn_settings settings;
    struct slot *free_slots;
    unsigned busy_count;
    uint64_t begun;
    uint64_t failures;
    uint64_t start_ns;
    uint64_t due_ns; /* of the next one; open loop */
    struct userbench_samples samples;
    struct cause causes[CAUSES_MAX]; /* the last one stands for all further ones */
    unsigned cause_count;
};

static void release(struct slot *slot)
{
    slot->next = slot->run->free_slots;
    slot->run->free_slots = slot;
    slot->run->busy_count--;
}

static void fail(struct slot *slot, const char *what, const char *detail)
{
    struct run *run = slot->run;
    char text[CAUSE_SIZE];
    unsigned i = 0;

    (void)snprintf(text, sizeof(text), "%s%s%s", what, detail[0] == '\0' ? "" : ": ",
                   detail); /* may be cut */
    while (i < run->cause_count && strcmp(run->causes[i].text, text) != 0) {
        i++;
    }
    if (i == CAUSES_MAX) {
        i--;
        (void)snprintf(run->causes[i].text, CAUSE_SIZE, "other causes");
    } else if (i == run->cause_count) {
        run->cause_count++;
        memcpy(run->causes[i].text, text, CAUSE_SIZE);
    }
    run->causes[i].count++;
    run->failures++;
}

static void on_opened(void *owner)
{
    struct slot *slot = owner;

    slot->is_open = true;
    userbench_samples_add(&slot->run->samples, clock_monotonic_ns(clock_system()) - slot->begin_ns);
    conn_close(slot->conn);
}

/* Only a connection that stays open is read, and none does. */
static void on_received(void *owner, struct bytes bytes)
{
    (void)owner;
    (void)bytes;
}

static void on_ended(void *owner)
{
    struct slot *slot = owner;

    conn_close(slot->conn);
}

static void on_drain(void *owner)
{
    (void)owner;
}

static void on_closed(void *owner, enum conn_end end, const char *detail)
{
    static const char *const texts[] = {
        [CONN_END_LOCAL] = "the server ended the connection before the handshake was done",
        [CONN_END_PEER] = "the server closed the connection during the handshake",
        [CONN_END_ERROR] = "the connection failed",
        [CONN_END_TLS] = "TLS failed",
        [CONN_END_TIMEOUT] = "the handshake took more than 10 s",
        [CONN_END_ABORTED] = "the connection was aborted",
    };
    struct slot *slot = owner;

    if (!slot->is_open) {
        fail(slot, texts[end], detail);
    }
    release(slot);
}

static const struct conn_events conn_events = {
    .opened = on_opened,
    .received = on_received,
    .ended = on_ended,
    .drain = on_drain,
    .closed = on_closed,
};

static void on_connected(struct ring_op *op, const struct ring_event *event)
{
    struct slot *slot = CONTAINER_OF(op, struct slot, connect_op);
    struct run *run = slot->run;
    int result = event->result;

    if (result != 0) {
        (void)close(slot->fd); /* nothing was written to it */
    } else {
        result = conn_new(&run->settings, slot->fd, run->tls, run->address.host, slot, &slot->conn);
    }
    if (result != 0) {
        fail(slot, "cannot connect", strerror(-result));
        release(slot);
    }
}

/* A slot is free. */
static void begin(struct run *run, uint64_t begin_ns)
{
    const int on = 1;
    struct slot *slot = run->free_slots;
    int result;

    run->free_slots = slot->next;
    run->busy_count++;
    run->begun++;
    slot->begin_ns = begin_ns;
    slot->is_open = false;
    slot->fd = socket(run->address.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (slot->fd < 0) {
        userbench_problem("no socket: a lower --in-flight or a higher limit of open files "
                          "(ulimit -n) helps");
    }
    (void)setsockopt(slot->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* only speed */
    result = ring_connect(run->reactor.ring, &slot->connect_op, slot->fd,
                          (const struct sockaddr *)&run->address.socket, run->address.size);
    if (result != 0) {
        userbench_problem("connecting cannot be begun: %s", strerror(-result));
    }
}

static bool may_begin(const struct run *run, uint64_t now_ns)
{
    const struct options *options = &run->options;

    return (options->count == 0 || run->begun < options->count) &&
           (options->seconds == 0 || now_ns - run->start_ns < options->seconds * CLOCK_NS_PER_S);
}

/* Begins what may be begun; returns how long nothing more will be due. */
static uint64_t begin_due(struct run *run, uint64_t now_ns)
{
    while (run->free_slots != NULL && may_begin(run, now_ns)) {
        if (run->options.rate == 0) {
            begin(run, now_ns);
            continue;
        }
        if (run->due_ns > now_ns) {
            return run->due_ns - now_ns;
        }
        begin(run, run->due_ns);
        run->due_ns = run->start_ns + run->begun * CLOCK_NS_PER_S / run->options.rate;
    }
    return UINT64_MAX;
}

static void turn(struct run *run, uint64_t timeout_ns)
{
    int result = reactor_turn(&run->reactor, run->options.sleeps ? timeout_ns : 0);

    if (result != 0) {
        userbench_problem("the loop: %s", strerror(-result));
    }
}

static double cpu_seconds(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        userbench_problem("the CPU time of this program is unknown");
    }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print_text(const char *text)
{
    (void)putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            (void)putchar('\\');
        }
        (void)putchar(iscntrl((unsigned char)*text) ? ' ' : *text);
    }
    (void)putchar('"');
}

static void print_latencies(struct userbench_samples *samples)
{
    static const struct {
        const char *name;
        double share;
    } rows[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};

    double sum_ns = 0;

    for (size_t i = 0; i < samples->count; i++) {
        sum_ns += (double)samples->values[i];
    }
    userbench_samples_sort(samples);
    (void)printf("{\"mean\": %.1f",
                 samples->count == 0 ? 0 : sum_ns / NS_PER_US_AS_REAL / (double)samples->count);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)printf(", \"%s\": %.1f", rows[i].name, userbench_samples_at(samples, rows[i].share));
    }
    (void)printf("}");
}

static void print(struct run *run, double seconds, double cpu_s)
{
    (void)printf("{\"seconds\": %.3f, \"offered_per_s\": ", seconds);
    if (run->options.rate > 0) {
        (void)printf("%u", run->options.rate);
    } else {
        (void)printf("null");
    }
    (void)printf(", \"client_cpu_s\": %.3f, \"count\": %zu, \"per_s\": %.1f, \"failures\": %" PRIu64
                 ", \"causes\": [",
                 cpu_s, run->samples.count, (double)run->samples.count / seconds, run->failures);
    for (unsigned i = 0; i < run->cause_count; i++) {
        (void)printf("%s{\"cause\": ", i == 0 ? "" : ", ");
        print_text(run->causes[i].text);
        (void)printf(", \"count\": %" PRIu64 "}", run->causes[i].count);
    }
    (void)printf("], \"latency_us\": ");
    print_latencies(&run->samples);
    (void)printf("}\n");
}

static void read_options(struct options *options, int argc, char **argv)
{
    const struct userbench_argument rows[] = {
        {"--target", &options->target, NULL, NULL},
        {"--ca", &options->ca_file, NULL, NULL},
        {"--connections", NULL, &options->count, NULL},
        {"--seconds", NULL, &options->seconds, NULL},
        {"--in-flight", NULL, &options->in_flight, NULL},
        {"--rate", NULL, &options->rate, NULL},
        {"--sleep", NULL, NULL, &options->sleeps},
    };

    userbench_arguments_read(rows, sizeof(rows) / sizeof(rows[0]), argc, argv);
    if (options->target == NULL) {
        userbench_problem("--target is missing: HOST:PORT of the server to measure");
    } else if (options->ca_file == NULL) {
        userbench_problem("--ca is missing: without TLS there is no handshake");
    }
    if (options->count == 0 && options->seconds == 0) {
        options->count = COUNT_DEFAULT;
    }
    if (options->in_flight == 0) {
        options->in_flight = options->rate > 0 ? IN_FLIGHT_RATE : 1;
    }
    if (options->in_flight > IN_FLIGHT_MAX) {
        userbench_problem("--in-flight: at most %d", IN_FLIGHT_MAX);
    }
}

static void open_run(struct run *run)
{
    const struct tls_client_options tls_options = {.ca_file = run->options.ca_file};
    const struct ring_options ring_options = {
        .entries = 2 * IN_FLIGHT_RATE,
        .recv_buffer_count = RING_BUFFERS,
        .recv_buffer_size = RING_BUFFER_SIZE,
    };
    char problem[TLS_PROBLEM_SIZE + RING_PROBLEM_SIZE];

    userbench_address_read(&run->address, run->options.target);
    if (reactor_init(&run->reactor, &ring_options, clock_system(), NULL, problem) != 0 ||
        tls_context_new_client(&tls_options, problem, &run->tls) != 0) {
        userbench_problem("%s", problem);
    }
    run->settings = (struct conn_settings){
        .reactor = &run->reactor,
        .events = &conn_events,
        .handshake_timeout_ns = TIMEOUT_NS,
        .send_timeout_ns = TIMEOUT_NS,
        .linger_timeout_ns = CLOCK_NS_PER_S,
        .flush_bytes_max = FLUSH_MAX,
    };
}

static void close_run(struct run *run)
{
    while (ring_pending_count(run->reactor.ring) > 0) {
        turn(run, UINT64_MAX);
    }
    reactor_deinit(&run->reactor);
    tls_context_unref(run->tls);
    userbench_samples_deinit(&run->samples);
}

int userbench_handshakes_run(int argc, char **argv)
{
    struct run run = {0};
    struct slot *slots;
    uint64_t now_ns;
    double cpu_s;
    double seconds;

    read_options(&run.options, argc, argv);
    open_run(&run);
    slots = userbench_memory_get(run.options.in_flight, sizeof(*slots));
    for (unsigned i = 0; i < run.options.in_flight; i++) {
        slots[i] =
            (struct slot){.run = &run, .connect_op.done = on_connected, .next = run.free_slots};
        run.free_slots = &slots[i];
    }
    cpu_s = cpu_seconds();
    run.start_ns = now_ns = clock_monotonic_ns(clock_system());
    run.due_ns = now_ns;
    while (run.busy_count > 0 || may_begin(&run, now_ns)) {
        turn(&run, begin_due(&run, now_ns));
        now_ns = clock_monotonic_ns(clock_system());
    }
    seconds = (double)(now_ns - run.start_ns) / (double)CLOCK_NS_PER_S;
    cpu_s = cpu_seconds() - cpu_s;
    if (run.samples.count == 0) {
        userbench_problem("no handshake succeeded: %s",
                          run.cause_count == 0 ? "none was begun" : run.causes[0].text);
    }
    print(&run, seconds, cpu_s);
    close_run(&run);
    free(slots);
    return EXIT_SUCCESS;
}

void userbench_handshakes_help(void)
{
    (void)puts("  handshakes --target HOST:PORT --ca FILE [--connections N] [--seconds N]\n"
               "          [--in-flight N | --rate N] [--sleep]: full TLS handshakes, N at once or\n"
               "          N per second, until so many were made or so long; prints JSON");
}
