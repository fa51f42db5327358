#include "lib/unit.h"

#include "http2/h2_inbound.h"
#include "http2/h2_stream.h"

static struct h2_pool pool;
static struct h2_session session = {
    .pool = &pool}; /* never used as one: the streams here belong to no engine */

/* A parked stream comes back blank, with its memory. */
START_TEST(stream_is_used_again)
{
    struct h2_stream *stream;
    uint8_t *memory;

    h2_pool_init(&pool, 0);
    stream = h2_stream_new(&pool, &session);
    ck_assert_ptr_nonnull(stream);
    ck_assert_int_eq(buf_append(&stream->out, "abc", 3), 0);
    memory = stream->out.data;
    stream->context = &pool;
    stream->peer_ended = true;
    stream->ended = true;
    stream->reset = true;
    stream->unblamed = true;
    h2_stream_park(&pool, stream);
    ck_assert_uint_eq(pool.parked_count, 1);
    ck_assert_uint_eq(pool.stream_count, 0);
    ck_assert_ptr_eq(h2_stream_new(&pool, &session), stream);
    ck_assert_uint_eq(pool.parked_count, 0);
    ck_assert_uint_eq(pool.stream_count, 1);
    ck_assert_ptr_eq(stream->session, &session);
    ck_assert_ptr_null(stream->context);
    ck_assert_uint_eq(h2_stream_unsent_size(stream), 0);
    ck_assert(!stream->peer_ended);
    ck_assert(!stream->ended);
    ck_assert(!stream->reset);
    ck_assert(!stream->unblamed);
    ck_assert_ptr_eq(stream->out.data, memory);
    h2_stream_park(&pool, stream);
    h2_pool_deinit(&pool);
}

END_TEST

/* A stream that carried much does not keep the memory for it. */
START_TEST(stream_keeps_little)
{
    static uint8_t large[100000];
    struct h2_stream *stream;

    h2_pool_init(&pool, 0);
    stream = h2_stream_new(&pool, &session);
    ck_assert_int_eq(buf_append(&stream->out, large, sizeof(large)), 0);
    h2_stream_park(&pool, stream);
    ck_assert_uint_eq(stream->out.capacity, 0);
    h2_pool_deinit(&pool);
}

END_TEST

/* Of what a client has sent nothing is left in its memory, whichever way it went. */
START_TEST(stream_of_a_client_leaves_nothing)
{
    static const char secret[] = "correct horse battery staple";
    struct h2_session client = {.pool = &pool, .role = H2_ROLE_CLIENT};
    struct h2_stream *stream;

    h2_pool_init(&pool, 0);
    for (int is_sent = 0; is_sent < 2; is_sent++) {
        stream = h2_stream_new(&pool, &client);
        ck_assert_ptr_nonnull(stream);
        ck_assert_int_eq(buf_append(&stream->out, secret, sizeof(secret)), 0);
        ck_assert_ptr_nonnull(
            memmem(stream->out.data, stream->out.capacity, secret, sizeof(secret)));
        client.unsent_size = sizeof(secret);
        pool.unsent_bytes = sizeof(secret);
        if (is_sent) {
            buf_consume(&stream->out, sizeof(secret));
            client.unsent_size = 0;
            pool.unsent_bytes = 0;
        }
        h2_stream_park(&pool, stream);
        ck_assert_uint_gt(stream->out.capacity, sizeof(secret)); /* parked with its memory */
        for (size_t i = 0; i < sizeof(secret); i++) {
            ck_assert_uint_eq(stream->out.data[i], 0);
        }
    }
    h2_pool_deinit(&pool);
}

END_TEST

/* Only so many are parked; the others are freed. */
START_TEST(stream_parking_is_bounded)
{
    static struct h2_stream *streams[1100];
    unsigned i;

    h2_pool_init(&pool, 0);
    for (i = 0; i < 1100; i++) {
        streams[i] = h2_stream_new(&pool, &session);
        ck_assert_ptr_nonnull(streams[i]);
    }
    for (i = 0; i < 1100; i++) {
        h2_stream_park(&pool, streams[i]);
    }
    ck_assert_uint_eq(pool.parked_count, 1024);
    h2_pool_deinit(&pool);
}

END_TEST

/* At the pool's limit there is no stream, and no harm. */
START_TEST(stream_may_be_refused)
{
    h2_pool_init(&pool, 100);
    ck_assert_ptr_null(h2_stream_new(&pool, &session));
    h2_pool_deinit(&pool);
}

END_TEST

/* Trailers are copied, but for constants, which stay where they are. */
START_TEST(stream_copies_trailers)
{
    char name[] = "x-name";
    char value[] = "value";
    const struct h2_field trailers[] = {
        {.name = BYTES_LITERAL("grpc-status"), .value = BYTES_LITERAL("0"), .constant = true},
        {.name = bytes_from_text(name), .value = bytes_from_text(value), .sensitive = true},
        {.name = bytes_from_text(name), .value = {NULL, 0}},
    };
    struct h2_stream *stream;

    h2_pool_init(&pool, 0);
    stream = h2_stream_new(&pool, &session);
    ck_assert_int_eq(h2_stream_set_trailers(stream, trailers, 3), 0);
    memset(name, '#', sizeof(name) - 1);
    memset(value, '#', sizeof(value) - 1);
    ck_assert_uint_eq(stream->trailer_count, 3);
    ck_assert_ptr_eq(stream->trailers[0].name.data, trailers[0].name.data);
    ck_assert(bytes_equal(stream->trailers[1].name, BYTES_LITERAL("x-name")));
    ck_assert(bytes_equal(stream->trailers[1].value, BYTES_LITERAL("value")));
    ck_assert(stream->trailers[1].sensitive);
    ck_assert_uint_eq(stream->trailers[2].value.size, 0);
    h2_stream_park(&pool, stream);
    h2_pool_deinit(&pool);
}

END_TEST

/* On a session that has failed everything is taken and dropped. */
START_TEST(stream_of_a_dead_session_drops_everything)
{
    const struct bytes body = BYTES_LITERAL("body");
    struct h2_stream *stream;

    h2_pool_init(&pool, 0);
    session = (struct h2_session){.role = H2_ROLE_SERVER, .pool = &pool, .dead = true};
    stream = h2_stream_new(&pool, &session);
    ck_assert_int_eq(h2_stream_respond(stream, NULL, 0, false), 0);
    ck_assert_int_eq(h2_stream_write(stream, &body, 1), 0);
    ck_assert_int_eq(h2_stream_end(stream, NULL, 0), 0);
    h2_stream_consume(stream, 10);
    h2_stream_reset_unblamed(stream, H2_ERROR_CANCEL);
    ck_assert_uint_eq(h2_stream_unsent_size(stream), 0);
    h2_stream_park(&pool, stream);
    h2_pool_deinit(&pool);
}

END_TEST

UNIT_MAIN("h2_stream", stream_is_used_again, stream_keeps_little, stream_of_a_client_leaves_nothing,
          stream_parking_is_bounded, stream_may_be_refused, stream_copies_trailers,
          stream_of_a_dead_session_drops_everything)
