/*
 * One connection of a client to the scripted server of transport_fixture.h, or to wherever the test
 * says, and what was told of it. Include it in one file of a test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_TRANSPORT_RIG_H
#define UNIT_TRANSPORT_RIG_H

#include "lib/certs.h"

#include "client/transport_internal.h"
#include "core/tls.h"
#include "transport_fixture.h"

#define TRIALS_MAX   300
#define STREAMS_MAX  100 /* that the scripted server takes at once */
#define QUIET_TURNS  50
#define NAME_IN_TEXT "users.example:50051 (127.0.0.1:"

static struct certs certs;
static struct tls_context *client_tls;
static struct tls_context *server_tls;
static struct transport *transport;
static struct trial trials[TRIALS_MAX];
static unsigned ready_count;
static unsigned draining_count;
static unsigned draining_order; /* attempts done before it was told */
static unsigned closed_count;
static enum call_cause closed_cause;
static char closed_problem[TRANSPORT_PROBLEM_SIZE];
static bool was_asked_for_patience;

static inline void on_ready(void *owner)
{
    ck_assert_ptr_eq(owner, &transport);
    ck_assert_uint_eq(draining_count, 0);
    ready_count++;
}

static inline void on_draining(void *owner)
{
    ck_assert_ptr_eq(owner, &transport);
    ck_assert_uint_eq(ready_count, 1);
    ck_assert_uint_eq(closed_count, 0);
    draining_count++;
    draining_order = done_count;
}

static inline void on_transport_closed(void *owner, enum call_cause cause, const char *problem,
                                       bool server_asked_patience)
{
    ck_assert_ptr_eq(owner, &transport);
    ck_assert_uint_eq(transport->attempt_count, 0);
    closed_count++;
    closed_cause = cause;
    (void)snprintf(closed_problem, sizeof(closed_problem), "%s", problem);
    was_asked_for_patience = server_asked_patience;
}

static const struct transport_events transport_events = {
    .ready = on_ready,
    .draining = on_draining,
    .closed = on_transport_closed,
};

static inline void connect_with(const struct transport_options *options,
                                const struct target_address *address)
{
    ready_count = 0;
    draining_count = 0;
    closed_count = 0;
    ck_assert_int_eq(
        transport_new(&reactor, options, address, &transport_events, &transport, &transport), 0);
}

static inline void connect_to(struct target_address address)
{
    struct transport_options options = plain_options();

    options.tls = client_tls;
    connect_with(&options, &address);
}

static inline void wait_for_state(enum transport_state state)
{
    while (transport->state != state) {
        ck_assert_uint_eq(closed_count, 0);
        turn();
    }
}

static inline void begin_with(const struct transport_options *options)
{
    struct target_address address;

    begin_reactor();
    begin_peer(server_tls);
    address = peer_address();
    connect_with(options, &address);
}

static inline void begin(void)
{
    begin_reactor();
    begin_peer(server_tls);
    connect_to(peer_address());
}

/* With a connection that is READY. */
static inline void begin_ready(void)
{
    begin();
    while (ready_count == 0) {
        turn();
    }
}

static inline void wait_until_closed(void)
{
    while (closed_count == 0) {
        turn();
    }
    ck_assert_uint_eq(closed_count, 1);
    ck_assert_uint_eq(draining_count, ready_count);
}

static inline void end(void)
{
    if (closed_count == 0) {
        transport_abort(transport);
        wait_until_closed();
    }
    if (peer.listener != NULL) {
        scripted_server_close(&peer);
    }
    reactor_deinit(&reactor);
    tls_context_unref(client_tls);
    tls_context_unref(server_tls);
    client_tls = NULL;
    server_tls = NULL;
}

static inline struct trial *start_text(unsigned index, const char *path, const char *text)
{
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct trial *trial = &trials[index];

    make_unary(trial, path, text, frame);
    ck_assert_int_eq(transport_start(transport, &trial->attempt), 0);
    memset(frame, 0, sizeof(frame)); /* it was copied */
    ck_assert(!trial->is_done);
    return trial;
}

static inline struct trial *start(unsigned index, const char *path)
{
    return start_text(index, path, "");
}

static inline void expect_echo(unsigned index)
{
    struct trial *trial = start_text(index, "/echo", "hello");

    expect(trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trial->reply, "hello");
}

static inline void expect_not_ready(void)
{
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct trial trial = {0};

    make_unary(&trial, "/echo", "", frame);
    ck_assert_int_eq(transport_start(transport, &trial.attempt), TRANSPORT_E_NOT_READY);
}

static inline void turn_quietly(void)
{
    for (unsigned i = 0; i < QUIET_TURNS; i++) {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
}

static inline void make_tls(const char *ca_file)
{
    const struct tls_server_options server = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_3};
    const struct tls_client_options client = {.ca_file = ca_file};
    char problem[TLS_PROBLEM_SIZE];

    ck_assert_msg(tls_context_new_server(&server, problem, &server_tls) == 0, "%s", problem);
    ck_assert_msg(tls_context_new_client(&client, problem, &client_tls) == 0, "%s", problem);
}

#endif
