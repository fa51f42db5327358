#include "lib/h2_peer.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/limits_hit.h"
#include "http2/h2_inbound.h"

#include <errno.h>

/* What hostile peers send, against a server session with the limits of a real one. */

static struct limits_hit limits_hit;

static const struct h2_options options = {
    .hits = &limits_hit,
    .max_concurrent_streams = 100,
    .stream_window = 65536,
    .connection_window = 1048576,
    .max_frame_size = 16384,
    .max_header_list = 16384,
    .max_header_list_hard = 32768,
    .max_headers = 128,
    .max_continuations = 4,
    .reset_burst = 200,
    .reset_rate = 20,
    .control_burst = 100,
    .control_rate = 10,
    .max_empty_frames = 8,
    .max_outq = 256,
};

struct served {
    struct h2_stream *stream;
    unsigned fields;
    unsigned complete;
    unsigned too_large;
    size_t body;
    bool keeps_credit;
};

static struct {
    struct h2_session *session;
    struct buf out;
    struct served served[2048];
    unsigned opened;
    unsigned open;
    bool answers; /* at once, before the body */
    bool blames;
} server;

static struct buf in;

static void *on_opened(void *owner, struct h2_stream *stream)
{
    struct served *served = &server.served[server.opened];

    (void)owner;
    ck_assert_uint_lt(server.opened, 2048);
    served->stream = stream;
    server.opened++;
    server.open++;
    return served;
}

static void on_field(void *context, const struct h2_field *field)
{
    struct served *served = context;

    (void)field;
    served->fields++;
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    static const struct h2_field head = {.name = {(const uint8_t *)":status", 7},
                                         .value = {(const uint8_t *)"200", 3}};
    struct served *served = context;

    (void)trailers;
    (void)ended;
    served->complete++;
    if (server.answers) {
        ck_assert_int_eq(h2_stream_respond(served->stream, &head, 1, true), 0);
    }
    if (server.blames) {
        h2_stream_blame(served->stream);
    }
}

static void on_fields_too_large(void *context)
{
    struct served *served = context;

    served->too_large++;
}

static void on_data(void *context, struct bytes bytes)
{
    struct served *served = context;

    served->body += bytes.size;
    if (!served->keeps_credit) {
        h2_stream_consume(served->stream, bytes.size);
    }
}

static void on_ended(void *context)
{
    (void)context;
}

static void on_closed(void *context, uint32_t error)
{
    struct served *served = context;

    (void)error;
    served->stream = NULL;
    server.open--;
}

static const struct h2_events events = {
    .stream_opened = on_opened,
    .field = on_field,
    .fields_complete = on_fields_complete,
    .fields_too_large = on_fields_too_large,
    .data = on_data,
    .ended = on_ended,
    .closed = on_closed,
};

/* A server whose peer has sent its preface. */
static void begin(void)
{
    memset(&server, 0, sizeof(server));
    memset(&limits_hit, 0, sizeof(limits_hit));
    buf_clear(&in);
    ck_assert_int_eq(h2_session_new(H2_ROLE_SERVER, &options, &events, &server, 1, &server.session),
                     0);
    h2_frame_append_preface(&in);
}

static void end(void)
{
    h2_session_free(server.session);
    ck_assert_uint_eq(server.open, 0);
    buf_deinit(&server.out);
    buf_deinit(&in);
}

/* Sends what was gathered, as a reader of 16 KiB does. */
static int feed_at(uint64_t now_ns)
{
    struct bytes rest = buf_bytes(&in);
    int outcome = 0;

    while (rest.size > 0 && outcome == 0) {
        size_t size = rest.size < H2_FEED_MAX ? rest.size : H2_FEED_MAX;

        outcome =
            h2_session_feed(server.session, (struct bytes){rest.data, size}, now_ns, &server.out);
        rest = (struct bytes){rest.data + size, rest.size - size};
    }
    buf_clear(&in);
    return outcome;
}

static int feed(void)
{
    return feed_at(1);
}

/* Just this limit was reached, once. */
static void check_hit(enum limits_hit_reason reason)
{
    unsigned i;

    for (i = 0; i < LIMITS_HIT_COUNT; i++) {
        ck_assert_msg(limits_hit.counts[i] == (i == (unsigned)reason), "%s: %llu",
                      limits_hit_name((enum limits_hit_reason)i),
                      (unsigned long long)limits_hit.counts[i]);
    }
}

