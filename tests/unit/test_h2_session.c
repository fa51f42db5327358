#include "lib/h2_peer.h"
#include "lib/unit.h"

#include "http2/h2_session.h"

#include <errno.h>

/* A server session whose owner echoes: head, the body as it comes, trailers. */

#define STREAMS_MAX 64

struct served {
    struct h2_stream *stream;
    struct buf fields; /* "name: value\n" */
    struct buf body;
    bool head;
    bool ended;
    bool too_large;
    bool closed;
    uint32_t error;
};

struct server {
    struct h2_session *session;
    struct buf out;
    struct served served[STREAMS_MAX];
    unsigned count;
    unsigned opened;
    unsigned writable;
    unsigned acknowledged;
    bool refuses;
    bool answers; /* as soon as the request has ended */
    bool manual;  /* gives no stream credit back */
};

static const struct h2_options plain_options = {
    .max_concurrent_streams = 100,
    .max_header_list = 4000,
    .max_header_list_hard = 8000,
    .max_headers = 50,
    .reset_burst = 20,
    .reset_rate = 1,
    .control_burst = 20,
    .control_rate = 1,
    .max_empty_frames = 8,
};

static const struct h2_field answer_head[] = {
    {.name = {(const uint8_t *)":status", 7},
     .value = {(const uint8_t *)"200", 3},
     .constant = true},
    {.name = {(const uint8_t *)"x-head", 6}, .value = {(const uint8_t *)"yes", 3}},
};

static const struct h2_field answer_trailers[] = {
    {.name = {(const uint8_t *)"grpc-status", 11},
     .value = {(const uint8_t *)"0", 1},
     .constant = true},
    {.name = {(const uint8_t *)"x-trailer", 9}, .value = {(const uint8_t *)"also", 4}},
};

static void answer(struct served *served)
{
    struct bytes body = buf_bytes(&served->body);

    ck_assert_int_eq(h2_stream_respond(served->stream, answer_head, 2, false), 0);
    if (body.size > 0) {
        ck_assert_int_eq(h2_stream_write(served->stream, &body, 1), 0);
    }
    ck_assert_int_eq(h2_stream_end(served->stream, answer_trailers, 2), 0);
}

static struct server server;

static void *on_opened(void *owner, struct h2_stream *stream)
{
    ck_assert_ptr_eq(owner, &server);
    server.opened++;
    if (server.refuses || server.count == STREAMS_MAX) {
        return NULL;
    }
    server.served[server.count].stream = stream;
    return &server.served[server.count++];
}

static void on_field(void *context, const struct h2_field *field)
{
    struct served *served = context;

    (void)buf_append(&served->fields, field->name.data, field->name.size);
    (void)buf_append(&served->fields, ": ", 2);
    (void)buf_append(&served->fields, field->value.data, field->value.size);
    (void)buf_append(&served->fields, "\n", 1);
}

static void on_ended(void *context)
{
    struct served *served = context;

    ck_assert(!served->ended);
    served->ended = true;
    if (server.answers) {
        answer(served);
    }
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    struct served *served = context;

    ck_assert_int_eq(trailers, served->head);
    served->head = true;
    if (ended) {
        on_ended(served);
    }
}

static void on_fields_too_large(void *context)
{
    struct served *served = context;

    served->too_large = true;
}

static void on_data(void *context, struct bytes bytes)
{
    struct served *served = context;

    ck_assert_int_eq(buf_append(&served->body, bytes.data, bytes.size), 0);
    if (!server.manual) {
        h2_stream_consume(served->stream, bytes.size);
    }
}

static void on_writable(void *context)
{
    struct served *served = context;

    server.writable++;
    if (server.writable < 3) {
        const struct bytes more = BYTES_LITERAL("more");

        ck_assert_int_eq(h2_stream_write(served->stream, &more, 1), 0);
    } else {
        ck_assert_int_eq(h2_stream_end(served->stream, answer_trailers, 2), 0);
    }
}

static void on_closed(void *context, uint32_t error)
{
    struct served *served = context;

    ck_assert(!served->closed);
    served->closed = true;
    served->error = error;
    served->stream = NULL;
}

