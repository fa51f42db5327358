#include "lib/h2_peer.h"
#include "lib/unit.h"

#include "http2/h2_session.h"

#include <stdlib.h>

/*
 * What waits on the streams of one session: in which order it goes, and what the session says of
 * it. The owner does nothing by itself; the tests write on its streams.
 */

#define STREAMS_MAX 8
#define LONG_SIZE   (4 * 1024 * 1024)

struct owner {
    struct h2_session *session;
    struct h2_stream *streams[STREAMS_MAX];
    unsigned count;
    unsigned closed;
    struct buf in;
    struct buf out;
    uint8_t *body; /* LONG_SIZE bytes to send */
};

static void *on_opened(void *context, struct h2_stream *stream)
{
    struct owner *owner = context;

    ck_assert_uint_lt(owner->count, STREAMS_MAX);
    owner->streams[owner->count++] = stream;
    return owner;
}

static void on_closed(void *context, uint32_t error)
{
    struct owner *owner = context;

    (void)error;
    owner->closed++;
}

static const struct h2_events events = {
    .stream_opened = on_opened,
    .closed = on_closed,
};

static void feed(struct owner *owner)
{
    ck_assert_int_eq(h2_session_feed(owner->session, buf_bytes(&owner->in), 1, &owner->out), 0);
    buf_clear(&owner->in);
}

/* A server with so many requests, whose client takes everything unless `window` says otherwise. */
static void begin(struct owner *owner, unsigned request_count, uint32_t window)
{
    static const struct h2_options options = {.max_concurrent_streams = 100};
    uint8_t initial_window[] = {0,
                                4,
                                (uint8_t)(window >> 24),
                                (uint8_t)(window >> 16),
                                (uint8_t)(window >> 8),
                                (uint8_t)window};
    unsigned i;

    *owner = (struct owner){.body = calloc(1, LONG_SIZE)};
    ck_assert_ptr_nonnull(owner->body);
    ck_assert_int_eq(h2_session_new(H2_ROLE_SERVER, &options, &events, owner, 1, &owner->session),
                     0);
    h2_frame_append_preface(&owner->in);
    h2_frame_append(&owner->in, H2_FRAME_SETTINGS, 0, 0, initial_window, sizeof(initial_window));
    h2_frame_append_number(&owner->in, H2_FRAME_WINDOW_UPDATE, 0, 100 * 1024 * 1024);
    for (i = 0; i < request_count; i++) {
        h2_frame_append_request(&owner->in, (int32_t)(2 * i + 1), H2_FLAG_END_STREAM, "/s.S/M",
                                NULL);
    }
    feed(owner);
    ck_assert_uint_eq(owner->count, request_count);
    buf_clear(&owner->out);
}

static void end(struct owner *owner)
{
    h2_session_free(owner->session);
    ck_assert_uint_eq(owner->closed, owner->count);
    buf_deinit(&owner->in);
    buf_deinit(&owner->out);
    free(owner->body);
}

/* Answers with so many bytes, and the end. */
static void answer(struct owner *owner, unsigned index, size_t size)
{
    const struct h2_field status = {.name = BYTES_LITERAL(":status"),
                                    .value = BYTES_LITERAL("200")};
    const struct h2_field trailer = {.name = BYTES_LITERAL("grpc-status"),
                                     .value = BYTES_LITERAL("0")};
    const struct bytes body = {owner->body, size};

    ck_assert_int_eq(h2_stream_respond(owner->streams[index], &status, 1, false), 0);
    ck_assert_int_eq(h2_stream_write(owner->streams[index], &body, 1), 0);
    ck_assert_int_eq(h2_stream_end(owner->streams[index], &trailer, 1), 0);
}

/* Body bytes of a stream among the frames in `out`. */
static size_t body_size(const struct owner *owner, int32_t stream_id)
{
    struct bytes frames = buf_bytes(&owner->out);
    struct h2_frame frame;
    size_t size = 0;

    while (h2_frame_take(&frames, &frame)) {
        size +=
            frame.type == H2_FRAME_DATA && frame.stream_id == stream_id ? frame.payload.size : 0;
    }
    return size;
}

static void drain(struct owner *owner, size_t size_max)
{
    buf_clear(&owner->out);
    ck_assert_int_eq(h2_session_drain(owner->session, &owner->out, size_max), 0);
}

/* A short answer that is ready while a long one is on its way goes out with the next few frames,
 * whole; the long one goes on after it (X17). */
START_TEST(a_long_answer_keeps_no_short_one_waiting)
{
    struct owner owner;

    begin(&owner, 2, LONG_SIZE + 100);
    answer(&owner, 0, LONG_SIZE);
    drain(&owner, 65536);
    ck_assert_uint_ge(body_size(&owner, 1), 40000);
    answer(&owner, 1, 100);
    drain(&owner, 65536);
    ck_assert_uint_eq(body_size(&owner, 3), 100);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&owner.out), H2_FRAME_HEADERS, 3, NULL), 2);
    ck_assert_uint_gt(body_size(&owner, 1), 0);
    drain(&owner, SIZE_MAX);
    ck_assert_uint_eq(h2_session_unsent_size(owner.session), 0);
    end(&owner);
}

END_TEST

/* Several long answers move side by side: none is a quarter ahead of another. */
START_TEST(long_answers_take_turns)
{
    struct owner owner;
    size_t sent[3] = {0};
    unsigned i;

    begin(&owner, 3, LONG_SIZE + 100);
    for (i = 0; i < 3; i++) {
        answer(&owner, i, LONG_SIZE);
    }
    while (sent[0] + sent[1] + sent[2] < LONG_SIZE) {
        drain(&owner, 65536);
        for (i = 0; i < 3; i++) {
            sent[i] += body_size(&owner, (int32_t)(2 * i + 1));
        }
    }
    for (i = 0; i < 3; i++) {
        ck_assert_uint_gt(sent[i], LONG_SIZE / 4);
    }
    end(&owner);
}

END_TEST

/* The session counts what waits, through writing, pulling, closed windows, resets and the end. */
START_TEST(what_waits_is_counted)
{
    struct owner owner;

    begin(&owner, 3, 1000);
    answer(&owner, 0, 5000);
    answer(&owner, 1, 700);
    answer(&owner, 2, 3000);
    ck_assert_uint_eq(h2_session_unsent_size(owner.session), 8700);
    ck_assert_uint_eq(h2_session_unsent_beside_longest(owner.session), 3700);
    drain(&owner, SIZE_MAX); /* a window of each */
    ck_assert_uint_eq(h2_session_unsent_size(owner.session), 6000);
    ck_assert_uint_eq(h2_session_unsent_beside_longest(owner.session), 2000);
    h2_stream_reset(owner.streams[0], H2_ERROR_CANCEL);
    ck_assert_uint_eq(h2_session_unsent_size(owner.session), 2000);
    ck_assert_uint_eq(h2_session_unsent_beside_longest(owner.session), 0);
    h2_frame_append_number(&owner.in, H2_FRAME_RST_STREAM, 5, H2_ERROR_CANCEL);
    feed(&owner);
    ck_assert_uint_eq(h2_session_unsent_size(owner.session), 0);
    end(&owner);
}

END_TEST

UNIT_MAIN("h2_session_turns", a_long_answer_keeps_no_short_one_waiting, long_answers_take_turns,
          what_waits_is_counted)
