/*
 * Two kinds of load:
 *
 *   closed  --streams calls are always under way on each connection: the next one starts when one
 *           has ended. That is saturation.
 *   open    calls are due at their times (--rate), whether or not those before were answered, and
 *           latency counts from then. So a server that stands still for 10 ms makes all calls late
 *           that were due within them, not just one.
 *
 * A call of BatchCreateUsers or SyncUsers is a stream of --items items of which --window are under
 * way; what is counted, and timed, are the items.
 *
 * When another program had our core for a while, the calls that were under way or fell due
 * meanwhile say nothing about the server, if that was a tenth of their time or more: how many there
 * were is all that is told of them.
 *
 * An open loop spins unless told to sleep, so that no time of waking up is part of a result. A
 * closed one sleeps unless told to spin, as any client at saturation does: where cores share their
 * units, one that spins slows down its neighbour, which is what is measured.
 */
#include "userbench_load.h"

#include "core/clock.h"
#include "core/reactor.h"
#include "core/slurp.h"
#include "core/tls.h"
#include "http2/grpc_status.h"
#include "userbench_link.h"
#include "userbench_memory.h"
#include "userbench_options.h"
#include "userbench_problem.h"
#include "userbench_requests.h"
#include "userbench_stats.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TOKEN_SIZE_MAX   8192
#define RING_ENTRIES     1024
#define RING_BUFFERS     512
#define RING_BUFFER_SIZE 16384
#define PAUSE_NS         (100 * CLOCK_NS_PER_US)
#define PAUSE_PARTS      10 /* of a call's time, one of which must be a pause to count */
#define GIVE_UP_NS       (5 * CLOCK_NS_PER_S) /* after the end, for answers that are still due */
#define PROGRESS_NS      CLOCK_NS_PER_S
#define RUN_PHASE        "run"
#define SHARE_MAX        1000000
#define DELETABLE_SHARE  10 /* of the users, the last tenth */

struct load {
    const struct userbench_options *options;
    struct reactor reactor;
    struct tls_context *tls;
    char *token;
    size_t token_size;
    char *host;
    const char *port;
    struct userbench_link_settings settings;
    struct userbench_link *links;
    unsigned next_link;
    struct userbench_requests requests;
    uint64_t mix[USERBENCH_METHOD_COUNT]; /* shares added up */
    struct call *free_calls;
    unsigned call_count; /* free or under way */
    unsigned under_way;  /* calls */
    uint64_t started;    /* calls, since the beginning */
    uint64_t began_ns;   /* of what is counted */
    uint64_t due_first_ns;
    uint64_t due_count;
    uint64_t skipped;        /* since none more may be under way */
    uint64_t turn_ns;        /* when the last turn began */
    long preemptions;        /* until then */
    uint64_t pause_began_ns; /* the last pause of our own, */
    uint64_t paused_ns;      /* and when it ended */
    uint64_t told_ns;        /* the last line of progress */
    uint64_t told_calls;
    double cpu_before_s;
    struct userbench_stats stats;
    struct ring_op input_op;
    char line[USERBENCH_PHASE_NAME];
    size_t line_size;
    bool sleeps;
    bool input_ended;
    bool is_over;
};

struct call {
    struct userbench_stream stream;
    struct load *load;
    struct userbench_link *link;
    struct call *next; /* free */
    enum userbench_method method;
    uint64_t start_ns; /* or when it was due */
    char id[USERBENCH_ID_SIZE];
    uint64_t *item_ns; /* when the items under way were sent, a ring of --window */
    unsigned items_sent;
    unsigned items_answered;
    bool is_open;
};

static uint64_t now(void)
{
    return clock_monotonic_ns(clock_system());
}

static double cpu_s(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        userbench_problem("what this program has used is unknown");
    }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ----------------------------------------------------------------------------------------- calls
 */

static enum userbench_method choose(struct load *load)
{
    const uint64_t sum = load->mix[USERBENCH_METHOD_COUNT - 1];
    uint64_t number;
    unsigned method = 0;