static void on_end_acknowledged(void *owner)
{
    ck_assert_ptr_eq(owner, &server);
    server.acknowledged++;
}

static const struct h2_events events = {
    .stream_opened = on_opened,
    .field = on_field,
    .fields_complete = on_fields_complete,
    .fields_too_large = on_fields_too_large,
    .data = on_data,
    .ended = on_ended,
    .writable = on_writable,
    .closed = on_closed,
    .end_acknowledged = on_end_acknowledged,
};

static void begin(const struct h2_options *options)
{
    memset(&server, 0, sizeof(server));
    server.answers = true;
    ck_assert_int_eq(h2_session_new(H2_ROLE_SERVER, options, &events, &server, 1, &server.session),
                     0);
}

static void end(void)
{
    unsigned i;

    h2_session_free(server.session);
    for (i = 0; i < server.count; i++) {
        ck_assert(server.served[i].closed);
        buf_deinit(&server.served[i].fields);
        buf_deinit(&server.served[i].body);
    }
    buf_deinit(&server.out);
}

/* Bytes to the server, `step` at a time; the last outcome. */
static int feed_in_steps(struct bytes bytes, size_t step)
{
    int outcome = 0;

    while (bytes.size > 0 && outcome == 0) {
        size_t size = bytes.size < step ? bytes.size : step;

        outcome = h2_session_feed(server.session, (struct bytes){bytes.data, size}, 1, &server.out);
        bytes = (struct bytes){bytes.data + size, bytes.size - size};
    }
    return outcome;
}

/* Exchanges until both have nothing more to say. */
static void talk(struct h2_peer *peer, size_t step)
{
    do {
        ck_assert_int_eq(feed_in_steps(buf_bytes(&peer->out), step), 0);
        buf_clear(&peer->out);
        ck_assert_int_eq(h2_session_drain(server.session, &server.out, SIZE_MAX), 0);
        h2_peer_feed(peer, buf_bytes(&server.out));
        buf_clear(&server.out);
    } while (buf_size(&peer->out) > 0);
}

/* A request goes in, its echo comes out: head, body, trailers, and the stream is gone on both
 * sides. */
START_TEST(session_serves_a_request)
{
    struct h2_peer peer;
    struct h2_peer_call call;

    begin(&plain_options);
    h2_peer_init(&peer, NULL);
    h2_peer_call_unary(&peer, &call, "/s.S/M", "hello", 5);
    talk(&peer, H2_FEED_MAX);
    ck_assert(call.closed);
    ck_assert_uint_eq(call.error, H2_ERROR_NO_ERROR);
    ck_assert(bytes_equal(buf_bytes(&call.body), BYTES_LITERAL("\0\0\0\0\5hello")));
    ck_assert(bytes_equal(buf_bytes(&call.head), BYTES_LITERAL(":status: 200\nx-head: yes\n")));
    ck_assert(
        bytes_equal(buf_bytes(&call.trailers), BYTES_LITERAL("grpc-status: 0\nx-trailer: also\n")));
    ck_assert(!call.head_ended);
    ck_assert(h2_session_has_settings(server.session));
    ck_assert(h2_session_is_acknowledged(server.session));
    ck_assert(!h2_session_wants_drain(server.session));
    h2_peer_call_deinit(&call);
    h2_peer_deinit(&peer);
    end();
}

END_TEST

/* It makes no difference how the bytes are cut, both ways. */
START_TEST(session_cares_for_no_cut)
{
    size_t step;

    for (step = 1; step < 40; step += 3) {
        struct h2_peer peer;
        struct h2_peer_call call;

        begin(&plain_options);
        h2_peer_init(&peer, NULL);
        h2_peer_call_unary(&peer, &call, "/s.S/M", "hello", 5);
        talk(&peer, step);
        ck_assert(call.closed);
        ck_assert(bytes_equal(buf_bytes(&call.body), BYTES_LITERAL("\0\0\0\0\5hello")));
        h2_peer_call_deinit(&call);
        h2_peer_deinit(&peer);
        end();
    }
}

