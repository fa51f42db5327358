#include "lib/h2_peer.h"
#include "lib/unit.h"

#include "http2/grpc_answer.h"

/* A server that answers its one stream with `answer`, to a client that announces a header list
 * limit. */

static const struct grpc_answer *answer;
static const struct grpc_answer_head *head; /* NULL: Trailers-Only */
static struct arena arena;

static void *on_opened(void *owner, struct h2_stream *stream)
{
    (void)owner;
    return stream;
}

static void on_field(void *context, const struct h2_field *field)
{
    (void)context;
    (void)field;
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    (void)trailers;
    (void)ended;
    if (head == NULL) {
        ck_assert_int_eq(grpc_answer_error(context, &arena, answer), 0);
    } else {
        ck_assert_int_eq(grpc_answer_head(context, head), 0);
        ck_assert_int_eq(grpc_answer_end(context, &arena, answer), 0);
    }
}

static void on_closed(void *context, uint32_t error)
{
    (void)context;
    (void)error;
}

static const struct h2_events events = {
    .stream_opened = on_opened,
    .field = on_field,
    .fields_complete = on_fields_complete,
    .closed = on_closed,
};

/* Runs one call; the client, which refuses what is over its limit, keeps what it saw in `call`. */
static void run(uint32_t header_list_max, struct h2_peer_call *call)
{
    const struct h2_options none = {0};
    const struct h2_options limited = {.max_header_list = header_list_max};
    struct h2_session *session;
    struct h2_peer peer;
    struct buf out = {0};

    ck_assert_int_eq(h2_session_new(H2_ROLE_SERVER, &none, &events, NULL, 1, &session), 0);
    h2_peer_init(&peer, &limited);
    h2_peer_begin(&peer, call, "/s.S/M", NULL);
    h2_peer_end(call);
    h2_peer_drain(&peer);
    ck_assert_int_eq(h2_session_feed(session, buf_bytes(&peer.out), 1, &out), 0);
    ck_assert_int_eq(h2_session_drain(session, &out, SIZE_MAX), 0);
    h2_peer_feed(&peer, buf_bytes(&out));
    ck_assert(call->closed);
    buf_deinit(&out);
    h2_session_free(session);
    h2_peer_deinit(&peer);
    arena_reset(&arena);
}

static const struct grpc_error failure = {
    .status = GRPC_STATUS_INVALID_ARGUMENT,
    .message = "a message of some forty bytes, no more...",
    .reason = "TEST",
    .domain = "test",
    .retry_delay_ms = 10,
};

static const struct grpc_answer whole = {.http_status = 200, .error = &failure};

/* With room enough everything is there. */
START_TEST(answer_has_all_parts)
{
    struct h2_peer_call call;

    answer = &whole;
    run(0, &call);
    ck_assert(call.head_ended);
    ck_assert_str_eq(h2_peer_field(&call, "grpc-status"), "3");
    ck_assert_str_eq(h2_peer_field(&call, "grpc-message"), failure.message);
    ck_assert_str_eq(h2_peer_field(&call, "grpc-retry-pushback-ms"), "10");
    ck_assert_str_ne(h2_peer_field(&call, "grpc-status-details-bin"), "");
    h2_peer_call_deinit(&call);
    arena_deinit(&arena);
}

END_TEST

/* Runs calls with smaller and smaller limits; of the message so much is left at the end. */
static void check_shrinking(uint32_t limit_min, size_t message_left)
{
    uint32_t limit;
    size_t message_before = SIZE_MAX;
    bool details_before = true;

    answer = &whole;
    for (limit = 600; limit >= limit_min; limit--) {
        struct h2_peer_call call;
        bool has_details;
        size_t message_size;

        run(limit, &call);
        ck_assert_str_eq(h2_peer_field(&call, "grpc-status"), "3");
        has_details = h2_peer_field(&call, "grpc-status-details-bin")[0] != '\0';
        message_size = strlen(h2_peer_field(&call, "grpc-message"));
        ck_assert(details_before || !has_details);
        ck_assert_uint_le(message_size, message_before);
        ck_assert(!has_details || message_size == strlen(failure.message));
        details_before = has_details;
        message_before = message_size;
        h2_peer_call_deinit(&call);
    }
    ck_assert(!details_before);
    ck_assert_uint_eq(message_before, message_left);
    arena_deinit(&arena);
}

