#include "lib/certs.h"

#include "channel_fixture.h"

static struct certs certs;

static void make_tls(const char *ca_file)
{
    const struct tls_server_options server = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_3};
    const struct tls_client_options client = {.ca_file = ca_file};
    char problem[TLS_PROBLEM_SIZE];

    ck_assert_msg(tls_context_new_server(&server, problem, &server_tls) == 0, "%s", problem);
    ck_assert_msg(tls_context_new_client(&client, problem, &client_tls) == 0, "%s", problem);
}

static void begin_tls(const char *ca_file)
{
    make_tls(ca_file);
    begin_reactor();
    begin_places(1, server_tls);
    options.tls = client_tls;
    begin_channel_to_places();
}

/* A call gets its answer; the next one uses the same connection, and begins at once. */
START_TEST(channel_calls_over_one_connection)
{
    begin(1);
    ck_assert_uint_eq(channel_stats(channel).backend_count, 0);
    expect_echo(0);
    ck_assert(is_in_state(0, SUBCHANNEL_READY));
    (void)start(1, "/echo", "again");
    ck_assert_uint_eq(backend(0).open_calls, 1);
    ck_assert_uint_eq(channel_stats(channel).waiting, 0);
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[1].reply, "again");
    ck_assert_uint_eq(trials[1].call.attempts, 1);
    ck_assert_uint_eq(trials[1].call.backend, 0);
    ck_assert_uint_eq(places[0].server.accepted, 1);
    ck_assert_uint_eq(channel_stats(channel).calls, 2);
    ck_assert_uint_eq(backend(0).calls, 2);
    ck_assert_uint_eq(backend(0).open_calls, 0);
    end();
}

END_TEST

/* channel_connect() needs no call. */
START_TEST(channel_connects_when_asked)
{
    begin(1);
    connect_all(1);
    ck_assert_uint_eq(places[0].server.accepted, 1);
    ck_assert_uint_eq(channel_stats(channel).calls, 0);
    end();
}

END_TEST

/* More calls than the server takes streams are all answered, each with its own message. */
START_TEST(channel_carries_many_calls)
{
    char text[16];

    begin(1);
    for (unsigned i = 0; i < TRIALS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "call %u", i);
        (void)start(i, "/echo", text);
    }
    for (unsigned i = 0; i < TRIALS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "call %u", i);
        expect(&trials[i], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        ck_assert_str_eq(trials[i].reply, text);
    }
    ck_assert_uint_eq(places[0].server.accepted, 1);
    end();
}

END_TEST

static void note_order(struct trial *trial)
{
    static unsigned told;

    ck_assert_uint_eq((unsigned)(trial - trials), told % 100);
    told++;
}