END_TEST

/* Bodies far beyond every window come through in both directions. */
START_TEST(session_moves_large_bodies)
{
    static uint8_t body[1000000];
    struct h2_peer peer;
    struct h2_peer_call call;
    size_t i;

    for (i = 0; i < sizeof(body); i++) {
        body[i] = (uint8_t)(i * 7 + i / 256);
    }
    begin(&plain_options);
    h2_peer_init(&peer, NULL);
    h2_peer_call_unary(&peer, &call, "/s.S/M", body, sizeof(body));
    talk(&peer, H2_FEED_MAX);
    ck_assert(call.closed);
    ck_assert_uint_eq(buf_size(&call.body), sizeof(body) + 5);
    ck_assert_mem_eq(buf_bytes(&call.body).data + 5, body, sizeof(body));
    h2_peer_call_deinit(&call);
    h2_peer_deinit(&peer);
    end();
}

END_TEST

/* Without credit from the owner a peer sends one stream window, no more; then the rest. */
START_TEST(session_holds_back_stream_credit)
{
    static uint8_t body[200000];
    struct h2_peer peer;
    struct h2_peer_call call;

    begin(&plain_options);
    server.manual = true;
    h2_peer_init(&peer, NULL);
    h2_peer_call_unary(&peer, &call, "/s.S/M", body, sizeof(body));
    talk(&peer, H2_FEED_MAX);
    ck_assert_uint_eq(buf_size(&server.served[0].body), 65535);
    ck_assert(!server.served[0].ended);
    server.manual = false;
    h2_stream_consume(server.served[0].stream, 65535);
    talk(&peer, H2_FEED_MAX);
    ck_assert(server.served[0].ended);
    ck_assert(call.closed);
    h2_peer_call_deinit(&call);
    h2_peer_deinit(&peer);
    end();
}

END_TEST

/* Body bytes nobody reads cost a connection nothing: credit comes back for each of them (X7). */
START_TEST(session_returns_credit_for_forgotten_bytes)
{
    static uint8_t body[60000];
    struct h2_peer peer;
    unsigned round;

    begin(&plain_options);
    server.answers = false;
    h2_peer_init(&peer, NULL);
    for (round = 0; round < 30; round++) {
        struct h2_peer_call call;

        h2_peer_begin(&peer, &call, "/s.S/M", NULL);
        h2_peer_drain(&peer);
        talk(&peer, H2_FEED_MAX);
        if (round % 2 == 0) {
            /* Answered early: what follows arrives on a stream that is closed here. */
            ck_assert_int_eq(h2_stream_respond(server.served[round].stream, answer_head, 2, true),
                             0);
            ck_assert_int_eq(h2_session_drain(server.session, &server.out, SIZE_MAX), 0);
            ck_assert(server.served[round].closed);
        } else {
            h2_stream_forget(server.served[round].stream);
            server.served[round].closed = true; /* it hears no more */
        }
        h2_peer_send(&call, 0, body, sizeof(body));
        h2_peer_drain(&peer);
        talk(&peer, H2_FEED_MAX);
        if (call.stream != NULL) {
            h2_peer_end(&call);
            h2_peer_drain(&peer);
            talk(&peer, H2_FEED_MAX);
        }
        ck_assert_uint_eq(buf_size(&server.served[round].body), 0);
        h2_peer_call_deinit(&call);
    }
    h2_peer_deinit(&peer);
    end();
}

END_TEST

