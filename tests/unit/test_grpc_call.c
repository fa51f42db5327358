#include "lib/call_rig.h"
#include "lib/unit.h"

#include "http2/grpc_call.h"
#include "http2/grpc_method.h"
#include "http2/h2_inbound.h"

static struct call_rig rig;

static void begin(void)
{
    call_rig_init(&rig);
    rig.on_request = call_rig_echo;
}

/* Makes one call with more fields and one message; what comes back is left in `call`. */
static void run(struct h2_peer_call *call, const char *path, const char *const *more)
{
    h2_peer_begin(&rig.peer, call, path, more);
    h2_peer_send(call, 0, "ping", 4);
    h2_peer_end(call);
    call_rig_talk(&rig);
}

/* A unary call is answered with head, message, trailers, in this shape and with nothing else (P18).
 */
START_TEST(call_answers_in_the_shape_of_grpc)
{
    struct h2_peer_call call;

    begin();
    run(&call, "/s.S/M", NULL);
    ck_assert(call.closed);
    ck_assert_uint_eq(call.error, H2_ERROR_NO_ERROR);
    ck_assert(bytes_equal(buf_bytes(&call.head),
                          BYTES_LITERAL(":status: 200\ncontent-type: application/grpc\n")));
    ck_assert(bytes_equal(buf_bytes(&call.body), BYTES_LITERAL("\0\0\0\0\4ping")));
    ck_assert(bytes_equal(buf_bytes(&call.trailers), BYTES_LITERAL("grpc-status: 0\n")));
    ck_assert_uint_eq(rig.finished, 1);
    ck_assert_int_eq(rig.status, GRPC_STATUS_OK);
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* Zero-length messages are messages (P14). */
START_TEST(call_takes_an_empty_message)
{
    struct h2_peer_call call;

    begin();
    h2_peer_call_unary(&rig.peer, &call, "/s.S/M", "", 0);
    call_rig_talk(&rig);
    ck_assert_uint_eq(rig.requests, 1);
    ck_assert(bytes_equal(buf_bytes(&call.body), BYTES_LITERAL("\0\0\0\0\0")));
    call_rig_check(&call, GRPC_STATUS_OK, "");
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

static void answer_not_found(struct grpc_call *call, struct bytes message)
{
    const struct grpc_error error = {.status = GRPC_STATUS_NOT_FOUND,
                                     .message = "User J\xc3\xb6rg 100% not found",
                                     .reason = "USER_NOT_FOUND",
                                     .domain = "users.v1",
                                     .resource_type = "User",
                                     .resource_name = "J\xc3\xb6rg",
                                     .retry_delay_ms = 250};

    (void)message;
    grpc_call_fail(call, &error);
}

/* An error is one block of fields with the end of the stream: Trailers-Only, with details (P19,
 * P20, E1). */
START_TEST(call_fails_as_trailers_only)
{
    struct h2_peer_call call;
    uint8_t details[512];
    size_t size;
    struct buf text = {0};

    begin();
    rig.on_request = answer_not_found;
    run(&call, "/s.S/M", NULL);
    ck_assert(call.head_ended);
    ck_assert_str_eq(h2_peer_field(&call, ":status"), "200");
    ck_assert_str_eq(h2_peer_field(&call, "content-type"), "application/grpc");
    ck_assert_str_eq(h2_peer_field(&call, "grpc-message"), "User J%C3%B6rg 100%25 not found");
    ck_assert_str_eq(h2_peer_field(&call, "grpc-retry-pushback-ms"), "250");
    call_rig_check(&call, GRPC_STATUS_NOT_FOUND, "User J\xc3\xb6rg 100% not found");
    ck_assert_int_eq(
        grpc_base64_decode(bytes_from_text(h2_peer_field(&call, "grpc-status-details-bin")),
                           details, &size),
        0);
    ck_assert_int_eq(grpc_error_describe((struct bytes){details, size}, &text), 0);
    ck_assert(bytes_equal(buf_bytes(&text),
                          BYTES_LITERAL("reason: USER_NOT_FOUND\ndomain: users.v1\n"
                                        "resource User: J\xc3\xb6rg\nretry after: 250 ms\n")));
    buf_deinit(&text);
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* Every fault of a head has its answer, and none reaches the host (P1-P7, P10, C1). */
START_TEST(call_answers_faults_of_the_head)
{
    static const struct {
        const char *path;
        const char *name;
        const char *value;
        const char *http;
        const char *status;
        const char *message;
    } rows[] = {
        {"/s.S/M", "grpc-timeout", "5x", "400", "13", "malformed grpc-timeout"},
        {"/s.S/M", "grpc-timeout", "123456789S", "400", "13", "malformed grpc-timeout"},
        {"/s.S/M", "x-bin", "?", "400", "13", "malformed binary metadata"},
        {"/s.S/M", "grpc-encoding", "snappy", "200", "12",
         "grpc: Decompressor is not installed for grpc-encoding \"snappy\""},
        {"/noslash", NULL, NULL, "200", "12", "malformed method name: \"/noslash\""},
        {"/s.S/M", "grpc-timeout", "0n", "200", "4", "Deadline exceeded"},
    };

    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *const more[] = {rows[i].name, rows[i].value, NULL};
        struct h2_peer_call call;

        begin();
        run(&call, rows[i].path, more);
        ck_assert(call.head_ended);
        ck_assert_str_eq(h2_peer_field(&call, ":status"), rows[i].http);
        ck_assert_str_eq(h2_peer_field(&call, "grpc-status"), rows[i].status);
        call_rig_check(&call, (enum grpc_status)atoi(rows[i].status), rows[i].message);
        ck_assert_uint_eq(rig.heads, 0);
        ck_assert_uint_eq(rig.finished, 1);
        if (strcmp(rows[i].status, "12") == 0 && rows[i].name != NULL) {
            ck_assert_str_eq(h2_peer_field(&call, "grpc-accept-encoding"), "identity,gzip");
        }
        h2_peer_call_deinit(&call);
        call_rig_deinit(&rig);
    }
}

END_TEST

/* Feeds hand-made HEADERS; returns the fields of the answer, which must be one block, as a client
 * reads it. */
static void run_by_hand(const char *const *fields, const char *http_status, unsigned rst_count)
{
    struct buf in = {0};
    struct buf block = {0};
    struct h2_peer client; /* reads the answer, having asked for something itself */
    struct h2_peer_call call;

    begin();
    call_rig_lose(&rig);
    ck_assert_int_eq(h2_session_new(H2_ROLE_SERVER, &(struct h2_options){0}, &rig.events, &rig,
                                    rig.reactor.now_ns, &rig.session),
                     0);
    h2_frame_append_preface(&in);
    h2_frame_append_fields(&block, fields);
    h2_frame_append(&in, H2_FRAME_HEADERS, H2_FLAG_END_HEADERS, 1, buf_bytes(&block).data,
                    buf_size(&block));
    call_rig_feed(&rig, &in);
    h2_peer_init(&client, NULL);
    h2_peer_call_unary(&client, &call, "/s.S/M", "", 0);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&rig.out), H2_FRAME_RST_STREAM, 1, NULL), rst_count);
    h2_peer_feed(&client, buf_bytes(&rig.out));
    ck_assert_str_eq(h2_peer_field(&call, ":status"), http_status);
    if (strcmp(http_status, "405") == 0) {
        ck_assert_str_eq(h2_peer_field(&call, "allow"), "POST");
    }
    ck_assert_uint_eq(rig.heads, 0);
    h2_peer_call_deinit(&call);
    h2_peer_deinit(&client);
    buf_deinit(&in);
    buf_deinit(&block);
    call_rig_deinit(&rig);
}

