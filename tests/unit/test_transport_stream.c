#include "client/transport_internal.h"
#include "transport_fixture.h"

#define STREAM_WINDOW  (1024 * 1024) /* of the client, for each stream */
#define SERVER_WINDOW  65536         /* of the scripted server */
#define QUIET_TURNS    50
#define FLOOD_SIZE     1019 /* with its frame head a kilobyte */
#define FLOOD_MESSAGES 3072
#define FLOOD_BYTES    ((size_t)FLOOD_MESSAGES * 1024)
#define TALK_MAX       (4 * 1024 * 1024) /* bytes of a message */

/* A stream and what came of it. */
struct talk {
    struct trial trial; /* the first: on_done() fills it in */
    unsigned messages;
    size_t last_size;
    char last[256];
    unsigned writable_count;
    unsigned pause_after; /* messages; 0 = never */
    unsigned fail_after;  /* likewise */
    char plan[32];
};

static struct transport *transport;
static struct talk talk;
static struct scripted_request *request; /* the last one that the peer heard of */
static bool is_ready;
static bool is_closed;
static bool is_draining;

static void on_ready(void *owner)
{
    (void)owner;
    is_ready = true;
}

static void on_draining(void *owner)
{
    (void)owner;
    is_draining = true;
}

static void on_transport_closed(void *owner, enum call_cause cause, const char *problem,
                                bool server_asked_patience)
{
    (void)owner;
    (void)cause;
    (void)problem;
    (void)server_asked_patience;
    is_closed = true;
}

static const struct transport_events transport_events = {
    .ready = on_ready,
    .draining = on_draining,
    .closed = on_transport_closed,
};

static void on_message(struct call_attempt *attempt, struct bytes message)
{
    struct talk *one = CONTAINER_OF(attempt, struct talk, trial.attempt);

    ck_assert(!one->trial.is_done);
    one->messages++;
    one->last_size = message.size;
    (void)snprintf(one->last, sizeof(one->last), "%.*s", (int)message.size,
                   message.size == 0 ? "" : (const char *)message.data);
    if (one->messages == one->pause_after) {
        call_attempt_pause(attempt);
    }
    if (one->messages == one->fail_after) {
        call_attempt_fail(attempt, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED, "enough");
    }
}

static void on_writable(struct call_attempt *attempt)
{
    struct talk *one = CONTAINER_OF(attempt, struct talk, trial.attempt);

    ck_assert(!one->trial.is_done);
    ck_assert_uint_lt(call_attempt_unsent_size(attempt), TRANSPORT_UNSENT_MAX);
    one->writable_count++;
}

static void on_talk_done(struct call_attempt *attempt, const struct call_result *result)
{
    struct talk *one = CONTAINER_OF(attempt, struct talk, trial.attempt);
    struct bytes plan = call_reply_find(result->fields, "users-list-plan");

    (void)snprintf(one->plan, sizeof(one->plan), "%.*s", (int)plan.size, (const char *)plan.data);
    on_done(attempt, result);
}

static const struct call_attempt_events stream_events = {
    .message = on_message,
    .writable = on_writable,
    .done = on_talk_done,
};

/* Answers part by part; what it does stands in the path. */
static void on_received(struct scripted_server *server, struct scripted_request *from)
{
    struct bytes message;

    (void)server;
    if (strcmp(from->path, "/echo") == 0) {
        return; /* answered as a whole */
    }
    request = from;
    while (strcmp(from->path, "/hold") != 0 && scripted_request_take(from, &message)) {
        if (strcmp(from->path, "/talk") == 0) {
            scripted_request_send(from, message);
        } else if (strcmp(from->path, "/fail") == 0) {
            scripted_request_send(from, message);
            scripted_request_finish(from, "6", NULL, NULL);
            from->path[0] = '\0';
        }
    }
}

static void flood(struct scripted_request *from)
{
    uint8_t bytes[FLOOD_SIZE] = {0};

    for (unsigned i = 0; i < FLOOD_MESSAGES; i++) {
        scripted_request_send(from, (struct bytes){bytes, sizeof(bytes)});
    }
    scripted_request_finish(from, "0", NULL, NULL);
}

static void send_raw(struct scripted_request *from, struct bytes bytes)
{
    scripted_request_send(from, BYTES_LITERAL("first"));
    ck_assert_int_eq(h2_stream_write(from->stream, &bytes, 1), 0);
    scripted_request_finish(from, "0", NULL, NULL);
}

static void send_large(struct scripted_request *from)
{
    size_t size = 2 * STREAM_WINDOW;
    uint8_t *large = calloc(1, size);

    ck_assert_ptr_nonnull(large);
    scripted_request_reply(from, (struct bytes){large, size});
    free(large);
}