/* The smaller the client's limit, the less is sent, in this order: no details, then a shorter
 * message, then none; the status stays, and the limit is never exceeded (P22; the client would
 * abort the test). */
START_TEST(answer_shrinks_to_the_limit)
{
    const struct grpc_answer_head usual = {0};

    check_shrinking(150, 0);
    head = &usual;
    check_shrinking(102, 102 - 44 - 44); /* the head needs 102; status and message 44 and more */
    head = NULL;
}

END_TEST

/* A very long message is cut to a kilobyte for everybody. */
START_TEST(answer_cuts_long_messages)
{
    static char text[5001];
    const struct grpc_error error = {
        .status = GRPC_STATUS_ABORTED, .message = text, .reason = "TEST", .domain = "test"};
    const struct grpc_answer long_answer = {.http_status = 200, .error = &error};
    struct h2_peer_call call;

    memset(text, 'm', sizeof(text) - 1);
    answer = &long_answer;
    run(0, &call);
    ck_assert_uint_eq(strlen(h2_peer_field(&call, "grpc-message")), 1023);
    h2_peer_call_deinit(&call);
    arena_deinit(&arena);
}

END_TEST

/* Without scratch memory the bare status still gets out. */
START_TEST(answer_needs_no_memory_for_the_status)
{
    struct h2_peer_call call;

    arena.size_max = 1;
    answer = &whole;
    run(0, &call);
    ck_assert_str_eq(h2_peer_field(&call, "grpc-status"), "3");
    ck_assert_str_eq(h2_peer_field(&call, "grpc-message"), "");
    h2_peer_call_deinit(&call);
    arena_deinit(&arena);
    arena.size_max = 0;
}

END_TEST

/* What is no gRPC answer carries its HTTP status and the extra field. */
START_TEST(answer_carries_http_status_and_extra_field)
{
    const struct grpc_answer odd = {
        .http_status = 405, .error = &failure, .extra_name = "allow", .extra_value = "POST"};
    struct h2_peer_call call;

    answer = &odd;
    run(0, &call);
    ck_assert_str_eq(h2_peer_field(&call, ":status"), "405");
    ck_assert_str_eq(h2_peer_field(&call, "allow"), "POST");
    ck_assert_str_eq(h2_peer_field(&call, "grpc-status"), "3");
    h2_peer_call_deinit(&call);
    arena_deinit(&arena);
}

END_TEST

/* Custom metadata is left out where there is no room for it: after the details, before the message;
 * the rest fits (P22). */
START_TEST(answer_leaves_custom_metadata_out)
{
    static char value[300];
    const struct h2_field custom[] = {
        {.name = BYTES_LITERAL("x-long"), .value = {(const uint8_t *)value, sizeof(value)}},
        {.name = BYTES_LITERAL("x-short"), .value = BYTES_LITERAL("y")},
    };
    const struct grpc_answer_head with_custom = {
        .gzip = true, .discloses = true, .fields = custom, .field_count = 2};
    const struct grpc_answer end = {
        .http_status = 200, .error = &failure, .trailers = custom, .trailer_count = 2};
    struct h2_peer_call call;
    unsigned i;

    memset(value, 'v', sizeof(value));
    answer = &end;
    for (i = 0; i < 2; i++) {
        head = i == 0 ? NULL : &with_custom;
        run(0, &call);
        ck_assert_uint_eq(strlen(h2_peer_field(&call, "x-long")), sizeof(value));
        ck_assert_str_ne(h2_peer_field(&call, "grpc-status-details-bin"), "");
        h2_peer_call_deinit(&call);
        run(420, &call);
        ck_assert_str_eq(h2_peer_field(&call, "x-long"), "");
        ck_assert_str_eq(h2_peer_field(&call, "x-short"), "y");
        ck_assert_str_eq(h2_peer_field(&call, "grpc-message"), failure.message);
        h2_peer_call_deinit(&call);
    }
    ck_assert_ptr_nonnull(head);
    head = NULL;
    arena_deinit(&arena);
}

END_TEST

UNIT_MAIN("grpc_answer", answer_has_all_parts, answer_shrinks_to_the_limit,
          answer_cuts_long_messages, answer_needs_no_memory_for_the_status,
          answer_carries_http_status_and_extra_field, answer_leaves_custom_metadata_out)