/* An answer before the end of the request is followed at once by RST_STREAM(NO_ERROR) (P21). */
START_TEST(session_resets_after_an_early_answer)
{
    struct buf in = {0};
    struct h2_frame frame;
    struct bytes out;

    begin(&plain_options);
    server.answers = false;
    h2_frame_append_preface(&in);
    h2_frame_append_request(&in, 1, 0, "/s.S/M", NULL);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    buf_clear(&server.out);
    answer(&server.served[0]);
    ck_assert_int_eq(h2_session_drain(server.session, &server.out, SIZE_MAX), 0);
    out = buf_bytes(&server.out);
    ck_assert(h2_frame_take(&out, &frame));
    ck_assert_uint_eq(frame.type, H2_FRAME_HEADERS);
    ck_assert_uint_eq(frame.flags & H2_FLAG_END_STREAM, 0);
    ck_assert(h2_frame_take(&out, &frame));
    ck_assert_uint_eq(frame.type, H2_FRAME_HEADERS);
    ck_assert_uint_ne(frame.flags & H2_FLAG_END_STREAM, 0);
    ck_assert(h2_frame_take(&out, &frame));
    ck_assert_uint_eq(frame.type, H2_FRAME_RST_STREAM);
    ck_assert_uint_eq(h2_frame_number(&frame, 0), H2_ERROR_NO_ERROR);
    ck_assert(!h2_frame_take(&out, &frame));
    ck_assert(server.served[0].closed);
    ck_assert_uint_eq(server.served[0].error, H2_ERROR_NO_ERROR);
    buf_deinit(&in);
    end();
}

END_TEST

/* After a whole request nothing follows the trailers. */
START_TEST(session_does_not_reset_after_an_ordinary_answer)
{
    struct buf in = {0};

    begin(&plain_options);
    h2_frame_append_preface(&in);
    h2_frame_append_request(&in, 1, H2_FLAG_END_STREAM, "/s.S/M", NULL);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_HEADERS, 1, NULL), 2);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_RST_STREAM, -1, NULL), 0);
    buf_deinit(&in);
    end();
}

END_TEST

/* `writable` asks for more each time all was pulled, until the owner ends. */
START_TEST(session_asks_for_more_to_write)
{
    struct h2_peer peer;
    struct h2_peer_call call;
    const struct bytes first = BYTES_LITERAL("first");

    begin(&plain_options);
    server.answers = false;
    h2_peer_init(&peer, NULL);
    h2_peer_call_unary(&peer, &call, "/s.S/M", "", 0);
    talk(&peer, H2_FEED_MAX);
    ck_assert_int_eq(h2_stream_respond(server.served[0].stream, answer_head, 2, false), 0);
    talk(&peer, H2_FEED_MAX);
    ck_assert_uint_eq(server.writable, 0);
    ck_assert_int_eq(h2_stream_write(server.served[0].stream, &first, 1), 0);
    ck_assert_uint_eq(h2_stream_unsent_size(server.served[0].stream), 5);
    talk(&peer, H2_FEED_MAX);
    ck_assert_uint_eq(server.writable, 3);
    ck_assert(call.closed);
    ck_assert(bytes_equal(buf_bytes(&call.body), BYTES_LITERAL("firstmoremore")));
    h2_peer_call_deinit(&call);
    h2_peer_deinit(&peer);
    end();
}

END_TEST

/* A peer's reset closes the stream once, with its error, and later frames of it are nothing. */
START_TEST(session_tells_a_reset)
{
    struct h2_options options = plain_options;
    struct h2_stats stats = {0};
    struct buf in = {0};

    options.stats = &stats;
    begin(&options);
    h2_frame_append_preface(&in);
    h2_frame_append_request(&in, 1, 0, "/s.S/M", NULL);
    h2_frame_append_number(&in, H2_FRAME_RST_STREAM, 1, H2_ERROR_CANCEL);
    h2_frame_append(&in, H2_FRAME_DATA, 0, 1, "late", 4);
    h2_frame_append_number(&in, H2_FRAME_RST_STREAM, 1, H2_ERROR_CANCEL);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    ck_assert(server.served[0].closed);
    ck_assert_uint_eq(server.served[0].error, H2_ERROR_CANCEL);
    ck_assert_uint_eq(buf_size(&server.served[0].body), 0);
    ck_assert_uint_eq(stats.resets_received, 2); /* one for a stream that is gone */
    ck_assert_uint_eq(stats.resets_sent, 0);
    buf_deinit(&in);
    end();
}

END_TEST

/* A reset of a stream that was never opened ends nothing: C-core sends such when a deadline passes
 * before the head of the call was written. */