/* The session has ended with this GOAWAY, which names the reason. */
static void check_goaway(uint32_t error, const char *reason)
{
    struct h2_frame frame;

    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_GOAWAY, 0, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 4), error);
    ck_assert_str_eq(h2_session_problem(server.session), reason);
    ck_assert(h2_session_is_over(server.session));
    ck_assert(!h2_session_wants_drain(server.session));
    ck_assert_int_eq(h2_session_feed(server.session, BYTES_LITERAL("x"), 1, &server.out), -EPROTO);
}

/* Rapid reset (CVE-2023-44487): a thousand streams opened and reset end the connection before any
 * of the last bite of 16 KiB was worked on. */
START_TEST(hostile_rapid_reset_ends_the_connection)
{
    int32_t i;

    begin();
    for (i = 0; i < 1000; i++) {
        h2_frame_append_request(&in, 2 * i + 1, 0, "/s.S/M", NULL);
        h2_frame_append_number(&in, H2_FRAME_RST_STREAM, 2 * i + 1, H2_ERROR_CANCEL);
    }
    ck_assert_int_eq(feed(), -EPROTO);
    ck_assert_uint_le(server.opened, 200);
    check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many resets");
    check_hit(LIMITS_HIT_RESETS);
    end();
}

END_TEST

/* The same number of resets is fine when the calls between them end well. */
START_TEST(honest_cancels_among_good_calls_are_no_attack)
{
    int32_t i;

    begin();
    server.answers = true;
    for (i = 0; i < 1000; i++) {
        h2_frame_append_request(&in, 4 * i + 1, H2_FLAG_END_STREAM, "/s.S/M", NULL);
        ck_assert_int_eq(feed(), 0);
        server.answers = false;
        h2_frame_append_request(&in, 4 * i + 3, 0, "/s.S/M", NULL);
        h2_frame_append_number(&in, H2_FRAME_RST_STREAM, 4 * i + 3, H2_ERROR_CANCEL);
        ck_assert_int_eq(feed(), 0);
        server.answers = true;
        buf_clear(&server.out);
        server.opened = 0;
    }
    end();
}

END_TEST

/* MadeYouReset (CVE-2025-8671): resets that the peer makes us send are counted like its own. */
START_TEST(hostile_made_you_reset_ends_the_connection)
{
    int32_t i;
    int outcome = 0;

    begin();
    for (i = 0; i < 1000 && outcome == 0; i++) {
        h2_frame_append_request(&in, 2 * i + 1, H2_FLAG_END_STREAM, "/s.S/M", NULL);
        h2_frame_append_number(&in, H2_FRAME_WINDOW_UPDATE, 2 * i + 1, 0x7fffffff);
        outcome = feed();
    }
    ck_assert_int_eq(outcome, -EPROTO);
    ck_assert_int_eq(i, 201);
    check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many resets");
    check_hit(LIMITS_HIT_RESETS);
    end();
}

END_TEST

/* Malformed requests, which HTTP/2 answers with a reset each, are bounded by the same budget. */
START_TEST(hostile_malformed_requests_end_the_connection)
{
    /* What HTTP/2 forbids, and a name of no length (CVE-2019-9516). */
    static const char *const more[][3] = {{"connection", "close", NULL}, {"", "", NULL}};
    size_t row;

    for (row = 0; row < 2; row++) {
        int outcome = 0;
        int32_t i;

        begin();
        for (i = 0; i < 1000 && outcome == 0; i++) {
            h2_frame_append_request(&in, 2 * i + 1, H2_FLAG_END_STREAM, "/s.S/M", more[row]);
            outcome = feed();
        }
        ck_assert_int_eq(outcome, -EPROTO);
        ck_assert_int_eq(i, 201);
        check_hit(LIMITS_HIT_RESETS);
        end();
    }
}

END_TEST

/* A flood of PINGs, SETTINGS or PRIORITYs ends the connection after its burst. */
START_TEST(hostile_control_floods_end_the_connection)
{
    static const struct {
        unsigned type;
        size_t size;
    } rows[] = {{H2_FRAME_PING, 8}, {H2_FRAME_SETTINGS, 0}, {H2_FRAME_PRIORITY, 5}, {0xee, 3}};

    size_t row;

    for (row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        int32_t i;

        begin();
        for (i = 0; i < 1000; i++) {
            h2_frame_append(&in, rows[row].type, 0, rows[row].type == H2_FRAME_PRIORITY ? 1 : 0,
                            "\0\0\0\0\0\0\0\0", rows[row].size);
        }
        ck_assert_int_eq(feed(), -EPROTO);
        check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many control frames");
        check_hit(LIMITS_HIT_CONTROL);
        end();
    }
}

