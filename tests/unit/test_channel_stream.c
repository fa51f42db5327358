#include "lib/scripted_server.h"
#include "lib/unit.h"

#include "client/channel_internal.h"
#include "core/clock.h"
#include "core/reactor.h"

#include <stdio.h>

#define STREAM_WINDOW  (1024 * 1024) /* of the client, for each stream */
#define SERVER_WINDOW  65536         /* of the scripted server */
#define QUIET_TURNS    50
#define FLOOD_SIZE     1019 /* with its frame head a kilobyte */
#define FLOOD_MESSAGES 3072
#define FLOOD_BYTES    ((size_t)FLOOD_MESSAGES * 1024)

/* A stream and what came of it. */
struct talk {
    struct channel_call call;
    unsigned messages;
    size_t last_size;
    char last[256];
    unsigned writable_count;
    unsigned pause_after;  /* messages; 0 = never */
    unsigned cancel_after; /* likewise */
    bool is_done;
    enum grpc_status status;
    enum call_cause cause;
    char text[256];
    char plan[32];
};

static struct reactor reactor;
static struct scripted_server peer;
static struct scripted_request *request; /* the last one that the peer heard of */
static struct target target;
static struct channel *channel;
static struct talk talk;
static bool is_closed;
static unsigned refused_count; /* streams to /refuse */

/* Bytes that no connection has taken yet. */
static size_t unsent_size(const struct channel_call *call)
{
    if (call->channel == NULL) {
        return 0;
    }
    return call->state == CHANNEL_CALL_OPEN ? call_attempt_unsent_size(&call->attempt)
                                            : buf_size(&call->replay);
}

static void on_message(struct channel_call *call, struct bytes message)
{
    struct talk *one = CONTAINER_OF(call, struct talk, call);

    ck_assert(!one->is_done);
    one->messages++;
    one->last_size = message.size;
    (void)snprintf(one->last, sizeof(one->last), "%.*s", (int)message.size,
                   message.size == 0 ? "" : (const char *)message.data);
    if (one->messages == one->pause_after) {
        channel_pause(call);
    }
    if (one->messages == one->cancel_after) {
        channel_cancel(call);
    }
}

static void on_writable(struct channel_call *call)
{
    struct talk *one = CONTAINER_OF(call, struct talk, call);

    ck_assert(!one->is_done);
    ck_assert_uint_lt(unsent_size(call), TRANSPORT_UNSENT_MAX);
    one->writable_count++;
}

static void on_done(struct channel_call *call, const struct call_result *result)
{
    struct talk *one = CONTAINER_OF(call, struct talk, call);
    struct bytes plan = call_reply_find(result->fields, "users-list-plan");

    ck_assert(!one->is_done);
    one->is_done = true;
    one->status = result->status;
    one->cause = result->cause;
    (void)snprintf(one->text, sizeof(one->text), "%.*s", (int)result->message.size,
                   (const char *)result->message.data);
    (void)snprintf(one->plan, sizeof(one->plan), "%.*s", (int)plan.size, (const char *)plan.data);
}

static void on_closed(void *context)
{
    (void)context;
    is_closed = true;
}

static void refuse(struct scripted_request *from)
{
    h2_stream_reset(from->stream, H2_ERROR_REFUSED_STREAM);
    conn_touch(from->connection->conn);
}

