#include "lib/call_rig.h"
#include "lib/unit.h"

/* The deadline, and the end of the caller's authorization, of calls that send many messages. */

static struct call_rig rig;
static struct h2_peer_call client;
static uint64_t authorized_ns; /* how long the token of the next call is good; 0 = for ever */

static void authorize(struct grpc_call *call)
{
    if (authorized_ns != 0) {
        call->authorized_until_ns = call->host->reactor->now_ns + authorized_ns;
    }
}

static void listen_and_keep(struct grpc_call *call, struct bytes message)
{
    (void)message;
    call_rig_open(call);
}

/* A call in the hands of its handler. */
static void begin(const struct grpc_method *method, const char *timeout, uint64_t token_ns)
{
    const char *const more[] = {timeout != NULL ? "grpc-timeout" : NULL, timeout, NULL};

    authorized_ns = token_ns;
    call_rig_init(&rig);
    rig.method = method;
    rig.on_head = authorize;
    rig.on_request = listen_and_keep;
    h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
    h2_peer_send(&client, 0, "ping", 4);
    h2_peer_end(&client);
    call_rig_talk(&rig);
}

static void clean_up(void)
{
    h2_peer_call_deinit(&client);
    call_rig_deinit(&rig);
}

static void send_bytes(size_t size)
{
    static uint8_t large[200000];
    const struct bytes message = {large, size};

    ck_assert_int_eq(grpc_call_send(rig.call, &message, 1), 0);
    call_rig_talk(&rig);
}

static void advance(uint64_t ns)
{
    call_rig_advance(&rig, ns);
    call_rig_talk(&rig);
}

/* Behind messages that the client took, an expired deadline is trailers with status 4. */
START_TEST(deadline_ends_with_trailers_when_nothing_is_stuck)
{
    unsigned sent;

    for (sent = 0; sent < 2; sent++) {
        begin(&call_rig_server_stream, "1S", 0);
        if (sent == 1) {
            send_bytes(100);
        }
        advance(CLOCK_NS_PER_S - 1);
        ck_assert(!client.ended);
        advance(1);
        call_rig_check(&client, GRPC_STATUS_DEADLINE_EXCEEDED, "Deadline exceeded");
        ck_assert_int_eq(client.head_ended, sent == 0);
        ck_assert_int_eq(rig.status, GRPC_STATUS_DEADLINE_EXCEEDED);
        ck_assert_str_eq(rig.heard + strlen(rig.heard) - 1, "x");
        clean_up();
    }
}

END_TEST

/* Behind a message that the client does not take, trailers would wait for ever: it is a reset, and
 * none that the client is blamed for (its budget would end long before). */
START_TEST(deadline_resets_a_stream_that_is_stuck)
{
    unsigned i;

    begin(&call_rig_server_stream, "1S", 0);
    for (i = 0; i < CALL_RIG_RESET_BURST + 10; i++) {
        static const char *const more[] = {"grpc-timeout", "1S", NULL};

        if (i > 0) {
            h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
            h2_peer_send(&client, 0, "ping", 4);
            h2_peer_end(&client);
            rig.heard[0] = '\0';
        }
        client.holds_credit = true;
        call_rig_talk(&rig);
        send_bytes(70000);
        advance(CLOCK_NS_PER_S);
        ck_assert(client.closed);
        ck_assert(!client.ended);
        ck_assert_uint_eq(client.error, H2_ERROR_CANCEL);
        ck_assert_int_eq(rig.status, GRPC_STATUS_DEADLINE_EXCEEDED);
        ck_assert_str_eq(rig.heard, "x");
        h2_peer_call_deinit(&client);
    }
    ck_assert(!rig.peer.goaway);
    call_rig_deinit(&rig);
}

END_TEST