    if (sum == load->mix[USERBENCH_GET]) {
        return USERBENCH_GET;
    }
    number = userbench_ids_random(&load->requests.ids) % sum;
    while (load->mix[method] <= number) {
        method++;
    }
    return method;
}

/* Was a good part of this time a pause of our own? */
static bool is_excluded(const struct load *load, uint64_t start_ns, uint64_t now_ns)
{
    const uint64_t from_ns = start_ns > load->pause_began_ns ? start_ns : load->pause_began_ns;

    return load->paused_ns > start_ns &&
           (load->paused_ns - from_ns) * PAUSE_PARTS >= now_ns - start_ns;
}

static void count(const struct call *call, uint64_t start_ns, int status, unsigned messages)
{
    struct load *load = call->load;
    const uint64_t now_ns = now();
    const struct userbench_outcome outcome = {
        .method = call->method,
        .status = status,
        .messages = messages,
        .ns = now_ns - start_ns,
        .is_excluded = is_excluded(load, start_ns, now_ns),
    };

    userbench_stats_count(&load->stats, &outcome);
    if (status != GRPC_STATUS_OK && !load->options->tolerates) {
        userbench_problem("%s%s%s failed with %s; --tolerate counts such calls",
                          userbench_method_name(call->method), call->id[0] == '\0' ? "" : " of ",
                          call->id, grpc_status_name(status));
    }
}

/* Sends items while the window has room. */
static void send_items(struct call *call)
{
    const struct userbench_options *options = call->load->options;
    struct bytes message;

    while (call->items_sent < options->items &&
           call->items_sent - call->items_answered < options->window) {
        if (call->link->send_window < 1024 || call->stream.send_window < 1024) {
            return; /* `writable` will come */
        }
        message = userbench_requests_make(&call->load->requests, call->method, call->id);
        if (!userbench_link_send(call->link, &call->stream, message,
                                 call->items_sent + 1 == options->items)) {
            return;
        }
        call->item_ns[call->items_sent % options->window] = now();
        call->items_sent++;
    }
}

static void start(struct load *load, struct userbench_link *link, uint64_t due_ns)
{
    struct call *call = load->free_calls;
    struct bytes message = {0};
    const char *path;

    load->free_calls = call->next;
    load->under_way++;
    load->started++;
    call->method = choose(load);
    call->link = link;
    call->start_ns = due_ns;
    call->is_open = true;
    call->items_sent = 0;
    call->items_answered = 0;
    call->id[0] = '\0';
    call->stream.is_streaming =
        userbench_method_is_stream(call->method) || call->method == USERBENCH_WATCH;
    path = userbench_method_path(call->method);
    if (userbench_method_is_stream(call->method)) {
        call->stream.expected_id = NULL;
        userbench_link_start(link, &call->stream, path, message, false);
        send_items(call);
        return;
    }
    message = userbench_requests_make(&load->requests, call->method, call->id);
    call->stream.expected_id = call->method == USERBENCH_GET ? call->id : NULL;
    userbench_link_start(link, &call->stream, path, message, true);
}

static bool may_start(const struct load *load)
{
    return !load->is_over && load->free_calls != NULL &&
           (load->options->call_limit == 0 || load->started < load->options->call_limit);
}

static void release(struct call *call)
{
    struct load *load = call->load;

    call->is_open = false;
    call->next = load->free_calls;
    load->free_calls = call;
    load->under_way--;
    if (load->options->rate == 0 && may_start(load)) {
        start(load, call->link, now());
    }
}

static void on_message(struct userbench_stream *stream)
{
    struct call *call = CONTAINER_OF(stream, struct call, stream);

    if (call->method == USERBENCH_WATCH) {
        count(call, call->start_ns, GRPC_STATUS_OK, 1);
        userbench_link_cancel(call->link, stream);
        release(call);
        return;
    }
    if (call->items_answered == call->items_sent) {
        userbench_problem("%s: more answers than items", userbench_method_name(call->method));
    }
    count(call, call->item_ns[call->items_answered % call->load->options->window], GRPC_STATUS_OK,
          1);
    call->items_answered++;
    send_items(call);
}