START_TEST(session_lives_on_after_a_reset_of_an_idle_stream)
{
    struct buf in = {0};
    struct h2_frame frame;
    size_t step;

    for (step = 1; step < 100; step++) {
        begin(&plain_options);
        server.answers = true;
        buf_clear(&in);
        h2_frame_append_preface(&in);
        h2_frame_append_request(&in, 1, H2_FLAG_END_STREAM, "/s.S/M", NULL);
        h2_frame_append_number(&in, H2_FRAME_RST_STREAM, 3, H2_ERROR_CANCEL);
        h2_frame_append_number(&in, H2_FRAME_RST_STREAM, 5, H2_ERROR_CANCEL);
        h2_frame_append_request(&in, 7, H2_FLAG_END_STREAM, "/s.S/M", NULL);
        ck_assert_int_eq(feed_in_steps(buf_bytes(&in), step), 0);
        ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_GOAWAY, 0, NULL), 0);
        ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_HEADERS, 1, NULL), 2);
        ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_HEADERS, 7, &frame), 2);
        ck_assert_uint_eq(frame.flags & H2_FLAG_END_STREAM, H2_FLAG_END_STREAM);
        end();
    }
    buf_deinit(&in);
}

END_TEST

/* Writing to a stream that we have reset does nothing; the peer sees the reset alone. */
START_TEST(session_drops_what_follows_our_reset)
{
    struct buf in = {0};
    struct h2_frame frame;

    begin(&plain_options);
    server.answers = false;
    h2_frame_append_preface(&in);
    h2_frame_append_request(&in, 1, 0, "/s.S/M", NULL);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    buf_clear(&server.out);
    h2_stream_reset(server.served[0].stream, H2_ERROR_CANCEL);
    h2_stream_reset(server.served[0].stream, H2_ERROR_INTERNAL);
    answer(&server.served[0]);
    ck_assert_int_eq(h2_session_drain(server.session, &server.out, SIZE_MAX), 0);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_RST_STREAM, 1, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 0), H2_ERROR_CANCEL);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_HEADERS, -1, NULL), 0);
    ck_assert(server.served[0].closed);
    buf_deinit(&in);
    end();
}

END_TEST

/* A stream the owner refuses gets REFUSED_STREAM, its late DATA is swallowed, and the connection
 * lives (X9). */
START_TEST(session_refuses_for_its_owner)
{
    struct buf in = {0};
    struct h2_frame frame;

    begin(&plain_options);
    server.refuses = true;
    h2_frame_append_preface(&in);
    h2_frame_append_request(&in, 1, 0, "/s.S/M", NULL);
    h2_frame_append(&in, H2_FRAME_DATA, H2_FLAG_END_STREAM, 1, "late", 4);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_RST_STREAM, 1, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 0), H2_ERROR_REFUSED_STREAM);
    server.refuses = false;
    buf_clear(&in);
    h2_frame_append_request(&in, 3, H2_FLAG_END_STREAM, "/s.S/M", NULL);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    ck_assert(server.served[0].closed);
    ck_assert_uint_eq(server.served[0].error, H2_ERROR_NO_ERROR);
    buf_deinit(&in);
    end();
}

END_TEST

/* Both GOAWAYs of a drain: streams go on after the first; new ones are not served after the second.
 */