END_TEST

/* PINGs at the allowed pace are answered for ever. */
START_TEST(honest_pings_are_answered)
{
    unsigned i;

    begin();
    for (i = 0; i < 500; i++) {
        h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
        ck_assert_int_eq(feed_at(i * CLOCK_NS_PER_S / 10), 0);
    }
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_PING, 0, NULL), 500);
    end();
}

END_TEST

/* A flood of window updates ends the connection, too. */
START_TEST(hostile_window_updates_end_the_connection)
{
    unsigned i;

    begin();
    for (i = 0; i < 1000; i++) {
        h2_frame_append_number(&in, H2_FRAME_WINDOW_UPDATE, 0, 1);
    }
    ck_assert_int_eq(feed(), -EPROTO);
    check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many window updates");
    check_hit(LIMITS_HIT_CONTROL);
    end();
}

END_TEST

/* Empty DATA frames in a row: eight are borne, the ninth is not. */
START_TEST(hostile_empty_data_ends_the_connection)
{
    unsigned i;

    begin();
    h2_frame_append_request(&in, 1, 0, "/s.S/M", NULL);
    for (i = 0; i < 8; i++) {
        h2_frame_append(&in, H2_FRAME_DATA, 0, 1, NULL, 0);
    }
    ck_assert_int_eq(feed(), 0);
    h2_frame_append(&in, H2_FRAME_DATA, 0, 1, NULL, 0);
    ck_assert_int_eq(feed(), -EPROTO);
    check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many empty frames");
    check_hit(LIMITS_HIT_EMPTY_FRAMES);
    end();
}

END_TEST

/* A head over the soft limit is told as such, once, and the connection goes on. */
START_TEST(large_head_is_told)
{
    char value[4001];
    const char *const more[] = {"x-a", value, "x-b", value, "x-c", value,
                                "x-d", value, "x-e", value, NULL};
    struct buf whole = {0};
    struct bytes block;

    begin();
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    h2_frame_append_request(&whole, 1, H2_FLAG_END_STREAM, "/s.S/M", more);
    block = (struct bytes){buf_bytes(&whole).data + 9, buf_size(&whole) - 9};
    /* More than one frame may carry. */
    h2_frame_append(&in, H2_FRAME_HEADERS, H2_FLAG_END_STREAM, 1, block.data, 10000);
    h2_frame_append(&in, H2_FRAME_CONTINUATION, H2_FLAG_END_HEADERS, 1, block.data + 10000,
                    block.size - 10000);
    buf_deinit(&whole);
    ck_assert_int_eq(feed(), 0);
    ck_assert_uint_eq(server.served[0].too_large, 1);
    ck_assert_uint_eq(server.served[0].complete, 0);
    h2_frame_append_request(&in, 3, H2_FLAG_END_STREAM, "/s.S/M", NULL);
    ck_assert_int_eq(feed(), 0);
    ck_assert_uint_eq(server.served[1].complete, 1);
    ck_assert_uint_eq(server.served[1].too_large, 0);
    end();
}

END_TEST

/* HPACK bomb: one large field in the table, then references to it, a byte each. It ends at the hard
 * limit, after few of them. */
START_TEST(hostile_hpack_bomb_ends_the_connection)
{
    struct buf block = {0};
    static char value[3500];
    unsigned i;

    begin();
    memset(value, 'b', sizeof(value));
    h2_frame_append_fields(&block,
                           (const char *const[]){":method", "POST", ":scheme", "http", ":path",
                                                 "/s.S/M", ":authority", "a", NULL});
    /* Literal with indexing, new name "x", a value of 3500 bytes: 127 + 3373 in HPACK's integers.
     */
    ck_assert_int_eq(buf_append(&block, "\x40\x01x\x7f\xad\x1a", 6), 0);
    ck_assert_int_eq(buf_append(&block, value, sizeof(value)), 0);
    for (i = 0; i < 10000; i++) {
        ck_assert_int_eq(buf_append(&block, "\xbe", 1), 0); /* the newest entry, again */
    }
    h2_frame_append(&in, H2_FRAME_HEADERS, H2_FLAG_END_HEADERS | H2_FLAG_END_STREAM, 1,
                    buf_bytes(&block).data, buf_size(&block));
    ck_assert_int_eq(feed(), -EPROTO);
    check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "header list too large");
    ck_assert_uint_lt(server.served[0].fields, 12);
    buf_deinit(&block);
    check_hit(LIMITS_HIT_HEADER_LIST_HARD);
    end();
}

