#include "lib/h2_peer.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "http2/h2_budget.h"

static const struct h2_budget_limits limits = {
    .reset_burst = 5,
    .reset_rate = 1,
    .control_burst = 4,
    .control_rate = 2,
    .max_empty_frames = 3,
    .max_streams = 2,
};

static struct h2_budget budget;
static struct buf bytes;
static uint64_t now_ns;

static void begin(void)
{
    now_ns = 1000 * CLOCK_NS_PER_S;
    buf_deinit(&bytes);
    h2_budget_init(&budget, &limits, false, now_ns);
    budget.peer_opens_streams = true; /* a client, whose preface has been seen */
}

/* Sends some bytes; what is let pass is added to `passed`, when there is one. */
static enum h2_excess scan_some(struct bytes some, struct buf *passed)
{
    enum h2_excess excess = H2_EXCESS_NONE;

    while (some.size > 0 && excess == H2_EXCESS_NONE) {
        struct bytes pass;

        excess = h2_budget_scan(&budget, &some, now_ns, &pass);
        if (passed != NULL && excess == H2_EXCESS_NONE) {
            ck_assert_int_eq(buf_append(passed, pass.data, pass.size), 0);
        }
    }
    return excess;
}

/* Sends what was gathered; returns the verdict. */
static enum h2_excess scan(void)
{
    enum h2_excess excess = scan_some(buf_bytes(&bytes), NULL);

    buf_clear(&bytes);
    return excess;
}

/* How many frames of a kind pass before the verdict. */
static unsigned count_passing(unsigned type, unsigned flags, size_t size, int32_t stream_id)
{
    static const uint8_t payload[300];
    unsigned count;

    for (count = 0; count < 1000; count++) {
        h2_frame_append(&bytes, type, flags, stream_id, payload, size);
        if (scan() != H2_EXCESS_NONE) {
            budget.skip = 0; /* a session would be dead here; these tests go on */
            return count;
        }
    }
    return count;
}

/* A bucket gives its burst at once, then its rate, and never saves more than the burst. */
START_TEST(bucket_gives_burst_and_rate)
{
    struct h2_bucket bucket;
    unsigned i;

    h2_bucket_init(&bucket, 3, 10, 50);
    for (i = 0; i < 3; i++) {
        ck_assert(h2_bucket_take(&bucket, 50));
    }
    ck_assert(!h2_bucket_take(&bucket, 50));
    ck_assert(!h2_bucket_take(&bucket, 50 + CLOCK_NS_PER_S / 10 - 1));
    ck_assert(h2_bucket_take(&bucket, 50 + CLOCK_NS_PER_S / 10));
    for (i = 0; i < 3; i++) {
        ck_assert(h2_bucket_take(&bucket, UINT64_MAX));
    }
    ck_assert(!h2_bucket_take(&bucket, UINT64_MAX));
    h2_bucket_give(&bucket);
    ck_assert(h2_bucket_take(&bucket, UINT64_MAX));
}

END_TEST

/* A clock that seems to go back neither gives nor takes. */
START_TEST(bucket_survives_an_older_time)
{
    struct h2_bucket bucket;

    h2_bucket_init(&bucket, 1, 1, 100 * CLOCK_NS_PER_S);
    ck_assert(h2_bucket_take(&bucket, 100 * CLOCK_NS_PER_S));
    ck_assert(!h2_bucket_take(&bucket, 50 * CLOCK_NS_PER_S));
    ck_assert(h2_bucket_take(&bucket, 101 * CLOCK_NS_PER_S));
}

END_TEST

/* Without a burst there is no limit, and giving back does no harm. */
START_TEST(bucket_without_burst_is_no_limit)
{
    struct h2_bucket bucket;
    unsigned i;

    h2_bucket_init(&bucket, 0, 0, 0);
    for (i = 0; i < 1000; i++) {
        ck_assert(h2_bucket_take(&bucket, 0));
    }
    h2_bucket_give(&bucket);
    ck_assert(h2_bucket_take(&bucket, 0));
}

END_TEST

/* Resets have their budget, by either side, and calls that end well earn one each. */
START_TEST(budget_counts_resets)
{
    unsigned i;

    begin();
    ck_assert_uint_eq(count_passing(H2_FRAME_RST_STREAM, 0, 4, 1), 5);
    ck_assert_int_eq(h2_budget_charge_reset(&budget, now_ns), H2_EXCESS_RESETS);
    for (i = 0; i < 100; i++) {
        h2_budget_earn_call(&budget);
    }
    ck_assert_uint_eq(count_passing(H2_FRAME_RST_STREAM, 0, 4, 1), 5);
    now_ns += 2 * CLOCK_NS_PER_S;
    ck_assert_int_eq(h2_budget_charge_reset(&budget, now_ns), H2_EXCESS_NONE);
    ck_assert_uint_eq(count_passing(H2_FRAME_RST_STREAM, 0, 4, 1), 1);
    buf_deinit(&bytes);
}