/* Those that wait for a connection go out in the order in which they came. */
START_TEST(channel_serves_in_order)
{
    begin(1);
    for (unsigned i = 0; i < 100; i++) {
        trials[i].then = note_order;
        (void)start(i, "/echo", "");
    }
    ck_assert_uint_eq(channel_stats(channel).waiting, 100);
    for (unsigned i = 0; i < 100; i++) {
        expect(&trials[i], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    }
    end();
}

END_TEST

/* The head says gRPC, carries the token, names us, and names a timeout exactly when there is a
 * deadline. */
START_TEST(channel_sends_the_head)
{
    struct trial *trial;
    char expected[128];

    begin_reactor();
    begin_places(1, NULL);
    options.user_agent = "me/1";
    begin_channel_to_places();
    expect(start(0, "/heads", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    (void)snprintf(expected, sizeof(expected),
                   "|application/grpc|trailers|no timeout|me/1 userd-client/" USERD_VERSION
                   "|127.0.0.1:%s",
                   places[0].server.port);
    ck_assert_str_eq(trials[0].reply, expected);

    trial = make(1, "/heads");
    trial->call.token = "secret";
    trial->call.timeout_ns = 60 * CLOCK_NS_PER_S;
    expect(start_trial(trial, ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_ptr_nonnull(strstr(trial->reply, "Bearer secret|application/grpc|trailers|timeout|"));
    end();
}

END_TEST

/* :authority and the user agent as the options say. */
START_TEST(channel_names_the_server)
{
    begin_reactor();
    begin_places(1, NULL);
    options.authority = "users.example";
    begin_channel_to_places();
    expect(start(0, "/heads", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply,
                     "|application/grpc|trailers|no timeout|userd-client/" USERD_VERSION
                     "|users.example");
    end();
}

END_TEST

/* Errors, foreign answers and resets arrive as the status they stand for. */
START_TEST(channel_passes_errors_on)
{
    begin(1);
    expect(start(0, "/error", ""), GRPC_STATUS_NOT_FOUND, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].message, "not here");
    expect(start(1, "/html", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    expect(start(2, "/reset", ""), GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_ANSWER);
    places[0].refusals = 2;
    expect(start(3, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED);
    expect_echo(4);
    ck_assert_uint_eq(places[0].server.accepted, 1);
    end();
}

END_TEST

/* A deadline ends a call that nobody answers and resets its stream; its neighbour goes on. */
START_TEST(channel_keeps_deadlines)
{
    begin(1);
    expect_echo(0);
    for (uint64_t ms = 5; places[0].server.resets == 0; ms *= 2) { /* until it was sent in time */
        expect(start_with_timeout(1, "/silent", ms * CLOCK_NS_PER_MS),
               GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
        turn_quietly();
    }
    expect_echo(2);
    ck_assert_uint_eq(places[0].server.accepted, 1);
    end();
}

END_TEST

/* A deadline that passes while the call waits for a connection says what it waited for. */
START_TEST(channel_keeps_deadlines_while_waiting)
{
    struct trial *trial;
    char text[32];

    begin_reactor();
    find_dead_target(text, sizeof(text));
    begin_channel(text);
    expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
    trial = make(1, "/echo");
    trial->call.has_wait_for_ready = true;
    trial->call.wait_for_ready = true;
    trial->call.timeout_ns = 50 * CLOCK_NS_PER_MS;
    expect(start_trial(trial, ""), GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
    ck_assert_ptr_nonnull(strstr(trial->message, "Connection refused"));
    ck_assert_uint_eq(trial->call.backend, BALANCER_NONE);
    ck_assert_uint_eq(trial->call.attempts, 0);
    end();
}

END_TEST

/* A cancelled call ends with CANCELLED and resets its stream; cancelling it again does nothing. */
START_TEST(channel_cancels)
{
    begin(1);
    expect_echo(0);
    (void)start(1, "/silent", "");
    UNTIL(places[0].silent != NULL);
    channel_cancel(&trials[1].call);
    channel_cancel(&trials[1].call);
    ck_assert(!trials[1].is_done);
    expect(&trials[1], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    channel_cancel(&trials[1].call);
    UNTIL(places[0].server.resets != 0);
    end();
}

END_TEST

/* The same of one that waits: nothing is ever sent. */
START_TEST(channel_cancels_while_waiting)
{
    begin(1);
    (void)start(0, "/echo", "");
    channel_cancel(&trials[0].call);
    channel_cancel(&trials[0].call);
    ck_assert(!trials[0].is_done);
    expect(&trials[0], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    expect_echo(1);
    ck_assert_uint_eq(places[0].seen, 1);
    end();
}

END_TEST

/* A lost connection fails the calls on it, and the next call connects anew. */
START_TEST(channel_survives_a_lost_connection)
{
    begin(1);
    (void)start(0, "/silent", "");
    (void)start(1, "/drop", "");
    expect(&trials[0], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    expect(&trials[1], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_str_ne(trials[1].message, "");
    expect(start_patiently(2, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].server.accepted, 2);
    end();
}

END_TEST

/* After GOAWAY the call that the server took is answered; later ones get a connection of their own.
 */
START_TEST(channel_moves_on_after_goaway)
{
    begin(1);
    expect(start(0, "/goaway", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "last");
    expect_echo(1);
    expect_echo(2);
    ck_assert_uint_eq(places[0].server.accepted, 2);
    end();
}

END_TEST

/* A refused connection fails what waits for it, with the reason; during the backoff later calls
 * fail at once, and after it they are worth another attempt. */
START_TEST(channel_reports_refused_connections)
{
    char text[32];

    begin_reactor();
    find_dead_target(text, sizeof(text));
    begin_channel(text);
    for (unsigned i = 0; i < 5; i++) {
        expect(start(i, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
        ck_assert_ptr_nonnull(strstr(trials[i].message, text));
        ck_assert_ptr_nonnull(strstr(trials[i].message, "Connection refused"));
        UNTIL(i % 2 != 0 || !is_in_state(0, SUBCHANNEL_TRANSIENT_FAILURE));
    }
    ck_assert_uint_ge(backend(0).connections.connects, 3);
    ck_assert_uint_eq(backend(0).connections.connect_failures, backend(0).connections.connects);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "Connection refused"));
    end();
}

END_TEST

/* Whoever knows better does not wait for a backoff: the calls that do are served, and the next
 * failure is the first again. */
START_TEST(channel_backoff_can_be_reset)
{
    begin_reactor();
    begin_places(1, NULL);
    options.backoff.initial_ns = 600 * CLOCK_NS_PER_S;
    options.backoff.max_ns = 600 * CLOCK_NS_PER_S;
    kill_place(0);
    begin_channel_to_places();
    channel_reset_backoff(channel); /* nobody has been asked for anything yet */
    expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
    revive_place(0);
    (void)start_patiently(1, "/echo", "");
    turn_quietly();
    ck_assert(!trials[1].is_done);
    ck_assert_uint_eq(places[0].server.accepted, 0);
    channel_reset_backoff(channel);
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    channel_close(channel);
    channel_reset_backoff(channel);
    UNTIL(closed_count != 0);
    end();
}

END_TEST

/* channel_close() with nothing done yet. */
START_TEST(channel_closes_when_idle)
{
    begin(1);
    end();
}

END_TEST

static void be_new(void)
{
}

static void be_connecting(void)
{
    UNTIL(is_in_state(0, SUBCHANNEL_CONNECTING));
}

static void be_accepted(void)
{
    UNTIL(places[0].server.accepted != 0);
}

static void be_ready(void)
{
    UNTIL(is_in_state(0, SUBCHANNEL_READY));
}

static void be_asked(void)
{
    UNTIL(places[0].seen != 0);
}

static void close_in_state(void (*reach)(void), void (*ask)(struct channel *channel))
{
    begin_tls(certs.ca);
    (void)start(0, "/silent", "");
    reach();
    ask(channel);
    UNTIL(closed_count != 0);
    ck_assert(trials[0].is_done);
    expect(&trials[0], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    end();
}

static void close_then_abort(struct channel *of)
{
    channel_close(of);
    turn();
    if (closed_count == 0) {
        channel_abort(of);
    }
}

/* Closing before anything, while connecting, in the handshake, ready and with a call open: the call
 * ends with CANCELLED, once, and nothing is left; the same without a goodbye. */
START_TEST(channel_closes_in_every_state)
{
    void (*const ways[])(struct channel *) = {channel_close, channel_abort, close_then_abort};
    void (*const states[])(void) = {be_new, be_connecting, be_accepted, be_ready, be_asked};

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++) {
            close_in_state(states[k], ways[i]);
        }
    }
}

END_TEST

/* Closing while a call waits that would wait for ever, and one for its next attempt. */
START_TEST(channel_closes_while_calls_wait)
{
    char text[32];

    begin_reactor();
    find_dead_target(text, sizeof(text));
    begin_channel(text);
    expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
    (void)start_patiently(1, "/echo", "");
    turn_quietly();
    ck_assert(!trials[1].is_done);
    close_channel();
    expect(&trials[1], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    end();
}

END_TEST

/* Closing a connection that the server is ending already, with a call on it. */
START_TEST(channel_closes_while_draining)
{
    begin(1);
    (void)start(0, "/silent", "");
    (void)start(1, "/goaway", "");
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert(!trials[0].is_done);
    (void)start(2, "/silent", "");
    close_channel();
    expect(&trials[0], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    expect(&trials[2], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    end();
}

END_TEST

static void start_and_close(struct trial *trial)
{
    (void)trial;
    (void)start(1, "/echo", "");
    channel_close(channel);
    channel_close(channel);
    (void)start(2, "/echo", ""); /* too late: told like the others */
}

/* A callback may start a call and close the channel. */
START_TEST(channel_closes_from_a_callback)
{
    begin(1);
    trials[0].then = start_and_close;
    expect(start(0, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    expect(&trials[1], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    expect(&trials[2], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    UNTIL(closed_count != 0);
    end();
}

END_TEST

static void start_again(struct trial *trial)
{
    if (trial - trials < 20) {
        trials[trial - trials + 1].then = start_again;
        (void)start((unsigned)(trial - trials + 1), "/echo", "");
    }
}

/* A caller who answers each failure with another call does not keep the loop to itself. */
START_TEST(channel_gives_way_between_failures)
{
    char text[32];
    unsigned done = 0;
    unsigned before;

    begin_reactor();
    options.backoff.initial_ns = 60 * CLOCK_NS_PER_S;
    options.backoff.max_ns = 60 * CLOCK_NS_PER_S;
    find_dead_target(text, sizeof(text));
    begin_channel(text);
    trials[0].then = start_again;
    (void)start(0, "/echo", "");
    while (done < 20) {
        before = done;
        turn();
        while (done < 20 && trials[done].is_done) {
            done++;
        }
        ck_assert_uint_le(done - before, 1);
    }
    end();
}

END_TEST

/* The table of calls has an end, and refusing one leaves nothing behind. */
START_TEST(channel_limits_its_calls)
{
    struct trial *many = calloc(CHANNEL_CALLS_MAX + 1, sizeof(*many));

    ck_assert_ptr_nonnull(many);
    begin(1);
    for (unsigned i = 0; i <= CHANNEL_CALLS_MAX; i++) {
        many[i].call = (struct channel_call){
            .path = "/silent", .timeout_ns = CALL_NO_DEADLINE, .done = on_done};
        ck_assert_int_eq(channel_start(channel, &many[i].call, (struct bytes){0}),
                         i < CHANNEL_CALLS_MAX ? 0 : CHANNEL_E_BUSY);
    }
    close_channel();
    for (unsigned i = 0; i < CHANNEL_CALLS_MAX; i++) {
        ck_assert(many[i].is_done);
    }
    ck_assert(!many[CHANNEL_CALLS_MAX].is_done);
    free(many);
    end();
}

END_TEST

/* One that waits for good, and ends when so much time has gone by. */
static void expect_timeout(struct trial *trial, uint64_t seconds)
{
    turn_quietly();
    clock_offset_ns += (seconds - 1) * CLOCK_NS_PER_S / 2;
    turn_quietly();
    ck_assert(!trial->is_done);
    clock_offset_ns += (seconds + 1) * CLOCK_NS_PER_S / 2;
    expect(trial, GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
}

static void on_no_message(struct channel_call *call, struct bytes message)
{
    (void)call;
    (void)message;
    ck_abort_msg("nothing was said");
}

/* The service config's timeout and the call's own: the lesser counts, and only a default gives way
 * to a longer one; for streams as well. */
START_TEST(channel_keeps_the_lesser_deadline)
{
    struct trial *trial;

    use_config("{\"methodConfig\":[{\"name\":[{\"service\":\"t.T\"}],\"timeout\":\"6000s\"}]}");
    begin(1);
    use_shifted_clock();
    expect_timeout(start_with_timeout(0, "/t.T/silent", 60000 * CLOCK_NS_PER_S), 6000);
    expect_timeout(start_with_timeout(0, "/t.T/silent", 600 * CLOCK_NS_PER_S), 600);
    expect_timeout(start(0, "/t.T/silent", ""), 6000);
    expect_timeout(start_with_timeout(0, "/u.U/silent", 600 * CLOCK_NS_PER_S), 600);

    trial = make(0, "/t.T/silent");
    trial->call.timeout_is_default = true;
    trial->call.timeout_ns = 600 * CLOCK_NS_PER_S;
    expect_timeout(start_trial(trial, ""), 6000);
    trial = make(0, "/u.U/silent");
    trial->call.timeout_is_default = true;
    trial->call.timeout_ns = 600 * CLOCK_NS_PER_S;
    expect_timeout(start_trial(trial, ""), 600);

    trial = make(0, "/t.T/stream");
    trial->call.message = on_no_message;
    ck_assert_int_eq(channel_open(channel, &trial->call), 0);
    expect_timeout(trial, 6000);
    end();
}

END_TEST

/* The service config's wait for ready and sizes; what the call says itself wins. */
START_TEST(channel_follows_the_service_config)
{
    struct trial *trial;
    char large[200];

    use_config("{\"methodConfig\":[{\"name\":[{}],\"timeout\":\"6000s\",\"waitForReady\":true,"
               "\"maxRequestMessageBytes\":100,\"maxResponseMessageBytes\":10}]}");
    begin(1);
    use_shifted_clock();
    memset(large, 'a', sizeof(large));
    large[sizeof(large) - 1] = '\0';
    expect(start(0, "/echo", "ten bytes!"), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    expect(start(1, "/echo", "eleven byte"), GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_ANSWER);
    expect(start(2, "/echo", large), GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_CALLER);
    ck_assert_uint_eq(trials[2].call.attempts, 0);
    ck_assert_uint_eq(backend(0).failures, 0);
    ck_assert_uint_eq(places[0].seen, 2);
    kill_place(0);
    UNTIL(!is_in_state(0, SUBCHANNEL_READY));
    expect_timeout(start(4, "/echo", ""), 6000);
    trial = make(5, "/echo");
    trial->call.has_wait_for_ready = true;
    expect(start_trial(trial, ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
    end();
}

END_TEST

/* The same over TLS, with the certificate checked. */
START_TEST(channel_calls_over_tls)
{
    begin_tls(certs.ca);
    expect_echo(0);
    expect_echo(1);
    ck_assert_uint_eq(places[0].server.accepted, 1);
    end();
}

END_TEST

/* A certificate that nobody we trust has signed is a failure of TLS, told in words. */
START_TEST(channel_refuses_a_foreign_certificate)
{
    begin_tls(certs.other_ca);
    expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_TLS);
    ck_assert_ptr_nonnull(strstr(trials[0].message, "TLS"));
    end();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {
        channel_calls_over_one_connection,
        channel_connects_when_asked,
        channel_carries_many_calls,
        channel_serves_in_order,
        channel_sends_the_head,
        channel_names_the_server,
        channel_passes_errors_on,
        channel_keeps_deadlines,
        channel_keeps_deadlines_while_waiting,
        channel_cancels,
        channel_cancels_while_waiting,
        channel_survives_a_lost_connection,
        channel_moves_on_after_goaway,
        channel_reports_refused_connections,
        channel_backoff_can_be_reset,
        channel_closes_when_idle,
        channel_closes_in_every_state,
        channel_closes_while_calls_wait,
        channel_closes_while_draining,
        channel_closes_from_a_callback,
        channel_gives_way_between_failures,
        channel_limits_its_calls,
        channel_keeps_the_lesser_deadline,
        channel_follows_the_service_config,
        channel_calls_over_tls,
        channel_refuses_a_foreign_certificate,
        NULL,
    };
    int result;

    certs_make(&certs);
    result = unit_run("channel", tests);
    certs_remove(&certs);
    return result;
}