static void on_answer(struct scripted_server *server, struct scripted_request *from)
{
    request = from;
    if (strcmp(from->path, "/talk") == 0) {
        scripted_request_finish(from, "0", "users-list-plan", "index");
    } else if (strcmp(from->path, "/two") == 0) {
        scripted_request_send(from, BYTES_LITERAL("one"));
        scripted_request_reply(from, BYTES_LITERAL("two"));
    } else if (strcmp(from->path, "/flood") == 0) {
        flood(from);
    } else if (strcmp(from->path, "/large") == 0) {
        send_large(from);
    } else if (strcmp(from->path, "/compressed") == 0) {
        send_raw(from, BYTES_LITERAL("\1\0\0\0\1a"));
    } else if (strcmp(from->path, "/half") == 0) {
        send_raw(from, BYTES_LITERAL("\0\0\0\0\2a"));
    } else {
        answer(server, from);
    }
}

static void begin(void)
{
    struct transport_options options = plain_options();
    struct target_address address;

    is_ready = false;
    is_closed = false;
    is_draining = false;
    request = NULL;
    begin_reactor();
    begin_peer(NULL);
    peer.answer = on_answer;
    peer.received = on_received;
    address = peer_address();
    ck_assert_int_eq(
        transport_new(&reactor, &options, &address, &transport_events, NULL, &transport), 0);
    while (!is_ready) {
        turn();
    }
}

static void end(void)
{
    if (!is_closed) {
        transport_abort(transport);
    }
    while (!is_closed) {
        turn();
    }
    scripted_server_close(&peer);
    reactor_deinit(&reactor);
}

static void start(const char *path)
{
    talk = (struct talk){
        .trial.attempt = {.events = &stream_events,
                          .path = path,
                          .deadline_ns = CALL_NO_DEADLINE,
                          .max_message = TALK_MAX},
        .pause_after = talk.pause_after,
        .fail_after = talk.fail_after,
    };
    ck_assert_int_eq(transport_start(transport, &talk.trial.attempt), 0);
}

static int send_bytes(struct bytes message)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];
    const struct bytes parts[] = {{head, sizeof(head)}, message};

    grpc_frame_encode_head(head, false, (uint32_t)message.size);
    return call_attempt_send(&talk.trial.attempt, parts, 2);
}

static int half_close(void)
{
    return call_attempt_half_close(&talk.trial.attempt);
}

static void say(const char *text)
{
    ck_assert_int_eq(send_bytes(bytes_from_text(text)), 0);
}

static void ask(const char *path)
{
    start(path);
    ck_assert_int_eq(half_close(), 0);
}

static void fail_talk(void)
{
    call_attempt_fail(&talk.trial.attempt, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED, "enough");
}

static void wait_for_messages(unsigned count)
{
    while (talk.messages < count) {
        ck_assert_msg(!talk.trial.is_done, "done: %s", talk.trial.message);
        turn();
    }
}