END_TEST

/* Heads that no client of gRPC sends cost what resets cost; streams over the limit have a budget of
 * their own, ten times the limit at once. */
START_TEST(budget_counts_bad_heads_and_refusals)
{
    unsigned i;

    begin();
    for (i = 0; i < 20; i++) {
        ck_assert_int_eq(h2_budget_charge_refusal(&budget, now_ns), H2_EXCESS_NONE);
    }
    ck_assert_int_eq(h2_budget_charge_refusal(&budget, now_ns), H2_EXCESS_STREAMS);
    now_ns += CLOCK_NS_PER_S;
    ck_assert_int_eq(h2_budget_charge_refusal(&budget, now_ns), H2_EXCESS_NONE);
    ck_assert_int_eq(h2_budget_charge_refusal(&budget, now_ns), H2_EXCESS_NONE);
    ck_assert_int_eq(h2_budget_charge_refusal(&budget, now_ns), H2_EXCESS_STREAMS);
    for (i = 0; i < 5; i++) {
        ck_assert_int_eq(h2_budget_charge_bad_head(&budget, now_ns), H2_EXCESS_NONE);
    }
    ck_assert_int_eq(h2_budget_charge_bad_head(&budget, now_ns), H2_EXCESS_BAD_HEADS);
    ck_assert_int_eq(h2_budget_charge_reset(&budget, now_ns), H2_EXCESS_RESETS);
    begin();
    h2_budget_init(&budget, &(struct h2_budget_limits){0}, true, now_ns);
    for (i = 0; i < 1000; i++) {
        ck_assert_int_eq(h2_budget_charge_refusal(&budget, now_ns), H2_EXCESS_NONE);
    }
    buf_deinit(&bytes);
}

END_TEST

/* Each excess has a text and names the option to look at. */
START_TEST(excess_has_text_and_limit)
{
    enum h2_excess excess;

    for (excess = H2_EXCESS_RESETS; excess <= H2_EXCESS_HEADERS; excess++) {
        ck_assert_uint_gt(strlen(h2_excess_text(excess)), 0);
        ck_assert_ptr_nonnull(strchr(limits_hit_name(h2_excess_limit(excess)), '.'));
    }
    ck_assert_str_eq(h2_excess_text(H2_EXCESS_HEADERS), "too many header fields");
    ck_assert_int_eq(h2_excess_limit(H2_EXCESS_WINDOW_UPDATES), LIMITS_HIT_CONTROL);
}

END_TEST

/* All cheap kinds share the control budget: also what the engine would drop in silence. */
START_TEST(budget_counts_control_frames)
{
    static const unsigned types[] = {
        H2_FRAME_PRIORITY, H2_FRAME_SETTINGS, H2_FRAME_PING, H2_FRAME_GOAWAY, 0x10, 0xfa};
    size_t i;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        begin();
        ck_assert_uint_eq(count_passing(types[i], 0, 8, 0), 4);
        now_ns += CLOCK_NS_PER_S;
        ck_assert_uint_eq(count_passing(types[i], 0, 8, 0), 2);
    }
    buf_deinit(&bytes);
}

END_TEST

/* HEADERS that open no new stream count, too; those that do are for other limits. */
START_TEST(budget_counts_headers_on_old_streams)
{
    int32_t id;

    begin();
    for (id = 1; id < 100; id += 2) {
        h2_frame_append(&bytes, H2_FRAME_HEADERS, H2_FLAG_END_HEADERS, id, "", 1);
        ck_assert_int_eq(scan(), H2_EXCESS_NONE);
    }
    ck_assert_uint_eq(count_passing(H2_FRAME_HEADERS, H2_FLAG_END_HEADERS, 1, 7), 4);
    buf_deinit(&bytes);
}

END_TEST

/* To a client the answers of a server are free, in whatever order. */
START_TEST(budget_of_a_client_lets_answers_pass)
{
    begin();
    h2_budget_init(&budget, &limits, false, now_ns);
    ck_assert_uint_eq(count_passing(H2_FRAME_HEADERS, H2_FLAG_END_HEADERS, 1, 1), 1000);
    buf_deinit(&bytes);
}

END_TEST

