#include "lib/call_rig.h"
#include "lib/unit.h"

#include "http2/grpc_gzip.h"

#include <errno.h>
#include <stdio.h>

/* What goes to the client: many messages, the end behind them, custom metadata, compression. */

static struct call_rig rig;
static struct h2_peer_call client;
static uint8_t large[200000];

static void listen_and_keep(struct grpc_call *call, struct bytes message)
{
    (void)message;
    call_rig_open(call);
}

/* A call of a SERVER_STREAM method in the hands of its handler. */
static void begin(const char *const *more)
{
    call_rig_init(&rig);
    rig.method = &call_rig_server_stream;
    rig.on_request = listen_and_keep;
    h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
    h2_peer_send(&client, 0, "ping", 4);
    h2_peer_end(&client);
    call_rig_talk(&rig);
    ck_assert_int_eq(rig.call->state, GRPC_CALL_RUNNING);
}

static void clean_up(void)
{
    h2_peer_call_deinit(&client);
    call_rig_deinit(&rig);
}

static void send_bytes(struct bytes message)
{
    ck_assert_int_eq(grpc_call_send(rig.call, &message, 1), 0);
    call_rig_talk(&rig);
}

static void send_text(const char *text)
{
    send_bytes(bytes_from_text(text));
}

static void fail_call(void)
{
    const struct grpc_error error = {.status = GRPC_STATUS_NOT_FOUND,
                                     .message = "gone",
                                     .reason = "TEST",
                                     .domain = "users.v1",
                                     .retry_delay_ms = 5};

    grpc_call_fail(rig.call, &error);
    call_rig_talk(&rig);
}

static void finish(void)
{
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
}

/* The head waits for the first message (P19), messages go out as they come, trailers end them. */
START_TEST(answer_sends_messages_then_trailers)
{
    begin(NULL);
    ck_assert(!client.head_done);
    send_text("one");
    ck_assert(bytes_equal(buf_bytes(&client.head),
                          BYTES_LITERAL(":status: 200\ncontent-type: application/grpc\n")));
    ck_assert(bytes_equal(buf_bytes(&client.body), BYTES_LITERAL("\0\0\0\0\3one")));
    send_text("");
    send_text("two");
    ck_assert(bytes_equal(buf_bytes(&client.body),
                          BYTES_LITERAL("\0\0\0\0\3one\0\0\0\0\0\0\0\0\0\3two")));
    ck_assert(!client.ended);
    finish();
    ck_assert(bytes_equal(buf_bytes(&client.trailers), BYTES_LITERAL("grpc-status: 0\n")));
    ck_assert(!client.head_ended);
    ck_assert_uint_eq(rig.finished, 1);
    ck_assert_int_eq(rig.status, GRPC_STATUS_OK);
    clean_up();
}

END_TEST

/* A message of more parts than fit one write, and of none, is one message. */
START_TEST(answer_gathers_any_number_of_parts)
{
    uint8_t head[5] = {0};
    struct bytes parts[30];
    size_t count;

    begin(NULL);
    for (count = 0; count < 30; count++) {
        parts[count] = (struct bytes){(const uint8_t *)"x", 1};
    }
    for (count = 0; count <= 30; count++) {
        buf_clear(&client.body);
        ck_assert_int_eq(grpc_call_send(rig.call, parts, count), 0);
        call_rig_talk(&rig);
        head[4] = (uint8_t)count;
        ck_assert_uint_eq(buf_size(&client.body), 5 + count);
        ck_assert_mem_eq(buf_bytes(&client.body).data, head, sizeof(head));
    }
    finish();
    clean_up();
}

END_TEST