START_TEST(session_ends_in_two_steps)
{
    struct h2_peer peer;
    struct h2_peer_call early;
    struct h2_peer_call late;

    begin(&plain_options);
    server.answers = false;
    h2_peer_init(&peer, NULL);
    h2_peer_call_unary(&peer, &early, "/s.S/M", "early", 5);
    talk(&peer, H2_FEED_MAX);
    h2_session_announce_end(server.session);
    ck_assert(h2_session_wants_drain(server.session));
    talk(&peer, H2_FEED_MAX);
    ck_assert(peer.goaway);
    ck_assert_uint_eq(peer.goaway_last_id, INT32_MAX);
    ck_assert_uint_eq(peer.goaway_error, H2_ERROR_NO_ERROR);
    ck_assert_uint_eq(server.acknowledged, 1);
    ck_assert_int_eq(h2_session_request(peer.session, answer_head, 1, &late, &late.stream),
                     -EAGAIN);
    h2_session_end(server.session, H2_ERROR_NO_ERROR, "bye");
    h2_session_end(server.session, H2_ERROR_INTERNAL, "again");
    talk(&peer, H2_FEED_MAX);
    ck_assert_uint_eq(peer.goaway_last_id, 1);
    ck_assert_uint_eq(peer.goaway_error, H2_ERROR_NO_ERROR);
    ck_assert(!h2_session_is_over(server.session));
    answer(&server.served[0]);
    talk(&peer, H2_FEED_MAX);
    ck_assert(early.closed);
    ck_assert_str_eq(h2_peer_field(&early, "grpc-status"), "0");
    ck_assert(h2_session_is_over(server.session));
    h2_peer_call_deinit(&early);
    h2_peer_deinit(&peer);
    end();
}

END_TEST

/* A stream that arrives between the queueing of the final GOAWAY and its sending is not admitted.
 */
START_TEST(session_admits_nothing_once_the_end_is_queued)
{
    struct buf in = {0};

    begin(&plain_options);
    h2_frame_append_preface(&in);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    h2_session_end(server.session, H2_ERROR_NO_ERROR, NULL);
    buf_clear(&in);
    h2_frame_append_request(&in, 1, H2_FLAG_END_STREAM, "/s.S/M", NULL);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    ck_assert_uint_eq(server.opened, 0);
    buf_deinit(&in);
    end();
}

END_TEST

/* What a client says goodbye with reaches it, too: a session is over after the peer's GOAWAY and
 * its last stream. */
