#include "lib/unit.h"

#include "client/call_reply.h"

#define SIZE_MAX_OF_TEST 100

static struct call_reply reply;

static void begin(void)
{
    call_reply_init(&reply, false, SIZE_MAX_OF_TEST);
}

static void begin_stream(void)
{
    call_reply_init(&reply, true, SIZE_MAX_OF_TEST);
}

static void end(void)
{
    call_reply_deinit(&reply);
}

static void field(const char *name, const char *value)
{
    const struct h2_field one = {.name = bytes_from_text(name), .value = bytes_from_text(value)};

    ck_assert_int_eq(call_reply_field(&reply, &one), 0);
}

static void head(void)
{
    field(":status", "200");
    field("content-type", "application/grpc");
}

static void data(const void *bytes, size_t size)
{
    ck_assert_int_eq(call_reply_data(&reply, (struct bytes){bytes, size}), 0);
}

static void expect(enum grpc_status status, const char *message)
{
    struct bytes text = buf_bytes(&reply.message);

    ck_assert(reply.is_decided);
    ck_assert_int_eq(reply.status, status);
    ck_assert_msg(bytes_equal(text, bytes_from_text(message)), "'%.*s'", (int)text.size,
                  (const char *)text.data);
}

/* Head, one message cut anywhere, trailers: OK with that message. */
START_TEST(reply_ok_in_any_pieces)
{
    static const char frames[] = "\0\0\0\0\3abc";

    for (size_t cut = 0; cut < sizeof(frames); cut++) {
        begin();
        head();
        data(frames, cut);
        data(frames + cut, sizeof(frames) - 1 - cut);
        field("grpc-status", "0");
        call_reply_end(&reply, H2_ERROR_NO_ERROR);
        expect(GRPC_STATUS_OK, "");
        ck_assert(bytes_equal(buf_bytes(&reply.body), BYTES_LITERAL("abc")));
        end();
    }
}

END_TEST

/* An empty message is a message. */
START_TEST(reply_ok_with_an_empty_message)
{
    begin();
    head();
    data("\0\0\0\0\0", 5);
    field("grpc-status", "0");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_OK, "");
    ck_assert_uint_eq(buf_size(&reply.body), 0);
    end();
}

END_TEST

/* An error carries its decoded text and its decoded details. */
START_TEST(reply_error_with_text_and_details)
{
    begin();
    head();
    field("grpc-status", "5");
    field("grpc-message", "User %C3%A4%25 not found");
    field("grpc-status-details-bin", "CAUSAWE");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_NOT_FOUND, "User \xc3\xa4% not found");
    ck_assert(bytes_equal(buf_bytes(&reply.details), BYTES_LITERAL("\x08\x05\x12\x01"
                                                                   "a")));
    end();
}

END_TEST

/* Details that are no base64 are left out; the status stands. */
START_TEST(reply_ignores_broken_details)
{
    begin();
    head();
    field("grpc-status", "5");
    field("grpc-status-details-bin", "!!");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_NOT_FOUND, "");
    ck_assert_uint_eq(buf_size(&reply.details), 0);
    end();
}

END_TEST

/* A grpc-status counts more than the HTTP status beside it; one that we do not know is UNKNOWN. */
START_TEST(reply_status_beats_http)
{
    begin();
    field(":status", "415");
    field("grpc-status", "13");
    field("grpc-message", "no");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_INTERNAL, "no");
    end();

    begin();
    head();
    field("grpc-status", "17");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_UNKNOWN, "");
    end();

    begin();
    head();
    field("grpc-status", "x");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_UNKNOWN, "");
    end();
}

END_TEST

/* An answer that is not gRPC is mapped from its HTTP status, and its body is nobody's message. */
START_TEST(reply_maps_http)
{
    begin();
    field(":status", "503");
    field("content-type", "text/html");
    data("<html>no", 8);
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_UNAVAILABLE, "the answer is not gRPC: HTTP status 503");
    end();

    begin();
    field(":status", "200");
    field("content-type", "application/grpcfoo");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_UNKNOWN, "the answer is not gRPC: HTTP status 200");
    end();
}

END_TEST

