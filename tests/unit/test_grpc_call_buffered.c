#include "lib/call_rig.h"
#include "lib/unit.h"

#include "core/limits_hit.h"
#include "http2/grpc_call_internal.h"
#include "http2/grpc_frame.h"
#include "http2/grpc_gzip.h"

/* What calls keep of their requests is counted and limited, and the count ends at zero:
 * call_rig_deinit() asserts it. */

#define CLIENTS_MAX 8

static struct call_rig rig;
static struct h2_peer_call clients[CLIENTS_MAX];
static unsigned count;
static struct buf body; /* of a request */

static void begin(const struct grpc_method *method)
{
    call_rig_init(&rig);
    rig.method = method;
    count = 0;
}

static struct h2_peer_call *start(const char *const *more)
{
    struct h2_peer_call *client = &clients[count++];

    ck_assert_uint_le(count, CLIENTS_MAX);
    h2_peer_begin(&rig.peer, client, "/s.S/M", more);
    call_rig_talk(&rig);
    return client;
}

/* Sends the head of a message of `declared` bytes and the first `size` of them. */
static void write_part(struct h2_peer_call *client, uint32_t declared, size_t size)
{
    static const uint8_t zeros[CALL_RIG_MAX_MESSAGE];
    uint8_t head[GRPC_FRAME_HEAD_SIZE];

    buf_clear(&body);
    grpc_frame_encode_head(head, false, declared);
    ck_assert_int_eq(buf_append(&body, head, sizeof(head)), 0);
    ck_assert_int_eq(buf_append(&body, zeros, size), 0);
    call_rig_write(&rig, client, buf_bytes(&body), SIZE_MAX);
}

static void finish(struct h2_peer_call *client)
{
    h2_peer_end(client);
    call_rig_talk(&rig);
}

static void turn(void)
{
    while (!list_is_empty(&rig.reactor.tasks)) {
        call_rig_turn(&rig);
        call_rig_talk(&rig);
    }
}

static void clean_up(void)
{
    while (count > 0) {
        h2_peer_call_deinit(&clients[--count]);
    }
    call_rig_deinit(&rig);
    buf_deinit(&body);
}

static uint64_t hits(enum limits_hit_reason reason)
{
    return rig.reactor.limits_hit.counts[reason];
}

/* A message counts as far as it has come, until its handler has had it. */
START_TEST(buffered_while_a_message_is_gathered)
{
    struct h2_peer_call *client;

    begin(NULL);
    rig.on_request = call_rig_echo;
    client = start(NULL);
    write_part(client, 100, 60);
    ck_assert_uint_eq(rig.host.buffered, 60);
    ck_assert_uint_eq(rig.pool.buffered, 60);
    call_rig_write(&rig, client, (struct bytes){(const uint8_t[40]){0}, 40}, 7);
    ck_assert_uint_eq(rig.host.buffered, 100);
    finish(client);
    ck_assert_uint_eq(rig.requests, 1);
    ck_assert_uint_eq(rig.host.buffered, 0);
    clean_up();
}

END_TEST

static void set_secret(struct grpc_call *call)
{
    static const struct grpc_method secret = {.path = "/s.S/M", .secret = true};

    call->method = &secret;
}