END_TEST

/* Too many small fields end it as well. */
START_TEST(hostile_many_fields_end_the_connection)
{
    const char *more[2 * 130 + 1];
    unsigned i;

    begin();
    for (i = 0; i < 130; i++) {
        more[2 * i] = "x";
        more[2 * i + 1] = "";
    }
    more[2 * i] = NULL;
    h2_frame_append_request(&in, 1, 0, "/s.S/M", more);
    ck_assert_int_eq(feed(), -EPROTO);
    check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many header fields");
    check_hit(LIMITS_HIT_HEADERS);
    end();
}

END_TEST

/* A header block in endless CONTINUATION frames (CVE-2024-27316) ends after four of them. */
START_TEST(hostile_continuations_end_the_connection)
{
    int i;

    begin();
    h2_frame_append(&in, H2_FRAME_HEADERS, 0, 1, "\x83", 1);
    for (i = 0; i < 100; i++) {
        h2_frame_append(&in, H2_FRAME_CONTINUATION, 0, 1, NULL, 0);
    }
    ck_assert_int_eq(feed(), -EPROTO);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_GOAWAY, 0, NULL), 1);
    check_hit(LIMITS_HIT_CONTINUATIONS);
    end();
}

END_TEST

/* More streams than announced: refused while our SETTINGS are not acknowledged, the end afterwards.
 */
START_TEST(too_many_streams_are_refused_then_fatal)
{
    struct h2_frame frame;
    int32_t i;

    begin();
    buf_clear(&in);
    h2_frame_append_preface(&in);
    in.end -= 9; /* without the acknowledgement */
    for (i = 0; i < 101; i++) {
        h2_frame_append_request(&in, 2 * i + 1, 0, "/s.S/M", NULL);
    }
    ck_assert_int_eq(feed(), 0);
    ck_assert_uint_eq(server.open, 100);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_RST_STREAM, 201, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 0), H2_ERROR_REFUSED_STREAM);
    check_hit(LIMITS_HIT_STREAMS);
    h2_frame_append(&in, H2_FRAME_SETTINGS, H2_FLAG_ACK, 0, NULL, 0);
    h2_frame_append_request(&in, 203, 0, "/s.S/M", NULL);
    ck_assert_int_eq(feed(), -EPROTO);
    ck_assert_uint_eq(server.opened, 100);
    ck_assert_uint_eq(limits_hit.counts[LIMITS_HIT_STREAMS], 2);
    end();
}

END_TEST

/* Who never acknowledges the limit on streams, and opens more and more, is refused so often and not
 * for ever. */
START_TEST(hostile_streams_over_the_limit_end_the_connection)
{
    int32_t i;

    begin();
    buf_clear(&in);
    h2_frame_append_preface(&in);
    in.end -= 9; /* without the acknowledgement */
    for (i = 0; i < 2000; i++) {
        h2_frame_append_request(&in, 2 * i + 1, 0, "/s.S/M", NULL);
    }
    ck_assert_int_eq(feed(), -EPROTO);
    check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many streams");
    ck_assert_uint_eq(limits_hit.counts[LIMITS_HIT_STREAMS], 1001);
    end();
}

END_TEST

/* Few requests, each with a head that no client of gRPC sends, are answered; many end the
 * connection, whether they end well or not. */
START_TEST(hostile_heads_end_the_connection)
{
    int32_t i;
    int outcome = 0;

    begin();
    server.answers = true;
    server.blames = true;
    for (i = 0; i < 1000 && outcome == 0; i++) {
        h2_frame_append_request(&in, 2 * i + 1, H2_FLAG_END_STREAM, "/s.S/M", NULL);
        outcome = feed();
        server.opened = 0;
    }
    ck_assert_int_eq(outcome, -EPROTO);
    ck_assert_int_eq(i, 201);
    check_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many bad requests");
    check_hit(LIMITS_HIT_RESETS);
    end();
}

END_TEST