static void on_ended(struct userbench_stream *stream, int grpc_status)
{
    struct call *call = CONTAINER_OF(stream, struct call, stream);

    if (!userbench_method_is_stream(call->method)) {
        if (grpc_status == GRPC_STATUS_OK && stream->message_count != 1) {
            userbench_problem("%s: an answer with %u messages", userbench_method_name(call->method),
                              stream->message_count);
        }
        count(call, call->start_ns, grpc_status, stream->message_count);
    } else if (grpc_status != GRPC_STATUS_OK) {
        count(call, call->start_ns, grpc_status, 0);
    } else if (call->items_answered != call->load->options->items) {
        userbench_problem("%s: %u items, %u answers", userbench_method_name(call->method),
                          call->items_sent, call->items_answered);
    }
    release(call);
}

static void on_writable(struct userbench_link *link)
{
    for (unsigned i = 0; i < USERBENCH_STREAMS_MAX && link->open_count > 0; i++) {
        struct call *call =
            link->streams[i] == NULL ? NULL : CONTAINER_OF(link->streams[i], struct call, stream);

        if (call != NULL && userbench_method_is_stream(call->method)) {
            send_items(call);
        }
    }
}

static const struct userbench_link_events link_events = {
    .message = on_message,
    .writable = on_writable,
    .ended = on_ended,
};

/* ----------------------------------------------------------------------------------------- input
 */

static void take_input(struct load *load, char byte)
{
    if (byte == '\n') {
        load->line[load->line_size] = '\0';
        load->line_size = 0;
        userbench_stats_begin(&load->stats, load->line, now());
    } else if (load->line_size + 1 < sizeof(load->line) && byte != '"' && byte != '\\' &&
               byte >= ' ') {
        load->line[load->line_size++] = byte;
    }
}

static void wait_for_input(struct load *load)
{
    if (ring_poll(load->reactor.ring, &load->input_op, STDIN_FILENO, POLLIN) != 0) {
        userbench_problem("the standard input cannot be waited for");
    }
}

static void on_input(struct ring_op *op, const struct ring_event *event)
{
    struct load *load = CONTAINER_OF(op, struct load, input_op);
    char bytes[USERBENCH_PHASE_NAME];
    ssize_t size;

    if (event->result < 0) {
        return; /* cancelled, at the end */
    }
    size = read(STDIN_FILENO, bytes, sizeof(bytes)); /* there is some, or its end */
    for (ssize_t i = 0; i < size; i++) {
        take_input(load, bytes[i]);
    }
    if (size <= 0) {
        load->input_ended = true;
        return;
    }
    wait_for_input(load);
}

/* -------------------------------------------------------------------------------------- the loop
 */

static uint64_t due_ns(const struct load *load)
{
    return load->due_first_ns + (uint64_t)((double)load->due_count * 1e9 / load->options->rate);
}

/* NULL = none has room. */
static struct userbench_link *next_link(struct load *load)
{
    for (unsigned i = 0; i < load->options->connections; i++) {
        struct userbench_link *link = &load->links[load->next_link];

        load->next_link = (load->next_link + 1) % load->options->connections;
        if (userbench_link_has_room(link)) {
            return link;
        }
    }
    return NULL;
}

static void start_due(struct load *load, uint64_t now_ns)
{
    struct userbench_link *link;

    for (uint64_t at_ns = due_ns(load); at_ns <= now_ns; at_ns = due_ns(load)) {
        link = may_start(load) ? next_link(load) : NULL;
        if (link != NULL) {
            start(load, link, at_ns);
        } else if (load->options->skips) {
            load->skipped++;
        } else {
            return;
        }
        load->due_count++;
    }
}

static void note_turn(struct load *load, uint64_t now_ns)
{
    /* Sleep is no pause: after it the turn's work began. */
    const uint64_t began_ns = load->sleeps ? load->reactor.now_ns : load->turn_ns;
    struct rusage usage;

    if (getrusage(RUSAGE_THREAD, &usage) != 0) {
        userbench_problem("what this thread has used is unknown");
    }
    if (usage.ru_nivcsw != load->preemptions && now_ns - began_ns > PAUSE_NS) {
        load->pause_began_ns = began_ns;
        load->paused_ns = now_ns;
    }
    load->preemptions = usage.ru_nivcsw;
    load->turn_ns = now_ns;
}