/* An end without a message has a head and trailers all the same, which every client takes. */
START_TEST(answer_without_a_message_has_a_head)
{
    begin(NULL);
    finish();
    ck_assert(!client.head_ended);
    ck_assert(bytes_equal(buf_bytes(&client.head),
                          BYTES_LITERAL(":status: 200\ncontent-type: application/grpc\n")));
    ck_assert(bytes_equal(buf_bytes(&client.trailers), BYTES_LITERAL("grpc-status: 0\n")));
    ck_assert_uint_eq(buf_size(&client.body), 0);
    clean_up();
}

END_TEST

/* A failure before anything was sent is Trailers-Only; behind messages it is trailers, with all its
 * details (P19, E1). */
START_TEST(answer_fails_before_and_behind_messages)
{
    unsigned sent;

    for (sent = 0; sent < 2; sent++) {
        begin(NULL);
        if (sent == 1) {
            send_text("one");
        }
        fail_call();
        ck_assert_int_eq(client.head_ended, sent == 0);
        call_rig_check(&client, GRPC_STATUS_NOT_FOUND, "gone");
        ck_assert_str_eq(h2_peer_field(&client, "grpc-retry-pushback-ms"), "5");
        ck_assert_str_ne(h2_peer_field(&client, "grpc-status-details-bin"), "");
        ck_assert_int_eq(rig.status, GRPC_STATUS_NOT_FOUND);
        clean_up();
    }
}

END_TEST

/* What the client does not take waits, and is told; when it took all of it, so is that. */
START_TEST(answer_waits_for_the_window)
{
    begin(NULL);
    client.holds_credit = true;
    send_bytes((struct bytes){large, sizeof(large)});
    ck_assert_uint_eq(grpc_call_unsent_size(rig.call), sizeof(large) + 5 - 65535);
    ck_assert_str_eq(rig.heard, "");
    client.holds_credit = false;
    h2_stream_consume(client.stream, 65535);
    call_rig_talk(&rig);
    ck_assert_uint_eq(grpc_call_unsent_size(rig.call), 0);
    ck_assert_str_eq(rig.heard, "w");
    ck_assert_uint_eq(buf_size(&client.body), sizeof(large) + 5);
    finish();
    ck_assert_str_eq(rig.heard, "w");
    ck_assert_uint_eq(grpc_call_unsent_size(rig.call), 0);
    clean_up();
}

END_TEST

/* After the end every kind of answer is dropped, and does no harm. */
START_TEST(answer_after_the_end_is_dropped)
{
    const struct bytes message = BYTES_LITERAL("late");
    struct grpc_call *call;

    begin(NULL);
    call = rig.call;
    grpc_call_hold(call);
    h2_stream_reset(client.stream, H2_ERROR_CANCEL);
    call_rig_talk(&rig);
    ck_assert_str_eq(rig.heard, "x");
    ck_assert_int_eq(grpc_call_send(call, &message, 1), 0);
    ck_assert_int_eq(grpc_call_add_header(call, "x", message), 0);
    ck_assert_int_eq(grpc_call_add_trailer(call, "x", message), 0);
    ck_assert_uint_eq(grpc_call_unsent_size(call), 0);
    grpc_call_listen(call, &(struct grpc_call_events){0}, NULL);
    ck_assert_ptr_null(call->events);
    grpc_call_pause(call);
    grpc_call_resume(call);
    grpc_call_deliver(call);
    grpc_call_finish(call);
    grpc_call_reply(call, &message, 1);
    ck_assert_uint_eq(rig.finished, 1);
    ck_assert(list_is_empty(&rig.reactor.tasks));
    grpc_call_release(call);
    clean_up();
}

END_TEST

static void add_metadata(bool headers, bool trailers)
{
    const struct bytes bytes = BYTES_LITERAL("\0\1\2\377");

    if (headers) {
        ck_assert_int_eq(grpc_call_add_header(rig.call, "x-head", BYTES_LITERAL("one")), 0);
        ck_assert_int_eq(grpc_call_add_header(rig.call, "x-head-bin", bytes), 0);
    }
    if (trailers) {
        ck_assert_int_eq(grpc_call_add_trailer(rig.call, "x-trail", BYTES_LITERAL("two")), 0);
        ck_assert_int_eq(grpc_call_add_trailer(rig.call, "x-trail-bin", bytes), 0);
    }
}

