#include "lib/call_rig.h"
#include "lib/unit.h"

#include "http2/grpc_frame.h"

/* What comes from clients of all four shapes, and holding it back. */

static struct call_rig rig;
static struct h2_peer_call client;
static struct buf body; /* of a request */

static void begin(const struct grpc_method *method)
{
    call_rig_init(&rig);
    rig.method = method;
    buf_clear(&body);
}

static void start(const char *const *more)
{
    h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
    call_rig_talk(&rig);
}

static void end(void)
{
    h2_peer_end(&client);
    call_rig_talk(&rig);
}

static void clean_up(void)
{
    h2_peer_call_deinit(&client);
    call_rig_deinit(&rig);
    buf_deinit(&body);
}

static void add(bool compressed, struct bytes message)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];

    grpc_frame_encode_head(head, compressed, (uint32_t)message.size);
    ck_assert_int_eq(buf_append(&body, head, sizeof(head)), 0);
    ck_assert_int_eq(buf_append(&body, message.data, message.size), 0);
}

static void add_text(const char *text)
{
    add(false, bytes_from_text(text));
}

/* Sends what was added, in pieces. */
static void write_body(size_t step)
{
    call_rig_write(&rig, &client, buf_bytes(&body), step);
    buf_clear(&body);
}

/* Turns the server, and lets both ends talk, until nothing moves any more. */
static void settle(void)
{
    while (!list_is_empty(&rig.reactor.tasks)) {
        call_rig_turn(&rig);
        call_rig_talk(&rig);
    }
}

static void reply_to_last(struct grpc_call *call)
{
    grpc_call_reply(call, &(struct bytes){(const uint8_t *)"ok", 2}, 1);
}

/* Both shapes with a stream of requests are opened before the first message, hear each message and
 * the end, and answer. */
START_TEST(stream_hears_messages_and_the_end)
{
    const struct grpc_method *const methods[] = {&call_rig_client_stream, &call_rig_bidi_stream};
    size_t i;

    for (i = 0; i < 2; i++) {
        begin(methods[i]);
        start(NULL);
        ck_assert_int_eq(rig.call->state, GRPC_CALL_RUNNING);
        add_text("one");
        add_text("");
        add_text("three");
        write_body(SIZE_MAX);
        ck_assert_str_eq(rig.heard, "[one][][three]");
        ck_assert_uint_eq(rig.call->messages_received, 3);
        end();
        ck_assert_str_eq(rig.heard, "[one][][three]$");
        reply_to_last(rig.call);
        call_rig_talk(&rig);
        call_rig_check(&client, GRPC_STATUS_OK, "");
        ck_assert(bytes_equal(buf_bytes(&client.body), BYTES_LITERAL("\0\0\0\0\2ok")));
        ck_assert_uint_eq(rig.requests, 0);
        clean_up();
    }
}

END_TEST

/* A stream that ends with its head has no message, and that is no error. */
START_TEST(stream_may_be_empty)
{
    begin(&call_rig_client_stream);
    h2_peer_begin(&rig.peer, &client, "/s.S/M", NULL);
    end();
    ck_assert_str_eq(rig.heard, "$");
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    call_rig_check(&client, GRPC_STATUS_OK, "");
    clean_up();
}

END_TEST

/* The borders of DATA frames mean nothing, wherever they are. */
START_TEST(stream_is_the_same_in_every_cut)
{
    size_t step;
    size_t size;

    for (step = 1, size = 2; step < size; step++) {
        begin(&call_rig_bidi_stream);
        start(NULL);
        add_text("a");
        add_text("");
        add_text("hello");
        size = buf_size(&body);
        write_body(step);
        end();
        ck_assert_str_eq(rig.heard, "[a][][hello]$");
        grpc_call_finish(rig.call);
        call_rig_talk(&rig);
        clean_up();
    }
}

END_TEST

static void pause_call(struct grpc_call *call, struct bytes message)
{
    (void)message;
    grpc_call_pause(call);
}