/* What is no HTTP/2 at all ends at once, with a GOAWAY for those who can read it. */
START_TEST(hostile_preface_ends_the_connection)
{
    begin();
    buf_clear(&in);
    ck_assert_int_eq(buf_append(&in, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27), 0);
    ck_assert_int_eq(feed(), -EPROTO);
    ck_assert_str_eq(h2_session_problem(server.session), "not an HTTP/2 preface");
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_GOAWAY, 0, NULL), 1);
    end();
}

END_TEST

/* What the engine itself finds wrong ends with its reason in the GOAWAY and in the log text. */
START_TEST(protocol_errors_name_their_reason)
{
    struct h2_frame frame;

    begin();
    h2_frame_append(&in, H2_FRAME_DATA, 0, 1, "x", 1); /* on a stream nobody opened */
    ck_assert_int_eq(feed(), -EPROTO);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_GOAWAY, 0, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 4), H2_ERROR_PROTOCOL);
    ck_assert_str_eq(h2_session_problem(server.session), "DATA: stream in idle");
    end();
}

END_TEST

/* Padding is neither body nor lost credit: far more than a window of it passes (P13). */
START_TEST(padding_is_invisible)
{
    uint8_t payload[1 + 4 + 200];
    unsigned i;

    begin();
    memset(payload, 0, sizeof(payload));
    payload[0] = 200;
    memcpy(payload + 1, "body", 4);
    h2_frame_append_request(&in, 1, 0, "/s.S/M", NULL);
    for (i = 0; i < 10000; i++) {
        h2_frame_append(&in, H2_FRAME_DATA, H2_FLAG_PADDED, 1, payload, sizeof(payload));
        if (i % 100 == 0) {
            ck_assert_int_eq(feed(), 0);
        }
    }
    h2_frame_append(&in, H2_FRAME_DATA, H2_FLAG_END_STREAM, 1, NULL, 0);
    ck_assert_int_eq(feed(), 0);
    ck_assert_uint_eq(server.served[0].body, 40000);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_RST_STREAM, 1, NULL), 0);
    ck_assert_uint_gt(h2_frame_count(buf_bytes(&server.out), H2_FRAME_WINDOW_UPDATE, 1, NULL), 10);
    end();
}

END_TEST

/* A peer that sends beyond the window it was given loses that stream, and the others go on. */
START_TEST(overrun_of_a_stream_window_resets_the_stream)
{
    static uint8_t payload[16384];
    struct h2_frame frame;
    unsigned i;

    begin();
    h2_frame_append_request(&in, 1, 0, "/s.S/M", NULL);
    ck_assert_int_eq(feed(), 0);
    server.served[0].keeps_credit = true;
    for (i = 0; i < 5; i++) {
        h2_frame_append(&in, H2_FRAME_DATA, 0, 1, payload, sizeof(payload));
    }
    h2_frame_append_request(&in, 3, H2_FLAG_END_STREAM, "/s.S/M", NULL);
    ck_assert_int_eq(feed(), 0);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&server.out), H2_FRAME_RST_STREAM, 1, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 0), H2_ERROR_FLOW_CONTROL);
    ck_assert_uint_eq(server.served[1].complete, 1);
    end();
}

END_TEST

/* Our own refusals and early ends are never held against the peer. */
START_TEST(refusals_cost_the_peer_nothing)
{
    int32_t i;

    begin();
    server.answers = true; /* before the body: each is followed by RST_STREAM(NO_ERROR) */
    for (i = 0; i < 1000; i++) {
        h2_frame_append_request(&in, 2 * i + 1, 0, "/s.S/M", NULL);
        ck_assert_int_eq(feed(), 0);
        server.opened = 0;
    }
    end();
}

END_TEST

UNIT_MAIN("h2_inbound", hostile_rapid_reset_ends_the_connection,
          honest_cancels_among_good_calls_are_no_attack, hostile_made_you_reset_ends_the_connection,
          hostile_malformed_requests_end_the_connection, hostile_control_floods_end_the_connection,
          honest_pings_are_answered, hostile_window_updates_end_the_connection,
          hostile_empty_data_ends_the_connection, large_head_is_told,
          hostile_hpack_bomb_ends_the_connection, hostile_many_fields_end_the_connection,
          hostile_continuations_end_the_connection, too_many_streams_are_refused_then_fatal,
          hostile_streams_over_the_limit_end_the_connection, hostile_heads_end_the_connection,
          hostile_preface_ends_the_connection, protocol_errors_name_their_reason,
          padding_is_invisible, overrun_of_a_stream_window_resets_the_stream,
          refusals_cost_the_peer_nothing)