/* Of a secret message the whole size counts: the room for it is taken at once. */
START_TEST(buffered_counts_room_that_was_made)
{
    struct h2_peer_call *client;

    begin(NULL);
    rig.on_head = set_secret;
    rig.on_request = call_rig_echo;
    client = start(NULL);
    write_part(client, 900, 1);
    ck_assert_uint_eq(rig.host.buffered, 900);
    h2_stream_reset(client->stream, H2_ERROR_CANCEL);
    call_rig_talk(&rig);
    ck_assert_uint_eq(rig.host.buffered, 0);
    write_part(start(NULL), 900, 1);
    rig.pool.max_buffered_per_connection = 2 * (GRPC_CALL_COST + 900) - 1;
    write_part(start(NULL), 900, 1);
    call_rig_check(&clients[2], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    clean_up();
}

END_TEST

/* Over the limit of a connection the call whose bytes came fails, names the option, and gives its
 * memory back at once; the others go on. */
START_TEST(buffered_is_limited_for_a_connection)
{
    begin(NULL);
    rig.on_request = call_rig_echo;
    rig.pool.max_buffered_per_connection = 2 * GRPC_CALL_COST + 1000;
    write_part(start(NULL), 900, 600);
    write_part(start(NULL), 900, 400);
    ck_assert_uint_eq(rig.host.buffered, 1000);
    ck_assert_uint_eq(rig.host.unfinished, 2 * GRPC_CALL_COST + 1000);
    write_part(start(NULL), 900, 1);
    call_rig_check(&clients[2], GRPC_STATUS_RESOURCE_EXHAUSTED,
                   "the unfinished requests of this connection take more than "
                   "limits.max_buffered_per_connection");
    ck_assert_uint_eq(rig.host.buffered, 1000);
    ck_assert_uint_eq(hits(LIMITS_HIT_BUFFERED_PER_CONNECTION), 1);
    call_rig_write(&rig, &clients[0], (struct bytes){(const uint8_t[2]){0}, 2}, 2);
    call_rig_check(&clients[0], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    ck_assert_uint_eq(rig.host.buffered, 400);
    ck_assert_uint_eq(rig.host.unfinished, GRPC_CALL_COST + 400);
    call_rig_write(&rig, &clients[1], (struct bytes){(const uint8_t[500]){0}, 500}, 500);
    finish(&clients[1]);
    call_rig_check(&clients[1], GRPC_STATUS_OK, "");
    ck_assert_uint_eq(rig.host.buffered, 0);
    clean_up();
}

END_TEST

/* A message of a byte costs what its call does, and so does one of which only a part of its frame's
 * head has come; with the message whole that is over. */
START_TEST(buffered_counts_calls_that_have_no_message)
{
    unsigned i;

    begin(NULL);
    rig.pool.max_buffered_per_connection = 4 * GRPC_CALL_COST;
    for (i = 0; i < 3; i++) {
        write_part(start(NULL), 300, 1);
    }
    (void)start(NULL); /* a head of a usual size counts nothing */
    ck_assert_uint_eq(rig.host.unfinished, 3 * (GRPC_CALL_COST + 1));
    call_rig_write(&rig, start(NULL), (struct bytes){(const uint8_t[2]){0}, 2}, 2);
    call_rig_check(&clients[4], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    call_rig_write(&rig, &clients[0], (struct bytes){(const uint8_t[299]){0}, 299}, 299);
    ck_assert_uint_eq(rig.host.unfinished, 2 * (GRPC_CALL_COST + 1) + 300);
    call_rig_write(&rig, &clients[3], (struct bytes){(const uint8_t[2]){0}, 2}, 2);
    ck_assert_uint_eq(rig.host.unfinished, 3 * GRPC_CALL_COST + 2 + 300);
    clean_up();
}

END_TEST

/* However little the limit is, one call may use it up: it is bounded by the size of a message. */
START_TEST(buffered_leaves_room_for_one_call)
{
    begin(NULL);
    rig.pool.max_buffered_per_connection = 900;
    write_part(start(NULL), 900, 899);
    ck_assert(grpc_call_is_wanted(rig.call));
    write_part(start(NULL), 900, 1);
    call_rig_check(&clients[1], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    clean_up();
}

END_TEST

static void grow_head(struct grpc_call *call)
{
    ck_assert_ptr_nonnull(arena_alloc(&call->arena, GRPC_CALL_HEAD_USUAL + 1000));
}

/* What is unusual of a large head counts from its arrival to the first message. */
START_TEST(buffered_counts_large_heads)
{
    size_t excess;

    begin(NULL);
    rig.on_head = grow_head;
    rig.pool.max_buffered_per_connection = 4000;
    (void)start(NULL);
    excess = rig.host.unfinished;
    ck_assert_uint_ge(excess, 1000);
    ck_assert_uint_lt(excess, 2000);
    (void)start(NULL);
    ck_assert_uint_eq(rig.host.unfinished, 2 * excess);
    rig.pool.max_buffered_per_connection = 3 * excess - 1;
    (void)start(NULL);
    call_rig_check(&clients[2], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    ck_assert_uint_eq(rig.requests, 0);
    ck_assert_uint_eq(rig.host.unfinished, 2 * excess);
    write_part(&clients[0], 10, 10);
    ck_assert_uint_eq(rig.host.unfinished, excess + 10);
    clean_up();
}

END_TEST

/* Over the limit of all connections those fail that keep more than an equal share of it. */
START_TEST(buffered_is_limited_for_all)
{
    begin(NULL);
    rig.pool.max_buffered = 1000;
    rig.pool.buffered = 950; /* of others */
    rig.pool.host_count = 4;
    write_part(start(NULL), 900, 200);
    ck_assert_uint_eq(rig.host.buffered, 200); /* less than its quarter */
    write_part(start(NULL), 900, 100);
    call_rig_check(&clients[1], GRPC_STATUS_RESOURCE_EXHAUSTED,
                   "more request bytes wait to be handled than limits.max_buffered");
    ck_assert_uint_eq(rig.host.buffered, 200);
    ck_assert_uint_eq(hits(LIMITS_HIT_BUFFERED), 1);
    rig.pool.buffered = 200; /* the others have gone: now all is its own */
    rig.pool.host_count = 1;
    write_part(start(NULL), 900, 800);
    ck_assert_uint_eq(rig.host.buffered, 1000);
    write_part(start(NULL), 900, 1);
    call_rig_check(&clients[3], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    clean_up();
}

END_TEST

/* Bytes of a stream that wait for their handler count, and what it has had does not. */
START_TEST(buffered_while_a_stream_waits)
{
    struct h2_peer_call *client;

    begin(&call_rig_bidi_stream);
    client = start(NULL);
    write_part(client, 10, 10);
    ck_assert_str_eq(rig.heard, "[]"); /* ten zeros end the text */
    ck_assert_uint_eq(rig.host.buffered, 0);
    grpc_call_pause(rig.call);
    write_part(client, 10, 10);
    write_part(client, 10, 5);
    ck_assert_uint_eq(rig.host.buffered, 25);
    grpc_call_resume(rig.call);
    turn();
    ck_assert_uint_eq(rig.host.buffered, 5);
    rig.pool.max_buffered = 20;
    grpc_call_pause(rig.call);
    write_part(client, 900, 11);
    call_rig_check(client, GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    ck_assert_uint_eq(rig.host.buffered, 0);
    ck_assert_ptr_nonnull(strchr(rig.heard, 'x'));
    clean_up();
}

END_TEST

/* But not against the connection: that its handlers have paused is not the client's doing. What it
 * leaves half there is, though a stream that has had a message before is not charged for itself. */
START_TEST(buffered_bears_streams_that_wait)
{
    struct grpc_call *calls[CLIENTS_MAX];
    unsigned i;

    begin(&call_rig_bidi_stream);
    rig.pool.max_buffered_per_connection = 1000;
    for (i = 0; i < CLIENTS_MAX; i++) {
        (void)start(NULL);
        calls[i] = rig.call;
        write_part(&clients[i], 10, 10);
        grpc_call_pause(calls[i]);
        write_part(&clients[i], 900, 900);
        write_part(&clients[i], 900, 200);
    }
    ck_assert_uint_eq(rig.host.buffered, CLIENTS_MAX * (900 + 200 + 10));
    ck_assert_uint_eq(rig.host.unfinished, 0);
    for (i = 0; i < CLIENTS_MAX; i++) {
        grpc_call_resume(calls[i]);
        turn();
        ck_assert(grpc_call_is_wanted(calls[i]));
        ck_assert_uint_eq(rig.host.unfinished, 200 * (i + 1));
    }
    call_rig_write(&rig, &clients[0], (struct bytes){(const uint8_t[1]){0}, 1}, 1);
    call_rig_check(&clients[0], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    ck_assert_uint_eq(hits(LIMITS_HIT_BUFFERED_PER_CONNECTION), 1);
    clean_up();
}

END_TEST

/* A whole request that waits for its host counts until it is delivered. */
START_TEST(buffered_while_a_request_waits)
{
    struct h2_peer_call *client;

    begin(&call_rig_unary);
    rig.on_request = call_rig_echo;
    rig.is_shut = true;
    client = start(NULL);
    write_part(client, 300, 300);
    finish(client);
    ck_assert_uint_eq(rig.requests, 0);
    ck_assert_uint_eq(rig.host.buffered, 300);
    rig.is_shut = false;
    grpc_call_deliver(rig.call);
    turn();
    ck_assert_uint_eq(rig.requests, 1);
    ck_assert_uint_eq(rig.host.buffered, 0);
    clean_up();
}

END_TEST

/* However a call ends with its message half there, nothing of it is kept. */
START_TEST(buffered_ends_with_the_call)
{
    unsigned way;

    for (way = 0; way < 5; way++) {
        struct h2_peer_call *client;

        begin(way == 4 ? &call_rig_bidi_stream : NULL);
        client = start(NULL);
        if (way == 4) {
            grpc_call_pause(rig.call);
        }
        write_part(client, 900, 500);
        ck_assert_uint_eq(rig.host.buffered, way == 4 ? 505 : 500);
        switch (way) {
        case 0:
            h2_stream_reset(client->stream, H2_ERROR_CANCEL);
            call_rig_talk(&rig);
            break;
        case 1:
            call_rig_lose(&rig);
            break;
        case 2:
            grpc_call_cancel(rig.call, GRPC_STATUS_UNAVAILABLE, "TEST", "");
            break;
        case 3:
            finish(client); /* inside the message */
            break;
        default:
            grpc_call_fail_text(rig.call, GRPC_STATUS_ABORTED, "TEST", "");
            break;
        }
        ck_assert_uint_eq(rig.host.buffered, 0);
        ck_assert_uint_eq(rig.pool.buffered, 0);
        clean_up();
    }
}

END_TEST

static void answer_and_look(struct grpc_call *call, struct bytes message)
{
    ck_assert_uint_eq(message.size, 900);
    grpc_call_reply(call, NULL, 0);
    ck_assert_uint_eq(message.data[899], 0); /* lent until we return, also after the answer */
}

static void fail_and_look(struct grpc_call *call, struct bytes message)
{
    grpc_call_fail_text(call, GRPC_STATUS_ABORTED, "TEST", "");
    ck_assert_uint_eq(message.data[message.size - 1], 0);
}

/* A handler has its message until it returns, whatever it does to the call; a sanitizer looks. */
START_TEST(buffered_message_outlives_the_answer)
{
    struct h2_peer_call *client;

    begin(NULL);
    rig.on_request = answer_and_look;
    client = start(NULL);
    write_part(client, 900, 500);
    call_rig_write(&rig, client, (struct bytes){(const uint8_t[400]){0}, 400}, 400);
    finish(client);
    call_rig_check(client, GRPC_STATUS_OK, "");
    ck_assert_uint_eq(rig.host.buffered, 0);
    rig.method = &call_rig_bidi_stream;
    rig.on_message = fail_and_look;
    client = start(NULL);
    write_part(client, 900, 500);
    call_rig_write(&rig, client, (struct bytes){(const uint8_t[400]){0}, 400}, 400);
    call_rig_check(client, GRPC_STATUS_ABORTED, NULL);
    ck_assert_uint_eq(rig.host.buffered, 0);
    clean_up();
}

END_TEST

/* A compressed message counts as it came, one that is broken ends at zero like the others. */
START_TEST(buffered_counts_compressed_messages_as_they_came)
{
    static const char *const gzip[] = {"grpc-encoding", "gzip", NULL};
    static const uint8_t zeros[800];
    struct bytes plain = {zeros, sizeof(zeros)};
    struct buf packed = {0};
    uint8_t head[GRPC_FRAME_HEAD_SIZE];
    struct h2_peer_call *client;
    unsigned broken;

    begin(NULL);
    rig.on_request = call_rig_echo;
    ck_assert_int_eq(grpc_gzip_deflate(&plain, 1, &packed), 0);
    grpc_frame_encode_head(head, true, (uint32_t)buf_size(&packed));
    for (broken = 0; broken < 2; broken++) {
        client = start(gzip);
        packed.data[packed.end - 1] ^= (uint8_t)broken;
        call_rig_write(&rig, client, (struct bytes){head, sizeof(head)}, 1);
        call_rig_write(&rig, client, buf_bytes(&packed), 10);
        ck_assert_uint_eq(rig.host.buffered, buf_size(&packed));
        finish(client);
        call_rig_check(client, broken ? GRPC_STATUS_INTERNAL : GRPC_STATUS_OK, NULL);
        ck_assert_uint_eq(rig.host.buffered, 0);
    }
    buf_deinit(&packed);
    clean_up();
}

END_TEST

static void trim_and_hold(struct grpc_call *call, struct bytes message)
{
    (void)message;
    grpc_call_hold(call);
    grpc_call_trim(call);
    ck_assert_uint_eq(rig.host.buffered, 0);
}

/* A call that lives long keeps nothing of its request. */
START_TEST(buffered_ends_with_a_trim)
{
    struct h2_peer_call *client;

    begin(&call_rig_server_stream);
    rig.on_request = trim_and_hold;
    client = start(NULL);
    write_part(client, 300, 300);
    finish(client);
    ck_assert_uint_eq(rig.requests, 1);
    grpc_call_finish(rig.call);
    grpc_call_release(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* Limits on one message and on a head are counted where they refuse. */
START_TEST(limits_of_a_request_are_counted)
{
    static char value[5000];
    const char *const large[] = {"x-large", value, NULL};

    begin(NULL);
    memset(value, 'v', sizeof(value) - 1);
    write_part(start(NULL), CALL_RIG_MAX_MESSAGE + 1, 0);
    call_rig_check(&clients[0], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    ck_assert_uint_eq(hits(LIMITS_HIT_MESSAGE), 1);
    (void)start(large);
    call_rig_check(&clients[1], GRPC_STATUS_RESOURCE_EXHAUSTED, NULL);
    ck_assert_uint_eq(hits(LIMITS_HIT_HEADER_LIST), 1);
    (void)start(NULL);
    call_rig_advance(&rig, 100);
    grpc_call_check_progress(rig.call, 100);
    call_rig_talk(&rig);
    call_rig_check(&clients[2], GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
    ck_assert_uint_eq(hits(LIMITS_HIT_BODY_PROGRESS), 1);
    clean_up();
}

END_TEST

UNIT_MAIN("grpc_call_buffered", buffered_while_a_message_is_gathered,
          buffered_counts_room_that_was_made, buffered_is_limited_for_a_connection,
          buffered_counts_calls_that_have_no_message, buffered_leaves_room_for_one_call,
          buffered_counts_large_heads, buffered_is_limited_for_all, buffered_while_a_stream_waits,
          buffered_bears_streams_that_wait, buffered_while_a_request_waits,
          buffered_ends_with_the_call, buffered_message_outlives_the_answer,
          buffered_counts_compressed_messages_as_they_came, buffered_ends_with_a_trim,
          limits_of_a_request_are_counted)