static void turn_quietly(void)
{
    for (unsigned i = 0; i < QUIET_TURNS; i++) {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
}

/* Nothing more comes of the stream, and whatever its owner takes has been told. */
static void wait_for_end(void)
{
    while (!talk.trial.attempt.is_over) {
        turn();
    }
    turn_quietly();
}

/* Messages go both ways in turns on one stream, those of the start first, and the trailers arrive
 * with the outcome. */
START_TEST(stream_talks)
{
    begin();
    talk.trial.attempt = (struct call_attempt){.events = &stream_events,
                                               .path = "/talk",
                                               .deadline_ns = CALL_NO_DEADLINE,
                                               .request = BYTES_LITERAL("\0\0\0\0\3one\0\0\0\0\0"),
                                               .max_message = TALK_MAX};
    ck_assert_int_eq(transport_start(transport, &talk.trial.attempt), 0);
    ck_assert_uint_eq(talk.messages, 0);
    wait_for_messages(2);
    ck_assert_str_eq(talk.last, "");
    say("three");
    wait_for_messages(3);
    ck_assert_str_eq(talk.last, "three");
    say("four");
    ck_assert_int_eq(half_close(), 0);
    ck_assert_int_eq(send_bytes(BYTES_LITERAL("five")), TRANSPORT_E_OVER);
    ck_assert_int_eq(half_close(), TRANSPORT_E_OVER);
    expect(&talk.trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 4);
    ck_assert_str_eq(talk.last, "four");
    ck_assert_str_eq(talk.plan, "index");
    ck_assert(talk.trial.has_head);
    ck_assert_int_eq(send_bytes(BYTES_LITERAL("six")), TRANSPORT_E_OVER);
    ck_assert_uint_eq(call_attempt_unsent_size(&talk.trial.attempt), 0);
    fail_talk();
    end();
}

END_TEST

/* A stream without any message is over when the server says so. */
START_TEST(stream_may_be_empty)
{
    begin();
    ask("/talk");
    expect(&talk.trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 0);
    end();
}

END_TEST

/* A server that gives no credit back gets one window; then TRANSPORT_UNSENT_MAX bytes wait here,
 * and the stream takes no more until `writable` says so. */
START_TEST(stream_bounds_what_waits)
{
    uint8_t bytes[1019] = {0};
    const struct bytes message = {bytes, sizeof(bytes)};
    size_t sent = 0;

    begin();
    peer.holds_credit = true;
    start("/hold");
    while (request == NULL || buf_size(&request->body) < SERVER_WINDOW ||
           call_attempt_unsent_size(&talk.trial.attempt) < TRANSPORT_UNSENT_MAX) {
        while (send_bytes(message) == 0) {
            sent += 1024;
        }
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
        ck_assert_msg(!talk.trial.is_done, "done: %s", talk.trial.message);
    }
    ck_assert_int_eq(send_bytes(message), TRANSPORT_E_FULL);
    ck_assert_uint_eq(buf_size(&request->body), SERVER_WINDOW);
    ck_assert_uint_lt(call_attempt_unsent_size(&talk.trial.attempt), TRANSPORT_UNSENT_MAX + 1024);
    ck_assert_uint_eq(sent, SERVER_WINDOW + call_attempt_unsent_size(&talk.trial.attempt));
    talk.writable_count = 0;

    peer.holds_credit = false;
    h2_stream_consume(request->stream, SERVER_WINDOW);
    conn_touch(request->connection->conn);
    while (talk.writable_count == 0) {
        turn();
    }
    ck_assert_int_eq(send_bytes(message), 0);
    fail_talk();
    expect(&talk.trial, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    end();
}

END_TEST

/* While its owner is paused a stream costs one window and not a byte more; resumed, it gets all. */
START_TEST(stream_pause_shuts_the_window)
{
    begin();
    start("/flood");
    call_attempt_pause(&talk.trial.attempt);
    ck_assert_int_eq(half_close(), 0);
    while (request == NULL ||
           h2_stream_unsent_size(request->stream) > FLOOD_BYTES - STREAM_WINDOW) {
        turn();
    }
    turn_quietly();
    ck_assert_uint_eq(h2_stream_unsent_size(request->stream), FLOOD_BYTES - STREAM_WINDOW);
    ck_assert_uint_eq(talk.messages, 0);
    call_attempt_resume(&talk.trial.attempt);
    call_attempt_resume(&talk.trial.attempt);
    ck_assert_uint_eq(talk.messages, 0);
    expect(&talk.trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, FLOOD_MESSAGES);
    end();
}

END_TEST

/* A stream whose owner is paused does not hold up another on the same connection. */
START_TEST(stream_pause_is_for_one)
{
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct trial other = {0};

    begin();
    start("/flood");
    call_attempt_pause(&talk.trial.attempt);
    ck_assert_int_eq(half_close(), 0);
    for (unsigned i = 0; i < 20; i++) {
        make_unary(&other, "/echo", "hello", frame);
        ck_assert_int_eq(transport_start(transport, &other.attempt), 0);
        expect(&other, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    }
    ck_assert_uint_eq(talk.messages, 0);
    fail_talk();
    expect(&talk.trial, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    end();
}

END_TEST

/* A message larger than the window gets through. */
START_TEST(stream_takes_large_messages)
{
    begin();
    ask("/large");
    expect(&talk.trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.last_size, 2 * STREAM_WINDOW);
    end();
}

END_TEST

/* Paused with the end already here: the outcome waits for the message before it. */
START_TEST(stream_outcome_waits_for_messages)
{
    begin();
    talk.pause_after = 1;
    ask("/two");
    wait_for_end();
    ck_assert_uint_eq(talk.messages, 1);
    ck_assert(!talk.trial.is_done);
    call_attempt_resume(&talk.trial.attempt);
    ck_assert(!talk.trial.is_done);
    expect(&talk.trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 2);
    ck_assert_str_eq(talk.last, "two");
    end();
}

END_TEST

/* Failed, or aborted with its connection, while paused at the end: CANCELLED, and what was not told
 * is dropped. */
START_TEST(stream_ends_while_paused)
{
    for (int with_transport = 0; with_transport < 2; with_transport++) {
        begin();
        talk.pause_after = 1;
        ask("/two");
        wait_for_end();
        if (with_transport == 1) {
            transport_abort(transport);
        } else {
            fail_talk();
        }
        expect(&talk.trial, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
        ck_assert_uint_eq(talk.messages, 1);
        end();
    }
}

END_TEST

/* The connection may be long gone, and said so, when an owner who has paused takes the rest: its
 * last word waits for that. */
START_TEST(stream_outlives_its_connection)
{
    begin();
    talk.pause_after = 1;
    ask("/two");
    wait_for_end();
    conn_abort(peer.connections[0].conn);
    while (!is_draining) {
        turn();
    }
    while (transport->state != TRANSPORT_CLOSED) {
        turn();
    }
    turn_quietly();
    ck_assert(!is_closed);
    ck_assert_uint_eq(transport->attempt_count, 1);
    call_attempt_resume(&talk.trial.attempt);
    expect(&talk.trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 2);
    while (!is_closed) {
        turn();
    }
    end();
}

END_TEST

/* A callback may fail its own stream, with the end already here and without: it is told no further
 * message. */
START_TEST(stream_fails_from_a_callback)
{
    begin();
    talk.fail_after = 1;
    ask("/two");
    expect(&talk.trial, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    ck_assert_uint_eq(talk.messages, 1);

    start("/talk");
    say("one");
    say("two");
    expect(&talk.trial, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    ck_assert_uint_eq(talk.messages, 1);
    while (peer.resets == 0) {
        turn();
    }
    end();
}

END_TEST

/* A server that ends the stream early: its messages, then its status; nothing more can be sent. */
START_TEST(stream_ends_early)
{
    begin();
    start("/fail");
    say("one");
    wait_for_messages(1);
    expect(&talk.trial, GRPC_STATUS_ALREADY_EXISTS, CALL_CAUSE_ANSWER);
    ck_assert(talk.trial.has_head);
    ck_assert_int_eq(send_bytes(BYTES_LITERAL("two")), TRANSPORT_E_OVER);
    ask("/html");
    expect(&talk.trial, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert(!talk.trial.has_head);
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

/* A frame that breaks a rule ends the stream after the good ones before it. */
START_TEST(stream_refuses_bad_frames)
{
    begin();
    ask("/compressed");
    expect(&talk.trial, GRPC_STATUS_INTERNAL, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(talk.last, "first");
    ask("/half");
    expect(&talk.trial, GRPC_STATUS_INTERNAL, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(talk.last, "first");
    ck_assert_str_eq(talk.trial.message, "the answer ended inside its message");
    end();
}

END_TEST

/* What a lost connection brought is told before the loss is. */
START_TEST(stream_tells_messages_before_a_loss)
{
    begin();
    start("/talk");
    call_attempt_pause(&talk.trial.attempt);
    say("one");
    say("two");
    while (call_reply_untaken_size(&talk.trial.attempt.reply) < 2 * (5 + 3)) {
        turn();
    }
    conn_abort(request->connection->conn);
    wait_for_end();
    ck_assert_uint_eq(talk.messages, 0);
    call_attempt_resume(&talk.trial.attempt);
    expect(&talk.trial, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_uint_eq(talk.messages, 2);
    end();
}

END_TEST

/* Once its connection is ending a stream takes nothing that could only be lost. */
START_TEST(stream_takes_nothing_at_the_end)
{
    const uint8_t garbage[64] = {0xff};

    begin();
    start("/talk");
    say("one");
    wait_for_messages(1);
    ck_assert_int_eq(buf_append(conn_output(request->connection->conn), garbage, sizeof(garbage)),
                     0);
    conn_touch(request->connection->conn);
    while (!is_draining) {
        ck_assert_int_eq(send_bytes(BYTES_LITERAL("two")), 0);
        turn();
    }
    ck_assert_int_eq(send_bytes(BYTES_LITERAL("two")), TRANSPORT_E_OVER);
    ck_assert_int_eq(half_close(), TRANSPORT_E_OVER);
    expect(&talk.trial, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    end();
}

END_TEST

/* A drain lets a stream go on in both directions. */
START_TEST(stream_goes_on_while_draining)
{
    begin();
    start("/talk");
    say("one");
    wait_for_messages(1);
    h2_session_end(request->connection->session, H2_ERROR_NO_ERROR, "bye");
    conn_touch(request->connection->conn);
    while (!is_draining) {
        turn();
    }
    say("two");
    wait_for_messages(2);
    ck_assert_int_eq(half_close(), 0);
    expect(&talk.trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    while (!is_closed) {
        turn();
    }
    end();
}

END_TEST

UNIT_MAIN("transport_stream", stream_talks, stream_may_be_empty, stream_bounds_what_waits,
          stream_pause_shuts_the_window, stream_pause_is_for_one, stream_takes_large_messages,
          stream_outcome_waits_for_messages, stream_ends_while_paused,
          stream_outlives_its_connection, stream_fails_from_a_callback, stream_ends_early,
          stream_refuses_bad_frames, stream_tells_messages_before_a_loss,
          stream_takes_nothing_at_the_end, stream_goes_on_while_draining)