/* The same with the handler pausing after every message, so that every cut also waits. */
START_TEST(stream_is_the_same_with_pauses)
{
    size_t step;

    for (step = 1; step < 22; step++) {
        begin(&call_rig_bidi_stream);
        rig.on_message = pause_call;
        start(NULL);
        add_text("a");
        add_text("");
        add_text("hello");
        write_body(step);
        end();
        ck_assert_str_eq(rig.heard, "[a]");
        grpc_call_resume(rig.call);
        ck_assert_str_eq(rig.heard, "[a]"); /* not inside */
        settle();
        ck_assert_str_eq(rig.heard, "[a][]");
        grpc_call_resume(rig.call);
        grpc_call_resume(rig.call);
        settle();
        ck_assert_str_eq(rig.heard, "[a][][hello]");
        grpc_call_resume(rig.call);
        settle();
        ck_assert_str_eq(rig.heard, "[a][][hello]$");
        grpc_call_finish(rig.call);
        call_rig_talk(&rig);
        clean_up();
    }
}

END_TEST

/* A resume that is taken back in the same turn delivers nothing. */
START_TEST(stream_paused_again_stays_paused)
{
    begin(&call_rig_bidi_stream);
    start(NULL);
    grpc_call_pause(rig.call);
    add_text("a");
    write_body(SIZE_MAX);
    grpc_call_resume(rig.call);
    grpc_call_pause(rig.call);
    settle();
    ck_assert_str_eq(rig.heard, "");
    grpc_call_resume(rig.call);
    settle();
    ck_assert_str_eq(rig.heard, "[a]");
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* While a handler is paused no more comes than the stream's window has; then everything does (X6),
 * for the connection is told that there is credit to send, though the handler says nothing. */
START_TEST(stream_waits_in_its_window)
{
    static uint8_t message[1000];
    unsigned i;

    begin(&call_rig_client_stream);
    start(NULL);
    grpc_call_pause(rig.call);
    for (i = 0; i < 300; i++) {
        h2_peer_send(&client, 0, message, sizeof(message));
    }
    end();
    ck_assert_uint_eq(buf_size(&rig.call->waiting), 65535);
    ck_assert_uint_eq(h2_stream_unsent_size(client.stream), 300 * 1005 - 65535);
    ck_assert(!rig.call->peer_ended);
    rig.touched = 0;
    grpc_call_resume(rig.call);
    call_rig_turn(&rig);
    ck_assert_uint_eq(rig.touched, 1);
    call_rig_talk(&rig);
    settle();
    ck_assert_uint_eq(rig.call->messages_received, 300);
    ck_assert_str_eq(rig.heard + strlen(rig.heard) - 8, "[#1000]$");
    ck_assert_ptr_null(rig.call->waiting.data);
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* A message may be larger than the window: credit comes back for its parts. */
START_TEST(stream_takes_messages_over_the_window)
{
    static uint8_t message[200000];
    unsigned i;

    begin(&call_rig_client_stream);
    rig.host.max_message = sizeof(message);
    start(NULL);
    for (i = 0; i < 3; i++) {
        add(false, (struct bytes){message, sizeof(message)});
        write_body(10000);
    }
    end();
    ck_assert_str_eq(rig.heard, "[#200000][#200000][#200000]$");
    ck_assert_uint_le(rig.call->reader.gathered.capacity, 16384); /* not kept for a next one */
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* The host holds back: streams stop as if paused, and what is complete waits too. */
START_TEST(stream_waits_for_the_host)
{
    begin(&call_rig_bidi_stream);
    start(NULL);
    rig.is_shut = true;
    add_text("a");
    add_text("b");
    write_body(SIZE_MAX);
    end();
    ck_assert_str_eq(rig.heard, "");
    grpc_call_deliver(rig.call); /* too early: the host has not changed its mind */
    settle();
    ck_assert_str_eq(rig.heard, "");
    rig.is_shut = false;
    grpc_call_deliver(rig.call);
    ck_assert_str_eq(rig.heard, "");
    settle();
    ck_assert_str_eq(rig.heard, "[a][b]$");
    grpc_call_deliver(rig.call);
    ck_assert(list_is_empty(&rig.reactor.tasks)); /* nothing waits */
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

static void shut(struct grpc_call *call, struct bytes message)
{
    (void)call;
    (void)message;
    rig.is_shut = true;
}

/* The host may change its mind between two messages that came together. */
START_TEST(stream_stops_between_messages)
{
    begin(&call_rig_bidi_stream);
    rig.on_message = shut;
    start(NULL);
    add_text("a");
    add_text("b");
    write_body(SIZE_MAX);
    ck_assert_str_eq(rig.heard, "[a]");
    rig.is_shut = false;
    grpc_call_deliver(rig.call);
    settle();
    ck_assert_str_eq(rig.heard, "[a][b]");
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* One request message that is complete waits for the host, runs once it may, and can still end
 * otherwise before. */
START_TEST(request_waits_for_the_host)
{
    const struct grpc_method *const methods[] = {&call_rig_unary, &call_rig_server_stream};
    static const char *const timeout[] = {"grpc-timeout", "1S", NULL};
    unsigned i;

    for (i = 0; i < 4; i++) {
        begin(methods[i % 2]);
        rig.on_request = call_rig_echo;
        rig.is_shut = true;
        start(timeout);
        add_text("ping");
        write_body(3);
        end();
        ck_assert_int_eq(rig.call->state, GRPC_CALL_RECEIVING);
        grpc_call_check_progress(rig.call, 0); /* that it waits is not the client's doing */
        ck_assert(grpc_call_is_wanted(rig.call));
        rig.is_shut = false;
        grpc_call_deliver(rig.call);
        ck_assert_uint_eq(rig.requests, 0);
        if (i < 2) {
            settle();
            ck_assert_str_eq(rig.message, "ping");
            call_rig_check(&client, GRPC_STATUS_OK, "");
        } else {
            call_rig_advance(&rig, CLOCK_NS_PER_S);
            settle();
            call_rig_talk(&rig);
            call_rig_check(&client, GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
            ck_assert_uint_eq(rig.requests, 0);
        }
        clean_up();
    }
}

END_TEST

static void fail_call(struct grpc_call *call, struct bytes message)
{
    ck_assert_uint_eq(message.size, 1000);
    grpc_call_fail_text(call, GRPC_STATUS_ABORTED, "TEST", "enough");
    ck_assert_uint_eq(message.data[999], 7); /* still there */
}

/* A handler that fails from inside a message hears no more; what came with it, what waits and what
 * comes later is swallowed, and its credit is returned (X7). */
START_TEST(stream_failed_inside_swallows_the_rest)
{
    static uint8_t message[1000];
    unsigned i;
    unsigned j;

    begin(&call_rig_client_stream);
    memset(message, 7, sizeof(message));
    rig.on_message = fail_call;
    for (i = 0; i < 40; i++) {
        rig.heard[0] = '\0';
        start(NULL);
        if (i % 2 == 0) {
            grpc_call_pause(rig.call);
        }
        for (j = 0; j < 80; j++) {
            h2_peer_send(&client, 0, message, sizeof(message));
        }
        call_rig_talk(&rig);
        if (i % 2 == 0) {
            ck_assert_uint_gt(buf_size(&rig.call->waiting), 60000);
            grpc_call_resume(rig.call);
            settle();
        }
        ck_assert_str_eq(rig.heard, "[#1000]");
        call_rig_check(&client, GRPC_STATUS_ABORTED, "enough");
        ck_assert(client.closed);
        h2_peer_call_deinit(&client);
    }
    call_rig_deinit(&rig);
}

END_TEST

/* A client that has to write before it reads gets rid of all of it, though the answer waits for its
 * window. */
START_TEST(stream_answered_early_still_takes_bytes)
{
    static uint8_t large[200000];
    const struct bytes reply = {large, sizeof(large)};

    begin(&call_rig_client_stream);
    start(NULL);
    client.holds_credit = true;
    grpc_call_reply(rig.call, &reply, 1);
    call_rig_talk(&rig);
    add(false, reply);
    write_body(SIZE_MAX);
    ck_assert_uint_eq(h2_stream_unsent_size(client.stream), 0);
    ck_assert_str_eq(rig.heard, "");
    h2_stream_reset(client.stream, H2_ERROR_CANCEL);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* Wrong bodies end the call, and the handler hears of it: cut inside a message, a bad flag, a
 * message too large, compressed without an encoding. */
START_TEST(stream_refuses_bad_bodies)
{
    static const struct {
        const char *body;
        size_t size;
        enum grpc_status status;
    } rows[] = {
        {"\0\0\0\0\1a\0", 7, GRPC_STATUS_INTERNAL},
        {"\0\0\0\0\1a\0\0\0\0\2b", 12, GRPC_STATUS_INTERNAL},
        {"\0\0\0\0\1a\2\0\0\0\1b", 12, GRPC_STATUS_INTERNAL},
        {"\0\0\0\0\1a\0\0\0\3\xe9", 11, GRPC_STATUS_RESOURCE_EXHAUSTED},
        {"\0\0\0\0\1a\1\0\0\0\1b", 12, GRPC_STATUS_INTERNAL},
    };

    size_t i;
    unsigned mode;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (mode = 0; mode < 3; mode++) {
            begin(&call_rig_bidi_stream);
            start(NULL);
            if (mode == 2) {
                grpc_call_pause(rig.call);
            }
            ck_assert_int_eq(buf_append(&body, rows[i].body, rows[i].size), 0);
            write_body(mode == 0 ? 1 : SIZE_MAX);
            if (client.stream != NULL) {
                end();
            }
            if (mode == 2) {
                grpc_call_resume(rig.call);
                settle();
            }
            ck_assert_str_eq(rig.heard, "[a]x");
            call_rig_check(&client, rows[i].status, NULL);
            clean_up();
        }
    }
}

END_TEST

/* So do fields behind the body that are larger than a head may be. */
START_TEST(stream_refuses_large_trailers)
{
    static char text[5000];
    const struct h2_field trailer = {.name = BYTES_LITERAL("x-large"),
                                     .value = {(const uint8_t *)text, sizeof(text)}};

    memset(text, 'v', sizeof(text));
    begin(&call_rig_bidi_stream);
    start(NULL);
    add_text("a");
    write_body(SIZE_MAX);
    ck_assert_int_eq(h2_stream_end(client.stream, &trailer, 1), 0);
    call_rig_talk(&rig);
    ck_assert_str_eq(rig.heard, "[a]x");
    call_rig_check(&client, GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    clean_up();
}

END_TEST

/* Methods with one request message take one, whatever they answer (P16). */
START_TEST(server_stream_takes_one_message)
{
    unsigned count;

    for (count = 0; count < 3; count++) {
        unsigned i;

        begin(&call_rig_server_stream);
        rig.on_request = call_rig_echo;
        start(NULL);
        for (i = 0; i < count; i++) {
            add_text("m");
        }
        write_body(1);
        if (client.stream != NULL) {
            end();
        }
        call_rig_check(&client, count == 1 ? GRPC_STATUS_OK : GRPC_STATUS_UNIMPLEMENTED, NULL);
        clean_up();
    }
}

END_TEST

#define PATIENCE_NS (10 * CLOCK_NS_PER_S)

/* Lets so much time pass that patience would end, and looks. */
static bool survives(void)
{
    call_rig_advance(&rig, PATIENCE_NS);
    grpc_call_check_progress(rig.call, PATIENCE_NS);
    return grpc_call_is_wanted(rig.call);
}

/* A stream may rest between messages for as long as it likes, and stand still when it was made to;
 * inside a message it may not. */
START_TEST(stream_may_rest_between_messages)
{
    begin(&call_rig_bidi_stream);
    start(NULL);
    ck_assert(survives());
    add_text("one");
    write_body(SIZE_MAX);
    ck_assert(survives());
    ck_assert_int_eq(buf_append(&body, "\0\0\0\0\7ha", 7), 0);
    write_body(SIZE_MAX);
    call_rig_advance(&rig, PATIENCE_NS - 1); /* counts from the beginning of this message */
    grpc_call_check_progress(rig.call, PATIENCE_NS);
    ck_assert(grpc_call_is_wanted(rig.call));
    grpc_call_pause(rig.call);
    ck_assert(survives());
    grpc_call_resume(rig.call);
    rig.is_shut = true;
    ck_assert(survives());
    rig.is_shut = false;
    ck_assert(!survives());
    call_rig_talk(&rig);
    call_rig_check(&client, GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
    ck_assert_str_eq(rig.heard, "[one]x");
    clean_up();
}

END_TEST

/* Time that bytes have waited here is not counted against the client that sent them. */
START_TEST(stream_gets_time_back_after_a_pause)
{
    begin(&call_rig_bidi_stream);
    start(NULL);
    grpc_call_pause(rig.call);
    ck_assert_int_eq(buf_append(&body, "\0\0\0\0\7ha", 7), 0);
    write_body(SIZE_MAX);
    ck_assert(survives());
    grpc_call_resume(rig.call);
    settle();
    grpc_call_check_progress(rig.call, PATIENCE_NS);
    ck_assert(grpc_call_is_wanted(rig.call));
    ck_assert(!survives());
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* Small messages, always half of one on its way, move: none is slow. */
START_TEST(stream_of_small_messages_moves)
{
    unsigned i;

    begin(&call_rig_bidi_stream);
    start(NULL);
    ck_assert_int_eq(buf_append(&body, "\0\0", 2), 0);
    write_body(SIZE_MAX);
    for (i = 0; i < 10; i++) {
        call_rig_advance(&rig, PATIENCE_NS / 2);
        ck_assert_int_eq(buf_append(&body, "\0\0\1a\0\0", 6), 0);
        write_body(SIZE_MAX);
        grpc_call_check_progress(rig.call, PATIENCE_NS);
        ck_assert(grpc_call_is_wanted(rig.call));
    }
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* Of streams that carry secrets no byte stays where others may find it: neither in the reader, nor
 * in what waits. */
START_TEST(stream_wipes_secrets)
{
    static const struct grpc_method secret = {
        .path = "/s.S/M", .kind = GRPC_METHOD_BIDI_STREAM, .secret = true};

    begin(&secret);
    start(NULL);
    ck_assert_int_eq(buf_append(&body, "\0\0\0\0\6sec", 8), 0);
    write_body(SIZE_MAX);
    ck_assert_mem_eq(rig.call->reader.gathered.data, "sec", 3);
    ck_assert_int_eq(buf_append(&body, "ret", 3), 0);
    write_body(SIZE_MAX);
    ck_assert_str_eq(rig.heard, "[secret]");
    ck_assert_mem_eq(rig.call->reader.gathered.data, "\0\0\0\0\0\0", 6);
    grpc_call_pause(rig.call);
    add_text("more secrets");
    write_body(3);
    grpc_call_resume(rig.call);
    settle();
    ck_assert_str_eq(rig.heard, "[secret][more secrets]");
    ck_assert(rig.call->reader.is_secret);
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

UNIT_MAIN("grpc_call_stream", stream_hears_messages_and_the_end, stream_may_be_empty,
          stream_is_the_same_in_every_cut, stream_is_the_same_with_pauses,
          stream_paused_again_stays_paused, stream_waits_in_its_window,
          stream_takes_messages_over_the_window, stream_waits_for_the_host,
          stream_stops_between_messages, request_waits_for_the_host,
          stream_failed_inside_swallows_the_rest, stream_answered_early_still_takes_bytes,
          stream_refuses_bad_bodies, stream_refuses_large_trailers, server_stream_takes_one_message,
          stream_may_rest_between_messages, stream_gets_time_back_after_a_pause,
          stream_of_small_messages_moves, stream_wipes_secrets)