START_TEST(session_is_over_after_the_peers_goaway)
{
    struct buf in = {0};

    begin(&plain_options);
    h2_frame_append_preface(&in);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    ck_assert(!h2_session_is_over(server.session));
    buf_clear(&in);
    h2_frame_append(&in, H2_FRAME_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    ck_assert(h2_session_is_over(server.session));
    buf_deinit(&in);
    end();
}

END_TEST

/* Freeing a session closes what is open, in any state, as CANCEL. */
START_TEST(session_closes_its_streams_when_freed)
{
    struct buf in = {0};

    begin(&plain_options);
    server.answers = false;
    h2_frame_append_preface(&in);
    h2_frame_append_request(&in, 1, 0, "/s.S/M", NULL);
    h2_frame_append_request(&in, 3, H2_FLAG_END_STREAM, "/s.S/M", NULL);
    h2_frame_append_request(&in, 5, H2_FLAG_END_STREAM, "/s.S/M", NULL);
    ck_assert_int_eq(feed_in_steps(buf_bytes(&in), H2_FEED_MAX), 0);
    answer(&server.served[2]);
    ck_assert_uint_eq(server.count, 3);
    buf_deinit(&in);
    end(); /* asserts that each heard of its end */
    ck_assert_uint_eq(server.served[0].error, H2_ERROR_CANCEL);
    ck_assert_uint_eq(server.served[2].error, H2_ERROR_CANCEL);
}

END_TEST

/* A 1xx head is not the head: the client waits for the real one. */
START_TEST(client_session_skips_informational_heads)
{
    static const char *const early[] = {":status", "103", "x-early", "1", NULL};
    static const char *const real[] = {":status", "200", "grpc-status", "7", NULL};
    struct h2_peer peer;
    struct h2_peer_call call;
    struct buf in = {0};
    struct buf block = {0};

    h2_peer_init(&peer, NULL);
    h2_peer_call_unary(&peer, &call, "/s.S/M", "", 0);
    h2_frame_append(&in, H2_FRAME_SETTINGS, 0, 0, NULL, 0);
    h2_frame_append_fields(&block, early);
    h2_frame_append(&in, H2_FRAME_HEADERS, H2_FLAG_END_HEADERS, 1, buf_bytes(&block).data,
                    buf_size(&block));
    buf_clear(&block);
    h2_frame_append_fields(&block, real);
    h2_frame_append(&in, H2_FRAME_HEADERS, H2_FLAG_END_HEADERS | H2_FLAG_END_STREAM, 1,
                    buf_bytes(&block).data, buf_size(&block));
    h2_peer_feed(&peer, buf_bytes(&in));
    ck_assert(call.closed);
    ck_assert(call.head_ended);
    ck_assert(bytes_equal(buf_bytes(&call.head), BYTES_LITERAL(":status: 200\ngrpc-status: 7\n")));
    buf_deinit(&in);
    buf_deinit(&block);
    h2_peer_call_deinit(&call);
    h2_peer_deinit(&peer);
}

END_TEST

/* Streams above the id of a GOAWAY close as refused: they may be sent again elsewhere. */
START_TEST(client_session_returns_streams_after_goaway)
{
    struct h2_peer peer;
    struct h2_peer_call first;
    struct h2_peer_call second;
    struct buf in = {0};

    h2_peer_init(&peer, NULL);
    h2_peer_call_unary(&peer, &first, "/s.S/M", "", 0);
    h2_peer_call_unary(&peer, &second, "/s.S/M", "", 0);
    h2_frame_append(&in, H2_FRAME_SETTINGS, 0, 0, NULL, 0);
    h2_frame_append(&in, H2_FRAME_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0", 8);
    h2_peer_feed(&peer, buf_bytes(&in));
    ck_assert(!first.closed);
    ck_assert(second.closed);
    ck_assert_uint_eq(second.error, H2_ERROR_REFUSED_STREAM);
    buf_deinit(&in);
    h2_peer_call_deinit(&first);
    h2_peer_call_deinit(&second);
    h2_peer_deinit(&peer);
}

END_TEST

/* A client can take back a request in every state: not sent yet, sent, half answered. */
START_TEST(client_session_cancels)
{
    struct h2_peer peer;
    struct h2_peer_call calls[3];
    unsigned i;

    begin(&plain_options);
    server.answers = false;
    h2_peer_init(&peer, NULL);
    h2_peer_begin(&peer, &calls[0], "/s.S/M", NULL);
    h2_stream_reset(calls[0].stream, H2_ERROR_CANCEL); /* still in the queue */
    h2_peer_begin(&peer, &calls[1], "/s.S/M", NULL);
    h2_peer_drain(&peer);
    talk(&peer, H2_FEED_MAX);
    h2_stream_reset(calls[1].stream, H2_ERROR_CANCEL);
    h2_peer_drain(&peer);
    talk(&peer, H2_FEED_MAX);
    h2_peer_call_unary(&peer, &calls[2], "/s.S/M", "", 0);
    talk(&peer, H2_FEED_MAX);
    ck_assert_int_eq(
        h2_stream_respond(server.served[server.count - 1].stream, answer_head, 2, false), 0);
    talk(&peer, H2_FEED_MAX);
    h2_stream_reset(calls[2].stream, H2_ERROR_CANCEL);
    h2_peer_drain(&peer);
    talk(&peer, H2_FEED_MAX);
    for (i = 0; i < 3; i++) {
        ck_assert(calls[i].closed);
        ck_assert_uint_eq(calls[i].error, H2_ERROR_CANCEL);
        h2_peer_call_deinit(&calls[i]);
    }
    h2_peer_deinit(&peer);
    end();
}

END_TEST

UNIT_MAIN("h2_session", session_serves_a_request, session_cares_for_no_cut,
          session_moves_large_bodies, session_holds_back_stream_credit,
          session_returns_credit_for_forgotten_bytes, session_resets_after_an_early_answer,
          session_does_not_reset_after_an_ordinary_answer, session_asks_for_more_to_write,
          session_tells_a_reset, session_lives_on_after_a_reset_of_an_idle_stream,
          session_drops_what_follows_our_reset, session_refuses_for_its_owner,
          session_ends_in_two_steps, session_admits_nothing_once_the_end_is_queued,
          session_is_over_after_the_peers_goaway, session_closes_its_streams_when_freed,
          client_session_skips_informational_heads, client_session_returns_streams_after_goaway,
          client_session_cancels)