/* Answers part by part; what it does stands in the path. */
static void on_received(struct scripted_server *server, struct scripted_request *from)
{
    struct bytes message;

    (void)server;
    request = from;
    if (strcmp(from->path, "/refuse") == 0 && refused_count++ == 0) {
        refuse(from);
        return;
    }
    if (strcmp(from->path, "/refuse") == 0) {
        (void)snprintf(from->path, sizeof(from->path), "/echo");
    } else if (strcmp(from->path, "/answered-refuse") == 0) {
        scripted_request_send(from, BYTES_LITERAL("first"));
        (void)snprintf(from->path, sizeof(from->path), "/late-refuse");
    }
    while (strcmp(from->path, "/hold") != 0 && scripted_request_take(from, &message)) {
        if (strcmp(from->path, "/echo") == 0) {
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

static void answer(struct scripted_server *server, struct scripted_request *from)
{
    char heads[64];

    (void)server;
    request = from;
    if (strcmp(from->path, "/late-refuse") == 0) {
        refuse(from);
    } else if (strcmp(from->path, "/echo") == 0) {
        scripted_request_finish(from, "0", "users-list-plan", "index");
    } else if (strcmp(from->path, "/heads") == 0) {
        (void)snprintf(heads, sizeof(heads), "%s|%s", from->continue_on_error,
                       from->accept_encoding);
        scripted_request_reply(from, bytes_from_text(heads));
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
    } else if (strcmp(from->path, "/html") == 0) {
        scripted_request_refuse(from, "503", "text/html", NULL, NULL);
    }
    /* "/silent": nothing. */
}

static void turn(void)
{
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
}

static void begin(void)
{
    const struct ring_options ring = {
        .entries = 256, .recv_buffer_count = 64, .recv_buffer_size = 16384};
    struct channel_options options = {
        .target = &target,
        .connect_timeout_ns = 30 * CLOCK_NS_PER_S,
        .max_message = 4 * 1024 * 1024,
    };
    char problem[RING_PROBLEM_SIZE];
    char target_problem[TARGET_PROBLEM_SIZE];
    char text[32];

    is_closed = false;
    refused_count = 0;
    request = NULL;
    ck_assert_msg(reactor_init(&reactor, &ring, clock_system(), NULL, problem) == 0, "%s", problem);
    scripted_server_open(&peer, &reactor, NULL, answer);
    peer.received = on_received;
    (void)snprintf(text, sizeof(text), "127.0.0.1:%s", peer.port);
    ck_assert_int_eq(target_parse(text, target_problem, &target), 0);
    ck_assert_int_eq(channel_new(&reactor, &options, on_closed, NULL, &channel), 0);
}

static void close_channel(void)
{
    channel_close(channel);
    while (!is_closed) {
        turn();
    }
}

static void end(void)
{
    if (!is_closed) {
        close_channel();
    }
    scripted_server_close(&peer);
    reactor_deinit(&reactor);
}

static void start(const char *path)
{
    talk = (struct talk){
        .call = {.path = path,
                 .timeout_ns = CALL_NO_DEADLINE,
                 .done = on_done,
                 .message = on_message,
                 .writable = on_writable},
        .pause_after = talk.pause_after,
        .cancel_after = talk.cancel_after,
    };
    ck_assert_int_eq(channel_open(channel, &talk.call), 0);
}

static void say(const char *text)
{
    ck_assert_int_eq(channel_send(&talk.call, bytes_from_text(text)), 0);
}

static void half_close(void)
{
    ck_assert_int_eq(channel_half_close(&talk.call), 0);
}

static void ask(const char *path)
{
    start(path);
    half_close();
}

static void wait_for_messages(unsigned count)
{
    while (talk.messages < count) {
        ck_assert_msg(!talk.is_done, "done: %s", talk.text);
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
    while (!talk.call.attempt.is_over) {
        turn();
    }
    turn_quietly();
}

static void expect(enum grpc_status status, enum call_cause cause)
{
    while (!talk.is_done) {
        turn();
    }
    ck_assert_msg(talk.status == status, "status %d: %s", (int)talk.status, talk.text);
    ck_assert_int_eq(talk.cause, cause);
}

/* Messages go both ways in turns on one stream, before and after there is a connection, and the
 * trailers arrive with the outcome. */
START_TEST(stream_talks)
{
    begin();
    start("/echo");
    say("one");
    say("");
    ck_assert_uint_eq(talk.messages, 0);
    wait_for_messages(2);
    ck_assert_str_eq(talk.last, "");
    say("three");
    wait_for_messages(3);
    ck_assert_str_eq(talk.last, "three");
    say("four");
    half_close();
    ck_assert_int_eq(channel_send(&talk.call, BYTES_LITERAL("five")), CHANNEL_E_OVER);
    ck_assert_int_eq(channel_half_close(&talk.call), CHANNEL_E_OVER);
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 4);
    ck_assert_str_eq(talk.last, "four");
    ck_assert_str_eq(talk.plan, "index");
    ck_assert_int_eq(channel_send(&talk.call, BYTES_LITERAL("six")), CHANNEL_E_OVER);
    ck_assert_uint_eq(unsent_size(&talk.call), 0);
    channel_cancel(&talk.call);
    end();
}

END_TEST

/* A stream without any message is over when the server says so. */
START_TEST(stream_may_be_empty)
{
    begin();
    ask("/echo");
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 0);
    end();
}

END_TEST

/* Metadata goes along, and nobody is asked to compress. */
START_TEST(stream_sends_metadata)
{
    static const struct call_field field = {"users-continue-on-error", "true"};

    begin();
    talk = (struct talk){
        .call = {.path = "/heads",
                 .timeout_ns = CALL_NO_DEADLINE,
                 .done = on_done,
                 .message = on_message,
                 .writable = on_writable,
                 .fields = &field,
                 .field_count = 1},
    };
    ck_assert_int_eq(channel_open(channel, &talk.call), 0);
    half_close();
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(talk.last, "true|identity");
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
           unsent_size(&talk.call) < TRANSPORT_UNSENT_MAX) {
        while (channel_send(&talk.call, message) == 0) {
            sent += 1024;
        }
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
        ck_assert_msg(!talk.is_done, "done: %s", talk.text);
    }
    ck_assert_int_eq(channel_send(&talk.call, message), CHANNEL_E_FULL);
    ck_assert_uint_eq(buf_size(&request->body), SERVER_WINDOW);
    ck_assert_uint_lt(unsent_size(&talk.call), TRANSPORT_UNSENT_MAX + 1024);
    ck_assert_uint_eq(sent, SERVER_WINDOW + unsent_size(&talk.call));
    talk.writable_count = 0;

    peer.holds_credit = false;
    h2_stream_consume(request->stream, SERVER_WINDOW);
    conn_touch(request->connection->conn);
    while (talk.writable_count == 0) {
        turn();
    }
    ck_assert_int_eq(channel_send(&talk.call, message), 0);
    channel_cancel(&talk.call);
    expect(GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    end();
}

END_TEST

/* While its owner is paused a stream costs one window and not a byte more; resumed, it gets all. */
START_TEST(stream_pause_shuts_the_window)
{
    begin();
    start("/flood");
    channel_pause(&talk.call);
    half_close();
    while (request == NULL ||
           h2_stream_unsent_size(request->stream) > FLOOD_BYTES - STREAM_WINDOW) {
        turn();
    }
    turn_quietly();
    ck_assert_uint_eq(h2_stream_unsent_size(request->stream), FLOOD_BYTES - STREAM_WINDOW);
    ck_assert_uint_eq(talk.messages, 0);
    channel_resume(&talk.call);
    channel_resume(&talk.call);
    ck_assert_uint_eq(talk.messages, 0);
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, FLOOD_MESSAGES);
    end();
}

END_TEST

/* A message larger than the window gets through. */
START_TEST(stream_takes_large_messages)
{
    begin();
    ask("/large");
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
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
    ck_assert(!talk.is_done);
    channel_resume(&talk.call);
    ck_assert(!talk.is_done);
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 2);
    ck_assert_str_eq(talk.last, "two");
    end();
}