static void turn(struct load *load, uint64_t timeout_ns)
{
    int result = reactor_turn(&load->reactor, load->sleeps ? timeout_ns : 0);

    if (result != 0) {
        userbench_problem("the loop: %s", strerror(-result));
    }
}

static void tell_progress(struct load *load, uint64_t now_ns)
{
    const struct userbench_phase *phase = load->stats.phase;

    if (!load->options->shows_progress || now_ns - load->told_ns < PROGRESS_NS) {
        return;
    }
    if (phase != NULL && load->told_ns != 0 && phase->calls >= load->told_calls) {
        (void)fprintf(stderr, "\r%s: %.0f s, %" PRIu64 " calls, %.0f a second, %u under way   ",
                      phase->name, (double)(now_ns - load->began_ns) / 1e9, phase->calls,
                      (double)(phase->calls - load->told_calls) * 1e9 /
                          (double)(now_ns - load->told_ns),
                      load->under_way);
    }
    load->told_ns = now_ns;
    load->told_calls = phase == NULL ? 0 : phase->calls;
}

/* Whether the end has come; begins what is counted when the warm-up is over. */
static void look_at_time(struct load *load, uint64_t now_ns)
{
    const struct userbench_options *options = load->options;
    const double warm_s = options->call_limit > 0 ? 0 : options->warm_up_s;
    const uint64_t warm_ns = load->due_first_ns + (uint64_t)(warm_s * 1e9);

    if (load->began_ns == 0 && now_ns >= warm_ns) {
        load->began_ns = now_ns;
        load->cpu_before_s = cpu_s();
        if (!options->has_phases) {
            userbench_stats_begin(&load->stats, RUN_PHASE, now_ns);
        }
    }
    if (load->began_ns == 0) {
        return;
    }
    load->is_over =
        (options->has_phases && load->input_ended) ||
        (options->seconds > 0 && now_ns - load->began_ns >= (uint64_t)(options->seconds * 1e9)) ||
        (options->call_limit > 0 && load->started >= options->call_limit && load->under_way == 0);
    tell_progress(load, now_ns);
}

static uint64_t until_due(const struct load *load, uint64_t now_ns)
{
    const uint64_t at_ns = load->options->rate > 0 ? due_ns(load) : now_ns + PROGRESS_NS / 100;

    return at_ns > now_ns ? at_ns - now_ns : 0;
}

static void start_closed(struct load *load)
{
    for (unsigned i = 0; i < load->options->connections; i++) {
        for (unsigned j = 0; j < load->options->streams && may_start(load); j++) {
            if (!userbench_link_has_room(&load->links[i])) {
                userbench_problem("--streams %u: the server allows %u on a connection",
                                  load->options->streams, load->links[i].peer_streams_max);
            }
            start(load, &load->links[i], now());
        }
    }
}

static void open_links(struct load *load)
{
    for (unsigned i = 0; i < load->options->connections; i++) {
        userbench_link_open(&load->links[i], &load->settings);
        while (!load->links[i].is_ready) {
            turn(load, CLOCK_NS_PER_MS);
        }
    }
}

static void close_links(struct load *load)
{
    for (unsigned i = 0; i < load->options->connections; i++) {
        userbench_link_close(&load->links[i]);
    }
    for (unsigned i = 0; i < load->options->connections; i++) {
        while (!load->links[i].is_closed) {
            turn(load, UINT64_MAX);
        }
        userbench_link_deinit(&load->links[i]);
    }
}

static struct userbench_totals run(struct load *load)
{
    struct userbench_totals totals = {.offered_per_s = load->options->rate};
    uint64_t now_ns = now();
    uint64_t sent = load->settings.bytes_sent;
    uint64_t received = load->settings.bytes_received;