/* What we send earns PINGs and window updates: gRPC clients answer data with both. */
START_TEST(budget_grows_with_what_we_send)
{
    begin();
    ck_assert_uint_eq(count_passing(H2_FRAME_PING, 0, 8, 0), 4);
    h2_budget_earn_frame(&budget, false, 16384);
    ck_assert_uint_eq(count_passing(H2_FRAME_PING, 0, 8, 0), 1);
    ck_assert_uint_eq(count_passing(H2_FRAME_WINDOW_UPDATE, 0, 4, 0), 4);
    h2_budget_earn_frame(&budget, true, 0);
    ck_assert_uint_eq(count_passing(H2_FRAME_WINDOW_UPDATE, 0, 4, 0), 20);
    /* One for each message that the frame may hold; the most that is kept is 1,000 bursts. */
    h2_budget_earn_frame(&budget, true, 1000);
    ck_assert_uint_eq(count_passing(H2_FRAME_WINDOW_UPDATE, 0, 4, 0), 20 + 1000 / 5);
    for (unsigned i = 0; i < 2; i++) {
        h2_budget_earn_frame(&budget, true, 16384);
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(count_passing(H2_FRAME_WINDOW_UPDATE, 0, 4, 0), 1000);
    }
    ck_assert_uint_eq(count_passing(H2_FRAME_WINDOW_UPDATE, 0, 4, 0), 0);
    h2_frame_append(&bytes, H2_FRAME_HEADERS, H2_FLAG_END_HEADERS, 1, "", 1);
    ck_assert_int_eq(scan(), H2_EXCESS_NONE);
    ck_assert_uint_eq(count_passing(H2_FRAME_WINDOW_UPDATE, 0, 4, 0), 2);
    buf_deinit(&bytes);
}

END_TEST

/* Empty DATA frames are counted in a row; one with content or END_STREAM begins a new row. */
START_TEST(budget_counts_empty_data)
{
    begin();
    ck_assert_uint_eq(count_passing(H2_FRAME_DATA, 0, 0, 1), 3);
    begin();
    ck_assert_uint_eq(count_passing(H2_FRAME_DATA, H2_FLAG_END_STREAM, 0, 1), 1000);
    ck_assert_uint_eq(count_passing(H2_FRAME_DATA, 0, 1, 1), 1000);
    buf_deinit(&bytes);
}

END_TEST

/* Padding makes no frame full, whatever its size, and no full frame empty. */
START_TEST(budget_sees_through_padding)
{
    static const uint8_t all_padding[] = {4, 0, 0, 0, 0};
    static const uint8_t one_byte[] = {3, 'x', 0, 0, 0};
    unsigned i;

    begin();
    for (i = 0; i < 100; i++) {
        h2_frame_append(&bytes, H2_FRAME_DATA, H2_FLAG_PADDED, 1, one_byte, sizeof(one_byte));
    }
    ck_assert_int_eq(scan(), H2_EXCESS_NONE);
    for (i = 0; i < 3; i++) {
        h2_frame_append(&bytes, H2_FRAME_DATA, H2_FLAG_PADDED, 1, all_padding, sizeof(all_padding));
    }
    ck_assert_int_eq(scan(), H2_EXCESS_NONE);
    h2_frame_append(&bytes, H2_FRAME_DATA, H2_FLAG_PADDED, 1, "", 1);
    ck_assert_int_eq(scan(), H2_EXCESS_EMPTY_FRAMES);
    buf_deinit(&bytes);
}

END_TEST

/* The verdict does not depend on how the bytes are cut, and the preface is no frame. */
START_TEST(budget_cares_for_no_cut)
{
    static const char magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    size_t step;

    for (step = 1; step < 60; step++) {
        enum h2_excess excess = H2_EXCESS_NONE;
        struct bytes rest;
        size_t used = 0;
        unsigned i;

        begin();
        h2_budget_init(&budget, &limits, true, now_ns);
        ck_assert_int_eq(buf_append(&bytes, magic, sizeof(magic) - 1), 0);
        h2_frame_append(&bytes, H2_FRAME_DATA, 0, 1, "0123456789", 10);
        for (i = 0; i < 5; i++) {
            h2_frame_append(&bytes, H2_FRAME_PING, 0, 0, "01234567", 8);
        }
        rest = buf_bytes(&bytes);
        while (excess == H2_EXCESS_NONE && used < rest.size) {
            size_t size = rest.size - used < step ? rest.size - used : step;

            excess = scan_some((struct bytes){rest.data + used, size}, NULL);
            used += size;
        }
        ck_assert_int_eq(excess, H2_EXCESS_CONTROL);
        /* The head of the fifth PING was enough. */
        ck_assert_uint_ge(used, rest.size - 8);
        ck_assert_uint_lt(used, rest.size - 8 + step);
    }
    buf_deinit(&bytes);
}

END_TEST

/* A reset of a stream that was never opened is left out of what the engine gets, wherever the bytes
 * are cut, and is paid for. All else passes, byte for byte: also resets that are broken in other
 * ways. */