/* Deadlines end streams of requests too, paused or not. */
START_TEST(deadline_ends_streams_of_requests)
{
    unsigned paused;

    for (paused = 0; paused < 2; paused++) {
        begin(&call_rig_bidi_stream, "1S", 0);
        if (paused == 1) {
            grpc_call_pause(rig.call);
        }
        advance(CLOCK_NS_PER_S);
        call_rig_check(&client, GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
        ck_assert_str_eq(rig.heard, "[ping]$x");
        clean_up();
    }
}

END_TEST

/* No time at all is over at once, before anything is opened. */
START_TEST(deadline_of_zero_opens_nothing)
{
    begin(&call_rig_bidi_stream, "0n", 0);
    call_rig_check(&client, GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
    ck_assert_str_eq(rig.heard, "");
    ck_assert_uint_eq(rig.heads, 0);
    clean_up();
}

END_TEST

static void check_token_end(void)
{
    struct buf text = {0};
    uint8_t details[512];
    size_t size;

    call_rig_check(&client, GRPC_STATUS_UNAUTHENTICATED, "Invalid authentication token");
    ck_assert_int_eq(
        grpc_base64_decode(bytes_from_text(h2_peer_field(&client, "grpc-status-details-bin")),
                           details, &size),
        0);
    ck_assert_int_eq(grpc_error_describe((struct bytes){details, size}, &text), 0);
    ck_assert(
        bytes_equal(buf_bytes(&text), BYTES_LITERAL("reason: TOKEN_EXPIRED\ndomain: users.v1\n")));
    buf_deinit(&text);
}

/* A stream ends when its caller's token does; with messages behind it or none. */
START_TEST(authorization_ends_streams)
{
    const struct grpc_method *const methods[] = {&call_rig_server_stream, &call_rig_client_stream,
                                                 &call_rig_bidi_stream};
    size_t i;

    for (i = 0; i < 3; i++) {
        begin(methods[i], i == 1 ? "1H" : NULL, 10 * CLOCK_NS_PER_S);
        if (i == 0) {
            send_bytes(10);
        }
        advance(10 * CLOCK_NS_PER_S - 1);
        ck_assert(grpc_call_is_wanted(rig.call));
        advance(1);
        check_token_end();
        ck_assert_str_eq(rig.heard + strlen(rig.heard) - 1, "x");
        clean_up();
    }
}

END_TEST

/* The deadline comes first when it is first; a unary call may finish with the token it began with.
 */
START_TEST(authorization_does_not_move_the_deadline)
{
    begin(&call_rig_server_stream, "1S", 10 * CLOCK_NS_PER_S);
    advance(CLOCK_NS_PER_S);
    call_rig_check(&client, GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
    clean_up();

    begin(NULL, NULL, CLOCK_NS_PER_S);
    advance(100 * CLOCK_NS_PER_S);
    ck_assert(grpc_call_is_wanted(rig.call));
    grpc_call_reply(rig.call, NULL, 0);
    call_rig_talk(&rig);
    call_rig_check(&client, GRPC_STATUS_OK, "");
    clean_up();
}

END_TEST

static void expire_at_once(struct grpc_call *call)
{
    call->authorized_until_ns = call->host->reactor->now_ns;
}

/* A stream whose token is over when it begins is not opened. */
START_TEST(authorization_that_is_over_opens_nothing)
{
    call_rig_init(&rig);
    rig.method = &call_rig_bidi_stream;
    rig.on_head = expire_at_once;
    h2_peer_begin(&rig.peer, &client, "/s.S/M", NULL);
    call_rig_talk(&rig);
    check_token_end();
    ck_assert_str_eq(rig.heard, "");
    clean_up();
}

END_TEST

/* An answer that was given in time stays, and is cut off at the deadline when nobody takes it. */
START_TEST(authorization_ends_before_an_answer_is_taken)
{
    begin(&call_rig_server_stream, "20S", 10 * CLOCK_NS_PER_S);
    client.holds_credit = true;
    send_bytes(100000);
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    ck_assert_int_eq(rig.call->state, GRPC_CALL_ANSWERED);
    advance(10 * CLOCK_NS_PER_S);
    ck_assert(!client.closed);
    advance(10 * CLOCK_NS_PER_S - 1);
    ck_assert(!client.closed);
    advance(1);
    ck_assert_uint_eq(client.error, H2_ERROR_CANCEL);
    ck_assert_int_eq(rig.status, GRPC_STATUS_OK);
    clean_up();

    begin(&call_rig_server_stream, NULL, 10 * CLOCK_NS_PER_S);
    client.holds_credit = true;
    send_bytes(100000);
    grpc_call_finish(rig.call);
    advance(10 * CLOCK_NS_PER_S);
    ck_assert(!client.closed);
    ck_assert_uint_eq(rig.reactor.timers.count, 0);
    h2_stream_consume(client.stream, 65535);
    call_rig_talk(&rig);
    call_rig_check(&client, GRPC_STATUS_OK, "");
    clean_up();
}

END_TEST

/* At the end of the authorization a stream that is stuck is reset. */
START_TEST(authorization_resets_a_stream_that_is_stuck)
{
    begin(&call_rig_server_stream, NULL, CLOCK_NS_PER_S);
    client.holds_credit = true;
    send_bytes(100000);
    advance(CLOCK_NS_PER_S);
    ck_assert(client.closed);
    ck_assert_uint_eq(client.error, H2_ERROR_CANCEL);
    ck_assert_int_eq(rig.status, GRPC_STATUS_UNAUTHENTICATED);
    ck_assert_str_eq(rig.heard, "x");
    clean_up();
}

END_TEST

/* An authorization that is taken back ends an open stream at once, stuck or not; a unary call may
 * finish. */
START_TEST(authorization_can_be_taken_back)
{
    unsigned stuck;

    for (stuck = 0; stuck < 2; stuck++) {
        begin(&call_rig_server_stream, "1H", 100 * CLOCK_NS_PER_S);
        client.holds_credit = stuck == 1;
        send_bytes(stuck == 1 ? 100000 : 10);
        grpc_call_authorize_until(rig.call, 0);
        ck_assert_str_eq(rig.heard + strlen(rig.heard) - 1, "x");
        call_rig_talk(&rig);
        ck_assert_int_eq(rig.status, GRPC_STATUS_UNAUTHENTICATED);
        if (stuck == 1) {
            ck_assert_uint_eq(client.error, H2_ERROR_CANCEL);
        } else {
            check_token_end();
        }
        clean_up();
    }

    begin(NULL, NULL, CLOCK_NS_PER_S);
    grpc_call_authorize_until(rig.call, 0);
    ck_assert(grpc_call_is_wanted(rig.call));
    grpc_call_reply(rig.call, NULL, 0);
    grpc_call_authorize_until(rig.call, 0);
    call_rig_talk(&rig);
    call_rig_check(&client, GRPC_STATUS_OK, "");
    clean_up();
}

END_TEST

/* It can be given another end, earlier or later or none, and the deadline stays where it was. */
START_TEST(authorization_can_move)
{
    begin(&call_rig_server_stream, NULL, 100 * CLOCK_NS_PER_S);
    grpc_call_authorize_until(rig.call, rig.reactor.now_ns + 10 * CLOCK_NS_PER_S);
    advance(10 * CLOCK_NS_PER_S - 1);
    ck_assert(grpc_call_is_wanted(rig.call));
    advance(1);
    check_token_end();
    clean_up();

    begin(&call_rig_server_stream, NULL, 10 * CLOCK_NS_PER_S);
    grpc_call_authorize_until(rig.call, rig.reactor.now_ns + 20 * CLOCK_NS_PER_S);
    advance(20 * CLOCK_NS_PER_S - 1);
    ck_assert(grpc_call_is_wanted(rig.call));
    grpc_call_authorize_until(rig.call, UINT64_MAX);
    ck_assert_uint_eq(rig.reactor.timers.count, 0);
    advance(100 * CLOCK_NS_PER_S);
    ck_assert(grpc_call_is_wanted(rig.call));
    clean_up();

    begin(&call_rig_server_stream, "30S", 10 * CLOCK_NS_PER_S);
    grpc_call_authorize_until(rig.call, UINT64_MAX);
    advance(30 * CLOCK_NS_PER_S - 1);
    ck_assert(grpc_call_is_wanted(rig.call));
    advance(1);
    call_rig_check(&client, GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
    clean_up();
}

END_TEST

UNIT_MAIN("grpc_call_time", deadline_ends_with_trailers_when_nothing_is_stuck,
          deadline_resets_a_stream_that_is_stuck, deadline_ends_streams_of_requests,
          deadline_of_zero_opens_nothing, authorization_ends_streams,
          authorization_does_not_move_the_deadline, authorization_that_is_over_opens_nothing,
          authorization_ends_before_an_answer_is_taken, authorization_resets_a_stream_that_is_stuck,
          authorization_can_be_taken_back, authorization_can_move)