/* A reset is mapped from its code; without one, a missing status is the server's fault. */
START_TEST(reply_maps_resets)
{
    begin();
    call_reply_end(&reply, H2_ERROR_REFUSED_STREAM);
    expect(GRPC_STATUS_UNAVAILABLE, "the stream was reset by HTTP/2 error 7");
    end();

    begin();
    head();
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_INTERNAL, "the server ended the call without a status");
    end();

    begin(); /* RST_STREAM(NO_ERROR) before anything else */
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_INTERNAL, "the server ended the stream without an answer");
    end();
}

END_TEST

/* OK takes exactly one message. */
START_TEST(reply_wants_one_message)
{
    begin();
    head();
    field("grpc-status", "0");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_UNIMPLEMENTED, "the server sent no message");
    end();

    begin();
    head();
    data("\0\0\0\0\0\0\0\0\0\0", 10);
    expect(GRPC_STATUS_UNIMPLEMENTED, "the server sent more than one message for a unary call");
    ck_assert_uint_eq(buf_size(&reply.body), 0);
    end();

    begin();
    head();
    data("\0\0\0\0\2a", 6);
    field("grpc-status", "0");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_INTERNAL, "the answer ended inside its message");
    end();
}

END_TEST

/* Compressed, malformed and oversized messages end the call before they are kept. */
START_TEST(reply_refuses_bad_frames)
{
    begin();
    head();
    data("\1\0\0\0\1a", 6);
    expect(GRPC_STATUS_INTERNAL, "the server sent a compressed message that nobody asked for");
    end();

    begin();
    head();
    data("\7\0\0\0\1a", 6);
    expect(GRPC_STATUS_INTERNAL, "the server sent a malformed message");
    end();

    begin();
    head();
    data("\0\0\0\0\x65", 5);
    expect(GRPC_STATUS_RESOURCE_EXHAUSTED, "the answer is larger than this client takes");
    end();
}

END_TEST

/* The first decision stands: nothing that comes later changes it. */
START_TEST(reply_first_decision_stands)
{
    begin();
    head();
    call_reply_fail(&reply, GRPC_STATUS_DEADLINE_EXCEEDED, "late");
    field("grpc-status", "0");
    data("\0\0\0\0\0", 5);
    call_reply_fail(&reply, GRPC_STATUS_INTERNAL, "other");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_DEADLINE_EXCEEDED, "late");
    end();
}

END_TEST

static void expect_next(const char *text)
{
    struct bytes message;
    size_t used;

    ck_assert_int_eq(call_reply_next(&reply, &message, &used), 0);
    ck_assert(bytes_equal(message, bytes_from_text(text)));
}

static void expect_no_next(int outcome)
{
    struct bytes message;
    size_t used;

    ck_assert_int_eq(call_reply_next(&reply, &message, &used), outcome);
}

/* Of a stream every message is lent when it is asked for, cut anywhere, and each byte of the body
 * is counted once. */
START_TEST(reply_stream_in_any_pieces)
{
    static const char frames[] = "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\2de";
    static const char *const texts[] = {"abc", "", "de"};
    const size_t size = sizeof(frames) - 1;

    for (size_t cut = 0; cut <= size; cut++) {
        unsigned count = 0;
        size_t total = 0;

        begin_stream();
        head();
        for (unsigned part = 0; part < 2; part++) {
            struct bytes message;
            size_t used;

            data(frames + (part == 0 ? 0 : cut), part == 0 ? cut : size - cut);
            while (call_reply_next(&reply, &message, &used) == 0) {
                ck_assert_uint_lt(count, 3);
                ck_assert(bytes_equal(message, bytes_from_text(texts[count])));
                count++;
                total += used;
            }
            total += used;
        }
        ck_assert_uint_eq(count, 3);
        ck_assert_uint_eq(total, size);
        ck_assert_uint_eq(call_reply_untaken_size(&reply), 0);
        field("grpc-status", "0");
        call_reply_end(&reply, H2_ERROR_NO_ERROR);
        expect(GRPC_STATUS_OK, "");
        end();
    }
}

END_TEST