START_TEST(budget_leaves_out_resets_of_idle_streams)
{
    static const char magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct buf expected = {0};
    struct buf passed = {0};
    size_t step;
    unsigned i;

    for (step = 1; step < 200; step++) {
        struct bytes rest;

        begin();
        h2_budget_init(&budget, &limits, true, now_ns);
        buf_clear(&expected);
        buf_clear(&passed);
        ck_assert_int_eq(buf_append(&bytes, magic, sizeof(magic) - 1), 0);
        h2_frame_append(&bytes, H2_FRAME_HEADERS, H2_FLAG_END_HEADERS, 5, "abc", 3);
        h2_frame_append(&bytes, H2_FRAME_RST_STREAM, 0, 5, "1234", 4);  /* open */
        h2_frame_append(&bytes, H2_FRAME_RST_STREAM, 0, 8, "1234", 4);  /* not the client's */
        h2_frame_append(&bytes, H2_FRAME_RST_STREAM, 0, 7, "12345", 5); /* not its size */
        ck_assert_int_eq(buf_append(&expected, bytes.data, bytes.end), 0);
        h2_frame_append(&bytes, H2_FRAME_RST_STREAM, 0, 7, "1234", 4);
        h2_frame_append(&bytes, H2_FRAME_RST_STREAM, 0, 9, "1234", 4);
        for (i = 0; i < 2; i++) {
            struct buf *to = i == 0 ? &bytes : &expected;

            h2_frame_append(to, H2_FRAME_DATA, 0, 5, "0123456789", 10);
            h2_frame_append(to, H2_FRAME_PING, 0, 0, "01234567", 8);
        }
        for (rest = buf_bytes(&bytes); rest.size > 0;) {
            size_t size = rest.size < step ? rest.size : step;

            ck_assert_int_eq(scan_some((struct bytes){rest.data, size}, &passed), H2_EXCESS_NONE);
            rest = (struct bytes){rest.data + size, rest.size - size};
        }
        ck_assert(bytes_equal(buf_bytes(&passed), buf_bytes(&expected)));
        ck_assert_int_eq(h2_budget_charge_reset(&budget, now_ns), H2_EXCESS_RESETS);
    }
    buf_deinit(&bytes);
    buf_deinit(&expected);
    buf_deinit(&passed);
}

END_TEST

/* Inside a header block nothing but CONTINUATION may come: the engine is to see what does. */
START_TEST(budget_leaves_nothing_out_inside_a_header_block)
{
    struct buf passed = {0};

    begin();
    h2_frame_append(&bytes, H2_FRAME_HEADERS, 0, 1, "abc", 3);
    h2_frame_append(&bytes, H2_FRAME_RST_STREAM, 0, 3, "1234", 4);
    ck_assert_int_eq(scan_some(buf_bytes(&bytes), &passed), H2_EXCESS_NONE);
    ck_assert(bytes_equal(buf_bytes(&passed), buf_bytes(&bytes)));
    buf_deinit(&bytes);
    buf_deinit(&passed);
}

END_TEST

/* An open header block is known by when it began, until its last byte is there. */
START_TEST(budget_knows_an_open_header_block)
{
    begin();
    ck_assert_uint_eq(budget.block_since_ns, 0);
    h2_frame_append(&bytes, H2_FRAME_HEADERS, 0, 1, "abc", 3);
    ck_assert_int_eq(scan(), H2_EXCESS_NONE);
    ck_assert_uint_eq(budget.block_since_ns, now_ns);
    now_ns += 5;
    h2_frame_append(&bytes, H2_FRAME_CONTINUATION, 0, 1, "abc", 3);
    ck_assert_int_eq(scan(), H2_EXCESS_NONE);
    ck_assert_uint_eq(budget.block_since_ns, now_ns - 5);
    h2_frame_append(&bytes, H2_FRAME_CONTINUATION, H2_FLAG_END_HEADERS, 1, "abc", 3);
    bytes.end--;
    ck_assert_int_eq(scan(), H2_EXCESS_NONE);
    ck_assert_uint_ne(budget.block_since_ns, 0);
    ck_assert_int_eq(buf_append(&bytes, "c", 1), 0);
    ck_assert_int_eq(scan(), H2_EXCESS_NONE);
    ck_assert_uint_eq(budget.block_since_ns, 0);
    buf_deinit(&bytes);
}

END_TEST

UNIT_MAIN("h2_budget", bucket_gives_burst_and_rate, bucket_survives_an_older_time,
          bucket_without_burst_is_no_limit, budget_counts_resets,
          budget_counts_bad_heads_and_refusals, excess_has_text_and_limit,
          budget_counts_control_frames, budget_counts_headers_on_old_streams,
          budget_of_a_client_lets_answers_pass, budget_grows_with_what_we_send,
          budget_counts_empty_data, budget_sees_through_padding, budget_cares_for_no_cut,
          budget_leaves_out_resets_of_idle_streams, budget_leaves_nothing_out_inside_a_header_block,
          budget_knows_an_open_header_block)