/* Custom metadata goes out in head and trailers, bytes as base64 without padding (P10); with every
 * way to end. */
START_TEST(answer_carries_custom_metadata)
{
    unsigned way;

    for (way = 0; way < 4; way++) {
        begin(NULL);
        add_metadata(true, true);
        if (way == 0) {
            send_text("one");
            finish();
        } else if (way == 1) {
            grpc_call_reply(rig.call, NULL, 0);
            call_rig_talk(&rig);
        } else if (way == 2) {
            send_text("one");
            fail_call();
        } else {
            fail_call(); /* a head all the same, for there is something to say in it */
        }
        ck_assert(bytes_equal(buf_bytes(&client.head),
                              BYTES_LITERAL(":status: 200\ncontent-type: application/grpc\n"
                                            "x-head: one\nx-head-bin: AAEC/w\n")));
        ck_assert_str_eq(h2_peer_field(&client, "x-trail"), "two");
        ck_assert_str_eq(h2_peer_field(&client, "x-trail-bin"), "AAEC/w");
        ck_assert_str_eq(h2_peer_field(&client, "grpc-status"), way < 2 ? "0" : "5");
        clean_up();
    }
}

END_TEST

/* Trailers alone do not turn an early failure into two blocks. */
START_TEST(answer_puts_trailers_into_trailers_only)
{
    begin(NULL);
    add_metadata(false, true);
    fail_call();
    ck_assert(client.head_ended);
    call_rig_check(&client, GRPC_STATUS_NOT_FOUND, "gone");
    ck_assert_str_eq(h2_peer_field(&client, "x-trail"), "two");
    clean_up();
}

END_TEST

/* There is room for so many fields and no more, and none for the head once it is out. */
START_TEST(answer_bounds_custom_metadata)
{
    unsigned i;

    begin(NULL);
    for (i = 0; i < GRPC_CALL_METADATA_MAX; i++) {
        ck_assert_int_eq(grpc_call_add_header(rig.call, "x", BYTES_LITERAL("y")), 0);
        ck_assert_int_eq(grpc_call_add_trailer(rig.call, "x", BYTES_LITERAL("y")), 0);
    }
    ck_assert_int_eq(grpc_call_add_header(rig.call, "x", BYTES_LITERAL("y")), -ENOSPC);
    ck_assert_int_eq(grpc_call_add_trailer(rig.call, "x", BYTES_LITERAL("y")), -ENOSPC);
    finish();
    clean_up();

    begin(NULL);
    send_text("one");
    ck_assert_int_eq(grpc_call_add_header(rig.call, "x", BYTES_LITERAL("y")), -ENOSPC);
    ck_assert_int_eq(grpc_call_add_trailer(rig.call, "x", BYTES_LITERAL("y")), 0);
    rig.call->arena.size_max = 1;
    ck_assert_int_eq(grpc_call_add_trailer(rig.call, "x", BYTES_LITERAL("y")), -ENOMEM);
    rig.call->arena.size_max = 0;
    finish();
    ck_assert_str_eq(h2_peer_field(&client, "x"), "y");
    clean_up();
}

END_TEST