    load->due_first_ns = now_ns;
    load->skipped = 0;
    if (load->options->rate == 0) {
        start_closed(load);
    }
    while (!load->is_over) {
        now_ns = now();
        note_turn(load, now_ns);
        look_at_time(load, now_ns);
        if (load->options->rate > 0) {
            start_due(load, now_ns);
        }
        turn(load, until_due(load, now_ns));
    }
    now_ns = now();
    userbench_stats_stop(&load->stats, now_ns);
    totals.seconds = (double)(now_ns - load->began_ns) / 1e9;
    totals.client_cpu_s = cpu_s() - load->cpu_before_s;
    totals.bytes_sent = load->settings.bytes_sent - sent;
    totals.bytes_received = load->settings.bytes_received - received;
    totals.sends = load->settings.drains;
    totals.receives = load->settings.receives;
    while (load->under_way > 0 && now() - now_ns < GIVE_UP_NS) {
        turn(load, CLOCK_NS_PER_MS);
    }
    totals.skipped = load->skipped;
    totals.unfinished = load->under_way;
    return totals;
}

/* ---------------------------------------------------------------------------------------- set-up
 */

/* The method that the text begins with, before a '='. */
static enum userbench_method read_method(const char *text)
{
    const size_t size = strcspn(text, "=");

    for (unsigned i = 0; i < USERBENCH_METHOD_COUNT; i++) {
        if (strlen(userbench_method_name(i)) == size && text[size] == '=' &&
            strncmp(userbench_method_name(i), text, size) == 0) {
            return i;
        }
    }
    userbench_problem("--mix: \"%s\" begins with no METHOD=SHARE of users.v1", text);
}

static void read_mix(struct load *load)
{
    const char *rest = load->options->mix == NULL ? "GetUser=1" : load->options->mix;
    uint64_t shares[USERBENCH_METHOD_COUNT] = {0};
    uint64_t sum = 0;

    while (*rest != '\0') {
        const enum userbench_method method = read_method(rest);
        const char *number = strchr(rest, '=') + 1;
        char *end;

        shares[method] = strtoul(number, &end, 10);
        if (end == number || (*end != '\0' && *end != ',') || shares[method] > SHARE_MAX) {
            userbench_problem("--mix: \"%s\" has no share from 0 to %d", rest, SHARE_MAX);
        }
        rest = *end == ',' ? end + 1 : end;
    }
    for (unsigned i = 0; i < USERBENCH_METHOD_COUNT; i++) {
        sum += shares[i];
        load->mix[i] = sum;
    }
    if (sum == 0) {
        userbench_problem("--mix: all shares are 0");
    }
    load->requests.deletable =
        shares[USERBENCH_DELETE] > 0 ? load->options->users / DELETABLE_SHARE : 0;
}

static enum userbench_ids_kind read_ids(const char *text)
{
    static const char *const names[] = {"uniform", "zipf", "sequential", "one"};

    for (unsigned i = 0; text != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            return i;
        }
    }
    if (text != NULL) {
        userbench_problem("--ids: uniform, zipf, sequential or one, not \"%s\"", text);
    }
    return USERBENCH_IDS_UNIFORM;
}

static void init_requests(struct load *load)
{
    const struct userbench_options *options = load->options;

    load->requests.users = options->users;
    load->requests.run = now();
    load->requests.page_size = options->page_size;
    load->requests.filter = options->filter;
    read_mix(load);
    if (userbench_ids_init(&load->requests.ids, read_ids(options->ids),
                           options->users - load->requests.deletable, options->zipf_exponent,
                           options->seed) != 0) {
        userbench_problem("no memory");
    }
}

/* Every call that may be under way at once. */
static struct call *make_calls(struct load *load)
{
    const struct userbench_options *options = load->options;
    const unsigned total =
        options->rate > 0 ? options->outstanding : options->connections * options->streams;
    struct call *calls = userbench_memory_get(total, sizeof(*calls));
    /* Only then times of items are kept. */
    const bool has_streams = load->mix[USERBENCH_SYNC] > load->mix[USERBENCH_WATCH];

    load->call_count = total;
    for (unsigned i = 0; i < total; i++) {
        calls[i].load = load;
        calls[i].next = load->free_calls;
        calls[i].item_ns =
            has_streams ? userbench_memory_get(options->window, sizeof(*calls[i].item_ns)) : NULL;
        load->free_calls = &calls[i];
    }
    return calls;
}