/* What is no gRPC at all is told so in HTTP's terms (P3, P4, P6): 405 with allow, 415; and a reset
 * for a malformed head. */
START_TEST(call_rejects_what_is_no_grpc)
{
    run_by_hand((const char *const[]){":method", "GET", ":scheme", "http", ":path", "/",
                                      ":authority", "a", NULL},
                "405", 1);
    run_by_hand((const char *const[]){":method", "POST", ":scheme", "http", ":path", "/s.S/M",
                                      ":authority", "a", "content-type", "application/json", NULL},
                "415", 1);
    run_by_hand((const char *const[]){":method", "POST", ":scheme", "http", ":path", "s.S/M",
                                      ":authority", "a", "content-type", "application/grpc", NULL},
                "", 1);
    run_by_hand((const char *const[]){":method", "POST", ":scheme", "http", ":path", "/s.S/M",
                                      ":authority", "a", "connection", "close", NULL},
                "", 1);
}

END_TEST

/* A head over the soft limit is answered RESOURCE_EXHAUSTED and names the key (P11). */
START_TEST(call_answers_a_large_head)
{
    char value[4001];
    const char *const more[] = {"x-large", value, NULL};
    struct h2_peer_call call;

    begin();
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    run(&call, "/s.S/M", more);
    call_rig_check(&call, GRPC_STATUS_RESOURCE_EXHAUSTED,
                   "request header list larger than http2.max_header_list");
    ck_assert_uint_eq(rig.heads, 0);
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* The declared length decides, before the bytes: one over the limit is refused, exactly the limit
 * is not (P15). */
START_TEST(call_refuses_a_large_message)
{
    static uint8_t message[CALL_RIG_MAX_MESSAGE + 1];
    struct h2_peer_call call;

    begin();
    h2_peer_begin(&rig.peer, &call, "/s.S/M", NULL);
    h2_peer_send(&call, 0, message, sizeof(message));
    call_rig_talk(&rig); /* its end is not waited for */
    call_rig_check(&call, GRPC_STATUS_RESOURCE_EXHAUSTED,
                   "grpc: received message larger than max (1001 vs. 1000); raise "
                   "limits.max_message");
    h2_peer_call_deinit(&call);
    h2_peer_call_unary(&rig.peer, &call, "/s.S/M", message, CALL_RIG_MAX_MESSAGE);
    call_rig_talk(&rig);
    call_rig_check(&call, GRPC_STATUS_OK, "");
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* Bodies that are no single message: none, two, half of one, a bad flag, a compressed one (P12,
 * P16, C2). */
START_TEST(call_refuses_what_is_no_single_message)
{
    static const struct {
        const char *body;
        size_t size;
        enum grpc_status status;
    } rows[] = {
        {"", 0, GRPC_STATUS_UNIMPLEMENTED},
        {"\0\0\0\0\1a\0\0\0\0\1b", 12, GRPC_STATUS_UNIMPLEMENTED},
        {"\0\0\0\0\0\0\0\0\0\0", 10, GRPC_STATUS_UNIMPLEMENTED},
        {"\0\0\0\0\2a", 6, GRPC_STATUS_INTERNAL},
        {"\0\0\0", 3, GRPC_STATUS_INTERNAL},
        {"\0\0\0\0\1a\0\0", 8, GRPC_STATUS_INTERNAL},
        {"\2\0\0\0\1a", 6, GRPC_STATUS_INTERNAL},
        {"\1\0\0\0\1a", 6, GRPC_STATUS_INTERNAL},
    };

    size_t i;
    size_t step;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (step = 1; step <= 12; step += 11) { /* byte by byte, and at once */
            struct h2_peer_call call;
            size_t at;

            begin();
            h2_peer_begin(&rig.peer, &call, "/s.S/M", NULL);
            for (at = 0; at < rows[i].size && call.stream != NULL; at += step) {
                const struct bytes part = {(const uint8_t *)rows[i].body + at,
                                           rows[i].size - at < step ? rows[i].size - at : step};

                ck_assert_int_eq(h2_stream_write(call.stream, &part, 1), 0);
                call_rig_talk(&rig);
            }
            if (call.stream != NULL) {
                h2_peer_end(&call);
            }
            call_rig_talk(&rig);
            call_rig_check(&call, rows[i].status, NULL);
            ck_assert_uint_eq(rig.requests, 0);
            ck_assert_uint_eq(rig.finished, 1);
            h2_peer_call_deinit(&call);
            call_rig_deinit(&rig);
        }
    }
}

END_TEST

/* A message in single bytes, each a DATA frame, its head split too, is the same message. */
START_TEST(call_gathers_a_message_from_any_cut)
{
    static const char body[] = "\0\0\0\0\5hello";
    struct h2_peer_call call;
    size_t at;

    begin();
    h2_peer_begin(&rig.peer, &call, "/s.S/M", NULL);
    for (at = 0; at < sizeof(body) - 1; at++) {
        const struct bytes part = {(const uint8_t *)body + at, 1};

        ck_assert_int_eq(h2_stream_write(call.stream, &part, 1), 0);
        call_rig_talk(&rig);
    }
    h2_peer_end(&call);
    call_rig_talk(&rig);
    ck_assert_str_eq(rig.message, "hello");
    call_rig_check(&call, GRPC_STATUS_OK, "");
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

static void find_secret_method(struct grpc_call *call)
{
    static const struct grpc_method method = {.path = "/s.S/M", .secret = true};

    call->method = &method;
}

/* Of the request of a secret method nothing is kept once its handler has returned, also while the
 * call is still held; nor when the client resets it halfway. */
START_TEST(call_wipes_secret_requests)
{
    const struct bytes whole = BYTES_LITERAL("\0\0\0\0\6secret");
    const struct bytes half = BYTES_LITERAL("\0\0\0\0\7secret");
    struct h2_peer_call call;

    begin();
    rig.on_head = find_secret_method;
    rig.on_request = call_rig_hold;
    h2_peer_begin(&rig.peer, &call, "/s.S/M", NULL);
    ck_assert_int_eq(h2_stream_write(call.stream, &whole, 1), 0);
    h2_peer_end(&call);
    call_rig_talk(&rig);
    ck_assert_str_eq(rig.message, "secret");
    ck_assert_uint_eq(rig.call->state, GRPC_CALL_RUNNING);
    ck_assert_mem_eq(rig.call->reader.gathered.data, "\0\0\0\0\0\0", 6);
    grpc_call_reply(rig.call, NULL, 0);
    grpc_call_release(rig.call);
    call_rig_talk(&rig);
    h2_peer_call_deinit(&call);

    h2_peer_begin(&rig.peer, &call, "/s.S/M", NULL);
    ck_assert_int_eq(h2_stream_write(call.stream, &half, 1), 0);
    call_rig_talk(&rig);
    ck_assert_mem_eq(rig.call->reader.gathered.data, "secret", 6);
    h2_stream_reset(call.stream, H2_ERROR_CANCEL);
    call_rig_talk(&rig);
    ck_assert_uint_eq(rig.freed, 2);
    ck_assert_mem_eq(rig.call->reader.gathered.data, "\0\0\0\0\0\0", 6); /* in the pool */
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

static unsigned cancels;

static void count_cancel(struct grpc_call *call, void *context)
{
    ck_assert_ptr_eq(context, &cancels);
    ck_assert(!grpc_call_is_wanted(call));
    ck_assert(call->cancelled);
    cancels++;
}

static const struct grpc_call_events cancel_events = {.cancelled = count_cancel};

/* The deadline ends a call in the hands of its handler: the client reads status 4, the handler
 * hears of it, its late answer is dropped (P8). */
START_TEST(call_expires)
{
    static const char *const more[] = {"grpc-timeout", "250m", NULL};
    const struct bytes late = BYTES_LITERAL("late");
    struct h2_peer_call call;

    begin();
    rig.on_request = call_rig_hold;
    run(&call, "/s.S/M", more);
    ck_assert_int_eq(rig.call->state, GRPC_CALL_RUNNING);
    grpc_call_listen(rig.call, &cancel_events, &cancels);
    call_rig_advance(&rig, 249 * CLOCK_NS_PER_MS);
    ck_assert(grpc_call_is_wanted(rig.call));
    call_rig_advance(&rig, CLOCK_NS_PER_MS);
    ck_assert_uint_eq(cancels, 1);
    call_rig_talk(&rig);
    call_rig_check(&call, GRPC_STATUS_DEADLINE_EXCEEDED, "Deadline exceeded");
    ck_assert_int_eq(rig.status, GRPC_STATUS_DEADLINE_EXCEEDED);
    grpc_call_reply(rig.call, &late, 1);
    ck_assert_uint_eq(rig.finished, 1);
    grpc_call_release(rig.call);
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* Without a deadline of the client's, ours; a longer one than we allow is cut. */
START_TEST(call_deadline_has_default_and_cap)
{
    static const char *const more[] = {"grpc-timeout", "1H", NULL};
    struct h2_peer_call call;

    begin();
    rig.on_request = call_rig_hold;
    rig.host.default_deadline_ns = 10 * CLOCK_NS_PER_S;
    rig.host.max_deadline_ns = 60 * CLOCK_NS_PER_S;
    run(&call, "/s.S/M", NULL);
    ck_assert_uint_eq(rig.call->deadline_ns, rig.call->started_ns + 10 * CLOCK_NS_PER_S);
    grpc_call_fail_text(rig.call, GRPC_STATUS_ABORTED, "TEST", "");
    grpc_call_release(rig.call);
    call_rig_talk(&rig);
    h2_peer_call_deinit(&call);
    run(&call, "/s.S/M", more);
    ck_assert_uint_eq(rig.call->deadline_ns, rig.call->started_ns + 60 * CLOCK_NS_PER_S);
    grpc_call_fail_text(rig.call, GRPC_STATUS_ABORTED, "TEST", "");
    grpc_call_release(rig.call);
    call_rig_talk(&rig);
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* The largest timeout that can be written means none. */
START_TEST(call_deadline_beyond_time_is_none)
{
    static const char *const more[] = {"grpc-timeout", "99999999H", NULL};
    struct h2_peer_call call;

    begin();
    rig.on_request = call_rig_hold;
    run(&call, "/s.S/M", more);
    ck_assert_uint_eq(rig.call->deadline_ns, UINT64_MAX);
    grpc_call_fail_text(rig.call, GRPC_STATUS_ABORTED, "TEST", "");
    grpc_call_release(rig.call);
    call_rig_talk(&rig);
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* An answer the client does not take is cut off at the deadline by a reset, as trailers cannot
 * overtake it. */
START_TEST(call_expires_behind_a_closed_window)
{
    static const char *const more[] = {"grpc-timeout", "1S", NULL};
    static uint8_t large[200000];
    const struct bytes reply = {large, sizeof(large)};
    struct h2_peer_call call;

    begin();
    rig.on_request = call_rig_hold;
    h2_peer_begin(&rig.peer, &call, "/s.S/M", more);
    call.holds_credit = true;
    h2_peer_send(&call, 0, "ping", 4);
    h2_peer_end(&call);
    call_rig_talk(&rig);
    grpc_call_reply(rig.call, &reply, 1);
    grpc_call_release(rig.call);
    call_rig_talk(&rig);
    ck_assert_int_eq(rig.call->state, GRPC_CALL_ANSWERED);
    ck_assert_uint_eq(buf_size(&call.body), 65535);
    call_rig_advance(&rig, CLOCK_NS_PER_S);
    call_rig_talk(&rig);
    ck_assert(call.closed);
    ck_assert_uint_eq(call.error, H2_ERROR_CANCEL);
    ck_assert_int_eq(rig.status, GRPC_STATUS_OK); /* as it was answered */
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* A call that its client resets `after_ns` into a deadline of a second. */
static void give_up(uint64_t after_ns)
{
    static const char *const timeout[] = {"grpc-timeout", "1S", NULL};
    struct h2_peer_call call;

    h2_peer_begin(&rig.peer, &call, "/s.S/M", timeout);
    h2_peer_send(&call, 0, "ping", 4);
    h2_peer_end(&call);
    call_rig_talk(&rig);
    call_rig_advance(&rig, after_ns);
    h2_stream_reset(call.stream, H2_ERROR_CANCEL);
    call_rig_talk(&rig);
    grpc_call_release(rig.call);
    h2_peer_call_deinit(&call);
}

/* A client that gives up at its deadline, again and again, has not reset too much; one that resets
 * earlier is held to it. */
START_TEST(call_excuses_resets_at_the_deadline)
{
    const struct h2_bucket *resets;
    unsigned i;

    begin();
    rig.on_request = call_rig_hold;
    resets = &rig.session->budget.resets;
    for (i = 0; i < 2 * CALL_RIG_RESET_BURST; i++) {
        give_up(CLOCK_NS_PER_S - 1000);
    }
    ck_assert_uint_eq(resets->level, CALL_RIG_RESET_BURST * 1000000000ULL);
    for (i = 0; i < CALL_RIG_RESET_BURST; i++) {
        give_up(1);
    }
    ck_assert_uint_eq(resets->level, 0);
    call_rig_deinit(&rig);
}

END_TEST

/* The same without a deadline: patience ends when less than 1 KiB moves, and not
 * before. */
START_TEST(call_gives_up_on_a_reader_that_stands_still)
{
    static uint8_t large[200000];
    const struct bytes reply = {large, sizeof(large)};
    const uint64_t patience_ns = 10 * CLOCK_NS_PER_S;
    struct h2_peer_call call;
    struct buf drop = {0};
    unsigned i;

    begin();
    rig.on_request = call_rig_hold;
    h2_peer_begin(&rig.peer, &call, "/s.S/M", NULL);
    call.holds_credit = true;
    h2_peer_send(&call, 0, "ping", 4);
    h2_peer_end(&call);
    call_rig_talk(&rig);
    grpc_call_reply(rig.call, &reply, 1);
    grpc_call_release(rig.call);
    call_rig_talk(&rig);
    call_rig_advance(&rig, patience_ns);
    grpc_call_check_progress(rig.call, patience_ns); /* sees what moved meanwhile */
    h2_stream_consume(call.stream, 65535);
    call_rig_talk(&rig);
    call_rig_advance(&rig, patience_ns);
    grpc_call_check_progress(rig.call, patience_ns);
    ck_assert(!call.closed);
    for (i = 0; i < 10; i++) {
        buf_clear(&drop);
        h2_frame_append_number(&drop, H2_FRAME_WINDOW_UPDATE, h2_stream_id(call.stream), 50);
        h2_frame_append_number(&drop, H2_FRAME_WINDOW_UPDATE, 0, 50);
        call_rig_feed(&rig, &drop);
        call_rig_advance(&rig, patience_ns / 10);
    }
    grpc_call_check_progress(rig.call, patience_ns);
    call_rig_talk(&rig);
    ck_assert(call.closed);
    ck_assert_uint_eq(call.error, H2_ERROR_CANCEL);
    buf_deinit(&drop);
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

/* Writes `size` bytes of a body. */
static void write_body(struct h2_peer_call *call, size_t size)
{
    static const uint8_t body[2000] = {0, 0, 0, 0x7f, 0xff};
    const struct bytes part = {body, size};

    ck_assert_int_eq(h2_stream_write(call->stream, &part, 1), 0);
    call_rig_talk(&rig);
}

/* A body that brings less than 1 KiB in the time of the patience ends the call with status 4: one
 * that stands still, and one that drips. */
START_TEST(call_gives_up_on_a_body_that_stands_still)
{
    const uint64_t patience_ns = 10 * CLOCK_NS_PER_S;
    struct h2_peer_call call;
    unsigned i;

    begin();
    rig.host.max_message = 100000;
    h2_peer_begin(&rig.peer, &call, "/s.S/M", NULL);
    call_rig_talk(&rig);
    for (i = 0; i < 5; i++) {
        call_rig_advance(&rig, patience_ns - 1);
        write_body(&call, 1024);
        grpc_call_check_progress(rig.call, patience_ns);
        ck_assert(grpc_call_is_wanted(rig.call));
    }
    for (i = 0; i < 9; i++) {
        call_rig_advance(&rig, patience_ns / 10);
        write_body(&call, 1);
        grpc_call_check_progress(rig.call, patience_ns);
        ck_assert(grpc_call_is_wanted(rig.call));
    }
    call_rig_advance(&rig, patience_ns / 10);
    write_body(&call, 1);
    grpc_call_check_progress(rig.call, patience_ns);
    call_rig_talk(&rig);
    call_rig_check(&call, GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
    h2_peer_call_deinit(&call);
    call_rig_deinit(&rig);
}

END_TEST

static void fail_at_head(struct grpc_call *call)
{
    grpc_call_fail_text(call, GRPC_STATUS_UNAUTHENTICATED, "TEST",
                        "No authentication token provided");
}

/* An early error answers the client, then resets with NO_ERROR: what it still sends is swallowed
 * (P21). */
START_TEST(call_failed_at_its_head_swallows_the_body)
{
    static uint8_t body[60000];
    unsigned i;

    begin();
    rig.on_head = fail_at_head;
    for (i = 0; i < 100; i++) { /* far more than a connection window in all (X7) */
        struct h2_peer_call call;

        h2_peer_begin(&rig.peer, &call, "/s.S/M", NULL);
        h2_peer_send(&call, 0, body, sizeof(body));
        call_rig_talk(&rig);
        call_rig_check(&call, GRPC_STATUS_UNAUTHENTICATED, "No authentication token provided");
        ck_assert(call.closed);
        ck_assert_uint_eq(call.error, H2_ERROR_NO_ERROR);
        h2_peer_call_deinit(&call);
    }
    ck_assert_uint_eq(rig.requests, 0);
    call_rig_deinit(&rig);
}

END_TEST

/* The object and its memory serve the next call: after the first nothing new is made. */
START_TEST(call_objects_are_used_again)
{
    struct grpc_call *first = NULL;
    unsigned i;

    begin();
    for (i = 0; i < 10; i++) {
        struct h2_peer_call call;

        run(&call, "/s.S/M", (const char *const[]){"grpc-timeout", "10S", NULL});
        call_rig_check(&call, GRPC_STATUS_OK, "");
        ck_assert_uint_eq(rig.pool.idle_count, 1);
        if (first == NULL) {
            first = rig.call;
        }
        ck_assert_ptr_eq(rig.call, first);
        h2_peer_call_deinit(&call);
    }
    call_rig_deinit(&rig);
}

END_TEST

/* States have names. */
START_TEST(call_states_have_names)
{
    ck_assert_str_eq(grpc_call_state_name(GRPC_CALL_HEAD), "HEAD");
    ck_assert_str_eq(grpc_call_state_name(GRPC_CALL_CLOSED), "CLOSED");
}

END_TEST

UNIT_MAIN("grpc_call", call_answers_in_the_shape_of_grpc, call_takes_an_empty_message,
          call_fails_as_trailers_only, call_answers_faults_of_the_head,
          call_rejects_what_is_no_grpc, call_answers_a_large_head, call_refuses_a_large_message,
          call_refuses_what_is_no_single_message, call_gathers_a_message_from_any_cut,
          call_wipes_secret_requests, call_expires, call_deadline_has_default_and_cap,
          call_deadline_beyond_time_is_none, call_expires_behind_a_closed_window,
          call_excuses_resets_at_the_deadline, call_gives_up_on_a_reader_that_stands_still,
          call_gives_up_on_a_body_that_stands_still, call_failed_at_its_head_swallows_the_body,
          call_objects_are_used_again, call_states_have_names)