/* Reads the next message of what the client got, and moves `*at` on. */
static bool next_message(size_t *at, struct buf *plain)
{
    const uint8_t *head = buf_bytes(&client.body).data + *at;
    size_t size = (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    const struct bytes message = {head + 5, size};

    *at += 5 + size;
    ck_assert_uint_le(*at, buf_size(&client.body));
    buf_clear(plain);
    if (head[0] == 1) {
        ck_assert_int_eq(grpc_gzip_inflate(message, 1000000, false, plain), 0);
    } else {
        ck_assert_int_eq(buf_append(plain, message.data, message.size), 0);
    }
    return head[0] == 1;
}

static const char *const takes_gzip[] = {"grpc-accept-encoding", "identity, gzip", NULL};

/* A client that takes gzip gets it, when asked for: each message that is large enough and shrinks
 * (C4, C6). */
START_TEST(answer_compresses_what_shrinks)
{
    static uint8_t noise[200];
    struct buf plain = {0};
    size_t at = 0;
    size_t i;

    for (i = 0; i < sizeof(noise); i++) {
        noise[i] = (uint8_t)(i * 181 + i * i * 7 + (i << (i % 5)));
    }
    begin(takes_gzip);
    rig.host.compress_min = 100;
    rig.host.compress_max = sizeof(large);
    grpc_call_compress(rig.call, true);
    send_text("short");
    send_bytes((struct bytes){large, 100});
    send_bytes((struct bytes){noise, sizeof(noise)});
    grpc_call_compress(rig.call, false);
    send_bytes((struct bytes){large, 1000});
    grpc_call_compress(rig.call, true);
    send_bytes((struct bytes){large, sizeof(large)});
    rig.host.compress_max = 500;
    send_bytes((struct bytes){large, 501});
    finish();
    ck_assert_str_eq(h2_peer_field(&client, "grpc-encoding"), "gzip");
    ck_assert(!next_message(&at, &plain));
    ck_assert(next_message(&at, &plain));
    ck_assert_uint_eq(buf_size(&plain), 100);
    ck_assert(!next_message(&at, &plain));
    ck_assert(bytes_equal(buf_bytes(&plain), (struct bytes){noise, sizeof(noise)}));
    ck_assert(!next_message(&at, &plain));
    ck_assert(next_message(&at, &plain));
    ck_assert(bytes_equal(buf_bytes(&plain), (struct bytes){large, sizeof(large)}));
    ck_assert(!next_message(&at, &plain));
    ck_assert_uint_eq(at, buf_size(&client.body));
    buf_deinit(&plain);
    clean_up();
}

END_TEST

/* Nothing is compressed for clients that do not take it, nor behind a head that did not say so
 * (C5). */
START_TEST(answer_compresses_only_for_those_who_take_it)
{
    struct buf plain = {0};
    size_t at = 0;

    begin((const char *const[]){"grpc-accept-encoding", "identity,deflate", NULL});
    grpc_call_compress(rig.call, true);
    send_bytes((struct bytes){large, 1000});
    finish();
    ck_assert_str_eq(h2_peer_field(&client, "grpc-encoding"), "");
    ck_assert_str_eq(h2_peer_field(&client, "grpc-accept-encoding"), "");
    ck_assert(!next_message(&at, &plain));
    clean_up();

    begin(takes_gzip);
    send_bytes((struct bytes){large, 1000});
    grpc_call_compress(rig.call, true);
    send_bytes((struct bytes){large, 1000});
    finish();
    ck_assert_str_eq(h2_peer_field(&client, "grpc-encoding"), "");
    at = 0;
    ck_assert(!next_message(&at, &plain));
    ck_assert(!next_message(&at, &plain));
    buf_deinit(&plain);
    clean_up();
}

END_TEST

static void reply_large(struct grpc_call *call, struct bytes message)
{
    const struct bytes reply = {large, 1000};

    (void)message;
    grpc_call_reply(call, &reply, 1);
}

/* The host's choice holds for unary answers too; who names an encoding hears which are taken. */
START_TEST(answer_of_a_unary_call_is_compressed)
{
    struct buf plain = {0};
    unsigned i;

    for (i = 0; i < 2; i++) {
        static const char *const more[] = {"grpc-accept-encoding", "gzip", "grpc-encoding",
                                           "identity", NULL};
        size_t at = 0;

        call_rig_init(&rig);
        rig.on_request = reply_large;
        rig.host.compress_replies = i == 0;
        h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
        h2_peer_send(&client, 0, "ping", 4);
        h2_peer_end(&client);
        call_rig_talk(&rig);
        call_rig_check(&client, GRPC_STATUS_OK, "");
        ck_assert_str_eq(h2_peer_field(&client, "grpc-encoding"), i == 0 ? "gzip" : "");
        ck_assert_str_eq(h2_peer_field(&client, "grpc-accept-encoding"), "identity,gzip");
        ck_assert_int_eq(next_message(&at, &plain), i == 0);
        ck_assert_uint_eq(buf_size(&plain), 1000);
        clean_up();
    }
    buf_deinit(&plain);
}

END_TEST

static char caller[] = "somebody";

static void set_caller(struct grpc_call *call)
{
    call->caller = arena_copy_text(&call->arena, bytes_from_text(caller));
}

/* A call that will live long gives its memory back, and goes on: who called stays known, messages,
 * metadata and errors work. */
START_TEST(answer_of_a_trimmed_call)
{
    static const char *const more[] = {"grpc-accept-encoding", "gzip", "x-custom", "value", NULL};
    struct grpc_call *call;
    unsigned i;

    call_rig_init(&rig);
    rig.method = &call_rig_server_stream;
    rig.on_head = set_caller;
    rig.on_request = listen_and_keep;
    for (i = 0; i < 2; i++) {
        h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
        h2_peer_send(&client, 0, "ping", 4);
        h2_peer_end(&client);
        call_rig_talk(&rig);
        call = rig.call;
        grpc_call_trim(call);
        grpc_call_trim(call);
        ck_assert_ptr_null(call->arena.blocks);
        ck_assert_ptr_null(call->reader.gathered.data);
        ck_assert_str_eq(call->caller, caller);
        ck_assert(bytes_equal(call->head.path, BYTES_LITERAL("/s.S/M")));
        ck_assert_ptr_null(grpc_head_find(&call->head, "x-custom"));
        grpc_call_compress(call, true);
        add_metadata(true, true);
        send_bytes((struct bytes){large, 1000});
        ck_assert_str_eq(h2_peer_field(&client, "grpc-encoding"), "gzip");
        fail_call();
        ck_assert_str_eq(h2_peer_field(&client, "x-trail"), "two");
        call_rig_check(&client, GRPC_STATUS_NOT_FOUND, "gone");
        h2_peer_call_deinit(&client);
    }
    call_rig_deinit(&rig);
}

END_TEST

static void trim_and_finish(struct grpc_call *call, struct bytes message)
{
    ck_assert_uint_eq(message.size, 4);
    grpc_call_trim(call);
    grpc_call_finish(call);
}

/* It may do so inside its handler, for the request is the handler's to forget. */
START_TEST(answer_of_a_call_trimmed_by_its_handler)
{
    call_rig_init(&rig);
    rig.method = &call_rig_server_stream;
    rig.on_request = trim_and_finish;
    h2_peer_begin(&rig.peer, &client, "/s.S/M", NULL);
    call_rig_write(&rig, &client, BYTES_LITERAL("\0\0\0\0\4ping"), 1);
    h2_peer_end(&client);
    call_rig_talk(&rig);
    call_rig_check(&client, GRPC_STATUS_OK, "");
    clean_up();
}

END_TEST

UNIT_MAIN("grpc_call_answer", answer_sends_messages_then_trailers,
          answer_gathers_any_number_of_parts, answer_without_a_message_has_a_head,
          answer_fails_before_and_behind_messages, answer_waits_for_the_window,
          answer_after_the_end_is_dropped, answer_carries_custom_metadata,
          answer_puts_trailers_into_trailers_only, answer_bounds_custom_metadata,
          answer_compresses_what_shrinks, answer_compresses_only_for_those_who_take_it,
          answer_of_a_unary_call_is_compressed, answer_of_a_trimmed_call,
          answer_of_a_call_trimmed_by_its_handler)