static void read_target(struct load *load)
{
    const char *target = load->options->target;
    const char *colon = target == NULL ? NULL : strrchr(target, ':');

    if (colon == NULL) {
        userbench_problem("--target HOST:PORT is needed");
    } else {
        load->host = strndup(target, (size_t)(colon - target));
        load->port = colon + 1;
    }
}

static void check_options(const struct userbench_options *options)
{
    if (options->rate == 0 &&
        (options->streams == 0 || options->streams > USERBENCH_STREAMS_MAX / 2)) {
        userbench_problem("--streams: from 1 to %d", USERBENCH_STREAMS_MAX / 2);
    }
    if (options->outstanding == 0 || options->window == 0 || options->items == 0) {
        userbench_problem("--outstanding, --window and --items: at least 1");
    }
    if (options->seconds <= 0 && options->call_limit == 0 && !options->has_phases) {
        userbench_problem("--seconds, --call-limit or --phases says when it ends");
    }
}

static void init(struct load *load)
{
    const struct userbench_options *options = load->options;
    const struct ring_options ring_options = {
        .entries = RING_ENTRIES,
        .recv_buffer_count = RING_BUFFERS,
        .recv_buffer_size = RING_BUFFER_SIZE,
    };
    const struct tls_client_options tls_options = {.ca_file = options->ca_file};
    char problem[TLS_PROBLEM_SIZE + RING_PROBLEM_SIZE];

    if (reactor_init(&load->reactor, &ring_options, clock_system(), NULL, problem) != 0 ||
        (options->ca_file != NULL &&
         tls_context_new_client(&tls_options, problem, &load->tls) != 0)) {
        userbench_problem("%s", problem);
    }
    if (options->token_file != NULL) {
        int result =
            slurp_file(options->token_file, TOKEN_SIZE_MAX, &load->token, &load->token_size);

        if (result != 0) {
            userbench_problem("%s: %s", options->token_file,
                              result < 0 ? strerror(-result) : "too large");
        }
        load->token[strcspn(load->token, "\r\n")] = '\0';
    }
    userbench_link_settings_init(&load->settings, &(struct userbench_link_options){
                                                      .reactor = &load->reactor,
                                                      .tls = load->tls,
                                                      .host = load->host,
                                                      .port = load->port,
                                                      .token = load->token,
                                                      .token_is_literal = options->token_is_literal,
                                                      .deadline_ms = options->deadline_ms,
                                                      .events = &link_events,
                                                  });
}

/* All connections are closed. */
static void deinit(struct load *load)
{
    ring_cancel(load->reactor.ring, &load->input_op);
    while (ring_pending_count(load->reactor.ring) > 0) {
        turn(load, UINT64_MAX);
    }
    userbench_link_settings_deinit(&load->settings);
    reactor_deinit(&load->reactor);
    tls_context_unref(load->tls);
    slurp_free(load->token, load->token_size);
    userbench_stats_deinit(&load->stats);
    userbench_requests_deinit(&load->requests);
    free(load->links);
    free(load->host);
    free(load);
}

int userbench_load_run(const struct userbench_options *options)
{
    struct load *load = userbench_memory_get(1, sizeof(*load));
    struct userbench_totals totals;
    struct call *calls;

    load->options = options;
    check_options(options);
    load->sleeps = options->sleeps || (options->rate == 0 && !options->spins);
    read_target(load);
    init_requests(load);
    init(load);
    calls = make_calls(load);
    load->links = userbench_memory_get(options->connections, sizeof(*load->links));
    load->input_op.done = on_input;
    open_links(load);
    if (options->has_phases) {
        wait_for_input(load);
    }
    totals = run(load);
    userbench_stats_print(&load->stats, &totals);
    if (options->shows_progress) {
        (void)fputc('\n', stderr);
    }
    if (fflush(stdout) != 0) {
        userbench_problem("the result cannot be written");
    }
    close_links(load);
    for (unsigned i = 0; i < load->call_count; i++) {
        free(calls[i].item_ns);
    }
    free(calls);
    deinit(load);
    return EXIT_SUCCESS;
}