/* A stream may end without a message, and not within one; what breaks a rule decides. */
START_TEST(reply_stream_ends)
{
    begin_stream();
    head();
    expect_no_next(CALL_REPLY_E_MORE);
    field("grpc-status", "0");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_OK, "");
    end();

    begin_stream();
    head();
    data("\0\0\0\0\2a", 6);
    expect_no_next(CALL_REPLY_E_MORE);
    field("grpc-status", "0");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_INTERNAL, "the answer ended inside its message");
    end();

    begin_stream();
    head();
    data("\0\0\0\0\1a\1\0\0\0\1b", 12);
    expect_next("a");
    ck_assert(!reply.is_decided);
    expect_no_next(CALL_REPLY_E_BAD);
    expect(GRPC_STATUS_INTERNAL, "the server sent a compressed message that nobody asked for");
    end();
}

END_TEST

/* After a failure from outside the messages that came before it can still be taken, or dropped. */
START_TEST(reply_stream_keeps_messages_of_the_failed)
{
    begin_stream();
    head();
    data("\0\0\0\0\1a\0\0\0\0\1b", 12);
    call_reply_fail(&reply, GRPC_STATUS_UNAVAILABLE, "lost");
    expect_next("a");
    call_reply_drop(&reply);
    expect_no_next(CALL_REPLY_E_MORE);
    expect(GRPC_STATUS_UNAVAILABLE, "lost");
    end();
}

END_TEST

/* The body of an answer that is not gRPC is counted and is nobody's message. */
START_TEST(reply_stream_counts_foreign_bodies)
{
    struct bytes message;
    size_t used;

    begin_stream();
    field(":status", "503");
    field("content-type", "text/html");
    data("<html>no", 8);
    ck_assert_int_eq(call_reply_next(&reply, &message, &used), CALL_REPLY_E_MORE);
    ck_assert_uint_eq(used, 8);
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_UNAVAILABLE, "the answer is not gRPC: HTTP status 503");
    end();
}

END_TEST

/* Fields that gRPC has no use for are kept for whoever asks, up to a limit; the first one counts.
 */
START_TEST(reply_keeps_fields)
{
    struct bytes fields;
    static char large[9000];

    begin();
    head();
    field("users-list-plan", "index");
    field("empty", "");
    field("users-list-plan", "scan");
    memset(large, 'x', sizeof(large) - 1);
    field("large-1", large);
    field("large-2", large);
    field("last", "yes");
    fields = buf_bytes(&reply.fields);
    ck_assert(bytes_equal(call_reply_find(fields, "users-list-plan"), BYTES_LITERAL("index")));
    ck_assert_uint_eq(call_reply_find(fields, "empty").size, 0);
    ck_assert_uint_eq(call_reply_find(fields, "large-1").size, sizeof(large) - 1);
    ck_assert_uint_eq(call_reply_find(fields, "large-2").size, 0);
    ck_assert(bytes_equal(call_reply_find(fields, "last"), BYTES_LITERAL("yes")));
    ck_assert_uint_eq(call_reply_find(fields, "content-type").size, 0);
    ck_assert_uint_eq(call_reply_find((struct bytes){0}, "last").size, 0);
    end();
}

END_TEST

/* A server's text does not paint the caller's terminal. */
START_TEST(reply_text_is_cleaned)
{
    begin();
    head();
    field("grpc-status", "5");
    field("grpc-message", "%1B]0;title%07 not%0Ahere %C2%9B1m");
    call_reply_end(&reply, H2_ERROR_NO_ERROR);
    expect(GRPC_STATUS_NOT_FOUND, "?]0;title? not here ??1m");
    end();
}

END_TEST

UNIT_MAIN("call_reply", reply_ok_in_any_pieces, reply_ok_with_an_empty_message,
          reply_error_with_text_and_details, reply_ignores_broken_details, reply_status_beats_http,
          reply_maps_http, reply_maps_resets, reply_wants_one_message, reply_refuses_bad_frames,
          reply_first_decision_stands, reply_stream_in_any_pieces, reply_stream_ends,
          reply_stream_keeps_messages_of_the_failed, reply_stream_counts_foreign_bodies,
          reply_keeps_fields, reply_text_is_cleaned)