END_TEST

/* Cancelled, or closed with its channel, while paused at the end: CANCELLED, and what was not told
 * is dropped. */
START_TEST(stream_ends_while_paused)
{
    for (int with_channel = 0; with_channel < 2; with_channel++) {
        begin();
        talk.pause_after = 1;
        ask("/two");
        wait_for_end();
        if (with_channel == 1) {
            close_channel();
        } else {
            channel_cancel(&talk.call);
        }
        expect(GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
        ck_assert_uint_eq(talk.messages, 1);
        end();
    }
}

END_TEST

/* A callback may cancel its own stream, with the end already here and without: it is told no
 * further message. */
START_TEST(stream_cancels_from_a_callback)
{
    begin();
    talk.cancel_after = 1;
    ask("/two");
    expect(GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    ck_assert_uint_eq(talk.messages, 1);

    start("/echo");
    say("one");
    say("two");
    expect(GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    ck_assert_uint_eq(talk.messages, 1);
    while (peer.resets == 0) {
        turn();
    }
    end();
}

END_TEST

/* A server that ends the stream early: its messages, then its status; nothing more can be sent. */
START_TEST(stream_fails_early)
{
    begin();
    start("/fail");
    say("one");
    wait_for_messages(1);
    expect(GRPC_STATUS_ALREADY_EXISTS, CALL_CAUSE_ANSWER);
    ck_assert_int_eq(channel_send(&talk.call, BYTES_LITERAL("two")), CHANNEL_E_OVER);
    ask("/html");
    expect(GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

/* A frame that breaks a rule ends the stream after the good ones before it. */
START_TEST(stream_refuses_bad_frames)
{
    begin();
    ask("/compressed");
    expect(GRPC_STATUS_INTERNAL, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(talk.last, "first");
    ask("/half");
    expect(GRPC_STATUS_INTERNAL, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(talk.last, "first");
    ck_assert_str_eq(talk.text, "the answer ended inside its message");
    end();
}

END_TEST

/* The deadline of a stream counts from its start, and resets it, once it was sent. */
START_TEST(stream_keeps_its_deadline)
{
    begin();
    for (uint64_t ms = 20; peer.resets == 0; ms *= 2) {
        talk = (struct talk){
            .call = {.path = "/echo",
                     .timeout_ns = ms * CLOCK_NS_PER_MS,
                     .done = on_done,
                     .message = on_message,
                     .writable = on_writable},
        };
        ck_assert_int_eq(channel_open(channel, &talk.call), 0);
        say("one");
        expect(GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
        turn_quietly();
    }
    end();
}

END_TEST

/* What a lost connection brought is told before the loss is. */
START_TEST(stream_tells_messages_before_a_loss)
{
    begin();
    start("/echo");
    channel_pause(&talk.call);
    say("one");
    say("two");
    while (call_reply_untaken_size(&talk.call.attempt.reply) < 2 * (5 + 3)) {
        turn();
    }
    conn_abort(request->connection->conn);
    wait_for_end();
    ck_assert_uint_eq(talk.messages, 0);
    channel_resume(&talk.call);
    expect(GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_uint_eq(talk.messages, 2);
    end();
}

END_TEST

/* A stream that was cancelled before there was a connection is never sent. */
START_TEST(stream_cancels_before_the_connection)
{
    begin();
    start("/echo");
    say("one");
    channel_cancel(&talk.call);
    ck_assert(!talk.is_done);
    ck_assert_int_eq(channel_send(&talk.call, BYTES_LITERAL("two")), CHANNEL_E_OVER);
    expect(GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    ck_assert_ptr_null(request);
    end();
}

END_TEST

/* A stream that was refused begins anew with all that it had sent, and goes on from there. */
START_TEST(stream_begins_anew)
{
    begin();
    start("/echo");
    say("one");
    wait_for_messages(1);
    channel_cancel(&talk.call);
    expect(GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);

    start("/refuse");
    say("one");
    say("two");
    while (talk.messages < 2) { /* the path becomes /echo there */
        turn();
    }
    say("three");
    half_close();
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 3);
    ck_assert_str_eq(talk.last, "three");
    ck_assert_uint_eq(channel_stats(channel).transparent_retries, 1);
    end();
}

END_TEST

/* What is sent between the refusal and the news of it is not lost. */
START_TEST(stream_takes_messages_while_it_begins_anew)
{
    begin();
    start("/refuse");
    say("one");
    while (channel_stats(channel).transparent_retries == 0) {
        if (talk.call.attempt.is_over) {
            say("two"); /* to an attempt that ends */
            half_close();
        }
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
    if (!talk.call.is_half_closed) {
        say("two");
        half_close();
    }
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, 2);
    ck_assert_str_eq(talk.last, "two");
    end();
}

END_TEST

/* Once more was sent than is kept, or an answer has come, a refusal is the end; the latter cannot
 * mean that the server has not looked at it. */
START_TEST(stream_is_committed)
{
    uint8_t bytes[1019] = {0};
    size_t sent = 0;

    begin();
    start("/late-refuse");
    say("one");
    while (sent <= CHANNEL_REPLAY_MAX) {
        int ret = channel_send(&talk.call, (struct bytes){bytes, sizeof(bytes)});

        sent += ret == 0 ? 1024 : 0;
        ck_assert(ret == 0 || ret == CHANNEL_E_FULL);
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
    half_close();
    expect(GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED);
    ck_assert_uint_eq(channel_stats(channel).transparent_retries, 0);
    ck_assert_uint_eq(talk.messages, 0);

    start("/answered-refuse");
    say("one");
    wait_for_messages(1);
    half_close();
    expect(GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(channel_stats(channel).transparent_retries, 0);
    end();
}

END_TEST

/* Before there is a connection a stream takes as much as one with a connection that does not move.
 */
START_TEST(stream_bounds_what_waits_for_a_connection)
{
    uint8_t bytes[1019] = {0};
    size_t sent = 0;

    begin();
    start("/echo");
    while (channel_send(&talk.call, (struct bytes){bytes, sizeof(bytes)}) == 0) {
        sent += 1024;
    }
    ck_assert_uint_eq(sent, TRANSPORT_UNSENT_MAX);
    ck_assert_uint_eq(unsent_size(&talk.call), sent);
    while (talk.writable_count == 0) {
        turn();
    }
    say("more");
    half_close();
    expect(GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(talk.messages, TRANSPORT_UNSENT_MAX / 1024 + 1);
    ck_assert_str_eq(talk.last, "more");
    end();
}

END_TEST

UNIT_MAIN("channel_stream", stream_talks, stream_may_be_empty, stream_sends_metadata,
          stream_bounds_what_waits, stream_pause_shuts_the_window, stream_takes_large_messages,
          stream_outcome_waits_for_messages, stream_ends_while_paused,
          stream_cancels_from_a_callback, stream_fails_early, stream_refuses_bad_frames,
          stream_keeps_its_deadline, stream_tells_messages_before_a_loss,
          stream_cancels_before_the_connection, stream_begins_anew,
          stream_takes_messages_while_it_begins_anew, stream_is_committed,
          stream_bounds_what_waits_for_a_connection)
